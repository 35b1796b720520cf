"""Eras by ask and tell: when they are due, who the students are, and how they are screened."""

import json
import math

import numpy as np
import pytest

from metapbt import Continue, Copy, Restart, Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Budget, Ref
from metapbt.population.explorers.pbt import PBTExplorer
from metapbt.population.selection.truncation import Truncation

SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "width": {"type": "int", "low": 1, "high": 9, "role": "architecture"},
    "kind": {"type": "categorical", "choices": ["a", "b"], "role": "architecture"},
    "slope": {"type": "float", "low": 0.0, "high": 1.0, "role": "architecture", "when": {"kind": "b"}},
}
PROPOSED = {"count": 3, "steps": 30, "distil_steps": 20, "students": 9}
ERAS = {**PROPOSED, "architectures": "random"}  # where it does not matter whose architectures are the students'


class Proposing(PBTExplorer):
    """Proposes the widest network for half of the students, and says what it was told."""

    told: list = []

    def architectures(self, count, tried, rng):
        self.told.append((count, tried))
        return [{"width": np.int64(9), "kind": "a"}] * count


def make(method="pbt", **more):
    return Tuner(SPACE, method, **{"seed": 0, "population_size": 4, "eras": ERAS, **more})


def train(tuner, worth):
    """Let everybody train the interval that is coming, of ten steps or until where it was asked to end."""
    steps, returns = [], []
    for member, assignment in tuner.assignments.items():
        begin = tuner.counts_on(member)
        steps.append(assignment.until_steps or (begin.env_steps if begin else 0) + 10)
        returns.append(worth(assignment.hyperparameters, steps[-1]))
    return tuner.tell(steps, returns)


def growing(hyperparameters, steps):
    return steps * (1 + hyperparameters["x"]) + hyperparameters["width"]


def flat(hyperparameters, steps):
    return float(hyperparameters["width"])


def started(*arguments, **more):
    tuner = make(*arguments, **more)
    tuner.start()
    return tuner


def until_students(tuner, worth=growing, most=30):
    for number in range(1, most):
        decisions = train(tuner, worth)
        if tuner.screening:
            return number, decisions
    raise AssertionError("no era began")


def test_decisions_are_those_of_all_who_train_next_in_order():
    tuner = started()
    number, decisions = until_students(tuner)
    assert number == 3
    teacher = tuner.history.leader()
    assert list(tuner.assignments) == list(range(4, 13))
    assert {type(decision) for decision in decisions} == {Restart}
    assert {(decision.teacher, decision.until_steps) for decision in decisions} == {(teacher.ref, 30 + 5)}
    decisions = train(tuner, growing)
    assert list(tuner.assignments) == list(range(13, 17))
    best = sorted(tuner.history.latest, key=lambda r: -r.train_return)[:4]
    assert decisions == [Copy(r.ref, r.hyperparameters, 30 + 20, teacher.ref) for r in best]
    assert tuner.keeps() >= {teacher.ref, *(record.ref for record in best)}
    decisions = train(tuner, growing)
    assert list(tuner.assignments) == [0, 1, 2, 3]
    best = sorted(tuner.history.latest, key=lambda r: -r.train_return)
    assert decisions == [Copy(r.ref, r.hyperparameters) for r in best]
    decisions = train(tuner, growing)
    assert any(decision == Continue() for decision in decisions)
    assert [record.generation for record in tuner.history.latest] == [5] * 4
    assert (tuner.history.eras, tuner.history.settled) == (2, 4)
    assert [tuner.history.era(record) for record in tuner.history.latest] == [1] * 4


@pytest.mark.parametrize("more", [{"eras": PROPOSED}, {"candidates": 6}, {"mode": "min"}])
def test_a_state_saved_before_any_report_changes_nothing(more):
    straight, tuner = started(**more), started(**more)
    for _ in range(12):
        again = make(**more)
        again.load_state(json.loads(json.dumps(tuner.state())))
        assert again.screening == tuner.screening
        tuner = again
        assert train(tuner, growing) == train(straight, growing)
    assert json.dumps(tuner.state()) == json.dumps(straight.state())
    assert straight.history.eras == 3


def test_a_state_of_other_students_is_refused_and_nothing_is_taken_over():
    tuner = started()
    until_students(tuner)
    state = tuner.state()
    for other in (make(eras={**ERAS, "students": 8}), make(eras=None)):
        with pytest.raises(MetapbtError, match="this is of 9 members, the tuner has 4"):
            other.load_state(state)
        assert not other.assignments
    train(tuner, growing)
    wrong = tuner.state()
    wrong["records"][-5]["generation"] += 1
    with pytest.raises(MetapbtError, match=r"member 9\) does not follow the member's last one"):
        make().load_state(wrong)
    wrong = tuner.state()
    wrong["records"][-1]["env_steps"] = 29
    with pytest.raises(MetapbtError, match="env_steps must grow beyond 30, got 29"):
        make().load_state(wrong)
    wrong = tuner.state()
    wrong["records"][-1]["teacher_member"] = 77
    with pytest.raises(MetapbtError, match=r"learned from \(2, 77\), of which there is no record"):
        make().load_state(wrong)


def test_students_have_proposed_kept_and_drawn_architectures_and_half_of_them_a_members_hyperparameters():
    Proposing.told = []
    tuner = started(f"{__name__}:Proposing", eras=PROPOSED)
    until_students(tuner)
    students = list(tuner.assignments.values())
    assert [student.source for student in students] == ["surrogate"] * 4 + ["kept"] + ["random"] * 4
    network = [{n: v for n, v in s.hyperparameters.items() if n != "x"} for s in students]
    assert network[:4] == [{"width": 9, "kind": "a"}] * 4
    best = tuner.history.best().hyperparameters
    assert network[4] == {name: value for name, value in best.items() if name != "x"}
    now = {record.hyperparameters["x"] for record in tuner.history.latest}
    assert [student.hyperparameters["x"] in now for student in students] == [True] * 4 + [False] * 5
    assert len({json.dumps(each) for each in network[5:]}) == 4
    ((count, tried),) = Proposing.told
    assert count == 4
    reached = {}
    for record in tuner.history:
        key = json.dumps({n: v for n, v in record.hyperparameters.items() if n != "x"}, sort_keys=True)
        reached[key] = max(reached.get(key, -math.inf), record.train_return)
    assert {json.dumps(each, sort_keys=True): value for each, value in tried} == reached
    for _ in range(2):
        train(tuner, growing)
    until_students(tuner)
    # In the second era the widest network was best, as it was proposed; the third era's students try both eras' best.
    kept = [s.hyperparameters["width"] for s in tuner.assignments.values() if s.source == "kept"]
    eras = [[r for r in tuner.history if tuner.history.era(r) == era] for era in (0, 1)]
    assert kept == [max(records, key=lambda r: r.train_return).hyperparameters["width"] for records in eras]
    assert len(tuner.assignments) == 9
    assert {len(tried) > len(reached) for _, tried in Proposing.told[1:]} == {True}


def test_architectures_may_be_drawn_instead_and_an_architecture_is_kept_but_once():
    Proposing.told = []
    tuner = started(f"{__name__}:Proposing", eras={**ERAS, "count": 4})
    until_students(tuner, flat)
    assert [s.source for s in tuner.assignments.values()] == ["random"] * 4 + ["kept"] + ["random"] * 4
    assert not Proposing.told
    one = Tuner({"x": SPACE["x"], "width": {**SPACE["width"], "high": 2}}, "pbt", seed=0, eras={**ERAS, "count": 4})
    one.start()
    for _ in range(3):
        until_students(one, growing)
        kept = [s.hyperparameters["width"] for s in one.assignments.values() if s.source == "kept"]
        assert len(kept) == len(set(kept)) <= 2
        for _ in range(2):
            train(one, growing)


@pytest.mark.parametrize(
    "method",
    ["pbt", "pb2", "pb2_mix", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pb2_mult", "pb2_rand"))],
)
def test_every_method_goes_through_its_eras(method):
    states = []
    for _ in range(2):
        tuner = started(method, eras={**PROPOSED, "count": 2})
        for _ in range(8):
            train(tuner, growing)
        assert tuner.history.eras == 2
        assert not tuner.screening
        states.append(json.dumps(tuner.state()))
    assert states[0] == states[1]


def test_patience_counts_generations_without_a_new_best_of_the_era():
    values = iter([1, 5, 4, 5, 6, 2, 6, 6, *([0] * 20)])
    tuner = started(eras={"count": 2, "patience": 3, "distil_steps": 20, "architectures": "random"})
    generations = 0
    while not tuner.screening:
        best = next(values)
        tuner.tell([10 * (generations + 1)] * 4, [best, 0, 0, 0])
        generations += 1
    assert generations == 8  # the best is of the fifth


def test_nobodys_patience_ends_before_somebody_had_a_return():
    tuner = started(eras={"count": 2, "patience": 2, "distil_steps": 20, "architectures": "random"})
    for generation in range(6):
        tuner.tell([generation + 1] * 4, [math.nan, math.inf, -math.inf, math.nan])
        assert not tuner.screening
    tuner.tell([7] * 4, [1.0, 0.0, math.nan, 0.0])
    tuner.tell([8] * 4, [0.0] * 4)
    assert not tuner.screening
    tuner.tell([9] * 4, [0.0] * 4)
    assert tuner.screening


def test_a_new_era_waits_anew_from_when_its_students_became_members():
    tuner = started(eras={"count": 3, "patience": 2, "distil_steps": 20, "architectures": "random"})
    first, _ = until_students(tuner, flat)
    assert first == 3
    for _ in range(2):
        train(tuner, flat)
    second, _ = until_students(tuner, flat)
    assert second == 2  # the last rung's best is the first of the era
    for _ in range(8):
        train(tuner, flat)
    assert (tuner.history.eras, tuner.screening) == (3, False)  # there are no more


def test_no_era_begins_whose_students_would_not_become_members():
    for steps, expected in ((51, True), (50, False)):
        tuner = started(budget=Budget(steps, 10))
        for _ in range(3):
            train(tuner, growing)
        assert tuner.screening is expected
    with pytest.raises(MetapbtError, match="budget must be a metapbt.history.Budget, got 50"):
        make(budget=50)
    with pytest.raises(
        MetapbtError, match="eras.distil_steps=20 for each change of eras.count=3 eras must be less than"
    ):
        make(budget=Budget(40, 10))


def test_the_best_of_the_last_generation_teaches_or_with_backtracking_the_best_ever():
    for backtrack in (False, True):
        tuner = started(selection={"name": "truncation", "backtrack": backtrack}, seed=1)
        tuner.tell([10] * 4, [1.0, 2.0, 9.0, 3.0])
        tuner.tell([20] * 4, [1.0, 2.0, 3.0, 5.0])
        decisions = tuner.tell([10 + 20, 30, 30, 30], [1.0, 7.0, 3.0, 5.0])
        assert tuner.screening
        teacher = Ref(0, 2) if backtrack else Ref(2, 1)
        born = 10 if backtrack else 30
        assert {(decision.teacher, decision.until_steps) for decision in decisions} == {(teacher, born + 5)}
        assert teacher in tuner.keeps()
        train(tuner, growing)
        assert teacher in tuner.keeps()


def test_candidates_backtracking_and_eras_go_together():
    tuner = started(candidates=7, selection={"name": "truncation", "backtrack": True})
    assert tuner.screening
    assert [len(train(tuner, growing)) for _ in range(9)] == [4, 4, 9, 4, 4, 4, 4, 9, 4]
    numbers = sorted({record.member for record in tuner.history})
    assert numbers == list(range(4 + 7 + 9 + 4 + 9))
    later = [r for r in tuner.history if r.generation > 5 and r.parent is not None and r.source == "perturbed"]
    for record in later:
        assert record.hyperparameters["width"] == tuner.history.before(record).hyperparameters["width"]


def test_copies_go_back_to_the_best_checkpoint_of_their_era_not_to_one_that_would_undo_it():
    tuner = started(selection={"name": "truncation", "backtrack": True})
    origins = []
    while tuner.history.eras < 3 or tuner.screening or tuner.history.generations < 15:
        history, screening = tuner.history, tuner.screening
        # Every era begins lower than the one before was, and becomes worse.
        now = -10.0 * history.eras - history.generations
        train(tuner, lambda hyperparameters, steps, now=now: now + 0.1 * hyperparameters["x"])
        if tuner.screening or screening:
            continue
        known = [r for r in tuner.history if r.generation >= tuner.history.settled]
        best = max(known, key=lambda r: (r.train_return, -r.generation, -r.member))
        copies = [a for a in tuner.assignments.values() if a.source == "perturbed"]
        assert {a.start for a in copies} == {best.ref}
        assert {best.ref, tuner.history.best().ref} <= tuner.keeps()
        origins.append((tuner.history.eras, best.generation, tuner.history.generations))
    assert {eras for eras, *_ in origins} == {1, 2, 3}
    assert any(eras == 3 and generation < now - 2 for eras, generation, now in origins), origins


def test_sub_populations_evolve_as_often_in_a_later_era_as_in_the_first():
    tuner = Tuner(
        SPACE, "pbt", population_size=6, seed=0, eras={**ERAS, "count": 2, "steps": 60},
        selection={"name": "multiple_frequencies", "periods": [1, 3]},
    )  # fmt: skip
    tuner.start()
    copied = []
    for _ in range(12):
        members = not tuner.screening
        train(tuner, growing)
        if members and not tuner.screening:
            slow = [m for m in (3, 4, 5) if tuner.assignments[m].kind == "copy"]
            copied.append((tuner.history.generations, bool(slow)))
    # The first era's generations are counted from 1; the second's from its last rung, the eighth generation.
    evolved = [generation for generation, slow in copied if slow]
    assert evolved == [3, 10]
    assert [generation for generation, _ in copied] == [1, 2, 3, 4, 5, 9, 10, 11, 12]


class Answering(PBTExplorer):
    answer: object = None

    def architectures(self, count, tried, rng):
        return Answering.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "must propose 4 architectures, mappings, got"),
        (None, "must propose 4 architectures, mappings, got None"),
        ([1] * 4, "must propose 4 architectures, mappings"),
        ([{"width": 3}] * 4, r"proposes an architecture of \['width'\], which must be of \['kind', 'width'\]"),
        ([{"width": 3, "kind": "b"}] * 4, "proposes an architecture of"),
        ([{"width": 3, "kind": "a", "slope": 0.1}] * 4, "proposes an architecture of"),
        ([{"width": 30, "kind": "a"}] * 4, "width must be an integer in"),
        ([{"width": 3, "kind": "a", "x": 0.1}] * 4, "proposes an architecture with 'x', which is none of"),
    ],
)
def test_architectures_that_are_none_are_named_and_the_report_may_come_again(answer, message):
    tuner = started(f"{__name__}:Answering", eras=PROPOSED)
    for _ in range(2):
        train(tuner, growing)
    Answering.answer = answer
    with pytest.raises(MetapbtError, match=f"^method '{__name__}:Answering':? {message}"):
        train(tuner, growing)
    assert tuner.history.generations == 2
    Answering.answer = [{"width": 3, "kind": "b", "slope": 0.5}] * 4
    train(tuner, growing)
    assert tuner.screening


class Naming(Truncation):
    def teacher(self, history):
        return Ref(77, 0)


def test_a_teacher_that_nobody_knows_is_named():
    tuner = started(selection=f"{__name__}:Naming")
    for _ in range(2):
        train(tuner, growing)
    with pytest.raises(MetapbtError, match=r"names Ref\(generation=77, member=0\), of which there is no record"):
        train(tuner, growing)


def test_what_is_told_of_students_is_checked_like_everything_else():
    tuner = started()
    with pytest.raises(MetapbtError, match="tell_member: with eras all are told together, by tell"):
        tuner.tell_member(0, 10, 1.0)
    until_students(tuner)
    with pytest.raises(MetapbtError, match="tell: 9 students need as many env_steps and returns, got 4 and 4"):
        tuner.tell([40] * 4, [1.0] * 4)
    with pytest.raises(MetapbtError, match="env_steps of member 4 must grow beyond 30, got 5"):
        tuner.tell([5] * 9, [1.0] * 9)
    for method in ("random", "grid", "default"):
        with pytest.raises(MetapbtError, match=f"needs a method whose members copy others, not '{method}'"):
            make(method)


def test_a_constraint_has_the_last_word_on_students_too():
    tuner = started(constraint=lambda h: {**h, "width": min(h["width"], 3)})
    until_students(tuner)
    assert max(a.hyperparameters["width"] for a in tuner.assignments.values()) == 3


def test_steps_may_be_halves_and_returns_losses():
    tuner = started(mode="min", eras={"count": 2, "steps": 1, "distil_steps": 4, "architectures": "random"})
    tuner.tell([0.5] * 4, [3.0, 1.0, 2.0, 5.0])
    decisions = tuner.tell([1.5] * 4, [3.0, 1.0, 2.0, 5.0])
    assert {(d.teacher, d.until_steps) for d in decisions} == {(Ref(1, 1), 2 + 1)}
    train(tuner, growing)
    taken = [tuner.history.at(a.start).train_return for a in tuner.assignments.values()]
    returns = sorted((record.train_return for record in tuner.history.latest), reverse=True)  # the smallest losses
    assert taken == returns[: len(taken)]


@pytest.mark.parametrize("more", [{}, {"restarts": {"patience": 2}, "budget": Budget(100_000, 1000)}])
def test_no_era_begins_while_nobody_is_alive(more):
    tuner = Tuner(SPACE, "pbt", seed=0, **(more or {"eras": {"count": 3, "patience": 2, "distil_steps": 1000}}))
    tuner.start()
    for generation in range(8):
        before = [tuner.counts_on(member) for member in tuner.assignments]
        steps = [0 if record is None else record.env_steps for record in before]
        dead = generation in (4, 5)
        tuner.observe(
            [
                tuner.record(
                    member, env_steps=done + 1000 * (not dead), train_return=math.nan if dead else 10.0, failed=dead
                )
                for member, done in zip(tuner.assignments, steps, strict=True)
            ]
        )
        assert not dead or len(tuner.assignments) == 4
    assert tuner.history.eras > 1
