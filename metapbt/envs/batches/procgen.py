"""Procgen through EnvPool, as a batch and as one Gymnasium environment: the original's levels, rewards and ends.

A seed begins a sequence of levels, as in the original: the first episode's level, and those of all after it, are drawn
with it. So an episode cannot be begun in the midst of that sequence, nor go on in another process.

EnvPool reports a time-out as truncation, but the clock is one of the game's rules: the original's ``done`` says no
more, and learners are to take it as an end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs import make_context
from metapbt.envs.batches import ANEW
from metapbt.envs.batches.base import BatchStep, Episodes, Seeds
from metapbt.envs.batches.envpool import load_envpool
from metapbt.errors import MetapbtError

Pictures = NDArray[np.uint8]

_OBSERVATIONS = spaces.Box(0, 255, (64, 64, 3), np.uint8)
_ACTIONS: spaces.Discrete = spaces.Discrete(15)


class ProcgenBatch:
    """Steps one of Procgen's games in many environments, with one thread.

    Args:
        contexts: the changed features of each environment, which must be the same in all.

    Raises:
        MetapbtError: EnvPool or Qt is not installed, or a feature is illegal.
    """

    def __init__(self, contexts: Sequence[Mapping[str, Any]]) -> None:
        each = [make_context("procgen", context) for context in contexts]
        if any(context != each[0] for context in each):
            raise MetapbtError("a batch of env 'procgen' has one context for all of its environments")
        check_installed()
        self.num_envs = len(each)
        self.observation_space, self.action_space = _OBSERVATIONS, _ACTIONS
        self._context = each[0]
        self._pool: Any = None
        self._running: NDArray[np.int32] | None = None  # all of them, where None
        self._never = np.zeros(self.num_envs, np.bool_)

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> Pictures:
        """Begin a sequence of levels in every environment, each from its own seed."""
        if under_way is not None:
            raise MetapbtError(f"env 'procgen' cannot go on with an episode: {ANEW['procgen']}")
        self.close()
        self._running = None
        self._pool = _pool(self._context, [seeds(place, 0) for place in range(self.num_envs)])
        observations: Pictures = self._pool.reset()[0]
        return observations

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once; of those that rest there are zeros."""
        if self._running is None:
            final, rewards, terminated, truncated, _ = self._pool.step(actions)
            ended = terminated | truncated
        else:
            final = np.zeros((self.num_envs, *_OBSERVATIONS.shape), np.uint8)
            rewards, ended = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, np.bool_)
            if len(self._running):
                seen, reward, terminated, truncated, info = self._pool.step(actions[self._running], self._running)
                places = info["env_id"]
                final[places], rewards[places], ended[places] = seen, reward, terminated | truncated
        observations = final
        if ended.any():
            # EnvPool would spend the next step on it.
            first, info = self._pool.reset(ended.nonzero()[0].astype(np.int32))
            observations = final.copy()
            observations[info["env_id"]] = first
        return BatchStep(observations, rewards, ended, self._never, final)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """They cannot go on."""
        raise MetapbtError(f"env 'procgen' cannot go on with an episode: {ANEW['procgen']}")

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Step these environments no more until the next reset."""
        running = ~which
        if self._running is not None:
            running &= np.isin(np.arange(self.num_envs), self._running)
        self._running = running.nonzero()[0].astype(np.int32)

    def close(self) -> None:
        """Let go of EnvPool's thread and environments."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class ProcgenEnv(gymnasium.Env[Pictures, np.int64]):
    """One Procgen game as a Gymnasium environment.

    A seed given to ``reset`` begins a sequence of levels, with which resets without one go on, as the original's do.

    Args:
        context: every feature of Procgen's.
        render_mode: ``rgb_array`` renders what the agent sees; None renders nothing.

    Raises:
        MetapbtError: EnvPool or Qt is not installed.
    """

    def __init__(self, context: Mapping[str, Any], render_mode: str | None = None) -> None:
        check_installed()
        self.observation_space, self.action_space = _OBSERVATIONS, _ACTIONS
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
        self.render_mode = render_mode
        self._context = dict(context)
        self._pool: Any = None
        self._seen: Pictures | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Pictures, dict[str, Any]]:
        """Begin a level: the first of the seed's, or the next one."""
        super().reset(seed=seed)
        if seed is not None or self._pool is None:
            self.close()
            self._pool = _pool(self._context, [int(self.np_random.integers(2**31)) if seed is None else seed])
        observations, info = self._pool.reset()
        return self._shown(observations), _info(info)

    def step(self, action: np.int64 | int) -> tuple[Pictures, float, bool, bool, dict[str, Any]]:
        """Take one of the 15 actions."""
        observations, rewards, terminated, truncated, info = self._pool.step(np.array([action], np.int32))
        return self._shown(observations), float(rewards[0]), bool(terminated[0] or truncated[0]), False, _info(info)

    def render(self) -> Pictures | None:
        """What the agent sees, (64, 64, 3)."""
        return None if self.render_mode is None or self._seen is None else self._seen.copy()

    def close(self) -> None:
        """Let go of EnvPool's environment."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _shown(self, observations: Pictures) -> Pictures:
        self._seen = observations[0]
        return self._seen


def check_installed() -> None:
    """Refuse to go on where EnvPool, or what its Procgen needs of the system, is missing.

    Raises:
        MetapbtError: it is; the message says which command installs it.
    """
    load_envpool("env 'procgen'", "procgen")


def _pool(context: Mapping[str, Any], seeds: Sequence[int]) -> Any:
    """EnvPool's environments of a context, each with its seed."""
    game = f"{context['game']}_{context['distribution_mode']}".title().replace("_", "")
    return load_envpool("env 'procgen'", "procgen").make(
        f"{game}-v0",
        env_type="gymnasium",
        num_envs=len(seeds),
        num_threads=1,
        seed=list(seeds),
        channel_first=False,
        num_levels=int(context["num_levels"]),
        start_level=int(context["start_level"]),
    )


def _info(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the original's ``info`` says."""
    return {name: int(info[name][0]) for name in ("level_seed", "prev_level_seed", "prev_level_complete")}
