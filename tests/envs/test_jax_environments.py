"""Environments in JAX are those of Gymnasium's, in every context."""

import numpy as np
import pytest

from metapbt.envs import make_env
from metapbt.envs.jax import make_jax_env
from metapbt.errors import MetapbtError
from metapbt.jax_backend import jax, jnp

CONTEXTS = [
    ("cart_pole", {}),
    ("cart_pole", {"pole_length": 2.0, "gravity": 20.0}),
    ("cart_pole", {"pole_length": 0.1, "pole_mass": 1.0, "force": 3.0}),
    ("cart_pole", {"cart_mass": 5.0, "time_step": 0.05, "force": 40.0}),
    ("mountain_car", {}),
    ("mountain_car", {"gravity": 0.001, "force": 0.003}),
    ("mountain_car", {"max_speed": 0.02, "goal_position": 0.1}),
    ("mountain_car", {"gravity": 0.006, "force": 0.0015, "max_speed": 0.2, "goal_position": 0.6}),
]


def state_of(name, env):
    """Gymnasium's state in JAX: both write down the same numbers in the same order."""
    _, (state, _) = None, make_jax_env(name, {}).reset(jax.random.key(0), make_jax_env(name, {}).context)
    return type(state)(*(jnp.float32(number) for number in env.unwrapped.state))


def episode(name, context, seed, choose):
    """One episode of both side by side with the same actions: all that either shows, and how it ended."""
    env, ours = make_env(name, **context), make_jax_env(name, context)
    step = jax.jit(ours.step)
    observation, _ = env.reset(seed=seed)
    state, theirs, mine, ended = state_of(name, env), [], [], []
    done = truncated = False
    while not (done or truncated):
        action = choose(observation)
        observation, reward, done, truncated, _ = env.step(action)
        state, seen, reward_too, done_too = step(state, action, ours.context)
        theirs.append([*observation, reward])
        mine.append([*np.asarray(seen), float(reward_too)])
        ended.append((done, bool(done_too)))
    return np.array(theirs), np.array(mine), ended


@pytest.mark.parametrize(("name", "context"), CONTEXTS)
def test_whole_episodes_are_gymnasiums(name, context):
    rng = np.random.default_rng(0)
    energetic = {
        "cart_pole": lambda _: rng.integers(2),
        "mountain_car": lambda seen: 2 if rng.random() < 0.9 and seen[1] >= 0 else rng.integers(2),
    }
    for seed in range(5):
        theirs, mine, ended = episode(name, context, seed, energetic[name])
        np.testing.assert_allclose(mine, theirs, atol=1e-5, rtol=1e-5)
        assert all(a == b for a, b in ended)


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_a_balanced_pole_is_gymnasiums_step_by_step(length):
    # From the same state at each step: along 500 steps of an unstable rest a rounding of either would grow beyond all.
    env, ours = make_env("cart_pole", pole_length=length), make_jax_env("cart_pole", {"pole_length": length})
    step = jax.jit(ours.step)
    observation, _ = env.reset(seed=0)
    for _ in range(ours.max_episode_steps):
        state = state_of("cart_pole", env)
        action = int(observation @ [0.1, 0.3, 3, 1.5] > 0)
        observation, _, terminated, truncated, _ = env.step(action)
        _, seen, _, terminated_too = step(state, action, ours.context)
        np.testing.assert_allclose(seen, observation, atol=1e-6)
        assert not terminated
        assert not terminated_too
    assert truncated, "time limits are the same"


def test_the_car_stops_at_the_wall():
    ours = make_jax_env("mountain_car", {})
    state, _ = ours.reset(jax.random.key(0), ours.context)
    state = type(state)(jnp.float32(-1.19), jnp.float32(-0.07))
    after, seen, _, _ = ours.step(state, 0, ours.context)
    np.testing.assert_array_equal(seen, np.float32([-1.2, 0]))
    assert after.velocity == 0


@pytest.mark.parametrize("name", ["cart_pole", "mountain_car"])
def test_first_states_spread_as_gymnasiums(name):
    ours = make_jax_env(name, {})
    _, first = jax.vmap(lambda key: ours.reset(key, ours.context))(jax.random.split(jax.random.key(0), 2000))
    env = make_env(name)
    theirs = np.array([env.reset(seed=seed)[0] for seed in range(2000)])
    np.testing.assert_allclose(
        np.quantile(first, [0, 0.5, 1], axis=0), np.quantile(theirs, [0, 0.5, 1], axis=0), atol=0.02
    )


@pytest.mark.parametrize("name", ["cart_pole", "mountain_car"])
def test_contexts_share_a_program(name):
    changed = {"gravity": 0.004}
    one, other = make_jax_env(name, {}), make_jax_env(name, changed if name == "mountain_car" else {"gravity": 4})
    assert (one, hash(one)) == (other, hash(other))
    assert one.context != other.context


def test_other_environments_are_named():
    with pytest.raises(MetapbtError, match="engine=jax steps .*cart_pole, mountain_car, got 'lunar_lander'"):
        make_jax_env("lunar_lander", {})
    with pytest.raises(MetapbtError, match="pole_lenght"):
        make_jax_env("cart_pole", {"pole_lenght": 1})
