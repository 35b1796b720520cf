"""Categories of several types on their whole way: trained, stopped, written, read, shown, replayed, remembered."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import metapbt
from metapbt.cli import main
from metapbt.plain import key
from metapbt.space import Space

CHOICES = {
    "ent_coef": ["auto", 0.05, 5, None],
    "net_arch": [[64, 64], [256], []],
    "flag": [True, 1, "1", 1.0],
    "text": ["a,b", "line\nbreak", "Ü ☃", ""],
}
SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    **{name: {"type": "categorical", "choices": choices} for name, choices in CHOICES.items()},
    "under": {"type": "float", "low": 0.0, "high": 1.0, "when": {"ent_coef": [None, 0.05], "net_arch": [[64, 64], []]}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("mixed")
    (made / "conf" / "space").mkdir(parents=True)
    (made / "conf" / "space" / "mixed.yaml").write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    (made / "conf" / "learner").mkdir()
    (made / "conf" / "learner" / "stand_in.yaml").write_text("name: stand_in:StandInLearner\n")
    return made


def command(method, *more):
    return [
        "run", "--config-dir", "conf", "env=stand_in:ROBOT", "learner=stand_in", "+space=mixed", f"method={method}",
        "population.size=6", "budget.steps=30", "budget.interval=10", "executor=inline", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["pbt", "pb2_mix"])
def test_mixed_categories_go_the_whole_way(folder, method, monkeypatch, capfd, writes):
    monkeypatch.chdir(folder)
    writes.kill_before(12, lambda: main(command(method, "results_dir=results")))
    assert main(command(method, "results_dir=results")) == 0
    assert main(command(method, "results_dir=whole")) == 0
    (path,) = Path("results").rglob(f"{method}/seed_0")
    (other,) = Path("whole").rglob(f"{method}/seed_0")
    run, space = metapbt.load(path), Space(SPACE)
    found = [record.hyperparameters for record in run.history]
    assert key(found) == key([record.hyperparameters for record in metapbt.load(other).history])
    assert all(configuration in space for configuration in found)
    assert len(run.records) == len(found)
    capfd.readouterr()
    for asked in (
        ["status", "."],
        ["data", "ls", "."],
        ["data", "show", "."],
        ["data", "check", "."],
        ["report", "results"],
    ):
        assert main(asked) == 0, capfd.readouterr().err
    for ending in ("csv", "parquet", "json"):
        assert main(["data", "export", "results", "--to", f"table.{ending}"]) == 0
    table = pd.read_parquet("table.parquet")
    assert len(table) == len(json.loads(Path("table.json").read_text()))
    assert {key(json.loads(text)) for text in table["hp.net_arch"]} <= {key(choice) for choice in CHOICES["net_arch"]}
    assert main(["replay", str(path)]) == 0


@pytest.mark.slow
def test_memory_learns_from_mixed_categories(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for shift in (1, 2, 3):
        assert main(command("random", f"context.robot={shift}", "results_dir=memory")) == 0
    assert main(command("meta_pb2", "results_dir=memory")) == 0, capfd.readouterr().err
    (path,) = Path("memory").rglob("meta_pb2/seed_0")
    assert all(record.hyperparameters in Space(SPACE) for record in metapbt.load(path).history)
