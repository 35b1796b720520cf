"""A kept model is used only if it is one that training here leads to."""

import numpy as np
import pytest

from metapbt.memory.encoder import Samples
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import PLAIN, Learned, learned


class Kept(dict):
    def get(self, key):
        return dict.get(self, key)

    def put(self, key, weights):
        self[key] = weights


@pytest.fixture
def trained(monkeypatch):
    """A cache, and how often a model was trained; quickly, for it does not matter what is learned."""
    times = []
    usual = Learned.train

    def train(self, phase, step=lambda: None):
        times.append(phase)
        if len(times) == 1:
            usual(self, phase, step)

    monkeypatch.setattr("metapbt.memory.training.PLAIN", type(PLAIN)(2, 2, 0.05))
    monkeypatch.setattr(Learned, "train", train)
    return Kept(), times


def tasks():
    rng = np.random.default_rng(0)
    before, x = rng.random(24), rng.random((24, 2))
    times = np.arange(24.0) // 6
    samples = Samples(times, 10 * times, np.full(24, 10.0), before, before + x[:, 0], x, x, np.arange(24) % 3)
    return Tasks(samples, [], [{"a": float(a)} for a in range(3)])


def mutations(name, value):
    yield "shape", {name: value.reshape(*value.shape, 1)}
    yield "other shape", {name: np.concatenate([value.ravel(), [0.0]])}
    yield "empty", {name: np.empty((0,))}
    yield "single", {name: value.astype(np.float32)}
    yield "whole", {name: value.astype(np.int64)}
    yield "complex", {name: value.astype(np.complex128)}
    yield "text", {name: np.full(value.shape, "0.0")}
    for number in (np.nan, np.inf, -np.inf, 1e300, -1e4):
        other = value.copy()
        other.flat[-1] = number
        yield str(number), {name: other}
    yield "missing", {name: None}
    yield "renamed", {name: None, f"{name}.more": value}
    yield "other model's", {name: None, f"7/{name.partition('/')[2]}": value}


def test_every_entry_that_is_not_as_training_leaves_it_is_refused_and_nothing_is_taken():
    found = Learned.nothing(tasks())
    good = {name: value + 0.5 for name, value in found.weights().items()}
    before = found.weights()
    assert len(good) > 20
    tried = 0
    for name in good:
        for what, changed in mutations(name, good[name]):
            with pytest.raises(ValueError, match=".+"):
                found.load({entry: value for entry, value in {**good, **changed}.items() if value is not None})
            weights = found.weights()
            assert all(np.array_equal(weights[entry], before[entry]) for entry in before), (name, what)
            tried += 1
    assert tried > 300
    for extra in ("", "more", "all/more", "all", "0/0/more"):
        with pytest.raises(ValueError, match=".+"):
            found.load({**good, extra: np.zeros(1)})
    found.load(good)
    assert all(np.array_equal(value, good[name]) for name, value in found.weights().items())


def test_a_kept_model_of_no_use_is_trained_again_and_replaced(trained, caplog):
    cache, times = trained
    expected = learned(tasks(), False, cache).weights()
    ((key, good),) = cache.items()
    learned(tasks(), False, cache)
    assert len(times) == 1  # taken from the cache
    name = next(iter(good))
    for changed in ({name: np.full_like(good[name], np.nan)}, {"more": np.zeros(1)}):
        cache[key] = {**good, **changed}
        before = len(times)
        learned(tasks(), False, cache)
        assert len(times) == before + 1
        assert cache[key].keys() == good.keys()
        assert np.isfinite(cache[key][name]).all()
    cache[key] = good
    found = learned(tasks(), False, cache).weights()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert caplog.text.count("is of no use") == 2
