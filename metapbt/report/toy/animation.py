"""The toy in motion: every step of every member, and the jumps between."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from metapbt.errors import one_line
from metapbt.files import atomic_file
from metapbt.log import LOGGER
from metapbt.report.figures.style import new_figure
from metapbt.report.toy.figures import (
    MAXIMUM,
    Limits,
    draw_jump,
    draw_plane,
    draw_q,
    member_color,
    member_name,
    plane_limits,
    way,
)
from metapbt.report.toy.trajectories import Array, Jump, MemberTrajectory, Trajectories

Picture = npt.NDArray[np.uint8]

_FRAMES_A_SECOND = 8
_MOST_STEPS_SHOWN = 150  # of longer runs every second, third, ... step
_TIMES_A_JUMP = 3  # how much longer than a step a jump and the end are shown
_TIMES_THE_END = 16
_DPI = 80
_TRAIL = 12  # steps
_NAMED_MEMBERS = 6


class Frame(NamedTuple):
    """What one picture shows.

    Attributes:
        step: everything until this step.
        jumps: the copies (which member, of whom) made before the next step that is shown.
        times: how long it is shown, in frames.
    """

    step: int
    jumps: tuple[tuple[int, Jump], ...] = ()
    times: int = 1


def write_animation(run: Trajectories, title: str, path: Path) -> list[Path]:
    """Write the animation of a run: ``<path>.gif``, and ``<path>.mp4`` where ffmpeg is on the PATH.

    Args:
        run: the ways of its members.
        title: what the run is called.
        path: of the files, without a suffix.

    Returns:
        The files written.
    """
    gif, mp4 = (path.with_name(f"{path.name}.{suffix}") for suffix in ("gif", "mp4"))
    scene, frames = Scene(run, title), frames_of(run)
    pictures = [scene.picture(frame) for frame in frames]
    _write_gif(gif, pictures, frames)
    if not mp4_possible():
        return [gif]
    try:
        _write_mp4(mp4, pictures, frames)
    except (OSError, subprocess.SubprocessError) as error:
        LOGGER.warning("%s has no MP4 beside it, because ffmpeg failed: %s", gif, one_line(error))
        return [gif]
    return [gif, mp4]


def mp4_possible() -> bool:
    """Whether ffmpeg is on the PATH."""
    return FFMpegWriter.isAvailable()


def frames_of(run: Trajectories) -> list[Frame]:
    """The pictures in their order: the steps, and between them the jumps, long enough for the eye to follow."""
    stride = math.ceil(run.steps / _MOST_STEPS_SHOWN)
    shown = sorted({*range(0, run.steps + 1, stride), run.steps})
    frames = []
    for step, following in zip(shown, [*shown[1:], run.steps + 1], strict=True):
        frames.append(Frame(step))
        jumps = tuple((number, jump) for number, jump, _, _ in run.jumps() if step <= jump.step < following)
        if jumps:
            frames.append(Frame(step, jumps, _TIMES_A_JUMP))
    return [*frames[:-1], frames[-1]._replace(times=_TIMES_THE_END)]


def _write_gif(path: Path, pictures: Sequence[Picture], frames: Sequence[Frame]) -> None:
    # One palette for all pictures, made from some of them, and no dithering: smaller, and colours do not flicker.
    some = np.concatenate(pictures[:: max(1, len(pictures) // 12)])
    palette = Image.fromarray(some).quantize(256, dither=Image.Dither.NONE)
    palette.putpalette(_with_white(palette.getpalette() or []))
    images = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(1000 * frame.times / _FRAMES_A_SECOND) for frame in frames]
    with atomic_file(path) as temporary:
        images[0].save(temporary, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


def _with_white(palette: Sequence[int]) -> list[int]:
    """The palette (red, green, blue, red, ...) with what is nearly white, as paper becomes, made white."""
    colors = np.array(palette).reshape(-1, 3)
    colors[(colors > 245).all(axis=1)] = 255
    return [int(part) for part in colors.flatten()]


def _write_mp4(path: Path, pictures: Sequence[Picture], frames: Sequence[Frame]) -> None:
    height, width, _ = pictures[0].shape
    screen = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    image = screen.figimage(pictures[0])
    # Without these ffmpeg writes its version into the file.
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact"]
    writer = FFMpegWriter(fps=_FRAMES_A_SECOND, codec="h264", extra_args=exact)
    with atomic_file(path) as temporary, writer.saving(screen, str(temporary), _DPI):
        for picture, frame in zip(pictures, frames, strict=True):
            image.set_data(picture)
            for _ in range(frame.times):
                writer.grab_frame()


class Scene:
    """What the pictures are made of: the plane, the history of Q, and what each member trains with."""

    def __init__(self, run: Trajectories, title: str) -> None:
        self._run = run
        self._limits = plane_limits([run])
        named = len(run.members[:_NAMED_MEMBERS])
        # Whole and even numbers of pixels, as MP4 needs them.
        self._figure = new_figure(8.4, 4.3 + 0.15 * max(0, named - 2))
        self._figure.dpi = _DPI
        self._canvas = FigureCanvasAgg(self._figure)
        grid = self._figure.add_gridspec(2, 2, width_ratios=[1.25, 1], height_ratios=[1, 0.12 + 0.2 * named])
        self._plane = self._figure.add_subplot(grid[:, 0])
        self._history = self._figure.add_subplot(grid[0, 1])
        self._words = self._figure.add_subplot(grid[1, 1])
        draw_plane(self._plane, self._limits)
        self._plane.set_title(" ")  # keeps room for the number of steps
        self._history.set_xlim(0, run.steps)
        low = min(float(member.q[0]) for member in run.members)
        self._history.set_ylim(min(low, 0.0) - 0.2, MAXIMUM + 0.1)
        self._history.axhline(MAXIMUM, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
        self._history.set_xlabel("steps")
        self._history.set_ylabel("Q")
        self._words.axis("off")
        self._figure.suptitle(title)
        # What does not move is drawn once only.
        self._canvas.draw()
        self._figure.set_layout_engine("none")
        self._still: Any = self._canvas.copy_from_bbox(self._figure.bbox)

    def picture(self, frame: Frame) -> Picture:
        """Draw a frame; return its pixels, shape ``height x width x 3``."""
        axes_list: tuple[Axes, ...] = (self._plane, self._history, self._words)
        still: list[set[Artist]] = [set(axes.get_children()) for axes in axes_list]
        self._draw(frame)
        self._canvas.restore_region(self._still)
        for axes, known in zip(axes_list, still, strict=True):
            moving = [artist for artist in axes.get_children() if artist not in known]
            for artist in sorted(moving, key=lambda artist: artist.zorder):
                axes.draw_artist(artist)
                artist.remove()
        pixels: Picture = np.array(self._canvas.buffer_rgba())[:, :, :3]
        return pixels

    def _draw(self, frame: Frame) -> None:
        run, step = self._run, frame.step
        counted = f"step {step} of {run.steps}"
        self._plane.text(0, 1.015, counted, fontsize=9.5, va="bottom", transform=self._plane.transAxes)
        for number, member in enumerate(run.members):
            self._draw_member(number, member, step)
            draw_q(self._history, run, number, step)
            self._history.plot(
                step, member.q[step], marker="o", markersize=4, color=member_color(number), clip_on=False
            )
        for number, jump in frame.jumps:
            here, there = run.members[number].theta[jump.step], run.taken_over(jump)
            draw_jump(self._plane, here, there, member_color(number), self._limits, width=1.6)
        rows = min(len(run.members), _NAMED_MEMBERS)
        for number in range(rows):
            height = 1 - (number + 0.5) / rows
            self._words.plot(0.01, height, marker="o", markersize=6, color=member_color(number), clip_on=False)
            self._words.text(0.05, height, self._described(number, frame), fontsize=8, va="center", color="0.2")

    def _draw_member(self, number: int, member: MemberTrajectory, step: int) -> None:
        color, plane = member_color(number), self._plane
        plane.plot(*way(self._run, member, 0, step).T, color=color, linewidth=0.9, alpha=0.35, zorder=3)
        trail = member.theta[max(0, step - _TRAIL) : step, :2]
        colors = [to_rgba(color, 0.8 * (1 - age / (_TRAIL + 1))) for age in range(len(trail), 0, -1)]
        plane.scatter(trail[:, 0], trail[:, 1], s=16, linewidths=0, color=colors, zorder=4)
        begun, origin = self._interval(member, step)
        if step > begun:
            _draw_arrow(plane, origin, member.theta[step], color, self._limits)
        # Members at the same place: the later ones are smaller, so that each can be seen.
        size = max(9 - 1.5 * number, 4)
        plane.plot(*member.theta[step, :2], marker="o", markersize=size, color=color, mec="white", mew=0.7, zorder=5)

    def _interval(self, member: MemberTrajectory, step: int) -> tuple[int, Array]:
        """The step at which the interval that led to ``step`` began, and from where."""
        begun = max((end for end in (0, *self._run.ends) if end < step), default=0)
        jumps = {jump.step: jump for jump in member.jumps}
        return begun, self._run.taken_over(jumps[begun]) if begun in jumps else member.theta[begun]

    def _described(self, number: int, frame: Frame) -> str:
        used = self._run.members[number].hyperparameters
        for jump in (jump for jumping, jump in frame.jumps if jumping == number):
            return f"{number} copies {jump.parent}, and goes on with\n{member_name(used[jump.step])}"
        return f"{number} trains with\n{member_name(used[max(0, frame.step - 1)])}"


def _draw_arrow(axes: Axes, origin: Array, here: Array, color: object, limits: Limits) -> None:
    """From where the interval began to where the member is: its direction and length are the hyperparameters' doing."""
    length = math.hypot(*(here - origin)[:2] / limits.width)
    if not length > 0.01:
        return
    axes.add_patch(
        FancyArrowPatch(
            (origin[0], origin[1]),
            (here[0], here[1]),
            arrowstyle="-|>",
            mutation_scale=min(11, 4 + 60 * length),
            linewidth=1.8,
            color=color,
            shrinkA=0,
            shrinkB=3.5,
            zorder=4.5,
        )
    )
