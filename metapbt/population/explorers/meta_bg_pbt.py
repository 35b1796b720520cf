"""BG-PBT that remembers: first candidates, copies and architectures from related contexts, where they are trusted."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metapbt.history import History, Record
from metapbt.plain import key
from metapbt.population.explorers.architectures import promising_architectures
from metapbt.population.explorers.base import Pending, Suggestion, Surrogate
from metapbt.population.explorers.bg_pbt import BGPBTExplorer
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.threads import deciding

if TYPE_CHECKING:
    from metapbt.memory.candidates import Bounds
    from metapbt.memory.source_runs import Memory
    from metapbt.memory.training import Cache


def _with_settings_of(remembering: type, alone: type) -> inspect.Signature:
    """How to make an explorer that has the settings of two; where copies lie is what the latter says."""
    own, more = inspect.signature(remembering), inspect.signature(alone).parameters
    kept = [parameter for name, parameter in own.parameters.items() if name not in more]
    return own.replace(parameters=[own.parameters["space"], *kept, *(p for name, p in more.items() if name != "space")])


class MetaBGPBTExplorer(MetaPB2Explorer):
    """BG-PBT whose surrogate is the ensemble of ``meta_pb2``. Without any source this is BG-PBT.

    - The first generation, candidates included, is chosen as ``meta_pb2`` does.
    - Copies take the highest value, as ``meta_pb2`` has it, within the trust region of BG-PBT. That is the confidence
      bound of its ensemble where it is greedy, as it is where architectures are searched.
    - Of the architectures of a new era, the share that memory chooses of the first generation where it is trusted
      wholly, less where it is not, are those that did best in related contexts; BG-PBT's own search gives the others.
    """

    __signature__ = _with_settings_of(MetaPB2Explorer, BGPBTExplorer)  # by which names of settings are checked

    def __init__(self, space: Space, memory: Memory, cache: Cache | None = None, **settings: Any) -> None:
        """Take the memory.

        Args:
            space: the search space.
            memory: the target's context and the sources' runs.
            cache: keeps trained models for other runs; None keeps none.
            settings: those of ``bg_pbt`` and of ``meta_pb2``.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        own = inspect.signature(BGPBTExplorer).parameters
        remembering = {name: value for name, value in settings.items() if name not in own}
        super().__init__(space, memory, cache=cache, **remembering)
        #: What decides where memory has no part.
        self.alone = BGPBTExplorer(space, **{name: value for name, value in settings.items() if name in own})

    def warm_up(self) -> None:
        """Import the surrogates, which takes seconds."""
        super().warm_up()
        self.alone.warm_up()

    @deciding()
    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Maximise the value around each parent's hyperparameters, at its return."""
        if self.steers(parents, history):
            return super().propose(children, parents, history, pending, rng)
        return self.alone.propose(children, parents, history, pending, rng)

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """The ensemble, or the surrogate of BG-PBT where memory has no part."""
        if self.steers(parents, history):
            return super().surrogate(children, parents, history, pending)
        return self.alone.surrogate(children, parents, history, pending)

    def within(self, parent: Record, history: History) -> Bounds:
        """The trust region around the parent, on its network."""
        mixed, region = self.alone.mixed, self.alone.standing(history).region
        given = [0.0] * mixed.given
        return mixed.cube(mixed.region(parent.hyperparameters, given, region, np.ones(1), self.space.architecture))

    def beta_after(self, seen: int) -> float:
        """The variance's weight in the confidence bound: the same, whatever was seen."""
        return self.alone.beta**2

    @deciding()
    def architectures(
        self, count: int, tried: Sequence[tuple[Hyperparameters, float]], rng: np.random.Generator
    ) -> list[Hyperparameters]:
        """Return networks that did well in related contexts, and others that this run's own eras speak for."""
        known = {key(self.space.network_of(hyperparameters)) for hyperparameters, _ in tried}
        remembered = [network for network in self._remembered() if key(network) not in known]
        chosen = remembered[: min(self.share(count), count)] if remembered else []
        return [*chosen, *promising_architectures(self.space, count - len(chosen), tried, rng, chosen)]

    def _remembered(self) -> list[Hyperparameters]:
        """The networks of related contexts, the most promising first."""
        from metapbt.memory.networks import ranked_networks

        columns = [place for place, name in enumerate(self.space.names) if name in self.space.architecture]
        if not columns or not len(self.tasks) or not self.first_generation:
            return []
        found = []
        for network in ranked_networks(self.tasks.samples, columns):
            point = np.full(len(self.space), 0.5)
            point[columns] = network
            found.append(self.space.network_of(self.space.from_unit(point)))
        return found
