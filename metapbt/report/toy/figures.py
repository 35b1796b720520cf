"""The toy's figures: the plane of parameters with every member's way, and the history of Q."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from metapbt.report.figures.curves import column_count
from metapbt.report.figures.style import TEXT_GREY, new_figure
from metapbt.report.toy.trajectories import Array, MemberTrajectory, Trajectories
from metapbt.space import Hyperparameters

MAXIMUM = 1.2

_COLORS = ("#0173b2", "#d55e00", "#029e73", "#7b4fa3", "#c4ad00", "#8c5a2b", "#e78ac3", "#56b4e9")
_LEVELS = (-6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.1, 1.18)
_LARGEST_POINT, _SMALLEST_POINT = 42.0, 3.0  # areas in square points
_LABEL_GAP = 0.075  # between iteration labels, as a share of a panel
_DESCRIBED_MEMBERS = 8
_BELOW_LABELS = 34  # points from a panel to its legend


def draw_trajectories(runs: Sequence[Trajectories], titles: Sequence[str]) -> Figure:
    """A panel for each run: the plane of theta0 and theta1 over lines of equal Q, with every step of each member."""
    figure, panels = _panels(len(runs), 3.5, 3.3, _legend_rows(runs))
    limits = plane_limits(runs)
    for axes, run, title in zip(panels, runs, titles, strict=True):
        draw_plane(axes, limits)
        for number in range(len(run.members)):
            _draw_way(axes, run, number)
        for number, _, before, taken_over in run.jumps():
            draw_jump(axes, before, taken_over, member_color(number), limits)
        _label_iterations(axes, run, limits)
        axes.set_title(title, loc="left")
        _describe_members(axes, run, points=True)
    figure.suptitle("Parameters during training")
    handles = [
        Line2D([], [], color="0.3", linestyle=(0, (3, 2)), linewidth=0.9, marker=">", markersize=3, label="copies"),
        Line2D([], [], color="0.3", linestyle="", marker="*", markersize=8, label="maximum of Q"),
        Line2D([], [], color="0.3", linestyle="", marker="o", markersize=4, label="a step (smaller: later)"),
    ]
    if not any(run.copies for run in runs):
        del handles[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_history(runs: Sequence[Trajectories], titles: Sequence[str]) -> Figure:
    """A panel for each run: Q of each member after each step; a copy is a vertical line to its parent's Q."""
    figure, panels = _panels(len(runs), 3.3, 2.4, _legend_rows(runs))
    for axes, run, title in zip(panels, runs, titles, strict=True):
        for number in range(len(run.members)):
            draw_q(axes, run, number, run.steps)
        axes.axhline(MAXIMUM, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        axes.set_xlabel("steps")
        axes.set_ylabel("Q")
        axes.set_title(title, loc="left")
        _describe_members(axes, run, points=False)
    low = min(_finite_minimum(member.q) for run in runs for member in run.members)
    for axes in panels:
        axes.set_ylim(max(low, -3 * MAXIMUM) - 0.06, MAXIMUM + 0.08)
    figure.suptitle(f"History of Q (dotted: its maximum, {MAXIMUM:g}; dashed: a copy)")
    return figure


def quadratic_q(theta0: Array, theta1: Array) -> Array:
    """Q where all further parameters are at their best."""
    height: Array = MAXIMUM - 3 / 4 * theta0**2 - theta1**2
    return height


def member_color(number: int) -> Any:
    """A member's colour wherever it appears."""
    return _COLORS[number] if number < len(_COLORS) else sns.husl_palette(24)[(number - len(_COLORS)) * 7 % 24]


def member_name(hyperparameters: Hyperparameters) -> str:
    """Hyperparameters as ``h = (1, 0), learning rate 0.05``."""
    coefficients = ", ".join(
        f"{float(value):.3g}" for name, value in hyperparameters.items() if name != "learning_rate"
    )
    return f"h = ({coefficients}), learning rate {float(hyperparameters['learning_rate']):.3g}"


class Limits(NamedTuple):
    """What part of the plane is shown."""

    low: Array
    high: Array

    @property
    def width(self) -> Array:
        """Of the part, in both directions."""
        return self.high - self.low


def plane_limits(runs: Sequence[Trajectories]) -> Limits:
    """The part of the plane that holds every step and the maximum; of members that diverge, the beginning."""
    points = np.concatenate([member.theta[:, :2] for run in runs for member in run.members] + [np.zeros((1, 2))])
    furthest = 2 * max(float(np.abs(run.members[0].theta[0, :2]).max()) for run in runs) or 1.0
    points = np.clip(points[np.isfinite(points).all(axis=1)], -furthest, furthest)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.09 * np.maximum(high - low, 0.1)
    return Limits(low - margin, high + margin)


def draw_plane(axes: Axes, limits: Limits) -> None:
    """Lines of equal Q, and its maximum."""
    grid0, grid1 = np.meshgrid(*np.linspace(limits.low, limits.high, 80).T)
    lines = axes.contour(
        grid0, grid1, quadratic_q(grid0, grid1), _LEVELS, colors="0.8", linewidths=0.7, linestyles="solid", zorder=1
    )
    axes.clabel(lines, fontsize=6, colors="0.55", fmt="%g")
    axes.plot(0, 0, marker="*", color="0.3", markersize=9, linestyle="", zorder=2)
    axes.grid(visible=False)
    axes.set_xlim(limits.low[0], limits.high[0])
    axes.set_ylim(limits.low[1], limits.high[1])
    axes.set_xlabel(r"$\theta_0$")
    axes.set_ylabel(r"$\theta_1$")


def draw_jump(axes: Axes, before: Array, taken_over: Array, color: Any, limits: Limits, width: float = 0.8) -> None:
    """A dashed arrow from where a member was to where its parent is, unless it would be all head."""
    if not math.hypot(*(taken_over - before)[:2] / limits.width) > 0.02:  # not so either where something is NaN
        return
    axes.add_patch(
        FancyArrowPatch(
            (before[0], before[1]),
            (taken_over[0], taken_over[1]),
            arrowstyle="-|>",
            mutation_scale=7,
            linestyle=(0, (3, 2)),
            linewidth=width,
            color=color,
            alpha=0.85,
            shrinkA=0,
            shrinkB=1,
            zorder=3,
        )
    )


def way(run: Trajectories, member: MemberTrajectory, first: int, last: int) -> Array:
    """The points of a member from step ``first`` to ``last``, as a line that breaks where it jumped."""
    jumped = {jump.step: jump for jump in member.jumps}
    points = [member.theta[first, :2]]
    for step in range(first, last):
        if step in jumped:
            points += [np.full(2, np.nan), run.taken_over(jumped[step])[:2]]
        points.append(member.theta[step + 1, :2])
    return np.array(points)


def draw_q(axes: Axes, run: Trajectories, number: int, until: int) -> None:
    """One member's Q up to a step."""
    member, color = run.members[number], member_color(number)
    begin = 0
    steps: list[float] = []
    values: list[float] = []
    jump_steps: list[float] = []
    jump_values: list[float] = []
    for jump in (*member.jumps, None):
        end = until if jump is None else min(jump.step, until)
        steps += [*range(begin, end + 1), math.nan]
        values += [*member.q[begin : end + 1], math.nan]
        if jump is None or jump.step > until or (jump.step == until and until < run.steps):
            break
        taken_over = run.members[jump.parent].q[jump.parent_step]
        jump_steps += [jump.step, jump.step, math.nan]
        jump_values += [member.q[jump.step], taken_over, math.nan]
        steps.append(jump.step)
        values.append(taken_over)
        begin = jump.step + 1
    axes.plot(jump_steps, jump_values, color=color, linestyle=(0, (2, 1)), linewidth=0.9)
    axes.plot(steps, values, color=color, linewidth=1.4, zorder=2.5 + 0.01 * number)


def _panels(count: int, width: float, height: float, legend_rows: int) -> tuple[Figure, list[Axes]]:
    columns = column_count(count)
    rows = math.ceil(count / columns)
    figure = new_figure(width * columns + 0.3, (height + 0.2 * legend_rows) * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _legend_rows(runs: Sequence[Trajectories]) -> int:
    return max(_rows_for(len(run.members)) for run in runs)


def _rows_for(members: int) -> int:
    return members if members <= _DESCRIBED_MEMBERS else math.ceil(members / 4)


def _describe_members(axes: Axes, run: Trajectories, points: bool) -> None:
    """A legend below the panel: what each member began with, or its number only where there are many."""
    few = len(run.members) <= _DESCRIBED_MEMBERS
    handles = [
        Line2D(
            [],
            [],
            color=member_color(number),
            marker="o" if points else "",
            markersize=4,
            markerfacecolor=_point_face(number),
            linewidth=1.2,
            label=f"{number}: {member_name(member.hyperparameters[0])}" if few else str(number),
        )
        for number, member in enumerate(run.members)
    ]
    title = "members, and what they began with" if few else "members"
    legend = axes.legend(
        handles=handles,
        title=title,
        title_fontsize=7.5,
        fontsize=7.5,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -_BELOW_LABELS / 72, axes.figure.dpi_scale_trans),
        ncols=1 if few else 4,
        borderaxespad=0,
        alignment="left",
    )
    legend.get_title().set_color(TEXT_GREY)


def _draw_way(axes: Axes, run: Trajectories, number: int) -> None:
    member, color = run.members[number], member_color(number)
    axes.plot(*way(run, member, 0, run.steps).T, color=color, linewidth=0.8, alpha=0.6, zorder=3)
    sizes = np.linspace(_LARGEST_POINT, _SMALLEST_POINT, run.steps + 1)
    axes.scatter(
        member.theta[:, 0],
        member.theta[:, 1],
        s=sizes,
        facecolors=_point_face(number),
        edgecolors=color,
        alpha=0.8,
        linewidths=0.8,
        zorder=4,
    )


def _point_face(number: int) -> Any:
    """Every second member's points are rings, so that a member below can be seen."""
    return "none" if number % 2 else member_color(number)


def _label_iterations(axes: Axes, run: Trajectories, limits: Limits) -> None:
    """The number of steps at the start and at each interval's end, where there is room for it."""
    taken: list[Array] = []
    halo = [withStroke(linewidth=1.8, foreground="white")]
    for step in (0, *run.ends):
        for number, member in enumerate(run.members):
            place = (member.theta[step, :2] - limits.low) / limits.width
            if not all(math.hypot(*(place - other)) > _LABEL_GAP for other in taken):
                continue
            if not ((place > 0) & (place < 1)).all():
                continue
            taken.append(place)
            axes.annotate(
                str(step),
                (float(member.theta[step, 0]), float(member.theta[step, 1])),
                (4, 4),
                textcoords="offset points",
                fontsize=7,
                color=member_color(number) if step else TEXT_GREY,
                path_effects=halo,
                zorder=6,
            )


def _finite_minimum(values: Array) -> float:
    return float(values[np.isfinite(values)].min())
