import numpy as np
import pytest

from metapbt.surrogates.thinning import evenly


@pytest.mark.parametrize("most", [1, 2, 7, 80])
def test_as_many_as_asked_for_are_kept_whatever_there_are(most):
    for count in range(500):
        kept = evenly(count, most)
        assert len(set(kept.tolist())) == len(kept) == min(count, most)
        assert kept.tolist() == sorted(kept)
        assert all(0 <= place < count for place in kept)


@pytest.mark.parametrize("count", [81, 100, 159, 160, 161, 1000])
def test_gaps_between_those_kept_differ_by_one_at_most(count):
    gaps = np.diff(evenly(count, 80))
    assert gaps.max() - gaps.min() <= 1
    assert (evenly(count, 80)[0], evenly(count, 80)[-1]) == (0, count - 1)
