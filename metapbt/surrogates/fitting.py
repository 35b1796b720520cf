"""Fitting a Gaussian process by marginal likelihood, in a way that no rows end a run."""

from __future__ import annotations

from copy import deepcopy
from warnings import WarningMessage

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood

from metapbt.log import LOGGER


def fit(model: SingleTaskGP, iterations: int) -> None:
    """Raise the marginal likelihood of a model's rows from where its parameters stand (L-BFGS-B).

    Where many returns are equal, as at a task's highest one, the likelihood is steepest at the bound of no noise, and a
    line search may end there for want of precision. BoTorch takes that for a failure, tries four times more from the
    same values, for nothing here has a prior to draw others from, and gives up. What was reached is the best. Where
    nothing can be evaluated parameters stay as they stand, and the log says so.

    Args:
        model: not fitted yet; is in evaluation mode afterwards.
        iterations: the most.
    """
    start = deepcopy(model.state_dict())
    try:
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": iterations}},
            warning_handler=_ended,
            max_attempts=1,
        )
    except ModelFittingError:
        fitted = False
    else:
        fitted = all(bool(torch.isfinite(value).all()) for value in model.parameters())
    if not fitted:
        LOGGER.warning("a surrogate could not be fitted to its rows; it is used with the values that fits start from")
        model.load_state_dict(start)
    model.eval()


def _ended(warning: WarningMessage) -> bool:
    """Whether a warning says only that the optimiser has ended."""
    return issubclass(warning.category, OptimizationWarning)
