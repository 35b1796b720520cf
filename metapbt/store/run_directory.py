"""One run's directory: what is in it, and how it stays whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically

# Of the configuration, what may differ between the parts of one run: where and how it is computed, not what.
_IRRELEVANT = {"executor", "results_dir", "resume", "scripts", "cluster", "versions"}


def run_directory(results_dir: Path, env: str, changed: Mapping[str, float], method: str, seed: int) -> Path:
    """Return ``<results_dir>/<env>/<feature>=<value>[,...]/<method>/seed_<n>``.

    Args:
        results_dir: where all runs are.
        env: the environment's name.
        changed: the features that differ from the environment's defaults, in declared order.
        method: the method's name.
        seed: of the run.
    """
    return results_dir / env / context_label(changed) / method.replace(":", ".") / f"seed_{seed}"


def context_label(changed: Mapping[str, float]) -> str:
    """The context's part of the path: ``leg_height=3.2``, or ``default`` where nothing was changed."""
    return ",".join(f"{name}={value:.10g}" for name, value in changed.items()) or "default"


class RunDirectory:
    """The files of one run. While it is open nobody else can open it.

    Attributes:
        path: the directory.
        records: ``records.parquet``, one row for each member and generation.
        memory: ``memory.parquet``, the source contexts' records that this run learned from.
        log: ``run.log``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = path / "records.parquet"
        self.memory = path / "memory.parquet"
        self.log = path / "run.log"
        self._config = path / "config.yaml"
        self._state = path / "checkpoints" / "tuner.json"
        self._done = path / "DONE"
        self._error = path / "FAILED"
        self._lock = FileLock(path / ".lock")

    def open(self, config: Mapping[str, Any], resume: bool) -> None:
        """Take the directory for a run, without writing anything yet.

        Args:
            config: all that was asked, resolved, with versions.
            resume: go on with what is there; else remove it.

        Raises:
            MetapbtError: another process works on it, or it holds a run of another configuration.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise MetapbtError(f"{self.path} is being worked on by another process") from error
        try:
            if self._config.exists() and not resume:
                self._clear()
            if self._config.exists():
                self._check_same(config)
        except BaseException:
            self.release()
            raise

    def begin(self, config: Mapping[str, Any]) -> None:
        """Say what the run is, once it has turned out that it can be started."""
        if not self._config.exists():
            write_text_atomically(self._config, yaml.safe_dump(dict(config), sort_keys=False))
        self._error.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others open the directory."""
        self._lock.release()

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return self._done.exists()

    @property
    def failure(self) -> str | None:
        """The error that ended the run's last part, if one did."""
        return self._error.read_text(encoding="utf-8").strip() if self._error.exists() else None

    @property
    def busy(self) -> bool:
        """Whether a process on this machine works on it."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with self._lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def config(self) -> dict[str, Any]:
        """All that was asked.

        Raises:
            MetapbtError: ``config.yaml`` is missing or damaged.
        """
        try:
            loaded = yaml.safe_load(self._config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise MetapbtError(f"{self._config} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(loaded, dict):
            raise MetapbtError(f"{self._config} is no configuration of a run")
        return loaded

    def load_state(self) -> dict[str, Any] | None:
        """What the tuner said of itself after the last finished generation; None before the first."""
        if not self._state.exists():
            return None
        state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Save the tuner's state: from here a generation counts as finished."""
        write_text_atomically(self._state, json.dumps(state))

    def checkpoint(self, generation: int, member: int) -> Path:
        """Where a member's checkpoint after a generation is."""
        return self.path / "checkpoints" / f"generation_{generation}_member_{member}.npz"

    def keep_checkpoints(self, kept: Collection[tuple[int, int]]) -> None:
        """Remove the checkpoints of all but these generations and members: nobody goes on from them any more."""
        names = {self.checkpoint(generation, member) for generation, member in kept}
        for path in (self.path / "checkpoints").glob("generation_*_member_*.npz"):
            if path not in names:
                path.unlink()

    def mark_done(self, generations: int) -> None:
        """Say that the run has finished, and after how many generations: it may have stopped early."""
        write_text_atomically(self._done, f"{generations}\n")

    @property
    def finished_generations(self) -> int | None:
        """After how many generations the run has finished; None while it has not."""
        text = self._done.read_text(encoding="utf-8").strip() if self.done else ""
        return int(text) if text.isdigit() else None

    def mark_failed(self, error: str) -> None:
        """Say what ended the run."""
        write_text_atomically(self._error, f"{error}\n")

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != ".lock":
                entry.unlink()

    def _check_same(self, config: Mapping[str, Any]) -> None:
        before, now = _relevant(self.config()), _relevant(config)
        differing = [
            f"{key} (was {before.get(key)!r}, now {now.get(key)!r})"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if differing:
            raise MetapbtError(
                f"{self.path} holds a run of another configuration: {'; '.join(differing)}. "
                "Choose another results_dir, or resume=false to replace it"
            )


def _relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, flat, without what does not change the records."""
    flat: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk({key: value for key, value in config.items() if key not in _IRRELEVANT}, "")
    # Where memory was looked for does not matter once it was found: memory.parquet holds it.
    flat.pop("meta.results_dir", None)
    return flat
