"""A study on a real Slurm: one job preempted, one failing once; submitted again, it ends complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import metapbt
from metapbt.store.results import find_runs

pytestmark = pytest.mark.slurm

STUDY = """
env: quadratic
overrides: [budget.steps=40, "callbacks=[mishaps:Mishaps]", executor=inline]
sources: {method: pbt, context.optimum_shift: [0, 0.25], seed: [0, 1]}
targets: {after: sources, method: meta_pb2, context.optimum_shift: [0.5, 0.75], seed: [0, 1]}
"""
# One source waits in the midst of its first start until it is preempted; one target fails in its first start.
MISHAPS = """
import time
from pathlib import Path
from metapbt.callbacks import Callback

class Mishaps(Callback):
    def on_start(self, run):
        self.run = f"{run.name}_{run.context['optimum_shift']:g}_{run.seed}"

    def on_generation(self, history):
        if history.generations == 4 and self.run == "pbt_0.25_1" and self.first_time("waits"):
            time.sleep(3600)
        if history.generations == 6 and self.run == "meta_pb2_0.5_1" and self.first_time("fails"):
            raise RuntimeError("the robot is broken")

    def first_time(self, what):
        try:
            Path(what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.fail("no Slurm answers here; `make test-slurm` starts one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # The jobs inherit it, so that they find this interpreter's metapbt.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("shifts.yaml").write_text(STUDY)
    Path("mishaps.py").write_text(MISHAPS)


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs()}"
    return done.stdout


def submit() -> dict[str, str]:
    """Each array that was submitted, or was in the queue: its name and its job."""
    lines = output("metapbt", "study", "shifts.yaml", "cluster=one_machine").splitlines()
    told = [line.strip().removeprefix("job ").split(": ") for line in lines if line.startswith("  job ")]
    return {what.partition(",")[0]: job for job, what in told}


def queue(*fields: str) -> list[list[str]]:
    lines = output("squeue", "--noheader", "--array", f"--format={'|'.join(fields)}").splitlines()
    return sorted(line.split("|") for line in lines)


def status() -> list[list[str]]:
    """Of each context and method: how many are done, and what became of the others."""
    lines = output("metapbt", "status", "results/shifts").splitlines()
    return [[cell.strip() for cell in line.split("│")[-5:-1]] for line in lines if "│" in line]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 900  # only so that a fault does not wait for ever
    while not condition():
        assert time.monotonic() < deadline, f"{logs()}\n{output('scontrol', 'show', 'job')}"
        time.sleep(0.3)


def logs() -> str:
    return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted(Path("logs").rglob("*.out")))


def test_a_study_with_a_preempted_and_a_failing_job_ends_complete_when_it_is_submitted_again() -> None:
    jobs = submit()
    sources = [f"sources-quadratic-{context}-pbt" for context in ("default", "optimum_shift=0.25")]
    targets = [f"targets-quadratic-optimum_shift={shift}-meta_pb2" for shift in ("0.5", "0.75")]
    assert list(jobs) == [*sources, *targets]
    waiting = [[name, "PENDING", "(Dependency)"] for name in targets for _ in range(2)]
    wait_until(lambda: [row for row in queue("%j", "%T", "%R") if row[0] in targets] == waiting)

    # Preempted in the midst: it saves, goes back into the queue, and the targets go on waiting.
    wait_until(Path("waits").exists)
    others = [["default", "pbt", "2 of 2 seeds", ""], ["optimum_shift=0.25", "pbt", "1 of 2 seeds"]]
    wait_until(lambda: [row[: len(other)] for row, other in zip(status(), others, strict=False)] == others)
    preempted = jobs[sources[1]]
    assert status()[1][-1] == f"running: seed 1 (job {preempted}_1)"
    output("scontrol", "requeue", f"{preempted}_1")
    pending = f"pending: seed 0, 1 (job {jobs[targets[0]]}_[0-1])"
    assert status()[2] == ["optimum_shift=0.5", "meta_pb2", "0 of 2 seeds", pending]
    assert list(submit().items()) == [(name, jobs[name]) for name in (sources[1], *targets)]  # nothing is there twice

    wait_until(lambda: not queue("%i"))
    assert status() == [
        ["default", "pbt", "2 of 2 seeds", ""],
        ["optimum_shift=0.25", "pbt", "2 of 2 seeds", ""],
        ["optimum_shift=0.5", "meta_pb2", "1 of 2 seeds", "failed: seed 1"],
        ["optimum_shift=0.75", "meta_pb2", "2 of 2 seeds", ""],
    ]
    failed = "results/shifts/targets/quadratic/optimum_shift=0.5/meta_pb2/seed_1"
    assert f"{failed}: the robot is broken" in output("metapbt", "status", "results/shifts", "--failed")

    rerun = output("metapbt", "status", "results/shifts", "--failed", "--rerun").splitlines()[-1]
    assert rerun == "1 run of this cluster's; to submit again:  bash results/shifts/targets.sh --submit --failed"

    again = submit()
    assert list(again) == [targets[0]]
    wait_until(lambda: not queue("%i"))
    assert [row[2:] for row in status()] == [["2 of 2 seeds", ""]] * 4
    assert submit() == {}

    # All as though nothing had happened: they learned from both sources, and the preempted run from its own past.
    runs = {run.path.as_posix().removeprefix("results/shifts/"): run for run in find_runs(Path("results"))}
    assert len(runs) == 8
    learned_from = {run.context for name, run in runs.items() if name.startswith("sources")}
    assert {run.ancestry for name, run in runs.items() if name.startswith("targets")} == {frozenset(learned_from)}
    assert "going on, 4 members" in logs()
    overrides = ["env=quadratic", "budget.steps=40", "method=pbt", "context.optimum_shift=0.25", "seed=1"]
    alone = metapbt.run([*overrides, "executor=inline", "results_dir=alone"]).records
    preempted_run = metapbt.load("results/shifts/sources/quadratic/optimum_shift=0.25/pbt/seed_1").records
    changing = ["wall_seconds"]
    assert preempted_run.drop(columns=changing).equals(alone.drop(columns=changing))


def test_targets_whose_sources_all_failed_say_so_and_wait_for_nobody() -> None:
    broken = STUDY.replace("mishaps:Mishaps", "mishaps:Broken").replace("seed: [0, 1]", "seed: 0")
    Path("shifts.yaml").write_text(broken)
    Path("mishaps.py").write_text(
        "from metapbt.callbacks import Callback\n\n"
        "class Broken(Callback):\n    def on_generation(self, history):\n        raise RuntimeError('no robot')\n"
    )
    submit()
    wait_until(lambda: not queue("%i"))
    assert "is not begun: none of the 2 runs that it was to learn from is finished (sources)" in logs()
    assert not Path("results/shifts/targets").exists()
    assert [row[2:] for row in status()] == [["0 of 1 seed", "failed: seed 0"]] * 2
