"""The surrogate of BG-PBT: a Gaussian process over time, numbers and categories together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.transforms.input import InputTransform
from botorch.settings import validate_input_scaling
from botorch.utils.constraints import LogTransformedInterval, NonTransformedInterval
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from torch import Tensor

from metapbt.surrogates.acquisition import conditioned
from metapbt.surrogates.copula import gaussian_copula
from metapbt.surrogates.fitting import fit
from metapbt.surrogates.kernels import MixKernel, TimeDecayKernel

NOISE = (1e-6, 0.1)  # bounds of the noise's variance, in units of the copula's
OUTPUTSCALE = (0.5, 5.0)
SHORTEST = 0.01  # lengthscale
LONGEST_SEPARATE = 0.5  # where every number has a lengthscale of its own
_FORGETFUL = 0.999  # epsilon at most: at 1 its gradient is infinite
_SAME = 1e-9  # apart: coordinates of one value
MAX_ITERATIONS = 60  # of L-BFGS


@dataclass(frozen=True)
class MixedColumns:
    """Which columns of a row are what.

    Attributes:
        time: the column of the time; None where nothing is forgotten.
        numbers: columns in about [0, 1].
        categories: columns of codes that are equal or not.
    """

    time: int | None
    numbers: tuple[int, ...]
    categories: tuple[int, ...] = ()


def mixed_kernel(columns: MixedColumns, ard: bool = False) -> Kernel:
    r"""The kernel of BG-PBT (Wan et al., 2022, section 3.1), a correlation times a fitted variance.

    $$k = \sigma^2 \, (1 - \epsilon)^{|t - t'| / 2}
    \left[\frac{1 - \lambda}{2} (k_h + k_m) + \lambda k_h k_m\right]$$

    with $k_m$ Matern-5/2 over the numbers and $k_h = \exp(-s / \ell_h)$ over the share s of categories that
    differ. Where there are only numbers or only categories, only their part stands in the brackets.

    Both parts, and so the brackets, are 1 where nothing differs. The published code has $\exp(l (1 - s))$
    and no half, so the variance grows with l and $\sigma^2$ no longer is one: fitting l would change how much is
    explored, and between the published bounds of $\sigma^2$ targets of unit variance could not be fitted. Its
    ratios $k_h(s) / k_h(0)$ are the same, with $\ell_h = 1 / l$.

    Everything is fitted, between the published bounds: $\sigma^2$ in [0.5, 5], the lengthscale of the numbers and
    the published l in $[0.01, \sqrt{d}]$ (d counts columns but the time), $\epsilon$ and $\lambda$
    in [0, 1].

    Args:
        columns: at least one number or category.
        ard: whether every number has a lengthscale of its own, in [0.01, 0.5].
    """
    longest = math.sqrt(len(columns.numbers) + len(columns.categories))
    parts: list[Kernel] = []
    if columns.numbers:
        high = LONGEST_SEPARATE if ard else longest
        parts.append(
            MaternKernel(
                nu=2.5,
                ard_num_dims=len(columns.numbers) if ard else None,
                active_dims=columns.numbers,
                lengthscale_constraint=NonTransformedInterval(SHORTEST, high, initial_value=(SHORTEST + high) / 2),
            )
        )
    if columns.categories:
        # The inverse of what is published: over several orders of magnitude, so on a logarithmic scale.
        inverse = LogTransformedInterval(1 / longest, 1 / SHORTEST, initial_value=2 / (SHORTEST + longest))
        parts.append(CategoricalKernel(active_dims=columns.categories, lengthscale_constraint=inverse))
    kernel = MixKernel(*parts) if len(parts) == 2 else parts[0]
    if columns.time is not None:
        rate = NonTransformedInterval(0.0, _FORGETFUL, initial_value=0.5)
        kernel = TimeDecayKernel(epsilon_constraint=rate, active_dims=(columns.time,)) * kernel
    return ScaleKernel(kernel, outputscale_constraint=NonTransformedInterval(*OUTPUTSCALE, initial_value=1.0))


def fit_mixed(
    x: Tensor,
    y: Tensor,
    columns: MixedColumns,
    ard: bool = False,
    noise: tuple[float, float] = NOISE,
    conditions: InputTransform | None = None,
) -> SingleTaskGP:
    """Fit the surrogate by marginal likelihood, all of it and in double precision.

    Args:
        x: shape ``n x d``.
        y: shape ``n``; larger is better. The model is of its Gaussian copula.
        columns: which columns of x are what.
        ard: whether every number has a lengthscale of its own.
        noise: between which bounds the noise's variance is fitted; the fit starts at 0.001 where they allow it.
        conditions: replaces, in whatever the model is asked, what does not exist.
    """
    start = min(max(1e-3, noise[0]), noise[1])
    likelihood = GaussianLikelihood(noise_constraint=NonTransformedInterval(*noise, initial_value=start))
    targets = torch.as_tensor(gaussian_copula(y.numpy()))[:, None]
    with validate_input_scaling(False):  # the time is in generations on purpose: forgetting has a unit
        model = SingleTaskGP(
            x,
            targets,
            likelihood=likelihood,
            covar_module=mixed_kernel(columns, ard),
            outcome_transform=None,
            input_transform=conditions,
        )
    fit(model, MAX_ITERATIONS)
    return model


def with_fantasies(model: SingleTaskGP, pending: Tensor) -> SingleTaskGP:
    """Believe that points which are being tried (``p x d``) bring just what the model expects (kriging believer).

    Targets and beliefs together go through the copula again; the model's parameters stay as they were fitted.
    """
    if not len(pending):
        return model
    informed: Any = conditioned(model, pending, model.posterior(pending).mean.detach())
    targets = torch.as_tensor(gaussian_copula(informed.train_targets.numpy()))
    informed.set_train_data(targets=targets, strict=False)
    believing: SingleTaskGP = informed
    return believing


def lengthscales(model: SingleTaskGP) -> Tensor:
    """The fitted lengthscales of the numbers: one for each, or one for all; shape ``k``. Empty without numbers."""
    found = [part.lengthscale for part in model.covar_module.modules() if isinstance(part, MaternKernel)]
    return found[0].detach().flatten() if found else torch.empty(0, dtype=torch.float64)


class Conditions(InputTransform, torch.nn.Module):
    """Gives columns that do not exist under the others' values the value of their default.

    So a model never sees a difference where there is none, and no acquisition follows one.

    Args:
        depends_on: for each column that may not exist, the columns it depends on, each with the values that let it
            exist.
        otherwise: the value that each of these columns has where it does not exist.
    """

    is_one_to_many = False

    def __init__(self, depends_on: Mapping[int, Mapping[int, Sequence[float]]], otherwise: Mapping[int, float]) -> None:
        super().__init__()
        self.transform_on_train = self.transform_on_eval = self.transform_on_fantasize = True
        self.depends_on = depends_on
        self.otherwise = otherwise

    def transform(self, X: Tensor) -> Tensor:  # noqa: N803 - BoTorch's name
        """Points ``... x d``, what does not exist replaced."""
        exists: dict[int, Tensor] = {}

        def where(column: int) -> Tensor:
            if column not in exists:
                there = torch.ones_like(X[..., column], dtype=torch.bool)
                for other, values in self.depends_on.get(column, {}).items():
                    gaps = (X[..., other, None] - torch.tensor(values).to(X)).abs()
                    there = there & where(other) & (gaps.amin(dim=-1) < _SAME)
                exists[column] = there
            return exists[column]

        columns = list(X.unbind(dim=-1))
        for column, value in self.otherwise.items():
            columns[column] = torch.where(where(column), columns[column], torch.full_like(columns[column], value))
        return torch.stack(columns, dim=-1)
