import pytest

from metapbt.errors import MetapbtError
from metapbt.population.explorers import METHODS, make_explorer
from metapbt.registry import check_settings
from metapbt.space import Space


def made(space, levels=2, *, memory):
    pass


def strict(space, **settings):
    pass


def test_known_settings_are_accepted():
    check_settings("x", "y", made, {"levels": 1, "memory": None})
    check_settings("x", "y", strict, {"whatever": 1})


@pytest.mark.parametrize("name", ["level", "space", "levelz"])
def test_an_unknown_setting_is_named_with_the_nearest_known_one(name):
    with pytest.raises(MetapbtError, match=f"^unknown setting of x y '{name}'.*known: levels, memory"):
        check_settings("x", "y", made, {"memory": None, name: 1})


def test_a_setting_that_would_be_right_beside_is_hinted_at():
    with pytest.raises(MetapbtError, match="did you mean 'population_size'"):
        check_settings("x", "y", made, {"memory": None, "population": 4}, also_known=["population_size", "seed"])


def test_a_missing_setting_is_named():
    with pytest.raises(MetapbtError, match="^missing setting of x y: memory$"):
        check_settings("x", "y", made, {})


class Typed:
    def __init__(self, space, on: bool = True, count: int = 3, share: "float" = 0.5, maybe: bool | None = None):
        pass


@pytest.mark.parametrize(
    ("setting", "right", "wrong", "words"),
    [
        ("on", [True, False], ["no", "off", 0, 1, None, ""], "true or false"),
        ("count", [2, "2", 2.0], [2.5, "x", True, None, [2]], "a whole number"),
        ("share", [1, 0.5, "1e-4"], ["x", True, None, {}], "a number"),
        ("maybe", [None, True, "whatever the class says of it"], [], ""),
    ],
)
def test_a_plain_type_takes_nothing_else(setting, right, wrong, words):
    """``no`` is a word, and counted as true: an ablation measured the opposite."""
    for value in right:
        check_settings("method", "typed", Typed, {setting: value})
    for value in wrong:
        with pytest.raises(MetapbtError, match=rf"^method\.{setting} must be {words}, got "):
            check_settings("method", "typed", Typed, {setting: value})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_a_setting_that_it_does_not_have(method):
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    with pytest.raises(MetapbtError, match=f"^unknown setting of method {method} 'temperature'"):
        make_explorer(method, space, temperature=1.0)
