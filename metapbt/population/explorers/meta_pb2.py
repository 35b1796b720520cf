"""PB2 that remembers: its surrogate was trained on related contexts before the run began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metapbt.history import Budget, History, Record
from metapbt.log import LOGGER, counted
from metapbt.memory.encoder import Array, Samples
from metapbt.memory.hindsight import Hindsight
from metapbt.memory.lookahead import KEPT, Inputs, Lookahead, Rollout
from metapbt.memory.meta_surrogate import PUBLISHED_ROWS, MetaSurrogate, Own
from metapbt.memory.tasks import Tasks
from metapbt.plain import number_within, whole_number
from metapbt.population.explorers.base import Pending, Suggestion, Surrogate
from metapbt.population.explorers.pb2 import MAX_PENDING, PB2Explorer, Situation
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.threads import deciding

if TYPE_CHECKING:
    from metapbt.memory.candidates import Bounds
    from metapbt.memory.experts import Ensemble
    from metapbt.memory.source_runs import Memory
    from metapbt.memory.training import Cache


@dataclass(frozen=True)
class Known:
    """What everything that is decided at one time goes by.

    Attributes:
        history: what has happened.
        generation: the last of those that are decided about.
        own: what is looked at of what has happened.
        weights: of memory's experts, and of PB2's own.
        foreseen: the values of agents by the environment steps that they have trained for, as they were asked for.
    """

    history: History
    generation: int
    own: Own
    weights: Array
    foreseen: dict[int, Hindsight | None] = field(default_factory=dict)


class MetaPB2Explorer(PB2Explorer):
    """PB2 with a surrogate that was meta-trained on the source contexts' runs. Without any source this is PB2.

    The surrogate is an ensemble. Its experts share a deep kernel over (time, return before, context, hyperparameters,
    and what changed in these) and differ in how alike they think sources and target are: from 0.95, where the sources'
    rows are nearly as good as the target's, to 0, where memory says how smooth returns are but not where they are high.
    One more is PB2's model of the target alone. Their weights follow from how well each forecast the target's own rows
    before it had seen them.

    A copy takes the point with the largest value, optimistic in the coming interval (the upper confidence bound of PB2
    is the case of one interval), near what its parent or good members of the sources trained with. Its value is the
    return that it can reach over as many intervals as held-out contexts let memory look ahead, if agents change to the
    best at each; and selection ranks members by that, too: an agent whose return is to come is not replaced by one that
    has had it. Where held-out contexts show that such plans foresee nothing, its value is its mean return over the next
    three intervals if it keeps what it takes, and members are ranked by their returns. Where they show that it tells
    more, what became of such agents in the sources within four intervals is half of the value.

    Before anything has happened here, memory is trusted as far as it would have deserved it had each source been the
    target, and less the farther the target lies outside of what the sources have seen. The first generation has as
    many members from memory, chosen for the value of the best of them. The others fill the space evenly, in case
    memory misleads.
    """

    uses_memory: ClassVar[bool] = True
    #: Whether it takes a ``cache`` that keeps trained models for other runs.
    uses_cache: ClassVar[bool] = True
    uses_budget: ClassVar[bool] = True

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
        lookahead: int = 8,
        planning: str = "auto",
        hindsight: bool = True,
        rank_by_value: bool = True,
        cache: Cache | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Take the memory.

        Args:
            space: the search space.
            memory: the target's context and the sources' runs.
            first_generation: share of the first members that memory chooses, where it is trusted wholly; at least one
                member, unless 0.
            steering: whether memory takes part in exploits.
            schedule: whether what good members of the sources did at this stage is looked at as such.
            kernel: ``deep`` (a network, where held-out contexts are forecast no worse with it), ``plain`` (none), or
                ``published`` (one exact deep-kernel GP over at most 1,000 rows, no other experts, no looking ahead).
            features: whether the context enters the surrogate.
            trust: whether weights follow from the target's rows; else they stay what they were at the start.
            lookahead: over how many intervals, the coming one included, values are forecast at most; with 0 only the
                coming one counts, as in PB2, and what agents trained with before does not.
            planning: whether values count on changes of hyperparameters later: ``auto`` (unless held-out contexts say
                that this foresees nothing), ``always`` or ``never``.
            hindsight: whether values count what became of agents in the sources, too, where held-out contexts show that
                this tells more than what is forecast.
            rank_by_value: whether selection ranks members by values where it plans; else by their returns.
            cache: keeps trained models for other runs; None keeps none.
            budget: of each member; None where nobody knows: then the longest source's.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        super().__init__(space)
        lookahead = whole_number("method.lookahead", lookahead, 0)
        self.memory = memory
        self.first_generation = number_within("method.first_generation", first_generation, 0, 1)
        self.steering = steering
        self.rank_by_value = rank_by_value
        self.budget = budget
        self._last_known: Known | None = None
        #: What it forecasts with.
        self.meta = MetaSurrogate(
            space, memory, kernel, schedule, features, trust, lookahead, planning, hindsight, cache
        )

    @property
    def tasks(self) -> Tasks:
        """What memory is made of: the sources' rows."""
        return self.meta.tasks

    @deciding()
    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Choose part of the first generation from memory: promising for this context, and unlike each other."""
        if not len(self.tasks) or self.first_generation == 0:
            return super().start(size, rng)
        from metapbt.memory.first_members import promising, unlike
        from metapbt.memory.trust import believed, explained

        # Memory's are chosen as if it were right: the others are there in case it is not.
        meta, weights = self.meta, believed()
        count = self.share(size)
        LOGGER.info(
            "memory: %d rows from the sources; initial trust: %s; memory chooses %d of %d members%s",
            len(self.tasks), explained(meta.prior), count, size, self._outlook,
        )  # fmt: skip
        given = meta.given(0, 0.0)
        given[1] = meta.scale.untrained
        source = self.tasks.rows[meta.relevant(given[None])]
        ensemble = meta.ensemble(source, None, weights)
        # Who is greedy later keeps what it begins with, too.
        lengths = self.intervals_ahead(0)
        ahead = (meta.forecast(None, weights, given, lengths) if lengths else None) or Rollout(
            lambda x: ensemble.moments(x)[0],
            Inputs(meta.encoder, meta.scale, given[2:]),
            float(given[0]),
            [meta.scale.interval] * KEPT,
        )

        def worth(points: Array, higher: float) -> Array:
            change = ensemble.moments(meta.inputs(given, points, points))[0] + higher
            return self._values(ahead, given, points, points, change)

        noise = 0.0 if meta.kernel == "published" else float(meta.model.noise(given[None])[0])
        hints = meta.hints(given)
        points = promising(self.space, worth, ensemble, noise, lambda p: meta.inputs(given, p, p), hints, count, rng)
        others = unlike(self.space, points, size - count, rng)
        # The first give way to members that are given; the best stand last.
        return [
            *(Suggestion(self.space.from_unit(point), "hedge") for point in others),
            *(Suggestion(self.space.from_unit(point), "memory") for point in points[::-1]),
        ]

    def share(self, size: int) -> int:
        """How many of so many newcomers memory chooses, where it chooses any."""
        # Rounded up: of four members one or two is much, and by how much memory is trusted is known to a tenth or so.
        return max(1, math.ceil(round(self.first_generation * self.meta.prior_trust * size, 6)))

    @deciding()
    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Maximise the forecast value, optimistic in the coming interval, at each parent's return."""
        if not self.steers(parents, history):
            return super().propose(children, parents, history, pending, rng)

        meta, known = self.meta, self.known(children, parents, history)
        own, weights = known.own, known.weights
        if meta.kernel != "published":
            from metapbt.memory.trust import explained

            LOGGER.info("memory: %s", explained(weights))
        ensemble = meta.ensemble(own.source, own, weights)
        beta = self.beta_after(len(history.transitions()))
        steps = max(parent.env_steps for parent in parents)
        waiting = np.array(
            [
                self._inputs(meta.given(steps, each.return_before), each.hyperparameters)
                for each in pending
                if math.isfinite(each.return_before)
            ]
        ).reshape(-1, own.source.inputs.shape[1])
        suggestions = []
        for parent, time in zip(parents, self._times(parents), strict=True):
            ahead = self._foreseen(known, time)
            given = meta.given(parent.env_steps, parent.reached)
            recent = meta.recent(history, parent)
            hints = np.concatenate([meta.hints(given), [self.columns(parent.hyperparameters)]])
            bounds = self.within(parent, history)
            found = self._best_point(
                ensemble.with_pending(waiting[-MAX_PENDING:]), ahead, given, recent, beta, hints, bounds, rng
            )
            suggestions.append(Suggestion(self.space.from_unit(found), "memory"))
            asked = self._inputs(given, suggestions[-1].hyperparameters, recent)
            waiting = np.concatenate([waiting, asked[None]])
        return suggestions

    @property
    def ranks_by_value(self) -> bool:
        """Whether memory plans, and selection is to know."""
        wanted = self.rank_by_value and self.steering and bool(len(self.tasks))
        return wanted and self.meta.ahead(self._shortest) > 1 and self.meta.plans

    @property
    def _outlook(self) -> str:
        """How far values look, in words that follow others; what is recalled counts for copies alone."""
        count = self.meta.ahead(self._shortest)
        if count == 1:
            return ""
        recalling = ", and recalls what became of such agents" if self.steering and self.meta.recalls else ""
        if self.meta.plans:
            return f", and plans changes of hyperparameters over {counted(count, 'interval')}{recalling}"
        return f", and expects hyperparameters to be kept for {counted(min(count, KEPT), 'interval')}{recalling}"

    @property
    def _shortest(self) -> float:
        """Environment steps of the shortest interval."""
        return self.meta.scale.interval if self.budget is None else self.budget.shortest

    @deciding()
    def values(self, history: History) -> Mapping[int, float]:
        """The returns that members are forecast to reach, less what all of them are forecast to gain on average."""
        members = [record for record in history.latest if math.isfinite(record.reached)]
        if not members or not self.steers(members, history):
            return {}
        meta, known = self.meta, self.known(members, members, history)
        recent = np.array([meta.recent(history, member) for member in members])
        now = meta.scale.scaled([member.performance for member in members])
        values = np.empty(len(members))
        times = self._times(members)
        for steps in set(times):
            ahead = self._foreseen(known, steps)
            if ahead is None or not isinstance(ahead.forecast, Lookahead):
                return {}
            at = np.array(times) == steps
            values[at] = ahead.forecast.before(now[at], recent[at])
        told = meta.scale.unscaled(values - (values - now).mean())
        return {member.member: float(value) for member, value in zip(members, told, strict=True)}

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """The ensemble; PB2's model where memory has no part."""
        if not self.steers(parents, history):
            return super().surrogate(children, parents, history, pending)
        meta, known = self.meta, self.known(children, parents, history)
        weights = known.weights
        ensemble = meta.ensemble(known.own.source, known.own, weights)

        def forecast(parent: Record, configurations: Sequence[Hyperparameters]) -> tuple[Array, Array]:
            given = meta.given(parent.env_steps, parent.reached)
            recent = meta.recent(history, parent)
            asked = [self._inputs(given, each, recent) for each in configurations]
            mean, variance = ensemble.moments(np.array(asked))
            slope = meta.scale.slope(parent.reached)
            return mean * slope, np.sqrt(variance) * slope

        return Surrogate(f"{meta.kernel} kernel, with memory", forecast, weights=tuple(map(float, weights)))

    def known(self, children: Sequence[Record], parents: Sequence[Record], history: History) -> Known:
        """What decisions go by, where memory has a part in them; the same for all who ask in turn at one time."""
        generation, last = max(child.generation for child in children), self._last_known
        if last is None or last.history is not history or last.generation != generation:
            from metapbt.surrogates.time_varying import KEPT_ROWS

            members = [record for record in history.latest if math.isfinite(record.reached)] or parents
            now = np.array([self.meta.given(member.env_steps, member.reached) for member in members])
            situation = Situation.of(history, children, members)
            rows = situation.rows[:KEPT_ROWS]
            samples = Samples.of(rows, self.columns, lambda record: self.meta.recent(history, record))
            own = self.meta.own(now, situation.now, situation.scale, samples)
            last = self._last_known = Known(history, generation, own, self.meta.weights(own))
        return last

    def steers(self, parents: Sequence[Record], history: History) -> bool:
        """Whether memory has a part in this decision."""
        known = all(math.isfinite(parent.reached) for parent in parents)
        return bool(len(self.tasks) and self.steering and known and history.transitions())

    def beta_after(self, seen: int) -> float:
        """The variance's weight in the confidence bound after so many rows of the target."""
        from metapbt.surrogates.acquisition import growing_beta

        if self.meta.kernel == "published":
            return growing_beta(min(len(self.tasks), PUBLISHED_ROWS) + seen)
        return growing_beta(seen)

    def _inputs(self, given: Array, configuration: Hyperparameters, recent: Array | None = None) -> Array:
        points = np.array([self.columns(configuration)])
        return np.asarray(self.meta.inputs(given, points, points if recent is None else recent)[0])

    def _times(self, records: Sequence[Record]) -> list[int]:
        """After how many steps of its own each is valued; those less than half an interval apart count as the furthest.

        Members differ by the rounding to whole rollouts. They differ by intervals where each goes on as it reports, or
        copies start from the best checkpoint ever.
        """
        furthest = max(record.env_steps for record in records)
        behind = [round((furthest - record.env_steps) / self.meta.scale.interval) for record in records]
        last = dict.fromkeys(behind, 0)
        for record, intervals in zip(records, behind, strict=True):
            last[intervals] = max(last[intervals], record.env_steps)
        return [last[intervals] for intervals in behind]

    def _foreseen(self, known: Known, steps: int) -> Hindsight | None:
        """The values of agents that have trained for so many steps, worked out once; None where only the coming
        interval counts."""
        if steps not in known.foreseen:
            usual, lengths = known.own.now.mean(axis=0), self.intervals_ahead(steps)
            usual[0] = self.meta.given(steps, 0.0)[0]
            ahead = self.meta.values(known.own, known.weights, usual, lengths) if lengths else None
            known.foreseen[steps] = ahead
        return known.foreseen[steps]

    def intervals_ahead(self, steps: int) -> list[float]:
        """Environment steps of the intervals that are looked at, the coming one of agents with so many steps first; or
        none where only that counts."""
        meta = self.meta
        usual = meta.scale.interval
        interval = usual if self.budget is None else self.budget.interval_at(steps)
        count = meta.ahead(interval)
        if count == 1:
            return []
        # Who says no budget trains on past the sources' longest, too.
        end = max(meta.scale.longest, steps + interval) if self.budget is None else max(self.budget.steps, steps + 1)
        # After the coming one they are as long as the sources' at least: how shorter ones add up nobody has seen.
        ends = steps + interval + max(interval, usual) * np.arange(count)
        lengths = np.diff(np.minimum([steps, *ends], end)).tolist()
        return [float(length) for length in lengths if length > 0]

    def _values(
        self, ahead: Hindsight | Lookahead | Rollout, given: Array, points: Array, recent: Array, change: Array
    ) -> Array:
        """What the coming interval and those after it bring, in units of the ensemble, if it forecasts such changes."""
        after = ahead.after(given[1], change, points, np.broadcast_to(recent, points.shape))
        return np.asarray((after - given[1]) / self.meta.scale.unit)

    def _best_point(
        self,
        ensemble: Ensemble,
        ahead: Hindsight | None,
        given: Array,
        recent: Array,
        beta: float,
        hints: Array,
        bounds: Bounds | None,
        rng: np.random.Generator,
    ) -> Array:
        """The hyperparameters, in the unit cube, with the largest value, optimistic in the coming interval."""
        from metapbt.memory.candidates import search
        from metapbt.memory.points import legal_points

        def legal(points: Array) -> Array:
            return legal_points(points if bounds is None else bounds.kept(points, rng), self.space)

        def score(points: Array) -> Array:
            mean, variance = ensemble.moments(self.meta.inputs(given, points, recent))
            change = np.asarray(mean + math.sqrt(beta) * np.sqrt(variance))
            # Optimism is about what the interval ends with: what it is worth then, one value function says for all.
            return change if ahead is None else self._values(ahead, given, points, recent, change)

        return search(score, legal, hints, self.space.categories, rng)
