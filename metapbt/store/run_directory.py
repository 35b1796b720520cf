"""One run's directory: what is in it, and how it stays whole."""

from __future__ import annotations

import os
import re
import shutil
import zlib
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from metapbt.errors import MetapbtError, one_line
from metapbt.files import Held, make_folder, remove_leftovers, write_text_atomically
from metapbt.history import Context, History, Ref
from metapbt.store.configurations import differences, in_words
from metapbt.store.description import Description
from metapbt.store.done import Done, failure_text, read_failure
from metapbt.store.journal import Journal
from metapbt.store.lock import NAMES, Lock
from metapbt.store.memory_table import ancestry_of_plain, ancestry_to_plain, read_ancestry
from metapbt.store.reading import Absent, Unreadable, parse_yaml, read_file

_MOST_BYTES = 2**20  # of config.yaml
_CHECKPOINT = r"generation_(\d+)_member_(\d+)\.npz"


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


class RunDirectory:
    """The files of one run. While it is open nobody else can open it.

    Attributes:
        path: the directory.
        journal: ``journal``, the one truth.
        records: ``records.parquet``, its table: one row for each member and generation.
        memory: ``memory.parquet``, the source contexts' records that this run learned from.
        log: ``run.log``.
        held: once it is open, what tells it from a directory that has taken its place.
    """

    held: Held

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal", self._said_of_itself)
        self.records = path / "records.parquet"
        self.memory = path / "memory.parquet"
        self.log = path / "run.log"
        self._config = path / "config.yaml"
        self._checkpoints = path / "checkpoints"
        self._done, self._error = path / "DONE", path / "FAILED"
        self._lock = Lock(path)
        self._replacing = False
        self._new: list[Path] = []  # what opening and logging made, the innermost first, until the run begins

    def open(self, config: Mapping[str, Any], resume: bool) -> None:
        """Take the directory for a run, without writing or removing anything yet.

        Args:
            config: all that was asked, resolved, with versions.
            resume: go on with what is there; else ``begin`` replaces it.

        Raises:
            MetapbtError: it cannot be made or locked, another process works on it, which is named, or what it holds
                cannot be gone on with; or the configuration could not be read again.
        """
        parse_yaml(self._as_yaml(config).encode(), self._config)
        try:
            own = (*(self.path / name for name in NAMES), self.log, self.path, *self.path.parents)
            self._new = [path for path in own if not path.exists()]
            make_folder(self.path)
            self.held = self._lock.acquire()
            self._replacing = not resume
            if resume:
                self._check_resumable(config)
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise MetapbtError(_unusable(self.path, error)) from error
            raise

    def begin(self, config: Mapping[str, Any] | None) -> None:
        """Say what the run is, once it has turned out that it can be started; what it replaces is removed now.

        Args:
            config: what is written to ``config.yaml`` where there is none; None for none.

        Raises:
            MetapbtError: the directory is no more what was opened.
            OSError: it cannot be written.
        """
        self.held.check()
        self._new = []
        if self._replacing:
            self._clear()
            self._replacing = False
        for folder in (self.path, self._checkpoints):
            remove_leftovers(folder)  # of writers that were killed: the lock says that nobody else is at work
        make_folder(self._checkpoints)
        if config is not None and not self._config.exists():
            write_text_atomically(self._config, self._as_yaml(config), parents=False)
        self._error.unlink(missing_ok=True)

    def refuse(self) -> None:
        """Leave nothing new of a run that was refused before it began."""
        for place in self._new if self.held.in_place else ():
            with suppress(OSError):  # a folder that somebody else uses by now
                (place.rmdir if place.is_dir() else place.unlink)()

    def release(self) -> None:
        """Let others open the directory."""
        self._lock.release()

    @property
    def is_open(self) -> bool:
        """Whether this process works on it."""
        return self._lock.held

    @property
    def done(self) -> bool:
        """Whether the run has finished, and is not to be replaced."""
        return self._done.exists() and not self._replacing

    @property
    def replacing(self) -> bool:
        """Whether what is there is to be replaced, of which the run has not begun."""
        return self._replacing

    @property
    def remembers(self) -> bool:
        """Whether the run has chosen its memory, and is not to be replaced."""
        return self.memory.exists() and not self._replacing

    @property
    def failure(self) -> str | None:
        """The error that ended the run's last part, if one did.

        Raises:
            MetapbtError: the file is damaged, or cannot be read.
        """
        return read_failure(self._error)

    @property
    def busy(self) -> bool | None:
        """Whether a process works on it; None where that cannot be known. Nothing is written."""
        return self._lock.busy

    @property
    def worker(self) -> str:
        """Which process works on it, as far as that is known."""
        return self._lock.holder

    @property
    def sign_of_life(self) -> Hashable:
        """As of `metapbt.store.lock.Lock`."""
        return self._lock.sign_of_life

    def config(self) -> dict[str, Any]:
        """All that was asked.

        Raises:
            MetapbtError: ``config.yaml`` is missing or damaged, or is not what the run began with.
        """
        loaded = parse_yaml(self.config_bytes(self.journal.head() or {}), self._config)
        if not isinstance(loaded, dict):
            raise Unreadable(self._config, "is no configuration of a run")
        return loaded

    def config_bytes(self, head: Mapping[str, Any]) -> bytes:
        """What ``config.yaml`` holds.

        Args:
            head: of the journal, which has its checksum.

        Raises:
            MetapbtError: it is missing, cannot be read, or has changed since the run began.
        """
        data = read_file(self._config, _MOST_BYTES)
        if data is None:
            raise Absent(self._config)
        if "config" in head and head["config"] != f"{zlib.crc32(data):08x}":
            Description.of_config(parse_yaml(data, self._config), self._config)  # may say more
            raise Unreadable(self._config, "is damaged: it is not what the run began with")
        return data

    def describe(self, head: Mapping[str, Any]) -> tuple[Description, frozenset[Context]]:
        """What the run is, and its memory's ancestry: as the journal's first entry says, else as the files do.

        Raises:
            MetapbtError: ``config.yaml`` or the memory is damaged.
        """
        data = self.config_bytes(head)
        if "run" in head:
            path = self.journal.path
            said = Description.from_dict(head["run"], path)
            return said, ancestry_of_plain(head.get("ancestry", []), path, said.env)
        said = Description.of_config(parse_yaml(data, self._config), self._config)
        return said, read_ancestry(self.memory, said.env)

    def _said_of_itself(self) -> dict[str, Any]:
        """What the journal's first entry says of the run; nothing of a replay, which has no configuration."""
        if not self._config.exists():
            return {}
        data = self.config_bytes({})
        description, ancestry = self.describe({})
        return {
            "run": description.to_dict(),
            **({"ancestry": ancestry_to_plain(ancestry)} if ancestry else {}),
            "config": f"{zlib.crc32(data):08x}",
        }

    @property
    def stamp(self) -> tuple[object, ...]:
        """Changes whenever another version of one of the run's files is put in place; not with what is appended."""
        found: list[object] = []
        for path in (self.path, self._config, self.journal.path, self.records, self.memory, self._done, self._error):
            try:
                status = path.lstat()
            except OSError as error:
                found.append(error.errno)
            else:
                appended = path in (self.path, self.journal.path)
                found.append((status.st_ino, 0 if appended else status.st_mtime_ns))
        return tuple(found)

    @property
    def exists(self) -> bool:
        """Whether a run is here, whole or not."""
        return os.path.lexists(self._config) or os.path.lexists(self.journal.path)

    def checkpoint(self, ref: Ref) -> Path:
        """Where the checkpoint of a record is."""
        return self._checkpoints / f"generation_{ref.generation}_member_{ref.member}.npz"

    def remove_checkpoints(self, history: History, kept: Collection[Ref]) -> None:
        """Remove checkpoints that nobody goes on from any more.

        What has no record yet is never removed: a worker has finished it, and nobody has collected it.

        Args:
            history: everything that is in the journal.
            kept: of these records, those whose checkpoints must stay.

        Raises:
            MetapbtError: the directory is no more what was opened.
        """
        self.held.check()
        for ref, path in self.checkpoints().items():
            if ref not in kept and history.at(ref) is not None:
                path.unlink()

    def keep_checkpoints(self, kept: Collection[Ref]) -> None:
        """Remove all others, once the run has ended and nobody trains any more; what killed workers left as well.

        Raises:
            MetapbtError: the directory is no more what was opened.
        """
        self.held.check()
        for ref, path in self.checkpoints().items():
            if ref not in kept:
                path.unlink()
        remove_leftovers(self._checkpoints)

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether there is a place for them; where only the records were copied, as in what ships, there is none."""
        return self._checkpoints.is_dir()

    def checkpoints(self) -> dict[Ref, Path]:
        """The checkpoints that are there, whole or not."""
        named = ((re.fullmatch(_CHECKPOINT, path.name), path) for path in self._checkpoints.glob("*.npz"))
        return {Ref(int(name[1]), int(name[2])): path for name, path in named if name}

    def set_aside(self, checkpoint: Path) -> Path:
        """Give a damaged checkpoint a name under which nobody goes on from it; returns that."""
        self.held.check()
        return checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.damaged"))

    def mark_done(self, done: Done) -> None:
        """Say that the run has finished.

        Raises:
            MetapbtError: the directory is no more what was opened.
        """
        if self._lock.held:
            self.held.check()
        head = self.journal.head()
        done = replace(done, journal=head["crc32"] if head else None)
        write_text_atomically(self._done, done.to_text(), parents=False)

    def withdraw_done(self) -> None:
        """Say no more that the run has finished."""
        self.held.check()
        self._done.unlink()

    def finished(self) -> Done | None:
        """What the finished run says of itself; None while it has not finished, or where it is to be replaced.

        Raises:
            MetapbtError: the file is damaged.
        """
        return None if self._replacing else Done.read(self._done)

    def mark_failed(self, error: str) -> None:
        """Say what ended the run; nothing where that is what keeps it from being said, or where it has finished.

        Nobody trains any more.
        """
        with suppress(OSError):
            if self.held.in_place:
                remove_leftovers(self._checkpoints)
            if self.held.in_place and not self.done:  # DONE may be there before what was to come after it failed
                write_text_atomically(self._error, failure_text(error), parents=False)

    def _as_yaml(self, config: Mapping[str, Any]) -> str:
        text = yaml.safe_dump(dict(config), sort_keys=False)
        if len(text.encode()) > _MOST_BYTES:
            raise MetapbtError(f"{self._config} would be larger than {_MOST_BYTES:,} bytes: say less in it")
        return text

    def _clear(self) -> None:
        """Remove what is there, the log excepted, in an order in which a stop on the way mixes no runs."""
        # First of all what others take for a finished run, and what this one would go on from; large files take long.
        for file in (self._done, self.journal.path, self.memory, self.records):
            if not _is_folder(file):
                file.unlink(missing_ok=True)
        # Checkpoints tell that something is left. The configuration goes last.
        entries = [entry for entry in self.path.iterdir() if entry not in (self._config, self.log)]
        for entry in sorted(entries, key=self._checkpoints.__eq__):
            if _is_folder(entry):
                shutil.rmtree(entry)
            elif entry.name not in NAMES:
                entry.unlink()
        self._config.unlink(missing_ok=True)

    def _check_resumable(self, config: Mapping[str, Any]) -> None:
        replace = "it cannot be gone on with: choose another name or results_dir, or resume=false to replace it"
        begun = self.done or self.records.exists() or any(self._checkpoints.glob("*"))
        if begun and not self.journal.exists:
            why = "an earlier version wrote it, or it was lost, or its removal was stopped"
            raise MetapbtError(f"{self.path} has no journal: {why}; {replace}")
        if self.journal.exists and not self._config.exists() and config:
            raise MetapbtError(f"{self.path} has no config.yaml, which was lost; {replace}")
        if self._config.exists():
            self.check_same(config)
        if self.journal.exists and "meta" in config and not (self.memory.exists() or self.done):
            raise MetapbtError(f"{self.path} has no memory.parquet, which was lost; {replace}")

    def check_same(self, config: Mapping[str, Any]) -> None:
        """Refuse to take what is here for a run of another configuration."""
        differing = differences(self.config(), config)
        if differing:
            raise MetapbtError(
                f"{self.path} holds a run of another configuration: {in_words(differing, 'was {}, now {}')}. "
                "Choose name=LABEL, another results_dir, or resume=false, which replaces it"
            )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _unusable(path: Path, error: OSError) -> str:
    """Why a run directory cannot be made or locked, and what to do."""
    why, file = error.strerror or one_line(error), error.filename or path
    return (
        f"{path} cannot be worked on: {why} ({file}); mend that, or choose another place: results_dir=DIR, "
        "or --out DIR of a replay"
    )
