"""Where the first members' hyperparameters come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.history import Context
from metapbt.log import LOGGER, rounded
from metapbt.plain import written_number
from metapbt.population.explorers import explorer_class
from metapbt.population.explorers.base import Suggestion
from metapbt.registry import check_settings, settings_of
from metapbt.space import Space

if TYPE_CHECKING:
    from metapbt.history import Budget
    from metapbt.memory.source_runs import Memory


class Start:
    """The method's own first members: nothing is chosen before it is asked."""

    #: Whether it takes a ``memory`` of runs on related contexts.
    uses_memory: ClassVar[bool] = False

    def first(self, space: Space, count: int, rng: np.random.Generator) -> list[Suggestion]:
        """At most ``count`` suggestions, for the first members; the method is asked for those of the others."""
        return []

    @property
    def asked(self) -> dict[str, Any]:
        """What a configuration says of it; nothing of the usual one."""
        return {}


class Sobol(Start):
    """The first members fill the space evenly: a scrambled Sobol sequence (Owen, 1998)."""

    def first(self, space: Space, count: int, rng: np.random.Generator) -> list[Suggestion]:
        """The first points of a sequence whose length is a power of two, which fills the space best."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(space), rng=rng)
        points = sequence.random_base2(math.ceil(math.log2(count)))[:count] if count else ()
        return [Suggestion(space.spread(point), "sobol") for point in points]

    @property
    def asked(self) -> dict[str, Any]:
        """The configuration's key ``start``."""
        return {"start": {"name": "sobol"}}


class Transfer(Start):
    """The first members train with what the best lines of source runs trained with early."""

    uses_memory: ClassVar[bool] = True

    def __init__(self, memory: Memory | None, budget: Budget | None = None, stage: float = 0.5) -> None:
        """Check the settings.

        Args:
            memory: the target's context and the sources' runs; with none of these the method has all members.
            budget: of each member of the target; None where nobody knows.
            stage: share of a source's environment steps that counts as early; see `metapbt.memory.transfer`.

        Raises:
            MetapbtError: there is no memory, or ``stage`` is out of its range.
        """
        if memory is None:
            raise MetapbtError("start=transfer copies from other runs: give a memory of them")
        share = written_number(stage)
        if share is None or not 0 < share <= 1:
            raise MetapbtError(f"start.stage must be in (0, 1], got {shown(stage)}")
        self.memory, self.stage = memory, float(share)
        self.budget = math.inf if budget is None else float(budget.steps)

    def first(self, space: Space, count: int, rng: np.random.Generator) -> list[Suggestion]:
        """What the best lines trained with, and in the log which these were."""
        from metapbt.memory.transfer import early_lines

        if not len(self.memory.table):
            return []
        lines = early_lines(self.memory, space, self.stage, self.budget)[:count]
        for place, line in enumerate(lines):
            LOGGER.info(
                "transfer: configuration %d of %d is from %s, %s seed %d, of a line that trained with it for %d early "
                "steps and reached %.6g: %s",
                place + 1,
                count,
                self._told_apart(line.context),
                line.method,
                line.seed,
                line.steps,
                line.performance,
                ", ".join(f"{name} {rounded(value)}" for name, value in line.hyperparameters.items()),
            )
        if len(lines) < count:
            LOGGER.info("transfer: the method chooses the other %d of %d configurations", count - len(lines), count)
        return [Suggestion(line.hyperparameters, "transfer") for line in lines]

    def _told_apart(self, context: Context) -> str:
        """A source's context in the features in which it is not the target."""
        unlike = {name: value for name, value in context.items() if self.memory.context.get(name) != value}
        return Context(unlike).label if unlike else "this context"

    @property
    def asked(self) -> dict[str, Any]:
        """The configuration's key ``start``."""
        return {"start": {"name": "transfer", "stage": self.stage}}


STARTS: dict[str, type[Start]] = {"method": Start, "sobol": Sobol, "transfer": Transfer}


def start_class(settings: object) -> type[Start]:
    """The start behind a name, or behind a mapping with one.

    Raises:
        MetapbtError: the name is unknown.
    """
    name = settings.get("name") if isinstance(settings, Mapping) else settings
    if not isinstance(name, str) or name not in STARTS:
        raise unknown_name("start", name, STARTS)
    return STARTS[name]


def make_start(settings: str | Mapping[str, Any], memory: Memory | None, budget: Budget | None) -> Start:
    """Make a start.

    Args:
        settings: a known name, or a mapping with such a ``name`` and the start's settings, as in
            ``conf/start/<name>.yaml``.
        memory: the target's context and the sources' runs; None where nobody asks for it.
        budget: of each member; None where nobody knows.

    Raises:
        MetapbtError: the name or a setting is unknown or out of range, or it needs a memory.
    """
    made_by = start_class(settings)
    own = settings_of(settings) if isinstance(settings, Mapping) else {}
    handed = (memory, budget) if made_by.uses_memory else ()
    check_settings("start", _name(made_by), made_by, own, positional=len(handed))
    return made_by(*handed, **own)


def run_name(name: str | None, method: str, start: str | Mapping[str, Any]) -> str:
    """What a run is called in its path and in reports: ``pb2``, or with ``start=transfer`` ``pb2_transfer``.

    Args:
        name: a label that was asked for; None for none.
        method: its name.
        start: its name, or a mapping with it.
    """
    if name is not None:
        return name
    made_by = start_class(start)
    return method if made_by is Start else f"{method}_{_name(made_by)}"


def settings_with(
    memory: Memory | None, budget: Budget | None, method: str, start: Start, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """A method's settings, with budget and memory where it takes them; memory also where nobody else does."""
    made_by = explorer_class(method)
    found = {**settings, "budget": budget} if made_by.uses_budget else dict(settings)
    if memory is not None and (made_by.uses_memory or not start.uses_memory):
        found["memory"] = memory
    return found


def _name(made_by: type[Start]) -> str:
    return next(name for name, start in STARTS.items() if start is made_by)
