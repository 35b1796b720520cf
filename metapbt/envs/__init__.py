"""Contextual Gymnasium environments: every feature at its default is Gymnasium's own environment, bit by bit.

Any other environment of Gymnasium's is known by its id, and one's own by ``package.module:OBJECT``
(docs/your_own_environment.md). Importing this package imports no Gymnasium; it comes with the first call that needs it.

Example:
    >>> import metapbt.envs
    >>> env = metapbt.envs.make_env("cart_pole", pole_length=0.8)
    >>> metapbt.envs.make_context("cart_pole", {"pole_length": 0.8, "gravity": 9.8}).changed
    {'pole_length': 0.8}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metapbt.config import FEATURE_NAMES
from metapbt.envs.base import Category, Environment, Feature
from metapbt.envs.bodies import LIMBS, MUJOCO_IDS
from metapbt.envs.procgen import GAMES
from metapbt.errors import MetapbtError, one_line, unknown_name
from metapbt.history.context import Context, FeatureValue
from metapbt.overrides import in_full
from metapbt.registry import import_for, lookup

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

__all__ = [
    "BODIES",
    "ENVIRONMENTS",
    "PICTURES",
    "Category",
    "Environment",
    "Feature",
    "get_environment",
    "make_context",
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
#: Bodies that move, each with an optional package: docs/bodies.md.
BODIES: dict[str, str] = {
    **{f"brax/{body}": f"metapbt.envs.brax:{body.upper()}" for body in LIMBS},
    **{gym_id: f"metapbt.envs.mujoco:{body.upper()}" for body, gym_id in MUJOCO_IDS.items()},
}
#: What an agent sees as pictures, with an optional package: docs/procgen.md.
PICTURES: dict[str, str] = {"procgen": "metapbt.envs.procgen:PROCGEN"}
_HOMES = ENVIRONMENTS | BODIES | PICTURES
#: Of the paper on BG-PBT, which had them from Brax's first physics.
_GONE = ("fetch", "ur5e", "grasp")


def get_environment(name: str) -> Environment:
    """Return the environment called ``name``.

    Args:
        name: a key of ``ENVIRONMENTS``, ``BODIES`` or ``PICTURES`` (of ``procgen/bigfish`` the game is a feature's
            value, and not looked at here); an ``Environment`` of one's own as ``package.module:OBJECT``; or any id that
            ``gymnasium.make`` takes, with its version (``Pendulum-v1``, ``package:Car-v0`` where importing ``package``
            registers it), which has no features.

    Raises:
        MetapbtError: there is no such environment, or its module cannot be imported.

    Example:
        >>> get_environment("cart_pole").features[0].name
        'pole_length'
        >>> get_environment("Pendulum-v1").max_episode_steps
        200
    """
    name, _ = in_full(name, {})
    if name in _HOMES:
        environment: Environment = lookup("env", name, _HOMES)
        return environment
    if name.removeprefix("brax/") in _GONE:
        body = name.removeprefix("brax/")
        raise MetapbtError(
            f"env '{name}': no Brax that can be installed has {body} any more (docs/bodies.md lists what it has)"
        )
    module_name, _, own = name.rpartition(":")
    module = import_for("env", name, module_name) if module_name else None
    found = getattr(module, own, None)
    if isinstance(found, Environment):
        return found
    import gymnasium

    spec = gymnasium.registry.get(own)
    if spec is None and found is not None:
        raise MetapbtError(f"env '{name}' must be a metapbt.envs.Environment, got {type(found).__name__}")
    if spec is None:
        raise _unknown_env(name, module)
    for ours, home in _HOMES.items():
        if spec.entry_point == home:
            game = spec.kwargs.get("game")
            raise MetapbtError(f"env '{name}' is called {f'{ours}/{game}' if game else ours} here")
    return Environment(name, features=(), gym_id=spec.id, max_episode_steps=spec.max_episode_steps)


def make_env(name: str, /, *, render_mode: str | None = None, **features: FeatureValue) -> gymnasium.Env[Any, Any]:
    """Make one context of the environment ``name``, with its time limit.

    The same as ``gymnasium.make`` with the environment's id, but for Gymnasium's passive checker, which only
    slows down environments that are known to be sound.

    Args:
        name: as for ``get_environment``.
        render_mode: ``"human"``, ``"rgb_array"`` or None, as in Gymnasium.
        features: the features to change, in the units of the table in that environment's file; all others
            keep their defaults.

    Raises:
        MetapbtError: the environment or a feature is unknown, a feature is illegal, or Gymnasium cannot make the
            environment, for instance as a package is missing.

    Example:
        >>> env = make_env("lunar_lander", leg_height=3.2)
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape
        (8,)
    """
    name, features = in_full(name, features)
    environment = get_environment(name)
    if environment.gym_id is None and environment.build is None:
        return environment(render_mode=render_mode, **features)
    import gymnasium

    # Checked here too, so that gymnasium.make takes none of them for an option of its own.
    changed: dict[str, Any] = environment.context(features).changed
    spec = _gym_spec(name, environment) if environment.build is not None else environment.gym_id
    assert spec is not None
    try:
        return gymnasium.make(spec, disable_env_checker=True, render_mode=render_mode, **changed)
    except (gymnasium.error.Error, ImportError) as error:
        raise MetapbtError(f"env '{name}' cannot be made: {one_line(error)}") from error


def make_context(name: str, changed: Mapping[str, FeatureValue] | None = None) -> Context:
    """Return the context of the environment ``name`` in which the features ``changed`` differ from their defaults.

    Raises:
        MetapbtError: the environment or a feature is unknown, or a value is of the wrong type or out of its range.
    """
    name, changed = in_full(name, changed or {})
    return get_environment(name).context(changed)


def register_envs() -> None:
    """Tell Gymnasium the ids ``metapbt/…``; again and again is harmless."""
    import gymnasium

    for name in _HOMES:
        environment = get_environment(name)
        if environment.gym_id is not None:
            # Not gymnasium.register, which warns about an id that is there already.
            gymnasium.registry.setdefault(environment.gym_id, _gym_spec(name, environment))
    for game in GAMES:
        game_id = f"metapbt/Procgen{game.capitalize()}-v0"
        spec = gymnasium.envs.registration.EnvSpec(game_id, entry_point=_HOMES["procgen"], kwargs={"game": game})
        gymnasium.registry.setdefault(game_id, spec)


def _feature_names(env: str) -> list[str]:
    """What may follow ``context.``; nothing where the environment is unknown, which others complain about."""
    try:
        return [feature.name for feature in get_environment(env).features]
    except MetapbtError:
        return []


FEATURE_NAMES.append(_feature_names)


def _gym_spec(name: str, environment: Environment) -> EnvSpec:
    from gymnasium.envs.registration import EnvSpec

    # The entry point is a string, so that the spec can be pickled and written as JSON.
    return EnvSpec(
        environment.gym_id or environment.name,
        entry_point=_HOMES.get(name, name),
        max_episode_steps=environment.max_episode_steps,
    )


def _unknown_env(name: str, module: ModuleType | None) -> MetapbtError:
    """The error for a name that neither we know nor Gymnasium, nor ``module`` where the name begins with one."""
    import gymnasium

    if module is not None:
        own = [key for key, value in vars(module).items() if isinstance(value, Environment)]
        if own:
            return unknown_name(f"env of {module.__name__}", name.rpartition(":")[2], own)
        return MetapbtError(f"env '{name}': {module.__name__} has no metapbt.envs.Environment and registers no such id")
    # By their names in small letters, as whoever writes `pendulum` means Pendulum-v1; ours come last and win a draw.
    known = {known.casefold(): known for known in [*gymnasium.registry, *_HOMES]}
    nearest = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.6)
    hint = f"; did you mean '{known[nearest[0]]}'?" if nearest else ";"
    others = "brax/ant and others, procgen/bigfish and others, any id of Gymnasium's, one's own as package.module:NAME"
    return MetapbtError(f"unknown env '{name}'{hint} (known: {', '.join(sorted(ENVIRONMENTS))}, {others})")
