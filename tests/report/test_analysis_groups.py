"""Which runs are compared with which, and what is said about those that are not there."""

from __future__ import annotations

import pytest
from synthetic_results import group_of, groups_of, make_run

LONG = {"pole_length": 0.8}


def test_every_environment_and_feature_is_a_group() -> None:
    groups = groups_of(
        [
            make_run(changed=LONG),
            make_run(changed={"gravity": 5.0}),
            make_run(env="lunar_lander", changed={"leg_height": 16.0}),
        ]
    )
    assert [group.folder for group in groups] == [
        "cart_pole/gravity",
        "cart_pole/pole_length",
        "lunar_lander/leg_height",
    ]


def test_default_contexts_belong_to_every_feature_of_their_environment() -> None:
    groups = groups_of(
        [make_run(), make_run(changed=LONG), make_run(changed={"gravity": 5.0}), make_run(env="mountain_car")]
    )
    labels = {group.folder: [context.label for context in group.contexts] for group in groups}
    assert labels == {
        "cart_pole/gravity": ["5 (×0.51)", "9.8 (default)"],
        "cart_pole/pole_length": ["0.5 (default)", "0.8 (×1.6)"],
        "mountain_car/default": ["default"],
    }


def test_contexts_with_several_features_are_labelled_by_all_of_them() -> None:
    group = group_of([make_run(changed={"pole_length": 0.8, "gravity": 5.0})])
    assert group.folder == "cart_pole/gravity,pole_length"
    assert [context.label for context in group.contexts] == ["gravity=5, pole_length=0.8"]


def test_contexts_that_differ_late_have_different_labels() -> None:
    group = group_of([make_run(changed={"pole_length": value}) for value in (0.800001, 0.800002)])
    assert [context.label for context in group.contexts] == ["0.800001 (×1.6)", "0.800002 (×1.6)"]


def test_an_unknown_environment_is_shown_without_multiples_of_a_default() -> None:
    group = group_of([make_run(env="other.place:ENV", changed={"mass": 2.0})])
    assert group.folder == "other.place-ENV/mass"
    assert [context.label for context in group.contexts] == ["2"]
    assert group.axis_label == "mass"


def test_learners_are_never_pooled() -> None:
    groups = groups_of([make_run(changed=LONG), make_run(changed=LONG, learner="ppo", folder="fused")])
    assert [group.folder for group in groups] == [
        "cart_pole/pole_length@ppo",
        "cart_pole/pole_length@sb3",
    ]


def test_methods_come_in_a_fixed_order_and_unknown_ones_last() -> None:
    names = ["mine", "meta_pb2", "pbt", "default", "another", "pb2"]
    assert group_of([make_run(name) for name in names]).methods == [
        "default",
        "pbt",
        "pb2",
        "meta_pb2",
        "another",
        "mine",
    ]


def test_the_score_is_the_evaluation_of_the_best_member_not_the_best_evaluation() -> None:
    (run,) = group_of([make_run(scores=[1.0, 2.0])]).runs
    assert run.scores.tolist() == [1, 2]
    assert run.steps.tolist() == [1000, 2000]


def test_coverage_tells_missing_seeds_unfinished_runs_and_missing_methods() -> None:
    group = group_of(
        [
            *(make_run("pb2", seed, changed=LONG) for seed in (0, 1, 2)),
            *(make_run("default", seed, changed=LONG) for seed in (0, 2)),
            make_run("meta_pb2", 0, changed=LONG),
            make_run("meta_pb2", 1, changed=LONG, state="running", scores=[1.0], generations=3),
            make_run("pb2", 0),
        ]
    )
    default, long = group.contexts
    assert group.coverage(long, "pb2").text == "3 seeds"
    assert group.coverage(long, "default").text == "2 of 3 seeds"
    assert group.coverage(long, "meta_pb2").text == "1 of 3 seeds finished"
    assert group.coverage(default, "meta_pb2").text == "missing"
    assert group.missing_seeds(long, "default") == [1]


def test_a_single_seed_is_called_that() -> None:
    group = group_of([make_run()])
    assert group.coverage(group.contexts[0], "pb2").text == "1 seed"


@pytest.mark.parametrize("finished_first", [True, False])
def test_a_run_found_twice_counts_once_and_the_finished_one_stays(finished_first: bool) -> None:
    done = make_run(scores=[1.0, 2.0], folder="a" if finished_first else "b")
    part = make_run(scores=[9.0], state="stopped", generations=2, folder="b" if finished_first else "a")
    group = group_of([done, part])
    assert [run.final for run in group.runs] == [2]
    assert any("is left out" in note for note in group.notes)
    assert not any("/somewhere" in note for note in group.notes)


def test_source_contexts_are_those_of_the_group_that_a_run_learned_from() -> None:
    sources = [LONG, {"pole_length": 0.8, "gravity": 5.0}]
    group = group_of([make_run(), make_run(changed=LONG), make_run("meta_pb2", sources=sources)])
    assert [context.label for context in group.sources] == ["0.8 (×1.6)"]
    assert any(note.startswith("1 source context") for note in group.notes)


def test_runs_of_different_length_and_without_evaluation_are_noted() -> None:
    group = group_of(
        [make_run(scores=[1.0]), make_run(seed=1, scores=[1.0, 2.0]), make_run(seed=2, scores=[float("nan")])]
    )
    assert any("1,000 to 2,000 steps" in note for note in group.notes)
    assert any("never evaluated" in note for note in group.notes)
