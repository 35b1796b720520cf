"""Lines of descent in tables of records: who went on from whom, and what the best agent was trained with."""

from __future__ import annotations

import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.report.groups import Group
from metapbt.report.run import Run
from metapbt.runs.lineage import lineage
from metapbt.store.table import HYPERPARAMETER

_WHOLE = ("parent", "parent_generation")
LINEAGE_COLUMNS = [
    "method", "seed", "generation", "member", "env_steps", "return", "kind", "from_generation", "from_member", "failed",
    "best_lineage",
]  # fmt: skip
SCHEDULE_COLUMNS = ["source", "method", "seed", "generation", "env_steps", "hyperparameter", "value"]


def history_of(run: Run) -> History:
    """The records of a run as far as descent goes: without hyperparameters, in the order in which they were read."""
    columns = ["generation", "member", "env_steps", "train_return", "eval_return", *_WHOLE, "restart", "failed"]
    lists = {name: run.records[name].tolist() for name in columns}
    for name in _WHOLE:
        lists[name] = [None if pd.isna(value) else int(value) for value in lists[name]]
    rows = zip(*lists.values(), strict=True)
    records = (Record(source="", hyperparameters={}, **dict(zip(columns, row, strict=True))) for row in rows)
    return History(tuple(records), run.metric, run.size, tested=run.tested)


def schedules_data(group: Group) -> pd.DataFrame:
    """The hyperparameters of the best agent's line of descent: a row for each run, interval and hyperparameter.

    ``value`` was trained with until ``env_steps`` of the line; only hyperparameters that are numbers.
    """
    rows: list[dict[str, object]] = []
    for run in group.runs:
        if not len(run.records):
            continue
        try:
            line = lineage(history_of(run))
        except MetapbtError:  # a record on the way is missing
            continue
        found = run.records.set_index(["generation", "member"])
        names = [
            name
            for name in map(str, run.records)
            if name.startswith(HYPERPARAMETER) and pd.api.types.is_numeric_dtype(run.records[name])
        ]
        first = group.columns(run.context) | {"source": group.only_source(run.context)}
        refs = pd.MultiIndex.from_tuples([(record.generation, record.member) for record in line])
        values = found[names].reindex(refs)
        for record, row in zip(line, values.to_dict("records"), strict=True):
            point = {"method": run.method, "seed": run.seed, "generation": record.generation}
            rows.extend(
                first | point | {"env_steps": record.env_steps, "hyperparameter": name, "value": value}
                for name, value in ((str(n).removeprefix(HYPERPARAMETER), v) for n, v in row.items())
                if pd.notna(value)
            )
    return pd.DataFrame(rows, columns=[*group.columns(group.contexts[0]), *SCHEDULE_COLUMNS])


def lineage_data(group: Group, run: Run) -> pd.DataFrame:
    """The family tree of a run: a row for each record, and which one it went on from.

    ``kind`` is ``start`` (a new agent), ``continue`` (the member's own), ``copy`` (another member's) or ``restart``;
    ``return`` is what selection looks at.
    """
    history = history_of(run)
    try:
        best = {record.ref for record in lineage(history)}
    except MetapbtError:
        best = set()
    rows = []
    for record in history:
        origin = record.origin
        kind = "restart" if record.restart else "copy" if record.parent is not None else "continue"
        came_from = (None, None) if origin is None else (origin.generation, origin.member)
        values = (
            run.method, run.seed, record.generation, record.member, record.env_steps, history.value(record),
            "start" if origin is None and not record.restart else kind, *came_from, record.failed, record.ref in best,
        )  # fmt: skip
        rows.append(group.columns(run.context) | dict(zip(LINEAGE_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=[*group.columns(run.context), *LINEAGE_COLUMNS])


def shown_run(group: Group) -> Run | None:
    """The run whose family tree a report shows: the finished one with the highest final return; copies come first."""
    runs = [run for run in group.runs if run.finished and len(run.records)]
    return max(runs, key=lambda run: (bool(run.records["parent"].notna().any()), run.final), default=None)
