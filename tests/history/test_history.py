import math

import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record, Ref


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


@pytest.mark.parametrize(("metric", "leader"), [("train_return", 1), ("eval_return", 2)])
def test_the_best_agent_is_that_whose_returns_are_best_and_the_leader_that_with_the_best_metric(metric, leader):
    returns = [(8.0, 8.0), (9.0, 1.0), (2.0, 10.0), (8.0, 8.0)]
    records = [record(0, member, train, evaluation=evaluation) for member, (train, evaluation) in enumerate(returns)]
    whole = History(tuple(records), metric)
    assert (whole.best().member, whole.leader_ever().member, whole.leader().member) == (0, leader, leader)
    grown = History((), metric)
    for each in records:
        grown = grown.extended([each])
    assert (grown.best(), grown.leader_ever()) == (whole.best(), whole.leader_ever())
    assert History((*records[1:], Record(1, 0, None, "random", {}, 10, 50.0, 50.0, failed=True))).best().member == 3


def test_evaluation_speaks_for_a_member_that_ended_no_episode():
    assert record(0, 0, math.nan, evaluation=500.0).value() == 500.0


@pytest.mark.parametrize("metric", ["train_return", "eval_return"])
def test_of_equals_the_one_whose_other_return_is_better_is_the_best_and_then_the_earliest(metric):
    """On a task with a highest return many have it in few episodes of training, and not all of them surely."""
    other = "eval_return" if metric == "train_return" else "train_return"
    others = [(310.0, 435.0), (math.nan, 500.0), (500.0, 490.0)]
    records = [
        Record(generation, member, None, "random", {}, generation + 1, **{metric: 500.0, other: value})
        for generation, pair in enumerate(others)
        for member, value in enumerate(pair)
    ]
    whole = History(tuple(records), metric, 2)
    assert whole.best().ref == Ref(1, 0)  # nothing is known against it
    assert whole.leader().ref == whole.best_of(2).ref == Ref(2, 0)
    assert whole.best_of(0).ref == Ref(0, 1)
    grown = History((), metric, 2)
    for record in records:
        grown = grown.extended([record])
    assert grown.best() == whole.best()


def test_a_history_without_generations_has_no_best():
    with pytest.raises(MetapbtError, match="no generation has finished"):
        History().best()


def test_a_record_survives_plain_data():
    for one in TWO_GENERATIONS:
        assert Record.from_dict(one.to_dict()) == one or math.isnan(one.eval_return)
        assert str(Record.from_dict(one.to_dict())) == str(one)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("generation", True, "generation must be an integer >= 0, got True"),
        ("member", -1, "member must be an integer >= 0, got -1"),
        ("episodes", 2**53, "episodes must be an integer >= 0"),
        ("parent", 0.5, "parent must be an integer >= 0, or nothing, got 0.5"),
        ("eval_return", "high", "eval_return must be a number, got 'high'"),
        ("train_return", 10**400, "train_return must be a number, got 1000"),
        ("hyperparameters", [], "hyperparameters must be a mapping"),
        ("restart", 1, "restart must be true or false, got 1"),
    ],
)
def test_a_record_whose_fields_are_of_other_kinds_is_refused(field, value, message):
    plain = record(0, 0, 1.0).to_dict()
    with pytest.raises(MetapbtError, match=f"^{message}"):
        Record.from_dict({**plain, field: value})
    assert Record.from_dict({**plain, "of_a_later_version": value}) == Record.from_dict(plain)


@pytest.mark.parametrize(
    ("training", "evaluation", "performance"),
    [(4.0, 10.0, 7.0), (4.0, math.nan, 4.0), (math.inf, 10.0, 10.0), (1e200, 1e200, 1e100)],
)
def test_how_good_an_agent_is_both_of_its_returns_say(training, evaluation, performance):
    assert record(0, 0, training, evaluation=evaluation).performance == performance
    assert math.isnan(record(0, 0, math.nan, evaluation=math.nan).performance)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_as_if_it_were_not_there(bad):
    assert record(0, 0, bad, evaluation=5.0).value() == 5.0
    assert record(0, 0, 5.0, evaluation=bad).value("eval_return") == 5.0
    assert record(0, 0, 5.0, evaluation=bad).reached == 5.0
    assert math.isnan(record(0, 0, bad, evaluation=bad).value())
    assert math.isnan(record(0, 0, bad, evaluation=bad).reached)
    history = History((record(0, 0, bad), record(0, 1, -1e300), record(1, 0, 2.0), record(1, 1, bad)))
    assert (history.best().ref, history.best_of(0).ref, history.leader().ref) == ((1, 0), (0, 1), (1, 0))
    longer = History(history.records[:2]).extended(history.records[2:])
    assert longer.best() == history.best()
    # Only the second record has a finite return before and after; the third's origin has none.
    assert [(row.generation, row.return_after) for row in history.transitions()] == [(0, -1e100)]


def test_what_is_computed_with_stays_finite_whatever_the_returns():
    history = History((record(0, 0, -1.7e308), record(0, 1, 1.7e308), record(1, 0, 1.7e308), record(1, 1, -1.7e308)))
    assert history.best().train_return == 1.7e308
    slopes = [row.slope for row in history.transitions()]
    assert all(math.isfinite(slope * slope) for slope in slopes)
    assert slopes == [0.0, 2e99, 2e99, -2e99]
