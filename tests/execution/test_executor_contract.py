"""What every executor promises, whichever it is."""

import os
import signal

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.execution import make_executor
from metapbt.execution.base import Failure, Job
from metapbt.history import Budget, Context, Interval, Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Training
from metapbt.store.checkpoint import load_state, read_outcome

SETTINGS = {"processes": {"workers": 2}, "ray": {"workers": 2}}
BY_RAY = pytest.param("ray", marks=pytest.mark.ray)


class StandInLearner:
    """Does what its hyperparameters say; found by the workers under its module's name."""

    def __init__(self, env, context, budget, settings):
        pass

    def train(self, interval, start, teacher=None):
        hyperparameters = interval.hyperparameters
        if hyperparameters.get("raise"):
            raise ValueError("loss is\nnot finite")
        if hyperparameters.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if hyperparameters.get("overwrite"):
            start["total"] += 1
        total = (0 if start is None else int(start["total"])) + 10 + (teacher.state["total"] if teacher else 0)
        threads = int(os.environ["OMP_NUM_THREADS"])
        returns = (float(interval.seed),) * threads
        return Training({"total": np.array(total)}, interval.until_steps, returns, float(interval.evaluation_seed))


SPEC = LearnerSpec(f"{__name__}:StandInLearner", "none", Context({}), Budget(100, 10), {})


@pytest.fixture(scope="module")
def local_ray():
    """One for all tests of this file, with no more memory than they need."""
    ray = pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()


@pytest.fixture(params=["inline", "processes", "vectorised", BY_RAY])
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    made = make_executor(request.param, SPEC, threads=1, **SETTINGS.get(request.param, {}))
    yield made
    made.close()


def job(folder, member, start_from=None, generation=0, teacher_from=None, **hyperparameters):
    steps = 10 if start_from else 0
    interval = Interval(Ref(generation, member), None, None, hyperparameters, steps, steps + 10, member, 99, 1)
    return Job(interval, start_from, folder / f"{generation}_{member}.npz", teacher_from)


def train(executor, *jobs):
    executor.submit(jobs)
    return [executor.next() for _ in jobs]


def member(job):
    return job.interval.ref.member


def test_every_job_is_yielded_once_with_its_outcome(executor, tmp_path):
    results = train(executor, *[job(tmp_path, number) for number in range(5)])
    assert sorted(member(done) for done, _ in results) == [0, 1, 2, 3, 4]
    for done, outcome in results:
        assert (outcome.env_steps, outcome.train_return, outcome.eval_return) == (10, member(done), 99)
        assert outcome.episodes == 1  # threads, in this learner's words
        assert outcome.wall_seconds >= 0


def test_a_checkpoint_holds_the_state_and_the_outcome(executor, tmp_path):
    ((_, outcome),) = train(executor, job(tmp_path, 0))
    ((_, later),) = train(executor, job(tmp_path, 1, start_from=tmp_path / "0_0.npz"))
    assert later.env_steps == 20
    assert load_state(tmp_path / "0_1.npz")["total"] == 20
    assert read_outcome(tmp_path / "0_0.npz") == outcome


def test_a_job_that_raises_is_a_failure_and_leaves_no_file(executor, tmp_path):
    jobs = [job(tmp_path, 0, **{"raise": True}), job(tmp_path, 1)]
    results = {member(one): result for one, result in train(executor, *jobs)}
    assert isinstance(results[0], Failure)
    assert results[0].error == "ValueError: loss is not finite"
    assert "StandInLearner" in results[0].traceback or "raise ValueError" in results[0].traceback
    assert results[1].env_steps == 10
    assert [path.name for path in tmp_path.iterdir()] == ["0_1.npz"]


@pytest.mark.parametrize("name", ["processes", BY_RAY])
def test_a_worker_that_dies_is_a_failure_and_the_next_jobs_find_a_new_one(name, request, tmp_path):
    if name == "ray":
        request.getfixturevalue("local_ray")
    executor = make_executor(name, SPEC, workers=1)
    try:
        ((_, result),) = train(executor, job(tmp_path, 0, die=True))
        assert isinstance(result, Failure)
        assert result.kind == "mishap"
        ((_, result),) = train(executor, job(tmp_path, 1))
        assert result.env_steps == 10
    finally:
        executor.close()


def test_what_was_made_here_is_not_read_from_disk(executor, tmp_path):
    train(executor, job(tmp_path, 0))
    (tmp_path / "0_0.npz").unlink()
    ((_, later),) = train(executor, job(tmp_path, 1, start_from=tmp_path / "0_0.npz"))
    assert later.env_steps == 20


def test_a_learner_cannot_change_what_others_start_from(executor, tmp_path):
    train(executor, job(tmp_path, 0))
    ((_, result),) = train(executor, job(tmp_path, 1, start_from=tmp_path / "0_0.npz", overwrite=True))
    assert isinstance(result, Failure)
    assert "read-only" in result.error


def test_jobs_handed_in_meanwhile_are_trained_too(executor, tmp_path):
    executor.submit([job(tmp_path, 0), job(tmp_path, 1)])
    done, _ = executor.next()
    executor.submit([job(tmp_path, 2, start_from=done.save_to)])
    rest = [executor.next() for _ in range(2)]
    assert {member(done), *(member(one) for one, _ in rest)} == {0, 1, 2}
    assert max(outcome.env_steps for _, outcome in rest) == 20


def test_inline_trains_those_who_are_behind_first(tmp_path):
    executor = make_executor("inline", SPEC)
    places = [(1, 0), (0, 2), (1, 1), (0, 1)]
    jobs = [job(tmp_path, m, generation=g) for g, m in places]
    assert [one.interval.ref for one, _ in train(executor, *jobs)] == sorted(places)


def test_a_new_agent_is_handed_its_teacher(executor, tmp_path):
    train(executor, job(tmp_path, 0))
    train(executor, job(tmp_path, 1, teacher_from=tmp_path / "0_0.npz"))
    assert load_state(tmp_path / "0_1.npz")["total"] == 20


def test_the_training_return_takes_in_earlier_episodes_of_the_line_of_descent(executor, tmp_path):
    ((_, first),) = train(executor, job(tmp_path, 3))
    ((_, second),) = train(executor, job(tmp_path, 5, start_from=tmp_path / "0_3.npz"))
    ((_, fresh),) = train(executor, job(tmp_path, 7))
    assert (first.train_return, second.train_return, fresh.train_return) == (3.0, 4.0, 7.0)


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match="executor.workers must be an integer from 1 to 1024, got 0"):
        make_executor("processes", SPEC, workers=0)
    with pytest.raises(MetapbtError, match="unknown executor 'procesess'; did you mean 'processes'"):
        make_executor("procesess", SPEC)
    with pytest.raises(MetapbtError, match="unknown setting of executor inline 'workers'"):
        make_executor("inline", SPEC, workers=2)
