"""The report: figures for every environment and feature, their numbers, and one page that shows all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.report.comparison import check_baseline
from metapbt.report.figures.comparison import draw_comparison
from metapbt.report.figures.curves import draw_curves
from metapbt.report.figures.final_returns import draw_final
from metapbt.report.figures.generalisation import draw_generalisation
from metapbt.report.figures.heatmap import draw_heatmap
from metapbt.report.figures.style import figure_style, save_figure
from metapbt.report.generalisation import RETURNS, generalisation_json
from metapbt.report.groups import group_read_runs
from metapbt.report.overview import tell
from metapbt.report.page.write import VIEWS, write_page
from metapbt.report.reading import RunReader
from metapbt.report.section import Section
from metapbt.report.verdict import verdict_json
from metapbt.report.wording import format_estimate, seeds_line

# Where something is missing, pandas would write these as 3.0. Steps of each member are those of the run, divided, which
# need not be whole where students train as well: 25 of them for 8 members.
WHOLE_NUMBERS = ("env_steps", "generations", "generations_planned")


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


def write_report(results: Path, out: Path | None = None, baseline: str | None = None, views: int = VIEWS) -> Report:
    """Compare the methods of every run under ``results``. The same runs give the same files, byte for byte.

    Args:
        results: a directory that holds run directories, at any depth.
        out: where the report goes; ``<results>/report`` if not given.
        baseline: the method that all others are compared with; chosen for each if None.
        views: of how many runs the page shows what their methods knew; that takes seconds for each.

    Raises:
        MetapbtError: there are no runs, or no records yet, or none of a method called as the baseline.
    """
    results = Path(results)
    out = Path(out) if out is not None else results / "report"
    problems: list[MetapbtError] = []
    try:
        read = RunReader(results).read(problems.append)
        groups = group_read_runs(read, results)
    except MetapbtError:
        tell(problems)
        raise
    check_baseline(groups, baseline)
    sections = tuple(Section.of(group, baseline) for group in groups)
    with figure_style():
        for section in sections:
            _write_section(section, out, baseline)
    write_text_atomically(out / "verdict.json", report_json(sections))
    write_page(out, results, read, sections, problems, baseline, views)
    return Report(out / "index.html", sections, tuple(problems))


def report_json(sections: Sequence[Section]) -> str:
    """What ``verdict.json`` holds, and ``metapbt report --json`` prints."""
    return verdict_json((section.group, section.verdicts) for section in sections)


def print_report(report: Report, console: Console) -> int:
    """Print the verdicts, then the final returns behind them, then where the page is; return the exit status."""
    for section in report.sections:
        console.print(Text(section.group.title, style="bold"))
        for sentence in section.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)
        console.print()
    console.print(_final_returns(report))
    if any(len(section.generalisation) for section in report.sections):
        console.print(_generalisation(report))
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
        previous = None
        for cell in section.final.to_dict("records"):
            context, previous = "" if cell["context"] == previous else cell["context"], cell["context"]
            estimate = format_estimate(cell["mean"], cell["low"], cell["high"])
            seeds = seeds_line(cell["status"], cell["finished"], cell["low"])
            # Text, not markup: brackets around an interval are no style.
            table.add_row(*map(Text, (context, cell["method"], estimate, seeds)))
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


def _write_section(section: Section, out: Path, baseline: str | None) -> None:
    group, folder = section.group, out / section.group.folder
    figures = {
        "curves": draw_curves(group, section.curves),
        "final": draw_final(group, section.final, section.final_runs),
        "heatmap": draw_heatmap(group, section.heatmap),
        "comparison": draw_comparison(group, section.comparison, baseline),
    }
    if "generalisation" in section.tables:
        write_text_atomically(folder / "generalisation.json", generalisation_json(group))
    if len(section.generalisation_curves):
        figures["generalisation"] = draw_generalisation(group, section.generalisation_curves)
    for name, table in section.tables.items():
        whole = {column: table[column].astype(float).round() for column in WHOLE_NUMBERS if column in table}
        written = table.assign(**whole).astype(dict.fromkeys(whole, "Int64"))
        write_text_atomically(folder / f"{name}.csv", written.to_csv(index=False, lineterminator="\n"))
    for name, figure in figures.items():
        save_figure(figure, folder, name)
