"""The DrAC learner: what it promises beyond the protocol that all learners keep."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from learner_intervals import made, train
from squares import STEPS, Squares
from torch.nn.utils import clip_grad_norm_

import metapbt
from metapbt.envs import make_env
from metapbt.envs.batches import make_batch
from metapbt.errors import MetapbtError
from metapbt.learners.drac import DrACLearner
from metapbt.learners.drac import learner as module
from metapbt.learners.drac import update as updates
from metapbt.learners.drac.actions import Continuous, Discrete
from metapbt.learners.drac.augmentations import AUGMENTATIONS, augmentation_called
from metapbt.learners.drac.learned import adam, restored, state_of
from metapbt.learners.drac.loss import Augmented, Coefficients, Samples, drac_loss
from metapbt.learners.drac.network import ActorCritic, Architecture
from metapbt.learners.drac.rollout import Runner, Seer, seen
from metapbt.seeding import episode_seed
from metapbt.space import Space

SQUARES, GREY = "squares:SQUARES", "squares:GREY"
PUBLISHED = list(AUGMENTATIONS)[:8]
SMALL = {"n_envs": 4, "n_steps": 8, "minibatches": 2}
LENGTH = 32  # one rollout
#: Small enough to compare bits of all parameters.
VECTORS = {**SMALL, "hyperparameters": {"aug_type": "amplitude", "n_epochs": 2}}


def learner(env: str = "cart_pole", length: int = 1000, **settings: Any) -> Any:
    given = VECTORS if env not in (SQUARES, GREY) else {**SMALL, "network": "nature_small"}
    given = {
        **given,
        **settings,
        "hyperparameters": {**given.get("hyperparameters", {}), **settings.get("hyperparameters", {})},
    }
    return made(DrACLearner, env, given, budget=10_000, length=length)


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


def parameters(state: Any) -> dict[str, Any]:
    return {name: array for name, array in state.items() if name.startswith("network/")}


# ---- the same arguments, the same bits; what is tuned takes effect at once


@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker", SQUARES])
def test_an_interval_that_is_repeated_gives_the_same_bits(env: str) -> None:
    one = learner(env)
    first = train(one, None, {}, LENGTH, seed=1, evaluation_seed=2)
    second = train(one, first, {"learning_rate": 1e-3}, LENGTH, seed=3, evaluation_seed=2)
    train(one, None, {"clip_range": 0.1}, LENGTH, seed=9, evaluation_seed=4)  # leaves nothing behind
    torch.rand(3)
    first_again = train(learner(env), None, {}, LENGTH, seed=1, evaluation_seed=2)
    second_again = train(learner(env), first_again, {"learning_rate": 1e-3}, LENGTH, seed=3, evaluation_seed=2)
    assert same(first.state, first_again.state)
    assert same(second.state, second_again.state)
    assert (second.returns, second.eval_return) == (second_again.returns, second_again.eval_return)
    assert not same(parameters(first.state), parameters(second.state))
    assert not same(first.state, train(one, None, {}, LENGTH, seed=5, evaluation_seed=2).state)


def test_training_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(learner(SQUARES), None, {"aug_type": "random-conv"}, LENGTH)
    assert torch.equal(torch.rand(3), expected)


def test_a_tuned_learning_rate_takes_effect_in_the_very_next_update() -> None:
    one = learner(minibatches=1, hyperparameters={"n_epochs": 1})
    first = train(one, None, {"learning_rate": 1e-3}, LENGTH, seed=1)
    changes = {}
    for rate in (0.0, 1e-4, 2e-4):
        after = parameters(train(one, first, {"learning_rate": rate}, LENGTH, seed=2).state)
        changes[rate] = np.concatenate([(after[name] - first.state[name]).ravel() for name in after])
    assert not changes[0.0].any()
    assert np.abs(changes[1e-4]).max() > 1e-5
    # A step of Adam's is a multiple of its rate.
    np.testing.assert_allclose(changes[2e-4], 2 * changes[1e-4], atol=1e-7)


def test_every_hyperparameter_changes_the_very_next_update() -> None:
    one = learner(SQUARES)
    first = train(one, None, {}, LENGTH, seed=1)
    usual = train(one, first, {}, LENGTH, seed=2).state
    others = {"learning_rate": 1e-3, "n_epochs": 4, "gamma": 0.9, "gae_lambda": 0.5, "clip_range": 0.01}
    others |= {"ent_coef": 0.2, "vf_coef": 0.1, "max_grad_norm": 0.01, "aug_coef": 0.5, "aug_type": "flip"}
    assert others.keys() == one.fixed.keys()
    for name, value in others.items():
        assert not same(parameters(train(one, first, {name: value}, LENGTH, seed=2).state), parameters(usual)), name


@pytest.mark.parametrize("aug_type", [*PUBLISHED, "identity", "squares:darker"])
def test_any_augmentation_goes_on_from_what_any_other_has_learned(aug_type: str) -> None:
    one = learner(SQUARES)
    first = train(one, None, {"aug_type": "crop"}, LENGTH, seed=1)
    second = train(one, first, {"aug_type": aug_type}, LENGTH, seed=2)
    assert {name: array.shape for name, array in parameters(second.state).items()} == {
        name: array.shape for name, array in parameters(first.state).items()
    }
    for name in ("identity", "crop"):
        differs = not same(second.state, train(one, first, {"aug_type": name}, LENGTH, seed=2).state)
        assert differs == (name != aug_type)


def test_chance_in_acting_does_not_depend_on_how_the_update_goes() -> None:
    one = learner(SQUARES)
    still = {"learning_rate": 0.0}
    usual = train(one, None, still, 3 * LENGTH, seed=1)
    assert usual.returns
    for other in ({"n_epochs": 5}, {"aug_type": "random-conv"}, {"aug_coef": 0.0}, {"aug_type": "squares:darker"}):
        assert train(one, None, {**still, **other}, 3 * LENGTH, seed=1).returns == usual.returns
    assert train(learner(SQUARES, minibatches=4, kl="exact"), None, still, 3 * LENGTH, seed=1).returns == usual.returns
    assert train(one, None, still, 3 * LENGTH, seed=2).returns != usual.returns


def test_identity_and_a_weight_of_zero_are_plain_ppo() -> None:
    one = learner(SQUARES)
    states = [
        train(one, None, chosen, LENGTH, seed=1).state
        for chosen in ({"aug_type": "identity"}, {"aug_coef": 0.0}, {"aug_coef": 0.0, "aug_type": "flip"})
    ]
    assert same(states[0], states[1])
    assert same(states[0], states[2])


# ---- the update


class Case:
    """A network and a minibatch of random pictures."""

    def __init__(self, name: str = "impala", size: int = 10) -> None:
        rng = np.random.default_rng(0)
        self.actions = Discrete(5)
        self.architecture = Architecture(name, (3, 64, 64), self.actions)
        self.network = self.architecture.build(rng)
        with torch.no_grad():
            self.network.policy.weight.mul_(100)  # a policy with preferences
        self.observations = torch.from_numpy(rng.integers(256, size=(size, 64, 64, 3), dtype=np.uint8))
        with torch.no_grad():
            outputs, values = self.network(seen(self.observations))
        chosen = self.actions.draw(outputs, self.actions.noise(rng, size))
        log_probs = self.actions.distribution(outputs).log_prob(chosen)
        numbers = [torch.from_numpy(rng.standard_normal(size).astype(np.float32)) for _ in range(3)]
        self.samples = Samples(chosen, log_probs + 0.1 * numbers[0], values + 0.1 * numbers[1], *numbers[1:])

    def settings(self, augmentation: str | None = "crop", **others: Any) -> updates.Settings:
        given: dict[str, Any] = {"minibatches": 2, "n_epochs": 2, "max_grad_norm": 0.5, "exact": False}
        given |= {"coefficients": Coefficients(0.2, 0.01, 0.5, 0.1), "normalise": "minibatch", **others}
        return updates.Settings(self.actions, augmentation=augmentation and AUGMENTATIONS[augmentation], **given)

    def update(self, network: ActorCritic, optimiser: Any, settings: updates.Settings, seed: int = 0) -> None:
        rngs = (np.random.default_rng([seed, k]) for k in (1, 2))
        draws = updates.Draws(*rngs, torch.Generator().manual_seed(seed))
        updates.update(network, optimiser, self.observations, self.samples, settings, draws)


def close(one: ActorCritic, other: ActorCritic, tolerance: float) -> None:
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("augmentation", [None, "crop", "color-jitter"])
def test_a_minibatch_in_parts_is_one_whole(augmentation: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("nature_small")
    networks = []
    for part in (100, 2):
        monkeypatch.setattr(updates, "PART", part)
        networks.append(copy.deepcopy(case.network))
        # Plain steps down the gradient: Adam would make much of a gradient that is almost 0.
        case.update(networks[-1], torch.optim.SGD(networks[-1].parameters(), 0.1), case.settings(augmentation))
    close(networks[0], networks[1], 1e-6)
    with pytest.raises(AssertionError):
        close(networks[0], case.network, 1e-4)


@pytest.mark.parametrize("name", ["impala", "nature"])
def test_an_update_is_the_published_formula_with_plain_adam(name: str) -> None:
    case = Case(name)
    ours, plain = copy.deepcopy(case.network), copy.deepcopy(case.network)
    settings = case.settings("crop", minibatches=1, n_epochs=2)
    case.update(ours, adam(ours, 5e-4, None), settings)

    optimiser = torch.optim.Adam(plain.parameters(), lr=5e-4, eps=1e-5, foreach=False, fused=False)
    orders, drawing = np.random.default_rng([0, 1]), np.random.default_rng([0, 2])
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        rows = torch.from_numpy(orders.permutation(10))
        (offsets,) = AUGMENTATIONS["crop"].draw(10, generator)
        gumbel = torch.from_numpy(drawing.gumbel(size=(10, 5)).astype(np.float32))
        pictures = self_made_floats(case.observations[rows])
        padded = torch.nn.functional.pad(pictures, (12,) * 4, mode="replicate")
        cropped = torch.stack([padded[i, :, y : y + 64, x : x + 64] for i, (y, x) in enumerate(offsets.tolist())])
        logits, values = plain(pictures)
        with torch.no_grad():
            drawn = (plain(pictures)[0] + gumbel).argmax(dim=1)  # the third pass of the published code
        samples = Samples(*(each[rows] for each in case.samples))
        advantages = (samples.advantages - samples.advantages.mean()) / (samples.advantages.std() + 1e-5)
        samples = samples._replace(advantages=advantages)
        augmented = Augmented(*plain(cropped), drawn)
        optimiser.zero_grad()
        drac_loss(case.actions, logits, values, samples, settings.coefficients, augmented).total.backward()
        clip_grad_norm_(plain.parameters(), 0.5)
        optimiser.step()
    close(ours, plain, 2e-5)


def self_made_floats(frames: torch.Tensor) -> torch.Tensor:
    return (frames.permute(0, 3, 1, 2) / 255).contiguous()


@pytest.mark.parametrize("name", ["impala", "nature_small"])
def test_what_goes_on_from_a_state_is_what_was_not_interrupted(name: str) -> None:
    case, settings = Case(name), Case(name).settings()
    whole = copy.deepcopy(case.network)
    optimiser = adam(whole, 1e-3, None)
    case.update(whole, optimiser, settings, seed=1)
    state = state_of(whole, optimiser)
    case.update(whole, optimiser, settings, seed=2)

    again = restored(case.architecture, state)
    case.update(again, adam(again, 1e-3, state), settings, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_of_another_networks_state_the_array_that_does_not_fit_is_named() -> None:
    state = train(learner(SQUARES), steps=LENGTH).state
    with pytest.raises(
        MetapbtError, match=r"fit learner\.network=nature: encoder\.body\.0\.weight has the shape"
    ):
        train(learner(SQUARES, network="nature"), state, {}, LENGTH, start_steps=LENGTH)


@pytest.mark.parametrize("kl", ["sampled", "exact"])
@pytest.mark.parametrize("normalise", ["rollout", "minibatch", "none"])
def test_settings_of_the_loss_make_a_difference(kl: str, normalise: str) -> None:
    usual = train(learner(SQUARES), None, {}, LENGTH, seed=1).state
    changed = train(learner(SQUARES, kl=kl, normalise_advantages=normalise), None, {}, LENGTH, seed=1).state
    assert same(changed, usual) == ((kl, normalise) == ("sampled", "rollout"))


def test_continuous_actions_have_a_deviation_that_is_learned() -> None:
    state = train(learner("bipedal_walker"), None, {}, 3 * LENGTH).state
    assert state["network/log_std"].shape == (4,)
    assert state["network/log_std"].all()
    outputs = torch.tensor([[1.0, 2.0, 0.0, float(np.log(3.0))]])
    assert torch.allclose(Continuous(2).draw(outputs, torch.tensor([[1.0, 1.0]])), torch.tensor([[2.0, 5.0]]))


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
        monkeypatch.setattr(module, "EVALUATED_TOGETHER", together)
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


# ---- it learns


@pytest.mark.parametrize("aug_type", ["identity", "color-jitter", "squares:darker"])
def test_it_learns_to_see(aug_type: str) -> None:
    settings = {"network": "nature_small", "n_envs": 16, "n_steps": 16, "minibatches": 4}
    one = made(DrACLearner, SQUARES, settings, budget=10_000, length=10_000)
    training = train(one, None, {"aug_type": aug_type, "learning_rate": 1e-3, "gamma": 0.5}, 3000, episodes=20)
    assert Squares().action_space.n == 2
    assert np.mean(training.returns[:30]) < 0.7 * STEPS
    assert training.eval_return > 0.9 * STEPS


# ---- at the door


def space(**choices: Any) -> Space:
    chosen = choices or {"ent_coef": (0.01,)}
    return Space({name: {"type": "categorical", "choices": list(values)} for name, values in chosen.items()})


@pytest.mark.parametrize(
    ("env", "settings", "choices", "message"),
    [
        (SQUARES, {}, {"learning_rates": [0.1]}, "unknown hyperparameter of learner drac 'learning_rates'; did you mean 'learning_rate'"),
        (SQUARES, {}, {"n_epochs": [0]}, "space.n_epochs must be a whole number >= 1, got 0"),
        (SQUARES, {}, {"aug_type": ["crap"]}, "unknown aug_type 'crap'; did you mean 'crop'"),
        (SQUARES, {}, {"aug_type": ["squares:LIGHT"]}, "aug_type 'squares:LIGHT' must be a function"),
        (SQUARES, {}, {"aug_type": ["squares:dark"]}, "aug_type 'squares:dark' cannot be loaded"),
        (SQUARES, {}, {"aug_type": ["amplitude"]}, "space.aug_type=amplitude is for vectors, but observations are pictures"),
        ("cart_pole", {}, {"aug_type": ["identity", "crop"]}, r"space.aug_type=crop is for pictures, .* shape \(4,\): take identity, amplitude, or"),
        ("cart_pole", {"hyperparameters": {"aug_type": "flip"}}, {}, "learner.hyperparameters.aug_type=flip is for pictures"),
        (GREY, {}, {"aug_type": ["crop", "grayscale"]}, "space.aug_type=grayscale needs three channels, red, green and blue, but pictures have 1"),
        ("cart_pole", {"network": "impala"}, {}, r"learner.network=impala needs pictures, got observations of shape \(4,\)"),
        (SQUARES, {"minibatches": 33}, {}, "learner.minibatches must be at most a rollout, 32 samples, got 33"),
    ],
)  # fmt: skip
def test_a_space_that_cannot_be_trained_is_refused(env: str, settings: Any, choices: Any, message: str) -> None:
    with pytest.raises(MetapbtError, match=message):
        learner(env, **settings).check(space(**choices))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_env": 3}, "unknown setting of learner drac 'n_env'; did you mean 'n_envs'"),
        ({"n_steps": 0}, "learner.n_steps must be"),
        ({"network": "natur"}, "unknown learner.network 'natur'; did you mean 'nature'"),
        ({"residual": "own"}, "unknown learner.residual 'own'"),
        ({"kl": True}, "unknown learner.kl"),
        ({"normalise_advantages": "batch"}, "unknown learner.normalise_advantages 'batch'"),
        ({"normalise_rewards": 1}, "learner.normalise_rewards must be true or false, got 1"),
        ({"sampled_evaluation": None}, "learner.sampled_evaluation must be true or false, got None"),
        ({"hyperparameters": {"gamma": 2}}, r"learner.hyperparameters.gamma must be a number in \[0, 1\], got 2"),
        ({"hyperparameters": {"clip_param": 0.1}}, "unknown hyperparameter of learner drac 'clip_param'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(MetapbtError, match=message):
        learner(SQUARES, **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(MetapbtError, match="learner.device=cuda: torch sees no CUDA devices"):
        learner(device="cuda").check(space())
    assert learner(device="auto")._device.type == "cpu"


def test_what_an_augmentation_of_ones_own_does_wrong_is_said_in_one_line() -> None:
    one = learner(SQUARES)
    with pytest.raises(MetapbtError, match="aug_type 'squares:broken' failed: ValueError: no light"):
        train(one, None, {"aug_type": "squares:broken"}, LENGTH)
    with pytest.raises(
        MetapbtError, match=r"'squares:smaller' must return a tensor \(.*3, 36, 36\), got \(.*3, 35, 36\)"
    ):
        train(one, None, {"aug_type": "squares:smaller"}, LENGTH)
    assert augmentation_called("squares:darker").sees == "anything"


# ---- whole runs


RUN = [
    "learner=drac", "method=pb2_mix", "population.size=3", "budget.steps=96", "budget.interval=32", "learner.n_envs=4",
    "learner.n_steps=8", "learner.minibatches=2", "evaluation.episodes=2", "evaluation.test_episodes=2",
]  # fmt: skip
PICTURES = [f"env={SQUARES}", "learner.network=nature_small", "space=drac_small"]


def records(folder: str) -> pd.DataFrame:
    return metapbt.load(folder).records.drop(columns=["wall_seconds"])


@pytest.fixture
def _elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_elsewhere")
def test_a_run_is_the_same_with_every_executor_and_after_being_killed(writes: Any) -> None:
    def run(folder: str, *others: str) -> pd.DataFrame:
        found = metapbt.run([*RUN, *PICTURES, f"results_dir={folder}", *others])
        return found.records.drop(columns=["wall_seconds"])

    whole = run("whole", "executor=inline")
    assert len(whole) == 9
    assert whole["hp.aug_type"].nunique() > 1
    pd.testing.assert_frame_equal(run("processes", "executor.workers=2"), whole, check_exact=True)
    total = writes.during(lambda: run("counted", "executor=inline"))
    for limit in (total // 3, 2 * total // 3):
        writes.kill_before(limit, lambda: run("stopped", "executor=inline"))
    pd.testing.assert_frame_equal(run("stopped", "executor=inline"), whole, check_exact=True)


@pytest.mark.usefixtures("_elsewhere")
def test_vectors_have_a_space_of_their_own() -> None:
    run = metapbt.run([*RUN, "env=cart_pole", "space=drac_vectors", "executor=inline"])
    assert set(run.records["hp.aug_type"]) <= {"identity", "amplitude"}
    with pytest.raises(MetapbtError, match="space.aug_type=crop is for pictures"):
        metapbt.run([*RUN, "env=cart_pole", "executor=inline", "results_dir=other"])


@pytest.mark.usefixtures("_elsewhere")
def test_procgen_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("envpool", reason="Procgen needs EnvPool")
    try:
        make_batch("procgen", {}, 1).close()
    except MetapbtError as error:
        pytest.skip(str(error))
    game = ["env=procgen", "context.game=starpilot", "learner.network=nature_small", "evaluation.sampled=true"]
    inline, processes = (
        metapbt.run([*RUN, *game, "budget.steps=64", f"executor={name}", f"results_dir={name}"]).records
        for name in ("inline", "processes")
    )
    columns = [name for name in inline.columns if name != "wall_seconds"]
    pd.testing.assert_frame_equal(inline[columns], processes[columns], check_exact=True)
    assert inline["eval_return"].notna().all()
