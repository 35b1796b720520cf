"""Points of the unit cube and the configurations that they stand for."""

import numpy as np

from metapbt.memory.points import legal_points
from metapbt.space import Space

EVERY_KIND = Space(
    {
        "x": {"type": "float", "low": 0.1, "high": 3.0},
        "rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
        "gamma": {"type": "float", "low": 0.9, "high": 0.999, "log": True, "complement": True},
        "steps": {"type": "float", "low": 0.005, "high": 0.0101, "step": 0.0005},
        "clip": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.05},
        "epochs": {"type": "int", "low": 3, "high": 30},
        "width": {"type": "int", "low": 2, "high": 300, "log": True},
        "batch": {"type": "int", "low": 32, "high": 1000, "factor": 2},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
        "of_a": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.3, "when": {"kind": "a"}},
        "of_clip": {"type": "float", "low": 0.0, "high": 1.0, "when": {"clip": [0.25, 0.3]}},
        "many": {"type": "int", "low": 1, "high": 9, "when": {"epochs": [3, 4, 5, 6, 7, 8, 9, 10]}},
    }
)


def test_legal_points_are_those_of_the_configurations_at_any_points():
    points = np.random.default_rng(0).random((500, len(EVERY_KIND)))
    points[:20] = np.round(points[:20])  # corners, too
    configurations = [EVERY_KIND.from_unit(point) for point in points]
    assert {"many" in each for each in configurations} == {"of_a" in each for each in configurations} == {True, False}
    legal = legal_points(points, EVERY_KIND)
    wanted = np.array([EVERY_KIND.to_unit(each) for each in configurations])
    np.testing.assert_allclose(legal, wanted, atol=1e-9)
    few = [place for place, p in enumerate(EVERY_KIND.parameters) if p.kind != "float" or p.step is not None]
    np.testing.assert_array_equal(legal[:, few], wanted[:, few])  # to the last bit, for they are told apart by it
    assert [EVERY_KIND.from_unit(point) for point in legal] == configurations
    np.testing.assert_array_equal(legal_points(legal, EVERY_KIND), legal)
    assert legal_points(np.empty((0, len(EVERY_KIND))), EVERY_KIND).shape == (0, len(EVERY_KIND))


def test_numbers_without_steps_stay_as_they_are():
    space = Space({name: {"type": "float", "low": 0.0, "high": 5.0} for name in "ab"})
    points = np.random.default_rng(1).random((50, 2))
    np.testing.assert_array_equal(legal_points(points, space), points)
