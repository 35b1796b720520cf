"""What agents trained with lately: the same in sources and in the run, whatever records say, and in every decision."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.columns import RecordColumns
from metapbt.memory.encoder import Encoder, lately
from metapbt.memory.lookahead import Inputs, Lookahead, Rollout
from metapbt.memory.meta_surrogate import MetaSurrogate
from metapbt.memory.scales import SourceScale
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.space import Space

LINE = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
SPACE = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}, "kind": {"type": "categorical", "choices": ["a", "b"]}})


def history(seed: int, generations: int = 7, members: int = 4) -> History:
    """Intervals of several lengths; copies of old records, members that begin anew, with shrunk weights or without."""
    rng, records = np.random.default_rng(seed), []
    for generation, member in itertools.product(range(generations), range(members)):
        drawn, kind = SPACE.sample(rng), rng.random() if generation else 1.0
        old = records[int(rng.integers(len(records)))] if kind < 0.6 else None
        before = records[-members] if generation else None
        restart, new = kind < 0.3, 0.2 < kind < 0.3
        start = None if new else old or before
        steps = (0 if start is None else start.env_steps) + int(rng.integers(5, 15))
        copied = old if old is not None and not new else None
        records.append(
            Record(
                generation, member, copied and copied.member, "random", drawn, steps, *rng.normal(size=2),
                parent_generation=copied and copied.generation, restart=restart,
            )
        )  # fmt: skip
    return History(tuple(records), size=members)


def memory(*runs: History) -> Memory:
    contexts = (Context({"a": float(place)}) for place in range(len(runs)))
    return Memory(Context({"a": 0.5}), tuple(SourceRun(c, run) for c, run in zip(contexts, runs, strict=True)))


def test_a_past_fades_by_half_with_each_usual_interval_and_a_choice_has_no_average() -> None:
    now, before = np.array([[1.0, 0.25]]), np.array([[0.0, 0.75]])
    np.testing.assert_allclose(lately(before, now, 1.0), [[0.5, 0.5]])
    np.testing.assert_allclose(lately(before, now, 2.0, {1: 2}), [[0.75, 0.25]])
    twice = lately(lately(before, now, 0.5, {1: 2}), now, 0.5, {1: 2})
    np.testing.assert_allclose(twice, lately(before, now, 1.0, {1: 2}))
    several = lately(np.repeat(before, 2, axis=0), np.repeat(now, 2, axis=0), np.array([0.0, 1.0]))
    np.testing.assert_allclose(several, [[0.0, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(lately(before, now, -9999.0), before)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_same_for_a_source_and_for_the_run_itself(seed: int) -> None:
    run = history(seed)
    meta = MetaSurrogate(SPACE, memory(run, history(seed + 100)), lookahead=8)
    samples = meta.tasks.samples[meta.tasks.samples.contexts == 0]
    rows = run.transitions()
    assert len(rows) == len(samples)
    assert len(set(samples.steps)) > 3
    for row, point, recent in zip(rows, samples.points, samples.recent, strict=True):
        expected = point if row.origin is None else meta.recent(run, row.origin)
        np.testing.assert_allclose(recent, expected, atol=1e-12)
    given = np.abs(samples.recent - samples.points).max(axis=1) > 0
    assert 0 < given.sum() < len(given)


def test_it_does_not_matter_who_asked_before_or_of_which_history() -> None:
    run, other = history(0), history(1)
    meta = MetaSurrogate(SPACE, memory(run, other), lookahead=8)
    first = [meta.recent(run, record) for record in run]
    for each in (other, run):  # whose records have the same names
        for record in reversed(each.records):
            fresh = MetaSurrogate(SPACE, meta.memory, lookahead=8).recent(each, record)
            np.testing.assert_array_equal(meta.recent(each, record), fresh)
    np.testing.assert_array_equal(first, [meta.recent(run, record) for record in run])


def test_records_of_no_run_end_too_and_stay_numbers() -> None:
    def record(generation: int, parent_generation: int | None, steps: int, failed: bool = False) -> Record:
        parent = None if parent_generation is None else 0
        hyperparameters = {"x": generation / 8, "kind": "a"}
        return Record(
            generation, 0, parent, "random", hyperparameters, steps, 1.0, 1.0,
            parent_generation=parent_generation, failed=failed,
        )  # fmt: skip

    circle = History((record(0, None, 10), record(1, 1, 20), record(2, None, 30)))
    back = History((record(0, None, 1_000_000), record(1, None, 0, failed=True), record(2, None, 10)))
    for run in (circle, back):
        meta = MetaSurrogate(SPACE, memory(run, history(0)), lookahead=8)
        assert np.isfinite([meta.recent(run, each) for each in run]).all()
        columns = RecordColumns.of(memory(run).table)
        points = np.array([SPACE.to_unit(each.hyperparameters) for each in run])
        assert np.isfinite(columns.recent(points, 10.0, {1: 2})).all()


def test_a_long_line_of_descent_takes_as_many_looks_as_it_has_records(monkeypatch: pytest.MonkeyPatch) -> None:
    count, looked = 3000, []
    run = History(tuple(Record(g, 0, None, "random", {"x": 0.5, "kind": "a"}, g + 1, 0.0) for g in range(count)))
    searched = np.searchsorted
    monkeypatch.setattr(np, "searchsorted", lambda *a, **k: looked.append(np.size(a[1])) or searched(*a, **k))
    RecordColumns.of(memory(run).table).recent(np.full((count, 2), 0.5), 1.0, ())
    assert sum(looked) < 10 * count


def change(inputs: np.ndarray) -> np.ndarray:
    """What an interval brings: the more the larger the number, and less to who had another one lately."""
    *_, now, changed = inputs.T
    return now - 0.4 * changed**2


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_what_comes_after_a_short_interval_knows_that_the_past_has_hardly_faded(share: float) -> None:
    scale = SourceScale(longest=40.0, interval=10.0, unit=0.25)
    columns = Inputs(Encoder(scale, ({},), changed=True), scale, np.empty(0))
    ahead = Lookahead(change, columns, 0.0, 0.0, [10.0 * share, 10.0], LINE, lambda *_: np.linspace(0, 1, 9)[:, None])
    for recent, point in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0)):
        past = recent * 0.5**share + point * (1 - 0.5**share)
        then = np.linspace(0, 1, 101)
        expected = 0.2 + scale.unit * (0.4 * share + np.max(then - 0.4 * (then - past) ** 2))
        found = ahead.after(0.2, np.array([0.4]), np.array([[point]]), np.array([[recent]]))
        assert found[0] == pytest.approx(expected, abs=0.01)


def test_what_was_tabulated_is_as_good_on_either_side() -> None:
    """Who must change by as much, whichever way, is worth as much: a third of the horizon is interpolated."""

    def symmetric(inputs: np.ndarray) -> np.ndarray:
        *_, now, changed = inputs.T
        return 1 - (now - 0.5) ** 2 - 0.8 * changed**2

    scale = SourceScale(longest=40.0, interval=10.0, unit=0.25)
    columns = Inputs(Encoder(scale, ({},), changed=True), scale, np.empty(0))
    ahead = Lookahead(symmetric, columns, 0.0, 0.0, [10.0] * 4, LINE, lambda *_: np.linspace(0, 1, 9)[:, None])
    low, high = ahead.before(np.zeros(2), np.array([[0.0], [1.0]]))
    assert low == pytest.approx(high, abs=0.01)


def test_a_choice_that_was_left_is_left_in_what_is_looked_ahead_at() -> None:
    def staying_pays(inputs: np.ndarray) -> np.ndarray:
        *_, now, changed = inputs.T
        return 1.0 - changed - 0.5 * (now > 0.5)

    scale = SourceScale(longest=40.0, interval=10.0, unit=0.25)
    columns = Inputs(Encoder(scale, ({},), changed=True, categories={0: 2}), scale, np.empty(0))
    choices = np.array([[0.25], [0.75]])
    ahead = Lookahead(staying_pays, columns, 0.0, 0.0, [10.0] * 3, LINE, lambda *_: choices)
    found = ahead.after(0.0, np.zeros(1), choices[:1], choices[1:])  # the better one, after the worse
    assert found[0] == pytest.approx(2 * scale.unit)


@pytest.mark.parametrize("values", [Lookahead, Rollout])
def test_every_decision_is_told_it(monkeypatch: pytest.MonkeyPatch, values: Any) -> None:
    run = history(3)
    explorer = MetaPB2Explorer(SPACE, memory(history(0), history(1)))
    explorer.meta.__dict__.update(horizon=3, plans=values is Lookahead)
    told: dict[str, list[np.ndarray]] = {"before": [], "after": []}
    before, after = Lookahead.before, values.after
    monkeypatch.setattr(
        Lookahead, "before", lambda self, r, recent: told["before"].append(recent) or before(self, r, recent)
    )
    monkeypatch.setattr(
        values, "after", lambda self, v, c, p, recent: told["after"].append(recent) or after(self, v, c, p, recent)
    )
    assert bool(explorer.values(run)) == explorer.ranks_by_value == (values is Lookahead)
    members = [record for record in run.latest if math.isfinite(record.reached)]
    expected = [explorer.meta.recent(run, record) for record in members]
    heard = np.array(sorted(each.tolist() for asked in told["before"] for each in asked))  # of one time, together
    assert not explorer.ranks_by_value or heard.tolist() == sorted(each.tolist() for each in expected)
    assert any((each != SPACE.to_unit(r.hyperparameters)).any() for each, r in zip(expected, members, strict=True))
    explorer.propose(members[:1], members[:1], run, [], np.random.default_rng(0))
    assert all((each == expected[0]).all() for each in told["after"])
    assert told["after"]
