"""The search space: what may be tuned, between which bounds, and its way to the unit cube and back.

A space is written in YAML, one key for each hyperparameter; keys may nest:

    learning_rate: {type: float, low: 1.0e-5, high: 1.0e-3, log: true, default: 3.0e-4}
    clip_range: {type: float, low: 0.1, high: 0.5, step: 0.05}
    gamma: {type: float, low: 0.9, high: 0.9999, complement: true, log: true, default: 0.99}
    n_epochs: {type: int, low: 3, high: 30, default: 10}
    batch_size: {type: int, low: 64, high: 1024, factor: 2, default: 64}
    activation: {type: categorical, choices: [tanh, relu], default: tanh}
    optimizer:
      momentum: {type: float, low: 0.0, high: 0.99, default: 0.9, when: {activation: tanh}}

With ``complement`` it is the distance from 1 that is tuned, as suits discounts and traces, whose horizon is
1 / (1 - gamma): PBT multiplies it, and with ``log`` all methods see 0.9, 0.99 and 0.999 equally far apart.
An integer with a ``factor`` is ``low`` times a power of it, every one equally likely and equally far from the next.
Nested names are joined by dots (``optimizer.momentum``). Choices may be any plain data, of several types in one list
(``[auto, 0.1, 5, null, [64, 64]]``). ``when`` makes a hyperparameter exist only while another one has a value (or one
of a list of values). ``role: architecture`` says that a hyperparameter changes the network's shape, so that whoever
copies weights keeps its value.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown, shown_word, unknown_name
from metapbt.parameters import Parameter, make_parameter
from metapbt.plain import Value, key, thawed

__all__ = ["Hyperparameters", "Parameter", "Space", "UnitVector", "Value"]

Hyperparameters = dict[str, Value]
UnitVector = NDArray[np.float64]

_NOTHING: Mapping[str, Value] = {}
_NAME = re.compile(r"[\w+-]+(\.[\w+-]+)*")
_LONGEST_NAME = 200
_DEEPEST = 20


class Space:
    """A search space over named hyperparameters.

    Attributes:
        specification: what it was built from, a plain mapping of its own.
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
        if not isinstance(specification, Mapping):
            raise MetapbtError(f"space must map names to hyperparameters, got {shown(specification)}")
        entries: dict[str, Mapping[str, Any]] = {}
        for name, entry in _flatten(specification):
            if name in entries:
                raise MetapbtError(f"space.{name} is there twice: with a dot and nested")
            entries[name] = entry
        if not entries:
            raise MetapbtError("space: names no hyperparameters")
        self.specification = copy.deepcopy(entries)
        self.parameters = tuple(make_parameter(name, entry) for name, entry in entries.items())
        self._by_name = {p.name: p for p in self.parameters}
        # For each name the hyperparameters that it depends on, each with the values under which it exists.
        self._conditions = {name: self._condition(name, entry) for name, entry in entries.items()}
        self._order = _ordered({name: list(conditions) for name, conditions in self._conditions.items()})
        for name in self.architecture:
            for other in self._conditions[name]:
                if other not in self.architecture:  # else a copy could lose or gain a part of its network
                    raise MetapbtError(f"space.{name}.when: {other} must have the role architecture, as {name} has")

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters' names, in the order of unit vectors."""
        return tuple(p.name for p in self.parameters)

    @property
    def architecture(self) -> tuple[str, ...]:
        """Names of the hyperparameters that change the network's shape."""
        return tuple(p.name for p in self.parameters if p.role == "architecture")

    @property
    def categories(self) -> dict[int, int]:
        """Of each position in unit vectors that is a category's: how many choices it has."""
        return {place: len(p.choices) for place, p in enumerate(self.parameters) if p.choices}

    @property
    def conditions(self) -> dict[str, dict[str, list[Value]]]:
        """For each name the hyperparameters that it depends on, each with the values under which it exists."""
        return {
            name: {other: list(allowed.values()) for other, allowed in conditions.items()}
            for name, conditions in self._conditions.items()
        }

    def __len__(self) -> int:
        return len(self.parameters)

    def default(self) -> Hyperparameters:
        """The default configuration."""
        return self.active(self.unconditional_default())

    def unconditional_default(self) -> Hyperparameters:
        """The default of every hyperparameter, whether it exists under the others' defaults or not."""
        return thawed({p.name: p.default for p in self.parameters})

    def corners(self) -> list[Hyperparameters]:
        """Legal configurations that show at the door what training would show later: the default; every number at its
        lowest and at its highest, alone and all together; and every category.
        """
        defaults = self.unconditional_default()
        numbers = [p for p in self.parameters if p.kind != "categorical"]
        categories = [p for p in self.parameters if p.kind == "categorical"]
        lowest: Hyperparameters = {p.name: p.extremes[0] for p in numbers}
        highest: Hyperparameters = {p.name: p.extremes[1] for p in numbers}
        found = [defaults]
        found += [{**defaults, p.name: bound[p.name]} for p in numbers for bound in (lowest, highest)]
        for place in range(max((len(p.choices) for p in categories), default=1)):
            chosen = {p.name: p.choices[min(place, len(p.choices) - 1)] for p in categories}
            found += [{**lowest, **chosen}, {**highest, **chosen}]
        distinct: dict[str, Hyperparameters] = {}
        for configuration in map(self.active, found):
            distinct.setdefault(key(configuration), configuration)
        # Those that exist only under some values of others may not have been there.
        seen = {(name, key(value)) for configuration in distinct.values() for name, value in configuration.items()}
        for p in self.parameters:
            for value in p.extremes:
                if (p.name, key(value)) not in seen:
                    configuration = self.active(self._existing(defaults, p.name, value))
                    distinct.setdefault(key(configuration), configuration)
        return list(distinct.values())

    def sample(self, rng: np.random.Generator, given: Mapping[str, Value] = _NOTHING) -> Hyperparameters:
        """Draw a configuration: uniform on each scale, every integer and every category equally likely.

        Args:
            rng: the source of randomness.
            given: values that are not drawn.
        """
        return self.active({**self.unconditional_sample(rng), **given})

    def unconditional_sample(self, rng: np.random.Generator) -> Hyperparameters:
        """A draw of every hyperparameter, whether it exists or not."""
        # NumPy's older generator, as in all earlier versions: the same seeds draw the same configurations.
        state = np.random.RandomState(rng.integers(2**32, dtype=np.uint32))  # noqa: NPY002
        return {p.name: p.sample(state) for p in self.parameters}

    def with_architecture_of(
        self, hyperparameters: Mapping[str, Value], parent: Mapping[str, Value]
    ) -> Hyperparameters:
        """Return ``hyperparameters`` as a copy of ``parent`` can train with them: on the parent's network.

        What exists only on that network has the parent's value where none was proposed.
        """
        network = self.network_of(parent)
        return self.active({**self.unconditional_default(), **parent, **hyperparameters, **network})

    def network_of(self, hyperparameters: Mapping[str, Value]) -> Hyperparameters:
        """The part of a configuration that is the network's architecture."""
        return {name: hyperparameters[name] for name in self.architecture if name in hyperparameters}

    def to_unit(self, hyperparameters: Mapping[str, Value]) -> UnitVector:
        """Map a configuration to the unit cube (shape ``d``).

        Categories go to the middle of their share of the interval; a hyperparameter that does not exist under the
        conditions takes its default's place.

        Raises:
            MetapbtError: the configuration does not belong to this space.
        """
        legal = {**self.unconditional_default(), **self.checked(hyperparameters)}
        return np.array([p.to_unit(legal[p.name]) for p in self.parameters])

    def from_unit(self, vector: Sequence[float] | UnitVector, given: Mapping[str, Value] = _NOTHING) -> Hyperparameters:
        """Map a point of the unit cube to a configuration; bounds and defaults come out exactly as they were written.

        Args:
            vector: shape ``d``; coordinates beyond [0, 1] are clipped.
            given: values that are taken as they are, whatever their coordinates.
        """
        clipped = np.clip(np.asarray(vector, dtype=np.float64), 0.0, 1.0)
        found = {p.name: p.from_unit(float(u)) for p, u in zip(self.parameters, clipped, strict=True)}
        return self.active({**found, **given})

    def spread(self, point: UnitVector) -> Hyperparameters:
        """Map a point that was drawn evenly from the unit cube: what takes whole steps has equal shares of the range.

        ``from_unit`` takes the nearest legal value instead, which leaves half a share to the lowest and the highest.

        Args:
            point: shape ``d``, in [0, 1].
        """
        return self.active({p.name: p.spread(float(u)) for p, u in zip(self.parameters, point, strict=True)})

    def checked(self, hyperparameters: Mapping[str, object]) -> Hyperparameters:
        """Return a copy of a configuration as plain data, each value of its hyperparameter's type.

        Raises:
            MetapbtError: a name is unknown, a value is out of its bounds, or one is missing.
        """
        if not isinstance(hyperparameters, Mapping):
            raise MetapbtError(f"a configuration must map names to values, got {shown(hyperparameters)}")
        for name in hyperparameters:
            if name not in self._by_name:
                raise unknown_name("hyperparameter", name, self.names)
        legal = {name: self._by_name[name].checked(value) for name, value in hyperparameters.items()}
        missing = self.active({**self.unconditional_default(), **legal}).keys() - legal.keys()
        if missing:
            raise MetapbtError(f"missing hyperparameters: {', '.join(sorted(missing))}")
        return thawed(legal)

    def check(self, hyperparameters: Mapping[str, object]) -> None:
        """Check that a configuration belongs to this space.

        Raises:
            MetapbtError: a name is unknown, a value is out of its bounds, or one is missing.
        """
        self.checked(hyperparameters)

    def __contains__(self, hyperparameters: Mapping[str, object]) -> bool:
        """Whether a configuration belongs to this space."""
        try:
            self.check(hyperparameters)
        except MetapbtError:
            return False
        return True

    def active(self, values: Mapping[str, Value]) -> Hyperparameters:
        """Drop, from a value for every hyperparameter, those that do not exist under the conditions; a copy."""
        exists: dict[str, bool] = {}
        for name in self._order:
            exists[name] = all(
                exists[other] and key(values[other]) in allowed for other, allowed in self._conditions[name].items()
            )
        return thawed({name: value for name, value in values.items() if exists[name]})

    def _existing(self, values: Hyperparameters, name: str, value: Value) -> Hyperparameters:
        """The values with one of them changed, and those that it depends on such that it exists."""
        changed, wanted = {**values, name: value}, {name}
        for dependent in reversed(self._order):
            for other, allowed in self._conditions[dependent].items() if dependent in wanted else ():
                wanted.add(other)
                if key(changed[other]) not in allowed:
                    changed[other] = next(iter(allowed.values()))
        return changed

    def _condition(self, name: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
        if "when" not in entry:
            return {}
        where, when = f"space.{name}.when", entry["when"]
        if not isinstance(when, Mapping) or not when:
            raise MetapbtError(f"{where} must map a hyperparameter to its values, got {shown(when)}")
        found = {}
        for other, values in when.items():
            if other not in self._by_name or other == name:
                raise unknown_name(f"hyperparameter in {where}", other, self._by_name.keys() - {name})
            allowed = _allowed(self._by_name[other], values, f"{where}.{other}")
            found[str(other)] = {key(value): value for value in allowed}
        return found


def _flatten(specification: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for written, entry in specification.items():
        name = f"{prefix}{written}"
        if not isinstance(written, str):
            raise MetapbtError(
                f"space.{shown_word(name)}: a name must be text, got {shown(written)} (put quotes around it)"
            )
        if not _NAME.fullmatch(written) or len(name) > _LONGEST_NAME:
            raise MetapbtError(
                f"space: a name must be at most {_LONGEST_NAME} letters, digits, '_', '+', '-' and single dots between "
                f"them, got {shown(name)}"
            )
        if not isinstance(entry, Mapping):
            raise MetapbtError(f"space.{name} must be a mapping with a type, got {shown(entry)}")
        if "type" in entry and not isinstance(entry["type"], Mapping):
            yield name, entry
        elif entry and all(isinstance(value, Mapping) for value in entry.values()):
            if name.count(".") >= _DEEPEST:
                raise MetapbtError(f"space.{name} nests too deep")
            yield from _flatten(entry, f"{name}.")
        else:
            raise MetapbtError(f"space.{name}.type is missing; it must be one of float, int, categorical")


def _allowed(other: Parameter, values: Any, where: str) -> list[Value]:
    """The values that a condition names: one, or a list of them (which may itself be a value)."""

    def legal(value: Any) -> list[Value]:
        try:
            return [other.checked(value)]
        except MetapbtError:
            return []

    several = isinstance(values, Sequence) and not isinstance(values, str) and not legal(values)
    listed = list(values) if several else [values]
    if not listed:
        raise MetapbtError(f"{where} names no value")
    for value in listed:
        if not legal(value):
            raise MetapbtError(f"{where} can never be {shown(value)}")
    return [value for written in listed for value in legal(written)]


def _ordered(depends_on: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The names in an order in which each comes after those that it depends on."""
    try:
        return tuple(TopologicalSorter(depends_on).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise MetapbtError(f"space: conditions go round in a circle: {circle}") from error
