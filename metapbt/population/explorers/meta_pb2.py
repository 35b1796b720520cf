"""PB2 that remembers: its surrogate was trained on related contexts before the run began."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, unknown_name
from metapbt.history import History, Record
from metapbt.log import LOGGER
from metapbt.memory.encoder import Description, Encoder, Rows, Samples, Which
from metapbt.memory.scales import SourceScale
from metapbt.memory.tasks import MAX_ROWS, Tasks
from metapbt.population.explorers.base import Pending, Suggestion, Surrogate
from metapbt.population.explorers.mixed_space import MixedSpace
from metapbt.population.explorers.pb2 import PB2Explorer, Situation
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.thinning import evenly

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

    from metapbt.memory.candidates import Bounds
    from metapbt.memory.experts import Ensemble
    from metapbt.memory.model import MetaModel
    from metapbt.memory.source_runs import Memory
    from metapbt.memory.training import Cache, Learned

Array = NDArray[np.float64]

KERNELS = ("deep", "plain", "published")
SOURCE_ROWS = 200  # of the sources, those that a suggestion is conditioned on
HINTS = 32  # configurations that did well at this stage elsewhere, looked at beside those that fill the space
PUBLISHED_ROWS = 1000  # an exact GP's cost grows with their cube

NEGLIGIBLE = 0.01  # weight of an expert up to which asking it is not worth the time
MOST_TRUST = 0.9  # before anything has happened here: sources that agree may mislead all the same
ALONE = 0.1  # prior weight of PB2's own model, in which memory has no part


class MetaPB2Explorer(PB2Explorer):
    """PB2 with a surrogate that was meta-trained on the source contexts' runs. Without any source this is PB2.

    The surrogate is an ensemble. Its experts share a deep kernel over (time, return before, context, hyperparameters)
    and differ in how alike they think sources and target are: from 0.95, where the sources' rows are nearly as good
    as the target's, to 0, where memory says how smooth returns are but not where they are high. One more is PB2's
    model of the target alone. Their weights follow from how well each forecast the target's own rows before it had
    seen them. Copies take the point with the largest upper confidence bound of the ensemble.

    Before anything has happened here, memory is trusted as far as it would have deserved it had each source been the
    target, and less the farther the target lies outside of what the sources have seen. The first generation has as
    many members from memory; they are judged by the mean return that the surrogate forecasts over ``horizon``
    intervals, and chosen for the best of them. The others are a hedge in case memory misleads: that its
    members disappoint, and that sources and target are little alike.
    """

    uses_memory: ClassVar[bool] = True
    #: Whether it takes a ``cache`` that keeps trained models for other runs.
    uses_cache: ClassVar[bool] = True

    def __init__(
        self,
        space: Space,
        memory: Memory,
        first_generation: float = 0.5,
        steering: bool = True,
        schedule: bool = True,
        kernel: str = "deep",
        features: bool = True,
        trust: bool = True,
        horizon: int = 3,
        fine_tuning: int = 10,
        max_rows: int = MAX_ROWS,
        cache: Cache | None = None,
    ) -> None:
        """Take the memory.

        Args:
            space: the search space.
            memory: the target's context and the sources' runs.
            first_generation: share of the first members that memory chooses, where it is trusted wholly; at least one
                member, unless 0.
            steering: whether memory takes part in exploits.
            schedule: whether what good members of the sources did at this stage is looked at as such.
            kernel: ``deep``, ``plain`` (no network), or ``published`` (one exact deep-kernel GP over all rows, no
                other experts).
            features: whether the context enters the surrogate.
            trust: whether weights follow from the target's rows; else they stay what they were at the start.
            horizon: intervals over which the first generation is judged.
            fine_tuning: steps on the target's own rows before each exploit.
            max_rows: of the sources; more are thinned evenly.
            cache: keeps trained models for other runs; None keeps none.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        super().__init__(space)
        if kernel not in KERNELS:
            raise unknown_name("method.kernel", kernel, KERNELS)
        if not 0 <= first_generation <= 1:
            raise MetapbtError(f"method.first_generation must be in [0, 1], got {first_generation}")
        for key, value, lowest in (("horizon", horizon, 1), ("fine_tuning", fine_tuning, 0), ("max_rows", max_rows, 1)):
            if value < lowest:
                raise MetapbtError(f"method.{key} must be >= {lowest}, got {value}")
        self.memory = memory
        self.first_generation = first_generation
        self.steering = steering
        self.schedule = schedule
        self.kernel = kernel
        self.features = features
        self.trust = trust
        self.horizon = horizon
        self.fine_tuning = fine_tuning
        self.max_rows = max_rows
        self.cache = cache

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Choose part of the first generation from memory: promising for this context, and unlike each other."""
        if not len(self.tasks) or self.first_generation == 0:
            return super().start(size, rng)
        from metapbt.memory.first_members import hedge, promising
        from metapbt.memory.trust import explained

        weights = self._prior
        count = self._share(size)
        LOGGER.info(
            "memory: %d rows of the sources; trusted at the start: %s; it chooses %d of %d members",
            len(self.tasks), explained(weights), count, size,
        )  # fmt: skip
        given = np.array([0.0, self._scale.untrained, *self._scale.context(self._described)])
        source = self.tasks.rows[self._relevant(given[None])]
        ensemble, hints = self._ensemble(source, None, self.weights(None)), self._hints(source, given)
        points = promising(ensemble, self._model, self._scale, given, hints, self.horizon, count, rng)
        others = hedge(self._model, source, given, points, size - count, rng)
        return [
            *(Suggestion(self.space.from_unit(point), "memory") for point in points),
            *(Suggestion(self.space.from_unit(point), "hedge") for point in others),
        ]

    def _share(self, size: int) -> int:
        """How many of so many newcomers memory chooses, where it chooses any."""
        return max(1, round(self.first_generation * self._prior_trust * size))

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Maximise the upper confidence bound of the ensemble at each parent's return."""
        if not self.steers(parents, history):
            return super().propose(children, parents, history, pending, rng)

        own = self.known(children, parents, history)
        weights = self.weights(own)
        if self.kernel != "published":
            from metapbt.memory.trust import explained

            LOGGER.info("memory: %s", explained(weights))
        ensemble = self._ensemble(own.source, own, weights)
        beta = self.beta_after(own.situation.seen)
        steps = max(parent.env_steps for parent in parents)
        waiting = np.array(
            [
                [*self._given(steps, p.return_before), *self.columns(p.hyperparameters)]
                for p in pending
                if math.isfinite(p.return_before)
            ]
        ).reshape(-1, own.source.inputs.shape[1])
        suggestions = []
        for parent, given in zip(parents, own.now, strict=True):
            hints = np.concatenate([self._hints(own.source, given), [self.columns(parent.hyperparameters)]])
            bounds = self.within(parent, history)
            found = self._best_point(ensemble.with_pending(waiting), given, beta, hints, bounds, rng)
            suggestions.append(Suggestion(self.space.from_unit(found), "memory"))
            waiting = np.concatenate([waiting, [[*given, *self.columns(suggestions[-1].hyperparameters)]]])
        return suggestions

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """The ensemble; PB2's model where memory has no part."""
        if not self.steers(parents, history):
            return super().surrogate(children, parents, history, pending)
        own = self.known(children, parents, history)
        weights = self.weights(own)
        ensemble = self._ensemble(own.source, own, weights)

        def forecast(parent: Record, configurations: Sequence[Hyperparameters]) -> tuple[Array, Array]:
            given = self._given(parent.env_steps, parent.reached)
            mean, variance = ensemble.moments(np.array([[*given, *self.columns(each)] for each in configurations]))
            slope = self._scale.slope(parent.reached)
            return mean * slope, np.sqrt(variance) * slope

        return Surrogate(f"{self.kernel} kernel, with memory", forecast, weights=tuple(map(float, weights)))

    def known(self, children: Sequence[Record], parents: Sequence[Record], history: History) -> Own:
        """What a decision looks at, where memory has a part in it."""
        now = np.array([self._given(parent.env_steps, parent.reached) for parent in parents])
        situation = Situation.of(history, children, parents)
        samples = Samples.of(situation.rows, self.columns)
        rows = self._encoder.rows(samples)
        used = self._relevant(np.concatenate([now, rows.inputs[:, : now.shape[1]]]))
        return Own(now, situation, samples, rows, used, self.tasks.rows[used])

    def weights(self, own: Own | None) -> Array:
        """The weights of memory's experts, and after them of PB2's own once something was seen; they sum to 1.

        All of them, PB2's included, are judged by the same rows of the target, which they forecast before they knew
        them. None of ``published``, which has one expert.
        """
        from metapbt.memory.alone import errors_alone
        from metapbt.memory.trust import evidence, shares

        if self.kernel == "published":
            return np.ones(1)
        if own is None:
            return np.array(self._prior)
        weights = np.array([*(weight * (1 - ALONE) for weight in self._prior), ALONE])
        if self.trust:
            related, noise = self._model.forecasts(own.source, own.rows, self.fine_tuning)
            errors = [*related, errors_alone(own.samples, self._scale)]
            weights = shares(weights, [evidence(each, own.rows.times, noise) for each in errors])
        return weights

    def steers(self, parents: Sequence[Record], history: History) -> bool:
        """Whether memory has a part in this decision."""
        known = all(math.isfinite(parent.reached) for parent in parents)
        return bool(len(self.tasks) and self.steering and known and history.transitions())

    def within(self, parent: Record, history: History) -> Bounds | None:
        """Where in the unit cube a copy of ``parent`` may lie: anywhere, but on its network."""
        if not self.space.architecture:
            return None
        mixed = MixedSpace(self.space)
        return mixed.cube(mixed.region(parent.hyperparameters, (), None, np.ones(1), self.space.architecture))

    def beta_after(self, seen: int) -> float:
        """The variance's weight in the confidence bound after so many rows of the target."""
        from metapbt.surrogates.acquisition import growing_beta

        if self.kernel == "published":
            return growing_beta(min(len(self.tasks), PUBLISHED_ROWS) + seen)
        return growing_beta(seen)

    @cached_property
    def tasks(self) -> Tasks:
        """What memory is made of: the sources' rows."""
        return Tasks.of(self.memory, self.space, self.features, self.max_rows)

    @property
    def _scale(self) -> SourceScale:
        return self.tasks.scale

    @property
    def _described(self) -> Description:
        return self.memory.descriptions[self.memory.context] if self.features else {}

    @cached_property
    def _encoder(self) -> Encoder:
        """Of the target's rows."""
        return Encoder(self._scale, (self._described,))

    @cached_property
    def _learned(self) -> Learned:
        from metapbt.memory.training import learned

        return learned(self.tasks, self.kernel == "deep", self.cache)

    @property
    def _model(self) -> MetaModel:
        return self._learned.model

    @cached_property
    def _published(self) -> SingleTaskGP:
        import torch

        from metapbt.surrogates.deep_kernel import fit_deep_kernel_gp

        rows = self.tasks.rows[evenly(len(self.tasks), PUBLISHED_ROWS)]
        return fit_deep_kernel_gp(torch.as_tensor(rows.inputs), torch.as_tensor(rows.changes)[:, None], seed=0)

    @cached_property
    def _prior_trust(self) -> float:
        """How far memory is trusted before anything has happened here, in [0, 1]."""
        if self.kernel == "published":
            return 1.0
        return min(self._learned.trust(), MOST_TRUST) * self.tasks.coverage(self._described)

    @property
    def _prior(self) -> list[float]:
        """The weights of memory's experts before anything has happened here."""
        from metapbt.memory.trust import prior

        return prior(self._prior_trust)

    def _given(self, env_steps: int, value: float) -> list[float]:
        return self._encoder.given(0, env_steps, value)

    def _relevant(self, anchors: Array) -> Which:
        """Which of the sources' rows can matter at ``anchors`` (``k x given columns``), in their order."""
        rows = self.tasks.rows
        if self.kernel == "published" or len(rows) <= SOURCE_ROWS:
            return slice(None)
        return self._model.nearest_places(rows, anchors, SOURCE_ROWS)

    def _hints(self, source: Rows, given: Array) -> Array:
        """What did well at a stage like this: configurations ``k x hyperparameters``."""
        if not self.schedule:
            return np.empty((0, len(self.space)))
        gaps = ((source.inputs[:, : len(given)] - given) ** 2).sum(axis=1)
        near = np.argsort(gaps, kind="stable")[: 4 * HINTS]
        best = near[np.argsort(-source.changes[near], kind="stable")[:HINTS]]
        return source.inputs[best, len(given) :]

    def _ensemble(self, source: Rows, own: Own | None, weights: Array) -> Ensemble:
        """The experts, conditioned on the sources' rows and what the target has seen, with these weights."""
        import torch

        from metapbt.memory.alone import expert_alone
        from metapbt.memory.experts import Ensemble, Expert
        from metapbt.surrogates.acquisition import conditioned

        if self.kernel == "published":
            model = self._published
            if own is not None:
                rows = own.rows
                model = conditioned(model, torch.as_tensor(rows.inputs), torch.as_tensor(rows.changes)[:, None])
            return Ensemble((Expert(model, _unchanged),))
        if own is None:
            return Ensemble.weighted(self._model.related(source, self.tasks.rows[:0]), weights, NEGLIGIBLE)
        experts = [
            *self._model.tuned(own.rows, self.fine_tuning).related(source, own.rows),
            expert_alone(own.samples, own.situation.scale, own.situation.now, self._scale),
        ]
        return Ensemble.weighted(experts, weights, NEGLIGIBLE)

    def _best_point(
        self,
        ensemble: Ensemble,
        given: Array,
        beta: float,
        hints: Array,
        bounds: Bounds | None,
        rng: np.random.Generator,
    ) -> Array:
        """The hyperparameters, in the unit cube, with the largest upper confidence bound for the coming interval."""
        from metapbt.memory.candidates import search
        from metapbt.memory.first_members import added_up

        def score(points: Array) -> Array:
            return added_up(ensemble, self._scale, given, points, 1, beta)

        return search(score, len(self.space), hints, rng, bounds=bounds)


@dataclass(frozen=True)
class Own:
    """What a decision looks at.

    Attributes:
        now: the columns that are given for each parent.
        situation: of the run.
        samples: what the target has seen.
        rows: the same on memory's scale.
        used: which of the sources' rows can matter.
        source: these.
    """

    now: Array
    situation: Situation
    samples: Samples
    rows: Rows
    used: Which
    source: Rows


def _unchanged(x: Array) -> Array:
    return x
