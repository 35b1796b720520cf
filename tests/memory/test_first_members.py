"""Which configurations a first generation begins with."""

from dataclasses import dataclass

import numpy as np

from metapbt.memory.first_members import promising, unlike
from metapbt.memory.points import legal_points
from metapbt.space import Space

SQUARE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in "xy"})
#: Six configurations.
SIX = Space({"x": {"type": "int", "low": 1, "high": 3}, "y": {"type": "categorical", "choices": ["a", "b"]}})


@dataclass(frozen=True)
class Uncertain:
    """An ensemble that knows nothing about small first coordinates, and everything about large ones."""

    def moments(self, x):
        return x[:, 0], 9.0 * (x[:, 0] < 0.3)

    def draws(self, x, count, rng):
        mean, variance = self.moments(x)
        return mean + np.sqrt(variance) * rng.standard_normal((count, len(x)))


def chosen(slope, space=SQUARE, count=2):
    """Some of two numbers' points, worth their first coordinate, and so much for each unit that they change by more."""
    return promising(
        space,
        lambda points, higher: points[:, 0] + slope * higher,
        Uncertain(),
        1.0,
        lambda points: points,
        np.empty((0, 2)),
        count,
        np.random.default_rng(0),
    )


def test_what_is_uncertain_counts_by_what_it_is_worth():
    """Where all catch up, a bad configuration does not become a good one by nobody knowing how bad it is at first."""
    assert chosen(slope=0.0).min(axis=0)[0] > 0.9
    assert chosen(slope=0.0)[0, 0] >= chosen(slope=0.0)[1, 0]  # the best comes first
    assert chosen(slope=1.0).min(axis=0)[0] < 0.3


def test_where_there_are_few_configurations_each_comes_once_before_any_comes_again():
    """Else half a population would train one configuration under other names."""
    for slope in (0.0, 1.0):
        points = chosen(slope, SIX, 4)
        np.testing.assert_array_equal(points, legal_points(points, SIX))
        others = unlike(SIX, points, 2, np.random.default_rng(0))
        assert len(np.unique(np.concatenate([points, others]), axis=0)) == 6
    many = chosen(0.0, SIX, 9)
    assert sorted(np.unique(many, axis=0, return_counts=True)[1]) == [1, 1, 1, 2, 2, 2]
    assert {tuple(point) for point in unlike(SIX, many, 3, np.random.default_rng(0))} <= {tuple(p) for p in many}
    assert unlike(SIX, many, 0, np.random.default_rng(0)).shape == (0, 2)


def test_those_who_fill_the_space_have_every_whole_number_equally_often():
    space = Space({"x": {"type": "int", "low": 1, "high": 4}, "y": {"type": "float", "low": 0.0, "high": 1.0}})
    points = unlike(space, np.empty((0, 2)), 64, np.random.default_rng(0))
    values = [space.from_unit(point)["x"] for point in points]
    assert [values.count(x) for x in (1, 2, 3, 4)] == [16, 16, 16, 16]
