"""Plain data: what JSON, YAML and tables hold, and what values of other libraries stand for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NoReturn

from metapbt.errors import MetapbtError, shown

#: A hyperparameter's value: any plain data. Who asks for one knows from its parameter which.
Value = Any

_DEEPEST = 20
_LARGEST = 2**63 - 1  # what a table holds
_NARROW = ("float16", "float32")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def plain(value: Any, where: str = "value") -> Any:
    """Return a copy of ``value`` as plain data: text, numbers, booleans, None, and lists and mappings of these.

    Tuples and arrays become lists, NumPy's and Torch's numbers Python's own. What JSON cannot give back as it was is
    refused.

    Args:
        value: of anything.
        where: its name, to complain under.

    Raises:
        MetapbtError: it stands for no plain data, or for NaN, which does not equal itself.
    """
    return _plain(value, where, 0)


def _plain(value: Any, where: str, depth: int) -> Any:
    value = scalar(value)
    if value is None or type(value) in (str, bool):
        return value
    if (type(value) is int and -(2**63) <= value <= _LARGEST) or (type(value) is float and not math.isnan(value)):
        return value
    if depth < _DEEPEST:
        if hasattr(value, "shape") and hasattr(value, "tolist"):  # an array of whichever library
            value = value.tolist()
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
            return [_plain(item, where, depth + 1) for item in value]
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {str(key): _plain(item, where, depth + 1) for key, item in value.items()}
    for kind in (str, int, float):  # an enumeration's, for example
        if isinstance(value, kind) and type(value) is not kind:
            return _plain(kind(value), where, depth)
    raise MetapbtError(
        f"{where} must be text, a number, true, false, null, or a list or mapping of these (its keys text), "
        f"got {shown(value)}"
    )


def scalar(value: Any) -> Any:
    """The Python value that a NumPy, Torch or JAX scalar or an array of shape () stands for; all else as it is.

    A number of 32 bits stands for its shortest decimal: ``np.float32(0.1)`` for 0.1, not for 0.10000000149011612.
    """
    if getattr(value, "shape", None) != () or not callable(getattr(value, "item", None)):
        return value
    import numpy as np

    single = value.item()
    if isinstance(single, np.longdouble):
        return float(single)
    kind = str(getattr(value, "dtype", "")).rpartition(".")[2]
    return float(str(np.dtype(kind).type(single))) if kind in _NARROW else single


def number(value: Any) -> int | float | None:
    """The number that a value is, of whatever library, also a fraction or a decimal.

    None where it is none; booleans and texts are not.
    """
    found = scalar(value)
    if isinstance(found, bool) or not isinstance(found, Real | Decimal):
        return None
    try:
        return int(found) if isinstance(found, int) else float(found)  # type: ignore[unreachable]
    except OverflowError:  # a fraction beyond all floats
        return math.inf if found > 0 else -math.inf  # type: ignore[operator]
    except ValueError:  # a signalling NaN
        return math.nan


def written_number(value: Any) -> int | float | None:
    """The same, also of a text that spells a number: YAML reads 1e-4 as one."""
    found = scalar(value)
    if not isinstance(found, str):
        return number(found)
    return float(found) if _NUMBER.fullmatch(found) else None


def number_within(name: str, value: Any, least: float, most: float) -> float:
    """Check a setting that is a number, also where a text spells it.

    Raises:
        MetapbtError: it is none, or out of its range, ``least`` to ``most``.
    """
    found = written_number(value)
    if found is None or not least <= found <= most:
        raise MetapbtError(f"{name} must be a number from {least:g} to {most:g}, got {shown(value)}")
    return float(found)


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Check a setting that counts something; the integer that it is. YAML reads 1e5 as a float, which counts as one.

    Raises:
        MetapbtError: it is none, or out of its range, ``least`` to ``most``.
    """
    found = number(value)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or not least <= found <= (_LARGEST if most is None else most):
        legal = f">= {least}" if most is None else f"from {least} to {most}"
        if most is None and isinstance(found, int) and found > _LARGEST:
            legal += " and below 2**63"
        raise MetapbtError(f"{name} must be an integer {legal}, got {shown(value)}")
    return found


def key(value: Any) -> str:
    """A text that two plain values share if and only if they are the same: True is not 1, and 1 is not 1.0."""
    return json.dumps(value, sort_keys=True)


def same(one: Any, other: Any) -> bool:
    """Whether two pieces of plain data are the same; NaN is the same as NaN, and 1 as 1.0."""
    if type(one) is type(other) and one == other:
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def identity(values: Mapping[str, Any]) -> Hashable:
    """What two configurations of plain data share if and only if they are the same, in the same order; for look-ups."""
    return tuple((name, type(v), key(v) if isinstance(v, list | dict) else v) for name, v in values.items())


def thawed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that may be changed, lists and mappings in it as well."""
    return {name: _copy(value) for name, value in values.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return thawed(value) if isinstance(value, dict) else value


def frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that cannot be changed, lists and mappings in it neither; equal to what it is a copy of."""
    return values if isinstance(values, _FrozenDict) else _FrozenDict({n: _frozen(v) for n, v in values.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return _FrozenList(_frozen(item) for item in value)
    return frozen(value) if isinstance(value, dict) else value


def _refuse(_self: object, *_arguments: object, **_named: object) -> NoReturn:
    raise TypeError("this belongs to the history and cannot be changed; change a copy (copy.deepcopy) of it")


class _FrozenDict(dict[str, Any]):
    """Pickled and copied as a plain one."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class _FrozenList(list[Any]):
    """Pickled and copied as a plain one."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)
