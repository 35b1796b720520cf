"""PB2: copies take the point that a Gaussian process finds most promising."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, unknown_name
from metapbt.history import History, Record, Transition
from metapbt.memory.encoder import Encoder, Samples
from metapbt.memory.scales import HistoryScale
from metapbt.population.explorers.base import Explorer, Pending, Suggestion, Surrogate, drawn
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.threads import deciding

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP
    from torch import Tensor

    from metapbt.memory.candidates import Bounds

RETURNS = ("eval_return", "train_return")
PLAIN_GP = "plain GP"  # of the run alone, over all hyperparameters alike
MAX_PENDING = 200  # of the points being tried, the last so many count: else a decision's cost grew with the population


@dataclass(frozen=True)
class Situation:
    """What is the same for all copies of a generation.

    Attributes:
        now: the coming generation.
        rows: what happened, the most relevant rows first.
        scale: of returns and changes, over the whole history.
    """

    now: int
    rows: tuple[Transition, ...]
    scale: HistoryScale

    @classmethod
    def of(cls, history: History, children: Sequence[Record], parents: Sequence[Record]) -> Situation:
        """Collect it from a history with at least one transition.

        Args:
            history: everything that has happened.
            children: the last records of those who copy. These say what time it is: the parents' may be of long ago,
                where copies go back to the best checkpoint ever.
            parents: the records that they go on from, with finite returns.
        """
        from metapbt.surrogates.time_varying import relevant_rows

        rows = history.transitions()
        now = max(child.generation for child in children) + 1
        before = np.array([row.return_before for row in rows])
        scale = HistoryScale.of(before)
        here = float(scale.scaled(np.mean([parent.reached for parent in parents])))
        ranked = relevant_rows([row.generation for row in rows], scale.scaled(before), now, here)
        return cls(now, tuple(rows[index] for index in ranked), scale)

    def given(self, generation: int, return_before: float) -> list[float]:
        """The columns that are not ours to choose: time, and return scaled to [0, 1] over the history."""
        return Encoder(self.scale).given(generation, 0, return_before)


class PB2Explorer(Explorer):
    """Population-based bandits (Parker-Holder et al., 2020).

    A time-varying GP models how fast the return changes over an interval, given the generation, the return before
    it and the hyperparameters. A copy gets the hyperparameters with the largest upper confidence bound at the
    parent's return, where members already decided for the coming generation count in the variance but not in the
    mean (section 3.3). Every dimension is treated as continuous and rounded to the space's legal values; the variants
    ``pb2_rand``, ``pb2_mult`` and ``pb2_mix`` treat categories as such.

    The GP sees hyperparameters of the network's architecture too, but they stay the parent's: the bound is maximised
    over the others given these.
    """

    def __init__(
        self, space: Space, learn_from: str = "eval_return", trust_region: bool = False, length: float = 0.4
    ) -> None:
        """Check the settings.

        Args:
            space: the search space.
            learn_from: the return whose change is learned: ``eval_return``, or ``train_return`` as in the published
                code, which looks at evaluations for its log only. A mean over an interval and earlier ones lags: what
                an agent learns in one interval shows mostly in the next.
            trust_region: whether a copy's numbers lie in a cube around the parent's; as published, they lie anywhere.
            length: of this cube's edge, in the unit cube.

        Raises:
            MetapbtError: there is no such return, or ``length`` is out of its range.
        """
        super().__init__(space)
        if learn_from not in RETURNS:
            raise unknown_name("method.learn_from", learn_from, RETURNS)
        if not 0 < length <= 2:
            raise MetapbtError(f"method.length must be in (0, 2], got {length}")
        self.learn_from = learn_from
        #: Around each parent; None for anywhere.
        self.trusted = length if trust_region else None
        #: Positions, in unit vectors, of the hyperparameters that are columns of the GP.
        self.seen: tuple[int, ...] = tuple(range(len(space)))

    def warm_up(self) -> None:
        """Import the surrogates, which takes seconds."""
        import metapbt.surrogates.acquisition
        import metapbt.surrogates.time_varying  # noqa: F401

    @deciding()
    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Maximise the upper confidence bound at each parent's return."""
        if self.learn_from == "train_return":
            history, parents, pending = without_evaluations(history, parents, pending)
        known = [parent for parent in parents if math.isfinite(parent.reached)]
        if not known or not history.transitions():
            return [drawn(self.space, parent, rng) for parent in parents]
        situation = Situation.of(history, children, known)
        waiting = [p for p in pending if math.isfinite(p.return_before)]
        models: dict[tuple[object, ...], SingleTaskGP | None] = {}
        suggestions = []
        for parent, chosen in zip(parents, self.settle(parents, history, rng), strict=True):
            settled = self._existing({**self.space.network_of(parent.hyperparameters), **chosen}, parent)
            which = self.model_for(settled)
            if which not in models:
                models[which] = self.fit(situation, settled)
            model = models[which]
            if model is None or not math.isfinite(parent.reached):
                suggestions.append(self.unknown(parent, settled, rng))
                continue
            asked = self._existing({**settled, **self.conditions(parent, settled)}, parent)
            bounds = None if self.trusted is None else self.within(parent, history)  # its network is settled
            point = self._best(model, situation, parent.reached, asked, waiting[-MAX_PENDING:], bounds, rng)
            found = self.space.from_unit(point, settled)
            waiting.append(Pending(parent.reached, found))
            suggestions.append(Suggestion(found, "surrogate"))
        return suggestions

    @property
    def kind(self) -> str:
        """What its surrogate is, in a few words."""
        return PLAIN_GP

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """The Gaussian process."""
        if self.learn_from == "train_return":
            history, parents, pending = without_evaluations(history, parents, pending)
        known = [parent for parent in parents if math.isfinite(parent.reached)]
        if not known or not history.transitions():
            return None
        situation = Situation.of(history, children, known)
        model = self.fit(situation, known[0].hyperparameters)
        if model is None:
            return None

        def forecast(
            parent: Record, configurations: Sequence[Hyperparameters]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            from metapbt.surrogates.acquisition import moments

            if self.learn_from == "train_return":
                parent = without_evaluations(History(), [parent], [])[1][0]
            given = situation.given(situation.now, parent.reached)
            return moments(model, [[*given, *self.columns(configuration)] for configuration in configurations])

        return Surrogate(self.kind, forecast)

    def within(self, parent: Record, history: History) -> Bounds | None:
        """Where in the unit cube a copy of ``parent`` may lie: on its network, in the trust region if there is one."""
        if self.trusted is None and not self.space.architecture:
            return None
        from metapbt.population.explorers.mixed_space import MixedSpace
        from metapbt.surrogates.trust_region import TrustRegion

        trusted = None if self.trusted is None else TrustRegion(self.trusted, 1.0)
        mixed = MixedSpace(self.space)
        return mixed.cube(mixed.region(parent.hyperparameters, (), trusted, np.ones(1), self.space.architecture))

    def unknown(self, parent: Record, settled: Hyperparameters, rng: np.random.Generator) -> Suggestion:
        """What a copy of ``parent`` gets where no model answers for ``settled``."""
        return Suggestion(self.space.sample(rng, settled), "random")

    def conditions(self, parent: Record, settled: Hyperparameters) -> Hyperparameters:
        """Values under which the bound is maximised, where they are others than the settled ones: here none."""
        return {}

    def settle(self, parents: Sequence[Record], history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Return, for a copy of each of ``parents``, what is chosen before the GP is asked: here nothing.

        The architecture need not be there: it is the parent's.
        """
        return [{} for _ in parents]

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """Tell which of the generation's models answers for ``settled``: here the same for all."""
        return ()

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit the model that answers for ``settled``; None where there is nothing to fit."""
        from metapbt.surrogates.time_varying import fit_time_varying_gp

        return fit_time_varying_gp(*self.table(situation, situation.rows))

    def table(self, situation: Situation, rows: Sequence[Transition]) -> tuple[Tensor, Tensor]:
        """The rows that matter most, of those given, as the model's inputs (``n x d``) and outputs (``n x 1``)."""
        import torch

        from metapbt.surrogates.time_varying import KEPT_ROWS

        encoded = Encoder(situation.scale).rows(Samples.of(rows[:KEPT_ROWS], self.columns))
        return torch.as_tensor(encoded.inputs), torch.as_tensor(encoded.changes)[:, None]

    def columns(self, hyperparameters: Hyperparameters) -> list[float]:
        """A configuration as the model sees it: first those of ``seen``, in the unit cube."""
        return [float(coordinate) for coordinate in self.space.to_unit(hyperparameters)[list(self.seen)]]

    def _existing(self, settled: Hyperparameters, parent: Record) -> Hyperparameters:
        """Of the settled values those that exist under the conditions, the parent's values standing in for others."""
        values = {**self.space.unconditional_default(), **parent.hyperparameters, **settled}
        return {name: value for name, value in self.space.active(values).items() if name in settled}

    def _best(
        self,
        model: SingleTaskGP,
        situation: Situation,
        return_before: float,
        settled: Hyperparameters,
        waiting: Sequence[Pending],
        within: Bounds | None,
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """The point of the unit cube with the settled values that has the largest upper confidence bound."""
        import torch

        from metapbt.surrogates.acquisition import growing_beta, maximise_ucb, with_pending

        point = np.full(len(self.space), 0.5)
        start = self.space.from_unit(point, settled)
        row = [*situation.given(situation.now, return_before), *self.columns(start)]
        given = len(row) - len(self.columns(start))
        free = {
            given + column: place
            for column, place in enumerate(self.seen)
            if self.space.names[place] not in settled and self.space.parameters[place].role is None
        }
        if not free:
            return point
        points = [
            [*situation.given(situation.now, p.return_before), *self.columns(p.hyperparameters)]
            for p in waiting
            if self.model_for(p.hyperparameters) == self.model_for(settled)
        ]
        tried = torch.tensor(points, dtype=torch.float64).reshape(-1, len(row))
        fixed = {column: value for column, value in enumerate(row) if column not in free}
        bounds = torch.tensor([[0.0] * len(row), [1.0] * len(row)], dtype=torch.float64)
        if within is not None:
            places = list(free.values())
            bounds[:, list(free)] = torch.as_tensor(np.stack([within.low[places], within.high[places]]))
        beta, seed = growing_beta(len(situation.rows)), int(rng.integers(2**31))
        best = maximise_ucb(with_pending(model, tried), bounds, fixed, beta, seed)
        point[list(free.values())] = best[list(free)].numpy()
        return point


def without_evaluations(
    history: History, parents: Sequence[Record], pending: Sequence[Pending]
) -> tuple[History, list[Record], list[Pending]]:
    """What happened as if nobody had been evaluated: the training return then stands for what an agent has reached."""

    def blind(records: Iterable[Record]) -> list[Record]:
        return [replace(record, eval_return=math.nan) for record in records]

    return (
        History(tuple(blind(history)), history.metric, history.size),
        blind(parents),
        [replace(p, return_before=p.train_return) for p in pending],
    )
