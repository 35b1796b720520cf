"""The report as a whole: real run directories in, files and a page out."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import escape
from page_data import data_of
from rich.console import Console
from synthetic_results import SyntheticRun, make_run, realistic_runs, store_runs

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.report.report import Report, print_report, write_report
from metapbt.report.wording import format_estimate
from metapbt.store import results

DRAWN = {
    "cart_pole/pole_length": {
        "curves", "final", "area", "heatmap", "comparison", "thresholds", "profiles", "improvement", "efficiency",
    },
    "lunar_lander/gravity_y,leg_height": {"curves", "final", "area"},
    "mountain_car/default": {"curves", "final", "area"},
}  # fmt: skip
TABLES = DRAWN["cart_pole/pole_length"] | {"final_runs", "lineage", "schedules"}


def runs_of_the_report() -> list[SyntheticRun]:
    several = {"gravity_y": -5.0, "leg_height": 16.0}
    runs = [
        *realistic_runs(contexts=4, seeds=3, generations=4),
        make_run("pb2", env="lunar_lander", changed=several),
        make_run("<i>mine", env="mountain_car"),
    ]
    # The best agents are the first ones, so their schedules have nothing to show.
    return [
        (info, records.assign(train_return=records["train_return"] - 1000 * records["generation"]))
        for info, records in runs
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Report:
    results = store_runs(tmp_path_factory.mktemp("results"), runs_of_the_report())
    report = write_report(results)
    assert report.page == results / "report" / "index.html"
    return report


@pytest.fixture(scope="module")
def report(written: Report) -> Path:
    """The folder of the report."""
    return written.page.parent


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    """The page's HTML."""
    return (report / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def overview(report: Path) -> dict[str, Any]:
    """What the page is drawn from."""
    return data_of(report / "index.html")[0]


def test_every_group_has_every_figure_that_says_something_and_all_numbers(report: Path) -> None:
    files = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    drawn = {
        f"{folder}/{name}.{end}" for folder, names in DRAWN.items() for name in names for end in ("png", "pdf", "svg")
    }
    tables = {f"{folder}/{name}.csv" for folder in DRAWN for name in TABLES}
    assert files == {"index.html", "verdict.json"} | drawn | tables


def test_csv_files_hold_the_numbers_and_whole_numbers_stay_whole(report: Path) -> None:
    runs = pd.read_csv(report / "cart_pole/pole_length/final_runs.csv", dtype=str, keep_default_na=False)
    assert set(runs["env_steps"]) == {"", "10000", "20000", "40000"}
    curves = pd.read_csv(report / "lunar_lander/gravity_y,leg_height/curves.csv")
    assert curves[["env_steps", "mean", "seeds"]].to_numpy().tolist() == [
        [1000, 10, 1],
        [2000, 20, 1],
        [3000, 30, 1],
    ]


def test_the_page_links_every_file(report: Path, overview: dict[str, Any]) -> None:
    files = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    linked = set()
    for group in overview["groups"]:
        for figure in group["figures"]:
            endings = [] if figure["left_out"] else ["png", "pdf", "svg"]
            names = [*figure["tables"], *(f"{figure['name']}.{ending}" for ending in endings)]
            linked |= {f"{group['folder']}/{name}" for name in names}
    assert linked | {"index.html", "verdict.json"} == files


def test_nothing_names_a_place_on_this_machine(report: Path) -> None:
    for path in report.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(report.parent).encode() not in content
            assert b"/tmp" not in content or path.suffix in (".png", ".pdf")


def test_missing_and_unfinished_runs_are_told(overview: dict[str, Any]) -> None:
    group = overview["groups"][0]
    assert group["states"] == [["done", 21], ["stopped", 1], ["failed", 1]]
    assert group["missing"] == [{"method": "default", "contexts": "0.6 (×1.2)", "seeds": "2"}]
    assert {"2 of 3 seeds", "2 of 3 seeds finished"} <= set(group["final"]["status"])


def test_names_are_escaped(page: str, overview: dict[str, Any]) -> None:
    assert "<i>mine" not in page
    assert "&lt;i&gt;mine alone" in page
    assert "<i>mine" in [run["method"] for run in overview["runs"]]


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(report: Path, tmp_path: Path) -> None:
    runs = [run for run in runs_of_the_report() if run[0].env == "cart_pole"]
    again = write_report(store_runs(tmp_path / "results", runs), tmp_path / "again").page.parent
    compared = [path for path in (report / "cart_pole").rglob("*") if path.is_file()]
    assert len(compared) == 39
    for path in compared:
        assert path.read_bytes() == (again / path.relative_to(report)).read_bytes(), path.name


def printed(report: Report, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_report(report, console)
    return console.export_text()


def test_the_terminal_ends_with_the_verdict_and_where_the_page_is_which_no_table_pushes_off_it(written: Report) -> None:
    lines = printed(written, 200).splitlines()
    assert lines[0].strip() == "Final returns"
    (title,) = (place for place, line in enumerate(lines) if line == "cart_pole, pole_length (sb3)")
    assert lines[title + 1].startswith("memory (meta_pb2 against pb2): ")
    assert not any(line.startswith("│") for line in lines[title:])
    assert lines[-1] == str(written.page)
    text = " ".join(lines)
    for words in ("2 of 3 seeds finished: no interval", "1 seed: no interval", "3 seeds", "0.1 (×0.2) (source)"):
        assert words in text


def test_terminal_and_page_say_the_same_verdict_and_the_page_begins_with_it(written: Report, page: str) -> None:
    for section in written.sections:
        for sentence in section.sentences:
            assert sentence in printed(written, 1000)
            assert page.index(str(escape(sentence))) < page.index("How to read this")


@pytest.mark.parametrize("width", [40, 80])
def test_nothing_is_cut_in_a_narrow_terminal(written: Report, width: int) -> None:
    assert "…" not in printed(written, width)


@pytest.mark.parametrize("make", [True, False])
def test_a_directory_without_runs_is_named_in_one_line(tmp_path: Path, make: bool) -> None:
    results = tmp_path / "nothing"
    if make:
        results.mkdir()
    with pytest.raises(
        MetapbtError, match=r"no runs found in .*nothing" if make else "nothing is no directory"
    ) as error:
        write_report(results)
    assert "\n" not in str(error.value)


def test_runs_without_a_generation_are_an_error_that_counts_them(tmp_path: Path) -> None:
    store_runs(tmp_path, [make_run(scores=[], generations=2, state="stopped")])
    with pytest.raises(MetapbtError, match="none of its 1 runs finished a generation"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((123.4, 118.0, 131.9), "123 [118, 132]"),
        ((-12.34, -20.0, 3.21), "−12.3 [−20.0, 3.2]"),
        ((1250.0, 1100.0, 1400.0), "1250 [1100, 1400]"),
        ((0.5, float("nan"), float("nan")), "0.500"),
        ((0.0, 0.0, 0.0), "0 [0, 0]"),
        ((float("nan"),) * 3, "–"),
    ],
)
def test_estimates_have_three_digits_and_an_interval_where_there_is_one(
    estimate: tuple[float, float, float], text: str
) -> None:
    assert format_estimate(*estimate) == text


def test_every_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    store_runs(tmp_path, [make_run(seed=seed) for seed in range(3)])
    read: list[str] = []
    original = results.read_table

    def counted(path: Path) -> object:
        read.append(path.as_posix())
        return original(path)

    monkeypatch.setattr(results, "read_table", counted)
    assert main(["report", str(tmp_path), "--figures", "schedules"]) == 0
    assert len(read) == len(set(read)) == 3


def test_the_same_verdict_stands_in_json(tmp_path: Path, written: Report, capsys: pytest.CaptureFixture) -> None:
    results = written.page.parent.parent
    assert main(["report", str(results), "--json", "--out", str(tmp_path), "--figures", "lineage"]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "verdict.json").read_text(encoding="utf-8")
    said = [[verdict["sentence"] for verdict in group["verdicts"]] for group in json.loads(text)["groups"]]
    assert said == [[verdict.sentence for verdict in section.verdicts] for section in written.sections]


def test_any_method_may_be_the_baseline_and_an_unknown_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store_runs(tmp_path, [make_run(name, seed) for name in ("pbt", "pb2") for seed in range(3)])
    assert main(["report", str(tmp_path), "--baseline", "pb2", "--figures", "lineage"]) == 0
    assert "pbt against pb2: all pairs are equal" in capsys.readouterr().out
    assert main(["report", str(tmp_path), "--baseline", "pbtt"]) == 1
    assert capsys.readouterr().err == (
        "metapbt: error: unknown baseline 'pbtt'; did you mean 'pbt'? (known: pb2, pbt)\n"
    )


def a_run(results: Path, *more: str) -> None:
    asked = ["env=quadratic", "method=pbt", "budget.steps=12", "budget.interval=4", "executor=inline"]
    metapbt.run([*asked, f"results_dir={results}", *more])


def test_runs_of_other_settings_are_never_one_mean_unsaid(tmp_path: Path) -> None:
    for seed in (1, 2):
        a_run(tmp_path / "a", f"seed={seed}")
    assert "Note:" not in printed(write_report(tmp_path, figures=["lineage"]), 200)
    a_run(tmp_path / "b", "seed=3", "space.learning_rate.high=0.05", "evaluation.episodes=2")
    said = printed(write_report(tmp_path, figures=["lineage"]), 300)
    assert (
        "Note: pbt on default: seeds 1 and 3 were trained with different settings, evaluation.episodes (1 and 2); "
        "space.learning_rate.high (0.1 and 0.05), but are averaged together; name=LABEL separates them." in said
    )
    a_run(tmp_path / "c", "seed=1")
    assert "is left out: " in printed(write_report(tmp_path, figures=["lineage"]), 300)


@pytest.mark.slow
def test_no_figure_of_an_earlier_report_stays_beside_the_new_numbers(tmp_path: Path) -> None:
    for seed in (0, 1):
        for method in ("pbt", "random"):
            a_run(tmp_path, f"seed={seed}", f"method={method}")
    both = ["curves", "comparison"]
    folder = write_report(tmp_path, figures=both).page.parent / "quadratic" / "default"
    assert {path.name for path in folder.glob("comparison.*")} == {
        f"comparison.{s}" for s in ("csv", "pdf", "png", "svg")
    }
    (folder / "mine.pdf").touch()
    shutil.rmtree(next(tmp_path.rglob("random")))
    write_report(tmp_path, figures=["curves"])  # what is not chosen is left as it is
    assert (folder / "comparison.pdf").exists()
    write_report(tmp_path, figures=both)
    assert not (folder / "comparison.pdf").exists()
    assert (folder / "mine.pdf").exists()
    assert (folder / "curves.pdf").exists()
