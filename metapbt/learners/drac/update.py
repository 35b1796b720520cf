"""DrAC's update: all epochs and all minibatches of a rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from metapbt.learners.drac.actions import Actions
from metapbt.learners.drac.advantages import advantages_and_returns, normalised
from metapbt.learners.drac.augmentations import Augmentation
from metapbt.learners.drac.loss import Augmented, Coefficients, Samples, drac_loss
from metapbt.learners.drac.network import ActorCritic
from metapbt.learners.drac.rollout import Rollout, seen

#: Observations that a CPU's network sees at once: more would leave its caches, and take memory. Gradients add up.
PART = 128
#: A GPU's.
PART_ON_GPU = 2048


class Draws(NamedTuple):
    """Where an update's random draws come from, each of which derives from the interval's seed."""

    minibatches: np.random.Generator
    actions: np.random.Generator  # a~ of the loss
    augmentations: torch.Generator


@dataclass(frozen=True)
class Settings:
    """How an update goes.

    Attributes:
        actions: what the network's outputs are.
        minibatches: of an epoch; samples that are left over are dropped.
        n_epochs: how often every sample is seen.
        coefficients: of the loss.
        max_grad_norm: what the gradient's norm is clipped to.
        augmentation: of observations; None for PPO's loss alone.
        exact: whether the loss has the exact KL divergence instead of one sample.
        normalise: advantages over the ``rollout`` or over each ``minibatch``, or ``none``.
    """

    actions: Actions
    minibatches: int
    n_epochs: int
    coefficients: Coefficients
    max_grad_norm: float
    augmentation: Augmentation | None
    exact: bool
    normalise: str


def samples_of(rollout: Rollout, gamma: float, gae_lambda: float, normalise: bool, device: torch.device) -> Samples:
    """The steps of a rollout, (time * envs,), with advantages and returns; ``normalise`` over all of them."""
    advantages, returns = advantages_and_returns(
        rollout.rewards, rollout.dones, rollout.values, rollout.last_values, gamma, gae_lambda
    )
    arrays = (rollout.actions, rollout.log_probs, rollout.values, advantages, returns)
    samples = Samples(*(torch.from_numpy(array).flatten(0, 1).to(device) for array in arrays))
    return samples._replace(advantages=normalised(samples.advantages)) if normalise else samples


def update(
    network: ActorCritic,
    optimiser: torch.optim.Optimizer,
    observations: Tensor,
    samples: Samples,
    settings: Settings,
    draws: Draws,
) -> None:
    """Train on a rollout.

    Args:
        network: is changed.
        optimiser: of the network's parameters.
        observations: (samples, *observation), as the environments gave them.
        samples: what was done then and what came of it.
        settings: how it goes.
        draws: where chance comes from.
    """
    size = len(observations) // settings.minibatches
    for _ in range(settings.n_epochs):
        order = torch.from_numpy(draws.minibatches.permutation(len(observations))).to(observations.device)
        for rows in order[: size * settings.minibatches].split(size):
            minibatch = Samples(*(tensor[rows] for tensor in samples))
            if settings.normalise == "minibatch":
                minibatch = minibatch._replace(advantages=normalised(minibatch.advantages))
            optimiser.zero_grad()
            add_gradients(network, observations, rows, minibatch, settings, draws)
            clip_grad_norm_(network.parameters(), settings.max_grad_norm)
            optimiser.step()


def add_gradients(
    network: ActorCritic, observations: Tensor, rows: Tensor, minibatch: Samples, settings: Settings, draws: Draws
) -> None:
    """Add up the gradients of a minibatch's loss, part by part.

    Args:
        network: the network.
        observations: as for ``update``.
        rows: (batch,), which of them the minibatch consists of.
        minibatch: their samples.
        settings: how it goes.
        draws: where chance comes from.
    """
    augmentation, device = settings.augmentation, observations.device
    part = PART if device.type == "cpu" else PART_ON_GPU
    chance: tuple[Tensor, ...] = ()
    noise = None
    if augmentation is not None:
        chance = tuple(each.to(device) for each in augmentation.draw(len(rows), draws.augmentations))
        noise = None if settings.exact else settings.actions.noise(draws.actions, len(rows)).to(device)
    for start in range(0, len(rows), part):
        these = slice(start, start + part)
        plain = seen(observations[rows[these]])
        outputs, values = network(plain)
        augmented = None
        if augmentation is not None:
            changed = augmentation.apply(plain, *(each[these] for each in chance))
            # The published code asks the network a third time for a~; its policy is the one just computed.
            drawn = None if noise is None else settings.actions.draw(outputs.detach(), noise[these])
            of_changed, values_of_changed = network(changed)
            augmented = Augmented(of_changed, values_of_changed, drawn)
        samples = Samples(*(tensor[these] for tensor in minibatch))
        losses = drac_loss(settings.actions, outputs, values, samples, settings.coefficients, augmented)
        (losses.total * (len(plain) / len(rows))).backward()
