"""One run's directory: what is in it, and how it stays whole."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from metapbt.errors import MetapbtError, one_line
from metapbt.files import write_text_atomically
from metapbt.history import Context, History, Ref
from metapbt.store.journal import Journal

# Of the configuration, what may differ between the parts of one run: where and how it is computed, not what.
_LOCK_SECONDS = 1.0  # longer than those take who only look whether somebody works here
_IRRELEVANT = {"executor", "results_dir", "resume", "scripts", "cluster", "versions", "callbacks", "name"}


def run_directory(results_dir: Path, env: str, context: Context, name: str, seed: int) -> Path:
    """Return ``<results_dir>/<env>/<feature>=<value>[,...]/<name>/seed_<n>``.

    Args:
        results_dir: where all runs are.
        env: the environment's name.
        context: of the environment.
        name: the run's label, which is its method's name unless it was given another.
        seed: of the run.
    """
    return results_dir / run_id(env, context, name, seed)


def run_id(env: str, context: Context, name: str, seed: int) -> str:
    """The run's place below its results directory, by which records name it."""
    return "/".join([path_name(env), path_name(context.label), path_name(name), f"seed_{seed}"])


def path_name(name: str) -> str:
    """A name as a part of a path: ``/`` and ``:`` become ``-``."""
    return name.replace("/", "-").replace(":", "-")


@dataclass(frozen=True)
class Done:
    """What a finished run says of itself.

    Attributes:
        generations: how many every member finished; the run may have stopped early.
        test_return: mean return of the best agent kept, over episodes that no decision saw; None in old results.
        test_episodes: how many.
        best: which record that agent's is.
    """

    generations: int
    test_return: float | None = None
    test_episodes: int = 0
    best: Ref | None = None


class RunDirectory:
    """The files of one run. While it is open nobody else can open it.

    Attributes:
        path: the directory.
        journal: ``journal``, the one truth.
        records: ``records.parquet``, its table: one row for each member and generation.
        memory: ``memory.parquet``, the source contexts' records that this run learned from.
        log: ``run.log``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal")
        self.records = path / "records.parquet"
        self.memory = path / "memory.parquet"
        self.log = path / "run.log"
        self._config = path / "config.yaml"
        self._checkpoints = path / "checkpoints"
        self._done = path / "DONE"
        self._error = path / "FAILED"
        self._lock = FileLock(path / ".lock")
        self._replacing = False

    def open(self, config: Mapping[str, Any], resume: bool) -> None:
        """Take the directory for a run, without writing or removing anything yet.

        Args:
            config: all that was asked, resolved, with versions.
            resume: go on with what is there; else ``begin`` replaces it.

        Raises:
            MetapbtError: another process works on it, or what it holds cannot be gone on with.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise MetapbtError(f"{self.path} is being worked on by another process") from error
        self._replacing = not resume
        try:
            if resume:
                self._check_resumable(config)
        except BaseException:
            self.release()
            raise

    def begin(self, config: Mapping[str, Any]) -> None:
        """Say what the run is, once it has turned out that it can be started; what it replaces is removed now."""
        if self._replacing:
            self._clear()
            self._replacing = False
        if not self._config.exists():
            write_text_atomically(self._config, yaml.safe_dump(dict(config), sort_keys=False))
        self._error.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others open the directory."""
        self._lock.release()

    @property
    def done(self) -> bool:
        """Whether the run has finished, and is not to be replaced."""
        return self._done.exists() and not self._replacing

    @property
    def remembers(self) -> bool:
        """Whether the run has chosen its memory, and is not to be replaced."""
        return self.memory.exists() and not self._replacing

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

    def checkpoint(self, ref: Ref) -> Path:
        """Where the checkpoint of a record is."""
        return self._checkpoints / f"generation_{ref.generation}_member_{ref.member}.npz"

    def remove_checkpoints(self, history: History, kept: Collection[Ref]) -> None:
        """Remove checkpoints that nobody goes on from any more.

        What has no record yet is never removed: a worker has finished it, and nobody has collected it.

        Args:
            history: everything that is in the journal.
            kept: of these records, those whose checkpoints must stay.
        """
        for ref, path in self._found().items():
            if ref not in kept and history.at(ref) is not None:
                path.unlink()

    def keep_checkpoints(self, kept: Collection[Ref]) -> None:
        """Remove all others, once the run has ended and nobody trains any more."""
        for ref, path in self._found().items():
            if ref not in kept:
                path.unlink()

    def _found(self) -> dict[Ref, Path]:
        names = ((path, path.stem.split("_")) for path in self._checkpoints.glob("generation_*_member_*.npz"))
        return {Ref(int(generation), int(member)): path for path, (_, generation, _, member) in names}

    def mark_done(self, done: Done) -> None:
        """Say that the run has finished."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(done).items()}
        write_text_atomically(self._done, yaml.safe_dump(found, sort_keys=False))

    def finished(self) -> Done | None:
        """What the finished run says of itself; None while it has not finished.

        Raises:
            MetapbtError: the file is damaged.
        """
        if not self.done:
            return None
        try:
            found = yaml.safe_load(self._done.read_text(encoding="utf-8"))
            if isinstance(found, int):  # of an earlier version
                return Done(found)
            best = found.get("best")
            return Done(
                int(found["generations"]), found.get("test_return"), found.get("test_episodes", 0), best and Ref(*best)
            )
        except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise MetapbtError(f"{self._done} is damaged: {one_line(error)}") from error

    def mark_failed(self, error: str) -> None:
        """Say what ended the run."""
        write_text_atomically(self._error, f"{error}\n")

    def _clear(self) -> None:
        """Remove what is there, the log excepted; the configuration last, so that a stop on the way mixes no runs."""
        entries = [entry for entry in self.path.iterdir() if entry not in (self._config, self.log)]
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != ".lock":
                entry.unlink()
        self._config.unlink(missing_ok=True)

    def _check_resumable(self, config: Mapping[str, Any]) -> None:
        replace = "it cannot be gone on with: choose another name or results_dir, or resume=false to replace it"
        begun = self.done or self.records.exists() or any(self._checkpoints.glob("*"))
        if begun and not self.journal.exists:
            raise MetapbtError(f"{self.path} has no journal: an earlier version wrote it, or it was lost; {replace}")
        if self.journal.exists and not self._config.exists() and config:
            raise MetapbtError(f"{self.path} has no config.yaml, which was lost; {replace}")
        if self._config.exists():
            self._check_same(config)

    def _check_same(self, config: Mapping[str, Any]) -> None:
        before, now = _relevant(self.config()), _relevant(config)
        differing = [
            f"{key} (was {_short(before.get(key))}, now {_short(now.get(key))})"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if differing:
            more = f"; and {len(differing) - 2} more" if len(differing) > 2 else ""
            raise MetapbtError(
                f"{self.path} holds a run of another configuration: {'; '.join(differing[:2])}{more}. "
                "Choose name=LABEL, another results_dir, or resume=false, which replaces it"
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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
