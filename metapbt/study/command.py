"""The command ``metapbt study``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metapbt.errors import MetapbtError
from metapbt.log import counted

if TYPE_CHECKING:
    from metapbt.study.study import Study, StudyRun

_EXAMPLES = """\
examples:
  metapbt study demo --dry-run                   # which groups, how many runs, how long
  metapbt study demo                             # started again, it goes on where it stopped
  metapbt study demo --failed                    # only what failed
  metapbt study published_study seed=0,1,2 results_dir=results/mine --jobs 8
  metapbt study my_study.yaml cluster=slurm      # on a cluster
  metapbt study my_study.yaml cluster=ray        # on all nodes of a Ray cluster

A study is a YAML file of groups of runs:
  sources: {env: cart_pole, method: pb2, context.pole_length: [0.2, 0.8]}
  targets: {after: sources, env: cart_pole, method: [pb2, meta_pb2], context.pole_length: 0.35, seed: [0, 1]}
See docs/studies.md for more."""


def add_study(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, made by ``command(name, function, summary)``."""
    parser = command(
        "study", _study, "train many runs, sources before the runs that learn from them; continue where it stopped"
    )
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument("study", metavar="NAME|FILE", help="one of conf/study or DIR/study, or a YAML file of your own")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override the study's own; a,b sweeps over a and b"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained, and how long it will take")
    jobs_argument(parser)
    parser.add_argument("--failed", action="store_true", help="only runs that failed, and those that waited for them")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of your own choices and studies")


def jobs_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs N``."""
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="runs at a time, at most (default: as many as cores)")


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"must be a number of runs, 1 to 1024, got {text!r}")
    return int(text)


def _study(parsed: argparse.Namespace) -> int:
    from metapbt.study.study import read_study

    study = read_study(parsed.study, parsed.overrides, parsed.config_dir)
    if parsed.dry_run:
        from metapbt.study.local import chosen
        from metapbt.study.outline import print_outline

        states = {run: run.state for run in study.runs}
        cores = len(os.sched_getaffinity(0))
        print_outline(study, states, chosen(study, states, parsed.failed), cores, parsed.jobs)
        return 0
    words = ["metapbt", "study", parsed.study, *parsed.overrides]
    words += ["--config-dir", str(parsed.config_dir)] if parsed.config_dir else []
    words += ["--jobs", str(parsed.jobs)] if parsed.jobs else []
    if study.cluster in (None, "ray"):
        return run_and_tell(study, words, parsed.jobs, parsed.failed)
    if parsed.jobs is not None:
        raise MetapbtError(
            "--jobs N is for studies here and on Ray; on a cluster cluster.max_parallel=N limits each array"
        )
    from metapbt.study.slurm import submit  # a choice of one's own is a template for Slurm, too

    for line in submit(study, words, parsed.failed):
        print(line, flush=True)
    return 0


def run_and_tell(study: Study, command: Sequence[str], jobs: int | None, only_failed: bool = False) -> int:
    """Train a study, here or on Ray; say at the end what did not end well and how to train it again.

    Args:
        study: what to train.
        command: that asked for it.
        jobs: runs at a time, at most; None for as many as there are cores.
        only_failed: train only those that failed.

    Returns:
        The exit status.

    Raises:
        MetapbtError: a run was refused before anything trained.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    if study.cluster == "ray":
        from metapbt.study.ray import run_on_ray as train
    else:
        from metapbt.study.local import run_study as train

    wrong = train(study, shlex.join(command), jobs, only_failed)
    done = sum(run not in wrong and run.state == "done" for run in study.runs)
    print(f"{done} of {len(study.runs)} runs are done, in {study.results_dir}", flush=True)
    left = len(study.runs) - done - len(wrong)
    if only_failed and left:
        print(f"{counted(left, 'run')} left that did not fail: run again without --failed to train", flush=True)
    if not wrong:
        return 0
    for run, error in wrong.items():
        print(f"metapbt: {run.title}: {error}", file=sys.stderr)
    again = [*command, "--failed"] if command[1] == "study" and _all_known(study, wrong) else command
    raise MetapbtError(
        f"{len(wrong)} of {len(study.runs)} runs failed or could not start; to try again: {shlex.join(again)}"
    )


def _all_known(study: Study, wrong: Mapping[StudyRun, str]) -> bool:
    """Whether --failed finds all runs that did not end well: a run that was refused leaves no directory."""
    from metapbt.study.local import chosen

    return wrong.keys() <= chosen(study, {run: run.state for run in study.runs}, only_failed=True)
