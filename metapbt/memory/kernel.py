"""The kernel that remembers: lengthscales with a residual network, a variance and a noise that depend on the stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
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


@dataclass(frozen=True)
class Seen:
    r"""Points as memory's kernel sees them, with the noise of what is observed there.

    $$k(v, v') = a(v) \, \exp\bigl(-\lVert g(v) - g(v') \rVert^2 / 2\bigr) \, a(v')$$

    with g a `Warp` and a the deviation of a `Stage`: a deep kernel (Wilson et al., 2016) over the RBF kernel, whose
    variance depends on the stage.

    Attributes:
        features: g, ``n x w``.
        deviation: a, ``n``.
        noise: variance, ``n``.
    """

    features: Tensor
    deviation: Tensor
    noise: Tensor

    @classmethod
    def of(cls, warp: Warp, stage: Stage, x: Tensor) -> Seen:
        """Inputs ``n x d``."""
        return cls(warp(x), *stage(x))

    def __getitem__(self, which: slice) -> Seen:
        return Seen(self.features[which], self.deviation[which], self.noise[which])

    def and_then(self, others: Seen) -> Seen:
        """These points, and after them others."""
        pairs = ((self.features, others.features), (self.deviation, others.deviation), (self.noise, others.noise))
        return Seen(*map(torch.cat, pairs))

    @cached_property
    def halves(self) -> Tensor:
        """Half the squares of the features' norms, ``n``."""
        return self.features.square().sum(dim=1) / 2

    def covariance(self, others: Seen) -> Tensor:
        """Of the function here (``n``) with others (``m``), ``n x m``."""
        return self._near(others) * (self.deviation.unsqueeze(-1) * others.deviation)

    def observed(self) -> Tensor:
        """The covariance of what is observed here, ``n x n``."""
        return self.covariance(self) + self.noise.diag()

    def sums(self, others: Seen, weights: Tensor) -> Tensor:
        """The covariances with others, each times its weight (``m``), added up: ``n``."""
        return self.deviation * (self._near(others) @ (others.deviation * weights))

    def _near(self, others: Seen) -> Tensor:
        near = torch.addmm(-others.halves, self.features, others.features.T) - self.halves.unsqueeze(-1)
        return near.clamp_max_(0.0).exp_()
