"""Whatever a learner does, its interval fails and nothing else: with every executor, in one line."""

import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.execution import make_executor
from metapbt.execution.base import Failure, Job
from metapbt.execution.trainer import evaluate
from metapbt.history import Budget, Context, Interval, Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Training
from metapbt.runs.signals import stoppable


class MisbehavingLearner:
    """Does what ``bug`` says, in Python, and returns what that calls ``result``."""

    def __init__(self, env, context, budget, settings):
        exec(settings.get("bug", ""))
        self.tested = settings.get("tested", "1.0")

    def train(self, interval, start, teacher=None):
        steps = interval.until_steps
        scope = {"interval": interval, "start": start, "result": Training({"w": np.ones(3)}, steps, (1.0,), 1.0)}
        exec(interval.hyperparameters.get("bug", ""), globals(), scope)
        return scope["result"]

    def evaluate(self, state, hyperparameters, seed, episodes):
        return eval(self.tested)


SPEC = LearnerSpec(f"{__name__}:MisbehavingLearner", "none", Context({}), Budget(100, 10), {})


@pytest.fixture(scope="module", params=["inline", "processes"])
def executor(request):
    made = make_executor(request.param, SPEC, **({"workers": 2} if request.param == "processes" else {}))
    yield made
    made.close()


@pytest.fixture
def processes():
    made = []

    def make(spec=SPEC, **settings):
        made.append(make_executor("processes", spec, **{"workers": 1, **settings}))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture(autouse=True)
def _as_in_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with stoppable(tmp_path):
        yield


def job(member=0, bug="", start_from=None, folder=None):
    steps = 10 if start_from else 0
    interval = Interval(Ref(0, member), None, None, {"bug": bug}, steps, steps + 10, member, 99, 1)
    return Job(interval, start_from, (folder or Path()).absolute() / f"{member}.npz")


def train(executor, *jobs):
    executor.submit(jobs)
    results = [executor.next() for _ in jobs]
    return [result for _, result in sorted(results, key=lambda ended: ended[0].interval.ref.member)]


def fails(executor, bug):
    """The failure that a bug makes; that of another member trains, and so does the next one."""
    failure, other = train(executor, job(0, bug), job(1))
    assert isinstance(failure, Failure)
    assert other.env_steps == 10
    assert [path.name for path in Path().iterdir()] == ["1.npz"]
    assert train(executor, job(2))[0].env_steps == 10
    for text in (failure.error, failure.traceback):
        assert text == text.encode().decode()
    assert failure.error.isprintable()
    assert len(failure.error) < 600
    assert len(failure.traceback) < 30_000
    return failure


LEAVES = {
    "import sys; sys.exit()": "SystemExit",
    "import sys; sys.exit(0)": "SystemExit: 0",
    "exit('I give up')": "SystemExit: I give up",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit('x')": "GeneratorExit: x",
    "import asyncio; raise asyncio.CancelledError": "CancelledError",
    "raise type('Own', (BaseException,), {})('x')": "Own: x",
}


@pytest.mark.parametrize("bug", LEAVES)
def test_a_learner_that_leaves_has_failed(executor, bug):
    failure = fails(executor, bug)
    assert (failure.error, failure.kind) == (LEAVES[bug], "raised")
    assert "<string>" in failure.traceback


def test_a_learner_cannot_end_the_process_that_it_trains_in():
    executor = make_executor("inline", SPEC)
    assert fails(executor, "import os; os._exit(0)").error == "SystemExit: os._exit(0)"
    forked = "import os; pid = os.fork(); pid or os._exit(7); assert os.waitpid(pid, 0)[1] == 7 << 8"
    assert train(executor, job(2, forked))[0].env_steps == 10
    thread = "import threading; t = threading.Thread(target=len, args=('x',)); t.start(); t.join()"
    assert train(executor, job(3, thread))[0].env_steps == 10
    executor.close()


ODD = {
    "raise type('Local', (Exception,), {'__reduce__': lambda self: 1 / 0})('x')": "Local: x",
    "raise type('Rude', (Exception,), {'__str__': lambda self: 1 / 0})": "Rude: (its text cannot be read: ZeroDivision",
    "raise ValueError('x' * 10**7)": "ValueError: xxx",
    "raise ValueError('a\\nb\\x1b[31m\\0 \\ud800')": "ValueError: a b\N{REPLACEMENT CHARACTER}[31m",
    "raise ExceptionGroup('two', [ValueError('a'), OSError('b')])": "ExceptionGroup: two (2 sub-exceptions)",
    "raise StopIteration(3)": "StopIteration: 3",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError: maximum recursion depth exceeded",
    "assert False": "AssertionError",
}


@pytest.mark.parametrize("bug", ODD)
def test_an_error_of_any_shape_is_one_short_line(executor, bug):
    failure = fails(executor, bug)
    assert failure.error.startswith(ODD[bug])
    assert failure.kind == "raised"


REFUSED = {
    "result = None": "learner=.*:MisbehavingLearner: train must return a Training, got None",
    "result = Training({}, None, (), 1.0)": "env_steps must be a whole number, got None",
    "result = Training({}, 10, None, 1.0)": "returns must hold a number for each episode",
    "result = Training({'w': object()}, 10, (), 1.0)": r"state\['w'\] must be an array of numbers",
    "result = Training({'_returns': 1.0}, 10, (), 1.0)": "names in state must not begin with '_'",
    "from metapbt.errors import MetapbtError; raise MetapbtError('no such thing')": "no such thing",
}


@pytest.mark.parametrize("bug", REFUSED)
def test_what_will_be_refused_again_is_told_apart(executor, bug):
    failure = fails(executor, bug)
    assert failure.kind == "refused"
    with pytest.raises(MetapbtError, match=REFUSED[bug]):
        raise MetapbtError(failure.error)


MISHAPS = {
    "raise MemoryError": "MemoryError",
    "open('/nowhere/at/all')": "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'",
    "raise type('OutOfMemoryError', (RuntimeError,), {})('CUDA')": "OutOfMemoryError: CUDA",
    "raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory')": "RuntimeError: RESOURCE_EXHAUSTED: Out of memory",
}


@pytest.mark.parametrize("bug", MISHAPS)
def test_what_may_go_well_another_time_is_told_apart(executor, bug):
    failure = fails(executor, bug)
    assert (failure.error, failure.kind) == (MISHAPS[bug], "mishap")


STRAYS = """
import os, sys, signal
os.chdir('/')
np.seterr(all='raise')
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.stdout = sys.stderr = None
"""


def test_a_learner_leaves_nothing_of_ours_changed(executor):
    def surroundings():
        return Path.cwd(), np.geterr(), signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr

    before = surroundings()
    train(executor, job(0, STRAYS))
    # Relative paths mean the same as before, in this process and in workers.
    relative = "assert os.getcwd() != '/'; result = Training({}, 20, (), np.geterr()['divide'] == 'warn' and 1.0)"
    (later,) = train(executor, job(0, relative, start_from=Path("0.npz").absolute()))
    assert getattr(later, "eval_return", later) == 1.0
    assert surroundings() == before


def test_what_was_asked_for_is_what_is_recorded_whatever_the_learner_does_to_it(executor):
    bug = "interval.hyperparameters['bug'] = 'changed'; interval.hyperparameters['more'] = 1"
    (outcome,) = train(executor, job(0, bug))
    assert outcome.hyperparameters == {"bug": bug}


KEPT = "global kept; kept = np.zeros(3); result = Training({'w': kept}, interval.until_steps, (), 1.0)"


def test_what_a_learner_does_later_to_what_it_returned_changes_nothing(executor):
    train(executor, job(0, KEPT))
    check = "kept[:] = 7; assert start['w'].tolist() == [0, 0, 0]; result = Training({}, 20, (), 1.0)"
    (later,) = train(executor, job(0, f"global kept\n{check}", start_from=Path("0.npz").absolute()))
    assert getattr(later, "env_steps", later) == 20


@pytest.mark.parametrize("here", [True, False])
def test_a_learner_cannot_write_into_its_start_wherever_that_comes_from(executor, here):
    train(executor, job(0), job(1))
    start = Path("0.npz").absolute()
    if not here:
        start = start.rename("moved.npz").absolute()
    (failure,) = train(executor, job(2, "start['w'][0] = 7", start_from=start))
    assert "read-only" in failure.error


def test_an_episode_without_a_finite_return_does_not_stay_in_the_window(executor):
    (first,) = train(executor, job(0, "result = Training({}, 10, (1.0, math.nan, 3.0), 1.0)"))
    assert math.isnan(first.train_return)
    (second,) = train(executor, job(1, "result = Training({}, 20, (5.0,), 1.0)", start_from=Path("0.npz").absolute()))
    assert (second.train_return, second.episodes) == (3.0, 1)


def test_where_no_episode_ended_earlier_ones_speak_unless_there_is_an_evaluation(executor):
    train(executor, job(0, "result = Training({}, 10, (1.0, 3.0), 1.0)"))
    for number, (evaluated, expected) in enumerate([("math.nan", 2.0), ("5.0", math.nan)], start=1):
        asked = job(number, f"result = Training({{}}, 20, (), {evaluated})", start_from=Path("0.npz").absolute())
        (found,) = train(executor, asked)
        assert (found.train_return, found.episodes) == (pytest.approx(expected, nan_ok=True), 0)


@pytest.mark.parametrize("value", ["None", "math.nan", "-math.inf", "'1.0'", "[1.0]", "1 / 0", "sys.exit()"])
def test_an_evaluation_at_the_end_that_is_no_finite_number_is_an_error(executor, value):
    train(executor, job(0))
    spec = LearnerSpec(SPEC.name, "none", Context({}), Budget(100, 10), {"tested": value})
    with pytest.raises((MetapbtError, ZeroDivisionError), match="MisbehavingLearner: (what )?evaluate|by zero"):
        evaluate(spec, Path("0.npz"), 1, 1)
    spec = LearnerSpec(SPEC.name, "none", Context({}), Budget(100, 10), {"tested": "np.array([2])"})
    assert repr(evaluate(spec, Path("0.npz"), 1, 1)) == "2.0"


ENDS = {
    "os._exit(0)": "the worker ended in the midst of it, with status 0",
    "os._exit(3)": "the worker ended in the midst of it, with status 3",
    "os.kill(os.getpid(), 9)": r"the worker was killed by signal 9 \(SIGKILL\): out of memory\?",
    "import ctypes; ctypes.string_at(0)": r"the worker was killed by signal 11 \(SIGSEGV\): a fault in compiled code",
    "os.closerange(3, 500); os._exit(1)": "the worker ended in the midst of it, with status 1",
    "os.fork() or __import__('time').sleep(60); os._exit(5)": "the worker ended in the midst of it, with status 5",
}


@pytest.mark.parametrize("bug", ENDS)
def test_a_worker_that_ends_is_a_mishap_that_says_how(processes, bug):
    failure = fails(processes(workers=2), bug)
    assert failure.kind == "mishap"
    with pytest.raises(MetapbtError, match=ENDS[bug]):
        raise MetapbtError(failure.error)


def test_a_worker_that_hangs_is_killed_with_what_it_started_and_nobody_waits_for_it(processes):
    executor = processes(workers=2, timeout=3)
    hang = "pid = os.fork()\nif pid: Path('child').write_text(str(pid))\nwhile True: time.sleep(60)"
    failure = fails_but_for(executor, hang, {"child", "1.npz"})
    assert failure.error == "no end after executor.timeout=3 seconds: the worker was killed"
    assert failure.kind == "mishap"
    child = int(Path("child").read_text())
    assert gone(child), "what the learner started is still there"


def gone(pid):
    """Wait for a process to end; whether it has. Nobody need have asked how it ended."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def fails_but_for(executor, bug, files):
    bug = bug.replace("'child'", repr(str(Path("child").absolute())))
    failure, other = train(executor, job(0, bug), job(1))
    assert isinstance(failure, Failure)
    assert other.env_steps == 10
    assert {path.name for path in Path().iterdir()} == files
    return failure


def test_output_of_any_length_and_closed_streams_stop_nobody(processes):
    executor = processes()
    for bug in ("import sys; sys.stdout.close(); sys.stderr.close()", "os.close(1); os.close(2)", ""):
        assert train(executor, job(0, bug))[0].env_steps == 10


def test_a_learner_that_cannot_be_made_in_a_worker_says_why(processes):
    bug = "import multiprocessing\nif multiprocessing.parent_process(): raise ValueError('no such device')"
    spec = LearnerSpec(SPEC.name, "none", Context({}), Budget(100, 10), {"bug": bug})
    spec.make()
    (failure,) = train(processes(spec), job(0))
    assert failure.error.endswith("MisbehavingLearner' cannot be made: ValueError: no such device")
    assert failure.kind == "refused"
    leaves = LearnerSpec(SPEC.name, "none", Context({}), Budget(100, 10), {"bug": "import sys; sys.exit(0)"})
    (failure,) = train(processes(leaves), job(0))
    assert failure.error.endswith("MisbehavingLearner' cannot be made: SystemExit: 0")


def trained_at_last(executor, member):
    """What comes of a job that may meet a worker whose end nobody has noticed yet: mishaps, and then an outcome."""
    for _ in range(4):  # as often as a run tries
        (result,) = train(executor, job(member))
        if not isinstance(result, Failure):
            return result
        assert result.kind == "mishap"
    raise AssertionError(result.error)


def test_a_worker_killed_while_it_waits_is_replaced(processes):
    executor = processes()
    train(executor, job(0, f"Path({str(Path('pid').absolute())!r}).write_text(str(os.getpid()))"))
    pid = int(Path("pid").read_text())
    os.kill(pid, 9)
    assert gone(pid)
    assert trained_at_last(executor, 1).env_steps == 10


def test_a_machine_without_room_for_workers_is_a_mishap(processes, monkeypatch):
    executor = processes()

    def full(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.context.ForkServerProcess.start", full)
        (failure,) = train(executor, job(0))
    assert failure.error == "no worker could be started: BlockingIOError: [Errno 11] Resource temporarily unavailable"
    assert failure.kind == "mishap"
    assert train(executor, job(0))[0].env_steps == 10


def test_workers_need_no_shared_memory_for_locks(processes, monkeypatch):
    def missing(*_args, **_more):
        raise OSError(38, "Function not implemented")  # as where there is no /dev/shm

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", missing)
    assert train(processes(), job(0))[0].env_steps == 10


def test_a_server_of_workers_that_is_gone_is_started_again(processes):
    executor = processes()
    train(executor, job(0))
    server = executor._server.pid
    os.kill(server, signal.SIGKILL)
    assert gone(server)
    assert trained_at_last(executor, 1).env_steps == 10


ABSURD = [0, -1, 1.5, "2", True, 10**9, [1], math.nan]


@pytest.mark.parametrize("value", ABSURD)
def test_absurd_counts_and_times_are_named_at_the_door(value):
    for name, setting in (("processes", "workers"), ("processes", "threads"), ("inline", "threads")):
        with pytest.raises(MetapbtError, match=f"executor.{setting} must be an integer from 1 to 1024, got"):
            make_executor(name, SPEC, **{setting: value})
    if value not in (1.5, 10**9):
        with pytest.raises(MetapbtError, match="executor.timeout must be seconds > 0, or null for none, got"):
            make_executor("processes", SPEC, timeout=value)
    with pytest.raises(MetapbtError, match="executor.timeout needs executor=processes"):
        make_executor("inline", SPEC, timeout=value)
