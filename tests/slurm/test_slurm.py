"""The generated scripts on a real Slurm (make test-slurm starts one on this machine)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest

from metapbt.cli import main
from metapbt.store.table import read_table

pytestmark = pytest.mark.slurm

RUNNER = Path(__file__).parents[2] / "automatic_job_runner.sh"
SCRIPTS = Path("contexts/quadratic/optimum_shift")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.fail("no Slurm answers here; `make test-slurm` starts one")
    monkeypatch.chdir(tmp_path)
    # The jobs inherit it, so that they find this interpreter's metapbt.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def write_scripts(*overrides: str) -> None:
    scripts = ("env=quadratic", "scripts.feature=optimum_shift", "cluster=one_machine", *overrides)
    assert main(["scripts", *scripts]) == 0


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def submit() -> dict[str, str]:
    """What the runner says of each context."""
    lines = output(str(RUNNER), str(SCRIPTS)).splitlines()
    return {name: outcome.strip() for name, outcome in (line.split(maxsplit=1) for line in lines)}


def job_id(outcome: str) -> str:
    return outcome.partition(":")[0].removeprefix("job ")


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{logs()}\n{output('scontrol', 'show', 'job')}"
        time.sleep(0.3)


def logs() -> str:
    return "\n".join(path.read_text() for path in sorted(Path("logs").rglob("*.out")))


def queue_is_empty() -> bool:
    return not output("squeue", "--noheader").strip()


def generations(run: str) -> int:
    path = Path("results/quadratic", run, "records.parquet")
    # Opened once: pandas opens it twice, and finds two versions when the job replaces it in between.
    return pc.count_distinct(read_table(path)["generation"]).as_py() if path.exists() else 0


def test_arrays_of_contexts_are_submitted_and_end_with_their_records() -> None:
    write_scripts("scripts.values=[0, 0.25, 0.5]", "scripts.seeds=2", "method=pbt", "budget.steps=20")

    submitted = submit()
    assert list(submitted) == ["c1", "c2", "c3"]
    assert all(outcome.startswith("job ") for outcome in submitted.values())
    assert "c3-quadratic-optimum_shift=0.5-pbt" in output("squeue", "--noheader", "--format=%j").split()
    assert "in the queue" in submit()["c3"]
    wait_until(queue_is_empty)

    for context in ("default", "optimum_shift=0.25", "optimum_shift=0.5"):
        for seed in (0, 1):
            assert (Path("results/quadratic", context, "pbt", f"seed_{seed}") / "DONE").exists(), logs()
            assert generations(f"{context}/pbt/seed_{seed}") == 5
    assert set(submit().values()) == {"finished, skipped"}


def test_only_the_unfinished_seeds_are_submitted_again() -> None:
    write_scripts("scripts.values=[0.25]", "scripts.seeds=[3, 7]", "method=pbt", "budget.steps=20")
    done = Path("results/quadratic/optimum_shift=0.25/pbt/seed_3/DONE")
    done.parent.mkdir(parents=True)
    done.touch()

    submit()
    wait_until(queue_is_empty)

    assert [path.name.split("_")[-1] for path in Path("logs").rglob("*.out")] == ["1.out"]
    assert generations("optimum_shift=0.25/pbt/seed_7") == 5


def test_a_job_that_nears_its_time_limit_saves_and_continues_from_the_queue() -> None:
    write_scripts("scripts.values=[0.5]", "scripts.seeds=1", "method=pbt", "budget.steps=1600")
    job = job_id(submit()["c1"])
    run = "optimum_shift=0.5/pbt/seed_0"
    wait_until(lambda: generations(run) > 2)

    # What Slurm itself sends cluster.stop_seconds before the limit.
    output("scancel", "--batch", "--signal=USR1", f"{job}_0")
    wait_until(lambda: "back in the queue" in logs())
    wait_until(queue_is_empty)

    assert generations(run) == 400, logs()
    # Both parts tell where they were; nothing is asked of the files, which the second part may be writing already.
    (going_on,) = re.findall(r"going on, 4 members, generation (\d+) of 400", logs())
    assert 2 < int(going_on) <= 400


def test_a_cancelled_job_stays_cancelled_and_continues_when_submitted_again() -> None:
    write_scripts("scripts.values=[0.75]", "scripts.seeds=1", "method=pbt", "budget.steps=1600")
    job = job_id(submit()["c1"])
    run = "optimum_shift=0.75/pbt/seed_0"
    wait_until(lambda: generations(run) > 2)

    output("scancel", job)
    wait_until(queue_is_empty)
    time.sleep(6)  # longer than a requeued job would wait
    assert queue_is_empty()
    assert 2 < generations(run) < 400

    submit()
    wait_until(queue_is_empty)
    assert generations(run) == 400, logs()
