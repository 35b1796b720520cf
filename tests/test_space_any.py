"""Whatever a specification holds: one line that names the key, or a space in which everything is legal and stable."""

import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapbt.errors import MetapbtError
from metapbt.plain import key, number
from metapbt.space import Space

MIXED = {
    "ent_coef": ["auto", 0.05],
    "max_features": ["auto", 0.1, 5],
    "numbers": [True, 1, 0, False, 2.0],
    "nothing": [None, "None", "null", 0.0, 0],
    "texts": ["1", 1, "a,b", "line\nbreak", "", "Ü ☃"],
    "net_arch": [[64, 64], [256], []],
    "schedule": [{"kind": "linear", "to": 0.0}, {"kind": "constant"}, "constant"],
}

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def categories(name):
    return {name: {"type": "categorical", "choices": MIXED[name]}}


def same(one, other):
    return key(one) == key(other)


@pytest.mark.parametrize("name", MIXED)
def test_categories_may_be_any_plain_data_of_several_types(name):
    choices = MIXED[name]
    space, rng = Space(categories(name)), np.random.default_rng(0)
    (parameter,) = space.parameters
    drawn = [space.sample(rng)[name] for _ in range(40 * len(choices))]
    assert {key(value) for value in drawn} == {key(choice) for choice in choices}
    assert [space.to_unit({name: choice})[0] * len(choices) for choice in choices] == pytest.approx(
        [place + 0.5 for place in range(len(choices))]
    )
    for place, choice in enumerate(choices):
        back = space.from_unit(space.to_unit({name: choice}))[name]
        assert type(back) is type(choice)
        assert same(back, choice)
        assert same(space.checked({name: json.loads(json.dumps(choice))})[name], choice)
        lower, higher = parameter.neighbours(choice)
        assert same(lower, choices[max(place - 1, 0)])
        assert same(higher, choices[min(place + 1, len(choices) - 1)])
        default = Space({name: {**categories(name)[name], "default": choice}}).default()
        assert same(default, {name: choice})
    assert {key(corner[name]) for corner in space.corners()} == {key(choice) for choice in choices}


@pytest.mark.parametrize("name", MIXED)
def test_conditions_tell_such_categories_apart(name):
    for wanted in MIXED[name]:
        space = Space({**categories(name), "b": {"type": "float", "low": 0, "high": 1, "when": {name: wanted}}})
        for value in MIXED[name]:
            configuration = space.from_unit([space.to_unit({name: value, "b": 0.5})[0], 0.5])
            assert ("b" in configuration) == same(value, wanted)
        assert any("b" in corner for corner in space.corners())
    several = Space({**categories(name), "b": {"type": "float", "low": 0, "high": 1, "when": {name: MIXED[name][:2]}}})
    rng = np.random.default_rng(0)
    for configuration in (several.sample(rng) for _ in range(60)):
        assert ("b" in configuration) == any(same(configuration[name], value) for value in MIXED[name][:2])


def test_tuples_arrays_and_numbers_of_numpy_become_plain_data_at_once():
    space = Space({"net": {"type": "categorical", "choices": ((64, 64), np.array([256])), "default": (64, 64)}})
    assert space.default() == {"net": [64, 64]}
    assert ({"net": (64, 64)}) in space
    assert ({"net": np.array([256])}) in space
    assert space.checked({"net": (256,)}) == {"net": [256]}


def test_what_a_caller_does_with_a_value_changes_no_space():
    written = [[64, 64], [256]]
    space = Space({"net": {"type": "categorical", "choices": written}})
    written[0].append(1)
    for configuration in (space.default(), space.from_unit([0.1]), space.corners()[0], space.checked(space.default())):
        configuration["net"].append(2)
    assert space.default() == {"net": [64, 64]}


def test_corners_reach_what_exists_only_under_conditions():
    space = Space(
        {
            "opt": {"type": "categorical", "choices": ["adam", "sgd", "none"]},
            "nesterov": {"type": "categorical", "choices": [True, False, "auto"], "when": {"opt": "sgd"}},
            "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"nesterov": ["auto"]}},
        }
    )
    seen = {(name, key(value)) for corner in space.corners() for name, value in corner.items()}
    assert {("nesterov", key(value)) for value in (True, False, "auto")} <= seen
    assert {("momentum", "0.0"), ("momentum", "0.9")} <= seen
    assert all(corner in space for corner in space.corners())


@pytest.mark.parametrize(
    "written", ["1e-4", " 1e-4".strip(), Decimal("0.0001"), Fraction(1, 10_000), np.float32(1e-4), np.array(1e-4)]
)
def test_a_bound_may_be_any_number_and_text_that_yaml_took_for_none(written):
    space = Space({"lr": {"type": "float", "low": written, "high": 1, "log": True, "default": np.float64(0.5)}})
    assert space.from_unit([0.0]) == {"lr": 1e-4}
    assert type(space.default()["lr"]) is float


def test_a_number_of_32_bits_is_the_decimal_that_it_was_written_as():
    space = Space({"lr": {"type": "float", "low": 0.0, "high": 0.1}, "n": {"type": "int", "low": 1, "high": "1e3"}})
    assert space.checked({"lr": np.float32(0.1), "n": np.int64(7)}) == {"lr": 0.1, "n": 7}
    assert space.checked({"lr": 0, "n": 7.0}) == {"lr": 0.0, "n": 7}
    assert [type(value) for value in space.checked({"lr": 0, "n": 7.0}).values()] == [float, int]


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (None, "space must map names to hyperparameters, got None"),
        ([{"a": 1}], "space must map names to hyperparameters, got "),
        ({"a": {"type": "float", "low": 0, "high": math.inf}}, "space.a.high must be a finite number, got inf"),
        ({"a": {"type": "float", "low": math.nan, "high": 1}}, "space.a.low must be a finite number, got nan"),
        ({"a": {"type": "float", "low": 0, "high": 10**400}}, "space.a.high must be a finite number, got 1000"),
        ({"a": {"type": "int", "low": 0, "high": 2**63}}, r"space.a.high must be from -2\*\*53 to 2\*\*53, got 9223"),
        ({"a": {"type": "int", "low": 0, "high": math.inf}}, "space.a.high must be "),
        ({"a": {"type": "float", "low": -1e308, "high": 1e308}}, "space.a.low and high are too near or too far apart"),
        ({"a": {"type": "float", "low": True, "high": 2}}, "space.a.low must be a number, got True"),
        ({"a": {"type": "float", "low": 1.0, "high": 1 + 1e-17}}, "space.a.low must be < high"),
        (
            {"a": {"type": "float", "low": 1e300, "high": math.nextafter(1e300, 2e300), "log": True}},
            "space.a.low and high are too near or too far apart",
        ),
        ({"a": {"type": "float", "low": 0, "high": 1, "log": "yes"}}, "space.a.log must be true or false, got 'yes'"),
        ({"a": {"type": "float", "low": 0, "high": 1, "step": 1e-12}}, "space.a.step is too fine"),
        (
            {"a": {"type": "float", "low": 0, "high": 1, "step": 0.25, "default": 0.3}},
            r"space.a.default must be within \[0.0, 1.0\] and a multiple of 0.25 above 0, got 0.3",
        ),
        ({"a": {"type": "float", "low": 0, "high": 1, "default": True}}, "space.a.default must be within"),
        ({"a": {"type": "float", "low": 0, "high": 1, "default": math.nan}}, "space.a.default must be within"),
        ({"a": {"type": 3}}, "unknown space.a.type '3'"),
        ({"a": {"type": "categorical", "choices": [math.nan]}}, "space.a.choices must be text, a number, true"),
        ({"a": {"type": "categorical", "choices": [{1: 2}]}}, "space.a.choices must be text, a number, true"),
        ({"a": {"type": "categorical", "choices": [object()]}}, "space.a.choices must be text, a number, true"),
        ({"a": {"type": "categorical", "choices": {"x": 1}}}, "space.a.choices must be a list"),
        ({"a": {"type": "categorical", "choices": [[1], (1,)]}}, "space.a.choices must differ"),
        (
            {"a.b": {"type": "int", "low": 0, "high": 1}, "a": {"b": {"type": "int", "low": 0, "high": 1}}},
            "there twice",
        ),
        ({1: {"type": "int", "low": 0, "high": 1}}, r"space.1: a name must be text, got 1 \(put quotes around it\)"),
        ({True: {"type": "int", "low": 0, "high": 1}}, "space.True: a name must be text, got True"),
        *(
            ({name: {"type": "int", "low": 0, "high": 1}}, "space: a name must be at most 200 letters, digits")
            for name in ("", "a/b", "a=b", "a\nb", "a b", ".", "a..b", "x" * 201)
        ),
        ({"a": {"type": "int", "low": 0, "high": 1, "when": {"a": 1}}}, "unknown hyperparameter in space.a.when 'a'"),
        (
            {
                "a": {"type": "categorical", "choices": ["x", "y"], "when": {"b": "u"}},
                "b": {"type": "categorical", "choices": ["u", "v"], "when": {"a": "x"}},
            },
            "space: conditions go round in a circle: ",
        ),
        (
            {
                "a": {"type": "categorical", "choices": [1, 2]},
                "b": {"type": "int", "low": 0, "high": 1, "when": {"a": True}},
            },
            "space.b.when.a can never be True",
        ),
        (
            {
                "a": {"type": "categorical", "choices": [1, 2]},
                "b": {"type": "int", "low": 0, "high": 1, "when": {"a": []}},
            },
            "space.b.when.a names no value",
        ),
        (
            {
                "a": {"type": "float", "low": 0, "high": 1, "step": 0.25},
                "b": {"type": "int", "low": 0, "high": 1, "when": {"a": 0.3}},
            },
            "space.b.when.a can never be 0.3",
        ),
    ],
)
def test_what_cannot_be_a_space_is_one_line_that_names_the_key(specification, message):
    with pytest.raises(MetapbtError, match=message) as refused:
        Space(specification)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_a_name_may_begin_as_another_one():
    entry = {"type": "float", "low": 0.0, "high": 1.0}
    assert Space({"a": entry, "a.b": entry, "β-1": entry}).names == ("a", "a.b", "β-1")


def test_a_step_that_does_not_divide_ends_below_the_bound():
    space = Space({"a": {"type": "float", "low": 0.1234567890123456, "high": 1.0, "step": 0.3}})
    values = {space.from_unit([u])["a"] for u in np.linspace(0, 1, 101)}
    assert sorted(values) == pytest.approx([0.1234567890123456, 0.423456789012, 0.723456789012], abs=1e-11)
    assert all({"a": value} in space for value in values)


NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from(
        [0, 1, -1, 1.0, 0.1, 1e-300, 5e-324, 1e300, -1e308, 2**53, 2**63, 2**64, True, False, "1e-4", "0.5", "x", ""]
    ),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**31), 2**31).map(np.int64),
    st.decimals(),
    st.fractions(),
    st.none(),
)
PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1.0, 0.05, math.inf]), st.text()
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ANYTHING = PLAIN | NUMBERS
HASHABLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.tuples(st.integers())
NAMES = st.sampled_from(["a", "b", "c", "a.b", "opt.lr"])


@st.composite
def entries(draw):
    """A hyperparameter: mostly such a one as people write, with one key changed to anything now and then."""
    kind = draw(st.sampled_from(["float", "int", "categorical"]))
    if kind == "categorical":
        entry = {"type": kind, "choices": draw(st.lists(PLAIN, min_size=1, max_size=4))}
        if draw(st.booleans()):
            entry["default"] = draw(st.sampled_from(entry["choices"]))
    else:
        ends = sorted(
            draw(
                st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
                | st.tuples(st.floats(1e-300, 1), st.floats(1, 1e300))
            )
        )
        entry = {"type": kind, "low": ends[0], "high": ends[1]}
        if kind == "int":
            entry |= {"low": math.floor(max(ends[0], -1e15)), "high": math.ceil(min(ends[1], 1e15)) + 1}
        if entry["low"] > 0:
            entry["log"] = draw(st.booleans())
        if kind == "float" and entry["high"] < 1 - 1e-6:
            entry |= {"log": draw(st.booleans()), "complement": True}
        if kind == "float" and draw(st.booleans()):
            entry["step"] = (ends[1] - ends[0]) / draw(st.floats(1, 1000))
        elif kind == "int" and entry["low"] > 0 and draw(st.booleans()):
            entry["factor"] = draw(st.integers(2, 10))
        elif draw(st.booleans()):
            entry["default"] = entry["low"]
    if draw(st.integers(0, 3)) == 0:
        entry["when"] = {draw(NAMES): draw(PLAIN)}
    if draw(st.integers(0, 2)) == 0:
        entry[
            draw(
                st.sampled_from(
                    [*entry, "low", "high", "step", "factor", "default", "when", "role", "log", "complement", "x"]
                )
            )
        ] = draw(ANYTHING)
    return entry


@EXAMPLES
@given(st.dictionaries(NAMES | HASHABLE, entries() | ANYTHING, max_size=4) | ANYTHING)
def test_every_specification_is_refused_in_one_line_or_works(specification):
    said = refusal(lambda: Space(specification))
    if said is None:
        works(Space(specification))
    else:
        assert "\n" not in said
        assert len(said) < 1500


@EXAMPLES
@given(st.dictionaries(NAMES, entries(), min_size=1, max_size=3))
def test_whatever_is_accepted_stays_legal_on_every_way(specification):
    if refusal(lambda: Space(specification)) is None:
        works(Space(specification))


def refusal(call):
    """What is said where something is refused; None where it is not."""
    try:
        call()
    except MetapbtError as refused:
        return str(refused)
    return None


def works(space):
    rng = np.random.default_rng(0)
    points = [np.zeros(len(space)), np.ones(len(space)), *rng.random((4, len(space)))]
    found = [*space.corners(), *(space.sample(rng) for _ in range(4)), *map(space.from_unit, points)]
    for configuration in found:
        assert same(space.checked(configuration), configuration)
        assert same(space.checked(json.loads(json.dumps(configuration))), configuration)
        unit = space.to_unit(configuration)
        assert np.all((unit >= 0) & (unit <= 1))
        back = space.from_unit(unit)
        assert back.keys() == configuration.keys()
        for name, value in configuration.items():
            parameter = next(p for p in space.parameters if p.name == name)
            if parameter.kind == "categorical":
                assert same(back[name], value)
            else:
                again = space.to_unit(back)[space.names.index(name)]
                assert again == pytest.approx(unit[space.names.index(name)], abs=1e-9)
                assert type(back[name]) is {"int": int, "float": float}[parameter.kind]
            lower_and_higher = parameter.neighbours(value)
            for neighbour in lower_and_higher or ():
                assert same(parameter.checked(neighbour), neighbour)
    default = space.to_unit(space.default())
    for name, value in space.from_unit(default).items():
        if default[space.names.index(name)] not in (0, 1):
            assert same(value, space.default()[name])
    for configuration in found[:3]:
        assert space.with_architecture_of(found[-1], configuration) in space


@EXAMPLES
@given(ANYTHING)
def test_a_number_is_finite_or_not_but_never_a_failure(value):
    found = number(value)
    assert found is None or isinstance(found, int | float)
