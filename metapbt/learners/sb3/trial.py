"""What a trial at the door trains with: few steps, and an environment that costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

#: Steps of each environment in a trial, and of its episodes.
TRIED_STEPS = 4
#: The most of what only takes longer; what is too little for an algorithm stays as it is.
_MOST = {
    "batch_size": 32,
    "gradient_steps": 2,
    "learning_starts": 1,
    "n_epochs": 1,
    "n_steps": 2 * TRIED_STEPS,
}


class Still(gymnasium.Env[Any, Any]):
    """Has the spaces of an environment, and shows its first observation for ever.

    Args:
        env: that environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._observation, _ = env.reset(seed=0)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode of ``TRIED_STEPS`` steps."""
        self._steps = 0
        return self._observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay 1."""
        self._steps += 1
        return self._observation, 1.0, False, self._steps == TRIED_STEPS, {}


def for_few_steps(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for steps that are few and small; what is wrong in them stays so.

    Args:
        arguments: of the algorithm.
        parameters: of its signature, by name.
    """
    usual = {name: parameters[name].default for name in _MOST if name in parameters}
    tried = {name: _at_most(_MOST.get(name), value) for name, value in {**usual, **arguments}.items()}
    frequency = tried.get("train_freq")
    if isinstance(frequency, tuple) and len(frequency) == 2:
        most = 1 if frequency[1] == "episode" else TRIED_STEPS
        tried["train_freq"] = (_at_most(most, frequency[0]), frequency[1])
    elif frequency is not None:
        tried["train_freq"] = _at_most(TRIED_STEPS, frequency)
    return tried


def _at_most(most: int | None, value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return min(value, most) if whole and most is not None else value
