"""Population-based training: copies perturb or resample their parent's hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metapbt.errors import MetapbtError, shown
from metapbt.history import History, Record
from metapbt.population.explorers.base import Explorer, Pending, Suggestion
from metapbt.space import Hyperparameters, Parameter, Space, Value


class PBTExplorer(Explorer):
    """The explore step of Jaderberg et al. (2017), section 4.1.2.

    Each hyperparameter, independently, is drawn anew with probability ``resample_probability``. Otherwise a number is
    multiplied by one of ``factors`` and kept within its bounds, an integer by at least one whole; a category, and a
    number with a ``step``, moves to a neighbour (and stays where there is none on that side). Of a number that is a
    ``complement`` in the space the distance from 1 is multiplied: a discount of 0.99 becomes 0.992 or 0.988.

    Categories whose order means nothing have no neighbours: with ``redraw_categories`` each is drawn anew with that
    probability, and kept otherwise. Half of the time, beside numbers that are multiplied always
    (``resample_probability=0``), is the PBT that PB2-Mult and PB2-Mix were compared with (Parker-Holder et al., 2021).
    """

    def __init__(
        self,
        space: Space,
        factors: Sequence[float] = (0.8, 1.2),
        resample_probability: float = 0.25,
        redraw_categories: float | None = None,
    ) -> None:
        """Check the settings.

        Args:
            space: the search space.
            factors: a number is multiplied by one of these.
            resample_probability: with which a hyperparameter is drawn anew.
            redraw_categories: with which a category is, which else stays as it is; None: like any other
                hyperparameter.

        Raises:
            MetapbtError: no factors, or a probability outside [0, 1].
        """
        super().__init__(space)
        if not factors or not all(isinstance(factor, int | float) and 0 < factor < math.inf for factor in factors):
            raise MetapbtError(f"method.factors must be positive numbers, got {shown(factors)}")
        if not 0 <= resample_probability <= 1:
            raise MetapbtError(f"method.resample_probability must be in [0, 1], got {resample_probability}")
        if redraw_categories is not None and not 0 <= redraw_categories <= 1:
            raise MetapbtError(f"method.redraw_categories must be null or in [0, 1], got {redraw_categories}")
        self.factors = tuple(factors)
        self.resample_probability = resample_probability
        self.redraw_categories = redraw_categories

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Perturb or resample each parent's hyperparameters."""
        return [self._explored(parent.hyperparameters, rng) for parent in parents]

    def _explored(self, before: Hyperparameters, rng: np.random.Generator) -> Suggestion:
        # What does not exist under the parent's conditions may come to exist: then from its default.
        values = {**self.space.unconditional_default(), **before}
        fresh = self.space.unconditional_sample(rng)
        operations = {}
        for parameter in self.space.parameters:
            name = parameter.name
            if parameter.role is not None:
                continue  # a copy keeps its parent's network, and what exists on that one alone
            redraw = self.redraw_categories if parameter.kind == "categorical" else None
            if rng.random() < (self.resample_probability if redraw is None else redraw):
                values[name], operations[name] = fresh[name], "resample"
            elif redraw is None:
                values[name], operations[name] = self._perturbed(parameter, values[name], rng)
        return Suggestion(self.space.active(values), "perturbed", operations)

    def _perturbed(self, parameter: Parameter, value: Value, rng: np.random.Generator) -> tuple[Value, str]:
        neighbours = parameter.neighbours(value)
        if neighbours is not None:
            up = bool(rng.random() < 0.5)
            return neighbours[up], "up" if up else "down"
        factor = float(rng.choice(self.factors))
        before = parameter.complemented(float(value))
        moved = before * factor
        if parameter.kind == "int":
            # 0.8 and 1.2 times 2 are 2 again, and 0 times anything is 0.
            step = np.sign(moved - before or factor - 1)
            moved = int(before + step) if round(moved) == before else round(moved)
        moved = parameter.complemented(moved)
        told = f"(1-x)x{factor:g}" if parameter.complement else f"x{factor:g}"
        return min(max(moved, parameter.low), parameter.high), told
