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
    from metapbt.population.decisions import Continue, Copy, Restart
    from metapbt.population.tuner import Tuner
    from metapbt.runs.run import Run, load, run
    from metapbt.space import Space

__all__ = ["Continue", "Copy", "Restart", "Run", "Space", "Tuner", "load", "make_env", "run"]

__version__ = version("metapbt")

# Gymnasium loads no plugins, so gymnasium.make("metapbt/LunarLander-v0") works from here on.
register_envs()

_HOMES = {
    "Continue": "metapbt.population.decisions",
    "Copy": "metapbt.population.decisions",
    "Restart": "metapbt.population.decisions",
    "Run": "metapbt.runs.run",
    "Space": "metapbt.space",
    "Tuner": "metapbt.population.tuner",
    "load": "metapbt.runs.run",
    "run": "metapbt.runs.run",
}


def __getattr__(name: str) -> Any:
    """Load the heavy parts when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'metapbt' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
