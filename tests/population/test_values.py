"""Selection by what members are worth to a method, where that is not what they return now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Budget, History, Record, Ref
from metapbt.population.explorers.random import RandomExplorer
from metapbt.population.selection.base import Exploit
from metapbt.population.selection.lead import Lead
from metapbt.population.selection.truncation import Truncation

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}}


class Patient(RandomExplorer):
    """The lower its return, the more a member is worth; of member 0 it knows nothing."""

    copies = True
    ranks_by_value = True  # type: ignore[assignment]

    def propose(self, children, parents, history, pending, rng):  # type: ignore[no-untyped-def]
        return super().start(len(parents), rng)

    def values(self, history: History) -> Mapping[int, float]:
        return {record.member: -record.reached for record in history.latest if record.member}


class Budgeted(RandomExplorer):
    uses_budget = True

    def __init__(self, space, budget=None):  # type: ignore[no-untyped-def]
        super().__init__(space)
        self.budget = budget


@pytest.mark.parametrize("metric", ["train_return", "eval_return"])
def test_the_worst_copies_the_best_by_value(metric: str) -> None:
    tuner = Tuner(SPACE, f"{__name__}:Patient", 4, metric=metric)
    tuner.start()
    returns = [0.0, 3.0, 2.0, 1.0]  # worth 0, -3, -2, -1
    records = [
        tuner.record(member, env_steps=10, train_return=value, eval_return=value, episodes=1)
        for member, value in enumerate(returns)
    ]
    tuner.observe(records)
    assert [tuner.assignments[member].kind for member in range(4)] == ["continue", "copy", "continue", "continue"]
    assert tuner.assignments[1].start == Ref(0, 0)
    # The values were for selection alone: what is kept is what was returned.
    assert [record.value(metric) for record in tuner.history.latest] == returns


def test_candidates_of_the_first_generation_are_chosen_by_value() -> None:
    tuner = Tuner(SPACE, f"{__name__}:Patient", 2, candidates=4)
    tuner.start()
    assert [*tuner.assignments] == [2, 3, 4, 5]  # numbers beyond the members'
    tuner.tell([10] * 4, [9.0, 3.0, 1.0, 2.0])
    assert [each.start for each in tuner.assignments.values()] == [Ref(0, 4), Ref(0, 5)]


@pytest.mark.parametrize(
    ("returns", "best"),
    [
        ([[4.0, 9.0, 6.0, 5.0], [0.0, 3.0, 2.0, 1.0]], Ref(0, 1)),  # all have become worse
        ([[0.0, 3.0, 2.0, 1.0], [4.0, 9.0, 6.0, 5.0]], Ref(1, 1)),
    ],
)
@pytest.mark.parametrize("metric", ["train_return", "eval_return"])
def test_the_best_that_there_ever_was_is_a_matter_of_returns_not_of_values(metric, returns, best) -> None:
    """Who is worth most now may be on quite another scale than the returns of long ago."""
    tuner = Tuner(SPACE, f"{__name__}:Patient", 4, metric=metric, selection={"name": "truncation", "backtrack": True})
    tuner.start()
    for generation, values in enumerate(returns):
        kept = tuner.keeps() if generation else set()
        steps = 10 * (generation + 1)
        tuner.observe(
            [
                tuner.record(member, env_steps=steps, train_return=value, eval_return=value - 20.0, episodes=1)
                for member, value in enumerate(values)
            ]
        )
    copying = [each for each in tuner.assignments.values() if each.kind == "copy"]
    assert [each.start for each in copying] == [best]
    assert best.generation == 1 or best in kept


def test_a_lead_is_measured_in_deviations_of_returns() -> None:
    records = [Record(0, member, None, "random", {"x": 0.5}, 10, value) for member, value in enumerate([0.0, 2.0])]
    history = History(tuple(records))
    ranked = replace(history, values={Ref(0, 0): 1000.0, Ref(0, 1): -1000.0})
    lead = Lead(Truncation(2, 0.5), deviations=1.0)
    assert lead.threshold(ranked) == lead.threshold(history) == 1.0
    assert lead.select(ranked, {0, 1}, np.random.default_rng(0)) == {1: Exploit(Ref(0, 0))}


def test_nobody_is_sure_to_go_on_before_all_have_reported() -> None:
    for method, expected in (("pb2", {1, 2}), (f"{__name__}:Patient", set())):
        tuner = Tuner(SPACE, method, 4)
        tuner.start()
        tuner.tell([10] * 4, [0.0, 3.0, 2.0, 1.0])
        reported = ((1, 5.0), (2, 4.0), (3, 3.0))
        records = [tuner.record(m, env_steps=20, train_return=v, eval_return=v, episodes=1) for m, v in reported]
        assert set(tuner.ahead(records).assignments) == expected


def test_a_method_that_asks_for_the_budget_is_handed_it() -> None:
    budget = Budget(100, 10)
    for given in (budget, None):
        tuner = Tuner(SPACE, f"{__name__}:Budgeted", 4, budget=given)
        explorer = tuner._decider.explorer
        assert isinstance(explorer, Budgeted)
        assert explorer.budget == given
    with pytest.raises(MetapbtError, match="budget"):
        Tuner(SPACE, "pb2", 4, **{"memory": object()})
