"""Choosing the contexts that a run learns from, and reading what happened there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metapbt.errors import MetapbtError, unknown_name
from metapbt.history import Context, FeatureValue
from metapbt.history.record import HUGE
from metapbt.log import counted
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.encoder import Description
from metapbt.memory.points import any_of_space
from metapbt.memory.reading import UNREADABLE, pass_over, read_sources
from metapbt.memory.scales import differ
from metapbt.memory.source_runs import Memory
from metapbt.plain import whole_number
from metapbt.space import Space
from metapbt.store.results import RunInfo, count_records, find_runs, read_run

MOST_NAMED = 8  # contexts in one line of the log


def choose_sources(
    results_dir: Path | Sequence[Path],
    env: str,
    learner: str,
    target: Context,
    sources: str,
    num_contexts: int,
    methods: Sequence[str] | None = None,
    include_target: bool = False,
    exclude: Path | None = None,
    min_records: int = 1,
    space: Space | None = None,
    describe: Describe = by_features,
) -> list[RunInfo]:
    """Find the runs that a run on ``target`` learns from.

    Nothing of the target gets into its own memory: neither its runs, whatever their seed, nor runs on other contexts
    whose memory came from the target, over however many hops. A run that is still being written counts as far as it is
    whole, and one that cannot be read, or of which it cannot be known what its memory came from, is passed over with a
    warning.

    Args:
        results_dir: where to look, one place or several; a directory that does not exist holds no runs.
        env: only runs of this environment.
        learner: only runs of this learner.
        target: the target context, every feature.
        sources: ``closest`` to the target, ``spread`` over the range, ``all``, or ``similar``; distances are taken
            over the description, standardised over the contexts found. ``similar`` learns from all of them what of
            it matters, and takes the contexts whose returns would change most like the target's.
        num_contexts: how many contexts to choose, unless ``all``.
        methods: only runs of these methods; None for every method.
        include_target: whether runs on the target context count, and runs whose memory came from them.
        exclude: a run directory that never counts: the run's own.
        min_records: contexts with fewer records, all runs together, are passed over.
        space: the target's search space: runs none of whose records is of it are passed over. Without it all count,
            and ``similar`` cannot tell what matters.
        describe: what distances are taken over.

    Raises:
        MetapbtError: the directory may not be read, ``sources`` is unknown, another setting is out of its range, or
            ``similar`` lacks the space.
    """
    if not isinstance(sources, str) or sources not in _CHOICES:
        raise unknown_name("meta.sources", sources, _CHOICES)
    for key, value in (("num_contexts", num_contexts), ("min_records", min_records)):
        whole_number(f"meta.{key}", value, 1)
    if methods is not None and (
        not isinstance(methods, list | tuple) or not all(isinstance(method, str) for method in methods)
    ):
        raise MetapbtError(f"meta.methods must be a list of methods, such as [pb2], or null, got {methods!r}")
    if not isinstance(include_target, bool):
        raise MetapbtError(f"meta.include_target must be true or false, got {include_target!r}")
    places = [results_dir] if isinstance(results_dir, Path) else results_dir
    own = _place(exclude) if exclude is not None else None
    kin = _Kin(target)
    runs = [
        run
        for place, run in _distinct([run for place in places for run in _runs(place)])
        if run.env == env
        and run.learner == learner
        and (methods is None or run.method in methods)
        and place != own
        and _is_sound(run)
        and (include_target or not (run.context in kin or any(context in kin for context in run.ancestry)))
    ]
    if space is not None:
        runs = _of_space(runs, space)
    records = {run.path: _record_count(run) for run in runs}
    counts: Counter[Context] = Counter()
    for run in runs:
        counts[run.context] += records[run.path]
    enough = [context for context, count in counts.items() if count >= min_records]
    described = set(_describable(enough, target, describe))
    contexts = sorted(described, key=lambda context: [str(item) for item in sorted(context.items())])
    runs = [run for run in runs if run.context in described and records[run.path]]
    if not contexts:
        return []
    if sources == "similar" and len(contexts) > num_contexts:
        contexts, points, here = _alike(runs, contexts, target, space, describe)
    else:
        points, here = standardised(describe([*contexts, target]))
    chosen = {contexts[index] for index in _CHOICES[sources](points, here, num_contexts)}
    return [run for run in runs if run.context in chosen]


def describe_contexts(runs: Sequence[RunInfo]) -> str:
    """The contexts of runs in one line: a few by name, each with its number of runs, of many what they range over."""
    counts = Counter(run.context for run in runs)
    if len(counts) <= MOST_NAMED:
        return ", ".join(f"{context.label} ({counted(count, 'run')})" for context, count in counts.items())
    ranges = []
    for name in dict.fromkeys(name for context in counts for name in context.changed):
        values = {context[name] for context in counts if name in context}
        numbers = [value for value in values if not isinstance(value, str)]
        ranges.append(
            f"{name} from {min(numbers):g} to {max(numbers):g}"
            if len(numbers) == len(values)
            else f"{counted(len(values), 'value')} of {name}"
        )
    return f"{counted(len(counts), 'context')} ({counted(len(runs), 'run')}), {', '.join(ranges)}"


def standardised(contexts: Sequence[Description]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All contexts but the last (``n x f``), and the last (``f``), over what varies, each with unit deviation."""
    everything = np.array([[context[name] for name in contexts[-1]] for context in contexts])
    lowest, highest = everything.min(axis=0), everything.max(axis=0)
    varying = everything[:, [differ(low, high) for low, high in zip(lowest, highest, strict=True)]]
    scaled = varying / varying.std(axis=0)
    return scaled[:-1], scaled[-1]


def _alike(
    runs: Sequence[RunInfo], contexts: Sequence[Context], target: Context, space: Space | None, describe: Describe
) -> tuple[list[Context], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The contexts of which there are rows, these (``n x f``) and the target (``f``), each feature scaled.

    The scales say how much the records depend on a feature: they are those of a plain GP with automatic relevance
    determination, trained over the contexts as tasks. Where none can be told all contexts count, and their features
    alike.
    """
    from metapbt.memory.model import PLAIN, MetaModel
    from metapbt.memory.tasks import Tasks

    if space is None:
        raise MetapbtError("meta.sources=similar needs the search space")
    memory = Memory(target, read_sources(runs), describe)
    tasks = Tasks.of(memory, space, changed=False)
    features = len(tasks.scale.features)
    if not len(tasks) or not features:
        return list(contexts), *standardised(describe([*contexts, target]))
    model = MetaModel(2, features, len(space), tasks.categories)
    model.train(tasks.rows, PLAIN, PLAIN.steps)
    relevance = model.relevance[2 : 2 + features]
    described = [*tasks.descriptions, memory.descriptions[target]]
    places = np.array([tasks.scale.context(description) for description in described]) * relevance
    return list(tasks.contexts), places[:-1], places[-1]


def _runs(results_dir: Path) -> list[RunInfo]:
    try:
        return find_runs(results_dir) if results_dir.is_dir() else []
    except OSError as error:
        raise MetapbtError(f"meta.results_dir: {results_dir} cannot be read: {error.strerror or error}") from error


def _distinct(runs: Sequence[RunInfo]) -> Iterator[tuple[object, RunInfo]]:
    """The runs and where they are, each once, even where links lead to it by several paths."""
    seen = set()
    for run in runs:
        if (place := _place(run.path)) not in seen:
            seen.add(place)
            yield place, run


def _place(path: Path) -> object:
    """The same for every path to a directory."""
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


class _Kin:
    """Holds the contexts that are the same as the target but for the last bits of their numbers."""

    def __init__(self, target: Context) -> None:
        self._target = target
        self._known: dict[Context, bool] = {}

    def __contains__(self, context: Context) -> bool:
        if context not in self._known:
            same = (_equal(context[name], value) for name, value in self._target.items() if name in context)
            self._known[context] = all(same)
        return self._known[context]


def _equal(one: FeatureValue, other: FeatureValue) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return not differ(one, other)


def _is_sound(run: RunInfo) -> bool:
    """Whether it can be known what a run's context is, and what its memory is made of; if not, that is said."""
    try:
        numbers = [float(value) for value in run.context.values() if not isinstance(value, str)]
        if not all(abs(number) <= HUGE for number in numbers):
            raise MetapbtError(f"its context is {dict(run.context)}")
        run.ancestry  # noqa: B018 - where it is read only now
    except (MetapbtError, OSError, TypeError, ValueError, OverflowError) as error:
        pass_over(run.path, error)
        return False
    return True


def _of_space(runs: Sequence[RunInfo], space: Space) -> list[RunInfo]:
    """The runs whose hyperparameters are of the space, and those that cannot be read; which are not is said at once."""
    outside = []
    for run in runs:
        try:
            table = read_run(run)
            if table is not None and len(table) and not any_of_space(table, space):
                outside.append(run)
        except UNREADABLE:
            continue  # who reads it to learn from it says so
    if outside:
        more = len(outside) - 1
        pass_over(
            f"{outside[0].path}{f' (and {more} more)' if more else ''}",
            "its hyperparameters are not of this run's space",
        )
    gone = {run.path for run in outside}
    return [run for run in runs if run.path not in gone]


def _describable(contexts: Sequence[Context], target: Context, describe: Describe) -> Iterator[Context]:
    """The contexts that can be told from others; what is wrong with the target is for the user to mend."""
    describe([target])
    for context in contexts:
        try:
            describe([context])
        except Exception as error:  # an environment may do anything with features that are not to be had
            pass_over(context, error)
        else:
            yield context


def _record_count(run: RunInfo) -> int:
    """How many records a run has written so far; 0, with a warning, where they cannot be read."""
    try:
        return count_records(run)
    except UNREADABLE as error:
        pass_over(run.path, error)
        return 0


def closest(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    """The places of those of the points (``n x f``) that are nearest to ``here``, the nearest first."""
    return [int(i) for i in np.argsort(np.linalg.norm(points - here, axis=1), kind="stable")[:count]]


def _spread(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    """Greedy: begin at the context farthest from the middle, then always the one farthest from those chosen."""
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    gaps = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        gaps = np.minimum(gaps, np.linalg.norm(points - points[chosen[-1]], axis=1))
        gaps[chosen] = -np.inf  # though others may be described alike
        chosen.append(int(np.argmax(gaps)))
    return chosen


def _all(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    return list(range(len(points)))


_CHOICES = {"closest": closest, "spread": _spread, "all": _all, "similar": closest}
