"""DrAC's formulas give the published code's numbers: ``tests/data/drac.json`` says how each was made."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

from metapbt.errors import MetapbtError
from metapbt.learners.drac.actions import Continuous, Discrete
from metapbt.learners.drac.advantages import advantages_and_returns, normalised
from metapbt.learners.drac.augmentations import AUGMENTATIONS, crop, cutout, flip, random_convolution, rotate
from metapbt.learners.drac.colour import grayscale, hsv_to_rgb, jitter, rgb_to_hsv
from metapbt.learners.drac.loss import Augmented, Coefficients, Samples, drac_loss
from metapbt.learners.drac.network import Architecture
from metapbt.learners.drac.rollout import seen

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "drac.json").read_text())
OF_PICTURES = REFERENCE["augmentations"]
PUBLISHED = ["crop", "random-conv", "grayscale", "flip", "rotate", "cutout", "cutout-color", "color-jitter"]


def tensor(values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=tolerance)


@pytest.fixture
def images():
    return tensor(OF_PICTURES["images_nchw"]).contiguous(memory_format=torch.channels_last)


# ---- loss


@pytest.mark.parametrize("case", REFERENCE["drac_loss"]["cases"], ids=["usual", "other coefficients"])
def test_the_loss_its_parts_and_all_gradients_are_the_published_ones(case):
    given = {
        name: tensor(value, torch.float64 if isinstance(np.ravel(value)[0], float) else torch.int64)
        for name, value in REFERENCE["drac_loss"]["inputs"].items()
    }
    variables = {
        name: given[name].requires_grad_() for name in ("logits", "values", "logits_augmented", "values_augmented")
    }
    coefficients = case["coefficients"]
    losses = drac_loss(
        Discrete(4),
        given["logits"],
        given["values"],
        Samples(
            given["actions"],
            given["old_log_probs"],
            given["old_values"],
            given["advantages_already_normalised"],
            given["returns"],
        ),
        Coefficients(
            coefficients["clip_param"],
            coefficients["entropy_coef"],
            coefficients["value_loss_coef"],
            coefficients["aug_coef"],
        ),
        Augmented(given["logits_augmented"], given["values_augmented"], given["actions_sampled_on_plain_observations"]),
    )
    losses.total.backward()
    named = {"total": losses.total, "policy_loss": losses.policy, "value_loss": losses.value, "entropy": losses.entropy}
    named |= {"aug_policy_loss": losses.aug_policy, "aug_value_loss": losses.aug_value}
    for name, found in named.items():
        close(found.detach(), case[name])
    for name, variable in variables.items():
        close(variable.grad, case["gradients"][name])


@pytest.mark.parametrize(("actions", "error"), [(Discrete(5), 0.005), (Continuous(3), 0.03)], ids=["discrete", "box"])
def test_the_exact_divergence_has_the_gradient_that_samples_have_on_average(actions, error):
    rng = np.random.default_rng(0)
    width = actions.heads * (2 if actions.deviations else 1)
    of_one, of_changed = (torch.from_numpy(rng.standard_normal((1, width)) * 0.3).float() for _ in range(2))
    many = 200_000
    outputs = of_one.expand(many, -1).clone().requires_grad_()
    drawn = actions.draw(outputs.detach(), actions.noise(rng, many))
    values, samples = torch.zeros(many), Samples(drawn, torch.zeros(many), *(torch.zeros(many) for _ in range(3)))
    gradients = []
    for chosen in (drawn, None):
        changed = of_changed.clone().requires_grad_()
        augmented = Augmented(changed.expand(many, -1), torch.zeros(many), chosen)
        losses = drac_loss(actions, outputs, values, samples, Coefficients(0.2, 0, 0, 1.0), augmented)
        losses.aug_policy.backward()
        gradients.append(changed.grad)
    assert outputs.grad is None  # the policy on the observation itself is a target
    close(gradients[0], gradients[1], error)
    expected = kl_divergence(actions.distribution(of_one), actions.distribution(of_changed))
    close(losses.aug_policy.detach(), expected[0])


# ---- advantages


def test_advantages_and_returns_are_the_published_ones():
    given = {name: np.array(value) for name, value in REFERENCE["gae"].items() if name != "how"}
    advantages, returns = advantages_and_returns(
        given["rewards"], given["dones_of_the_step"], given["values"], given["last_values"], 0.999, 0.95
    )
    close(returns, given["returns"])
    found = normalised(torch.from_numpy(advantages).flatten()).view(*advantages.shape)
    close(found, given["advantages_normalised"])


def test_a_single_advantage_stays_as_it_is():
    assert normalised(torch.tensor([3.0])).item() == 3.0


# ---- augmentations, with the draws of the published code


def test_grayscale(images):
    close(grayscale(images), OF_PICTURES["grayscale"])


def test_flip_is_upside_down(images):
    close(flip(images, torch.tensor(OF_PICTURES["flip"]["which"])), OF_PICTURES["flip"]["out"])


def test_rotate(images):
    close(rotate(images, torch.tensor(OF_PICTURES["rotate"]["quarter_turns"])), OF_PICTURES["rotate"]["out"])


def test_crop(images):
    of = OF_PICTURES["crop"]
    close(crop(images, torch.tensor(of["offsets_row_col"]), of["pad"]), of["out"])


@pytest.mark.parametrize("name", ["cutout", "cutout-color"])
def test_cutout(name, images):
    of = OF_PICTURES[name]
    colours = tensor(of["colours_0_1"]) if "colours_0_1" in of else None
    sizes = torch.tensor([of["h"], of["w"]]).T
    close(cutout(images, sizes, colours, pivot_row=of["pivot_h"], pivot_column=of["pivot_w"]), of["out"])


def test_random_convolution(images):
    of = OF_PICTURES["random-conv"]
    close(random_convolution(images, tensor(of["kernels_nOIHW"])), of["out"])


@pytest.mark.parametrize("order", ["contrast_first", "hsv_first"])
def test_color_jitter(order, images):
    of = OF_PICTURES["color-jitter"]
    factors = [tensor(of["factors"][name]) for name in ("contrast", "brightness", "saturate", "hue")]
    close(jitter(images, *factors, torch.tensor([order == "contrast_first"] * 2)), of[order])


def test_hue_saturation_and_value(images):
    expected = tensor(OF_PICTURES["rgb_to_hsv"])
    close(torch.stack(rgb_to_hsv(images.unbind(1)), dim=1), expected)
    close(torch.stack(hsv_to_rgb(expected.unbind(1)), dim=1), OF_PICTURES["hsv_to_rgb_of_that"])


# ---- augmentations as they draw


def frames(count, channels=3):
    drawn = torch.randint(256, (count, 64, 64, channels), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return drawn.permute(0, 3, 1, 2).float().div_(255)


def test_the_published_augmentations_come_first_in_their_order():
    assert list(AUGMENTATIONS)[:8] == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_parts_of_a_minibatch_are_changed_as_the_whole(name):
    augmentation, plain = AUGMENTATIONS[name], frames(20)
    chance = augmentation.draw(20, torch.Generator().manual_seed(3))
    before = plain.clone()
    whole = augmentation.apply(plain, *chance)
    parts = [augmentation.apply(plain[a : a + 5], *(each[a : a + 5] for each in chance)) for a in (0, 5, 10, 15)]
    close(torch.cat(parts), whole, 1e-6)
    assert torch.equal(plain, before)
    assert whole.shape == plain.shape
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(whole, plain)


def drawn(name, count=20_000):
    return AUGMENTATIONS[name].draw(count, torch.Generator().manual_seed(0))


def test_what_chance_decides_has_the_published_ranges():
    (offsets,) = drawn("crop")
    assert (offsets.min(), offsets.max(), offsets.shape) == (0, 24, (20_000, 2))
    for name in ("cutout", "cutout-color"):
        sizes = drawn(name)[0]
        assert (sizes.min(), sizes.max()) == (7, 21)
    colours = drawn("cutout-color")[1]
    assert (colours.min(), colours.max()) == (0, np.float32(254 / 255))
    close(colours * 255, (colours * 255).round(), 1e-4)  # whole numbers of 255
    (quarters,) = drawn("rotate")
    close(quarters.bincount() / len(quarters), [0.25] * 4, 0.02)
    (which,) = drawn("flip")
    close(which.float().mean(), 0.5, 0.02)
    (kernels,) = drawn("random-conv", 2000)
    close(kernels.std(), math.sqrt(2 / 54), 0.002)
    *factors, hue, first = drawn("color-jitter")
    for each in factors:
        close([each.min(), each.max()], [0.6, 1.4], 0.001)
    close([hue.min(), hue.max()], [-0.5, 0.5], 0.001)
    assert first.all() or not first.any()
    coins = [bool(AUGMENTATIONS["color-jitter"].draw(2, torch.Generator().manual_seed(s))[-1][0]) for s in range(200)]
    assert 70 < sum(coins) < 130
    (amplitudes,) = drawn("amplitude")
    close([amplitudes.min(), amplitudes.max()], [0.6, 1.2], 0.001)


def test_boxes_lie_where_the_published_ones_do():
    plain = torch.ones(2, 3, 64, 64)
    covered = (cutout(plain, torch.tensor([[7, 21], [21, 7]])) == 0).all(dim=1)
    expected = torch.zeros(2, 64, 64, dtype=torch.bool)
    expected[0, 19:26, 45:66] = True
    expected[1, 33:54, 31:38] = True
    assert torch.equal(covered, expected)


def test_amplitudes_multiply_whole_vectors():
    vectors = torch.arange(6.0).view(2, 3)
    assert torch.equal(
        AUGMENTATIONS["amplitude"].apply(vectors, torch.tensor([2.0, 3.0])), vectors * tensor([[2], [3]])
    )


# ---- network


def published_parameters():
    """What ``tests/data/drac.json`` says the parameters are, in its order."""
    s = REFERENCE["impala"]["s"]
    for j, (name, shape) in enumerate(REFERENCE["impala"]["parameters"]):
        n = math.prod(shape)
        wave = 43758.5453 * np.sin(12.9898 * s * np.arange(n) + 78.233 * j)
        scale = 0.3 if name.endswith("bias") else math.sqrt(12 / (n / shape[0]))
        yield torch.from_numpy((wave - np.floor(wave) - 0.5) * scale).float().view(shape)


@pytest.mark.parametrize(
    ("published", "key"),
    [(True, "published_inplace_relu"), (False, "textbook_residual")],
    ids=["published", "textbook"],
)
def test_the_residual_network_is_the_published_one(published, key):
    network = Architecture("impala", (3, 64, 64), Discrete(15), published).build(np.random.default_rng(0))
    assert sum(parameter.numel() for parameter in network.parameters()) == 626_256
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), published_parameters(), strict=True):
            parameter.copy_(value)
        k = np.arange(2 * 3 * 64 * 64)
        given = np.round(127.5 + 127.5 * np.sin(0.0137 * k * (1 + k // 4096))).reshape(2, 3, 64, 64)
        # Bytes of pictures as environments show them, by the way that the learner takes.
        outputs, values = network(seen(torch.from_numpy(given.transpose(0, 2, 3, 1).astype(np.uint8))))
    close(outputs, REFERENCE["impala"][key]["logits"], 1e-4)
    close(values, REFERENCE["impala"][key]["value"], 1e-4)


@pytest.mark.parametrize("name", ["impala", "nature", "nature_small", "mlp"])
def test_networks_begin_as_published(name):
    shape = (4,) if name == "mlp" else (3, 64, 64)
    network = Architecture(name, shape, Discrete(15)).build(np.random.default_rng(0))
    again = Architecture(name, shape, Discrete(15)).build(np.random.default_rng(0))
    for (which, parameter), other in zip(network.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(parameter, other)
        if which.endswith("bias"):
            assert not parameter.any()
    with torch.no_grad():
        gram = network.policy.weight @ network.policy.weight.T
        close(gram, 1e-4 * torch.eye(15), 1e-6)
        close(network.value.weight.norm(), 1.0)
        if name == "impala":
            first = network.encoder.body[0].weight
            bound = math.sqrt(6 / (27 + 144))
            assert 0.95 * bound < first.abs().max() <= bound


def test_small_pictures_are_refused_by_name():
    with pytest.raises(MetapbtError, match=r"learner\.network=nature cannot see pictures of shape \(3, 8, 8\)"):
        Architecture("nature", (3, 8, 8), Discrete(2)).build()
