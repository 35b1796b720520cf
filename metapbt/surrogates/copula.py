"""A Gaussian copula of targets: their order is kept, their size is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata


def gaussian_copula(values: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Turn values into standard normal ones of the same order.

    $$z_i = \Phi^{-1}\!\left(\frac{\#\{j : y_j \le y_i\}}{n + 1}\right)$$

    Changes of return are heavy-tailed (an agent crashes, or learns to walk at last); a Gaussian process should learn
    from their order. Equal values have the highest rank of them all, as the distribution function has it.

    Source: Wan et al. (2022), section 3.1; Salinas et al. (2020).

    Args:
        values: shape ``n``, none of them NaN.

    Example:
        >>> gaussian_copula(np.array([10.0, -3.0, 1e9])).round(3).tolist()
        [0.0, -0.674, 0.674]
    """
    return np.asarray(ndtri(rankdata(values, method="max") / (len(values) + 1)), dtype=np.float64)
