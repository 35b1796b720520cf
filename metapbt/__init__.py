"""metapbt: population-based training that remembers.

Example:
    >>> import metapbt
    >>> run = metapbt.run(["env=cart_pole", "context.pole_length=0.8", "method=pb2"])  # doctest: +SKIP
    >>> env = metapbt.make_env("lunar_lander", leg_height=3.2)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from metapbt.envs import make_env, register_envs

if TYPE_CHECKING:
    from metapbt.population.tuner import Continue, Copy, Tuner
    from metapbt.runs.loop import run
    from metapbt.space import Space

__all__ = ["Continue", "Copy", "Space", "Tuner", "make_env", "run"]

__version__ = version("metapbt")

# Gymnasium loads no plugins, so gymnasium.make("metapbt/LunarLander-v0") works from here on.
register_envs()

_HOMES = {
    "Continue": "metapbt.population.tuner",
    "Copy": "metapbt.population.tuner",
    "Space": "metapbt.space",
    "Tuner": "metapbt.population.tuner",
    "run": "metapbt.runs.loop",
}


def __getattr__(name: str) -> Any:
    """Load the heavy parts when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'metapbt' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
