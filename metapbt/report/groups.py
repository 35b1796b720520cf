"""What is compared with what: the runs of one environment and one feature, side by side.

Every combination of changed features is a group of its own. Runs of the default context belong to every
group of their environment, at the features' default values. Runs of different learners are never pooled.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from metapbt.envs import ENVIRONMENTS, get_environment
from metapbt.errors import MetapbtError
from metapbt.report.statistics import Array, area_under_curve, final_score
from metapbt.store.results import RunInfo, find_runs, read_records

METHOD_ORDER = ("default", "random", "grid", "pbt", "pb2", "pb2_rand", "pb2_mult", "pb2_mix", "meta_pb2")

Settings = tuple[tuple[str, float], ...]


@dataclass(frozen=True, order=True)
class Context:
    """One context of a group.

    Args:
        values: of the group's features, in their order.
        label: how figures and tables call it, such as ``0.8 (×1.6)``; no two contexts of a group share one.
    """

    values: tuple[float, ...]
    label: str


@dataclass(frozen=True)
class Run:
    """One run with its score curve: ``steps`` and ``scores`` have shape ``(generations,)``."""

    context: Context
    method: str
    seed: int
    state: str
    generations_planned: int
    steps: Array
    scores: Array

    @property
    def finished(self) -> bool:
        """Whether the run has trained all its generations, so that its last score is its final one."""
        return self.state == "done"

    @property
    def final(self) -> float:
        """Score at the last generation so far."""
        return final_score(self.scores)

    @property
    def area(self) -> float:
        """Mean score over the steps so far."""
        return area_under_curve(self.steps, self.scores)


class Coverage(NamedTuple):
    """How many seeds a method has in a context, of those that the group has anywhere."""

    found: int
    finished: int
    expected: int

    @property
    def text(self) -> str:
        """``3 seeds``, ``2 of 3 seeds``, ``2 of 3 seeds finished`` or ``missing``."""
        if not self.found:
            return "missing"
        if self.finished < self.found:
            return f"{self.finished} of {max(self.expected, self.found)} seeds finished"
        if self.found < self.expected:
            return f"{self.found} of {self.expected} seeds"
        return "1 seed" if self.found == 1 else f"{self.found} seeds"


@dataclass(frozen=True)
class Group:
    """The runs that one section of the report compares.

    Args:
        env: name of the environment.
        features: names of the changed features, sorted; empty where only the default context was run.
        units: the unit of each feature, empty where it has none or is not known.
        learner: name of the learner.
        folder: where the group's files go, relative to the report.
        runs: at most one for each context, method and seed.
        sources: contexts that a method with a memory learned from.
        notes: what a reader should know about the group's data, one sentence each.
    """

    env: str
    features: tuple[str, ...]
    units: tuple[str, ...]
    learner: str
    folder: str
    runs: tuple[Run, ...]
    sources: frozenset[Context]
    notes: tuple[str, ...]

    @property
    def contexts(self) -> list[Context]:
        """Every context with a run, by feature value."""
        return sorted({run.context for run in self.runs})

    @property
    def methods(self) -> list[str]:
        """Every method with a run, in the order in which figures show them."""
        return sort_methods({run.method for run in self.runs})

    @property
    def seeds(self) -> list[int]:
        """Every seed with a run."""
        return sorted({run.seed for run in self.runs})

    @property
    def feature_label(self) -> str:
        """The features' names: ``leg_height, gravity_y``; ``default`` where none was changed."""
        return ", ".join(self.features) or "default"

    @property
    def axis_label(self) -> str:
        """The features' names with their units, for an axis."""
        named = zip(self.features, self.units, strict=True)
        return ", ".join(f"{name} [{unit}]" if unit else name for name, unit in named) or "context"

    @property
    def title(self) -> str:
        """Environment and features, with the learner."""
        return f"{self.env}, {self.feature_label} ({self.learner})"

    def runs_of(self, context: Context, method: str) -> list[Run]:
        """The runs of a method in a context, by seed."""
        return [run for run in self.runs if run.context == context and run.method == method]

    def coverage(self, context: Context, method: str) -> Coverage:
        """How many seeds there are of a method in a context."""
        runs = self.runs_of(context, method)
        return Coverage(len(runs), sum(run.finished for run in runs), len(self.seeds))

    def missing_seeds(self, context: Context, method: str) -> list[int]:
        """Seeds that the group has elsewhere but not here."""
        return sorted(set(self.seeds) - {run.seed for run in self.runs_of(context, method)})

    def columns(self, context: Context) -> dict[str, object]:
        """The first columns of every CSV file: which environment, learner and context a row is about."""
        values = dict(zip(self.features, context.values, strict=True))
        return {"env": self.env, "learner": self.learner, **values, "context": context.label}


def load_groups(results: Path) -> list[Group]:
    """Read every run under ``results``.

    Raises:
        MetapbtError: there is none, or none has finished a generation.
    """
    infos = find_runs(results) if results.is_dir() else []
    if not infos:
        raise MetapbtError(f"no runs found in {results}: give a directory that `metapbt run` has written to")
    records = read_records(infos)
    if records.empty:
        raise MetapbtError(f"no records in {results} yet: none of its {len(infos)} runs finished a generation")
    return group_runs(infos, records, results)


def group_runs(infos: Sequence[RunInfo], records: pd.DataFrame, results: Path) -> list[Group]:
    """Sort runs into groups, by environment, features and learner.

    Args:
        infos: the runs. records: their records; ``run_dir`` tells which run a row belongs to, ``best``
        which member is its score. results: the directory that paths in notes are relative to.
    """
    scores = {str(run_dir): rows for run_dir, rows in records[records["best"]].groupby("run_dir")}
    members: dict[tuple[str, tuple[str, ...], str], list[RunInfo]] = defaultdict(list)
    for info in infos:
        if info.changed:
            members[info.env, tuple(sorted(info.changed)), info.learner].append(info)
    changed = list(members)
    for info in infos:
        if not info.changed:
            homes = [key for key in changed if (key[0], key[2]) == (info.env, info.learner)]
            for key in homes or [(info.env, (), info.learner)]:
                members[key].append(info)
    return [
        _group(key, members[key], scores, results, alone=sum(other[:2] == key[:2] for other in members) == 1)
        for key in sorted(members)
    ]


def sort_methods(methods: Iterable[str]) -> list[str]:
    """Known methods in their fixed order, then others by name."""
    return sorted(methods, key=_method_rank)


def _method_rank(name: str) -> tuple[int, str]:
    return (METHOD_ORDER.index(name) if name in METHOD_ORDER else len(METHOD_ORDER)), name


def _group(
    key: tuple[str, tuple[str, ...], str],
    infos: list[RunInfo],
    scores: Mapping[str, pd.DataFrame],
    results: Path,
    alone: bool,
) -> Group:
    env, features, learner = key
    known = _known_features(env)
    defaults = {name: known[name][0] for name in features if name in known}
    contexts = _contexts(features, [info.context for info in infos], defaults)
    kept, notes = _without_duplicates(infos, scores, results)
    runs = [_run(info, contexts[_settings(info.context)], scores.get(str(info.path))) for info in kept]
    runs.sort(key=lambda run: (run.context, _method_rank(run.method), run.seed))
    used = {_settings(source) for info in infos for source in info.source_contexts}
    elsewhere = len(used - set(contexts))
    if elsewhere:
        notes.append(f"{elsewhere} source contexts have no run in this group, so no row of the heat map shows them.")
    unscored = sum(bool(len(run.scores)) and bool(np.isnan(run.scores).all()) for run in runs)
    if unscored:
        notes.append(f"{unscored} runs were never evaluated, so they have no score.")
    lengths = {run.steps[-1] for run in runs if run.finished and len(run.steps)}
    if len(lengths) > 1:
        notes.append(
            f"Finished runs differ in length, from {min(lengths):,.0f} to {max(lengths):,.0f} steps of each "
            "member; final returns compare them as they are."
        )
    folder = f"{_slug(env)}/{_slug(','.join(features) or 'default')}"
    return Group(
        env=env,
        features=features,
        units=tuple(known[name][1] if name in known else "" for name in features),
        learner=learner,
        folder=folder if alone else f"{folder}@{_slug(learner)}",
        runs=tuple(runs),
        sources=frozenset(contexts[settings] for settings in used & set(contexts)),
        notes=tuple(notes),
    )


def _contexts(
    features: tuple[str, ...], contexts: Iterable[Mapping[str, float]], defaults: Mapping[str, float]
) -> dict[Settings, Context]:
    """The group's context for each setting of all features; labels get more digits until none is shared."""
    values = {_settings(context): tuple(context[name] for name in features) for context in contexts}
    for digits in (4, 8, 17):
        labels = {point: _label(features, point, defaults, digits) for point in values.values()}
        if len(set(labels.values())) == len(labels):
            break
    return {settings: Context(point, labels[point]) for settings, point in values.items()}


def _run(info: RunInfo, context: Context, rows: pd.DataFrame | None) -> Run:
    if rows is None:
        steps, scores = np.empty(0), np.empty(0)
    else:
        rows = rows.sort_values("generation")
        steps = rows["env_steps"].to_numpy(dtype=np.float64)
        scores = rows["eval_return"].to_numpy(dtype=np.float64)
    return Run(context, info.method, info.seed, info.state, info.generations, steps, scores)


def _without_duplicates(
    infos: list[RunInfo], scores: Mapping[str, pd.DataFrame], results: Path
) -> tuple[list[RunInfo], list[str]]:
    """One run for each context, method and seed; a second one would pass for another seed."""

    def completeness(info: RunInfo) -> tuple[bool, int]:
        return info.state == "done", len(scores.get(str(info.path), ()))

    kept: dict[tuple[Settings, str, int], RunInfo] = {}
    notes: list[str] = []
    for info in sorted(infos, key=lambda info: info.path):
        identity = (_settings(info.context), info.method, info.seed)
        other = kept.setdefault(identity, info)
        if other is not info:
            keep, drop = (info, other) if completeness(info) > completeness(other) else (other, info)
            kept[identity] = keep
            shown = [_relative(run.path, results) for run in (drop, keep)]
            notes.append(f"{shown[0]} is left out: {shown[1]} is the same method, context and seed.")
    return list(kept.values()), notes


def _known_features(env: str) -> dict[str, tuple[float, str]]:
    """Default and unit of each feature, empty where it has none.

    Nothing for environments of one's own: to look them up would import a module that someone else's results
    name.
    """
    if env not in ENVIRONMENTS:
        return {}
    features = get_environment(env).features
    return {feature.name: (feature.default, "" if feature.unit == "1" else feature.unit) for feature in features}


def _label(features: tuple[str, ...], point: tuple[float, ...], defaults: Mapping[str, float], digits: int) -> str:
    if not features:
        return "default"
    if len(features) > 1:
        return ", ".join(f"{name}={value:.{digits}g}" for name, value in zip(features, point, strict=True))
    value, default = point[0], defaults.get(features[0])
    if not default:  # unknown, or zero, which has no multiples
        return f"{value:.{digits}g}"
    return f"{value:.{digits}g} ({'default' if value == default else f'×{value / default:.3g}'})"


def _settings(context: Mapping[str, float]) -> Settings:
    return tuple(sorted((name, float(value)) for name, value in context.items()))


def _slug(name: str) -> str:
    """A name that is safe in a path and a link, also for environments called ``package.module:OBJECT``."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", name)


def _relative(path: Path, results: Path) -> str:
    return path.relative_to(results).as_posix() if path.is_relative_to(results) else path.name
