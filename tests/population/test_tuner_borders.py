"""What crosses a tuner's borders: the caller's objects stay the caller's, and what is wrong is refused in one line."""

import copy
import json
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metapbt import Continue, Copy, Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Ref
from metapbt.plain import key
from metapbt.population.explorers.base import Explorer, Suggestion
from metapbt.population.selection import Exploit, Selection

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "n": {"type": "int", "low": 1, "high": 9},
    "net": {"type": "categorical", "choices": [[64, 64], [256], "small", {"layers": [1, 2]}]},
}
METHODS = ["pbt", "pb2", "pb2_rand", "pb2_mult", "pb2_mix", "random"]


def make(method="pbt", **arguments):
    return Tuner(arguments.pop("space", SPACE), method, **{"seed": 1, **arguments})


def play(tuner, generations=2, damage=lambda thing: None):
    """Tell a few generations; whatever the tuner gives away is handed to ``damage``."""
    damage(tuner.start())
    for generation in range(1, generations + 1):
        decisions = tuner.tell([generation] * 4, [float(m * generation) for m in range(4)])
        damage([d.hyperparameters for d in decisions if not isinstance(d, Continue)])
        damage(tuner.state())
        damage([a.to_dict() for a in tuner.assignments.values()])
        damage([a.hyperparameters for a in tuner.assignments.values()])
        damage([record.to_dict() for record in tuner.history])
    return json.dumps(tuner.state())


def spoil(thing):
    """Change everything in nested lists and dictionaries."""
    for inner in thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ():
        spoil(inner)
    if isinstance(thing, dict | list):
        thing.clear()


@pytest.mark.parametrize("method", METHODS)
def test_what_a_caller_does_with_what_it_got_changes_nothing(method):
    damaged, whole = make(method), make(method)
    assert play(damaged, damage=spoil) == play(whole)
    assert key(damaged.space.corners()) == key(whole.space.corners())


def test_what_a_caller_does_with_what_it_gave_changes_nothing():
    given = {
        "space": copy.deepcopy(SPACE),
        "initial": [{"lr": 0.01, "n": np.int64(3), "net": [64, 64]}],
        "selection": {"name": "truncation", "backtrack": False},
        "factors": [0.5, 2.0],
    }
    tuner, whole = make(**given), make(**copy.deepcopy(given))
    for thing in given.values():
        spoil(thing)
    assert play(tuner) == play(whole)


def test_what_was_returned_before_does_not_change_by_what_happens_after():
    tuner = make()
    configs = tuner.start()
    before, state = copy.deepcopy(configs), tuner.state()
    kept = json.dumps(state)
    tuner.tell([1] * 4, [1.0, 2.0, 3.0, 4.0])
    assert (configs, json.dumps(state)) == (before, kept)


def test_history_cannot_be_changed_and_copies_of_it_can():
    tuner = make(initial=[{"lr": 0.01, "n": 3, "net": [64, 64]}])
    play(tuner)
    record = tuner.history.records[0]
    for held in (record.hyperparameters, tuner.initial[0]):
        for change in (
            held.clear,
            lambda h=held: h.pop("n"),
            lambda h=held: h.update(n=1),
            lambda h=held: h["net"].clear(),
        ):
            with pytest.raises(TypeError, match="cannot be changed; change a copy"):
                change()
    with pytest.raises(TypeError):
        tuner.assignments[0] = None
    for copied in (copy.deepcopy(record.hyperparameters), pickle.loads(pickle.dumps(record.hyperparameters))):
        assert copied == record.hyperparameters == {"lr": 0.01, "n": 3, "net": [64, 64]}
        copied["net"].append(1)
        copied.pop("n")


HALVES = (0.5, 1.0, 1.5)


@pytest.fixture(scope="module")
def told_plain_numbers():
    """What PB2 decides after each of ``HALVES``, and after one report more."""
    tuner = make("pb2")
    tuner.start()
    decided = [tuner.tell([half] * 4, [half * m for m in range(4)]) for half in HALVES]
    return decided, tuner.tell([2.25] * 4, [1.0] * 4)


@pytest.mark.parametrize("number", [float, np.float32, np.float64, Fraction, torch.tensor, np.array, Decimal])
def test_steps_may_be_any_measure_and_numbers_those_of_any_library(number, told_plain_numbers):
    decided, then = told_plain_numbers
    tuner = make("pb2")
    tuner.start()
    for half, expected in zip(HALVES, decided, strict=True):
        assert tuner.tell([number(half)] * 4, [number(half * m) for m in range(4)]) == expected
    assert [r.env_steps for r in tuner.history][::4] == [0.5, 1, 1.5]
    assert all(type(r.env_steps) in (int, float) and type(r.train_return) is float for r in tuner.history)
    again = make("pb2")
    again.load_state(json.loads(json.dumps(tuner.state())))
    assert again.tell([2.25] * 4, [1.0] * 4) == then


def test_arrays_tensors_and_generators_are_lists():
    expected = make()
    expected.start()
    decided = expected.tell([1] * 4, [4.0, 3.0, 2.0, 1.0])
    for steps, returns in (
        (np.ones(4, dtype=np.int32), np.array([4.0, 3.0, 2.0, 1.0], dtype=np.float32)),
        (torch.ones(4), torch.tensor([4.0, 3.0, 2.0, 1.0], requires_grad=True)),
        ((1 for _ in range(4)), iter([4, 3, 2, 1])),
    ):
        tuner = make()
        tuner.start()
        assert tuner.tell(steps, returns) == decided


@pytest.mark.parametrize(
    "steps", [math.nan, math.inf, -math.inf, -1, 0, True, None, "7", 1j, 2**53, 2**63, [1], 10**400]
)
def test_steps_that_are_none_are_refused_and_nothing_has_happened(steps):
    tuner = make()
    tuner.start()
    before = json.dumps(tuner.state())
    with pytest.raises(MetapbtError, match="env_steps of member 2 must "):
        tuner.tell([1, 1, steps, 1], [1.0] * 4)
    assert json.dumps(tuner.state()) == before
    tuner.tell([1] * 4, [1.0] * 4)


@pytest.mark.parametrize("value", [None, "good", "1.0", 1j, True, [1.0], np.array([1.0]), {}])
def test_returns_that_are_no_numbers_are_refused(value):
    tuner = make()
    tuner.start()
    with pytest.raises(MetapbtError, match="the return of member 1 must be a number"):
        tuner.tell([1] * 4, [1.0, value, 1.0, 1.0])


@pytest.mark.parametrize("told", [None, 4, "1111", {0: 1, 1: 1, 2: 1, 3: 1}, {1, 2, 3, 4}, np.array(1)])
def test_what_is_no_list_is_refused(told):
    tuner = make()
    tuner.start()
    with pytest.raises(MetapbtError, match="tell: env_steps must be a list"):
        tuner.tell(told, [1.0] * 4)
    with pytest.raises(MetapbtError, match="tell: returns must be a list"):
        tuner.tell([1] * 4, told)


@pytest.mark.parametrize("failed", [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400])
def test_a_member_that_failed_may_be_told(failed):
    tuner = make()
    tuner.start()
    assert len(tuner.tell([1] * 4, [1.0, failed, 2.0, 3.0])) == 4


@pytest.mark.parametrize("member", [-1, 4, 1.5, "0", None, True, [0]])
def test_a_member_that_there_is_not_is_refused(member):
    tuner = make()
    tuner.start()
    with pytest.raises(MetapbtError, match="members are 0 to 3, got"):
        tuner.tell_member(member, 1, 1.0)
    assert isinstance(tuner.tell_member(np.int64(0), 1, 1.0), Continue)
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond 1, got 1"):
        tuner.tell_member(0, 1, 1.0)


def test_losses_are_told_with_mode_min():
    tuner, other = make("pb2", mode="min"), make("pb2")
    assert tuner.start() == other.start()
    for generation in range(1, 4):
        losses = [abs(2.5 - member) / generation for member in range(4)]
        assert tuner.tell([generation] * 4, losses) == other.tell([generation] * 4, [-loss for loss in losses])
    assert [record.train_return for record in tuner.history][-4:] == [-2.5 / 3, -0.5, -0.5 / 3, -0.5 / 3]
    with pytest.raises(MetapbtError, match="the state has mode 'min', the tuner has mode 'max'"):
        make("pb2").load_state(tuner.state())
    make("pb2", mode="min").load_state(tuner.state())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "minimize"}, "mode must be max or min, got 'minimize'"),
        ({"metric": "min"}, "population.metric must be one of .*, got min; mode='min' says that smaller is better"),
        ({"metric": None}, "population.metric must be one of"),
        ({"quantile": "0.3x"}, "population.quantile must be in"),
        ({"quantile": math.nan}, "population.quantile must be in"),
        ({"population_size": 2**40}, "population.size must be an integer from 1 to 100000, got 1"),
        ({"candidates": "many"}, "population.candidates must be an integer from 1 to 100000, got 'many'"),
        ({"seed": 2**64}, "seed must be an integer from 0 to"),
        ({"initial": None}, "initial must be a list of configurations, got None"),
        ({"initial": "x"}, "initial must be a list of configurations, got 'x'"),
        ({"initial": [{"lr": math.nan, "n": 1, "net": "small"}]}, r"initial\[0\]: lr must be in"),
        ({"constraint": 3}, "constraint must be a function, got 3"),
        ({"selection": None}, "selection must be a name or a mapping with one, got None"),
        ({"selection": {"name": 3}}, "unknown selection '3'"),
        ({"method": None}, "unknown method 'None'"),
        ({"factors": [math.nan]}, "method.factors must be positive numbers"),
        ({"factors": "ab"}, "method.factors must be positive"),
        ({"resample_probability": "often"}, "method 'pbt'|method.resample"),
    ],
)
def test_arguments_that_are_absurd_are_named(arguments, message):
    with pytest.raises(MetapbtError, match=message) as refused:
        make(**arguments)
    assert len(str(refused.value).splitlines()) == 1


def returning(value):
    return lambda hyperparameters: value


def changing(hyperparameters):
    hyperparameters["net"].clear() if isinstance(hyperparameters["net"], list) else None
    hyperparameters.clear()


def raising(hyperparameters):
    raise ZeroDivisionError("division\nby zero")


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (returning(None), "the constraint: a configuration must map names to values, got None"),
        (returning({"lr": math.nan, "n": 1, "net": "small"}), "the constraint: lr must be in"),
        (returning({"lr": 0.01}), "the constraint: missing hyperparameters: n, net"),
        (returning({1: 2}), "the constraint: unknown hyperparameter '1'"),
        (changing, "the constraint: a configuration must map names to values, got None"),
        (raising, "the constraint failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_constraint_that_answers_nonsense_is_named(constraint, message):
    with pytest.raises(MetapbtError, match=f"^{message}"):
        make(constraint=constraint, initial=[{"lr": 0.01, "n": 3, "net": [64, 64]}]).start()


ANSWER = []


class Answering(Explorer):
    """Proposes what stands in ``ANSWER``."""

    def propose(self, children, parents, history, pending, rng):
        if isinstance(ANSWER[-1], Exception):
            raise ANSWER[-1]
        return ANSWER[-1]


class Selecting(Selection):
    """Decides what stands in ``ANSWER``."""

    def select(self, history, reported, rng):
        return ANSWER[-1]


GOOD = {"lr": 0.01, "n": 3, "net": [64, 64]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "must answer with 1 suggestions, got None"),
        ([], "must answer with 1 suggestions"),
        ([Suggestion(GOOD, "x")] * 2, "must answer with 1 suggestions"),
        ([GOOD], "must answer with 1 suggestions"),
        ([Suggestion({**GOOD, "lr": math.inf}, "x")], "lr must be in"),
        ([Suggestion({**GOOD, "lr": None}, "x")], "lr must be in"),
        ([Suggestion({"n": 3}, "x")], "missing hyperparameters: lr, net"),
        (KeyError("lr"), "failed: KeyError: 'lr'"),
    ],
)
def test_an_explorer_that_answers_nonsense_is_named_and_the_report_may_come_again(answer, message):
    tuner = make(f"{__name__}:Answering")
    tuner.start()
    before = json.dumps(tuner.state())
    ANSWER.append(answer)
    with pytest.raises(MetapbtError, match=f"^method '{__name__}:Answering':? {message}"):
        tuner.tell([1] * 4, [1.0, 2.0, 3.0, 4.0])
    assert json.dumps(tuner.state()) == before
    ANSWER.append([Suggestion(copy.deepcopy(GOOD), "x")])
    (copied,) = [d for d in tuner.tell([1] * 4, [1.0, 2.0, 3.0, 4.0]) if isinstance(d, Copy)]
    ANSWER[-1][0].hyperparameters["net"].clear()
    assert copied.hyperparameters == GOOD == {**tuner.assignments[0].hyperparameters}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "must answer with an Exploit by member, got None"),
        ({0: Ref(0, 1)}, "must answer with an Exploit by member"),
        ({7: Exploit(Ref(0, 1))}, "decides for member 7, who has not reported"),
        ({0: Exploit(Ref(0, 9))}, r"names Ref\(generation=0, member=9\), of which there is no record"),
        ({0: Exploit((0, 1))}, r"names \(0, 1\), of which there is no record"),
        ({0: Exploit(None, Ref(3, 0))}, r"names Ref\(generation=3, member=0\), of which there is no record"),
        (
            {0: Exploit(Ref(0, 1), explored_from=Ref(5, 1))},
            r"names Ref\(generation=5, member=1\), of which there is no",
        ),
        ({0: Exploit(Ref(0, 1), until_steps="soon")}, "until_steps must be an integer, got 'soon'"),
    ],
)
def test_a_selection_that_answers_nonsense_is_named(answer, message):
    tuner = make(selection=f"{__name__}:Selecting")
    tuner.start()
    ANSWER.append(answer)
    with pytest.raises(MetapbtError, match=f"^selection '{__name__}:Selecting':? {message}"):
        tuner.tell([1] * 4, [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("candidates", [None, 6])
@pytest.mark.parametrize("method", ["pbt", "pb2_mult"])
def test_states_of_mixed_categories_go_through_json(method, candidates):
    tuner = make(method, candidates=candidates)
    count = candidates or 4
    tuner.start()
    for generation in range(1, 4):
        tuner.tell([generation] * count, [float(m) for m in range(count)])
        count = 4
        again = make(method, candidates=candidates)
        again.load_state(json.loads(json.dumps(tuner.state())))
        assert json.dumps(again.state()) == json.dumps(tuner.state())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "this is no state of a tuner"),
        ([], "this is no state of a tuner"),
        ({}, "this is no state of a tuner"),
        ({"records": None, "assignments": {}}, "this is no state of a tuner"),
        (
            {"tuner": 3, "records": [], "assignments": {}},
            "the state is of version 3, this metapbt reads versions 1 to 2",
        ),
        ({"records": [3], "assignments": {}}, "record 0: a record must have env_steps, .*, got 3"),
        ({"records": [], "assignments": {"x": {}}}, "the assignment of member 'x' is none"),
    ],
)
def test_a_state_of_something_else_is_refused(state, message):
    with pytest.raises(MetapbtError, match=f"^load_state: {message}"):
        make().load_state(state)


def _places(tree, place=()):
    for name, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*place, name)
        yield from _places(inner, (*place, name))


def played(candidates=None):
    tuner = make("pbt", candidates=candidates)
    count = candidates or 4
    tuner.start()
    for generation in (1, 2):
        tuner.tell([generation] * count, [float(m) for m in range(count)])
        count = 4
    return tuner


STATES = [played().state(), played(6).state(), make("pbt", candidates=6).state()]
ABSURD = st.sampled_from(
    [None, True, -1, 0, 1, 4, 2**64, 0.5, math.nan, math.inf, "", "x", "1", [], [0, 1], [0, 99], {}, {"lr": 0.01}]
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_damaged_state_is_refused_whole_or_taken_and_works(data):
    place = data.draw(st.integers(0, len(STATES) - 1))
    state = copy.deepcopy(STATES[place])
    *path, last = data.draw(st.sampled_from(list(_places(state))))
    holder = state
    for name in path:
        holder = holder[name]
    if data.draw(st.booleans()):
        holder[last] = data.draw(ABSURD)
    else:
        del holder[last]
    tuner = make("pbt", candidates=6 if place else None)
    tuner.start()
    before = json.dumps(tuner.state())
    try:
        tuner.load_state(state)
    except MetapbtError as error:
        said = str(error)
        assert len(said.splitlines()) == 1
        assert json.dumps(tuner.state()) == before
        return
    tuner.start()
    count = len(tuner.assignments)
    origins = [tuner.origin(member) for member in tuner.assignments]
    tuner.tell([(origin.env_steps if origin else 0) + 1 for origin in origins], [1.0 * m for m in range(count)])
    json.dumps(tuner.state())
