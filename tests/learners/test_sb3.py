"""The Stable-Baselines3 learner against Stable-Baselines3 left to itself."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from learner_intervals import made, train
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from metapbt.envs import Environment, make_env
from metapbt.errors import MetapbtError
from metapbt.learners.sb3 import SB3Learner
from metapbt.learners.sb3 import learner as module
from metapbt.learners.sb3.state import state_of
from metapbt.seeding import episode_seed
from metapbt.space import Space

SETTINGS = {
    "algorithm": "PPO",
    "policy": "MlpPolicy",
    "n_envs": 2,
    "hyperparameters": {"PPO": {"n_steps": 50, "batch_size": 50}},
}


def learner(env="cart_pole", budget=1000, length=1000, **changes):
    return made(SB3Learner, env, {**SETTINGS, **changes}, budget=budget, length=length)


class Seeded(gym.Wrapper):
    """Begins each episode from the seed that the interval gives it."""

    def __init__(self, env, seed, place):
        super().__init__(env)
        self.seeds = (episode_seed(seed, place, count) for count in itertools.count())

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=next(self.seeds))


def test_the_first_interval_equals_stable_baselines3_on_its_own():
    hyperparameters = {
        "learning_rate": 1e-3,
        "n_epochs": 3,
        "gae_lambda": 0.9,
        "clip_range": 0.3,
        "gamma": 0.98,
    }
    training = train(learner(), None, hyperparameters, 300, seed=7, evaluation_seed=1)
    envs = DummyVecEnv([lambda place=place: Seeded(Monitor(make_env("cart_pole")), 7, place) for place in range(2)])
    reference = PPO("MlpPolicy", envs, seed=7, n_steps=50, batch_size=50, device="cpu", **hyperparameters).learn(300)
    for name, weights in reference.policy.state_dict().items():
        assert np.array_equal(training.state[f"policy/{name}"], weights.numpy())
    assert len(training.returns) > 0
    assert np.mean(training.returns) == np.mean([episode["r"] for episode in reference.ep_info_buffer])


def test_a_restored_member_has_the_same_weights_optimiser_and_counters():
    one = learner()
    state = train(one, None, {"learning_rate": 1e-3}, 200, seed=0, evaluation_seed=1).state
    model = one._build({"learning_rate": 1e-3}, seed=5)
    one._restore(model, state, 0)
    back = state_of(model)
    learned = {key for key in state if not key.startswith("episodes/")}
    assert back.keys() == learned
    assert all(np.array_equal(back[key], state[key]) for key in learned)
    assert any("exp_avg_sq" in key for key in state)


def test_hyperparameters_change_while_the_optimiser_keeps_what_it_learned():
    one = learner()
    state = train(one, None, {"learning_rate": 1e-3}, 100, seed=0, evaluation_seed=1).state
    model = one._build({"learning_rate": 2e-4, "clip_range": 0.4, "gae_lambda": 0.8, "batch_size": 25}, seed=5)
    one._restore(model, state, 0)
    assert model.policy.optimizer.param_groups[0]["lr"] == 2e-4
    assert (model.clip_range(1.0), model.rollout_buffer.gae_lambda, model.batch_size) == (0.4, 0.8, 25)
    moments = model.policy.optimizer.state_dict()["state"]
    assert np.array_equal(moments[0]["exp_avg"].numpy(), state["policy.optimizer/0/exp_avg"])
    assert moments[0]["step"] == state["policy.optimizer/0/step"] > 0


def test_members_that_tune_n_steps_train_equally(caplog):
    one = learner(length=400)
    one.check(Space({"n_steps": {"type": "int", "low": 25, "high": 200}}))
    assert not caplog.records
    one.check(Space({"n_steps": {"type": "int", "low": 25, "high": 1000}}))
    (record,) = caplog.records
    assert "n_steps=1000 is cut to 200" in record.getMessage()
    for n_steps in (50, 1000):
        first = train(one, None, {"n_steps": n_steps}, 400)
        assert train(one, first, {"n_steps": n_steps}, 400).env_steps == 800
    # An algorithm that steps further than asked makes up for it in the next interval.
    assert train(one, None, {}, 150).env_steps == 200
    assert train(one, first, {}, 50, start_steps=200).env_steps == 300


def test_an_interval_in_which_no_episode_ends_has_no_returns():
    long_lived = learner("mountain_car")
    training = train(long_lived, None, {}, 100, seed=0, evaluation_seed=1)
    assert training.returns == ()
    assert training.eval_return == -200.0


def test_an_evaluation_is_the_mean_of_episodes_from_seeds_counted_up():
    one = learner()
    state = train(one, None, {}, 100, seed=0, evaluation_seed=1).state
    torch.manual_seed(0)
    singles = [one.evaluate(state, {}, 11 + i, 1) for i in range(40)]
    torch.manual_seed(1)
    assert one.evaluate(state, {}, 11, 40) == pytest.approx(np.mean(singles))
    assert len(set(singles)) > 1
    policy, returns = one.policy(state, {}), []
    for seed in (11, 12):
        env, over, total = make_env("cart_pole"), False, 0.0
        observation, _ = env.reset(seed=seed)
        while not over:
            action = policy.act(observation)
            assert isinstance(action, int)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + reward, terminated or truncated
        returns.append(total)
    assert returns == singles[:2]


def test_a_replay_buffer_goes_on_where_it_was():
    settings = {
        **SETTINGS,
        "algorithm": "DQN",
        "hyperparameters": {"DQN": {"learning_starts": 20, "buffer_size": 300}},
    }
    one = learner(**settings)
    first = train(one, None, {}, 100, seed=0, evaluation_seed=1)
    second = train(one, first, {}, 100, seed=3, evaluation_seed=1)
    rows = first.state["replay/rewards"].shape[0]
    assert rows == first.env_steps / 2  # a row holds a step of each of two environments
    assert np.array_equal(second.state["replay/observations"][:rows], first.state["replay/observations"])
    assert second.state["replay/place"].tolist() == [2 * rows, 0]


def test_an_exploration_schedule_runs_over_the_whole_budget_not_over_each_interval():
    settings = {**SETTINGS, "algorithm": "DQN", "hyperparameters": {"DQN": {"buffer_size": 300}}}
    one = learner(budget=10_000, **settings)
    rates = []
    original = DQN._on_step

    def spy(model):
        original(model)
        rates.append(model.exploration_rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DQN, "_on_step", spy)
        train(one, None, {}, 100, seed=0, evaluation_seed=1)
    assert min(rates) == pytest.approx(1 - 0.95 * 100 / 1000, abs=0.01)  # a tenth of the way after 1% of the budget


def pendulum(algorithm, **fixed):
    """A learner of an algorithm with continuous actions."""
    settings = {"algorithm": algorithm, "hyperparameters": {algorithm: {"learning_starts": 10, **fixed}}}
    return learner(f"{__name__}:PENDULUM", **settings)


PENDULUM = Environment(
    "pendulum", (), gym_id="tests/Pendulum-v1", build=lambda context, render_mode: PendulumEnv(), max_episode_steps=40
)


def restored(one, state, hyperparameters):
    model = one._build(hyperparameters, seed=5)
    one._restore(model, state, 0)
    return model


def test_an_entropy_coefficient_of_its_own_is_restored():
    one = pendulum("SAC", buffer_size=300)
    state = train(one, None, {"batch_size": 16}, 60).state
    assert state["log_ent_coef"] != 0
    model = restored(one, state, {"batch_size": 16})
    assert isinstance(model, SAC)
    assert model.log_ent_coef.item() == state["log_ent_coef"]
    assert model.log_ent_coef.requires_grad


def test_a_tuned_value_survives_a_restore():
    atari = {"learning_starts": 10, "buffer_size": 300}
    before, after = {"learning_rate": 1e-3}, {"learning_rate": 2e-4}
    one = learner()
    assert rates(restored(one, train(one, None, before, 100).state, after)) == {2e-4}
    one = learner(algorithm="A2C", hyperparameters={"A2C": {"n_steps": 10}})
    assert rates(restored(one, train(one, None, before, 100).state, after)) == {2e-4}
    one = learner(algorithm="DQN", hyperparameters={"DQN": atari})
    assert rates(restored(one, train(one, None, before, 100).state, after)) == {2e-4}
    one = pendulum("SAC", buffer_size=300)
    state = train(one, None, {**before, "batch_size": 16}, 60).state
    assert rates(restored(one, state, {**after, "batch_size": 16})) == {2e-4}


def rates(model):
    """The learning rates of all of a model's optimisers, as training sets and uses them."""
    optimisers = [model.policy.optimizer] if hasattr(model.policy, "optimizer") else []
    optimisers += [part.optimizer for part in (getattr(model, "actor", None), getattr(model, "critic", None)) if part]
    optimisers += [model.ent_coef_optimizer] if getattr(model, "ent_coef_optimizer", None) else []
    assert optimisers
    found = {group["lr"] for optimiser in optimisers for group in optimiser.param_groups}
    return found | {model.lr_schedule(1.0)}


@pytest.mark.parametrize(
    ("before", "after", "begins_at"),
    [
        (0.1, 0.7, 0.7),
        (0.1, "auto", 0.1),
        (0.0, "auto", 1.0),  # has no logarithm
        (0.1, "auto_0.3", 0.3),
        ("auto", 0.7, 0.7),
        ("auto_0.3", "auto", None),
        ("auto", "auto_0.3", None),
    ],
)
def test_a_tuned_entropy_coefficient_is_the_intervals_own_and_a_learned_one_goes_on(before, after, begins_at):
    one = pendulum("SAC", buffer_size=300)
    first = train(one, None, {"ent_coef": before, "batch_size": 16}, 60)
    model = restored(one, first.state, {"ent_coef": after, "batch_size": 16})
    if begins_at is None:
        assert model.log_ent_coef.item() == first.state["log_ent_coef"]
    elif isinstance(after, str):
        assert model.log_ent_coef.exp().item() == pytest.approx(begins_at)
    else:
        assert model.ent_coef_tensor.item() == pytest.approx(begins_at)
    assert train(one, first, {"ent_coef": after, "batch_size": 16}, 60).env_steps == 120


@pytest.mark.parametrize(("before", "after"), [(40, 25), (40, 60), (100, 30), (30, 30)])
def test_a_replay_buffer_of_another_size_keeps_the_latest_steps(before, after):
    one = learner(algorithm="DQN", hyperparameters={"DQN": {"learning_starts": 1000}})
    state = train(one, None, {"buffer_size": 2 * before}, 140).state  # 70 steps of two environments
    saved = state["replay/actions"]
    place = int(state["replay/place"][0])
    chronological = np.concatenate([saved[place:], saved[:place]]) if before < 70 else saved
    buffer = restored(one, state, {"buffer_size": 2 * after}).replay_buffer
    rows = min(before, after, 70)
    filled = buffer.buffer_size if buffer.full else buffer.pos
    assert filled == rows
    order = np.roll(buffer.actions[:filled], -buffer.pos if buffer.full else 0, axis=0)
    assert np.array_equal(order, chronological[-rows:])


def test_action_noise_goes_on():
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1))
    one = pendulum("TD3", buffer_size=300, action_noise=noise, batch_size=16)
    first = train(one, None, {}, 70)  # in the middle of episodes
    assert first.state["noise"].shape == (2, 1)
    assert (first.state["noise"] != 0).all()
    assert (noise.noise_prev == 0).all()
    started = []
    original = module._Interval._on_training_start

    def spy(callback):
        original(callback)
        started.append([each.noise_prev.copy() for each in callback.model.action_noise.noises])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Interval, "_on_training_start", spy)
        train(one, first, {}, 70)
    assert np.array_equal(started[0], first.state["noise"])


def test_nested_names_reach_the_policys_arguments():
    model = learner()._build({"policy_kwargs.optimizer_kwargs.eps": 1e-3}, seed=0)
    assert model.policy.optimizer.param_groups[0]["eps"] == 1e-3


def test_a_hyperparameter_that_changes_the_network_is_refused_by_name():
    state = train(learner(), None, {}, 100, seed=0, evaluation_seed=1).state
    wider = learner(hyperparameters={"PPO": {"n_steps": 50, "batch_size": 50, "policy_kwargs": {"net_arch": [8]}}})
    with pytest.raises(MetapbtError, match="the checkpoint does not fit the network"):
        train(wider, state)


def number(name):
    return Space({name: {"type": "float", "low": 0.1, "high": 0.5}})


@pytest.mark.parametrize(
    ("changes", "space", "message"),
    [
        ({}, number("clip_rang"), "unknown hyperparameter of PPO 'clip_rang'; did you mean 'clip_range'"),
        ({"hyperparameters": {"PPO": {"nsteps": 5}}}, number("gamma"), "did you mean 'n_steps'"),
        ({"algorithm": "SAC"}, number("gamma"), "SAC on cart_pole cannot be set up: .*action spaces"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(changes, space, message):
    with pytest.raises(MetapbtError, match=message):
        learner(**changes).check(space)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "PPPO"}, "unknown learner.algorithm 'PPPO'; did you mean 'PPO'"),
        ({"policy": "MlpPolcy"}, "unknown learner.policy 'MlpPolcy'; did you mean 'MlpPolicy'"),
        ({"n_envs": "2"}, "learner.n_envs must be an integer >= 1, got '2'"),
        ({"hyperparameters": None}, "learner.hyperparameters must map algorithms to mappings, got None"),
        ({"hyperparameters": {"PPO": 3}}, "learner.hyperparameters must map algorithms to mappings"),
        ({"hyperparameters": {"Sac": {}}}, "unknown learner.algorithm 'Sac'; did you mean 'SAC'"),
        ({"n_env": 3}, "unknown setting of learner sb3 'n_env'; did you mean 'n_envs'"),
        ({"n_envs": 0}, "learner.n_envs must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(MetapbtError, match=message):
        learner(**changes)


@pytest.mark.parametrize(("algorithm", "every"), [("SAC", 1), ("TD3", 1), ("DDPG", 1), ("DQN", 4)])
@pytest.mark.parametrize("n_envs", [1, 4])
def test_a_step_is_learned_from_as_often_in_several_environments_as_in_one(algorithm, every, n_envs):
    """``train_freq`` counts steps of all of them together, so agents learned a quarter as much."""
    fixed = {algorithm: {"learning_starts": 20, "batch_size": 4, "buffer_size": 500, "policy_kwargs.net_arch": [8]}}
    one = learner("cart_pole" if algorithm == "DQN" else "Pendulum-v1", algorithm=algorithm, n_envs=n_envs,
                  hyperparameters=fixed)  # fmt: skip
    updates = int(train(one, None, {"learning_rate": 1e-4}, 200).state["n_updates"])
    assert updates == pytest.approx((200 - 20) / every, abs=2 * n_envs)
    own = learner("cart_pole" if algorithm == "DQN" else "Pendulum-v1", algorithm=algorithm, n_envs=n_envs,
                  hyperparameters={algorithm: {**fixed[algorithm], "gradient_steps": 2}})  # fmt: skip
    asked = int(train(own, None, {"learning_rate": 1e-4}, 200).state["n_updates"])
    assert asked == pytest.approx(2 * (200 - 20) / every / n_envs, abs=2 * n_envs)


def test_noise_that_lasts_is_drawn_by_who_asks_and_of_what_was_learned():
    """It was drawn when the model was built, by weights that had learned nothing, and never again."""
    fixed = {"PPO": {"n_steps": 50, "batch_size": 50, "use_sde": True}}
    one = learner("Pendulum-v1", algorithm="PPO", hyperparameters=fixed, sampled_evaluation=True)
    training = train(one, None, {"learning_rate": 1e-2}, 200, evaluation_seed=3, episodes=2)
    assert one.evaluate(training.state, {"learning_rate": 1e-2}, 3, 2) == pytest.approx(training.eval_return)
    policy = one.policy(training.state, {"learning_rate": 1e-2})
    seen = np.array([1.0, 0.0, 0.5], dtype=np.float32)
    drawn = [policy.act(seen, np.random.default_rng(seed)).item() for seed in (*range(9), 0)]
    assert len(set(drawn)) > 3
    assert drawn[0] == drawn[-1]


def test_dqn_is_evaluated_as_it_would_act():
    fixed = {"DQN": {"learning_starts": 20, "buffer_size": 300}}
    one = learner(algorithm="DQN", hyperparameters=fixed, sampled_evaluation=True)
    training = train(one, None, {"learning_rate": 1e-3}, 200, evaluation_seed=3, episodes=3)
    assert one.evaluate(training.state, {"learning_rate": 1e-3}, 3, 3) == training.eval_return
