"""The surrogate that remembers: meta-trained over contexts as tasks, conditioned on the target's own rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.settings import validate_input_scaling
from gpytorch.kernels import Kernel, RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.likelihoods.noise_models import Noise
from gpytorch.means import ZeroMean
from linear_operator.operators import DiagLinearOperator
from numpy.typing import NDArray
from torch import Tensor

from metapbt.memory import MOST_CONTEXTS, Rows, evenly
from metapbt.surrogates.kernels import DeepKernel
from metapbt.surrogates.mixture import evidence, foretold_errors, shares

Array = NDArray[np.float64]
Weights = dict[str, NDArray[Any]]

VERSION = 2  # of what is trained here; to be raised with every change of it, so that older models are not reused

#: How alike sources and target may be: the experts of the mixture. The first uses the sources' kernel alone.
RELATEDNESS = (0.0, 0.5, 0.8, 0.95)

QUERY = 64  # rows of one context in a batch, to be predicted
SUPPORT = 96  # rows of the others in it, from which
PLAIN_STEPS = 150  # with the network silent, so that it starts from a good plain GP
DEEP_STEPS = 250
CHECK_EVERY = 25  # steps between two looks at the held-out rows
HELD_OUT = 0.2  # share of the rows
LOOK_AT = 400  # rows at most, held out or given, in one such look
JUDGED_ROWS = 100  # of a context that is held out to see how far memory deserves trust, and
KNOWN_ROWS = 200  # of the others
STEEP = 3.0  # slope of a unit's argument over the whole range of times or of returns, one deviation
LEAST_NOISE = 1e-3  # variance
TUNED = ("log_scales", "level")  # what the target's own rows may change
TUNING_RATE = 0.02
UNTESTED = 0.8  # trust in the memory of a single context


class Shelf(Protocol):
    """Keeps trained models under a key; see :class:`metapbt.store.meta_model.ModelShelf`."""

    def get(self, key: str) -> Weights | None:
        """What was put under ``key``, or None."""

    def put(self, key: str, weights: Weights) -> None:
        """Keep it."""


class Warp(torch.nn.Module):
    r"""What a deep kernel sees: the inputs, each with its own scale, bent by a small network.

    .. math:: g(v) = a \circ v + N(v)

    The network's last layer starts at zero, so that the kernel begins as a plain one with automatic relevance
    determination, and departs from it only as far as the data ask for it.

    Args:
        scales: the initial ``a``, shape ``d``: inverse lengthscales.
    """

    def __init__(self, scales: Tensor) -> None:
        super().__init__()
        width = len(scales)
        self.log_scales = torch.nn.Parameter(scales.log())
        self.bend = torch.nn.Sequential(
            torch.nn.Linear(width, 32), torch.nn.SiLU(), torch.nn.Linear(32, 32), torch.nn.SiLU()
        ).to(scales)
        self.last = torch.nn.Linear(32, width).to(scales)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, v: Tensor) -> Tensor:
        """The features ``... x n x d`` of inputs ``... x n x d``."""
        bent: Tensor = self.last(self.bend(v))
        return v * self.log_scales.exp() + bent


class Stage(torch.nn.Module):
    r"""How far hyperparameters matter, and how much is luck, at a time and a return: what a GP of one scale cannot say.

    .. math:: (\log a^2, \log \sigma^2) = l + M(t, r)

    Early changes are large and depend on hyperparameters; late ones are small and mostly luck. The network's last layer
    starts at zero: both begin as the same at every stage. A GP whose noise depends on the inputs: Goldberg et al.
    (1998).
    """

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor([0.0, math.log(0.2)], dtype=torch.float64))
        self.bend = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh()).double()
        self.last = torch.nn.Linear(8, 2, bias=False).double()
        torch.nn.init.zeros_(self.last.weight)

    def reset_parameters(self) -> None:
        """Draw the first layer: every unit rises steeply somewhere in the range of times and returns."""
        first: Any = self.bend[0]
        torch.nn.init.normal_(first.weight, std=STEEP)
        with torch.no_grad():
            first.bias.copy_(-(first.weight * torch.rand_like(first.weight)).sum(dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The function's deviation and the noise's variance, each ``... x n``, at inputs ``... x n x d``."""
        logs = self.level + self.last(self.bend(x[..., :2]))
        return (logs[..., 0] / 2).exp(), LEAST_NOISE + logs[..., 1].exp()


class StagedKernel(Kernel):
    r"""A kernel whose variance depends on the stage.

    .. math:: k(x, x') = a(x) \, k_{base}(x, x') \, a(x')
    """

    has_lengthscale = False

    def __init__(self, base_kernel: Kernel, stage: Stage) -> None:
        super().__init__()
        self.base_kernel = base_kernel
        self.stage = stage

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x d``) with ``x2`` (``... x m x d``)."""
        base = self.base_kernel.forward(x1, x2, diag=diag, **params)
        deviation1, deviation2 = self.stage(x1)[0], self.stage(x2)[0]
        if diag:
            return base * deviation1 * deviation2
        return deviation1.unsqueeze(-1) * base * deviation2.unsqueeze(-2)


class StagedNoise(Noise):
    """The noise of a likelihood that depends on the stage."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor | list[Tensor], **_: Any) -> DiagLinearOperator:
        """The noise's covariance at ``x`` (``... x n x d``)."""
        return DiagLinearOperator(self.stage(x[0] if isinstance(x, list) else x)[1])


class RelatednessKernel(Kernel):
    r"""How much the target is like the sources: a kernel whose last column says which of both a row is of.

    .. math:: k((v, i), (v', j)) = k(v, v') \cdot (\rho \text{ if } i \ne j \text{ else } 1)

    That is the target's function being :math:`f = \rho f_{sources} + \sqrt{1 - \rho^2} f_{own}` with two draws of the
    same process, the intrinsic coregionalisation model (Bonilla et al., 2007) for two tasks. With 0 the sources
    have shaped the kernel but their rows say nothing, as in few-shot Bayesian optimisation (Wistuba & Grabocka, 2021).
    """

    has_lengthscale = False

    def __init__(self, base_kernel: Kernel, relatedness: float) -> None:
        super().__init__()
        self.base_kernel = base_kernel
        self.relatedness = relatedness

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """The covariance of ``x1`` (``... x n x (d + 1)``) with ``x2`` (``... x m x (d + 1)``)."""
        base = self.base_kernel(x1[..., :-1], x2[..., :-1], diag=diag, **params)
        side1, side2 = x1[..., -1], x2[..., -1]
        same = side1 == side2 if diag else side1.unsqueeze(-1) == side2.unsqueeze(-2)
        factor = torch.where(same, 1.0, self.relatedness).to(x1)
        return (base if diag else base.to_dense()) * factor


class MetaModel:
    """A kernel and a noise, trained on contexts as tasks.

    Attributes:
        kernel: over the columns of :class:`metapbt.memory.Rows`; it holds all that is trained.
        warp: the part of it that says which inputs are alike.
        stage: the part of it that says how large changes and noise are.
    """

    def __init__(self, given: int, features: int, chosen: int) -> None:
        """Make an untrained one.

        Args:
            given: columns of time and return.
            features: columns of the context.
            chosen: columns of hyperparameters.
        """
        self.chosen = chosen
        # Lengthscales: a whole run, a whole range of returns, three deviations of a feature, and a share of the unit
        # cube that grows with its diagonal, so that points are as alike in many dimensions as in few.
        lengths = [1.0] * given + [3.0] * features + [0.35 * math.sqrt(chosen)] * chosen
        scales = 1 / torch.tensor(lengths, dtype=torch.float64)
        rbf = RBFKernel().double()
        rbf.lengthscale = 1.0
        rbf.raw_lengthscale.requires_grad_(False)  # the warp's scales say it
        self.warp = Warp(scales)
        self.stage = Stage()
        self.kernel = StagedKernel(DeepKernel(rbf, self.warp), self.stage)

    def weights(self) -> Weights:
        """All that was learned."""
        return {name: value.detach().numpy().copy() for name, value in self.kernel.state_dict().items()}

    def load(self, weights: Weights) -> None:
        """Take what ``weights`` gave."""
        self.kernel.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})

    def train(self, inputs: Array, changes: Array, contexts: NDArray[np.int_], deep: bool, seed: int) -> None:
        """Learn to predict one context's rows from the others'.

        Each step takes rows of one context and rows of all others, and raises the density of the former given the
        latter (that of all, less that of the others), so its cost does not depend on how many rows there are. The
        weights that predict the held-out rows best are kept.

        Sources: Wilson et al. (2016), deep kernel learning; Wistuba & Grabocka (2021), contexts as tasks.

        Args:
            inputs: ``n x d``.
            changes: ``n``.
            contexts: ``n``, counted from 0.
            deep: train the network as well; else it stays silent, and this is a plain GP.
            seed: of the batches, of the held-out rows and of the network's first weights.
        """
        with _one_thread():
            self._train_all(torch.as_tensor(inputs), torch.as_tensor(changes), contexts, deep, seed)

    def _train_all(self, x: Tensor, y: Tensor, contexts: NDArray[np.int_], deep: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stage.reset_parameters()
            for layer in self.warp.bend:
                if isinstance(layer, torch.nn.Linear):
                    layer.reset_parameters()
        order = rng.permutation(len(x))
        held_out = order[: int(HELD_OUT * len(x))]
        taught = order[len(held_out) :]
        look = (taught[:LOOK_AT], held_out[:LOOK_AT])
        by_context = [taught[contexts[taught] == c] for c in np.unique(contexts[taught])]
        network = {id(p) for part in (self.warp.bend, self.warp.last) for p in part.parameters()}
        trainable = [p for p in self.kernel.parameters() if p.requires_grad]
        scales = [p for p in trainable if id(p) not in network]
        for parameter in trainable:
            parameter.requires_grad_(id(parameter) not in network)
        self._train(x, y, by_context, look, PLAIN_STEPS, [{"params": scales, "lr": 0.05}], rng)
        if deep:
            bending = [p for p in trainable if id(p) in network]
            for parameter in trainable:
                parameter.requires_grad_(True)
            groups = [{"params": scales, "lr": 0.01}, {"params": bending, "lr": 0.005}]
            self._train(x, y, by_context, look, DEEP_STEPS, groups, rng)
        self.kernel.requires_grad_(False)

    def _train(
        self,
        x: Tensor,
        y: Tensor,
        by_context: Sequence[NDArray[np.int_]],
        look: tuple[NDArray[np.int_], NDArray[np.int_]],
        steps: int,
        groups: list[dict[str, Any]],
        rng: np.random.Generator,
    ) -> None:
        optimiser = torch.optim.Adam(groups)
        best, best_density = copy.deepcopy(self.kernel.state_dict()), -math.inf
        for step in range(steps + 1):
            if step % CHECK_EVERY == 0 and len(look[1]) > 0:
                with torch.no_grad():
                    density = float(self._density_given(x, y, *look)) / len(look[1])
                if density > best_density:
                    best, best_density = copy.deepcopy(self.kernel.state_dict()), density
            if step == steps:
                break
            support, query = _batch(by_context, rng)
            loss = -self._density_given(x, y, support, query) / len(query)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if len(look[1]) > 0:
            self.kernel.load_state_dict(best)

    def _density_given(self, x: Tensor, y: Tensor, known: NDArray[np.int_], asked: NDArray[np.int_]) -> Tensor:
        """The joint log density of ``asked`` rows given the ``known`` ones."""
        both = np.concatenate([known, asked])
        return self._density(x[both], y[both]) - (self._density(x[known], y[known]) if len(known) else 0.0)

    def _density(self, x: Tensor, y: Tensor) -> Tensor:
        covariance = self.kernel.forward(x, x) + self.stage(x)[1].diag()
        factor = torch.linalg.cholesky(covariance)
        scaled = torch.linalg.solve_triangular(factor, y.unsqueeze(-1), upper=False)
        return -scaled.square().sum() / 2 - factor.diagonal().log().sum() - len(x) / 2 * math.log(2 * math.pi)

    def noise(self, inputs: Array) -> Array:
        """Variance of the noise at inputs ``n x d``: ``n``."""
        return np.asarray(self.stage(torch.as_tensor(inputs))[1].detach().numpy(), dtype=np.float64)

    @property
    def relevance(self) -> Array:
        """The inverse lengthscales of the columns, shape ``d``, without what the network adds."""
        return np.asarray(self.warp.log_scales.detach().exp().numpy(), dtype=np.float64)

    def nearest(self, inputs: Array, anchors: Array, count: int) -> NDArray[np.intp]:
        """Positions of the ``count`` rows (of ``n x d``) nearest to ``anchors`` (``k x g``) in the first g columns.

        With the first columns given, a row's covariance is bounded by its distance there.
        """
        width = anchors.shape[1]
        scaled, places = inputs[:, :width] * self.relevance[:width], anchors * self.relevance[:width]
        gaps = np.full(len(inputs), np.inf)
        for place in places:
            gaps = np.minimum(gaps, ((scaled - place) ** 2).sum(axis=1))
        return np.argsort(gaps, kind="stable")[:count]

    def tuned(self, own: Rows, steps: int) -> MetaModel:
        """This model after a few steps on the target's own rows: lengthscales, variance and noise, not the networks."""
        if steps == 0:
            return self
        model = copy.deepcopy(self)
        parameters = [p for name, p in model.kernel.named_parameters() if name.endswith(TUNED)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        x, y = torch.as_tensor(own.inputs), torch.as_tensor(own.changes)
        optimiser = torch.optim.Adam(parameters, lr=TUNING_RATE)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = -model._density(x, y) / len(x)
            loss.backward()
            optimiser.step()
        model.kernel.requires_grad_(False)
        return model

    def conditioned(self, source: Rows, own: Rows, relatedness: float) -> SingleTaskGP:
        """A GP that knows the sources' rows and then the target's own; a last column is 1 for the target's."""
        x = np.r_[np.c_[source.inputs, np.zeros(len(source))], np.c_[own.inputs, np.ones(len(own))]]
        y = np.r_[source.changes, own.changes]
        likelihood = GaussianLikelihood().double()
        likelihood.noise_covar = StagedNoise(self.stage)
        with validate_input_scaling(False):  # rows are scaled once, by whoever knows all sources
            model = SingleTaskGP(
                torch.as_tensor(x),
                torch.as_tensor(y).unsqueeze(-1),
                likelihood=likelihood,
                covar_module=RelatednessKernel(self.kernel, relatedness),
                mean_module=ZeroMean(),
                outcome_transform=None,
            )
        evaluated: SingleTaskGP = model.eval()
        return evaluated

    def related(self, source: Rows, own: Rows, times: Array) -> tuple[list[SingleTaskGP], list[float]]:
        """The GPs for every degree of ``RELATEDNESS``, and how likely each is by the target's own rows.

        Args:
            source: rows of the sources.
            own: rows of the target.
            times: when each of the target's was trained.
        """
        models = [self.conditioned(source, own, relatedness) for relatedness in RELATEDNESS]
        noise = self.noise(own.inputs)
        return models, [evidence(foretold_errors(model, times), times, noise) for model in models]


def trained(rows: Rows, features: int, chosen: int, deep: bool, shelf: Shelf | None = None) -> MetaModel:
    """The model of these rows, from the shelf where it has one; the same rows give the same bits.

    Args:
        rows: of the sources.
        features: how many columns of ``rows.inputs`` are the context's.
        chosen: how many are hyperparameters.
        deep: whether the kernel has a network.
        shelf: keeps models; None keeps none.
    """
    digest = sha256(f"{VERSION} {features} {chosen} {deep} {rows.inputs.shape}".encode())
    for part in (rows.inputs, rows.changes, rows.contexts):
        digest.update(np.ascontiguousarray(part).tobytes())
    key = digest.hexdigest()[:32]
    model = MetaModel(2, features, chosen)
    stored = shelf.get(key) if shelf is not None else None
    if stored is not None:
        model.load(stored)
    else:
        model.train(rows.inputs, rows.changes, rows.contexts, deep, seed=0)
        if shelf is not None:
            shelf.put(key, model.weights())
    return model


def trust_among(rows: Rows, features: int, chosen: int, deep: bool, shelf: Shelf | None = None) -> float:
    """How far memory would have deserved trust, had each source been the target: the mean weight of the related.

    The kernel is trained without the source that is held out: one that had seen its rows would be trusted too much.

    Args:
        rows: of at least one context; of a single one nothing can be said, and it gets ``UNTESTED``.
        features: as for ``trained``, like all that follow.
        chosen: see there.
        deep: see there.
        shelf: see there.
    """
    contexts = np.unique(rows.contexts)
    if len(contexts) < 2:
        return UNTESTED
    trusts = []
    for context in contexts[evenly(len(contexts), MOST_CONTEXTS)]:
        own, others = rows[rows.contexts == context], rows[rows.contexts != context]
        own = own[evenly(len(own), JUDGED_ROWS)]
        model = trained(others, features, chosen, deep, shelf)
        given = own.inputs[:, : own.inputs.shape[1] - chosen]
        known = others[np.sort(model.nearest(others.inputs, given, KNOWN_ROWS))]
        _, likelihoods = model.related(known, own, own.inputs[:, 0])
        weights = shares([1.0] * len(RELATEDNESS), likelihoods)
        trusts.append(1 - weights[0])
    return float(np.mean(trusts))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, and sums in another order would change the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch(
    by_context: Sequence[NDArray[np.int_]], rng: np.random.Generator
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    asked = int(rng.integers(len(by_context)))
    own = rng.permutation(by_context[asked])[:QUERY]
    others = [rows for c, rows in enumerate(by_context) if c != asked]
    if not others:
        half = len(own) // 2
        return own[:half], own[half:]
    pool = np.concatenate([rows[rng.integers(len(rows), size=SUPPORT)] for rows in others])
    return np.unique(rng.choice(pool, SUPPORT)), own
