"""What `meta_pb2` forecasts with: models trained on related contexts, conditioned on a run's own rows, and trusted as
far as they deserve it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from metapbt.errors import unknown_name
from metapbt.history import History, Record, Ref
from metapbt.log import LOGGER
from metapbt.memory.encoder import Array, Description, Encoder, Rows, Samples, Which, lately
from metapbt.memory.hindsight import INTERVALS, Hindsight
from metapbt.memory.hints import Hints
from metapbt.memory.lookahead import KEPT, Inputs, Lookahead, Rollout
from metapbt.memory.nearest import SOURCE_ROWS, Nearest
from metapbt.memory.scales import HistoryScale, SourceScale
from metapbt.memory.source_runs import Memory
from metapbt.memory.tasks import Tasks
from metapbt.space import Space
from metapbt.surrogates.thinning import evenly
from metapbt.surrogates.threads import deciding

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

    from metapbt.memory.experts import Ensemble, Experts
    from metapbt.memory.model import MetaModel
    from metapbt.memory.planning import Telling
    from metapbt.memory.quality import Quality
    from metapbt.memory.training import Cache, Learned

KERNELS = ("deep", "plain", "published")
PLANNING = ("auto", "always", "never")
A_LITTLE_LONGER = 1.25  # times the sources' usual interval
PUBLISHED_ROWS = 1000  # an exact GP's cost grows with their cube
NEGLIGIBLE = 0.01  # weight of an expert up to which asking it is not worth the time
MOST_TRUST = 0.9  # before anything has happened here: sources that agree may mislead all the same
ALONE = 0.1  # prior weight of PB2's own model, in which memory has no part


@dataclass(frozen=True)
class Own:
    """What a decision looks at of its own run.

    Attributes:
        now: the columns that are given for each member, ``k x g``.
        generation: the coming one.
        scale: PB2's, of the run.
        samples: what the run has seen, the most relevant first.
        rows: the same on memory's scale.
        used: which of the sources' rows can matter.
        source: these.
    """

    now: Array
    generation: int
    scale: HistoryScale
    samples: Samples
    rows: Rows
    used: Which
    source: Rows


class MetaSurrogate:
    """An ensemble that was meta-trained on the source contexts' runs."""

    def __init__(
        self,
        space: Space,
        memory: Memory,
        kernel: str = "deep",
        schedule: bool = True,
        features: bool = True,
        trust: bool = True,
        lookahead: int = 0,
        planning: str = "auto",
        hindsight: bool = True,
        cache: Cache | None = None,
    ) -> None:
        """Take the memory; the arguments are those of `metapbt.population.explorers.meta_pb2.MetaPB2Explorer`.

        Raises:
            MetapbtError: ``kernel`` or ``planning`` is unknown.
        """
        for setting, name, known in (("kernel", kernel, KERNELS), ("planning", planning, PLANNING)):
            if name not in known:
                raise unknown_name(f"method.{setting}", name, known)
        self.space, self.memory, self.kernel = space, memory, kernel
        self.schedule, self.features, self.trust = schedule, features, trust
        self.planning, self.hindsight, self.cache = planning, hindsight, cache
        self._most_ahead = 0 if kernel == "published" else lookahead
        self._recents: dict[Ref, tuple[Record, Array]] = {}

    @cached_property
    def tasks(self) -> Tasks:
        """What memory is made of: the sources' rows."""
        found = Tasks.of(self.memory, self.space, self.features, changed=self._most_ahead > 0)
        if len(self.memory.sources) and not len(found):
            LOGGER.warning(
                "memory: nothing can be learned from its sources, of which no interval has finite returns and "
                "hyperparameters of this search space (%s): going on without",
                ", ".join(self.space.names),
            )
        return found

    @property
    def scale(self) -> SourceScale:
        """Of returns, times and contexts."""
        return self.tasks.scale

    @property
    def described(self) -> Description:
        """The target's context."""
        return self.memory.descriptions[self.memory.context] if self.features else {}

    @cached_property
    def encoder(self) -> Encoder:
        """Of the target's rows."""
        return Encoder(self.scale, (self.described,), self._most_ahead > 0, self.tasks.categories)

    @cached_property
    def learned(self) -> Learned:
        """The models, trained on all sources and without each of them."""
        from metapbt.memory.training import learned

        with deciding():
            return learned(self.tasks, self.kernel == "deep", self.cache)

    def quality(self, told: Callable[[int, int], None] = lambda *_: None) -> list[Quality]:
        """How well its models forecast sources that are held out; nothing of ``published``, of which none is.

        ``told`` as of `metapbt.memory.quality.held_out_quality`.
        """
        from metapbt.memory.quality import held_out_quality

        if self.kernel == "published":
            return []
        with deciding():
            found = held_out_quality(self.tasks, self.kernel == "deep", self.cache, told)
        if found:
            _ = self.plans  # held-out contexts say this, too: a run that asks later finds it in the cache
        return found

    @cached_property
    def recalled(self) -> Learned:
        """Models of what became of agents in the sources, trained likewise; without a network."""
        from metapbt.memory.training import learned

        with deciding():
            return learned(self.tasks.in_hindsight(INTERVALS), False, self.cache)

    @property
    def model(self) -> MetaModel:
        """That of all sources."""
        return self.learned.model

    @cached_property
    def prior_trust(self) -> float:
        """How far memory is trusted before anything has happened here, in [0, 1]."""
        if self.kernel == "published":
            return 1.0
        return min(self.learned.trust(), MOST_TRUST) * self.tasks.coverage(self.described)

    @property
    def prior(self) -> list[float]:
        """The weights of memory's experts before anything has happened here."""
        from metapbt.memory.trust import prior

        return prior(self.prior_trust)

    @cached_property
    def horizon(self) -> int:
        """How many intervals of the usual length it looks ahead, the coming one included; 1 is greedy.

        It is greedy where architectures are searched: an agent's future depends on its network, which it keeps.
        """
        if self._most_ahead <= 1 or self.space.architecture:
            return 1
        return min(self.learned.horizon(), self._most_ahead)

    @cached_property
    def plans(self) -> bool:
        """Whether agents are valued by what they can become if they change hyperparameters at every interval.

        Else by what they become if they keep them; see `metapbt.memory.planning`.
        """
        if self.horizon == 1 or self.planning == "never":
            return False
        return self.planning == "always" or self._telling.plan

    @cached_property
    def recalls(self) -> bool:
        """Whether values count what became of agents in the sources, too; see `metapbt.memory.planning`."""
        return self.hindsight and self.horizon > 1 and self._telling.recall_beside(self.plans)

    @cached_property
    def _telling(self) -> Telling:
        """What values tell of agents in held-out contexts."""
        from metapbt.memory.planning import LEAST_CONTEXTS, Telling, telling

        if len(self.learned.without) < LEAST_CONTEXTS:
            return Telling.of([])
        with deciding():
            return telling(self.learned, self.recalled, self.space, self.horizon, self.kernel == "deep", self.cache)

    def ahead(self, interval: float) -> int:
        """How many intervals lie within the horizon if the coming one has so many environment steps.

        Those after a shorter one are counted as usual ones: how shorter ones add up nobody has seen. One that is a
        little longer is a usual one, too: it is as long as it is asked to be, the sources' are whole rollouts.
        """
        longer = interval / self.scale.interval
        return self.horizon if longer <= A_LITTLE_LONGER else max(int(self.horizon / longer), 1)

    def given(self, env_steps: float, value: float) -> Array:
        """The columns of an interval that are not to be chosen, ``g``: when, from which return, and where."""
        return np.array(self.encoder.given(0, env_steps, value))

    def recent(self, history: History, record: Record) -> Array:
        """What an agent that goes on from a record had trained with lately, ``width``; see `encoder.lately`."""
        line: list[Record] = []
        # Where copies go back to an old checkpoint, the record has hyperparameters to explore that were not its own.
        record = history.at(record.ref) or record
        last: Record | None = record
        # Records that somebody else made may go round in a circle.
        while last is not None and self._recents.get(last.ref, (None,))[0] is not last and len(line) < len(history):
            line.append(last)
            last = history.before(last)
        while line:
            each = line.pop()
            found = np.array([self.space.to_unit(each.hyperparameters)])
            if last is not None and last.ref in self._recents:
                share = (each.env_steps - last.env_steps) / self.scale.interval
                found = lately(self._recents[last.ref][1], found, share, self.tasks.categories)
            self._recents[each.ref] = each, found
            last = each
        return self._recents[record.ref][1][0]

    def inputs(self, given: Array, points: Array, recent: Array) -> Array:
        """The ensemble's inputs ``n x d`` for configurations of agents that had trained with ``recent`` lately.

        Args:
            given: ``g``, or ``n x g``.
            points: in the unit cube, ``n x width``.
            recent: of a shape like it.
        """
        own = self.encoder.own(points, np.broadcast_to(recent, points.shape))
        return np.concatenate([np.broadcast_to(given, (len(points), np.shape(given)[-1])), own], axis=1)

    def own(self, now: Array, generation: int, scale: HistoryScale, samples: Samples) -> Own:
        """What a decision looks at, of members with these given columns."""
        rows = self.encoder.rows(samples)
        used = self.relevant(np.concatenate([now, rows.inputs[:, : now.shape[1]]]))
        return Own(now, generation, scale, samples, rows, used, self.tasks.rows[used])

    def relevant(self, anchors: Array) -> Which:
        """Which of the sources' rows can matter at ``anchors`` (``k x g``), in their order."""
        rows = self.tasks.rows
        if self.kernel == "published" or len(rows) <= SOURCE_ROWS:
            return slice(None)
        return self._nearest(anchors, SOURCE_ROWS)

    def hints(self, given: Array) -> Array:
        """What good members of the sources trained with at such a stage: configurations ``k x width``, each once."""
        return self._hints(given) if self.schedule else np.empty((0, len(self.space)))

    def weights(self, own: Own | None) -> Array:
        """The weights of memory's experts, and after them of PB2's own once something was seen; they sum to 1.

        All of them, PB2's included, are judged by the same rows of the target, which they forecast before they knew
        them. None of ``published``, which has one expert.
        """
        from metapbt.memory.alone import errors_alone
        from metapbt.memory.trust import posterior

        if self.kernel == "published":
            return np.ones(1)
        if own is None:
            return np.array(self.prior)
        weights = np.array([*(weight * (1 - ALONE) for weight in self.prior), ALONE])
        if self.trust:
            related, noise = self.model.forecast_errors(own.source, own.rows)
            errors = [*related, errors_alone(own.samples, self.scale)]
            weights = posterior(weights, errors, own.rows, noise)
        return weights

    def ensemble(self, source: Rows, own: Own | None, weights: Array) -> Ensemble:
        """The experts, conditioned on the sources' rows and what the target has seen, with these weights."""
        import torch

        from metapbt.memory.alone import expert_alone
        from metapbt.memory.experts import Ensemble, Expert
        from metapbt.surrogates.acquisition import conditioned

        if self.kernel == "published":
            published = self._published
            if own is not None:
                x, y = torch.as_tensor(own.rows.inputs), torch.as_tensor(own.rows.changes)
                published = conditioned(published, x, y[:, None])
            return Ensemble((Expert(published),))
        related, alone = _heard(weights)
        experts: list[Experts] = []
        if related.any():
            experts.append(self.model.related(source, self._rows(own), related))
        if own is not None and alone.any():  # to fit it costs as much as all others
            fitted = expert_alone(own.samples, own.scale, own.generation, self.scale)
            experts.append(replace(fitted, weight=float(alone[0])))
        return Ensemble(tuple(experts))

    def forecast(
        self, own: Own | None, weights: Array, given: Array, lengths: Sequence[float]
    ) -> Lookahead | Rollout | None:
        """The forecast values of agents that begin an interval with about these columns; None where no memory is heard.

        Only memory's experts look ahead, each with its weight: PB2's own knows nothing of later times. As far as they
        lose trust nothing is expected to change after the coming interval, and so the best is what is best in it.

        Args:
            own: what the run has seen, if anything.
            weights: of the experts.
            given: of a typical agent, ``g``.
            lengths: environment steps of the coming interval, and of those after it that are looked at.
        """
        related, _ = _heard(weights)
        if not related.any():
            return None
        columns, time, value = Inputs(self.encoder, self.scale, given[2:]), float(given[0]), float(given[1])
        lengths = lengths if self.plans else lengths[:KEPT]
        times = columns.times(time, lengths)
        # What happened elsewhere at these times, from the return of now to the highest usual one.
        anchors = np.array([[t, r, *given[2:]] for t in times for r in np.linspace(value, max(value, 1.0), 3)])
        source = self.tasks.rows[self._nearest(anchors, SOURCE_ROWS)]
        mean = self.model.related(source, self._rows(own), related).mean
        if not self.plans:
            return Rollout(mean, columns, time, lengths)

        def hints(when: float, reached: float) -> Array:
            return self.hints(np.array([when, reached, *given[2:]]))

        return Lookahead(mean, columns, time, value, lengths, self.space, hints)

    def values(self, own: Own, weights: Array, given: Array, lengths: Sequence[float]) -> Hindsight | None:
        """The values by which copies are chosen: what `forecast` says, and what became of such agents in the sources.

        The arguments are those of `forecast`, and so is None.
        """
        forecast = self.forecast(own, weights, given, lengths)
        if forecast is None:
            return None
        columns, time, value = Inputs(self.encoder, self.scale, given[2:]), float(given[0]), float(given[1])
        if not self.recalls:
            return Hindsight(forecast, None, 1.0, columns, time)
        anchors = np.array([[time, each, *given[2:]] for each in np.linspace(value, max(value, 1.0), 3)])
        tasks = self.recalled.tasks
        source = tasks.rows[self._nearest(anchors, SOURCE_ROWS)]
        best = self.recalled.model.related(source, source[:0], _heard(weights)[0]).mean
        return Hindsight(forecast, best, tasks.scale.unit, columns, time)

    def _rows(self, own: Own | None) -> Rows:
        """The rows of the target; none before there are any."""
        return self.tasks.rows[:0] if own is None else own.rows

    @cached_property
    def _nearest(self) -> Nearest:
        given = len(self.encoder.given(0, 0.0, 0.0))
        relevance = np.ones(given) if self.kernel == "published" else self.model.relevance[:given]
        return Nearest(self.tasks.rows.inputs, relevance)

    @cached_property
    def _hints(self) -> Hints:
        return Hints(self._nearest, self.tasks.samples.points, self.tasks.merits)

    @cached_property
    def _published(self) -> SingleTaskGP:
        import torch

        from metapbt.surrogates.deep_kernel import fit_deep_kernel_gp

        rows = self.tasks.rows[evenly(len(self.tasks), PUBLISHED_ROWS)]
        return fit_deep_kernel_gp(torch.as_tensor(rows.inputs), torch.as_tensor(rows.changes)[:, None], seed=0)


def _heard(weights: Array) -> tuple[Array, Array]:
    """The weights of the related experts, and of PB2's own if it has one; 0 where asking is not worth the time."""
    from metapbt.memory.trust import RELATEDNESS

    heard = np.where(weights > NEGLIGIBLE, weights, 0.0)
    return heard[: len(RELATEDNESS)], heard[len(RELATEDNESS) :]
