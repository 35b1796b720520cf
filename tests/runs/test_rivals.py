"""GPBT-PL in pairs, with leads, grace and distances from 1, through whole runs: the same whatever happens to them."""

import shutil
from pathlib import Path

import pytest
from test_runs import STAND_IN, records, same

import metapbt
from metapbt.cli import main

SPACE = """x: {type: float, low: 0.0, high: 0.99, complement: true, log: true}
n: {type: int, low: 1, high: 9}
c: {type: categorical, choices: [a, b]}
"""
RULES = ["selection.lead=0.05", "selection.lead_return=0.01", "selection.grace=1"]
WAYS = {
    "pairs with rules": ["selection=pairwise", *RULES],
    "quantiles with rules": ["population.quantile=0.5", *RULES],
    "asynchronous": ["selection=pairwise", *RULES, "population.asynchronous=true"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "rivals.yaml").write_text(SPACE)


def command(folder, way, *overrides):
    rest = ["method=gpbt_pl", "space=rivals", "population.size=6", "budget.steps=40", f"results_dir={folder}"]
    return [*STAND_IN, *rest, *WAYS[way], *overrides]


def run(*arguments):
    return main(["run", "--config-dir", "conf", *arguments])


@pytest.mark.parametrize("way", ["pairs with rules", "asynchronous"])
def test_a_run_that_dies_now_and_then_ends_with_the_records_of_one_that_did_not(way, writes):
    assert run(*command("whole", way)) == 0
    whole = records("whole")
    assert (whole["source"] == "perturbed").any()
    assert whole["hp.x"].between(0.0, 0.99).all()
    total = writes.during(lambda: metapbt.run(command("counted", way), Path("conf")))
    for limit in range(3, total + 1, 9):
        writes.kill_before(limit, lambda: metapbt.run(command("stopped", way), Path("conf")))
        metapbt.run(command("stopped", way), Path("conf"))
        same(records("stopped"), whole)
        shutil.rmtree("stopped")


def test_workers_that_train_ahead_change_nothing():
    run(*command("inline", "quantiles with rules"))
    run(*command("workers", "quantiles with rules", "executor=processes", "executor.workers=2"))
    same(records("workers"), records("inline"))


def test_grace_is_seen_in_the_records():
    run(*command("results", "quantiles with rules"))
    copied = records("results").set_index(["generation", "member"])["parent"].notna()
    assert copied.any()
    for (generation, member), fresh in copied.items():
        if fresh and (generation + 1, member) in copied.index:
            assert not copied[generation + 1, member]
