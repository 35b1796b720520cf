"""The numbers behind each figure, and that each figure shows what its numbers say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from synthetic_results import group_of, groups_of, make_run, realistic_runs

from metapbt.report import comparison
from metapbt.report.figures import curves, final_returns, heatmap
from metapbt.report.figures.comparison import draw_comparison
from metapbt.report.figures.improvement import improvement_data
from metapbt.report.figures.lineage import draw_lineage
from metapbt.report.figures.style import color_range
from metapbt.report.figures.thresholds import thresholds_data
from metapbt.report.groups import Group
from metapbt.report.palette import SOURCE_GREY

LONG = {"pole_length": 0.8}


@pytest.fixture
def group() -> Group:
    """The default context is a source with pb2 alone; in the long one a seed is missing, a run goes on."""
    return group_of(
        [
            make_run("pb2", 0, scores=[0.0, 10.0]),
            make_run("pb2", 1, scores=[10.0, 20.0]),
            make_run("default", 0, changed=LONG, scores=[1.0, 2.0]),
            make_run("pb2", 0, changed=LONG, scores=[10.0, 20.0]),
            make_run("pb2", 1, changed=LONG, scores=[20.0, 40.0]),
            make_run("meta_pb2", 0, changed=LONG, scores=[20.0, 50.0], sources=[{}]),
            make_run("meta_pb2", 1, changed=LONG, scores=[40.0], generations=2, state="running", sources=[{}]),
        ]
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_curves_hold_mean_interval_and_the_number_of_seeds() -> None:
    data = curves.curves_data(group_of([make_run(seed=seed, scores=[5.0 * seed, 10.0]) for seed in (1, 2, 3)]))
    half_width = 4.302653 * 5 / math.sqrt(3)  # Student's t with two degrees of freedom
    assert data[["env_steps", "mean", "low", "high", "seeds"]].to_numpy() == pytest.approx(
        np.array([[1000, 10, 10 - half_width, 10 + half_width, 3], [2000, 10, 10, 10, 3]])
    )


def test_curves_go_on_with_the_seeds_that_got_that_far(group: Group) -> None:
    data = curves.curves_data(group)
    meta = data[data["method"] == "meta_pb2"].dropna(subset="env_steps")
    assert meta["mean"].tolist() == [30, 50]
    assert meta["seeds"].tolist() == [2, 1]
    assert math.isnan(meta["low"].iloc[1])


def test_a_missing_method_is_a_row_that_says_so(group: Group) -> None:
    lost = group_of([make_run("pb2"), make_run("pb2", changed=LONG), make_run("meta_pb2", changed=LONG)])
    for of_group, said in ((group, "source"), (lost, "missing")):
        for data in (
            curves.curves_data(of_group),
            heatmap.heatmap_data(of_group),
            final_returns.final_data(of_group),
        ):
            missing = data[(data["context"] == "0.5 (default)") & (data["method"] == "meta_pb2")]
            assert missing["status"].tolist() == [said]
            assert missing["mean"].isna().all()
            assert missing["seeds"].tolist() == [0]


def test_every_panel_tells_seeds_and_missing_methods(group: Group) -> None:
    shown = " ".join(" ".join(texts(curves.draw_curves(curves.curves_data(group)))).split())
    data = curves.curves_data(group)
    assert curves.coverage_line(data, "0.5 (default)") == "pb2: 2 seeds"  # nobody else is expected there
    assert "default: 1 of 2 seeds; pb2: 2 seeds; meta_pb2: 1 of 2 seeds finished" in shown


def test_contexts_with_several_methods_come_before_sources(group: Group) -> None:
    data = curves.curves_data(group)
    assert curves.panel_order(data) == ["0.8 (×1.6)", "0.5 (default)"]
    assert curves.sources_in(data) == ["0.5 (default)"]


def test_sources_share_a_panel_in_grey_and_are_never_missing() -> None:
    group = group_of(realistic_runs(contexts=6, seeds=2, generations=4))
    figure = curves.draw_curves(curves.curves_data(group))
    assert [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes] == [
        "pole_length = 0.4 (×0.8)",
        "pole_length = 1 (×2)",
        "pole_length = 1.6 (×3.2)",
        "source contexts",
    ]
    assert {line.get_color() for line in figure.axes[-1].lines} == {SOURCE_GREY}
    assert len(figure.axes[-1].lines) == 3
    assert "missing" not in " ".join(texts(figure))


def test_a_failed_run_and_a_wide_band_do_not_squash_the_curves() -> None:
    scores = [[0.0, 10.0], [-900.0, 20.0], [0.0, 30.0], [0.0, 20.0]]
    group = group_of([make_run("pb2", seed, scores=each) for seed, each in enumerate(scores)])
    data = curves.curves_data(group)
    assert data["mean"].tolist() == [-225, 20]
    assert data["low"].min() < -900
    low, high = curves.draw_curves(data).axes[0].get_ylim()
    assert -300 < low < -225
    assert 20 < high < 100


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (3, 3), (4, 4), (5, 3), (6, 3), (8, 4), (22, 4)])
def test_panels_wrap_with_little_empty_space(panels: int, columns: int) -> None:
    assert curves.column_count(panels) == columns


def test_final_returns_average_finished_runs_only(group: Group) -> None:
    data = final_returns.final_data(group).set_index(["context", "method"])
    meta = data.loc[("0.8 (×1.6)", "meta_pb2")]
    assert meta["mean"] == 50
    assert math.isnan(meta["low"])
    assert meta["status"] == "1 of 2 seeds finished"
    assert data.loc[("0.8 (×1.6)", "pb2"), "mean"] == 30


def test_each_run_and_each_missing_seed_has_a_row(group: Group) -> None:
    data = final_returns.runs_data(group)
    states = data[data["context"] == "0.8 (×1.6)"].set_index(["method", "seed"])["state"].to_dict()
    assert states == {
        ("default", 0): "done",
        ("default", 1): "missing",
        ("pb2", 0): "done",
        ("pb2", 1): "done",
        ("meta_pb2", 0): "done",
        ("meta_pb2", 1): "running",
    }


def test_final_returns_mark_what_is_missing_or_unfinished(group: Group) -> None:
    figure = final_returns.draw_final(final_returns.final_data(group), final_returns.runs_data(group))
    assert {"seed not finished", "1/2"} <= set(texts(figure))
    assert "missing" not in texts(figure)
    lost = group_of([make_run("pb2"), make_run("pb2", changed=LONG), make_run("meta_pb2", changed=LONG)])
    figure = final_returns.draw_final(final_returns.final_data(lost), final_returns.runs_data(lost))
    assert "missing" in texts(figure)


def test_heat_map_averages_over_seeds_on_one_grid(group: Group) -> None:
    data = heatmap.heatmap_data(group)
    cells = data[(data["method"] == "pb2")].pivot_table(index="context", columns="env_steps", values="mean")
    assert cells.loc["0.8 (×1.6)"].to_dict() == {1000: 15, 2000: 30}
    assert cells.loc["0.5 (default)"].to_dict() == {1000: 5, 2000: 15}
    assert data.groupby("context")["source"].all().to_dict() == {"0.5 (default)": True, "0.8 (×1.6)": False}


def test_heat_map_has_one_colour_scale_and_marks_the_rows_of_sources_in_grey(group: Group) -> None:
    data = heatmap.heatmap_data(group)
    figure = heatmap.draw_heatmap(data)
    panels = [axes for axes in figure.axes if axes.get_title() in group.methods]
    assert [axes.get_title() for axes in panels] == ["default", "pb2", "meta_pb2"]
    meshes = [mesh for axes in panels for mesh in axes.collections if isinstance(mesh, QuadMesh)]
    assert {mesh.get_clim() for mesh in meshes} == {(data["mean"].min(), data["mean"].max())}
    for axes in panels:
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [bar.get_y() + 0.5 for bar in bars] == [0]  # the row of the default context
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {SOURCE_GREY}
    assert [texts(axes).count("source") for axes in panels] == [1, 0, 1]


def test_few_failures_do_not_take_up_the_colour_scale_of_a_heat_map(group: Group) -> None:
    data = heatmap.heatmap_data(group)
    many = pd.concat([data.assign(env_steps=data["env_steps"] + 2000 * place) for place in range(30)])
    many.loc[many["env_steps"] == 1000, "mean"] = [-800.0, *many.loc[many["env_steps"] == 1000, "mean"][1:]]
    assert color_range(many["mean"]) == (data["mean"].min(), data["mean"].max())
    figure = heatmap.draw_heatmap(many)
    limits = {mesh.get_clim() for axes in figure.axes for mesh in axes.collections if isinstance(mesh, QuadMesh)}
    assert (data["mean"].min(), data["mean"].max()) in limits
    (bar,) = [axes for axes in figure.axes if axes.get_ylabel().startswith("mean ")]
    assert bar._colorbar.extend == "min"  # type: ignore[attr-defined]


def test_few_failures_do_not_take_up_the_colour_scale_of_a_family_tree() -> None:
    rows = [
        {"generation": generation, "member": member, "return": 100.0 * generation + member, "best_lineage": False}
        for generation in range(20)
        for member in range(4)
    ]
    data = pd.DataFrame(rows).assign(kind="first", from_generation=np.nan, from_member=np.nan)
    data.loc[5, "return"] = -4000.0
    figure = draw_lineage(data)
    (members,) = [points for points in figure.axes[0].collections if np.shape(points.get_offsets())[0] == len(data)]
    assert members.get_clim() == color_range(data["return"]) == (0.0, 1902.0)


def test_heat_map_cells_end_where_their_score_was_taken() -> None:
    assert heatmap.cell_edges(np.array([1000.0, 3000.0])).tolist() == [0, 1000, 3000]


def chosen(data: pd.DataFrame, **values: str) -> pd.DataFrame:
    for column, value in values.items():
        data = data[data[column] == value]
    return data


def test_methods_are_compared_in_the_contexts_that_all_of_them_finished(group: Group) -> None:
    data = comparison.comparison_data(group)
    final = chosen(data, statistic="mean", quantity="final", unit="points").set_index("method")
    assert final["contexts"].tolist() == [1, 1, 1]
    assert final["estimate"].to_dict() == {"default": 2, "pb2": 30, "meta_pb2": 50}
    area = chosen(data, statistic="mean", quantity="area", unit="points").set_index("method")
    assert area["estimate"].to_dict() == {"default": 1.5, "pb2": 22.5, "meta_pb2": 35}


def test_a_context_with_a_wide_range_of_returns_does_not_decide_alone() -> None:
    wide, narrow = {"pole_length": 0.8}, {"pole_length": 1.1}
    group = group_of(
        [
            make_run("pbt", changed=wide, scores=[0.0, 900.0]),
            make_run("pb2", changed=wide, scores=[0.0, 1000.0]),
            make_run("pbt", changed=narrow, scores=[0.0, 10.0]),
            make_run("pb2", changed=narrow, scores=[0.0, 5.0]),
        ]
    )
    data = comparison.comparison_data(group)
    for statistic in ("mean", "iqm"):
        normalised = chosen(data, statistic=statistic, quantity="final", unit="normalised").set_index("method")
        assert normalised["estimate"].to_dict() == pytest.approx({"pbt": (0.9 + 1) / 2, "pb2": (1 + 0.5) / 2})
    difference = chosen(data, statistic="difference", quantity="final", context="all contexts").set_index("unit")
    assert difference["estimate"].to_dict() == pytest.approx({"points": 95 / 2, "normalised": (0.1 - 0.5) / 2})
    (pairs,) = comparison.all_pairs(group)
    assert pairs.pooled_unit == "normalised"
    assert "difference in final return, normalised" in texts(draw_comparison(data))


def test_contexts_in_which_every_run_scores_the_same_do_not_divide_by_zero() -> None:
    group = group_of([make_run(name, seed, scores=[7.0, 7.0]) for name in ("pbt", "pb2") for seed in range(3)])
    data = comparison.comparison_data(group)
    assert (chosen(data, statistic="mean", unit="normalised")[["estimate", "low", "high"]] == 0).all(axis=None)
    assert (chosen(data, statistic="difference")[["estimate", "low", "high"]] == 0).all(axis=None)


def test_memory_is_judged_by_runs_of_the_same_context_and_seed(group: Group) -> None:
    differences = chosen(comparison.comparison_data(group), statistic="difference", quantity="final", unit="points")
    final = chosen(differences, method="meta_pb2", baseline="pb2").set_index("context")
    assert final["estimate"].to_dict() == {"all contexts": 30, "0.8 (×1.6)": 30}  # seed 0: 50 - 20
    assert final["runs"].tolist() == [1, 1]


def test_without_memory_every_method_is_compared_with_the_first_one() -> None:
    group = group_of([make_run(name) for name in ("pb2", "random", "mine")])
    assert [(pairs.method, pairs.baseline) for pairs in comparison.all_pairs(group)] == [
        ("pb2", "random"),
        ("mine", "random"),
    ]


def test_methods_with_a_memory_are_compared_first_and_with_pb2() -> None:
    runs = [make_run(name) for name in ("default", "pb2")]
    runs += [make_run("meta_pb2", sources=[LONG]), make_run("meta_pb2", name="no trust", sources=[LONG])]
    assert [(pairs.method, pairs.baseline, pairs.remembers) for pairs in comparison.all_pairs(group_of(runs))] == [
        ("meta_pb2", "pb2", True),
        ("no trust", "pb2", True),
        ("default", "pb2", False),
    ]


def test_what_begins_with_transfer_is_compared_with_the_same_method_without_it() -> None:
    runs = [make_run(name) for name in ("pbt", "pb2")]
    runs += [make_run(m, name=f"{m}_transfer", sources=[LONG]) for m in ("pbt", "pb2")]
    found = {
        pairs.method: (pairs.baseline, pairs.remembers, pairs.more) for pairs in comparison.all_pairs(group_of(runs))
    }
    assert found["pbt_transfer"] == ("pbt", True, None)
    assert found["pb2_transfer"] == ("pb2", True, None)


def test_differences_name_the_baseline_where_there_are_several() -> None:
    runs = [make_run("pb2"), make_run("bg_pbt", scores=[1.0, 2.0])]
    runs += [make_run("meta_pb2", sources=[LONG], scores=[20.0, 40.0])]
    for runs_drawn, expected, title in (
        (runs, ["meta_pb2", "bg_pbt"], "minus pb2, paired by context and seed"),
        (
            [*runs, make_run("meta_bg_pbt", sources=[LONG])],
            ["meta_bg_pbt minus bg_pbt", "meta_pb2 minus pb2", "bg_pbt minus pb2"],
            "paired by context and seed",
        ),
    ):
        group = group_of(runs_drawn)
        panel = draw_comparison(comparison.comparison_data(group)).axes[2]
        assert [label.get_text() for label in panel.get_yticklabels()] == expected
        assert panel.get_title(loc="left") == title


def test_a_method_in_few_contexts_does_not_take_them_from_the_others() -> None:
    lengths = [{"pole_length": value} for value in (0.1, 0.2, 0.3, 0.4)]
    runs = [make_run(name, changed=length) for name in ("default", "pb2") for length in lengths]
    group = group_of([*runs, make_run("grid", changed=lengths[0])])
    contexts, methods = comparison.compared_contexts(group)
    assert len(contexts) == 4
    assert methods == ["default", "pb2"]
    data = comparison.comparison_data(group)
    assert set(data.loc[(data["method"] == "grid") & (data["statistic"] != "difference"), "contexts"]) == {0}
    assert "not in the shared contexts" in texts(draw_comparison(data))


def test_methods_without_a_common_context_are_not_compared() -> None:
    group = group_of([make_run("default"), make_run("pb2", changed=LONG)])
    data = comparison.comparison_data(group)
    assert data["estimate"].isna().all()
    assert "no context that these methods finished" in texts(draw_comparison(data))


@pytest.mark.slow
def test_nothing_is_clipped_in_a_large_report() -> None:
    group = group_of(realistic_runs(contexts=22, seeds=2, generations=4))
    final = (final_returns.final_data(group), final_returns.runs_data(group))
    for figure in (
        curves.draw_curves(curves.curves_data(group)),
        final_returns.draw_final(*final),
        heatmap.draw_heatmap(heatmap.heatmap_data(group)),
        draw_comparison(comparison.comparison_data(group)),
    ):
        figure.draw_without_rendering()
        inside, drawn = figure.bbox_inches, figure.get_tightbbox()
        assert drawn.x0 >= 0
        assert drawn.y0 >= 0
        assert drawn.x1 <= inside.width
        assert drawn.y1 <= inside.height


def test_a_group_whose_runs_have_no_records_yet_is_drawn_as_such() -> None:
    group, _ = groups_of([make_run(scores=[], generations=3, state="running"), make_run(env="mountain_car")])
    assert curves.curves_data(group)["status"].tolist() == ["0 of 1 seeds finished"]
    final = (final_returns.final_data(group), final_returns.runs_data(group))
    figures = [
        curves.draw_curves(curves.curves_data(group)),
        final_returns.draw_final(*final),
        heatmap.draw_heatmap(heatmap.heatmap_data(group)),
        draw_comparison(comparison.comparison_data(group)),
    ]
    for figure in figures:
        figure.draw_without_rendering()
    assert "no score yet" in texts(figures[2])


def test_runs_that_were_tested_but_never_evaluated_are_not_compared() -> None:
    unseen = [float("nan")] * 3
    group = group_of([make_run("pbt", test_return=5.0, scores=unseen), make_run("pb2", test_return=7.0)])
    assert comparison.comparison_data(group)["contexts"].max() == 0
    final = final_returns.final_data(group).set_index("method")
    assert final["mean"].to_dict() == {"pbt": 5, "pb2": 7}


def test_of_members_tied_for_the_best_no_run_profits_from_the_best_evaluation() -> None:
    info, frame = make_run("pb2", scores=[10.0, 20.0])
    tied = frame.assign(train_return=[500.0, 500.0, 500.0, 400.0])
    (context,) = group_of([(info, tied)]).contexts
    (run,) = group_of([(info, tied)]).runs_of(context, "pb2")
    assert run.scores.tolist() == [12.5, 20.0]  # the other's is 5 higher, and counts where both have the best return


def test_a_threshold_is_one_of_training_and_of_contexts_whose_scores_change() -> None:
    runs = [
        make_run(name, changed=changed, scores=scores, test_return=tested)
        for name in ("pbt", "pb2")
        for changed, scores, tested in (({}, [-200.0, -200.0], -150.0), (LONG, [0.0, 80.0], 400.0))
    ]
    data = thresholds_data(group_of(runs))
    assert set(data["context"]) == {"0.8 (×1.6)"}
    assert set(data["threshold"]) == {60.0}
    assert data["reached"].all()


def test_methods_that_win_half_of_the_time_are_compared_and_tied_ones_are_not() -> None:
    def tied(gain: float) -> list[bool]:
        runs = [
            make_run(name, seed, changed=changed, scores=[0.0, 100.0 + gain * sign * (name == "pb2")])
            for name in ("pbt", "pb2")
            for seed in range(3)
            for changed, sign in (({}, 1), (LONG, -1))
        ]
        data = improvement_data(group_of(runs))
        assert (data["probability"] == 0.5).all()
        return data["tied"].unique().tolist()

    assert tied(10.0) == [False]
    assert tied(0.0) == [True]
