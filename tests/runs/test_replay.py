"""Replays: a fresh agent on the schedule that a population found."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock

import metapbt
from metapbt.envs import make_context
from metapbt.errors import MemberError, MetapbtError
from metapbt.history import Budget, History, Interval, Record, Ref
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.runs.lineage import lineage
from metapbt.runs.replay import replay
from metapbt.runs.run import Run
from metapbt.store import find_runs
from metapbt.store.journal import read_journal

QUADRATIC = ["env=quadratic", "method=pbt", "budget.steps=40", "context.optimum_shift=0.25", "seed=3"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run():
    return metapbt.run(QUADRATIC)


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    """A run whose learner draws from the seed that it is handed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "x_alone.yaml").write_text("x: {type: float, low: 0.0, high: 1.0}\n")
    return metapbt.run(
        ["env=quadratic", "learner.name=stand_in:StandInLearner", "~learner.start", "space=x_alone", "method=pbt",
         "budget.steps=40", "budget.interval=10", "executor=inline"],
        tmp_path / "conf",
    )  # fmt: skip


def record(generation, member, value, parent=None):
    return Record(generation, member, parent, "random", {"x": value}, 10 * (generation + 1), value)


def places(records):
    return [(r.generation, r.member) for r in records]


def without_time(path):
    return pd.read_parquet(Path(path) / "records.parquet").drop(columns=["wall_seconds"])


def same(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_member_that_never_copied_is_its_own_lineage():
    history = History(tuple(record(g, m, float(m + g)) for g in range(3) for m in range(2)))
    assert places(lineage(history)) == [(0, 1), (1, 1), (2, 1)]


def test_a_lineage_ends_with_the_best_agent_that_there_ever_was():
    history = History(tuple(record(g, m, float(m - g)) for g in range(3) for m in range(2)))
    assert places(lineage(history)) == [(0, 1)]


def test_a_lineage_begins_with_the_last_restart():
    born = replace(record(1, 0, 3.0), restart=True, teacher_generation=0, teacher_member=1)
    history = History((record(0, 0, 1.0), record(0, 1, 2.0), born, record(1, 1, 2.0), record(2, 0, 4.0)))
    assert places(lineage(history)) == [(1, 0), (2, 0)]


def test_a_lineage_follows_copies_of_copies():
    history = History(
        (
            record(0, 0, 1.0), record(0, 1, 3.0), record(0, 2, 2.0),
            record(1, 0, 4.0, parent=1), record(1, 1, 3.0), record(1, 2, 2.0),
            record(2, 0, 4.0), record(2, 1, 5.0, parent=0), record(2, 2, 6.0, parent=0),
        )
    )  # fmt: skip
    assert places(lineage(history)) == [(0, 1), (1, 0), (2, 2)]


def test_a_lineage_ends_with_the_best_by_both_returns_whatever_selection_looked_at():
    scores = [(5.0, 0.0), (1.0, 9.0)]
    records = tuple(
        Record(0, m, None, "random", {}, 10, train, evaluation) for m, (train, evaluation) in enumerate(scores)
    )
    assert places(lineage(History(records))) == [(0, 1)]
    assert places(lineage(History(records, "eval_return"))) == [(0, 1)]


def test_a_history_without_records_or_with_a_gap_has_no_lineage():
    with pytest.raises(MetapbtError, match="no generation has finished yet"):
        lineage(History())
    with pytest.raises(MetapbtError, match="lack what member 1 of generation 2 went on from"):
        lineage(History((record(0, 0, 1.0), record(1, 0, 1.0), record(2, 1, 2.0))))


def test_a_replay_follows_the_schedule_exactly(run):
    schedule = lineage(run.history)
    assert len({r.member for r in schedule}) > 1  # the seed is one whose best member is a copy
    context = make_context("quadratic", {"optimum_shift": 0.25})
    by_hand = QuadraticLearner("quadratic", context, Budget(40, 4), {"start": [0.9, 0.9]})
    state, expected = None, []
    for number, record in enumerate(schedule):
        interval = Interval(Ref(number, 0), None, None, record.hyperparameters, 4 * number, 4 * number + 4, 0, 0, 1)
        training = by_hand.train(interval, state)
        state = training.state
        expected.append(training.eval_return)
    result = replay(run.path)
    assert [r.eval_return for r in result.history] == expected
    assert [r.hyperparameters for r in result.history] == [r.hyperparameters for r in schedule]
    assert [r.env_steps for r in result.history] == [r.env_steps for r in schedule]
    # This toy has no noise in it, so the schedule alone makes the same agent.
    assert result.test_return == run.test_return


def test_a_replay_leaves_a_result_like_that_of_a_run(run):
    result = replay(run.path)
    assert result.path == run.path / "replay" / "seed_3"
    names = {path.name for path in result.path.iterdir()}
    assert {"schedule.yaml", "journal", "records.parquet", "checkpoints", "run.log", "DONE"} <= names
    frame, original = pd.read_parquet(result.path / "records.parquet"), run.records
    assert list(frame.columns) == [name for name in original.columns if name != "score"]
    assert set(frame["method"]) == {"pbt_replay"}
    assert set(frame["source"]) == {"replay"}
    assert set(frame["run_id"]) == {"quadratic/optimum_shift=0.25/pbt/seed_3/replay/seed_3"}
    assert frame["generation"].tolist() == list(range(10))
    assert frame["parent"].tolist()[1:] == [0] * 9  # it goes on from itself, with other hyperparameters
    intervals = yaml.safe_load((result.path / "schedule.yaml").read_text())["intervals"]
    assert [each["hyperparameters"] for each in intervals] == [r.hyperparameters for r in lineage(run.history)]
    found = [(each["generation"], each["start"], each["end"]) for each in intervals]
    assert found == [(g, 4 * g, 4 * (g + 1)) for g in range(10)]
    assert [path.name for path in (result.path / "checkpoints").iterdir()] == ["generation_9_member_0.npz"]


def test_a_replay_ends_with_one_line_that_compares_it_with_the_run(run):
    result = replay(run.path)
    score = f"{run.test_return:.2f}"
    assert result.comparison == f"{result.path}: test return {score} after 40 steps, the run's {score}"


def test_a_replay_is_not_taken_for_a_run_and_changes_nothing_of_it(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    replay(run.path)
    assert [info.path for info in find_runs(Path("results"))] == [run.path]
    assert {path: path.read_bytes() for path in before} == before
    assert metapbt.run(QUADRATIC).history == run.history


def test_the_seed_decides_the_replay_and_never_repeats_the_draws_of_the_run(noisy):
    first, other = replay(noisy.path, seed=0), replay(noisy.path, seed=1)
    assert other.path.name == "seed_1"
    again = replay(noisy.path, seed=0, out=Path("elsewhere"))
    same(without_time(again.path), without_time(first.path))
    returns = [r.train_return for r in first.history]
    assert not set(returns) & {r.train_return for r in other.history}
    assert not set(returns) & {r.train_return for r in noisy.history}
    assert np.isfinite(returns).all()


def test_a_finished_replay_is_not_trained_again(run):
    first = replay(run.path)
    before = (first.path / "records.parquet").stat().st_mtime_ns
    assert replay(run.path) == first
    assert (first.path / "records.parquet").stat().st_mtime_ns == before
    assert "is finished already: nothing to do" in (first.path / "run.log").read_text()


def test_a_replay_killed_between_any_two_writes_ends_with_the_records_of_one_that_was_not(noisy, writes):
    expected = without_time(replay(noisy.path, out=Path("whole")).path)
    total = writes.during(lambda: replay(noisy.path, out=Path("counted")))
    assert total > 1 + 4 * 2 + 1  # the schedule, a checkpoint and an entry for each interval, DONE
    for limit in range(1, total + 1):
        writes.kill_before(limit, lambda: replay(noisy.path, out=Path("stopped")))
        same(without_time(replay(noisy.path, out=Path("stopped")).path), expected)
        shutil.rmtree("stopped")


@pytest.mark.parametrize(("name", "status"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_a_replay_that_is_stopped_in_the_midst_of_training_goes_on_to_the_same_records(noisy, name, status):
    expected = without_time(replay(noisy.path, out=Path("whole")).path)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import stand_in\n"
        "from metapbt.errors import Interrupted\n"
        "from metapbt.runs.replay import replay\n"
        "train = stand_in.StandInLearner.train\n"
        "def stopping(self, interval, start, teacher=None):\n"
        f"    if start is not None: os.kill(os.getpid(), signal.{name})\n"
        "    return train(self, interval, start, teacher)\n"
        "stand_in.StandInLearner.train = stopping\n"
        "try: replay(Path(sys.argv[1]), out=Path('stopped'))\n"
        "except Interrupted as stop: print(stop); sys.exit(128 + stop.signal_number)\n"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", code, str(noisy.path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert stopped.returncode == status, stopped.stderr
    assert len(read_journal(Path("stopped/seed_0/journal")).records) == 1
    if name == "SIGINT":
        assert "is saved, and the same command goes on from there" in stopped.stdout
    same(without_time(replay(noisy.path, out=Path("stopped")).path), expected)


def test_an_unfinished_run_is_replayed_as_far_as_it_got_and_not_mixed_with_what_it_becomes(run):
    whole = (run.path / "journal").read_bytes()
    (run.path / "journal").write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    done = (run.path / "DONE").read_bytes()
    (run.path / "DONE").unlink()
    result = replay(run.path)
    assert len(result.history) == 4
    assert "is not finished: the schedule is that of its best agent so far" in (result.path / "run.log").read_text()
    (run.path / "journal").write_bytes(whole)
    (run.path / "DONE").write_bytes(done)
    with pytest.raises(MetapbtError, match="replays another schedule: the run has gone on since"):
        replay(run.path)
    assert len(replay(run.path, seed=4).history) == 10


def test_an_agent_that_fails_is_one_line_and_the_same_call_goes_on(run, monkeypatch):
    expected = without_time(replay(run.path, out=Path("whole")).path).drop(columns="run_id")
    train = QuadraticLearner.train

    def failing(self, interval, start, teacher=None):
        if interval.ref.generation == 2:
            raise ValueError("meant\nto fail")
        return train(self, interval, start, teacher)

    monkeypatch.setattr(QuadraticLearner, "train", failing)
    with pytest.raises(
        MemberError, match=r"failed twice alike in generation 2: ValueError: meant to fail \(traceback in"
    ):
        replay(run.path)
    assert "in failing" in (run.path / "replay" / "seed_3" / "run.log").read_text()
    monkeypatch.setattr(QuadraticLearner, "train", train)
    same(without_time(replay(run.path).path).drop(columns="run_id"), expected)


def test_two_processes_never_work_on_one_replay(run):
    path = replay(run.path).path
    with FileLock(path / ".lock"), pytest.raises(MetapbtError, match="is being worked on by another process"):
        replay(run.path)


def test_code_that_another_users_results_name_is_not_imported(noisy, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(MetapbtError, match=r"is another user's and names code \(stand_in:StandInLearner\)"):
        replay(noisy.path)


def broken(file, text):
    def make(path):
        (path / file).write_text(text)

    return make


def without_records(path):
    for name in ("journal", "records.parquet"):
        (path / name).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "results/.* is no run directory: it has no config.yaml"),
        (without_records, "has no records: none of its generations has finished"),
        (broken("records.parquet", "damaged"), "records.parquet cannot be read"),
        (broken("config.yaml", "env: quadratic"), r"config.yaml is no configuration of a run: it has no .method."),
        (broken("replay", "a file"), "cannot be worked on: Not a directory"),
    ],
)
def test_mistakes_are_one_line(run, harm, message):
    harm(run.path)
    with pytest.raises(MetapbtError, match=message) as raised:
        replay(run.path)
    assert "\n" not in str(raised.value)


def test_a_negative_seed_is_refused(run):
    with pytest.raises(MetapbtError, match="seed must be >= 0, got -1"):
        replay(run.path, seed=-1)


def test_an_agent_is_replayed():
    run: Run = metapbt.run(
        ["env=cart_pole", "method=pbt", "budget.steps=300", "budget.interval=100", "learner.n_envs=2",
         "evaluation.episodes=2", "evaluation.test_episodes=2", "learner.hyperparameters.n_steps=50", "executor=inline"]
    )  # fmt: skip
    result = replay(run.path, seed=7)
    assert [r.env_steps for r in result.history] == [r.env_steps for r in lineage(run.history)] == [100, 200]
    assert [r.hyperparameters for r in result.history] == [r.hyperparameters for r in lineage(run.history)]
    assert [r.train_return for r in result.history] != [r.train_return for r in lineage(run.history)]
    same(without_time(replay(run.path, seed=7, out=Path("again")).path), without_time(result.path))


def test_somebody_elses_run_is_replayed_elsewhere(everybodys, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("needs two users")
    monkeypatch.chdir(everybodys)
    run = metapbt.run(QUADRATIC)
    (everybodys / "mine").mkdir()
    (everybodys / "mine").chmod(0o777)
    code = (
        "import os, sys; from metapbt.cli import main\n"
        "assert main(['replay', sys.argv[1], '--out', 'warm']) == 0\n"  # loads all while it may
        "os.setgid(65534); os.setuid(65534)\n"
        "assert main(['replay', sys.argv[1]]) == 1\n"
        "sys.exit(main(['replay', sys.argv[1], '--out', 'mine']))"
    )
    before = sorted(run.path.rglob("*"))
    packages = {**os.environ, "PYTHONPATH": str(Path(metapbt.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, run.path], capture_output=True, text=True, env=packages, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "replay/seed_3 cannot be worked on: Permission denied" in done.stderr
    assert "or --out DIR of a replay" in done.stderr
    assert "Traceback" not in done.stderr
    assert (everybodys / "mine" / "seed_3" / "DONE").exists()
    assert sorted(run.path.rglob("*")) == before


def test_a_replay_whose_table_or_done_is_lost_has_it_again(run):
    first = replay(run.path)
    (first.path / "records.parquet").unlink()
    assert replay(run.path).test_return == first.test_return
    assert (first.path / "records.parquet").exists()
    (first.path / "DONE").write_text("[")
    for path in first.path.rglob("*.npz"):
        path.unlink()
    assert replay(run.path).test_return == first.test_return
