import math

import numpy as np
import pytest

from metapbt.selection import truncation


def test_the_worst_quantile_copies_from_the_best_quantile():
    returns = [5.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0]
    seen = set()
    for seed in range(50):
        parents = truncation(returns, 0.25, np.random.default_rng(seed))
        assert [m for m, parent in enumerate(parents) if parent is not None] == [1, 3]
        seen |= {parents[1], parents[3]}
    assert seen == {2, 4}


@pytest.mark.parametrize(
    ("size", "quantile", "copies"),
    [
        (4, 0.25, 1),
        (8, 0.25, 2),
        (5, 0.2, 1),
        (3, 0.5, 1),
        (2, 0.5, 1),
        (1, 0.5, 0),
        (4, 0.0, 0),
        (4, 0.3, 2),
    ],
)
def test_the_quantile_is_whole_members_and_never_overlaps(size, quantile, copies):
    parents = truncation(list(range(size)), quantile, np.random.default_rng(0))
    assert sum(parent is not None for parent in parents) == copies
    assert all(parent is None or parent >= size - copies for parent in parents)


def test_a_member_without_a_return_counts_as_worst():
    parents = truncation([1.0, math.nan, 3.0, 2.0], 0.25, np.random.default_rng(0))
    assert parents == [None, 2, None, None]
