"""What a run asks for is written and read back once before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from metapbt.errors import MetapbtError, one_line, shown
from metapbt.history import History, Record
from metapbt.plain import key
from metapbt.space import Hyperparameters, Space
from metapbt.store.table import Identity, read_table, to_records, to_table, write_table


def check_kept(identity: Identity, space: Space) -> None:
    """Check that records with every kind of value of a space come back from journal and table as they were.

    Args:
        identity: of the run.
        space: its corners are tried.

    Raises:
        MetapbtError: a hyperparameter's values do not; the message names it.
    """
    corners = space.corners()
    if _problem(identity, corners) is None:
        return
    for name in space.names:
        problem = _problem(identity, [{name: corner[name]} for corner in corners if name in corner])
        if problem is not None:
            raise MetapbtError(f"space.{name}: its values cannot be kept: {problem}")
    raise MetapbtError(f"space: its configurations cannot be kept: {_problem(identity, corners)}")


def _problem(identity: Identity, configurations: Sequence[Hyperparameters]) -> str | None:
    """What goes wrong where records with these hyperparameters are written and read; None where nothing does."""
    records = [
        Record(0, member, None, "default", configuration, env_steps=1, train_return=0.0)
        for member, configuration in enumerate(configurations)
    ]
    try:
        told = [Record.from_dict(json.loads(json.dumps(record.to_dict()))) for record in records]
        with TemporaryDirectory() as folder:
            path = Path(folder, "records.parquet")
            write_table(path, to_table(identity, History(tuple(records))))
            tabled = [record for _, record in to_records(read_table(path))]
    except OSError:
        raise
    except Exception as error:  # whatever JSON and Arrow say about values that they do not hold
        return one_line(error)
    for where, found in (("the journal", told), ("the table", tabled)):
        for record, back in zip(records, found, strict=True):
            if key(dict(back.hyperparameters)) != key(record.hyperparameters):
                return f"{where} makes {shown(back.hyperparameters)} of {shown(record.hyperparameters)}"
    return None
