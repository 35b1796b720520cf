"""What many contexts cost, and that few are treated as ever."""

import numpy as np
import pytest

from metapbt.history import Context
from metapbt.memory.describe import MOST_CATEGORIES, by_features
from metapbt.memory.encoder import Samples
from metapbt.memory.model import QUERY, SUPPORT, _batch, _by_context
from metapbt.memory.sources import _spread


class Counting:
    """A generator that counts what is asked of it."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self.asked = 0

    def __getattr__(self, name):
        def ask(*args, **kwargs):
            self.asked += 1
            return getattr(self._rng, name)(*args, **kwargs)

        return ask


def test_a_training_step_costs_no_more_with_ten_thousand_contexts_than_with_a_hundred():
    contexts = np.repeat(np.arange(10_000), 3)
    by_context = _by_context(contexts)
    rng = Counting(0)
    seen = []
    for _ in range(50):
        rng.asked = 0
        support, own = _batch(by_context, rng)
        assert rng.asked <= SUPPORT + 5
        assert len(support) > SUPPORT / 2  # of nearly as many contexts
        assert len(np.unique(contexts[support])) > SUPPORT / 2
        assert not set(contexts[support]) & set(contexts[own])
        seen += contexts[support].tolist()
    assert len(set(seen)) > 2000  # in time everybody's turn comes
    assert min(seen) < 500
    assert max(seen) > 9500


@pytest.mark.parametrize("count", [1, 2, 5, SUPPORT, SUPPORT + 1])
def test_few_contexts_give_the_batches_that_they_always_gave(count):
    contexts = np.random.default_rng(1).integers(count, size=400)
    by_context = [np.flatnonzero(contexts == c) for c in np.unique(contexts)]
    for mine, theirs in zip(_by_context(contexts), by_context, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    rng, same = np.random.default_rng(2), np.random.default_rng(2)
    for _ in range(20):
        support, own = _batch(by_context, rng)
        asked = int(same.integers(len(by_context)))
        rows = same.permutation(by_context[asked])[:QUERY]
        others = [rows for c, rows in enumerate(by_context) if c != asked]
        if not others:
            half = len(rows) // 2
            expected, rows = rows[:half], rows[half:]
        else:
            pool = np.concatenate([rows[same.integers(len(rows), size=SUPPORT)] for rows in others])
            expected = np.unique(same.choice(pool, SUPPORT))
        np.testing.assert_array_equal(support, expected)
        np.testing.assert_array_equal(own, rows)


def test_times_are_counted_in_the_usual_interval_of_each_context():
    rng = np.random.default_rng(0)
    for contexts in (np.zeros(7, int), rng.integers(9, size=200), rng.integers(3, 6, size=51)):
        n = len(contexts)
        steps, before = rng.integers(1, 20, size=n).astype(float), 10.0 * rng.integers(9, size=n)
        samples = Samples(before, before, steps, before, before, *2 * [np.empty((n, 0))], contexts)
        expected = np.zeros(n, int)
        for context in np.unique(contexts):
            own = contexts == context
            expected[own] = np.round(before[own] / np.median(steps[own]))
        np.testing.assert_array_equal(samples.times, expected)


def test_spread_is_what_it_was_one_context_at_a_time():
    rng = np.random.default_rng(0)
    for n, features in ((1, 2), (40, 1), (60, 3), (30, 11), (20, 0)):
        points = rng.integers(6, size=(n, features)) / 7
        chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
        while len(chosen) < min(12, n):
            gaps = np.linalg.norm(points[:, None] - points[chosen], axis=-1).min(axis=1)
            left = [k for k in np.argsort(-gaps, kind="stable") if k not in chosen]
            chosen.append(int(left[0]))
        assert _spread(points, points[0] if n else points, 12) == chosen


def test_a_category_with_ten_thousand_values_takes_no_memory():
    contexts = [Context({"gravity": float(n), "robot": f"robot {n}"}) for n in range(10_000)]
    described = by_features(contexts)
    assert described[7] == {"gravity": 7.0}
    few = by_features(contexts[:MOST_CATEGORIES])
    assert len(few[0]) == MOST_CATEGORIES + 1
    assert few[3]["robot=robot 3"] == 1.0


def test_features_that_some_contexts_lack_tell_none_apart():
    contexts = [Context({"a": 1.0, "b": 2.0}), Context({"b": 3.0}), Context({"b": 4.0, "c": 5.0})]
    assert by_features(contexts) == [{"b": 2.0}, {"b": 3.0}, {"b": 4.0}]
