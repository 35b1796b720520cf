"""Whole runs of BG-PBT, with memory and without: the same wherever they train and however often they are stopped."""

from pathlib import Path

import pytest
from test_runs import command, records, same

import metapbt
from metapbt.space import Space

SPACE = """
x: {type: float, low: 0.0, high: 1.0}
n: {type: int, low: 1, high: 9}
kind: {type: categorical, choices: [p, q, r]}
only_q: {type: float, low: 0.0, high: 1.0, when: {kind: q}}
layers: {type: int, low: 1, high: 5, role: architecture}
"""
SETTINGS = ["method.min_rows=4", "method.patience=2"]  # so that four generations see a restart
VARIANTS = {
    "all": ["population.candidates=7", "selection.backtrack=true"],
    "asynchronous": ["population.asynchronous=true", "method.trust_region=false"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


@pytest.fixture
def space(tmp_path):
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_tests.yaml").write_text(SPACE)
    return tmp_path / "conf"


def bg_pbt(folder, *more, method="bg_pbt"):
    return command(folder, *SETTINGS, *more, method=method)


def check_networks(found):
    """Every copy, and who goes on, has the network that it goes on from."""
    for record in found.history:
        before = found.history.before(record)
        if before is not None:
            assert record.hyperparameters["layers"] == before.hyperparameters["layers"]


def test_workers_give_the_same_records(space):
    run = metapbt.run(bg_pbt("inline", *VARIANTS["all"]), space)
    check_networks(run)
    assert "surrogate" in set(run.records["source"])
    more = ["executor=processes", "executor.workers=3"]
    metapbt.run(bg_pbt("processes", *VARIANTS["all"], *more), space)
    same(records("processes"), records("inline"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_goes_on_after_a_kill_as_if_it_had_not_been(space, variant, writes):
    whole = metapbt.run(bg_pbt("whole", *VARIANTS[variant]), space)
    expected = records("whole")
    assert "surrogate" in set(whole.records["source"])
    for limit in (10, 20) if variant == "all" else (15,):
        arguments = bg_pbt(f"stopped_{limit}", *VARIANTS[variant])
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        metapbt.run(arguments, space)
        same(records(f"stopped_{limit}"), expected)


@pytest.mark.slow
@pytest.mark.usefixtures("briefly_trained")
def test_memory_chooses_candidates_and_copies_and_is_the_same_after_a_kill(space, writes):
    for shift in (0.2, 0.8):
        metapbt.run(bg_pbt("sources", f"context.optimum_shift={shift}"), space)
    more = ["context.optimum_shift=0.5", "meta.results_dir=sources", "method.kernel=plain", "population.candidates=7"]
    run = metapbt.run(bg_pbt("whole", *more, method="meta_bg_pbt"), space)
    check_networks(run)
    first, copied = run.records.query("generation == 0"), run.records.query("generation > 1 and parent >= 0")
    assert {"memory", "hedge"} == set(first["source"])
    assert "memory" in set(copied["source"])
    arguments = bg_pbt("stopped", *more, method="meta_bg_pbt")
    writes.kill_before(26, lambda: metapbt.run(arguments, space))
    metapbt.run(arguments, space)
    same(records("stopped"), records("whole"))


def test_without_any_source_meta_bg_pbt_is_bg_pbt(space):
    metapbt.run(bg_pbt("alone"), space)
    Path("nowhere").mkdir()
    metapbt.run(bg_pbt("nothing", "meta.results_dir=nowhere", method="meta_bg_pbt"), space)
    apart = ["run_id", "method", "name"]
    same(records("nothing").drop(columns=apart), records("alone").drop(columns=apart))


@pytest.mark.slow
def test_a_tuner_finds_the_best_of_a_mixed_space():
    space = Space(
        {
            "x": {"type": "float", "low": 0.0, "high": 1.0},
            "n": {"type": "int", "low": 1, "high": 9},
            "kind": {"type": "categorical", "choices": ["p", "q", "r"]},
        }
    )

    def rate(h):
        return 1 - abs(h["x"] - 0.7) - abs(h["n"] - 6) / 8 - 0.5 * (h["kind"] != "r")

    best = {}
    for method in ("bg_pbt", "random"):
        tuner = metapbt.Tuner(space, method=method, population_size=8, quantile=0.125, seed=0)
        configs, returns = tuner.start(), [0.0] * 8
        for generation in range(16):
            returns = [before + rate(h) for before, h in zip(returns, configs, strict=True)]
            for member, decision in enumerate(tuner.tell([generation + 1] * 8, returns)):
                if isinstance(decision, metapbt.Copy):
                    returns[member], configs[member] = returns[decision.parent], decision.hyperparameters
        best[method] = max(returns)
    assert best["bg_pbt"] > best["random"] + 1
