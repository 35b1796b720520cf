"""The search space: what may be tuned, between which bounds, and its way to the unit cube and back.

A space is written in YAML, one key for each hyperparameter; keys may nest::

    learning_rate: {type: float, low: 1.0e-5, high: 1.0e-3, log: true, default: 3.0e-4}
    clip_range: {type: float, low: 0.1, high: 0.5, step: 0.05}
    n_epochs: {type: int, low: 3, high: 30, default: 10}
    activation: {type: categorical, choices: [tanh, relu], default: tanh}
    optimizer:
      momentum: {type: float, low: 0.0, high: 0.99, default: 0.9, when: {activation: tanh}}

Nested names are joined by dots (``optimizer.momentum``). ``when`` makes a hyperparameter exist only while another
one has a value (or one of a list of values). ``role: architecture`` says that a hyperparameter changes the network's
shape, so that whoever copies weights keeps its value. Scaling and conditions are ConfigSpace's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ConfigSpace
import numpy as np
from ConfigSpace.util import deactivate_inactive_hyperparameters
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, unknown_name

Value = float | int | str | bool
Hyperparameters = dict[str, Value]
UnitVector = NDArray[np.float64]

_KEYS = {
    "float": {"low", "high", "log", "step", "default", "when", "role"},
    "int": {"low", "high", "log", "default", "when", "role"},
    "categorical": {"choices", "default", "when", "role"},
}
ROLES = ("architecture",)
_NOTHING: Mapping[str, Value] = {}
_ROUNDING = 1e-12  # of a coordinate on its way through a logarithm and back


@dataclass(frozen=True)
class Parameter:
    """One dimension of a space, as the explorers see it."""

    name: str
    kind: str  # "float", "int" or "categorical"
    choices: tuple[Value, ...] = ()  # of a categorical one, in the order in which they were written
    low: float = 0.0
    high: float = 1.0
    step: float | None = None  # of a float that takes the values low, low + step, ... only
    role: str | None = None  # "architecture" where it changes the network's shape

    def neighbours(self, value: Value) -> tuple[Value, Value] | None:
        """The next lower and higher legal value of a category or a stepped float; None for other numbers."""
        if self.kind == "categorical":
            index, last = self.choices.index(value), len(self.choices) - 1
            return self.choices[max(index - 1, 0)], self.choices[min(index + 1, last)]
        if self.step is not None:
            return self.stepped(float(value) - self.step), self.stepped(float(value) + self.step)
        return None

    def stepped(self, value: float) -> float:
        """The legal value nearest to a number: itself, unless there is a step."""
        if self.step is None:
            return value
        last = math.floor((self.high - self.low) / self.step + 1e-9)
        count = min(max(round((value - self.low) / self.step), 0), last)
        # 0.005 + 3 * 0.0005 is 0.006500000000000001; nobody wrote that.
        return float(f"{self.low + count * self.step:.12g}")


class Space:
    """A search space over named hyperparameters.

    Attributes:
        parameters: the dimensions, in the order in which they were written; also the order of unit vectors.

    Example:
        >>> space = Space({"lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}})
        >>> space.from_unit([0.5])
        {'lr': 0.001}
    """

    def __init__(self, specification: Mapping[str, Any]) -> None:
        """Build the space from its specification, a mapping as one would write it in YAML.

        Raises:
            MetapbtError: something is wrong with the specification; the message names the key.
        """
        entries = dict(_flatten(specification))
        if not entries:
            raise MetapbtError("space: names no hyperparameters")
        self.parameters = tuple(_parameter(name, entry) for name, entry in entries.items())
        self._by_name = {p.name: _config_space_parameter(p, entries[p.name]) for p in self.parameters}
        self._defaults = {p.name: _default(p, entries[p.name], self._by_name[p.name]) for p in self.parameters}
        self._space = ConfigSpace.ConfigurationSpace()
        self._space.add(list(self._by_name.values()))
        for name, entry in entries.items():
            if "when" in entry:
                self._space.add(_condition(name, entry["when"], self._by_name))
        for name in self.architecture:
            for other in entries[name].get("when", ()):
                if other not in self.architecture:  # else a copy could lose or gain a part of its network
                    raise MetapbtError(f"space.{name}.when: {other} must have the role architecture, as {name} has")
        self._exact = {p.name: self._exact_points(p) for p in self.parameters}

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters' names, in the order of unit vectors."""
        return tuple(p.name for p in self.parameters)

    @property
    def architecture(self) -> tuple[str, ...]:
        """Names of the hyperparameters that change the network's shape."""
        return tuple(p.name for p in self.parameters if p.role == "architecture")

    def __len__(self) -> int:
        return len(self.parameters)

    def default(self) -> Hyperparameters:
        """The default configuration."""
        return self.active(self.unconditional_default())

    def unconditional_default(self) -> Hyperparameters:
        """The default of every hyperparameter, whether it exists under the others' defaults or not."""
        return dict(self._defaults)

    def corners(self) -> list[Hyperparameters]:
        """Legal configurations that show at the door what training would show later: the default; every number at its
        lowest and at its highest, alone and all together; and every category.
        """
        numbers = [p for p in self.parameters if p.kind != "categorical"]
        categories = [p for p in self.parameters if p.kind == "categorical"]
        lowest: Hyperparameters = {p.name: self._stepped(p, p.low) for p in numbers}
        highest: Hyperparameters = {p.name: self._stepped(p, p.high) for p in numbers}
        found = [self.unconditional_default()]
        found += [{**self._defaults, p.name: bound[p.name]} for p in numbers for bound in (lowest, highest)]
        for place in range(max((len(p.choices) for p in categories), default=1)):
            chosen = {p.name: p.choices[min(place, len(p.choices) - 1)] for p in categories}
            found += [{**lowest, **chosen}, {**highest, **chosen}]
        distinct: list[Hyperparameters] = []
        for configuration in map(self.active, found):
            if configuration not in distinct:
                distinct.append(configuration)
        return distinct

    def sample(self, rng: np.random.Generator, given: Mapping[str, Value] = _NOTHING) -> Hyperparameters:
        """Draw a configuration: uniform on each scale, every integer and every category equally likely.

        Args:
            rng: the source of randomness.
            given: values that are not drawn.
        """
        # ConfigSpace draws from NumPy's older generator. Rounding a uniform point of the unit cube would not do: the
        # lowest and the highest integer have only half a share of it.
        state = np.random.RandomState(rng.integers(2**32, dtype=np.uint32))  # noqa: NPY002
        drawn = {p.name: _plain(self._by_name[p.name].sample_value(seed=state)) for p in self.parameters}
        return self.active({**{p.name: self._stepped(p, drawn[p.name]) for p in self.parameters}, **given})

    def with_architecture_of(
        self, hyperparameters: Mapping[str, Value], parent: Mapping[str, Value]
    ) -> Hyperparameters:
        """Return ``hyperparameters`` as a copy of ``parent`` can train with them: on the parent's network.

        What exists only on that network has the parent's value where none was proposed.
        """
        network = {name: parent[name] for name in self.architecture if name in parent}
        return self.active({**self.unconditional_default(), **parent, **hyperparameters, **network})

    def to_unit(self, hyperparameters: Mapping[str, Value]) -> UnitVector:
        """Map a configuration to the unit cube (shape ``d``).

        Categories go to the middle of their share of the interval; a hyperparameter that does not exist under the
        conditions takes its default's place.

        Raises:
            MetapbtError: the configuration does not belong to this space.
        """
        self.check(hyperparameters)
        return np.array(
            [self._to_unit(p, hyperparameters.get(p.name, self._defaults[p.name])) for p in self.parameters]
        )

    def from_unit(self, vector: Sequence[float] | UnitVector, given: Mapping[str, Value] = _NOTHING) -> Hyperparameters:
        """Map a point of the unit cube to a configuration; bounds and defaults come out exactly as they were written.

        Args:
            vector: shape ``d``; coordinates beyond [0, 1] are clipped.
            given: values that are taken as they are, whatever their coordinates.
        """
        clipped = np.clip(np.asarray(vector, dtype=np.float64), 0.0, 1.0)
        found = {p.name: self._from_unit(p, float(u)) for p, u in zip(self.parameters, clipped, strict=True)}
        return self.active({**found, **given})

    def check(self, hyperparameters: Mapping[str, Value]) -> None:
        """Check that a configuration belongs to this space.

        Raises:
            MetapbtError: a name is unknown, a value is out of its bounds, or one is missing.
        """
        for name, value in hyperparameters.items():
            if name not in self._by_name:
                raise unknown_name("hyperparameter", name, self.names)
            if not self._by_name[name].legal_value(value):
                raise MetapbtError(f"{name} must be {self._legal(name)}, got {value!r}")
        filled = {name: hyperparameters.get(name, self._defaults[name]) for name in self.names}
        missing = self.active(filled).keys() - hyperparameters.keys()
        if missing:
            raise MetapbtError(f"missing hyperparameters: {', '.join(sorted(missing))}")

    def __contains__(self, hyperparameters: Mapping[str, Value]) -> bool:
        """Whether a configuration belongs to this space."""
        try:
            self.check(hyperparameters)
        except MetapbtError:
            return False
        return True

    def active(self, values: Hyperparameters) -> Hyperparameters:
        """Drop, from a value for every hyperparameter, those that do not exist under the conditions."""
        if not self._space.conditions:
            return values
        active = deactivate_inactive_hyperparameters(dict(values), self._space)
        return {name: value for name, value in values.items() if name in active}

    def _to_unit(self, parameter: Parameter, value: Value) -> float:
        if parameter.kind == "categorical":
            return (parameter.choices.index(value) + 0.5) / len(parameter.choices)
        return float(self._by_name[parameter.name].to_vector(value))

    def _from_unit(self, parameter: Parameter, coordinate: float) -> Value:
        if parameter.kind == "categorical":
            count = len(parameter.choices)
            return parameter.choices[min(int(coordinate * count), count - 1)]
        for exact, value in self._exact[parameter.name]:
            if abs(coordinate - exact) < _ROUNDING:
                return value
        return self._stepped(parameter, _plain(self._by_name[parameter.name].to_value(coordinate)))

    def _exact_points(self, parameter: Parameter) -> tuple[tuple[float, Value], ...]:
        """Coordinates and values of a number's bounds and default."""
        if parameter.kind == "categorical":
            return ()
        written = (parameter.low, parameter.high, self._defaults[parameter.name])
        legal = [self._stepped(parameter, value) for value in written]
        return tuple((self._to_unit(parameter, value), value) for value in legal)

    def _stepped(self, parameter: Parameter, value: Value) -> Value:
        return parameter.stepped(float(value)) if parameter.step is not None else value

    def _legal(self, name: str) -> str:
        parameter = next(p for p in self.parameters if p.name == name)
        if parameter.kind == "categorical":
            return f"one of {list(parameter.choices)}"
        return f"{'an integer ' if parameter.kind == 'int' else ''}in [{parameter.low:g}, {parameter.high:g}]"


def _flatten(specification: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, entry in specification.items():
        name = f"{prefix}{key}"
        if not isinstance(entry, Mapping):
            raise MetapbtError(f"space.{name} must be a mapping with a type, got {entry!r}")
        if isinstance(entry.get("type"), str):
            yield name, entry
        elif entry and all(isinstance(value, Mapping) for value in entry.values()):
            yield from _flatten(entry, f"{name}.")
        else:
            raise MetapbtError(f"space.{name}.type is missing; it must be one of {', '.join(_KEYS)}")


def _parameter(name: str, entry: Mapping[str, Any]) -> Parameter:
    kind, key, role = entry["type"], f"space.{name}", entry.get("role")
    if kind not in _KEYS:
        raise unknown_name(f"{key}.type", kind, _KEYS)
    for unknown in entry.keys() - {"type"} - _KEYS[kind]:
        raise unknown_name(f"key of {key}", unknown, _KEYS[kind] | {"type"})
    if role is not None and role not in ROLES:
        raise unknown_name(f"{key}.role", str(role), ROLES)
    if kind == "categorical":
        choices = entry.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or len(choices) == 0:
            raise MetapbtError(f"{key}.choices must be a list of at least one value, got {choices!r}")
        if len(set(map(repr, choices))) < len(choices):
            raise MetapbtError(f"{key}.choices must differ from each other, got {list(choices)}")
        return Parameter(name, kind, tuple(choices), role=role)
    low, high = _number(key, "low", entry, kind), _number(key, "high", entry, kind)
    if low >= high:
        raise MetapbtError(f"{key}.low must be < high, got low {low:g} and high {high:g}")
    if entry.get("log") and low <= 0:
        raise MetapbtError(f"{key}.low must be > 0 for a log scale, got {low:g}")
    step = _number(key, "step", entry, kind) if entry.get("step") is not None else None
    if step is not None and not 0 < step <= high - low:
        raise MetapbtError(f"{key}.step must be > 0 and at most high - low, got {step:g}")
    return Parameter(name, kind, low=low, high=high, step=step, role=role)


def _number(key: str, bound: str, entry: Mapping[str, Any], kind: str) -> float:
    value = entry.get(bound)
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind == "int" and value != int(value)):
        wanted = "an integer" if kind == "int" else "a number"
        raise MetapbtError(f"{key}.{bound} must be {wanted}, got {value!r}")
    return int(value) if kind == "int" else float(value)


def _config_space_parameter(parameter: Parameter, entry: Mapping[str, Any]) -> Any:
    name, default = parameter.name, entry.get("default")
    if parameter.kind == "categorical":
        legal, make = list(parameter.choices), partial(ConfigSpace.Categorical, name, parameter.choices)
    else:
        legal = [parameter.low, parameter.high]
        kind: Any = ConfigSpace.Float if parameter.kind == "float" else ConfigSpace.Integer
        make = partial(kind, name, (parameter.low, parameter.high), log=bool(entry.get("log", False)))
    if default is None:
        return make()
    if not make().legal_value(default):
        raise MetapbtError(f"space.{name}.default must be within {legal}, got {default!r}")
    return make(default=default)


def _default(parameter: Parameter, entry: Mapping[str, Any], twin: Any) -> Value:
    """The default as it was written, or the middle of the range: ConfigSpace's own went through a logarithm."""
    written: Value | None = entry.get("default")
    if written is None:
        return _plain(twin.default_value)
    return float(written) if parameter.kind == "float" else written


def _condition(name: str, when: Any, by_name: Mapping[str, Any]) -> Any:
    if not isinstance(when, Mapping) or not when:
        raise MetapbtError(f"space.{name}.when must map a hyperparameter to its values, got {when!r}")
    conditions = []
    for parent, values in when.items():
        if parent not in by_name or parent == name:
            raise unknown_name(f"hyperparameter in space.{name}.when", parent, by_name.keys() - {name})
        allowed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        for value in allowed:
            if not by_name[parent].legal_value(value):
                raise MetapbtError(f"space.{name}.when.{parent} can never be {value!r}")
        conditions.append(ConfigSpace.InCondition(by_name[name], by_name[parent], allowed))
    return conditions[0] if len(conditions) == 1 else ConfigSpace.AndConjunction(*conditions)


def _plain(value: Any) -> Value:
    """A NumPy scalar as the Python value it stands for, so that records and YAML hold plain data."""
    plain: Value = value.item() if isinstance(value, np.generic) else value
    return plain
