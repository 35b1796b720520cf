"""What runs of a study came to, a line for each, kept from one session to the next and compared in pairs.

    metapbt study benchmarks/evidence_mountain_car.yaml 'seed=range(0,4)'
    python benchmarks/evidence.py results/evidence_mountain_car benchmarks/records/evidence_mountain_car.csv
    python benchmarks/evidence.py --of meta_pb2 benchmarks/records/evidence_mountain_car.csv   # the tables alone

Finished runs below the folder take the place of the lines of the same method, context and seed; all others stay.
``area`` and ``first_fifth`` are means over the steps of the run, and over the first fifth of them, of the best member's
training return in each interval (all that was trained counts, also who was screened out; an interval within which the
fifth ends counts in part), ``members`` is the mean of all members' evaluations over the last three intervals.
Differences are of runs on the same context with the same seed, means with 95% intervals over seeds
(`metapbt.report.statistics`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bg_pbt_runs import differences, strata
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.report.statistics import Estimate, mean_of_means, stratified_estimate

KEYS = ["method", "context", "seed"]
QUANTITIES = ("test_return", "area", "first_fifth", "members")
LATE = 3  # intervals


def lines(results: Path) -> pd.DataFrame:
    """A line for each finished run below a folder."""
    import metapbt
    from metapbt.store.results import find_runs

    found = []
    for each in find_runs(results):
        run = metapbt.load(each.path)
        if run.test_return is None:
            continue
        records = run.records
        generations = records.groupby("generation")
        best, ends = generations["train_return"].max(), generations["spent_steps"].max()
        steps = ends.diff().fillna(ends)  # of each interval
        early = (ends.max() / 5 - (ends - steps)).clip(0, steps)  # of those in the first fifth
        late = records[records["generation"] > records["generation"].max() - LATE]
        found.append(
            {
                "method": run.path.parent.name,
                "context": run.path.parent.parent.name,
                "seed": int(run.path.name.removeprefix("seed_")),
                "test_return": run.test_return,
                "area": _mean(best, steps),
                "first_fifth": _mean(best[early > 0], early),
                "members": late["eval_return"].mean(),
            }
        )
    return pd.DataFrame(found, columns=[*KEYS, *QUANTITIES])


def _mean(returns: pd.Series, weights: pd.Series) -> float:
    known = returns.dropna()
    return float(np.average(known, weights=weights[known.index])) if len(known) else np.nan


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Both, in order; new lines take the place of old ones of the same run."""
    both = pd.concat([old, new]).drop_duplicates(KEYS, keep="last")
    return both.sort_values(KEYS, ignore_index=True).astype(dict.fromkeys(QUANTITIES, float)).round(4)


def means(runs: pd.DataFrame) -> Table:
    """Means of each method, every context with the same weight."""
    table = Table(box=box.MARKDOWN)
    for column in ("method", "runs", *QUANTITIES):
        table.add_column(column, no_wrap=True)
    for method, own in runs.groupby("variant"):
        values = [f"{mean_of_means(strata(own, quantity)):.1f}" for quantity in QUANTITIES]
        table.add_row(str(method), str(len(own)), *values)
    return table


def compared(runs: pd.DataFrame, method: str) -> Table:
    """By how much a method is ahead of each of the others, in pairs."""
    table = Table(box=box.MARKDOWN)
    for column in (f"{method} less", "pairs", *QUANTITIES):
        table.add_column(column, no_wrap=True)
    for other in sorted(set(runs["variant"]) - {method}):
        gaps = {quantity: differences(runs, other, method, quantity) for quantity in QUANTITIES}
        pairs = sum(map(len, gaps["test_return"]))
        table.add_row(other, str(pairs), *map(interval, gaps.values()))
    return table


def estimate(gaps: Sequence[np.ndarray]) -> Estimate | None:
    """The mean of differences on each context, with its 95% interval over seeds; None where no difference is known."""
    known = [gap[~np.isnan(gap)] for gap in gaps]
    known = [gap for gap in known if len(gap)]
    return stratified_estimate(known, mean_of_means) if known else None


def interval(gaps: Sequence[np.ndarray]) -> str:
    """The mean of differences, with its interval where several seeds tell one."""
    found = estimate(gaps)
    if found is None:
        return ""
    value, low, high = found
    return f"{value:+.1f}" if np.isnan(low) else f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("lines", type=Path, help="the CSV file of a line for each run")
    parser.add_argument("--of", default="meta_pb2", metavar="METHOD", help="who is compared with all others (meta_pb2)")
    arguments = parser.parse_args()
    runs = pd.read_csv(arguments.lines) if arguments.lines.exists() else pd.DataFrame(columns=[*KEYS, *QUANTITIES])
    if arguments.results:
        runs = merged(runs, pd.concat([lines(results) for results in arguments.results]))
        runs.to_csv(arguments.lines, index=False)
    runs = runs.rename(columns={"method": "variant", "context": "stratum"})
    console = Console(width=200)
    console.print(means(runs))
    console.print(compared(runs, arguments.of))


if __name__ == "__main__":
    main()
