"""Returns on levels of training beside those on held-out levels: in the table, as JSON, on the page and in a figure."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from page_data import data_of
from rich.console import Console
from synthetic_results import group_of, make_run, store_runs

from metapbt.history import Ref
from metapbt.report.figures.generalisation import draw_generalisation
from metapbt.report.generalisation import generalisation_curves, generalisation_data, generalisation_json
from metapbt.report.groups import Group, load_groups
from metapbt.report.report import Report, print_report, write_report
from metapbt.store.done import Done

ALL = {"num_levels": 0, "test_num_levels": 0}


def stored(
    results: Path, asked: Mapping[str, object], trained: Sequence[float] = (3.0, 6.0, 9.0), test: float = 5.0
) -> Path:
    """Runs of two methods on Procgen, three seeds each; ``asked`` are keys of ``evaluation``."""
    runs = []
    for method, better in (("pbt", 0.0), ("pb2_mix", 1.0)):
        for seed in range(3):
            info, frame = make_run(
                method, seed, env="procgen", changed={"game": "starpilot"}, scores=[1.0, 2.0, 4.0 + better],
                test_return=test + seed + better,
            )  # fmt: skip
            returns = np.repeat(np.array(trained) + better, 2) - frame["member"]
            runs.append((info, frame.assign(train_return=returns)))
    store_runs(results, runs)
    for file in results.rglob("config.yaml"):
        config = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({**config, "evaluation": {"episodes": 10, "sampled": False, **asked}}))
    return results


def group(results: Path) -> Group:
    (found,) = load_groups(results)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(stored(tmp_path_factory.mktemp("results"), ALL), figures=["curves", "generalisation"])


def test_training_return_held_out_return_and_gap_are_means_over_seeds_of_each_runs_own(tmp_path: Path) -> None:
    data = generalisation_data(group(stored(tmp_path, ALL))).set_index("method")
    assert data.loc["pbt", ["train_return", "held_out_return", "gap", "runs"]].tolist() == [9.0, 6.0, 3.0, 3]
    assert data.loc["pb2_mix", ["train_return", "held_out_return", "gap"]].tolist() == [10.0, 7.0, 3.0]
    half_width = 4.302653 / np.sqrt(3)  # Student's t with two degrees of freedom, deviation 1
    assert data.loc["pbt", ["held_out_return_low", "gap_high"]].tolist() == pytest.approx(
        [6 - half_width, 3 + half_width]
    )
    assert data.loc["pbt", ["trained_on", "tested_on"]].tolist() == ["levels 0 to 199", "all levels"]


def test_the_training_return_is_that_of_the_agent_that_was_tested() -> None:
    info, frame = make_run(scores=[1.0, 2.0, 3.0], test_return=2.0)
    told = replace(info, done=Done(3, 2.0, best=Ref(1, 0)))
    returns = frame.assign(train_return=[5.0, 4.0, 9.0, 8.0, 7.0, 6.0])
    (run,) = group_of([(told, returns)]).runs
    assert run.train_return == 9
    assert run.train_returns.tolist() == [5, 9, 7]
    assert run.levels is None  # a pole has no levels
    told = replace(info, done=Done(3, 2.0, best=Ref(1, 1)))  # chosen by its evaluation
    (run,) = group_of([(told, returns)]).runs
    assert run.train_return == 8


def test_curves_show_the_best_member_in_training_on_both_kinds_of_levels(tmp_path: Path) -> None:
    data = generalisation_curves(group(stored(tmp_path, ALL)))
    pbt = data[data["method"] == "pbt"].set_index("quantity")
    assert pbt.loc["train_return", "mean"].tolist() == [3, 6, 9]
    assert pbt.loc["held_out_return", "mean"].tolist() == [1, 2, 4]
    assert set(pbt["seeds"]) == {3}
    assert pbt.loc["train_return", "env_steps"].tolist() == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("asked", "evaluated", "tested"),
    [
        ({}, None, None),
        ({"num_levels": None, "test_num_levels": None}, None, None),
        ({"num_levels": 200, "start_level": 0}, None, None),  # those of training, in other words
        (ALL, "all levels", "all levels"),
        ({"num_levels": 0}, "all levels", "levels 0 to 199"),
        (
            {"start_level": 200, "num_levels": 1000, "test_start_level": 5000},
            "levels 200 to 1,199",
            "levels 5,000 to 5,199",
        ),
    ],
)
def test_levels_are_told_where_they_are_others_than_those_of_training(
    asked: dict[str, object], evaluated: str | None, tested: str | None, tmp_path: Path
) -> None:
    (levels,) = {run.levels for run in group(stored(tmp_path, asked)).runs}
    if evaluated is None:
        assert levels is None
    else:
        assert levels is not None
        assert (levels.trained, levels.evaluated, levels.tested) == ("levels 0 to 199", evaluated, tested)


def test_a_run_on_other_levels_in_its_test_alone_has_a_row_and_no_curve(tmp_path: Path) -> None:
    found = group(stored(tmp_path, {"test_num_levels": 0}))
    assert len(generalisation_data(found)) == 2
    assert len(generalisation_curves(found)) == 0
    report = write_report(tmp_path, figures=["generalisation"])
    folder = report.page.parent / found.folder
    assert not (folder / "generalisation.png").exists()
    assert "generalisation.csv" in json.dumps(data_of(report.page)[0])


def test_a_run_without_a_test_on_other_levels_has_a_curve_and_no_row(tmp_path: Path) -> None:
    found = group(stored(tmp_path, {"num_levels": 0}))
    assert len(generalisation_data(found)) == 0
    assert len(generalisation_curves(found)) == 12


def test_reports_of_runs_without_held_out_levels_say_nothing_of_them(tmp_path: Path) -> None:
    report = write_report(stored(tmp_path, {}), figures=["curves", "generalisation"])
    assert not list(report.page.parent.rglob("generalisation*"))
    assert "eld-out" not in json.dumps(data_of(report.page)[0])


def test_the_page_shows_the_three_numbers_side_by_side_and_links_their_files(written: Report) -> None:
    (shown,), (section,) = data_of(written.page)[0]["groups"], written.sections
    found = shown["generalisation"]
    row = [shown["methods"][number]["name"] for number in found["m"]].index("pbt")

    def estimate(name: str) -> list[float]:
        return [round(found[f"{name}{end}"][row], 2) for end in ("", "_low", "_high")]

    assert estimate("train_return") == [9.0, 9.0, 9.0]
    assert estimate("held_out_return") == [6.0, 3.52, 8.48]
    assert estimate("gap") == [3.0, 0.52, 5.48]
    assert (found["trained_on"][row], found["tested_on"][row]) == ("levels 0 to 199", "all levels")
    listed = [name for figure in shown["figures"] for name in (f"{figure['name']}.png", *figure["tables"])]
    for file in ("generalisation.png", "generalisation.csv", "generalisation_curves.csv", "generalisation.json"):
        assert (written.page.parent / section.group.folder / file).exists()
        assert file in listed


def test_the_terminal_shows_them_too_and_cuts_nothing(written: Report) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    print_report(written, console)
    (row,) = [line.split("│")[1:-1] for line in console.export_text().splitlines() if "+3.00" in line and "pbt" in line]
    assert [cell.strip() for cell in row][1:] == [
        "pbt",
        "9.00 [9.00, 9.00]",
        "6.00 [3.52, 8.48]",
        "+3.00 [0.52, 5.48]",
        "3",
    ]


def test_json_holds_every_run_with_its_curve_and_no_number_that_json_does_not_know(written: Report) -> None:
    (file,) = written.page.parent.rglob("generalisation.json")
    found = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert [(run["method"], run["seed"], run["gap"]) for run in found["runs"]] == [
        (method, seed, 4.0 - seed) for method in ("pbt", "pb2_mix") for seed in range(3)
    ]
    assert found["runs"][0]["curve"] == {
        "env_steps": [1000, 2000, 3000], "train_return": [3, 6, 9], "held_out_return": [1, 2, 4],
    }  # fmt: skip
    table = pd.read_csv(file.with_suffix(".csv"))
    assert [row["gap"] for row in found["means"]] == table["gap"].tolist() == [3, 3]


def test_an_unfinished_run_has_a_curve_but_no_gap(tmp_path: Path) -> None:
    results = stored(tmp_path, ALL)
    for file in results.rglob("DONE"):
        if "seed_0" in str(file):
            file.unlink()
    found = group(results)
    assert generalisation_data(found)["runs"].tolist() == [2, 2]
    assert set(generalisation_curves(found)["seeds"]) == {3}
    told = json.loads(generalisation_json(found), parse_constant=pytest.fail)
    assert [run["gap"] for run in told["runs"] if run["seed"] == 0] == [None, None]


def test_the_figure_has_a_panel_for_each_method_with_both_curves(tmp_path: Path) -> None:
    found = group(stored(tmp_path, ALL))
    figure = draw_generalisation(generalisation_curves(found))
    assert [axes.get_title() for axes in figure.axes] == found.methods
    solid, dashed = figure.axes[found.methods.index("pbt")].get_lines()
    assert solid.get_ydata().tolist() == [3, 6, 9]
    assert dashed.get_ydata().tolist() == [1, 2, 4]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
