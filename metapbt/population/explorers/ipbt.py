"""IPBT: BG-PBT's copies, and beginners by what earlier beginners and all that descended from them came to."""

from __future__ import annotations

from metapbt.population.explorers.bg_pbt import BGPBTExplorer


class IPBTExplorer(BGPBTExplorer):
    """Iterated population-based training (arXiv:2511.09190)."""
