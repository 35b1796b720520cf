import numpy as np
import pandas as pd
import pytest

from metapbt.history import Context, History, Record
from metapbt.report.figures.importance import draw_importance
from metapbt.report.importance import STAGES, WHOLE, importance, untold
from metapbt.store.results import to_frame
from metapbt.store.table import Identity, to_table

NAMES = ("a", "b", "c")


def population(gain, seed=0, generations=18, members=4, noise=0.05, shift=0.0):
    """Members with configurations drawn anew each generation, whose return changes by ``gain``; nobody copies."""
    rng = np.random.default_rng(seed)
    records, returns = [], np.full(members, 100.0 * shift)
    for generation in range(generations):
        everybody = rng.normal()  # what all share says nothing about hyperparameters
        for member in range(members):
            drawn = {name: float(rng.random()) for name in NAMES}
            returns[member] += gain(generation / generations, drawn) + everybody + noise * rng.standard_normal()
            steps = 10 * (generation + 1)
            records.append(Record(generation, member, None, "random", drawn, steps, np.nan, float(returns[member])))
    identity = Identity(f"run_{seed}", "own", Context({"shift": shift}), "random", "random", "own", seed)
    return to_frame(to_table(identity, History(tuple(records))))


def several(gain, seeds=4, **settings):
    frames = [population(gain, seed, shift=seed / 5, **settings) for seed in range(seeds)]
    return pd.concat(frames, ignore_index=True)


def of(found, stage):
    return found[found["stage"] == stage].set_index("hyperparameter")


def test_it_finds_the_one_that_matters_at_each_stage():
    found = importance(several(lambda time, h: h["a"] if time < 0.5 else (h["b"] - 0.5) ** 2 * 4))
    early, late = of(found, "early"), of(found, "late")
    assert early["importance"].idxmax() == "a"
    assert early.loc["a", "low"] > 0.5
    assert late["importance"].idxmax() == "b"
    assert late.loc["b", "low"] > 0.5
    assert (early.loc[["b", "c"], "high"] < 0.1).all()
    assert (late.loc[["a", "c"], "high"] < 0.1).all()
    assert min(early["predictive"].min(), late["predictive"].min()) > 0.6
    assert (found["low"] <= found["importance"]).all()
    assert (found["importance"] <= found["high"]).all()
    assert found["rows"].unique().tolist() == [4 * 4 * 6]


def test_two_that_matter_alike_are_said_to_matter_alike():
    # What one member adds is known but for what the others of its time have: a quarter of the variance for four.
    whole = of(importance(several(lambda time, h: h["a"] + h["b"]), stages=1), WHOLE)
    assert whole.loc["a", "importance"] == pytest.approx(whole.loc["b", "importance"], abs=0.12)
    assert whole.loc[["a", "b"], "low"].min() > 0.2
    assert whole.loc["c", "high"] < 0.05


def test_noise_cannot_be_told():
    found = importance(several(lambda time, h: 0.0, noise=1.0))
    assert found["importance"].isna().all()
    assert untold(of(found, "early")) == "cannot be told: 96 intervals do not predict those held out"


def test_few_rows_cannot_be_told_and_one_run_of_many_can():
    def gain(time, h):
        return h["a"]

    few = importance(population(gain, generations=6))
    assert few[["importance", "predictive"]].isna().all(axis=None)
    assert (
        untold(of(few, "late"))
        == "cannot be told: too few intervals to compare, or too few configurations in them (8 intervals)"
    )
    one = of(importance(population(gain, generations=60)), "middle")
    assert one["importance"].idxmax() == "a"
    assert one.loc["a", "low"] > 0.3


def test_members_that_never_change_tell_nothing_however_long_they_train():
    def gain(time, h):
        return h["a"]

    records = population(gain, generations=60)
    for name in NAMES:
        records[f"hp.{name}"] = records["member"] / 4
    assert importance(records)["importance"].isna().all()


def test_no_records_and_one_member_give_rows_without_an_answer():
    nothing = importance(pd.DataFrame({"run_id": [], "hp.a": []}))
    assert nothing["stage"].tolist() == list(STAGES)
    assert nothing["rows"].tolist() == [0, 0, 0]
    alone = importance(population(lambda time, h: h["a"], members=1, generations=60))
    assert alone["rows"].max() == 0  # there is nobody to compare with


def test_categories_and_what_does_not_exist_are_looked_at_too():
    records = several(lambda time, h: float(h["a"] > 0.5), generations=12)
    records["hp.a"] = ["relu" if value > 0.5 else "tanh" for value in records["hp.a"]]
    records.loc[records["hp.b"] > 0.5, "hp.b"] = np.nan
    whole = of(importance(records, stages=1), WHOLE)
    assert whole["importance"].idxmax() == "a"
    assert whole.loc["a", "low"] > 0.5


def test_runs_of_several_places_are_told_apart_by_where_they_are():
    records = several(lambda time, h: h["a"], generations=8)
    same = records.assign(run_dir=records["run_id"], run_id="one")
    pd.testing.assert_frame_equal(importance(same, stages=1), importance(records, stages=1))


def test_the_figure_says_what_cannot_be_told():
    records = several(lambda time, h: h["a"] if time < 0.3 else 0.0, noise=0.3)
    figure = draw_importance(importance(records))
    early, middle, late = figure.axes
    assert len(early.patches) == 3
    assert early.patches[0].get_width() > 0.3
    for axes in (middle, late):
        assert not axes.patches
        assert "cannot be told" in axes.texts[0].get_text().replace("\n", " ")
