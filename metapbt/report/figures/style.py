"""How every figure looks: a method has the same colour and marker wherever it appears."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from metapbt.files import atomic_file
from metapbt.population.explorers import METHODS
from metapbt.report.groups import sort_methods

STEPS_LABEL = "environment steps of each member"
SCORE_LABEL = "return"
MISSING_GREY = "#d9d9d9"
TEXT_GREY = "#555555"
SOURCE_COLOR = "#d55e00"
FORMATS = ("png", "pdf")


class MethodStyle(NamedTuple):
    """Colour and marker of a method."""

    color: str
    marker: str


# From Seaborn's colour-blind-safe palette, darkened where it is faint on white. The methods that are compared
# most are the furthest apart, and markers tell them apart in print without colour.
_STYLES = dict(
    zip(
        METHODS,
        [
            MethodStyle("#7f7f7f", "s"),
            MethodStyle("#c4ad00", "v"),
            MethodStyle("#8c5a2b", "P"),
            MethodStyle("#56b4e9", "^"),
            MethodStyle("#0173b2", "o"),
            MethodStyle("#e78ac3", "<"),
            MethodStyle("#029e73", "p"),
            MethodStyle("#7b4fa3", "h"),
            MethodStyle("#ca2f66", "d"),
            MethodStyle("#1b1f6b", "8"),
            MethodStyle("#d55e00", "D"),
        ],
        strict=True,
    )
)
_OTHER_STYLES = (MethodStyle("#222222", "X"), MethodStyle("#de8f05", ">"), MethodStyle("#6c8f00", "*"))


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """The style of each method, in the order of figures; unknown methods share three styles."""
    ordered = sort_methods(methods)
    others = [name for name in ordered if name not in _STYLES]
    return {
        name: _STYLES[name] if name in _STYLES else _OTHER_STYLES[others.index(name) % len(_OTHER_STYLES)]
        for name in ordered
    }


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib settings for drawing and saving, put back at the end."""
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
    }
    with mpl.rc_context(settings):
        yield


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure whose labels are kept apart and inside."""
    return Figure(figsize=(width_inches, height_inches), layout=ConstrainedLayoutEngine(w_pad=0.09))


def steps_formatter() -> EngFormatter:
    """Environment steps as ``20k`` or ``1.5M``."""
    return EngFormatter(sep="")


def legend_handles(methods: Sequence[str], line: bool) -> list[Line2D]:
    """One legend entry for each method."""
    return [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="-" if line else "", label=name)
        for name, style in method_styles(methods).items()
    ]


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write the figure as PNG and PDF, byte for byte the same for the same numbers."""
    for suffix in FORMATS:
        with atomic_file(folder / f"{name}.{suffix}") as temporary:
            metadata = {"Software": None} if suffix == "png" else {"CreationDate": None}
            figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
