"""Names that users write in YAML, and the classes behind them, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError, unknown_name


def settings_of(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a chosen method, learner or executor: all of its keys but ``name``."""
    return {key: value for key, value in choice.items() if key != "name"}


def lookup(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Return the object behind ``name``: an entry of ``table``, or one's own as ``package.module:Object``.

    Args:
        kind: what the name is, for the error message (``"method"``, ``"learner"``).
        name: a key of ``table``, or ``"package.module:Object"`` for code outside metapbt.
        table: known names with their ``"package.module:Object"``.

    Raises:
        MetapbtError: the name is unknown (with the nearest known one), or its module cannot be imported.
    """
    if ":" not in name and name not in table:
        raise unknown_name(kind, name, table)
    module_name, _, attribute = table.get(name, name).partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise MetapbtError(f"{kind} '{name}' cannot be loaded: {error}") from error
