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
    check_settings("setting", made, {"levels", "memory"})
    check_settings("setting", strict, {"whatever"})


@pytest.mark.parametrize("name", ["level", "space", "levelz"])
def test_an_unknown_setting_is_named_with_the_nearest_known_one(name):
    with pytest.raises(MetapbtError, match=f"^unknown setting of x '{name}'.*known: levels, memory"):
        check_settings("setting of x", made, ["memory", name])


def test_a_setting_that_would_be_right_beside_is_hinted_at():
    with pytest.raises(MetapbtError, match="did you mean 'population_size'"):
        check_settings("setting", made, ["memory", "population"], also_known=["population_size", "seed"])


def test_a_missing_setting_is_named():
    with pytest.raises(MetapbtError, match="^missing setting of x: memory$"):
        check_settings("setting of x", made, [])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_a_setting_that_it_does_not_have(method):
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    with pytest.raises(MetapbtError, match=f"^unknown setting of method {method} 'temperature'"):
        make_explorer(method, space, temperature=1.0)
