"""What ``metapbt status`` prints, beside a queue and without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from synthetic_results import make_run, store_runs

from metapbt.cli import main
from metapbt.report.status import print_status

LONG = {"pole_length": 0.8}
# Fails as long as there is a file "broken".
BREAKS = """
from pathlib import Path
from metapbt.callbacks import Callback

class Breaks(Callback):
    def on_generation(self, history):
        if history.generations >= 3 and Path("broken").exists():
            raise RuntimeError("the robot is broken")
"""


def cells(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A source, and a target in which a seed of memory's runs has stopped and another is missing."""
    runs = [
        make_run("pb2", 7),
        *(make_run("pb2", seed, changed=LONG) for seed in range(3)),
        make_run("meta_pb2", 0, changed=LONG, sources=[{}]),
        make_run("meta_pb2", 1, changed=LONG, sources=[{}], state="stopped", generations=5),
        make_run("meta_pb2", 2, changed={"pole_length": 1.1}, sources=[{}], state="failed"),
    ]
    return store_runs(tmp_path / "results", runs)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for `squeue` prints."""
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat '{tmp_path}/queue'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "queue"


def test_status_counts_seeds_and_tells_those_that_are_not_done(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(study)
    printed = capsys.readouterr().out
    assert cells(printed) == [
        ["cart_pole", "default", "pb2", "1 of 1 seed", ""],  # a source lacks nothing
        ["cart_pole", "pole_length=0.8", "meta_pb2", "1 of 3 seeds", "stopped: seed 1; missing: seed 2"],
        ["cart_pole", "pole_length=0.8", "pb2", "3 of 3 seeds", ""],  # nor is its seed expected elsewhere
        ["cart_pole", "pole_length=1.1", "meta_pb2", "0 of 3 seeds", "failed: seed 2; missing: seed 0, 1"],
    ]
    assert "seed_2: out of memory" in printed
    assert "To resume a stopped run" in printed


def test_groups_of_a_study_have_rows_of_their_own_and_lack_nothing_of_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a study has them whose sources have one seed and whose targets have three."""
    sources = [make_run("pb2", 0, folder="sources"), make_run("pb2", 0, changed=LONG, folder="sources")]
    targets = [make_run("pb2", seed, changed={"pole_length": 1.1}, folder="targets") for seed in range(3)]
    print_status(store_runs(tmp_path / "results", [*sources, *targets]))
    assert cells(capsys.readouterr().out) == [
        ["sources", "cart_pole", "default", "pb2", "1 of 1 seed", ""],
        ["sources", "cart_pole", "pole_length=0.8", "pb2", "1 of 1 seed", ""],
        ["targets", "cart_pole", "pole_length=1.1", "pb2", "3 of 3 seeds", ""],
    ]


def test_runs_in_the_queue_are_told_with_their_jobs(
    study: Path, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = study / "cart_pole"
    tasks = [
        *[f"8\t{i}\tPENDING\t{study}\tmetapbt 0,1,2,3,4 cart_pole/pole_length=1.1/meta_pb2" for i in (0, 1, 2, 4)],
        f"9\t1\tRUNNING\t/anywhere\tmetapbt 0,1 {at}/pole_length=0.8/meta_pb2",
        f"10\t0\tRUNNING\t/anywhere\tmetapbt 0 {at}/pole_length=0.8/pb2",  # ending: the run is done
        f"11\t0\tPENDING\t/anywhere\tmetapbt 3 {at}/pole_length=2/pbt",
        f"12\t0\tPENDING\t/anywhere\tmetapbt 3 {study.parent}/others/cart_pole/default/pbt",
        "13\tN/A\tRUNNING\t/anywhere\t(null)",
        "14\t7\tRUNNING\t/anywhere\tmetapbt 0 of somebody else's",
    ]
    queue.write_text("\n".join(tasks))
    assert print_status(study) == 0
    printed = capsys.readouterr().out
    assert cells(printed) == [
        ["cart_pole", "default", "pb2", "1 of 1 seed", ""],
        ["cart_pole", "pole_length=0.8", "meta_pb2", "1 of 3 seeds", "running: seed 1 (job 9_1); missing: seed 2"],
        ["cart_pole", "pole_length=0.8", "pb2", "3 of 3 seeds", ""],
        # Submitted again, so the error is of the past.
        ["cart_pole", "pole_length=1.1", "meta_pb2", "0 of 4 seeds", "pending: seed 0, 1, 2, 4 (job 8_[0-2,4])"],
        ["cart_pole", "pole_length=2", "pbt", "0 of 1 seed", "pending: seed 3 (job 11_0)"],
    ]
    assert printed.rstrip().endswith("┘")

    # Where nothing has begun, and where the queue cannot be asked.
    (study / "cart_pole").rename(study.parent / "old")
    assert print_status(study) == 0
    assert len(cells(capsys.readouterr().out)) == 4
    (queue.parent / "squeue").write_text("#!/bin/sh\necho 'Socket timed out' >&2\nexit 1\n")
    assert print_status(study.parent / "old") == 1
    out, err = capsys.readouterr()
    assert cells(out)
    assert "pending" not in out
    assert err.startswith("metapbt: squeue does not answer, so it is unknown which runs wait or train on the cluster: ")
    assert err.endswith("Socket timed out\n")
    nobody = "squeue: fatal: Could not establish a configuration source"  # Slurm's commands, but no cluster
    (queue.parent / "squeue").write_text(f"#!/bin/sh\necho '{nobody}' >&2\nexit 1\n")
    assert print_status(study.parent / "old") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_is_cut_in_a_narrow_terminal(
    study: Path, queue: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    place = study / "cart_pole/gravity=12.5,pole_length=0.85/meta_pb2"
    queue.write_text("\n".join(f"1234567\t{i}\tPENDING\t/\tmetapbt 0,1,2 {place}" for i in range(3)))
    print_status(study)
    printed = capsys.readouterr().out
    assert "…" not in printed
    joined = ["".join(column) for column in zip(*cells(printed), strict=True)]
    assert "pending:seed0,1,2(job1234567_[0-2])" in joined[4].replace(" ", "")
    if columns == 80:
        assert "│ 3 of 3 seeds │" in printed


def test_failed_runs_are_listed_and_run_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "breaks.py").write_text(BREAKS)
    (tmp_path / "broken").touch()
    run = ["run", "env=quadratic", "method=pbt", "executor=inline", "budget.steps=20", "callbacks=[breaks:Breaks]"]
    assert main([*run, "--multirun", "seed=0,1", "resume=false"]) == 1
    assert main(["run", "env=quadratic", "method=pbt", "budget.steps=8", "executor=inline", "seed=2"]) == 0
    capfd.readouterr()

    assert main(["status", "results", "--failed"]) == 0
    listed = capfd.readouterr().out.splitlines()
    assert listed == [
        *(f"results/quadratic/default/pbt/seed_{seed}: the robot is broken" for seed in (0, 1)),
        "2 failed runs under results",
        "metapbt status results --failed --rerun  runs them again",
    ]
    assert main(["status", "results", "--rerun"]) == 1
    assert "--rerun goes with --failed" in capfd.readouterr().err
    assert main(["status", "results", "--failed", "--rerun"]) == 1  # it is still broken
    assert "the robot is broken" in capfd.readouterr().err

    (tmp_path / "broken").unlink()
    (tmp_path / "results/quadratic/default/pbt/seed_1").rename(tmp_path / "results/quadratic/default/pbt/seed_9")
    assert main(["status", "results", "--failed", "--rerun"]) == 1
    told = capfd.readouterr()
    assert "going on, 4 members, generation 5 of 5" in told.err  # it goes on where it failed
    assert "1 of 2: results/quadratic/default/pbt/seed_0" in told.out
    assert "seed_9 was moved, and would run again as results/quadratic/default/pbt/seed_1" in told.err
    monkeypatch.chdir(tmp_path / "results/quadratic")
    assert print_status(Path("default"), failed=True) == 0
    assert "1 failed run under default" in capfd.readouterr().out
