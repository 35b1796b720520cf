"""What `docs/evidence.md` quotes of trained runs: `benchmarks/evidence.py` and its figure, run as the page says."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import metapbt
from metapbt.config import compose
from metapbt.runs.run import run_config

ROOT = Path(metapbt.__file__).parents[1]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script of ``benchmarks`` as the command line does, and gives what it prints."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")

    def called(script: str, *arguments: str | Path) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
        return capsys.readouterr().out

    return called


def train(results: Path, seed: int, overrides: Sequence[str] = ()) -> metapbt.Run:
    words = ["env=quadratic", "method=pbt", "executor=inline", f"seed={seed}", f"results_dir={results}"]
    budget = ["budget.steps=7", "budget.interval=1", "evaluation.test_episodes=1"]
    return run_config(compose([*words, *budget, *overrides]))


def test_a_line_for_each_run_is_what_its_records_say(tmp_path: Path, call: Callable[..., str]) -> None:
    runs = [train(tmp_path / "runs", seed) for seed in (0, 1)]
    other = [train(tmp_path / "runs", seed, ["name=other", "population.size=3"]) for seed in (0, 1)]
    file = tmp_path / "lines.csv"
    said = call("evidence.py", tmp_path / "runs", file, "--of", "pbt")
    lines = pd.read_csv(file).set_index(["method", "context", "seed"])
    for run in [*runs, *other]:
        line = lines.loc[run.info.name, run.info.context.label, run.info.seed]
        best = run.records.groupby("generation")["train_return"].max()
        assert line["test_return"] == pytest.approx(run.test_return, abs=1e-4)
        assert line["area"] == pytest.approx(best.mean(), abs=1e-4)
        # A fifth of seven intervals is one and two fifths of the second.
        assert line["first_fifth"] == pytest.approx((best[0] + 0.4 * best[1]) / 1.4, abs=1e-4)
        late = run.records.query("generation >= 4")
        assert line["members"] == pytest.approx(late["eval_return"].mean(), abs=1e-4)
    gap = (lines.loc["pbt", "area"] - lines.loc["other", "area"]).mean()
    compared = [row.split() for row in said.splitlines() if row.startswith("| other ")][-1]
    assert compared[3:8:4] == ["2", f"{gap:+.1f}"]


def test_lines_of_the_same_run_are_replaced_and_others_stay(tmp_path: Path, call: Callable[..., str]) -> None:
    file = tmp_path / "lines.csv"
    train(tmp_path / "first", 0)
    train(tmp_path / "first", 1)
    call("evidence.py", tmp_path / "first", file)
    before = pd.read_csv(file)
    run = train(tmp_path / "second", 1, ["budget.steps=3"])
    call("evidence.py", tmp_path / "second", file)
    after = pd.read_csv(file)
    assert after.iloc[0].equals(before.iloc[0])
    assert after.iloc[1]["test_return"] == pytest.approx(run.test_return, abs=1e-4)
    assert len(after) == 2


def test_the_figure_is_drawn_from_what_is_committed(tmp_path: Path, call: Callable[..., str]) -> None:
    call("evidence_figure.py", tmp_path / "evidence.png")
    assert (tmp_path / "evidence.png").read_bytes().startswith(b"\x89PNG")
