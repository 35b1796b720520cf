"""One look for each method wherever it appears: in figures, on the page, on white and on dark.

``benchmarks/palette.py`` searched for these colours. Of the methods that are compared most any two are at least 18
apart in CAM02-UCS, in normal vision as well as in full deuteranopia and protanopia (Machado et al., 2009). The others
are nearer to some; their lines are dashed, and everybody's marker is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metapbt.report.groups import sort_methods

#: What is not a method's: text about sources, frames around them, marks of what is missing.
SOURCE_GREY = "#6e6e6e"


class MethodStyle(NamedTuple):
    """How a method looks.

    Attributes:
        color: on a white page, as ``#rrggbb``; its contrast with it is at least 3:1.
        marker: Matplotlib's.
        dash: lengths of lines and gaps in units of the line's width; empty for a solid line.
        dark: its colour on a dark page (``#16181c``), of a like hue.
    """

    color: str
    marker: str
    dash: tuple[float, ...]
    dark: str

    @property
    def linestyle(self) -> str | tuple[int, tuple[float, ...]]:
        """The dash as Matplotlib has it."""
        return (0, self.dash) if self.dash else "-"


_DASHED, _DOTTED, _BOTH = (4.0, 1.5), (1.5, 1.2), (5.0, 1.2, 1.5, 1.2)
METHOD_STYLES = {
    "default": MethodStyle("#6996a5", "s", (), "#a5f0f0"),
    "random": MethodStyle("#870f78", "v", (), "#875a87"),
    "grid": MethodStyle("#875a78", "P", _DASHED, "#b40fb4"),
    "pbt": MethodStyle("#966900", "^", (), "#c39600"),
    "gpbt_pl": MethodStyle("#74a200", "$\u2663$", _DOTTED, "#74b95d"),
    "pb2": MethodStyle("#2d2de1", "o", (), "#c3a5ff"),
    "pb2_rand": MethodStyle("#b40f5a", "<", _DASHED, "#b47869"),
    "pb2_mult": MethodStyle("#5a69b4", "p", _DASHED, "#5a96c3"),
    "pb2_mix": MethodStyle("#f06969", "h", (), "#b43c1e"),
    "bg_pbt": MethodStyle("#1e5a4b", "d", (), "#78ff69"),
    "ipbt": MethodStyle("#0f7d8c", ".", _DASHED, "#3cb4a0"),
    "meta_bg_pbt": MethodStyle("#a578ff", "8", (), "#2d69ff"),
    "meta_pb2": MethodStyle("#870f00", "D", (), "#ff87a5"),
}
#: Of runs under names of their own, in the names' order.
OTHER_STYLES = (
    MethodStyle("#222222", "X", _DASHED, "#e8e8e8"),
    MethodStyle("#b85c00", ">", _BOTH, "#ff9d3b"),
    MethodStyle("#3d7d00", "*", _DOTTED, "#7fd13f"),
    MethodStyle("#7a7a7a", "H", _BOTH, "#a8a8a8"),
)


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """The style of each method, in the order of figures; the first sixteen names of one's own have a style each."""
    ordered = sort_methods(methods)
    others = [name for name in ordered if name not in METHOD_STYLES]
    return {name: METHOD_STYLES[name] if name in METHOD_STYLES else _other(others.index(name)) for name in ordered}


def _other(place: int) -> MethodStyle:
    """One of four colours in turn; from round to round with the marker and the dash of the next."""
    count = len(OTHER_STYLES)
    mark = OTHER_STYLES[(place + place // count) % count]
    return OTHER_STYLES[place % count]._replace(marker=mark.marker, dash=mark.dash)
