"""The highest confidence bound within a region of a mixed space, found by BoTorch."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import UpperConfidenceBound
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from botorch.optim.optimize_mixed import optimize_acqf_mixed_alternating
from botorch.utils.sampling import manual_seed
from torch import Tensor

_NEVER = 1e3  # what a step beyond the region costs: more than any bound of standard normal targets is worth
_SAME = 1e-9


@dataclass(frozen=True)
class Region:
    """Where a suggestion may lie.

    Attributes:
        centre: shape ``d``; lies in the region.
        bounds: lowest and highest value of each column, ``2 x d``; equal where it is given.
        grid: of columns that take some values only, these values, from the lowest to the highest.
        categories: of each column of codes that may change, all of its codes.
        changes: how many of these may differ from the centre's.
        taken: points that are not to be found again, ``k x d``.
    """

    centre: Tensor
    bounds: Tensor
    grid: Mapping[int, Sequence[float]] = field(default_factory=dict)
    categories: Mapping[int, Sequence[float]] = field(default_factory=dict)
    changes: int = 0
    taken: Tensor | None = None


class _Within(AcquisitionFunction):
    """An acquisition less what leaving the region costs. It is a step function of the categories, so gradients of the
    numbers stay as they are, and the search over neighbours always finds back."""

    def __init__(self, inner: AcquisitionFunction, region: Region) -> None:
        super().__init__(model=inner.model)
        self.inner = inner
        self.region = region

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803 - BoTorch's name
        """Of points ``b x 1 x d``: ``b``."""
        where = list(self.region.categories)
        changed = (X[..., 0, where] != self.region.centre[where]).sum(dim=-1)
        beyond = (changed - self.region.changes).clamp_min(0).to(X)
        if self.region.taken is not None:
            beyond = beyond + ((X - self.region.taken).abs().amax(dim=-1) < _SAME).any(dim=-1)
        return self.inner(X) - _NEVER * beyond


def highest_bound(model: SingleTaskGP, region: Region, beta: float, seed: int) -> Tensor:
    """Maximise mean + beta * deviation over a region: numbers by gradients, grids and categories by local search.

    The deviation is the function's; the published code adds the noise's variance to it, which is the same everywhere
    and only makes what is known already look uncertain.

    Args:
        model: with one output.
        region: where to look; every start lies in it, as does every point visited.
        beta: weight of the deviation.
        seed: of the starts.

    Returns:
        The best point visited, shape ``d``.
    """
    given = {
        column: float(region.centre[column])
        for column in range(len(region.centre))
        if region.bounds[0, column] == region.bounds[1, column] and column not in region.categories
    }
    if len(given) == len(region.centre):
        return region.centre
    grid = {column: list(values) for column, values in region.grid.items() if column not in given}
    acquisition: AcquisitionFunction = UpperConfidenceBound(model, beta=beta**2)
    mixed = bool(grid or region.categories)
    if mixed:
        acquisition = _Within(acquisition, region)
    state = random.getstate()  # BoTorch draws among more than twenty choices from it
    with manual_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)
        # Where the bound is flat a line search ends without a step: the point is as good as any other.
        warnings.filterwarnings("ignore", message="Optimization failed in", category=RuntimeWarning)
        random.seed(seed)
        try:
            found, _ = optimize_acqf_mixed_alternating(
                acquisition,
                region.bounds,
                discrete_dims=grid,
                cat_dims={column: list(codes) for column, codes in region.categories.items()},
                num_restarts=4,
                raw_samples=128,
                fixed_features=given,
                options={"initialization_strategy": "random", "num_spray_points": 0, "maxiter_alternating": 16}
                if mixed
                else {},
            )
        finally:
            random.setstate(state)
    return found[0].detach()
