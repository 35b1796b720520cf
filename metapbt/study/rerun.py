"""Runs that failed, run again: from what their directories say of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.log import counted
from metapbt.runs.run import run_config
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.study.slurm import script_of

#: Of ``config.yaml``, what follows from the rest.
_FOLLOWS = "features", "versions"


def rerun_all(failed: Sequence[RunInfo]) -> list[MetapbtError]:
    """Train runs that failed again, here and one after another; each goes on where it failed.

    Those that a study submitted to the cluster that this machine belongs to are not trained here: the command that
    submits them again is printed. It is not called, for what lies among results is data.

    Returns:
        What is wrong with those that failed again.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    scripts = {run.path: script_of(run.path) for run in failed}
    here = [run for run in failed if scripts[run.path] is None]
    problems = []
    for number, run in enumerate(here, start=1):
        print(f"{number} of {len(here)}: {run.path}", flush=True)
        try:
            print(f"{run.path}: {_again(run)}", flush=True)
        except MetapbtError as error:
            problems.append(MetapbtError(str(error) if str(run.path) in str(error) else f"{run.path}: {error}"))
    for script in sorted({script for script in scripts.values() if script}):
        count = sum(other == script for other in scripts.values())
        command = shlex.join(["bash", os.path.relpath(script), "--submit", "--failed"])
        print(f"{counted(count, 'run')} of this cluster's; to submit again:  {command}")
    return problems


def _again(run: RunInfo) -> str:
    """Train a run on; return what it is worth.

    Raises:
        MetapbtError: it failed again; it is another user's; or it was moved among the results, and is no more where its
            configuration puts it.
    """
    from omegaconf import OmegaConf

    # A configuration may name code (package.module:X), which is imported only from what is one's own.
    if (run.path / "config.yaml").stat().st_uid != os.getuid():
        raise MetapbtError(f"{run.path} is another user's, who can run it again")
    results_dir = Path(os.path.relpath(run.path.resolve().parents[3]))
    place = run_directory(results_dir, run.env, run.context, run.name, run.seed)
    if place.resolve() != run.path.resolve():
        raise MetapbtError(f"{run.path} was moved, and would run again as {place}: move it there first")
    asked = {key: value for key, value in RunDirectory(run.path).config().items() if key not in _FOLLOWS}
    # What a run does not need is missing in its file, but not in a configuration.
    spare = {str(key): value for key, value in compose().items() if key not in _FOLLOWS}
    return run_config(OmegaConf.create({**spare, **asked, "results_dir": str(results_dir), "resume": True})).quoted
