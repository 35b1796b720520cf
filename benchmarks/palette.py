"""Search for colours of methods that people with and without colour vision deficiency tell apart.

    python benchmarks/palette.py

The distance of two colours is their smallest in CAM02-UCS (Luo, Cui and Li, 2006) in normal vision, and in full
deuteranopia and protanopia as simulated by Machado, Oliveira and Fernandes (2009). Colours stand out from the page:
their contrast with it is 3:1 at least (WCAG 2.1, criterion 1.4.11). The methods that are compared most are placed
first, so that the smallest distance among them is as large as it can be; then the others, as far from all as they can
be. The dark page's colours have the same hues. What it found stands in ``metapbt/report/figures/palette.py``.
"""

from __future__ import annotations

import itertools

import numpy as np
from colorspacious import cspace_convert

COMMON = ("default", "random", "pbt", "pb2", "pb2_mix", "meta_pb2", "bg_pbt", "meta_bg_pbt")
RARE = ("grid", "pb2_rand", "pb2_mult", "gpbt_pl")
#: Which of them are seen side by side, and how often.
PAIRS = (
    ("pb2", "meta_pb2", 4), ("pbt", "pb2", 3), ("bg_pbt", "meta_bg_pbt", 3), ("default", "pb2", 2),
    ("pbt", "meta_pb2", 2), ("pb2", "pb2_mix", 2), ("pb2", "bg_pbt", 2), ("default", "meta_pb2", 2),
    ("random", "pbt", 2), ("random", "pb2", 2), ("default", "pbt", 2), ("default", "random", 2), ("pbt", "bg_pbt", 1),
    ("meta_pb2", "meta_bg_pbt", 2),
)  # fmt: skip
LIGHT_PAGE, DARK_PAGE = "#ffffff", "#16181c"
LEAST_CONTRAST = 3.0
RESTARTS = 120
#: Full colour vision can expect more: its distances count this much.
OF_NORMAL_VISION = 0.65
#: How far a dark page's hue may be from the light page's, in degrees.
HUE_TOLERANCE = 40.0


def to_rgb(colors):
    """Hexadecimal colours as numbers from 0 to 1, ``(colours, 3)``."""
    return np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])


def to_hex(rgb):
    return "#" + "".join(f"{round(float(value) * 255):02x}" for value in rgb)


def seen(rgb):
    """Colours as each kind of eye sees them, in CAM02-UCS: ``(eyes, colours, 3)``."""
    worlds = [rgb]
    for kind in ("deuteranomaly", "protanomaly"):
        space = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
        worlds.append(np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1))
    return np.stack([cspace_convert(world, "sRGB1", "CAM02-UCS") for world in worlds])


def distances(a, b):
    """The smallest distance over eyes of each colour of one set from each of another."""
    apart = np.linalg.norm(a[:, :, None] - b[:, None], axis=-1)
    apart[0] *= OF_NORMAL_VISION
    return apart.min(axis=0)


def luminance(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def contrast(rgb, page):
    both = np.stack([luminance(rgb), np.broadcast_to(luminance(to_rgb([page]))[0], len(rgb))])
    return (both.max(axis=0) + 0.05) / (both.min(axis=0) + 0.05)


def candidates(page, levels=18):
    values = np.linspace(0, 1, levels)
    rgb = np.array(list(itertools.product(values, repeat=3)))
    rgb = rgb[contrast(rgb, page) >= LEAST_CONTRAST]
    # Colours have a hue, and none is so dark or so light that it passes for text.
    lightness, chroma, _ = cspace_convert(rgb, "sRGB1", "JCh").T
    return rgb[(chroma > 25) & (chroma < 80) & (lightness > 22) & (lightness < 85)]


def spread(choices, between, fixed_distance, rng):
    """A candidate for each place whose smallest distance, from each other and from fixed ones, is large.

    Args:
        choices: of each place, the indices of the candidates that it may have.
        between: distances of all candidates from each other.
        fixed_distance: of each candidate, from the nearest colour that is there already.
        rng: where searches start.
    """
    best, value = [], -1.0
    for _ in range(RESTARTS):
        chosen = [rng.choice(options) for options in choices]
        moved = True
        while moved:
            moved = False
            for place in rng.permutation(len(choices)):
                rest = [c for i, c in enumerate(chosen) if i != place]
                reach = np.minimum(between[:, rest].min(axis=1, initial=np.inf), fixed_distance)
                new = choices[place][int(reach[choices[place]].argmax())]
                if reach[new] > reach[chosen[place]] + 1e-9:
                    chosen[place], moved = new, True
        inner = between[np.ix_(chosen, chosen)] + np.diag(np.full(len(chosen), np.inf))
        found = min(inner.min(), fixed_distance[chosen].min())
        if found > value:
            best, value = chosen, found
    return best, value


def assigned(colors, between):
    """Who gets which of the common colours: the pairs that are seen together most are the furthest apart."""
    weights = np.zeros((len(COMMON),) * 2)
    for one, other, weight in PAIRS:
        weights[COMMON.index(one), COMMON.index(other)] = weight
    inner = between[np.ix_(colors, colors)]
    order = max(
        itertools.permutations(range(len(COMMON))),
        key=lambda places: float((weights * inner[np.ix_(places, places)]).sum()),
    )
    return [colors[place] for place in order]


def placed(page, hues, rng):
    """The colours of all methods on a page; ``hues`` are those that they should have, None for any."""
    rgb = candidates(page)
    eyes = seen(rgb)
    between = distances(eyes, eyes)
    own = cspace_convert(rgb, "sRGB1", "JCh")[:, 2]
    names = (*COMMON, *RARE)
    choices = [np.arange(len(rgb))] * len(names)
    if hues is not None:
        choices = [np.flatnonzero(np.abs((own - hue + 180) % 360 - 180) < HUE_TOLERANCE) for hue in hues]
    common, first = spread(choices[: len(COMMON)], between, np.full(len(rgb), np.inf), rng)
    common = assigned(common, between) if hues is None else common
    rare, second = spread(choices[len(COMMON) :], between, between[:, common].min(axis=1), rng)
    print(f"on {page}: {len(rgb)} candidates; {first:.1f} apart, with the others {second:.1f}")
    for name, index in zip(names, [*common, *rare], strict=True):
        lightness, chroma, hue = cspace_convert(rgb[index], "sRGB1", "JCh")
        print(f"  {name:12} {to_hex(rgb[index])}  lightness {lightness:3.0f}  chroma {chroma:3.0f}  hue {hue:3.0f}")
    return own[[*common, *rare]]


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    placed(DARK_PAGE, placed(LIGHT_PAGE, None, generator), generator)
