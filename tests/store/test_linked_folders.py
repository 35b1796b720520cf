"""Results of which a part lies elsewhere, behind a link: it is there for every reader, once."""

from __future__ import annotations

from pathlib import Path

import pytest

import metapbt
from metapbt.cli import main
from metapbt.store import find_runs


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, one of them on another disk."""
    monkeypatch.chdir(tmp_path)
    for folder in ("results", "disk/sources"):
        asked = ["env=quadratic", "method=pbt", "executor=inline", "budget.steps=8", "budget.interval=4"]
        metapbt.run([*asked, f"results_dir={folder}", f"context.optimum_shift={len(folder) / 100}"])
    Path("results/sources").symlink_to(tmp_path / "disk/sources")
    return tmp_path / "results"


def test_runs_behind_a_link_are_found_once_however_many_lead_there(results: Path) -> None:
    found = {"quadratic/optimum_shift=0.07/pbt/seed_0", "sources/quadratic/optimum_shift=0.12/pbt/seed_0"}
    names = [run.path.relative_to(results).as_posix() for run in find_runs(results)]
    assert sorted(names) == sorted(found)
    (results / "a_loop").symlink_to(results)
    (results / "again").symlink_to(results / "quadratic")
    (results / "to_nothing").symlink_to(results / "nowhere")
    assert sorted(run.path.relative_to(results).as_posix() for run in find_runs(results)) == sorted(found)


def test_a_seed_that_is_a_link_is_there_too(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = results / "quadratic/optimum_shift=0.07/pbt/seed_0"
    seed.rename(results.parent / "kept_elsewhere")
    seed.symlink_to(results.parent / "kept_elsewhere")
    assert len(find_runs(results)) == 2
    for command in (["status"], ["data", "check"], ["data", "ls"]):
        assert main([*command, str(results)]) == 0, capsys.readouterr()


def test_a_sound_run_is_not_accused_of_its_place_whatever_way_leads_there(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "quadratic/optimum_shift=0.2").mkdir()
    monkeypatch.chdir(results / "quadratic/optimum_shift=0.2")
    (results / "toy").symlink_to(results / "quadratic")
    for way in ("../optimum_shift=0.07", "../../toy"):
        assert main(["data", "check", way]) == 0, capsys.readouterr()
    (results / "quadratic/optimum_shift=0.07").rename(results / "quadratic/optimum_shift=0.2/optimum_shift=0.3")
    assert main(["data", "check", "."]) == 1
    assert "its path is quadratic/optimum_shift=0.2" not in capsys.readouterr().err
