"""The commands that look at results: ``metapbt report``, ``status``, ``toy`` and ``data``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from metapbt.errors import MetapbtError


def add_report(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``report``, ``watch`` and ``status``, made by ``command(name, function, summary)``."""
    report = command("report", _report, "figures and a page that compare methods over contexts")
    report.add_argument(
        "results",
        type=Path,
        metavar="RESULTS",
        help="a directory with runs in it, or one run's own directory, for figures of that run alone",
    )
    report.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RESULTS/report)")
    report.add_argument(
        "--baseline", metavar="METHOD", help="compare every other method with this one (default: chosen for each)"
    )
    report.add_argument(
        "--views",
        type=int,
        default=2,
        metavar="N",
        help="number of runs for which the page shows surrogate, memory and importance; takes seconds per run "
        "(default: 2)",
    )
    report.add_argument(
        "--width",
        metavar="LENGTH",
        help="width of every figure, with 8 pt text, for a paper: 5.5in, 14cm, 140mm or 397pt",
    )
    report.add_argument(
        "--figures", nargs="+", metavar="NAME", help="draw only these, such as curves and final (docs/figures.md)"
    )
    report.add_argument(
        "--threshold",
        type=float,
        metavar="RETURN",
        help="count the steps to this return (default: three quarters of each context's range)",
    )
    report.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of tables")

    watch = command("watch", _watch, "the report's page, live, on this machine, while runs go on")
    watch.add_argument("results", type=Path, metavar="RESULTS", help="a directory with runs in it")
    watch.add_argument("--baseline", metavar="METHOD", help="compare every other method with this one")
    watch.add_argument("--port", type=int, metavar="N", help="where to listen (default: 8765, or a free one)")

    status = command(
        "status", _status, "how many seeds are done; which are running, pending, failed, stopped or missing"
    )
    status.add_argument("results", type=Path, metavar="RESULTS", help="a directory with runs in it")
    status.add_argument("--failed", action="store_true", help="only the runs that failed, each with its error")
    status.add_argument("--rerun", action="store_true", help="with --failed: train them again (docs/clusters.md)")


def add_data(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``toy`` and ``data``, made by ``command(name, function, summary)``."""
    toy = command("toy", _toy, "figures and an animation of what populations did on env=quadratic")
    toy.add_argument("results", type=Path, metavar="RESULTS", help="a directory with runs of env=quadratic in it")
    toy.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RESULTS/figures)")

    data = command("data", _data, "look at the records of many runs, check them, export them")
    data.add_argument(
        "action",
        choices=["ls", "show", "check", "export"],
        help="ls: list the runs; show: summarise their records; check: whether files are intact; "
        "export: all records as one table",
    )
    data.add_argument("results", type=Path, metavar="RESULTS", help="a directory with runs in it")
    data.add_argument(
        "--memory",
        action="store_true",
        help="show: also how well a memory of these runs predicts each context when it is held out; "
        "takes seconds per context",
    )
    data.add_argument("--to", type=Path, metavar="FILE", help="export: a file ending in .csv, .parquet or .json")


def _report(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from metapbt.report.figures.style import inches
    from metapbt.report.overview import tell
    from metapbt.report.report import print_report, report_json, write_report

    width = None if parsed.width is None else inches(parsed.width)
    report = write_report(
        parsed.results, parsed.out, parsed.baseline, width, parsed.figures, parsed.threshold, parsed.views
    )
    notes = _of_one_run(parsed.results, report.page.parent / "run", width)
    if parsed.json:
        print(report_json(report.sections), end="")
        return tell(report.problems)
    status = print_report(report, Console())
    for note in notes:
        print(note)
    return status


def _of_one_run(directory: Path, out: Path, width: float | None) -> list[str]:
    """Where it is a run's own directory, draw what its method knew; return what there is to say of that."""
    from metapbt.progress import progress
    from metapbt.report.run_figures import write_run_figures
    from metapbt.runs.run import load
    from metapbt.store.run_directory import RunDirectory

    if not RunDirectory(directory).exists:
        return []
    with progress("looking into the run"):
        drawn = write_run_figures(load(directory), out, width)
    return [*drawn.notes, f"{out}: {', '.join(drawn.captions)}"]


def _watch(parsed: argparse.Namespace) -> int:
    from metapbt.report.live import watch

    return watch(parsed.results, parsed.port, parsed.baseline)


def _toy(parsed: argparse.Namespace) -> int:
    from metapbt.report.overview import tell
    from metapbt.report.toy.write import write_toy_figures

    problems: list[MetapbtError] = []
    for path in write_toy_figures(parsed.results, parsed.out, problems.append):
        print(path)
    return tell(problems)


def _status(parsed: argparse.Namespace) -> int:
    from metapbt.report.status import print_status

    return print_status(parsed.results, parsed.failed, parsed.rerun)


def _data(parsed: argparse.Namespace) -> int:
    from metapbt.report import overview

    if parsed.action == "export":
        if parsed.to is None:
            raise MetapbtError("data export needs --to FILE, ending in .csv, .parquet or .json")
        return overview.export(parsed.results, parsed.to)
    if parsed.action == "check":
        return overview.print_check(parsed.results)
    status = {"ls": overview.print_runs, "show": overview.print_records}[parsed.action](parsed.results)
    if parsed.memory:
        overview.print_memory(parsed.results)
    return status
