"""Whether values count on later changes of hyperparameters: not where held-out agents show that it tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from test_lookahead import COLUMNS, INTERVALS, LINE, SCALE, change

from metapbt.envs import make_context
from metapbt.memory import planning, training
from metapbt.memory.encoder import Samples, lately
from metapbt.memory.hindsight import INTERVALS as LATER
from metapbt.memory.lookahead import KEPT, Rollout
from metapbt.memory.planning import LEAST_CONTEXTS, Telling, telling
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import LEAST_FREE, Learned, learned

LINES = 30


def chance(inputs: np.ndarray) -> np.ndarray:
    """What an interval does to the return where nobody can know it."""
    return np.random.default_rng(int(1000 * inputs[:, 2].sum())).standard_normal(len(inputs))


def tasks_of(parts: Sequence[Samples], origins: Sequence[np.ndarray], contexts: int, changed: bool = False) -> Tasks:
    """So many contexts, whose samples and what these went on from are given in parts."""
    fields = Samples.__dataclass_fields__
    whole = Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
    names = [make_context("synthetic", {"shift": 0.1 + 0.1 * context}) for context in range(contexts)]
    described = [{"shift": float(context)} for context in range(contexts)]
    return Tasks(whole, names, described, changed=changed, origins=np.concatenate(origins))


def agents(growth, contexts: int = 3) -> Tasks:
    """Contexts in each of which agents train with something else at every interval, drawn at random."""
    rng = np.random.default_rng(0)
    parts, origins = [], []
    for context in range(contexts):
        value, recent, last = np.zeros(LINES), np.empty((LINES, 1)), np.full(LINES, -1)
        for place in range(INTERVALS):
            points = rng.random((LINES, 1))
            before = recent if place else points
            noise = 0.02 * rng.standard_normal(LINES)
            after = value + growth(COLUMNS.inputs(place / INTERVALS, value, points, before)) * SCALE.unit + noise
            steps = np.full(LINES, 10.0)
            parts.append(
                Samples(np.full(LINES, float(place)), place * steps, steps, value, after, points, before,
                        np.full(LINES, context))
            )  # fmt: skip
            origins.append(last)
            last = np.arange(LINES) + LINES * (len(parts) - 1)
            recent, value = lately(before, points, 1.0, {}), after
    return tasks_of(parts, origins, contexts, changed=True)


def models(tasks: Tasks) -> tuple[Learned, Learned]:
    """What is forecast, and what became of agents."""
    return learned(tasks, deep=False), learned(tasks.in_hindsight(LATER), deep=False)


@pytest.mark.slow
def test_memory_plans_where_it_pays_to_invest_and_not_where_nothing_can_be_known() -> None:
    assert telling(*models(agents(change, LEAST_CONTEXTS)), LINE, 4, deep=False).plan
    nothing = telling(*models(agents(chance, LEAST_CONTEXTS)), LINE, 4, deep=False)
    assert not nothing.plan
    assert not nothing.recall


@pytest.mark.usefixtures("briefly_trained")
def test_few_contexts_or_agents_say_nothing(monkeypatch) -> None:
    alone = telling(*models(agents(change, contexts=1)), LINE, 4, deep=False)
    assert alone.plan  # nothing is held out that speaks against it,
    assert not alone.recall  # nor for this
    two = models(agents(change, contexts=2))
    monkeypatch.setattr(training, "LEAST_FREE", 10 * LEAST_FREE)
    assert np.isnan(planning.foresees(*two, 0, LINE, 4)).all()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([0.3, 0.2, 0.3, 0.2, 0.3], True),
        ([0.0, 0.05, 0.0, 0.05, 0.0], False),
        ([0.09] * 5, False),
        ([-0.2, 0.3, -0.2, 0.3, -0.2], True),  # so they do not agree
        ([0.0] * 4, True),  # of four nobody knows how far they agree
        ([0.0, 0.0, 0.01, 0.0, 0.0, np.nan], False),
    ],
)
def test_contexts_must_agree_that_plans_tell_nothing_and_what_came_out_is_kept(monkeypatch, told, expected) -> None:
    said = iter(told)
    monkeypatch.setattr(planning, "foresees", lambda *_: (next(said), 0.5, -0.5))
    kept: dict[str, dict[str, np.ndarray]] = {}
    cache = SimpleNamespace(get=kept.get, put=kept.__setitem__)
    asked = SimpleNamespace(tasks=agents(chance), without=dict.fromkeys(range(len(told))))
    assert telling(asked, asked, LINE, 4, False, cache).plan == expected
    again = telling(asked, asked, LINE, 4, False, cache)  # nobody is asked again
    assert again.plan == expected
    # What is recalled is to tell something beside that which counts: beside keeping it does, beside plans it does not.
    assert again.recall == (not expected)
    with pytest.raises(StopIteration):
        telling(asked, asked, LINE, 5, False, cache)  # it is another question
    kept[next(iter(kept))] = {"plans": np.array(["x"])}
    with pytest.raises(StopIteration):
        telling(asked, asked, LINE, 4, False, cache)  # what somebody else wrote there is as if it were not there


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([0.3, 0.2, 0.3, 0.2, 0.3], True),
        ([0.09] * 5, False),  # too little
        ([-0.2, 0.5, -0.2, 0.5, 0.1], True),
        ([0.3] * 4, False),  # of four nobody knows how far they agree
        ([0.3, 0.2, 0.3, np.nan, 0.3], False),
        ([0.3, 0.2, 0.3, np.nan, 0.3, 0.3], True),
    ],
)
def test_what_became_of_agents_counts_where_it_tells_more(told, expected) -> None:
    assert Telling.of([(0.0, value, 0.0) for value in told]).recall == expected
    assert Telling.of([(0.5, 0.0, value) for value in told]).recall == expected


def test_who_keeps_what_it_trains_with_has_the_mean_of_its_returns() -> None:
    rollout = Rollout(change, COLUMNS, 0.0, [10.0] * KEPT)
    points, recent = np.array([[0.0], [0.4], [1.0]]), np.array([[0.9], [0.2], [1.0]])
    begun = np.array([0.1, 0.0, -0.2])
    first = change(COLUMNS.inputs(0.0, begun, points, recent)) + 0.5  # optimistic in the coming interval alone
    values = begun + first * SCALE.unit
    total, past = values, (recent + points) / 2
    for place in range(1, KEPT):
        values = values + change(COLUMNS.inputs(place / INTERVALS, values, points, past)) * SCALE.unit
        total, past = total + values, (past + points) / 2
    np.testing.assert_allclose(rollout.after(begun, first, points, recent), total / KEPT)
    same = rollout.after(0.1, first[:1], points[:1], recent[:1])
    np.testing.assert_allclose(same, total[:1] / KEPT)


def test_a_line_is_as_good_as_the_best_of_those_who_came_of_it() -> None:
    tasks = agents(chance, contexts=2)
    lines = tasks.lines(0)
    after = tasks.whole[tasks.whole.contexts == 0].returns_after
    scale = tasks.scale_without(0)
    np.testing.assert_allclose(scale.unscaled(lines.best_after(1)), after)
    later = scale.unscaled(lines.best_after(3))
    np.testing.assert_allclose(later[: LINES * (INTERVALS - 2)], after[2 * LINES :])
    assert np.isnan(later[LINES * (INTERVALS - 2) :]).all()  # nobody is left by then
    # Two go on from one: the better counts.
    lines.origins[LINES : 2 * LINES] = 0
    best = scale.unscaled(lines.best_after(2))
    assert best[0] == pytest.approx(after[LINES : 2 * LINES].max())
    assert np.isnan(best[1:LINES]).all()
