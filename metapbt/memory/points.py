"""Configurations of many records at once, as points of the unit cube."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from metapbt.memory.encoder import Array
from metapbt.parameters import Parameter
from metapbt.space import Space
from metapbt.store.table import HYPERPARAMETER, json_columns


def points_of(table: pa.Table, space: Space) -> Array:
    """The configuration of each record in the unit cube, ``n x d``, as `Space.to_unit` has it.

    A row with a NaN is of another space: a name is unknown, a value is not legal, or one is missing.

    Args:
        table: records, with columns ``hp.<name>`` that are empty where a record lacks a hyperparameter.
        space: the search space.
    """
    points = np.empty((len(table), len(space)))
    there = np.zeros(points.shape, dtype=bool)
    for place, parameter in enumerate(space.parameters):
        points[:, place], there[:, place] = _coordinates(table, parameter)
    # Those that are missing are where their default is, unless the others' values say that they exist.
    missing = ~there & _existing(points, space)
    points[missing] = np.nan
    for column in table.column_names:
        if column.startswith(HYPERPARAMETER) and column.removeprefix(HYPERPARAMETER) not in space.names:
            points[_there(table[column])] = np.nan
    return points


def legal_points(points: Array, space: Space) -> Array:
    """The points that stand for the configurations at any points, both ``n x d``: `Space.from_unit` and `to_unit`.

    So a model is asked about what will be trained, and configurations that are the same are so as points.
    """
    found = np.stack([p.nearest_legal(points[:, place]) for place, p in enumerate(space.parameters)], axis=1)
    if any(space.conditions.values()):
        defaults = np.array([parameter.to_unit(parameter.default) for parameter in space.parameters])
        found = np.where(_existing(found, space), found, defaults)
    return found


def any_of_space(table: pa.Table, space: Space) -> bool:
    """Whether any of the records is of the space, as `points_of` tells it."""
    return bool((~np.isnan(points_of(table, space)).any(axis=1)).any())


def _coordinates(table: pa.Table, parameter: Parameter) -> tuple[Array, NDArray[np.bool_]]:
    """A column in the unit cube, the default where there is no value, and where there is one: each ``n``."""
    column = f"{HYPERPARAMETER}{parameter.name}"
    found = np.full(len(table), parameter.to_unit(parameter.default))
    if column not in table.column_names:
        return found, np.zeros(len(table), dtype=bool)
    values = table[column]
    there = _there(values)
    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if number and parameter.kind != "categorical":
        found[there] = parameter.coordinates(values.drop_null().to_numpy())
        return found, there
    encoded = values.drop_null().combine_chunks().dictionary_encode()
    distinct: Sequence[Any] = encoded.dictionary.to_pylist()
    if column in json_columns(table):
        distinct = [json.loads(text) for text in distinct]
    found[there] = parameter.coordinates(distinct)[encoded.indices.to_numpy()]
    return found, there


def _there(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.is_valid().to_numpy(), dtype=np.bool_)


def _existing(points: Array, space: Space) -> NDArray[np.bool_]:
    """Which hyperparameters exist under the others' values, ``n x d``."""
    places = {parameter.name: place for place, parameter in enumerate(space.parameters)}
    conditions = space.conditions
    known: dict[str, NDArray[np.bool_]] = {}

    def exists(name: str) -> NDArray[np.bool_]:
        if name not in known:
            known[name] = np.ones(len(points), dtype=bool)
            for other, values in conditions[name].items():
                allowed = space.parameters[places[other]].coordinates(values)
                known[name] &= exists(other) & np.isin(points[:, places[other]], allowed)
        return known[name]

    return np.stack([exists(name) for name in space.names], axis=1)
