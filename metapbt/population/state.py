"""A tuner's state as plain data, checked before anything of it is taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from metapbt.errors import MetapbtError, shown
from metapbt.history import Eras, History, Record, Ref
from metapbt.history.order import Order
from metapbt.plain import frozen, number
from metapbt.population.decisions import Assignment
from metapbt.space import Space

VERSION = 2
_KINDS = ("start", "continue", "copy", "restart")


def write_state(history: History, assignments: Mapping[int, Assignment], mode: str) -> dict[str, Any]:
    """Everything that has happened and is decided, as plain data."""
    return {
        "tuner": VERSION,
        "mode": mode,
        "records": [record.to_dict() for record in history],
        "assignments": {str(member): assignment.to_dict() for member, assignment in assignments.items()},
    }


def read_state(state: Any, mode: str) -> tuple[list[Record], dict[int, Mapping[str, Any]]]:
    """The records and, by member, what was decided, as `write_state` wrote them.

    Raises:
        MetapbtError: it is none of a tuner, of a newer version, or of another mode.
    """
    if not isinstance(state, Mapping) or not {"records", "assignments"} <= state.keys():
        raise MetapbtError(f"load_state: this is no state of a tuner: {shown(state)}")
    version, told = state.get("tuner", 1), state.get("mode", "max")
    if version not in (1, VERSION) or isinstance(version, bool):
        raise MetapbtError(
            f"load_state: the state is of version {shown(version)}, this metapbt reads versions 1 to {VERSION}"
        )
    if told != mode:
        raise MetapbtError(f"load_state: the state has mode {shown(told)}, the tuner has mode '{mode}'")
    records, assignments = state["records"], state["assignments"]
    if not isinstance(records, list | tuple) or not isinstance(assignments, Mapping):
        raise MetapbtError(
            "load_state: this is no state of a tuner: it needs a list of records and assignments by member"
        )
    decided = {}
    for member, assignment in assignments.items():
        if (
            not isinstance(member, str)
            or not member.isdecimal()
            or len(member) > 9
            or not isinstance(assignment, Mapping)
        ):
            raise MetapbtError(f"load_state: the assignment of member {shown(member)} is none")
        decided[int(member)] = assignment
    return [_record(f"load_state: record {place}", data) for place, data in enumerate(records)], decided


def _record(where: str, data: Any) -> Record:
    try:
        return Record.from_dict(data)
    except MetapbtError as error:
        raise MetapbtError(f"{where}: {error}") from error


def _checked_history(space: Space, records: Sequence[Record], begun: History, size: int) -> History:
    """``begun`` with records that a population of ``size`` can have had, their configurations out of others' reach.

    Raises:
        MetapbtError: a record does not follow from those before it, or is of another space.
    """
    seen: dict[Ref, Record] = {}
    order = Order(size)
    kept = []
    for place, record in enumerate(records):
        where = f"record {place} (generation {record.generation}, member {record.member})"
        origin, teacher = record.origin, record.teacher
        if record.ref in seen or not order.follows(record):
            raise MetapbtError(f"{where} does not follow the member's last one")
        if origin is not None and origin not in seen:
            raise MetapbtError(f"{where} goes on from {shown(tuple(origin))}, of which there is no record before it")
        if teacher is not None and teacher not in seen:
            raise MetapbtError(f"{where} learned from {shown(tuple(teacher))}, of which there is no record before it")
        failed = next((ref for ref in (origin, teacher) if ref is not None and seen[ref].failed), None)
        if failed is not None:
            raise MetapbtError(f"{where} goes on from {shown(tuple(failed))}, which failed")
        counted = teacher if origin is None else origin
        before = 0 if counted is None else seen[counted].env_steps
        if record.failed and (record.env_steps != before or not math.isnan(record.value())):
            raise MetapbtError(f"{where} failed, but brought {record.value()} after {record.env_steps} steps")
        if not record.failed and not before < record.env_steps < math.inf:
            raise MetapbtError(f"{where}: env_steps must grow beyond {before}, got {record.env_steps}")
        try:
            legal = space.checked(record.hyperparameters)
        except MetapbtError as error:
            raise MetapbtError(f"{where}: {error}") from error
        kept.append(replace(record, hyperparameters=frozen(legal)))
        seen[record.ref] = kept[-1]
        order.add(record)
    return replace(begun, records=tuple(kept))


def _checked_assignment(space: Space, history: History, member: int, data: Mapping[str, Any]) -> Assignment:
    """What a member was to do next.

    Raises:
        MetapbtError: it does not follow from the history, or is of another space.
    """
    where = f"the assignment of member {member}"
    if data.get("kind") not in _KINDS or not isinstance(data.get("source"), str):
        raise MetapbtError(f"{where} is none: {shown(data)}")
    refs = {name: _ref(where, data[name], history) for name in ("start", "teacher") if data.get(name) is not None}
    start, kind = refs.get("start"), data["kind"]
    own = history.last(member).ref if member in history.members else None
    fits = {
        "start": start is None and own is None,
        "continue": start == own and own is not None,
        "copy": start is not None,
        "restart": True,  # of a new agent, or of what is left of another's weights
    }
    if not fits[kind]:
        raise MetapbtError(f"{where} does not follow from its records: {shown(data)}")
    until = data.get("until_steps")
    if until is not None and not isinstance(number(until), int):
        raise MetapbtError(f"{where}: until_steps must be an integer, got {shown(until)}")
    try:
        legal = frozen(space.checked(data.get("hyperparameters")))  # type: ignore[arg-type]
    except MetapbtError as error:
        raise MetapbtError(f"{where}: {error}") from error
    return Assignment(kind, start, legal, data["source"], refs.get("teacher"), until)


def _ref(where: str, written: Any, history: History) -> Ref:
    whole = isinstance(written, list | tuple) and len(written) == 2 and all(type(part) is int for part in written)
    record = history.at(Ref(*written)) if whole else None
    if record is None:
        raise MetapbtError(f"{where} names {shown(written)}, of which there is no record")
    if record.failed:
        raise MetapbtError(f"{where} names {shown(written)}, which failed")
    return record.ref


def going_on(history: History, member: int) -> Assignment:
    """What a member does that goes on as it is.

    Raises:
        MetapbtError: it has not begun.
    """
    if member not in history.members:
        raise MetapbtError(f"member {member} goes on, but has no record")
    last = history.last(member)
    if last.failed:
        raise MetapbtError(f"member {member} goes on from generation {last.generation}, which failed")
    return Assignment("continue", last.ref, last.hyperparameters, "continued")


def going_back(history: History, member: int) -> Assignment:
    """What a member does whose last interval failed where nobody copies another: that interval, with other seeds."""
    failed = history.last(member)
    if failed.origin is None:
        return Assignment("restart", None, failed.hyperparameters, failed.source)
    return Assignment("copy", failed.origin, failed.hyperparameters, "parent")


def restored(
    space: Space,
    begun: History,
    size: int,
    beginning: int,
    eras: Eras,
    records: Sequence[Record],
    decided: Mapping[int, Mapping[str, Any] | None],
) -> tuple[History, dict[int, Assignment]]:
    """The history, and by member what is decided, of a population that goes on.

    Args:
        space: the search space.
        begun: the history of the population before it had records.
        size: members.
        beginning: how many configurations begin.
        eras: when architectures change.
        records: everything that was observed, in that order.
        decided: the last decision for each member, candidate and student; None for one that goes on as it is, or has
            been screened.

    Raises:
        MetapbtError: it is of another population or space, or does not hang together.
    """
    coming = dict(decided)
    if records:
        trained = {record.member for record in records}
        # Candidates and students train but once under their numbers: who of them has not is about to.
        coming = {member: data for member, data in decided.items() if member >= size and member not in trained}
        coming = coming or {member: data for member, data in decided.items() if member < size}
    if decided and not _fits(coming.keys(), size, beginning, eras, records):
        raise MetapbtError(f"this is of {len(decided)} members, the tuner has {size}")
    history = _checked_history(space, records, begun, size)
    return history, {
        member: _checked_assignment(space, history, member, data) if data is not None else going_on(history, member)
        for member, data in sorted(coming.items())
    }


def _fits(coming: Set[int], size: int, beginning: int, eras: Eras, records: Sequence[Record]) -> bool:
    """Whether those who train next are as many as such a population has, under the numbers that they have."""
    if len({record.member < size for record in records if record.generation == 0}) > 1:
        return False  # members are beyond the population's
    if coming == set(range(size)):
        return bool(records) or beginning == size
    first = max([size, *(record.member + 1 for record in records)])
    counts = {rung.count for rung in eras.rungs} if records else {beginning}
    return len(coming) in counts and coming == set(range(first, first + len(coming)))
