"""Random search: each member draws its hyperparameters once."""

from __future__ import annotations

from metapbt.population.explorers.base import Explorer


class RandomExplorer(Explorer):
    """Every member keeps to the end what it drew at the start."""

    copies = False
