"""What ``metapbt status`` and ``metapbt data`` print."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import make_run, store_runs

from metapbt.history import Context, History, Record
from metapbt.report import overview
from metapbt.store.results import find_runs
from metapbt.store.table import to_table, write_table


def cells(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("show", [overview.print_runs, overview.print_records])
def test_nothing_is_cut_in_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, show: object
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    store_runs(tmp_path, [make_run("meta_pb2", 1, changed={"pole_length": 0.8}, state="stopped", generations=5)])
    show(tmp_path)
    assert "…" not in capsys.readouterr().out


def test_steps_are_written_out_and_single_things_are_not_plural(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overview.print_records(store_runs(tmp_path, [make_run(scores=[1.0], interval=22_000)]))
    printed = capsys.readouterr().out
    assert "cart_pole: 2 records of 1 run on 1 context\n" in printed
    assert ["env_steps", "2", "22,000", "22,000", "22,000"] in cells(printed)
    assert ["hp.learning_rate", "2", "0.001", "0.001", "0.001"] in cells(printed)


def test_the_list_of_runs_quotes_the_test_return_where_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overview.print_runs(store_runs(tmp_path, [make_run(test_return=17.5), make_run(seed=1, scores=[3.0])]))
    rows = cells(capsys.readouterr().out)
    assert [row[1:] for row in rows] == [["done", "3/3", "3,000", "17.50"], ["done", "1/1", "1,000", "3.00"]]


def test_check_counts_runs_and_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_runs(tmp_path, [make_run()])
    assert overview.print_check(tmp_path) == 0
    assert capsys.readouterr().out == "1 run checked, 0 with problems\n"


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_small_numbers_are_exported_with_all_their_digits(tmp_path: Path, ending: str) -> None:
    store_runs(tmp_path, [make_run("pb2", scores=[1.0])])
    (run,) = find_runs(tmp_path)
    asked = [2.8003038233402866e-12, 0.04369167168362814]
    records = [Record(0, m, None, "random", {"x": x}, 10, math.inf, 1.0) for m, x in enumerate(asked)]
    write_table(run.path / "records.parquet", to_table(run.identity, History(tuple(records))))
    assert overview.export(tmp_path, tmp_path / f"all.{ending}") == 0
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending](tmp_path / f"all.{ending}")
    assert read["hp.x"].tolist() == pytest.approx(asked, rel=1e-14)  # pandas reads JSON not to the last digit


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_values_of_several_types_are_exported_together(tmp_path: Path, ending: str) -> None:
    store_runs(tmp_path, [make_run("pb2", seed, scores=[1.0]) for seed in range(2)])
    # A number in one run, a word and a list in the other; a feature that is a number here and a word there.
    for run, values, gravity in zip(find_runs(tmp_path), ([1, 2], ["auto", [64, 64]]), (9.8, "low"), strict=True):
        records = tuple(Record(0, m, None, "random", {"x": value}, 10, 1.0) for m, value in enumerate(values))
        identity = replace(run.identity, context=Context({"gravity": gravity}))
        write_table(run.path / "records.parquet", to_table(identity, History(records)))
    assert overview.export(tmp_path, tmp_path / f"all.{ending}") == 0
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending](tmp_path / f"all.{ending}")
    assert [str(value).strip('"') for value in read["hp.x"]] == ["1", "2", "auto", "[64, 64]"]
    assert [str(value).strip('"') for value in read["context.gravity"]] == ["9.8", "9.8", "low", "low"]
