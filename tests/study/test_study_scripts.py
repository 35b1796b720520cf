"""What a study submits to Slurm: its groups' scripts, their arrays, and which wait for which.

`sbatch`, `squeue` and `metapbt run` are stand-ins here; tests/slurm has the real ones.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.store.run_directory import RunDirectory
from metapbt.study.queue import queued_runs
from metapbt.study.slurm import submit
from metapbt.study.study import Study, read_study

STUDY = """
env: quadratic
overrides: [budget.steps=20, "initial=[{h0: 1, h1: 0.5}]"]
sources: {method: pbt, context.optimum_shift: [0, 0.25], seed: [0, 7], cluster.time: "01:00:00"}
targets: {after: sources, seed: [0, 1], method: [pb2, meta_pb2], context.optimum_shift: 0.5, cluster.max_parallel: 1}
"""
SOURCES = "results/shifts/sources/quadratic"
TARGETS = "results/shifts/targets/quadratic/optimum_shift=0.5"

# Writes down its arguments, each in a line of its own behind the job's number; from $SBATCH_FAILS on it refuses.
SBATCH = """#!/usr/bin/env bash
job=$((101 + $(cat jobs 2>/dev/null | wc -l)))
[[ "$job" != "${SBATCH_FAILS:-}" ]] || { echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }
echo "$job" >>jobs
printf '%s\\n' "$@" >"job_$job"
echo "$job"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >>scontrol_calls
"""
METAPBT = """#!/usr/bin/env bash
printf '%s\\n' "$@" >>calls
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project directory, with stand-ins for `metapbt`, `sbatch` and `squeue` first on the PATH."""
    commands, home = tmp_path / "commands", tmp_path / "a project"
    for folder in (commands, home):
        folder.mkdir()
    squeue = "#!/bin/sh\n[ ! -e busy ] || { echo 'Socket timed out' >&2; exit 1; }\n[ ! -e queue ] || cat queue\n"
    for name, text in (("metapbt", METAPBT), ("sbatch", SBATCH), ("scontrol", SCONTROL), ("squeue", squeue)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(home)
    return home


def study(*overrides: str) -> Study:
    Path("shifts.yaml").write_text(STUDY)
    return read_study("shifts.yaml", ["cluster=slurm", *overrides])


def submitted(*overrides: str, failed: bool = False) -> list[str]:
    return submit(study(*overrides), ["metapbt", "study", "shifts.yaml", "cluster=slurm"], failed)


def options(job: int) -> dict[str, str]:
    """What `sbatch` was told: its options, and the script under an empty name."""
    words = Path(f"job_{job}").read_text().splitlines()
    script = next(place for place, word in enumerate(words) if not word.startswith("--"))
    return {**dict(word.partition("=")[::2] for word in words[:script]), "": " ".join(words[script:])}


def task(script: str, at: int, index: int) -> subprocess.CompletedProcess[str]:
    """One task of an array."""
    return subprocess.run(
        ["bash", script, "--from", str(at)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SLURM_ARRAY_TASK_ID": str(index)},
    )


def end(run: str, how: str = "DONE") -> None:
    Path(run).mkdir(parents=True, exist_ok=True)
    (Path(run) / how).touch()


def begin(run: str) -> None:
    """A run of the study that has begun, and that nobody trains any more."""
    (asked,) = [each for each in study().runs if each.path == Path(run)]
    directory = RunDirectory(asked.path)
    directory.open(asked.config, resume=True)
    directory.begin(asked.config)
    directory.journal.begin({})
    directory.release()


def put_in_the_queue(*jobs: tuple[int, int, str]) -> None:
    """Jobs with their task and state, as `squeue` tells of what was submitted."""
    lines = [f"{job}\t{index}\t{state}\t{Path.cwd()}\t{options(job)['--comment']}\n" for job, index, state in jobs]
    Path("queue").write_text("7\tN/A\tRUNNING\t/home/me\t(null)\n" + "".join(lines))


def test_each_context_and_method_is_an_array_that_waits_for_the_groups_before(project: Path) -> None:
    said = submitted()
    names = ["sources-quadratic-default-pbt", "sources-quadratic-optimum_shift=0.25-pbt"]
    names += [f"targets-quadratic-optimum_shift=0.5-{method}" for method in ("pb2", "meta_pb2")]
    assert [options(job)["--job-name"] for job in range(101, 105)] == names
    assert [options(job)["--array"] for job in range(101, 105)] == ["0,1", "0,1", "0,1%1", "0,1%1"]
    waits = ["", "", "afterany:101:102", "afterany:101:102"]
    assert [options(job).get("--dependency", "") for job in range(101, 105)] == waits
    assert options(102)[""] == f"{project}/results/shifts/sources.sh --from 2"
    assert options(101)["--chdir"] == str(project)
    assert said == [
        "sources: 0 of 4 runs done, script results/shifts/sources.sh",
        "  job 101: sources-quadratic-default-pbt, seed 0,7",
        "  job 102: sources-quadratic-optimum_shift=0.25-pbt, seed 0,7",
        "targets: 0 of 4 runs done, script results/shifts/targets.sh",
        "  after sources (job 101, 102)",
        "  job 103: targets-quadratic-optimum_shift=0.5-pb2, seed 0,1",
        "  job 104: targets-quadratic-optimum_shift=0.5-meta_pb2, seed 0,1",
    ]
    # What a group asks of the cluster stands in its script.
    assert "#SBATCH --time=01:00:00\n" in Path("results/shifts/sources.sh").read_text()
    assert "#SBATCH --time=24:00:00\n" in Path("results/shifts/targets.sh").read_text()


def test_only_what_is_neither_done_nor_in_the_queue_is_submitted_again() -> None:
    submitted()
    end(f"{SOURCES}/default/pbt/seed_0")
    put_in_the_queue((101, 1, "RUNNING"), (103, 0, "PENDING"))

    said = submitted()
    assert "  job 101: sources-quadratic-default-pbt, seed 7, in the queue already" in said
    # The other source's job is gone, and so are all but one of the targets'.
    assert [options(job)["--array"] for job in (105, 106, 107)] == ["0,1", "1%1", "0,1%1"]
    assert options(107)["--dependency"] == "afterany:101:105"
    assert not Path("job_108").exists()

    # A job is known by what it trains: that lists have become longer since changes nothing.
    Path("shifts.yaml").write_text(STUDY.replace("[0, 7]", "[5, 7, 0]"))
    assert (
        "seed 7, in the queue already"
        in submit(read_study("shifts.yaml", ["cluster=slurm"]), ["metapbt", "study", "shifts.yaml"])[1]
    )


def test_nothing_is_submitted_while_it_cannot_be_known_what_is_in_the_queue() -> None:
    submitted()
    Path("busy").touch()
    with pytest.raises(MetapbtError, match="squeue does not answer, so what is in the queue already cannot be known"):
        submitted()
    assert not Path("job_105").exists()


def test_of_those_that_failed_alone_again_only_these_are_submitted() -> None:
    submitted()
    end(f"{TARGETS}/pb2/seed_1", "FAILED")
    end(f"{TARGETS}/pb2/seed_0", "FAILED")
    end(f"{TARGETS}/pb2/seed_0")  # it was mended since

    submitted(failed=True)
    assert (options(105)["--job-name"], options(105)["--array"]) == ("targets-quadratic-optimum_shift=0.5-pb2", "1%1")
    assert not Path("job_106").exists()
    # While a source has not begun, and is not in the queue, no target begins without it.
    end(f"{SOURCES}/default/pbt/seed_7", "FAILED")
    submitted(failed=True)
    assert [options(job)["--array"] for job in (106, 107)] == ["1", "1%1"]
    assert not Path("job_108").exists()
    # What may not have begun because of those that failed comes behind.
    for path in (f"{SOURCES}/default/pbt/seed_0", f"{SOURCES}/optimum_shift=0.25/pbt/seed_0"):
        end(path)
    put_in_the_queue((102, 1, "PENDING"))
    submitted(failed=True)
    assert [options(job)["--array"] for job in (108, 109, 110)] == ["1", "1%1", "0,1%1"]
    for run in study().runs:
        end(str(run.path))
    assert submitted()[-1] == "nothing to submit"


def test_what_the_system_ended_is_among_those_that_failed() -> None:
    submitted()
    begin(f"{TARGETS}/pb2/seed_0")  # out of memory, or cancelled: it is not in the queue, and nobody said why
    begin(f"{TARGETS}/pb2/seed_1")
    put_in_the_queue((103, 1, "RUNNING"))
    submitted(failed=True)
    assert (options(105)["--job-name"], options(105)["--array"]) == ("targets-quadratic-optimum_shift=0.5-pb2", "0%1")
    assert not Path("job_106").exists()


def test_targets_in_the_queue_wait_for_sources_that_are_submitted_again() -> None:
    submitted()
    put_in_the_queue((102, 0, "PENDING"), (102, 1, "PENDING"), (103, 0, "PENDING"), (103, 1, "PENDING"))
    assert not Path("scontrol_calls").exists()
    said = submitted()  # job 101 was lost, and 104
    assert "  after sources (job 105, 102)" in said
    assert Path("scontrol_calls").read_text() == "update JobId=103 Dependency=afterany:105:102\n"
    assert options(106)["--dependency"] == "afterany:105:102"


def test_a_study_that_was_begun_with_another_configuration_is_not_submitted() -> None:
    begin(f"{SOURCES}/default/pbt/seed_7")
    assert submitted()
    for job in (101, 102, 103, 104):
        Path(f"job_{job}").unlink()
    with pytest.raises(MetapbtError, match=r"seed_7 holds a run of another .*: budget.steps \(was 20, now 30"):
        submitted("budget.steps=30")
    assert not list(Path().glob("job_*"))


def test_names_of_studies_may_hold_spaces() -> None:
    Path("my study.yaml").write_text(STUDY)
    submit(read_study("my study.yaml", ["cluster=slurm"]), ["metapbt", "study", "my study.yaml"])
    assert "#SBATCH --output=logs/my_study/sources_%A_%a.out\n" in Path("results/my study/sources.sh").read_text()
    assert options(101)["--job-name"] == "sources-quadratic-default-pbt"


def test_a_task_trains_its_run_as_the_study_asks(project: Path) -> None:
    submitted()
    end(f"{SOURCES}/default/pbt/seed_0")
    copy = shutil.copy("results/shifts/targets.sh", project.parent / "slurm_script")
    done = task(str(copy), 2, 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "targets: only 1 of 4 runs to learn from are finished" in done.stdout
    words = Path("calls").read_text().splitlines()
    asked = next(list(run.overrides) for run in study().runs if run.path == Path(f"{TARGETS}/meta_pb2/seed_1"))
    assert words[0] == "run"
    assert sorted(words[1:]) == sorted(word for word in asked if not word.startswith("cluster"))


def test_a_task_that_finds_no_finished_source_says_so_and_fails_but_goes_on_with_what_has_begun() -> None:
    submitted()
    lost = task("results/shifts/targets.sh", 0, 0)
    assert lost.returncode == 1
    assert lost.stderr == (
        f"targets: {TARGETS}/pb2/seed_0 is not begun: "
        "none of the 4 runs that it was to learn from is finished (sources)\n"
    )
    assert not Path("calls").exists()
    end(f"{TARGETS}/pb2/seed_0", "journal")
    assert task("results/shifts/targets.sh", 0, 0).returncode == 0


def test_the_scripts_are_clean_shell_and_say_what_wrote_them() -> None:
    submitted("results_dir='my results'", "cluster.gres=gpu:1")
    checker = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    for script in ("my results/sources.sh", "my results/targets.sh"):
        checked = subprocess.run([checker, "--severity=style", script], capture_output=True, text=True)
        assert checked.stdout == ""
        text = Path(script).read_text()
        assert "#   metapbt study shifts.yaml cluster=slurm\n" in text
        assert "#SBATCH --gres=gpu:1\n" in text
        runs = re.search(r"^runs=\((.*?)\n\)$", text, re.DOTALL | re.MULTILINE)
        assert len(shlex.split(runs[1])) == 4
    put_in_the_queue((101, 1, "RUNNING"))
    assert [run.path for run in queued_runs(Path("my results"))] == [
        Path("my results/sources/quadratic/default/pbt/seed_7").absolute()
    ]


def test_what_keeps_a_study_from_the_cluster_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetapbtError, match=r"cluster\.time must be like '04:00:00'"):
        submitted("cluster.time=90")
    assert not Path("results").exists()
    monkeypatch.setenv("SBATCH_FAILS", "102")
    with pytest.raises(MetapbtError) as refused:
        submitted()
    assert str(refused.value) == (
        "results/shifts/sources.sh was not fully submitted: sbatch: error: QOSMaxSubmitJobPerUserLimit. "
        "Once this is fixed, the same command continues"
    )
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("sbatch") is None:
        with pytest.raises(MetapbtError, match="no sbatch on this machine"):
            submitted()


def test_runs_at_a_time_are_the_clusters_matter(capsys: pytest.CaptureFixture[str]) -> None:
    study()
    assert main(["study", "shifts.yaml", "cluster=slurm", "--jobs", "1"]) == 1
    assert "cluster.max_parallel=N limits each array" in capsys.readouterr().err
    assert not Path("results").exists()
