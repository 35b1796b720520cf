"""Memory minus each rival on all tasks, as one figure, from the lines of `benchmarks/evidence.py`.

python benchmarks/evidence_figure.py docs/images/evidence.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from bg_pbt_runs import differences
from evidence import estimate
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

RECORDS = Path(__file__).parent / "records"
TASKS = {
    "cart_pole": "cart-pole",
    "lander": "lander",
    "mountain_car": "mountain car",
    "walker": "bipedal walker",
    "double_pendulum": "double pendulum",
}
RIVALS = {
    "pb2_transfer": "PB2, start=transfer",
    "pb2": "PB2",
    "mf_pbt": "MF-PBT",
    "gpbt_pl": "GPBT-PL",
    "pbt": "PBT",
    "random": "random search",
    "zoo_4": "four agents, RL Zoo",
    "zoo": "one agent, RL Zoo",
    "default": "defaults",
    "ipbt": "IPBT",
}
MEASURES = {"first_fifth": "first fifth of the run", "area": "over the run", "test_return": "at the end"}
COLOURS = dict(zip(MEASURES, ("#0072b2", "#009e73", "#d55e00"), strict=True))
WIDEST = 1.2  # times the farthest end of an interval of the rivals that matter most
MATTER = ("pb2_transfer", "pb2")


class Difference(NamedTuple):
    """By how much memory is ahead of a rival, in points of return: the mean of pairs with its 95% interval.

    ``low`` and ``high`` are NaN where one seed leaves no interval.
    """

    rival: str
    measure: str
    mean: float
    low: float
    high: float


def read(file: Path) -> list[Difference]:
    """Memory minus each rival that has been trained."""
    runs = pd.read_csv(file).rename(columns={"method": "variant", "context": "stratum"})
    found = []
    for rival in RIVALS:
        for measure in MEASURES if (runs["variant"] == rival).any() else ():
            ahead = estimate(differences(runs, rival, "meta_pb2", measure))
            if ahead is not None:
                found.append(Difference(rival, measure, *ahead))
    return found


def draw(axes: Axes, found: list[Difference]) -> None:
    """A row for each rival, a mark for each measure; of what lies beyond the panel the number."""
    axes.axvline(0, color="black", linewidth=0.8)
    matter = [each for each in found if each.rival in MATTER]
    ends = [end for each in matter for end in (each.low, each.mean, each.high) if not math.isnan(end)]
    left, right = WIDEST * min(*ends, 0.0), WIDEST * max(*ends, 0.0)
    left, right = min(left, -0.2 * right), max(right, -0.2 * left)
    rows, measures = list(RIVALS), list(MEASURES)
    for each in found:
        height = rows.index(each.rival) + 0.22 * (measures.index(each.measure) - 1)
        colour = COLOURS[each.measure]
        if not left <= each.mean <= right:
            edge, side, said = (right, "right", "{:+.0f} ▸") if each.mean > right else (left, "left", "◂ {:+.0f}")
            said = said.format(each.mean)
            axes.annotate(said, (edge, height), ha=side, va="center", color=colour, fontsize=6.5)
            continue
        axes.plot([each.low, each.high], [height, height], color=colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(each.mean, height, "o", color=colour, markersize=4)
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(RIVALS.values()))
    axes.tick_params(axis="y", length=0)
    for row in range(0, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", type=Path, help="where it goes, such as docs/images/evidence.png")
    arguments = parser.parse_args()
    files = {title: RECORDS / f"evidence_{task}.csv" for task, title in TASKS.items()}
    files = {title: file for title, file in files.items() if file.exists()}
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, len(files), sharey=True, figsize=(10, 4), layout="constrained", squeeze=False)
        for axes, (title, file) in zip(panels[0], files.items(), strict=True):
            found = read(file)
            draw(axes, found)
            one_seed = all(math.isnan(each.low) for each in found)
            axes.set_title(f"{title}, one seed" if one_seed else title, fontsize=9)
        figure.supxlabel("points of return by which meta_pb2 is ahead (mean of pairs, 95% interval)", fontsize=8)
        marks = [
            Line2D([], [], color=COLOURS[name], marker="o", markersize=4, label=said) for name, said in MEASURES.items()
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(arguments.figure, dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
