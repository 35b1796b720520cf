"""Files that are written whole or not at all, and read only where they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from metapbt.errors import MetapbtError, one_line

_TEMPORARY = ".metapbt-"  # how the names of files begin that have not taken their own yet, and
_UNFINISHED = ".tmp"  # what stands before their suffix
_CHECKSUM = b"metapbt crc32 "  # begins the comment of an NPZ file; eight hexadecimal digits of all that is before them
_CHUNK = 1 << 20


@contextmanager
def atomic_file(path: Path, parents: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; at a clean exit it is flushed to disk and takes ``path``'s name.

    Whoever reads ``path`` meanwhile sees the whole old file or the whole new one; of several who write it at once, the
    last one's stays. After an error ``path`` is as it was and the temporary file is gone. The temporary name keeps
    ``path``'s suffix, for writers that look at it.

    Args:
        path: what is written.
        parents: make the folders above it; False where a folder that is gone is not to come back.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``.
    """
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{_UNFINISHED}{path.suffix}")
    try:
        if parents:
            make_folder(path.parent)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # readable as any new file is
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        flush_folder(path.parent)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else one_line(error)  # Arrow's words are many
        raise OSError(error.errno, why, str(path)) from error


def make_folder(folder: Path) -> None:
    """Make a folder with those above it that are missing, down to the disk; one that is there stays.

    Raises:
        OSError: it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, so that a file that took one has it after a power cut, too.

    Left out where it cannot be done: in a folder that may not be listed, on filesystems that flush none.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


def leftovers(folder: Path) -> list[Path]:
    """What writers left directly in a folder who were killed before their file took its name, or are writing now."""
    return sorted(folder.glob(f"{_TEMPORARY}*{_UNFINISHED}*"))


def remove_leftovers(folder: Path, seconds: float = 0.0) -> None:
    """Remove `leftovers`.

    Args:
        folder: only files directly in it.
        seconds: how long ago they must have been written; above 0 where others may be writing now.
    """
    for path in leftovers(folder):
        with suppress(FileNotFoundError):  # another who starts may be removing it, too
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


@dataclass(frozen=True, slots=True)
class Held:
    """A file that somebody keeps open: it tells its folder from one that has taken the folder's place.

    As long as it is open, no other file gets its number. Other processes may be told it.

    Attributes:
        path: of the file.
        device: where it is, and
        inode: its number there.
    """

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path, descriptor: int) -> Held:
        """The file at ``path``, which is open as ``descriptor``."""
        found = os.fstat(descriptor)
        return cls(path, found.st_dev, found.st_ino)

    @property
    def in_place(self) -> bool:
        """Whether it is still the one at its path."""
        try:
            found = self.path.stat(follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self.device, self.inode)

    def check(self) -> None:
        """Refuse to go on in a folder that is no more, or another's.

        Raises:
            MetapbtError: it was deleted, moved or replaced.
        """
        if not self.in_place:
            raise MetapbtError(
                f"{self.path.parent} was deleted, moved or replaced while this run worked on it: "
                "nothing more is written there"
            )


def write_text_atomically(path: Path, text: str, parents: bool = True) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all; see `atomic_file`."""
    with atomic_file(path, parents) as temporary:
        temporary.write_text(text, encoding="utf-8")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read its bytes; what is no file, such as a pipe, is refused instead of waited for.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise OSError(errno.EINVAL, f"it is {what}", str(path))
    return os.fdopen(descriptor, "rb")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], parents: bool = True) -> None:
    """Write named arrays into an NPZ file, whole or not at all, with a checksum over all of it.

    Any NumPy reads it. The same arrays give the same bytes.

    Args:
        path: of the file.
        arrays: of any shapes; of numbers, truth values or text.
        parents: as of `atomic_file`.

    Raises:
        MetapbtError: an array holds Python objects, which only a pickle could keep, or its name cannot be kept.
        OSError: the file cannot be written.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise MetapbtError(f"array {name!r} cannot be kept: it holds Python objects instead of numbers")
        if not isinstance(name, str) or not name.isprintable() or len(name) > 10_000:
            raise MetapbtError(f"array {name!r:.60} cannot be kept: its name must be a printable text")
    with atomic_file(path, parents) as temporary, temporary.open("w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = _CHECKSUM + bytes(8)
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        end = file.tell() - 8
        checksum = _checksum(file, end)
        file.seek(end)
        file.write(checksum)


def read_arrays(
    path: Path, most_bytes: int | None = None, only: Collection[str] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Read an NPZ file that `write_arrays` wrote: all of it is as it was written, or this raises.

    Nothing in the file is believed before it is checked: it takes no more memory than the file has bytes, no pickle is
    opened, and what is no file is not waited for. A file without a checksum, as NumPy and earlier versions write them,
    is read as far as the checksums of its ZIP entries hold.

    Args:
        path: of the file.
        most_bytes: of a file that is read; None for any number.
        only: the names of the arrays to return, if not all; the checksum is of the whole file nevertheless.

    Raises:
        MetapbtError: the file is missing, damaged, too large, or of another kind.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if most_bytes is not None and size > most_bytes:
                raise ValueError(f"it has {size:,} bytes, more than {most_bytes:,}")
            _check_checksum(file, size)
            with zipfile.ZipFile(file) as archive:
                members = _checked_members(archive, size)
                wanted = members.keys() if only is None else [name for name in members if name in only]
                return {name: _array(archive, members[name]) for name in wanted}
    except OSError as error:
        raise MetapbtError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    except Exception as error:  # what a parser raises over damaged bytes is anything
        raise MetapbtError(f"{path} is damaged: {one_line(error) or type(error).__name__}") from error


def _checksum(file: IO[bytes], end: int) -> bytes:
    """Of the first ``end`` bytes, as eight hexadecimal digits."""
    file.seek(0)
    checksum = 0
    while end > 0:
        chunk = file.read(min(end, _CHUNK))
        if not chunk:
            raise ValueError("it is cut")
        checksum, end = zlib.crc32(chunk, checksum), end - len(chunk)
    return b"%08x" % checksum


def _check_checksum(file: IO[bytes], size: int) -> None:
    file.seek(max(0, size - 22 - len(_CHECKSUM) - 8))
    tail = file.read()
    if tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0":  # ends without a comment: not written by us
        return
    comment = tail[22:]
    if not comment.startswith(_CHECKSUM) or tail[20:22] != bytes([len(comment), 0]):
        raise ValueError("its end is missing")
    if comment[len(_CHECKSUM) :] != _checksum(file, size - 8):
        raise ValueError("its checksum is another")


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in members:
            raise ValueError(f"{member.filename!r:.60} is no array or stands in it twice")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(f"{name!r:.60} is compressed or encrypted")
        members[name] = member
    if sum(member.file_size for member in members.values()) > size:
        raise ValueError("its entries claim more than it holds")
    return members


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    form = np.lib.format
    headers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = headers[form.read_magic(file)](file)
        count = 1
        for length in shape:
            count *= length
        if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename!r:.60} claims another size than it has, or holds Python objects")
    with archive.open(member) as file:
        array: np.ndarray[Any, Any] = form.read_array(file, allow_pickle=False)
        return array
