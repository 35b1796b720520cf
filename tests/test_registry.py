import pytest

import metapbt
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


class Switched:
    def __init__(self, space, on: bool = True, off: "bool" = False, maybe: bool | None = None):
        pass


def test_a_switch_is_true_or_false():
    """``no`` is a word, and counted as true: an ablation measured the opposite."""
    for setting in ("on", "off"):
        check_settings("method", "x", Switched, {setting: True})
        check_settings("method", "x", Switched, {setting: False})
        for value in ("no", "off", 0, 1, None, ""):
            with pytest.raises(MetapbtError, match=rf"^method\.{setting} must be true or false, got "):
                check_settings("method", "x", Switched, {setting: value})
    check_settings("method", "x", Switched, {"maybe": "whatever the class says of it"})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_a_setting_that_it_does_not_have(method):
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    with pytest.raises(MetapbtError, match=f"^unknown setting of method {method} 'temperature'"):
        make_explorer(method, space, temperature=1.0)


class Duck:
    """No explorer and no selection, whatever it can do."""


def test_ones_own_method_or_selection_must_be_one():
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    with pytest.raises(MetapbtError, match="must be a class derived from metapbt.population.explorers.base:Explorer"):
        metapbt.Tuner(space, f"{__name__}:Duck")
    with pytest.raises(MetapbtError, match="must be a class derived from metapbt.population.selection.base:Selection"):
        metapbt.Tuner(space, "pbt", selection=f"{__name__}:Duck")
