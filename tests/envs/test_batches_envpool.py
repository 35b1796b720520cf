"""EnvPool behind the interface of every batch; most needs the extra ``metapbt[envpool]``."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from metapbt.envs.batches import Seeds, make_batch, why_anew
from metapbt.envs.batches.envpool import IDS
from metapbt.errors import MetapbtError


def counted(first: int) -> Seeds:
    return lambda place, count: first + place


def test_episodes_that_cannot_be_played_again_begin_anew() -> None:
    assert why_anew("cart_pole", {}, "envpool") == "engine=envpool cannot play them again"
    pytest.importorskip("envpool")
    batch = make_batch("cart_pole", {}, 2, "envpool")
    with pytest.raises(MetapbtError, match="engine=envpool cannot go on with an episode"):
        batch.under_way()


def test_what_envpool_has_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetapbtError, match=r"cannot change cart_pole\.pole_length to 0\.8; take engine=python"):
        make_batch("cart_pole", [{}, {"pole_length": 0.8}], 2, "envpool")
    with pytest.raises(MetapbtError, match="engine=envpool has no env 'tests:ENV'"):
        make_batch("tests:ENV", {}, 2, "envpool")
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(MetapbtError, match=r"engine=envpool needs pip install 'metapbt\[envpool\]'"):
        make_batch("cart_pole", {"pole_length": 0.5}, 2, "envpool")


@pytest.mark.parametrize("name", IDS)
def test_episodes_begin_in_the_step_that_ends_the_last(name: str) -> None:
    pytest.importorskip("envpool")
    batch, ours = make_batch(name, {}, 3, "envpool"), make_batch(name, {}, 3)
    assert (batch.observation_space, batch.action_space) == (ours.observation_space, ours.action_space)
    first = batch.reset(counted(1)).copy()
    assert (first.shape, first.dtype) == (ours.reset(counted(1)).shape, np.float32)
    discrete = batch.action_space.shape == ()
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(450):
        actions = rng.integers(2, size=3) if discrete else rng.uniform(-1, 1, (3, 4)).astype(np.float32)
        step = batch.step(actions)
        over = step.terminated | step.truncated
        ended += int(over.sum())
        changed = np.any(step.observations != step.final_observations, axis=1)
        assert np.array_equal(changed, over)
        if name == "cart_pole" and over.any():
            assert np.abs(step.observations[over]).max() <= 0.05
            assert np.all((step.rewards == 1) & ~step.truncated)
            assert np.all(np.abs(step.final_observations[step.terminated][:, 2]) > 0.2)
    assert ended >= 3
    assert np.array_equal(batch.reset(counted(1)), first)
    assert not np.array_equal(batch.reset(counted(4)), first)
    batch.close()


def test_cart_poles_move_alike() -> None:
    pytest.importorskip("envpool")
    batch = make_batch("cart_pole", {}, 1, "envpool")
    x, x_dot, theta, theta_dot = batch.reset(counted(0))[0].astype(float)
    after = batch.step(np.array([1])).final_observations[0]
    push = (10 + 0.05 * theta_dot**2 * np.sin(theta)) / 1.1
    angular = (9.8 * np.sin(theta) - np.cos(theta) * push) / (0.5 * (4 / 3 - 0.1 * np.cos(theta) ** 2 / 1.1))
    linear = push - 0.05 * angular * np.cos(theta) / 1.1
    expected = [x + 0.02 * x_dot, x_dot + 0.02 * linear, theta + 0.02 * theta_dot, theta_dot + 0.02 * angular]
    np.testing.assert_allclose(after, expected, atol=1e-6)
    batch.close()
