"""Members that fail for good: replaced as the worst, and nobody else notices."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from test_eras import SPACE as ERA_SPACE
from test_eras import command as era_command
from test_runs import command, in_a_process, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.cli import main
from metapbt.errors import MemberError, MetapbtError
from metapbt.memory.reading import read_sources
from metapbt.population.selection import Exploit, Selection
from metapbt.runs.replay import replay
from metapbt.store.check import problem
from metapbt.store.results import describe
from metapbt.store.run_directory import RunDirectory

SIX = ["population.size=6", "selection=multiple_frequencies"]
MEMORY = ["meta.results_dir=sources", "meta.min_records=1"]
#: Of each variant: how it is asked for, and which intervals fail.
VARIANTS = {
    "truncation": (command, ["method=pbt"], [(0, 1), (1, 1), (1, 3), (2, 0)]),
    "all but one": (command, ["method=pb2"], [(1, 0), (1, 1), (1, 2)]),
    "backtracking": (command, ["method=pbt", "selection.backtrack=true"], [(1, 2), (2, 1)]),
    "frequencies": (command, ["method=pb2_mult", *SIX], [(0, 0), (0, 1), (0, 2), (2, 3)]),
    "bg_pbt": (command, ["method=bg_pbt"], [(0, 0), (1, 1), (2, 2)]),
    "asynchronous": (command, ["method=pb2", "population.asynchronous=true"], [(0, 0), (1, 2), (3, 1)]),
    "candidates": (command, ["method=pbt", "population.candidates=9"], [(0, 5), (0, 12), (1, 2)]),
    "without copies": (command, ["method=random"], [(0, 1), (1, 1), (2, 3)]),
    "own selection": (command, ["method=pbt", "selection.name=test_on_failure:Worst"], [(1, 0), (2, 3)]),
    "eras": (era_command, [], [(2, 0), (3, 4), (3, 5), (4, 10), (5, 1)]),
}


class Worst(Selection):
    """Lets everybody copy the last member, whatever became of it, and the last one go on."""

    def select(self, history, reported, rng):
        return {record.member: Exploit(history.latest[-1].ref) for record in history.latest[:-1]}


@pytest.fixture
def lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path(__file__).parent, Path(__file__).parents[1]):
        monkeypatch.syspath_prepend(str(folder))
    return lambda refs: monkeypatch.setenv("STAND_IN_LOST", json.dumps(refs))


def check_sound(run, refs):
    """What must hold of any run whose intervals failed so."""
    history = run.history
    assert {record.ref for record in history if record.failed} == set(refs)
    assert problem(run.info) is None
    assert (run.info.state, run.info.done.failed) == ("done", len(refs))
    for record in history:
        origin = history.before(record)
        assert origin is None or not origin.failed
        assert record.teacher is None or not history.at(record.teacher).failed
        if record.failed:
            assert math.isnan(record.train_return)
            assert record.env_steps == history.steps_before(record)
            assert not RunDirectory(run.path).checkpoint(record.ref).exists()
    assert not run.best.failed
    failed = run.records[run.records["failed"]]
    assert len(failed) == len(refs)
    assert failed[["train_return", "eval_return"]].isna().all(axis=None)
    of_failed = {history.at(ref).generation for ref in refs}
    assert not any(row.generation in of_failed and math.isnan(row.return_after) for row in history.transitions())
    assert len(read_sources([run.info])) == len(history)  # memory reads it


@pytest.mark.parametrize("variant", VARIANTS)
def test_who_fails_for_good_is_replaced_and_the_others_are_unharmed(space, lost, variant):  # noqa: F811
    ask, how, refs = VARIANTS[variant]
    (space / "space" / "for_eras.yaml").write_text(ERA_SPACE)
    metapbt.run(ask("whole", *how), space)
    lost(refs)
    run = metapbt.run(ask("lost", *how), space)
    check_sound(run, refs)
    whole, history = metapbt.load(next(Path("whole").rglob("journal")).parent).history, run.history
    first = min(generation for generation, _ in refs)
    if variant != "asynchronous":
        for record in history:
            if record.generation <= first and not record.failed:
                assert record.train_return == whole.at(record.ref).train_return
    for ref in refs:
        following = [r for r in history if r.member == ref[1] and r.generation == ref[0] + 1]
        for record in following:
            if variant == "without copies":  # what it had itself, once more
                assert record.origin == (history.at(ref).origin)
                assert record.hyperparameters == history.at(ref).hyperparameters
            else:
                assert record.parent not in (None, record.member) or (record.restart and variant == "asynchronous")
    assert main(["data", "check", "lost"]) == 0


def test_a_failure_is_remembered_whenever_the_run_is_killed(space, lost, writes):  # noqa: F811
    refs = [(1, 1), (2, 0)]
    lost(refs)
    metapbt.run(command("whole", method="pbt"), space)
    total = writes.during(lambda: metapbt.run(command("counted", method="pbt"), space))
    remembered = 0
    for limit in range(1, total + 1):
        arguments = command(f"stopped_{limit}", method="pbt")
        lost(refs)
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        journals = [path.read_text() for path in Path(f"stopped_{limit}").rglob("journal")]
        if journals and journals[0].count('"failures":[[2,0') and journals[0].endswith("\n"):
            lost([])  # the machine is back, but the interval was given up
            remembered += 1
        run = metapbt.run(arguments, space)
        same(records(f"stopped_{limit}"), records("whole"))
    assert remembered > 2
    assert problem(run.info) is None


def test_a_worker_that_is_gone_again_and_again_costs_its_member_alone(space, lost, capsys):  # noqa: F811
    lost([(1, 2)])
    metapbt.run(command("inline", method="pbt"), space)
    # In a process of its own: the workers' server of an earlier test would not know which machine is lost.
    workers = command("workers", "executor=processes", "executor.workers=2", method="pbt")
    assert in_a_process(workers, space).returncode == 0
    run = metapbt.load(next(Path("workers").rglob("journal")).parent)
    same(records("workers"), records("inline"))
    log = (run.path / "run.log").read_text()
    assert "retry 3 of 3: the worker was killed by signal 9" in log
    assert log.count("it is replaced (on_failure=replace)") == 1
    assert "member 2 (failed) copies member" in log
    assert main(["status", "workers"]) == 0
    assert "1 interval failed for good, their members were replaced" in capsys.readouterr().out
    assert main(["report", "workers"]) == 0
    assert "1 interval of 1 run failed for good" in Path("workers/report/index.html").read_text()
    assert len(replay(run.path).history) > 0


def test_a_run_in_which_everybody_fails_stops_and_tries_them_all_again(space, lost):  # noqa: F811
    metapbt.run(command("whole", method="pbt"), space)
    for how in ([], ["population.asynchronous=true"]):
        folder = f"lost_{len(how)}"
        lost([(2, member) for member in range(4)] + [(3, member) for member in range(4)])
        with pytest.raises(MemberError, match=r"member \d failed 4 times in generation 2: OSError: the machine is"):
            metapbt.run(command(folder, *how, method="pbt"), space)
        lost([])
        run = metapbt.run(command(folder, *how, method="pbt"), space)
        assert problem(run.info) is None
        if not how:
            same(records(folder), records("whole"))


def test_stop_ends_the_run_and_replace_goes_on_from_there(space, lost):  # noqa: F811
    lost([(1, 3)])
    with pytest.raises(MemberError, match="member 3 failed 4 times in generation 1"):
        metapbt.run(command("stopped", "on_failure=stop", method="pbt"), space)
    assert describe(RunDirectory(Path("stopped/quadratic/default/pbt/seed_0"))).state == "failed"
    run = metapbt.run(command("stopped", method="pbt"), space)  # now it is replaced
    check_sound(run, [(1, 3)])
    with pytest.raises(MetapbtError, match="on_failure must be replace or stop, got 'ignore'"):
        metapbt.run(command("x", "on_failure=ignore"), space)


def test_a_tuner_takes_no_state_in_which_somebody_goes_on_from_a_failure(space, lost):  # noqa: F811
    lost([(1, 1)])
    run = metapbt.run(command("lost", method="pbt"), space)
    tuner = metapbt.Tuner({"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 9}})
    tuner.replay(list(run.history)[:8], {})
    assert [record.failed for record in tuner.history.generation(1)] == [False, True, False, False]
    for wrong in ({"failed": False}, {"env_steps": 20}, {"train_return": np.pi}):
        data = [record.to_dict() for record in run.history]
        data[5] |= wrong
        with pytest.raises(MetapbtError, match="record"):
            tuner.replay([type(run.best).from_dict(each) for each in data], {})
    with pytest.raises(MetapbtError, match="which failed"):
        tuner.replay(list(run.history)[:8], {**dict.fromkeys(range(4)), 0: {
            "kind": "copy", "start": [1, 1], "source": "perturbed", "hyperparameters": dict(run.best.hyperparameters)
        }})  # fmt: skip


@pytest.mark.parametrize("how", ["replace", "stop"])
def test_what_a_worker_left_that_died_while_it_wrote_is_removed(space, lost, how):  # noqa: F811
    lost([(2, 1)])
    arguments = command("lost", "executor=processes", "executor.workers=1", f"on_failure={how}", method="pbt")
    leaving = Path("lost/quadratic/default/pbt/seed_0/checkpoints/.metapbt-0123456789abcdef.tmp.npz")
    callback = Path("leaves.py")
    callback.write_text(
        "from pathlib import Path\nfrom metapbt.callbacks import Callback\nclass Leaves(Callback):\n"
        f"    def on_generation(self, history): Path({str(leaving)!r}).write_bytes(b'half')\n"
    )
    try:
        metapbt.run([*arguments, "callbacks=[leaves:Leaves]"], space)
    except MemberError:
        assert how == "stop"
    assert not leaving.exists()
    assert problem(describe(RunDirectory(leaving.parents[1]))) is None
