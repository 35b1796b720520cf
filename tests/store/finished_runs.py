"""Small runs that were really run, to be read, harmed and edited."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import metapbt

QUICK = ["env=quadratic", "executor=inline", "budget.steps=12", "budget.interval=4", "population.size=4"]
TARGET = Path("quadratic/optimum_shift=0.15/meta_pb2/seed_0")
GOOD = Path("quadratic/optimum_shift=0.1/pbt/seed_0")


def make_study(folder: Path) -> Path:
    """Two sources and a run that remembers them, below ``<folder>/results``."""
    with working_in(folder):
        for shift in (0.1, 0.2):
            metapbt.run([*QUICK, "method=pbt", f"context.optimum_shift={shift}"])
        metapbt.run([*QUICK, "method=meta_pb2", "context.optimum_shift=0.15", "meta.results_dir=results"])
        shutil.rmtree("results/.meta_models", ignore_errors=True)
    return folder / "results"


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Paths in a run's configuration are relative, so that copies of the run are the run."""
    before, logger = Path.cwd(), logging.getLogger("metapbt")
    level = logger.level
    logger.setLevel(logging.ERROR)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        logger.setLevel(level)
