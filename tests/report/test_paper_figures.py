"""Figures for a paper: as wide as asked, text of 8 points, no titles; and what is left out."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from page_data import data_of
from PIL import Image
from synthetic_results import SyntheticRun, make_run, realistic_runs, store_runs

from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.report import figures
from metapbt.report.catalogue import CATALOGUE
from metapbt.report.figures.style import inches
from metapbt.report.report import write_report

WIDTH = 5.5


def with_copies(runs: list[SyntheticRun]) -> list[SyntheticRun]:
    """Member 0 copies member 1 in each second generation; hyperparameters are those of the run and generation."""
    changed = []
    for info, frame in runs:
        copies = (frame["member"] == 0) & (frame["generation"] % 2 == 1)
        rate = 10.0 ** -(2 + info.seed + frame["generation"] % 3)
        changed.append(
            (info, frame.assign(parent=np.where(copies, 1, None), **{"hp.learning_rate": rate, "hp.gamma": 0.99}))
        )
    return changed


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = with_copies(realistic_runs(contexts=6, seeds=3, generations=4))
    results = store_runs(tmp_path_factory.mktemp("results"), runs)
    page = write_report(results, width=WIDTH).page
    return page.parent / "cart_pole" / "pole_length"


DRAWN = [name for name in CATALOGUE if name != "generalisation"]


@pytest.mark.parametrize("name", DRAWN)
def test_files_are_as_wide_as_asked(written: Path, name: str) -> None:
    svg = ET.parse(written / f"{name}.svg").getroot()
    assert svg.attrib["width"] == f"{WIDTH * 72:g}pt"
    pdf = (written / f"{name}.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(WIDTH * 72)
    with Image.open(written / f"{name}.png") as image:
        assert image.width == WIDTH * 150
        assert len(image.convert("L").getcolors()) > 20  # not an empty axis


@pytest.mark.parametrize("name", DRAWN)
def test_all_text_has_eight_points(written: Path, name: str) -> None:
    sizes = set()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", (written / f"{name}.pdf").read_bytes(), re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        sizes |= {float(size) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", content)}
    assert sizes - {5.6} == {8}  # exponents such as 10^-3 are seven tenths of it


def read(folder: Path, name: str) -> list[pd.DataFrame]:
    entry = CATALOGUE[name]
    return [pd.read_csv(folder / f"{table}.csv") for table in list(entry.tables)[: entry.drawn_from]]


@pytest.mark.parametrize("name", DRAWN)
def test_a_function_draws_each_from_its_table(written: Path, name: str) -> None:
    draw = getattr(figures, f"draw_{name}")
    before = dict(mpl.rcParams)
    figure = draw(*read(written, name), width=WIDTH)
    assert dict(mpl.rcParams) == before
    assert figure.get_figwidth() == WIDTH
    assert figure.get_suptitle() == ""
    drawn = figure.get_tightbbox()
    assert 0 <= drawn.x0 < drawn.x1 <= WIDTH
    assert 0 <= drawn.y0 < drawn.y1 <= figure.get_figheight()
    assert figure.axes


def test_everything_public_is_in_the_catalogue() -> None:
    assert {name.removeprefix("draw_") for name in figures.__all__} == set(CATALOGUE)


def test_the_lineage_is_that_of_the_best_agent(written: Path) -> None:
    data = pd.read_csv(written / "lineage.csv")
    best = data[data["best_lineage"]]
    assert best["generation"].tolist() == list(range(len(best)))
    # Of two members the second has a training return that is 1 lower, and an evaluation that is 5 higher.
    assert best["member"].iloc[-1] == data["member"].max() == 1
    assert best["return"].iloc[-1] == data["return"].max() - 1
    assert set(data["kind"]) == {"start", "continue", "copy"}
    schedule = pd.read_csv(written / "schedules.csv")
    for name in ("context", "method", "seed"):
        schedule = schedule[schedule[name] == best[name].iloc[0]]
    rates = schedule[schedule["hyperparameter"] == "learning_rate"]
    assert rates["env_steps"].tolist() == best["env_steps"].tolist()
    seed = best["seed"].iloc[0]
    assert rates["value"].tolist() == pytest.approx([10.0 ** -(2 + seed + g % 3) for g in best["generation"]])


def test_an_unknown_context_of_schedules_is_named(written: Path) -> None:
    (data,) = read(written, "schedules")
    with pytest.raises(MetapbtError, match="unknown context '0.5'"):
        figures.draw_schedules(data, context="0.5")


def test_steps_to_a_threshold_count_runs_that_never_reach_it(tmp_path: Path) -> None:
    runs = [make_run("pbt", seed, scores=[0.0, 10, 100.0]) for seed in range(2)]
    runs += [make_run("pb2", seed, scores=[0.0, 60, 70.0]) for seed in range(2)]
    store_runs(tmp_path, runs)
    assert main(["report", str(tmp_path), "--figures", "thresholds", "--threshold", "80"]) == 0
    data = pd.read_csv(tmp_path / "report/cart_pole/default/thresholds.csv")
    assert data["threshold"].tolist() == [80] * 4
    assert data.set_index("method")["reached"].to_dict() == {"pbt": True, "pb2": False}
    assert data["steps_to_threshold"].dropna().tolist() == [3000, 3000]


def test_only_the_figures_asked_for_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store_runs(tmp_path, [make_run(name, scores=[1.0, n]) for n, name in enumerate(("pbt", "pb2"))])
    assert main(["report", str(tmp_path), "--figures", "curves", "final", "--width", "8.5cm"]) == 0
    folder = tmp_path / "report/cart_pole/default"
    assert {path.stem for path in folder.glob("*.svg")} == {"curves", "final"}
    assert float(ET.parse(folder / "curves.svg").getroot().attrib["width"][:-2]) == pytest.approx(8.5 / 2.54 * 72, 1e-5)
    capsys.readouterr()
    assert main(["report", str(tmp_path), "--figures", "curve"]) == 1
    assert "unknown figure 'curve'; did you mean 'curves'?" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("5.5in", 5.5), ("14 cm", 5.5118), ("140mm", 5.5118), ("397.48pt", 5.5)])
def test_widths_have_a_unit(text: str, value: float) -> None:
    assert inches(text) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("text", ["5.5", "wide", "5.5em", "1in", "-3in", "1e9in"])
def test_other_widths_are_refused_in_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(tmp_path), f"--width={text}"]) == 1
    assert re.fullmatch(r"metapbt: error: a width must be .*\n", capsys.readouterr().err)


def test_figures_that_would_say_nothing_are_left_out_and_the_page_says_why(tmp_path: Path) -> None:
    equal = [make_run(name, seed, scores=[500.0, 500.0]) for name in ("pbt", "pb2") for seed in range(3)]
    report = write_report(store_runs(tmp_path, equal))
    left_out = {text.name: text.left_out for text in report.sections[0].figures if text.left_out}
    assert left_out["final"] == left_out["area"] == "all runs are equal, at 500"
    assert left_out["comparison"] == "all runs of all methods score the same"
    assert left_out["thresholds"] == "no context has finished runs of two methods whose scores changed"
    assert left_out["improvement"] == "all runs of all methods score the same"
    assert left_out["heatmap"] == left_out["efficiency"] == "there is one context, and the learning curves show it"
    assert left_out["lineage"] == "no member copied another"
    folder = report.page.parent / "cart_pole/default"
    for name in left_out:
        assert not (folder / f"{name}.png").exists()
        assert (folder / f"{name}.csv").exists()
    shown = {figure["name"]: figure["left_out"] for figure in data_of(report.page)[0]["groups"][0]["figures"]}
    assert {name: why for name, why in shown.items() if why} == left_out
    verdict = json.loads((report.page.parent / "verdict.json").read_text())["groups"][0]["verdicts"][0]
    assert verdict["sentence"].endswith("all end at the maximum of 500 that any run reached.")


# --- docs/figures.md

PAGE = Path(__file__).parents[2] / "docs" / "figures.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_about_figures_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [
        make_run(name, seed, changed={"pole_length": length}, scores=[1.0, seed + n, 480.0 + n])
        for length in (0.8, 1.1)
        for seed in range(2)
        for n, name in enumerate(("random", "pbt", "pb2"))
    ]
    store_runs(tmp_path / "results", with_copies(runs))
    (commands,) = blocks("bash")
    for line in commands.splitlines():
        command = shlex.split(line, comments=True)[1:]
        few = [] if "--figures" in command else ["--figures", "curves"]  # all of them are drawn above
        assert main([*command, *few]) == 0, line
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(code, names)
    assert (tmp_path / "curves.pdf").exists()
    assert (tmp_path / "paper/cart_pole/pole_length/improvement.svg").exists()
    assert list(names["curves"]["method"].unique()) == ["random", "pbt", "pb2"]


def test_the_page_lists_every_figure_with_its_tables() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| `draw_(\w+)\((.*)\)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: tables.split(", ") for name, same, tables in rows if name == same} == {
        name: list(entry.tables)[: entry.drawn_from] for name, entry in CATALOGUE.items()
    }
