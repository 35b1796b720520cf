import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers.pbt import PBTExplorer
from metapbt.space import Space

SPACE = Space(
    {
        "x": {"type": "float", "low": 0.0, "high": 10.0},
        "n": {"type": "int", "low": 1, "high": 100},
        "c": {"type": "categorical", "choices": ["a", "b", "c", "d"]},
    }
)


def explored(count, hyperparameters, **settings):
    explorer = PBTExplorer(SPACE, **settings)
    parent = Record(0, 0, None, "random", hyperparameters, 10, 1.0)
    rng = np.random.default_rng(0)
    return explorer.propose([parent] * count, [parent] * count, History((parent,)), [], rng)


def test_without_resampling_numbers_are_multiplied_by_a_factor():
    suggestions = explored(200, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.0)
    assert {round(s.hyperparameters["x"], 9) for s in suggestions} == {3.2, 4.8}
    assert {s.hyperparameters["n"] for s in suggestions} == {40, 60}
    assert {s.source for s in suggestions} == {"perturbed"}


def test_without_resampling_a_category_moves_to_a_neighbour_and_stays_where_there_is_none():
    assert {
        s.hyperparameters["c"] for s in explored(200, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.0)
    } == set("ac")
    assert {
        s.hyperparameters["c"] for s in explored(200, {"x": 4.0, "n": 50, "c": "d"}, resample_probability=0.0)
    } == set("cd")


def test_perturbed_values_stay_within_their_bounds():
    for suggestion in explored(50, {"x": 9.9, "n": 1, "c": "a"}, resample_probability=0.0, factors=(0.1, 3.0)):
        SPACE.check(suggestion.hyperparameters)


@pytest.mark.parametrize(("low", "high"), [(1, 40), (0, 3), (-30, 30), (1, 2)])
def test_every_integer_moves_both_ways_where_there_is_room(low, high):
    space = Space({"n": {"type": "int", "low": low, "high": high}})
    rng = np.random.default_rng(0)
    for value in range(low, high + 1):
        parent = Record(0, 0, None, "random", {"n": value}, 10, 1.0)
        for factor, outwards in ((0.8, -1), (1.2, 1)):
            explorer = PBTExplorer(space, factors=(factor,), resample_probability=0.0)
            (suggestion,) = explorer.propose([parent], [parent], History((parent,)), [], rng)
            found = suggestion.hyperparameters["n"]
            assert type(found) is int
            towards = outwards if value >= 0 else -outwards  # a negative number times 1.2 is lower
            assert (found - value) * towards > 0 or value == (high if towards > 0 else low)


def test_resampling_draws_from_the_whole_range():
    drawn = [s.hyperparameters["x"] for s in explored(2000, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=1.0)]
    assert np.mean(drawn) == pytest.approx(5.0, abs=0.2)
    assert np.quantile(drawn, [0.1, 0.9]) == pytest.approx([1.0, 9.0], abs=0.3)


def test_each_hyperparameter_is_resampled_with_the_probability_asked_for():
    suggestions = explored(2000, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.25)
    kept = np.mean([round(s.hyperparameters["x"], 9) in (3.2, 4.8) for s in suggestions])
    assert kept == pytest.approx(0.75, abs=0.03)


def test_a_stepped_number_moves_to_a_neighbour():
    space = Space({"rate": {"type": "float", "low": 0.005, "high": 0.1, "log": True, "step": 0.0005}})
    parent = Record(0, 0, None, "random", {"rate": 0.0065}, 10, 1.0)
    explorer = PBTExplorer(space, resample_probability=0.0)
    suggestions = explorer.propose([parent] * 50, [parent] * 50, History((parent,)), [], np.random.default_rng(0))
    assert {s.hyperparameters["rate"] for s in suggestions} == {0.006, 0.007}
    assert {s.operations["rate"] for s in suggestions} == {"up", "down"}


def test_every_operation_is_told():
    (suggestion,) = explored(1, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.0)
    assert suggestion.operations["x"] in ("x0.8", "x1.2")
    assert suggestion.operations["c"] in ("up", "down")
    (suggestion,) = explored(1, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=1.0)
    assert set(suggestion.operations.values()) == {"resample"}


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_category_is_drawn_anew_with_its_own_probability_and_kept_otherwise(probability):
    suggestions = explored(4000, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.0, redraw_categories=probability)
    kinds = [s.hyperparameters["c"] for s in suggestions]
    for choice in "abcd":
        expected = probability / 4 + (1 - probability) * (choice == "b")
        assert kinds.count(choice) / 4000 == pytest.approx(expected, abs=0.02)
    told = [s.operations.get("c") for s in suggestions]
    assert told.count("resample") / 4000 == pytest.approx(probability, abs=0.02)
    assert set(told) <= {"resample", None}
    # Numbers are multiplied always, each way half of the time.
    ups = [round(s.hyperparameters["x"], 9) for s in suggestions]
    assert set(ups) == {3.2, 4.8}
    assert ups.count(4.8) / 4000 == pytest.approx(0.5, abs=0.03)


def test_numbers_are_drawn_anew_with_their_own_probability_whatever_categories_do():
    suggestions = explored(2000, {"x": 4.0, "n": 50, "c": "b"}, resample_probability=0.25, redraw_categories=0.0)
    kept = np.mean([round(s.hyperparameters["x"], 9) in (3.2, 4.8) for s in suggestions])
    assert kept == pytest.approx(0.75, abs=0.03)
    assert {s.hyperparameters["c"] for s in suggestions} == {"b"}


def test_a_probability_beyond_one_is_named():
    with pytest.raises(MetapbtError, match=r"method.redraw_categories must be null or in \[0, 1\], got 2"):
        PBTExplorer(SPACE, redraw_categories=2)


@pytest.mark.parametrize("log", [False, True])
def test_of_a_complement_the_distance_from_one_is_multiplied_and_kept_within_the_bounds(log):
    space = Space({"gamma": {"type": "float", "low": 0.9, "high": 0.995, "complement": True, "log": log}})
    rng = np.random.default_rng(0)

    def moved(gamma):
        parent = Record(0, 0, None, "random", {"gamma": gamma}, 10, 1.0)
        explorer = PBTExplorer(space, resample_probability=0.0)
        found = explorer.propose([parent] * 50, [parent] * 50, History((parent,)), [], rng)
        return {(s.operations["gamma"], round(s.hyperparameters["gamma"], 12)) for s in found}

    assert moved(0.99) == {("(1-x)x0.8", 0.992), ("(1-x)x1.2", 0.988)}
    assert moved(0.995) == {("(1-x)x0.8", 0.995), ("(1-x)x1.2", 0.994)}
    assert moved(0.9) == {("(1-x)x0.8", 0.92), ("(1-x)x1.2", 0.9)}


CONDITIONAL = Space(
    {
        "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop", "lion"]},
        "momentum": {"type": "float", "low": 0.0, "high": 1.0, "when": {"optimizer": "sgd"}},
    }
)


@pytest.mark.parametrize("before", [{"optimizer": "sgd", "momentum": 0.613}, {"optimizer": "adam"}])
def test_what_exists_under_a_condition_is_drawn_anew_wherever_that_is_said(before):
    """It kept its value, or its default, where a draw of the whole configuration had not met the condition."""
    parent = Record(0, 0, None, "random", before, 10, 1.0)
    explorer = PBTExplorer(CONDITIONAL)
    found = explorer.propose([parent] * 2000, [parent] * 2000, History((parent,)), [], np.random.default_rng(0))
    drawn = [s.hyperparameters["momentum"] for s in found
             if "momentum" in s.hyperparameters and s.operations["momentum"] == "resample"]  # fmt: skip
    assert len(set(drawn)) == len(drawn) > 30
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.1)


def test_nothing_is_said_of_the_network_which_a_copy_keeps():
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0},
                   "width": {"type": "int", "low": 1, "high": 8, "role": "architecture"},
                   "deep": {"type": "float", "low": 0.0, "high": 1.0, "when": {"width": 3}}})  # fmt: skip
    parent = Record(0, 0, None, "random", {"x": 0.5, "width": 3, "deep": 0.5}, 10, 1.0)
    found = PBTExplorer(space).propose([parent] * 50, [parent] * 50, History((parent,)), [], np.random.default_rng(0))
    assert {s.hyperparameters["width"] for s in found} == {3}
    assert all("width" not in s.operations and s.hyperparameters["deep"] != 0.5 for s in found)
