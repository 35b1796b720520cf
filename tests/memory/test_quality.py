from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.quality import Predictions, Quality, held_out_quality, summary
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import Tasks
from metapbt.space import Space

SPACE = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})


def source(best, scale=1.0):
    """A population whose return grows faster the nearer x is to ``best``."""
    rng = np.random.default_rng(int(100 * best))
    records, returns = [], np.zeros(4)
    for generation in range(9):
        for member in range(4):
            x = float(rng.random())
            returns[member] += scale * np.exp(-(((x - best) / 0.35) ** 2))
            records.append(Record(generation, member, None, "random", {"x": x}, 10 * (generation + 1), returns[member]))
    return SourceRun(Context({"best": best}), History(tuple(records)))


def memory(*bests):
    return Memory(Context({"best": 0.5}), tuple(source(best) for best in bests))


def tasks(*bests):
    return Tasks.of(memory(*bests), SPACE)


@pytest.mark.usefixtures("briefly_trained")
def test_of_a_plain_kernel_no_deep_one_is_trained():
    kept, told = {}, []
    cache = SimpleNamespace(get=kept.get, put=kept.__setitem__)
    found = held_out_quality(tasks(0.3, 0.7), False, cache, lambda *how_far: told.append(how_far))
    assert told[-1] == (4, 5)  # one kernel with three models, two contexts
    assert [quality.memory for quality in found] == [None, None]
    assert "deep" not in summary(found)
    assert "plain GP" in summary(found)
    assert held_out_quality(tasks(0.3, 0.7), False, cache) == found
    deep = held_out_quality(tasks(0.3, 0.7), True, cache)
    assert all(quality.memory for quality in deep)
    differing = [replace(quality, memory=quality.alone) for quality in deep]
    assert "held-out contexts: deep kernel: log" in summary(differing)
    assert "; plain GP: log" in summary(differing)
    # Where the network was left out, both are the same model.
    same = [replace(quality, memory=quality.plain) for quality in deep]
    assert "held-out contexts: plain GP, the network left out: log" in summary(same)


def test_held_out_contexts_say_what_memory_is_worth():
    told = []
    related = held_out_quality(tasks(0.3, 0.5, 0.7), told=lambda *how_far: told.append(how_far))
    assert told == [(number, 11) for number in [*range(1, 9), 8, 9, 10]]  # two kernels with four models, three contexts
    assert [quality.context for quality in related] == [Context({"best": best}) for best in (0.3, 0.5, 0.7)]
    assert np.mean([q.memory.rank_correlation for q in related]) > 0.7
    assert np.mean([q.memory.density for q in related]) > np.mean([q.alone.density for q in related])
    assert all(0.7 <= q.memory.inside <= 1 for q in related)
    assert "rank correlation" in summary(related)


@pytest.mark.usefixtures("briefly_trained")
def test_what_was_judged_is_kept_and_nothing_else_is_taken_for_it():
    kept, told = {}, []
    cache = SimpleNamespace(get=kept.get, put=kept.__setitem__)
    found = held_out_quality(tasks(0.3, 0.7), True, cache)
    assert held_out_quality(tasks(0.3, 0.7), True, cache, lambda *how_far: told.append(how_far)) == found
    assert not told
    (key,) = (key for key, value in kept.items() if "judged" in value)
    right = kept[key]
    for name, wrong in (
        ("contexts", np.array([0, 2])),
        ("contexts", np.array([0.0, 1.0])),
        ("contexts", np.array([0])),
        ("rows", right["rows"][:, None]),
        ("judged", right["judged"][:, :2]),
        ("judged", right["judged"].astype(complex)),
        ("more", np.zeros(1)),
    ):
        kept[key] = {**right, name: wrong}
        assert held_out_quality(tasks(0.3, 0.7), True, cache) == found
        np.testing.assert_array_equal(kept[key]["judged"], right["judged"])


def test_one_context_is_too_few():
    assert held_out_quality(tasks(0.3)) == []
    assert "too few" in summary([])


def test_a_network_that_is_left_out_is_said_to_be_where_nothing_can_be_told_apart():
    same = Predictions(-1.0, float("nan"), 0.9)
    found = Quality(Context({"best": 0.3}), 9, same, replace(same), Predictions(-2.0, 0.1, 0.9))
    assert summary([found]) == (
        "memory on 1 held-out context: plain GP, the network left out: log density -1.00, rank correlation 0.00, "
        "90% within 95%; no memory: log density -2.00, rank correlation 0.10, 90% within 95%"
    )


def test_scales_of_a_held_out_context_are_those_of_the_others():
    usual = Tasks.of(memory(0.3, 0.5, 0.7), SPACE)
    wild = Memory(Context({"best": 0.5}), (source(0.3), source(0.5), source(0.7, scale=1000.0)))
    changed = Tasks.of(wild, SPACE)
    _, others = usual.held_out(2)
    own, others_of_changed = changed.held_out(2)
    np.testing.assert_array_equal(others.inputs, others_of_changed.inputs)  # whatever the one held out is like
    np.testing.assert_array_equal(others.changes, others_of_changed.changes)
    assert np.abs(own.changes).max() > 10
    alone = Tasks.of(replace(wild, sources=wild.sources[:2]), SPACE)
    np.testing.assert_array_equal(others.inputs, alone.rows.inputs)


def test_what_is_held_out_from_two_contexts_has_no_features_to_learn():
    own, others = Tasks.of(memory(0.3, 0.7), SPACE).held_out(0)
    assert own.inputs.shape[1] == others.inputs.shape[1] == 4  # time, return, x, what changed in it
