"""Changes of colour: grey, and jitter of contrast, brightness, saturation and hue (Laskin et al. 2020).

Images are (batch, 3, height, width), red, green and blue in [0, 1], in the memory format ``channels_last``.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: What red, green and blue weigh in a picture's brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_EPSILON = 1e-8


def grayscale(images: Tensor) -> Tensor:
    """The brightness of each pixel in all three channels."""
    batch, channels, height, width = images.shape
    weights = images.new_tensor(_LUMA)[:, None].expand(channels, channels)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    return (pixels @ weights).view(batch, height, width, channels).permute(0, 3, 1, 2)


def jitter(
    images: Tensor, contrast: Tensor, brightness: Tensor, saturation: Tensor, hue: Tensor, contrast_first: Tensor
) -> Tensor:
    """Change contrast, and then brightness, saturation and hue; or these first.

    Args:
        images: as above.
        contrast: (batch,), factors of the distance from each channel's mean over the picture.
        brightness: (batch,), factors of the value in hue, saturation and value.
        saturation: (batch,), factors of the saturation.
        hue: (batch,), added to the hue, 1 being 255 / 360 of a turn.
        contrast_first: (batch,), the same for all.
    """
    first = bool(contrast_first[0])
    if first:
        images = change_contrast(images, contrast)
    images = change_hsv(images, brightness, saturation, hue)
    return images if first else change_contrast(images, contrast)


def change_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the distance from each channel's mean over the picture by one of ``factors``, (batch,)."""
    means = images.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(means, images, factors[:, None, None, None]).clamp_(0, 1)


def change_hsv(images: Tensor, brightness: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Multiply value and saturation by factors and shift the hue; all (batch,)."""
    h, s, v = rgb_to_hsv(images).unbind(1)
    factors = (each[:, None, None] for each in (brightness, saturation, hue))
    bright, saturated, shift = factors
    h = (h + shift * (255 / 360)).remainder_(1)
    s = (s * saturated).clamp_(0, 1)
    v = (v * bright).clamp_(0, 1)
    return hsv_to_rgb(torch.stack([h, s, v], dim=1)).clamp_(0, 1)


def rgb_to_hsv(images: Tensor) -> Tensor:
    """Hue (in turns), saturation and value, all in [0, 1]."""
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(dim=1), images.amin(dim=1)
    chroma = value - lowest
    scale = 1 / (chroma + _EPSILON)
    # Where two channels are largest, the later one decides.
    sixths = torch.where(
        value == blue,
        (red - green) * scale + 4,
        torch.where(value == green, (blue - red) * scale + 2, ((green - blue) * scale).remainder(6)),
    )
    return torch.stack([(sixths / 6).remainder(1), chroma / (value + _EPSILON), value], dim=1)


def hsv_to_rgb(images: Tensor) -> Tensor:
    """Red, green and blue of hue (in turns), saturation and value."""
    hue, saturation, value = images.unbind(1)
    chroma = value * saturation
    channels = []
    for offset in (5, 3, 1):
        k = (hue * 6 + offset).remainder(6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)
