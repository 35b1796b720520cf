"""Which runs are compared with which, and what is said about those that are not there."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from synthetic_results import SyntheticRun, group_of, groups_of, make_run

from metapbt.history import Context

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
    labels = {group.folder: list(group.labels.values()) for group in groups}
    assert labels == {
        "cart_pole/gravity": ["5 (×0.51)", "9.8 (default)"],
        "cart_pole/pole_length": ["0.5 (default)", "0.8 (×1.6)"],
        "mountain_car/default": ["default"],
    }


def test_a_grid_that_holds_defaults_is_one_group() -> None:
    grid = [{"pole_length": length, "gravity": gravity} for length in (0.5, 0.8) for gravity in (5.0, 9.8, 15.0)]
    defaults = {"pole_length": 0.5, "gravity": 9.8}
    changed = [{name: value for name, value in each.items() if value != defaults[name]} for each in grid]
    group = group_of([make_run(changed=each or None) for each in changed])
    assert group.folder == "cart_pole/gravity,pole_length"
    assert [(context["pole_length"], context["gravity"]) for context in group.contexts] == [
        (length, gravity) for gravity in (5.0, 9.8, 15.0) for length in (0.5, 0.8)
    ]


def test_a_slice_belongs_to_the_largest_grid() -> None:
    changed = {"pole_length": 0.8, "gravity": 5.0, "force": 12.0}
    subsets = [("pole_length",), ("gravity", "pole_length"), ("force", "gravity", "pole_length")]
    (group,) = groups_of([make_run(changed={name: changed[name] for name in subset}) for subset in subsets])
    assert (group.feature_label, len(group.contexts)) == ("force, gravity, pole_length", 3)


def test_a_slice_of_two_grids_belongs_to_both() -> None:
    long = {"pole_length": 0.8}
    groups = groups_of([make_run(changed=each) for each in (long, {**long, "gravity": 5.0}, {**long, "force": 12.0})])
    assert [(group.feature_label, len(group.contexts)) for group in groups] == [
        ("force, pole_length", 2),
        ("gravity, pole_length", 2),
    ]


def test_a_sweep_over_one_feature_is_no_slice_of_a_grid_over_other_values() -> None:
    runs = [make_run(changed={"pole_length": value}) for value in (0.2, 0.8, 1.1)]
    groups = groups_of([*runs, make_run(changed={"pole_length": 0.8, "gravity": 5.0})])
    assert [len(group.contexts) for group in groups] == [1, 3]


def test_contexts_with_several_features_are_labelled_by_all_of_them() -> None:
    group = group_of([make_run(changed={"pole_length": 0.8, "gravity": 5.0})])
    assert group.folder == "cart_pole/gravity,pole_length"
    assert list(group.labels.values()) == ["gravity=5, pole_length=0.8"]


def test_contexts_that_differ_late_have_different_labels() -> None:
    group = group_of([make_run(changed={"pole_length": value}) for value in (0.800001, 0.800002)])
    assert list(group.labels.values()) == ["0.800001 (×1.6)", "0.800002 (×1.6)"]


def test_an_unknown_environment_is_shown_without_multiples_of_a_default() -> None:
    group = group_of([make_run(env="other.place:ENV", changed={"mass": 2.0})])
    assert group.folder == "other.place-ENV/mass"
    assert list(group.labels.values()) == ["2"]
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
    assert [group.labels[context] for context in group.sources] == ["0.8 (×1.6)"]
    assert any(note.startswith("1 source context") for note in group.notes)


def test_runs_of_different_length_and_without_evaluation_are_noted() -> None:
    group = group_of(
        [make_run(scores=[1.0]), make_run(seed=1, scores=[1.0, 2.0]), make_run(seed=2, scores=[float("nan")])]
    )
    assert any("1,000 to 2,000 steps" in note for note in group.notes)
    assert any("never evaluated" in note for note in group.notes)


def test_a_label_takes_the_place_of_the_methods_name() -> None:
    group = group_of([make_run("pb2"), make_run("pb2", name="pb2, small steps", scores=[5.0])])
    assert group.methods == ["pb2", "pb2, small steps"]
    assert [run.final for run in group.runs] == [30, 5]


def test_the_final_return_is_the_test_return_where_it_was_measured() -> None:
    tested, older = group_of([make_run(test_return=17.5), make_run(seed=1)]).runs
    assert (tested.final, older.final) == (17.5, 30)
    assert tested.scores.tolist() == [10, 20, 30]
    notes = group_of([make_run(test_return=17.5), make_run(seed=1)]).notes
    assert notes == ("1 of 2 finished runs have no test return: their last score stands in its place.",)


def test_what_candidates_cost_counts_as_steps_of_each_member() -> None:
    info, frame = make_run(scores=[1.0, 2.0])
    candidates = frame[frame["generation"] == 0].assign(member=[2, 3], best=False)
    frame.loc[frame["generation"] == 1, "spent_steps"] += 2000
    candidates["spent_steps"] = [3000, 4000]
    (run,) = group_of([(info, pd.concat([frame, candidates]))]).runs
    assert run.steps.tolist() == [2000, 3000]


def test_categories_label_contexts_too() -> None:
    runs = [make_run(env="own:ENV", changed={"game": game}) for game in ("starpilot", "bigfish")]
    assert list(group_of(runs).labels.values()) == ["bigfish", "starpilot"]


def test_contexts_that_are_only_sources_lack_nothing() -> None:
    group = group_of(
        [
            make_run("pb2", 7),
            make_run("default", 0, changed=LONG),
            *(make_run("pb2", seed, changed=LONG) for seed in (0, 1)),
            make_run("meta_pb2", 0, changed=LONG, sources=[{}]),
        ]
    )
    source, target = group.contexts
    assert [group.coverage(source, name).text for name in group.methods] == ["source", "1 seed", "source"]
    assert [group.missing_seeds(source, name) for name in group.methods] == [[], [], []]
    assert group.missing_seeds(target, "meta_pb2") == [1]  # and not the source's 7


def test_a_source_in_which_memory_is_tried_too_may_lack_runs() -> None:
    runs = [make_run("pb2"), make_run("pb2", changed=LONG)]
    group = group_of([*runs, make_run("meta_pb2", sources=[LONG]), make_run("meta_pb2", changed=LONG, sources=[{}])])
    assert group.sources == set(group.contexts)
    assert not any(map(group.only_source, group.contexts))


def test_old_results_do_not_say_what_was_spent_and_their_members_steps_are_shown() -> None:
    info, frame = make_run(scores=[1.0, 2.0])
    old = frame.assign(spent_steps=pd.array([pd.NA] * len(frame), dtype="Int64"))
    (run,) = group_of([(info, old)]).runs
    assert run.steps.tolist() == [1000, 2000]


def test_members_may_report_in_any_order() -> None:
    """In an asynchronous run the best member of a generation may report long before the last one."""
    info, frame = make_run(scores=[1.0, 2.0])
    ahead = frame.iloc[[0, 2, 1, 3]].assign(spent_steps=[1000, 2000, 3000, 4000])
    (run,) = group_of([(info, ahead)]).runs
    assert run.scores.tolist() == [1, 2]
    assert run.steps.tolist() == [1500, 2000]


def test_a_member_that_ends_with_an_earlier_generation_takes_no_steps_back() -> None:
    """A copy takes over its parent's steps, so that members of an asynchronous run need not end together."""
    info, frame = make_run(scores=[100.0, 200.0, 300.0, 400.0])
    order = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (3, 0), (2, 1)]
    rows = frame.set_index(["generation", "member"]).loc[order].reset_index()
    rows["spent_steps"] = [1000, 2000, 3000, 4000, 5000, 6000, 7000]
    (run,) = group_of([(info, rows)]).runs
    assert run.steps.tolist() == [1500, 2500, 3500, 3500]
    assert run.area == pytest.approx((150 * 1000 + 250 * 1000) / 2000)


def test_an_environment_that_has_gained_a_feature_is_reported_with_what_was_run_before() -> None:
    def run(seed: int, features: dict[str, float], changed: list[str]) -> SyntheticRun:
        info, frame = make_run(seed=seed)
        info = replace(info, env="own:HILL", context=Context(features, changed), path=info.path / str(seed))
        return info, frame.assign(run_dir=str(info.path))

    before = [run(0, {"gravity": 9.8}, []), run(1, {"gravity": 3.0}, ["gravity"])]
    after = [
        run(2, {"gravity": 9.8, "wind": 1.0}, ["wind"]),
        run(3, {"gravity": 3.0, "wind": 0.0}, ["gravity"]),
        run(4, {"gravity": 9.8, "wind": 0.0}, []),
    ]
    found = {group.features: sorted(group.labels.values()) for group in groups_of([*before, *after])}
    assert found == {
        ("wind",): ["0", "1"],
        ("gravity",): ["3 (1 feature)", "3 (2 features)", "9.8 (1 feature)", "9.8 (2 features)"],
    }
