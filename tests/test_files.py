import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from metapbt.files import atomic_file, remove_leftovers, write_text_atomically


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_text_atomically(target, "first")
    write_text_atomically(target, "second")
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    write_text_atomically(target, "old")

    def write_badly():
        with atomic_file(target) as temporary:
            temporary.write_text("half of the n")
            assert target.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_badly()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_can_be_read_by_those_who_could_read_any_new_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_text_atomically(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_the_umask_of_the_moment_holds_whatever_other_threads_write(tmp_path):
    script = (
        "import os, threading; from pathlib import Path; from metapbt.files import write_text_atomically\n"
        "os.umask(0o027)\n"
        "def write(number):\n"
        "    for turn in range(30): write_text_atomically(Path(f'{number}_{turn}'), '')\n"
        "threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "print({oct(path.stat().st_mode & 0o777) for path in Path().iterdir()}, oct(os.umask(0)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "{'0o640'} 0o27\n"


def test_of_several_who_write_one_file_the_last_ones_stays_whole(tmp_path):
    target = tmp_path / "file.txt"

    def write(number):
        for _ in range(20):
            write_text_atomically(target, f"{number}" * 5000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    while any(thread.is_alive() for thread in threads):
        if target.exists():
            text = target.read_text()
            assert len(text) == 5000
            assert len(set(text)) == 1
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_gone_comes_back_only_where_that_is_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"deep/file\.txt"):
        write_text_atomically(tmp_path / "deep" / "file.txt", "", parents=False)
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_file_and_not_its_temporary_one(tmp_path):
    with pytest.raises(OSError, match=r"No space.*file\.txt'"), atomic_file(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from metapbt.files import atomic_file\n"
        "with atomic_file(Path('file.npz')): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / ".config.original.yaml").touch()
    (tmp_path / "own.tmp").touch()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    old, new = set(tmp_path.iterdir()) - {tmp_path / ".config.original.yaml", tmp_path / "own.tmp"}
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path, seconds=3600)
    assert not old.exists()
    assert new.exists()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".config.original.yaml", "own.tmp"}


def test_names_are_flushed_once_a_file_has_taken_its_own(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd)))
    write_text_atomically(tmp_path / "file.txt", "")
    assert flushed[-1] == tmp_path
    assert len(flushed) == 2
