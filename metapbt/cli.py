"""The ``metapbt`` command."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from metapbt.errors import Interrupted, MetapbtError, unexpected

if TYPE_CHECKING:
    import argparse

    from omegaconf import DictConfig


_EXAMPLES = """\
examples:
  metapbt run env=cart_pole method=pb2 seed=0
  metapbt run env=lunar_lander context.leg_height=3.2 method=meta_pb2 meta.results_dir=results
  metapbt run env=Pendulum-v1
  metapbt run env=my_envs:PENDULUM context.length=1.5
  metapbt run --multirun --jobs 2 env=cart_pole method=default,pb2 seed=0,1,2
  metapbt study demo --dry-run
  metapbt study my_study.yaml seed=0,1,2 --jobs 8
  metapbt scripts env=lunar_lander scripts.feature=leg_height method=pb2
  metapbt status results
  metapbt status results --failed --rerun
  metapbt report results
  metapbt watch results
  metapbt replay results/cart_pole/default/pb2/seed_0
  metapbt evaluate results/cart_pole/default/pb2/seed_0 context.pole_length=0.8
  metapbt video results/cart_pole/default/pb2/seed_0
  metapbt export results/cart_pole/default/pb2/seed_0 --to policy.onnx

See metapbt COMMAND --help for more."""


_SCRIPTS_HELP = """\
metapbt scripts writes one script per context, varying one feature, for Slurm or this machine; it trains nothing.

examples:
  metapbt scripts env=lunar_lander scripts.feature=leg_height method=pb2
  metapbt scripts env=cart_pole scripts.feature=pole_length 'scripts.multipliers=[0.5,1,2]' scripts.seeds=3
  metapbt scripts env=lunar_lander scripts.feature=leg_height 'scripts.values=[3.2,6.4]' scripts.directory=mine

keys:
  scripts.feature=NAME         which feature the contexts differ in (required)
  scripts.multipliers=[...]    of the feature's default (0.1, 0.2, ..., 2.2)
  scripts.values=[...]         values instead of multipliers; without either all choices of a category
  scripts.seeds=N or [...]     seeds 0 to N-1, or these (10)
  scripts.directory=DIR        where the scripts are written (contexts)

All other keys are those of metapbt run, and go into the scripts: metapbt run --help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 after an error, 2 after a wrong call, 128 + n after signal n."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _do(arguments)
        finally:  # help ends with SystemExit
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        _complain(f"{stop or 'stopped'}")
        return 128 + (stop.signal_number if isinstance(stop, Interrupted) else 2)
    except BrokenPipeError:  # the reader of a pipe, such as head, had enough
        _write_no_more()
        return 1
    except Exception as error:
        if os.environ.get("METAPBT_TRACEBACK"):
            _complain(traceback.format_exc())
        _complain(f"error: {_foreseen(error)}")
        return 1


def _do(arguments: list[str]) -> int:
    if arguments[:1] in (["run"], ["scripts"]):
        # Hydra reads everything after these words itself.
        return {"run": _run, "scripts": _scripts}[arguments[0]](arguments[1:])
    parsed = _parsed(arguments)
    status: int = parsed.do(parsed)
    return status


def _foreseen(error: Exception) -> MetapbtError:
    """The error in one line, also where no command foresaw it: the last resort."""
    if isinstance(error, MetapbtError):
        return error
    if isinstance(error, OSError) and error.strerror:
        if error.errno == errno.ENOSPC:
            _write_no_more()
        where = f" {error.filename}" if error.filename is not None else ""
        return MetapbtError(f"cannot read or write{where}: {error.strerror}")
    return unexpected(error)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody listens
        print(f"metapbt: {text}", file=sys.stderr, flush=True)


def _write_no_more() -> None:
    """Let what is left in the buffers of standard output go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    parsed, left = parser.parse_known_args(arguments)
    # argparse gives a list of words all of its places at once: those behind an option are left over.
    words = getattr(parsed, "context", getattr(parsed, "overrides", None))
    if words is not None and not any(word.startswith("-") for word in left):
        words += left
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return parsed


def _parser() -> argparse.ArgumentParser:
    import argparse

    from metapbt import __version__
    from metapbt.report.command import add_data, add_report
    from metapbt.runs.command import add_agent
    from metapbt.study.command import add_study

    parser = argparse.ArgumentParser(
        prog="metapbt",
        description="Population-based training that remembers: PBT and PB2, warm-started from related contexts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"metapbt {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # run and scripts are here for the help only: main hands them to Hydra.
    commands.add_parser(
        "run", help="train one population on one context (--multirun: many; --jobs N of them at a time)"
    )
    commands.add_parser("scripts", help="write one script per context, for a cluster or this machine")

    def command(name: str, do: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary)
        made.set_defaults(do=do)
        return made

    add_study(command)
    add_report(command)
    add_agent(command)
    add_data(command)
    return parser


def _run(arguments: Sequence[str]) -> int:
    if any(argument.partition("=")[0] == "--jobs" for argument in arguments):
        from metapbt.study.multirun import train_sweep

        return train_sweep(arguments)
    runs = None
    if _is_sweep(arguments):
        from metapbt.study.multirun import size_of_sweep

        runs = size_of_sweep(arguments)
    numbers = itertools.count(1)

    def one(config: DictConfig) -> None:
        from metapbt.execution.server import start_early

        start_early(config)  # beside the loading of what follows
        from metapbt.runs.run import run_config

        number = next(numbers)
        finished = run_config(config, f"run {number} of {runs}: " if runs else "")
        place = f"[{number:{len(str(runs))}}/{runs}] " if runs else ""
        print(f"{place}{finished.path}: {finished.quoted}", flush=True)

    _with_hydra("run", arguments, one)
    return 0


def _scripts(arguments: Sequence[str]) -> int:
    if {"--help", "-h"}.intersection(arguments):
        print(_SCRIPTS_HELP)
        return 0
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from metapbt.config import job_runner
    from metapbt.study.scripts import write_scripts

    if {"--multirun", "-m"}.intersection(arguments):
        raise MetapbtError("a set of scripts is of one configuration: write each to another scripts.directory")

    def write(config: DictConfig) -> None:
        hydra = HydraConfig.get()
        # Unresolved: an interpolation in an override is for the run to resolve.
        asked: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
        overrides = [text.removeprefix("++") for text in asked]
        config_dir = next((s.path for s in hydra.runtime.config_sources if s.provider == "command-line"), None)
        scripts = write_scripts(config, overrides, config_dir, hydra.runtime.choices)
        print(f"wrote {len(scripts)} scripts to {scripts[0].parent}")
        print(f"submit them to Slurm:  {job_runner()} {scripts[0].parent}")
        print(f"or run them here:      {job_runner()} {scripts[0].parent} --local --jobs 2")

    _with_hydra("scripts", arguments, write)
    return 0


def _with_hydra(command: str, arguments: Sequence[str], do: Callable[[DictConfig], None]) -> None:
    """Let Hydra read the arguments and call ``do`` with each configuration: one, or a sweep's many.

    A failure in a sweep does not take the other runs with it.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from metapbt.config import check_effective, hydra_arguments, readable_errors, shared_dir

    failures: list[Exception] = []
    count = itertools.count()

    def kept_from_hydra(config: DictConfig) -> None:
        # Hydra would print an introduction of its own before every error that passes through it.
        next(count)
        try:
            asked: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
            check_effective(asked, config)
            do(config)
        except Exception as error:
            failures.append(error)
            if _is_sweep(arguments):
                _complain(f"error: {_foreseen(error)}")

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra pass its own errors on instead of printing them
    before = sys.argv
    try:
        with readable_errors(arguments):
            sys.argv = [f"metapbt {command}", *hydra_arguments(arguments)]
            main_of_hydra = hydra.main(
                config_path=str(shared_dir("conf").resolve()), config_name="config", version_base="1.3"
            )
            main_of_hydra(kept_from_hydra)()
    finally:
        sys.argv = before
    if failures and _is_sweep(arguments):
        raise MetapbtError(f"{len(failures)} of {next(count)} runs of the sweep failed")
    if failures:
        raise failures[0]


def _is_sweep(arguments: Sequence[str]) -> bool:
    return any(argument in ("--multirun", "-m") for argument in arguments)


def _speak() -> None:
    """Let standard output and error take every text, also where they are closed or know few letters.

    Hydra logs what ``--info`` shows; a log that nobody reads is no error.
    """
    logging.raiseExceptions = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def entry() -> NoReturn:
    """The console script, and ``python -m metapbt``."""
    _speak()
    # As with `python -m`, code beside one's configuration is found; last, so that it hides nothing that is installed.
    sys.path.append(os.getcwd())  # noqa: PTH109 - sys.path holds strings
    try:
        sys.exit(main())
    finally:
        gc.freeze()  # or Python looks for garbage in all libraries once more before it ends, for up to a second
