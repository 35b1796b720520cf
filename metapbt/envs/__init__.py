"""Contextual Gymnasium environments: every feature at its default is Gymnasium's own environment, bit by bit.

Importing this package imports no Gymnasium; the environments come with the first call that needs them.

Example:
    >>> import metapbt.envs
    >>> env = metapbt.envs.make_env("cart_pole", pole_length=0.8)
    >>> metapbt.envs.changed_features("cart_pole", {"pole_length": 0.8, "gravity": 9.8})
    {'pole_length': 0.8}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Environment, Feature
from metapbt.errors import MetapbtError
from metapbt.registry import lookup

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

__all__ = [
    "ENVIRONMENTS",
    "Environment",
    "Feature",
    "changed_features",
    "complete_context",
    "get_environment",
    "make_env",
    "register_envs",
]

ENVIRONMENTS: dict[str, str] = {
    "bipedal_walker": "metapbt.envs.bipedal_walker:BIPEDAL_WALKER",
    "cart_pole": "metapbt.envs.cart_pole:CART_POLE",
    "lunar_lander": "metapbt.envs.lunar_lander:LUNAR_LANDER",
    "synthetic": "metapbt.envs.synthetic:SYNTHETIC",
    "mountain_car": "metapbt.envs.mountain_car:MOUNTAIN_CAR",
    "quadratic": "metapbt.envs.quadratic:QUADRATIC",
}


def get_environment(name: str) -> Environment:
    """Return the environment called ``name``, or one's own as ``package.module:OBJECT``.

    Raises:
        MetapbtError: the name is unknown, cannot be imported, or is not an ``Environment``.
    """
    environment = lookup("env", name, ENVIRONMENTS)
    if not isinstance(environment, Environment):
        raise MetapbtError(f"env '{name}' must be a metapbt.envs.Environment, got {environment!r}")
    return environment


def make_env(name: str, *, render_mode: str | None = None, **features: float) -> gymnasium.Env[Any, Any]:
    """Make one context of the environment ``name``, with its time limit.

    The same as ``gymnasium.make`` with the environment's id, but for Gymnasium's passive checker, which only
    slows down environments that are known to be sound.

    Args:
        name: a key of ``ENVIRONMENTS``, or one's own as ``package.module:OBJECT``.
        render_mode: ``"human"``, ``"rgb_array"`` or None, as in Gymnasium.
        features: the features to change, in the units of the table in that environment's file; all others
            keep their defaults.

    Raises:
        MetapbtError: the environment or a feature is unknown, or a feature is illegal.

    Example:
        >>> env = make_env("lunar_lander", leg_height=3.2)
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape
        (8,)
    """
    environment = get_environment(name)
    if environment.gym_id is None:
        return environment(render_mode=render_mode, **features)
    import gymnasium

    # Checked here too, so that gymnasium.make takes none of them for an option of its own.
    changed: dict[str, Any] = environment.changed(features)
    spec = _gym_spec(name, environment, environment.gym_id)
    return gymnasium.make(spec, disable_env_checker=True, render_mode=render_mode, **changed)


def complete_context(name: str, changed: Mapping[str, float]) -> dict[str, float]:
    """Return every feature of the environment ``name``, changed or not, as floats in declared order.

    Raises:
        MetapbtError: the environment or a feature is unknown, or a value is no number or out of its range.
    """
    return get_environment(name).complete(changed)


def changed_features(name: str, context: Mapping[str, float]) -> dict[str, float]:
    """Return the features in ``context`` that differ from their defaults, as floats in declared order.

    Raises:
        MetapbtError: as for ``complete_context``.
    """
    return get_environment(name).changed(context)


def register_envs() -> None:
    """Tell Gymnasium the ids ``metapbt/…``; again and again is harmless."""
    import gymnasium

    for name in ENVIRONMENTS:
        environment = get_environment(name)
        if environment.gym_id is not None:
            # Not gymnasium.register, which warns about an id that is there already.
            gymnasium.registry.setdefault(environment.gym_id, _gym_spec(name, environment, environment.gym_id))


def _gym_spec(name: str, environment: Environment, gym_id: str) -> EnvSpec:
    from gymnasium.envs.registration import EnvSpec

    # The entry point is a string, so that the spec can be pickled and written as JSON.
    entry_point = ENVIRONMENTS.get(name, name)
    return EnvSpec(gym_id, entry_point=entry_point, max_episode_steps=environment.max_episode_steps)
