"""GPBT-PL by hand: what a loser moves by, with draws that are given."""

import math

import numpy as np
import pytest

from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers.gpbt_pl import GPBTPLExplorer
from metapbt.space import Space

LINE = Space({"x": {"type": "float", "low": 0.0, "high": 10.0}})


class Draws:
    """A generator whose uniform draws are given: rows for drawing anew, for inertia and for the pull."""

    def __init__(self, inertia, pull, resampled=1.0):
        self._rows = resampled, inertia, pull

    def integers(self, *_, **__):
        return 0

    def random(self, shape):
        return np.stack([np.broadcast_to(row, shape[1]).astype(float) for row in self._rows])


def record(generation, member, hyperparameters, parent=None, **more):
    return Record(generation, member, parent, "random", hyperparameters, generation + 1, 0.0, **more)


def learned(space, records, inertia, pull, resampled=1.0, **settings):
    """What the last record's member gets where it loses to the last but one's."""
    *_, winner, loser = records
    draws = Draws(inertia, pull, resampled)
    explorer = GPBTPLExplorer(space, **settings)
    (suggestion,) = explorer.propose([loser], [winner], History(tuple(records), size=2), [], draws)
    assert suggestion.hyperparameters in space
    return suggestion


def line(*rows):
    """Records of a winner, member 0, and a loser: for each generation the x of both, and the loser's parent."""
    return [r for g, (win, lose, parent) in enumerate(rows)
            for r in (record(g, 0, {"x": win}), record(g, 1, {"x": lose}, parent))]  # fmt: skip


@pytest.mark.parametrize(("pull", "found"), [(0.0, 2.0), (0.5, 5.0), (1.0, 8.0)])
def test_at_rest_a_loser_goes_a_part_of_the_way_to_the_winner(pull, found):
    suggestion = learned(LINE, line((8.0, 2.0, None)), 0.9, pull)
    assert suggestion.hyperparameters["x"] == pytest.approx(found)
    assert suggestion.source == "perturbed"
    assert suggestion.operations == ({} if pull == 0 else {"x": "learn"})


def test_on_a_log_scale_the_way_is_one_of_factors_and_a_complements_one_of_distances():
    space = Space(
        {
            "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
            "gamma": {"type": "float", "low": 0.9, "high": 0.9999, "log": True, "complement": True},
            "n": {"type": "int", "low": 0, "high": 10},
        }
    )
    lose, win = {"rate": 1e-4, "gamma": 0.9, "n": 2}, {"rate": 1e-2, "gamma": 0.999, "n": 7}
    found = learned(space, [record(0, 0, win), record(0, 1, lose)], 0.0, [0.25, 0.5, 0.5]).hyperparameters
    assert found["rate"] == pytest.approx(10**-3.5)
    assert found["gamma"] == pytest.approx(0.99)
    assert found["n"] == 4  # half of the way is 4.5, which is rounded to the even one
    assert type(found["n"]) is int


def test_what_is_left_of_the_last_move_is_added():
    # It moved from 2 to 5 towards 8. Now, at 5 still, it loses to one at 4: 0.5 * 3 - 0.5 * 1.
    moved = line((8.0, 2.0, None), (4.0, 5.0, 0))
    assert learned(LINE, moved, 0.5, 0.5).hyperparameters["x"] == pytest.approx(6.0)
    # The velocity stays while the member goes on as it is, and is what the last of several moves had.
    waited = line((8.0, 2.0, None), (4.0, 5.0, 0), (4.0, 5.0, None))
    assert learned(LINE, waited, 0.5, 0.5).hyperparameters["x"] == pytest.approx(6.0)
    twice = line((8.0, 2.0, None), (4.0, 5.0, 0), (6.0, 6.0, 0))
    assert learned(LINE, twice, 0.5, 0.7).hyperparameters["x"] == pytest.approx(6.5)


def test_a_bound_cuts_off_the_move_and_the_velocity():
    fast = line((9.0, 2.0, None), (8.0, 7.0, 0))  # velocity 5
    assert learned(LINE, fast, 1.0, 1.0).hyperparameters["x"] == 10.0
    # At the bound it went 3 of these 6; half of them and half of the way down to 2.
    stopped = line((9.0, 2.0, None), (8.0, 7.0, 0), (2.0, 10.0, 0))
    assert learned(LINE, stopped, 0.5, 0.5).hyperparameters["x"] == pytest.approx(10 + 1.5 - 4)


def test_what_was_drawn_anew_gives_no_velocity_but_what_the_rule_allows():
    jumped = line((3.0, 2.0, None), (3.0, 9.0, 0))  # no more than 1 of these 7 can be a move towards 3
    assert learned(LINE, jumped, 1.0, 0.0).hyperparameters["x"] == pytest.approx(10.0)
    away = line((3.0, 4.0, None), (3.0, 9.0, 0))  # none of it
    assert learned(LINE, away, 1.0, 0.0).hyperparameters["x"] == 9.0
    suggestion = learned(LINE, away, 1.0, 0.0, resampled=0.2)
    assert suggestion.operations == {"x": "resample"}
    assert suggestion.hyperparameters == LINE.sample(Draws(0, 0))
    assert learned(LINE, away, 1.0, 0.0, resampled=0.2, resample_probability=0.0).hyperparameters["x"] == 9.0


def test_a_new_agent_begins_at_rest():
    moved = line((8.0, 2.0, None), (4.0, 5.0, 0))
    reborn = [*moved, record(2, 0, {"x": 4.0}), record(2, 1, {"x": 5.0}, restart=True)]
    assert learned(LINE, reborn, 1.0, 0.0).hyperparameters["x"] == 5.0
    assert learned(LINE, moved, 1.0, 0.0).hyperparameters["x"] == 8.0


def test_who_went_back_to_an_old_checkpoint_keeps_the_velocity_of_a_move_towards_anybody():
    """With ``selection.backtrack`` the weights were of then, at 1, and the hyperparameters moved to were of another."""
    past = [*line((1.0, 2.0, None), (8.0, 2.0, None)), record(2, 0, {"x": 4.0})]
    moved = [*past, record(2, 1, {"x": 5.0}, 0, parent_generation=0)]
    assert learned(LINE, moved, 0.5, 0.5).hyperparameters["x"] == pytest.approx(6.0)
    jumped = [*past, record(2, 1, {"x": 9.5}, 0, parent_generation=0)]  # no more than 6 of these can be a move
    assert learned(LINE, jumped, 0.5, 0.0).hyperparameters["x"] == 10.0
    assert learned(LINE, jumped, 0.05, 0.0).hyperparameters["x"] == pytest.approx(9.8)


def test_moves_of_long_ago_are_forgotten_but_make_no_difference():
    rng = np.random.default_rng(0)
    x, rows, velocity = 5.0, [], 0.0
    for _ in range(60):
        win, (inertia, pull) = rng.uniform(3, 7), rng.uniform(size=2)
        rows.append((win, x, 0 if rows else None))
        velocity = inertia * velocity + pull * (win - x)
        x += velocity
    assert 0 < x < 10
    # The member lost in every generation, so the last row's loser got there by this velocity before the last one.
    found = learned(LINE, line(*rows), inertia, pull).hyperparameters["x"]
    assert found == pytest.approx(x, abs=1e-3)


def test_a_category_is_the_winners_or_stays_and_a_condition_is_met_from_the_other_one():
    space = Space(
        {
            "c": {"type": "categorical", "choices": ["a", "b", "c"]},
            "m": {"type": "float", "low": 0.0, "high": 1.0, "when": {"c": "b"}},
            "width": {"type": "int", "low": 1, "high": 9, "role": "architecture"},
        }
    )
    lose, win = {"c": "a", "width": 3}, {"c": "b", "m": 0.8, "width": 7}
    records = [record(0, 0, win), record(0, 1, lose)]
    assert learned(space, records, 0.0, 0.6).hyperparameters == {"c": "b", "m": 0.8, "width": 7}
    assert learned(space, records, 0.0, 0.4).hyperparameters == {"c": "a", "width": 7}
    # Who has it and loses to one that does not keeps it as long as it keeps the category.
    records = [record(0, 0, lose), record(0, 1, win)]
    assert learned(space, records, 0.0, 0.4).hyperparameters == {"c": "b", "m": 0.8, "width": 3}


def test_a_probability_outside_of_the_unit_interval_is_named():
    for wrong in (-0.1, 1.5, math.nan, "x"):
        with pytest.raises(MetapbtError, match=r"method.resample_probability must be in \[0, 1\], got "):
            GPBTPLExplorer(LINE, wrong)


def test_members_of_a_tuner_move_between_what_they_had_and_what_the_winner_has():
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    tuner = Tuner(space, "gpbt_pl", 8, selection="pairwise", seed=3, resample_probability=0.0)
    first = [h["x"] for h in tuner.start()]
    returns = [-abs(x - 0.5) for x in first]
    decisions = tuner.tell([1] * 8, returns)
    moved = [(m, d) for m, d in enumerate(decisions) if hasattr(d, "start")]
    assert len(moved) == 4
    for member, decision in moved:
        low, high = sorted([first[member], first[decision.parent]])
        assert low < decision.hyperparameters["x"] < high
        assert returns[member] < returns[decision.parent]


def test_what_exists_under_a_condition_is_drawn_anew_wherever_that_is_said():
    space = Space({"c": {"type": "categorical", "choices": [1, 2, 3, 4]},
                   "x": {"type": "float", "low": 0.0, "high": 1.0, "when": {"c": 1}}})  # fmt: skip
    both = [record(0, member, {"c": 1, "x": 0.613}) for member in range(2)]
    explorer = GPBTPLExplorer(space, resample_probability=0.5)
    rng = np.random.default_rng(0)
    found = [explorer.propose(both[1:], both[:1], History(tuple(both), size=2), [], rng)[0] for _ in range(400)]
    drawn = [
        s.hyperparameters["x"] for s in found if s.operations.get("x") == "resample" and s.hyperparameters["c"] == 1
    ]
    assert len(set(drawn)) == len(drawn) > 50
