"""Two starts of one run: the second names who works there; with leases where a file system has no locks."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import metapbt
from metapbt.errors import MetapbtError
from metapbt.store import lock
from metapbt.store.lock import Lock
from metapbt.store.run_directory import RunDirectory

#: A process that takes a folder's lock, and then writes, as far as it may, whenever it is asked to.
HOLDER = """
import errno, fcntl, sys
from pathlib import Path
from metapbt.errors import MetapbtError
from metapbt.store import lock

def refuse(*_):
    raise OSError(int(sys.argv[2]), "no locks here")

if sys.argv[2] != "0":
    fcntl.flock = refuse
lock.LEASE_SECONDS = float(sys.argv[3])
try:
    taken = lock.Lock(Path(sys.argv[1]))
    held = taken.acquire()
    print("taken", flush=True)
    for line in sys.stdin:
        if line == "release\\n":
            taken.release()
            break
        held.check()
        print("wrote", flush=True)
except MetapbtError as error:
    print(error, flush=True)
"""


class Holder:
    def __init__(self, folder, code=errno.ENOLCK, seconds=4.0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), str(code), str(seconds)],
            env={**os.environ, "PYTHONPATH": str(Path(metapbt.__file__).parents[1])},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def says(self):
        return self.process.stdout.readline().strip()

    def asked(self, what="write"):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.says()


@pytest.fixture
def start(tmp_path):
    """Start processes, which end with the test."""
    started = []

    def begin(*arguments):
        started.append(Holder(tmp_path, *arguments))
        return started[-1]

    yield begin
    for holder in started:
        holder.process.kill()
        holder.process.communicate()


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 4.0)


def test_who_comes_second_is_told_host_and_process(tmp_path, start):
    first = start(0)
    assert first.says() == "taken"
    where = f"process {first.process.pid} on {socket.gethostname()}"
    with pytest.raises(MetapbtError, match=f"is being worked on by {where}$"):
        Lock(tmp_path).acquire()
    assert RunDirectory(tmp_path).busy is True
    first.process.kill()
    first.process.wait()
    assert RunDirectory(tmp_path).busy is False
    ours = Lock(tmp_path)
    ours.acquire().check()
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n{socket.gethostname()}\n"
    ours.release()
    assert (tmp_path / ".lock").read_text() == ""


def test_without_locks_a_lease_does_it(tmp_path, start, no_locks):
    first = start()
    assert first.says() == "taken"
    assert RunDirectory(tmp_path).busy is True
    with pytest.raises(MetapbtError, match=f"worked on by process {first.process.pid} on {socket.gethostname()}$"):
        Lock(tmp_path).acquire()
    assert first.asked("release") == ""
    ours = Lock(tmp_path)
    ours.acquire().check()
    ours.release()
    assert RunDirectory(tmp_path).busy is False
    second = start(errno.ENOSYS)
    assert second.says() == "taken"
    second.process.kill()  # leaves its file behind; nobody of that number is there any more
    second.process.wait()
    assert RunDirectory(tmp_path).busy is False
    ours.acquire().check()
    ours.release()


def test_a_silent_holder_is_taken_over_by_one_alone_and_writes_nothing_more(tmp_path, start):
    silent = start()
    assert silent.says() == "taken"
    assert silent.asked() == "wrote"
    silent.process.send_signal(signal.SIGSTOP)  # it is there, but gives no sign of life
    takers = [start() for _ in range(3)]
    said = {taker.process.pid: taker.says() for taker in takers}
    (winner,) = (number for number, line in said.items() if line == "taken")
    refused = [line for number, line in said.items() if number != winner]
    assert all(line.endswith(f"is being worked on by process {winner} on {socket.gethostname()}") for line in refused)
    silent.process.send_signal(signal.SIGCONT)
    assert "was deleted, moved or replaced" in silent.asked()


def test_a_run_without_locks_is_a_run(tmp_path, no_locks, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(["env=quadratic", "method=pbt", "executor=inline", "budget.steps=20"])
    assert run.info.state == "done"
    assert not (run.path / ".lease").exists()
    (run.path / "DONE").unlink()
    assert metapbt.load(run.path).info.state == "stopped"
