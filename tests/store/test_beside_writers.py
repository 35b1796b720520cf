"""Readers beside writers: no failure, no false alarm, however the files change under them."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pytest
from filelock import FileLock

from metapbt.cli import main
from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.report.groups import load_groups
from metapbt.store import find_runs, read_history
from metapbt.store.check import problem, problem_in
from metapbt.store.checkpoint import Outcome, save_checkpoint
from metapbt.store.done import Done
from metapbt.store.memory_table import read_memory, write_memory
from metapbt.store.reading import Absent
from metapbt.store.results import describe, find_run, read_run
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import Identity, to_table, write_table

FORK = multiprocessing.get_context("fork")
GENERATIONS, INTERVAL = 6, 4


def write_a_run(results: Path, seed: int, draw: random.Random, risk: float = 0.0) -> None:
    """One run from its beginning, as the loop of a run writes it; sometimes it dies, fails, or is deleted under way."""
    context = make_context("quadratic")
    directory = RunDirectory(run_directory(results, "quadratic", context, "pbt", seed))
    config = {
        "env": "quadratic", "context": {}, "features": dict(context), "name": None, "seed": seed,
        "budget": {"steps": GENERATIONS * INTERVAL, "interval": INTERVAL}, "method": {"name": "pbt"},
        "learner": {"name": "quadratic"}, "population": {"metric": "train_return", "size": 2, "candidates": None},
        "space": {"h0": {"type": "float", "low": 0.0, "high": 1.0}}, "stop": {"return_reached": None},
    }  # fmt: skip
    directory.open(config, resume=False)
    try:
        directory.begin(config)
        source = run_directory(results, "quadratic", make_context("quadratic", {"optimum_shift": 0.5}), "pbt", 0)
        write_memory(directory.memory, _rows(source), [make_context("quadratic", {"optimum_shift": 0.5})])
        start = {"kind": "start", "hyperparameters": {"h0": draw.random()}, "source": "random"}
        directory.journal.begin({0: start, 1: start})
        history = History((), "train_return", 2)
        for generation in range(GENERATIONS):
            steps = (generation + 1) * INTERVAL
            told = [(draw.gauss(0, 1), draw.gauss(0, 1)) for _ in range(2)]
            now = [
                Record(generation, member, None, "continued" if generation else "random", start["hyperparameters"],
                       steps, *told[member], 1, 0.1, until_steps=steps)
                for member in range(2)
            ]  # fmt: skip
            for record in now:
                outcome = {name: getattr(record, name) for name in Outcome.__dataclass_fields__}
                save_checkpoint(directory.checkpoint(record.ref), {}, Outcome(**outcome))
            history = history.extended(now)
            directory.journal.append(now, {})
            if generation + 1 in (1, 2, 4):
                write_table(directory.records, to_table(_identity(directory), history))
            directory.remove_checkpoints(history, {*(r.ref for r in history.latest), history.best().ref})
            if draw.random() < risk:
                directory.mark_failed("out of memory")
                return
            if draw.random() < risk:
                shutil.rmtree(directory.path)
                return
        write_table(directory.records, to_table(_identity(directory), history))
        directory.keep_checkpoints({*(r.ref for r in history.latest), history.best().ref})
        directory.mark_done(Done.of(history, history.best().ref, 0.5, 1))
    finally:
        directory.release()


def _rows(place: Path) -> pa.Table:
    context = make_context("quadratic", {"optimum_shift": 0.5})
    records = (Record(0, 0, None, "random", {"h0": 0.5}, 4, 1.0, 1.0),)
    return to_table(Identity(str(place), "quadratic", context, "pbt", "pbt", "quadratic", 0), History(records))


def _identity(directory: RunDirectory) -> Identity:
    return describe(directory).identity


def keep_writing(results: Path, seed: int, stop: Event) -> None:
    # As a disk that is slow: twenty leave the readers some of the processor, and are met amid what they write.
    os.fsync = lambda descriptor: time.sleep(0.02)  # type: ignore[assignment]
    draw, count = random.Random(seed), 0
    while not stop.is_set() or count == 0:
        write_a_run(results, seed, draw, risk=0.03)
        count += 1
    os._exit(0)


def test_twenty_runs_begun_written_replaced_and_deleted_disturb_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, stop = tmp_path / "results", FORK.Event()
    write_a_run(results, 999, random.Random(0))  # one that stays
    writers = [FORK.Process(target=keep_writing, args=(results, seed, stop)) for seed in range(20)]
    for writer in writers:
        writer.start()
    try:
        looks, until = 0, time.monotonic() + 4
        while looks < 2 or (time.monotonic() < until and looks < 12):
            for command in ("status", "data ls", "data show", "data export", "data check"):
                to = ["--to", str(tmp_path / "table.csv")] if command == "data export" else []
                status = main([*command.split(), str(results), *to])
                said = capsys.readouterr()
                assert (status, said.err) == (0, ""), (command, said)
            load_groups(results, _refuse)
            for run in find_runs(results, _refuse):
                table, history = read_run(run), read_history(run)
                told = len(table) if table is not None else 0
                # Between two reads of a run it may be deleted or begun anew: then each is whole, and they differ.
                assert told % 2 == len(history) % 2 == 0, "part of a generation"
                assert run.seed != 999 or told == len(history) == 2 * GENERATIONS
                try:
                    memory, ancestry = read_memory(run.path / "memory.parquet")
                except Absent:  # deleted since; others begin there anew at any time
                    pass
                else:
                    assert len(memory) == len(ancestry) == 1
            looks += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * len(writers)


def _refuse(error: MetapbtError) -> None:
    raise AssertionError(str(error))


@pytest.mark.parametrize("asked", [1, 5])
@pytest.mark.parametrize("lost", [("config.yaml",), ("config.yaml", "journal"), ("records.parquet",)])
def test_a_run_begun_anew_between_two_looks_is_no_damage(
    tmp_path: Path, lost: tuple[str, ...], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes the run that is read, file by file, and begins another in its place, slower than one reads."""
    write_a_run(tmp_path, 0, random.Random(0))
    (path,) = (run.path for run in find_runs(tmp_path))
    aside = tmp_path / ".aside"
    aside.mkdir()
    for look in (lambda: problem_in(RunDirectory(path)), lambda: find_run(RunDirectory(path), _refuse) and None):
        for name in lost:
            (path / name).rename(aside / name)
        waiting = iter(range(asked - 1) if lost != ("config.yaml", "journal") else ())

        def exists(directory: RunDirectory, waiting: Iterator[int] = waiting) -> bool:
            if next(waiting, None) is None:  # the reader has seen enough, and only now the other run is there
                for file in aside.iterdir():
                    file.rename(path / file.name)
            return os.path.lexists(directory.path / "journal")

        with monkeypatch.context() as patched:
            patched.setattr(RunDirectory, "exists", property(exists))
            assert look() is None
        for file in aside.iterdir():  # what nobody missed
            file.rename(path / file.name)
    (path / "config.yaml").unlink()  # for good
    assert "config.yaml cannot be read: there is no such file" in str(problem_in(RunDirectory(path)))
    (path / "journal").unlink()
    assert problem_in(RunDirectory(path)) is None, "nothing is there"


@pytest.mark.slow
def test_real_runs_are_watched_from_their_first_moment_to_their_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    asked = ["env=quadratic", "method=pbt", "executor=inline", "budget.steps=120", "budget.interval=2"]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "metapbt", "run", *asked, f"seed={seed}"],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for seed in range(2)
    ]  # fmt: skip
    try:
        states: set[str] = set()
        while any(run.poll() is None for run in runs):
            if not (tmp_path / "results").is_dir() or not find_runs(tmp_path / "results"):
                continue
            for command in ("status", "data ls", "data check"):
                status = main([*command.split(), str(tmp_path / "results")])
                said = capsys.readouterr()
                assert (status, said.err) == (0, ""), (command, said)
            states |= {run.state for run in find_runs(tmp_path / "results")}
    finally:
        for run in runs:
            run.wait(120)
    assert [run.returncode for run in runs] == [0, 0]
    assert "running" in states
    assert "failed" not in states
    assert [(run.state, problem(run)) for run in find_runs(tmp_path / "results")] == [("done", None)] * 2


def as_nobody(look: Callable[[], int]) -> int:
    """Call something in a process without rights; its exit status."""
    child = os.fork()
    if not child:
        status = 99
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            status = look()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_looking_needs_no_right_to_write_and_what_may_not_be_read_is_named(everybodys: Path) -> None:
    results = everybodys / "results"
    for seed in range(4):
        write_a_run(results, seed, random.Random(seed + 100))
    runs = {run.seed: run.path for run in find_runs(results)}
    assert len(runs) == 4
    for command in ("status", "data ls", "data check"):  # what they import, nobody may not be able to
        assert main([*command.split(), str(results)]) == 0
    (runs[0] / "DONE").unlink()
    (runs[1] / "DONE").unlink()
    (runs[1] / ".lock").chmod(0o600)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    with FileLock(runs[0] / ".lock"):
        states = {run.seed: run.state for run in find_runs(results)}
        assert states == {0: "running", 1: "stopped", 2: "done", 3: "done"}

        def look() -> int:
            found = {run.seed: run.state for run in find_runs(results, _refuse)}
            found_out = found == {0: "running", 1: "unknown", 2: "done", 3: "done"}
            return 10 * (not found_out) + main(["status", str(results)]) + main(["data", "check", str(results)])

        assert as_nobody(look) == 0
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    (runs[2] / "records.parquet").chmod(0)
    runs[3].chmod(0o700)

    def look_again() -> int:
        problems: list[str] = []
        found = {run.seed for run in find_runs(results, lambda error: problems.append(str(error)))}
        named = all(str(runs[seed]) in " ".join(problems) for seed in (2, 3))
        statuses = [main([*command.split(), str(results)]) for command in ("status", "data ls", "data check")]
        return 0 if named and found >= {0, 1} and statuses == [1, 1, 1] else 1

    assert as_nobody(look_again) == 0
    everybodys.chmod(0o700)
    assert as_nobody(lambda: main(["status", str(results)])) == 1  # in one line


def test_a_run_starts_while_others_look(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.open({}, resume=False)
    directory.release()
    stop = FORK.Event()

    def look() -> None:
        while not stop.is_set():
            RunDirectory(tmp_path / "run").busy  # noqa: B018 - looks

    watchers = [FORK.Process(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(5):
            opened = RunDirectory(tmp_path / "run")
            opened.open({}, resume=False)
            assert RunDirectory(tmp_path / "run").busy is True
            opened.release()
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join(30)
