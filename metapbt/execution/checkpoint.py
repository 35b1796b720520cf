"""A member's checkpoint: its learner's state and the outcome of the interval that led there, in one NPZ file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metapbt.errors import MetapbtError, one_line
from metapbt.files import atomic_file

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters

_OUTCOME = "outcome.json"


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


def save_checkpoint(path: Path, state: Mapping[str, np.ndarray[Any, Any]], outcome: Outcome) -> None:
    """Write a checkpoint whole or not at all: a file that exists is a finished interval."""
    text = np.frombuffer(json.dumps(asdict(outcome)).encode(), dtype=np.uint8)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {_OUTCOME: text, **state}
        np.savez(file, **arrays)


def load_state(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read the learner's state. Pickled content is refused."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name != _OUTCOME}


def read_outcome(path: Path) -> Outcome:
    """Read the outcome alone.

    Raises:
        MetapbtError: the file is damaged, or no checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Outcome(**json.loads(archive[_OUTCOME].tobytes()))
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise MetapbtError(f"{path} is damaged: {one_line(error)}") from error
