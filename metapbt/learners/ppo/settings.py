"""What ``learner=ppo`` is told, and what each setting is when nobody sets it."""

from __future__ import annotations

from typing import Any

#: Settings and their defaults; those of ``network`` and ``hyperparameters`` are below.
SETTINGS: dict[str, Any] = {
    "n_envs": 16,
    "engine": "auto",
    "device": "auto",
    "normalise_advantages": True,
    "normalise_observations": "auto",
    "normalise_returns": False,
    "anneal_learning_rate": False,
    "sampled_evaluation": False,
    "network": {},
    "distillation": {},
    "hyperparameters": {},
}
NETWORK: dict[str, Any] = {"policy": {}, "value": {}, "shared": False}
