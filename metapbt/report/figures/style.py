"""How every figure looks: a method has the same colour and marker wherever it appears."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from metapbt.files import atomic_file
from metapbt.report.palette import method_styles

STEPS_LABEL = "environment steps of each member"
SCORE_LABEL = "return"
MISSING_GREY = "#d9d9d9"
TEXT_GREY = "#555555"
FORMATS = ("png", "pdf")


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
