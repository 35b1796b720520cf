"""What ``learner=ppo`` is told, and what each setting is when nobody sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError, unknown_name

#: Settings and their defaults; those of ``network`` and ``hyperparameters`` are below.
SETTINGS: dict[str, Any] = {
    "n_envs": 16,
    "engine": "auto",
    "device": "auto",
    "normalise_advantages": True,
    "normalise_observations": "auto",
    "normalise_returns": False,
    "anneal_learning_rate": False,
    "network": {},
    "distillation": {},
    "hyperparameters": {},
}
NETWORK: dict[str, Any] = {"policy": {}, "value": {}, "shared": False}


def complete(kind: str, where: str, defaults: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    """``defaults`` with what was chosen instead; ``kind`` and ``where`` are what to call a key and the whole.

    Raises:
        MetapbtError: something else is chosen.
    """
    if not isinstance(chosen, Mapping):
        raise MetapbtError(f"{where} must be a mapping, got {chosen!r}")
    for key in chosen:
        if key not in defaults:
            raise unknown_name(kind, key, defaults)
    return {**defaults, **chosen}


def flag(name: str, value: Any) -> bool:
    """A truth value.

    Raises:
        MetapbtError: it is something else.
    """
    if not isinstance(value, bool):
        raise MetapbtError(f"{name} must be true or false, got {value!r}")
    return value
