"""Whole runs from wherever Python may be started, as users start them: each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metapbt.cli import main

ROOT = Path(__file__).parents[2]

LEARNER = """
import os
import numpy as np
from metapbt.learners.base import Training

class L:
    def __init__(self, env, context, budget, settings):
        pass
    def check(self, space):
        pass
    def train(self, interval, start, teacher=None):
        x = float(interval.hyperparameters["learning_rate"])
        result = Training({"x": np.array(x)}, interval.until_steps, (x,), x)
        scope = {"interval": interval, "result": result, "Training": Training, "np": np, "os": os}
        exec(os.environ.get("BUG", ""), scope)
        return scope["result"]
    def evaluate(self, state, hyperparameters, seed, episodes):
        return eval(os.environ.get("TESTED", "1.0"))
"""

OVERRIDES = [
    "env=quadratic", "method=pbt", "~learner.start", "budget.steps=8", "budget.interval=4", "population.size=2",
    "executor=processes", "results_dir=r",
]  # fmt: skip


def python(folder, *arguments, text=None, **environment):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=text, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment},
    )  # fmt: skip


def metapbt_run(folder, *overrides, **environment):
    (folder / "own.py").write_text(LEARNER)
    code = "import sys; from metapbt.cli import main; sys.exit(main(sys.argv[1:]))"
    return python(folder, "-c", code, "run", *OVERRIDES, "learner.name=own:L", *overrides, **environment)


@pytest.fixture
def inline(tmp_path, monkeypatch, capfd):
    """Runs without workers need no process of their own: a command's status, and what it said on stderr."""
    (tmp_path / "own.py").write_text(LEARNER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def command(*overrides, **environment):
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            status = main(["run", *OVERRIDES, "executor=inline", "learner.name=own:L", *overrides])
        return status, capfd.readouterr().err

    yield command
    sys.modules.pop("own", None)


def a_script(learner, *overrides, guard=False, before=""):
    call = f"metapbt.run({[*OVERRIDES, f'learner.name={learner}', *overrides]!r})"
    body = f"{before}\nrun = {call}\nprint('finished with', run.test_return)"
    if guard:
        body = "if __name__ == '__main__':\n" + "\n".join(f"    {line}" for line in body.splitlines())
    return f"import metapbt\n{LEARNER if learner.startswith('__main__') else ''}\nprint('script')\n{body}\n"


def finished(folder):
    return len(list(folder.rglob("DONE")))


@pytest.mark.parametrize(("learner", "guard"), [("own:L", False), ("__main__:L", False), ("__main__:L", True)])
def test_a_script_with_and_without_a_main_guard(tmp_path, learner, guard):
    (tmp_path / "own.py").write_text(LEARNER)
    (tmp_path / "script.py").write_text(a_script(learner, guard=guard))
    done = python(tmp_path, "-P", "script.py")
    assert done.returncode == 0, done.stderr
    assert "finished with 1.0" in done.stdout
    assert "Traceback" not in done.stderr
    # Workers read a script only where the learner is defined there.
    assert done.stdout.count("script") == (1 if learner == "own:L" else 3)
    assert finished(tmp_path) == 1


@pytest.mark.parametrize("how", ["argument", "standard input"])
def test_code_that_is_in_no_file(tmp_path, how):
    (tmp_path / "own.py").write_text(LEARNER)
    code = a_script("own:L")
    done = python(tmp_path, "-c", code) if how == "argument" else python(tmp_path, text=code)
    assert done.returncode == 0, done.stderr
    assert "finished with 1.0" in done.stdout


@pytest.mark.ray
def test_a_script_with_a_learner_of_its_own_and_without_a_main_guard_on_ray(tmp_path):
    pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
    (tmp_path / "script.py").write_text(a_script("__main__:L", "executor=ray"))
    done = python(tmp_path, "-P", "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["script", "finished with 1.0"]  # what workers say is in Ray's logs
    assert "Traceback" not in done.stderr
    done = python(tmp_path, "-c", a_script("__main__:L", "executor=ray", "seed=1"))
    assert "is defined where workers cannot read it" in done.stderr.strip().splitlines()[-1]


def test_without_ray_one_line_says_what_to_install(inline, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    status, said = inline("executor=ray")
    assert status == 1
    assert said.startswith("metapbt: error: executor=ray needs Ray: pip install 'metapbt[ray]'")
    assert len(said.splitlines()) == 1


def test_a_learner_that_workers_cannot_read_is_one_line(tmp_path):
    done = python(tmp_path, "-c", a_script("__main__:L"))
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("metapbt.errors.MetapbtError: '__main__:L' is defined where workers cannot read it")
    assert last.endswith("put it into a module, or choose executor=inline")
    done = python(tmp_path, "-c", a_script("__main__:L", "executor=inline"))
    assert done.returncode == 0, done.stderr


LATER = """
import threading
import metapbt

class A(L):
    def train(self, interval, start, teacher=None):
        return Training({"w": np.zeros(1)}, interval.until_steps, (BONUS["is"],), 1.0)

BONUS = {"is": 1.0}

def go(name):
    run = metapbt.run([*OVERRIDES, "learner.name=__main__:" + name, f"name={name}{BONUS['is']}"])
    print(name, sorted(set(run.records["train_return"])))

go("A")
go("A")
BONUS["is"] = 2.0
go("A")
class B(A):
    def train(self, interval, start, teacher=None):
        return Training({"w": np.zeros(1)}, interval.until_steps, (4.0,), 1.0)
go("B")
BONUS["is"] = 3.0
BONUS["lock"] = threading.Lock()
go("A")
"""


@pytest.mark.slow
def test_what_a_script_defines_is_what_it_is_when_a_later_run_begins_or_refused(tmp_path):
    (tmp_path / "script.py").write_text(f"OVERRIDES = {OVERRIDES!r}\n{LEARNER}\n{LATER}")
    done = python(tmp_path, "script.py")
    assert done.stdout.splitlines() == ["A [1.0]", "A [1.0]", "A [2.0]", "B [4.0]"], done.stderr
    assert done.stderr.strip().splitlines()[-1] == (
        "metapbt.errors.MetapbtError: '__main__:A' cannot be sent to workers (TypeError: cannot pickle '_thread.lock' "
        "object): put it into a module and call it module:A, or choose executor=inline"
    )
    assert finished(tmp_path) == 3
    assert not list(tmp_path.rglob("FAILED"))
    assert not list(tmp_path.rglob("A3.0/**/config.yaml"))


OWN_ENVIRONMENT = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
import metapbt
from metapbt.envs import Environment

class Mine(CartPoleEnv):
    pass

gymnasium.register("Mine-v0", entry_point=Mine, max_episode_steps=50)
MINE = Environment(name="mine", features=(), build=lambda context, mode: Mine(mode), max_episode_steps=60)
"""
ANY_ENVIRONMENT = [
    *(each for each in OVERRIDES if each not in ("env=quadratic", "~learner.start")),
    "learner.name=own:L",
]
MAKES_IT = LEARNER.replace("        pass\n", "        self.steps = make_env(env).spec.max_episode_steps\n", 1)
MAKES_IT = "from metapbt.envs import make_env\n" + MAKES_IT.replace("(x,)", "(self.steps,)")


@pytest.mark.parametrize(
    ("env", "steps", "in_a_file"), [("Mine-v0", 50, True), ("Mine-v0", 50, False), ("__main__:MINE", 60, True)]
)
def test_an_environment_that_only_the_script_knows_is_known_to_workers(tmp_path, env, steps, in_a_file):
    (tmp_path / "own.py").write_text(MAKES_IT)
    code = f"{OWN_ENVIRONMENT}\nrun = metapbt.run({[*ANY_ENVIRONMENT, f'env={env}']!r})\n"
    code += "print(sorted(set(run.records['train_return'])))\n"
    (tmp_path / "script.py").write_text(code)
    done = python(tmp_path, "script.py") if in_a_file else python(tmp_path, "-c", code)
    assert done.stdout == f"[{steps}.0]\n", done.stderr


def test_an_environment_that_workers_cannot_be_sent_is_one_line_before_anything_is_written(tmp_path):
    (tmp_path / "own.py").write_text(MAKES_IT)
    cannot = OWN_ENVIRONMENT.replace("steps=50", "steps=50, kwargs={'lock': __import__('threading').Lock()}")
    done = python(tmp_path, "-c", f"{cannot}\nmetapbt.run({[*ANY_ENVIRONMENT, 'env=Mine-v0']!r})\n")
    said = "'Mine-v0' cannot be sent to workers (TypeError: cannot pickle '_thread.lock' object): put it into a module"
    assert done.stderr.strip().endswith(f"{said} and call it module:Mine-v0, or choose executor=inline")
    assert not list(tmp_path.rglob("config.yaml"))


def test_workers_find_modules_where_the_script_does(tmp_path):
    """In the folder of the script, and not where it was started."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "own.py").write_text("class L: 'of another module of that name'")
    (tmp_path / "scripts" / "own.py").write_text(LEARNER)
    (tmp_path / "scripts" / "script.py").write_text(a_script("own:L"))
    done = python(tmp_path, "scripts/script.py")
    assert "finished with 1.0" in done.stdout, done.stderr
    assert "failed" not in done.stderr


ELSEWHERE = """
import multiprocessing, os, sys, threading
import metapbt
from metapbt.errors import MetapbtError

def train(folder, *more):
    try:
        run = metapbt.run([*{overrides!r}, "learner.name=own:L", "results_dir=" + folder, *more])
        print(folder, "finished with", run.test_return, flush=True)
    except MetapbtError as error:
        print(folder, "says", error, flush=True)

if __name__ == "__main__":
    thread = threading.Thread(target=train, args=("thread",))
    thread.start()
    thread.join()
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        for daemon in (False, True):
            process = context.Process(target=train, args=(f"{{method}}_{{daemon}}",), daemon=daemon)
            process.start()
            process.join()
    train("main")
"""


@pytest.mark.slow
def test_threads_and_processes_that_others_started(tmp_path):
    """A thread; forked processes, which know of a server that is not theirs; spawned ones; daemonic ones."""
    (tmp_path / "own.py").write_text(LEARNER)
    (tmp_path / "script.py").write_text(ELSEWHERE.format(overrides=OVERRIDES[:-1]))
    done = python(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if "finished" in line] == [
        f"{place} finished with 1.0" for place in ("thread", "fork_False", "spawn_False", "main")
    ]
    says = [line for line in lines if "says" in line]
    assert [line.split()[0] for line in says] == ["fork_True", "spawn_True"]
    assert all("this process is daemonic" in line and line.endswith("choose executor=inline") for line in says)
    assert "Traceback" not in done.stderr


BUG = "if interval.ref == (1, 1): result = Training(result.state, result.env_steps, (None,), 1.0)"


def went_on_once_mended(folder, failed, mended):
    """A bad outcome of the last interval was not saved."""
    status, said = failed()
    assert status == 1
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert "member 1 failed in generation 1: learner=own:L: returns[0] must be a number" in last
    (file,) = folder.rglob("FAILED")
    assert "returns[0] must be a number" in file.read_text()
    status, said = mended()
    assert status == 0, said
    assert finished(folder) == 1
    assert not file.exists()


def test_a_run_goes_on_once_its_learner_was_mended(tmp_path):
    def workers(**environment):
        done = metapbt_run(tmp_path, "on_failure=stop", **environment)
        return done.returncode, done.stderr

    went_on_once_mended(tmp_path, lambda: workers(BUG=BUG), workers)


def test_a_run_without_workers_goes_on_once_its_learner_was_mended(tmp_path, inline):
    stop = "on_failure=stop"
    went_on_once_mended(tmp_path, lambda: inline(stop, BUG=BUG), lambda: inline(stop))


def test_a_learner_that_leaves_does_not_end_a_run_in_silence(tmp_path, inline):
    status, said = inline(BUG="import sys; sys.exit(0)")
    assert status == 1
    assert "member 0 failed twice alike in generation 0: SystemExit: 0" in said.strip().splitlines()[-1]
    status, said = inline(TESTED="__import__('sys').exit(0)")
    assert status == 1
    assert said.strip().splitlines()[-1].endswith("learner=own:L: evaluate raised SystemExit: 0")
    assert inline(TESTED="np.float32(2.5)")[0] == 0
    (done,) = tmp_path.rglob("DONE")
    assert "2.5" in done.read_text()


def test_a_run_in_which_nobody_had_a_finite_return_fails(tmp_path, inline):
    bug = "result = Training(result.state, result.env_steps, (np.inf,), np.nan)"
    status, said = inline(BUG=bug)
    assert status == 1
    assert "no member ever had a finite return in 2 generations" in said.strip().splitlines()[-1]
    assert list(tmp_path.rglob("FAILED"))
    assert not finished(tmp_path)
    # One finite return is enough, and its agent is the best.
    status, said = inline("resume=false", BUG=f"if interval.ref != (0, 1): {bug}")
    assert status == 0, said
    assert "(member 1 after 4 steps)" in said


def test_what_ends_a_worker_again_and_again_is_said_in_words(tmp_path):
    failed = metapbt_run(tmp_path, "on_failure=stop", BUG="if interval.ref.member == 1: os.kill(os.getpid(), 9)")
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "failed 4 times in generation 0: the worker was killed by signal 9 (SIGKILL): out of memory?" in last
    assert "retry 3 of 3" in failed.stderr


EARLY = """
import sys
from types import SimpleNamespace as Config

from metapbt.execution import server

server.start_early(eval(sys.argv[1]))
print(server._kept is not None, sorted(m for m in sys.modules if m == "metapbt.runs.run"))
"""
LEARNED = "learner=Config(name='quadratic')"


@pytest.mark.parametrize(
    ("config", "starts"),
    [
        (f"Config(executor=Config(name='processes', threads=1), {LEARNED})", True),
        (f"Config(executor=Config(name='inline', threads=1), {LEARNED})", False),
        (f"Config(executor=Config(name='processes', threads='many'), {LEARNED})", False),
        ("Config(executor=Config(name='processes', threads=1), learner=Config())", False),
        ("Config()", False),
    ],
)
def test_the_server_of_workers_starts_early_where_it_will_be_asked_for_and_never_complains(tmp_path, config, starts):
    done = python(tmp_path, "-c", EARLY, config)
    assert (done.returncode, done.stdout.split()[0]) == (0, str(starts)), done.stderr
    assert "metapbt.runs.run" not in done.stdout


def test_the_command_starts_its_server_once_and_before_it_loads_the_rest(tmp_path):
    (tmp_path / "own.py").write_text(
        "import sys\n"
        "import metapbt.execution.server as server\n"
        "begin = server.Server.__init__\n"
        "def said(*arguments):\n"
        "    begin(*arguments)\n"
        "    print('server', 'metapbt.runs.run' in sys.modules)\n"
        "server.Server.__init__ = said\n"
        "from metapbt.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = python(tmp_path, "own.py", "run", *OVERRIDES)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("server ")] == ["server False"]


def test_the_command_ends_without_a_last_search_for_garbage(tmp_path):
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "sys.argv[1:] = ['--version']\n"
        "from metapbt.cli import entry\n"
        "entry()\n"
    )
    done = python(tmp_path, "-c", code)
    assert (done.returncode, done.stdout.split()[-1]) == (0, "True"), done.stderr
