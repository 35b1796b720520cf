"""Whatever a learner returns becomes plain data that can be written and read again, or an error of one line."""

import math
import warnings
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metapbt.errors import MetapbtError
from metapbt.execution.outcomes import mean, plain_number, plain_training
from metapbt.history import Interval, Ref
from metapbt.learners.base import Training
from metapbt.store.checkpoint import Outcome, load_state, read_outcome, save_checkpoint

INTERVAL = Interval(Ref(1, 0), Ref(0, 0), None, {"x": 1.0}, 10, 20, 1, 2, 1)
STATE = {"w": np.arange(3.0)}


def checked(state=STATE, env_steps=20, returns=(1.0,), eval_return=2.0):
    return plain_training(Training(state, env_steps, returns, eval_return), "own:L", INTERVAL)


class Rude:
    """Raises whatever it is asked."""

    def __repr__(self):
        raise RuntimeError("no")

    def __array__(self, *_args, **_more):
        raise ZeroDivisionError("no")


WHOLE = [20, 20.0, np.int64(20), np.float32(20), np.array(20), np.array([20]), torch.tensor(20), torch.tensor([20.0])]


@pytest.mark.parametrize("steps", WHOLE, ids=repr)
def test_steps_become_an_integer(steps):
    found = checked(env_steps=steps).env_steps
    assert (found, type(found)) == (20, int)


NOT_WHOLE = [
    None,
    "20",
    True,
    20.5,
    math.nan,
    math.inf,
    20j,
    [20],
    np.array([20, 21]),
    torch.tensor([]),
    2**53,
    2**63,
    10,
    9,
    -5,
]


@pytest.mark.parametrize("steps", NOT_WHOLE, ids=repr)
def test_steps_that_are_none_or_do_not_grow_are_refused(steps):
    with pytest.raises(
        MetapbtError, match=r"^learner=own:L: env_steps must (be a whole number|grow beyond 10|be below)"
    ) as error:
        checked(env_steps=steps)
    assert "\n" not in str(error.value)


NUMBERS = [
    2, 2.0, np.float32(2), np.float16(2), np.longdouble(2), np.array(2.0), np.array([[2.0]]), torch.tensor(2.0),
    torch.tensor([2.0], requires_grad=True), torch.tensor(2.0, dtype=torch.bfloat16),
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_returns_become_floats(number):
    found = checked(returns=[number, number], eval_return=number)
    assert (found.returns, found.eval_return) == ((2.0, 2.0), 2.0)
    assert {type(each) for each in (*found.returns, found.eval_return)} == {float}


SEQUENCES = {
    "list": [1.0, 2.0], "array": np.array([1, 2]), "column": np.array([[1.0], [2.0]]), "deque": deque([1.0, 2.0]),
    "generator": (n for n in (1, 2)), "view": {0: 1.0, 1: 2.0}.values(), "tensor": torch.tensor([1.0, 2.0]),
}  # fmt: skip


@pytest.mark.parametrize("returns", SEQUENCES.values(), ids=SEQUENCES)
def test_any_sequence_of_returns_will_do(returns):
    assert checked(returns=returns).returns == (1.0, 2.0)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, -1.7e308])
def test_numbers_without_meaning_are_kept_as_they_came(number):
    found = checked(returns=(number,), eval_return=number)
    assert repr((found.returns[0], found.eval_return)) == repr((number, number))


NO_NUMBERS = [None, "2.0", True, 1j, 10**400, [2.0], (), {}, np.array([1.0, 2.0]), np.array("2"), torch.ones(2), Rude()]


@pytest.mark.parametrize("number", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_refused_by_the_name_of_its_field(number):
    with pytest.raises(MetapbtError, match="^learner=own:L: eval_return must be a number, NaN where there"):
        checked(eval_return=number)
    with pytest.raises(MetapbtError, match=r"^learner=own:L: returns\[1\] must be a number"):
        checked(returns=[1.0, number])


@pytest.mark.parametrize("returns", [None, 3.0, "", "12", b"", {}, {1.0: 2.0}, {1.0}, np.array(3.0), torch.tensor(3.0)])
def test_returns_that_are_no_sequence_are_refused(returns):
    with pytest.raises(MetapbtError, match="returns must hold a number for each episode that ended, got"):
        checked(returns=returns)


LOOSE = SimpleNamespace(state=STATE, env_steps=20, returns=(), eval_return=1.0)


@pytest.mark.parametrize("found", [None, "done", (STATE, 20, (), 1.0), {"state": STATE}, LOOSE, Training, Rude()])
def test_what_is_no_training_is_refused(found):
    with pytest.raises(MetapbtError, match="^learner=own:L: train must return a Training, got") as error:
        plain_training(found, "own:L", INTERVAL)
    assert len(str(error.value)) < 300


def test_a_training_without_its_fields_is_refused():
    with pytest.raises(MetapbtError, match="state must map names to arrays, got None"):
        plain_training(object.__new__(Training), "own:L", INTERVAL)


def columns():
    """The same array in every layout that NumPy has."""
    plain = np.arange(12.0).reshape(3, 4)
    frozen = plain.copy()
    frozen.flags.writeable = False
    return {
        "plain": plain, "fortran": np.asfortranarray(plain), "strided": np.arange(24.0).reshape(3, 8)[:, ::2] / 2,
        "reversed": plain[::-1, ::-1][::-1, ::-1], "frozen": frozen, "swapped": plain.astype(">f8"),
        "list": plain.tolist(), "tensor": torch.tensor(plain),
        "parameter": torch.nn.Parameter(torch.tensor(plain)), "transposed": torch.tensor(plain.T).T,
        "bfloat16": torch.tensor(plain, dtype=torch.bfloat16), "lazy": torch.tensor(-1j * plain).conj().imag,
    }  # fmt: skip


@pytest.mark.parametrize("name", columns())
def test_arrays_of_any_layout_are_saved_and_read_as_the_same_numbers(name, tmp_path):
    state = checked(state={"w": columns()[name]}).state
    assert state["w"].flags.c_contiguous
    assert type(state["w"]) is np.ndarray
    assert state["w"].tolist() == np.arange(12.0).reshape(3, 4).tolist()
    save_checkpoint(tmp_path / "c.npz", state, Outcome({}, 20, 20, 1.0, 1.0, 1, 0.0))
    read = load_state(tmp_path / "c.npz")["w"]
    assert (read.tobytes(), read.dtype, read.shape) == (state["w"].tobytes(), state["w"].dtype, state["w"].shape)
    assert read.flags.c_contiguous  # else sums in memory and from disk would differ in their last bits


SMALL = {
    "none": np.empty((0, 3)), "number": 3, "truth": True, "text": "abc", "bytes": b"abc", "complex": 1 + 2j,
    "zero-d": np.array(2.5), "broadcast": np.broadcast_to(1.0, (2, 2)), "long": np.arange(3, dtype=np.longdouble),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_things_are_arrays_too(name, tmp_path):
    state = checked(state={"a/b c": SMALL[name]}).state
    save_checkpoint(tmp_path / "c.npz", state, Outcome({}, 20, 20, math.nan, math.inf, 1, 0.0))
    read = load_state(tmp_path / "c.npz")["a/b c"]
    assert (read.shape, read.dtype) == (np.shape(SMALL[name]), np.asarray(SMALL[name]).dtype)
    assert read.tobytes() == np.asarray(SMALL[name]).tobytes()
    assert read_outcome(tmp_path / "c.npz").eval_return == math.inf


def test_arrays_of_jax_and_mapped_files_are_arrays(tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    mapped = np.lib.format.open_memmap(tmp_path / "m.npy", mode="w+", dtype=np.float32, shape=(3,))
    mapped[:] = [1, 2, 3]
    state = checked(state={"a": jnp.arange(3.0), "b": jnp.arange(3.0, dtype=jnp.bfloat16), "m": mapped}).state
    assert [str(array.dtype) for array in state.values()] == ["float32", "float32", "float32"]
    assert [array.tolist() for array in state.values()] == [[0, 1, 2], [0, 1, 2], [1, 2, 3]]
    assert checked(eval_return=jnp.float32(3)).eval_return == 3.0


NO_ARRAYS = {
    "None": None, "object": object(), "objects": np.array([1, None]), "ragged": [[1.0], [1.0, 2.0]], "nested": {"a": 1},
    "huge": 2**70, "structured": np.zeros(2, dtype=[("a", int)]), "void": np.zeros(2, dtype="V4"),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"), "masked": np.ma.masked_array([1.0, 2.0], [0, 1]), "rude": Rude(),
    "sparse": torch.eye(2).to_sparse(), "function": len, "generator": (i for i in range(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ARRAYS)
def test_what_is_no_array_is_refused_by_its_name(name):
    with pytest.raises(MetapbtError, match=r"^learner=own:L: state\['net/w'\] must be an array") as error:
        checked(state={"fine": 1.0, "net/w": NO_ARRAYS[name]})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("state", [None, [], "abc", 3, (("w", 1.0),), np.zeros(3), torch.nn.Linear(1, 1)])
def test_a_state_that_is_no_mapping_is_refused(state):
    with pytest.raises(MetapbtError, match="state must map names to arrays"):
        checked(state=state)


NAMES = [3, None, ("a",), "", "_returns", "_own", "outcome.json", "w.npy", "a\nb", "a\0b", "\ud800", "n" * 1001, b"w"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_that_are_ours_or_that_no_file_can_hold_are_refused(name):
    with pytest.raises(MetapbtError, match="names in state must") as error:
        checked(state={name: np.zeros(1)})
    str(error.value).encode()
    assert len(str(error.value)) < 300


def test_the_mean_of_returns_whose_sum_is_no_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean(np.full(20, 1.7e308)) == pytest.approx(1.7e308)
        assert mean(np.array([1.7e308, -1.7e308])) == 0
        assert mean(np.array([1.0, 2.0])) == 1.5
        assert math.isnan(mean(np.empty(0)))
        assert math.isnan(mean(np.array([math.inf, -math.inf])))
        assert mean(np.array([math.inf, 1.0])) == math.inf


def test_a_number_is_refused_in_the_words_of_who_asks():
    with pytest.raises(MetapbtError, match=r"^the test return must be a number, .*, got 'a' \(str\)"):
        plain_number("a", "the test return")
