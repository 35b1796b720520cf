"""Kernels that GPyTorch does not have."""

from __future__ import annotations

from typing import Any

import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from torch import Tensor


class TimeDecayKernel(Kernel):
    r"""Forgetting: what was seen at another time counts less.

    $$k(t, t') = (1 - \epsilon)^{|t - t'| / 2}$$

    The time part of the time-varying squared-exponential kernel of PB2 (Parker-Holder et al., 2020, section 3.2;
    Bogunovic et al., 2016): multiply it by any kernel over the other inputs.

    Args:
        epsilon_constraint: keeps ``epsilon`` where it is fitted; None for a sigmoid from 1e-4 to 0.5.

    Attributes:
        epsilon: the rate of forgetting, shape ``batch_shape x 1 x 1``; 0 forgets nothing.

    Example:
        >>> kernel = TimeDecayKernel(active_dims=(0,)) * RBFKernel(active_dims=(1, 2))
    """

    has_lengthscale = False

    def __init__(
        self,
        epsilon_constraint: Interval | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.register_parameter("raw_epsilon", torch.nn.Parameter(torch.zeros(*self.batch_shape, 1, 1)))
        self.register_constraint("raw_epsilon", epsilon_constraint or Interval(1e-4, 0.5))

    @property
    def epsilon(self) -> Tensor:
        """The rate of forgetting."""
        return self.raw_epsilon_constraint.transform(self.raw_epsilon)

    @epsilon.setter
    def epsilon(self, value: float | Tensor) -> None:
        raw = self.raw_epsilon_constraint.inverse_transform(torch.as_tensor(value).to(self.raw_epsilon))
        self.initialize(raw_epsilon=raw.expand_as(self.raw_epsilon))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """The covariance of times ``x1`` (``... x n x 1``) with ``x2`` (``... x m x 1``): ``... x n x m``."""
        gap = self.covar_dist(x1, x2, diag=diag, square_dist=False)
        rate = 1 - self.epsilon
        return (rate.squeeze(-1) if diag else rate) ** (gap / 2)


class DeepKernel(Kernel):
    r"""A kernel over what a network makes of the inputs (deep kernel learning, Wilson et al., 2016).

    $$k(x, x') = k_{base}(g(x), g(x'))$$

    The network's weights are parameters of the kernel and are fitted with it.

    Args:
        base_kernel: the kernel over the network's outputs.
        network: maps ``... x n x d`` to ``... x n x k``.
    """

    has_lengthscale = False

    def __init__(self, base_kernel: Kernel, network: torch.nn.Module) -> None:
        super().__init__()
        self.base_kernel = base_kernel
        self.network = network

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x d``) with ``x2`` (``... x m x d``): ``... x n x m``."""
        z1 = self.network(x1)
        z2 = z1 if x1.shape == x2.shape and torch.equal(x1, x2) else self.network(x2)
        return self.base_kernel.forward(z1, z2, diag=diag, **params)


class OverlapKernel(Kernel):
    r"""Categories: the share of those that are equal.

    $$k(c, c') = \frac{1}{m} \sum_{j=1}^m [c_j = c'_j]$$

    The categorical kernel of CoCaBO (Ru et al., 2020); variance is left to ``ScaleKernel``.
    """

    has_lengthscale = False

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """The covariance of category codes ``x1`` (``... x n x m``) with ``x2`` (``... x k x m``): ``... x n x k``."""
        if diag:
            return (x1 == x2).to(x1).mean(dim=-1)
        return (x1.unsqueeze(-2) == x2.unsqueeze(-3)).to(x1).mean(dim=-1)


class MixKernel(Kernel):
    r"""Two kernels added and multiplied, the share of the product fitted.

    $$k = \frac{1 - \lambda}{2} (k_1 + k_2) + \lambda k_1 k_2$$

    As in CoCaBO (Ru et al., 2020, equation 2, there with $1 - \lambda$) and PB2-Mix (Parker-Holder et al.,
    2021), which adds the half.

    Attributes:
        mix: $\lambda$ in (0, 1), shape ``1``.
    """

    has_lengthscale = False

    def __init__(self, first: Kernel, second: Kernel) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.register_parameter("raw_mix", torch.nn.Parameter(torch.zeros(1)))
        self.register_constraint("raw_mix", Interval(0.0, 1.0))

    @property
    def mix(self) -> Tensor:
        """The share of the product."""
        return self.raw_mix_constraint.transform(self.raw_mix)

    @mix.setter
    def mix(self, value: float) -> None:
        self.initialize(raw_mix=self.raw_mix_constraint.inverse_transform(torch.tensor([value]).to(self.raw_mix)))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x d``) with ``x2`` (``... x m x d``): ``... x n x m``."""
        first, second = (
            part(x1, x2, diag=diag, **params) if diag else part(x1, x2, **params).to_dense()
            for part in (self.first, self.second)
        )
        return (1 - self.mix) / 2 * (first + second) + self.mix * first * second
