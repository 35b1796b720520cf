"""Who is replaced by whom, one file for each way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.population.selection.backtracking import Backtracking
from metapbt.population.selection.base import Exploit, Selection
from metapbt.registry import check_settings, lookup, making

__all__ = ["SELECTIONS", "Exploit", "Selection", "make_selection"]

SELECTIONS = {
    "truncation": "metapbt.population.selection.truncation:Truncation",
    "multiple_frequencies": "metapbt.population.selection.multiple_frequencies:MultipleFrequencies",
}


def make_selection(settings: Mapping[str, Any], size: int, quantile: float) -> Selection:
    """Make a selection.

    Args:
        settings: its ``name``, a known one or one's own as ``package.module:Class``; ``backtrack``, whether copies
            start from the best checkpoint ever; and its own settings, as in ``conf/selection/<name>.yaml``.
        size: members.
        quantile: the worst quantile copies from the best one, in [0, 0.5].

    Raises:
        MetapbtError: the name or a setting is unknown or out of range.
    """
    own = dict(settings)
    name, backtrack = own.pop("name", None), own.pop("backtrack", False)
    if not isinstance(backtrack, bool):
        raise MetapbtError(f"selection.backtrack must be true or false, got {backtrack!r}")
    made_by = lookup("selection", name, SELECTIONS)
    check_settings(f"setting of selection {name}", made_by, own, positional=2, also_known=["backtrack"])
    with making("selection", name):
        selection: Selection = made_by(size, quantile, **own)
    return Backtracking(selection) if backtrack else selection
