"""Whether a run's files are whole and fit together."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from metapbt.errors import MetapbtError
from metapbt.files import leftovers
from metapbt.history import Budget, Eras, History, Ref
from metapbt.plain import same
from metapbt.store.checkpoint import read_outcome
from metapbt.store.description import TUNER, Description
from metapbt.store.done import Done
from metapbt.store.journal import Content, read_journal
from metapbt.store.memory_table import read_memory
from metapbt.store.plausible import implausible
from metapbt.store.reading import Absent, Removed, if_there
from metapbt.store.results import RunInfo, described, history_of, undisturbed
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import contexts_in, differing_column, read_table, to_records, to_table

_PLAUSIBLE = 5.0  # how far from the records' returns a test return may lie, in units of their range or size


def problem(run: RunInfo) -> str | None:
    """What is wrong with a run's files, in words; None where nothing is. A run that goes on may lack what is to come.

    Whoever changes a file and leaves its checksum is always found out; whoever makes a new checksum, too, only where
    what the files say of one another does not fit.
    """
    return problem_in(RunDirectory(run.path))


def problem_in(directory: RunDirectory) -> str | None:
    """What is wrong with the files of a run that may not even tell what it is."""
    try:
        undisturbed(directory, lambda: _check(directory, described(directory)))
    except Removed:
        return None
    except MetapbtError as error:
        return str(error)
    return None


def _check(directory: RunDirectory, run: RunInfo) -> None:
    # In the order that is the reverse of writing: what is read later may be longer, but not shorter.
    if run.state == "done" and directory.failure is not None:
        raise MetapbtError("there are both DONE and FAILED")
    table = if_there(lambda: read_table(directory.records))
    content = if_there(lambda: read_journal(directory.journal.path))
    config = directory.config()
    if run.state == "done" and table is None and content is None:
        raise MetapbtError("DONE, but there are no records")
    _check_identity(run, config)
    _check_place(run)
    _check_memory(directory, run, config)
    if content is not None:
        _check_journal(run, content, table)
    elif run.done is not None and run.done.journal is not None:
        raise Absent(directory.journal.path)
    history = _history(run, content, table)
    decisions = content.decisions if content is not None and "run" in content.head else ()
    wrong = implausible(history, decisions, config)
    if wrong is not None:
        raise MetapbtError(wrong)
    if run.done is not None:
        _check_done(run.done, history, config)
        if content is not None:
            _check_end(run, content, history, config)
    if content is not None and "run" in content.head and run.state in ("done", "failed", "stopped"):
        if directory.keeps_checkpoints and not config.get(TUNER):  # else they are elsewhere
            _check_checkpoints(directory, run, history)
        if run.state != "stopped":  # by a kill, which leaves what the next start removes
            _check_leftovers(directory)


def _check_identity(run: RunInfo, config: Mapping[str, Any]) -> None:
    path = run.path / "config.yaml"
    asked = Description.of_config(config, path).to_dict()
    for name, value in asked.items():
        said = dict(run.context) if name == "features" else list(run.context.changed) if name == "changed" else ...
        if (getattr(run, name) if said is ... else said) != value:
            raise MetapbtError(f"config.yaml says another {name} than the journal's first entry")
    if dict(config["context"] or {}) != run.context.changed:
        raise MetapbtError("config.yaml says that other features were changed than its context has")


def _check_place(run: RunInfo) -> None:
    """A run that was moved keeps what it is called; one that was renamed in its place is not what it says."""
    said = run.identity.run_id.split("/")
    # As it was called, or where links lead.
    places = [place.parts[-4:] for place in (Path(os.path.abspath(run.path)), run.path.resolve())]  # noqa: PTH100
    alike = [sum(map(str.__eq__, said, found)) for found in places]
    if max(alike) < 4 and len(places[0]) == 4 and alike[0] >= 2:
        raise MetapbtError(f"its path is {'/'.join(places[0])}, and it says that it is {run.identity.run_id}")


def _check_journal(run: RunInfo, content: Content, table: pa.Table | None) -> None:
    # A stop, or a writer at work, leaves an unfinished last entry: nothing that had been finished is lost.
    if content.damage is not None and not (content.cut and run.state != "done"):
        raise MetapbtError(content.damage)
    count = len(content.records)
    if table is None:
        if run.state == "done":
            raise Absent(run.path / "records.parquet")
        return
    if len(table) > count or (run.state == "done" and len(table) != count):
        raise MetapbtError(f"records.parquet has {len(table)} records, and the journal {count}")
    known = History(content.records[: len(table)], run.metric, run.size)
    column = differing_column(table, to_table(run.identity, known), () if "run" in content.head else ("run_id",))
    if column is not None:
        raise MetapbtError(f"records.parquet has another {column} than the journal")


def _history(run: RunInfo, content: Content | None, table: pa.Table | None) -> History:
    if content is not None or table is None:
        return History(content.records if content else (), run.metric, run.size)
    rows = to_records(table)
    for identity, _ in rows:
        for name in ("env", "context", "method", "learner", "seed"):
            if getattr(identity, name) != getattr(run.identity, name):
                raise MetapbtError(f"records.parquet says another {name} than config.yaml")
    history = History(tuple(record for _, record in rows), run.metric, run.size)
    spent = table["spent_steps"].to_pylist()
    if None not in spent and tuple(spent) != history.spent_steps:
        raise MetapbtError("records.parquet has other spent_steps than its env_steps make")
    return history


def _check_done(done: Done, history: History, config: Mapping[str, Any]) -> None:
    if not len(history):
        raise MetapbtError("DONE, but there are no records")
    if history.generations != done.generations:
        raise MetapbtError(f"DONE after {done.generations} generations, but there are records of {history.generations}")
    best = history.best().ref
    if done.best not in (None, best, history.leader_ever().ref):  # which was tested until 30 November 2026
        raise MetapbtError(f"DONE says that the best is {tuple(done.best)}, and the records say {tuple(best)}")
    made = Done.of(history, best, 0.0, 0)
    for name in ("records", "env_steps", "eval_return", "failed"):
        if getattr(done, name) is not None and not same(getattr(done, name), getattr(made, name)):
            raise MetapbtError(f"DONE says another {name} than the records")
    asked = config.get("evaluation") or {}
    episodes = asked.get("test_episodes")
    if episodes is not None and done.test_episodes not in (0, episodes):
        raise MetapbtError(f"DONE says {done.test_episodes} test episodes, and config.yaml {episodes}")
    # On levels that no record is of, an agent may be worth anything.
    if all(asked.get(f"test_{name}") == asked.get(name) for name in ("num_levels", "start_level")):
        _check_test_return(done, history)


def _check_test_return(done: Done, history: History) -> None:
    if done.test_return is None:
        return
    returns = [value for record in history for value in (record.train_return, record.eval_return)]
    finite = [value for value in returns if math.isfinite(value)] or [0.0]
    slack = _PLAUSIBLE * max(max(finite) - min(finite), abs(max(finite)), abs(min(finite)), 1.0)
    if not min(finite) - slack <= done.test_return <= max(finite) + slack:
        span = f"{min(finite):g} to {max(finite):g}"
        raise MetapbtError(f"DONE says a test return of {done.test_return:g}, and the records' returns are {span}")


def _check_end(run: RunInfo, content: Content, history: History, config: Mapping[str, Any]) -> None:
    """Whether nobody has anything left to train, where nothing else was to end the run."""
    if "stop" not in config or any(value is not None for value in (config["stop"] or {}).values()):
        return
    budget, eras = Budget.of(config["budget"]), Eras.of_config(config)
    for member in range(run.size):
        decided = content.assignments.get(member)
        if member not in history.members and decided is None:
            raise MetapbtError(f"DONE, but there are no records of member {member}")
        start = history.last(member).ref if decided is None else decided.get("start")
        counted = history.counts_on(
            *(None if ref is None else Ref(*ref) for ref in (start, (decided or {}).get("teacher")))
        )
        # Who goes on from an agent that is ahead has less to train, or nothing.
        if eras.goes_on(budget, history, history.coming_generation(member), counted):
            steps = counted.env_steps if counted is not None else 0
            raise MetapbtError(f"DONE, but member {member} could train on after {steps} steps")


def _check_checkpoints(directory: RunDirectory, run: RunInfo, history: History) -> None:
    """Those that are there are of their records; in a finished run, the last ones and the best are."""
    found = directory.checkpoints()
    if run.state == "done":
        tested = history_of(run, history).best()
        for ref in (record.ref for record in (*history.latest, tested) if not record.failed):
            if ref not in found:
                raise Absent(directory.checkpoint(ref))
    for ref, path in found.items():
        record = history.at(ref)
        if record is not None and record.failed:
            raise MetapbtError(f"{path} is of an interval that failed")
        outcome = read_outcome(path)
        name = None if record is None else outcome.differing_field(record)
        if name is not None:
            raise MetapbtError(f"{path} says another {name} than its record")


def _check_memory(directory: RunDirectory, run: RunInfo, config: Mapping[str, Any]) -> None:
    found = if_there(lambda: read_memory(directory.memory))
    if found is None:
        if run.ancestry or ("meta" in config and run.state == "done"):
            raise Absent(directory.memory)
        return
    table, ancestry = found
    if ancestry != run.ancestry:
        raise MetapbtError("memory.parquet has another ancestry than the journal's first entry")
    for context in contexts_in(table):
        if context not in ancestry:
            raise MetapbtError(f"memory.parquet has records of a context that is not in its ancestry: {dict(context)}")
    for name in ("env", "learner"):
        if set(table[name].to_pylist()) - {getattr(run, name)}:
            raise MetapbtError(f"memory.parquet has records of another {name} than the run's")
    if run.context in ancestry and not (config.get("meta") or {}).get("include_target"):
        raise MetapbtError("memory.parquet has the run's own context in its ancestry")


def _check_leftovers(directory: RunDirectory) -> None:
    for folder in (directory.path, directory.path / "checkpoints"):
        for path in leftovers(folder):
            raise MetapbtError(f"{path} is left over from a writer that was stopped")
