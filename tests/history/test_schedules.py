"""How long intervals, rungs and a teacher's weight are, against the values of the published BG-PBT."""

import json
from pathlib import Path

import pytest

from metapbt.history import Budget, Eras, Rung
from metapbt.history.eras import halving
from metapbt.learners.base import Teacher

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "bg_pbt_schedules.json").read_text())["schedules"]


@pytest.mark.parametrize("case", PUBLISHED["t_ready"]["cases"])
def test_intervals_change_their_length_with_the_furthest_members_steps(case):
    assert Budget(case["max"], case["start"], case["end"]).interval_at(case["steps"]) == case["t_ready"]


@pytest.mark.parametrize("case", PUBLISHED["alpha"]["cases"])
def test_a_teachers_weight_falls_over_most_of_the_distillation_and_stays(case):
    for steps, expected in zip(case["steps"], case["alpha"], strict=True):
        teacher = Teacher({}, {}, steps // 2, round(0.8 * case["total"]))
        assert teacher.weight(steps - steps // 2, 1.0, 0.05) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", PUBLISHED["successive_halving"]["cases"])
def test_students_are_halved_as_published_and_end_where_they_were_to(case):
    rungs = halving(case["students"], case["population"], case["total_steps"])
    assert [rung.count for rung in rungs] == [rung["students"] for rung in case["rungs"]]
    ends = [0, *(rung.until for rung in rungs)]
    steps = [end - begin for begin, end in zip(ends, ends[1:], strict=False)]
    assert steps[:-1] == [rung["steps"] for rung in case["rungs"]][:-1]
    # With three rungs or more the published last one passes over those before the one before it, so that students
    # train more than the distillation's steps; and more of them may be left than there are members.
    assert ends[-1] == case["total_steps"]
    if len(rungs) <= 2:
        assert steps[-1] == case["rungs"][-1]["steps"]
        assert case["rungs"][-1]["kept"] == case["population"]


@pytest.mark.parametrize(
    ("students", "size", "counts"), [(1, 1, [1]), (2, 1, [2]), (125, 5, [125, 62, 31]), (9, 8, [9, 8])]
)
def test_rungs_of_few_and_of_powers(students, size, counts):
    rungs = halving(students, size, 1000)
    assert [rung.count for rung in rungs] == counts
    assert rungs[-1] == Rung(counts[-1], 1000)


def line(budget):
    """The ends of the intervals of a member that always goes on."""
    ends = [0]
    while ends[-1] < budget.steps:
        ends.append(budget.end_after(ends[-1], 0, None, ends[-1]))
    return ends[1:]


@pytest.mark.parametrize("budget", [Budget(100, 30), Budget(1000, 100, 7), Budget(1000, 7, 100), Budget(5, 9, 2)])
def test_as_many_generations_are_planned_as_a_member_trains_that_goes_on(budget):
    assert budget.generations == len(line(budget))
    assert budget.shortest == min(budget.interval, budget.interval_end or budget.interval)
    assert budget.intervals(0) == 0


@pytest.mark.parametrize("end", [None, 20, 3])
@pytest.mark.parametrize("first", range(0, 900, 90))
def test_a_line_with_a_change_of_architecture_fits_into_the_generations_planned_for_it(end, first):
    budget = Budget(1000, 10, end)
    eras = Eras.of({"count": 2, "patience": 1, "distil_steps": 90}, 4, budget)
    steps, generations = 0, 0
    while steps < first:
        steps, generations = budget.end_after(steps, 0, None, steps), generations + 1
    steps, generations = steps + 90, generations + len(eras.rungs)
    while steps < 1000:
        steps, generations = budget.end_after(steps, 0, None, steps), generations + 1
    assert generations <= eras.generations(budget, 1) <= eras.most_generations(budget)


def test_where_everybody_goes_by_their_own_steps_the_interval_does_too():
    assert Budget(1000, 100, 50).end_after(510, 10, None) == 500 + 75
    assert Budget(1000, 100, 50).end_after(510, 10, None, furthest=1000) == 500 + 50
    assert Budget(1000, 100, 50).end_after(10, 0, 990, furthest=1000) == 990


def test_eras_of_earlier_versions_and_of_one_are_none():
    assert Eras.of(None, 4) == Eras.of({}, 4) == Eras.of({"count": 1, "distil_steps": 1}, 4) == Eras()
    eras = Eras.of({"count": 3.0, "patience": 20, "distil_steps": 3e7}, 8)
    assert (eras.count, eras.students, eras.distil_steps) == (3, 25, 30_000_000)
    assert eras.rungs == (Rung(25, 7_500_000), Rung(12, 30_000_000))
    assert eras.annealed_over == 24_000_000
