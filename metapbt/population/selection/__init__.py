"""Who is replaced by whom, one file for each way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.population.selection.base import Exploit, Selection
from metapbt.registry import lookup

__all__ = ["SELECTIONS", "Exploit", "Selection", "make_selection"]

SELECTIONS = {
    "truncation": "metapbt.population.selection.truncation:Truncation",
    "multiple_frequencies": "metapbt.population.selection.multiple_frequencies:MultipleFrequencies",
}


def make_selection(name: str, size: int, quantile: float, settings: Mapping[str, Any]) -> Selection:
    """Make a selection by name, or one's own as ``package.module:Class``.

    Raises:
        MetapbtError: the name or a setting is unknown or out of range.
    """
    try:
        selection: Selection = lookup("selection", name, SELECTIONS)(size, quantile, **settings)
    except TypeError as error:
        raise MetapbtError(f"selection '{name}': {error}") from error
    return selection
