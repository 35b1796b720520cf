"""What a training loop tells, and what code of the user's own answers: made plain, or refused by name."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import numpy as np

from metapbt.errors import MetapbtError, named, shown, shown_word
from metapbt.history import Budget, History, Ref
from metapbt.history.record import MOST as MOST_STEPS
from metapbt.log import LOGGER
from metapbt.plain import frozen, number, plain, whole_number, written_number
from metapbt.population.explorers import explorer_class
from metapbt.population.explorers.base import Suggestion
from metapbt.population.selection import Exploit
from metapbt.space import Hyperparameters, Space

METRICS = ("train_return", "eval_return")
MODES = ("max", "min")
MOST = 100_000  # members, and candidates
LARGEST = 2**63 - 1  # what a table's column of integers holds


def count_of_candidates(asked: Any, members: int) -> int:
    """How many configurations begin, at least one for each member.

    Raises:
        MetapbtError: it is no such number.
    """
    count = whole_number("population.candidates", asked, 1, MOST)
    if count < members:
        raise MetapbtError(f"population.candidates must be >= population.size ({members}), got {count}")
    return count


def share_replaced(quantile: Any) -> float:
    """The ``quantile`` of a tuner.

    Raises:
        MetapbtError: it is no number in [0, 0.5].
    """
    share = written_number(quantile)
    if share is None or not 0 <= share <= 0.5:
        raise MetapbtError(f"population.quantile must be in [0, 0.5], got {shown(quantile)}")
    return share


def check_better(metric: Any, mode: Any) -> None:
    """Refuse a return that no record has, or another order of returns than there are.

    Raises:
        MetapbtError: so it is.
    """
    if not isinstance(metric, str) or metric not in METRICS:
        hint = "; mode='min' says that smaller is better" if metric in MODES else ""
        raise MetapbtError(f"population.metric must be one of {', '.join(METRICS)}, got {shown_word(metric)}{hint}")
    if not isinstance(mode, str) or mode not in MODES:
        raise MetapbtError(f"mode must be max or min, got {shown(mode)}")


def check_parts(constraint: Any, selection: Any, budget: Any) -> None:
    """Refuse what is no function, no name of a selection, and no budget.

    Raises:
        MetapbtError: one is none.
    """
    if constraint is not None and not callable(constraint):
        raise MetapbtError(f"constraint must be a function, got {shown(constraint)}")
    if not isinstance(selection, str | Mapping):
        raise MetapbtError(f"selection must be a name or a mapping with one, got {shown(selection)}")
    if budget is not None and not isinstance(budget, Budget):
        raise MetapbtError(f"budget must be a metapbt.history.Budget, got {shown(budget)}")


def warn_of_no_restarts(method: str, restarts: Any) -> None:
    """Say that a method is another one than is published where nothing begins anew."""
    if restarts is None and explorer_class(method).begins_anew:
        LOGGER.warning("method '%s' never begins anew without restarts={\"patience\": 3}", method)


def numbers_told(env_steps: Any, returns: Any, count: int, who: str) -> list[tuple[Any, Any]]:
    """The steps and the return of each, still to be checked.

    Args:
        env_steps: as told.
        returns: as told.
        count: how many are asked for.
        who: they are, in words.

    Raises:
        MetapbtError: they are no lists, or not as many as are asked for.
    """
    told = [_listed("env_steps", env_steps), _listed("returns", returns)]
    if not len(told[0]) == len(told[1]) == count:
        raise MetapbtError(
            f"tell: {count} {who} need as many env_steps and returns, got {len(told[0])} and {len(told[1])}"
        )
    return list(zip(*told, strict=True))


def _listed(what: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping | Set):
        raise MetapbtError(f"tell: {what} must be a list with one number for each, got {shown(values)}")
    try:
        return list(values)
    except TypeError:
        raise MetapbtError(f"tell: {what} must be a list with one number for each, got {shown(values)}") from None


def steps_told(member: int, value: Any, before: float) -> float:
    """A measure of training, which must have grown; as an integer where it is whole.

    Raises:
        MetapbtError: it is no finite number, or has not grown.
    """
    found = number(value)
    if found is None:
        raise MetapbtError(f"tell: the env_steps of member {member} must be a number, got {shown(value)}")
    if not before < found < MOST_STEPS:
        must = "be below 2**53" if found >= MOST_STEPS else f"grow beyond {before}"
        raise MetapbtError(f"tell: env_steps of member {member} must {must}, got {shown(found)}")
    return int(found) if found == int(found) else found


def return_told(member: int, value: Any) -> float:
    """A return, which may be NaN or infinite.

    Raises:
        MetapbtError: it is no number.
    """
    found = number(value)
    if found is None:
        raise MetapbtError(f"tell: the return of member {member} must be a number, got {shown(value)}")
    try:
        return float(found)
    except OverflowError:
        return math.inf if found > 0 else -math.inf


def member_told(member: Any, size: int) -> int:
    """A member's number.

    Raises:
        MetapbtError: there is no such member.
    """
    found = number(member)
    if found is None or found not in range(size):
        raise MetapbtError(f"tell_member: members are 0 to {size - 1}, got {shown(member)}")
    return int(found)


@contextmanager
def answering(who: str, own: bool = True) -> Iterator[None]:
    """Name whose code it is that fails, where it is the user's own."""
    try:
        yield
    except MetapbtError:
        raise
    except Exception as error:
        if not own:
            raise
        raise MetapbtError(f"{who} failed: {named(error)}") from error


def checked_suggestions(who: str, space: Space, suggestions: Any, count: int) -> list[Suggestion]:
    """What an explorer suggested: as many as were asked for, each a legal configuration.

    Raises:
        MetapbtError: it is something else.
    """
    listed = list(suggestions) if isinstance(suggestions, Iterable) else [suggestions]
    if len(listed) != count or not all(isinstance(suggestion, Suggestion) for suggestion in listed):
        raise MetapbtError(f"{who} must answer with {count} suggestions, got {shown(suggestions)}")
    return [
        Suggestion(checked_configuration(who, space, s.hyperparameters), str(s.source), dict(s.operations))
        for s in listed
    ]


def checked_configurations(what: str, space: Space, given: Any) -> tuple[Hyperparameters, ...]:
    """A list of configurations, each as `checked_configuration` has it.

    Raises:
        MetapbtError: it is no such list.
    """
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not listed or not all(isinstance(each, Mapping) for each in given):
        raise MetapbtError(f"{what} must be a list of configurations, got {shown(given)}")
    return tuple(checked_configuration(f"{what}[{place}]", space, each) for place, each in enumerate(given))


def checked_configuration(who: str, space: Space, hyperparameters: Any) -> Hyperparameters:
    """A configuration that somebody's code made, which cannot be changed any more.

    Raises:
        MetapbtError: it is none of the space.
    """
    try:
        return frozen(space.checked(hyperparameters))
    except MetapbtError as error:
        raise MetapbtError(f"{who}: {error}") from error


def checked_architectures(who: str, space: Space, architectures: Any, count: int) -> list[Hyperparameters]:
    """What an explorer proposed for the students of an era: as many architectures as were asked for, each a legal one.

    Raises:
        MetapbtError: it is something else.
    """
    listed = list(architectures) if isinstance(architectures, Iterable) else [architectures]
    if len(listed) != count or not all(isinstance(network, Mapping) for network in listed):
        raise MetapbtError(f"{who} must propose {count} architectures, mappings, got {shown(architectures)}")
    checked = []
    for proposed in listed:
        network = plain(dict(proposed), f"{who}: an architecture")
        others = [name for name in network if name not in space.architecture]
        if others:
            raise MetapbtError(
                f"{who} proposes an architecture with {shown(others[0])}, which is none of {space.architecture}"
            )
        whole = checked_configuration(who, space, space.with_architecture_of(space.unconditional_default(), network))
        wanted = {name for name in space.architecture if name in whole}
        if wanted != network.keys():
            raise MetapbtError(
                f"{who} proposes an architecture of {sorted(network)}, which must be of {sorted(wanted)}"
            )
        checked.append({name: whole[name] for name in space.architecture if name in whole})
    return checked


def checked_exploits(who: str, exploits: Any, history: History, reported: Collection[int]) -> dict[int, Exploit]:
    """What a selection decided: for members that reported, with checkpoints that have a record.

    Raises:
        MetapbtError: it is something else.
    """
    if not isinstance(exploits, Mapping) or not all(isinstance(exploit, Exploit) for exploit in exploits.values()):
        raise MetapbtError(f"{who} must answer with an Exploit by member, got {shown(exploits)}")
    for member, exploit in exploits.items():
        if member not in reported:
            raise MetapbtError(f"{who} decides for member {shown(member)}, who has not reported")
        for ref in (exploit.start, exploit.hyperparameters_of, exploit.teacher, exploit.explored_from):
            if ref is not None and not is_known(ref, history):
                raise unknown(who, ref)
        if exploit.until_steps is not None and not isinstance(number(exploit.until_steps), int):
            raise MetapbtError(f"{who}: until_steps must be an integer, got {shown(exploit.until_steps)}")
    return {int(member): exploit for member, exploit in exploits.items()}


def is_known(ref: Any, history: History) -> bool:
    """Whether something is the name of a record."""
    return isinstance(ref, Ref) and all(isinstance(part, int) for part in ref) and history.at(ref) is not None


def unknown(who: str, ref: Any) -> MetapbtError:
    """The error for what is no name of a record."""
    return MetapbtError(f"{who} names {shown(ref)}, of which there is no record")


def own_copy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that whoever gave them cannot change any more; objects are shared."""
    return {
        name: copy.deepcopy(value) if isinstance(value, list | dict | set | np.ndarray) else value
        for name, value in settings.items()
    }
