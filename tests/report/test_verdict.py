"""The sentence that a study ends with."""

from __future__ import annotations

import pytest
from synthetic_results import SyntheticRun, group_of, make_run

from metapbt.report.verdict import verdict

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


def test_it_says_what_was_compared_by_how_much_and_over_what() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [30, 40, 50])))
    # Areas (3 gain + end) / 4 have a deviation of 17.5 and ends one of 10, in two contexts of three seeds: the interval
    # is t(4 degrees of freedom) * deviation / sqrt(6).
    assert said == (
        "memory (meta_pb2 against pb2): +85 [65, 105] points of mean return over 3,000 steps of each member, "
        "2 contexts x 3 seeds; at the end +40.0 [28.7, 51.3]."
    )


def test_it_says_what_cannot_be_told() -> None:
    said = verdict(group_of(pairs([80, 100, 120], [-60, 10, 70])))
    assert "points of mean return over 3,000 steps of each member, 2 contexts x 3 seeds" in said
    assert "; at the end no difference can be told (+6.7 [−" in said
    said = verdict(group_of(pairs([-80, 100, 10], [-60, 10, 70])))
    assert said.startswith(
        "memory (meta_pb2 against pb2): no difference can be told in the mean return over 3,000 steps"
    )


@pytest.mark.parametrize(("contexts", "extent"), [(1, "1 context x 1 seed is"), (2, "2 contexts x 1 seed are")])
def test_with_one_seed_it_says_that_there_is_no_interval(contexts: int, extent: str) -> None:
    said = verdict(group_of(pairs([80], [30], contexts)))
    assert f"{extent} too little for an interval, so no difference can be told." in said
    assert "[" not in said


def test_with_equal_runs_it_says_so() -> None:
    said = verdict(group_of(pairs([0, 0, 0], [0, 0, 0])))
    assert said == (
        "memory (meta_pb2 against pb2): all pairs are equal, over 3,000 steps of each member and at the end, "
        "2 contexts x 3 seeds."
    )
    assert "; at the end all pairs are equal." in verdict(group_of(pairs([80, 100, 120], [0, 0, 0])))


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
    assert verdict(group_of(runs)).startswith("memory and more (meta_bg_pbt against pb2, for want of bg_pbt): +")
    named = [make_run("pb2", name="plain"), make_run("meta_pb2", sources=[{"pole_length": 1.1}])]
    assert verdict(group_of(named)).startswith("memory (meta_pb2 against plain): ")


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
    assert "of the range from worst to best of mean return" in verdict(group_of(runs))
