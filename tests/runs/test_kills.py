"""Runs that are killed again and again: with candidates, with backtracking, asynchronously with workers."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_runs import command, in_a_process, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.cli import main
from metapbt.store import find_runs
from metapbt.store.check import problem

VARIANTS = {
    "candidates": ["population.candidates=9"],
    "backtracking": ["selection.backtrack=true"],
    "both": ["population.candidates=9", "selection.backtrack=true", "population.size=3"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def without_identity(frame):
    return frame.drop(columns=["run_id"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_candidates_and_backtracking_are_the_same_with_every_executor(space, variant):  # noqa: F811
    metapbt.run(command("inline", *VARIANTS[variant]), space)
    metapbt.run(command("processes", *VARIANTS[variant], "executor=processes", "executor.workers=3"), space)
    same(records("processes"), records("inline"))


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if name == "both" else pytest.mark.slow) for name in VARIANTS]
)
def test_a_run_with_candidates_or_backtracking_may_die_at_any_write(space, writes, variant):  # noqa: F811
    metapbt.run(command("whole", *VARIANTS[variant], method="pbt"), space)
    expected = records("whole")
    total = writes.during(lambda: metapbt.run(command("counted", *VARIANTS[variant], method="pbt"), space))
    for limit in range(1, total + 1):
        folder = f"stopped_{limit}"
        arguments = command(folder, *VARIANTS[variant], method="pbt")
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        metapbt.run(arguments, space)
        same(records(folder), expected)


def test_asynchronous_members_that_train_together_may_die_at_any_write(space, writes):  # noqa: F811
    """What was trained and not judged yet is judged in the order of a run that nobody stopped."""
    together = ["population.asynchronous=true", "executor=vectorised"]
    total = writes.during(lambda: metapbt.run(command("whole", *together, method="pbt"), space))
    for limit in range(1, total + 1, 2):
        arguments = command(f"stopped_{limit}", *together, method="pbt")
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        metapbt.run(arguments, space)
        same(records(f"stopped_{limit}"), records("whole"))


def test_the_best_candidates_are_the_members_and_what_all_trained_is_counted(space):  # noqa: F811
    run = metapbt.run(command("results", "population.candidates=9", method="random"), space)
    first = run.records.query("generation == 0")
    assert list(first["member"]) == list(range(4, 13))
    second = run.records.query("generation == 1")
    best = first.sort_values("train_return", ascending=False)["member"].head(4)
    assert list(second["parent"]) == list(best)
    assert set(second["source"]) == {"screened"}
    assert list(second["env_steps"]) == [20] * 4
    assert run.records["spent_steps"].iloc[-1] == 9 * 10 + 3 * 4 * 10
    assert "becomes member 0" in (run.path / "run.log").read_text()
    assert problem(find_runs(Path("results"))[0]) is None


def test_copies_start_from_the_best_checkpoint_ever_and_it_is_still_there(space):  # noqa: F811
    wandering = ["selection.backtrack=true", "budget.steps=300", "constraint=stand_in:aimless"]
    run = metapbt.run(command("results", *wandering, method="pbt"), space)
    best, copies = None, 0
    for generation in range(run.history.generations):
        now = run.history.generation(generation)
        for record in now:
            if record.parent is not None:
                copies += 1
                assert record.origin == best.ref
        leader = max(now, key=lambda record: (record.train_return, -record.member))
        best = leader if best is None or leader.train_return > best.train_return else best
    assert copies > 0
    assert run.best.ref == best.ref
    assert any(r.parent_generation < r.generation - 1 for r in run.history if r.parent is not None), copies


# The command of the fault's report, and its kin: candidates, backtracking, more workers than members.
@pytest.mark.parametrize(
    "more", [[], ["population.candidates=7"], ["selection.backtrack=true"], ["executor.workers=6"]]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_asynchronous_members_with_workers_never_lose_a_checkpoint(seed, more):
    run = metapbt.run(
        ["env=quadratic", "method=pbt", "population.size=4", "budget.steps=100", "budget.interval=4",
         "population.asynchronous=true", "executor=processes", f"seed={seed}", "results_dir=results", *more]
    )  # fmt: skip
    assert run.info.state == "done"
    # Who copies an agent that is behind, as the machine's speed may have it, has trained all its intervals before its
    # steps are used up; who copies one that has used them up has nothing left to train.
    assert any(record.env_steps == 100 or record.generation == 24 for record in run.history)
    assert max(record.env_steps for record in run.history) <= 100
    assert problem(run.info) is None
    assert main(["data", "check", "results"]) == 0


SYNC = "sync", ["executor=inline"]
WORKERS = "candidates", ["population.candidates=8", "executor=processes", "executor.workers=2"]
ASYNCHRONOUS = "asynchronous", ["population.asynchronous=true", "executor=processes", "executor.workers=3"]
KINDS = [
    SYNC,
    ("workers", ["executor=processes", "executor.workers=2"]),
    WORKERS,
    ASYNCHRONOUS,
    ("asynchronous_inline", ["population.asynchronous=true", "executor=inline"]),
]


@pytest.mark.parametrize(
    ("kind", "kills"),
    # One that trains here is killed in test_runs.py; fifty of each kind: make chaos.
    [(WORKERS, 1), (ASYNCHRONOUS, 1), *(pytest.param(kind, 10, marks=pytest.mark.slow) for kind in KINDS)],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_sigkills_at_random_moments_lose_nothing(space, tmp_path, kind, kills):  # noqa: F811
    """Synchronous runs end with the same bits; asynchronous ones with workers end whole."""
    name, options = kind
    draw = random.Random(name)
    metapbt.run(command("whole", *options, "budget.steps=80", method="pbt"), space)
    killed = command("killed", *options, "budget.steps=80", method="pbt")
    for number in range(kills):
        folder = tmp_path / f"kill_{number}"
        folder.mkdir()
        kill = {"folder": str(folder), "call": draw.randint(1, 9), "signal": "SIGKILL"}
        in_a_process(killed, space, kill)
    assert in_a_process(killed, space).returncode == 0
    (info,) = find_runs(Path("killed"))
    assert (info.state, problem(info)) == ("done", None)
    if name != "asynchronous":
        same(without_identity(records("killed")), without_identity(records("whole")))
    else:
        assert metapbt.load(info.path).history.generations >= 1


def test_a_damaged_checkpoint_of_a_finished_interval_is_trained_again(space, writes):  # noqa: F811
    metapbt.run(command("whole", method="pbt"), space)
    # Stopped in the midst of the second generation's entry: its checkpoints are there, its records are not.
    writes.kill_before(1 + 1 + 4 + 1 + 1 + 4 + 1, lambda: metapbt.run(command("stopped", method="pbt"), space))
    found = sorted(Path("stopped").rglob("generation_1_member_*.npz"))
    assert found
    found[0].write_bytes(found[0].read_bytes()[:100])
    found[-1].write_bytes(b"")
    run = metapbt.run(command("stopped", method="pbt"), space)
    same(records("stopped"), records("whole"))
    assert "is damaged" in (run.path / "run.log").read_text()


def test_a_lost_journal_is_said_and_nothing_is_begun_anew(space, tmp_path):  # noqa: F811
    run = metapbt.run(command("results", method="pbt"), space)
    (run.path / "DONE").unlink()
    (run.path / "journal").unlink()
    with pytest.raises(metapbt.errors.MetapbtError, match="has no journal: an earlier version wrote it, or"):
        metapbt.run(command("results", method="pbt"), space)
    assert len(metapbt.load(run.path).history) == 16  # the table can still be read
    metapbt.run(command("results", "resume=false", method="pbt"), space)
    assert (run.path / "DONE").exists()


def test_a_cut_journal_is_read_up_to_its_last_whole_entry_and_the_run_goes_on(space):  # noqa: F811
    metapbt.run(command("whole", method="pbt"), space)
    run = metapbt.run(command("cut", method="pbt"), space)
    data = (run.path / "journal").read_bytes()
    (run.path / "journal").write_bytes(data[:-20])
    for path in (run.path / "DONE", run.path / "records.parquet"):
        path.unlink()
    again = metapbt.run(command("cut", method="pbt"), space)
    assert "is cut at entry 5" in (again.path / "run.log").read_text()
    same(without_identity(records("cut")), without_identity(records("whole")))


def test_a_run_under_way_is_read_from_its_journal(space, writes):  # noqa: F811
    writes.kill_before(16, lambda: metapbt.run(command("results", method="pbt"), space))
    (info,) = find_runs(Path("results"))
    run = metapbt.load(info.path)
    assert info.state == "stopped"
    assert 0 < len(run.history) < 16
    assert run.history.generations == 2
    assert len(run.records) == 8
    assert "2 of 4 generations" in repr(run)
    assert problem(info) is None


def test_callbacks_hear_the_moments_of_a_run_in_order(space):  # noqa: F811
    Path("mine.py").write_text(
        "import json\n"
        "from metapbt.callbacks import Callback\n"
        "class Notes(Callback):\n"
        "    def __init__(self): self.seen = []\n"
        "    def on_start(self, run): self.seen.append(['start', run.size, run.generations, run.intervals])\n"
        "    def on_record(self, record): self.seen.append(['record', *record.ref])\n"
        "    def on_decision(self, member, assignment, child, parent):\n"
        "        self.seen.append(['decision', member, assignment.kind, *parent.ref])\n"
        "    def on_generation(self, history): self.seen.append(['generation', history.generations])\n"
        "    def on_end(self, history, tested):\n"
        "        open('notes.json', 'w').write(json.dumps([*self.seen, ['end', tested[1]]]))\n"
    )
    sys.path.insert(0, ".")
    run = metapbt.run(command("results", "callbacks=[mine:Notes]", method="pbt"), space)
    notes = json.loads(Path("notes.json").read_text())
    assert notes[0] == ["start", 4, 4, 16]
    assert notes[-1] == ["end", run.test_return]
    assert [note[1:] for note in notes if note[0] == "record"] == [[g, m] for g in range(4) for m in range(4)]
    assert [note for note in notes if note[0] == "generation"] == [["generation", g] for g in (1, 2, 3, 4)]
    decisions = [note for note in notes if note[0] == "decision"]
    copies = [r for r in run.history if r.parent is not None]
    assert decisions == [["decision", r.member, "copy", *r.origin] for r in copies]


def test_a_name_keeps_variants_apart_and_stands_in_path_and_records(space):  # noqa: F811
    run = metapbt.run(command("results", "name=slow"), space)
    assert run.path == Path("results/quadratic/default/slow/seed_0")
    assert set(run.records["name"]) == {"slow"}
    assert set(run.records["method"]) == {"pb2"}
    other = metapbt.run(command("results"), space)
    assert other.path == Path("results/quadratic/default/pb2/seed_0")
    assert metapbt.run(command("results", "name=123"), space).info.name == "123"
    with pytest.raises(metapbt.errors.MetapbtError, match="name must be a word"):
        metapbt.run(command("results", "name='a/b'"), space)


def test_a_run_loaded_is_short_in_words_and_tells_its_schedule(space):  # noqa: F811
    run = metapbt.run(command("results", method="pbt"), space)
    again = metapbt.load(run.path)
    assert again.history == run.history
    assert len(repr(again)) < 200
    assert f"test return {run.test_return:.2f}" in repr(again)
    schedule = again.schedule
    assert list(schedule.columns) == ["generation", "env_steps", "hp.x", "hp.n"]
    assert schedule["env_steps"].iloc[-1] == run.best.env_steps
    pd.testing.assert_frame_equal(again.records, run.records)


def test_a_signal_at_the_end_measures_the_test_return_again(space, writes):  # noqa: F811
    before = signal.getsignal(signal.SIGINT)
    run = metapbt.run(command("whole", method="pbt"), space)
    total = writes.during(lambda: metapbt.run(command("counted", method="pbt"), space))
    writes.kill_before(total, lambda: metapbt.run(command("stopped", method="pbt"), space))  # DONE is the last file
    assert metapbt.run(command("stopped", method="pbt"), space).test_return == run.test_return
    assert signal.getsignal(signal.SIGINT) is before


MISTAKES = [
    ["method=grid", "population.size=3"],
    ["callbacks=[nowhere:Callback]"],
    ["callbacks=one"],
    ["constraint=stand_in:nothing"],
    ["population.quantile=0.9"],
    ["initial=[1]"],
    ["stop.plateau=1.5"],
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_writes_nothing_and_removes_nothing(space, mistake):  # noqa: F811
    with pytest.raises(metapbt.errors.MetapbtError):
        metapbt.run(command("results", "name=mine", *mistake, method="pbt"), space)
    assert not list(Path().rglob("config.yaml"))
    run = metapbt.run(command("results", "name=mine", method="pbt"), space)
    with pytest.raises(metapbt.errors.MetapbtError):
        metapbt.run(command("results", "name=mine", *mistake, "resume=false", method="pbt"), space)
    assert metapbt.load(run.path).history == run.history


def removing(patch, place, ends, folders=1):
    """Let an error or a signal come when the first folder below a place is about to be removed, or a later one."""
    rmtree, met = shutil.rmtree, []

    def remove(path, *arguments, **settings):
        if place.absolute() in Path(path).absolute().parents:
            met.append(path)
            if len(met) == folders and isinstance(ends, BaseException):
                raise ends
            if len(met) == folders:
                os.kill(os.getpid(), ends)
        rmtree(path, *arguments, **settings)

    patch.setattr("shutil.rmtree", remove)


def test_a_run_that_is_killed_while_it_replaces_another_mixes_them_not(space, monkeypatch):  # noqa: F811
    metapbt.run(command("whole", "budget.steps=80", method="pbt"), space)
    metapbt.run(command("results", method="pbt"), space)

    with monkeypatch.context() as patch:
        removing(patch, Path("results"), KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            metapbt.run(command("results", "budget.steps=80", "resume=false", method="pbt"), space)
    with pytest.raises(metapbt.errors.MetapbtError, match=r"another configuration|lost"):
        metapbt.run(command("results", "budget.steps=80", method="pbt"), space)
    metapbt.run(command("results", "budget.steps=80", "resume=false", method="pbt"), space)
    same(without_identity(records("results")), without_identity(records("whole")))


@pytest.mark.parametrize("folders", [1, 2])
def test_a_run_that_is_stopped_while_it_replaces_one_like_it_goes_on_from_neither(space, monkeypatch, folders):  # noqa: F811
    run = metapbt.run(command("results", method="pbt"), space)
    (run.path / "replay").mkdir()
    with monkeypatch.context() as patch:
        removing(patch, run.path, signal.SIGTERM, folders)
        with pytest.raises(metapbt.errors.Interrupted, match="was to be replaced, and the same command begins it anew"):
            metapbt.run(command("results", "resume=false", method="pbt"), space)
    assert {"journal", "records.parquet", "DONE"}.isdisjoint(file.name for file in run.path.iterdir())
    with pytest.raises(metapbt.errors.MetapbtError, match="has no journal: .* or its removal was stopped"):
        metapbt.run(command("results", method="pbt"), space)
    assert metapbt.run(command("results", "resume=false", method="pbt"), space).info.state == "done"
    assert not (run.path / "replay").exists()


def test_a_run_whose_place_cannot_be_cleared_says_that_the_same_command_begins_it(space, monkeypatch):  # noqa: F811
    run = metapbt.run(command("results", method="pbt"), space)
    removing(monkeypatch, run.path, PermissionError(13, "Permission denied", "checkpoints"))
    with pytest.raises(
        metapbt.errors.MetapbtError, match="denied; once this is fixed, the same command begins it anew"
    ):
        metapbt.run(command("results", "resume=false", method="pbt"), space)


def test_damage_in_the_midst_of_a_journal_is_said_and_nothing_behind_it_is_lost(space):  # noqa: F811
    run = metapbt.run(command("results", method="pbt"), space)
    (run.path / "DONE").unlink()
    whole = (run.path / "journal").read_bytes()
    place = whole.index(b"\n", whole.index(b"\n") + 1) + 40
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    (run.path / "journal").write_bytes(damaged)
    with pytest.raises(metapbt.errors.MetapbtError, match="is damaged at entry 3: .* nothing was changed"):
        metapbt.run(command("results", method="pbt"), space)
    assert (run.path / "journal").read_bytes() == damaged
    (run.path / "journal").write_bytes(whole)
    assert metapbt.run(command("results", method="pbt"), space).history == run.history


def test_a_script_without_a_main_guard_trains_with_workers(space, tmp_path):  # noqa: F811
    (tmp_path / "script.py").write_text(
        "import metapbt\n"
        "print('once')\n"
        "run = metapbt.run(['env=quadratic', 'method=pbt', 'budget.steps=20', 'executor=processes', "
        "'executor.workers=2'])\n"
        "print(run)\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1
    assert "test return" in done.stdout
