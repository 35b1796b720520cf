"""Changes of colour: grey, and jitter of contrast, brightness, saturation and hue (Laskin et al. 2020).

Pictures are (batch, 3, height, width), red, green and blue in [0, 1], in the memory format ``channels_last``. Jitter
is forty operations on planes (batch, height, width), one for each channel, of as many pictures as a core's caches hold.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: What red, green and blue weigh in a picture's brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_EPSILON = 1e-8
#: Makes at least 1 of whatever a float of 32 bits in [0, 1] may differ by.
_LARGE = 1e38
#: Pictures at a time.
_PART = 16

Planes = tuple[Tensor, Tensor, Tensor]


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
    out, first = torch.empty_like(images), bool(contrast_first[0])
    for start in range(0, len(images), _PART):
        these = slice(start, start + _PART)
        planes = images[these].permute(1, 0, 2, 3).contiguous()
        if first:
            planes = change_contrast(planes, contrast[these])
        red, green, blue = planes.unbind()
        changed = change_hsv((red, green, blue), brightness[these], saturation[these], hue[these])
        for channel, plane in enumerate(changed):
            out[these, channel] = plane if first else change_contrast(plane, contrast[these])
    return out


def change_contrast(planes: Tensor, factors: Tensor) -> Tensor:
    """Multiply the distance from each plane's mean by one of ``factors``, (batch,).

    Args:
        planes: (..., batch, height, width).
        factors: as said.
    """
    means = planes.mean(dim=(-2, -1), keepdim=True)
    each = factors[:, None, None]
    return (planes * each).add_(means * (1 - each)).clamp_(0, 1)


def change_hsv(planes: Planes, brightness: Tensor, saturation: Tensor, hue: Tensor) -> Planes:
    """Multiply value and saturation by factors and shift the hue; all (batch,)."""
    h, s, v = rgb_to_hsv(planes)
    v = v.mul_(brightness[:, None, None]).clamp_(max=1)
    s = s.mul_(saturation[:, None, None]).clamp_(max=1)
    h = _fraction(h.add_(hue[:, None, None] * (255 / 360)))
    return hsv_to_rgb((h, s, v))


def rgb_to_hsv(planes: Planes) -> Planes:
    """Hue (in turns), saturation and value, all in [0, 1], of red, green and blue."""
    red, green, blue = planes
    value = torch.maximum(red, green).maximum(blue)
    chroma = value - torch.minimum(red, green).minimum(blue)
    scale = (chroma + _EPSILON).mul_(6).reciprocal_()
    # 0 where a channel is the largest, else 1: several times as fast as to compare and choose. Where two channels are
    # largest, the later one decides.
    not_green, not_blue = ((value - each).mul_(_LARGE).clamp_(max=1) for each in (green, blue))
    hue = torch.lerp((blue - red).mul_(scale).add_(1 / 3), (green - blue).mul_(scale), not_green)
    hue = torch.lerp((red - green).mul_(scale).add_(2 / 3), hue, not_blue)
    return _fraction(hue), chroma.div_(value + _EPSILON), value


def hsv_to_rgb(planes: Planes) -> Planes:
    """Red, green and blue, of hue (in turns), saturation and value in [0, 1]."""
    hue, saturation, value = planes
    chroma = value * saturation
    sixths = hue * 6
    # How far the hue is from a channel's own: up to a sixth of a turn it is full, beyond a third it has none.
    red, green, blue = ((sixths - own).abs_().sub_(1).clamp_(0, 1) for own in (3, 2, 4))
    return (
        torch.addcmul(value - chroma, chroma, red, out=red),  # red lies at both ends
        torch.addcmul(value, chroma, green, value=-1, out=green),
        torch.addcmul(value, chroma, blue, value=-1, out=blue),
    )


def _fraction(turns: Tensor) -> Tensor:
    return turns.sub_(turns.floor())
