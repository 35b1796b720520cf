"""What is compared with what: the runs of one environment and one feature, side by side.

Every combination of changed features is a group of its own, but where it is a slice of a grid over more features:
those contexts in which some of them have their default values. Runs of the default context belong to every group of
their environment, at the features' default values. Runs of different learners are never pooled.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metapbt.envs import BODIES, ENVIRONMENTS, PICTURES, get_environment
from metapbt.errors import MetapbtError
from metapbt.history import Context, FeatureValue
from metapbt.log import counted
from metapbt.population.explorers import METHODS
from metapbt.report.reading import ReadRun, RunReader, name_of
from metapbt.report.run import Run
from metapbt.store.configurations import Difference, differences, in_words
from metapbt.store.results import OnProblem, RunInfo, warn
from metapbt.store.run_directory import RunDirectory

#: Rounding to whole rollouts makes runs of one budget differ a little in length.
LIKE_LENGTHS = 1.02
_SEED = re.compile(rb"^seed: .*$", re.MULTILINE)


class Coverage(NamedTuple):
    """How many seeds a method has in a context, of those that are expected there.

    Attributes:
        found: seeds with a run.
        finished: seeds with a run that is done.
        expected: seeds that the group has in any context but sources; in a source, those that were found.
        source: whether runs here are only what others learned from.
    """

    found: int
    finished: int
    expected: int
    source: bool

    @property
    def text(self) -> str:
        """``3 seeds``, ``2 of 3 seeds``, ``2 of 3 seeds finished``, ``missing`` or ``source``."""
        if not self.found:
            return "source" if self.source else "missing"
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
        labels: how figures and tables call each context with a run, such as ``0.8 (×1.6)``, by feature value; no two
            contexts share one.
        runs: at most one for each context, method and seed.
        sources: those of the contexts that a method with a memory learned from.
        notes: what a reader should know about the group's data, one sentence each.
    """

    env: str
    features: tuple[str, ...]
    units: tuple[str, ...]
    learner: str
    folder: str
    labels: Mapping[Context, str]
    runs: tuple[Run, ...]
    sources: frozenset[Context]
    notes: tuple[str, ...]

    @property
    def contexts(self) -> list[Context]:
        """Every context with a run, by feature value."""
        return list(self.labels)

    @cached_property
    def methods(self) -> list[str]:
        """Every method with a run, in the order in which figures show them."""
        return sort_methods({run.method for run in self.runs})

    @property
    def seeds(self) -> list[int]:
        """Every seed with a run."""
        return sorted({run.seed for run in self.runs})

    @cached_property
    def expected_seeds(self) -> list[int]:
        """Every seed that is expected from every method and context; those of sources are their own matter."""
        return sorted({run.seed for run in self.runs if not self.only_source(run.context)})

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
        return list(self._cells.get((context, method), ()))

    @cached_property
    def _cells(self) -> Mapping[tuple[Context, str], list[Run]]:
        found: dict[tuple[Context, str], list[Run]] = defaultdict(list)
        for run in self.runs:
            found[run.context, run.method].append(run)
        return found

    def only_source(self, context: Context) -> bool:
        """Whether runs in a context are only what methods with a memory learned from."""
        return context in self._only_sources

    @cached_property
    def _only_sources(self) -> frozenset[Context]:
        return self.sources - {run.context for run in self.runs if run.remembers}

    def coverage(self, context: Context, method: str) -> Coverage:
        """How many seeds there are of a method in a context."""
        runs, source = self.runs_of(context, method), self.only_source(context)
        finished = sum(run.finished for run in runs)
        return Coverage(len(runs), finished, len(runs) if source else len(self.expected_seeds), source)

    def missing_seeds(self, context: Context, method: str) -> list[int]:
        """Seeds that the group has elsewhere but not here; none of a source."""
        if self.only_source(context):
            return []
        return sorted(set(self.expected_seeds) - {run.seed for run in self.runs_of(context, method)})

    def columns(self, context: Context) -> dict[str, object]:
        """The first columns of every CSV file: which environment, learner and context a row is about."""
        values = {name: context[name] for name in self.features}
        return {"env": self.env, "learner": self.learner, **values, "context": self.labels[context]}


def load_groups(results: Path, on_problem: OnProblem = warn) -> list[Group]:
    """Read every run under ``results``; ``on_problem`` is told of what cannot be read.

    Raises:
        MetapbtError: there is none, or none has finished a generation.
    """
    return group_read_runs(RunReader(results).read(on_problem), results)


def group_read_runs(read: Sequence[ReadRun], results: Path) -> list[Group]:
    """Sort runs that were read below ``results`` into groups.

    Raises:
        MetapbtError: there is none, or none has finished a generation.
    """
    if not read:
        raise MetapbtError(f"no runs found in {results}: give a directory that `metapbt run` has written to")
    if not any(run.table is not None for run in read):
        raise MetapbtError(f"no records in {results} yet: none of its {len(read)} runs finished a generation")
    return group_runs(((run.info, run.run) for run in read), results)


#: Environment, names of changed features, learner.
_Key = tuple[str, tuple[str, ...], str]


def group_runs(runs: Iterable[tuple[RunInfo, Run]], results: Path) -> list[Group]:
    """Sort runs into groups, by environment, features and learner; paths in notes are relative to ``results``."""
    runs = list(runs)
    members: dict[_Key, list[tuple[RunInfo, Run]]] = defaultdict(list)
    for info, run in runs:
        if info.context.changed:
            members[info.env, tuple(sorted(info.context.changed)), info.learner].append((info, run))
    contexts = {key: [info.context for info, _ in pairs] for key, pairs in members.items()}
    grids = {key: [other for other in contexts if _is_slice(key, other, contexts)] for key in contexts}
    for key in filter(grids.get, contexts):
        pairs = members.pop(key)
        for whole in grids[key]:
            if not grids[whole]:
                members[whole] += pairs
    changed = list(members)
    for info, run in runs:
        if not info.context.changed:
            of_env = [key for key in changed if (key[0], key[2]) == (info.env, info.learner)]
            # Those whose features there were when the run was made: an environment may have gained some.
            homes = [key for key in of_env if set(key[1]) <= set(info.context)]
            for key in homes or [(info.env, (), info.learner)]:
                members[key].append((info, run))
    return [
        _group(key, members[key], results, alone=sum(other[:2] == key[:2] for other in members) == 1)
        for key in sorted(members)
    ]


def _is_slice(key: _Key, of: _Key, contexts: Mapping[_Key, Sequence[Context]]) -> bool:
    """Whether one group's contexts are another's, more features of which are changed, with these at their defaults."""
    (env, features, learner), (other_env, more, other_learner) = key, of
    if (env, learner) != (other_env, other_learner) or not set(features) < set(more):
        return False
    one, other = ({tuple(context[name] for name in features) for context in contexts[each]} for each in (key, of))
    return one == other


def sort_methods(methods: Iterable[str]) -> list[str]:
    """Known methods in the order in which the package lists them, then others by name."""
    order = {name: rank for rank, name in enumerate(METHODS)}
    return sorted(methods, key=lambda name: (order.get(name, len(order)), name))


def _group(
    key: tuple[str, tuple[str, ...], str],
    pairs: list[tuple[RunInfo, Run]],
    results: Path,
    alone: bool,
) -> Group:
    env, features, learner = key
    infos = [info for info, _ in pairs]
    known = _known_features(env)
    labels = _labels(
        features, {info.context for info in infos}, {name: default for name, (default, _) in known.items()}
    )
    runs, notes = _without_duplicates(pairs, results)
    contexts, methods = list(labels), sort_methods({run.method for run in runs})
    runs.sort(key=lambda run: (contexts.index(run.context), methods.index(run.method), run.seed))
    used = frozenset(context for info in infos for context in info.ancestry)
    folder = f"{_slug(env)}/{_slug(','.join(features) or 'default')}"
    return Group(
        env=env,
        features=features,
        units=tuple(known[name][1] if name in known else "" for name in features),
        learner=learner,
        folder=folder if alone else f"{folder}@{_slug(learner)}",
        labels=labels,
        runs=tuple(runs),
        sources=used & labels.keys(),
        notes=(*notes, *_unlike(runs, labels), *_notes(runs, len(used - labels.keys()))),
    )


def _unlike(runs: Sequence[Run], labels: Mapping[Context, str]) -> list[str]:
    """A note for each method on a context whose runs were asked for other things than its first: no mean is of both."""
    cells: dict[tuple[Context, str], list[Run]] = defaultdict(list)
    for run in runs:
        cells[run.context, run.method].append(run)
    notes = []
    for (context, method), (first, *others) in cells.items():
        for other in others:
            differing = differing_settings(first, other)
            if differing:
                notes.append(
                    f"{method} on {labels[context]}: seeds {first.seed} and {other.seed} were trained with different "
                    f"settings, {in_words(differing)}, but are averaged together; name=LABEL separates them."
                )
                break
    return notes


def differing_settings(one: Run, other: Run) -> list[Difference]:
    """In what the configurations of two runs differ beside their seed; nothing where one of them does not say."""
    directories = [RunDirectory(run.path) for run in (one, other)]
    with suppress(MetapbtError):
        texts = {_SEED.sub(b"", directory.config_bytes({})) for directory in directories}
        if len(texts) > 1:  # reading YAML takes its time
            before, after = (directory.config() for directory in directories)
            return differences(before, after, but=("seed",))
    return []


def _notes(runs: Sequence[Run], sources_elsewhere: int) -> list[str]:
    notes = []
    if sources_elsewhere:
        have = "context has" if sources_elsewhere == 1 else "contexts have"
        notes.append(f"{sources_elsewhere} source {have} no run in this group, so no row of the heat map shows them.")
    failed = [run.failed for run in runs if run.failed]
    if failed:
        notes.append(
            f"{counted(sum(failed), 'interval')} of {counted(len(failed), 'run')} failed for good: "
            "their members were replaced, as the worst."
        )
    unscored = sum(bool(len(run.scores)) and bool(np.isnan(run.scores).all()) for run in runs)
    if unscored:
        notes.append(f"{unscored} runs were never evaluated, so they have no score.")
    finished = [run for run in runs if run.finished and len(run.steps)]
    untested = sum(run.test_return is None for run in finished)
    if 0 < untested < len(finished):
        notes.append(
            f"{untested} of {len(finished)} finished runs have no test return: their last score stands in its place."
        )
    lengths = {run.steps[-1] for run in finished}
    if lengths and max(lengths) > LIKE_LENGTHS * min(lengths):
        notes.append(
            f"Finished runs differ in length, from {min(lengths):,.0f} to {max(lengths):,.0f} steps of each "
            "member; final returns compare them as they are, mean returns over training over the steps that both have."
        )
    sizes = {run.size for run in runs}
    if len(sizes) > 1:
        notes.append(
            f"Populations have from {min(sizes)} to {max(sizes)} members, and everything is shown over steps per "
            f"member: the largest trained {max(sizes) / min(sizes):.3g} times as many steps in total as the smallest."
        )
    return notes


def _labels(
    features: tuple[str, ...], contexts: Iterable[Context], defaults: Mapping[str, FeatureValue]
) -> dict[Context, str]:
    """What each context is called, by feature value; labels get more digits until none is shared."""
    ordered = sorted(contexts, key=lambda context: tuple(context[name] for name in features))
    for digits in (4, 8, 17):
        labels = {context: _label(features, context, defaults, digits) for context in ordered}
        if len(set(labels.values())) == len(labels):
            return labels
    # Alike in what was changed, before and after the environment gained a feature.
    return {
        context: f"{_label(features, context, defaults, 10)} ({counted(len(context), 'feature')})"
        for context in ordered
    }


def _without_duplicates(pairs: list[tuple[RunInfo, Run]], results: Path) -> tuple[list[Run], list[str]]:
    """One run for each context, method and seed; a second one would pass for another seed."""

    def completeness(run: Run) -> tuple[bool, int]:
        return run.finished, len(run.steps)

    kept: dict[tuple[Context, str, int], Run] = {}
    notes: list[str] = []
    for _, run in sorted(pairs, key=lambda pair: pair[0].path):
        identity = (run.context, run.method, run.seed)
        other = kept.setdefault(identity, run)
        if other is not run:
            keep, drop = (run, other) if completeness(run) > completeness(other) else (other, run)
            kept[identity] = keep
            shown = [name_of(each.path, results) for each in (drop, keep)]
            notes.append(f"{shown[0]} is left out: {shown[1]} is the same method, context and seed.")
    return list(kept.values()), notes


def _known_features(env: str) -> dict[str, tuple[FeatureValue, str]]:
    """Default and unit of each feature, empty where it has none.

    Nothing for environments of one's own: to look them up would import a module that someone else's results
    name.
    """
    if env not in ENVIRONMENTS | BODIES | PICTURES:
        return {}
    features = get_environment(env).features
    return {feature.name: (feature.default, "" if feature.unit == "1" else feature.unit) for feature in features}


def _label(features: tuple[str, ...], context: Context, defaults: Mapping[str, FeatureValue], digits: int) -> str:
    if not features:
        return "default"
    shown = {name: _shown(context[name], digits) for name in features}
    if len(features) > 1:
        return ", ".join(f"{name}={value}" for name, value in shown.items())
    (name,) = features
    value, default = context[name], defaults.get(name)
    if value == default:
        return f"{shown[name]} (default)"
    if isinstance(value, str) or isinstance(default, str) or not default:  # zero has no multiples
        return shown[name]
    return f"{shown[name]} (×{value / default:.3g})"


def _shown(value: FeatureValue, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}g}"


def _slug(name: str) -> str:
    """A name that is safe in a path and a link, also for environments called ``package.module:OBJECT``."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", name)
