"""Methods can be told apart by everybody, on white and on dark."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metapbt.population.explorers import METHODS
from metapbt.report.palette import METHOD_STYLES, OTHER_STYLES, SOURCE_GREY, method_styles

COMMON = ("default", "random", "pbt", "pb2", "pb2_mix", "meta_pb2", "bg_pbt", "meta_bg_pbt")
PAGES = {"color": "#ffffff", "dark": "#16181c"}


def rgb(colors: list[str]) -> np.ndarray:
    return np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])


def smallest_distances(colors: list[str]) -> dict[str, float]:
    """In CAM02-UCS, between any two of the colours, as each kind of eye sees them (Machado et al., 2009)."""
    colorspacious = pytest.importorskip("colorspacious", reason="simulates colour vision deficiency")
    found = {}
    for eye in ("normal", "deuteranomaly", "protanomaly"):
        world = rgb(colors)
        if eye != "normal":
            space = {"name": "sRGB1+CVD", "cvd_type": eye, "severity": 100}
            world = np.clip(colorspacious.cspace_convert(world, space, "sRGB1"), 0, 1)
        points = colorspacious.cspace_convert(world, "sRGB1", "CAM02-UCS")
        found[eye] = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(points, 2))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_methods_that_are_compared_most_are_far_apart_for_every_eye(page: str) -> None:
    found = smallest_distances([getattr(METHOD_STYLES[name], page) for name in COMMON])
    assert min(found["deuteranomaly"], found["protanomaly"]) >= 18
    assert found["normal"] >= 25


def test_the_distance_is_one_that_the_old_colours_fail() -> None:
    old = smallest_distances(["#0173b2", "#7b4fa3"])  # pb2 and pb2_mix before
    assert old["deuteranomaly"] < 10


@pytest.mark.parametrize("page", PAGES)
def test_colours_stand_out_from_the_page(page: str) -> None:
    def luminance(color: str) -> float:
        value = rgb([color])[0]
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    for style in (*METHOD_STYLES.values(), *OTHER_STYLES):
        low, high = sorted([luminance(getattr(style, page)), luminance(PAGES[page])])
        assert (high + 0.05) / (low + 0.05) >= 3, style  # WCAG 2.1, criterion 1.4.11


def test_no_two_methods_look_alike_even_without_colour() -> None:
    assert set(METHOD_STYLES) == set(METHODS)
    styles = (*METHOD_STYLES.values(), *OTHER_STYLES)
    assert len({style.marker for style in styles}) == len(styles)
    assert len({style.color for style in styles}) == len({style.dark for style in styles}) == len(styles)
    assert {name for name, style in METHOD_STYLES.items() if not style.dash} == set(COMMON)
    assert SOURCE_GREY not in {style.color for style in styles}


def test_a_method_looks_the_same_in_every_figure_whoever_else_is_there() -> None:
    alone = method_styles(["pb2"])["pb2"]
    assert method_styles(["mine", "meta_pb2", "pb2"])["pb2"] == alone
    mine = method_styles(["a", "b", "c", "d", "pb2"])
    assert len(set(mine.values())) == 5
    assert len(set(method_styles(map(str, range(16))).values())) == 16
