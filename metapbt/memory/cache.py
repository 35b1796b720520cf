"""Trained models of memory, kept beside the results that they were trained on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.files import atomic_file
from metapbt.log import LOGGER

FOLDER = ".meta_models"  # hidden: whoever looks for runs passes over it


class ModelCache:
    """A folder of models, each an NPZ file named by the hash of the data and settings that it was trained with.

    What is taken from the cache has the bits of what was put there, which are those of training once more: a run
    that is started again, or another seed's, asks the same model. Files are written whole, and read without pickles;
    one that is damaged is as if it were not there.

    Args:
        folder: made when the first model is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The model's weights, or None."""
        path = self.folder / f"{key}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            LOGGER.warning("%s is damaged (%s): memory is trained anew", path, error)
            return None

    def put(self, key: str, weights: dict[str, NDArray[Any]]) -> None:
        """Keep a model's weights; a place that cannot be written, such as another user's, costs only the reuse."""
        path = self.folder / f"{key}.npz"
        try:
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **weights)  # type: ignore[arg-type]
        except OSError as error:
            LOGGER.warning("memory's model is not kept for other runs: %s", error)
