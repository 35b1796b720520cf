import math

import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record


def record(generation, member, value, parent=None, steps=None, evaluation=math.nan):
    return Record(
        generation,
        member,
        parent,
        "random",
        {"x": float(member)},
        steps or 10 * (generation + 1),
        value,
        evaluation,
    )


TWO_GENERATIONS = History(
    (record(0, 0, 1.0), record(0, 1, 3.0), record(1, 0, 7.0, parent=1), record(1, 1, 5.0)),
)


def test_a_history_is_extended_without_being_changed():
    first = History()
    second = first.extended([record(0, 0, 1.0)])
    assert len(first) == 0
    assert second.generations == 1
    assert [r.member for r in second.latest] == [0]


def test_transitions_start_from_the_return_of_the_parent():
    rows = TWO_GENERATIONS.transitions()
    assert [(r.return_before, r.return_after) for r in rows] == [
        (1.0, 1.0),
        (1.0, 3.0),
        (3.0, 7.0),
        (3.0, 5.0),
    ]
    assert [(r.steps_before, r.steps) for r in rows] == [(0, 10), (0, 10), (10, 10), (10, 10)]
    assert rows[2].slope == pytest.approx(0.4)


def test_transitions_leave_out_returns_that_are_not_finite():
    history = History((record(0, 0, math.nan), record(0, 1, 3.0), record(1, 0, 4.0), record(1, 1, 5.0)))
    assert [r.return_after for r in history.transitions()] == [3.0, 5.0]


def test_the_best_member_is_that_with_the_best_train_return_whatever_its_evaluation():
    history = History((record(0, 0, 1.0, evaluation=100.0), record(0, 1, 2.0, evaluation=5.0)))
    assert history.best().member == 1
    assert History(history.records, metric="eval_return").best().member == 0


def test_evaluation_speaks_for_a_member_that_ended_no_episode():
    assert record(0, 0, math.nan, evaluation=500.0).value() == 500.0


def test_a_history_without_generations_has_no_best():
    with pytest.raises(MetapbtError, match="no generation has finished"):
        History().best()


def test_a_record_survives_plain_data():
    for one in TWO_GENERATIONS:
        assert Record.from_dict(one.to_dict()) == one or math.isnan(one.eval_return)
        assert str(Record.from_dict(one.to_dict())) == str(one)
