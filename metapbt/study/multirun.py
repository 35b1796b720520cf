"""``metapbt run --multirun --jobs N``: a sweep as a study, N runs at a time."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metapbt.config import sweep_of
from metapbt.errors import MetapbtError
from metapbt.study.study import Group, Study, StudyRun, check_distinct, planned
from metapbt.study.sweep import parsed, product


def train_sweep(arguments: Sequence[str]) -> int:
    """Train the runs of a sweep, so many at a time; return the exit status.

    Raises:
        MetapbtError: something asked for is wrong.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    from metapbt.study.command import jobs_argument, run_and_tell

    parser = _parser()
    jobs_argument(parser)
    try:
        found = parser.parse_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise MetapbtError(str(error)) from error
    if not found.multirun:
        raise MetapbtError("--jobs N trains N runs of a sweep at a time: add --multirun")
    study = read_sweep(found.overrides, found.config_dir)
    return run_and_tell(study, ["metapbt", "run", *arguments], found.jobs)


def read_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> Study:
    """The runs of a sweep as a study.

    A run with memory learns from what was trained before it in the order of the sweep, as it would one after another:
    where its memory is looked for among the sweep's own results, it starts after the runs before it, and those behind
    it start after it.

    Args:
        overrides: as behind ``metapbt run --multirun``.
        config_dir: a folder with more choices.

    Raises:
        MetapbtError: one is wrong, or two runs would share a directory.
    """
    option = [] if config_dir is None else [f"--config-dir={config_dir}"]
    runs = planned("", [(*option, *words) for words in _each_run(overrides, config_dir)])
    check_distinct("", runs)
    learns = [_learns_here(run, runs) for run in runs]
    blocks = itertools.groupby(range(len(runs)), lambda place: place if learns[place] else -1)
    parts = [[runs[place] for place in block] for _, block in blocks]
    names = [f"part {number}" for number in range(1, len(parts) + 1)] if len(parts) > 1 else [""]
    groups = [
        Group(name, tuple(names[:place]), tuple(replace(run, group=name) for run in part), needs=False)
        for place, (name, part) in enumerate(zip(names, parts, strict=True))
    ]
    return Study("sweep", runs[0].path.parents[3], tuple(groups))


def size_of_sweep(arguments: Sequence[str]) -> int | None:
    """How many runs a sweep has, as behind ``metapbt run``; None where the arguments are for Hydra to refuse."""
    try:
        found, _ = _parser().parse_known_intermixed_args(arguments)
        return len(_each_run(found.overrides, found.config_dir))
    except (MetapbtError, SystemExit, argparse.ArgumentError):
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metapbt run", add_help=False, exit_on_error=False)
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=Path)
    parser.add_argument("overrides", nargs="*")
    return parser


def _each_run(overrides: Sequence[str], config_dir: Path | None) -> list[tuple[str, ...]]:
    """The overrides of each run."""
    asked = parsed(overrides, config_dir)
    fixed = [str(override.input_line) for override in asked if not override.is_sweep_override()]
    return product([*parsed(sweep_of(fixed, config_dir), config_dir), *asked])


def _learns_here(run: StudyRun, runs: Sequence[StudyRun]) -> bool:
    """Whether a run's memory may be made of other runs of the sweep."""
    if "meta" not in run.config:
        return False
    asked = run.config["meta"]["results_dir"]
    places = [Path(place).resolve() for place in ([asked] if isinstance(asked, str) else asked)]
    return any(other.path.resolve().is_relative_to(place) for other in runs for place in places)
