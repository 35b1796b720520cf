"""One run on the page: every member of it, how its memory was trusted, what its surrogate saw, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.report.page.data import Plain, numbers
from metapbt.report.reading import ReadRun
from metapbt.runs.lineage import lineage
from metapbt.store.run_directory import RunDirectory

#: Of a configuration, what names places on somebody's machine.
_PLACES = {"results_dir"}


def detail(read: ReadRun) -> Plain:
    """What the page shows of one run beside the overview.

    ``records`` are columns, one entry for each record, by member and generation: ``g`` (generation), ``m`` (member),
    ``steps`` (of the line of descent), ``spent`` (of the whole run by then, for each member), ``train``, ``eval``,
    ``seconds`` and ``source`` (an index into ``sources``); ``hyperparameters`` have their values in the same order.
    ``copies`` are lists ``[g, m, parent's g, parent's m]``, ``restarts`` ``[g, m, teacher's g or null, teacher's m or
    null]``, ``failed`` ``[g, m]``, ``begins`` the generations in which later eras begin, and ``descent`` the line of
    descent of the best agent, ``[g, m]``.
    """
    history, config = read.history, _config(read)
    records = sorted(history.records, key=lambda record: (record.member, record.generation))
    sources = sorted({record.source for record in records})
    return {
        "records": _records(history, records, sources),
        "sources": sources,
        "hyperparameters": _hyperparameters(records, config.get("space")),
        "copies": [[*r.ref, *r.origin] for r in records if r.parent is not None and r.origin is not None],
        "restarts": [[*r.ref, *(r.teacher or (None, None))] for r in records if r.restart],
        "failed": [[*r.ref] for r in records if r.failed],
        "begins": [
            generation
            for era in range(1, history.eras)
            for generation in [min(r.generation for r in records if history.era(r) == era)]
        ],
        "descent": [[*record.ref] for record in _descent(history)],
        "config": _yaml(config),
    }


def _records(history: History, records: Sequence[Record], sources: Sequence[str]) -> Plain:
    spent = dict(zip((record.ref for record in history.records), history.spent_steps, strict=True))
    size = history.size or len({record.member for record in records}) or 1
    return {
        "g": [record.generation for record in records],
        "m": [record.member for record in records],
        "steps": [record.env_steps for record in records],
        "spent": numbers((spent[record.ref] / size for record in records), 7),
        "train": numbers(record.train_return for record in records),
        "eval": numbers(record.eval_return for record in records),
        "seconds": numbers((record.wall_seconds for record in records), 3),
        "source": [sources.index(record.source) for record in records],
    }


def _hyperparameters(records: Sequence[Record], space: Any) -> list[Plain]:
    """Each hyperparameter that any record has: its values, and what the space says of its scale."""
    names = list(dict.fromkeys(name for record in records for name in record.hyperparameters))
    found = []
    for name in names:
        values = [record.hyperparameters.get(name) for record in records]
        numeric = all(value is None or type(value) in (int, float) for value in values)
        entry = _entry(space, name)
        low, high = entry.get("low"), entry.get("high")
        positive = all(value is None or value > 0 for value in values) if numeric else False
        found.append(
            {
                "name": name,
                "numeric": numeric,
                "log": bool(positive and (entry.get("log") or "factor" in entry) and not entry.get("complement")),
                "architecture": entry.get("role") == "architecture",
                "low": low if isinstance(low, int | float) else None,
                "high": high if isinstance(high, int | float) else None,
                "values": numbers(values, 4) if numeric else [None if v is None else str(v) for v in values],
            }
        )
    return found


def _entry(space: Any, name: str) -> Mapping[str, Any]:
    """What the space says of a hyperparameter: names may nest, and hold dots."""
    if not isinstance(space, Mapping):
        return {}
    found = space.get(name)
    if found is None and "." in name:
        first, _, rest = name.partition(".")
        return _entry(space.get(first), rest)
    return found if isinstance(found, Mapping) else {}


def _descent(history: History) -> Sequence[Record]:
    try:
        return lineage(history)
    except MetapbtError:  # nothing yet, or a table that lacks what it went on from
        return ()


def _config(read: ReadRun) -> Mapping[str, Any]:
    try:
        return RunDirectory(read.info.path).config()
    except MetapbtError:
        return {}


def _yaml(config: Mapping[str, Any]) -> str:
    def without(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {name: without(value) for name, value in node.items() if name not in _PLACES}
        return node

    return yaml.safe_dump(without(config), sort_keys=False, allow_unicode=True) if config else ""
