"""Whether records can be those of a run that was configured so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from metapbt.errors import MetapbtError
from metapbt.history import Budget, Eras, History, Record, Ref
from metapbt.history.order import Order
from metapbt.plain import same

if TYPE_CHECKING:
    from metapbt.space import Space

#: Where hyperparameters come from, but for the words of explorers of one's own.
SOURCES = frozenset(
    "default random grid given sobol transfer memory hedge continued screened perturbed surrogate kept parent migrated "
    "replay".split()
)
_ROUNDING = 1e-9


def implausible(
    history: History, decisions: Sequence[Mapping[str, Any] | None], config: Mapping[str, Any]
) -> str | None:
    """What in the records cannot be, in words; None where nothing is.

    Records stand in the order of reports: in an asynchronous run some members are ahead of others. Sound are those
    whose members train one generation after the other, and go on from records that stand before their own.

    Args:
        history: the records.
        decisions: what the journal had decided for each of them; empty where there is no journal.
        config: of the run.

    Raises:
        MetapbtError: the configuration is none.
    """
    return next(_problems(history, decisions, config), None)


def _problems(
    history: History, decisions: Sequence[Mapping[str, Any] | None], config: Mapping[str, Any]
) -> Iterator[str]:
    limits = _Limits(config)
    seen: set[Ref] = set()
    order = Order(limits.size)
    for place, record in enumerate(history):
        ref, origin, teacher = record.ref, record.origin, record.teacher
        name = f"generation {ref.generation} of member {ref.member}"
        if ref in seen:
            yield f"there are two records of {name}"
        # Earlier versions did not say how many candidates there were.
        if not order.follows(record) and (limits.members is not None or order.has(ref.member)):
            due = order.due(ref.member)
            yield (
                f"{name} comes after it had been screened"
                if due is None
                else (f"the records lack generation {due} of member {ref.member}")
            )
        if origin is not None and origin not in seen:
            before = f"generation {origin.generation} of member {origin.member}"
            yield f"{name} goes on from {before}, which has no record before it"
        if teacher is not None and teacher not in seen:
            yield f"the teacher of {name} has no record before it"
        for ref_before in (origin, teacher):
            if ref_before is not None and (found := history.at(ref_before)) is not None and found.failed:
                yield f"{name} goes on from generation {found.generation} of member {found.member}, which failed"
        came_from = None if origin is None else history.at(origin)
        counted = history.counts_on(origin, teacher)
        wrong = limits.wrong(record) or limits.wrong_after(record, came_from, counted)
        if wrong is None and decisions:
            wrong = _undecided(record, decisions[place]) or limits.wrong_end(record, counted, decisions[place], history)
        if wrong is not None:
            yield f"{name} {wrong}"
        seen.add(ref)
        order.add(record)


class _Limits:
    """What a configuration lets records say."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        population, budget = config["population"], config["budget"]
        self.members: range | None = None
        self.size: int = population["size"]
        self.asynchronous: bool = population.get("asynchronous", False)
        self.budget = None if budget is None else Budget.of(budget)
        self.eras = Eras.of_config(config)
        self.changes = self.eras.count - 1
        self.generations = math.inf if self.budget is None else self.eras.most_generations(self.budget)
        if "candidates" in population:
            first = self.eras.beginning(self.size, population["candidates"])
            students = self.changes * sum(rung.count for rung in self.eras.rungs)
            self.members = range(self.size + first + students)
        names = (config["method"]["name"], (config.get("selection") or {}).get("name", ""))
        self.own_words = any(":" in str(name) for name in names)
        self.own_learner = ":" in config["learner"]["name"]
        spec = config.get("space")  # earlier versions did not always keep it
        self.space = None if spec is None else _space(json.dumps(spec))

    def wrong(self, record: Record) -> str | None:
        """What cannot be, whatever the other records say."""
        if self.members is not None and (
            record.member not in self.members
            or (record.member >= self.size and record.generation > 0 and not self.changes)
        ):
            return f"is none of the {self.size} members"
        if record.generation >= self.generations:
            return f"is beyond the last of {self.generations} generations"
        if not (math.isfinite(record.wall_seconds) and record.wall_seconds >= 0) or record.episodes < 0:
            return f"took {record.wall_seconds:g} seconds for {record.episodes} episodes"
        if record.failed and (
            record.episodes or not (math.isnan(record.train_return) and math.isnan(record.eval_return))
        ):
            return f"failed, but has returns of {record.train_return:g} and {record.eval_return:g}"
        if record.source not in SOURCES and not self.own_words:
            return f"has hyperparameters from {record.source!r:.50}, which is no source"
        return None if self.space is None else _outside(record, self.space)

    def wrong_after(self, record: Record, origin: Record | None, counted: Record | None) -> str | None:
        """What cannot be after the record that it went on from, and the one whose steps it counts on from."""
        before = counted.env_steps if counted else 0
        if record.failed and record.env_steps != before:
            return f"failed after {record.env_steps} steps, and began after {before}"
        if record.env_steps <= before and not record.failed:
            return f"ends after {record.env_steps} steps, and began after {before}"
        if record.until_steps is not None and self.budget is not None:
            if not before < record.until_steps <= max(self.budget.steps, before + 1):
                return f"was to end after {record.until_steps} steps: it began after {before} of {self.budget.steps}"
            if record.excess < 0 and not (self.own_learner or record.failed):
                return f"ends after {record.env_steps} steps, and was to train until {record.until_steps}"
        if record.source == "continued" and (record.parent is not None or origin is None):
            return "was continued, but is no continuation"
        before_it = record.hyperparameters if origin is None else origin.hyperparameters
        if record.source in ("continued", "screened") and not same(record.hyperparameters, before_it):
            return f"was {record.source} with other hyperparameters than it had"
        return None

    def wrong_end(
        self, record: Record, counted: Record | None, decision: Mapping[str, Any] | None, history: History
    ) -> str | None:
        """Whether the interval was to end elsewhere than where intervals do."""
        if record.until_steps is None or self.budget is None:
            return None
        asked = decision.get("until_steps") if decision else None
        due = self.eras.end_after(self.budget, history, record.ref, counted, asked, self.asynchronous)
        return None if record.until_steps == due else f"was to end after {record.until_steps} steps instead of {due}"


def _undecided(record: Record, decision: Mapping[str, Any] | None) -> str | None:
    """What the journal had not decided so."""
    if decision is None:
        went_on = record.source == "continued" and record.parent is None and not record.restart
        return None if went_on else f"is {record.source}, though nothing was decided for it"
    start = decision.get("start") if decision.get("kind") in ("copy", "restart") else None
    found = None if record.parent is None else [record.parent_generation, record.parent]
    teacher = None if record.teacher is None else list(record.teacher)
    said = {
        "parent": (found, start),
        "teacher": (teacher, decision.get("teacher")),
        "restart": (record.restart, decision.get("kind") == "restart"),
        "source": (record.source, decision.get("source")),
        "hyperparameters": (dict(record.hyperparameters), decision.get("hyperparameters")),
    }
    if record.source == "given" and decision.get("kind") == "start" and decision.get("source") != "given":
        del said["source"], said["hyperparameters"]  # Ray Tune's param_space gave others than the method had chosen
    wrong = [name for name, (is_so, decided) in said.items() if not same(is_so, decided)]
    return f"has another {wrong[0]} than was decided" if wrong else None


class _Bounds(NamedTuple):
    """A space; for each number its kind, lowest and highest value, and for each category its choices."""

    space: Space
    numbers: Mapping[str, tuple[tuple[type, ...], float, float]]
    choices: Mapping[str, Sequence[Any]]
    conditional: bool


@lru_cache(maxsize=64)
def _space(spec: str) -> _Bounds:
    from metapbt.space import Space

    space = Space(json.loads(spec))
    numbers, choices = {}, {}
    for parameter in space.parameters:
        if parameter.kind == "categorical":
            choices[parameter.name] = parameter.choices
        else:
            slack = _ROUNDING * max(abs(parameter.low), abs(parameter.high))
            kinds = (int,) if parameter.kind == "int" else (float, int)
            numbers[parameter.name] = kinds, parameter.low - slack, parameter.high + slack
    return _Bounds(space, numbers, choices, '"when"' in spec)


def _outside(record: Record, bounds: _Bounds) -> str | None:
    if bounds.conditional:
        try:
            bounds.space.check(record.hyperparameters)
        except MetapbtError as error:
            return f"is outside of the space: {error}"
        return None
    # Space.check says the same, but for its time: there may be a million records.
    values: Mapping[str, Any] = record.hyperparameters
    for name, value in values.items():
        if name in bounds.numbers:
            kinds, low, high = bounds.numbers[name]
            legal = type(value) in kinds and low <= value <= high
        elif name in bounds.choices:
            legal = any(same(value, choice) for choice in bounds.choices[name])
        else:
            return f"has {name}, which is not in the space"
        if not legal:
            return f"has {name} = {value!r:.50}, which is outside of the space"
    lacking = (bounds.numbers.keys() | bounds.choices.keys()) - record.hyperparameters.keys()
    return f"lacks {', '.join(sorted(lacking))}" if lacking else None
