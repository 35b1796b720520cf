"""Whole runs that begin anew (IPBT): what they train, what it costs, and kills in the midst of it."""

from pathlib import Path

import numpy as np
import pytest
from test_runs import records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.errors import MetapbtError
from metapbt.population.explorers.ipbt import IPBTExplorer
from metapbt.runs.lineage import lineage
from metapbt.runs.replay import replay
from metapbt.space import Space
from metapbt.store import find_runs
from metapbt.store.check import problem
from metapbt.store.checkpoint import load_state
from metapbt.store.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def command(folder, *overrides, method="ipbt"):
    """Twelve intervals of four members, whose returns soon go nowhere."""
    return [
        "env=quadratic", "learner.name=stand_in:StandInLearner", "~learner.start", "space=for_tests",
        "budget.steps=120", "budget.interval=10", f"method={method}", "restarts.patience=1", "executor=inline",
        "constraint=stand_in:aimless", f"results_dir={folder}", *overrides,
    ]  # fmt: skip


@pytest.fixture
def run(space):  # noqa: F811
    return metapbt.run(command("results"), space)


def test_a_run_begins_anew_with_longer_intervals_and_ends_once_all_is_spent(run):
    history = run.history
    assert history.eras >= 2
    for number in range(history.generations):
        trained = history.generation(number)
        screened = trained[0].member >= 4
        assert len(trained) == (8 if screened else 4)
        assert all(record.restart == (screened and number > 0) for record in trained)
        left = 120 - history.spent_each(number)
        lengths = {record.env_steps - history.steps_before(record) for record in trained}
        assert lengths == {min(10 * 2 ** history.era(trained[0]), left)}
    assert history.spent_steps[-1] == 4 * 120
    assert list(run.records["era"]) == [history.era(record) for record in history]
    assert {a.source for a in history if a.restart} <= {"random", "surrogate"}
    assert run.info.generations == 12  # at most
    assert problem(run.info) is None
    log = (run.path / "run.log").read_text()
    assert "begins: 8 students begin, 4 from nothing and 4 with shrunk weights" in log


def test_the_answer_is_the_best_agent_of_all_eras(run):
    best = max(run.history, key=lambda r: (r.train_return, -r.generation, -r.member))
    assert run.best.ref == best.ref
    assert RunDirectory(run.path).checkpoint(best.ref).exists()


def test_the_interval_may_be_a_share_of_the_budget(space):  # noqa: F811
    run = metapbt.run(command("results", "budget.interval=25%", "stop.spent_steps=1"), space)
    assert {record.env_steps for record in run.history} == {30}
    for wrong in ("0%", "101%", "x%"):
        with pytest.raises(MetapbtError, match="budget.interval must be steps, or above 0% and at most 100%"):
            metapbt.run(command("wrong", f"budget.interval={wrong}"), space)


def test_the_published_constants_are_one_word_away():
    from metapbt.config import compose

    config = compose(["env=cart_pole", "method=ipbt"])
    assert config.budget.interval == "1%"
    assert dict(config.restarts) == {
        "patience": 3, "window": 15, "growth": 2, "random": 0.5, "fresh": 0.5, "shrink": 0.2, "perturb": 0.1,
    }  # fmt: skip
    assert (config.method.name, config.population.quantile) == ("ipbt", 0.25)
    explorer = IPBTExplorer(Space(config.space))
    assert (config.method.ard, config.method.min_rows) == (explorer.ard, explorer.min_rows) == (True, 1)
    with pytest.raises(MetapbtError, match="lengthh"):
        IPBTExplorer(Space(config.space), lengthh=0.4)
    assert compose(["env=cart_pole"]).restarts.patience is None


@pytest.mark.parametrize("method", ["pbt", "ipbt"])
def test_a_run_that_begins_anew_may_die_at_any_write(space, writes, method):  # noqa: F811
    metapbt.run(command("whole", method=method), space)
    expected = records("whole")
    assert expected["era"].max() >= 1
    total = writes.during(lambda: metapbt.run(command("counted", method=method), space))
    for limit in range(2, total + 1, 17 if method == "pbt" else 31):
        arguments = command(f"stopped_{limit}", method=method)
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        assert [problem(info) for info in find_runs(Path(f"stopped_{limit}"))] in ([], [None])
        metapbt.run(arguments, space)
        same(records(f"stopped_{limit}"), expected)


def test_weights_are_shrunk_where_the_learner_knows_them_and_else_handed_on(space, monkeypatch):  # noqa: F811
    for removing in ("remove_checkpoints", "keep_checkpoints"):
        monkeypatch.setattr(RunDirectory, removing, lambda *_: None)
    synthetic = [
        "env=synthetic", "method=pbt", "restarts.patience=1", "restarts.window=2", "restarts.shrink=0.3",
        "results_dir=synthetic", "context.noise=0.1",
    ]  # fmt: skip
    run = metapbt.run(synthetic)
    shrunk = [record for record in run.history if record.restart and record.parent is not None]
    assert shrunk
    for record in shrunk:
        of = run.history.before(record)
        after, before = (float(load_state(_checkpoint(run, r))["progress"]) for r in (record, of))
        assert 0.3 * before <= after <= 0.3 * before + 5 / 100 * (record.env_steps - of.env_steps)
        assert record.train_return == pytest.approx(1 - np.exp(-after), abs=0.5)  # of no episode before it
        assert record.episodes == 1
    run = metapbt.run(command("results"), space)
    assert "learner=stand_in:StandInLearner does not shrink weights" in (run.path / "run.log").read_text()
    record = next(record for record in run.history if record.restart and record.parent is not None)
    after, before = (float(load_state(_checkpoint(run, r))["reached"]) for r in (record, run.history.before(record)))
    assert abs(after - before) < 5  # a draw of unit variance


def _checkpoint(run, record):
    return RunDirectory(run.path).checkpoint(record.ref)


def test_executors_agree_and_lost_checkpoints_are_trained_again(space, writes):  # noqa: F811
    metapbt.run(command("inline", method="pbt"), space)
    workers = ["executor=processes", "executor.workers=3"]
    metapbt.run(command("processes", *workers, method="pbt"), space)
    same(records("processes"), records("inline"))
    total = writes.during(lambda: metapbt.run(command("counted", method="pbt"), space))
    arguments = command("stopped", method="pbt")
    writes.kill_before(total * 2 // 3, lambda: metapbt.run(arguments, space))
    for path in Path("stopped").rglob("*.npz"):
        path.unlink()
    metapbt.run(arguments, space)
    same(records("stopped"), records("inline"))


def test_a_replay_begins_where_the_best_agent_was_born(space):  # noqa: F811
    run = metapbt.run(
        command("results", "constraint=null", "restarts.fresh=0", "restarts.window=2", method="pbt"), space
    )
    schedule = lineage(run.history)
    began = run.history.steps_before(schedule[0])
    assert schedule[0].restart
    assert schedule[0].parent is not None
    assert began > 0
    found = replay(run.path)
    assert [record.env_steps for record in found.history] == [record.env_steps - began for record in schedule]
