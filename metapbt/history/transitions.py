"""What an interval did to a member's return: the rows that surrogates learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # contexts are read where nothing is tuned
    from metapbt.history.record import Record
    from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Transition:
    """What one interval did to a member's return: the row that surrogates learn from.

    Attributes:
        generation: counted from 0.
        steps_before: environment steps before the interval.
        steps: environment steps in the interval.
        return_before: the return that the member started from.
        return_after: the return that it ended with.
        hyperparameters: those trained with.
        origin: the record that the agent went on from; None of a new agent.
    """

    generation: int
    steps_before: int
    steps: int
    return_before: float
    return_after: float
    hyperparameters: Hyperparameters
    origin: Record | None = None

    @property
    def slope(self) -> float:
        """Change of return for each environment step."""
        return (self.return_after - self.return_before) / self.steps
