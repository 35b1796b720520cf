"""GPBT-PL: who loses a comparison moves towards the winner's hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown
from metapbt.history import History, Record, Ref
from metapbt.plain import number
from metapbt.population.explorers.base import Explorer, Pending, Suggestion
from metapbt.space import Hyperparameters, Space, Value

REMEMBERED = 12  # moves that a velocity is made of; of what was before, on average 2**-12 is left


class GPBTPLExplorer(Explorer):
    """Pairwise learning of generalised population-based training (Bai and Cheng, 2024, arXiv 2404.08233).

    A copy takes over the winner's weights, but not its hyperparameters: it moves from its own towards them, with what
    is left of its last move. For each number, in coordinates of the unit cube, so on its log scale where it has one,

    $$v' = r_1 v + r_2 (x_{winner} - x_{loser}), \\quad x' = \\min(\\max(x_{loser} + v', 0), 1)$$

    with $r_1$ and $r_2$ uniform in [0, 1], anew for each hyperparameter. With probability ``resample_probability``
    it is drawn anew instead.

    - **Velocity** is not stored: it is the displacement of the member's last move, which the history knows, as far as
      that rule can have made it. So what was cut off at a bound is no velocity any more (published: it is, and keeps
      a member at its bound), and of what was drawn anew or a constraint changed as much as could be a move. Where
      weights were an old checkpoint's, that may be one towards anybody of that time. A new agent begins at rest.
    - **Categories** have no way between them: a copy takes the winner's where $r_2 \\ge 1/2$ and keeps its own
      otherwise. Integers and steps are rounded.
    - **Conditions**: of what only one of the two has, the other one is taken to have the same.
    - **The architecture** is the winner's, as for any copy.

    Who loses to whom is the selection's matter: with truncation one of the worst quantile to one of the best, as in
    the published code; with ``selection=pairwise`` to whom it met, as in EvoRL, which never draws anew.
    """

    def __init__(self, space: Space, resample_probability: float = 0.25) -> None:
        """Check the settings.

        Args:
            space: the search space.
            resample_probability: with which a hyperparameter is drawn anew.

        Raises:
            MetapbtError: it is outside of [0, 1].
        """
        super().__init__(space)
        probability = number(resample_probability)
        if probability is None or not 0 <= probability <= 1:
            raise MetapbtError(f"method.resample_probability must be in [0, 1], got {shown(resample_probability)}")
        self.resample_probability = probability

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Move each child's hyperparameters towards its parent's."""
        return [self._learned(*both, history, rng) for both in zip(children, parents, strict=True)]

    def _learned(self, loser: Record, winner: Record, history: History, rng: np.random.Generator) -> Suggestion:
        own, others = self._completed(loser, winner)
        before = self._coordinates(own)
        fresh = self.space.unconditional_sample(rng)
        resampled, inertia, pull = rng.random((3, len(self.space)))
        velocity = inertia * self._velocity(loser, history) + pull * (self._coordinates(others) - before)
        values, operations = dict(own), {}
        for place, parameter in enumerate(self.space.parameters):
            name = parameter.name
            if parameter.role is not None:
                values[name] = others[name]
            elif resampled[place] < self.resample_probability:
                values[name], operations[name] = fresh[name], "resample"
            elif parameter.kind == "categorical":
                values[name] = others[name] if pull[place] >= 0.5 else own[name]
            elif velocity[place] != 0:
                moved = float(np.clip(before[place] + velocity[place], 0.0, 1.0))
                values[name], operations[name] = parameter.from_unit(moved), "learn"
        return Suggestion(self.space.active(values), "perturbed", operations)

    def _velocity(self, member: Record, history: History) -> NDArray[np.float64]:
        """What is left of a member's last move, in coordinates; 0 of what has none."""
        moves: list[tuple[Record, Record, list[Record]]] = []
        for generation in range(member.generation, history.settled, -1):
            before, moved = (history.at(Ref(number, member.member)) for number in (generation - 1, generation))
            winner = None if moved is None else history.before(moved)
            if before is None or moved is None or winner is None or len(moves) == REMEMBERED:
                break  # a new agent begins at rest
            if moved.parent is not None:
                # Where it went back to an old checkpoint, whose hyperparameters it learned from is not known.
                old = winner.generation < before.generation
                moves.append((before, moved, [winner, *(history.generation(before.generation) if old else ())]))
        velocity = np.zeros(len(self.space))
        for before, moved, winners in reversed(moves):
            own, _ = self._completed(before, winners[0])
            start = self._coordinates(own)
            pulls = np.array([self._coordinates(self._completed(before, winner)[1]) for winner in winners]) - start
            least = np.minimum(velocity, 0.0) + np.minimum(pulls, 0.0).min(axis=0)
            most = np.maximum(velocity, 0.0) + np.maximum(pulls, 0.0).max(axis=0)
            velocity = np.clip(self._coordinates({**own, **moved.hyperparameters}) - start, least, most)
        return velocity

    def _completed(self, loser: Record, winner: Record) -> tuple[Hyperparameters, Hyperparameters]:
        """The values of both for every hyperparameter; what one lacks is the other's, what both lack its default."""
        default, own, others = self.space.unconditional_default(), loser.hyperparameters, winner.hyperparameters
        return {**default, **others, **own}, {**default, **own, **others}

    def _coordinates(self, values: Mapping[str, Value]) -> NDArray[np.float64]:
        return np.array([parameter.to_unit(values[parameter.name]) for parameter in self.space.parameters])
