"""Kernels that GPyTorch does not have."""

from __future__ import annotations

from typing import Any

import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from torch import Tensor


class TimeDecayKernel(Kernel):
    r"""Forgetting: what was seen at another time counts less.

    .. math:: k(t, t') = (1 - \epsilon)^{|t - t'| / 2}

    The time part of the time-varying squared-exponential kernel of PB2 (Parker-Holder et al., 2020, section 3.2;
    Bogunovic et al., 2016): multiply it by any kernel over the other inputs.

    Args:
        epsilon_bounds: the open interval in which ``epsilon`` is fitted.

    Attributes:
        epsilon: the rate of forgetting, shape ``batch_shape x 1 x 1``; 0 forgets nothing.

    Example:
        >>> kernel = TimeDecayKernel(active_dims=(0,)) * RBFKernel(active_dims=(1, 2))
    """

    has_lengthscale = False

    def __init__(self, epsilon_bounds: tuple[float, float] = (1e-4, 0.5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_parameter("raw_epsilon", torch.nn.Parameter(torch.zeros(*self.batch_shape, 1, 1)))
        self.register_constraint("raw_epsilon", Interval(*epsilon_bounds))

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

    .. math:: k(x, x') = k_{base}(g(x), g(x'))

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
