"""IPBT's choices for those who begin anew, from what became of those who began before."""

import numpy as np
import pytest

from metapbt import Tuner
from metapbt.history import History, Record
from metapbt.population.explorers.ipbt import IPBTExplorer, beginnings
from metapbt.space import Space
from metapbt.surrogates import mixed

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}}


def record(generation, member, value, steps, parent=None, restart=False, x=0.5):
    origin = {} if parent is None else {"parent": parent[1], "parent_generation": parent[0]}
    configuration = {"x": x, "y": 0.5}
    return Record(
        generation, member, **{"parent": None, **origin}, source="random", hyperparameters=configuration,
        env_steps=steps, train_return=value, restart=restart,
    )  # fmt: skip


def history(*records):
    return History(records, size=2)


FIRST = [record(0, 2 + i, value, 10, x=i / 10) for i, value in enumerate([4.0, 1.0, 3.0, 2.0])]
ERA = [
    record(1, 0, 5.0, 20, parent=(0, 2)), record(1, 1, 9.0, 20, parent=(0, 4)),
    record(2, 0, 7.0, 30, parent=(1, 1)), record(2, 1, 8.0, 30),
]  # fmt: skip


def test_whoever_began_came_to_the_best_that_a_descendant_had_in_the_era():
    found = beginnings(history(*FIRST, *ERA))
    assert [row.hyperparameters["x"] for row in found] == [0.0, 0.2]  # of those who were not screened out
    # Member 0 copied member 1, who descends from the third.
    assert [row.reached for row in found] == [5.0, 9.0]
    assert {row.return_before for row in found} == {1.0}  # an untrained agent's
    assert {row.steps for row in found} == {(4 * 10 + 4 * 10) // 2}
    assert found[1].slope == (9.0 - 1.0) / 40


def test_a_later_era_has_rows_of_its_own_and_a_failed_one_none():
    anew = [
        record(3, 6, 2.0, 20, restart=True), record(3, 7, 6.0, 50, parent=(2, 1), restart=True),
        record(4, 0, 12.0, 90, parent=(3, 7)), record(4, 1, float("nan"), 40, parent=(3, 6)),
    ]  # fmt: skip
    found = beginnings(history(*FIRST, *ERA, *anew))
    assert [(row.era, row.return_before, row.reached) for row in found[2:]] == [(1, 1.0, 2.0), (1, 8.0, 12.0)]
    assert [row.reached for row in found[:2]] == [5.0, 9.0]  # nothing of the next era
    assert {row.steps for row in found[:2]} == {40}
    assert {row.steps for row in found[2:]} == {(20 + 20 + 40 + 20) // 2}


@pytest.fixture(scope="module")
def tuner():
    """Returns are higher the nearer x was to 0.7 when an agent began; what it had later makes no difference."""
    tuner = Tuner(SPACE, "ipbt", population_size=6, seed=1, restarts={"patience": 1, "random": 0.5})
    tuner.start()
    worth = {}
    for _ in range(8):
        steps, returns = [], []
        for member, assignment in tuner.assignments.items():
            begin, origin = tuner.counts_on(member), tuner.origin(member)
            steps.append((begin.env_steps if begin else 0) + 10)
            inherited = origin is not None and assignment.kind != "restart"
            x = worth[origin.ref] if inherited else float(assignment.hyperparameters["x"])
            worth[(tuner.coming_generation(member), member)] = x
            returns.append(-abs(x - 0.7))
        tuner.tell(steps, returns)
        if tuner.screening and len(tuner.history) > 12:
            return tuner
    raise AssertionError("nobody began anew")


def test_half_of_those_who_begin_anew_are_chosen_near_what_the_best_began_with(tuner):
    chosen = [a.hyperparameters["x"] for a in tuner.assignments.values() if a.source == "surrogate"]
    drawn = [a.hyperparameters["x"] for a in tuner.assignments.values() if a.source == "random"]
    assert (len(chosen), len(drawn)) == (6, 6)
    rows = beginnings(tuner.history)
    centre = max(rows, key=lambda row: row.reached).hyperparameters["x"]
    assert max(abs(x - centre) for x in chosen) <= 0.4  # the box is 0.4 wide, stretched by lengthscales
    assert np.mean([abs(x - 0.7) for x in chosen]) < np.mean([abs(x - 0.7) for x in drawn])
    assert len({tuple(a.hyperparameters.values()) for a in tuner.assignments.values()}) == 12


def test_choices_are_a_function_of_the_history(tuner):
    models = [tuner.history.leader(), None, None]
    first, again = (
        IPBTExplorer(Space(SPACE)).begin_anew(models, tuner.history, np.random.default_rng(3)) for _ in range(2)
    )
    assert first == again
    assert len({suggestion.hyperparameters["x"] for suggestion in first}) > 1


@pytest.mark.parametrize("ard", [True, False])
def test_whether_each_number_has_a_lengthscale_is_a_setting_for_those_who_begin_anew_too(tuner, ard, monkeypatch):
    kernels = []
    fit = mixed.fit_mixed
    monkeypatch.setattr(
        mixed, "fit_mixed", lambda *rows, ard, **rest: kernels.append(ard) or fit(*rows, ard=ard, **rest)
    )
    IPBTExplorer(Space(SPACE), ard=ard).begin_anew([None], tuner.history, np.random.default_rng(3))
    assert kernels == [ard]


def test_with_too_few_rows_they_are_drawn():
    few = history(*FIRST, *ERA)
    found = IPBTExplorer(Space(SPACE), min_rows=3).begin_anew([None, few.leader()], few, np.random.default_rng(0))
    assert [suggestion.source for suggestion in found] == ["random", "random"]
