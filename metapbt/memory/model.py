"""The surrogate that remembers: meta-trained over contexts as tasks, conditioned on the target's own rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metapbt.memory.encoder import Array, Rows
from metapbt.memory.kernel import Seen, Stage, Warp
from metapbt.memory.nearest import Nearest
from metapbt.memory.related import Related
from metapbt.memory.trust import RELATEDNESS
from metapbt.surrogates.thinning import evenly
from metapbt.surrogates.threads import one_thread

Weights = dict[str, NDArray[Any]]

QUERY = 64  # rows of one context in a batch, to be predicted
SUPPORT = 96  # rows of the others in it, from which
CHECK_EVERY = 25  # steps between two looks at how well other rows are forecast
LOOK_AT = 200  # rows at most, forecast or given, in one such look
LARGEST_WEIGHT = 100.0  # no training gets there, and where it is a lengthscale's logarithm, numbers end soon after
EQUAL = (1.0,) * len(RELATEDNESS)
CHANGES = 1.5  # initial lengthscale of a change of one hyperparameter: what it does is to be shown by the records


@dataclass(frozen=True)
class Phase:
    """A part of the training.

    Attributes:
        steps: the most.
        usual: those taken where no other context can say how many are best.
        rate: the learning rate of scales and stage.
        network_rate: the learning rate of the warp's network; None leaves it at zero.
    """

    steps: int
    usual: int
    rate: float
    network_rate: float | None = None


PLAIN = Phase(150, usual=75, rate=0.05)  # so that the network starts from a good plain GP
DEEP = Phase(250, usual=0, rate=0.01, network_rate=0.005)


class MetaModel:
    """A kernel and a noise, trained on contexts as tasks.

    Attributes:
        warp: the part of the kernel that says which inputs are alike.
        stage: the part of it that says how large changes and noise are.
        given: how many of the first columns are not hyperparameters'.
    """

    def __init__(
        self,
        given: int,
        features: int,
        chosen: int,
        categories: Mapping[int, int] | None = None,
        changed: bool = False,
    ) -> None:
        """Make an untrained one.

        Args:
            given: columns of time and return.
            features: columns of the context.
            chosen: columns of hyperparameters.
            categories: of each of these that is a category's, counted from 0, how many choices share it.
            changed: whether as many columns follow, by how much these differ from what was trained with lately.
        """
        self.given = given + features
        # Lengthscales: a whole run, a whole range of returns, three deviations of a feature, and a share of the unit
        # cube that grows with its diagonal, so that points are as alike in many dimensions as in few.
        lengths = [1.0] * given + [3.0] * features + [0.35 * math.sqrt(chosen)] * chosen
        lengths += [CHANGES * math.sqrt(chosen)] * chosen * changed
        scales = 1 / torch.tensor(lengths, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first = given + features
            # Two choices are as far apart in one column as in two.
            wide = {first + place: choices for place, choices in (categories or {}).items() if choices > 2}
            self.warp = Warp(scales, wide)
            self.stage = Stage()

    def weights(self) -> Weights:
        """All that was learned."""
        return {name: value.detach().numpy().copy() for name, value in self._trained.items()}

    def load(self, weights: Weights) -> None:
        """Take what ``weights`` gave.

        Raises:
            ValueError: they are not of this model; nothing was taken.
        """
        self.check(weights)
        with torch.no_grad():
            for name, value in self._trained.items():
                value.copy_(torch.as_tensor(weights[name]))

    def check(self, weights: Weights) -> None:
        """Check that weights are of this model.

        Raises:
            ValueError: one is missing, unknown, of another shape or type, or none that training leads to.
        """
        trained = self._trained
        if weights.keys() != trained.keys():
            raise ValueError(f"it has {', '.join(sorted(weights)) or 'nothing'}, not {', '.join(sorted(trained))}")
        for name, expected in trained.items():
            value = weights[name]
            if value.dtype != np.float64 or value.shape != tuple(expected.shape):
                raise ValueError(f"{name} is {value.dtype} {value.shape}, not float64 {tuple(expected.shape)}")
            if not (np.abs(value) <= LARGEST_WEIGHT).all():  # nor NaN
                raise ValueError(f"{name} has values that training does not lead to")

    @property
    def _trained(self) -> dict[str, torch.nn.Parameter]:
        parts = {"warp": self.warp, "stage": self.stage}
        return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.named_parameters()}

    @one_thread()
    def train(self, rows: Rows, phase: Phase, steps: int, unseen: Rows | None = None) -> list[tuple[float, Weights]]:
        """Learn to predict one context's rows from the others'.

        Each step takes rows of one context and rows of all others, and raises the density of the former given the
        latter (that of all, less that of the others), so its cost does not depend on how many rows there are.

        Sources: Wilson et al. (2016), deep kernel learning; Wistuba & Grabocka (2021), contexts as tasks.

        Args:
            rows: of the contexts.
            phase: what is trained, how fast.
            steps: how many steps are taken.
            unseen: rows of a context that is not taught.

        Returns:
            After every ``CHECK_EVERY`` steps, and before the first: the mean log density of the unseen rows given the
            taught ones, and the weights. Nothing without unseen rows.
        """
        rng = np.random.default_rng(0)
        by_context = _by_context(rows.contexts)
        network = [*self.warp.hidden.parameters(), *self.warp.last.parameters()]
        scales = [self.warp.log_scales, *self.stage.parameters()]
        groups: list[dict[str, Any]] = [{"params": scales, "lr": phase.rate}]
        if phase.network_rate is not None:
            groups.append({"params": network, "lr": phase.network_rate})
        self._freeze()
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        optimiser = torch.optim.Adam(groups)
        known, asked = evenly(len(rows), LOOK_AT), evenly(len(unseen or ()), LOOK_AT)
        looks = []
        for step in range(steps + 1):
            if unseen is not None and step % CHECK_EVERY == 0:
                with torch.no_grad():
                    density = float(self._density_given(rows[known], unseen[asked]))
                looks.append((density, self.weights()))
            if step < steps:
                support, query = _batch(by_context, rng)
                loss = -self._density_given(rows[support], rows[query])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self._freeze()
        return looks

    def _freeze(self) -> None:
        for parameter in self._trained.values():
            parameter.requires_grad_(False)

    def _density_given(self, known: Rows, asked: Rows) -> Tensor:
        """The mean log density of the ``asked`` rows, jointly, given the ``known`` ones."""
        x, y = torch.as_tensor(known.inputs), torch.as_tensor(known.changes)
        both = torch.cat([x, torch.as_tensor(asked.inputs)]), torch.cat([y, torch.as_tensor(asked.changes)])
        return (self._density(*both) - self._density(x, y)) / len(asked)

    def _density(self, x: Tensor, y: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(Seen.of(self.warp, self.stage, x).observed())
        scaled = torch.linalg.solve_triangular(factor, y.unsqueeze(-1), upper=False)
        return -scaled.square().sum() / 2 - factor.diagonal().log().sum() - len(x) / 2 * math.log(2 * math.pi)

    def seen(self, inputs: Array) -> Seen:
        """Inputs ``n x d`` as the kernel sees them."""
        return Seen.of(self.warp, self.stage, torch.as_tensor(inputs))

    def noise(self, inputs: Array) -> Array:
        """Variance of the noise at inputs ``n x d``: ``n``."""
        return np.asarray(self.stage(torch.as_tensor(inputs))[1].detach().numpy(), dtype=np.float64)

    @property
    def relevance(self) -> Array:
        """The inverse lengthscales, without what the network adds: of time, return and context, then of the others."""
        return np.asarray(self.warp.log_scales.detach().exp().numpy(), dtype=np.float64)

    def nearest(self, rows: Rows, anchors: Array, count: int) -> Rows:
        """The ``count`` of the ``rows`` nearest to ``anchors`` (``k x g``) in the first g columns, in their order."""
        return rows[Nearest(rows.inputs, self.relevance[: anchors.shape[1]])(anchors, count)]

    def related(self, source: Rows, own: Rows, weights: Sequence[float] | Array = EQUAL) -> Related:
        """The experts of every degree of ``RELATEDNESS``, who know the sources' rows and the target's.

        Args:
            source: rows of the sources.
            own: rows of the target.
            weights: of the experts; one without any is not asked.
        """
        return Related.of(self.seen, source, own, weights)

    def forecast_errors(self, source: Rows, own: Rows) -> tuple[Array, Array]:
        """How far the target's rows are from what each of the related experts forecast before it knew them.

        Args:
            source: rows of the sources.
            own: rows of the target, ``n``.

        Returns:
            The errors, ``len(RELATEDNESS) x n``, and the variance of the noise that was expected, ``n``.
        """
        found = self.related(source, own)
        return found.forecast_errors(own.times), np.asarray(found.target.noise.numpy())


def _by_context(contexts: NDArray[np.int_]) -> list[NDArray[np.int_]]:
    """The rows of each context, in their order."""
    order = np.argsort(contexts, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(contexts[order])) + 1)


def _batch(
    by_context: Sequence[NDArray[np.int_]], rng: np.random.Generator
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    asked = int(rng.integers(len(by_context)))
    own = rng.permutation(by_context[asked])[:QUERY]
    others = [*by_context[:asked], *by_context[asked + 1 :]]
    if not others:
        half = len(own) // 2
        return own[:half], own[half:]
    if len(others) > SUPPORT:  # as many are drawn: the cost of a step does not depend on how many there are
        others = [others[place] for place in rng.integers(len(others), size=SUPPORT)]
    pool = np.concatenate([rows[rng.integers(len(rows), size=SUPPORT)] for rows in others])
    return np.unique(rng.choice(pool, SUPPORT)), own
