"""How every figure looks, how large it is, and how it is saved."""

from __future__ import annotations

import functools
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from metapbt.errors import MetapbtError
from metapbt.files import atomic_file
from metapbt.report.comparison import QUANTITIES
from metapbt.report.groups import sort_methods
from metapbt.report.palette import method_styles

STEPS_LABEL = "environment steps of each member"
SCORE_LABEL = "return"
MISSING_GREY = "#d9d9d9"
TEXT_GREY = "#555555"
FORMATS = ("png", "pdf", "svg")
#: Of all text in a figure whose width is given, in points.
PAPER_TEXT = 8.0
#: Narrower figures have short labels, in inches.
WIDE = 6.5
#: Share of the scores at each end that may lie beyond a colour scale: few failures would take it up.
OUTSIDE = 0.02
_LETTER_EMS = 0.62
_MOST_LAYOUTS = 5
_INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
#: What a figure says of itself in a file: nothing that changes.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
Drawn = ParamSpec("Drawn")


def inches(width: str) -> float:
    """A width such as ``5.5in``, ``14cm``, ``140mm`` or ``397pt`` (TeX's points, 72.27 to the inch) in inches.

    Raises:
        MetapbtError: it is none, or no figure would fit in it.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(in|cm|mm|pt)\s*", width)
    if found is None:
        raise MetapbtError(f"a width must be a number with in, cm, mm or pt, such as 5.5in, got {width!r}")
    number = float(found[1]) * _INCHES[found[2]]
    if not 2 <= number <= 40:
        raise MetapbtError(f"a width must be from 2in to 40in, got {width}")
    return number


@contextmanager
def figure_style(width: float | None = None) -> Iterator[None]:
    """Matplotlib settings for drawing and saving, put back at the end.

    Args:
        width: in inches, of a figure for a paper, whose text is of 8 points throughout; None for the page.
    """
    settings = {
        **sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}),
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "figure.titlesize": 11,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "hatch.linewidth": 0.6,
        "pdf.fonttype": 42,  # embeds fonts as text that editors can change
        "svg.hashsalt": "metapbt",
        "svg.fonttype": "path",  # looks the same where the font is not installed
    }
    if width is not None:
        sizes = ("axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
        settings |= dict.fromkeys(("font.size", "figure.titlesize", "figure.labelsize", *sizes), PAPER_TEXT)
        settings |= {"legend.handlelength": 1.6, "legend.columnspacing": 1.2, "legend.handletextpad": 0.5}
    with mpl.rc_context(settings):
        yield


def color_range(scores: pd.Series) -> tuple[float, float]:
    """The lowest and the highest known score but for the outermost, between which colours differ."""
    known = scores.dropna()
    if known.empty:
        return 0.0, 1.0
    low, high = known.quantile(OUTSIDE, interpolation="lower"), known.quantile(1 - OUTSIDE, interpolation="higher")
    return float(low), float(high)


def color_scale(scores: pd.Series) -> tuple[Normalize, str]:
    """The colours of these scores, and at which ends of the colour bar some lie beyond it."""
    low, high = color_range(scores)
    beyond = bool((scores < low).any()), bool((scores > high).any())
    ends = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}
    return Normalize(low, high), ends[beyond]


def text_size(points: float) -> float:
    """The size of a small text: so many points on the page, and that of all text in a paper."""
    return PAPER_TEXT if mpl.rcParams["font.size"] == PAPER_TEXT else points


def styled(draw: Callable[Drawn, Figure]) -> Callable[Drawn, Figure]:
    """Let a function draw in the style of all figures, whoever calls it; it takes ``width`` by its name."""

    @functools.wraps(draw)
    def drawn(*args: Drawn.args, **kwargs: Drawn.kwargs) -> Figure:
        width = kwargs.get("width")
        with figure_style(width if isinstance(width, int | float) else None):
            figure = draw(*args, **kwargs)
            # Matplotlib makes ticks when it needs them, in the style of that moment. They change as panels get their
            # sizes, and panels change with them.
            where: list[tuple[float, ...]] | None = None
            for _ in range(_MOST_LAYOUTS):
                before, where = where, [tuple(np.round(axes.get_position().bounds, 4)) for axes in figure.axes]
                if before == where:
                    break
                figure.draw_without_rendering()
        return figure

    return drawn


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure whose labels are kept apart and inside."""
    paper = mpl.rcParams["font.size"] == PAPER_TEXT
    return Figure(figsize=(width_inches, height_inches), layout=ConstrainedLayoutEngine(w_pad=0.045 if paper else 0.09))


def steps_formatter() -> EngFormatter:
    """Environment steps as ``20k`` or ``1.5M``."""
    return EngFormatter(sep="")


def legend_handles(methods: Sequence[str], line: bool) -> list[Line2D]:
    """One legend entry for each method."""
    return [
        Line2D([], [], color=style.color, marker=style.marker, ls=style.linestyle if line else "", ms=5, label=name)
        for name, style in method_styles(methods).items()
    ]


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above everything, with as many columns as fit."""
    size = mpl.rcParams["legend.fontsize"]
    widths = [(len(str(handle.get_label())) * _LETTER_EMS + 4.0) * size / 72 for handle in handles]

    def needed(columns: int) -> float:
        rows = -(-len(widths) // columns)  # Matplotlib fills one column after another
        return sum(max(widths[start : start + rows]) for start in range(0, len(widths), rows))

    fitting = [n for n in range(len(handles), 0, -1) if needed(n) <= figure.get_figwidth()]
    figure.legend(handles=handles, loc="outside upper center", ncols=fitting[0] if fitting else 1)


def quantity_label(quantity: str, width: float | None) -> str:
    """What a quantity of runs is called, shortly in a narrow figure."""
    if quantity == "area" and width is not None and width < WIDE:
        return "area"
    return QUANTITIES.get(quantity, quantity)


def text_inches(text: str) -> float:
    """About how wide a text is, in the size of labels."""
    return len(text) * _LETTER_EMS * mpl.rcParams["font.size"] / 72


def wrapped(text: str, inches: float) -> str:
    """A label in as many lines as it needs to be so wide."""
    return textwrap.fill(text, max(10, int(inches / text_inches("x"))))


def methods_in(data: pd.DataFrame) -> list[str]:
    """The methods of a table, in the order of figures."""
    return sort_methods(dict.fromkeys(data["method"]))


def contexts_in(data: pd.DataFrame) -> list[str]:
    """The contexts of a table, in its order."""
    return list(dict.fromkeys(data["context"]))


def feature_in(data: pd.DataFrame) -> str:
    """What its contexts differ in: the names of the columns between ``learner`` and ``context``."""
    columns = list(data.columns)
    known = "learner" in columns and "context" in columns
    return ", ".join(columns[columns.index("learner") + 1 : columns.index("context")] if known else []) or "context"


def context_rows(
    contexts: Sequence[str], methods: int, feature: str, width: float | None, height: float
) -> tuple[Figure, list[tuple[Axes, list[str]]]]:
    """A figure with contexts side by side, each with so many methods, in as many rows as that takes.

    Args:
        contexts: their labels; slanted where they would not fit.
        methods: in each context.
        feature: what contexts differ in, along the last row.
        width: in inches; None for as many as suit the page.
        height: of the panel of a row, in inches.

    Returns:
        the figure, and of each row its axes and contexts; context i of a row is at i.
    """
    each = max(0.26 * methods if width is None else 0.11 * methods + 0.1, 0.35)
    room = (11.0 if width is None else width) - 0.8
    rows = math.ceil(len(contexts) * each / room)
    in_row = math.ceil(len(contexts) / rows)
    rows = math.ceil(len(contexts) / in_row)
    inches = max(6.5, in_row * each + 0.8) if width is None else width
    slanted = (max(map(text_inches, contexts)) + 0.1) * in_row > inches - 0.8
    figure = new_figure(inches, rows * (height + 0.45 * slanted) + 0.8)
    panels = figure.subplots(rows, 1, sharey=True, squeeze=False)[:, 0]
    shown = []
    for row, axes in enumerate(panels):
        of_row = list(contexts[row * in_row : (row + 1) * in_row])
        axes.set_xlim(-0.5, in_row - 0.5)
        axes.set_xticks(range(len(of_row)), of_row)
        for label in axes.get_xticklabels() if slanted else ():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
        for position in range(len(of_row) - 1):
            axes.axvline(position + 0.5, color="0.9", linewidth=0.8)
        axes.grid(False, axis="x")
        shown.append((axes, of_row))
    panels[-1].set_xlabel(feature)
    return figure, shown


def save_figure(figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS) -> None:
    """Write the figure in each format, byte for byte the same for the same numbers, as wide as it was made."""
    with figure_style():
        _settle(figure)
        for suffix in formats:
            with atomic_file(folder / f"{name}.{suffix}") as temporary:
                figure.savefig(temporary, format=suffix, dpi=150, metadata=_METADATA[suffix])


def _settle(figure: Figure) -> None:
    """Leave panels where they are; the last digits of that differ from time to time, and SVG names clips by them."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6).tolist())
