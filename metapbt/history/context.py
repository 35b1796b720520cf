"""What tells contexts apart."""

from __future__ import annotations

from collections.abc import Mapping

ContextKey = tuple[tuple[str, float], ...]


def context_key(context: Mapping[str, float]) -> ContextKey:
    """What tells contexts apart: the same features with the same values, in any order, give the same key."""
    return tuple(sorted(context.items()))
