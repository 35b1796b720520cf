"""A Procgen game as EnvPool steps it, and one of its environments as Gymnasium has it.

EnvPool reports a time-out as truncation, but the clock is one of the game's rules: the original's ``done`` says no
more, and learners are to take it as an end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.envpool import load_envpool
from metapbt.errors import MetapbtError, one_line

Pictures = NDArray[np.uint8]

OBSERVATIONS = spaces.Box(0, 255, (64, 64, 3), np.uint8)
ACTIONS: spaces.Discrete = spaces.Discrete(15)


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
        self.observation_space, self.action_space = OBSERVATIONS, ACTIONS
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
            self._pool = procgen_pool(self._context, [int(self.np_random.integers(2**31)) if seed is None else seed])
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
    _envpool()


def procgen_pool(context: Mapping[str, Any], seeds: Sequence[int]) -> Any:
    """EnvPool's environments of a context, each with its seed."""
    game = f"{context['game']}_{context['distribution_mode']}".title().replace("_", "")
    return _envpool().make(
        f"{game}-v0",
        env_type="gymnasium",
        num_envs=len(seeds),
        num_threads=1,
        seed=[_level_seed(seed) for seed in seeds],
        channel_first=False,
        num_levels=int(context["num_levels"]),
        start_level=int(context["start_level"]),
    )


def _level_seed(seed: int) -> int:
    """What EnvPool must be told for the levels that the original draws for an environment with ``rand_seed=seed``.

    The original seeds a Mersenne Twister with it, whose first draw seeds the one that draws levels. EnvPool's seed is
    that of the second.

    Raises:
        MetapbtError: the seed has more than 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise MetapbtError(f"env 'procgen' has seeds from 0 to {2**32 - 1}, got {seed}")
    first = np.random.RandomState(seed).randint(2**32, size=1, dtype=np.uint32)  # noqa: NPY002 - the Twister itself
    return int(first.view(np.int32)[0])


def _envpool() -> ModuleType:
    envpool = load_envpool("env 'procgen'", "procgen")
    try:
        # Where its libraries are missing, EnvPool itself says no more than that it has no such game.
        import_module("envpool.procgen.registration")
    except ImportError as error:
        raise MetapbtError(
            "env 'procgen' needs libraries of the system that are missing: apt-get install libgl1 libglib2.0-0 "
            f"({one_line(error)})"
        ) from error
    return envpool


def _info(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the original's ``info`` says."""
    return {name: int(info[name][0]) for name in ("level_seed", "prev_level_seed", "prev_level_complete")}
