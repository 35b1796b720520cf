"""Ways to choose hyperparameters, one file each."""

from __future__ import annotations

from typing import Any

from metapbt.errors import MetapbtError
from metapbt.population.explorers.base import Explorer
from metapbt.registry import lookup
from metapbt.space import Space

METHODS = {
    "default": "metapbt.population.explorers.default:DefaultExplorer",
    "random": "metapbt.population.explorers.random:RandomExplorer",
    "grid": "metapbt.population.explorers.grid:GridExplorer",
    "pbt": "metapbt.population.explorers.pbt:PBTExplorer",
    "pb2": "metapbt.population.explorers.pb2:PB2Explorer",
    "pb2_rand": "metapbt.population.explorers.pb2_rand:PB2RandExplorer",
    "pb2_mult": "metapbt.population.explorers.pb2_mult:PB2MultExplorer",
    "pb2_mix": "metapbt.population.explorers.pb2_mix:PB2MixExplorer",
    "meta_pb2": "metapbt.population.explorers.meta_pb2:MetaPB2Explorer",
}


def explorer_class(name: str) -> type[Explorer]:
    """Return the explorer behind a method's name, or behind one's own ``package.module:Class``.

    Raises:
        MetapbtError: the method is unknown.
    """
    found: type[Explorer] = lookup("method", name, METHODS)
    return found


def make_explorer(name: str, space: Space, **settings: Any) -> Explorer:
    """Make the explorer of a method with its settings, the keys of ``conf/method/<name>.yaml``.

    Raises:
        MetapbtError: the method or one of its settings is unknown or out of range.
    """
    try:
        return explorer_class(name)(space, **settings)
    except TypeError as error:
        raise MetapbtError(f"method '{name}': {error}") from error
