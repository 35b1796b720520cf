"""A member's checkpoint: its learner's state and the outcome of the interval that led there, in one NPZ file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metapbt.errors import MetapbtError, one_line
from metapbt.files import read_arrays, write_arrays
from metapbt.history import Record
from metapbt.plain import same

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters

OUTCOME = "outcome.json"  # what the outcome is called in the file, beside the arrays of the state


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one interval of one member brought: the part of a record that training knows."""

    hyperparameters: Hyperparameters
    env_steps: int
    until_steps: int
    train_return: float
    eval_return: float
    episodes: int
    wall_seconds: float

    def differing_field(self, record: Record) -> str | None:
        """The first field that a record does not have so; None where it is the record of this outcome.

        The seconds are a measurement: an interval that was lost and trained again took another time.
        """
        for field in fields(self):
            if field.name != "wall_seconds" and not same(getattr(self, field.name), getattr(record, field.name)):
                return field.name
        return None


class NotSaved(OSError):
    """A checkpoint could not be written: the disk's fault, not that of whoever trained it. Its cause says why."""


def save_checkpoint(path: Path, state: Mapping[str, np.ndarray[Any, Any]], outcome: Outcome) -> None:
    """Write a checkpoint whole or not at all: a file that exists is a finished interval.

    Raises:
        MetapbtError: the state cannot be kept without a pickle.
        NotSaved: the file cannot be written; its folder must exist, for that of a run that was deleted stays deleted.
    """
    text = np.frombuffer(json.dumps(asdict(outcome)).encode(), dtype=np.uint8)
    try:
        write_arrays(path, {OUTCOME: text, **state}, parents=False)
    except OSError as error:
        raise NotSaved(error.errno, error.strerror, error.filename) from error


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], Outcome]:
    """Read the learner's state and the outcome.

    Raises:
        MetapbtError: the file is missing, damaged, or no checkpoint.
    """
    state = read_arrays(path)
    return state, _outcome(path, state.pop(OUTCOME, None))


def load_state(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read the learner's state alone; errors as of `load_checkpoint`."""
    return load_checkpoint(path)[0]


def read_outcome(path: Path) -> Outcome:
    """Read the outcome alone; the file is whole nevertheless, its state included.

    Raises:
        MetapbtError: the file is missing, damaged, or no checkpoint.
    """
    return _outcome(path, read_arrays(path, only=[OUTCOME]).get(OUTCOME))


class Files:
    """Checkpoints as a trainer reads and writes them: in files."""

    def load(self, path: Path) -> dict[str, np.ndarray[Any, Any]]:
        """The learner's state; see `load_state`."""
        return load_state(path)

    def outcome(self, path: Path) -> Outcome:
        """The outcome alone; see `read_outcome`."""
        return read_outcome(path)

    def save(self, path: Path, state: Mapping[str, np.ndarray[Any, Any]], outcome: Outcome) -> None:
        """Keep a checkpoint; see `save_checkpoint`."""
        save_checkpoint(path, state, outcome)


def _outcome(path: Path, text: np.ndarray[Any, Any] | None) -> Outcome:
    try:
        if text is None:
            raise ValueError("it has no outcome")
        return Outcome(**json.loads(text.tobytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise MetapbtError(f"{path} is no checkpoint: {one_line(error)}") from error
