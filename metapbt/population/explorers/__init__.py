"""Ways to choose hyperparameters, one file each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from metapbt.population.explorers.base import Explorer
from metapbt.registry import check_settings, lookup_class, making
from metapbt.space import Space

METHODS = {
    "default": "metapbt.population.explorers.default:DefaultExplorer",
    "random": "metapbt.population.explorers.random:RandomExplorer",
    "grid": "metapbt.population.explorers.grid:GridExplorer",
    "pbt": "metapbt.population.explorers.pbt:PBTExplorer",
    "gpbt_pl": "metapbt.population.explorers.gpbt_pl:GPBTPLExplorer",
    "pb2": "metapbt.population.explorers.pb2:PB2Explorer",
    "pb2_rand": "metapbt.population.explorers.pb2_rand:PB2RandExplorer",
    "pb2_mult": "metapbt.population.explorers.pb2_mult:PB2MultExplorer",
    "pb2_mix": "metapbt.population.explorers.pb2_mix:PB2MixExplorer",
    "bg_pbt": "metapbt.population.explorers.bg_pbt:BGPBTExplorer",
    "ipbt": "metapbt.population.explorers.ipbt:IPBTExplorer",
    "meta_bg_pbt": "metapbt.population.explorers.meta_bg_pbt:MetaBGPBTExplorer",
    "meta_pb2": "metapbt.population.explorers.meta_pb2:MetaPB2Explorer",
}


def explorer_class(name: str) -> type[Explorer]:
    """Return the explorer behind a method's name, or behind one's own ``package.module:Class``.

    Raises:
        MetapbtError: the method is unknown, or no explorer.
    """
    return lookup_class("method", name, METHODS, Explorer)


def make_explorer(name: str, space: Space, tuner_arguments: Collection[str] = (), /, **settings: Any) -> Explorer:
    """Make the explorer of a method with its settings, the keys of ``conf/method/<name>.yaml``.

    Args:
        name: a known method, or one's own explorer as ``package.module:Class``.
        space: the search space.
        tuner_arguments: names that stand beside the settings in a call of ``Tuner``, for the error's hint.
        settings: the method's own.

    Raises:
        MetapbtError: the method or one of its settings is unknown or out of range.
    """
    made_by = explorer_class(name)
    called = f"{name} or argument of Tuner" if tuner_arguments else name
    check_settings("method", called, made_by, settings, also_known=tuner_arguments)
    with making("method", name):
        return made_by(space, **settings)
