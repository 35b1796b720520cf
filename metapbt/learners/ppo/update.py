"""PPO's update: advantages, all epochs and all minibatches, in one compiled call.

Sources: Schulman et al. 2017, "Proximal policy optimization algorithms"; Schulman et al. 2016, "High-dimensional
continuous control using generalized advantage estimation"; Huang et al. 2022, "The 37 implementation details of PPO".
Every formula is that of Stable-Baselines3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from metapbt.learners.ppo.backend import jax, jnp
from metapbt.learners.ppo.network import Network

Array = jax.Array | np.ndarray[Any, Any]

#: Adam's constants in PPO (detail 3).
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5


class Rollout(NamedTuple):
    """What ``time`` steps of ``envs`` environments brought."""

    observations: Array  # (time, envs, inputs)
    actions: Array  # (time, envs) integers, or (time, envs, outputs) as drawn, not clipped
    rewards: Array  # (time, envs): at a time limit with the discounted value of the final observation
    dones: Array  # (time, envs): whether the episode ended in the step
    last_observations: Array  # (envs, inputs): those after the last step


class Samples(NamedTuple):
    """A rollout, or a minibatch of it, without order."""

    observations: Array  # (batch, inputs)
    actions: Array  # (batch,) or (batch, outputs)
    log_probs: Array  # (batch,): when the actions were drawn
    values: Array  # (batch,): at the same time
    advantages: Array  # (batch,)
    returns: Array  # (batch,)


class Coefficients(NamedTuple):
    """Numbers that may differ from call to call; with infinity for no limit."""

    learning_rate: Any
    clip_range: Any
    clip_range_vf: Any
    gae_lambda: Any
    gamma: Any
    ent_coef: Any
    vf_coef: Any
    max_grad_norm: Any
    target_kl: Any


class Learned(NamedTuple):
    """The network's parameters with Adam's moments, each a vector, and the number of steps."""

    parameters: Array
    mean: Array
    variance: Array
    steps: Array


class Losses(NamedTuple):
    """The parts of the loss of a minibatch, and how far the policy has moved."""

    policy: Array
    value: Array
    entropy: Array  # the mean entropy itself, which the loss subtracts
    kl: Array  # the estimate k3 of the KL divergence (http://joschu.net/blog/kl-approx.html)


def advantages_and_returns(
    rewards: Array, dones: Array, values: Array, last_values: Array, gamma: Any, gae_lambda: Any
) -> tuple[Array, Array]:
    """Generalised advantages, and the returns that the value function is fitted to; both (time, envs).

    Args:
        rewards: (time, envs).
        dones: (time, envs).
        values: (time, envs), of the observations that were acted on.
        last_values: (envs,), of the observations after the last step.
        gamma: the discount.
        gae_lambda: how much of later errors an advantage takes in.
    """
    going_on = 1 - jnp.asarray(dones, rewards.dtype)
    next_values = jnp.concatenate([values[1:], last_values[None]])
    errors = rewards + gamma * going_on * next_values - values

    def backwards(advantage: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, weight = step
        advantage = error + weight * advantage
        return advantage, advantage

    inputs = (errors, gamma * gae_lambda * going_on)
    _, advantages = jax.lax.scan(backwards, jnp.zeros_like(last_values), inputs, reverse=True)
    return advantages, advantages + values


def policy_and_values(network: Network, parameters: dict[str, Any], observations: Array) -> tuple[Array, Array]:
    """The policy's outputs (batch, outputs) and the values (batch,) for observations (batch, inputs)."""
    values = network.values_for(jnp, parameters, observations)
    return network.outputs_for(jnp, parameters, observations), values


def log_probs_and_entropy(
    network: Network, parameters: dict[str, Any], outputs: Array, actions: Array
) -> tuple[Array, Array]:
    """Each action's log-probability (batch,) and the distributions' mean entropy."""
    if network.continuous:
        log_std = parameters["log_std"]
        z = (actions - outputs) * jnp.exp(-log_std)
        constant = log_std.sum() + 0.5 * math.log(2 * math.pi) * network.outputs
        return -0.5 * (z * z).sum(axis=1) - constant, constant + 0.5 * network.outputs
    log_probs = jax.nn.log_softmax(outputs)
    taken = actions[:, None] == jnp.arange(network.outputs)
    return jnp.where(taken, log_probs, 0).sum(axis=1), -(jnp.exp(log_probs) * log_probs).sum(axis=1).mean()


def loss(
    parameters: dict[str, Any],
    network: Network,
    samples: Samples,
    coefficients: Coefficients,
    normalise_advantages: bool,
) -> tuple[Array, Losses]:
    """PPO's loss on one minibatch, and its parts."""
    outputs, values = policy_and_values(network, parameters, samples.observations)
    log_probs, entropy = log_probs_and_entropy(network, parameters, outputs, samples.actions)

    advantages = samples.advantages
    if normalise_advantages and len(advantages) > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    log_ratios = log_probs - samples.log_probs
    ratios = jnp.exp(log_ratios)
    clipped = jnp.clip(ratios, 1 - coefficients.clip_range, 1 + coefficients.clip_range)
    policy_loss = -jnp.minimum(advantages * ratios, advantages * clipped).mean()

    change = jnp.clip(values - samples.values, -coefficients.clip_range_vf, coefficients.clip_range_vf)
    value_loss = ((samples.returns - (samples.values + change)) ** 2).mean()

    total = policy_loss - coefficients.ent_coef * entropy + coefficients.vf_coef * value_loss
    return total, Losses(policy_loss, value_loss, entropy, (ratios - 1 - log_ratios).mean())


def adam_step(learned: Learned, gradient: Array, learning_rate: Any, max_grad_norm: Any) -> Learned:
    """One step of Adam (Kingma & Ba 2015) after clipping the gradient's norm, as PyTorch does both."""
    norm = jnp.sqrt((gradient * gradient).sum())
    gradient = gradient * jnp.minimum(1, max_grad_norm / (norm + 1e-6))
    steps = learned.steps + 1
    mean = BETA_1 * learned.mean + (1 - BETA_1) * gradient
    variance = BETA_2 * learned.variance + (1 - BETA_2) * gradient * gradient
    step = learning_rate / (1 - BETA_1**steps)
    scale = jnp.sqrt(1 - BETA_2**steps)
    return Learned(learned.parameters - step * mean / (jnp.sqrt(variance) / scale + EPSILON), mean, variance, steps)


@partial(jax.jit, static_argnames=("network", "batch_size", "normalise_advantages"))
def update(
    learned: Learned,
    rollout: Rollout,
    orders: Array,
    n_epochs: Any,
    coefficients: Coefficients,
    *,
    network: Network,
    batch_size: int,
    normalise_advantages: bool,
) -> tuple[Learned, Array]:
    """Learn from a rollout, in one compiled call.

    Only the shapes of the arrays, ``network``, ``batch_size`` and ``normalise_advantages`` are compiled in.

    Args:
        learned: before the update.
        rollout: of ``size = time * envs`` samples.
        orders: (rows, size), in each row a permutation of 0, ..., size - 1: how an epoch shuffles the samples.
        n_epochs: how many rows of ``orders`` are used.
        coefficients: the other hyperparameters.
        network: the network.
        batch_size: samples of a minibatch; the last of an epoch has what is left over, if anything is.
        normalise_advantages: within each minibatch.

    Returns:
        As of ``learn``.
    """
    return learn(
        learned,
        rollout,
        lambda epoch: orders[epoch],
        n_epochs,
        coefficients,
        network=network,
        batch_size=batch_size,
        normalise_advantages=normalise_advantages,
    )


def learn(
    learned: Learned,
    rollout: Rollout,
    order: Callable[[Array], Array],
    n_epochs: Any,
    coefficients: Coefficients,
    *,
    network: Network,
    batch_size: int,
    normalise_advantages: bool,
) -> tuple[Learned, Array]:
    """Learn from a rollout, as part of a compiled call.

    Args:
        learned: before the update.
        rollout: of ``size = time * envs`` samples.
        order: how an epoch, from 0, shuffles the samples: a permutation of 0, ..., size - 1.
        n_epochs: how many epochs.
        coefficients: the other hyperparameters.
        network: the network.
        batch_size: as for ``update``.
        normalise_advantages: within each minibatch.

    Returns:
        What was learned, and the number of epochs begun: fewer than ``n_epochs`` where the policy came further than
        1.5 times ``target_kl`` from that of the rollout. The minibatch that shows this is not learned from.
    """
    samples = _samples(network, learned.parameters, rollout, coefficients)
    size = len(samples.returns)
    full = size // batch_size

    def step_on(learned: Learned, stopped: Array, minibatch: Samples) -> tuple[Learned, Array]:
        # Of the named arrays: through ``split``, each would have a vector of its own, and all of them a sum.
        parameters = network.split(learned.parameters)
        gradients, losses = jax.grad(loss, has_aux=True)(
            parameters, network, minibatch, coefficients, normalise_advantages
        )
        stopped = stopped | (losses.kl > 1.5 * coefficients.target_kl)
        gradient = network.join(jnp, gradients)
        after = adam_step(learned, gradient, coefficients.learning_rate, coefficients.max_grad_norm)
        return jax.tree.map(partial(jnp.where, stopped), learned, after), stopped

    def epoch(carry: tuple[Array, Learned, Array]) -> tuple[Array, Learned, Array]:
        index, learned, stopped = carry
        # Shuffled as a whole, so that a minibatch is a slice.
        rows = order(index)
        shuffled = jax.tree.map(lambda x: x[rows], samples)

        def step(carry: tuple[Array, Learned, Array]) -> tuple[Array, Learned, Array]:
            k, learned, stopped = carry
            minibatch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, k * batch_size, batch_size), shuffled)
            return k + 1, *step_on(learned, stopped, minibatch)

        start = (jnp.int32(0), learned, stopped)
        _, learned, stopped = jax.lax.while_loop(lambda carry: (carry[0] < full) & ~carry[2], step, start)
        if size % batch_size:
            learned, stopped = step_on(learned, stopped, jax.tree.map(lambda x: x[full * batch_size :], shuffled))
        return index + 1, learned, stopped

    start = (jnp.int32(0), learned, jnp.bool_(False))
    epochs, learned, _ = jax.lax.while_loop(lambda carry: (carry[0] < n_epochs) & ~carry[2], epoch, start)
    return learned, epochs


def _samples(network: Network, vector: Array, rollout: Rollout, coefficients: Coefficients) -> Samples:
    """Values, log-probabilities and advantages of a whole rollout at once: the steps themselves need only actions."""
    parameters = network.split(vector)
    observations = rollout.observations.reshape(-1, network.inputs)
    actions = rollout.actions.reshape(len(observations), *rollout.actions.shape[2:])
    outputs, values = policy_and_values(network, parameters, observations)
    _, last_values = policy_and_values(network, parameters, rollout.last_observations)
    log_probs, _ = log_probs_and_entropy(network, parameters, outputs, actions)
    advantages, returns = advantages_and_returns(
        rollout.rewards,
        rollout.dones,
        values.reshape(rollout.rewards.shape),
        last_values,
        coefficients.gamma,
        coefficients.gae_lambda,
    )
    return Samples(observations, actions, log_probs, values, advantages.ravel(), returns.ravel())
