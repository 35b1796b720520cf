"""A trained agent as a video: MP4, GIF or WebP, of what an environment draws or of the pictures that the agent sees."""

from __future__ import annotations

import inspect
import itertools
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metapbt.envs import get_environment, make_env
from metapbt.envs.pictures import CHANNELS, channels_last, is_picture
from metapbt.errors import MetapbtError, named, one_line
from metapbt.files import atomic_file
from metapbt.log import LOGGER
from metapbt.plain import number, whole_number
from metapbt.progress import progress
from metapbt.runs.agent import Agent, learners_code

if TYPE_CHECKING:
    import gymnasium

#: (height, width, 3), uint8.
Frame = NDArray[np.uint8]

SMALLEST = 256  # pixels of the shorter side; smaller pictures are magnified, each pixel to a square
MOST_STEPS = 10_000  # of an episode, where nobody says: some environments know no end
_FPS = 15.0  # of pictures without a clock of their own, as Procgen's
#: Episodes draw from their seeds as well: from the seed alone, actions would repeat what the environment draws.
_ACTIONS = zlib.crc32(b"actions")
_QUICKEST_GIF = 50.0  # frames/s; browsers show quicker ones at 10


@dataclass(frozen=True)
class Played:
    """An episode of a video.

    Attributes:
        seed: that it began from.
        steps: how many it had, each of which is one frame.
        total: its return.
        ended: whether it came to its end; else it was cut.
    """

    seed: int
    steps: int
    total: float
    ended: bool


@dataclass(frozen=True)
class Video:
    """A video that was written.

    Attributes:
        path: of the file.
        agent: who plays, and in which context.
        episodes: one after another.
        fps: frames per second.
    """

    path: Path
    agent: Agent
    episodes: tuple[Played, ...]
    fps: float

    def __str__(self) -> str:
        played = ", ".join(
            f"{each.total:.2f} in {each.steps} steps{'' if each.ended else ' (cut)'}" for each in self.episodes
        )
        inside = self.path.parent == self.agent.path  # which is said then
        who = f"{self.agent.who} in {self.agent.where}" if inside else self.agent
        return f"{self.path}: {who}: return {played}"


def write_video(
    agent: Agent, file: Path | None = None, episodes: int = 1, fps: float | None = None, most_steps: int = MOST_STEPS
) -> Video:
    """Let an agent play, and write what is to be seen: a frame of what each step led to, ``sum of steps`` in all.

    The file is written whole or not at all.

    Args:
        agent: who plays; its ``seed`` is that of the first episode.
        file: ending in ``.mp4`` (H.264), ``.gif``, or ``.webp`` (animated and lossless: of small pictures, half a GIF);
            None for the place where the page looks for it, ``video.mp4`` in the run directory, or ``video.gif`` where
            what writes MP4 is not installed.
        episodes: how many, one after another.
        fps: frames per second; None for as many as the environment says (a GIF: 50 at most).
        most_steps: of each episode; longer ones are cut.

    Raises:
        MetapbtError: the file's ending is unknown, what writes it is not installed, the environment can be drawn by
            nobody, or the agent's checkpoint is gone.
        OSError: the file cannot be written.
    """
    file = _usual_file(agent.path) if file is None else file
    writers = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp}
    ending = file.suffix.lower()
    if ending not in writers:
        raise MetapbtError(f"--to must end in .mp4, .gif or .webp, got {file}")
    whole_number("episodes", episodes, 1)
    whole_number("steps", most_steps, 1)
    if fps is not None and not (isinstance(number(fps), int | float) and 0 < fps <= 1000):
        raise MetapbtError(f"fps must be above 0 and at most 1000, got {fps!r}")
    if ending == ".mp4":
        _av()  # before anybody plays
    stage = _Stage(agent)
    try:
        chosen = float(fps or stage.fps)
        if ending == ".gif":  # which counts hundredths of a second
            chosen = 100 / max(round(100 / (fps or min(stage.fps, _QUICKEST_GIF))), 1)
        played: list[Played] = []
        total = episodes * min(stage.longest, most_steps) if stage.longest else None
        with progress("frames", total) as tell, atomic_file(file) as temporary:
            frames = _told(_frames(agent, stage, episodes, most_steps, played), tell)
            writers[ending](temporary, frames, chosen)
        return Video(file, agent, tuple(played), chosen)
    finally:
        stage.close()


def _usual_file(run: Path) -> Path:
    with suppress(MetapbtError):
        _av()
        return run / "video.mp4"
    LOGGER.warning("writing a GIF, for MP4 needs PyAV: pip install 'metapbt[video]'")
    return run / "video.gif"


def _told(frames: Iterator[Frame], tell: Callable[[int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        yield frame
        tell(count)


class _Stage:
    """An environment that can be seen.

    Raises:
        MetapbtError: it cannot.
    """

    def __init__(self, agent: Agent) -> None:
        self.name = name = agent.learner.env
        context: dict[str, Any] = dict(agent.learner.context)
        environment = get_environment(name)
        _need_no_display()
        env = make_env(name, **context)
        modes = env.metadata.get("render_modes") or ()
        self.draws = "rgb_array" in modes and (environment.build is None or "rgb_array" in environment.render_modes)
        if not self.draws and not is_picture(env.observation_space):
            env.close()
            raise MetapbtError(
                f"env '{name}' cannot be seen: it has no render mode rgb_array, and its observations are no pictures"
            )
        if self.draws:
            env.close()
            env = make_env(name, render_mode="rgb_array", **context)
        self.env: gymnasium.Env[Any, Any] = env
        #: Steps of an episode at most; None where the environment knows no end.
        self.longest = None if env.spec is None else env.spec.max_episode_steps
        self.fps = float(env.metadata.get("render_fps") or _FPS)

    def frame(self, observation: Any) -> Frame:
        """What is to be seen now.

        Raises:
            MetapbtError: it cannot be drawn.
        """
        if not self.draws:
            return shown(observation)
        try:
            drawn = self.env.render()
        except Exception as error:  # as where MuJoCo finds no display
            hint = " (MuJoCo without a display needs libegl1, or MUJOCO_GL=osmesa)" if "mujoco" in sys.modules else ""
            raise MetapbtError(f"env '{self.name}' cannot be drawn: {named(error)}{hint}") from error
        return shown(drawn)

    def close(self) -> None:
        self.env.close()


def _need_no_display() -> None:
    """Let Pygame and MuJoCo, which are not loaded yet, draw without a window, unless the user says how."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys() and find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def _frames(agent: Agent, stage: _Stage, episodes: int, most_steps: int, played: list[Played]) -> Iterator[Frame]:
    """Play episodes, and yield a frame for each step; who played what is appended when an episode is over."""
    act = _acting(agent)
    for seed in range(agent.seed, agent.seed + episodes):
        observation, _ = stage.env.reset(seed=seed)
        rng = np.random.default_rng([seed, _ACTIONS])
        total, steps, ended = 0.0, 0, False
        while not ended and steps < most_steps:
            with learners_code(agent.learner.name):
                action = act(observation, rng)
            observation, reward, terminated, truncated, _ = stage.env.step(action)
            total, steps, ended = total + float(reward), steps + 1, bool(terminated or truncated)
            yield stage.frame(observation)
        played.append(Played(seed, steps, total, ended))


def _acting(agent: Agent) -> Callable[[Any, np.random.Generator], Any]:
    policy = agent.policy()
    if not agent.sampled:
        return lambda observation, rng: policy.act(observation)
    if "rng" not in inspect.signature(policy.act).parameters:
        raise MetapbtError(
            f"learner={agent.learner.name} has only most likely actions: its policy's act takes no rng to draw others"
        )
    return lambda observation, rng: policy.act(observation, rng)


def shown(picture: Any) -> Frame:
    """A picture as a frame of three channels, whose shorter side has ``SMALLEST`` pixels or more.

    Args:
        picture: (height, width), (height, width, channels) or (channels, height, width), uint8.

    Raises:
        MetapbtError: it is none.
    """
    found = channels_last(np.asarray(picture))
    if found.ndim != 3 or found.shape[2] not in CHANNELS or found.dtype != np.uint8 or not found.size:
        raise MetapbtError(f"a frame must be a picture of numbers from 0 to 255, got {found.shape} of {found.dtype}")
    found = np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found[:, :, :3]
    times = math.ceil(SMALLEST / min(found.shape[:2]))
    return np.ascontiguousarray(found.repeat(times, axis=0).repeat(times, axis=1))


def _write_gif(file: Path, frames: Iterator[Frame], fps: float) -> None:
    from PIL import Image

    # Each with its own best colours; a lossless choice where a frame has no more than 256.
    pictures = (Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames)
    first = next(pictures)
    first.save(file, save_all=True, append_images=pictures, duration=round(1000 / fps), loop=0)


def _write_webp(file: Path, frames: Iterator[Frame], fps: float) -> None:
    from PIL import Image

    pictures = map(Image.fromarray, frames)
    first = next(pictures)
    how: dict[str, Any] = {"lossless": True, "minimize_size": True, "loop": 0}
    first.save(file, save_all=True, append_images=pictures, duration=round(1000 / fps), **how)


def _write_mp4(file: Path, frames: Iterator[Frame], fps: float) -> None:
    av = _av()
    first = _even(next(frames))
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(file), "w", format="mp4", options={"movflags": "+faststart"}) as video:
        stream = video.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"  # what every player knows
        for frame in itertools.chain([first], map(_even, frames)):
            if frame.shape != first.shape:
                raise MetapbtError(f"the frames of a video must be of one size, got {first.shape} and {frame.shape}")
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        video.mux(stream.encode(None))


def _even(frame: Frame) -> Frame:
    """With an even height and width, as H.264 needs them: the last row or column once more."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _av() -> Any:
    """PyAV, which brings FFmpeg's libraries: no other process, so nothing is forked beside JAX's threads.

    Raises:
        MetapbtError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MetapbtError(
            f"writing MP4 needs PyAV: pip install 'metapbt[video]', or write a .gif or .webp ({one_line(error)})"
        ) from error
    return av
