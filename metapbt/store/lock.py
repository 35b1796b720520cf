"""One process at a time works on a folder: by a lock, or by a lease where the file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, SoftFileLease, Timeout

from metapbt.errors import MetapbtError
from metapbt.files import Held
from metapbt.log import LOGGER
from metapbt.store.reading import Unreadable, read_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: What folders that are worked on have beside their files.
NAMES = (".lock", ".lease")
LEASE_SECONDS = 30.0  # without a sign of life until a lease may be taken over; a sign comes three times as often
_PATIENCE = 1.0  # seconds; longer than those take who only look whether somebody works here
_POLL_SECONDS = 0.25
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_MOST_BYTES = 4096  # of what holders say of themselves


class Lock:
    """What a process holds that works on a folder; the system lets go of it when the process ends, however that comes.

    Some file systems of clusters have no locks. There a lease does it: a file (``.lease``) that its holder touches
    every ten seconds. Whoever else wants it watches the file for ``LEASE_SECONDS``, by a clock of their own, so that
    those of two machines need not agree: a file that changes belongs to somebody alive. One that does not, or whose
    process is known to be gone, is taken over; of several who try only one succeeds
    (`filelock.SoftFileLease`). A holder that was thought dead finds that its file is another's
    (`metapbt.files.Held`) and writes nothing more.

    Args:
        folder: what is worked on; it exists when it is acquired.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file, self._lease_file = (folder / name for name in NAMES)
        self._descriptor: int | None = None  # of the file that tells the folder from another in its place
        self._taken: BaseFileLock | None = None

    # Making these costs more than all that is read of a run at a glance.
    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self._file, fallback_to_soft=False)

    @cached_property
    def _lease(self) -> SoftFileLease:
        return SoftFileLease(self._lease_file, lease_duration=LEASE_SECONDS, thread_local=False)

    def acquire(self) -> Held:
        """Take it.

        Returns:
            What tells the folder from another that has taken its place, or that another process has taken over.

        Raises:
            MetapbtError: another process has it; its host and number are named.
            OSError: there is no such folder, or it cannot be written.
        """
        try:
            self._lock.acquire(timeout=_PATIENCE)
            self._taken, file = self._lock, self._file
        except Timeout as error:
            raise MetapbtError(f"{self._folder} is being worked on by {self.holder}") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self._acquire_lease()
            self._taken, file = self._lease, self._lease_file
        try:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            if file == self._file:  # a lease says it itself
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, f"{os.getpid()}\n{socket.gethostname()}\n".encode(), 0)
            return Held.of(file, self._descriptor)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others take it; nothing where it was not acquired."""
        if self._descriptor is not None:
            if self._taken is not None and self._taken is self._lock:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
        if self._taken is not None:
            self._taken.release()
            self._taken = None

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None

    @property
    def busy(self) -> bool | None:
        """Whether a process has it; None where that cannot be known, as of a lease of another machine.

        Nothing is written, and who begins to work meanwhile waits no longer than a blink.
        """
        if os.path.lexists(self._lease_file):
            return self._lease_is_held()
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False  # here a lease would tell
            return True if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK) else None
        finally:
            os.close(descriptor)

    def _lease_is_held(self) -> bool | None:
        owner = self._lease.owner
        if owner is None or owner.hostname != socket.gethostname():
            return None
        try:
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return None
        return True

    def _acquire_lease(self) -> None:
        """Take the lease, as soon as it is free or its holder has given no sign of life for long enough."""
        seen: Any = None
        until = time.monotonic() + 2 * LEASE_SECONDS
        while True:
            try:
                self._lease.acquire(timeout=0)
                return
            except Timeout as error:
                found = self.sign_of_life
                if seen is None:
                    seen = found
                    LOGGER.warning(
                        "%s: its file system has no locks; whether %s still works there shows within %.0f s",
                        *(self._folder, self.holder, LEASE_SECONDS),
                    )
                elif found not in (None, seen) or time.monotonic() > until:
                    raise MetapbtError(f"{self._folder} is being worked on by {self.holder}") from error
            time.sleep(_POLL_SECONDS)

    @property
    def sign_of_life(self) -> tuple[int, int] | None:
        """Changes at least every ``LEASE_SECONDS`` while a lease is held; None where there is none."""
        try:
            found = self._lease_file.stat(follow_symlinks=False)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    @property
    def holder(self) -> str:
        """Who has it, as far as that is known."""
        owner = self._lease.owner if os.path.lexists(self._lease_file) else None
        if owner is not None:
            return f"process {owner.pid} on {owner.hostname}"
        try:
            lines = (read_file(self._file, _MOST_BYTES) or b"").decode().split("\n")
        except (Unreadable, UnicodeDecodeError):
            lines = []
        if len(lines) == 3 and lines[0].isdecimal() and lines[1].isprintable():
            return f"process {lines[0]} on {lines[1]}"
        return "another process"
