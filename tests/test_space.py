from collections import Counter

import numpy as np
import pytest
from omegaconf import OmegaConf

from metapbt.errors import MetapbtError
from metapbt.space import Space

EVERYTHING = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True, "default": 3e-4},
    "n_epochs": {"type": "int", "low": 3, "high": 30},
    "activation": {"type": "categorical", "choices": ["tanh", True, 3], "default": 3},
    "optimizer": {
        "momentum": {
            "type": "float",
            "low": 0.0,
            "high": 1.0,
            "default": 0.9,
            "when": {"activation": ["tanh", 3]},
        },
        "nesterov": {"type": "categorical", "choices": [True, False], "when": {"optimizer.momentum": 0.9}},
    },
}


def test_nested_names_are_joined_by_dots_in_the_order_written():
    names = ("learning_rate", "n_epochs", "activation", "optimizer.momentum", "optimizer.nesterov")
    assert Space(EVERYTHING).names == names


def test_the_default_configuration_holds_the_defaults():
    default = Space(EVERYTHING).default()
    assert default["learning_rate"] == 3e-4
    assert default["activation"] == 3
    assert default["optimizer.momentum"] == 0.9


def test_every_sample_survives_the_way_to_the_unit_cube_and_back():
    space, rng = Space(EVERYTHING), np.random.default_rng(0)
    for _ in range(200):
        drawn = space.sample(rng)
        back = space.from_unit(space.to_unit(drawn))
        assert back.keys() == drawn.keys()
        for name, value in drawn.items():
            assert type(back[name]) is type(value)
            assert back[name] == pytest.approx(value, rel=1e-12) if isinstance(value, float) else back[name] == value


def test_a_log_scale_has_its_geometric_mean_in_the_middle():
    space = Space({"rate": EVERYTHING["learning_rate"]})
    assert space.from_unit([0.5])["rate"] == pytest.approx(1e-4)
    assert space.from_unit([0.0])["rate"] == 1e-5
    assert space.from_unit([1.7])["rate"] == 1e-3  # clipped


DISCOUNT = {"type": "float", "low": 0.9, "high": 0.9999, "complement": True, "log": True}


def test_a_complement_on_a_log_scale_has_distances_from_one_evenly():
    space = Space({"gamma": DISCOUNT})
    for unit, gamma in [(0, 0.9), (1 / 3, 0.99), (2 / 3, 0.999), (1, 0.9999)]:
        assert space.from_unit([unit])["gamma"] == pytest.approx(gamma, abs=1e-15)
        assert space.to_unit({"gamma": gamma}) == pytest.approx([unit], abs=1e-9)
        assert space.parameters[0].coordinates(np.array([gamma])) == pytest.approx([unit], abs=1e-9)
    assert [space.from_unit([unit])["gamma"] for unit in (0.0, 1.0)] == [0.9, 0.9999]
    assert space.default()["gamma"] == pytest.approx(1 - 10**-2.5, abs=1e-9)
    rng = np.random.default_rng(0)
    drawn = np.array([space.sample(rng)["gamma"] for _ in range(3000)])
    for share, quantile in [(1 / 3, 0.99), (2 / 3, 0.999)]:  # as many in each third
        assert np.mean(drawn < quantile) == pytest.approx(share, abs=0.03)


def test_a_complement_on_a_linear_scale_has_the_coordinates_of_the_number_itself():
    entry = {"type": "float", "low": 0.9, "high": 1.0, "default": 0.95}
    plain, complement = Space({"gae_lambda": entry}), Space({"gae_lambda": {**entry, "complement": True}})
    for unit in np.linspace(0, 1, 9):
        assert complement.from_unit([unit])["gae_lambda"] == pytest.approx(plain.from_unit([unit])["gae_lambda"])
    assert [complement.from_unit([unit])["gae_lambda"] for unit in (0.0, 0.5, 1.0)] == [0.9, 0.95, 1.0]


def test_integers_and_categories_are_drawn_equally_often():
    space = Space({"n": {"type": "int", "low": 1, "high": 4}, "c": {"type": "categorical", "choices": list("abcd")}})
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(4000)]
    assert all(abs([d["n"] for d in drawn].count(n) - 1000) < 120 for n in range(1, 5))
    assert all(abs([d["c"] for d in drawn].count(c) - 1000) < 120 for c in "abcd")


def test_several_conditions_must_all_be_met():
    space = Space(
        {
            "a": {"type": "categorical", "choices": [1, 2]},
            "b": {"type": "categorical", "choices": ["x", "y"]},
            "c": {"type": "float", "low": 0.0, "high": 1.0, "when": {"a": 1, "b": "x"}},
        }
    )
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(50)]
    assert {("c" in d, (d["a"], d["b"]) == (1, "x")) for d in drawn} == {(True, True), (False, False)}


def test_a_condition_that_is_not_met_removes_the_hyperparameter():
    space, rng = Space(EVERYTHING), np.random.default_rng(1)
    for _ in range(50):
        drawn = space.sample(rng)
        assert ("optimizer.momentum" in drawn) == (drawn["activation"] in ("tanh", 3))
        assert ("optimizer.nesterov" in drawn) <= ("optimizer.momentum" in drawn)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"a": {"type": "float", "low": 2, "high": 1}}, "space.a.low must be < high"),
        ({"a": {"b": {"type": "int", "low": 1, "high": 1}}}, r"space.a.b.low must be < high"),
        (
            {"a": {"type": "float", "low": 0, "high": 1, "log": True}},
            "space.a.low must be > 0 for a log scale",
        ),
        ({"a": {"type": "flot", "low": 0, "high": 1}}, "unknown space.a.type 'flot'; did you mean 'float'"),
        ({"a": {"type": "categorical", "choices": []}}, "space.a.choices must be a list of at least one"),
        ({"a": {"type": "categorical", "choices": ["x", "x"]}}, "space.a.choices must differ"),
        ({"a": {"type": "float", "low": "x", "high": 1}}, "space.a.low must be a number, got 'x'"),
        ({"a": {"type": "int", "low": 1, "high": 2.5}}, "space.a.high must be an integer, got 2.5"),
        ({"a": {"type": "int", "low": 1, "high": 4, "default": 9}}, "space.a.default must be within"),
        ({"a": {"type": "int", "low": 1, "high": 4, "defalt": 2}}, "did you mean 'default'"),
        (
            {"a": {"type": "int", "low": 1, "high": 4, "role": "architectur"}},
            r"^unknown space.a.role 'architectur'; did you mean 'architecture'\? \(known: architecture\)$",
        ),
        (
            {
                "a": {"type": "int", "low": 1, "high": 4},
                "b": {"type": "int", "low": 1, "high": 4, "role": "architecture", "when": {"a": 2}},
            },
            "^space.b.when: a must have the role architecture, as b has$",
        ),
        (
            {"a": {"type": "float", "low": 0.9, "high": 1.0, "log": True, "complement": True}},
            r"^space.a.high must be <= 1 - 1e-06 for a log scale of 1 - a, got 1$",
        ),
        (
            {"a": {"type": "float", "low": 0.9, "high": 1.1, "complement": True}},
            r"^space.a.high must be <= 1, for 1 - a is tuned, got 1.1$",
        ),
        (
            {"a": {"type": "float", "low": 0.9, "high": 0.99, "complement": "log"}},
            "^space.a.complement must be true or false, got 'log'$",
        ),
        ({"a": {"type": "int", "low": 1, "high": 4, "complement": True}}, "unknown key of space.a 'complement'"),
        ({"a": {"low": 1, "high": 4}}, "space.a.type is missing"),
        ({"a": 3}, "space.a must be a mapping"),
        ({}, "names no hyperparameters"),
        (
            {"a": {"type": "int", "low": 1, "high": 4, "when": {"b": 1}}},
            "unknown hyperparameter in space.a.when 'b'",
        ),
    ],
)
def test_a_bad_specification_is_named_with_its_key(specification, message):
    with pytest.raises(MetapbtError, match=message):
        Space(specification)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1.0}, "learning_rate must be in"),
        ({"n_epochs": 3.5}, "n_epochs must be an integer in"),
        ({"activation": "relu"}, "activation must be one of"),
        ({"learnin_rate": 1e-4}, "did you mean 'learning_rate'"),
    ],
)
def test_a_configuration_from_outside_is_refused(change, message):
    space = Space(EVERYTHING)
    with pytest.raises(MetapbtError, match=message):
        space.check({**space.default(), **change})
    assert {**space.default(), **change} not in space


def test_a_configuration_that_lacks_a_hyperparameter_is_refused():
    with pytest.raises(MetapbtError, match="missing hyperparameters: n_epochs"):
        Space({k: EVERYTHING[k] for k in ("learning_rate", "n_epochs")}).check({"learning_rate": 1e-4})


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1e-4, 1e-2), (1e-5, 1e-3), (0.005, 0.1), (1, 3), (0.9, 0.999), (3e-7, 7e5)])
def test_bounds_and_defaults_come_back_exactly_as_they_were_written(low, high, log):
    for share in np.linspace(0, 1, 23):
        default = float(low + share * (high - low))
        space = Space({"x": {"type": "float", "low": low, "high": high, "log": log, "default": default}})
        for value, coordinate in ((low, 0.0), (high, 1.0)):
            assert space.to_unit({"x": value}).tolist() == [coordinate]
            back = space.from_unit([coordinate])["x"]
            assert back == value
            assert type(back) is float
        assert space.from_unit(space.to_unit(space.default())) == space.default() == {"x": default}


def test_no_float_but_bounds_and_default_is_rounded():
    space = Space({"rate": EVERYTHING["learning_rate"]})
    found = {space.from_unit([u])["rate"] for u in np.linspace(0, 1, 10_001)}
    assert len(found) == 10_001


NETWORK = {
    "rate": {"type": "float", "low": 0.0, "high": 1.0},
    "encoder": {"type": "categorical", "choices": ["flat", "deep"], "role": "architecture"},
    "width": {"type": "float", "low": 1.0, "high": 300.0, "log": True, "role": "architecture"},
    "depth": {"type": "int", "low": 1, "high": 9, "role": "architecture", "when": {"encoder": "deep"}},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5, "when": {"encoder": "deep"}},
    "decay": {"type": "float", "low": 0.0, "high": 0.5, "when": {"rate": 1.0}},
}


def test_a_space_names_what_changes_the_network():
    assert Space(NETWORK).architecture == ("encoder", "width", "depth")
    assert Space(EVERYTHING).architecture == ()
    assert [p.role for p in Space(NETWORK).parameters][:2] == [None, "architecture"]


def test_a_copy_has_exactly_its_parents_network_and_otherwise_what_was_proposed():
    space, rng = Space(NETWORK), np.random.default_rng(0)
    for _ in range(200):
        proposed, parent = space.sample(rng), space.sample(rng)
        copy = space.with_architecture_of(proposed, parent)
        space.check(copy)
        assert {n: copy.get(n) for n in space.architecture} == {n: parent.get(n) for n in space.architecture}
        assert copy["rate"] == proposed["rate"]
        assert ("dropout" in copy) == (parent["encoder"] == "deep")
        if "dropout" in copy:
            assert copy["dropout"] == proposed.get("dropout", parent["dropout"])


def test_a_condition_on_what_was_proposed_still_holds_on_the_parents_network():
    space = Space(NETWORK)
    parent = {"rate": 0.5, "encoder": "flat", "width": 7.3}
    proposed = {"rate": 1.0, "encoder": "deep", "width": 1.0, "depth": 2, "dropout": 0.1, "decay": 0.2}
    expected = {"rate": 1.0, "encoder": "flat", "width": 7.3, "decay": 0.2}
    assert space.with_architecture_of(proposed, parent) == expected
    expected = {"rate": 0.5, "encoder": "deep", "width": 1.0, "depth": 2, "dropout": 0.1}
    assert space.with_architecture_of(parent, proposed) == expected


def test_given_values_are_neither_drawn_nor_rounded():
    space, rng = Space(NETWORK), np.random.default_rng(0)
    given = {"encoder": "deep", "width": 123.456789, "depth": 4}
    for _ in range(50):
        for found in (space.sample(rng, given), space.from_unit(rng.random(len(space)), given)):
            space.check(found)
            assert {name: found[name] for name in given} == given
            assert "dropout" in found


def test_corners_hold_every_bound_alone_and_together_and_every_category():
    space = Space(
        {
            "lr": {"type": "float", "low": 0.1, "high": 0.9, "default": 0.5},
            "n": {"type": "int", "low": 1, "high": 5, "default": 2},
            "act": {"type": "categorical", "choices": ["tanh", "relu", "elu"]},
            "slope": {"type": "float", "low": 0.0, "high": 1.0, "when": {"act": "elu"}},
        }
    )
    corners = space.corners()
    assert corners[0] == space.default()
    assert all(corner in space for corner in corners)
    assert {corner["act"] for corner in corners} == {"tanh", "relu", "elu"}
    assert {"lr": 0.1, "n": 2, "act": "tanh"} in corners
    assert {"lr": 0.9, "n": 5, "act": "elu", "slope": 1.0} in corners
    assert len({str(corner) for corner in corners}) == len(corners)


def test_a_factor_makes_integers_equally_likely_and_equally_far_apart():
    space = Space({"width": {"type": "int", "low": 16, "high": 130, "factor": 2, "default": 64}})
    (width,) = space.parameters
    legal = [16, 32, 64, 128]
    assert space.default() == {"width": 64}
    assert width.extremes == (16, 128)
    np.testing.assert_allclose([width.to_unit(value) for value in legal], [0, 1 / 3, 2 / 3, 1], atol=1e-12)
    assert [width.from_unit(width.to_unit(value)) for value in legal] == legal
    assert {width.from_unit(u) for u in np.linspace(0, 1, 101)} == set(legal)
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng)["width"] for _ in range(2000)]
    assert all(abs(drawn.count(value) - 500) < 100 for value in legal)
    assert [width.neighbours(value) for value in legal] == [(16, 32), (16, 64), (32, 128), (64, 128)]
    np.testing.assert_allclose(
        width.coordinates(np.array([16.0, 17.0, 128.0, 130.0, 256.0])), [0, np.nan, 1, np.nan, np.nan], atol=1e-12
    )
    for wrong in (48, 130, 8, 64.5):
        with pytest.raises(MetapbtError, match=r"width must be 16 times a power of 2, an integer in \[16, 130\], got"):
            space.check({"width": wrong})


@pytest.mark.parametrize(
    "entry", [{"high": 30}, {"low": 0}, {"factor": 1}, {"factor": -2}, {"factor": 2.5}, {"type": "float"}]
)
def test_a_factor_that_leads_nowhere_is_refused(entry):
    with pytest.raises(MetapbtError, match="space.n(.factor must be| )|key of space.n 'factor'"):
        Space({"n": {"type": "int", "low": 16, "high": 64, "factor": 2, **entry}})


def test_points_that_are_spread_give_whole_numbers_and_steps_equal_shares():
    space = Space(
        {"n": {"type": "int", "low": 1, "high": 3}, "f": {"type": "int", "low": 64, "high": 1024, "factor": 2},
         "s": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1}, "c": {"type": "categorical", "choices": [1, 2]},
         "x": {"type": "float", "low": 0.0, "high": 1.0}}
    )  # fmt: skip
    grid = [space.spread(np.full(5, (place + 0.5) / 60)) for place in range(60)]
    for name, values in (("n", 3), ("f", 5), ("s", 5), ("c", 2)):
        assert Counter(found[name] for found in grid) == dict.fromkeys({f[name] for f in grid}, 60 // values)
    assert [found["x"] for found in grid] == pytest.approx([(place + 0.5) / 60 for place in range(60)])
    ends = [space.spread(np.full(5, end)) for end in (0.0, 1.0)]
    assert [list(found.values()) for found in ends] == [[1, 64, 0.1, 1, 0.0], [3, 1024, 0.5, 2, 1.0]]
    log = Space({"n": {"type": "int", "low": 1, "high": 4, "log": True}})
    assert [log.spread(np.array([u]))["n"] for u in (0.0, 0.42, 0.44, 0.69, 0.87, 1.0)] == [1, 1, 2, 3, 4, 4]


def test_every_step_is_drawn_equally_often():
    space = Space({"x": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1}})
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng)["x"] for _ in range(4000)]
    shares = np.unique(drawn, return_counts=True)[1] / 4000
    assert shares == pytest.approx([0.2] * 5, abs=0.02)


def test_lists_of_omegaconf_are_lists():
    space = OmegaConf.create({"a": {"type": "categorical", "choices": ["x", "y"]}})
    assert Space(space).names == Space(OmegaConf.to_container(space)).names
