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

from metapbt.jax_backend import jax, jnp
from metapbt.learners.ppo.distillation import Lesson, kl_divergence
from metapbt.learners.ppo.network import Network

Array = jax.Array | np.ndarray[Any, Any]

#: Adam's constants in PPO (detail 3).
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5
_LARGEST_LOG_RATIO = 80.0  # a ratio of 10^34; float32 ends at 10^38


class Rollout(NamedTuple):
    """What ``time`` steps of ``envs`` environments brought."""

    observations: Array  # (time, envs, inputs)
    actions: Array  # (time, envs) integers, or (time, envs, outputs) as drawn, not clipped
    rewards: Array  # (time, envs): at a time limit with the discounted value of the final observation
    dones: Array  # (time, envs): whether the episode ended in the step
    last_observations: Array  # (envs, inputs): those after the last step
    outputs: Array | None = None  # (time, envs, outputs): the policy's, where whoever acted kept them


class Samples(NamedTuple):
    """A rollout, or a minibatch of it, without order."""

    observations: Array  # (batch, inputs)
    actions: Array  # (batch,) or (batch, outputs)
    log_probs: Array  # (batch,): when the actions were drawn
    values: Array  # (batch,): at the same time
    advantages: Array  # (batch,)
    returns: Array  # (batch,)
    teacher_outputs: Any = None  # (batch, outputs), where there is a teacher: as in ``Lesson``
    teacher_values: Any = None  # (batch,): the same


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


class Sizes(NamedTuple):
    """How much of padded arrays counts; whole numbers that may differ from call to call."""

    n_steps: Any  # of a rollout
    batch_size: Any


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
    rewards: Array,
    dones: Array,
    values: Array,
    last_values: Array,
    gamma: Any,
    gae_lambda: Any,
    n_steps: Any = None,
) -> tuple[Array, Array]:
    """Generalised advantages, and the returns that the value function is fitted to; both (time, envs).

    Args:
        rewards: (time, envs).
        dones: (time, envs).
        values: (time, envs), of the observations that were acted on.
        last_values: (envs,), of the observations after the last step.
        gamma: the discount.
        gae_lambda: how much of later errors an advantage takes in.
        n_steps: how many of the steps were taken, where the others are padding; None for all.
    """
    going_on = 1 - jnp.asarray(dones, rewards.dtype)
    next_values = jnp.concatenate([values[1:], last_values[None]])
    errors = rewards + gamma * going_on * next_values - values
    if n_steps is not None:
        step = jnp.arange(len(rewards))[:, None]
        last = rewards + gamma * going_on * last_values - values
        errors = jnp.where(step < n_steps, jnp.where(step == n_steps - 1, last, errors), 0)

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
    """Each action's log-probability and each distribution's entropy, both (batch,)."""
    if network.continuous:
        log_std = parameters["log_std"]
        z = (actions - outputs) * jnp.exp(-log_std)
        constant = log_std.sum() + 0.5 * math.log(2 * math.pi) * network.outputs
        log_probs = -0.5 * (z * z).sum(axis=1) - constant
        return log_probs, jnp.broadcast_to(constant + 0.5 * network.outputs, log_probs.shape)
    log_probs = jax.nn.log_softmax(outputs)
    taken = actions[:, None] == jnp.arange(network.outputs)
    return jnp.where(taken, log_probs, 0).sum(axis=1), -(jnp.exp(log_probs) * log_probs).sum(axis=1)


def loss(
    parameters: dict[str, Any],
    network: Network,
    samples: Samples,
    coefficients: Coefficients,
    normalise_advantages: bool,
    shares: Array | None = None,
    lesson: Lesson | None = None,
) -> tuple[Array, Losses]:
    """PPO's loss on one minibatch, with what a teacher says where there is one, and the parts of PPO's.

    Args:
        parameters: the network's arrays.
        network: the network.
        samples: the minibatch.
        coefficients: its weights and limits.
        normalise_advantages: by the minibatch's mean and deviation.
        shares: (batch,), what each sample counts in a mean: 1 / n, or 0 for padding, which the first is not; None where
            all count.
        lesson: of the teacher, whose outputs and values for these samples are among them.
    """
    size = len(samples.advantages)
    # A mean is a product of vectors: XLA compiles a reduction in two kernels, and a product in none.
    shares = jnp.full(size, 1 / size) if shares is None else shares
    outputs, values = policy_and_values(network, parameters, samples.observations)
    log_probs, entropies = log_probs_and_entropy(network, parameters, outputs, samples.actions)

    advantages = samples.advantages
    if normalise_advantages and size > 1:
        centred = advantages - shares @ advantages
        variance = shares @ (centred * centred) / (1 - shares[0])  # of n samples with n - 1 degrees of freedom
        # One sample has no deviation.
        advantages = jnp.where(shares[0] < 1, centred / (jnp.sqrt(variance) + 1e-8), advantages)
    # Bounded, for 0 times what overflows in padding would be no number.
    log_ratios = jnp.minimum(log_probs - samples.log_probs, _LARGEST_LOG_RATIO)
    ratios = jnp.exp(log_ratios)
    clipped = jnp.clip(ratios, 1 - coefficients.clip_range, 1 + coefficients.clip_range)
    policy_loss = -(shares @ jnp.minimum(advantages * ratios, advantages * clipped))

    change = jnp.clip(values - samples.values, -coefficients.clip_range_vf, coefficients.clip_range_vf)
    value_loss = shares @ (samples.returns - (samples.values + change)) ** 2

    entropy = shares @ entropies
    total = policy_loss - coefficients.ent_coef * entropy + coefficients.vf_coef * value_loss
    if lesson is not None:
        divergences = kl_divergence(network, parameters, outputs, samples.teacher_outputs, lesson.log_std)
        total += lesson.policy_weight * (shares @ divergences)
        total += lesson.value_weight * (shares @ (values - samples.teacher_values) ** 2)
    return total, Losses(policy_loss, value_loss, entropy, shares @ (ratios - 1 - log_ratios))


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
    sizes: Sizes | None = None,
    lesson: Lesson | None = None,
    *,
    network: Network,
    batch_size: int,
    normalise_advantages: bool,
) -> tuple[Learned, Array]:
    """Learn from a rollout, in one compiled call.

    Only the shapes of the arrays, ``network``, ``batch_size`` and ``normalise_advantages`` are compiled in.

    Args:
        learned: before the update.
        rollout: of ``time * envs`` samples.
        orders: (rows, time * envs), in each row how an epoch shuffles the samples.
        n_epochs: how many rows of ``orders`` are used.
        coefficients: the other hyperparameters.
        sizes: as for ``learn``.
        lesson: as for ``learn``.
        network: the network.
        batch_size: as for ``learn``.
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
        sizes,
        lesson,
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
    sizes: Sizes | None = None,
    lesson: Lesson | None = None,
    *,
    network: Network,
    batch_size: int,
    normalise_advantages: bool,
) -> tuple[Learned, Array]:
    """Learn from a rollout, as part of a compiled call.

    Args:
        learned: before the update.
        rollout: of ``time * envs`` samples.
        order: how an epoch, from 0, shuffles the samples: (time * envs,), of which the first ``size`` are a permutation
            of 0, ..., size - 1, and the others are not looked at.
        n_epochs: how many epochs.
        coefficients: the other hyperparameters.
        sizes: how many of the rollout's steps were taken, and how many samples a minibatch has, where these are fewer
            than there is place for: then ``size = sizes.n_steps * envs``. None where all places are taken.
        lesson: what a teacher says of the rollout; None without one.
        network: the network.
        batch_size: places of a minibatch; the last of an epoch has what is left over, if anything is.
        normalise_advantages: within each minibatch.

    Returns:
        What was learned, and the number of epochs begun: fewer than ``n_epochs`` where the policy came further than
        1.5 times ``target_kl`` from that of the rollout. The minibatch that shows this is not learned from.
    """
    time, envs = rollout.rewards.shape
    n_steps, taken = (time, batch_size) if sizes is None else sizes
    samples = _samples(network, learned.parameters, rollout, coefficients, None if sizes is None else n_steps)
    if lesson is not None:
        outputs, values = lesson.outputs.reshape(-1, network.outputs), lesson.values.reshape(-1)
        samples = samples._replace(teacher_outputs=outputs, teacher_values=values)
    size = n_steps * envs
    full = sizes is None and size % batch_size == 0  # whether every minibatch has all its samples

    def step_on(learned: Learned, stopped: Array, minibatch: Samples, shares: Array | None) -> tuple[Learned, Array]:
        # Of the named arrays: through ``split``, each would have a vector of its own, and all of them a sum.
        parameters = network.split(learned.parameters)
        gradients, losses = jax.grad(loss, has_aux=True)(
            parameters, network, minibatch, coefficients, normalise_advantages, shares, lesson
        )
        stopped = stopped | (losses.kl > 1.5 * coefficients.target_kl)
        gradient = network.join(jnp, gradients)
        after = adam_step(learned, gradient, coefficients.learning_rate, coefficients.max_grad_norm)
        return jax.tree.map(partial(jnp.where, stopped), learned, after), stopped

    def epoch(carry: tuple[Array, Learned, Array]) -> tuple[Array, Learned, Array]:
        index, learned, stopped = carry
        # Shuffled as a whole, so that a minibatch is a slice. The last one reaches beyond the samples.
        rows = order(index)
        if not full:
            rows = jnp.concatenate([rows, jnp.zeros(batch_size, rows.dtype)])
        shuffled = jax.tree.map(lambda x: x[rows], samples)

        def step(carry: tuple[Array, Learned, Array]) -> tuple[Array, Learned, Array]:
            k, learned, stopped = carry
            minibatch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, k, batch_size), shuffled)
            shares = None if full else _shares(batch_size, jnp.minimum(taken, size - k))
            return k + taken, *step_on(learned, stopped, minibatch, shares)

        start = (jnp.int32(0), learned, stopped)
        _, learned, stopped = jax.lax.while_loop(lambda carry: (carry[0] < size) & ~carry[2], step, start)
        return index + 1, learned, stopped

    start = (jnp.int32(0), learned, jnp.bool_(False))
    epochs, learned, _ = jax.lax.while_loop(lambda carry: (carry[0] < n_epochs) & ~carry[2], epoch, start)
    return learned, epochs


def _shares(places: int, number: Array) -> Array:
    return jnp.where(jnp.arange(places) < number, 1 / number, 0)


def _samples(network: Network, vector: Array, rollout: Rollout, coefficients: Coefficients, n_steps: Any) -> Samples:
    """Values, log-probabilities and advantages of a whole rollout at once: the steps themselves need only actions."""
    parameters = network.split(vector)
    observations = rollout.observations.reshape(-1, network.inputs)
    actions = rollout.actions.reshape(len(observations), *rollout.actions.shape[2:])
    if rollout.outputs is None:
        outputs = network.outputs_for(jnp, parameters, observations)
    else:
        outputs = rollout.outputs.reshape(len(observations), network.outputs)
    # Those after the last step along with the others: alone, they would have kernels of their own to compile.
    every = jnp.concatenate([observations, rollout.last_observations])
    values, last_values = jnp.split(network.values_for(jnp, parameters, every), [len(observations)])
    log_probs, _ = log_probs_and_entropy(network, parameters, outputs, actions)
    advantages, returns = advantages_and_returns(
        rollout.rewards,
        rollout.dones,
        values.reshape(rollout.rewards.shape),
        last_values,
        coefficients.gamma,
        coefficients.gae_lambda,
        n_steps,
    )
    return Samples(observations, actions, log_probs, values, advantages.ravel(), returns.ravel())
