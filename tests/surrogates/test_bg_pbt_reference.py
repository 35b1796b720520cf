"""The surrogate and the trust region of BG-PBT, compared with numbers of the published code.

They were made by running its functions; costs are negated returns. Where it errs, the right value is tested and the
reason stands beside it.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.settings import validate_input_scaling
from gpytorch.constraints import Interval
from gpytorch.kernels import AdditiveKernel, MaternKernel, ProductKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood

from metapbt.memory.scales import HistoryScale
from metapbt.surrogates.copula import gaussian_copula
from metapbt.surrogates.kernels import MixKernel, TimeDecayKernel
from metapbt.surrogates.mixed import MixedColumns, fit_mixed, mixed_kernel, with_fantasies
from metapbt.surrogates.search import Region, highest_bound
from metapbt.surrogates.trust_region import Rule, TrustRegion

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "bg_pbt.json").read_text())
NUMBERS = (1, 2, 3, 6)  # of the mixed cases: two floats, an integer, the return before
CATEGORIES = (4, 5)


def cases(name):
    return REFERENCE[name]["cases"]


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def part(kernel, kind):
    return next(module for module in kernel.modules() if isinstance(module, kind))


@pytest.mark.parametrize("case", cases("copula"))
def test_copula(case):
    values = [{"-inf": -math.inf, "inf": math.inf, None: 0.0}.get(v, v) for v in case["input"]]
    assert gaussian_copula(np.array(values)) == pytest.approx(case["output"], abs=1e-12)


@pytest.mark.parametrize("case", cases("context_scaling"))
def test_returns_before_are_scaled_over_rows_and_what_is_pending(case):
    """The published code moves the bounds inwards by 1e-8, which divides 0 by 0 where all returns are the same and
    above 1e8; here the span of equal returns is what is bounded."""
    scale = HistoryScale.of(np.array([*case["data"], *case["pending"]]))
    assert scale.scaled(case["data"]) == pytest.approx(case["data_scaled"], abs=1e-10)
    assert scale.scaled(case["pending"]) == pytest.approx(case["pending_scaled"], abs=1e-10)
    assert HistoryScale.of(np.array([3e8, 3e8])).scaled([3e8]).tolist() == [0.0]


def with_parameters(kernel, parameters):
    """A kernel with the reference's numbers; the published lengthscale of the categories is the inverse of ours."""
    kernel = kernel.double()
    kernel.outputscale = tensor(parameters["outputscale"])  # a bare number would be one of 32 bits
    part(kernel, TimeDecayKernel).epsilon = tensor(parameters["epsilon"])
    part(kernel, MaternKernel).lengthscale = tensor(parameters["matern_lengthscale"])
    for module in kernel.modules():
        if isinstance(module, CategoricalKernel):
            module.lengthscale = tensor(1 / parameters["categorical_lengthscale"])
    return kernel


@pytest.mark.parametrize("case", cases("kernel_no_categories"))
def test_kernel_of_numbers_alone(case):
    x = tensor(case["x"])
    kernel = with_parameters(mixed_kernel(MixedColumns(0, tuple(range(1, x.shape[1])))), case["hyperparameters"])
    assert kernel(x).to_dense().detach().numpy() == pytest.approx(np.array(case["K"]), abs=1e-9)


def published(parameters):
    """The published mixed kernel, put together of the parts of ours."""
    decay = TimeDecayKernel(active_dims=(0,), epsilon_constraint=Interval(0.0, 1.0))
    matern, overlap = MaternKernel(nu=2.5, active_dims=NUMBERS), CategoricalKernel(active_dims=CATEGORIES)

    def times(kernel, constant):
        scaled = ScaleKernel(kernel).double()
        scaled.outputscale = tensor(constant)
        return scaled

    growth = math.exp(parameters["categorical_lengthscale"])
    mixed = AdditiveKernel(
        times(overlap, 0.5 * growth), times(matern, 0.5), times(ProductKernel(overlap, matern), 0.5 * growth)
    )
    return with_parameters(ScaleKernel(ProductKernel(decay, mixed)), parameters)


@pytest.mark.parametrize("case", cases("kernel_mixed"))
def test_the_parts_of_the_mixed_kernel_are_those_of_the_published_one(case):
    x, z, parameters = tensor(case["x"]), tensor(case["z"]), case["hyperparameters"]
    kernel = published(parameters)
    assert kernel(x).to_dense().detach().numpy() == pytest.approx(np.array(case["K_xx"]), abs=1e-9)
    assert kernel(x, z).to_dense().detach().numpy() == pytest.approx(np.array(case["K_xz"]), abs=1e-9)


@pytest.mark.parametrize("case", cases("kernel_mixed"))
def test_ours_is_normalised(case):
    """In the published kernel, k(x, x) is the outputscale times up to 1 + 1.5 exp(l): its variance changes with the
    lengthscale of the categories and whatever the fit says, and lambda is not fitted."""
    x, parameters = tensor(case["x"]), case["hyperparameters"]
    kernel = with_parameters(mixed_kernel(MixedColumns(0, NUMBERS, CATEGORIES)), parameters)
    found = kernel(x).to_dense().detach()
    assert found.diagonal().numpy() == pytest.approx(parameters["outputscale"], abs=1e-9)
    assert np.array(case["K_xx"]).diagonal().min() > 2 * parameters["outputscale"]
    assert np.linalg.eigvalsh(found.numpy()).min() > 0
    trained = {name for name, value in kernel.named_parameters() if value.requires_grad}
    assert {name.rsplit(".", 1)[-1] for name in trained} == {
        "raw_outputscale", "raw_epsilon", "raw_lengthscale", "raw_mix",
    }  # fmt: skip
    assert sum(name.endswith("raw_lengthscale") for name in trained) == 2


def conditioned_on(case):
    """A surrogate with the reference's kernel and numbers, unfitted."""
    parameters = case["hyperparameters"]
    with validate_input_scaling(False):
        model = SingleTaskGP(
            tensor(case["x"]),
            tensor(case["y"])[:, None],
            likelihood=GaussianLikelihood(),  # BoTorch's has a prior
            covar_module=published(parameters),
            outcome_transform=None,
        )
    model.likelihood.noise = tensor(parameters["noise"])
    model.mean_module.constant = tensor(parameters["mean"])
    return model.eval()


@pytest.mark.parametrize("case", cases("gp_posterior"))
def test_posterior_and_confidence_bound(case):
    """The published bound adds the noise's variance, the same everywhere, to that of the function; BoTorch's does not:
    what has been tried is then known, and looks less worth trying again."""
    model, z = conditioned_on(case), tensor(case["z"])
    with torch.no_grad():
        latent, observed = model.posterior(z), model.posterior(z, observation_noise=True)
    assert latent.mean.flatten().tolist() == pytest.approx(case["mean"], abs=1e-9)
    assert latent.variance.flatten().tolist() == pytest.approx(case["latent_variance"], abs=1e-9)
    assert observed.variance.flatten().tolist() == pytest.approx(case["observed_variance"], abs=1e-9)
    bound = observed.mean - 3 * observed.variance.sqrt()  # of costs; ours is of returns, and the highest wins
    assert bound.flatten().tolist() == pytest.approx(case["lcb"], abs=1e-9)
    mll = ExactMarginalLogLikelihood(model.likelihood, model.train())
    likelihood = mll(model(*model.train_inputs), model.train_targets).item()
    assert likelihood == pytest.approx(case["log_marginal_likelihood_per_row"], abs=1e-9)


@pytest.mark.parametrize("case", cases("published_fit"))
def test_everything_is_fitted(case):
    """With a column of returns the published fit leaves the lengthscale where it begins, and is worse for it."""
    x = tensor([[time, *row] for time, row in zip(case["t"], case["x"], strict=True)])
    model = fit_mixed(x, tensor(case["y"]), MixedColumns(0, tuple(range(1, x.shape[1]))))
    assert model.train_targets.tolist() == pytest.approx(case["y"], abs=1e-9)  # they are a copula's already
    mll = ExactMarginalLogLikelihood(model.likelihood, model.train())
    reached = mll(model(*model.train_inputs), model.train_targets).item()
    best = case["best_within_bounds"]
    assert reached > best["log_marginal_likelihood_per_row"] - 1e-6
    assert reached > case["after_200_adam_steps_lr_0.2"]["log_marginal_likelihood_per_row"] + 1e-4
    assert part(model.covar_module, MaternKernel).lengthscale.item() == pytest.approx(
        best["matern_lengthscale"], rel=1e-3
    )
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())


@pytest.mark.parametrize("case", cases("trust_region"), ids=lambda case: f"{case['restart']}-{case['sequence'][:9]}")
def test_trust_region(case):
    rule, restarts = Rule(), 0
    region = rule.begin()
    for step in case["steps"]:
        if step["outcome"] != "n":
            region = rule.after(region, step["outcome"] == "s")
        if case["restart"] and rule.exhausted(region):
            region, restarts = rule.begin(), restarts + 1
        assert region.length == pytest.approx(step["length"], abs=1e-12)
        assert region.categorical == pytest.approx(step["length_categorical"], abs=1e-12)
        counts = (region.successes, region.failures, restarts)
        assert counts == (step["successes"], step["failures"], step["restarts"])


@pytest.mark.parametrize("case", cases("bounding_box"))
def test_bounding_box(case):
    """Integers are clipped to their lowest and highest value here too, by the grid of the region."""
    box = TrustRegion(case["length"], 1.0).box(np.array(case["center"]), np.array(case["lengthscales"]))
    ints = REFERENCE["encoding"]["ints"]
    units = [
        ints.get(name, {"unit": {"": 0.0, " ": 1.0}})["unit"].values() for name in REFERENCE["bounding_box"]["order"]
    ]
    low, high = np.array([min(u) for u in units]), np.array([max(u) for u in units])
    assert np.clip(box[0], low, high) == pytest.approx(np.array(case["lower"]), abs=1e-12)
    assert np.clip(box[1], low, high) == pytest.approx(np.array(case["upper"]), abs=1e-12)


@pytest.mark.parametrize(
    ("share", "categories", "most"), [(1.0, 3, 3), (2 / 3, 3, 2), (0.1, 3, 1), (0.4, 5, 2), (0.1, 0, 0)]
)
def test_hamming_bound(share, categories, most):
    assert TrustRegion(0.4, share).changeable(categories) == most


def mixed_data(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.random((rows, 3)), rng.integers(0, 4, (rows, 3))], axis=1)
    y = -np.abs(x[:, 1] - 0.3) - np.abs(x[:, 2] - 0.9) + (x[:, 3:] == 1).sum(axis=1)
    return tensor(x), tensor(y), MixedColumns(None, (0, 1, 2), (3, 4, 5))


@pytest.mark.parametrize("changes", [0, 1, 2, 3])
def test_the_search_finds_the_best_within_the_hamming_bound(changes):
    x, y, columns = mixed_data()
    model = fit_mixed(x, y, columns)
    centre = tensor([0.5, 0.5, 0.5, 2, 3, 3])
    bounds = tensor([[0.5, 0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0.5, 3, 3, 3]])
    codes = dict.fromkeys((3, 4, 5), (0.0, 1.0, 2.0, 3.0))
    found = highest_bound(model, Region(centre, bounds, {}, codes, changes), beta=1.0, seed=0)
    every = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 3)
    points = torch.cat([centre[:3].expand(len(every), 3), every], dim=1)
    within = (points[:, 3:] != centre[3:]).sum(dim=1) <= changes
    with torch.no_grad():
        posterior = model.posterior(points.unsqueeze(1))
    scores = (posterior.mean + posterior.variance.sqrt()).flatten()
    scores[~within] = -math.inf
    assert found.tolist() == points[scores.argmax()].tolist()


def test_a_taken_point_is_not_found_again():
    x, y, columns = mixed_data()
    model = fit_mixed(x, y, columns)
    centre = tensor([0.5, 0.5, 0.5, 2, 3, 3])
    bounds = tensor([[0.5, 0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0.5, 3, 3, 3]])
    codes = dict.fromkeys((3, 4, 5), (0.0, 1.0, 2.0, 3.0))
    taken = []
    for seed in range(20):
        seen = tensor(taken) if taken else None
        found = highest_bound(model, Region(centre, bounds, {}, codes, 3, seen), 1.0, seed).tolist()
        assert found not in taken
        taken.append(found)


def test_fantasies_are_what_the_model_expects_and_go_through_the_copula():
    x, y, columns = mixed_data()
    model = fit_mixed(x, y, columns)
    pending = x[:3] + tensor([0.01, 0.01, 0.01, 0, 0, 0])
    believed = model.posterior(pending).mean.detach().flatten()
    informed = with_fantasies(model, pending)
    expected = gaussian_copula(torch.cat([model.train_targets, believed]).numpy())
    assert informed.train_targets.numpy() == pytest.approx(expected, abs=1e-12)
    assert informed.posterior(pending).variance.max() < model.posterior(pending).variance.max()
    assert [p.tolist() for p in informed.parameters()] == [p.tolist() for p in model.parameters()]
    assert len(model.train_targets) == len(x)  # as it was


def test_the_mix_and_both_lengthscales_follow_the_data():
    """Only categories matter, and they do for each other: the fit says so."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.random((80, 2)), rng.integers(0, 3, (80, 2))], axis=1)
    y = (x[:, 2] == 1) + (x[:, 3] == 2) + 0.01 * rng.standard_normal(80)
    model = fit_mixed(tensor(x), tensor(y), MixedColumns(None, (0, 1), (2, 3)))
    kernel = model.covar_module
    mix = part(kernel, MixKernel).mix.item()
    assert abs(mix - 0.5) > 0.01
    assert part(kernel, CategoricalKernel).lengthscale.item() != pytest.approx(2 / (0.01 + 2), rel=1e-3)
    with torch.no_grad():
        best, neither = model.posterior(tensor([[0.5, 0.5, 1, 2], [0.5, 0.5, 0, 0]])).mean
    assert best > neither + 0.5
