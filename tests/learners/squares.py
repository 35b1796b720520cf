"""An environment of pictures, for tests: say on which side the light is."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from metapbt.envs import Environment

SIZE, STEPS = 36, 8

Picture = np.ndarray[Any, np.dtype[np.uint8]]


class Squares(gymnasium.Env[Picture, np.int64]):
    """A dim picture, one side of which is lit; pays 1 for its number (0 left, 1 right), and ends after ``STEPS``."""

    observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Picture, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), {}

    def step(self, action: np.int64) -> tuple[Picture, float, bool, bool, dict[str, Any]]:
        reward = float(int(action) == self.side)
        self.steps += 1
        return self._next(), reward, self.steps == STEPS, False, {}

    def _next(self) -> Picture:
        picture = self.np_random.integers(60, size=(SIZE, SIZE, 3), dtype=np.uint8)
        self.side = int(self.np_random.integers(2))
        half = SIZE // 2
        picture[:, self.side * half : (self.side + 1) * half] += 150
        return picture


class Grey(Squares):
    """Shows a single channel."""

    observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)

    def _next(self) -> Picture:
        return super()._next()[:, :, :1]


SQUARES = Environment(
    "squares", (), gym_id="tests/Squares-v0", build=lambda *_: Squares(), max_episode_steps=10 * STEPS
)
GREY = Environment("grey", (), gym_id="tests/Grey-v0", build=lambda *_: Grey(), max_episode_steps=10 * STEPS)


def darker(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """An augmentation of one's own."""
    assert images.ndim == 4
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    return images * torch.rand((len(images), 1, 1, 1), generator=generator)


def smaller(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Not what an augmentation may do."""
    return images[:, :, 1:]


def broken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fails."""
    raise ValueError("no light")


LIGHT = 3
