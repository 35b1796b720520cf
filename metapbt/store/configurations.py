"""Configurations of runs beside each other: in what they differ that changes records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metapbt.errors import shown
from metapbt.history import with_newer

# What may differ between the parts of one run: where and how it is computed, not what.
_IRRELEVANT = {"executor", "results_dir", "resume", "scripts", "cluster", "versions", "callbacks", "name", "on_failure"}
_MOST_TOLD = 2

#: A key, and what it is in one configuration and in the other; None where one lacks it.
Difference = tuple[str, Any, Any]


def differences(one: Mapping[str, Any], other: Mapping[str, Any], but: Collection[str] = ()) -> list[Difference]:
    """In what two configurations differ, by key in alphabetical order.

    Args:
        one: configuration, as in ``config.yaml``.
        other: configuration.
        but: further keys that may differ.
    """
    before, now = _relevant(one), _relevant(other)
    return [
        (key, before.get(key), now.get(key))
        for key in sorted((before.keys() | now.keys()) - set(but))
        if before.get(key) != now.get(key)
    ]


def in_words(differing: Sequence[Difference], both: str = "{} and {}") -> str:
    """The first of them, and how many more there are: ``a.b (1 and 2); and 3 more``.

    Args:
        differing: what differs.
        both: how the two values are told.
    """
    told = [f"{key} ({both.format(shown(one, 24), shown(other, 24))})" for key, one, other in differing[:_MOST_TOLD]]
    more = len(differing) - len(told)
    return "; ".join([*told, *([f"and {more} more"] if more else [])])


def _relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, flat, without what does not change the records."""
    flat: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    relevant = {key: value for key, value in config.items() if key not in _IRRELEVANT}
    if isinstance(relevant.get("features"), Mapping):
        relevant["features"] = with_newer(relevant.get("env"), relevant["features"])
    walk(relevant, "")
    # Where memory was found does not matter, memory.parquet holds it. Earlier versions lack the keys of ``added``.
    added = "evaluation.sampled", "learner.sampled_evaluation"
    return {k: v for k, v in flat.items() if k != "meta.results_dir" and not (k in added and v is False)}
