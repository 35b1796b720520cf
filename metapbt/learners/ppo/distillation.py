"""What a student's loss says of its teacher: how far its policy and its values are from the teacher's.

Sources: Rusu et al. 2016, "Policy distillation"; Schmitt et al. 2018, "Kickstarting deep reinforcement learning", whose
student acts, and learns from its own returns too; Wan et al. 2022, "Bayesian generational population-based training",
section 3.2, which lets both weights fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from metapbt.jax_backend import jax, jnp
from metapbt.learners.ppo.network import Network

Array = jax.Array | np.ndarray[Any, Any]


class Lesson(NamedTuple):
    """What the teacher says of a rollout of its student, and what that weighs in the student's loss."""

    outputs: Array  # (time, envs, outputs): of the teacher's policy, for the observations that were acted on
    values: Array  # (time, envs): the teacher's of the same, in units of the student's rewards
    log_std: Array  # (outputs,): of the teacher's policy where actions are continuous; else it is not looked at
    policy_weight: Any  # of the mean KL divergence
    value_weight: Any  # of the values' mean squared difference


def kl_divergence(
    network: Network, parameters: Mapping[str, Any], outputs: Array, teacher_outputs: Array, teacher_log_std: Array
) -> Array:
    """The Kullback-Leibler divergence KL(teacher || student) of the distributions of actions, (batch,), in closed form.

    For logits ``t`` and ``s`` it is the sum over actions of ``softmax(t) (log softmax(t) - log softmax(s))``; for
    independent Gaussians the sum over an action's numbers of ``log(sd_s / sd_t) + (sd_t**2 + (mean_t - mean_s)**2) /
    (2 sd_s**2) - 1/2``.

    Args:
        network: the student's.
        parameters: its arrays.
        outputs: (batch, outputs), of its policy.
        teacher_outputs: (batch, outputs), of the teacher's.
        teacher_log_std: (outputs,).
    """
    if network.continuous:
        log_std = parameters["log_std"]
        squares = jnp.exp(2 * teacher_log_std) + (teacher_outputs - outputs) ** 2
        return (log_std - teacher_log_std + 0.5 * squares * jnp.exp(-2 * log_std) - 0.5).sum(axis=1)
    log_probs, teacher_log_probs = jax.nn.log_softmax(outputs), jax.nn.log_softmax(teacher_outputs)
    return (jnp.exp(teacher_log_probs) * (teacher_log_probs - log_probs)).sum(axis=1)
