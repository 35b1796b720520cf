"""The sentence that a study ends with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import SyntheticRun, group_of, make_run, store_runs

from metapbt.report.comparison import comparison_data
from metapbt.report.figures.final_returns import final_data, runs_data
from metapbt.report.figures.improvement import improvement_data
from metapbt.report.groups import Group, load_groups
from metapbt.report.verdict import outcome, sentences, verdict_json, verdicts

LENGTHS = ({"pole_length": 0.8}, {"pole_length": 1.1})


def pairs(
    gains: list[float], ends: list[float], contexts: int = 2, method: str = "meta_pb2", baseline: str = "pb2"
) -> list[SyntheticRun]:
    """Runs of two methods; seed i of the first one is ``gains[i]`` ahead at first and ``ends[i]`` at the end."""
    runs = []
    for changed in LENGTHS[:contexts]:
        for seed, (gain, end) in enumerate(zip(gains, ends, strict=True)):
            sources = [{}] if method.startswith("meta_") else []
            runs.append(make_run(baseline, seed, changed=changed, scores=[0.0, 200.0, 400.0]))
            scores = [gain, 200 + gain, 400 + end]
            runs.append(make_run(method, seed, changed=changed, scores=scores, sources=sources))
    return runs


def verdict(group: Group, baseline: str | None = None) -> str:
    return "\n".join(sentences(group, verdicts(group, baseline)))


def test_it_says_what_was_compared_by_how_much_and_over_what() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [30, 40, 50])))
    # Areas (3 gain + end) / 4 have a deviation of 17.5 and ends one of 10, in two contexts of three seeds: the interval
    # is t(4 degrees of freedom) * deviation / sqrt(6).
    assert said == (
        "memory (meta_pb2 against pb2): +85 [65, 105] points of area (mean return over 3,000 steps of each member), "
        "2 contexts x 3 seeds; +40.0 [28.7, 51.3] points at the end."
    )


def test_it_says_what_cannot_be_told() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [-60, 10, 70])))
    assert "points of area (mean return over 3,000 steps of each member), 2 contexts x 3 seeds" in said
    assert "; at the end no significant difference (+6.7 [−" in said
    said = verdict(group_of(pairs([-80, 100, 10], [-60, 10, 70])))
    assert said.startswith("memory (meta_pb2 against pb2): no significant difference in area (")
    assert " points of mean return over 3,000 steps of each member), 2 contexts x 3 seeds; at the end no" in said


@pytest.mark.parametrize(("contexts", "extent"), [(1, "1 context x 1 seed is"), (2, "2 contexts x 1 seed are")])
def test_with_one_seed_it_says_that_there_is_no_interval(contexts: int, extent: str) -> None:
    said = verdict(group_of(pairs([80], [30], contexts)))
    assert f"{extent} too little for an interval, so no difference can be established." in said
    assert "[" not in said


def test_with_one_seed_of_several_contexts_their_spread_stands_for_that_of_seeds() -> None:
    runs = []
    for length, gain in zip((0.2, 0.8, 1.1, 1.4), (80.0, 100.0, 120.0, 100.0), strict=True):
        changed = {"pole_length": length}
        runs.append(make_run("pb2", 0, changed=changed, scores=[0.0, 200.0, 400.0]))
        runs.append(make_run("meta_pb2", 0, changed=changed, scores=[gain, 200 + gain, 400 + gain], sources=[{}]))
    # Differences have a deviation of 16.3 in four contexts: the interval is t(3 degrees of freedom) * deviation / 2.
    assert verdict(group_of(runs)) == (
        "memory (meta_pb2 against pb2): +100 [74, 126] points of area (mean return over 3,000 steps of each member), "
        "4 contexts x 1 seed (intervals from the spread between contexts); +100 [74, 126] points at the end."
    )


def test_with_equal_runs_it_says_so() -> None:
    said = verdict(group_of(pairs([0, 0, 0], [0, 0, 0])))
    assert said == (
        "memory (meta_pb2 against pb2): all pairs are equal in area (mean return over 3,000 steps of each member), "
        "2 contexts x 3 seeds; all end at the maximum of 400 that any run reached."
    )
    assert verdict(group_of(pairs([0], [0]))) == said.replace("3 seeds", "1 seed")


def test_where_all_end_at_the_maximum_it_leads_with_area() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [0, 0, 0])))
    assert said == (
        "memory (meta_pb2 against pb2): +75.0 [58.0, 92.0] points of area (mean return over 3,000 steps of each "
        "member), 2 contexts x 3 seeds; all end at the maximum of 400 that any run reached."
    )
    runs = pairs([500, 510, 520], [0, 0, 0])  # who was better before has lost it
    assert verdict(group_of(runs)).endswith("; equal at the end.")
    (found,) = verdicts(group_of(runs))
    assert (outcome(found.area), outcome(found.final), found.at_maximum) == ("higher", "equal", False)


def test_without_pairs_it_says_why_nothing_can_be_told() -> None:
    runs = [make_run("pb2", 0, changed=LENGTHS[0]), make_run("meta_pb2", 1, changed=LENGTHS[0], sources=[{}])]
    assert "no context and seed has finished runs of both" in verdict(group_of(runs))


def test_methods_without_memory_are_compared_with_the_first_one() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [30, 40, 50], method="pb2", baseline="pbt")))
    assert said.startswith("pb2 against pbt: +")


def test_what_memory_brings_is_told_against_the_same_method_without_it() -> None:
    runs = pairs([80, 100, 120], [30, 40, 50], method="meta_bg_pbt", baseline="bg_pbt")
    runs += pairs([20, 30, 40], [10, 20, 30])
    runs += [make_run("pbt", seed, changed=changed, scores=[0.0, 1.0, 2.0]) for changed in LENGTHS for seed in range(3)]
    said = [line[: line.index(":")] for line in verdict(group_of(runs)).splitlines()]
    assert said == [
        "memory (meta_bg_pbt against bg_pbt)",
        "memory (meta_pb2 against pb2)",
        "pbt against pb2",
        "bg_pbt against pb2",
    ]
    named = [
        make_run("meta_bg_pbt", name="mine", changed=LENGTHS[0], sources=[{}]),
        make_run("bg_pbt"),
        make_run("pbt"),
    ]
    assert "memory (mine against bg_pbt)" in verdict(group_of(named))


def test_what_differs_in_more_than_memory_is_not_told_as_memorys() -> None:
    runs = pairs([80, 100, 120], [30, 40, 50], method="meta_bg_pbt", baseline="pb2")
    assert verdict(group_of(runs)).startswith(
        "memory and more (meta_bg_pbt against pb2, for lack of bg_pbt to compare with): +"
    )
    named = [make_run("pb2", name="plain"), make_run("meta_pb2", sources=[{"pole_length": 1.1}])]
    assert verdict(group_of(named)).startswith("memory (meta_pb2 against plain): ")


def test_of_several_without_memory_the_one_with_the_same_settings_is_the_baseline(tmp_path: Path) -> None:
    runs = [make_run("pb2"), make_run("pb2", name="pb2_log"), make_run("meta_pb2", name="memory_log", sources=[{}])]
    results = store_runs(tmp_path / "results", runs)
    for path in results.rglob("config.yaml"):
        log = path.parent.parent.name.endswith("_log")
        path.write_text(path.read_text() + f"space: {{learning_rate: {{log: {str(log).lower()}}}}}\n")
    (group,) = load_groups(results)
    assert verdict(group).startswith("memory (memory_log against pb2_log): ")
    shutil.rmtree(next(results.rglob("pb2_log")))
    (group,) = load_groups(results)
    assert verdict(group).startswith(
        "memory and more (memory_log against pb2, which differ in space.learning_rate.log (True and False)): "
    )


def test_areas_of_a_pair_are_over_the_steps_that_both_have() -> None:
    """Whose first score comes late, as where candidates are screened, or who trained longer, is no better for that."""
    returns = [10.0 * step for step in range(1, 21)]
    runs = []
    for seed in range(3):
        runs.append(make_run("pb2", seed, scores=returns))
        runs.append(make_run("bg_pbt", seed, scores=returns[3::4], interval=4000))
        runs.append(make_run("meta_pb2", seed, scores=returns[:10], sources=[{}]))
    group = group_of(runs)
    found = {each.method: each for each in verdicts(group)}
    assert {outcome(each.area) for each in found.values()} == {"equal"}
    assert {name: each.steps for name, each in found.items()} == {"meta_pb2": 10_000, "bg_pbt": 20_000}
    areas = comparison_data(group)
    areas = areas[(areas["quantity"] == "area") & (areas["statistic"] == "mean") & (areas["unit"] == "points")]
    assert areas["estimate"].tolist() == pytest.approx([70.0] * 3)  # from 4,000 to 10,000 steps
    improved = improvement_data(group)
    assert improved.loc[improved["quantity"] == "area", "probability"].tolist() == [0.5, 0.5]  # as the verdict says
    assert final_data(group, "area")["mean"].tolist() == pytest.approx([70.0] * 3)
    assert set(runs_data(group)["area"].round(6)) == {70.0}
    assert not any("up to" in each.sentence for each in found.values())
    runs += [make_run(method, 7, scores=returns[:6]) for method in ("pb2", "meta_pb2")]
    (shorter,) = [each for each in verdicts(group_of(runs)) if each.method == "meta_pb2"]
    assert "(mean return over up to 10,000 steps of each member)" in shorter.sentence
    (note,) = [note for note in group.notes if "differ in length" in note]
    assert note.endswith("mean returns over training over the steps that both have.")


def test_populations_of_other_sizes_are_told() -> None:
    runs = [make_run("pb2"), make_run("pbt")]
    runs[1] = (replace(runs[1][0], size=16), runs[1][1])
    assert (
        "Populations have from 2 to 16 members, and everything is shown over steps per member: the largest trained "
        "8 times as many steps in total as the smallest."
    ) in group_of(runs).notes


def test_each_method_has_a_line_and_unfinished_runs_are_mentioned() -> None:
    runs = pairs([80, 100, 120], [30, 40, 50])
    runs += [make_run("default", seed, changed=LENGTHS[0], scores=[0.0, 1.0, 2.0]) for seed in range(3)]
    runs += [make_run("default", 0, changed=LENGTHS[1], state="running", scores=[1.0], generations=3)]
    lines = verdict(group_of(runs)).splitlines()
    assert [line[: line.index(":")] for line in lines[:2]] == ["memory (meta_pb2 against pb2)", "default against pb2"]
    assert lines[2] == "1 run has not finished: this may change."


def test_a_single_method_has_nothing_to_be_compared_with() -> None:
    assert verdict(group_of([make_run()])) == (
        "pb2 alone: there is nothing to compare it with. It ends at 30.0 (1 seed: no interval)."
    )
    assert verdict(group_of([make_run(state="running")])).startswith("pb2 alone: no run has finished yet.")


def test_where_ranges_of_returns_differ_widely_it_speaks_of_shares() -> None:
    runs = pairs([80, 100, 120], [30, 40, 50], contexts=1)
    for seed in range(3):
        runs.append(make_run("pb2", seed, changed=LENGTHS[1], scores=[0.0, 2.0, 4.0]))
        runs.append(make_run("meta_pb2", seed, changed=LENGTHS[1], scores=[1.0 + 0.1 * seed, 3.0, 4.5], sources=[{}]))
    assert "of the range from worst to best of area (mean return over" in verdict(group_of(runs))


def test_any_method_can_be_the_baseline() -> None:
    runs = pairs([80, 100, 120], [30, 40, 50])
    runs += [
        make_run("pbt", seed, changed=changed, scores=[0.0, 100.0, 90.0]) for changed in LENGTHS for seed in range(3)
    ]
    group = group_of(runs)
    said = [line[: line.index(":")] for line in verdict(group, "pbt").splitlines()]
    assert said == ["meta_pb2 against pbt", "pb2 against pbt"]
    assert [(each.baseline, each.remembers) for each in verdicts(group, "meta_pb2")] == [("meta_pb2", False)] * 2
    reverse = next(each for each in verdicts(group, "meta_pb2") if each.method == "pb2")
    forward = next(each for each in verdicts(group) if each.method == "meta_pb2")
    assert reverse.area.value == -forward.area.value
    assert verdict(group, "pb2").startswith("memory (meta_pb2 against pb2): ")
    assert "no context and seed has finished runs of both" in verdict(group, "random")


def test_the_numbers_are_those_of_the_sentence() -> None:
    group = group_of(
        [*pairs([80, 100, 120], [-60, 10, 70]), make_run("default", 0, changed=LENGTHS[0], state="failed")]
    )
    (of_group,) = json.loads(verdict_json([(group, verdicts(group))]))["groups"]
    memory, default = of_group["verdicts"]
    assert memory["sentence"] == verdicts(group)[0].sentence
    assert (memory["method"], memory["baseline"], memory["memory"]) == ("meta_pb2", "pb2", True)
    assert (memory["contexts"], memory["seeds"], memory["pairs"], memory["steps_of_each_member"]) == (
        2,
        [3, 3],
        6,
        3000,
    )
    assert memory["area"]["outcome"] == "higher"
    assert memory["area"]["estimate"] == pytest.approx((300 + 5) / 4, abs=2)
    assert memory["final"]["outcome"] == "untold"
    assert memory["final"]["low"] < 0 < memory["final"]["high"]
    assert default["area"] == {"outcome": "untold", "estimate": None, "low": None, "high": None}
    assert of_group["unfinished_runs"] == 1
    assert of_group["sources"] == ["0.5 (default)"][:0]  # nobody ran there


def test_differences_that_cancel_out_are_no_equality() -> None:
    runs = pairs([100, 100, 100], [100, 100, 100], contexts=1)
    for seed in range(3):
        runs.append(make_run("pb2", seed, changed=LENGTHS[1], scores=[100.0, 300.0, 500.0]))
        runs.append(make_run("meta_pb2", seed, changed=LENGTHS[1], scores=[0.0, 200.0, 400.0], sources=[{}]))
    group = group_of(runs)
    (found,) = verdicts(group)
    assert outcome(found.area) == outcome(found.final) == "untold"
    assert "equal" not in found.sentence


def test_contexts_with_one_run_have_no_spread_to_lend_where_no_other_shows_any() -> None:
    runs = pairs([10, 10, 10], [10, 10, 10], contexts=1) + pairs([30], [30], contexts=2)[2:]
    (found,) = verdicts(group_of(runs))
    assert found.final.value == 20
    assert not found.final.known


@pytest.mark.parametrize(("best", "said"), [(0.4, "0.4"), (12.5, "12.5"), (-90.0, "−90"), (500.0, "500")])
def test_the_maximum_is_said_as_it_is(best: float, said: str) -> None:
    runs = [
        make_run(name, seed, scores=[best - 1 - seed, best], sources=[{}] if name == "meta_pb2" else [], changed=length)
        for name in ("pb2", "meta_pb2")
        for seed in range(3)
        for length in LENGTHS
    ]
    assert f"all end at the maximum of {said} that any run reached" in verdict(group_of(runs))
