"""Procgen at a small scale: PBT, three PB2s and random search, on levels of training and on held-out ones.

    python benchmarks/procgen_study.py                                   # all methods, 3 seeds
    python benchmarks/procgen_study.py --variants pbt pb2_mix --seeds 10 --games starpilot fruitbot --workers 16
    python benchmarks/procgen_study.py --agents --seeds 1 --games starpilot coinrun leaper
    python benchmarks/procgen_study.py --experiment procgen_paper --also learner.device=cuda

Started again with the same ``--results``, it goes on where it stopped. Runs are those of ``experiment=procgen_small``
with the methods as published (``method=published/...``); ``--also`` changes them. The training return is that of the
best agent that a run ever had, over the episodes of its last interval, and a little too high, for it was chosen for it.
The test return is the same agent's on levels that no run trained on.

Interquartile means over games and seeds with 95% intervals of the stratified bootstrap (Agarwal et al., 2021), each
game a stratum, as the literature has them. They are too narrow where seeds are few (docs/evidence.md), so differences
in pairs of the same game and seed have the report's t-intervals.

``--agents`` trains one agent with the default hyperparameters on each game instead, 300,000 steps, and shows its
returns after each interval: which game can be learned in time.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bg_pbt_runs import Task, arguments_of, differences, play_all, strata, to_frame
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.envs.procgen import GAMES

if TYPE_CHECKING:
    import pandas as pd

    from metapbt.report.statistics import Array, Estimate

VARIANTS: dict[str, tuple[str, ...]] = {
    **{name: (f"method=published/{name}",) for name in ("pbt", "pb2_rand", "pb2_mult", "pb2_mix")},
    "random": ("method=random",),
}
#: Of one agent alone.
AGENT = ("method=default", "population.size=1", "budget.steps=300000")
RETURNS = {"train_return": "training return", "test_return": "held-out return"}
RESAMPLES = 10_000


def main() -> None:
    parser = arguments_of(__doc__, 3, VARIANTS, "results/procgen_study")
    parser.add_argument("--first-seed", type=int, default=0, help="seeds are this one and those that follow (0)")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=["starpilot"], metavar="GAME")
    parser.add_argument("--baseline", default="random", help="what the others are compared with (random)")
    parser.add_argument("--experiment", default="procgen_small", help="of conf/experiment (procgen_small)")
    parser.add_argument("--agents", action="store_true", help="one agent for each game instead, to choose a game")
    arguments = parser.parse_args()
    results = Path(arguments.results)
    played = play_all(tasks_of(arguments), results, arguments.workers)
    results.mkdir(parents=True, exist_ok=True)
    prefix = "agents" if arguments.agents else "runs"
    runs = to_frame(played)
    runs.to_csv(results / f"{prefix}.csv", index=False)
    curves_of(played).to_csv(results / f"{prefix}_curves.csv", index=False)
    (results / f"{prefix}_settings.json").write_text(json.dumps(vars(arguments), indent=1) + "\n", encoding="utf-8")
    console = Console(width=200)
    if arguments.agents:
        console.print(agents_table(played))
        return
    compared = compare(runs, arguments.baseline)
    compared.to_csv(results / "table.csv", index=False)
    console.print(shown(compared, arguments.baseline))


def tasks_of(arguments: argparse.Namespace) -> list[Task]:
    """Every run that was asked for: all methods of a seed before those of the next."""
    variants: Mapping[str, Sequence[str]] = {"agent": AGENT} if arguments.agents else VARIANTS
    names = list(variants) if arguments.agents else arguments.variants
    return [
        Task(
            variant,
            seed,
            game,
            (f"experiment={arguments.experiment}", f"env=procgen/{game}", *variants[variant], *arguments.also),
        )
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for game in arguments.games
        for variant in names
    ]


def curves_of(played: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The returns of the best member in training after each generation, one line for each."""
    import pandas as pd

    columns = ("spent_steps", "train_return", "eval_return")
    return pd.DataFrame(
        [
            {
                "variant": run["variant"],
                "game": run["stratum"],
                "seed": run["seed"],
                **dict(zip(columns, at, strict=True)),
            }
            for run in played
            for at in run["returns"]
        ]
    )


def bootstrapped(strata: Sequence[Array], statistic: Callable[[Sequence[Array]], float]) -> Estimate:
    """A statistic with its 95% interval by the stratified percentile bootstrap: seeds are drawn again in each game."""
    from metapbt.report.statistics import Estimate

    rng = np.random.default_rng(0)
    drawn = [
        statistic([stratum[rng.integers(len(stratum), size=len(stratum))] for stratum in strata])
        for _ in range(RESAMPLES)
    ]
    return Estimate(statistic(strata), *map(float, np.quantile(drawn, [0.025, 0.975])))


def compare(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Of each variant both returns and the gap, and by how much its held-out return is above the baseline's."""
    import pandas as pd

    from metapbt.report.statistics import iqm, mean_of_means, stratified_estimate

    runs = runs.assign(gap=runs["train_return"] - runs["test_return"])
    rows = []
    for variant, own in runs.groupby("variant", sort=False):
        row: dict[str, object] = {"variant": variant, "runs": len(own)}
        for name in (*RETURNS, "gap"):
            found = bootstrapped(strata(own, name), iqm)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
        for name in RETURNS:
            pairs = [] if variant == baseline else differences(runs, baseline, str(variant), name)
            ahead = stratified_estimate(pairs, mean_of_means) if pairs else (math.nan,) * 3
            row |= dict(zip((f"{name}_ahead", f"{name}_ahead_low", f"{name}_ahead_high"), ahead, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def shown(compared: pd.DataFrame, baseline: str) -> Table:
    """The comparison for people."""
    table = Table(title="Procgen, levels of training and held-out levels", box=box.MARKDOWN)
    for column in (
        "method",
        "runs",
        *RETURNS.values(),
        "gap",
        *(f"{name} less {baseline}'s" for name in RETURNS.values()),
    ):
        table.add_column(column, no_wrap=True)
    for row in compared.to_dict("records"):
        table.add_row(
            row["variant"],
            str(row["runs"]),
            *(_interval(row, name, ".2f") for name in (*RETURNS, "gap")),
            *(_interval(row, f"{name}_ahead", "+.2f") for name in RETURNS),
        )
    return table


def agents_table(played: Iterable[Mapping[str, Any]]) -> Table:
    """Of each game and seed, the training and the held-out return after each interval."""
    table = Table(title="One agent: training return / held-out return after so many steps", box=box.MARKDOWN)
    steps = sorted({at[0] for run in played for at in run["returns"]})
    for column in ("game", "seed", *(f"{at:,}" for at in steps), "test return"):
        table.add_column(column, no_wrap=True)
    for run in played:
        known = {at: f"{train:.2f} / {held_out:.2f}" for at, train, held_out in run["returns"]}
        table.add_row(
            run["stratum"], str(run["seed"]), *(known.get(at, "") for at in steps), f"{run['test_return']:.2f}"
        )
    return table


def _interval(row: Mapping[Any, Any], name: str, form: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(value):
        return ""
    return f"{value:{form}}" if math.isnan(low) else f"{value:{form}} [{low:{form}}, {high:{form}}]"


if __name__ == "__main__":
    main()
