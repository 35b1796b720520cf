"""BG-PBT: copies take the highest confidence bound of a mixed surrogate within a trust region around their parent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown
from metapbt.history import History, Record
from metapbt.memory.encoder import Encoder, Samples
from metapbt.memory.scales import HistoryScale
from metapbt.plain import number_within, whole_number
from metapbt.population.explorers.base import Explorer, Pending, Suggestion, Surrogate, drawn
from metapbt.population.explorers.mixed_space import MixedSpace
from metapbt.population.explorers.standing import Standing
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.threads import deciding
from metapbt.surrogates.trust_region import Rule, TrustRegion

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

MAX_PENDING = 100  # of the points being tried, the last so many count: else a decision's cost grew with the population


class BGPBTExplorer(Explorer):
    """Bayesian generational population-based training (Wan et al., 2022), its explore step.

    A Gaussian process with a kernel over time, numbers and categories (`metapbt.surrogates.mixed`) models the
    Gaussian copula of how fast the return changes, given when an interval began, from which return, and with which
    hyperparameters. A copy gets those with the highest confidence bound in a box around its parent's, and with as many
    other categories as the trust region allows (`metapbt.surrogates.trust_region`). What others are trying counts
    as if it brought what is expected of it, from the return that each of them starts from (the published code: all from
    the parent's).

    Rows are the last intervals since the trust region began anew, each with its change of return per step, for
    intervals need not be equally long. The process sees the network of each row, which is fixed at the parent's in the
    search. The published code gives all rows the parent's network: then what was learned with another one counts in
    full, though the best learning rate of a wide network is not that of a narrow one.

    The trust region is a function of the history (`metapbt.population.explorers.standing.Standing`).
    """

    #: Of the records that a trust region suggested, with memory or without.
    sources: ClassVar[tuple[str, ...]] = ("surrogate", "memory")

    def __init__(
        self,
        space: Space,
        beta: float = 3.0,
        rows: int = 100,
        min_rows: int = 8,
        noise: Sequence[float] = (1e-6, 0.1),
        ard: bool = False,
        trust_region: bool = True,
        length: float = 0.4,
        length_max: float = 1.0,
        length_min: float = 0.15,
        categories: float = 1.0,
        categories_min: float = 0.1,
        factor: float = 1.5,
        successes: int = 3,
        failures: int = 10,
        patience: int = 15,
    ) -> None:
        """Check the settings; the defaults are those of the published code.

        Args:
            space: the search space.
            beta: weight of the deviation in the confidence bound.
            rows: the last so many intervals are learned from.
            min_rows: with fewer, copies are drawn at random.
            noise: between which bounds the variance of the noise is fitted, in units of the copula's.
            ard: whether every number has a lengthscale of its own, and the box an edge of its own.
            trust_region: whether there is one; without it copies may be anywhere, and all rows count.
            length: of the box's edge at its beginning, in the unit cube.
            length_max: of the edge at most.
            length_min: of the edge at least; there the region begins anew.
            categories: share of the categories that may differ from the parent's at its beginning.
            categories_min: share of them at least; one may always differ.
            factor: by which edge and share grow and shrink.
            successes: in a row, after which they grow.
            failures: in a row, after which they shrink.
            patience: generations without a new best, after which the region begins anew.

        Raises:
            MetapbtError: a setting is out of its range.
        """
        super().__init__(space)
        self.beta = number_within("method.beta", beta, 0, 1e6)
        self.rows = whole_number("method.rows", rows, 1)
        self.min_rows = whole_number("method.min_rows", min_rows, 1)
        bounds = (
            [number_within("method.noise", bound, 1e-9, 10) for bound in noise]
            if isinstance(noise, list | tuple)
            else []
        )
        if len(bounds) != 2 or bounds[0] >= bounds[1]:
            raise MetapbtError(f"method.noise must be a lowest and a highest variance, got {shown(noise)}")
        self.noise = (bounds[0], bounds[1])
        for key, switch in (("ard", ard), ("trust_region", trust_region)):
            if not isinstance(switch, bool):
                raise MetapbtError(f"method.{key} must be true or false, got {shown(switch)}")
        self.ard = ard
        begins, shortest = (
            number_within("method.length", length, 1e-6, 2),
            number_within("method.length_min", length_min, 1e-6, 2),
        )
        if shortest >= begins:  # else the region began anew in each generation
            raise MetapbtError(f"method.length_min must be < method.length ({begins:g}), got {shortest:g}")
        least = number_within("method.categories_min", categories_min, 0, 1)
        rule = Rule(
            length=begins,
            longest=number_within("method.length_max", length_max, begins, 2),
            shortest=shortest,
            categorical=number_within("method.categories", categories, least, 1),
            categorical_shortest=least,
            factor=number_within("method.factor", factor, 1.001, 1e3),
            successes=whole_number("method.successes", successes, 1),
            failures=whole_number("method.failures", failures, 1),
        )
        self.rule = rule if trust_region else None
        self.patience = whole_number("method.patience", patience, 1)
        self.mixed = MixedSpace(space, given=2)  # the time, and the return before

    def warm_up(self) -> None:
        """Import the surrogates, which takes seconds."""
        import metapbt.surrogates.mixed
        import metapbt.surrogates.search  # noqa: F401

    @deciding()
    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Maximise the confidence bound around each parent's hyperparameters, at its return."""
        standing = self.standing(history)
        waiting = [p for p in pending if math.isfinite(p.return_before)]
        fitted = self._fitted(children, parents, history, waiting, standing)
        if fitted is None:
            return [drawn(self.space, parent, rng) for parent in parents]
        model, encoder, now = fitted
        suggestions = []
        for parent in parents:
            if not math.isfinite(parent.reached):
                suggestions.append(drawn(self.space, parent, rng))
                continue
            tried = [
                [*encoder.given(now, 0, p.return_before), *self.mixed.row(p.hyperparameters)]
                for p in waiting[-MAX_PENDING:]
            ]
            given = encoder.given(now, 0, parent.reached)
            suggested = self.maximised(model, given, parent.hyperparameters, standing.region, parent, tried, rng)
            waiting.append(Pending(parent.reached, suggested))
            suggestions.append(Suggestion(suggested, "surrogate"))
        return suggestions

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """The mixed Gaussian process of the changes' copula."""
        waiting = [p for p in pending if math.isfinite(p.return_before)]
        fitted = self._fitted(children, parents, history, waiting, self.standing(history))
        if fitted is None:
            return None
        model, encoder, now = fitted

        def forecast(
            parent: Record, configurations: Sequence[Hyperparameters]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            from metapbt.surrogates.acquisition import moments

            given = encoder.given(now, 0, parent.reached)
            return moments(model, [[*given, *self.mixed.row(configuration)] for configuration in configurations])

        return Surrogate("mixed kernel", forecast, ranks=True)

    def _fitted(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        waiting: Sequence[Pending],
        standing: Standing,
    ) -> tuple[SingleTaskGP, Encoder, int] | None:
        """The surrogate, what turns points into its rows, and the coming generation; None while there are few rows."""
        rows = [row for row in history.transitions() if row.generation >= standing.since][-self.rows :]
        known = [parent.reached for parent in parents if math.isfinite(parent.reached)]
        if len(rows) < self.min_rows or not known:
            return None
        import torch

        from metapbt.surrogates.mixed import fit_mixed

        returns = [*(row.return_before for row in rows), *(p.return_before for p in waiting), *known]
        encoder = Encoder(HistoryScale.of(np.array(returns)))
        encoded = encoder.rows(Samples.of(rows, self.mixed.row))
        model = fit_mixed(
            torch.as_tensor(encoded.inputs),
            torch.as_tensor(encoded.changes),
            self.mixed.columns,
            self.ard,
            self.noise,
            self.mixed.conditions,
        )
        # Not the parent's next one: it may be the best ever, from long ago.
        return model, encoder, max(child.generation for child in children) + 1

    def standing(self, history: History) -> Standing:
        """Where the trust region stands, and from which generation on rows count."""
        return Standing.after(history, self.rule, self.patience, self.sources)

    def maximised(
        self,
        model: SingleTaskGP,
        given: Sequence[float],
        centre: Hyperparameters,
        region: TrustRegion | None,
        kept: Record | None,
        tried: Sequence[Sequence[float]],
        rng: np.random.Generator,
    ) -> Hyperparameters:
        """The configuration with the highest confidence bound.

        Args:
            model: the surrogate.
            given: the columns of its rows that are no hyperparameters.
            centre: of the trust region.
            region: its size; None without.
            kept: the record whose network it is on; None for any.
            tried: rows that others try, taken to bring what the surrogate expects.
            rng: draws where the search begins.
        """
        import torch

        from metapbt.surrogates.mixed import with_fantasies
        from metapbt.surrogates.search import highest_bound

        points = torch.tensor(tried, dtype=torch.float64).reshape(-1, self.mixed.given + len(self.space))
        fixed = () if kept is None else self.space.architecture
        where = self.mixed.region(centre, given, region, box_lengthscales(model), fixed)
        found = highest_bound(with_fantasies(model, points), where, self.beta, int(rng.integers(2**31)))
        return self.mixed.found(found, {} if kept is None else self.space.network_of(kept.hyperparameters))


def box_lengthscales(model: SingleTaskGP) -> NDArray[np.float64]:
    """Those of the configuration's numbers; the first of several is that of the return."""
    from metapbt.surrogates.mixed import lengthscales

    found: NDArray[np.float64] = lengthscales(model).numpy()
    return found[1:] if len(found) > 1 else found
