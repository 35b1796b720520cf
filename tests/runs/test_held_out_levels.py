"""Evaluation and test on levels that training never sees, with any learner."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_runs import records, same

import metapbt
from metapbt.envs import make_context
from metapbt.envs.levels import evaluation_contexts
from metapbt.errors import MetapbtError
from metapbt.runs.replay import replay
from metapbt.store.check import problem_in
from metapbt.store.run_directory import RunDirectory

sys.path.insert(0, str(Path(__file__).parent))  # workers find it too, by the path of this process
ENV = "levelled:ENV"
HELD_OUT = [
    "evaluation.num_levels=10", "evaluation.start_level=100", "evaluation.test_num_levels=10",
    "evaluation.test_start_level=1000",
]  # fmt: skip
LEARNERS = {
    "ppo": ["learner.n_envs=4", "learner.hyperparameters.n_steps=10", "learner.hyperparameters.batch_size=20"],
    "sb3": ["learner=sb3", "learner.n_envs=4", "learner.hyperparameters.PPO={n_steps: 10, batch_size: 20}"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def command(results, *more, learner="ppo"):
    return [
        f"env={ENV}", "method=pbt", "executor=inline", "population.size=2", "budget.steps=120", "budget.interval=40",
        f"results_dir={results}", *LEARNERS[learner], *HELD_OUT, *more,
    ]  # fmt: skip


@pytest.mark.parametrize("learner", LEARNERS)
def test_training_evaluation_and_test_are_on_their_own_levels(learner):
    run = metapbt.run(command("results", learner=learner))
    assert len(run.records) == 6
    assert run.records["train_return"].between(0, 9.5).all()
    assert run.records["eval_return"].between(100, 109.5).all()
    assert 1000 <= run.test_return <= 1009.5
    assert run.path == Path("results/levelled-ENV/default/pbt/seed_0")
    assert problem_in(RunDirectory(run.path)) is None


def test_all_levels_begin_with_the_first_whatever_those_of_training():
    run = metapbt.run(
        command("results", "context.start_level=50", "evaluation.num_levels=0", "evaluation.start_level=null")
    )
    assert run.records["train_return"].between(50, 59.5).all()
    assert run.records["eval_return"].ge(10_000).all()


def test_without_levels_of_its_own_evaluation_is_on_those_of_training():
    plain = [f"evaluation.{key}=null" for key in ("num_levels", "start_level", "test_num_levels", "test_start_level")]
    run = metapbt.run(command("results", *plain))
    assert run.records["eval_return"].between(0, 9.5).all()
    assert 0 <= run.test_return <= 9.5


def test_records_are_the_same_with_every_executor():
    metapbt.run(command("inline"))
    for executor in ("processes", "vectorised"):
        metapbt.run(command(executor, f"executor={executor}"))
        same(records(executor), records("inline"))


def test_a_run_may_die_at_any_write(writes):
    metapbt.run(command("whole"))
    total = writes.during(lambda: metapbt.run(command("counted")))
    for limit in range(1, total + 1, 3):
        folder = f"stopped_{limit}"
        writes.kill_before(limit, lambda folder=folder: metapbt.run(command(folder)))
        metapbt.run(command(folder))
        same(records(folder), records("whole"))


def test_a_replay_is_tested_on_the_same_levels():
    run = metapbt.run(command("results"))
    replayed = replay(run.path)
    assert 1000 <= replayed.test_return <= 1009.5
    assert all(100 <= record.eval_return <= 109.5 for record in replayed.history)


def test_a_learner_of_ones_own_trains_without_evaluation_and_a_second_one_evaluates():
    run = metapbt.run(command("results", "learner.name=levelled:Telling", "evaluation.episodes=7"))
    assert run.records["eval_return"].eq(7100).all()
    assert run.test_return == 100 * 1000 + 1000


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"num_levels": 10},
            r"evaluation.num_levels: its levels, 0 to 9, are not apart from those of training, 0 to 9",
        ),
        ({"num_levels": 5, "start_level": 9}, "9 to 13, are not apart from those of training, 0 to 9: choose another"),
        ({"start_level": 3}, "3 to 12, are not apart from those of training"),
        (
            {"num_levels": 5, "start_level": 20, "test_num_levels": 100, "test_start_level": 24},
            "test_num_levels: its levels, 24 to 123, are not apart from those of evaluation.num_levels, 20 to 24",
        ),
        ({"test_start_level": 5}, "evaluation.test_num_levels: its levels, 5 to 14, are not apart from those of train"),
        ({"num_levels": 5, "start_level": 2_000_000}, r"evaluation.num_levels: .*start_level must be in"),
    ],
)
def test_levels_that_are_not_apart_are_refused(asked, said):
    with pytest.raises(MetapbtError, match=said):
        evaluation_contexts(ENV, make_context(ENV, {}), asked)


def test_levels_that_are_apart_keep_the_other_features():
    context = make_context(ENV, {"colour": "blue"})
    found = evaluation_contexts(ENV, context, {"num_levels": 0, "test_num_levels": 3, "test_start_level": 10})
    assert found.validation is not None
    assert found.validation.changed == {"num_levels": 0.0, "colour": "blue"}
    assert found.test is not None
    assert found.test.changed == {"num_levels": 3.0, "start_level": 10.0, "colour": "blue"}
    everything = make_context(ENV, {"num_levels": 0})
    assert evaluation_contexts(ENV, everything, {"num_levels": 0, "test_num_levels": 0}) == (None, None)


def test_an_environment_without_levels_refuses_them():
    with pytest.raises(MetapbtError, match=r"evaluation\.test_num_levels must be null for env=cart_pole: it lacks"):
        metapbt.run(["env=cart_pole", "evaluation.test_num_levels=5", "results_dir=results"])
    with pytest.raises(MetapbtError, match="evaluation.start_level must be an integer >= 0"):
        metapbt.run(["env=cart_pole", "evaluation.start_level=0.5", "results_dir=results"])
    assert not Path("results").exists()


@pytest.mark.parametrize("learner", LEARNERS)
def test_sampled_actions_are_drawn_from_the_evaluations_seed(learner):
    def evaluated(sampled, count):
        run = metapbt.run(command(f"{sampled}_{count}", f"evaluation.sampled={sampled}", learner=learner))
        return run.records["eval_return"]

    likely, drawn = evaluated("false", 0), evaluated("true", 0)
    pd.testing.assert_series_equal(evaluated("true", 1), drawn)
    # The most likely action is the same in all episodes, and action 1 worth half a point in each.
    assert np.allclose((likely - likely.min()) % 0.5, 0, atol=1e-6)
    assert not np.allclose((drawn - likely.min()) % 0.5, 0, atol=1e-6)


def test_what_earlier_versions_wrote_can_be_gone_on_with_where_nothing_is_held_out(tmp_path):
    directory = RunDirectory(tmp_path / "seed_0")
    earlier = {"evaluation": {"episodes": 1}, "learner": {"name": "ppo"}}
    directory.open(earlier, resume=True)
    directory.begin(earlier)
    directory.release()
    now = {
        "evaluation": {"episodes": 1, "sampled": False, "num_levels": None},
        "learner": {"name": "ppo", "sampled_evaluation": False},
    }
    directory.open(now, resume=True)
    directory.release()
    for other in ({"sampled": True}, {"num_levels": 0}):
        with pytest.raises(MetapbtError, match="another configuration"):
            directory.open({**now, "evaluation": {**now["evaluation"], **other}}, resume=True)
