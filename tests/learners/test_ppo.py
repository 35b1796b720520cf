"""The fused PPO learner: what it promises beyond the protocol that all learners keep."""

import math
import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from metapbt.envs import make_env
from metapbt.envs.batches import make_batch
from metapbt.errors import MetapbtError
from metapbt.learners.ppo import PPOLearner
from metapbt.learners.ppo import learner as module
from metapbt.learners.ppo.network import Actor, Network
from metapbt.learners.ppo.normalise import ObservationNormaliser, RewardNormaliser, RunningMoments
from metapbt.learners.ppo.rollout import Runner, evaluate
from metapbt.space import Space

SMALL = {"n_steps": 25, "batch_size": 20, "n_epochs": 2}


def learner(env="cart_pole", budget=1000, context=None, hyperparameters=None, **settings):
    fixed = {**SMALL, **(hyperparameters or {})}
    given = {"n_envs": 4, "eval_episodes": 3, "network": {"widths": [16]}, "hyperparameters": fixed}
    return PPOLearner(env, context or {}, budget, {**given, **settings})


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_an_interval_that_is_repeated_gives_the_same_bits(env, normalise):
    make = lambda: learner(env, normalise_observations=normalise, normalise_returns=normalise)  # noqa: E731
    one = make()
    first = one.train(None, {}, 200, seed=1, evaluation_seed=2)
    second = one.train(first.state, {"learning_rate": 1e-3}, 100, seed=3, evaluation_seed=2)
    one.train(None, {"clip_range": 0.1}, 100, seed=9, evaluation_seed=4)  # leaves nothing behind
    first_again = one.train(None, {}, 200, seed=1, evaluation_seed=2)
    second_again = make().train(dict(first_again.state), {"learning_rate": 1e-3}, 100, seed=3, evaluation_seed=2)
    assert same(first.state, first_again.state)
    assert same(second.state, second_again.state)
    assert (second.train_return, second.eval_return) == pytest.approx(
        (second_again.train_return, second_again.eval_return), abs=0, nan_ok=True
    )
    assert not np.array_equal(first.state["policy/0/kernel"], second.state["policy/0/kernel"])
    assert not same(first.state, one.train(None, {}, 200, seed=5, evaluation_seed=2).state)


def test_another_process_gives_the_same_bits(tmp_path):
    program = f"""
import numpy as np
from metapbt.learners.ppo import PPOLearner
settings = {{"n_envs": 4, "eval_episodes": 3, "network": {{"widths": [16]}}, "hyperparameters": {SMALL}}}
training = PPOLearner("cart_pole", {{}}, 1000, settings).train(None, {{}}, 200, seed=1, evaluation_seed=2)
np.savez({str(tmp_path / "state.npz")!r}, **training.state)
"""
    # Its own cache: what it compiles is what this process loaded, or compiled, too.
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list((tmp_path / "cache").iterdir())
    with np.load(tmp_path / "state.npz") as saved:
        assert same(dict(saved), learner().train(None, {}, 200, seed=1, evaluation_seed=2).state)


def test_the_state_is_plain_and_complete():
    training = learner(normalise_observations=True).train(None, {}, 250, seed=1, evaluation_seed=2)
    state = training.state
    assert (training.env_steps, int(state["env_steps"]), int(state["updates"])) == (300, 300, 3)
    assert state["adam/steps"] == 3 * 2 * 5
    assert state["policy/0/kernel"].shape == state["adam/mean/policy/0/kernel"].shape == (4, 16)
    assert state["observations/mean"].shape == (4,)
    assert all(type(array) is np.ndarray and array.dtype != object for array in state.values())


def test_returns_are_those_of_the_environment():
    training = learner(normalise_returns=True).train(None, {}, 500, seed=1, evaluation_seed=2)
    assert training.episodes > 10
    assert 9 < training.train_return < 50  # cart-pole: one for each step
    assert training.train_return * training.episodes == pytest.approx(round(training.train_return * training.episodes))
    long_lived = learner("mountain_car").train(None, {}, 100, seed=0, evaluation_seed=1)
    assert math.isnan(long_lived.train_return)
    assert long_lived.episodes == 0
    assert long_lived.eval_return == -200


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_an_evaluation_is_the_mean_of_single_episodes(env, normalise):
    envs = make_batch(env, {}, 3)
    discrete = env == "cart_pole"
    network = Network(math.prod(envs.observation_space.shape), 2 if discrete else 4, not discrete, (8,))
    rng = np.random.default_rng(0)
    actor = Actor(network, network.initial(rng) + 0.3 * rng.standard_normal(network.size).astype(np.float32))
    normaliser = ObservationNormaliser(network.inputs) if normalise else None
    if normaliser is not None:
        normaliser.see(rng.standard_normal((10, network.inputs)).astype(np.float32))
    returns = []
    for seed in (11, 12, 13):
        single, total, over = make_env(env), 0.0, False
        observation, _ = single.reset(seed=seed)
        while not over:
            inputs = observation[None].astype(np.float32)
            action = actor.act(inputs if normaliser is None else normaliser(inputs))[0]
            observation, reward, terminated, truncated, _ = single.step(action if discrete else np.clip(action, -1, 1))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    assert evaluate(envs, actor, 11, normaliser) == pytest.approx(np.mean(returns), rel=1e-6)


def test_a_time_limit_is_no_end():
    """As in Stable-Baselines3: the value of the observation that the clock cut off joins the last reward."""
    envs = make_batch("mountain_car", {}, 2)
    network = Network(2, 3, False, (8,))
    rng = np.random.default_rng(0)
    actor = Actor(network, network.initial(rng))
    seen = []
    step = envs.step

    def spy(actions):
        result = step(actions)
        seen.append((result.final_observations.copy(), result.truncated.copy(), result.terminated.copy()))
        return result

    envs.step = spy
    rollout = Runner(envs, 0, rng, None, None).collect(actor, 450, gamma=0.9)
    ends = [t for t, (_, truncated, _) in enumerate(seen) if truncated.any()]
    assert ends == [199, 399]
    for t, (final, truncated, terminated) in enumerate(seen):
        expected = np.where(truncated & ~terminated, -1 + 0.9 * actor.values(final), -1)
        np.testing.assert_allclose(rollout.rewards[t], expected, rtol=1e-6)
        np.testing.assert_array_equal(rollout.dones[t], truncated | terminated)


class Replayed(gym.Env):
    """Shows numbers that were drawn before."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, observations, rewards, dones):
        self.script, self.t = (observations, rewards, dones), 0

    def reset(self, seed=None, options=None):
        return self.script[0][self.t], {}

    def step(self, action):
        observations, rewards, dones = self.script
        self.t += 1
        return observations[self.t], float(rewards[self.t]), bool(dones[self.t]), False, {}


def test_normalisation_equals_that_of_stable_baselines3():
    rng = np.random.default_rng(0)
    observations = (rng.standard_normal((2, 60, 3)) * [1, 5, 0.1] + [0, 3, -2]).astype(np.float32)
    rewards, dones = rng.standard_normal((2, 60)) * 30 + 5, rng.random((2, 60)) < 0.1
    scripts = list(zip(observations, rewards, dones, strict=True))
    reference = VecNormalize(DummyVecEnv([lambda s=s: Replayed(*s) for s in scripts]), gamma=0.9)
    own_observations, own_rewards = ObservationNormaliser(3), RewardNormaliser(RunningMoments(()), 2, 0.9)
    np.testing.assert_array_equal(own_observations.see(observations[:, 0]), reference.reset())
    for t in range(1, 60):
        expected_observations, expected_rewards, *_ = reference.step([0, 0])
        np.testing.assert_array_equal(own_observations.see(observations[:, t]), expected_observations)
        scaled = own_rewards.see(rewards[:, t].astype(np.float32), dones[:, t])
        np.testing.assert_allclose(scaled, expected_rewards, rtol=1e-6)
    np.testing.assert_array_equal(own_observations.moments.mean, reference.obs_rms.mean)
    np.testing.assert_array_equal(own_observations.moments.variance, reference.obs_rms.var)
    np.testing.assert_allclose(own_rewards.moments.variance, reference.ret_rms.var, rtol=1e-12)


def test_annealing_ends_at_the_end_of_the_budget(monkeypatch):
    rates = []
    original = module.update
    monkeypatch.setattr(
        module, "update", lambda *a, **k: (rates.append(float(a[4].learning_rate)), original(*a, **k))[1]
    )
    one = learner(budget=400, anneal_learning_rate=True)
    state = one.train(None, {"learning_rate": 1e-3}, 200, seed=0, evaluation_seed=1).state
    one.train(state, {"learning_rate": 4e-3}, 300, seed=0, evaluation_seed=1)
    assert rates == pytest.approx([1e-3, 0.75e-3, 2e-3, 1e-3, 0])
    rates.clear()
    learner(budget=400).train(None, {"learning_rate": 1e-3}, 200, seed=0, evaluation_seed=1)
    assert rates == pytest.approx([1e-3, 1e-3])


def test_it_learns_to_balance_the_pole():
    one = PPOLearner("cart_pole", {}, 30_000, {"n_envs": 8})
    untrained = one.train(None, {"learning_rate": 0.0}, 1000, seed=0, evaluation_seed=7)
    state = None
    for interval in range(3):
        training = one.train(state, {"learning_rate": 1e-3}, 8000, seed=interval, evaluation_seed=7)
        state = training.state
    assert untrained.eval_return < 150
    assert training.eval_return > 300
    assert training.train_return > 100


@pytest.mark.parametrize("shared", [False, True])
def test_continuous_actions_are_learned_too(shared):
    one = learner("bipedal_walker", network={"widths": [16, 16], "activation": "relu", "shared": shared})
    training = one.train(None, {"target_kl": 0.05, "clip_range_vf": 0.2, "ent_coef": 0.01}, 200, 0, 1)
    assert math.isfinite(training.eval_return)
    assert np.abs(training.state["log_std"]).max() > 0


def test_the_shipped_settings_are_the_learners_own():
    learner_settings = OmegaConf.to_container(OmegaConf.load("conf/learner/ppo.yaml"))["learner"]
    assert learner_settings.pop("name") == "ppo"
    shipped, own = PPOLearner("cart_pole", {}, 1, learner_settings), PPOLearner("cart_pole", {}, 1, {})
    assert vars(shipped) == vars(own)
    defaults = Space(OmegaConf.to_container(OmegaConf.load("conf/space/ppo.yaml")))
    own.check(defaults, 2000)


def test_an_interval_of_no_whole_rollouts_is_said_to_be_rounded_up(caplog):
    one = learner()
    one.check(Space({"gamma": {"type": "float", "low": 0.9, "high": 1.0}}), 200)
    assert not caplog.records
    one.check(Space({"n_steps": {"type": "categorical", "choices": [25, 50]}}), 300)
    assert "budget.interval=300 is rounded up to 400 steps" in caplog.text
    assert one.train(None, {"n_steps": 50}, 300, seed=0, evaluation_seed=1).env_steps == 400


def test_it_needs_no_torch_and_leaves_the_users_choices():
    program = (
        "import sys, os, metapbt.learners.ppo; import jax;"
        "assert jax.config.jax_compilation_cache_dir == '/nowhere', jax.config.jax_compilation_cache_dir;"
        "assert '--xla_cpu_enable_fast_math=false --xla_cpu_multi_thread_eigen=false' == os.environ['XLA_FLAGS'];"
        "sys.exit('torch' in sys.modules)"
    )
    users = {"JAX_COMPILATION_CACHE_DIR": "/nowhere", "XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    assert subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, **users}).returncode == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_env": 3}, "unknown setting of learner ppo 'n_env'; did you mean 'n_envs'"),
        ({"n_envs": 0}, "learner.n_envs must be a whole number >= 1, got 0"),
        ({"network": {"width": [8]}}, "unknown key of learner.network 'width'; did you mean 'widths'"),
        ({"network": {"widths": [8, 0]}}, "learner.network.widths must be a whole number >= 1, got 0"),
        ({"network": {"activation": "tahn"}}, "unknown learner.network.activation 'tahn'; did you mean 'tanh'"),
        ({"network": {"widths": 64}}, "learner.network.widths must be a list of whole numbers, got 64"),
        ({"hyperparameters": None}, "learner.hyperparameters must be a mapping, got None"),
        ({"normalise_returns": "yes"}, "learner.normalise_returns must be true or false, got 'yes'"),
        ({"hyperparameters": {"clip": 1}}, "unknown hyperparameter of learner ppo 'clip'"),
        ({"hyperparameters": {"gamma": 1.5}}, r"hyperparameters.gamma must be a number in \[0, 1\], got 1.5"),
        ({"hyperparameters": {"n_epochs": 2.5}}, "n_epochs must be a whole number >= 1, got 2.5"),
        ({"hyperparameters": {"target_kl": 0}}, "target_kl must be a number > 0 or null, got 0"),
        ({"hyperparameters": {"clip_range": None}}, "clip_range must be a number > 0, got None"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(MetapbtError, match=message):
        PPOLearner("cart_pole", {}, 1000, settings)


@pytest.mark.parametrize(
    ("space", "interval", "message"),
    [
        ({"lr": {"type": "float", "low": 0, "high": 1}}, 100, "unknown hyperparameter of learner ppo 'lr'"),
        ({"gamma": {"type": "float", "low": 0.9, "high": 1.1}}, 100, r"space.gamma must be .*\[0, 1\], got 1.1"),
        ({"batch_size": {"type": "float", "low": 8.5, "high": 16}}, 100, "space.batch_size must be a whole number"),
        (
            {"batch_size": {"type": "int", "low": 8, "high": 128}},
            100,
            r"batch_size must be at most a rollout .*100.*128",
        ),
        ({"clip_range": {"type": "categorical", "choices": ["wide"]}}, 100, "space.clip_range must be a number > 0"),
    ],
)
def test_a_space_that_does_not_fit_is_named(space, interval, message):
    with pytest.raises(MetapbtError, match=message):
        learner().check(Space(space), interval)


def test_every_hyperparameter_may_be_in_the_space():
    space = {name: {"type": "float", "low": 0.1, "high": 0.9} for name in module.HYPERPARAMETERS}
    space |= {name: {"type": "int", "low": 10, "high": 20} for name in ("n_steps", "batch_size", "n_epochs")}
    learner().check(Space(space), 100)
    low, high = ({name: entry[end] for name, entry in space.items()} for end in ("low", "high"))
    one = learner()
    state = one.train(None, low, 100, seed=0, evaluation_seed=1).state
    assert one.train(state, high, 100, seed=0, evaluation_seed=1).env_steps == 120 + 160


def test_a_checkpoint_of_another_network_is_refused():
    state = learner().train(None, {}, 100, seed=0, evaluation_seed=1).state
    with pytest.raises(MetapbtError, match=r"does not fit the network.*policy/0/kernel has the shape \(4, 16\)"):
        learner(network={"widths": [8]}).train(state, {}, 100, seed=0, evaluation_seed=1)
    with pytest.raises(MetapbtError, match="lacks 'observations/mean'"):
        learner(normalise_observations=True).train(state, {}, 100, seed=0, evaluation_seed=1)


def test_hyperparameters_out_of_range_are_refused_in_training_as_well():
    with pytest.raises(MetapbtError, match="batch_size must be at most a rollout"):
        learner().train(None, {"batch_size": 1000}, 100, seed=0, evaluation_seed=1)
    with pytest.raises(MetapbtError, match="unknown hyperparameter of learner ppo 'lr'"):
        learner().train(None, {"lr": 0.1}, 100, seed=0, evaluation_seed=1)
