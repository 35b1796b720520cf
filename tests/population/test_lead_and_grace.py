"""Who is hardly worse, and who has just copied, is left alone: ``selection.lead`` and ``selection.grace``."""

import itertools
import math

import numpy as np
import pytest

from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import History, Record, Ref
from metapbt.population.selection import SELECTIONS, make_selection

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}}


def record(generation, member, value, parent=None, **more):
    return Record(generation, member, parent, "random", {}, generation + 1, value, **more)


def history(*generations, parents=None):
    """Generations of returns; of a copy in the last one the parent, by member."""
    last = len(generations) - 1
    return History(
        tuple(
            record(g, m, value, (parents or {}).get(m) if g == last else None)
            for g, row in enumerate(generations)
            for m, value in enumerate(row)
        ),
        size=len(generations[0]),
    )


def replaced(past, size=None, quantile=0.25, **settings):
    size = past.size if size is None else size
    selection = make_selection({"name": "truncation", **settings}, size, quantile)
    found = selection.select(past, set(range(size)), np.random.default_rng(0))
    return {member: exploit.start.member for member, exploit in found.items()}


def test_a_lead_in_return_must_be_more_than_the_threshold():
    past = history([0.0, 1.0, 2.0, 3.0])
    assert replaced(past) == replaced(past, lead_return=0.0) == replaced(past, lead_return=2.999) == {0: 3}
    assert replaced(past, lead_return=3.0) == {}
    tied = history([1.0] * 4)
    assert len(replaced(tied)) == 1
    assert replaced(tied, lead_return=0.0) == replaced(tied, lead=0.0) == {}


def test_a_lead_in_deviations_is_of_all_returns_of_the_run():
    # Of -3, 3, -3, 3 and 0, 1, 0, 1, the mean is 1/4 and the deviation that of the eight.
    past = history([-3.0, 3.0, -3.0, 3.0], [0.0, 1.0, 0.0, 1.0])
    deviation = float(np.std([-3.0, 3.0, -3.0, 3.0, 0.0, 1.0, 0.0, 1.0]))
    edge = 1 / deviation
    copies = replaced(past, lead=edge * 0.999)  # of equals, who it is is drawn by lot
    assert [(loser % 2, winner % 2) for loser, winner in copies.items()] == [(0, 1)]
    assert replaced(past, lead=edge * 1.001) == {}
    # Scale-free: the same of any units and of any zero.
    for factor, shift in [(1e-6, 5.0), (1e6, -1e3)]:
        scaled = history(*([factor * v + shift for v in row] for row in ([-3, 3, -3, 3], [0, 1, 0, 1])))
        assert replaced(scaled, lead=edge * 0.999) == copies
        assert replaced(scaled, lead=edge * 1.001) == {}
    # The larger one of both thresholds counts.
    assert replaced(past, lead=edge * 0.5, lead_return=1.0) == {}
    assert replaced(past, lead=edge * 0.5, lead_return=0.9) == copies


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_who_has_no_finite_return_is_replaced_whatever_the_lead_and_the_grace(bad):
    past = history([0.0, 0.0, 0.0, 0.0], [0.0, bad, 2.0, 1.0], parents={1: 2})
    assert replaced(past, lead=9.0, lead_return=1e9, grace=3) == {1: 2}


def test_returns_of_any_size_have_a_lead():
    past = history([1e308, -1e308, 0.0, 1.0])
    assert replaced(past, lead=0.1) == {1: 0}
    assert replaced(past, lead=1e300) == {}


def test_a_copy_is_neither_replaced_nor_copied_for_as_many_intervals_as_it_has_grace():
    first, copied = [3.0, 2.0, 1.0, 0.0], {3: 0}
    # In the interval after it copied it is the worst: without it member 2 is.
    past = history(first, [3.0, 2.0, 1.0, 0.0], parents=copied)
    assert replaced(past) == {3: 0}
    assert replaced(past, grace=0) == {3: 0}
    assert replaced(past, grace=1) == {2: 0}
    # It is the best: the best of the others is copied.
    past = history(first, [3.0, 2.0, 1.0, 9.0], parents=copied)
    assert replaced(past) == {2: 3}
    assert replaced(past, grace=1) == {2: 0}
    # One interval later one of grace is over, two are not.
    later = past.extended([record(2, m, value) for m, value in enumerate([3.0, 2.0, 1.0, 9.0])])
    assert replaced(later, grace=1) == {2: 3}
    assert replaced(later, grace=2) == {2: 0}
    latest = later.extended([record(3, m, value) for m, value in enumerate([3.0, 2.0, 1.0, 9.0])])
    assert replaced(latest, grace=2) == {2: 3}
    assert replaced(latest, grace=10**6) == {2: 0}


def test_who_was_born_again_has_grace_and_who_was_screened_has_not():
    reborn = History((*history([3.0, 2.0, 1.0]), record(0, 3, 2.5, restart=True)), size=4)
    assert replaced(reborn, grace=1) == {2: 0}
    assert replaced(history([3.0, 2.0, 1.0, 0.0], parents=dict.fromkeys(range(4), 0)), grace=1) == {}
    candidates = [record(0, m, float(m)) for m in range(4, 9)]
    members = [record(1, m, float(m), 4 + m, parent_generation=0) for m in range(4)]
    assert replaced(History((*candidates, *members), size=4), grace=1) == {0: 3}


@pytest.mark.parametrize(
    ("asynchronous", "copies"),
    [
        (False, [{3}, {2}, {1}, set(), {3}, {2}, {1}]),
        (True, [{1, 2, 3}, set(), set(), set(), {1, 2, 3}, set(), set()]),
    ],
)
def test_who_copies_a_candidate_later_has_grace(asynchronous, copies):
    """With ``backtrack`` the best checkpoint ever is a candidate's: who has copied it is not judged at once again."""
    settings = {"name": "truncation", "backtrack": True, "grace": 3}
    tuner = Tuner(SPACE, "pbt", 4, seed=1, candidates=8, selection=settings)
    tuner.start()
    tuner.tell([10] * 8, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 80.0])
    found = []
    for _ in range(7):
        reports = [(m, tuner.counts_on(m).env_steps + 10, 4.0 - m) for m in range(4)]
        if asynchronous:
            for report in reports:
                tuner.tell_member(*report)
        else:
            tuner.tell([steps for _, steps, _ in reports], [value for *_, value in reports])
        found.append({m: a.start for m, a in tuner.assignments.items() if a.kind == "copy"})
    # Those who were screened are judged at once; each copy has three intervals to itself, then it is the worst again.
    assert found == [dict.fromkeys(members, Ref(0, 11)) for members in copies]


def test_who_goes_on_from_a_rung_of_students_has_no_grace_and_who_copies_one_later_has():
    students = [record(1, m, float(m), teacher_generation=0, teacher_member=0, restart=True) for m in range(4, 8)]
    halved = [record(2, m, float(m), m - 2, parent_generation=1) for m in range(8, 10)]
    members = [record(3, m, float(m), 8 + m % 2, parent_generation=2) for m in range(4)]
    before = [record(0, m, float(m)) for m in range(4)]
    past = History((*before, *students, *halved, *members), size=4)
    assert replaced(past, grace=9) == {0: 3}
    copied = [record(4, m, float(m), 9 if m == 0 else None, parent_generation=2 if m == 0 else None) for m in range(4)]
    assert replaced(past.extended(copied), grace=1) == {1: 3}
    assert replaced(past.extended(copied)) == {0: 3}


def test_asynchronously_every_member_has_its_own_grace():
    # Member 3 copied two intervals ago, member 2 just now; only member 1 reports.
    records = [record(0, m, 3.0 - m) for m in range(4)]
    records += [record(1, 3, 9.0, 0), record(2, 3, 9.0), record(1, 2, 8.0, 0), record(1, 1, -1.0)]
    past, rng = History(tuple(records), size=4), np.random.default_rng(0)
    for grace, parent in [(None, 3), (1, 3), (2, 0)]:
        selection = make_selection({"name": "truncation", "grace": grace}, 4, 0.25)
        assert {m: e.start.member for m, e in selection.select(past, {1}, rng).items()} == {1: parent}
        assert selection.select(past, {2}, rng) == {}


def test_with_backtracking_the_lead_is_the_parents_and_the_start_the_best_ever():
    past = history([9.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0])
    selection = make_selection({"name": "truncation", "backtrack": True, "lead_return": 3.0}, 4, 0.25)
    assert selection.select(past, set(range(4)), np.random.default_rng(0)) == {}
    selection = make_selection({"name": "truncation", "backtrack": True, "lead_return": 2.9}, 4, 0.25)
    (exploit,) = selection.select(past, set(range(4)), np.random.default_rng(0)).values()
    assert exploit.start == Ref(0, 0)
    assert selection.keeps(past) == {Ref(0, 0)}


def test_a_migrant_must_lead_and_a_sub_population_of_copies_waits():
    settings = {"name": "multiple_frequencies", "periods": [1, 2]}
    past = history([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])

    def chosen(past, **more):
        found = make_selection({**settings, **more}, 8, 0.25).select(past, set(range(8)), np.random.default_rng(0))
        return {member: exploit.start.member for member, exploit in found.items()}

    assert chosen(past) == {0: 3, 1: 7}
    assert chosen(past, lead_return=4.0) == {1: 7}
    copies = history([0.0] * 8, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], parents=dict.fromkeys(range(4), 7))
    # The first one's members are copies; the steadier one evolves, and finds no migrant that is judged.
    assert chosen(copies, grace=1) == {4: 7}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_left_out_they_change_nothing_and_a_lead_of_zero_only_ties(name, asynchronous):
    def told(**settings):
        tuner = Tuner(SPACE, "pbt", 6, 0.4, seed=2, selection={"name": name, **settings})
        if name == "multiple_frequencies":
            tuner = Tuner(SPACE, "pbt", 6, 0.4, seed=2, selection={"name": name, "periods": [1, 2], **settings})
        tuner.start()
        rng, clock = np.random.default_rng(0), itertools.count(1)
        for generation in range(1, 6):
            if asynchronous:
                for member in rng.permutation(6).tolist():
                    tuner.tell_member(member, next(clock), float(rng.normal()))
            else:
                tuner.tell([10 * generation] * 6, rng.normal(size=6).tolist())
        return [record.to_dict() for record in tuner.history]

    assert told() == told(lead=None, lead_return=None, grace=None) == told(grace=0) == told(lead=0.0)
    assert told() != told(lead=1.0)
    assert told() != told(grace=2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lead": -1}, "selection.lead must be null or a number >= 0, got -1"),
        ({"lead": "much"}, "selection.lead must be null or a number >= 0, got 'much'"),
        ({"lead_return": math.inf}, "selection.lead_return must be null or a number >= 0, got inf"),
        ({"lead_return": True}, "selection.lead_return must be null or a number >= 0, got True"),
        ({"grace": 0.5}, "selection.grace must be an integer from 0 to 1000000, got 0.5"),
        ({"grace": -1}, "selection.grace must be an integer from 0 to 1000000, got -1"),
        ({"graze": 1}, "unknown setting of selection truncation 'graze'; did you mean 'grace'"),
    ],
)
def test_a_bad_setting_is_named(setting, message):
    with pytest.raises(MetapbtError, match=message):
        make_selection({"name": "truncation", **setting}, 4, 0.25)


@pytest.mark.parametrize("settings", [{}, {"grace": 1}, {"lead_return": 5.0}, {"grace": 1, "lead_return": 5.0}])
@pytest.mark.parametrize(("size", "quantile"), [(4, 0.25), (5, 0.4)])
def test_who_is_sure_to_go_on_are_all_that_can_be(settings, size, quantile):
    """Against all that the others may report: nobody is replaced who is sure, and whoever is not may be."""
    selection, rng = make_selection({"name": "truncation", **settings}, size, quantile), np.random.default_rng(0)
    before = history([0.0] * size)
    found = 0
    for _ in range(8):
        reported = rng.permutation(size)[: rng.integers(1, size)].tolist()
        awaited = sorted(set(range(size)).difference(reported))
        early = before.extended(
            [record(1, m, float(rng.integers(3)), None if rng.random() < 0.7 else (m + 1) % size) for m in reported]
        )
        may_be = set()
        for values in itertools.product([-100.0, 100.0], [None, 0], repeat=len(awaited)):
            others = [record(1, m, values[2 * i], values[2 * i + 1]) for i, m in enumerate(awaited)]
            for seed in range(3):
                may_be |= selection.select(early.extended(others), set(range(size)), np.random.default_rng(seed)).keys()
        sure = set(selection.sure_to_go_on(early, awaited))
        assert sure == set(reported) - may_be
        found += len(sure)
    assert found > 5


def test_who_has_just_copied_is_not_the_best_that_copies_start_from():
    """The return of a fresh copy is still its source's: with ``backtrack`` everybody would start from it at once."""
    past = history([3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 9.0], parents={3: 0})
    selection = make_selection({"name": "truncation", "backtrack": True, "grace": 1}, 4, 0.25)
    exploits = selection.select(past, set(range(4)), np.random.default_rng(0))
    assert {member: exploit.start for member, exploit in exploits.items()} == {2: Ref(0, 0)}
    assert selection.keeps(past) == {Ref(0, 0), Ref(1, 3)}  # the best ever may teach students
    assert replaced(past, backtrack=True) == {2: 3}
    # Once it has trained on it is judged, and its return of that time counts.
    later = history([3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 9.0], [3.0, 2.0, 1.0, 8.0], parents={})
    copied = [r if r.ref != Ref(1, 3) else record(1, 3, 9.0, 0) for r in later]
    assert selection._best(History(tuple(copied), size=4)).ref == Ref(2, 3)
