"""How often the report's 95% intervals hold, and how wide they are, in simulated studies.

    python benchmarks/interval_coverage.py            # 2,000 studies for each line, about 15 minutes on one core
    python benchmarks/interval_coverage.py --studies 500

A study is the scores of some seeds in some contexts. Contexts differ in level and spread (spreads by a factor of two
either way, one standard deviation of their logarithm); an interval holds where it contains what infinitely many seeds
in the same contexts would give. Scores within a context are

- normal;
- skewed: log-normal, skewness 3;
- failing: a fifth of the runs ends 2.5 spreads below the others, which differ little.

``difference`` is the paired difference of two methods whose scores are so distributed. Width is half of the interval,
in spreads of a single score, the median over studies. Beside the report's intervals stand the ones they were chosen
from, of the mean, in a quarter of the studies: the percentile bootstrap within contexts (rliable's), its bias-corrected
form (BCa, where there is one context: SciPy), and the studentised bootstrap. ``-`` says that too few seeds leave no
interval.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from metapbt.report.statistics import (
    Estimate,
    iqm,
    iqm_estimate,
    mean_of_means,
    stratified_estimate,
)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

RESAMPLES = 400
LARGE = 200_000  # runs that stand for infinitely many

# Seeds of each context.
DESIGNS: dict[str, list[int]] = {
    "1 x 2": [2],
    "1 x 3": [3],
    "1 x 5": [5],
    "1 x 10": [10],
    "2 x 2": [2] * 2,
    "2 x 3": [3] * 2,
    "2 x 5": [5] * 2,
    "3 x 3": [3] * 3,
    "5 x 1": [1] * 5,
    "5 x 2": [2] * 5,
    "5 x 3": [3] * 5,
    "5 x 5": [5] * 5,
    "5 x 10": [10] * 5,
    "1, 1, 1, 2": [1, 1, 1, 2],
    "1, 1, 3, 3": [1, 1, 3, 3],
    "2, 3, 5, 10": [2, 3, 5, 10],
    "3, 3, 3, 10": [3, 3, 3, 10],
    "22 x 1": [1] * 22,
    "22 x 2": [2] * 22,
    "22 x 3": [3] * 22,
    "22 x 5": [5] * 22,
}


def normal(rng: np.random.Generator, runs: int) -> Array:
    return rng.normal(size=runs)


def skewed(rng: np.random.Generator, runs: int) -> Array:
    sigma = 0.7155  # skewness 3
    mean, spread = np.exp(sigma**2 / 2), np.exp(sigma**2 / 2) * np.sqrt(np.expm1(sigma**2))
    return (rng.lognormal(0, sigma, size=runs) - mean) / spread


def failing(rng: np.random.Generator, runs: int) -> Array:
    scores: Array = 0.5 + 0.1 * rng.normal(size=runs) - 2.5 * (rng.random(runs) < 0.2)
    return scores


SCORES: dict[str, Draw] = {"normal": normal, "skewed": skewed, "failing": failing}


class Held(NamedTuple):
    """In which share of the studies an interval held, and half its median width."""

    coverage: float
    width: float


class Contexts:
    """The contexts of a study: their levels, spreads, and how scores are distributed."""

    def __init__(self, count: int, draw: Draw, paired: bool) -> None:
        rng = np.random.default_rng(count)
        self.levels = rng.normal(0, 2, size=count)
        self.spreads = np.exp(rng.normal(0, np.log(2), size=count))
        self.spreads /= np.sqrt(np.mean(self.spreads**2))
        self._draw, self._paired = draw, paired

    def scores(self, rng: np.random.Generator, context: int, runs: int) -> Array:
        drawn = self._draw(rng, runs)
        if self._paired:
            drawn = drawn - self._draw(rng, runs)
        scores: Array = self.levels[context] + self.spreads[context] * drawn
        return scores

    def study(self, rng: np.random.Generator, seeds: Sequence[int]) -> list[Array]:
        return [self.scores(rng, context, runs) for context, runs in enumerate(seeds)]


def coverage(estimate: Callable[[list[Array]], Estimate], studies: Sequence[list[Array]], truth: float) -> Held | None:
    found = [estimate(strata) for strata in studies]
    if not any(one.known for one in found):
        return None
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    return Held(float(np.mean((low <= truth) & (truth <= high))), float(np.median(high - low) / 2))


def percentile(strata: list[Array]) -> Estimate:
    """Of the mean of means: what the report had before."""
    rng = np.random.default_rng(0)
    low, high = np.quantile(_resampled(strata, rng)[0], [0.025, 0.975])
    return Estimate(mean_of_means(strata), float(low), float(high))


def studentised(strata: list[Array]) -> Estimate:
    rng = np.random.default_rng(0)
    if min(map(len, strata)) < 2:
        return Estimate(mean_of_means(strata), np.nan, np.nan)
    value = mean_of_means(strata)
    error = np.sqrt(sum(stratum.var(ddof=1) / len(stratum) for stratum in strata)) / len(strata)
    means, errors = _resampled(strata, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (means - value) / errors
    # Resamples without spread lie infinitely far: with few seeds they are many.
    low, high = np.quantile(np.where(np.isfinite(ratios), ratios, np.sign(means - value) * 1e9), [0.025, 0.975])
    return Estimate(value, float(value - high * error), float(value - low * error))


def _resampled(strata: list[Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """Means of means ``(RESAMPLES,)`` of resamples within each stratum, and their standard errors."""
    means, variances = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for stratum in strata:
        drawn = stratum[rng.integers(len(stratum), size=(RESAMPLES, len(stratum)))]
        means += drawn.mean(axis=1) / len(strata)
        if len(stratum) > 1:
            variances += drawn.var(axis=1, ddof=1) / len(stratum) / len(strata) ** 2
    return means, np.sqrt(variances)


def bca(strata: list[Array]) -> Estimate:
    if len(strata) > 1 or len(strata[0]) < 2:
        return Estimate(np.nan, np.nan, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (strata[0],), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    return Estimate(mean_of_means(strata), float(found.low), float(found.high))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated for each line (2000)")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS), help="contexts x seeds")
    arguments = parser.parse_args()
    table = Table(title="share of 95% intervals that hold, and half their width", box=box.MARKDOWN)
    for column in ("scores", "contexts x seeds", "mean", "difference", "IQM", "percentile", "BCa", "studentised"):
        table.add_column(column, no_wrap=True)
    lines = [(name, design) for name in SCORES for design in arguments.designs]
    for name, design in track(lines, "simulating", console=Console(stderr=True)):
        table.add_row(name, design, *(_cell(held) for held in line(SCORES[name], DESIGNS[design], arguments.studies)))
    Console(width=200).print(table)


def line(draw: Draw, seeds: list[int], count: int) -> list[Held | None]:
    """The columns of one line: the report's mean, difference and IQM, then the others' means."""
    contexts, pairs = (Contexts(len(seeds), draw, paired) for paired in (False, True))
    rng = np.random.default_rng(1)
    studies = [contexts.study(rng, seeds) for _ in range(count)]
    differences = [pairs.study(rng, seeds) for _ in range(count)]
    mean = float(contexts.levels.mean())  # scores within a context have mean 0
    many = [contexts.scores(rng, context, LARGE // len(seeds)) for context in range(len(seeds))]

    def of_mean(strata: list[Array]) -> Estimate:
        return stratified_estimate(strata, mean_of_means)

    return [
        coverage(of_mean, studies, mean),
        coverage(of_mean, differences, mean),
        coverage(iqm_estimate, studies[: count // 2], iqm(many)),
        coverage(percentile, studies[: count // 4], mean),
        coverage(bca, studies[: count // 4], mean),
        coverage(studentised, studies[: count // 4], mean),
    ]


def _cell(held: Held | None) -> str:
    return "-" if held is None else f"{held.coverage:.1%} ±{held.width:.2f}"


if __name__ == "__main__":
    main()
