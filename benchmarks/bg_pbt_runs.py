"""Runs of variants of a method, beside one another: trained once, kept, compared in pairs of the same seed.

The benchmarks of BG-PBT share this. Every run is one of ``metapbt run``, in a directory of its own, so that a study
that was stopped goes on where it was: finished runs are read, unfinished ones go on. The table and what it is made of
are written beside the runs: ``runs.csv`` (one line for each run), ``curves.csv`` (the best return so far over all
steps that a run had trained) and ``table.csv``.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from metapbt.report.statistics import Estimate

#: With fewer strata the interval of an interquartile mean does not hold; then means are compared.
FEWEST_STRATA_OF_IQM = 3


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        variant: the name of what is compared.
        seed: of the run; runs of the same seed are a pair.
        stratum: what it was trained on: runs of one are resampled among themselves.
        overrides: as on the command line.
    """

    variant: str
    seed: int
    stratum: str
    overrides: tuple[str, ...]


def play_all(tasks: Sequence[Task], results: Path, workers: int) -> list[dict[str, Any]]:
    """Train what is not trained yet, one run to a core, and say what came out; who failed ends it, once all have ended.

    It is a study (docs/studies.md) of one group.
    """
    from metapbt.study.local import run_study
    from metapbt.study.study import Group, Study, planned

    runs = planned("", [_overrides(task, results) for task in tasks])
    again = shlex.join(["python", *sys.argv])
    wrong = run_study(Study(results.name, results, (Group("", (), runs),)), again, workers)
    if wrong:
        for run, error in wrong.items():
            print(f"{run.title}: {error}", file=sys.stderr)
        raise SystemExit(f"{len(wrong)} of {len(runs)} runs failed; again: {again}")
    return [outcome(task, run.path) for task, run in zip(tasks, runs, strict=True)]


def _overrides(task: Task, results: Path) -> list[str]:
    asked = [*task.overrides, f"seed={task.seed}", f"name={task.variant}", f"results_dir={results}", "executor=inline"]
    return list({override.partition("=")[0]: override for override in asked}.values())  # the last of each key


def outcome(task: Task, path: Path) -> dict[str, Any]:
    """What came out of a finished run."""
    import metapbt

    run = metapbt.load(path)
    history, records = run.history, run.records
    spent = records.groupby("generation")["spent_steps"].max()
    reached = records.groupby("generation")[history.metric].max().cummax()
    return {
        "variant": task.variant,
        "seed": task.seed,
        "stratum": task.stratum,
        "test_return": run.test_return,
        "train_return": history.best().train_return,
        "area_so_far": float(reached.mean()),  # under the curve of the best return so far
        "spent_steps": int(spent.iloc[-1]),
        "env_steps": max(record.env_steps for record in history.latest),
        "generations": history.generations,
        "restarts": int(records["restart"].sum()),
        "path": run.path.as_posix(),
        "curve": [(int(s), float(r)) for s, r in zip(spent, reached, strict=True)],
        "returns": [
            (int(s), (best := history.best_of(int(generation))).train_return, best.eval_return)
            for generation, s in spent.items()
        ],
    }


def to_frame(played: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One line for each run, without its curves."""
    import pandas as pd

    return pd.DataFrame([{k: v for k, v in run.items() if k not in ("curve", "returns")} for run in played])


def estimate(strata: Sequence[np.ndarray]) -> Estimate:
    """The interquartile mean with its interval, the strata held fixed; of fewer than three strata the mean.

    Strata with a run each say nothing of seeds: then all runs are one stratum.
    """
    from metapbt.report.statistics import iqm, mean_of_means, stratified_estimate

    if all(len(stratum) == 1 for stratum in strata):
        strata = [np.concatenate(strata)]
    return stratified_estimate(strata, iqm if len(strata) >= FEWEST_STRATA_OF_IQM else mean_of_means)


def strata(runs: pd.DataFrame, quantity: str = "test_return") -> list[np.ndarray]:
    """A quantity of the runs on each stratum."""
    return [own[quantity].to_numpy(dtype=np.float64) for _, own in runs.groupby("stratum")]


def differences(runs: pd.DataFrame, variant: str, baseline: str, quantity: str = "test_return") -> list[np.ndarray]:
    """Of each stratum, the baseline's returns minus the variant's, over the seeds that both have."""
    both = runs[runs["variant"] == baseline].merge(
        runs[runs["variant"] == variant], on=["stratum", "seed"], suffixes=("", "_other")
    )
    return [
        (rows[quantity] - rows[f"{quantity}_other"]).to_numpy(dtype=np.float64) for _, rows in both.groupby("stratum")
    ]


def compare(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Of each variant, its test return, by how much the baseline is ahead of it, and in how many pairs."""
    import pandas as pd

    rows = []
    for variant in dict.fromkeys(runs["variant"]):
        own = runs[runs["variant"] == variant]
        value = estimate(strata(own))
        gaps = differences(runs, variant, baseline) if variant != baseline else []
        ahead = estimate(gaps) if gaps else (math.nan, math.nan, math.nan)
        rows.append(
            {
                "variant": variant,
                "runs": len(own),
                **dict(zip(("test_return", "low", "high"), value, strict=True)),
                **dict(zip(("ahead", "ahead_low", "ahead_high"), ahead, strict=True)),
                "won": float(np.mean(np.concatenate(gaps) > 0)) if gaps else math.nan,
                "spent_steps": own["spent_steps"].mean(),
                "env_steps": own["env_steps"].mean(),
                "restarts": own["restarts"].mean(),
            }
        )
    return pd.DataFrame(rows)


def shown(compared: pd.DataFrame, baseline: str, title: str, digits: int) -> Table:
    """The comparison for people."""
    table = Table(title=title, box=box.MARKDOWN)
    for column in (
        "variant",
        "runs",
        "test return",
        f"{baseline} is ahead by",
        "in pairs",
        "steps of a member",
        "born",
    ):
        table.add_column(column, no_wrap=True)
    for row in compared.itertuples():
        ahead = f"{row.ahead:+.{digits}f} [{row.ahead_low:+.{digits}f}, {row.ahead_high:+.{digits}f}]"
        table.add_row(
            str(row.variant),
            str(row.runs),
            f"{row.test_return:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]",
            "" if math.isnan(row.ahead) else ahead,
            "" if math.isnan(row.won) else f"{row.won:.0%}",
            f"{row.env_steps:,.0f}",
            f"{row.restarts:.0f}",
        )
    return table


def study(tasks: Sequence[Task], arguments: argparse.Namespace, baseline: str, title: str, digits: int) -> None:
    """Train what is missing, write the data and show the table."""
    results = Path(arguments.results)
    played = play_all(tasks, results, arguments.workers)
    runs = to_frame(played)
    compared = compare(runs, baseline)
    results.mkdir(parents=True, exist_ok=True)
    runs.to_csv(results / "runs.csv", index=False)
    compared.to_csv(results / "table.csv", index=False)
    with (results / "curves.csv").open("w", encoding="utf-8") as file:
        file.write("variant,seed,spent_steps,best_return\n")
        for run in played:
            file.writelines(f"{run['variant']},{run['seed']},{steps},{value!r}\n" for steps, value in run["curve"])
    (results / "settings.json").write_text(json.dumps(vars(arguments), indent=1) + "\n", encoding="utf-8")
    Console(width=200).print(shown(compared, baseline, title, digits))


def arguments_of(
    description: str | None, seeds: int, variants: Mapping[str, Sequence[str]], results: str
) -> argparse.ArgumentParser:
    """What both studies may be asked for."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=seeds, help=f"runs of each variant ({seeds})")
    parser.add_argument("--variants", nargs="+", choices=variants, default=list(variants), metavar="VARIANT")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one core each (2)")
    parser.add_argument("--results", default=results, help=f"where the runs are kept ({results})")
    parser.add_argument("--also", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of every run")
    return parser
