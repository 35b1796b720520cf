"""Intervals for learners, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.envs import make_context
from metapbt.history import Budget, Interval, Ref
from metapbt.learners.base import Learner, State, Training


def interval(
    hyperparameters: Mapping[str, Any] | None = None,
    steps: int = 100,
    *,
    start_steps: int = 0,
    seed: int = 0,
    evaluation_seed: int = 1,
    episodes: int = 2,
) -> Interval:
    """The interval from ``start_steps`` to ``steps`` more."""
    until = start_steps + steps
    chosen = dict(hyperparameters or {})
    return Interval(Ref(0, 0), None, None, chosen, start_steps, until, seed, evaluation_seed, episodes)


def train(
    learner: Learner,
    start: Training | State | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    steps: int = 100,
    **others: Any,
) -> Training:
    """Train an interval, which goes on from another training with its steps."""
    if isinstance(start, Training):
        others.setdefault("start_steps", start.env_steps)
        start = start.state
    return learner.train(interval(hyperparameters, steps, **others), start)


def made(
    learner: type[Any],
    env: str,
    settings: Mapping[str, Any],
    *,
    context: Any = None,
    budget: int = 1000,
    length: int = 1000,
) -> Any:
    """A learner whose runs have ``budget`` steps and intervals of ``length``."""
    return learner(env, make_context(env, context), Budget(budget, length), settings)
