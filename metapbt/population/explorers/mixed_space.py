"""A search space as columns of the mixed surrogate: numbers, categories, grids, conditions, the region to search."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.parameters import Parameter
from metapbt.plain import Value
from metapbt.space import Hyperparameters, Space

if TYPE_CHECKING:
    from torch import Tensor

    from metapbt.memory.candidates import Bounds
    from metapbt.surrogates.mixed import Conditions, MixedColumns
    from metapbt.surrogates.search import Region
    from metapbt.surrogates.trust_region import TrustRegion

_HALF = 0.49999  # of an integer's share of its axis, in units of the integer; as published
MOST_ON_GRID = 100  # values of one number that are told apart in a search; more are rounded to afterwards


class MixedSpace:
    """The columns of configurations: first what is ``given`` beside them, then numbers, then categories.

    Numbers are coordinates of the unit interval, categories are codes from 0. Integers lie in the middle of equal
    shares of their axis, as published: with the first at 0 and the last at 1, few of them would be farther from their
    neighbours than the box reaches. Those that step by a factor are their exponents.
    An integer of two values is a category: a switch, which a small box would never let go of. What does not exist
    under the others' values is where its default is.

    Attributes:
        space: the search space.
        given: how many columns stand before the configuration's: the time and numbers; or none.
        numbers: the parameters that are numbers.
        categories: those that are categories.
    """

    def __init__(self, space: Space, given: int = 0) -> None:
        self.space = space
        self.given = given
        self.numbers: tuple[Parameter, ...] = tuple(p for p in space.parameters if not _is_category(p))
        self.categories: tuple[Parameter, ...] = tuple(p for p in space.parameters if _is_category(p))
        self._ordered = (*self.numbers, *self.categories)
        self._column = {parameter.name: given + place for place, parameter in enumerate(self._ordered)}

    @property
    def columns(self) -> MixedColumns:
        """Which columns are what, for the surrogate."""
        from metapbt.surrogates.mixed import MixedColumns

        first, last = self.given + len(self.numbers), self.given + len(self.space)
        return MixedColumns(
            0 if self.given else None, tuple(range(min(self.given, 1), first)), tuple(range(first, last))
        )

    @property
    def conditions(self) -> Conditions | None:
        """What makes columns exist; None where all always do."""
        from metapbt.surrogates.mixed import Conditions

        depends_on = {
            self._column[name]: {
                self._column[other]: [_coordinate(self._ordered[self._column[other] - self.given], v) for v in values]
                for other, values in others.items()
            }
            for name, others in self.space.conditions.items()
            if others
        }
        defaults = self.row(self.space.unconditional_default())
        return Conditions(depends_on, {c: defaults[c - self.given] for c in depends_on}) if depends_on else None

    def row(self, hyperparameters: Mapping[str, Value]) -> list[float]:
        """A configuration's columns, without those that are given."""
        values = {**self.space.unconditional_default(), **hyperparameters}
        return [_coordinate(parameter, values[parameter.name]) for parameter in self._ordered]

    def configuration(self, point: Sequence[float] | NDArray[np.float64], fixed: Hyperparameters) -> Hyperparameters:
        """The configuration whose columns, without those that are given, are nearest.

        Args:
            point: shape ``numbers + categories``.
            fixed: values that are taken as they are, whatever their columns.
        """
        found = {p.name: _value(p, float(x)) for p, x in zip(self._ordered, point, strict=True)}
        return self.space.active({**found, **fixed})

    def region(
        self,
        centre: Hyperparameters,
        given: Sequence[float],
        trusted: TrustRegion | None,
        lengthscales: NDArray[np.float64],
        fixed: Collection[str],
        taken: Sequence[Hyperparameters] = (),
    ) -> Region:
        """Where a suggestion may lie: near the centre, and at its values in what is fixed.

        A number with a grid may have the values whose shares of the axis the box touches, as rounding the box would
        leave them; the centre's is always one of them.

        Args:
            centre: a configuration.
            given: the columns that stand before the configuration's.
            trusted: how far from the centre; None for anywhere.
            lengthscales: of the numbers, one for each or one for all.
            fixed: names that keep the centre's value.
            taken: configurations that are not to be found again.
        """
        import torch

        from metapbt.surrogates.search import Region

        row = self.row(centre)
        numbers = np.array(row[: len(self.numbers)])
        whole = np.tile([[0.0], [1.0]], len(numbers))
        box = whole if trusted is None else trusted.box(numbers, lengthscales)
        bounds = np.array([[*given, *row], [*given, *row]], dtype=np.float64)
        grid, categories = {}, {}
        for place, parameter in enumerate(self.numbers):
            column = self._column[parameter.name]
            if parameter.name not in fixed:
                low, high, values = _touched(parameter, *box[:, place])
                bounds[:, column] = low, high
                if values is not None:
                    grid[column] = values
        for parameter in self.categories:
            column, codes = self._column[parameter.name], [float(code) for code in range(_choices(parameter))]
            if parameter.name not in fixed and len(codes) > 1:
                categories[column] = codes
                bounds[:, column] = codes[0], codes[-1]
        most = len(categories) if trusted is None else trusted.changeable(len(categories))
        known = [[*given, *self.row(configuration)] for configuration in taken]
        return Region(
            torch.tensor([*given, *row], dtype=torch.float64),
            torch.as_tensor(bounds),
            grid,
            categories,
            most,
            torch.tensor(known, dtype=torch.float64) if known else None,
        )

    def cube(self, region: Region) -> Bounds:
        """The same region in the unit cube of the space, whose integers begin at 0 and end at 1."""
        from metapbt.memory.candidates import Bounds

        def coordinates(point: Tensor) -> NDArray[np.float64]:
            return np.array([p.to_unit(_value(p, float(point[self._column[p.name]]))) for p in self.space.parameters])

        centre, low, high = (coordinates(point) for point in (region.centre, *region.bounds))
        free = {
            place: _choices(parameter)
            for place, parameter in enumerate(self.space.parameters)
            if self._column[parameter.name] in region.categories
        }
        low[list(free)], high[list(free)] = 0.0, 1.0
        return Bounds(centre, low, high, free, region.changes)

    def found(self, point: Tensor, fixed: Hyperparameters) -> Hyperparameters:
        """The configuration at a point of the region."""
        return self.configuration(point[self.given :].numpy(), fixed)


def _is_category(parameter: Parameter) -> bool:
    least, most = _wholes(parameter)
    return parameter.kind == "categorical" or (parameter.kind == "int" and most - least == 1)


def _coordinate(parameter: Parameter, value: Value) -> float:
    if parameter.kind == "categorical":
        return float(parameter.place(value))
    if _is_category(parameter):
        return float(_whole(parameter, value) - _wholes(parameter)[0])
    if parameter.kind == "float":
        return parameter.to_unit(value)
    low, high = _ends(parameter)
    return (_scaled(parameter, _whole(parameter, value)) - low) / (high - low)


def _value(parameter: Parameter, column: float) -> Value:
    if parameter.kind == "categorical":
        return parameter.choices[round(column)]
    if parameter.kind == "float":
        return parameter.from_unit(min(max(column, 0.0), 1.0))
    least, most = _wholes(parameter)
    if _is_category(parameter):
        return _of_whole(parameter, least + round(column))
    low, high = _ends(parameter)
    found = low + column * (high - low)
    whole = round(math.exp(found) if _is_log(parameter) else found)
    return _of_whole(parameter, int(min(max(whole, least), most)))


def _wholes(parameter: Parameter) -> tuple[int, int]:
    """Between which whole numbers an integer's axis counts: itself, or the exponents of its factor."""
    return (0, parameter.last) if parameter.factor is not None else (int(parameter.low), int(parameter.high))


def _whole(parameter: Parameter, value: Value) -> int:
    return parameter.exponent(value) if parameter.factor is not None else int(value)


def _of_whole(parameter: Parameter, whole: int) -> int:
    return parameter.power(whole) if parameter.factor is not None else whole


def _is_log(parameter: Parameter) -> bool:
    return parameter.log and parameter.factor is None


def _ends(parameter: Parameter) -> tuple[float, float]:
    """Where an integer's axis begins and ends."""
    least, most = _wholes(parameter)
    return _scaled(parameter, least - _HALF), _scaled(parameter, most + _HALF)


def _scaled(parameter: Parameter, whole: float) -> float:
    return math.log(whole) if _is_log(parameter) else float(whole)


def _choices(parameter: Parameter) -> int:
    return len(parameter.choices) if parameter.kind == "categorical" else 2


def _touched(parameter: Parameter, low: float, high: float) -> tuple[float, float, list[float] | None]:
    """The part of an axis that a box leaves: its ends, and its legal coordinates where these are few."""
    if parameter.kind == "float" and parameter.step is None:
        return low, high, None
    first, last = _value(parameter, low), _value(parameter, high)
    ends = _coordinate(parameter, first), _coordinate(parameter, last)
    values: Iterator[float]
    if parameter.kind == "int":
        wholes = range(_whole(parameter, first), _whole(parameter, last) + 1)
        count, values = len(wholes), (_of_whole(parameter, whole) for whole in wholes)
    else:
        step = parameter.step or 1
        count = round((last - first) / step) + 1
        values = (parameter.stepped(first + place * step) for place in range(count))
    if count > MOST_ON_GRID:  # rounding is monotonic: what lies between two legal values rounds to no other side
        return *ends, None
    return *ends, [_coordinate(parameter, value) for value in values]
