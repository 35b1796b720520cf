"""Environments as pure functions of JAX, for training that runs as one compiled call.

Importing this package imports neither JAX nor Gymnasium.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.envs.bodies import LIMBS
from metapbt.envs.jax.base import JaxEnv
from metapbt.errors import MetapbtError, shown
from metapbt.registry import lookup

__all__ = ["JAX_ENVIRONMENTS", "JaxEnv", "make_jax_env"]

#: The environments that JAX can step, and what makes each, from its name and all features of the context.
JAX_ENVIRONMENTS: dict[str, str] = {
    "cart_pole": "metapbt.envs.jax.classic_control:cart_pole",
    "mountain_car": "metapbt.envs.jax.classic_control:mountain_car",
    **{f"brax/{body}": "metapbt.envs.jax.brax:brax_body" for body in LIMBS},
}


def make_jax_env(name: str, context: Mapping[str, Any]) -> JaxEnv:
    """Make one context of an environment.

    Args:
        name: a key of ``JAX_ENVIRONMENTS``.
        context: the features; those that are not in it keep their defaults.

    Raises:
        MetapbtError: there is no such environment in JAX, or a feature is unknown or illegal.
    """
    from metapbt.envs import get_environment

    complete = get_environment(name).context(context)
    if name not in JAX_ENVIRONMENTS:
        known = ", ".join(sorted(JAX_ENVIRONMENTS))
        raise MetapbtError(f"engine=jax steps {known}, got {shown(name)}: choose engine=python")
    make: Any = lookup("env of engine=jax", name, JAX_ENVIRONMENTS)
    env: JaxEnv = make(name, complete)
    return env
