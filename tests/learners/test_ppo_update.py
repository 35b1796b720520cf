"""The fused update against Stable-Baselines3's PPO and PyTorch's Adam, on the same batch and weights."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from metapbt.jax_backend import jax
from metapbt.learners.ppo.network import ACTIVATIONS, Actor, Network
from metapbt.learners.ppo.update import (
    Coefficients,
    Learned,
    Rollout,
    Samples,
    adam_step,
    advantages_and_returns,
    loss,
    update,
)

INPUTS, SIZE = 5, 48
TORCH_ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "elu": torch.nn.ELU,
    "silu": torch.nn.SiLU,
}
DEFAULTS = {
    "learning_rate": 3e-4,
    "clip_range": 0.2,
    "clip_range_vf": np.inf,
    "gae_lambda": 0.95,
    "gamma": 0.99,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": np.inf,
}


def coefficients(**changes):
    return Coefficients(**{name: np.float32(value) for name, value in {**DEFAULTS, **changes}.items()})


class Spaces(gym.Env):
    """An environment of which only the spaces matter."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (INPUTS,))

    def __init__(self, continuous):
        self.action_space = gym.spaces.Box(-1, 1, (2,)) if continuous else gym.spaces.Discrete(3)


def sb3(continuous, widths=(16, 8), activation="tanh", **arguments):
    """Stable-Baselines3's PPO with weights whose policy is far from uniform."""
    torch.manual_seed(0)
    policy = {"net_arch": list(widths), "activation_fn": TORCH_ACTIVATIONS[activation]}
    model = PPO(
        "MlpPolicy", DummyVecEnv([lambda: Spaces(continuous)]), device="cpu", policy_kwargs=policy, seed=0, **arguments
    )
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def modules(model):
    """Our names of layers, and Stable-Baselines3's modules."""
    policy = model.policy
    for head, hidden, last in (
        ("policy", policy.mlp_extractor.policy_net, policy.action_net),
        ("value", policy.mlp_extractor.value_net, policy.value_net),
    ):
        layers = [*(module for module in hidden if isinstance(module, torch.nn.Linear)), last]
        yield from ((f"{head}/{i}", layer) for i, layer in enumerate(layers))


def arrays(model, read=lambda parameter: parameter):
    """The parameters of Stable-Baselines3's network, or what ``read`` gets from them, under our names."""
    named = {}
    for layer, module in modules(model):
        named[f"{layer}/kernel"] = read(module.weight).detach().numpy().T
        named[f"{layer}/bias"] = read(module.bias).detach().numpy()
    if hasattr(model.policy, "log_std"):
        named["log_std"] = read(model.policy.log_std).detach().numpy()
    return named


def random_samples(continuous, rng, size=SIZE):
    actions = rng.standard_normal((size, 2)).astype(np.float32) if continuous else rng.integers(3, size=size)
    numbers = {name: rng.standard_normal(size).astype(np.float32) for name in ("values", "advantages", "returns")}
    observations = rng.standard_normal((size, INPUTS)).astype(np.float32)
    log_probs = (-2 + 0.5 * rng.standard_normal(size)).astype(np.float32)
    return Samples(observations=observations, actions=actions, log_probs=log_probs, **numbers)


def sb3_loss(model, samples, given, normalise):
    """The body of ``PPO.train`` for one minibatch."""
    batch = Samples(*(torch.as_tensor(np.array(array)) for array in samples[:6]))
    values, log_prob, entropy = model.policy.evaluate_actions(batch.observations, batch.actions)
    values, advantages = values.flatten(), batch.advantages
    if normalise:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    ratio = torch.exp(log_prob - batch.log_probs)
    clipped = torch.clamp(ratio, 1 - given["clip_range"], 1 + given["clip_range"])
    policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
    if np.isfinite(given["clip_range_vf"]):
        limit = given["clip_range_vf"]
        values = batch.values + torch.clamp(values - batch.values, -limit, limit)
    value_loss = F.mse_loss(batch.returns, values)
    entropy_loss = -torch.mean(entropy)
    total = policy_loss + given["ent_coef"] * entropy_loss + given["vf_coef"] * value_loss
    log_ratio = log_prob - batch.log_probs
    return total, (policy_loss, value_loss, -entropy_loss, torch.mean((torch.exp(log_ratio) - 1) - log_ratio))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("clip_range_vf", [np.inf, 0.2])
@pytest.mark.parametrize("continuous", [False, True])
def test_losses_and_gradients_equal_stable_baselines3(continuous, clip_range_vf, normalise):
    model, network = sb3(continuous), Network(INPUTS, 2 if continuous else 3, continuous, (16, 8), (16, 8))
    given = {**DEFAULTS, "clip_range_vf": clip_range_vf, "ent_coef": 0.1, "vf_coef": 0.7}
    samples = random_samples(continuous, np.random.default_rng(1))
    (total, losses), gradients = jax.value_and_grad(loss, has_aux=True)(
        arrays(model), network, samples, coefficients(**given), normalise
    )
    expected_total, expected = sb3_loss(model, samples, given, normalise)
    expected_total.backward()
    assert float(total) == pytest.approx(expected_total.item(), rel=1e-5, abs=1e-5)
    assert [float(x) for x in losses] == pytest.approx([x.item() for x in expected], rel=1e-5, abs=1e-5)
    expected_gradients = arrays(model, lambda parameter: parameter.grad)
    assert gradients.keys() == expected_gradients.keys()
    for name, array in expected_gradients.items():
        assert np.abs(array).max() > 1e-3, name
        np.testing.assert_allclose(gradients[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def random_rollout(continuous, rng, steps=24, envs=2):
    actions = rng.standard_normal((steps, envs, 2)).astype(np.float32)
    return Rollout(
        observations=rng.standard_normal((steps, envs, INPUTS)).astype(np.float32),
        actions=actions if continuous else rng.integers(3, size=(steps, envs)).astype(np.int32),
        rewards=rng.standard_normal((steps, envs)).astype(np.float32),
        dones=rng.random((steps, envs)) < 0.15,
        last_observations=rng.standard_normal((envs, INPUTS)).astype(np.float32),
    )


def filled(model, rollout, gamma=0.99, gae_lambda=0.95):
    """A buffer of Stable-Baselines3 with the rollout."""
    steps, envs = rollout.rewards.shape
    spaces = model.observation_space, model.action_space
    buffer = RolloutBuffer(steps, *spaces, device="cpu", gamma=gamma, gae_lambda=gae_lambda, n_envs=envs)
    starts = np.ones(envs)
    for observation, action, reward, done in zip(*rollout[:4], strict=True):
        tensors = torch.as_tensor(observation), torch.as_tensor(action)
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(*tensors)
        buffer.add(observation, action.reshape(envs, -1), reward, starts, values, log_probs)
        starts = done
    with torch.no_grad():
        last_values = model.policy.predict_values(torch.as_tensor(rollout.last_observations))
    buffer.compute_returns_and_advantage(last_values, rollout.dones[-1])
    return buffer, last_values.flatten().numpy()


def test_advantages_equal_stable_baselines3():
    rollout, model = random_rollout(False, np.random.default_rng(0)), sb3(False)
    buffer, last_values = filled(model, rollout, gamma=0.9, gae_lambda=0.8)
    advantages, returns = advantages_and_returns(
        rollout.rewards, rollout.dones, buffer.values, last_values, np.float32(0.9), np.float32(0.8)
    )
    np.testing.assert_allclose(advantages, buffer.advantages, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(returns, buffer.returns, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_grad_norm", [0.1, 100.0])
def test_adam_with_clipping_equals_pytorch(max_grad_norm):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(50).astype(np.float32), rng.standard_normal((5, 50)).astype(np.float32)
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimiser = torch.optim.Adam([parameter], lr=1e-2, eps=1e-5)
    zeros = np.zeros_like(start)
    learned = Learned(start, zeros, zeros, np.int32(0))
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([parameter], max_grad_norm)
        optimiser.step()
        learned = adam_step(learned, gradient, np.float32(1e-2), np.float32(max_grad_norm))
    np.testing.assert_allclose(learned.parameters, parameter.detach(), rtol=1e-5, atol=1e-6)
    assert learned.steps == 5


def whole_update(network, vector, rollout, n_epochs=1, batch_size=48, rows=32, normalise_advantages=True, **changes):
    zeros = np.zeros_like(vector)
    size, rng = rollout.rewards.size, np.random.default_rng(0)
    orders = np.array([rng.permutation(size) for _ in range(rows)], np.int32)
    return update(
        Learned(vector, zeros, zeros, np.int32(0)),
        rollout,
        orders,
        np.int32(n_epochs),
        coefficients(**changes),
        network=network,
        batch_size=batch_size,
        normalise_advantages=normalise_advantages,
    )


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_whole_update_equals_that_of_stable_baselines3(continuous, activation):
    """Four epochs with all samples in one minibatch, so that the order in which they are drawn does not matter."""
    given = {"ent_coef": 0.01, "clip_range_vf": 0.3, "learning_rate": 1e-3}
    model = sb3(continuous, activation=activation, n_epochs=4, n_steps=48, batch_size=48, **given)
    network = Network(INPUTS, 2 if continuous else 3, continuous, (16, 8), (16, 8), activation, activation)
    rollout, vector = random_rollout(continuous, np.random.default_rng(2)), network.join(np, arrays(model))
    model.rollout_buffer, _ = filled(model, rollout)
    model.set_logger(configure(None, []))
    model.train()
    learned, epochs = whole_update(network, vector, rollout, n_epochs=4, **given)
    assert (epochs, learned.steps) == (4, 4)
    expected = network.join(np, arrays(model))
    assert np.abs(expected - vector).max() > 2e-3
    np.testing.assert_allclose(learned.parameters, expected, rtol=1e-5, atol=1e-5)


def test_minibatches_are_slices_of_the_order_and_the_last_is_smaller():
    network, rng = Network(INPUTS, 3, False, (8,), (8,)), np.random.default_rng(3)
    rollout, vector = random_rollout(False, rng), network.initial(rng)
    for batch_size, steps in ((16, 3), (20, 3)):
        learned, _ = whole_update(network, vector, rollout, n_epochs=2, batch_size=batch_size)
        assert learned.steps == 2 * steps
        assert np.isfinite(learned.parameters).all()
    # The rest is learned from: its samples alone make a difference.
    changed = rollout._replace(observations=np.array(rollout.observations))
    last = np.random.default_rng(0).permutation(48)[-1]
    changed.observations.reshape(48, INPUTS)[last] += 1
    alone = {"batch_size": 47, "gae_lambda": 0.0, "gamma": 0.0, "normalise_advantages": False}
    one, other = (whole_update(network, vector, r, **alone)[0] for r in (rollout, changed))
    assert not np.array_equal(one.parameters, other.parameters)


def test_target_kl_ends_the_update_before_a_step_too_far():
    network, rng = Network(INPUTS, 3, False, (8,), (8,)), np.random.default_rng(4)
    rollout, vector = random_rollout(False, rng), network.initial(rng)
    given = {"n_epochs": 20, "batch_size": 16, "learning_rate": 1e-2}
    free, epochs = whole_update(network, vector, rollout, **given)
    assert (epochs, free.steps) == (20, 60)
    limited, epochs = whole_update(network, vector, rollout, target_kl=0.01, **given)
    assert 1 <= epochs < 20
    assert 3 * (epochs - 1) < limited.steps + 1 <= 3 * epochs
    # Nothing was learned from the minibatch that showed it, so it would show it again.
    again = whole_update(network, vector, rollout, target_kl=0.01, **{**given, "n_epochs": 1000})
    assert again[0].steps == limited.steps
    np.testing.assert_array_equal(again[0].parameters, limited.parameters)


def test_other_coefficients_and_epochs_compile_nothing():
    network, rng = Network(INPUTS, 3, False, (8,), (8,)), np.random.default_rng(5)
    rollout, vector = random_rollout(False, rng), network.initial(rng)
    update.clear_cache()  # of what other tests compiled
    first, _ = whole_update(network, vector, rollout)
    compiled = update._cache_size()
    for name, value in DEFAULTS.items():
        whole_update(network, vector, rollout, **{name: value * 0.5 if np.isfinite(value) else 0.1})
    assert whole_update(network, vector, rollout, n_epochs=30)[1] == 30
    assert update._cache_size() == compiled
    whole_update(network, vector, rollout, batch_size=24)
    assert update._cache_size() == compiled + 1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("continuous", [False, True])
def test_the_actor_is_the_network_that_learns(continuous, shared):
    network = Network(INPUTS, 3, continuous, (16,), (16,), "elu", "elu", shared)
    rng = np.random.default_rng(0)
    vector = network.initial(rng) + 0.1 * rng.standard_normal(network.size).astype(np.float32)
    actor, observations = Actor(network, vector), rng.standard_normal((1000, INPUTS)).astype(np.float32)
    parameters = network.split(jax.numpy.asarray(vector))
    outputs = np.asarray(network.outputs_for(jax.numpy, parameters, observations))
    values = network.values_for(jax.numpy, parameters, observations)
    np.testing.assert_allclose(actor.values(observations), values, rtol=1e-4, atol=1e-5)
    best, noise = actor.act(observations), actor.noise(rng, 1000)
    if continuous:
        np.testing.assert_allclose(best, outputs, rtol=1e-4, atol=1e-5)
        z = (actor.act(observations, noise) - best) / np.exp(actor.parameters["log_std"])
        np.testing.assert_allclose(z, noise, atol=1e-5)
    else:
        assert (best == outputs.argmax(axis=1)).mean() > 0.995
        one = np.repeat(observations[:1], 20_000, axis=0)
        drawn = np.bincount(actor.act(one, actor.noise(rng, 20_000)), minlength=3) / 20_000
        expected = np.exp(outputs[0]) / np.exp(outputs[0]).sum()
        np.testing.assert_allclose(drawn, expected, atol=0.015)


def test_networks_start_as_those_of_stable_baselines3():
    network, rng = Network(INPUTS, 3, True, (32, 32), (32, 32)), np.random.default_rng(0)
    initial = network.split(network.initial(rng))
    torch.manual_seed(1)
    reference = PPO(
        "MlpPolicy", DummyVecEnv([lambda: Spaces(True)]), device="cpu", policy_kwargs={"net_arch": [32, 32]}
    )
    for name, array in arrays(reference).items():
        if name.startswith("policy/2"):
            continue  # another number of outputs
        singular = np.linalg.svd(np.atleast_2d(initial[name]), compute_uv=False)
        np.testing.assert_allclose(singular, np.linalg.svd(np.atleast_2d(array), compute_uv=False), atol=1e-5)
    np.testing.assert_allclose(np.linalg.svd(initial["policy/2/kernel"], compute_uv=False), 0.01, rtol=1e-5)


def test_a_shared_trunk_gets_gradients_from_both_heads():
    network, rng = Network(INPUTS, 3, False, (8, 8), (8, 8), shared=True), np.random.default_rng(0)
    assert list(network.shapes)[:2] == ["trunk/0/kernel", "trunk/0/bias"]
    assert network.shapes["value/0/kernel"] == (8, 1)
    samples, parameters = random_samples(False, rng), network.split(network.initial(rng))

    def trunk(vf_coef):
        given = coefficients(vf_coef=vf_coef)
        return jax.grad(loss, has_aux=True)(parameters, network, samples, given, True)[0]["trunk/0/kernel"]

    without, once, twice = (trunk(vf_coef) for vf_coef in (0.0, 1.0, 2.0))
    assert np.abs(without).max() > 0
    assert np.abs(once - without).max() > 1e-3
    np.testing.assert_allclose(twice - once, once - without, atol=1e-5)
