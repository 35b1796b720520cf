"""What every executor promises, whichever it is."""

import os
import signal

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.execution import make_executor
from metapbt.execution.base import Failure, Task
from metapbt.execution.checkpoint import load_state, read_outcome
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Training

EXECUTORS = {"inline": {}, "processes": {"workers": 2}}


class StandInLearner:
    """Does what its hyperparameters say; found by the workers under its module's name."""

    def __init__(self, env, context, budget_steps, settings):
        pass

    def train(self, state, hyperparameters, interval_steps, seed, evaluation_seed):
        if hyperparameters.get("raise"):
            raise ValueError("loss is\nnot finite")
        if hyperparameters.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if hyperparameters.get("overwrite"):
            state["total"] += 1
        before = 0 if state is None else int(state["total"])
        total = before + interval_steps
        threads = int(os.environ["OMP_NUM_THREADS"])
        return Training({"total": np.array(total)}, total, float(seed), float(evaluation_seed), threads)


SPEC = LearnerSpec(f"{__name__}:StandInLearner", "none", {}, 100, {})


@pytest.fixture(params=EXECUTORS)
def executor(request):
    made = make_executor(request.param, SPEC, threads=1, **EXECUTORS[request.param])
    yield made
    made.close()


def task(folder, member, start_from=None, **hyperparameters):
    return Task(0, member, hyperparameters, start_from, folder / f"{member}.npz", 10, seed=member, evaluation_seed=99)


def train(executor, *tasks):
    for one in tasks:
        executor.submit(one)
    return [executor.next() for _ in tasks]


def test_every_task_is_yielded_once_with_its_outcome(executor, tmp_path):
    results = train(executor, *[task(tmp_path, member) for member in range(5)])
    assert sorted(done.member for done, _ in results) == [0, 1, 2, 3, 4]
    for done, outcome in results:
        assert (outcome.env_steps, outcome.train_return, outcome.eval_return) == (10, done.member, 99)
        assert outcome.episodes == 1  # threads, in this learner's words
        assert outcome.wall_seconds >= 0


def test_a_checkpoint_holds_the_state_and_the_outcome(executor, tmp_path):
    ((_, outcome),) = train(executor, task(tmp_path, 0))
    ((_, later),) = train(executor, task(tmp_path, 1, start_from=tmp_path / "0.npz"))
    assert later.env_steps == 20
    assert load_state(tmp_path / "1.npz")["total"] == 20
    assert read_outcome(tmp_path / "0.npz") == outcome


def test_a_task_that_raises_is_a_failure_and_leaves_no_file(executor, tmp_path):
    tasks = [task(tmp_path, 0, **{"raise": True}), task(tmp_path, 1)]
    results = {t.member: result for t, result in train(executor, *tasks)}
    assert isinstance(results[0], Failure)
    assert results[0].error == "ValueError: loss is not finite"
    assert "StandInLearner" in results[0].traceback or "raise ValueError" in results[0].traceback
    assert results[1].env_steps == 10
    assert [path.name for path in tmp_path.iterdir()] == ["1.npz"]


def test_a_worker_that_dies_is_a_failure_and_the_next_tasks_find_a_new_one(tmp_path):
    executor = make_executor("processes", SPEC, workers=1)
    try:
        ((_, result),) = train(executor, task(tmp_path, 0, die=True))
        assert isinstance(result, Failure)
        ((_, result),) = train(executor, task(tmp_path, 1))
        assert result.env_steps == 10
    finally:
        executor.close()


def test_what_was_made_here_is_not_read_from_disk(executor, tmp_path):
    train(executor, task(tmp_path, 0))
    (tmp_path / "0.npz").unlink()
    ((_, later),) = train(executor, task(tmp_path, 1, start_from=tmp_path / "0.npz"))
    assert later.env_steps == 20


def test_a_learner_cannot_change_what_others_start_from(executor, tmp_path):
    train(executor, task(tmp_path, 0))
    ((_, result),) = train(executor, task(tmp_path, 1, start_from=tmp_path / "0.npz", overwrite=True))
    assert isinstance(result, Failure)
    assert "read-only" in result.error


def test_tasks_handed_in_meanwhile_are_trained_too(executor, tmp_path):
    executor.submit(task(tmp_path, 0))
    executor.submit(task(tmp_path, 1))
    done, _ = executor.next()
    executor.submit(task(tmp_path, 2, start_from=done.save_to))
    rest = [executor.next() for _ in range(2)]
    assert {done.member, *(one.member for one, _ in rest)} == {0, 1, 2}
    assert max(outcome.env_steps for _, outcome in rest) == 20


def test_inline_trains_those_who_are_behind_first(tmp_path):
    executor = make_executor("inline", SPEC)
    places = [(1, 0), (0, 2), (1, 1), (0, 1)]
    tasks = [Task(g, m, {}, None, tmp_path / f"{g}_{m}.npz", 10, 0, 0) for g, m in places]
    assert [(one.generation, one.member) for one, _ in train(executor, *tasks)] == sorted(places)


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match="executor.workers must be >= 1, got 0"):
        make_executor("processes", SPEC, workers=0)
    with pytest.raises(MetapbtError, match="unknown executor 'procesess'; did you mean 'processes'"):
        make_executor("procesess", SPEC)
    with pytest.raises(MetapbtError, match="executor 'inline': .*workers"):
        make_executor("inline", SPEC, workers=2)
