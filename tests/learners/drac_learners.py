"""Learners for the tests of DrAC."""

from __future__ import annotations

from typing import Any

import numpy as np
from learner_intervals import made

from metapbt.learners.drac import DrACLearner

SQUARES, GREY = "squares:SQUARES", "squares:GREY"
SMALL = {"n_envs": 4, "n_steps": 8, "minibatches": 2}
LENGTH = 32  # one rollout
VECTORS = {**SMALL, "hyperparameters": {"aug_type": "amplitude", "n_epochs": 2}}


def learner(env: str = "cart_pole", length: int = 1000, **settings: Any) -> Any:
    """A small one, for pictures or for vectors."""
    given: dict[str, Any] = VECTORS if env not in (SQUARES, GREY) else {**SMALL, "network": "nature_small"}
    fixed = {**given.get("hyperparameters", {}), **settings.get("hyperparameters", {})}
    return made(DrACLearner, env, {**given, **settings, "hyperparameters": fixed}, budget=10_000, length=length)


def same(a: Any, b: Any) -> bool:
    """Whether two states are the same, bit by bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)
