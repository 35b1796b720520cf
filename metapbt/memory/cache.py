"""Trained models of memory, kept beside the results that they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from metapbt.errors import MetapbtError
from metapbt.files import read_arrays, remove_leftovers, write_arrays
from metapbt.log import LOGGER
from metapbt.memory.shipped import shipped_dir

FOLDER = ".meta_models"  # hidden: whoever looks for runs passes over it
_MOST_BYTES = 1 << 28  # of a model that is read: a crafted file must not fill the memory
_LEFT_SECONDS = 24 * 3600.0  # after which nobody is still writing a model, on whichever machine


class ModelCache:
    """A folder of models, each an NPZ file named by the hash of the data and settings that it was trained with.

    What is taken from the cache has the bits of what was put there, which are those of training once more: a run
    that is started again, or another seed's, asks the same model. Files are written whole, and read without pickles;
    one that is damaged is as if it were not there.

    Args:
        folder: made when the first model is put there; without one nothing is kept.
        also: other folders of models, from which they are only taken.
    """

    def __init__(self, folder: Path | None, also: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._folders = [*([] if folder is None else [folder]), *also]

    @classmethod
    def beside(cls, places: Sequence[Path], results: Path | None = None) -> ModelCache:
        """The models of a memory that is made of runs in these places; those that ship with metapbt are taken, too.

        They are kept beside the runs of the first place that is not the memory that ships, or else of ``results``.
        """
        shipped = shipped_dir()
        folders = [place for place in (*places, results) if place not in (None, shipped)]
        return cls(folders[0] / FOLDER if folders else None, also=[place / FOLDER for place in (*folders[1:], shipped)])

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The model's weights, or None."""
        for folder in self._folders:
            path = folder / f"{key}.npz"
            try:
                if path.exists():
                    return read_arrays(path, _MOST_BYTES)
            except (MetapbtError, OSError) as error:
                LOGGER.warning("%s: memory is trained anew", error)
        return None

    def put(self, key: str, weights: dict[str, NDArray[Any]]) -> None:
        """Keep a model's weights; a place that cannot be written, such as another user's, costs only the reuse."""
        if self.folder is None:
            return
        path = self.folder / f"{key}.npz"
        try:
            self.folder.mkdir(exist_ok=True)  # the results above it stay deleted if they were
            remove_leftovers(self.folder, _LEFT_SECONDS)
            write_arrays(path, weights, parents=False)
        except OSError as error:
            LOGGER.warning("memory's model is not kept for other runs: %s", error)
