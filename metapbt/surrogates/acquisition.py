"""Where to look next: the upper confidence bound, maximised by BoTorch."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from botorch.acquisition.analytic import UpperConfidenceBound
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.optim.optimize import optimize_acqf
from botorch.utils.sampling import manual_seed
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def growing_beta(rows: int) -> float:
    """The variance's weight after ``rows`` observations: 0.2 + max(0, log(0.4 * rows)), as published for PB2."""
    return 0.2 + max(0.0, math.log(0.4 * max(rows, 1)))


def conditioned(model: SingleTaskGP, x: Tensor, y: Tensor) -> SingleTaskGP:
    """Return ``model`` with more observations (``n x d`` and ``n x 1``), its kernel as it was fitted.

    The covariance is factorised anew: updating the old factor, as ``condition_on_observations`` does, fails where a
    new point lies on an old one and there is little noise.
    """
    informed: Any = copy.deepcopy(model)
    if hasattr(informed, "outcome_transform"):
        y, _ = informed.outcome_transform(y)
    inputs = torch.cat([informed.train_inputs[0], x])
    targets = torch.cat([informed.train_targets, y.squeeze(-1)])
    informed.set_train_data(inputs, targets, strict=False)
    return informed


def moments(model: SingleTaskGP, points: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """Mean and deviation of the function at points ``n x d``, noise not included: ``n`` each."""
    with torch.no_grad():
        posterior = model.posterior(torch.tensor(points, dtype=torch.float64))
        return posterior.mean.squeeze(-1).numpy(), posterior.variance.squeeze(-1).sqrt().numpy()


def with_pending(model: SingleTaskGP, pending: Tensor) -> SingleTaskGP:
    """Count points that are being tried (shape ``p x d``) in the variance but not in the mean.

    A Gaussian process's variance does not depend on what is observed, and observing just what it expects leaves its
    mean as it was. So the model is conditioned on its own mean.
    """
    if len(pending) == 0:
        return model
    return conditioned(model, pending, model.posterior(pending).mean.detach())


def maximise_ucb(model: Model, bounds: Tensor, fixed: Mapping[int, float], beta: float, seed: int) -> Tensor:
    """Maximise the upper confidence bound mean + sqrt(beta) * deviation, whatever the unit of the outcomes.

    Args:
        model: a BoTorch model with one output.
        bounds: shape ``2 x d``.
        fixed: columns that are given, such as time and return.
        beta: weight of the variance.
        seed: of the optimiser's starting points.

    Returns:
        The best point found, shape ``d``.
    """
    with manual_seed(seed), warnings.catch_warnings():
        # Where the surrogate is flat every point is as good as any other; that is no news to the user.
        warnings.simplefilter("ignore", BotorchWarning)
        candidates, _ = optimize_acqf(
            UpperConfidenceBound(model, beta=beta, posterior_transform=_standardised(model)),
            bounds=bounds,
            q=1,
            num_restarts=4,
            raw_samples=128,
            fixed_features=dict(fixed),
        )
    return candidates[0]


def _standardised(model: Model) -> ScalarizedPosteriorTransform | None:
    """The posterior in deviations of the outcomes: the optimiser stops where a gradient is small in absolute terms."""
    transform = getattr(model, "outcome_transform", None)
    return None if transform is None else ScalarizedPosteriorTransform(1 / transform.stdvs.flatten())
