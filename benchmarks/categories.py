"""How categories are chosen, by itself: the mixed synthetic problem with PBT's numbers for everybody.

    python benchmarks/categories.py

The GP takes most of a study's time and its noise hides what categories are worth. Here copies perturb or resample
their parent's numbers as PBT does, and only the choice of categories differs. About two minutes on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from synthetic_problems import INSTANCES, INTERVAL, play

from metapbt.envs import make_context
from metapbt.history import Budget, History, Record
from metapbt.learners.problems.synthetic import CHOICES, SyntheticLearner
from metapbt.population.explorers import METHODS
from metapbt.population.explorers.base import Pending, Suggestion
from metapbt.population.explorers.pb2_mult import PB2MultExplorer
from metapbt.population.explorers.pb2_rand import PB2RandExplorer
from metapbt.population.explorers.pbt import PBTExplorer
from metapbt.space import Hyperparameters

TARGET = {"noise": 0.02}
STUDIES = ((4, 10, 100), (8, 40, 40))  # members, generations, seeds


class Bandit(PB2MultExplorer):
    """Categories by TV.EXP3.M, numbers by PBT."""

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        perturbed = PBTExplorer(self.space).propose(children, parents, history, pending, rng)
        settled = self.settle(parents, history, rng)
        pairs = zip(perturbed, settled, strict=True)
        return [Suggestion({**found.hyperparameters, **values}, "perturbed") for found, values in pairs]


class Half(Bandit):
    """Categories kept half of the time and else drawn anew, as in PB2-Rand."""

    settle = PB2RandExplorer.settle


class Redrawn(Bandit):
    """Categories always drawn anew."""

    def settle(self, parents: Sequence[Record], history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        return [{p.name: p.choices[int(rng.integers(len(p.choices)))] for p in self.chosen} for _ in parents]


@cache
def best_choices(instance: int, generations: int, generation: int) -> Hyperparameters:
    """The best categories in the middle of a generation."""
    budget = Budget(generations * INTERVAL, INTERVAL)
    learner = SyntheticLearner("synthetic", make_context("synthetic", TARGET), budget, {"instance": instance})
    return learner.optimum(generation * INTERVAL + INTERVAL // 2, ["c0", "c1"])


def main() -> None:
    from metapbt.report.statistics import iqm, stratified_estimate

    ways = {"pbt: a neighbour, or anew": "pbt", "half kept": Half, "always anew": Redrawn, "bandit": Bandit}
    METHODS.update({way.__name__: f"{__name__}:{way.__name__}" for way in ways.values() if isinstance(way, type)})
    table = Table(
        title=f"right: copies' categories that are the best ones; by chance {1 / len(CHOICES):.0%}", box=box.MARKDOWN
    )
    for column in ("study", "categories", "final return", "right"):
        table.add_column(column, no_wrap=True)
    for members, generations, seeds in STUDIES:
        for name, way in ways.items():
            method = way if isinstance(way, str) else way.__name__
            runs = [
                play("mixed", method, seed, seed % INSTANCES, TARGET, (), members, generations) for seed in range(seeds)
            ]
            final = np.array([run.returns[-1] for run in runs])
            value, low, high = stratified_estimate([final], iqm)
            right = [
                record.hyperparameters[category] == choice
                for seed, run in enumerate(runs)
                for record in run.history
                if record.parent is not None
                for category, choice in best_choices(seed % INSTANCES, generations, record.generation).items()
            ]
            study = f"{members} x {generations}, {seeds} seeds"
            table.add_row(study, name, f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{np.mean(right):.0%}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
