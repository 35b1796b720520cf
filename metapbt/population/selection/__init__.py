"""Who is replaced by whom, one file for each way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.plain import whole_number
from metapbt.population.selection.backtracking import Backtracking
from metapbt.population.selection.base import Exploit, Selection
from metapbt.population.selection.grace import Grace
from metapbt.population.selection.lead import Lead
from metapbt.registry import check_settings, lookup_class, making

__all__ = ["SELECTIONS", "Exploit", "Selection", "make_selection"]

SELECTIONS = {
    "truncation": "metapbt.population.selection.truncation:Truncation",
    "pairwise": "metapbt.population.selection.pairwise:Pairwise",
    "multiple_frequencies": "metapbt.population.selection.multiple_frequencies:MultipleFrequencies",
}
#: What every selection has beside its own settings, and what it is where it is left out.
COMMON = {"backtrack": False, "lead": None, "lead_return": None, "grace": None}
LONGEST_GRACE = 10**6


def make_selection(settings: Mapping[str, Any], size: int, quantile: float) -> Selection:
    """Make a selection.

    Args:
        settings: its ``name``, a known one or one's own as ``package.module:Class``; its own settings, as in
            ``conf/selection/<name>.yaml``; and what every selection may have: ``lead`` and ``lead_return`` (`Lead`),
            ``grace`` (`Grace`), and ``backtrack``, whether copies start from the best checkpoint ever.
        size: members.
        quantile: the worst quantile copies from the best one, in [0, 0.5].

    Raises:
        MetapbtError: the name or a setting is unknown or out of range.
    """
    own = dict(settings)
    name = own.pop("name", None)
    backtrack, lead, lead_return, grace = (own.pop(key, usual) for key, usual in COMMON.items())
    if not isinstance(backtrack, bool):
        raise MetapbtError(f"selection.backtrack must be true or false, got {backtrack!r}")
    made_by = lookup_class("selection", name, SELECTIONS, Selection)
    check_settings("selection", name, made_by, own, positional=2, also_known=COMMON)
    with making("selection", name):
        selection: Selection = made_by(size, quantile, **own)
    grace = 0 if grace is None else whole_number("selection.grace", grace, 0, LONGEST_GRACE)
    if grace:
        selection = Grace(selection, grace)
    if lead is not None or lead_return is not None:
        selection = Lead(selection, lead, lead_return)
    return Backtracking(selection, grace) if backtrack else selection
