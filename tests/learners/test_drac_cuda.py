"""The DrAC learner on a GPU. Skipped where torch sees none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drac_learners import LENGTH, SQUARES, learner, same
from learner_intervals import train

from metapbt.learners.devices import torch_device
from metapbt.learners.drac.actions import Discrete
from metapbt.learners.drac.augmentations import AUGMENTATIONS
from metapbt.learners.drac.learned import adam
from metapbt.learners.drac.loss import Coefficients, Samples
from metapbt.learners.drac.network import NETWORKS, Architecture
from metapbt.learners.drac.update import Draws, Settings, update

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")

PICTURE_NETWORKS = [name for name in NETWORKS if name != "mlp"]


@pytest.mark.parametrize("network", PICTURE_NETWORKS)
@pytest.mark.parametrize("aug_type", ["identity", "crop", "color-jitter"])
def test_an_interval_on_the_gpu_is_repeated_bit_by_bit_and_goes_on_from_its_state(network: str, aug_type: str) -> None:
    def interval(*, start: Any = None, seed: int) -> Any:
        one = learner(SQUARES, network=network, device="auto")
        return train(one, start, {"aug_type": aug_type}, LENGTH, seed=seed, evaluation_seed=2)

    torch.cuda.reset_peak_memory_stats()
    first = interval(seed=1)
    assert torch.cuda.max_memory_allocated() > 0  # it was there
    assert all(type(array) is np.ndarray and array.dtype != object for array in first.state.values())
    second, again = (interval(start=first, seed=3) for _ in range(2))
    assert same(second.state, again.state)
    assert second.eval_return == again.eval_return


@pytest.mark.parametrize("network", PICTURE_NETWORKS)
def test_large_minibatches_are_the_same_bits_every_time(network: str) -> None:
    """As in a run of Procgen's, where cuDNN would choose convolutions that add up in any order."""
    gpu, samples = torch_device("cuda"), 2048

    def trained() -> list[torch.Tensor]:
        rng = np.random.default_rng(0)
        one = Architecture(network, (3, 64, 64), Discrete(15)).build(rng).to(gpu)
        pictures = torch.from_numpy(rng.integers(0, 256, (samples, 64, 64, 3), dtype=np.uint8)).to(gpu)
        numbers = (torch.from_numpy(rng.normal(size=samples).astype(np.float32)).to(gpu) for _ in range(4))
        taken = Samples(torch.from_numpy(rng.integers(15, size=samples)).to(gpu), *numbers)
        coefficients = Coefficients(clip_range=0.2, ent_coef=0.01, vf_coef=0.5, aug_coef=0.1)
        settings = Settings(Discrete(15), 2, 2, coefficients, 0.5, AUGMENTATIONS["crop"], False, "rollout")
        draws = Draws(np.random.default_rng(1), np.random.default_rng(2), torch.Generator().manual_seed(3))
        update(one, adam(one, 5e-4, None), pictures, taken, settings, draws)
        return [parameter.detach().cpu() for parameter in one.parameters()]

    first = trained()
    assert all(torch.isfinite(tensor).all() for tensor in first)
    for _ in range(3):
        assert all(torch.equal(one, other) for one, other in zip(first, trained(), strict=True))


def test_an_interval_on_the_gpu_is_the_cpus_but_for_rounding() -> None:
    """Draws are made on the CPU, so that both see the same pictures and take the same actions."""
    rate = 1e-4
    one, other = (
        train(learner(SQUARES, device=device), None, {"learning_rate": rate}, LENGTH, seed=1, evaluation_seed=2)
        for device in ("cuda", "cpu")
    )
    assert one.returns == other.returns
    names = [name for name in other.state if name.startswith("network/")]
    far = np.concatenate([np.abs(one.state[name] - other.state[name]).ravel() for name in names])
    # Adam's steps are as long as its rate, and go the other way where rounding turned the sign of a gradient near 0.
    assert np.median(far) < rate / 10
    assert np.mean(far > rate) < 0.01


@pytest.mark.parametrize("aug_type", list(AUGMENTATIONS))
def test_an_augmentation_with_the_same_draws_is_the_same_on_the_gpu(aug_type: str) -> None:
    augmentation = AUGMENTATIONS[aug_type]
    shape = (16, 5) if augmentation.sees == "vectors" else (16, 3, 64, 64)
    seen = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    chance = augmentation.draw(16, torch.Generator().manual_seed(1))
    here = augmentation.apply(seen.clone(), *chance)
    there = augmentation.apply(seen.cuda(), *(each.cuda() for each in chance))
    assert torch.allclose(here, there.cpu(), atol=1e-5)


def test_a_state_goes_on_wherever_there_is_a_device() -> None:
    there, here = learner(SQUARES, device="cuda"), learner(SQUARES, device="cpu")
    for before, after in ((there, here), (here, there)):
        first = train(before, None, {}, LENGTH)
        assert train(after, first, {}, LENGTH).env_steps == 2 * LENGTH
        assert before.evaluate(first.state, {}, 3, 2) == after.evaluate(first.state, {}, 3, 2)
