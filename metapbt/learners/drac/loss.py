"""DrAC's loss: PPO's, and how far policy and value change when the observation is augmented.

Raileanu et al. 2021, "Automatic data augmentation for generalization in reinforcement learning", equations 4 to 6;
Schulman et al. 2017, "Proximal policy optimization algorithms".

    L = L_pi + vf_coef * L_V - ent_coef * H + aug_coef * (A_pi + A_V)

    L_pi = -mean min(r A, clip(r, 1 - c, 1 + c) A),                 r = pi(a | s) / pi_old(a | s)
    L_V  = 1/2 mean max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2)
    H    = mean entropy of pi(. | s)
    A_pi = -mean log pi(a~ | f(s)) with a~ drawn from pi(. | s); or, exactly, mean KL(pi(. | s) || pi(. | f(s)))
    A_V  = 1/2 mean (v(s) - v(f(s)))^2

What is said of s itself is a target in A_pi and A_V: no gradient flows into it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from metapbt.learners.drac.actions import Actions


class Samples(NamedTuple):
    """Steps of a rollout in any order."""

    actions: Tensor  # (batch, ...)
    log_probs: Tensor  # (batch,): when the actions were drawn
    values: Tensor  # (batch,): at the same time
    advantages: Tensor  # (batch,)
    returns: Tensor  # (batch,)


class Augmented(NamedTuple):
    """What the network says of augmented observations."""

    outputs: Tensor  # (batch, ...)
    values: Tensor  # (batch,)
    drawn: Tensor | None  # (batch, ...): actions from the policy on the observations themselves; None for the exact KL


class Coefficients(NamedTuple):
    """Weights and limits."""

    clip_range: float
    ent_coef: float
    vf_coef: float
    aug_coef: float


class Losses(NamedTuple):
    """The loss, and its parts without their weights; those of the augmentation are 0 where there is none."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    aug_policy: Tensor
    aug_value: Tensor


def drac_loss(
    actions: Actions,
    outputs: Tensor,
    values: Tensor,
    samples: Samples,
    coefficients: Coefficients,
    augmented: Augmented | None,
) -> Losses:
    """The loss of a minibatch.

    Args:
        actions: what outputs are.
        outputs: (batch, ...), of the policy.
        values: (batch,).
        samples: what was done and what came of it.
        coefficients: weights and limits.
        augmented: what the network says of the augmented observations; None for PPO's loss alone.
    """
    c = coefficients.clip_range
    distribution = actions.distribution(outputs)
    ratios = (distribution.log_prob(samples.actions) - samples.log_probs).exp()
    clipped = ratios.clamp(1 - c, 1 + c)
    policy = -torch.minimum(ratios * samples.advantages, clipped * samples.advantages).mean()
    near = samples.values + (values - samples.values).clamp(-c, c)
    value = 0.5 * torch.maximum((values - samples.returns) ** 2, (near - samples.returns) ** 2).mean()
    entropy = distribution.entropy().mean()
    total = policy + coefficients.vf_coef * value - coefficients.ent_coef * entropy
    if augmented is None:
        zero = torch.zeros_like(value)
        return Losses(total, policy, value, entropy, zero, zero)
    of_augmented = actions.distribution(augmented.outputs)
    if augmented.drawn is None:
        aug_policy = kl_divergence(actions.distribution(outputs.detach()), of_augmented).mean()
    else:
        aug_policy = -of_augmented.log_prob(augmented.drawn).mean()
    aug_value = 0.5 * ((values.detach() - augmented.values) ** 2).mean()
    total = total + coefficients.aug_coef * (aug_policy + aug_value)
    return Losses(total, policy, value, entropy, aug_policy, aug_value)
