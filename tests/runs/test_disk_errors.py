"""Disks that are full, broken or read-only: one line, nothing lost, and the same command goes on."""

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_runs import command, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.runs.run import run_config
from metapbt.store import find_runs, journal
from metapbt.store.check import problem
from metapbt.store.journal import Journal, read_journal

SMALL = ["population.size=2", "budget.steps=20", "population.quantile=0.5"]
CALLS = [(os, "open"), (os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "unlink"), (os, "scandir"), (io, "open")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of them; what reaches the disk shows nowhere


class Disk:
    """Lets calls to the system fail that concern files below a folder: one of them, or it and all that follow."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self.calls = []

    def failing(self, folder, run, at=None, error=errno.EIO, stays=False):
        self.calls = []

        def count(name, path):
            if isinstance(path, int):
                path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
            if f"/{folder}/" not in f"/{os.fspath(path)}/" or "run.log" in str(path):
                return False
            self.calls.append(name)
            return at is not None and (len(self.calls) == at or (stays and len(self.calls) > at))

        def wrapped(module, name):
            real = getattr(module, name)

            def call(path, *arguments, **settings):
                if count(name, path):
                    raise OSError(error, os.strerror(error), str(path))
                return real(path, *arguments, **settings)

            return call

        def write_through(file, data):
            if count("write", file.name):
                file.write(data[: len(data) // 2])
                raise OSError(error, os.strerror(error))
            real_write(file, data)

        real_write = journal.write_through
        with self._monkeypatch.context() as patch:
            for module, name in CALLS:
                patch.setattr(module, name, wrapped(module, name))
            patch.setattr(journal, "write_through", write_through)
            return run()


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def plain(folder):
    return records(folder).drop(columns=["run_id"])


def finished_cleanly(folder):
    (info,) = find_runs(Path(folder))
    assert (info.state, problem(info)) == ("done", None)
    assert not list(Path(folder).rglob(".metapbt-*"))


def one_line(raised):
    assert "\n" not in str(raised.value)
    assert "unexpected" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_any_call_to_the_system_may_fail_and_the_same_command_ends_with_the_same_records(space, disk, every):  # noqa: F811
    """The heart: each call in turn, for once or from then on."""
    metapbt.run(command("whole", *SMALL, method="pbt"), space)
    expected = plain("whole")
    disk.failing("counted", lambda: metapbt.run(command("counted", *SMALL, method="pbt"), space))
    total = len(disk.calls)
    config = compose(command("replaced", *SMALL, method="pbt"), space)
    assert set(disk.calls) >= {"open", "fsync", "replace", "mkdir", "unlink", "write"}
    assert total > 50
    survived = 0
    for at in range(1, total + 1, every):
        config["results_dir"] = f"failing_{at}"
        kind, stays = (errno.ENOSPC, errno.EIO, errno.EROFS)[at % 3], at // every % 2 == 0
        try:
            disk.failing(f"failing_{at}", lambda: run_config(config), at, kind, stays=stays)
            survived += 1  # such as a file of which nothing hangs
        except MetapbtError as error:
            text = str(error)
            assert "\n" not in text
            assert "unexpected" not in text, text
            assert os.strerror(kind) in text, text
        run_config(config)
        same(plain(f"failing_{at}"), expected)
        finished_cleanly(f"failing_{at}")
    assert survived < total / every / 4


@pytest.mark.parametrize("limit", [0, 100, 400, 800, 1600, 3200])
def test_files_that_may_not_grow_any_more_end_a_run_in_one_line(space, limit, monkeypatch):  # noqa: F811
    """What no patch reaches, such as Arrow's own writing: a limit of the system on every file's size."""
    metapbt.run(command("whole", *SMALL, method="pbt"), space)
    asked = command("limited", *SMALL, method="pbt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(MetapbtError, match="File too large") as raised:
            metapbt.run(asked, space)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    one_line(raised)
    metapbt.run(asked, space)
    same(plain("limited"), plain("whole"))
    finished_cleanly("limited")


def test_an_entry_that_could_not_be_written_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    written = Journal(tmp_path / "journal")
    written.begin({0: {"kind": "start"}})
    before = written.path.read_bytes()

    def full(file, data):
        file.write(data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_through", full)
        with pytest.raises(OSError, match=r"No space left on device: .*journal'"):
            written.append((), {0: {"kind": "start"}})
    assert written.path.read_bytes() == before
    written.append((), {0: {"kind": "continue"}})
    assert read_journal(written.path).damage is None
    written.path.unlink()
    with pytest.raises(FileNotFoundError):  # what is gone is not begun anew with what happened last
        written.append((), {})
    assert not written.path.exists()


def unprivileged(*overrides, config_dir):
    """Run ``metapbt run`` as nobody, in a process that has loaded everything as somebody."""
    code = (
        "import os, sys; from metapbt.cli import main\n"
        "assert main([*sys.argv[1:], 'results_dir=warm']) == 0\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "assert main(sys.argv[1:]) == 1\n"
        "sys.exit(main([*sys.argv[1:], 'seed=7']))"
    )
    packages = os.pathsep.join([str(Path(metapbt.__file__).parents[1]), str(Path(__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-c", code, "run", "--config-dir", str(config_dir), *overrides],
        env={**os.environ, "PYTHONPATH": packages}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def last_line(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


PLACES = {
    "a file": lambda place: place.touch(),
    "in a file": lambda place: place.parent.write_text(""),
    "a link to nowhere in particular": lambda place: place.symlink_to(place),
    "a lock that is a folder": lambda place: (place / RUN / ".lock").mkdir(parents=True),
    "a lock that is a link": lambda place: ((place / RUN).mkdir(parents=True), (place / RUN / ".lock").symlink_to("x")),
    "a log that is a folder": lambda place: (place / RUN / "run.log").mkdir(parents=True),
    "a journal that is a folder": lambda place: (place / RUN / "journal").mkdir(parents=True),
    "checkpoints that are a file": lambda place: (
        (place / RUN).mkdir(parents=True), (place / RUN / "checkpoints").touch()
    ),
    "a config that is a folder": lambda place: (place / RUN / "config.yaml").mkdir(parents=True),
    "a DONE that is a folder": lambda place: (
        (place / RUN / "DONE").mkdir(parents=True), (place / RUN / "journal").touch()
    ),
    "too long": lambda place: place.parent.rmdir(),
}  # fmt: skip
RUN = "quadratic/default/pb2/seed_0"


@pytest.mark.parametrize("kind", PLACES)
def test_a_place_where_nothing_can_be_kept_is_said_in_one_line(space, kind):  # noqa: F811
    place = Path("deep/results")
    if kind != "in a file":
        place.parent.mkdir()
    PLACES[kind](place)
    before = sorted(Path("deep").rglob("*"))
    asked = command("deep/results" if kind != "too long" else f"deep/{'x' * 300}", *SMALL)
    with pytest.raises(MetapbtError, match=str(place) if kind != "too long" else "File name too long") as raised:
        metapbt.run(asked, space)
    one_line(raised)
    left = {path.name for path in Path("deep").rglob("*") if path not in before} if Path("deep").is_dir() else set()
    assert left <= {".lock", "run.log", "checkpoints", "config.yaml", "FAILED"}


def test_a_place_of_somebody_else_is_said_in_one_line_and_left_alone(space, everybodys, monkeypatch):  # noqa: F811
    if os.getuid() != 0:
        pytest.skip("needs two users")
    shutil.copytree(space, everybodys / "conf")
    monkeypatch.chdir(everybodys)
    everybodys.chmod(0o755)
    run = metapbt.run(command("theirs", *SMALL, method="pbt"), space)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    done = unprivileged(*command("theirs", *SMALL, method="pbt"), config_dir=everybodys / "conf")
    assert last_line(done).startswith("metapbt: error: theirs/")
    for seed in (0, 7):  # what they have, and what they have not
        assert f"seed_{seed} cannot be worked on: Permission denied" in done.stderr
    assert done.stderr.count("choose another place: results_dir=DIR") == 2
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_full_disk_ends_a_run_in_one_line_and_it_goes_on_when_there_is_room(space, tmp_path):  # noqa: F811
    """A real one: a filesystem of some kilobytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small filesystem here")
    try:
        (disk / "else").write_bytes(bytes(48 * 1024))
        asked = command("disk/results", *SMALL, "budget.steps=40", "population.size=4")
        with pytest.raises(MetapbtError, match="No space left on device") as raised:
            metapbt.run(asked, space)
        assert "\n" not in str(raised.value)
        (disk / "else").unlink()
        run = metapbt.run(asked, space)
        metapbt.run([*asked, "results_dir=whole"], space)
        same(plain("disk/results"), plain("whole"))
        assert problem(run.info) is None
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
