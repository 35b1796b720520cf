"""The report: figures for every environment and feature, their numbers, and one page that shows all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.report.catalogue import Asked, Entry, chosen, tables_of, texts
from metapbt.report.comparison import check_baseline
from metapbt.report.figures.style import FORMATS, save_figure
from metapbt.report.generalisation import RETURNS, generalisation_curves, generalisation_data, generalisation_json
from metapbt.report.groups import group_read_runs
from metapbt.report.overview import tell
from metapbt.report.page.write import VIEWS, write_page
from metapbt.report.reading import RunReader
from metapbt.report.section import Section
from metapbt.report.verdict import verdict_json
from metapbt.report.wording import format_estimate, seeds_line

# Where something is missing, pandas would write these as 3.0. Steps of each member are those of the run, divided, which
# need not be whole where students train as well: 25 of them for 8 members.
WHOLE_NUMBERS = (
    "env_steps", "generations", "generations_planned", "steps_to_threshold", "from_generation", "from_member",
)  # fmt: skip


class Report(NamedTuple):
    """A report that was written.

    Attributes:
        page: the path of ``index.html``. Beside it is ``verdict.json``, and ``<env>/<feature>/`` holds every figure as
            PNG, PDF and SVG, and its numbers as CSV.
        sections: what is said of each environment and feature.
        problems: what is wrong with the runs that could not be read, and that the report is without.
    """

    page: Path
    sections: tuple[Section, ...]
    problems: tuple[MetapbtError, ...] = ()


def write_report(
    results: Path,
    out: Path | None = None,
    baseline: str | None = None,
    width: float | None = None,
    figures: Sequence[str] | None = None,
    threshold: float | None = None,
    views: int = VIEWS,
) -> Report:
    """Compare the methods of every run under ``results``. The same runs give the same files, byte for byte.

    Args:
        results: a directory that holds run directories, at any depth.
        out: where the report goes; ``<results>/report`` if not given.
        baseline: the method that all others are compared with; chosen for each if None.
        width: of every figure in inches, with text of 8 points; None for figures that suit the page.
        figures: the names of those that are drawn; all if None.
        threshold: the return to which steps are counted; a share of each context's range if None.
        views: of how many runs the page shows what their methods knew, which takes seconds for each.

    Raises:
        MetapbtError: there are no runs, or no records yet, or none of a method called as the baseline; or a figure is
            unknown.
    """
    results = Path(results)
    out = Path(out) if out is not None else results / "report"
    entries = chosen(figures)
    problems: list[MetapbtError] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        try:
            read = RunReader(results).read(problems.append, lambda found: bar.track(found, description="reading"))
            groups = group_read_runs(read, results)
        except MetapbtError:
            bar.stop()
            tell(problems)
            raise
        check_baseline(groups, baseline)
        drawing = bar.add_task("drawing", total=len(groups) * len(entries))
        sections = tuple(
            _write_section(Asked(group, baseline, threshold), out, entries, width, lambda: bar.advance(drawing))
            for group in groups
        )
        write_text_atomically(out / "verdict.json", report_json(sections))
        looking = bar.add_task("looking into runs", total=None)
        write_page(
            out,
            results,
            read,
            sections,
            problems,
            baseline,
            views,
            tracked=lambda runs: bar.track(runs, task_id=looking),
        )
    return Report(out / "index.html", sections, tuple(problems))


def report_json(sections: Sequence[Section]) -> str:
    """What ``verdict.json`` holds, and ``metapbt report --json`` prints."""
    return verdict_json((section.group, section.verdicts) for section in sections)


def print_report(report: Report, console: Console) -> int:
    """Print the final returns, then what they say, which no table is to push off the screen, then where the page is.

    Returns:
        The exit status.
    """
    console.print(_final_returns(report))
    if any(len(section.generalisation) for section in report.sections):
        console.print(_generalisation(report))
    console.print()
    for section in report.sections:
        console.print(Text(section.group.title, style="bold"))
        for sentence in section.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)
        for note in section.group.notes:
            console.print(Text(f"Note: {note}", style="yellow"), soft_wrap=not console.is_terminal)
        console.print()
    console.print(str(report.page), markup=False, highlight=False, soft_wrap=True)
    return tell(report.problems)


def _final_returns(report: Report) -> Table:
    """A row for each context and method, by environment and feature."""
    table = Table(title="Final returns", title_justify="left")
    for heading in ("context", "method", "mean [95% interval]", "seeds"):
        table.add_column(heading, justify="right" if heading.startswith("mean") else "left", overflow="fold")
    for section in report.sections:
        table.add_section()
        table.add_row(Text(section.group.title, style="bold"))
        group, previous = section.group, None
        sources = {group.labels[context] for context in group.contexts if group.only_source(context)}
        for cell in section.final.to_dict("records"):
            if cell["status"] == "source":  # nobody else was to run there
                continue
            context, previous = "" if cell["context"] == previous else cell["context"], cell["context"]
            source = cell["context"] in sources
            estimate = format_estimate(cell["mean"], cell["low"], cell["high"])
            seeds = seeds_line(cell["status"], cell["finished"], cell["low"])
            cells = f"{context} (source)" if context and source else context, cell["method"], estimate, seeds
            # Text, not markup: brackets around an interval are no style.
            table.add_row(*(Text(text, style="dim" if source else "") for text in cells))
    return table


def _generalisation(report: Report) -> Table:
    """A row for each context and method whose runs were tested on levels that training never saw."""
    table = Table(title="Levels of training and held-out levels", title_justify="left")
    for heading in ("context", "method", "training return", "held-out return", "gap", "seeds"):
        number = heading not in ("context", "method", "seeds")
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for section in report.sections:
        rows = section.generalisation.to_dict("records")
        if not rows:
            continue
        table.add_section()
        table.add_row(Text(section.group.title, style="bold"))
        previous = None
        for row in rows:
            context, previous = "" if row["context"] == previous else row["context"], row["context"]
            returns = (
                format_estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], "+" if name == "gap" else "")
                for name in RETURNS
            )
            table.add_row(*map(Text, (context, row["method"], *returns, str(row["runs"]))))
    return table


def _write_section(
    asked: Asked, out: Path, entries: Mapping[str, Entry], width: float | None, drawn: Callable[[], None]
) -> Section:
    group, folder = asked.group, out / asked.group.folder
    tables = tables_of(asked, entries)
    shown = tuple(texts(asked, entries, tables))
    written = {table.removesuffix(".csv") for text in shown for table in text.tables}
    generalisation = generalisation_data(group)
    if len(generalisation) or "generalisation" in written:
        tables["generalisation"] = generalisation
        tables.setdefault("generalisation_curves", generalisation_curves(group))
        written |= {"generalisation", "generalisation_curves"}
        write_text_atomically(folder / "generalisation.json", generalisation_json(group))
    for name in sorted(written & tables.keys()):
        write_text_atomically(folder / f"{name}.csv", _csv(tables[name]))
    for text in shown:
        if text.left_out is None:
            figure = entries[text.name].figure(group, tables, width)
            figure.set_layout_engine("none")  # where things are is settled
            save_figure(figure, folder, text.name)
        drawn()
    _remove_earlier(folder, entries, {text.name for text in shown if text.left_out is None}, written)
    return Section.of(group, asked.baseline, shown)


def _remove_earlier(folder: Path, entries: Mapping[str, Entry], figures: set[str], tables: set[str]) -> None:
    """Remove what an earlier report of other runs had of these figures, and this one has not; others stay."""
    drawn = {f"{name}.{suffix}" for name in entries.keys() - figures for suffix in FORMATS}
    counted = {f"{name}.csv" for entry in entries.values() for name in entry.tables if name not in tables}
    for name in drawn | counted:
        (folder / name).unlink(missing_ok=True)


def _csv(table: pd.DataFrame) -> str:
    whole = {column: table[column].astype(float).round() for column in WHOLE_NUMBERS if column in table}
    written = table.assign(**whole).astype(dict.fromkeys(whole, "Int64"))
    return written.to_csv(index=False, lineterminator="\n")
