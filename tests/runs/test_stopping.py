"""When a run may end, and when it has nothing to show."""

import math

import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.runs.stopping import check_anything_learned, stop_reason

NOTHING = {"return_reached": None, "spent_steps": None, "wall_seconds": None, "plateau": None}


def history(*values):
    """One member."""
    return History(tuple(Record(n, 0, None, "random", {}, n + 1, value) for n, value in enumerate(values)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_return_that_is_not_finite_reaches_nothing_and_is_no_plateau(bad):
    assert stop_reason(history(1.0, bad), {**NOTHING, "return_reached": 0.5}) is None
    assert stop_reason(history(1.0, 2.0), {**NOTHING, "return_reached": 1.5}) is not None
    plateau = {**NOTHING, "plateau": 2}
    assert stop_reason(history(bad, bad, bad, bad), plateau) is None  # nobody has learned to walk yet
    assert stop_reason(history(bad, bad, 1.0), plateau) is None
    assert stop_reason(history(1.0, bad, bad), plateau) is not None
    assert stop_reason(history(1.0, bad, 2.0), plateau) is None
    assert stop_reason(history(bad, 1.0, bad, 1.0), plateau) is not None


def test_what_was_spent_is_counted_to_the_end_of_a_generation_wherever_a_run_was_stopped():
    """A run that goes on after a stop has some of the next one's records already, and must end where it would have."""
    records = [Record(0, m, None, "random", {}, 10, 1.0) for m in range(4)]
    ahead = [Record(1, m, None, "continued", {}, 20, 1.0) for m in range(2)]
    for known, ends in (([*records, *ahead], False), ([*records[:3], ahead[0], records[3], ahead[1]], True)):
        asked = {**NOTHING, "spent_steps": 50}
        assert (stop_reason(History(tuple(known), size=4), asked) is not None) == ends


def test_a_run_in_which_nobody_had_a_finite_return_has_no_best_agent():
    check_anything_learned(history(math.nan, 1.0, math.inf))
    with pytest.raises(MetapbtError, match="no member ever had a finite return in 2 generations: there is no best"):
        check_anything_learned(history(math.nan, math.inf))


def test_a_plateau_is_one_of_the_members_of_an_era():
    first = [Record(n, 0, None, "random", {}, n + 1, 5.0) for n in range(3)]
    students = [Record(3, m, None, "random", {}, 9, 1.0, restart=True) for m in (1, 2)]
    second = [Record(4, 0, 1, "screened", {}, 10, 1.0), Record(5, 0, None, "continued", {}, 11, 1.0)]
    plateau = {**NOTHING, "plateau": 2}

    def reason(*records):
        return stop_reason(History(records, size=1), plateau)

    assert reason(*first) is not None
    assert reason(*first, *students) is None  # they have only just begun to learn
    assert reason(*first, *students, second[0]) is None
    assert reason(*first, *students, *second) is not None
