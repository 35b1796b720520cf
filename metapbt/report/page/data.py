"""What the page shows, as plain data: the same for the file and for the live page, and no HTML.

The overview is one object (`overview`), each run another (`metapbt.report.page.detail.detail`). Tables are
columns: a mapping from a column's name to a list of values. Numbers have five significant digits; what is not finite is
null.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.history.context import digits
from metapbt.report.comparison import areas_in
from metapbt.report.figures.style import color_range
from metapbt.report.generalisation import RETURNS
from metapbt.report.groups import Group
from metapbt.report.page.commands import command_of
from metapbt.report.palette import method_styles
from metapbt.report.reading import ReadRun, name_of
from metapbt.report.section import Section
from metapbt.store.run_directory import RunDirectory

SCHEMA = 1
STATES = ("done", "running", "stopped", "failed")
VIDEOS = ("video.mp4", "video.webm", "video.gif", "video.webp")
#: Points of a curve, and columns of a heat map, that the page draws at most; CSV files have all of them.
MOST_POINTS = 120
MOST_COLUMNS = 60

Plain = dict[str, Any]


class Places(NamedTuple):
    """Where things are that the page links to.

    Attributes:
        results: what runs are named relative to.
        runs: of each run, by its name, the link to its directory; empty where there are no links.
        videos: of each run that has one, by its name, the link to its video.
    """

    results: Path
    runs: Mapping[str, str]
    videos: Mapping[str, str]


def video_of(path: Path) -> Path | None:
    """The video in a run directory, if there is one: a regular file."""
    return next((file for name in VIDEOS if (file := path / name).is_file() and not file.is_symlink()), None)


def numbers(values: Iterable[Any], significant: int = 5) -> list[Any]:
    """Numbers with so many significant digits, and null for what is none."""
    return [_number(value, significant) for value in values]


def _number(value: Any, significant: int) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if value is pd.NA else str(value)
    if not math.isfinite(number):
        return None
    if number.is_integer() and abs(number) < 2**53:
        return int(number)
    return float(f"{number:.{significant}g}")


def overview(
    groups: Sequence[Plain], runs: Sequence[Plain], command: str, version: str, problems: Sequence[MetapbtError] = ()
) -> Plain:
    """All that the page shows but single runs.

    Args:
        groups: of `group_data`.
        runs: of `run_data`.
        command: what made the page.
        version: of the package.
        problems: what could not be read.
    """
    return {
        "schema": SCHEMA,
        "version": version,
        "command": command,
        "updated": max((run["ended"] for run in runs if run["ended"]), default=None),
        "groups": list(groups),
        "runs": list(runs),
        "problems": [str(error) for error in problems],
    }


def run_data(read: ReadRun, places: Places) -> Plain:
    """One run in the overview: what it is, what it came to, its score curve, its configuration."""
    info, run, directory = read.info, read.run, RunDirectory(read.info.path)
    name = name_of(info.path, places.results)
    try:
        config = directory.config()
    except MetapbtError:
        config = {}
    chosen = _thinned(len(run.steps), MOST_POINTS)
    return {
        "id": name,
        "env": info.env,
        "context": info.context.label,
        "method": run.method,
        "chosen_by": info.method,
        "learner": info.learner,
        "seed": info.seed,
        "state": info.state,
        "error": info.error,
        "metric": info.metric,
        "members": info.size,
        "generations": len(run.steps),
        "planned": info.generations,
        "final": _number(run.final, 5),
        "test_return": _number(info.test_return, 5),
        "test_episodes": info.done.test_episodes if info.done else 0,
        "sources": _differing(info.context, info.ancestry),
        "failed": run.failed,
        "begun": _date(info.path / "config.yaml"),
        "ended": _date(*(info.path / name for name in ("DONE", "FAILED", "journal", "records.parquet"))),
        "steps": numbers(run.steps[chosen], 7),
        "scores": numbers(run.scores[chosen]),
        "command": command_of(config, info),
        "versions": config.get("versions") if isinstance(config.get("versions"), dict) else {},
        "folder": places.runs.get(name),
        "video": places.videos.get(name),
    }


def _differing(context: Context, others: Iterable[Context]) -> list[str]:
    """Other contexts by the features in which any of them differs from a run's own."""
    found = list(others)
    names = [name for name in context if any(other.get(name) != context[name] for other in found)]
    return sorted(", ".join(f"{name}={digits(other[name])}" for name in names if name in other) for other in found)


_OF_POOLED = "statistic", "quantity", "unit", "estimate", "low", "high", "contexts", "runs"


def group_data(section: Section, places: Places) -> Plain:
    """One environment and feature: what is compared, the verdict, and the numbers of every figure."""
    group = section.group
    contexts = {label: index for index, label in enumerate(group.labels.values())}
    areas = {path: area for context in group.contexts for path, area in areas_in(group, context).items()}
    methods = {name: index for index, name in enumerate(group.methods)}
    remembering = {run.method for run in group.runs if run.remembers}
    states = Counter(run.state for run in group.runs)
    curves, heatmap = _thinned_curves(section.curves), _thinned_heatmap(section.heatmap)
    pooled = section.comparison[section.comparison["statistic"] != "difference"]
    differences = section.comparison[section.comparison["statistic"] == "difference"]
    return {
        "id": group.folder,
        "env": group.env,
        "learner": group.learner,
        "features": list(group.features),
        "feature": group.feature_label,
        "units": list(group.units),
        "axis": group.axis_label,
        "title": group.title,
        "verdict": section.sentences,
        "notes": list(group.notes),
        "contexts": [_context_data(group, context) for context in group.contexts],
        "methods": [
            {"name": name, "color": style.color, "dark": style.dark, "marker": style.marker, "dash": style.dash}
            | {"remembers": name in remembering}
            for name, style in method_styles(group.methods).items()
        ],
        "seeds": group.seeds,
        "states": [[state, states[state]] for state in (*STATES, *sorted(set(states) - set(STATES))) if states[state]],
        "runs": [
            [name_of(run.path, places.results), contexts[group.labels[run.context]], _number(areas[run.path], 5)]
            for run in group.runs
        ],
        "curves": _columns(curves, ("env_steps", "mean", "low", "high", "seeds"), contexts, methods),
        "heatmap": _columns(heatmap, ("env_steps", "mean", "seeds"), contexts, methods),
        "heatmap_range": list(color_range(section.heatmap["mean"])),
        "final": _columns(
            section.final, ("mean", "low", "high", "status", "finished", "expected", "seeds"), contexts, methods
        ),
        "pooled": _columns(
            pooled,
            _OF_POOLED,
            {},
            methods,
        ),
        "differences": _columns(
            differences,
            ("method", "baseline", "context", *_OF_POOLED[1:], "alike"),
            {},
            {},
        ),
        "generalisation": _columns(
            section.generalisation,
            ("trained_on", "tested_on", "runs", *(f"{name}{end}" for name in RETURNS for end in ("", "_low", "_high"))),
            contexts,
            methods,
        ),
        "generalisation_curves": _generalisation_curves(section.generalisation_curves, contexts, methods),
        "missing": _missing(group),
        "figures": [
            {"name": text.name, "heading": text.heading, "tables": list(text.tables), "left_out": text.left_out}
            for text in section.figures
        ],
        "folder": group.folder,
    }


def _context_data(group: Group, context: Context) -> Plain:
    return {
        "label": group.labels[context],
        "values": [_number(context[name], 6) for name in group.features],
        "source": group.only_source(context),
        "remembered": context in group.sources,
    }


def _columns(
    frame: pd.DataFrame, names: Sequence[str], contexts: Mapping[str, int], methods: Mapping[str, int]
) -> Plain:
    """A table as columns; contexts and methods by their numbers, where there are any."""
    columns: Plain = {}
    if contexts:
        columns["c"] = [contexts[label] for label in frame["context"]] if len(frame) else []
    if methods:
        columns["m"] = [methods[name] for name in frame["method"]] if len(frame) else []
    for name in names:
        columns[name] = numbers(frame[name], 7 if name == "env_steps" else 5) if name in frame else []
    return columns


def _generalisation_curves(frame: pd.DataFrame, contexts: Mapping[str, int], methods: Mapping[str, int]) -> Plain:
    if not len(frame):
        return {}
    names = [name for name in frame.columns if name not in ("env", "learner", "context", "method", "status")]
    return _columns(frame, names, contexts, methods)


def _thinned(count: int, most: int) -> Any:
    """Indices of at most so many of ``count`` points, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.empty(0, int)


def _thinned_curves(frame: pd.DataFrame) -> pd.DataFrame:
    known = frame[frame["env_steps"].notna()] if "env_steps" in frame else frame
    kept = [rows.iloc[_thinned(len(rows), MOST_POINTS)] for _, rows in known.groupby(["context", "method"], sort=False)]
    return pd.concat(kept) if kept else known


def _thinned_heatmap(frame: pd.DataFrame) -> pd.DataFrame:
    known = frame[frame["env_steps"].notna()]
    grid = np.unique(known["env_steps"].to_numpy(dtype=float))
    return known[known["env_steps"].isin(grid[_thinned(len(grid), MOST_COLUMNS)])]


def _missing(group: Group) -> list[Plain]:
    """What the group has elsewhere but not here: contexts without any run of a method, then single seeds."""
    rows: list[Plain] = []
    for method in group.methods:
        cells = {group.labels[context]: group.coverage(context, method) for context in group.contexts}
        absent = [label for label, coverage in cells.items() if coverage.text == "missing"]
        if absent:
            rows.append({"method": method, "contexts": "; ".join(absent), "seeds": "all"})
        for context in group.contexts:
            label, seeds = group.labels[context], group.missing_seeds(context, method)
            if seeds and label not in absent:
                rows.append({"method": method, "contexts": label, "seeds": ", ".join(map(str, seeds))})
    return rows


def _date(*files: Path) -> str | None:
    """When the first of these files that is there was last written: ISO 8601, UTC, to the second."""
    for file in files:
        try:
            seconds = file.stat().st_mtime
        except OSError:
            continue
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None
