"""A round trip over a space's corners finds what training would find."""

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.learners.corners import DoesNotFit, check_corners
from metapbt.space import Space

SPACE = Space(
    {
        "rate": {"type": "float", "low": 0.1, "high": 0.9, "default": 0.5},
        "count": {"type": "int", "low": 1, "high": 10, "default": 4},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
        "width": {"type": "categorical", "choices": [8, 16], "default": 8, "role": "architecture"},
    }
)


def checked(fault, space=SPACE):
    """Check a learner that says what is wrong with a training; returns all that it was asked for."""
    asked = []

    def trial(hyperparameters, start):
        before = None if start is None else {name: array.item() for name, array in start.items()}
        asked.append((hyperparameters, before))
        error = fault(hyperparameters, before)
        if error is not None:
            raise error
        return {name: np.array(value) for name, value in hyperparameters.items()}

    check_corners("toy", space, trial)
    return asked


def test_every_corner_is_trained_from_the_default_and_back_unless_its_network_is_another():
    asked = checked(lambda chosen, before: None)
    tried = [chosen for chosen, _ in asked]
    assert all(corner in tried for corner in SPACE.corners())
    assert all(before is None or before["width"] == chosen["width"] for chosen, before in asked)
    default = SPACE.default()
    for name in ("rate", "count", "kind"):
        changes = {(chosen[name], before[name]) for chosen, before in asked if before}
        values = {corner[name] for corner in SPACE.corners()} - {default[name]}
        assert changes >= {(value, default[name]) for value in values} | {(default[name], value) for value in values}


def boom(text="boom"):
    return RuntimeError(text)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            lambda now, _: boom() if now["count"] < 2 else None,
            "space.count=1 cannot be trained by toy: RuntimeError: boom",
        ),
        (lambda now, _: boom() if now["kind"] == "b" else None, "space.kind='b' cannot be trained by toy"),
        # Only together:
        (
            lambda now, _: boom() if now["kind"] == "c" and now["rate"] > 0.8 else None,
            "space.rate=0.9 with space.count=10 with space.kind='c' .*cannot be trained by toy",
        ),
        # Only after a restore, from the other:
        (lambda now, was: boom() if was and was["kind"] != now["kind"] else None, "space.kind='b' cannot be trained"),
        # The default itself:
        (lambda now, _: boom() if 2 < now["count"] < 8 else None, "space.count=4 cannot be trained by toy"),
        (lambda now, _: boom("never\nanywhere"), "toy cannot be set up: RuntimeError: never anywhere"),
        (lambda now, _: KeyError("x") if now["rate"] < 0.2 else None, "space.rate=0.1 .*KeyError: 'x'"),
        (lambda now, _: ValueError() if now["rate"] < 0.2 else None, "space.rate=0.1 cannot .*toy: ValueError"),
        (
            lambda now, was: DoesNotFit("no") if was and was["kind"] != now["kind"] else None,
            "space.kind='b' changes the network, .* needs `role: architecture`",
        ),
    ],
)
def test_the_hyperparameter_to_blame_is_named_in_one_line(fault, message):
    with pytest.raises(MetapbtError, match=message) as caught:
        checked(fault)
    assert "\n" not in str(caught.value)


def test_what_exists_only_with_another_is_tried_with_it():
    space = Space(
        {
            "kind": {"type": "categorical", "choices": ["a", "b"], "default": "a"},
            "of_b": {"type": "int", "low": 1, "high": 9, "default": 5, "when": {"kind": "b"}},
        }
    )
    with pytest.raises(MetapbtError, match="space.of_b=9 with space.kind='b' cannot be trained"):
        checked(lambda now, _: boom() if now.get("of_b", 0) > 8 else None, space)
