"""Meta-training: what all source contexts teach, and what they would have taught without each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metapbt.log import LOGGER, counted
from metapbt.memory.encoder import Array, less_their_means
from metapbt.memory.model import CHECK_EVERY, DEEP, PLAIN, MetaModel, Phase, Weights
from metapbt.memory.nearest import SOURCE_ROWS
from metapbt.memory.scales import SourceScale
from metapbt.memory.tasks import Tasks
from metapbt.memory.trust import PRIOR, posterior, prior
from metapbt.surrogates.thinning import evenly

#: Of what is trained here and judged in `quality`; to be raised with every change, so that nothing older is reused.
VERSION = 16

MOST_CONTEXTS = 10  # held out in turn, spread evenly over all of them

JUDGED_ROWS = 100  # of a context that is held out to see how far memory deserves trust

FARTHEST = 8  # intervals ahead: who looks as far, and again at each decision, sees far enough
TELLING = 0.1  # a correlation that is worth acting on,
ERRORS = 2.0  # and by how many standard errors, over contexts, it must be above 0
LEAST_FREE = 20  # degrees of freedom from which a context says something


class Cache(Protocol):
    """Keeps trained models under a key; see `metapbt.memory.cache.ModelCache`."""

    def get(self, key: str) -> Weights | None:
        """What was put under ``key``, or None."""

    def put(self, key: str, weights: Weights) -> None:
        """Keep it."""


@dataclass
class Learned:
    """What source contexts taught.

    Attributes:
        tasks: the contexts.
        model: trained on all of them.
        without: for each context held out, the model trained on the others.
    """

    tasks: Tasks
    model: MetaModel
    without: Mapping[int, MetaModel]

    @classmethod
    def nothing(cls, tasks: Tasks) -> Learned:
        """Untrained models, as `learned` begins with."""

        def untrained(scale: SourceScale) -> MetaModel:
            return MetaModel(2, len(scale.features), tasks.chosen, tasks.categories, tasks.changed)

        names = np.unique(tasks.rows.contexts)
        held_out = names[evenly(len(names), MOST_CONTEXTS)] if len(names) > 1 else names[:0]
        return cls(tasks, untrained(tasks.scale), {int(c): untrained(tasks.scale_without(int(c))) for c in held_out})

    def train(self, phase: Phase, step: Callable[[], None] = lambda: None) -> None:
        """Train every model, with as many steps as forecast held-out contexts best.

        For a model without one of them the others decide: it was not trained on the context that it is judged by.

        Args:
            phase: how.
            step: called once each model has been trained.
        """
        looks = []
        for context, model in self.without.items():
            own, others = self.tasks.held_out(context)
            looks.append(model.train(others, phase, phase.steps, unseen=own))
            step()
        steps = phase.usual
        if looks:
            densities = np.array([[density for density, _ in path] for path in looks])
            everyone = densities.sum(axis=0)
            for model, path, own_density in zip(self.without.values(), looks, densities, strict=True):
                model.load(path[int(np.argmax(everyone - own_density))][1])
            steps = CHECK_EVERY * int(np.argmax(everyone))
        self.model.train(self.tasks.rows, phase, steps)
        step()

    def trust(self) -> float:
        """How far memory would have deserved trust, had each source been the target: the mean weight of the related.

        Where nothing speaks for memory or against it, as with a single context, that is ``PRIOR``.
        """
        trusts = []
        for context, model in self.without.items():
            own, others = self.tasks.held_out(context)
            own = own[evenly(len(own), JUDGED_ROWS)]
            known = model.nearest(others, own.inputs[:, : model.given], SOURCE_ROWS)
            errors, noise = model.forecast_errors(known, own)
            trusts.append(1 - posterior(prior(PRIOR), errors, own, noise)[0])
        return float(np.mean(trusts)) if trusts else PRIOR

    def horizon(self) -> int:
        """How many intervals ahead returns can be forecast, had each source been the target: from 1 to ``FARTHEST``.

        That is the longest such that over it, and over every shorter one from 2, the forecast changes of held-out lines
        of descent correlate with the real ones, each less the mean of its time, in the mean over contexts: by at least
        ``TELLING``, and ``ERRORS`` standard errors. Where nothing says how far, as with a single context, it is 1.
        """
        return _horizon(self.foresight())

    def foresight(self, rows: int = SOURCE_ROWS) -> list[list[float]]:
        """How forecast changes correlate with the real ones over 1 to ``FARTHEST`` intervals, in each held-out context.

        Contexts with fewer than ``LEAST_FREE`` degrees of freedom at that length are left out.

        Args:
            rows: of the other contexts, from which one is forecast.
        """
        found: list[list[float]] = [[] for _ in range(FARTHEST)]
        for context, model in self.without.items():
            lines, (_, others) = self.tasks.lines(context), self.tasks.held_out(context)
            judged = lines.rows[evenly(len(lines.rows), JUDGED_ROWS)]
            known = model.nearest(others, judged.inputs[:, : model.given], rows)
            mean = model.related(known, others[:0], prior(PRIOR)).mean
            for intervals, correlations in enumerate(found, 1):
                ends, forecast, real = lines.forecast(mean, intervals)
                times = lines.rows.times[ends]
                told = correlation(forecast, real, times)
                if enough(times) and not math.isnan(told):
                    correlations.append(told)
        return found

    def sight(self) -> tuple[int, float]:
        """How well these models forecast held-out contexts: the horizon, and the mean correlation as far as it goes."""
        foresight = self.foresight()
        horizon = _horizon(foresight)
        told = [float(np.mean(found)) for found in foresight[:horizon] if found]
        return horizon, float(np.mean(told)) if told else 0.0

    def weights(self) -> Weights:
        """All that was learned."""
        return {f"{name}/{key}": value for name, model in self._named.items() for key, value in model.weights().items()}

    def load(self, weights: Weights) -> None:
        """Take what ``weights`` gave.

        Raises:
            ValueError: they are not of these models; nothing was taken.
        """
        parts: dict[str, Weights] = {name: {} for name in self._named}
        for key, value in weights.items():
            name, _, inner = key.partition("/")
            if name not in parts:
                raise ValueError(f"there is no model {name}")
            parts[name][inner] = value
        for name, model in self._named.items():
            model.check(parts[name])
        for name, model in self._named.items():
            model.load(parts[name])

    @property
    def _named(self) -> dict[str, MetaModel]:
        return {"all": self.model, **{str(context): model for context, model in self.without.items()}}


def _horizon(foresight: Sequence[Sequence[float]]) -> int:
    """See `Learned.horizon`."""
    for intervals, found in enumerate(foresight[1:], 2):
        if len(found) < 2:
            return intervals - 1
        error = float(np.std(found, ddof=1)) / math.sqrt(len(found))
        if float(np.mean(found)) < max(TELLING, ERRORS * error):
            return intervals - 1
    return FARTHEST


def enough(times: NDArray[np.int_]) -> bool:
    """Whether rows of these times have degrees of freedom enough to tell anything, less the mean of each time."""
    return len(times) - len(np.unique(times)) >= LEAST_FREE


def correlation(one: Array, other: Array, times: NDArray[np.int_], given: Sequence[Array] = ()) -> float:
    """How two quantities of the same rows correlate, beyond what ``given`` ones tell of both (partial correlation), all
    less their means at their time; NaN where nothing can be told."""
    x, y = less_their_means(one, times), less_their_means(other, times)
    if given:
        known = np.column_stack([less_their_means(each, times) for each in given])
        x, y = (values - known @ np.linalg.lstsq(known, values, rcond=None)[0] for values in (x, y))
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 1e-12 else math.nan


def cache_key(what: object, tasks: Tasks) -> str:
    """What a cache keeps something under that is made of these contexts."""
    return sha256(f"{VERSION} {what} {tasks.digest()}".encode()).hexdigest()[:32]


def learned(tasks: Tasks, deep: bool, cache: Cache | None = None, step: Callable[[], None] = lambda: None) -> Learned:
    """What these contexts teach, from the cache where it has it; the same rows give the same bits.

    Args:
        tasks: the sources, with at least one row.
        deep: whether the kernel has a network; it departs from the plain kernel, which is trained first, and stays it
            where `Learned.sight` is worse with the network.
        cache: keeps models; None keeps none.
        step: called once each of its models, those without a context and the one of all, has been trained.
    """
    key = cache_key(deep, tasks)
    found = Learned.nothing(tasks)
    stored = cache.get(key) if cache is not None else None
    if stored is not None:
        try:
            found.load(stored)
            return found
        except ValueError as error:
            LOGGER.warning("memory's kept model %s is of no use (%s): it is trained anew", key, error)
    kernel = "deep" if deep else "plain"
    LOGGER.info(
        "memory: training a %s kernel%s on %s, and without each of %d, once for these sources",
        kernel, " for what became of agents" if tasks.hindsight > 1 else "",
        counted(len(np.unique(tasks.rows.contexts)), "context"), len(found.without),
    )  # fmt: skip
    if deep:
        plain = learned(tasks, False, cache)
        found.load(plain.weights())
        found.train(DEEP, step)
        if found.sight() < plain.sight():
            LOGGER.info("memory: the network is left out: without it held-out contexts are forecast better")
            found.load(plain.weights())
    else:
        found.train(PLAIN, step)
    if cache is not None:
        cache.put(key, found.weights())
    return found
