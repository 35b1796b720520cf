"""Augmentations of observations: the published ones of pictures, and one of vectors.

Raileanu et al. 2021, "Automatic data augmentation for generalization in reinforcement learning"; Laskin et al. 2020,
"Reinforcement learning with augmented data". Each is two functions, what chance decides and what is then done, so that
a minibatch is drawn whole and seen in parts. Pictures are (batch, channels, height, width) floats in [0, 1] in the
memory format ``channels_last``; what comes out may lie outside of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from metapbt.errors import MetapbtError, named, unknown_name
from metapbt.learners.drac.colour import grayscale, jitter
from metapbt.registry import lookup

#: What chance decides: tensors whose first dimension is that of the observations.
Draws = tuple[Tensor, ...]

#: Of a crop: how many pixels the picture's edge is repeated for on each side.
PADDING = 12
#: Of a cut-out box: its smallest and largest size, and where it begins is this plus its size.
SMALLEST, LARGEST, PIVOT_ROW, PIVOT_COLUMN = 7, 21, 12, 24


@dataclass(frozen=True)
class Augmentation:
    """One way to change what an agent sees and not what it means.

    Attributes:
        draw: what chance decides for a count of observations.
        apply: from observations (batch, *shape) and their draws to observations of the same shape.
        sees: ``pictures`` of any number of channels, ``squares`` (as wide as high), ``colours`` (three channels),
            ``vectors`` or ``anything``.
    """

    draw: Callable[[int, torch.Generator], Draws]
    apply: Callable[..., Tensor]
    sees: str = "colours"

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse observations of a shape that it cannot change.

        Args:
            name: how messages call it.
            shape: of an observation; of a picture (channels, height, width).

        Raises:
            MetapbtError: it cannot.
        """
        pictures = len(shape) == 3
        if self.sees == "vectors" and pictures:
            raise MetapbtError(f"{name} is for vectors, but observations are pictures of shape {shape}")
        if self.sees not in ("vectors", "anything") and not pictures:
            known = ", ".join(name for name, each in AUGMENTATIONS.items() if each.sees in ("vectors", "anything"))
            raise MetapbtError(
                f"{name} is for pictures, but observations have the shape {shape}: take {known}, or a function of "
                "yours as package.module:function"
            )
        if self.sees == "colours" and shape[0] != 3:
            raise MetapbtError(f"{name} needs three channels, red, green and blue, but pictures have {shape[0]}")
        if self.sees == "squares" and shape[1] != shape[2]:
            raise MetapbtError(f"{name} needs square pictures, but they are {shape[1]} x {shape[2]}")


def nothing(count: int, generator: torch.Generator) -> Draws:
    """Chance decides nothing."""
    return ()


# ---- places


def crop(images: Tensor, offsets: Tensor, padding: int = PADDING) -> Tensor:
    """Pad by repeating the edge, then cut out the original size.

    Args:
        images: (batch, channels, height, width).
        offsets: (batch, 2), of the cut-out's first row and column, from 0 to 2 * ``padding``.
        padding: pixels on each side.
    """
    height, width = images.shape[2:]
    rows, columns = (
        (offsets[:, axis, None] + torch.arange(size, device=images.device) - padding).clamp(0, size - 1)
        for axis, size in ((0, height), (1, width))
    )
    return _gather(images, rows[:, :, None] * width + columns[:, None, :])


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Turn the pictures of ``which``, (batch,), upside down."""
    height, width = images.shape[2:]
    row = torch.arange(height, device=images.device)
    rows = torch.where(which[:, None], height - 1 - row, row)
    return _gather(images, rows[:, :, None] * width + torch.arange(width, device=images.device))


def rotate(images: Tensor, quarters: Tensor) -> Tensor:
    """Rotate square pictures by ``quarters``, (batch,) integers, of a turn, counter-clockwise."""
    height, width = images.shape[2:]
    places = torch.arange(height * width, device=images.device).view(height, width)
    turned = torch.stack([torch.rot90(places, k) for k in range(4)])
    return _gather(images, turned[quarters])


def _gather(images: Tensor, places: Tensor) -> Tensor:
    """Of each picture the pixels at ``places``, (batch, height, width) of row * width + column."""
    batch, channels, height, width = images.shape
    first = torch.arange(batch, device=images.device)[:, None] * (height * width)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    found = pixels.index_select(0, (places.reshape(batch, -1) + first).view(-1))
    return found.view(batch, *places.shape[1:], channels).permute(0, 3, 1, 2)


# ---- boxes


def cutout(
    images: Tensor,
    sizes: Tensor,
    colours: Tensor | None = None,
    pivot_row: int = PIVOT_ROW,
    pivot_column: int = PIVOT_COLUMN,
) -> Tensor:
    """Cover a box.

    Args:
        images: (batch, channels, height, width).
        sizes: (batch, 2), height h and width w of the box, whose first row is ``pivot_row`` + h and first column
            ``pivot_column`` + w; what lies outside of the picture is cut off.
        colours: (batch, channels) of the box; black where None.
        pivot_row: see ``sizes``.
        pivot_column: see ``sizes``.
    """
    batch, channels, height, width = images.shape
    (top, left), (h, w) = (sizes + sizes.new_tensor([pivot_row, pivot_column])).T[:, :, None], sizes.T[:, :, None]
    row, column = (torch.arange(size, device=images.device) for size in (height, width))
    # As rows of width * channels numbers, which is how they lie in memory.
    columns = ((column >= left) & (column < left + w)).repeat_interleave(channels, dim=1)
    inside = ((row >= top) & (row < top + h))[:, :, None] & columns[:, None, :]
    pixels = images.permute(0, 2, 3, 1).reshape(batch, height, -1)
    if colours is None:
        covered = pixels.masked_fill(inside, 0)
    else:
        covered = torch.where(inside, colours.repeat(1, width)[:, None, :], pixels)
    return covered.view(batch, height, width, channels).permute(0, 3, 1, 2)


# ---- filters


def random_convolution(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter each picture with a kernel of its own, with zeros around it.

    Args:
        images: (batch, channels, height, width).
        kernels: (batch, channels, channels, 3, 3).
    """
    batch, channels, height, width = images.shape
    planes = images.reshape(1, batch * channels, height, width)
    filtered = functional.conv2d(planes, kernels.reshape(-1, channels, 3, 3), padding=1, groups=batch)
    return filtered.view(images.shape).contiguous(memory_format=torch.channels_last)


def _kernels(count: int, generator: torch.Generator) -> Draws:
    """Xavier's normal: a variance of 2 / (inputs + outputs), each 3 channels of 3 x 3 numbers."""
    return (torch.randn(count, 3, 3, 3, 3, generator=generator) * (2 / 54) ** 0.5,)


# ---- vectors


def amplitude(observations: Tensor, factors: Tensor) -> Tensor:
    """Multiply each vector by one of ``factors``, (batch,)."""
    return observations * factors.view(-1, *[1] * (observations.ndim - 1))


# ---- what chance decides


def _integers(*bounds: tuple[int, int]) -> Callable[[int, torch.Generator], Draws]:
    """(count, len(bounds)) integers, uniform from the first of each bound to the last."""

    def draw(count: int, generator: torch.Generator) -> Draws:
        return (torch.stack([torch.randint(a, b + 1, (count,), generator=generator) for a, b in bounds], dim=1),)

    return draw


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _coins(count: int, generator: torch.Generator) -> Draws:
    return (torch.rand(count, generator=generator) < 0.5,)


def _quarters(count: int, generator: torch.Generator) -> Draws:
    return (torch.randint(4, (count,), generator=generator),)


def _amplitudes(count: int, generator: torch.Generator) -> Draws:
    return (_uniform(0.6, 1.2, count, generator),)


def _boxes(count: int, generator: torch.Generator) -> Draws:
    sizes = torch.randint(SMALLEST, LARGEST + 1, (count, 2), generator=generator)
    return sizes, torch.randint(255, (count, 3), generator=generator) / 255


def _jitters(count: int, generator: torch.Generator) -> Draws:
    factors = [_uniform(0.6, 1.4, count, generator) for _ in range(3)]
    hues = _uniform(-0.5, 0.5, count, generator)
    # One coin for all: parts of a minibatch are changed in the same order.
    return *factors, hues, (torch.rand((), generator=generator) < 0.5).expand(count)


#: By name; the first eight are the published ones, in their order.
AUGMENTATIONS: dict[str, Augmentation] = {
    "crop": Augmentation(_integers((0, 2 * PADDING), (0, 2 * PADDING)), crop, "pictures"),
    "random-conv": Augmentation(_kernels, random_convolution),
    "grayscale": Augmentation(nothing, grayscale),
    "flip": Augmentation(_coins, flip, "pictures"),
    "rotate": Augmentation(_quarters, rotate, "squares"),
    "cutout": Augmentation(_integers((SMALLEST, LARGEST), (SMALLEST, LARGEST)), cutout, "pictures"),
    "cutout-color": Augmentation(_boxes, cutout),
    "color-jitter": Augmentation(_jitters, jitter),
    "identity": Augmentation(nothing, lambda observations: observations, "anything"),
    "amplitude": Augmentation(_amplitudes, amplitude, "vectors"),
}


def augmentation_called(name: Any) -> Augmentation:
    """The augmentation of a name: one of ours, or a function of one's own as ``package.module:function``.

    Such a function is called with observations (batch, *shape), of pictures (batch, channels, height, width) in [0, 1],
    and a ``torch.Generator`` on the CPU to draw from; it returns what they become. It sees a part of a minibatch at a
    time.

    Raises:
        MetapbtError: the name is unknown, or its module cannot be imported.
    """
    if isinstance(name, str) and ":" in name:
        function = lookup("aug_type", name, {})
        if not callable(function):
            raise MetapbtError(f"aug_type '{name}' must be a function of observations and a torch.Generator")
        return Augmentation(_seeds, _of_ones_own(name, function), "anything")
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise unknown_name("aug_type", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]


def _seeds(count: int, generator: torch.Generator) -> Draws:
    return (torch.randint(2**63 - 1, (count,), generator=generator),)


def _of_ones_own(name: str, function: Callable[[Tensor, torch.Generator], Any]) -> Callable[[Tensor, Tensor], Tensor]:
    def apply(observations: Tensor, seeds: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(int(seeds[0]))
        try:
            changed = function(observations.clone(), generator)  # it may write into what it gets
        except Exception as error:
            raise MetapbtError(f"aug_type '{name}' failed: {named(error)}") from error
        if not isinstance(changed, Tensor) or changed.shape != observations.shape:
            found = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise MetapbtError(f"aug_type '{name}' must return a tensor {tuple(observations.shape)}, got {found}")
        return changed.to(observations.dtype)

    return apply
