"""The PPO learner: what it promises beyond the protocol that all learners keep."""

import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from learner_intervals import made, train
from omegaconf import OmegaConf
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from metapbt.config import compose
from metapbt.envs import make_env
from metapbt.envs.batches import make_batch
from metapbt.errors import MetapbtError
from metapbt.learners import evaluation
from metapbt.learners.normalise import ObservationNormaliser, RewardNormaliser, RunningMoments
from metapbt.learners.ppo import PPOLearner
from metapbt.learners.ppo import learner as module
from metapbt.learners.ppo.network import Actor, Network
from metapbt.learners.ppo.rollout import PPOPolicy, Runner
from metapbt.seeding import episode_seed
from metapbt.space import Space

SMALL = {"n_steps": 25, "batch_size": 20, "n_epochs": 2}


def of_width(width, **others):
    """A network of one hidden layer, or what is said instead."""
    return {head: {"layers": 1, "width": width, **others} for head in ("policy", "value")}


def learner(env="cart_pole", budget=1000, length=1000, context=None, hyperparameters=None, **settings):
    fixed = {**SMALL, **(hyperparameters or {})}
    given = {"n_envs": 4, "network": of_width(16), "hyperparameters": fixed}
    return made(PPOLearner, env, {**given, **settings}, context=context, budget=budget, length=length)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_an_interval_that_is_repeated_gives_the_same_bits(env, normalise):
    make = lambda: learner(env, normalise_observations=normalise, normalise_returns=normalise)  # noqa: E731
    one = make()
    first = train(one, None, {}, 200, seed=1, evaluation_seed=2)
    second = train(one, first, {"learning_rate": 1e-3}, 100, seed=3, evaluation_seed=2)
    train(one, None, {"clip_range": 0.1}, 100, seed=9, evaluation_seed=4)  # leaves nothing behind
    first_again = train(one, None, {}, 200, seed=1, evaluation_seed=2)
    second_again = train(make(), first_again, {"learning_rate": 1e-3}, 100, seed=3, evaluation_seed=2)
    assert same(first.state, first_again.state)
    assert same(second.state, second_again.state)
    assert (second.returns, second.eval_return) == (second_again.returns, second_again.eval_return)
    assert not np.array_equal(first.state["policy/0/kernel"], second.state["policy/0/kernel"])
    assert not same(first.state, train(one, None, {}, 200, seed=5, evaluation_seed=2).state)


def test_another_process_gives_the_same_bits(tmp_path):
    program = f"""
import sys
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from learner_intervals import made, train
from metapbt.learners.ppo import PPOLearner
settings = {{"n_envs": 4, "network": {of_width(16)}, "hyperparameters": {SMALL}}}
training = train(made(PPOLearner, "cart_pole", settings), None, {{}}, 200, seed=1, evaluation_seed=2)
np.savez({str(tmp_path / "state.npz")!r}, **training.state)
"""
    # Its own cache: what it compiles is what this process loaded, or compiled, too.
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list((tmp_path / "cache").iterdir())
    with np.load(tmp_path / "state.npz") as saved:
        assert same(dict(saved), train(learner(), None, {}, 200, seed=1, evaluation_seed=2).state)


def test_the_state_is_plain_and_complete():
    training = train(learner(normalise_observations=True), steps=250)
    state = training.state
    assert training.env_steps == 300
    assert state["adam/steps"] == 3 * 2 * 5
    assert state["policy/0/kernel"].shape == state["adam/mean/policy/0/kernel"].shape == (4, 16)
    assert state["observations/mean"].shape == (4,)
    assert all(type(array) is np.ndarray and array.dtype != object for array in state.values())


def test_returns_are_those_of_the_environment():
    training = train(learner(normalise_returns=True), steps=500, seed=1)
    assert len(training.returns) > 10
    assert 9 < np.mean(training.returns) < 50  # cart-pole: one for each step
    assert all(value == round(value) for value in training.returns)
    long_lived = train(learner("mountain_car"), steps=100)
    assert long_lived.returns == ()
    assert long_lived.eval_return == -200


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_an_evaluation_is_the_mean_of_single_episodes(env, normalise):
    envs = make_batch(env, {}, 3)
    discrete = env == "cart_pole"
    network = Network(math.prod(envs.observation_space.shape), 2 if discrete else 4, not discrete, (8,), (8,))
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
    policy = PPOPolicy(actor, normaliser, envs.observation_space, envs.action_space)
    assert evaluation.episode_returns(envs, policy, 11) == pytest.approx(returns, rel=1e-6)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_evaluations_do_not_depend_on_how_many_episodes_are_stepped_together(normalise, sampled, monkeypatch):
    one = learner(normalise_observations=normalise, sampled_evaluation=sampled)
    training = train(one, steps=300, evaluation_seed=5, episodes=40)
    for together in (40, 7, 1):
        monkeypatch.setattr(evaluation, "EVALUATED_TOGETHER", together)
        assert one.evaluate(training.state, {}, 5, 40) == pytest.approx(training.eval_return)
    singles = [one.evaluate(training.state, {}, 5 + i, 1) for i in range(40)]
    assert np.mean(singles) == pytest.approx(training.eval_return)
    assert len(set(singles)) > 5


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_the_policy_plays_as_the_evaluation(env, normalise):
    one = learner(env, normalise_observations=normalise)
    state = train(one, steps=300).state
    policy, returns = one.policy(state, {}), []
    for seed in (11, 12, 13):
        single, total, over = make_env(env), 0.0, False
        observation, _ = single.reset(seed=seed)
        while not over:
            action = policy.act(observation)
            assert single.action_space.contains(action if env == "bipedal_walker" else np.int64(action))
            observation, reward, terminated, truncated, _ = single.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) == pytest.approx(one.evaluate(state, {}, 11, 3), rel=1e-6)


def test_hyperparameters_are_the_intervals_own_after_a_restore(monkeypatch):
    seen = []
    original = module.update
    monkeypatch.setattr(module, "update", lambda *a, **k: (seen.append((a[4], a[5].batch_size)), original(*a, **k))[1])
    one = learner()
    first = train(one, None, {"learning_rate": 1e-3, "clip_range": 0.1, "batch_size": 10}, 100)
    train(one, first, {"learning_rate": 2e-4, "clip_range": 0.3, "batch_size": 50}, 100)
    (before, small), (after, large) = seen
    assert (before.learning_rate, before.clip_range, small) == (np.float32(1e-3), np.float32(0.1), 10)
    assert (after.learning_rate, after.clip_range, large) == (np.float32(2e-4), np.float32(0.3), 50)


def test_a_time_limit_is_no_end():
    """As in Stable-Baselines3: the value of the observation that the clock cut off joins the last reward."""
    envs = make_batch("mountain_car", {}, 2)
    network = Network(2, 3, False, (8,), (8,))
    rng = np.random.default_rng(0)
    actor = Actor(network, network.initial(rng))
    seen = []
    step = envs.step

    def spy(actions):
        result = step(actions)
        seen.append((result.final_observations.copy(), result.truncated.copy(), result.terminated.copy()))
        return result

    envs.step = spy
    rollout = Runner(envs, partial(episode_seed, 0), rng, None, None, 0.9, None).collect(actor, 450)
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
    own_observations, own_rewards = ObservationNormaliser(3), RewardNormaliser(RunningMoments(()), np.zeros(2), 0.9)
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
    first = train(one, None, {"learning_rate": 1e-3}, 200, seed=0, evaluation_seed=1)
    train(one, first, {"learning_rate": 4e-3}, 300, seed=0, evaluation_seed=1)
    assert rates == pytest.approx([1e-3, 0.75e-3, 2e-3, 1e-3, 0])
    rates.clear()
    train(learner(budget=400), None, {"learning_rate": 1e-3}, 200)
    assert rates == pytest.approx([1e-3, 1e-3])


def test_it_learns_to_balance_the_pole():
    one = made(PPOLearner, "cart_pole", {"n_envs": 8}, budget=30_000, length=8000)
    untrained = train(one, None, {"learning_rate": 0.0}, 1000, seed=0, evaluation_seed=7)
    training = None
    for interval in range(3):
        training = train(one, training, {"learning_rate": 1e-3}, 8000, seed=interval, evaluation_seed=7)
    assert untrained.eval_return < 150
    assert training.eval_return > 300
    assert np.mean(training.returns[-20:]) > 100


@pytest.mark.parametrize("shared", [False, True])
def test_continuous_actions_are_learned_too(shared):
    one = learner("bipedal_walker", network={**of_width(16, layers=2, activation="relu"), "shared": shared})
    training = train(one, None, {"target_kl": 0.05, "clip_range_vf": 0.2, "ent_coef": 0.01}, 200)
    assert math.isfinite(training.eval_return)
    assert np.abs(training.state["log_std"]).max() > 0


def test_the_shipped_settings_are_the_learners_own():
    learner_settings = OmegaConf.to_container(compose(["env=cart_pole", "learner=ppo"]), resolve=True)["learner"]
    assert learner_settings.pop("name") == "ppo"
    shipped, own = (made(PPOLearner, "cart_pole", chosen, length=2000) for chosen in (learner_settings, {}))
    settings, others = ({k: v for k, v in vars(made_one).items() if k != "_kept"} for made_one in (shipped, own))
    assert settings == others
    defaults = Space(OmegaConf.to_container(OmegaConf.load("conf/space/ppo.yaml")))
    own.check(defaults)


def test_members_that_tune_n_steps_train_equally(caplog):
    one = learner(length=400)  # 100 steps of each of four environments
    one.check(Space({"n_steps": {"type": "categorical", "choices": [25, 100]}}))
    assert not caplog.records
    one.check(Space({"n_steps": {"type": "int", "low": 25, "high": 1000}}))
    (record,) = caplog.records
    assert record.getMessage() == (
        "n_steps=1000 is cut to 100: a rollout is at most budget.interval=400 steps of learner.n_envs=4 environments"
    )
    for n_steps in (25, 100, 1000):
        first = train(one, None, {"n_steps": n_steps}, 400)
        assert train(one, first, {"n_steps": n_steps}, 400).env_steps == 800


def test_what_rounding_up_gave_too_much_the_next_interval_trains_less():
    one = learner()
    first = train(one, None, {"n_steps": 30}, 200)
    assert first.env_steps == 240
    assert train(one, first, {"n_steps": 30}, 160).env_steps == 480  # until step 400
    assert train(one, first, {}, 100, start_steps=400).env_steps == 500
    assert train(one, first, {}, 0, start_steps=400).env_steps == 500  # one rollout at least


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
        ({"n_envs": 0}, "learner.n_envs must be an integer >= 1, got 0"),
        ({"network": {"polcy": {}}}, "unknown key of learner.network 'polcy'; did you mean 'policy'"),
        (
            {"network": {"policy": {"widths": 8}}},
            "unknown key of learner.network.policy 'widths'; did you mean 'width'",
        ),
        ({"network": {"value": {"width": 0}}}, "learner.network.value.width must be a whole number .*, got 0"),
        ({"network": {"policy": {"layers": 1.5}}}, "learner.network.policy.layers must be a whole number .*, got 1.5"),
        (
            {"network": {"value": {"activation": "tahn"}}},
            "unknown learner.network.value.activation 'tahn'; did you mean 'tanh'",
        ),
        ({"network": {"shared": True, "value": {"width": 9}}}, "learner.network.value.width changes nothing where"),
        (
            {"engine": "python", "device": "cuda"},
            "learner.device=cuda needs learner.engine=jax: python trains on the CPU",
        ),
        ({"network": {"policy": 64}}, "learner.network.policy must be a mapping, got 64"),
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
        made(PPOLearner, "cart_pole", settings)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": {"type": "float", "low": 0, "high": 1}}, "unknown hyperparameter of learner ppo 'lr'"),
        ({"gamma": {"type": "float", "low": 0.9, "high": 1.1}}, r"space.gamma must be .*\[0, 1\], got 1.1"),
        ({"batch_size": {"type": "float", "low": 8.5, "high": 16}}, "space.batch_size must be a whole number"),
        ({"batch_size": {"type": "float", "low": 8, "high": 16}}, "space.batch_size must be .*: write type: int"),
        (
            {"n_epochs": {"type": "float", "low": 2, "high": 4, "step": 0.5}},
            "space.n_epochs must be .*: write type: int",
        ),
        ({"n_epochs": {"type": "categorical", "choices": ["3", "4"]}}, "space.n_epochs must be .*got '3'"),
        ({"n_steps": {"type": "categorical", "choices": [True, False]}}, "space.n_steps must be .*got True"),
        (
            {"batch_size": {"type": "int", "low": 8, "high": 128}},
            r"batch_size must be at most a rollout .*100.*128",
        ),
        ({"clip_range": {"type": "categorical", "choices": ["wide"]}}, "space.clip_range must be a number > 0"),
    ],
)
def test_a_space_that_does_not_fit_is_named(space, message):
    with pytest.raises(MetapbtError, match=message):
        learner().check(Space(space))


def test_every_hyperparameter_may_be_in_the_space():
    space = {name: {"type": "float", "low": 0.1, "high": 0.9} for name in module.HYPERPARAMETERS}
    space |= {name: {"type": "int", "low": 10, "high": 20} for name in ("n_steps", "batch_size", "n_epochs")}
    learner().check(Space(space))
    low, high = ({name: entry[end] for name, entry in space.items()} for end in ("low", "high"))
    one = learner()
    first = train(one, None, low, 100)
    assert train(one, first, high, 100).env_steps == 120 + 160


def test_floats_that_step_over_whole_numbers_are_whole():
    one, space = learner(), Space({"n_steps": {"type": "float", "low": 25, "high": 75, "step": 25}})
    one.check(space)
    assert train(one, None, {"n_steps": 25.0}, 100).env_steps == 100


def test_whatever_passes_the_door_trains():
    space = Space(
        {
            "n_steps": {"type": "int", "low": 10, "high": 300},
            "batch_size": {"type": "int", "low": 1, "high": 40},
            "n_epochs": {"type": "categorical", "choices": [1, 3]},
            "target_kl": {"type": "categorical", "choices": [0.01, 0.5]},
            "max_grad_norm": {"type": "float", "low": 1e-3, "high": 10.0, "log": True},
        }
    )
    one, training = learner(length=200), None
    one.check(space)
    for corner in space.corners()[-2:]:
        training = train(one, training, corner, 200)
        assert all(np.isfinite(array).all() for array in training.state.values())


def test_a_checkpoint_of_another_network_is_refused():
    state = train(learner(), None, {}, 100, seed=0, evaluation_seed=1).state
    with pytest.raises(MetapbtError, match=r"does not fit the network.*policy/0/kernel has the shape \(4, 16\)"):
        train(learner(network=of_width(8)), state)
    with pytest.raises(MetapbtError, match="lacks 'observations/mean'"):
        train(learner(normalise_observations=True), state)
    with pytest.raises(MetapbtError, match=r"has episodes of 4 environments, but learner\.n_envs=2"):
        train(learner(n_envs=2), state)


def test_hyperparameters_out_of_range_are_refused_in_training_as_well():
    with pytest.raises(MetapbtError, match="batch_size must be at most a rollout"):
        train(learner(), None, {"batch_size": 1000}, 100, seed=0, evaluation_seed=1)
    with pytest.raises(MetapbtError, match="unknown hyperparameter of learner ppo 'lr'"):
        train(learner(), None, {"lr": 0.1}, 100, seed=0, evaluation_seed=1)
