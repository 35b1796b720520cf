"""How much there is to remember: do the hyperparameters that are good in one context do well in another?

    python benchmarks/landscape.py --env cart_pole                     # pole lengths, 24 configurations, 40,000 steps
    python benchmarks/landscape.py --env lunar_lander                  # leg heights, 200,000 steps; takes a while

The same random configurations are trained, unchanged, in every context; each is judged by the area under its curve
(the mean of its evaluations). For a population of four the table compares: four random ones, the four that are best
on average in the other contexts, and what was possible. Memory has room where the best of the four from elsewhere
beats the expected best of four random ones. Beneath it: Spearman's rank correlation of the configurations between
contexts.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

STUDIES = {  # environment: feature, contexts, steps, interval
    "cart_pole": ("pole_length", (0.1, 0.3, 0.5, 0.7, 0.9), 40_000, 4_000),
    "lunar_lander": ("leg_height", (1.6, 4.8, 8.0, 14.4), 200_000, 20_000),
}
MEMBERS = 4


def areas(env: str, context: str, configurations: int, steps: int, interval: int, folder: Path) -> np.ndarray[Any, Any]:
    """The area of each configuration in one context, shape ``configurations``."""
    import metapbt

    run = metapbt.run(
        [
            f"env={env}",
            f"context.{context}",
            "method=random",
            f"population.size={configurations}",
            f"budget.steps={steps}",
            f"budget.interval={interval}",
            f"results_dir={folder}",
        ]
    )
    return np.asarray(run.records.groupby("member")["eval_return"].mean())


def expected_best(values: np.ndarray[Any, Any], count: int) -> float:
    """The expected maximum of ``count`` of the values, drawn without putting back."""
    ordered = np.sort(values)
    ways = [comb(place, count - 1) for place in range(len(ordered))]
    return float(np.dot(ways, ordered) / sum(ways))


def main() -> None:
    from scipy.stats import spearmanr

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", choices=STUDIES, default="cart_pole")
    parser.add_argument("--configurations", type=int, default=24, help="the same in every context (24)")
    parser.add_argument("--steps", type=int, help="of each (40000; the lander 200000)")
    arguments = parser.parse_args()
    feature, contexts, steps, interval = STUDIES[arguments.env]
    steps = arguments.steps or steps
    with tempfile.TemporaryDirectory() as folder:
        found = {
            value: areas(arguments.env, f"{feature}={value}", arguments.configurations, steps, interval, Path(folder))
            for value in contexts
        }
    print(f"\n{arguments.env}, {arguments.configurations} configurations, {steps:,} steps: mean evaluation\n")
    print(f"| {feature} | mean of all | best of 4 random (expected) | the 4 best elsewhere: mean | their best | best |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for value, own in found.items():
        elsewhere = np.mean([other for key, other in found.items() if key != value], axis=0)
        four = own[np.argsort(-elsewhere)[:MEMBERS]]
        numbers = (own.mean(), expected_best(own, MEMBERS), four.mean(), four.max(), own.max())
        print(f"| {value} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    pairs = itertools.combinations(found, 2)
    shown = ", ".join(f"{spearmanr(found[a], found[b]).statistic:.2f} ({a}, {b})" for a, b in pairs)
    print(f"\nrank correlations: {shown}")


if __name__ == "__main__":
    main()
