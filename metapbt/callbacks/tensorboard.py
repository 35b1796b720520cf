"""TensorBoard: an event file for each member, in the run directory."""

from __future__ import annotations

import shutil
from typing import Any

from metapbt.callbacks.base import RunStart
from metapbt.callbacks.logger import POPULATION, Entry, LoggerCallback, about
from metapbt.errors import MetapbtError


class TensorBoardCallback(LoggerCallback):
    """Writes event files to ``tensorboard/`` of the run directory, for ``tensorboard --logdir RESULTS``.

    Raises:
        MetapbtError: TensorBoard is not installed.
    """

    title = "TensorBoard"

    def __init__(self) -> None:
        try:
            import tensorboard  # noqa: F401 - torch says less well that it is missing
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MetapbtError(
                'callbacks=[tensorboard] needs TensorBoard: pip install "metapbt[tensorboard]"'
            ) from error
        self._make: Any = SummaryWriter
        self._writers: dict[str, Any] = {}

    def begin(self, run: RunStart) -> None:
        """Begin the files anew: what was written before a stop is written again."""
        self._folder = run.path / "tensorboard"
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir()
        said = "".join(f"- {name}: `{value}`\n" for name, value in about(run).items())
        self.write(POPULATION, Entry(0, texts={"run": said}))

    def write(self, stream: str, entry: Entry) -> None:
        """Add scalars and texts."""
        if stream not in self._writers:
            folder = self._folder / stream
            folder.mkdir(exist_ok=True)  # but not the run directory, where that was removed
            self._writers[stream] = self._make(str(folder))
        writer = self._writers[stream]
        for name, number in entry.numbers.items():
            writer.add_scalar(name, number, entry.step)
        for name, text in entry.texts.items():
            writer.add_text(name, text, entry.step)

    def flush(self) -> None:
        """Write what is waiting."""
        for writer in self._writers.values():
            writer.flush()

    def leave(self, stream: str) -> None:
        """Close its file."""
        self._writers.pop(stream).close()

    def end(self, finished: bool) -> None:
        """Close all files."""
        while self._writers:
            self._writers.popitem()[1].close()
