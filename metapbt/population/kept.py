"""A tuner's run directory: what it was told and what it decided, kept as any other run keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from metapbt.errors import MetapbtError, one_line, shown
from metapbt.history import Budget, Context, FeatureValue, History, Record
from metapbt.log import LOGGER
from metapbt.memory.source_runs import Memory
from metapbt.plain import number, plain
from metapbt.population.explorers import explorer_class
from metapbt.store.description import TUNER
from metapbt.store.done import Done
from metapbt.store.journal import Content
from metapbt.store.memory_table import read_memory, write_memory
from metapbt.store.run_directory import RunDirectory, run_directory, run_id
from metapbt.store.table import Identity, differing_column, to_table, write_table

if TYPE_CHECKING:
    from metapbt.population.decisions import Assignment
    from metapbt.space import Space


class Kept:
    """The run directory of one tuner; while it is open nobody else can open it.

    Checkpoints are the user's own. What is told is in the journal before anything is decided on it: a program that is
    killed between two reports goes on with the second.

    Attributes:
        path: the directory, ``<results_dir>/<env>/<feature>=<value>[,...]/<name or method>/seed_<n>``.
    """

    def __init__(
        self,
        results_dir: str | Path,
        asked: Mapping[str, Any],
        env: str,
        context: Mapping[str, FeatureValue] | None,
        learner: str,
        name: str | None,
        resume: bool,
        memory: Memory | None,
    ) -> None:
        """Open the directory, and write down what the run is where it is a new one.

        Args:
            results_dir: where all runs are.
            asked: the tuner's arguments, in the shape of a run's configuration.
            env: what is tuned, in paths, reports and memory.
            context: its features, each a number or a word.
            learner: what trains the members, in a word.
            name: a label instead of the method's name.
            resume: go on with what is there; False replaces it.
            memory: what the method was given of other runs.

        Raises:
            MetapbtError: an argument is none of these, another process works on the directory, or it holds another run.
        """
        for what, word in (("env", env), ("learner", learner), ("name", "a" if name is None else name)):
            if not isinstance(word, str) or not word.strip() or word in (".", ".."):
                raise MetapbtError(f"{what} must be a word, got {shown(word)}")
        if not isinstance(resume, bool):
            raise MetapbtError(f"resume must be True or False, got {shown(resume)}")
        features = _checked_context(context)
        method, seed = asked["method"]["name"], asked["seed"]
        label = name or method
        config = {
            "env": env,
            "context": dict(features),
            "features": dict(features),
            "name": name,
            "learner": {"name": learner},
            **asked,
            TUNER: True,
            "versions": {"metapbt": version("metapbt")},
        }
        self.path = run_directory(Path(results_dir), env, features, label, seed)
        self._identity = Identity(run_id(env, features, label, seed), env, features, method, label, learner, seed)
        self._directory = RunDirectory(self.path)
        self._directory.open(config, resume)
        try:
            self._directory.begin(config)
            if memory is not None:
                self._keep_memory(memory)
        except OSError as error:
            self._directory.release()
            raise MetapbtError(f"{self.path} cannot be written: {one_line(error)}") from error
        except BaseException:
            self._directory.release()
            raise

    def restored(self) -> Content | None:
        """What stands in the journal, up to where it is whole; None of a new run.

        Raises:
            MetapbtError: it is damaged before its end.
        """
        if not self._directory.journal.exists:
            return None
        content = self._directory.journal.recover()
        if content.damage is not None:
            LOGGER.warning("%s", content.damage)
        return content if content.head else None

    def begin(self, assignments: Mapping[int, Assignment]) -> None:
        """Write down what was decided for the first generation."""
        self._check_open()
        self._directory.journal.begin({member: a.to_dict() for member, a in assignments.items()})

    def append(self, records: Sequence[Record], decided: Mapping[int, Assignment]) -> None:
        """Write down what was told, and what was decided on it.

        Args:
            records: of who was told of.
            decided: what these do next, or who comes after them.

        Raises:
            MetapbtError: the directory is closed, or was deleted or replaced; or steps are no whole numbers.
            OSError: it cannot be written; what stands there stays as it was.
        """
        self._check_open()
        for record in records:
            if type(record.env_steps) is not int:
                raise MetapbtError(f"tell: with results_dir, env_steps must be whole numbers, got {record.env_steps}")
        if self._directory.done:
            self._directory.withdraw_done()
        changed = {member: a.to_dict() for member, a in decided.items() if a.kind != "continue"}
        self._directory.journal.append(records, changed)

    def tabulate(self, history: History) -> None:
        """Now and then write what the journal says as a table, for whoever looks on."""
        generations = history.generations
        if generations & (generations - 1) == 0:  # as a run does: all writing is but twice the last one's
            try:
                self._write_table(history)
            except OSError as error:
                LOGGER.warning("%s cannot be written: %s", self._directory.records, one_line(error))

    def close(self, history: History, finished: bool) -> None:
        """Let others open the directory; say that the run has finished, if it has anything to say."""
        if not self._directory.is_open:
            return
        try:
            if len(history):
                self._directory.held.check()
                self._write_table(history)
                if finished:
                    self._directory.mark_done(Done.of(history, history.best().ref, None, 0))
        finally:
            self._directory.release()

    def _check_open(self) -> None:
        if not self._directory.is_open:
            raise MetapbtError(f"{self.path}: this tuner was closed; make it again to go on")
        self._directory.held.check()

    def _write_table(self, history: History) -> None:
        write_table(self._directory.records, to_table(self._identity, history))

    def _keep_memory(self, memory: Memory) -> None:
        """Keep what the method learned from beside the records, and so which contexts are behind them.

        Raises:
            MetapbtError: the run began with another memory.
        """
        table = memory.table
        for column in ("env", "learner"):
            mine = pa.array([getattr(self._identity, column)] * len(table), pa.string())
            table = table.set_column(table.column_names.index(column), column, mine)
        if not self._directory.remembers:
            write_memory(self._directory.memory, table, memory.ancestry)
        if not explorer_class(self._identity.method).uses_memory:  # asked at the start alone: what there was counts
            return
        unlike = differing_column(read_memory(self._directory.memory)[0], table)
        if unlike is not None:
            raise MetapbtError(
                f"{self.path} began with another memory ({unlike} differs): give that one, or resume=False"
            )


def as_config(
    space: Space,
    method: str,
    settings: Mapping[str, Any],
    budget: Budget | None,
    population: Mapping[str, Any],
    **others: Any,
) -> dict[str, Any]:
    """A tuner's arguments in the shape of a run's configuration.

    Args:
        space: the search space.
        method: its name.
        settings: the method's; a cache decides nothing.
        budget: of each member, if there is one.
        population: size and so on.
        others: whatever else makes two tuners decide alike. Of what is no plain data the class is named.
    """
    told = {"name": method, **settings}
    if explorer_class(method).uses_cache:
        told.pop("cache", None)
    return {
        "method": {name: _plain_or_named(name, value) for name, value in told.items()},
        "space": plain(space.specification, "space"),
        "budget": None if budget is None else asdict(budget),
        "population": dict(population),
        **{name: _plain_or_named(name, value) for name, value in others.items()},
    }


def _plain_or_named(name: str, value: Any) -> Any:
    try:
        return plain(value, name)
    except MetapbtError:
        kind = value if callable(value) and hasattr(value, "__qualname__") else type(value)
        return f"{kind.__module__}:{kind.__qualname__}"


def _is_feature(value: FeatureValue) -> bool:
    return isinstance(value, str) or abs(value) < (2**63 if isinstance(value, int) else math.inf)


def _checked_context(context: Mapping[str, FeatureValue] | None) -> Context:
    if context is not None and not isinstance(context, Mapping):
        raise MetapbtError(f"context must map features to numbers or words, got {shown(context)}")
    features: dict[str, FeatureValue] = {}
    for name, value in (context or {}).items():
        found = value if isinstance(value, str) else number(value)
        if not isinstance(name, str) or found is None or not _is_feature(found):
            raise MetapbtError(f"context must map features to numbers or words, got {shown(name)}: {shown(value)}")
        features[name] = found
    return Context(features)
