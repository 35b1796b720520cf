"""Selection by what members are worth to a method, where that is not what they return now."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Budget, History, Ref
from metapbt.population.explorers.random import RandomExplorer

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
