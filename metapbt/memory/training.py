"""Meta-training: what all source contexts teach, and what they would have taught without each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np

from metapbt.log import LOGGER
from metapbt.memory.experts import shares
from metapbt.memory.kernel import CHECK_EVERY, DEEP, PLAIN, RELATEDNESS, MetaModel, Phase, Weights
from metapbt.memory.scales import Rows, evenly

VERSION = 3  # of what is trained here; to be raised with every change of it, so that older models are not reused
MOST_CONTEXTS = 10  # held out in turn, spread evenly over all of them

JUDGED_ROWS = 100  # of a context that is held out to see how far memory deserves trust, and
KNOWN_ROWS = 200  # of the others
UNTESTED = 0.8  # trust in the memory of a single context


class Cache(Protocol):
    """Keeps trained models under a key; see :class:`metapbt.memory.cache.ModelCache`."""

    def get(self, key: str) -> Weights | None:
        """What was put under ``key``, or None."""

    def put(self, key: str, weights: Weights) -> None:
        """Keep it."""


@dataclass
class Learned:
    """What source contexts taught.

    Attributes:
        rows: theirs.
        model: trained on all of them.
        without: for each context held out, the model trained on the others.
    """

    rows: Rows
    model: MetaModel
    without: Mapping[int, MetaModel]

    @classmethod
    def nothing(cls, rows: Rows, features: int, chosen: int) -> Learned:
        """Untrained models, as :func:`learned` begins with."""
        names = np.unique(rows.contexts)
        held_out = names[evenly(len(names), MOST_CONTEXTS)] if len(names) > 1 else names[:0]
        return cls(rows, MetaModel(2, features, chosen), {int(c): MetaModel(2, features, chosen) for c in held_out})

    def split(self, context: int) -> tuple[Rows, Rows]:
        """The rows of one context, and those of the others."""
        own = self.rows.contexts == context
        return self.rows[own], self.rows[~own]

    def train(self, phase: Phase) -> None:
        """Train every model, with as many steps as forecast held-out contexts best.

        For a model without one of them the others decide: it knows nothing of the context that it is judged by.
        """
        looks = []
        for context, model in self.without.items():
            own, others = self.split(context)
            looks.append(model.train(others, phase, phase.steps, unseen=own))
        steps = phase.usual
        if looks:
            densities = np.array([[density for density, _ in path] for path in looks])
            everyone = densities.sum(axis=0)
            for model, path, own_density in zip(self.without.values(), looks, densities, strict=True):
                model.load(path[int(np.argmax(everyone - own_density))][1])
            steps = CHECK_EVERY * int(np.argmax(everyone))
        self.model.train(self.rows, phase, steps)

    def trust(self) -> float:
        """How far memory would have deserved trust, had each source been the target: the mean weight of the related.

        Of a single context nothing can be said, and it gets ``UNTESTED``.
        """
        trusts = []
        for context, model in self.without.items():
            own, others = self.split(context)
            own = own[evenly(len(own), JUDGED_ROWS)]
            known = model.nearest(others, own.inputs[:, : -model.chosen], KNOWN_ROWS)
            _, likelihoods = model.related(known, own, own.inputs[:, 0])
            weights = shares([1.0] * len(RELATEDNESS), likelihoods)
            trusts.append(1 - weights[0])
        return float(np.mean(trusts)) if trusts else UNTESTED

    def weights(self) -> Weights:
        """All that was learned."""
        return {f"{name}/{key}": value for name, model in self._named.items() for key, value in model.weights().items()}

    def load(self, weights: Weights) -> None:
        """Take what ``weights`` gave."""
        for name, model in self._named.items():
            prefix = f"{name}/"
            model.load({key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)})

    @property
    def _named(self) -> dict[str, MetaModel]:
        return {"all": self.model, **{str(context): model for context, model in self.without.items()}}


def learned(rows: Rows, features: int, chosen: int, deep: bool, cache: Cache | None = None) -> Learned:
    """What these rows teach, from the cache where it has it; the same rows give the same bits.

    Args:
        rows: of the sources.
        features: how many columns of ``rows.inputs`` are the context's.
        chosen: how many are hyperparameters.
        deep: whether the kernel has a network; it departs from the plain kernel, which is trained first.
        cache: keeps models; None keeps none.
    """
    digest = sha256(f"{VERSION} {features} {chosen} {deep} {rows.inputs.shape}".encode())
    for part in (rows.inputs, rows.changes, rows.contexts):
        digest.update(np.ascontiguousarray(part).tobytes())
    key = digest.hexdigest()[:32]
    found = Learned.nothing(rows, features, chosen)
    stored = cache.get(key) if cache is not None else None
    if stored is not None:
        found.load(stored)
        return found
    LOGGER.info(
        "memory: training a %s kernel on %d contexts, and without each of %d, once for these sources",
        "deep" if deep else "plain", len(np.unique(rows.contexts)), len(found.without),
    )  # fmt: skip
    if deep:
        found.load(learned(rows, features, chosen, False, cache).weights())
    found.train(DEEP if deep else PLAIN)
    if cache is not None:
        cache.put(key, found.weights())
    return found
