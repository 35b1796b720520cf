"""The kernel that remembers: lengthscales with a residual network, a variance and a noise that depend on the stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gpytorch.kernels import Kernel
from gpytorch.likelihoods.noise_models import Noise
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

STEEP = 3.0  # slope of a unit's argument over the whole range of times or of returns, one deviation
LEAST_NOISE = 1e-3  # variance


class Warp(torch.nn.Module):
    r"""What a deep kernel sees: the inputs, each with its own scale, plus a small residual network.

    $$g(v) = a \circ v + N(v)$$

    The network's last layer starts at zero, so that the kernel begins as a plain one with automatic relevance
    determination, and departs from it only as far as the data ask for it.

    A category's column is widened first: to one for each choice, of which one is 1. So any two choices may be alike or
    not, whatever their order.

    Args:
        scales: the initial ``a``, shape ``d``: inverse lengthscales of columns in the unit cube.
        categories: of each column of a category, how many choices share it; choice i is from i / n to (i + 1) / n.
    """

    def __init__(self, scales: Tensor, categories: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.categories = dict(categories or {})
        # Two choices drawn at random are as far apart, in the mean square, as two numbers of the unit interval.
        parts = [
            (scale / math.sqrt(12 * (1 - 1 / choices))).expand(choices) if choices else scale[None]
            for scale, choices in ((scale, self.categories.get(column)) for column, scale in enumerate(scales))
        ]
        scales = torch.cat(parts)
        width = len(scales)
        self.log_scales = torch.nn.Parameter(scales.log())
        self.hidden = torch.nn.Sequential(
            torch.nn.Linear(width, 32), torch.nn.SiLU(), torch.nn.Linear(32, 32), torch.nn.SiLU()
        ).to(scales)
        self.last = torch.nn.Linear(32, width).to(scales)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, v: Tensor) -> Tensor:
        """The features ``... x n x w`` of inputs ``... x n x d``; ``w`` is ``d`` with categories widened."""
        v = self._widened(v)
        residual: Tensor = self.last(self.hidden(v))
        return v * self.log_scales.exp() + residual

    def _widened(self, v: Tensor) -> Tensor:
        if not self.categories:
            return v
        columns = []
        for column, coordinates in enumerate(v.unbind(dim=-1)):
            choices = self.categories.get(column)
            if choices is None:
                columns.append(coordinates.unsqueeze(-1))
            else:
                chosen = (coordinates * choices).floor().clamp(0, choices - 1)
                columns.append((chosen.unsqueeze(-1) == torch.arange(choices)).to(v))
        return torch.cat(columns, dim=-1)


class Stage(torch.nn.Module):
    r"""Signal and noise variance as functions of training time and return: a heteroscedastic GP.

    $$(\log a^2, \log \sigma^2) = l + M(t, r)$$

    Early changes are large and depend on hyperparameters; late ones are small and mostly noise. The network's last
    layer starts at zero: both begin as the same at every stage. Source: Goldberg et al. (1998), noise that depends on
    the inputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor([0.0, math.log(0.2)], dtype=torch.float64))
        first = torch.nn.Linear(2, 8).double()
        torch.nn.init.normal_(first.weight, std=STEEP)
        with torch.no_grad():  # every unit rises steeply somewhere in the range of times and returns
            first.bias.copy_(-(first.weight * torch.rand_like(first.weight)).sum(dim=1))
        self.hidden = torch.nn.Sequential(first, torch.nn.Tanh())
        self.last = torch.nn.Linear(8, 2, bias=False).double()
        torch.nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The function's deviation and the noise's variance, each ``... x n``, at inputs ``... x n x d``."""
        logs = self.level + self.last(self.hidden(x[..., :2]))
        return (logs[..., 0] / 2).exp(), LEAST_NOISE + logs[..., 1].exp()


class StagedKernel(Kernel):
    r"""A kernel whose variance depends on the stage.

    $$k(x, x') = a(x) \, k_{base}(x, x') \, a(x')$$

    """

    has_lengthscale = False

    def __init__(self, base_kernel: Kernel, stage: Stage) -> None:
        super().__init__()
        self.base_kernel = base_kernel
        self.stage = stage

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x d``) with ``x2`` (``... x m x d``)."""
        base = self.base_kernel.forward(x1, x2, diag=diag, **params)
        deviation1, deviation2 = self.stage(x1)[0], self.stage(x2)[0]
        if diag:
            return base * deviation1 * deviation2
        return deviation1.unsqueeze(-1) * base * deviation2.unsqueeze(-2)


class StagedNoise(Noise):
    """The noise of a likelihood that depends on the stage."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor | list[Tensor], **_: Any) -> DiagLinearOperator:
        """The noise's covariance at ``x`` (``... x n x d``)."""
        return DiagLinearOperator(self.stage(x[0] if isinstance(x, list) else x)[1])


class RelatednessKernel(Kernel):
    r"""How much the target is like the sources: a kernel whose last column says which of both a row is of.

    $$k((v, i), (v', j)) = k(v, v') \cdot (\rho \text{ if } i \ne j \text{ else } 1)$$

    That is the target's function being $f = \rho f_{sources} + \sqrt{1 - \rho^2} f_{own}$ with two draws of the
    same process, the intrinsic coregionalisation model (Bonilla et al., 2007) for two tasks. With 0 the sources
    have shaped the kernel but their rows say nothing, as in few-shot Bayesian optimisation (Wistuba & Grabocka, 2021).
    """

    has_lengthscale = False

    def __init__(self, base_kernel: Kernel, relatedness: float) -> None:
        super().__init__()
        self.base_kernel = base_kernel
        self.relatedness = relatedness

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x (d + 1)``) with ``x2`` (``... x m x (d + 1)``)."""
        base = self.base_kernel(x1[..., :-1], x2[..., :-1], diag=diag, **params)
        side1, side2 = x1[..., -1], x2[..., -1]
        if diag:
            return base * torch.where(side1 == side2, 1.0, self.relatedness).to(x1)
        return base.to_dense() * alike(side1, side2, self.relatedness)


def alike(side1: Tensor, side2: Tensor, relatedness: float) -> Tensor:
    """1 where both rows are of the sources or both of the target, ``relatedness`` elsewhere: ``... x n x m``."""
    return torch.where(side1.unsqueeze(-1) == side2.unsqueeze(-2), 1.0, relatedness).double()
