"""One hyperparameter of a search space: its legal values, its way to the unit interval and back, when it exists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.plain import Value, key, plain, written_number

_KEYS = {
    "float": {"low", "high", "log", "complement", "step", "default", "when", "role"},
    "int": {"low", "high", "log", "factor", "default", "when", "role"},
    "categorical": {"choices", "default", "when", "role"},
}
ROLES = ("architecture",)
_ROUNDING = 1e-12  # of a coordinate on its way through a logarithm and back
_FINEST = 1e-9  # of its bounds' size: what a step is at least, so that 12 digits tell its values apart
_LARGEST_INTEGER = 2**53  # beyond, not every integer is a float
_NEAREST_ONE = 1e-6  # what a bound's distance from 1 is at least on a log scale: nearer ones lack digits
_SMALL = 1e-6  # ranges between it and its inverse keep their digits in ConfigSpace
_NARROWEST, _WIDEST = 1e-12, 1e250  # ranges in which floats can be told apart, and scaled
_OFF_STEP = 1e-6  # of a step: how far from one of its values a number may be


@dataclass(frozen=True)
class Parameter:
    """One dimension of a space, as the explorers see it."""

    name: str
    kind: str  # "float", "int" or "categorical"
    choices: tuple[Value, ...] = ()  # of a categorical one, in the order in which they were written
    low: float = 0.0
    high: float = 1.0
    step: float | None = None  # of a float that takes the values low, low + step, ... only
    factor: int | None = None  # of an int that takes the values low, low * factor, low * factor**2, ... only
    role: str | None = None  # "architecture" where it changes the network's shape
    log: bool = False
    complement: bool = False  # of a float: its distance from 1 is what is scaled, and multiplied
    written_default: tuple[Value, ...] = field(default=(), repr=False)  # none or one

    def neighbours(self, value: Value) -> tuple[Value, Value] | None:
        """The next lower and higher legal value of a category, a stepped float or an int with a factor; else None."""
        if self.kind == "categorical":
            index, last = self.place(value), len(self.choices) - 1
            return self.choices[max(index - 1, 0)], self.choices[min(index + 1, last)]
        if self.step is not None:
            here = written_number(value) or 0.0
            return self.stepped(here - self.step), self.stepped(here + self.step)
        if self.factor is not None:
            here = self.exponent(written_number(value) or self.low)
            return self.power(here - 1), self.power(here + 1)
        return None

    def complemented(self, number: float) -> float:
        """The distance from 1 of a complement, and the way back; any other number stays what it is."""
        return 1 - number if self.complement else number

    def exponent(self, value: float) -> int:
        """The one whose ``power`` is nearest to a number, on a log scale."""
        assert self.factor is not None
        return min(max(round(math.log(value / self.low, self.factor)), 0), self.last)

    def power(self, exponent: float) -> int:
        """``low * factor**exponent``, within the bounds and of the nearest whole exponent."""
        assert self.factor is not None
        whole: int = min(max(round(exponent), 0), self.last)
        return int(self.low * self.factor**whole)

    @cached_property
    def last(self) -> int:
        """The largest exponent of a factor."""
        assert self.factor is not None
        return math.floor(math.log(self.high / self.low, self.factor) + 1e-9)

    def stepped(self, value: float) -> float:
        """The legal value nearest to a number: itself, unless there is a step or a factor."""
        if self.factor is not None:
            return self.power(self.exponent(value))
        if self.step is None:
            return value
        count = min(max(round((value - self.low) / self.step), 0), self._steps)
        # 0.005 + 3 * 0.0005 is 0.006500000000000001; nobody wrote that.
        rounded = float(f"{self.low + count * self.step:.12g}")
        return min(rounded, self.high) if count else self.low

    def place(self, value: Value) -> int:
        """Which of the choices a value is, counted from 0; True is not 1, but 16.0 is 16 where it is nothing else.

        Raises:
            MetapbtError: it is none of them.
        """
        place = self._places.get(key(value))
        if place is None and isinstance(value, int | float) and not isinstance(value, bool):
            equal = [i for i, other in enumerate(self.choices) if not isinstance(other, bool) and other == value]
            place = equal[0] if equal else None
        if place is None:
            raise self._illegal(value)
        return place

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key(choice): place for place, choice in enumerate(self.choices)}

    def checked(self, value: object) -> Value:
        """Return the legal value that ``value`` stands for, as plain data and of this parameter's type.

        Raises:
            MetapbtError: it stands for none.
        """
        if self.kind == "categorical":
            return self.choices[self.place(plain(value, self.name))]
        found = written_number(value)
        if found is None or not self.low <= found <= self.high:
            raise self._illegal(value)
        if self.kind == "int":
            if found != int(found) or found != self.stepped(found):
                raise self._illegal(value)
            return int(found)
        legal = self.stepped(float(found))
        if self.step is not None:
            if abs(legal - found) > _OFF_STEP * self.step:
                raise self._illegal(value)
            return legal
        return float(found) + 0.0  # -0.0 is 0.0

    @cached_property
    def default(self) -> Value:
        """The default as it was written, else the first choice or the middle of the range."""
        if self.written_default:
            return self.written_default[0]
        if self.kind == "categorical":
            return self.choices[0]
        middle = self._scaled(0.5)
        # Nobody minds the digits behind the ninth of a middle.
        return self._legal_number(middle if self.kind == "int" else float(f"{middle:.9g}"))

    def sample(self, state: np.random.RandomState) -> Value:
        """Draw a value: uniform on its scale, every integer and every category equally likely."""
        # Rounding a uniform coordinate would not do: the lowest and the highest integer have half a share of it.
        if self.step is not None and not self.log and not self.complement:
            return self.spread(state.uniform())
        drawn = self._twin.sample_value(seed=state)
        return self.choices[int(drawn)] if self.kind == "categorical" else self._legal_number(self._unscaled(drawn))

    def to_unit(self, value: Value) -> float:
        """The coordinate of a legal value: the middle of its share for a category."""
        if self.kind == "categorical":
            return (self.place(value) + 0.5) / len(self.choices)
        return float(self._scaled_down(np.array([written_number(value)], dtype=np.float64))[0])

    def coordinates(self, values: Sequence[object] | NDArray[Any]) -> NDArray[np.float64]:
        """The coordinates of many values, ``n``; NaN of those that are not legal.

        An array of numbers takes next to no time, however long it is.
        """
        if self.kind == "categorical" or not isinstance(values, np.ndarray):
            return np.array([self._coordinate(value) for value in values], dtype=np.float64)
        found = np.asarray(values, dtype=np.float64) + 0.0
        with np.errstate(invalid="ignore"):
            legal = (found >= self.low) & (found <= self.high)
            if self.kind == "int":
                legal &= found == np.floor(found)
            if self.step is not None:
                legal &= np.abs((found - self.low) / self.step % 1 - 0.5) > 0.49
        coordinates = np.full(len(found), np.nan)
        if self.step is not None or self.factor is not None:  # its legal values are few
            distinct, where = np.unique(found[legal], return_inverse=True)
            coordinates[legal] = np.array([self._coordinate(float(value)) for value in distinct])[where]
        else:
            coordinates[legal] = self._scaled_down(found[legal])
        return coordinates

    def _coordinate(self, value: object) -> float:
        try:
            return self.to_unit(self.checked(value))
        except MetapbtError:
            return math.nan

    def from_unit(self, coordinate: float) -> Value:
        """The legal value at a coordinate in [0, 1]; bounds and default come out exactly as they were written."""
        if self.kind == "categorical":
            return self.choices[min(int(coordinate * len(self.choices)), len(self.choices) - 1)]
        if self.kind == "float" or (self.log and self.factor is None):
            distance, value = min(((abs(coordinate - exact), value) for exact, value in self._exact), key=itemgetter(0))
            if distance < _ROUNDING:
                return value
        return self._legal_number(self._scaled(coordinate))

    def spread(self, coordinate: float) -> Value:
        """The legal value at a coordinate in [0, 1], where whole numbers and steps have equal shares of the range."""
        if self.factor is not None:
            return self.power(math.floor(coordinate * (self.last + 1)))
        if self.kind == "int" and self.log:
            return self._legal_number(math.floor(self.low * ((self.high + 1) / self.low) ** coordinate))
        if self.kind == "int" or (self.step is not None and not self.log and not self.complement):
            return self._legal_number(self.low + math.floor(coordinate * (self._steps + 1)) * self._grain)
        return self.from_unit(coordinate)

    def nearest_legal(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The coordinates of the legal values at many coordinates in [0, 1], ``n``: ``from_unit`` and back."""
        if self.kind == "categorical":
            count = len(self.choices)
            return np.asarray((np.minimum(coordinates * count // 1, count - 1) + 0.5) / count)
        if self.kind == "float" and self.step is None:
            return coordinates
        found = np.asarray(self._twin.to_value(1 - coordinates if self.complement else coordinates))
        if self.factor is not None:
            return np.asarray(self._twin.to_vector(found))
        found = 1 - found / self._magnified if self.complement else found / self._magnified
        steps = np.clip(np.round((found - self.low) / self._grain), 0, self._steps)
        if self.step is None:
            return self._scaled_down(self.low + steps)
        distinct, where = np.unique(steps, return_inverse=True)  # as `to_unit` has them, to the last bit
        return np.array([self.to_unit(self.stepped(self.low + count * self.step)) for count in distinct])[where]

    @property
    def _grain(self) -> float:
        """The distance of two legal numbers, of an int or of a float with a step."""
        return 1.0 if self.step is None else self.step

    @cached_property
    def _steps(self) -> int:
        """How many times that distance the range has."""
        return math.floor((self.high - self.low) / self._grain + 1e-9)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Every choice of a category; the lowest and the highest legal number."""
        return self.choices if self.kind == "categorical" else (self.low, self.stepped(self.high))

    @cached_property
    def _twin(self) -> Any:
        """What scales and draws: ConfigSpace's, over numbers near 1, a factor's exponents, or places of the choices."""
        if self.kind == "categorical":
            return _twin_of("categorical", 0, len(self.choices))
        if self.factor is not None:
            return _twin_of("int", 0, self.last)
        low, high = (bound * self._magnified for bound in self._scaled_bounds)
        return _twin_of(self.kind, low, high, self.log)

    @cached_property
    def _magnified(self) -> float:
        """A power of two that brings a float's range near 1, where it is not: ConfigSpace rounds to 13 decimals."""
        low, high = self._scaled_bounds
        size = low if self.log else high - low
        if self.kind == "int" or (size >= _SMALL and high <= 1 / _SMALL):
            return 1
        return 2.0 ** -math.floor(math.log2(size))

    @property
    def _scaled_bounds(self) -> tuple[float, float]:
        """Between which numbers its scale goes: its bounds, or their distances from 1."""
        return (1 - self.high, 1 - self.low) if self.complement else (self.low, self.high)

    def _scaled_down(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = (1 - values if self.complement else values) * self._magnified
        if self.factor is not None:
            scaled = np.array([self.exponent(value) for value in values])
        found: NDArray[np.float64] = np.clip(self._twin.to_vector(scaled), 0.0, 1.0)
        return 1 - found if self.complement else found

    @cached_property
    def _exact(self) -> tuple[tuple[float, Value], ...]:
        return tuple((self.to_unit(value), value) for value in (*self.extremes, self.default))

    def _scaled(self, coordinate: float) -> float:
        # The larger the number the larger its coordinate, though its distance from 1 is the smaller.
        return self._unscaled(self._twin.to_value(self.complemented(coordinate)))

    def _unscaled(self, found: float) -> float:
        return self.power(found) if self.factor is not None else self.complemented(float(found) / self._magnified)

    def _legal_number(self, found: float) -> float:
        within = min(max(found, self.low), self.high)
        return round(within) if self.kind == "int" else self.stepped(within)

    def _illegal(self, value: object) -> MetapbtError:
        if self.kind == "categorical":
            legal = f"one of {shown(list(self.choices), 200)}"
        else:
            step = f"{self.low:g} plus a multiple of {self.step:g}, " if self.step is not None else ""
            step = step if self.factor is None else f"{self.low:g} times a power of {self.factor}, "
            legal = f"{step}{'an integer ' if self.kind == 'int' else ''}in [{self.low:g}, {self.high:g}]"
        return MetapbtError(f"{self.name} must be {legal}, got {shown(value)}")


@lru_cache(maxsize=1024)
def _twin_of(kind: str, low: float, high: float, log: bool = False) -> Any:
    """ConfigSpace's parameter, which keeps no state: to make it takes as long as a tenth of a small run."""
    import ConfigSpace  # loads scipy.stats, which takes as long as all else that a short command needs

    if kind == "categorical":
        return ConfigSpace.Categorical("twin", range(int(high)))
    made_by: Any = ConfigSpace.Float if kind == "float" else ConfigSpace.Integer
    return made_by("twin", (low, high), log=log, default=low)


def make_parameter(name: str, entry: Mapping[str, Any]) -> Parameter:
    """Make a parameter of its entry in a specification.

    Raises:
        MetapbtError: something is wrong with it; the message names the key.
    """
    kind, where, role = entry["type"], f"space.{name}", entry.get("role")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise unknown_name(f"{where}.type", kind, _KEYS)
    for unknown in sorted(map(str, entry.keys() - {"type"} - _KEYS[kind])):
        raise unknown_name(f"key of {where}", unknown, _KEYS[kind] | {"type"})
    if role is not None and (not isinstance(role, str) or role not in ROLES):
        raise unknown_name(f"{where}.role", role, ROLES)
    made = _category(name, where, entry, role) if kind == "categorical" else _number(name, where, entry, role)
    return _with_default(made, where, entry)


def _category(name: str, where: str, entry: Mapping[str, Any], role: str | None) -> Parameter:
    written = entry.get("choices")
    choices = plain(written, f"{where}.choices") if isinstance(written, Sequence | np.ndarray) else written
    if not isinstance(choices, list) or not choices:
        raise MetapbtError(f"{where}.choices must be a list of at least one value, got {shown(written)}")
    if len(set(map(key, choices))) < len(choices):
        raise MetapbtError(f"{where}.choices must differ from each other, got {shown(choices, 200)}")
    return Parameter(name, "categorical", tuple(choices), role=role)


def _number(name: str, where: str, entry: Mapping[str, Any], role: str | None) -> Parameter:
    kind = entry["type"]
    low, high = _bound(where, "low", entry), _bound(where, "high", entry)
    log = entry.get("log", False)
    if not isinstance(log, bool | np.bool_):
        raise MetapbtError(f"{where}.log must be true or false, got {shown(log)}")
    if low >= high:
        raise MetapbtError(f"{where}.low must be < high, got low {low:g} and high {high:g}")
    complement = entry.get("complement", False)
    if not isinstance(complement, bool | np.bool_):
        raise MetapbtError(f"{where}.complement must be true or false, got {shown(complement)}")
    if complement and high > (1 - _NEAREST_ONE if log else 1):
        most = f"<= 1 - {_NEAREST_ONE:g} for a log scale of 1 - {name}" if log else f"<= 1, for 1 - {name} is tuned"
        raise MetapbtError(f"{where}.high must be {most}, got {high:.12g}")
    if log and not complement and low < 1 / _WIDEST:
        raise MetapbtError(f"{where}.low must be > 0 for a log scale, got {low:g}")
    ratio = (1 - low) / (1 - high) if log and complement else high / low if log else 1.0
    if log and kind == "float" and not _NARROWEST < ratio - 1 <= _WIDEST:
        raise MetapbtError(f"{where}.low and high are too near or too far apart for a log scale: {low!r} and {high!r}")
    if not log and not max(_NARROWEST * max(abs(low), abs(high)), 1 / _WIDEST) < high - low <= _WIDEST:
        raise MetapbtError(f"{where}.low and high are too near or too far apart: {low!r} and {high!r}")
    step = _bound(where, "step", entry) if entry.get("step") is not None else None
    if step is not None and not 0 < step <= high - low:
        raise MetapbtError(f"{where}.step must be > 0 and at most high - low, got {step:g}")
    if step is not None and step < _FINEST * max(abs(low), abs(high)):
        raise MetapbtError(f"{where}.step is too fine to tell its values apart, got {step:g}; leave it out")
    factor = int(_bound(where, "factor", entry)) if entry.get("factor") is not None else None
    if factor is not None and not (low >= 1 and factor >= 2 and low * factor <= high):
        raise MetapbtError(f"{where}.factor must be >= 2 and at most high / low, with low >= 1, got {factor}")
    log = bool(log) or factor is not None
    return Parameter(
        name, kind, low=low, high=high, step=step, factor=factor, role=role, log=log, complement=bool(complement)
    )


def _bound(where: str, bound: str, entry: Mapping[str, Any]) -> float:
    written, whole = entry.get(bound), entry["type"] == "int"
    value = written_number(written)
    if value is None or (whole and value != value // 1):
        raise MetapbtError(f"{where}.{bound} must be {'an integer' if whole else 'a number'}, got {shown(written)}")
    if whole and not abs(value) <= _LARGEST_INTEGER:
        raise MetapbtError(f"{where}.{bound} must be from -2**53 to 2**53, got {shown(written)}")
    try:
        found = int(value) if whole else float(value) + 0.0
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise MetapbtError(f"{where}.{bound} must be a finite number, got {shown(written)}")
    return found


def _with_default(made: Parameter, where: str, entry: Mapping[str, Any]) -> Parameter:
    written = entry.get("default")
    may_be_none = made.kind == "categorical" and key(None) in made._places
    if "default" not in entry or (written is None and not may_be_none):
        return made
    try:
        return replace(made, written_default=(made.checked(written),))
    except MetapbtError:
        legal = list(made.choices) if made.kind == "categorical" else [made.low, made.high]
        step = "" if made.step is None else f" and a multiple of {made.step:g} above {made.low:g}"
        step = step if made.factor is None else f" and {made.low:g} times a power of {made.factor}"
        raise MetapbtError(f"{where}.default must be within {shown(legal, 200)}{step}, got {shown(written)}") from None
