"""Population-based training: copies perturb or resample their parent's hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metapbt.errors import MetapbtError
from metapbt.explorers.base import Explorer, Pending, Suggestion
from metapbt.records import History, Record
from metapbt.space import Parameter, Space, Value


class PBTExplorer(Explorer):
    """The explore step of Jaderberg et al. (2017), section 4.1.2.

    Each hyperparameter, independently, is drawn anew with probability ``resample_probability``; otherwise a number
    is multiplied by one of ``factors`` (and kept within its bounds), a category moves to a neighbour or stays.
    """

    def __init__(self, space: Space, factors: Sequence[float] = (0.8, 1.2), resample_probability: float = 0.25) -> None:
        """Check the settings.

        Raises:
            MetapbtError: no factors, or a probability outside [0, 1].
        """
        super().__init__(space)
        if not factors or min(factors) <= 0:
            raise MetapbtError(f"method.factors must be positive numbers, got {list(factors)}")
        if not 0 <= resample_probability <= 1:
            raise MetapbtError(f"method.resample_probability must be in [0, 1], got {resample_probability}")
        self.factors = tuple(factors)
        self.resample_probability = resample_probability

    def propose(
        self,
        parent: Record,
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> Suggestion:
        """Perturb or resample the parent's hyperparameters."""
        fresh = self.space.to_unit(self.space.sample(rng))
        point = self.space.to_unit(parent.hyperparameters)
        for index, parameter in enumerate(self.space.parameters):
            if rng.random() < self.resample_probability:
                point[index] = fresh[index]
            elif parameter.name in parent.hyperparameters:
                value = self._perturbed(parameter, parent.hyperparameters[parameter.name], rng)
                point[index] = self.space.to_unit({**parent.hyperparameters, parameter.name: value})[index]
        return Suggestion(self.space.from_unit(point), "perturbed")

    def _perturbed(self, parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
        if parameter.kind == "categorical":
            index = parameter.choices.index(value) + int(rng.integers(-1, 2))
            return parameter.choices[min(max(index, 0), len(parameter.choices) - 1)]
        scaled = float(value) * float(rng.choice(self.factors))
        clipped = min(max(scaled, parameter.low), parameter.high)
        return round(clipped) if parameter.kind == "int" else clipped
