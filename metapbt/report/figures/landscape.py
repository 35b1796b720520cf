"""Landscapes: what a surrogate forecast over two hyperparameters, and how unsure it was."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from metapbt.report.figures.style import new_figure, styled, text_size
from metapbt.report.landscape import CHANGE
from metapbt.store.table import HYPERPARAMETER

MEAN_COLORS, DEVIATION_COLORS = "viridis", "cividis"  # both told apart without colour
LEVELS = 12
FLAT = 1e-3  # of its size: what varies less says nothing about these two
SUGGESTED = "#d55e00"
QUANTITIES = {"mean": MEAN_COLORS, "deviation": DEVIATION_COLORS}


@styled
def draw_landscape(view: pd.DataFrame, tried: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A row for each model: its mean on the left, its deviation on the right, each on its own scale; the points tried.

    Args:
        view: as `metapbt.report.landscape.surrogate_view` gives it.
        tried: as `metapbt.report.landscape.tried_points` gives it, of the same generation.
        width: in inches, of a figure for a paper; None for the page.
    """
    models = list(dict.fromkeys(view["model"]))
    figure = new_figure(width or 6.6, 2.5 * len(models) + 0.6)
    panels = figure.subplots(len(models), len(QUANTITIES), squeeze=False, sharex=True, sharey=True)
    for column, (quantity, colors) in enumerate(QUANTITIES.items()):
        for row, model in enumerate(models):
            axes = panels[row, column]
            _draw_surface(figure, axes, view[view["model"] == model], quantity, colors)
            _draw_points(axes, view, tried)
            axes.set_title(f"{model}: {quantity}", loc="left")
            axes.grid(visible=False)
    _label(panels, view)
    figure.legend(handles=_key(tried), loc="outside lower center", ncols=3 if width is None or width > 5 else 2)
    return figure


def _draw_surface(figure: Figure, axes: Axes, here: pd.DataFrame, quantity: str, colors: str) -> None:
    grid = here.pivot(index="y", columns="x", values=quantity)
    low, high = float(here[quantity].min()), float(here[quantity].max())
    unit = "change of return" if here["unit"].iloc[0] == CHANGE else "standard score"
    x, y = (labels.to_numpy(dtype=float) for labels in (grid.columns, grid.index))
    if high - low <= FLAT * max(abs(low), abs(high)):
        axes.set_facecolor(mpl.colormaps[colors](0.5))
        axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        axes.text(
            0.5,
            0.5,
            f"{unit} {low:.3g}\nwherever",
            transform=axes.transAxes,
            ha="center",
            fontsize=text_size(8),
            bbox=box,
        )
        return
    levels = np.linspace(low, high, LEVELS + 1)
    bar = figure.colorbar(axes.contourf(x, y, grid.to_numpy(), levels, cmap=colors), ax=axes, ticks=MaxNLocator(4))
    bar.ax.tick_params(labelsize=text_size(7.5))
    bar.set_label(unit, fontsize=text_size(7.5))


def _draw_points(axes: Axes, view: pd.DataFrame, tried: pd.DataFrame) -> None:
    x, y = (f"{HYPERPARAMETER}{view.attrs[name]}" for name in ("x", "y"))
    before, coming = (tried[tried["kind"] == kind].dropna(subset=[x, y]) for kind in ("tried", "suggested"))
    newest = before["generation"] == before["generation"].max()
    for some, size in ((before[~newest], 8), (before[newest], 20)):
        axes.scatter(
            some[x], some[y], s=size, color="white", edgecolors="black", linewidths=0.6, zorder=3, clip_on=False
        )
    axes.scatter(
        coming[x], coming[y], s=110, marker="*", color=SUGGESTED, edgecolors="white", linewidths=0.8, zorder=4,
        clip_on=False,
    )  # fmt: skip


def _key(tried: pd.DataFrame) -> list[Line2D]:
    def dot(size: float, label: str) -> Line2D:
        return Line2D(
            [], [], marker="o", linestyle="", markersize=size, color="white", markeredgecolor="black", label=label
        )

    handles = [dot(3, "tried"), dot(5, "tried last")]
    if (tried["kind"] == "suggested").any():
        handles.append(
            Line2D([], [], marker="*", linestyle="", markersize=10, color=SUGGESTED, label="what the method chose next")
        )
    return handles


def _label(panels: np.ndarray, view: pd.DataFrame) -> None:
    for place, name in enumerate(("x", "y")):
        for axes in panels[-1, :] if name == "x" else panels[:, 0]:
            (axes.set_xlabel if name == "x" else axes.set_ylabel)(view.attrs[name])
        if not view.attrs["log"][place]:
            for axes in panels.flat:
                axes.locator_params(name, nbins=4)
                axes.ticklabel_format(axis=name, scilimits=(-3, 5))
        if view.attrs["log"][place]:
            for axes in panels.flat:
                (axes.set_xscale if name == "x" else axes.set_yscale)("log")
