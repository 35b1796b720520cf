"""The numbers behind each figure, and that each figure shows what its numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from synthetic_results import group_of, groups_of, make_run, realistic_runs

from metapbt.report import comparison, curves, final_returns, heatmap
from metapbt.report.figures.style import method_styles
from metapbt.report.groups import Group

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


def test_curves_hold_mean_interval_and_the_number_of_seeds(group: Group) -> None:
    data = curves.curves_data(group)
    pb2 = data[(data["method"] == "pb2") & (data["context"] == "0.8 (×1.6)")]
    assert pb2[["env_steps", "mean", "low", "high", "seeds"]].to_numpy().tolist() == [
        [1000, 15, 10, 20, 2],
        [2000, 30, 20, 40, 2],
    ]


def test_curves_go_on_with_the_seeds_that_got_that_far(group: Group) -> None:
    data = curves.curves_data(group)
    meta = data[data["method"] == "meta_pb2"].dropna(subset="env_steps")
    assert meta["mean"].tolist() == [30, 50]
    assert meta["seeds"].tolist() == [2, 1]
    assert math.isnan(meta["low"].iloc[1])


def test_a_missing_method_is_a_row_that_says_so(group: Group) -> None:
    for data in (curves.curves_data(group), heatmap.heatmap_data(group), final_returns.final_data(group)):
        missing = data[(data["context"] == "0.5 (default)") & (data["method"] == "meta_pb2")]
        assert missing["status"].tolist() == ["missing"]
        assert missing["mean"].isna().all()
        assert missing["seeds"].tolist() == [0]


def test_every_panel_tells_seeds_and_missing_methods(group: Group) -> None:
    shown = " ".join(" ".join(texts(curves.draw_curves(group, curves.curves_data(group)))).split())
    assert "default, meta_pb2: missing; pb2: 2 seeds" in shown
    assert "default: 1 of 2 seeds; pb2: 2 seeds; meta_pb2: 1 of 2 seeds finished" in shown


def test_contexts_with_several_methods_come_before_sources(group: Group) -> None:
    assert [context.label for context in curves.panel_order(group)] == ["0.8 (×1.6)", "0.5 (default)"]


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
    figure = final_returns.draw_final(group, final_returns.final_data(group), final_returns.runs_data(group))
    assert {"missing", "seed not finished", "1/2"} <= set(texts(figure))


def test_heat_map_averages_over_seeds_on_one_grid(group: Group) -> None:
    data = heatmap.heatmap_data(group)
    cells = data[(data["method"] == "pb2")].pivot_table(index="context", columns="env_steps", values="mean")
    assert cells.loc["0.8 (×1.6)"].to_dict() == {1000: 15, 2000: 30}
    assert cells.loc["0.5 (default)"].to_dict() == {1000: 5, 2000: 15}
    assert data.groupby("context")["source"].all().to_dict() == {"0.5 (default)": True, "0.8 (×1.6)": False}


def test_heat_map_has_one_colour_scale_and_frames_the_rows_of_sources(group: Group) -> None:
    data = heatmap.heatmap_data(group)
    figure = heatmap.draw_heatmap(group, data)
    panels = [axes for axes in figure.axes if axes.get_title() in group.methods]
    assert [axes.get_title() for axes in panels] == ["default", "pb2", "meta_pb2"]
    meshes = [mesh for axes in panels for mesh in axes.collections if isinstance(mesh, QuadMesh)]
    assert {mesh.get_clim() for mesh in meshes} == {(data["mean"].min(), data["mean"].max())}
    for axes in panels:
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
        assert [frame.get_y() + 0.5 for frame in frames] == [0]  # the row of the default context
    assert [texts(axes).count("missing") for axes in panels] == [1, 0, 1]


def test_heat_map_cells_end_where_their_score_was_taken() -> None:
    assert heatmap.cell_edges(np.array([1000.0, 3000.0])).tolist() == [0, 1000, 3000]


def test_methods_are_compared_in_the_contexts_that_all_of_them_finished(group: Group) -> None:
    data = comparison.comparison_data(group)
    final = data[(data["statistic"] == "iqm") & (data["quantity"] == "final")].set_index("method")
    assert final["contexts"].tolist() == [1, 1, 1]
    assert final["estimate"].to_dict() == {"default": 2, "pb2": 30, "meta_pb2": 50}
    area = data[(data["statistic"] == "iqm") & (data["quantity"] == "area")].set_index("method")
    assert area["estimate"].to_dict() == {"default": 1.5, "pb2": 22.5, "meta_pb2": 35}


def test_memory_is_judged_by_runs_of_the_same_context_and_seed(group: Group) -> None:
    data = comparison.comparison_data(group)
    final = data[(data["statistic"] == "difference") & (data["quantity"] == "final")].set_index("context")
    assert final["estimate"].to_dict() == {"all contexts": 30, "0.8 (×1.6)": 30}  # seed 0: 50 - 20
    assert final["runs"].tolist() == [1, 1]


def test_a_method_in_few_contexts_does_not_take_them_from_the_others() -> None:
    lengths = [{"pole_length": value} for value in (0.1, 0.2, 0.3, 0.4)]
    runs = [make_run(name, changed=length) for name in ("default", "pb2") for length in lengths]
    group = group_of([*runs, make_run("grid", changed=lengths[0])])
    contexts, methods = comparison.compared_contexts(group)
    assert len(contexts) == 4
    assert methods == ["default", "pb2"]
    data = comparison.comparison_data(group)
    assert data.loc[data["method"] == "grid", "contexts"].tolist() == [0, 0]
    assert "not in the shared contexts" in texts(comparison.draw_comparison(group, data))


def test_methods_without_a_common_context_are_not_compared() -> None:
    group = group_of([make_run("default"), make_run("pb2", changed=LONG)])
    data = comparison.comparison_data(group)
    assert data["estimate"].isna().all()
    assert "no context that these methods finished" in texts(comparison.draw_comparison(group, data))


def test_a_method_looks_the_same_in_every_figure_whoever_else_is_there() -> None:
    alone = method_styles(["pb2"])["pb2"]
    assert method_styles(["mine", "meta_pb2", "pb2"])["pb2"] == alone
    styles = method_styles(["default", "random", "grid", "pbt", "pb2", "pb2_rand", "pb2_mult", "pb2_mix", "meta_pb2"])
    assert len({style.color for style in styles.values()}) == len({style.marker for style in styles.values()}) == 9


def test_nothing_is_clipped_in_a_large_report() -> None:
    group = group_of(realistic_runs(contexts=22, seeds=2, generations=4))
    final = (final_returns.final_data(group), final_returns.runs_data(group))
    for figure in (
        curves.draw_curves(group, curves.curves_data(group)),
        final_returns.draw_final(group, *final),
        heatmap.draw_heatmap(group, heatmap.heatmap_data(group)),
        comparison.draw_comparison(group, comparison.comparison_data(group)),
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
        curves.draw_curves(group, curves.curves_data(group)),
        final_returns.draw_final(group, *final),
        heatmap.draw_heatmap(group, heatmap.heatmap_data(group)),
        comparison.draw_comparison(group, comparison.comparison_data(group)),
    ]
    for figure in figures:
        figure.draw_without_rendering()
    assert "no score yet" in texts(figures[2])
