"""Every method at its best interval on the deceptive family, whose best and greedy schedules are known.

    python benchmarks/deceptive.py                                # the whole grid; goes on where it stopped
    python benchmarks/deceptive.py --seeds 10 --variants pbt pb2 --deception 0 0.5
    python benchmarks/deceptive.py --develop --variants meta_pb2  # for tuning: instances that are never reported
    python benchmarks/deceptive.py --schedules                    # the known schedules alone, in no time

``benchmarks/deceptive.yaml`` is the grid, committed before anything was tuned on it. Each method plays its ``choose``
instances at every interval, and the ``report`` instances at the interval that was best there (methods with memory: best
with related sources). Scores are test returns, of the best agent that a run ever had, as shares of the best possible
final return: interquartile means with 95% intervals over seeds, each instance a stratum. A new method is a line of
``VARIANTS``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bg_pbt_runs import Task, estimate, play_all, strata, to_frame
from omegaconf import OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.learners.problems.temperature import Temperature

INSTANCES = 10
SEEDS_OF_AN_INSTANCE = 1000  # seeds of instances from 300 on begin at 300,000
MEMORY = ("meta_pb2", "pb2_transfer")
#: Overrides of each method; what needs sources is in ``MEMORY`` too. The interval of ``ipbt`` is its first one.
VARIANTS: dict[str, tuple[str, ...]] = {
    "default": ("method=default",),
    "random": ("method=random",),
    "pbt": ("method=pbt",),
    "pb2": ("method=pb2",),
    "mf_pbt": ("method=pbt", "selection=multiple_frequencies"),
    "ipbt": ("method=ipbt",),
    "gpbt_pl": ("method=gpbt_pl", "selection=pairwise"),
    "pb2_transfer": ("method=pb2", "start=transfer"),
    "meta_pb2": ("method=meta_pb2",),
}


@dataclass(frozen=True)
class Played:
    """What runs of a method have in common.

    Attributes:
        variant: which method.
        interval: in steps.
        family: what its memory is made of; empty without one.
    """

    variant: str
    interval: int
    family: str = ""

    @property
    def name(self) -> str:
        return "_".join(filter(None, (self.variant, f"every_{self.interval}", self.family)))


class Grid:
    """The grid, its runs, and where they are kept."""

    def __init__(
        self,
        results: Path,
        workers: int,
        intervals: Sequence[int] | None = None,
        variants: Mapping[str, Sequence[str]] = VARIANTS,
    ) -> None:
        self.results, self.workers, self.variants = results, workers, variants
        grid = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_suffix(".yaml")))
        assert isinstance(grid, dict)
        self.grid: dict[Any, Any] = grid
        self.intervals: Sequence[int] = intervals or grid["intervals"]

    def seeds(self, which: str, count: int) -> range:
        """The first seeds of ``report``, ``choose`` or ``develop``."""
        first = self.grid[which]["first"] * SEEDS_OF_AN_INSTANCE
        return range(first, first + count)

    def temperature(self, deception: float) -> Temperature:
        """The temperature of a target, with the learner's own settings."""
        from metapbt.config import compose

        learner = compose([f"experiment={self.grid['experiment']}"]).learner
        return Temperature(learner.speed, learner.cold, deception, self.grid["target"]["cooling"])

    def play(self, deception: float, which: Sequence[Played], seeds: range) -> pd.DataFrame:
        """Train what is missing: one line for each run, ``score`` a share of the best final return."""
        for family in sorted({played.family for played in which} - {""}):
            self._play_sources(deception, family, sorted({self._instance(seed) for seed in seeds}))
        tasks = [
            Task(played.name, seed, f"instance {self._instance(seed)}", tuple(self._overrides(deception, played, seed)))
            for seed in seeds
            for played in which
        ]
        runs = to_frame(play_all(tasks, self.results / "targets", self.workers))
        temperature = self.temperature(deception)
        return runs.assign(score=runs["test_return"] / float(temperature.final_return(temperature.best(100))))

    def best_intervals(self, deception: float, variants: Sequence[str], seeds: range) -> dict[str, int]:
        """The interval that each variant was best with; of equal ones the shortest."""
        chances = {
            variant: [Played(variant, i, "related" if variant in MEMORY else "") for i in self.intervals]
            for variant in variants
        }
        runs = self.play(deception, [played for each in chances.values() for played in each], seeds)
        return {
            variant: max(each, key=lambda played: scored(runs, played.name).value).interval
            for variant, each in chances.items()
        }

    def schedules(self, deceptions: Sequence[float]) -> Table:
        """What schedules come to that are known in closed form, as shares of the best."""
        table = Table(title="known schedules, shares of the best", box=box.MARKDOWN)
        columns = [f"greedy, every {interval}" for interval in self.intervals]
        for column in ("deception", "best", "hot until", *columns, "best constant", "hot to the end", "cold all along"):
            table.add_column(column, no_wrap=True)
        for deception in deceptions:
            temperature = self.temperature(deception)
            schedules = [temperature.greedy(100 // interval) for interval in self.intervals]
            schedules += [temperature.best(1), np.ones(1), np.zeros(1)]
            best = float(temperature.final_return(temperature.best(100)))
            shares = [f"{float(temperature.final_return(schedule)) / best:.2f}" for schedule in schedules]
            table.add_row(f"{deception:g}", f"{best:.3f}", f"{temperature.best(100).sum():.0f}", *shares)
        return table

    def _instance(self, seed: int) -> int:
        return seed // SEEDS_OF_AN_INSTANCE + seed % INSTANCES

    def _play_sources(self, deception: float, family: str, instances: Sequence[int]) -> None:
        """The runs that memory is made of, in a folder for each instance."""
        sources = self.grid["sources"]
        for instance in instances:
            tasks = []
            for number, context in enumerate(sources["contexts"]):
                there = {**context, "deception": context["deception"] * deception, **self.grid["families"][family]}
                for kind, method in enumerate(sources["methods"]):
                    # Apart from those of targets, and each its own: nobody shares first draws.
                    seed = instance * SEEDS_OF_AN_INSTANCE + 500 + 10 * kind + number
                    overrides = (*self._common(there, instance, sources["interval"]), f"method={method}")
                    tasks.append(Task(method, seed, f"instance {instance}", overrides))
            play_all(tasks, self._sources(deception, family, instance), self.workers)

    def _sources(self, deception: float, family: str, instance: int) -> Path:
        return self.results / "sources" / family / f"deception_{deception:g}" / f"instance_{instance}"

    def _common(self, context: dict[str, float], instance: int, interval: int) -> Iterator[str]:
        yield f"experiment={self.grid['experiment']}"
        yield f"learner.instance={instance}"
        yield f"budget.interval={interval}"
        yield from (f"context.{feature}={value:g}" for feature, value in context.items())

    def _overrides(self, deception: float, played: Played, seed: int) -> Iterator[str]:
        instance = self._instance(seed)
        yield from self._common({**self.grid["target"], "deception": deception}, instance, played.interval)
        yield from self.variants[played.variant]
        if played.family:
            yield f"meta.results_dir={self._sources(deception, played.family, instance)}"


def scored(runs: pd.DataFrame, name: str) -> Any:
    """A variant's score with its interval."""
    return estimate(strata(runs[runs["variant"] == name], "score"))


def report(grid: Grid, arguments: argparse.Namespace) -> Table:
    """Choose intervals, play, and show; the runs' lines are kept beside them, as ``runs.csv``."""
    which = "develop" if arguments.develop else "report"
    seeds = grid.seeds(which, arguments.seeds or grid.grid[which]["seeds"])
    choosing = grid.seeds(
        "develop" if arguments.develop else "choose", arguments.choose_seeds or grid.grid["choose"]["seeds"]
    )
    cells: dict[tuple[str, float], str] = {}
    kept = []
    for deception in arguments.deception or grid.grid["deception"]:
        intervals = grid.best_intervals(deception, arguments.variants, choosing)
        played = {
            f"{variant}, {family} memory" if family else variant: Played(variant, intervals[variant], family)
            for variant in arguments.variants
            for family in (grid.grid["families"] if variant in MEMORY else ("",))
        }
        runs = grid.play(deception, list(played.values()), seeds)
        kept.append(runs.assign(deception=deception))
        for title, each in played.items():
            value, low, high = scored(runs, each.name)
            cells[title, deception] = f"{value:.2f} [{low:.2f}, {high:.2f}], {each.interval}"
        pd.concat(kept).to_csv(grid.results / f"runs_{which}.csv", index=False)
    Console().print(
        f"Share of the best final return, and the interval chosen: {len(seeds)} seeds ({which}), intervals chosen on "
        f"{len(choosing)}."
    )
    table = Table(box=box.MARKDOWN)
    levels = list(dict.fromkeys(level for _, level in cells))
    for column in ("method", *(f"deception {level:g}" for level in levels)):
        table.add_column(column, no_wrap=True)
    for title in dict.fromkeys(title for title, _ in cells):
        table.add_row(title, *(cells[title, level] for level in levels))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, help="runs of each method that are reported (as the grid says: 100)")
    parser.add_argument("--choose-seeds", type=int, help="runs at each interval, to choose by (as the grid says: 20)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--deception", nargs="+", type=float, help="levels (those of the grid)")
    parser.add_argument("--intervals", nargs="+", type=int, help="in steps, divisors of 100 (those of the grid)")
    parser.add_argument("--develop", action="store_true", help="choose and show on the instances for tuning alone")
    parser.add_argument("--schedules", action="store_true", help="show the known schedules, and train nothing")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one core each (2)")
    parser.add_argument("--results", type=Path, default=Path("results/deceptive"), help="where the runs are kept")
    arguments = parser.parse_args()
    grid = Grid(arguments.results, arguments.workers, arguments.intervals)
    console = Console(width=220)
    console.print(grid.schedules(arguments.deception or grid.grid["deception"]))
    if not arguments.schedules:
        console.print(report(grid, arguments))


if __name__ == "__main__":
    main()
