"""``selection.backtrack``: weights of the best checkpoint ever, hyperparameters around those of the best of now."""

import json
import math

import pytest

from metapbt import Continue, Copy, Tuner
from metapbt.history import Ref
from metapbt.population.explorers.random import RandomExplorer


def halved(first=(0.1, 0.2, 0.3, 0.4), method="pbt", space=None, **options):
    """A tuner that goes back to the best checkpoint ever; its copies have half of the number that is explored."""
    if method == "pbt":
        options = {"factors": [0.5], "resample_probability": 0.0}
    space = space or {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    initial = [x if isinstance(x, dict) else {"x": x} for x in first]
    selection = {"name": "truncation", "backtrack": True}
    return Tuner(space, method, 4, seed=0, initial=initial, selection=selection, **options)


def test_who_goes_back_to_the_best_ever_explores_from_the_best_of_now():
    """Weights of then, hyperparameters of now, as in BG-PBT's published code; the row begins where the weights did."""
    tuner = halved()
    tuner.start()
    assert tuner.tell([10] * 4, [1.0, 2.0, 3.0, 9.0])[0] == Copy(Ref(0, 3), {"x": 0.2})
    decisions = tuner.tell([20] * 4, [1.0, 2.0, 8.0, 4.0])
    assert decisions == [Copy(Ref(0, 3), {"x": 0.15}), Continue(), Continue(), Continue()]
    again = halved()
    again.load_state(json.loads(json.dumps(tuner.state())))
    for each in (tuner, again):
        each.tell([20, 30, 30, 30], [8.5, 2.0, 3.0, 7.0])
        assert each.assignments[1].decision == Copy(Ref(0, 3), {"x": 0.075})
        row = each.history.transition(each.history.at(Ref(2, 0)))
        assert (row.steps_before, row.return_before, row.return_after) == (10, 9.0, 8.5)
        assert row.hyperparameters == {"x": 0.15}
    assert json.dumps(again.state()) == json.dumps(tuner.state())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_who_goes_back_while_nobody_has_a_return_explores_from_the_best_ever(bad):
    tuner = halved()
    tuner.start()
    tuner.tell([10] * 4, [1.0, 2.0, 3.0, 9.0])
    tuner.tell([20] * 4, [bad] * 4)
    assert [a.decision for a in tuner.assignments.values() if a.kind == "copy"] == [Copy(Ref(0, 3), {"x": 0.2})]


def test_the_trust_region_of_who_goes_back_lies_around_the_best_of_now():
    tuner = halved((0.1, 0.5, 0.9, 0.05), "bg_pbt", min_rows=1)
    tuner.start()
    tuner.tell([10] * 4, [1.0, 2.0, 3.0, 9.0])
    tuner.tell([20] * 4, [1.0, 2.0, 8.0, 4.0])
    copy = tuner.assignments[0]
    assert (copy.start, copy.source) == (Ref(0, 3), "surrogate")
    assert copy.hyperparameters["x"] >= 0.7


class Watching(RandomExplorer):
    """Remembers whom it was told of as parents."""

    copies = True
    parents = None

    def propose(self, children, parents, history, pending, rng):
        type(self).parents = [(parent.ref, parent.reached, parent.hyperparameters) for parent in parents]
        return self.start(len(parents), rng)


def test_what_is_explored_is_on_the_network_of_the_weights():
    space = {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "width": {"type": "int", "low": 1, "high": 9, "role": "architecture"},
        "scale": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5, "when": {"width": 4}},
    }
    first = [{"x": 0.1 * width, "width": width, **({"scale": 0.7} if width == 4 else {})} for width in (1, 2, 3, 4)]
    tuner = halved(first, f"{__name__}:Watching", space)
    tuner.start()
    tuner.tell([10] * 4, [1.0, 2.0, 3.0, 9.0])
    tuner.tell([20] * 4, [1.0, 2.0, 8.0, 4.0])
    asked = {"x": pytest.approx(0.3), "width": 4, "scale": 0.7}
    assert Watching.parents == [(Ref(0, 3), 9.0, asked)]
    assert tuner.assignments[0].hyperparameters["width"] == 4
