"""The DrAC learner: what it promises beyond the protocol that all learners keep."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from drac_learners import LENGTH, SQUARES, learner, same
from learner_intervals import made, train
from squares import STEPS, Squares
from torch.nn.utils import clip_grad_norm_

from metapbt.errors import MetapbtError
from metapbt.learners.drac import DrACLearner
from metapbt.learners.drac import update as updates
from metapbt.learners.drac.actions import Continuous, Discrete
from metapbt.learners.drac.augmentations import AUGMENTATIONS
from metapbt.learners.drac.learned import adam, restored, state_of
from metapbt.learners.drac.loss import Augmented, Coefficients, Samples, drac_loss
from metapbt.learners.drac.network import ActorCritic, Architecture
from metapbt.learners.drac.rollout import seen

PUBLISHED = list(AUGMENTATIONS)[:8]


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
    with pytest.raises(MetapbtError, match=r"fit learner\.network=nature: encoder\.body\.0\.weight has the shape"):
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


# ---- it learns


@pytest.mark.parametrize("aug_type", ["identity", "color-jitter", "squares:darker"])
def test_it_learns_to_see(aug_type: str) -> None:
    settings = {"network": "nature_small", "n_envs": 16, "n_steps": 16, "minibatches": 4}
    one = made(DrACLearner, SQUARES, settings, budget=10_000, length=10_000)
    training = train(one, None, {"aug_type": aug_type, "learning_rate": 1e-3, "gamma": 0.5}, 3000, episodes=20)
    assert Squares().action_space.n == 2
    assert np.mean(training.returns[:30]) < 0.7 * STEPS
    assert training.eval_return > 0.9 * STEPS
