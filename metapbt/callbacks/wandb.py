"""Weights & Biases: a run for each member, in the population's group; offline unless ``WANDB_MODE`` says otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from metapbt.callbacks.base import RunStart
from metapbt.callbacks.logger import Entry, LoggerCallback, about, key_of
from metapbt.errors import MetapbtError

_LONGEST = 128  # characters of a name


class WandbCallback(LoggerCallback):
    """Logs to Weights & Biases, which reads where to from ``WANDB_PROJECT``, ``WANDB_DIR`` and its other variables.

    Offline, a run that goes on after a stop writes files anew that hold all of it, in place of those before. Online it
    goes on where the server's run ends.

    Raises:
        MetapbtError: wandb is not installed.
    """

    title = "Weights & Biases"

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MetapbtError('callbacks=[wandb] needs Weights & Biases: pip install "metapbt[wandb]"') from error
        self._wandb: Any = wandb
        self._runs: dict[str, Any] = {}

    def begin(self, run: RunStart) -> None:
        """Keep what is said of each of its runs."""
        self._about, self._group, self._key = about(run), run.title[:_LONGEST], key_of(run, "wandb")
        self._mode = os.environ.get("WANDB_MODE", "offline")
        self._lineage: dict[str, list[str]] = {}

    def write(self, stream: str, entry: Entry) -> None:
        """Log a row; one that the server has is passed over."""
        run = self._runs.get(stream) or self._begin(stream)
        if "lineage" in entry.texts:
            lines = self._lineage.setdefault(stream, [])
            lines.append(entry.texts["lineage"])
            run.summary["lineage_whole"] = "\n".join(lines)
        if "test_return" in entry.numbers:
            run.summary.update({**entry.numbers, **entry.texts})
        elif entry.step >= run.step:
            run.log({**entry.numbers, **entry.texts}, step=entry.step)

    def leave(self, stream: str) -> None:
        """Close its run."""
        self._runs.pop(stream).finish(exit_code=0)

    def end(self, finished: bool) -> None:
        """Close all runs."""
        while self._runs:
            self._runs.popitem()[1].finish(exit_code=0 if finished else 1)

    def _begin(self, stream: str) -> Any:
        name = f"{self._key}-{stream}".replace("_", "-")
        quiet = self._wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True)
        run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "metapbt"),
            group=self._group,
            job_type=stream.partition("_")[0],
            name=stream.replace("_", " "),
            id=name,
            mode=self._mode,
            resume=None if self._mode == "offline" else "allow",
            reinit="create_new",
            config={**self._about, "stream": stream},
            settings=quiet,
        )
        self._runs[stream] = run
        if run.offline:
            here = Path(run.settings.sync_dir)
            for before in here.parent.glob(f"offline-run-*-{name}"):
                if before != here:
                    (before / f"run-{name}.wandb").unlink(missing_ok=True)
                    shutil.rmtree(before, ignore_errors=True)  # a process of wandb's may be about to end in there
        return run
