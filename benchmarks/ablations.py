"""What each part of ``meta_pb2`` is worth: the whole beside itself without one, in pairs of runs.

    python benchmarks/ablations.py                              # 20 seeds on each problem; goes on where it stopped
    python benchmarks/ablations.py --problems many --parts no_schedule plain_gp --seeds 40

Three problems, on instances for tuning, for parts are chosen here: ``many``, the synthetic problem with 24 source
contexts that differ in two features (`source_contexts.py`), instances 2100 to 2109; ``deceptive`` and ``misled``, the
deceptive one with related and with misleading sources (`deceptive.py`), instances 500 to 509, deception 0.5, intervals
of 10 steps. Compared are the test return of the best agent and ``area_so_far``, the mean over the run of the best
return so far that selection looked at, in pairs of the same seed: means of the middle half, or how far the whole is
ahead, with 95% intervals. The runs' lines are kept as ``ablations.csv``. A part is a line of ``PARTS``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import source_contexts
from bg_pbt_runs import differences, estimate, play_all, strata, to_frame
from deceptive import Grid, Played
from rich import box
from rich.console import Console
from rich.table import Table

WHOLE = "whole"
QUANTITIES = ("test_return", "area_so_far")
PARTS: dict[str, tuple[str, ...]] = {
    WHOLE: (),
    "random_first_members": ("method.first_generation=0",),
    "copied_first_members": ("start=transfer",),
    "first_members_only": ("method.steering=false",),
    "greedy": ("method.lookahead=0",),
    "no_plans": ("method.planning=never",),
    "no_hindsight": ("method.hindsight=false",),
    "ranked_by_returns": ("method.rank_by_value=false",),
    "no_schedule": ("method.schedule=false",),
    "plain_gp": ("method.kernel=plain",),
    "no_context_inputs": ("method.features=false",),
    "no_trust_weighting": ("method.trust=false",),
}
FAMILIES = {"deceptive": "related", "misled": "misleading"}
PROBLEMS = ("many", *FAMILIES)


def play(problem: str, parts: Sequence[str], seeds: int, results: Path, workers: int) -> pd.DataFrame:
    """Train what is missing; one line for each run."""
    variants = {part: ("method=meta_pb2", *PARTS[part]) for part in parts}
    if problem == "many":
        tasks = source_contexts.targets(2100, seeds, variants, results / problem, workers)
        return to_frame(play_all(tasks, results / problem / "targets", workers))
    grid = Grid(results / "deceptive", workers, variants=variants)
    played = {part: Played(part, 10, FAMILIES[problem]) for part in parts}
    runs = grid.play(0.5, list(played.values()), grid.seeds("develop", seeds))
    return runs.assign(variant=runs["variant"].map({each.name: part for part, each in played.items()}))


def compared(runs: pd.DataFrame, problem: str) -> Table:
    """The whole, and by how much it is ahead of itself without each part."""
    table = Table(title=problem, box=box.MARKDOWN)
    for column in ("", "runs", *(f"{quantity}{what}" for quantity in QUANTITIES for what in ("", ", whole less it"))):
        table.add_column(column, no_wrap=True)
    for part, own in runs.groupby("variant", sort=False):
        cells = []
        for quantity in QUANTITIES:
            value, _, _ = estimate(strata(own, quantity))
            gap, low, high = estimate(differences(runs, str(part), WHOLE, quantity))
            cells += [f"{value:.3f}", "" if part == WHOLE else f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]"]
        table.add_row(str(part), str(len(own)), *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="and the whole")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each (20)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one core each (2)")
    parser.add_argument("--results", type=Path, default=Path("results/ablations"), help="where the runs are kept")
    arguments = parser.parse_args()
    parts = list(dict.fromkeys((WHOLE, *arguments.parts)))
    kept: list[pd.DataFrame] = []
    for problem in arguments.problems:
        runs = play(problem, parts, arguments.seeds, arguments.results, arguments.workers)
        kept.append(runs.assign(problem=problem)[["problem", "variant", "seed", "stratum", *QUANTITIES]])
        pd.concat(kept).round(5).to_csv(arguments.results / "ablations.csv", index=False)
        Console(width=200).print(compared(runs, problem))


if __name__ == "__main__":
    main()
