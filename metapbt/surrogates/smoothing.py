"""A noisy curve, smoothed by a Gaussian process."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of a Gaussian process at the points of a curve that it was fitted to; shape ``n``, as ``values`` has it.

    A Matern-5/2 kernel over the place in the curve, from 0 to 1, with a fitted variance, lengthscale and noise, about
    the curve's mean; the fit maximises the marginal likelihood. IPBT's published code (arXiv:2511.09190) has the same
    kernel in a variational process with an inducing point at each value, trained for 50 steps of Adam on the predictive
    likelihood. With so few points an exact process needs no approximation, and its fit no learning rate.

    Args:
        values: shape ``n``, finite; of unit variance or about so.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    x = np.linspace(0.0, 1.0, len(values))[:, None]
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(0.5, (1e-2, 1e2), nu=2.5) + WhiteKernel(0.1, (1e-6, 10.0))
    process = GaussianProcessRegressor(kernel)
    mean = float(np.mean(values))
    with warnings.catch_warnings():  # bounds that are reached say that there is no noise, or nothing else
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(x, values - mean)
    # Of the curve without the noise: predictions are of the kernel's other part alone.
    return np.asarray(process.predict(x), dtype=np.float64) + mean
