"""Signals at odd moments, callbacks that fail, logs that cannot be written: one line, or the run goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_runs import command, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.errors import Interrupted, MetapbtError
from metapbt.runs.signals import stoppable

SMALL = ["population.size=2", "budget.steps=20"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))


def own(name, text):
    Path(f"{name}.py").write_text(text)
    sys.modules.pop(name, None)


def test_a_signal_that_a_learner_swallows_ends_the_run_after_its_interval(space):  # noqa: F811
    own(
        "greedy",
        "import os, signal\n"
        "from stand_in import StandInLearner\n"
        "class Greedy(StandInLearner):\n"
        "    def train(self, interval, *arguments):\n"
        "        try:\n"
        "            if interval.ref == (1, 0) and 'GREEDY' in os.environ: os.kill(os.getpid(), signal.SIGTERM)\n"
        "        except: pass\n"  # as a destructor of a library does
        "        return super().train(interval, *arguments)\n",
    )
    metapbt.run(command("whole", *SMALL, "learner.name=greedy:Greedy"), space)
    os.environ["GREEDY"] = "1"
    try:
        with pytest.raises(Interrupted, match="the same command goes on from there"):
            metapbt.run(command("results", *SMALL, "learner.name=greedy:Greedy"), space)
        with pytest.raises(Interrupted, match="the same command without resume=false goes on from there"):
            metapbt.run(command("anew", *SMALL, "learner.name=greedy:Greedy", "resume=false"), space)
    finally:
        del os.environ["GREEDY"]
    assert len(list(Path("results").rglob("generation_1_member_*.npz"))) == 1
    metapbt.run(command("results", *SMALL, "learner.name=greedy:Greedy"), space)
    same(records("results"), records("whole"))


def test_a_signal_that_a_learner_makes_an_error_of_ends_the_run_before_the_interval_is_tried_again(space):  # noqa: F811
    own(
        "wrapping",
        "import os, signal\n"
        "from pathlib import Path\n"
        "from stand_in import StandInLearner\n"
        "class Wrapping(StandInLearner):\n"
        "    def train(self, interval, *arguments):\n"
        "        if interval.ref == (1, 0):\n"
        "            with Path('tries').open('a') as file: file.write('x')\n"
        "            try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "            except BaseException as error: raise RuntimeError('the simulator failed') from error\n"
        "        return super().train(interval, *arguments)\n",
    )
    with pytest.raises(Interrupted, match="the same command goes on from there"):
        metapbt.run(command("results", *SMALL, "learner.name=wrapping:Wrapping"), space)
    assert Path("tries").read_text() == "x"


def test_signals_that_follow_do_not_disturb_the_end(tmp_path):
    ended, before = [], signal.getsignal(signal.SIGINT)  # which a shell's background jobs ignore

    def interrupted():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            ended.append(True)

    with pytest.raises(Interrupted), stoppable(tmp_path):
        interrupted()
    assert ended
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_in_the_midst_of_an_import_waits_for_its_end(tmp_path):
    """Else the import system keeps its lock, and the thread that imports beside never ends."""
    own(
        "imports",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n",
    )

    def stopped():
        import imports

        assert imports.whole
        time.sleep(60)  # which the signal cuts short

    with pytest.raises(Interrupted) as raised, stoppable(tmp_path):
        stopped()
    assert raised.value.signal_number == signal.SIGTERM


def test_a_run_that_an_import_began_is_stopped_at_once(tmp_path):
    """As ``python -c 'import my_experiment'`` does."""
    own(
        "experiment",
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from metapbt.runs.signals import stoppable\n"
        "ended = []\n"
        "def run():\n"
        "    with stoppable(Path('here')):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        ended.append('not stopped')\n"
        "try:\n"
        "    run()\n"
        "except KeyboardInterrupt:\n"
        "    ended.append('stopped')\n",
    )
    import experiment

    assert experiment.ended == ["stopped"]


def test_a_run_in_a_thread_ends_like_one_in_the_main_thread(space):  # noqa: F811
    found = []
    thread = threading.Thread(target=lambda: found.append(metapbt.run(command("thread", *SMALL), space)))
    thread.start()
    thread.join()
    metapbt.run(command("main", *SMALL), space)
    assert found[0].info.state == "done"
    same(records("thread"), records("main"))


CALLBACK = """
from metapbt.callbacks import Callback
class Fails(Callback):
    def {moment}(self, *arguments):
        raise {error}
class Hears(Callback):
    def on_end(self, history, tested):
        open("heard", "w").write(str(len(history)))
"""


@pytest.mark.parametrize("error", ["ValueError('by a callback')", "SystemExit(0)", "OSError(28, 'No space', 'wandb')"])
def test_a_callback_that_fails_ends_the_run_in_one_line_and_the_others_hear_its_end(space, error):  # noqa: F811
    own("fails", CALLBACK.format(moment="on_generation", error=error))
    with pytest.raises(MetapbtError, match=r"by a callback|SystemExit|wandb: No space") as raised:
        metapbt.run(command("results", *SMALL, "callbacks=[fails:Fails,fails:Hears]"), space)
    assert "\n" not in str(raised.value)
    assert Path("heard").read_text() == "2"
    metapbt.run(command("results", *SMALL), space)
    metapbt.run(command("whole", *SMALL), space)
    same(records("results"), records("whole"))


def test_what_a_callback_raises_at_the_end_hides_no_other_error_and_undoes_nothing(space, monkeypatch):  # noqa: F811
    own("fails", CALLBACK.format(moment="on_end", error="ValueError('at the end')"))
    asked = command("results", *SMALL, "callbacks=[fails:Fails,fails:Hears]")
    with monkeypatch.context() as patch:
        patch.setattr("metapbt.population.selection.truncation.Truncation.select", lambda *_: 1 / 0)
        with pytest.raises(MetapbtError, match="unexpected ZeroDivisionError"):
            metapbt.run(asked, space)
    assert Path("heard").exists()
    with pytest.raises(MetapbtError, match="unexpected ValueError: at the end"):
        metapbt.run(asked, space)
    assert metapbt.run(asked, space).info.state == "done"


def test_a_log_that_is_removed_is_begun_again_and_one_that_cannot_be_written_is_said_once(space, capsys):  # noqa: F811
    own(
        "logs",
        "from pathlib import Path\n"
        "from metapbt.callbacks import Callback\n"
        "class Removes(Callback):\n"
        "    def on_record(self, record):\n"
        "        for log in Path('removed').rglob('run.log'): log.unlink()\n"
        "class Breaks(Callback):\n"
        "    def on_start(self, run):\n"
        "        log = next(Path('broken').rglob('run.log'))\n"
        "        log.unlink(); log.symlink_to('/dev/full')\n",
    )
    run = metapbt.run(command("removed", *SMALL, "callbacks=[logs:Removes]"), space)
    assert "finished with a test return" in (run.path / "run.log").read_text()
    capsys.readouterr()
    run = metapbt.run(command("broken", *SMALL, "callbacks=[logs:Breaks]"), space)
    assert run.info.state == "done"
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1
    assert "Traceback" not in said


def test_a_reader_of_the_output_that_leaves_ends_nothing(space):  # noqa: F811
    code = "import sys; from metapbt.cli import main; sys.exit(main(sys.argv[1:]))"
    packages = os.pathsep.join([str(Path(metapbt.__file__).parents[1]), str(Path(__file__).parents[1])])
    asked = [sys.executable, "-c", code, "run", "--config-dir", str(space), *command("results", *SMALL)]
    reader, writer = os.pipe()
    running = subprocess.Popen(asked, stdout=writer, stderr=writer, env={**os.environ, "PYTHONPATH": packages})
    os.close(writer)
    os.close(reader)
    running.wait(timeout=120)
    (run,) = Path("results").rglob("seed_0")
    assert (run / "DONE").exists(), (running.returncode, (run / "run.log").read_text())


@pytest.mark.slow
def test_what_trains_in_this_process_meets_no_half_loaded_library(space):  # noqa: F811
    """A tuner loads torch in a thread while workers train; an inline learner may ask whether it is loaded."""
    own(
        "looks",
        "import sys\nfrom stand_in import StandInLearner\n"
        "class Looks(StandInLearner):\n"
        "    def train(self, *arguments):\n"
        "        for _ in range(20_000):\n"
        "            if 'torch' in sys.modules: sys.modules['torch'].get_default_dtype()\n"
        "        return super().train(*arguments)\n",
    )
    code = "import sys; from metapbt.cli import main; sys.exit(main(sys.argv[1:]))"
    packages = [str(Path(metapbt.__file__).parents[1]), str(Path(__file__).parents[1]), str(Path.cwd())]
    asked = ["run", "--config-dir", str(space), *command("results", *SMALL, "learner.name=looks:Looks")]
    done = subprocess.run(
        [sys.executable, "-c", code, *asked],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr


def test_a_second_command_on_a_run_under_way_is_one_line(space):  # noqa: F811
    own(
        "waits",
        "import os, time\nfrom pathlib import Path\nfrom stand_in import StandInLearner\n"
        "class Waits(StandInLearner):\n"
        "    def train(self, *arguments):\n"
        "        Path('begun').touch()\n"
        "        while not Path('go').exists(): time.sleep(0.01)\n"
        "        return super().train(*arguments)\n",
    )
    asked = command("results", *SMALL, "learner.name=waits:Waits")
    thread = threading.Thread(target=lambda: metapbt.run(asked, space))
    thread.start()
    try:
        while not Path("begun").exists():
            assert thread.is_alive()
            time.sleep(0.01)
        for more in ([], ["resume=false"]):
            with pytest.raises(MetapbtError, match=r"is being worked on by process \d+ on "):
                metapbt.run([*asked, *more], space)
    finally:
        Path("go").touch()
        thread.join()
    assert metapbt.load(next(Path("results").rglob("seed_0"))).info.state == "done"
