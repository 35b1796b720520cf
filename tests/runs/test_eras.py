"""Whole runs whose architectures change: students, rungs, survivors; and kills in the midst of a distillation."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_runs import records, same

import metapbt
from metapbt.errors import MetapbtError
from metapbt.report.report import write_report
from metapbt.runs.lineage import lineage
from metapbt.runs.replay import replay
from metapbt.store.check import problem
from metapbt.store.checkpoint import load_state
from metapbt.store.run_directory import RunDirectory

SPACE = """\
x: {type: float, low: 0.0, high: 1.0}
width: {type: int, low: 1, high: 9, role: architecture}
"""
ERAS = [
    "population.size=3", "budget.steps=120", "budget.interval=10",
    "eras.count=3", "eras.steps=30", "eras.distil_steps=20", "eras.students=7",
]  # fmt: skip
#: Of the generations: three of the first era's, two rungs of 7 and 4 students, three of the second's, two rungs, two.
MEMBERS = [3, 3, 3, 7, 4, 3, 3, 3, 7, 4, 3, 3]


@pytest.fixture(autouse=True)
def space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_eras.yaml").write_text(SPACE)
    return tmp_path / "conf"


def command(folder, *overrides, method="pbt"):
    return [
        "env=quadratic", "learner.name=stand_in:StandInStudent", "~learner.start", "space=for_eras", *ERAS,
        "executor=inline", f"method={method}", f"results_dir={folder}", *overrides,
    ]  # fmt: skip


@pytest.fixture
def run(space):
    return metapbt.run(command("results"), space)


def test_an_era_is_students_in_rungs_of_which_the_best_become_the_members(run):
    history = run.history
    assert [len(history.generation(number)) for number in range(history.generations)] == MEMBERS
    teacher = history.best_of(2).ref
    first, second, members = (history.generation(number) for number in (3, 4, 5))
    assert [record.member for record in first] == list(range(3, 10))
    assert [record.member for record in second] == list(range(10, 14))
    assert [record.member for record in members] == [0, 1, 2]
    assert [record.member for record in history.generation(8)] == list(range(14, 21))
    for record in first:
        assert (record.restart, record.parent, record.teacher) == (True, None, teacher)
        assert (record.until_steps, history.steps_before(record)) == (30 + 5, 30)
    best = sorted(first, key=lambda r: (-r.train_return, r.member))[:4]
    assert [record.origin for record in second] == [record.ref for record in best]
    for record in second:
        assert (record.teacher, record.source, record.until_steps) == (teacher, "screened", 30 + 20)
        assert record.hyperparameters == history.before(record).hyperparameters
    best = sorted(second, key=lambda r: (-r.train_return, r.member))[:3]
    assert [record.origin for record in members] == [record.ref for record in best]
    for record in members:
        assert (record.teacher, record.source, record.until_steps) == (None, "screened", 60)
    assert [record.env_steps for record in history.latest] == [120, 120, 120]
    assert problem(run.info) is None


def test_what_students_train_is_counted_and_their_eras_stand_in_the_table(run):
    table = run.records
    assert list(table.groupby("generation")["era"].unique().map(list)) == [[0]] * 3 + [[1]] * 5 + [[2]] * 4
    assert table["spent_steps"].iloc[-1] == run.history.spent_steps[-1] == 3 * 8 * 10 + 2 * (7 * 5 + 4 * 15)
    taught = [record for record in run.history if record.teacher is not None]
    assert len(taught) == 2 * (7 + 4)
    assert {row.generation for row in run.history.transitions()} == {0, 1, 2, 5, 6, 7, 10, 11}


def test_the_report_counts_what_students_train_as_steps_of_each_member(run, tmp_path):
    report = write_report(tmp_path / "results", figures=["curves"])
    curve = pd.read_csv(next(report.page.parent.rglob("curves.csv")))
    trained = np.cumsum([30, 30, 30, 7 * 5, 4 * 15, 30, 30, 30, 7 * 5, 4 * 15, 30, 30])
    assert curve["env_steps"].dtype == np.int64
    assert list(curve["env_steps"]) == [round(steps / 3) for steps in trained]
    best = [max(run.history.generation(number), key=lambda r: r.train_return) for number in range(len(MEMBERS))]
    assert list(curve["mean"]) == pytest.approx([record.eval_return for record in best])


def test_a_teachers_weight_falls_with_the_steps_since_birth_and_does_not_begin_again(space, monkeypatch):
    asked = {}
    for removing in ("remove_checkpoints", "keep_checkpoints"):
        monkeypatch.setattr(RunDirectory, removing, lambda *_: None)
    run = metapbt.run(command("results"), space)
    for record in run.history:
        state = load_state(run.path / "checkpoints" / f"generation_{record.generation}_member_{record.member}.npz")
        asked[record.ref] = list(state["asked"])
    for generation, expected in ((3, (1 - 0.95 * 5 / 16, 0, 16)), (4, (0.05, 5, 16)), (5, (-1, 0, 0))):
        for record in run.history.generation(generation):
            assert asked[record.ref] == pytest.approx(expected)


def test_members_of_a_new_era_have_the_architecture_of_their_student_and_it_is_said(run):
    widths = [{r.member: r.hyperparameters["width"] for r in run.history.generation(g)} for g in (5, 6, 7)]
    assert len({w for generation in widths for w in generation.values()}) > 1
    for record in run.history:
        before = run.history.before(record)
        if before is not None:
            assert record.hyperparameters["width"] == before.hyperparameters["width"]
    log = (run.path / "run.log").read_text()
    teacher = run.history.best_of(2)
    assert f"era 2 of 3 begins: 7 students learn from member {teacher.member} (generation 3, " in log
    assert "era 2 of 3, rung 2 of 2: the best 4 of 7 students go on (" in log
    first = run.history.generation(5)[0]
    assert f"student {first.parent} (" in log
    assert f"becomes member 0 with width {first.hyperparameters['width']}" in log
    assert "begins anew" not in log
    copied = [line for line in log.splitlines() if " copies member " in line]
    assert copied
    assert not any("width" in line for line in copied)  # who copies keeps its parent's
    best = run.history.best_of(3)
    assert f"generation 4/12, 35 steps: student {best.member} is best" in log


def test_the_best_agent_ever_teaches_where_copies_go_back_to_it(space):
    run = metapbt.run(command("results", "selection.backtrack=true", "constraint=stand_in:aimless"), space)
    for born in (3, 8):
        known = [record for record in run.history if record.generation < born]
        best = max(known, key=lambda r: (r.train_return, -r.generation, -r.member))
        students = run.history.generation(born)
        assert {record.teacher for record in students} == {best.ref}
        assert {record.until_steps for record in students} == {best.env_steps + 5}
    assert problem(run.info) is None


def test_students_from_nothing_count_from_nothing(space):
    run = metapbt.run(command("results", "eras.teacher=false"), space)
    students = run.history.generation(3)
    assert {(r.teacher, r.until_steps, r.env_steps) for r in students} == {(None, 5, 5)}
    assert {r.env_steps for r in run.history.generation(4)} == {20}
    assert "7 students begin from nothing" in (run.path / "run.log").read_text()
    # Nobody trains more than the budget: 80 of usual intervals and twice 20.
    assert run.history.generations == len(MEMBERS)
    assert problem(run.info) is None


#: Quick: two generations, a rung of 5 students, one of 3, and two generations.
SHORT = ["budget.steps=60", "eras.count=2", "eras.steps=20", "eras.students=5"]
VARIANTS = {
    "teacher": [],
    "candidates": ["population.candidates=5"],
    "backtracking": ["selection.backtrack=true", "constraint=stand_in:aimless"],
    "nobody teaches": ["eras.teacher=false"],
    "annealed": ["budget.interval_end=4"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_eras_are_the_same_with_every_executor_and_number_of_workers(space, variant):
    options = [*SHORT, *VARIANTS[variant]]
    metapbt.run(command("inline", *options), space)
    metapbt.run(command("processes", *options, "executor=processes", "executor.workers=3"), space)
    same(records("processes"), records("inline"))


def test_a_replay_of_a_distilled_agent_trains_what_came_after_its_birth_alone(space):
    run = metapbt.run(command("results", "eras.count=2"), space)
    schedule = lineage(run.history)
    assert schedule[0].teacher is not None
    found = replay(run.path)
    assert [record.env_steps for record in found.history] == [record.env_steps - 30 for record in schedule]
    assert [r.hyperparameters for r in found.history] == [r.hyperparameters for r in schedule]
    assert all(record.teacher is None for record in found.history)
    kept = yaml.safe_load((found.path / "schedule.yaml").read_text())
    assert (kept["born_after"], kept["intervals"][0]["start"]) == (30, 0)
    assert [interval["end"] for interval in kept["intervals"]] == [record.env_steps - 30 for record in schedule]
    assert "counts on from its teacher's 30 steps" in (found.path / "run.log").read_text()
    again = replay(run.path)
    assert again.comparison == found.comparison, "also where it is finished already"
    assert "; the schedule begins with the birth of the run's best agent" in again.comparison


def test_callbacks_hear_of_rungs_and_then_of_who_becomes_a_member(space):
    Path("hearing.py").write_text(
        "import json\n"
        "from metapbt.callbacks import Callback\n"
        "class Hearing(Callback):\n"
        "    def __init__(self): self.heard = []\n"
        "    def on_start(self, run): self.heard.append([run.eras, run.intervals, list(run.architecture)])\n"
        "    def on_rung(self, r):\n"
        "        before = [list(record.ref) for record in r.before]\n"
        "        self.heard.append([r.era, r.rung, r.rungs, list(r.students), list(r.teacher.ref), before])\n"
        "    def on_decision(self, member, assignment, child, parent):\n"
        "        if child is None: self.heard.append([member, list(parent.ref)])\n"
        "    def on_end(self, history, tested): open('heard.json', 'w').write(json.dumps(self.heard))\n"
    )
    sys.path.insert(0, ".")
    run = metapbt.run(command("results", *SHORT, "callbacks=[hearing:Hearing]"), space)
    history = run.history
    teacher = list(history.best_of(1).ref)
    best = [sorted(history.generation(g), key=lambda r: (-r.train_return, r.member)) for g in (2, 3)]
    rungs = [[list(record.ref) for record in records] for records in best]
    assert json.loads(Path("heard.json").read_text()) == [
        [2, len(history), ["width"]],
        [2, 1, 2, [3, 4, 5, 6, 7], teacher, []],
        [2, 2, 2, [8, 9, 10], teacher, rungs[0]],
        *([member, ref] for member, ref in enumerate(rungs[1])),
    ]


REFUSED = [
    (["eras.steps=null"], "eras.count=3 needs eras.patience or eras.steps, which say when an era ends"),
    (["eras.distil_steps=null"], "eras.count=3 needs eras.distil_steps, how many steps students train"),
    (["eras.distil_steps=3"], "eras.distil_steps must be at least 4 for 7 students of 3 members, who are halved in 2"),
    (["eras.distil_steps=60"], "eras.distil_steps=60 for each change of eras.count=3 eras must be less than budget"),
    (["eras.students=2"], "eras.students must be an integer from 3 to 100000, got 2"),
    (["eras.count=0"], "eras.count must be an integer from 1 to 1000, got 0"),
    (["eras.patience=0"], "eras.patience must be an integer from 1 to"),
    (["eras.distil_anneal=0"], "eras.distil_anneal must be above 0 and at most 1, got 0"),
    (["eras.architectures=best"], "eras.architectures must be one of surrogate, random, got 'best'"),
    (["eras.teacher=3"], "eras.teacher must be true or false, got 3"),
    (["+eras.student=3"], "unknown key of eras 'student'; did you mean 'students'?"),
    (["population.asynchronous=true"], "eras.count=3 needs population.asynchronous=false: students are screened"),
    (["learner.name=stand_in:StandInLearner"], "learner=stand_in:StandInLearner cannot learn from a teacher"),
    (["budget.interval_end=0"], "budget.interval_end must be an integer >= 1, got 0"),
    (["budget.steps=1e6", "budget.interval_end=1"], "budget.interval_end=1 and budget.interval=10 make more than"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "message"), REFUSED)
def test_what_cannot_be_is_said_at_the_door_in_one_line(space, mistake, message):
    with pytest.raises(MetapbtError) as error:
        metapbt.run(command("results", *mistake), space)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(Path().rglob("config.yaml"))


@pytest.mark.parametrize("method", ["random", "default"])
def test_methods_whose_members_never_change_have_no_eras(space, method):
    with pytest.raises(MetapbtError, match=f"eras.count=3 needs a method whose members copy others, not '{method}'"):
        metapbt.run(command("results", method=method), space)


def test_without_architecture_in_the_space_students_are_new_networks_like_the_old(space):
    (space / "space" / "for_eras.yaml").write_text(SPACE.splitlines()[0])
    run = metapbt.run(command("results", "eras.count=2"), space)
    students = run.history.generation(3)
    assert [record.source for record in students] == ["random"] * 7
    before = {record.hyperparameters["x"] for record in run.history.generation(2)}
    assert [record.hyperparameters["x"] in before for record in students] == [True] * 3 + [False] * 4
    assert "becomes member 0\n" in (run.path / "run.log").read_text()


def test_intervals_grow_shorter_with_the_furthest_members_steps(space):
    run = metapbt.run(command("results", "eras.count=1", "budget.interval_end=2", "budget.steps=100"), space)
    ends = [run.history.generation(g)[0].until_steps for g in range(run.history.generations)]
    expected = [0]
    while expected[-1] < 100:
        expected.append(min(100, expected[-1] + int(10 + (2 - 10) / 100 * expected[-1])))
    assert ends == expected[1:]
    assert run.info.generations == len(ends)
    assert problem(run.info) is None
    assert np.all(run.records["env_steps"] == run.records["until_steps"])


def test_a_run_of_one_era_says_nothing_of_eras_and_so_goes_on_where_earlier_versions_stopped(space):
    run = metapbt.run(command("results", "eras.count=1"), space)
    assert "eras" not in (run.path / "config.yaml").read_text()
