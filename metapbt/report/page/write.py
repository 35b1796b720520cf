"""The page as a file: with what it links to beside it."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from metapbt.errors import MetapbtError
from metapbt.files import atomic_file, write_text_atomically
from metapbt.report.knowledge import has_surrogate
from metapbt.report.page.data import Places, Plain, group_data, overview, run_data, video_of
from metapbt.report.page.detail import detail
from metapbt.report.page.known import known
from metapbt.report.page.page import package_version, render_page
from metapbt.report.reading import ReadRun, name_of
from metapbt.report.section import Section
from metapbt.store.results import OnProblem

#: Of how many runs a page shows what their methods knew, unless another number is asked for.
VIEWS = 2


def write_page(
    out: Path,
    results: Path,
    read: Sequence[ReadRun],
    sections: Sequence[Section],
    problems: Sequence[MetapbtError] = (),
    baseline: str | None = None,
    views: int = VIEWS,
    tracked: Callable[[Sequence[ReadRun]], Iterable[ReadRun]] = iter,
) -> None:
    """Write ``index.html``, and copy the runs' videos beside it.

    Args:
        out: the folder of the page.
        results: where the runs are.
        read: the runs.
        sections: what is said of them.
        problems: what could not be read.
        baseline: what methods are compared with, if that was asked for.
        views: of how many runs the page shows what their methods knew.
        tracked: gives the runs out one after another; a bar may look on.
    """
    problems = [*problems]
    places = Places(
        results,
        {name_of(run.info.path, results): _link(run.info.path, out) for run in read},
        _copied_videos(out, results, read, problems.append),
    )
    asked = f" --baseline {shlex.quote(baseline)}" if baseline else ""
    data = overview(
        [group_data(section, places) for section in sections],
        [run_data(each, places) for each in read],
        f"metapbt report {shlex.quote(results.name or str(results))}{asked}",
        package_version(),
        [_without(error, results) for error in problems],
    )
    chosen = {run.info.path for run in worth_a_view(read, views)}
    details: dict[str, Plain] = {}
    for run in tracked(read):
        if run.table is not None:
            name = name_of(run.info.path, results)
            details[name] = {**detail(run), "known": known(run) if run.info.path in chosen else None}
    write_text_atomically(out / "index.html", render_page(data, details))


def worth_a_view(read: Sequence[ReadRun], count: int) -> list[ReadRun]:
    """The runs of which it is shown what their methods knew: of each environment and method the best one first.

    Those with a memory come before others, then the longer ones.
    """
    able = [run for run in read if run.table is not None and has_surrogate(run.info.method)]
    ranks: dict[tuple[str, str], int] = {}
    ordered = []
    for run in sorted(able, key=lambda run: -_value(run)):
        key = run.info.env, run.info.name
        ranks[key] = ranks.get(key, -1) + 1
        ordered.append((ranks[key], not run.info.ancestry, -len(run.run.steps), run.info.path, run))
    return [entry[-1] for entry in sorted(ordered, key=lambda entry: entry[:-1])[: max(count, 0)]]


def _value(run: ReadRun) -> float:
    return run.run.final if math.isfinite(run.run.final) else -math.inf


def _link(path: Path, out: Path) -> str:
    """A link from the page to a run directory; they may lie on other drives' sides, but are relative all the same."""
    return quote(Path(os.path.relpath(path.absolute(), out.absolute())).as_posix()) + "/"


def _copied_videos(out: Path, results: Path, read: Sequence[ReadRun], on_problem: OnProblem) -> Mapping[str, str]:
    found = {}
    for run in read:
        video, name = video_of(run.info.path), name_of(run.info.path, results)
        if video is not None:
            try:
                video.open("rb").close()
            except OSError as error:  # somebody else's
                on_problem(MetapbtError(f"{video} cannot be read: {error.strerror}"))
                continue
            copy = out / "videos" / (re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", name) + video.suffix)
            with atomic_file(copy) as temporary:
                shutil.copyfile(video, temporary)
            found[name] = quote(copy.relative_to(out).as_posix())
    return found


def _without(error: MetapbtError, results: Path) -> MetapbtError:
    """An error that does not say where the results are on this machine."""
    return MetapbtError(str(error).replace(f"{results}{os.sep}", ""))
