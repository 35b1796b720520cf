"""A study as a user meets it: what fails, what is killed, what another process trains; and it ends complete."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import metapbt
from metapbt.cli import main
from metapbt.study.local import _overrides, chosen, run_study
from metapbt.study.multirun import read_sweep
from metapbt.study.study import read_study

# Does what a file called like its context says: fail, die, hold until it is gone, or, deaf, heed no signal until then.
ODD = """
import os, signal, time
from pathlib import Path
from metapbt.learners.problems.quadratic import QuadraticLearner

class Odd(QuadraticLearner):
    def train(self, interval, start, teacher=None):
        order = Path(f"shift_{self.shift:g}")
        with Path("trained").open("a") as file:
            file.write(f"{self.shift:g} {interval.ref.generation} {interval.ref.member} {os.getpid()}\\n")
        said = order.read_text() if order.exists() else ""
        if said == "fail":
            raise ValueError("bad luck")
        if said == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if said == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while said in ("hold", "deaf") and order.exists():
            time.sleep(0.01)
        return super().train(interval, start, teacher)
"""
STUDY = """
env: quadratic
overrides: [learner.name=odd:Odd, population.size=2, budget.steps=8]
method: pbt
sources: {context.optimum_shift: [0.1, 0.2, 0.3]}
targets: {after: sources, context.optimum_shift: [0.4, 0.5]}
"""
SHORT = STUDY.replace("[0.1, 0.2, 0.3]", "[0.1, 0.2]").replace("[0.4, 0.5]", "0.4")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("odd", None)
    Path("odd.py").write_text(ODD, encoding="utf-8")
    Path("mine.yaml").write_text(STUDY, encoding="utf-8")


def started(*arguments: str) -> subprocess.Popen[str]:
    asked = [sys.executable, "-m", "metapbt", *arguments]
    return subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trained() -> list[list[str]]:
    return [line.split() for line in Path("trained").read_text().splitlines()] if Path("trained").exists() else []


def until(condition: Callable[[], bool]) -> None:
    """Wait; far longer than it can take even on a busy machine."""
    for _ in range(12_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for too long")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def records(results: str) -> dict[str, list[tuple[str, ...]]]:
    """What every finished run recorded, by its place."""
    columns = ["generation", "member", "parent", "env_steps", "eval_return", "hp.h0", "hp.learning_rate"]
    paths = sorted(path.parent for path in Path(results).rglob("DONE"))
    return {
        path.relative_to(results).as_posix(): [
            tuple(map(str, row)) for row in metapbt.load(path).records[columns].to_numpy()
        ]
        for path in paths
    }


def records_of_an_undisturbed_study() -> dict[str, list[tuple[str, ...]]]:
    for run in read_study("mine.yaml", ["results_dir=whole"]).runs:
        metapbt.run(run.overrides)
    return records("whole")


def test_a_failed_run_stops_no_other_and_is_run_again(capfd: pytest.CaptureFixture[str]) -> None:
    text = STUDY + "lost: {context.optimum_shift: 0.6}\nafter_lost: {after: lost, context.optimum_shift: 0.7}\n"
    Path("mine.yaml").write_text(text, encoding="utf-8")
    for shift, order in (("0.2", "fail"), ("0.3", "die"), ("0.6", "fail")):
        Path(f"shift_{shift}").write_text(order)

    assert main(["study", "mine.yaml", "--jobs", "1"]) == 1
    out, err = capfd.readouterr()
    assert "failed  sources optimum_shift=0.2 pbt seed 0: " in out
    assert "bad luck" in out
    assert "failed  sources optimum_shift=0.3 pbt seed 0: its process was killed by SIGKILL (out of memory?)" in out
    assert "after_lost: not started, for no run of lost is done" in out
    assert "3 of 7 runs are done, in results/mine" in out
    assert err.splitlines()[-1] == (
        "metapbt: error: 4 of 7 runs failed or could not start; to try again: metapbt study mine.yaml --jobs 1 --failed"
    )
    before = len(trained())
    for order in Path().glob("shift_*"):
        order.unlink()
    assert main(["study", "mine.yaml", "--jobs", "1", "--failed"]) == 0
    out, err = capfd.readouterr()
    assert {shift for shift, *_ in trained()[before:]} == {"0.2", "0.3", "0.6", "0.7"}
    assert (out.splitlines()[-1], err) == ("7 of 7 runs are done, in results/mine", "")
    assert records("results/mine") == records_of_an_undisturbed_study()


def test_of_those_that_failed_alone_targets_begin_only_where_all_their_sources_are_then_done() -> None:
    study = read_study("mine.yaml", [])
    sources, targets = (
        [run for group in study.groups for run in group.runs if bool(group.after) == later] for later in (False, True)
    )
    assert len(sources) > 1
    assert targets
    waiting = dict.fromkeys(targets, "waiting")
    done = dict.fromkeys(sources, "done")
    assert chosen(study, {**done, **waiting, sources[0]: "failed"}, only_failed=True) == {sources[0], *targets}
    assert chosen(study, {**done, **waiting}, only_failed=True) == set()
    for other in ("waiting", "running", "stopped"):
        states = {**done, **waiting, sources[0]: "failed", sources[1]: other}
        assert chosen(study, states, only_failed=True) == {sources[0]}, other


def test_a_study_that_is_stopped_leaves_nobody_behind_and_goes_on() -> None:
    Path("mine.yaml").write_text(SHORT, encoding="utf-8")
    Path("shift_0.2").write_text("hold")
    for how in (signal.SIGTERM, signal.SIGKILL):
        process, before = started("study", "mine.yaml", "--jobs", "1"), len(trained())
        until(lambda before=before: any(shift == "0.2" for shift, *_ in trained()[before:]))  # type: ignore[misc]
        process.send_signal(how)
        out, err = process.communicate(timeout=300)
        until(lambda: not any(alive(pid) for *_, pid in trained()))
        if how == signal.SIGTERM:
            assert process.returncode == 128 + how
            assert "saved   sources optimum_shift=0.2 pbt seed 0" in out
            assert err.splitlines()[-1] == (
                "metapbt: stopped with 1 of 3 runs done; the others are saved, "
                "and go on with: metapbt study mine.yaml --jobs 1"
            )
    Path("shift_0.2").unlink()
    assert started("study", "mine.yaml", "--jobs", "1").wait(timeout=300) == 0

    intervals = [tuple(line[:3]) for line in trained()]
    assert len(intervals) == len(set(intervals)) + 2  # the one that was under way, twice
    assert records("results/mine") == records_of_an_undisturbed_study()


@pytest.mark.slow
def test_a_second_signal_ends_at_once_what_does_not_heed_the_first() -> None:
    Path("mine.yaml").write_text(SHORT, encoding="utf-8")
    Path("shift_0.2").write_text("deaf")
    process = started("study", "mine.yaml", "--jobs", "1")
    until(lambda: any(shift == "0.2" for shift, *_ in trained()))
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("stopping: runs are being saved; once more ends them at once" in line for line in lines)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped with 1 of 3 runs done" in err.splitlines()[-1]
    assert "Traceback" not in err
    until(lambda: not any(alive(pid) for *_, pid in trained()))
    Path("shift_0.2").unlink()
    assert started("study", "mine.yaml", "--jobs", "1").wait(timeout=300) == 0
    assert records("results/mine") == records_of_an_undisturbed_study()


#: Found by every process that is started: a machine of a name of its own, on a file system without locks.
WITHOUT_LOCKS = """
import errno, fcntl, os, socket

def refuse(*_):
    raise OSError(errno.ENOLCK, "no locks here")

if "NODE" in os.environ:
    fcntl.flock = refuse
    socket.gethostname = lambda: os.environ["NODE"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [(), ("node1", "node2")], ids=["locks", "leases"])
def test_what_another_study_trains_is_waited_for(nodes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sitecustomize.py").write_text(WITHOUT_LOCKS)
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}{os.pathsep}{Path(metapbt.__file__).parents[1]}")

    def on(place: int) -> subprocess.Popen[str]:
        if nodes:
            monkeypatch.setenv("NODE", nodes[place])
        return started("study", "mine.yaml", "--jobs", "1")

    Path("shift_0.2").write_text("hold")
    first = on(0)
    until(lambda: any(shift == "0.2" for shift, *_ in trained()))
    second = on(1)
    assert second.stdout is not None
    lines = iter(second.stdout.readline, "")
    where = nodes[0] if nodes else socket.gethostname()
    waits = rf"waits   sources optimum_shift=0\.2 pbt seed 0: process \d+ on {where} trains it"
    assert any(re.search(waits, line) for line in lines)
    Path("shift_0.2").unlink()
    assert [process.wait(timeout=300) for process in (first, second)] == [0, 0]

    intervals = [tuple(line[:3]) for line in trained()]
    assert len(intervals) == len(set(intervals)) == 5 * 2 * 2
    for process in (first, second):
        process.communicate()


def test_few_runs_share_all_cores_and_many_get_one_each(capfd: pytest.CaptureFixture[str]) -> None:
    text = "env: quadratic\nexecutor: processes\noverrides: [population.size=3, budget.steps=8]\nmethod: pbt\n"
    Path("few.yaml").write_text(text + "few: {seed: 0}\nmany: {after: few, seed: [0, 1, 2]}", encoding="utf-8")
    assert run_study(read_study("few.yaml"), "again", cores=2) == {}
    out = capfd.readouterr().out

    assert "start   few default pbt seed 0 on 2 cores\n" in out
    assert all(f"start   many default pbt seed {seed}\n" in out for seed in range(3))
    metapbt.run(["env=quadratic", "population.size=3", "budget.steps=8", "method=pbt", "results_dir=alone"])
    both = records("results/few")
    assert both["few/quadratic/default/pbt/seed_0"] == both["many/quadratic/default/pbt/seed_0"]
    assert both["few/quadratic/default/pbt/seed_0"] == records("alone")["quadratic/default/pbt/seed_0"]


def test_workers_that_somebody_chose_are_workers_on_one_core_too() -> None:
    groups = "chosen: {executor: processes}\nusual: {seed: 0}\n"
    Path("own.yaml").write_text(f"env: cart_pole\nmethod: pbt\n{groups}", encoding="utf-8")
    started = {run.group: _overrides(run, 1) for run in read_study("own.yaml").runs}
    assert started["usual"][-1] == "executor=inline"
    assert started["chosen"][-2:] == ["executor=processes", "executor.workers=1"]


def test_what_a_group_asks_for_in_vain_is_refused_before_anything_trains(capfd: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(f"{STUDY}late: {{after: targets, learner.start: [[1]]}}", encoding="utf-8")

    assert main(["study", "mine.yaml", "--jobs", "1"]) == 1
    assert capfd.readouterr() == (
        "",
        "metapbt: error: late default pbt seed 0: learner.start must be two numbers or more, got [1]\n",
    )
    assert trained() == []


def test_a_dry_run_tells_how_long_once_a_run_of_the_kind_has_finished(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "mine.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "5 runs in results/mine: 5 waiting" in out
    assert "targets   sources      2   quadratic; pbt; 2 contexts; 1 seed" in out
    assert "expected time: known once the first run like these has finished" in out
    assert not Path("results").exists()

    metapbt.run(read_study("mine.yaml").runs[0].overrides)
    assert main(["study", "mine.yaml", "--dry-run"]) == 0
    assert "1 done, 4 waiting" in (out := capsys.readouterr().out)
    assert "from the times of 1 finished run in or beside results/mine" in out
    assert main(["study", "mine.yaml", "--dry-run", "results_dir=results/more"]) == 0
    assert "from the times of 1 finished run in or beside results/more" in capsys.readouterr().out


def test_a_sweep_trains_several_runs_at_a_time(capfd: pytest.CaptureFixture[str]) -> None:
    sweep = ["run", "--multirun", "--jobs", "2", "env=quadratic", "budget.steps=8", "method=pbt"]

    assert main([*sweep, "seed=0,-1"]) == 1
    assert capfd.readouterr() == ("", "metapbt: error: seed must be an integer >= 0, got -1\n")
    assert main([*sweep, "seed=0,1"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == "2 of 2 runs are done, in results"
    assert "done    default pbt seed 1: test return " in out


def test_runs_with_memory_wait_for_those_before_them_in_a_sweep() -> None:
    overrides = ["env=quadratic", "budget.steps=8", "method=pbt,meta_pb2", "seed=0,1", "results_dir=here"]
    together = read_sweep(overrides)
    apart = read_sweep([*overrides, "meta.results_dir=elsewhere"])

    assert [[run.identity.method for run in group.runs] for group in together.groups] == [
        ["pbt", "pbt"],
        ["meta_pb2"],
        ["meta_pb2"],
    ]
    assert together.groups[2].after == ("part 1", "part 2")
    assert [len(group.runs) for group in apart.groups] == [4]


@pytest.mark.slow
def test_a_failed_run_of_a_sweep_keeps_none_behind_it_from_training(capfd: pytest.CaptureFixture[str]) -> None:
    """As of one run after another: the order holds, and those behind learn from what there is."""
    Path("shift_0.1").write_text("fail")
    sweep = ["run", "--multirun", "--jobs", "2", "env=quadratic", "learner.name=odd:Odd", "method=meta_pb2"]
    asked = [*sweep, "population.size=4", "budget.steps=8", "budget.interval=4", "context.optimum_shift=0.1,0.2,0.3"]
    assert main([*asked, "results_dir=sweep"]) == 1
    assert "2 of 3 runs are done, in sweep" in capfd.readouterr().out


def test_a_run_whose_configuration_is_damaged_stops_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(SHORT, encoding="utf-8")
    assert main(["study", "mine.yaml", "--jobs", "1"]) == 0
    shutil.rmtree("results/mine/targets")
    damaged = next(Path("results/mine/sources").rglob("config.yaml"))
    with damaged.open("a") as file:
        file.write("# x\n")
    capfd.readouterr()
    assert main(["study", "mine.yaml", "--jobs", "1"]) == 1
    out, err = capfd.readouterr()
    assert "2 of 3 runs are done" in out  # whether the damaged one is of this study nobody knows
    assert str(damaged) in out + err
