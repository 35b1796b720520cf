"""What a run's method knew when it chose: its explorer made again, and the decisions that it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, shown
from metapbt.history import Budget, Context, History, Record, Ref
from metapbt.memory.cache import ModelCache
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.shipped import memory_dirs
from metapbt.memory.source_runs import Memory
from metapbt.population.explorers import METHODS, explorer_class, make_explorer
from metapbt.population.explorers.base import Explorer, Pending, Surrogate
from metapbt.registry import settings_of
from metapbt.store.memory_table import read_memory
from metapbt.store.run_directory import RunDirectory
from metapbt.surrogates.threads import deciding

if TYPE_CHECKING:
    from metapbt.memory.model import Weights
    from metapbt.runs.run import Run


@dataclass(frozen=True)
class Decision:
    """What a method was asked after a generation, and what it answered.

    Attributes:
        history: everything that had happened by then.
        children: the last record of each member that became a copy; of the best where nobody did.
        parents: the record that each of them went on from. With ``selection.backtrack`` the method was shown it with
            the hyperparameters of the parent that selection chose, of whom no record speaks.
        pending: what the other members were to train.
        suggested: the records of what it suggested for the children; fewer, or none, where the run ended before.
    """

    history: History
    children: Sequence[Record]
    parents: Sequence[Record]
    pending: Sequence[Pending]
    suggested: Sequence[Record]

    @classmethod
    def after(cls, history: History, generation: int, asynchronous: bool = False) -> Decision:
        """The decision after a generation; of an asynchronous run, the last one of it that made a copy.

        Args:
            history: of the whole run.
            generation: counted from 0; all members have finished it.
            asynchronous: whether each member was decided for as it reported.

        Raises:
            MetapbtError: the run has not come so far.
        """
        if not 0 <= generation < history.generations:
            raise MetapbtError(
                f"generation must be from 0 to {history.generations - 1}, got {generation}"
                if history.generations
                else "no generation has finished yet"
            )
        places = [place for place, record in enumerate(history.records) if record.generation == generation]
        last = places[-1]
        if asynchronous:
            last = next((place for place in reversed(places) if _copy_after(history, history.records[place])), last)
        known = History(history.records[: last + 1], history.metric, history.size)
        children, parents, suggested, pending = [], [], [], []
        for record in sorted(known.latest, key=lambda record: record.member):
            coming = history.at(Ref(record.generation + 1, record.member))
            origin = history.before(coming) if coming is not None else None
            if coming is None or origin is None:
                continue
            if _copy_after(history, record) and (not asynchronous or record is known.records[-1]):
                children.append(record)
                parents.append(origin)
                suggested.append(coming)
            else:
                pending.append(Pending(origin.reached, coming.hyperparameters, origin.train_return))
        if not children:
            children = parents = [known.leader()]
        return cls(known, children, parents, pending, suggested)


def _copy_after(history: History, record: Record) -> bool:
    """Whether a member became a copy after a record, with hyperparameters that the method chose."""
    coming = history.at(Ref(record.generation + 1, record.member))
    return coming is not None and coming.parent is not None and coming.source != "migrated"


def explorer_of(run: Run, train: bool = False) -> Explorer:
    """The explorer of a run, as the run had it: with its settings, and its memory.

    Args:
        run: whose.
        train: whether models of its memory that are kept no more are trained anew, which takes a minute or so.

    Raises:
        MetapbtError: the method is code of the user's own, which is not imported for what a result says; the run's
            files cannot be read; or a model is kept no more and not to be trained.
    """
    return _explorer(run.path, RunDirectory(run.path).stamp, run.info.context, train)


def surrogate_after(run: Run, generation: int, train: bool = False) -> tuple[Surrogate, Decision]:
    """What the method asked after a generation, and the decision that it was for.

    Raises:
        MetapbtError: as `explorer_of`; or it has no surrogate, or too little to fit it to.
    """
    explorer = explorer_of(run, train)
    decision = decision_after(run, generation)
    with deciding():
        found = explorer.surrogate(decision.children, decision.parents, decision.history, decision.pending)
    if found is None:
        if type(explorer).surrogate is Explorer.surrogate:
            raise MetapbtError(f"method={run.info.method} has no surrogate: it chooses without a forecast")
        raise MetapbtError(
            f"{run.path}: after generation {generation} there was too little to fit a surrogate to; ask for a later one"
        )
    return found, decision


def decision_after(run: Run, generation: int) -> Decision:
    """What the method was asked after a generation.

    Raises:
        MetapbtError: the run has not come so far, or its configuration cannot be read.
    """
    population = _config(run.path).get("population")
    said = isinstance(population, Mapping) and population.get("asynchronous") is True
    generations = [record.generation for record in run.history]
    asynchronous = said or generations != sorted(generations)  # a tuner's loop does not say it
    return Decision.after(run.history, generation, asynchronous)


def has_surrogate(method: str) -> bool:
    """Whether a method is one of metapbt's that forecast what they choose."""
    return method in METHODS and explorer_class(method).surrogate is not Explorer.surrogate


def _config(path: Path) -> Mapping[str, Any]:
    return RunDirectory(path).config()


@lru_cache(maxsize=4)
def _explorer(path: Path, stamp: object, context: Context, train: bool) -> Explorer:
    config = _config(path)
    try:
        name, settings, specification = config["method"]["name"], settings_of(config["method"]), config["space"]
        asked = dict(config.get("meta") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MetapbtError(f"{path}: its configuration says no method or space") from error
    if name not in METHODS:
        raise MetapbtError(
            f"{path}: method {shown(name)} is code of its user's, which is not imported because results name it"
        )
    from metapbt.space import Space

    if explorer_class(name).uses_budget and isinstance(config.get("budget"), Mapping):
        settings["budget"] = Budget.of(config["budget"])
    if explorer_class(name).uses_memory:
        settings["memory"] = _memory(path, config["env"], asked, context)
        if explorer_class(name).uses_cache:
            settings["cache"] = _Kept(path, asked.get("results_dir"), train)
    return make_explorer(name, Space(specification), **settings)


def _memory(path: Path, env: object, meta: Mapping[str, Any], context: Context) -> Memory:
    """What a run remembered.

    Raises:
        MetapbtError: it cannot be read, or contexts are told apart by episodes in an environment of the user's own.
    """
    describe: Describe = by_features
    if meta.get("describe_by") == "experience":
        from metapbt.memory.describe import Experience

        if not isinstance(env, str) or ":" in env:
            raise MetapbtError(
                f"{path}: its memory tells contexts apart by episodes in {shown(env)}, "
                "whose code is not imported because results name it"
            )
        describe = Experience(env, meta.get("episodes", 20))
    return Memory(context, read_memory(RunDirectory(path).memory)[0], describe)


class _Kept:
    """The models of a run's memory, where the run kept them: beside the results that it learned from."""

    def __init__(self, path: Path, asked: object, train: bool) -> None:
        said = asked if isinstance(asked, list) else [asked]
        places = memory_dirs([place for place in said if isinstance(place, str)])
        # A relative path was that of another working directory; results lie beside each other.
        self._cache = ModelCache.beside([*path.absolute().parents[3:4], *places])
        self._train, self._path = train, path

    def get(self, key: str) -> Weights | None:
        """What was kept under ``key``; None where it is to be trained.

        Raises:
            MetapbtError: it is kept no more, and not to be trained.
        """
        found = self._cache.get(key)
        if found is None and not self._train:
            raise MetapbtError(f"{self._path}: the models of its memory are kept no more, and were not to be trained")
        return found

    def put(self, key: str, weights: Weights) -> None:
        """Keep it where the results are."""
        self._cache.put(key, weights)
