"""What every executor promises, whichever it is."""

import gc
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.execution import make_executor, server
from metapbt.execution.base import Failure, Job
from metapbt.history import Budget, Context, Interval, Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Training
from metapbt.runs.signals import stoppable
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
        if "fork" in hyperparameters:
            return Training({}, interval.until_steps, (forked(hyperparameters["fork"]),), 0.0)
        if "end" in hyperparameters:
            return Training({}, interval.until_steps, ended(hyperparameters["end"]), 0.0)
        if hyperparameters.get("forge"):
            for line in [each for each in gc.get_objects() if isinstance(each, Connection) and each.writable]:
                line.send((Ref(7, 7), Failure.mishap("of another")))
        total = (0 if start is None else int(start["total"])) + 10 + (teacher.state["total"] if teacher else 0)
        threads = int(os.environ["OMP_NUM_THREADS"])
        returns = (float(interval.seed),) * threads
        return Training({"total": np.array(total)}, interval.until_steps, returns, float(interval.evaluation_seed))


def forked(leave):
    """How a process ends that a learner forks, and that leaves as ``leave`` says: it goes on where it came from."""
    child = os.fork()
    if child == 0:
        exec(leave, {"sys": sys})
        return 0.0
    return float(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def ended(number):
    """How what a learner starts and forks ends by a signal."""
    program = subprocess.Popen(["sleep", "5"])
    program.send_signal(number)
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, b"there")
        time.sleep(5)
        os._exit(0)
    os.read(readable, 1)
    os.close(readable)
    os.close(writable)
    os.kill(child, signal.SIGTERM)
    return program.wait(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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


@pytest.mark.parametrize(
    ("leave", "status"),
    [
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", 1),
        ("", 0),
    ],
)
def test_a_process_that_a_learner_forks_does_not_go_on_as_the_one_that_trains(executor, tmp_path, leave, status):
    here = os.getpid()
    results = train(executor, job(tmp_path, 0, fork=leave), job(tmp_path, 1))
    if os.getpid() != here:
        os._exit(99)  # it came back to us
    found = {member(one): getattr(result, "train_return", result) for one, result in results}
    assert found == {0: status, 1: 1}


@pytest.mark.parametrize("executor", ["inline", "processes", "vectorised"], indirect=True)  # Ray has its own ways
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_a_learner_starts_can_be_ended_by_signals(executor, tmp_path, number):
    with stoppable(tmp_path):
        ((_, outcome),) = train(executor, job(tmp_path, 0, end=number))
    assert (outcome.train_return, outcome.episodes) == ((-number - signal.SIGTERM) / 2, 2)


def test_an_answer_for_another_interval_is_refused(tmp_path):
    executor = make_executor("processes", SPEC, workers=1)
    try:
        ((_, result),) = train(executor, job(tmp_path, 0, forge=True))
        assert (result.kind, result.error) == ("mishap", "the worker answered for another interval")
        ((_, result),) = train(executor, job(tmp_path, 1))
        assert (result.env_steps, result.train_return) == (10, 1.0)
    finally:
        executor.close()


EDITED = """
import os
from metapbt.learners.base import Training

class L:
    def __init__(self, env, context, budget, settings):
        pass
    def train(self, interval, start, teacher=None):
        return Training({{}}, interval.until_steps, ({bonus},), float(os.environ["WHICH"]))
"""


def test_a_run_has_the_code_and_the_environment_that_are_there_when_it_begins(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    spec = LearnerSpec("edited_meanwhile:L", "none", Context({}), Budget(100, 10), {})
    for bonus, which in ((1.0, 3), (22.0, 3), (22.0, 4)):
        (tmp_path / "edited_meanwhile.py").write_text(EDITED.format(bonus=bonus))
        monkeypatch.setenv("WHICH", str(which))
        executor = make_executor("processes", spec, workers=1)
        ((_, outcome),) = train(executor, job(tmp_path, 0))
        executor.close()
        assert (outcome.train_return, outcome.eval_return) == (bonus, which)


def test_a_server_is_kept_for_runs_in_which_it_would_be_the_same(monkeypatch):
    def begun(learner):
        found = server.start(learner, 1)
        pid = found.pid
        found.release()
        return pid, Path(f"/proc/{pid}").exists()

    first = begun("quadratic")
    assert begun("quadratic") == first
    assert first[1]
    monkeypatch.setenv("WHICH", "5")
    second = begun("quadratic")
    assert second[0] != first[0]
    assert not Path(f"/proc/{first[0]}").exists()
    own = [begun(SPEC.name), begun(SPEC.name)]
    assert own[0][0] != own[1][0]
    assert [alive for _, alive in own] == [False, False]
