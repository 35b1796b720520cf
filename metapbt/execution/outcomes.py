"""What a learner brought, as plain Python and NumPy; or one line that says what is wrong with it.

Whatever comes out of here can be written down and read again. So a bad outcome is an error of its interval, and a run
can go on once the learner was mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown
from metapbt.history.record import MOST as MOST_STEPS
from metapbt.learners.base import State, Training
from metapbt.store.checkpoint import OUTCOME

if TYPE_CHECKING:
    from metapbt.history import Interval

_PLAIN = "biufcSU"  # kinds of dtypes that mean the same wherever they are read


def plain_training(found: Any, learner: str, interval: Interval) -> Training:
    """What ``train`` returned, in plain numbers and arrays of our own layout.

    Numbers may be of Python, NumPy, Torch or JAX; returns any sequence of them; the state's values whatever NumPy makes
    an array of numbers, truth values or text of, tensors on any device included. Types of which NumPy has none, such as
    ``bfloat16``, become ``float32``.

    Args:
        found: whatever came back.
        learner: its name, for the error message.
        interval: that was to be trained.

    Raises:
        MetapbtError: it is no ``Training``, or one of its fields is not what it must be.
    """
    where = f"learner={learner}"
    if not isinstance(found, Training):
        raise MetapbtError(f"{where}: train must return a Training, got {_described(found)}")
    return Training(
        plain_state(getattr(found, "state", None), where),
        _steps(getattr(found, "env_steps", None), interval.start_steps, where),
        _returns(getattr(found, "returns", None), where),
        plain_number(getattr(found, "eval_return", None), f"{where}: eval_return"),
    )


def plain_number(found: Any, what: str) -> float:
    """A number of whatever library as a float; NaN and infinities are numbers.

    Args:
        found: whatever came back.
        what: it should be, for the error message.

    Raises:
        MetapbtError: it is no number.
    """
    number = _real(found)
    try:
        if number is not None:
            return float(number)
    except OverflowError:
        pass
    raise MetapbtError(f"{what} must be a number, NaN where there is none, got {_described(found)}")


def mean(returns: NDArray[np.float64]) -> float:
    """The mean of ``n`` returns, NaN of none; where their sum is too large for a float, too."""
    if not len(returns):
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(np.mean(returns))
        if np.isinf(found) and np.isfinite(returns).all():
            found = float(np.clip(np.sum(returns / len(returns)), returns.min(), returns.max()))
    return found


def _described(found: Any) -> str:
    return shown(found) if found is None else f"{shown(found)} ({type(found).__name__})"


def _real(found: Any) -> Real | None:
    """The number that something is, be it an array of a single one; None where it is none."""
    try:
        item = found.item() if hasattr(found, "item") else found
    except (TypeError, ValueError, RuntimeError):  # several numbers, or none
        return None
    return None if isinstance(item, bool) or not isinstance(item, Real) else item


def _steps(found: Any, before: int, where: str) -> int:
    number: Any = _real(found)
    try:
        whole = None if number is None else int(number)
    except (ValueError, OverflowError):  # NaN, infinite
        whole = None
    if whole is None or whole != number:
        raise MetapbtError(f"{where}: env_steps must be a whole number, got {_described(found)}")
    if not before < whole < MOST_STEPS:
        must = "be below 2**53" if whole >= MOST_STEPS else f"grow beyond {before}, where the interval began"
        raise MetapbtError(f"{where}: env_steps must {must}, got {whole}")
    return whole


def _returns(found: Any, where: str) -> tuple[float, ...]:
    refused = f"{where}: returns must hold a number for each episode that ended, got {_described(found)}"
    if isinstance(found, str | bytes | Mapping | Set) or not isinstance(found, Iterable):
        raise MetapbtError(refused)
    if getattr(found, "ndim", 1) == 0:
        raise MetapbtError(refused)
    return tuple(plain_number(value, f"{where}: returns[{place}]") for place, value in enumerate(found))


def plain_state(found: Any, where: str) -> State:
    """A state in arrays of our own layout.

    Args:
        found: whatever came back.
        where: it is from, for the error message.

    Raises:
        MetapbtError: it is none.
    """
    if not isinstance(found, Mapping):
        raise MetapbtError(f"{where}: state must map names to arrays, got {_described(found)}")
    for name in found:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 1000:
            raise MetapbtError(f"{where}: names in state must be printable text, got {_described(name)}")
        if name.startswith("_") or name.endswith(".npy") or name == OUTCOME:
            raise MetapbtError(
                f"{where}: names in state must not begin with '_', end with '.npy' or be '{OUTCOME}', got '{name}'"
            )
    return {name: _array(value, f"{where}: state['{name}']") for name, value in found.items()}


def _array(found: Any, what: str) -> NDArray[np.generic]:
    try:
        if isinstance(found, np.ma.MaskedArray):
            raise TypeError("a mask would be lost")
        array = np.asarray(_without_torch(found), order="C")
        if array.dtype.kind == "V" and array.dtype.fields is None and array.dtype.type is not np.void:
            array = array.astype(np.float32)  # bfloat16 and its kin, which are none of NumPy's own
    except Exception as error:  # whatever the user's object does when it is asked
        raise MetapbtError(f"{what} must be an array, got {_described(found)} ({type(error).__name__})") from error
    if array.dtype.kind not in _PLAIN:
        raise MetapbtError(
            f"{what} must be an array of numbers, truth values or text, got {_described(found)} of dtype {array.dtype}"
        )
    return array


def _without_torch(found: Any) -> Any:
    """A tensor as an array, wherever it lies and whatever remembers how it was made; anything else as it is."""
    if not hasattr(found, "detach"):
        return found
    tensor = found.detach().cpu()
    try:
        return tensor.numpy(force=True)
    except TypeError:  # a type that NumPy lacks
        return tensor.float().numpy(force=True)
