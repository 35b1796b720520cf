"""Whole runs: the same answer wherever they train and however often they are stopped."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

import metapbt
from metapbt.errors import MemberError, MetapbtError

QUICK = ["budget.steps=40", "budget.interval=10"]
STAND_IN = ["env=quadratic", "learner.name=stand_in:StandInLearner", "~learner.start", *QUICK, "executor=inline"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


SPACE = "x: {type: float, low: 0.0, high: 1.0}\nn: {type: int, low: 1, high: 9}\n"


@pytest.fixture
def space(tmp_path):
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_tests.yaml").write_text(SPACE)
    return tmp_path / "conf"


def records(folder):
    """The records of the only run under a folder, without the one column that is a measurement."""
    (file,) = Path(folder).rglob("records.parquet")
    return pd.read_parquet(file).drop(columns=["wall_seconds"])


def same(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def command(folder, *overrides, method="pb2"):
    return [*STAND_IN, "space=for_tests", f"method={method}", f"results_dir={folder}", *overrides]


def in_a_process(arguments, config_dir, kill=None, extra_path=None):
    """Run ``metapbt run`` in a process of its own, to be killed as ``stand_in`` says."""
    code = "import os, sys; from pathlib import Path\n"
    folders = [Path(metapbt.__file__).parents[1], Path(__file__).parents[1], *([extra_path] if extra_path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    if kill:
        code += f"Path({kill['folder']!r}, 'pid').write_text(str(os.getpid()))\n"
        environment["STAND_IN_KILL"] = json.dumps(kill)
    code += "from metapbt.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "run", "--config-dir", str(config_dir), *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["random", "pbt", "pb2"])
def test_the_same_command_gives_the_same_records_whichever_executor_and_however_many_workers(space, method):
    metapbt.run(command("inline", method=method), space)
    expected = records("inline")
    assert len(expected) == 16
    for workers in (1, 3):
        folder = f"processes_{workers}"
        metapbt.run(command(folder, "executor=processes", f"executor.workers={workers}", method=method), space)
        same(records(folder), expected)


AGENTS = {
    "sb3": ["learner=sb3", "learner.hyperparameters.PPO={n_steps: 50, batch_size: 50}"],
    "ppo": ["learner=ppo", "learner.hyperparameters.n_steps=50"],
    "drac": ["learner=drac", "space=drac_vectors", "learner.n_steps=50", "learner.minibatches=2"],
}


@pytest.mark.parametrize(
    "learner", [pytest.param(name, marks=[] if name == "ppo" else pytest.mark.slow) for name in AGENTS]
)
def test_agents_are_the_same_with_every_executor_and_number_of_workers(learner):
    agents = [
        "env=cart_pole", "method=pb2", "budget.steps=300", "budget.interval=100", *AGENTS[learner], "learner.n_envs=2",
        "evaluation.episodes=2", "evaluation.test_episodes=4",
    ]  # fmt: skip
    metapbt.run([*agents, "executor=inline", "results_dir=inline"])
    for workers in (1, 3):
        metapbt.run([*agents, f"executor.workers={workers}", f"results_dir=processes_{workers}"])
        same(records(f"processes_{workers}"), records("inline"))


def test_another_seed_gives_other_records(space):
    metapbt.run(command("a"), space)
    metapbt.run(command("b", "seed=1"), space)
    assert not records("a")["train_return"].equals(records("b")["train_return"])


# Calls 1 to 4 are the first generation, 5 to 8 the second; 4 and 8 are in the midst of a generation's last member.
@pytest.mark.parametrize(("executor", "calls", "method"), [("inline", [1, 5], "pb2"), ("processes", [3, 4], "pbt")])
@pytest.mark.parametrize(
    "signal_name", ["SIGKILL", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGINT"))]
)
def test_a_run_that_is_stopped_again_and_again_ends_with_the_records_of_one_that_was_not(
    space, tmp_path, executor, calls, method, signal_name
):
    metapbt.run(command("whole", method=method), space)
    for number, call in enumerate(calls):
        folder = tmp_path / f"calls_{number}"
        folder.mkdir()
        kill = {"folder": str(folder), "call": call, "signal": signal_name}
        stopped = in_a_process(command("stopped", f"executor={executor}", method=method), space, kill)
        assert stopped.returncode != 0
        if signal_name != "SIGKILL":
            assert stopped.returncode == 128 + getattr(signal, signal_name), stopped.stderr
            assert "is saved, and the same command goes on from there" in stopped.stderr
            assert "Traceback" not in stopped.stderr
    finished = in_a_process(command("stopped", f"executor={executor}", method=method), space)
    assert finished.returncode == 0, finished.stderr
    same(records("stopped"), records("whole"))


@pytest.mark.parametrize("asynchronous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_killed_between_any_two_writes_ends_with_the_records_of_one_that_was_not(space, writes, asynchronous):
    """Every whole-file write of the run is a place where it may die: just before the file takes its name."""

    def run(folder):
        metapbt.run(command(folder, f"population.asynchronous={asynchronous}", method="pbt"), space)

    run("whole")
    expected = records("whole")
    total = writes.during(lambda: run("counted"))
    assert total > 4 * (4 + 1)  # four checkpoints, and an entry of the journal, in each generation
    for limit in range(1, total + 1):
        writes.kill_before(limit, lambda: run("stopped"))
        run("stopped")
        same(records("stopped"), expected)
        shutil.rmtree("stopped")


def test_asynchronous_members_decide_as_they_report(space):
    run = metapbt.run(command("results", "population.asynchronous=true", "budget.steps=200", method="pbt"), space)
    copies = [r for r in run.history if r.parent is not None]
    assert copies
    reported = {r.ref: place for place, r in enumerate(run.history)}
    for copy in copies:
        # The parent's last report when the member itself reported, be it of this generation or of the one before.
        before = reported[copy.generation - 1, copy.member]
        known = [r for r in run.history.records[: before + 1] if r.member == copy.parent]
        assert known[-1].generation == copy.parent_generation
    assert {copy.generation - copy.parent_generation for copy in copies} == {1, 2}


def test_no_member_trains_beyond_the_budget_whoever_it_copied(space):
    run = metapbt.run(command("results", "population.asynchronous=true", "budget.steps=95", method="pbt"), space)
    assert max(record.env_steps for record in run.history) == 95
    assert run.history.generations <= 10


def test_sub_populations_evolve_at_their_own_frequencies(space):
    run = metapbt.run(command("results", "population.size=8", "selection=multiple_frequencies",
                              "selection.periods=[1,2]", method="pbt"), space)  # fmt: skip
    copies = [r for r in run.history if r.parent is not None]
    assert {r.generation for r in copies if r.member >= 4} == {2}
    assert {r.generation for r in copies if r.member < 4} == {1, 2, 3}
    migrated = [r for r in copies if r.source == "migrated"]
    assert all(r.parent // 4 != r.member // 4 for r in migrated)


def test_a_finished_run_is_not_trained_again(space, caplog):
    first = metapbt.run(command("results"), space)

    def files():
        return {path: path.stat().st_mtime_ns for path in first.path.iterdir() if path.name not in ("run.log", ".lock")}

    before = files()
    again = metapbt.run(command("results"), space)
    assert files() == before
    assert again.history == first.history
    assert "is finished already: nothing to do" in (first.path / "run.log").read_text()


def test_another_configuration_in_the_same_directory_is_refused_with_the_differing_keys(space):
    metapbt.run(command("results"), space)
    with pytest.raises(
        MetapbtError, match=r"another configuration: budget.interval \(was 10, now 20\); population.size"
    ):
        metapbt.run(command("results", "budget.interval=20", "population.size=2"), space)
    metapbt.run(command("results", "executor=processes"), space)  # where it trains is no difference


def test_resume_false_starts_again_from_nothing(space):
    metapbt.run(command("results"), space)
    run = metapbt.run(command("results", "budget.interval=20", "resume=false"), space)
    assert len(run.records) == 8


@pytest.fixture
def fail(space, tmp_path, monkeypatch):
    """Let the members with the largest ``x`` fail so many times together."""
    metapbt.run(command("whole"), space)
    (tmp_path / "calls").mkdir()
    values = records("whole").query("generation == 0")["hp.x"].sort_values()

    def prepare(members, times):
        above = values.iloc[-1 - members]
        text = json.dumps({"folder": str(tmp_path / "calls"), "above": above, "times": times})
        monkeypatch.setenv("STAND_IN_FAIL", text)

    return prepare


def test_a_member_that_raises_is_retried_and_the_records_are_as_if_it_had_not(space, fail):
    fail(members=1, times=3)
    run = metapbt.run(command("failing"), space)
    same(records("failing"), records("whole"))
    log = (run.path / "run.log").read_text()
    assert "failed, retry 3 of 3: OSError: meant to fail" in log
    assert "Traceback" in log


def test_a_member_that_keeps_raising_ends_the_run_with_its_error_and_everything_saved(space, fail):
    fail(members=1, times=4)
    with pytest.raises(MemberError, match="failed 4 times in generation 0: OSError: meant to fail"):
        metapbt.run(command("failing", "on_failure=stop"), space)
    (failed,) = Path("failing").rglob("FAILED")
    assert "failed 4 times" in failed.read_text()
    assert len(list(failed.parent.rglob("*member_*.npz"))) == 3  # the others' training is kept
    metapbt.run(command("failing"), space)  # by now it fails no more
    assert not failed.exists()
    same(records("failing"), records("whole"))


def test_two_processes_never_work_on_one_run(space):
    run = metapbt.run(command("results"), space)
    with (
        FileLock(run.path / ".lock"),
        pytest.raises(MetapbtError, match="is being worked on by another process"),
    ):
        metapbt.run(command("results"), space)


def test_the_run_directory_holds_what_the_contract_says(space):
    run = metapbt.run([*command("results"), "context.optimum_shift=0.25"], space)
    assert run.path == Path("results/quadratic/optimum_shift=0.25/pb2/seed_0")
    names = {path.name for path in run.path.iterdir()}
    assert {"config.yaml", "journal", "records.parquet", "checkpoints", "run.log", "DONE"} <= names
    frame = run.records
    assert list(frame["generation"]) == [g for g in range(4) for _ in range(4)]
    assert list(frame["env_steps"]) == [10 * (g + 1) for g in range(4) for _ in range(4)]
    assert set(frame["source"]) == {"random", "continued", "surrogate"}
    assert frame["parent"].notna().sum() == 3  # one copy after each generation but the last
    assert frame["context.optimum_shift"].unique().tolist() == [0.25]
    assert run.best.train_return == frame["train_return"].max()
    checkpoints = {path.name for path in (run.path / "checkpoints").glob("generation_*")}
    latest = {f"generation_3_member_{member}.npz" for member in range(4)}
    assert checkpoints == latest | {f"generation_{run.best.generation}_member_{run.best.member}.npz"}


@pytest.mark.usefixtures("briefly_trained")
def test_memory_is_chosen_once_and_kept_beside_the_records(space):
    for shift in (0.1, 0.2, 0.3):
        metapbt.run([*command("sources"), f"context.optimum_shift={shift}"], space)
    target = [
        *command("results", method="meta_pb2"),
        "context.optimum_shift=0.15",
        "meta.results_dir=sources",
    ]
    run = metapbt.run([*target, "meta.sources=closest", "meta.num_contexts=2"], space)
    memory = pd.read_parquet(run.path / "memory.parquet")
    assert set(memory["context.optimum_shift"]) == {0.1, 0.2}
    assert len(memory) == 32
    assert set(run.records.query("generation == 0")["source"]) >= {"memory"}
    log = (run.path / "run.log").read_text()
    assert "memory: optimum_shift=0.1 (1 run), optimum_shift=0.2 (1 run), from sources" in log
    assert re.search("memory on 2 held-out contexts: (deep kernel|plain GP, the network left out): log density", log)
    assert "of the forecast comes from related contexts" in log
    # The trained models are kept beside the sources, for the next run that asks the same.
    assert list(Path("sources/.meta_models").glob("*.npz"))


def test_contexts_whose_features_say_nothing_are_told_apart_by_what_a_random_policy_experiences(space):
    (space / "env").mkdir()
    (space / "env" / "robot.yaml").write_text("# @package _global_\nenv: stand_in:ROBOT\n")
    robot = ["env=robot", "learner.name=stand_in:StandInLearner", *QUICK, "executor=inline", "space=for_tests"]
    for number in (1, 2, 3, 4, 5):
        metapbt.run([*robot, "method=random", "results_dir=sources", f"context.robot={number}"], space)
    asked = [
        *robot,
        "method=pbt",
        "start=transfer",
        "meta.results_dir=sources",
        "meta.num_contexts=2",
        "context.robot=6",
    ]
    chosen = {}
    for describe_by in ("features", "experience"):
        options = [f"results_dir={describe_by}", f"meta.describe_by={describe_by}", "meta.sources=closest"]
        run = metapbt.run([*asked, *options], space)
        memory = pd.read_parquet(run.path / "memory.parquet")
        chosen[describe_by] = set(memory["context.robot"])
    # Robot 6 has a pole of 0.95 m; those nearest to it are of 0.9 m and 0.7 m, not those with the nearest numbers.
    assert chosen == {"features": {4, 5}, "experience": {2, 4}}
    with pytest.raises(MetapbtError, match="unknown meta.describe_by 'experiences'; did you mean 'experience'"):
        metapbt.run([*asked, "results_dir=x", "meta.describe_by=experiences"], space)


def test_without_sources_meta_pb2_says_where_it_looked_and_goes_on_as_pb2(space):
    plain = metapbt.run(command("plain"), space)
    Path("nowhere").mkdir()
    alone = metapbt.run(command("alone", "meta.results_dir=nowhere", method="meta_pb2"), space)
    said = "no runs of quadratic with learner stand_in:StandInLearner on other contexts under nowhere; meta_pb2 goes on"
    assert said in (alone.path / "run.log").read_text()
    columns = ["train_return", "hp.x", "hp.n", "source"]
    same(alone.records[columns], plain.records[columns])


def test_logging_is_left_as_it_was(space):
    metapbt.run(command("results"), space)
    assert logging.getLogger("metapbt").handlers == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["budget.interval=-5"], "budget.interval must be an integer >= 1, got -5"),
        (["budget.steps=1.5"], "budget.steps must be an integer >= 1, got 1.5"),
        (["population.size=0"], "population.size must be an integer >= 1, got 0"),
        (["seed=-1"], "seed must be an integer >= 0, got -1"),
        (["method=pb3"], "unknown method 'pb3'; did you mean 'pbt'"),
        (["env=quadratik"], "unknown env 'quadratik'; did you mean 'quadratic'"),
        (["populaton.size=3"], "unknown override 'populaton.size'; did you mean 'population.size'"),
        (
            ["context.optimum_shif=1"],
            "unknown feature of quadratic 'optimum_shif'; did you mean 'optimum_shift'",
        ),
        (["context.optimum_shift=3"], r"quadratic.optimum_shift must be in \[0, 1\], got 3"),
        (["learner.name=sb4"], "unknown learner 'sb4'; did you mean 'sb3'"),
        (["executor.name=inlin"], "unknown executor 'inlin'; did you mean 'inline'"),
        (["space.h0.low=3"], "space.h0.low must be < high, got low 3 and high 1"),
        (["seed=[1"], "no viable alternative at input"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(overrides, message):
    with pytest.raises(MetapbtError, match=message) as raised:
        metapbt.run(["env=quadratic", *QUICK, *overrides])
    assert "\n" not in str(raised.value)
    assert not list(Path().iterdir())


def test_a_refusal_leaves_what_was_there(space):
    Path("results/quadratic").mkdir(parents=True)
    with pytest.raises(MetapbtError, match="unknown executor"):
        metapbt.run(["env=quadratic", *QUICK, "executor.name=inlin"])
    assert [path.as_posix() for path in Path().glob("results/**/*")] == ["results/quadratic"]
    run = metapbt.run(command("results"), space)
    before = sorted(run.path.rglob("*"))
    with pytest.raises(MetapbtError):
        metapbt.run(command("results", "executor.name=inlin", "resume=false"), space)
    assert sorted(run.path.rglob("*")) == before


def test_an_error_of_our_own_is_one_line_with_its_traceback_in_the_log(space, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr("metapbt.population.selection.truncation.Truncation.select", broken)
    with pytest.raises(MetapbtError, match=r"unexpected ZeroDivisionError: division by zero \(traceback in .*run.log"):
        metapbt.run(command("results"), space)
    (log,) = Path("results").rglob("run.log")
    assert "in broken" in log.read_text()


def test_given_configurations_and_a_constraint_come_from_the_configuration(space):
    given = "initial=[{x: 0.125, n: 2}]"
    run = metapbt.run(command("results", given, "constraint=stand_in:halved", method="pbt"), space)
    first = run.records.query("generation == 0")
    assert list(first["source"]) == ["given", "random", "random", "random"]
    assert first["hp.x"].iloc[0] == 0.0625
    assert run.records["hp.x"].max() <= 0.5


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("stop.return_reached=1.0", "has reached stop.return_reached=1"),
        ("stop.wall_seconds=0", "stop.wall_seconds=0"),
        ("stop.spent_steps=90", "the run has trained 120 environment steps, stop.spent_steps=90"),
        ("stop.plateau=1", "has not grown for stop.plateau=1 generations"),
    ],
)
def test_a_run_stops_before_its_budget_is_used_up(space, stop, reason):
    run = metapbt.run(command("results", stop, "budget.steps=1000", method="pbt"), space)
    assert run.history.generations < 100
    assert reason in (run.path / "run.log").read_text()
    assert (run.path / "DONE").exists()
    assert metapbt.run(command("results", stop, "budget.steps=1000", method="pbt"), space).history == run.history
    with pytest.raises(MetapbtError, match=r"stop.plateau must be an integer >= 1, got 0"):
        metapbt.run(command("other", "stop.plateau=0"), space)


def test_the_log_tells_who_copied_whom_and_what_became_of_each_hyperparameter(space):
    run = metapbt.run(command("results", "method.resample_probability=0.5", "budget.steps=200", method="pbt"), space)
    log = (run.path / "run.log").read_text()
    number = r"-?[\d.]+"
    copied = rf"member \d \({number}\) copies member \d \({number}\), perturbed: "
    changed = r"x \S+ --\((x0\.8|x1\.2|resample)\)--> \S+, n \d"
    assert re.search(copied + changed, log)
