import json

import pytest

from metapbt import Continue, Copy, Space, Tuner
from metapbt.errors import MetapbtError
from metapbt.explorers import METHODS
from metapbt.records import Memory

SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 9, "default": 4},
}


def settings(method):
    return {"memory": Memory({"feature": 1.0})} if method == "meta_pb2" else {}


def make(method="pbt", seed=0, **kwargs):
    return Tuner(SPACE, method, seed=seed, **kwargs, **settings(method))


def play(tuner, generations, first=0):
    """Train a made-up population: return grows faster the nearer x is to 0.7."""
    for generation in range(first, first + generations):
        returns = [-abs(a.hyperparameters["x"] - 0.7) * (generation + 1) for a in tuner.assignments]
        tuner.tell([10 * (generation + 1)] * len(returns), returns)
    return tuner


@pytest.mark.parametrize("method", METHODS)
def test_every_method_asks_and_tells(method):
    size = 4 if method == "grid" else 8  # the grid has four points
    tuner = make(method, population_size=size)
    configs = tuner.start()
    assert len(configs) == size
    for generation in range(3):
        decisions = tuner.tell([generation + 1] * size, [float(m * (generation + 1)) for m in range(size)])
        assert len(decisions) == size
        for member, decision in enumerate(decisions):
            if isinstance(decision, Copy):
                assert member in (0, 1)
                assert decision.parent in (6, 7)
                assert decision.hyperparameters in Space(SPACE)
            else:
                assert decision == Continue()


@pytest.mark.parametrize("method", METHODS)
def test_a_state_saved_as_json_in_the_middle_changes_nothing(method):
    straight = make(method)
    straight.start()
    play(straight, 4)

    first = make(method)
    first.start()
    play(first, 2)
    second = make(method)
    second.load_state(json.loads(json.dumps(first.state())))
    play(second, 2, first=2)

    assert json.dumps(second.state()) == json.dumps(straight.state())


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_everything(method):
    states = []
    for seed in (3, 3, 4):
        tuner = make(method, seed)
        tuner.start()
        states.append(json.dumps(play(tuner, 3).state()))
    assert states[0] == states[1]
    if method not in ("default", "grid"):
        assert states[0] != states[2]


def test_default_and_random_never_copy():
    for method in ("default", "random"):
        tuner = make(method)
        tuner.start()
        assert play(tuner, 3).tell([100] * 4, [1.0, 2.0, 3.0, 4.0]) == [Continue()] * 4


def test_starting_twice_gives_the_same_configurations():
    tuner = make()
    assert tuner.start() == tuner.start()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 0}, "population.size must be >= 1, got 0"),
        ({"quantile": 0.7}, r"population.quantile must be in \[0, 0.5\], got 0.7"),
        ({"method": "pb3"}, "unknown method 'pb3'; did you mean"),
        ({"metric": "loss"}, "population.metric must be one of train_return, eval_return, got loss"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"method": "pbt", "resample_probability": 2}, r"method.resample_probability must be in \[0, 1\]"),
        ({"method": "pbt", "factors": [0]}, "method.factors must be positive"),
        ({"method": "pbt", "sigma": 2}, "method 'pbt': .*sigma"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(MetapbtError, match=message):
        Tuner(SPACE, **arguments)


def test_bad_reports_are_named():
    tuner = make()
    with pytest.raises(MetapbtError, match="call start first"):
        tuner.tell([1] * 4, [0.0] * 4)
    tuner.start()
    with pytest.raises(MetapbtError, match="4 members need as many env_steps and returns, got 3 and 4"):
        tuner.tell([1] * 3, [0.0] * 4)
    tuner.tell([1] * 4, [0.0] * 4)
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond 1, got 1"):
        tuner.tell([1] * 4, [0.0] * 4)
    with pytest.raises(MetapbtError, match="the state is of 4 members, this tuner has 2"):
        make(population_size=2).load_state(tuner.state())


def test_an_explorer_of_ones_own_is_named_by_its_module():
    tuner = Tuner(SPACE, "metapbt.explorers.random:RandomExplorer", seed=5)
    assert tuner.start() == Tuner(SPACE, "random", seed=5).start()


def test_given_configurations_go_to_the_first_members_and_the_method_chooses_the_others():
    given = [{"x": 0.25, "n": 3}, {"x": 0.75, "n": 5}]
    tuner = make(initial=given)
    configs = tuner.start()
    assert configs[:2] == given
    assert [a.source for a in tuner.assignments] == ["given", "given", "random", "random"]
    assert configs[2:] == make().start()[2:]
    with pytest.raises(MetapbtError, match="x must be in"):
        make(initial=[{"x": 7.0, "n": 3}])
    with pytest.raises(MetapbtError, match="initial has 5 configurations for 4 members"):
        make(initial=[given[0]] * 5)


def test_a_constraint_has_the_last_word_on_every_new_configuration():
    seen = []

    def at_most_half(hyperparameters):
        seen.append(hyperparameters)
        return {**hyperparameters, "x": min(hyperparameters["x"], 0.5)}

    tuner = make(constraint=at_most_half)
    tuner.start()
    play(tuner, 5)
    assert all(r.hyperparameters["x"] <= 0.5 for r in tuner.history)
    assert len(seen) == 4 + 5
    assert any(h["x"] > 0.5 for h in seen)
    with pytest.raises(MetapbtError, match="x must be in"):
        make(constraint=lambda h: {**h, "x": -1.0}).start()
