"""How the DrAC learner acts: rollouts, episodes over intervals, evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drac_learners import LENGTH, SQUARES, learner
from learner_intervals import train
from squares import STEPS

from metapbt.envs import make_env
from metapbt.envs.batches import make_batch
from metapbt.learners import evaluation
from metapbt.learners.drac import learner as module
from metapbt.learners.drac.actions import Discrete
from metapbt.learners.drac.network import Architecture
from metapbt.learners.drac.rollout import Runner, Seer, seen
from metapbt.seeding import episode_seed

# ---- rollouts


def test_pictures_stay_bytes_and_are_seen_as_numbers_from_0_to_1() -> None:
    architecture = Architecture("nature_small", (3, 36, 36), Discrete(2))
    seer = Seer(architecture.build(np.random.default_rng(0)), architecture.actions)
    envs = make_batch(SQUARES, {}, 3)
    runner = Runner(envs, lambda place, count: 10 * place + count, np.random.default_rng(0), None, 0.9, 12, None)
    rollout = runner.collect(seer)
    assert rollout.observations.dtype == np.uint8
    assert rollout.observations.shape == (12, 3, 36, 36, 3)
    flat = torch.from_numpy(rollout.observations).flatten(0, 1)
    numbers = seen(flat)
    assert numbers.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((numbers * 255).round().to(torch.uint8).permute(0, 2, 3, 1), flat)
    with torch.no_grad():
        outputs, values = seer.network(numbers)
    np.testing.assert_allclose(values, rollout.values.ravel(), atol=1e-5)
    log_probs = architecture.actions.distribution(outputs).log_prob(torch.from_numpy(rollout.actions).flatten())
    np.testing.assert_allclose(log_probs, rollout.log_probs.ravel(), atol=1e-5)


def test_a_rollout_is_what_single_environments_show() -> None:
    architecture = Architecture("mlp", (4,), Discrete(2))
    seer = Seer(architecture.build(np.random.default_rng(0)), architecture.actions)
    envs = make_batch("cart_pole", {}, 2)
    runner = Runner(envs, lambda place, count: 10 * place + count, np.random.default_rng(0), None, 0.9, 40, None)
    rollout = runner.collect(seer)
    returns = []
    for place in range(2):
        single, count, total = make_env("cart_pole"), 0, 0.0
        observation, _ = single.reset(seed=10 * place)
        for t in range(40):
            np.testing.assert_allclose(rollout.observations[t, place], observation, rtol=1e-6)
            observation, reward, terminated, _, _ = single.step(int(rollout.actions[t, place]))
            total += float(reward)
            assert terminated == rollout.dones[t, place]
            if terminated:
                returns.append(total)
                count, total = count + 1, 0.0
                observation, _ = single.reset(seed=10 * place + count)
    assert returns
    assert sorted(runner.returns) == sorted(returns)


def test_rewards_are_scaled_by_a_discount_of_their_own() -> None:
    one = learner(SQUARES)
    chosen = [{"gamma": gamma, "learning_rate": 0.0} for gamma in (0.5, 0.999)]
    states = [train(one, None, each, 4 * LENGTH, seed=1).state for each in chosen]
    assert np.array_equal(states[0]["returns/variance"], states[1]["returns/variance"])
    # By hand: as the published wrapper, whose discount is 0.99.
    envs = make_batch(SQUARES, {}, 4)
    rng = np.random.default_rng(1).spawn(5)
    architecture = Architecture("nature_small", (3, 36, 36), Discrete(2))
    seer = Seer(architecture.build(rng[0]), architecture.actions)
    runner = Runner(envs, lambda place, count: episode_seed(1, place, count), rng[1], None, 0.9, 32, None)
    rollout = runner.collect(seer)
    discounted, seen_so_far = np.zeros(4), []
    for rewards, dones in zip(rollout.rewards, rollout.dones, strict=True):
        discounted = 0.99 * discounted + rewards
        seen_so_far += discounted.tolist()
        discounted[dones] = 0
    assert float(states[0]["returns/variance"]) == pytest.approx(np.var(seen_so_far), rel=1e-3)
    assert "returns/variance" not in train(learner(SQUARES, normalise_rewards=False), steps=LENGTH).state


def test_time_limits_are_no_ends_but_a_games_own_rules_are() -> None:
    """Mountain car never ends by itself within 200 steps: its last reward gets the discounted value of the rest."""
    architecture = Architecture("mlp", (2,), Discrete(3))
    network = architecture.build(np.random.default_rng(0))
    with torch.no_grad():
        network.value.weight.zero_()
        network.value.bias.fill_(-50.0)
    envs = make_batch("mountain_car", {}, 2)
    runner = Runner(envs, lambda place, count: place, np.random.default_rng(0), None, 0.9, 200, None)
    rollout = runner.collect(Seer(network, architecture.actions))
    assert rollout.dones[-1].all()
    np.testing.assert_allclose(rollout.rewards[-1], -1 + 0.9 * -50)
    assert (rollout.rewards[:-1] == -1).all()
    assert runner.returns == [-200, -200]


@pytest.mark.parametrize("env", ["cart_pole", "lunar_lander", SQUARES])
def test_an_interval_that_ends_changes_no_episode(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing learned, no chance in actions and one seed for each environment, nothing tells intervals apart."""
    monkeypatch.setattr(module, "episode_seed", lambda seed, place, count: place)
    monkeypatch.setattr(Discrete, "noise", lambda self, rng, *shape: torch.zeros(*shape, self.heads))
    still, length = {"learning_rate": 0.0}, 4 * 75
    one = learner(env, length, n_steps=25)
    first = train(one, None, still, length, seed=1)
    second = train(one, first, still, length, seed=2)
    third = train(learner(env, length, n_steps=25), second, still, length, seed=3)
    whole = train(one, None, still, 3 * length, seed=1)
    assert first.returns + second.returns + third.returns == whole.returns
    assert whole.returns
    for name in whole.state:
        if not name.startswith("adam/"):
            assert np.array_equal(third.state[name], whole.state[name]), name


# ---- evaluation


@pytest.mark.parametrize("sampled", [False, True])
def test_evaluations_do_not_depend_on_how_many_episodes_are_stepped_together(
    sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = learner(sampled_evaluation=sampled)
    training = train(one, steps=300, evaluation_seed=5, episodes=12)
    for together in (12, 5, 1):
        monkeypatch.setattr(evaluation, "EVALUATED_TOGETHER", together)
        assert one.evaluate(training.state, {}, 5, 12) == pytest.approx(training.eval_return)
    singles = [one.evaluate(training.state, {}, 5 + i, 1) for i in range(12)]
    assert np.mean(singles) == pytest.approx(training.eval_return)
    assert len(set(singles)) > 2


def test_sampled_evaluation_draws_as_training_does() -> None:
    training = train(learner("squares:SQUARES"), steps=LENGTH)
    likeliest, sampled = (
        learner("squares:SQUARES", sampled_evaluation=sampled).evaluate(training.state, {}, 7, 20)
        for sampled in (False, True)
    )
    # Hardly trained, the policy is close to a coin; its likeliest action is not.
    assert likeliest != sampled
    assert STEPS / 2 - 1 < sampled < STEPS / 2 + 1


@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker", SQUARES])
def test_the_policy_plays_as_the_evaluation(env: str) -> None:
    one = learner(env)
    state = train(one, steps=LENGTH).state
    policy, returns = one.policy(state, {}), []
    for seed in (11, 12):
        single, total, over = make_env(env), 0.0, False
        observation, _ = single.reset(seed=seed)
        while not over:
            action = policy.act(observation)
            assert isinstance(action, np.ndarray if env == "bipedal_walker" else int)
            observation, reward, terminated, truncated, _ = single.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    assert one.evaluate(state, {}, 11, 2) == pytest.approx(np.mean(returns), rel=1e-3)
