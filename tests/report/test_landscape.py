import logging
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern
from told_runs import SPACE, memory_of, told

import metapbt
from metapbt import seeding
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.memory.cache import FOLDER, ModelCache
from metapbt.memory.trust import RELATEDNESS, explained
from metapbt.population.explorers.pb2 import PLAIN_GP, PB2Explorer, Situation
from metapbt.report.figures.landscape import draw_landscape
from metapbt.report.figures.memory import draw_memory
from metapbt.report.knowledge import decision_after, explorer_of, has_surrogate, surrogate_after
from metapbt.report.landscape import CHANGE, SCORE, caption, defaults, surrogate_view, tried_points, usual_interval
from metapbt.report.memory_view import memory_view
from metapbt.report.run_figures import write_run_figures
from metapbt.runs.run import load
from metapbt.space import Space

ROOT = Path(__file__).parents[2]
WITH_CATEGORY = {**SPACE, "act": {"type": "categorical", "choices": ["relu", "tanh"]}}
FAST = {"kernel": "plain"}  # its training takes a second, the network's several


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    with_memory = logging.getLogger("metapbt")
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    with_memory.addHandler(handler)
    level, _ = with_memory.level, with_memory.setLevel(logging.INFO)
    found = {
        "meta_pb2": told(
            results, "meta_pb2", generations=5, memory=memory_of(), cache=ModelCache(results / FOLDER), **FAST
        )
    }
    with_memory.setLevel(level)
    with_memory.removeHandler(handler)
    for method in ("pb2", "pbt"):
        found[method] = told(results, method)
    found["bg_pbt"] = told(results, "bg_pbt", generations=6)
    found["pb2_mix"] = told(results, "pb2_mix", generations=4, space=WITH_CATEGORY)
    found["said"] = [line for line in lines if "of the forecast" in line]
    return found


@pytest.mark.parametrize("method", ["pb2", "bg_pbt", "meta_pb2", "pb2_mix"])
def test_it_is_what_the_run_chose_by(runs, method):
    run = runs[method]
    explorer = explorer_of(run)
    decided = 0
    for generation in range(run.history.generations - 1):
        decision = decision_after(run, generation)
        rng = seeding.generator(0, generation + 1, -1, "explore")
        again = explorer.propose(decision.children, decision.parents, decision.history, decision.pending, rng)
        assert [dict(s.hyperparameters) for s in again] == [dict(r.hyperparameters) for r in decision.suggested]
        decided += len(decision.suggested)
    assert decided >= 3


def test_its_forecast_is_the_explorers_own(runs, monkeypatch):
    run, asked = runs["pb2"], {}

    def spy(model, bounds, fixed, beta, seed):
        asked.update(model=model, fixed=fixed)
        return torch.full((bounds.shape[1],), 0.5, dtype=torch.float64)

    monkeypatch.setattr("metapbt.surrogates.acquisition.maximise_ucb", spy)
    decision, explorer = decision_after(run, 5), explorer_of(run)
    # What others try narrows the deviation only, and is left out here to compare that too.
    explorer.propose(decision.children, decision.parents, decision.history, [], np.random.default_rng(0))
    tried = [record.hyperparameters for record in decision.history]
    given = [asked["fixed"][column] for column in range(2)]
    rows = torch.tensor([[*given, *explorer.columns(each)] for each in tried], dtype=torch.float64)
    expected = asked["model"].posterior(rows)
    surrogate = surrogate_after(run, 5)[0]
    mean, deviation = surrogate.forecast(decision.parents[0], tried)
    np.testing.assert_allclose(mean, expected.mean.detach().numpy()[:, 0], rtol=1e-9)
    np.testing.assert_allclose(deviation, expected.variance.sqrt().detach().numpy()[:, 0], rtol=1e-9)


def test_the_plain_gp_is_scikit_learns(runs):
    run = runs["pb2"]
    decision, explorer = decision_after(run, 5), PB2Explorer(Space(SPACE))
    situation = Situation.of(decision.history, decision.children, decision.parents)
    x, y = explorer.table(situation, situation.rows)
    model = explorer.fit(situation, {})
    decay, scaled = model.covar_module.kernels
    alone, never = np.full(x.shape[1], 1e12), 1e12
    alone[0] = -2 / math.log(1 - decay.epsilon.item())
    lengths = np.array([never, *[scaled.base_kernel.lengthscale.item()] * (x.shape[1] - 1)])
    kernel = Matern(alone, nu=0.5) * ConstantKernel(scaled.outputscale.item()) * RBF(lengths)
    targets = y.numpy()[:, 0]
    centre, unit = targets.mean(), targets.std(ddof=1)
    mean_of_model = model.mean_module.constant.item()
    theirs = GaussianProcessRegressor(kernel, alpha=model.likelihood.noise.item(), optimizer=None)
    theirs.fit(x.numpy(), (targets - centre) / unit - mean_of_model)

    view = surrogate_view(run, 5, "lr", "x", 9)
    held = view.attrs["held"]
    given = situation.given(situation.now, decision.parents[0].reached)
    asked = [[*given, *explorer.columns({"lr": a, "x": b, **held})] for a, b in zip(view["x"], view["y"], strict=True)]
    mean, deviation = theirs.predict(np.array(asked), return_std=True)
    interval = usual_interval(decision.history)
    np.testing.assert_allclose(view["mean"], ((mean + mean_of_model) * unit + centre) * interval, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(view["deviation"], deviation * unit * interval, rtol=1e-5)


def test_a_view_is_in_the_hyperparameters_own_units(runs):
    view = surrogate_view(runs["pb2"], 6, "lr", "n", 7)
    across, up = np.unique(view["x"]), np.unique(view["y"])
    np.testing.assert_allclose(across, np.geomspace(1e-4, 1e-1, 7))
    assert up.tolist() == [1, 2, 3, 4, 5, 6]  # six legal values, however many are asked for
    assert len(view) == 7 * 6
    assert set(view["model"]) == {PLAIN_GP}  # which is PB2's own
    assert set(view["unit"]) == {CHANGE}
    assert view.attrs["log"] == [True, False]
    assert view.attrs["held"].keys() == {"x"}
    assert "member" in caption(view)
    assert "points may differ" in caption(view)


def test_it_sees_where_returns_grow(runs):
    run = runs["pb2"]
    view = surrogate_view(run, 6, "lr", "x")
    best = view.loc[view["mean"].idxmax()]
    assert 1e-3 < best["x"] <= 1e-1  # the formula's are 0.01 and 0.5
    assert 0.2 < best["y"] < 0.8


def test_memory_stands_beside_the_plain_gp(runs):
    run = runs["meta_pb2"]
    view = surrogate_view(run, 2, "lr", "x", 8)
    own, plain = (view[view["model"] == model] for model in ("plain kernel, with memory", PLAIN_GP))
    assert len(own) == len(plain) == 64
    assert sum(view.attrs["weights"]) == pytest.approx(1)
    assert len(view.attrs["weights"]) == len(RELATEDNESS) + 1
    # After three generations memory is less unsure than twelve rows are.
    assert own["deviation"].mean() < plain["deviation"].mean()
    # Both are in one unit: what returns really changed by lies within what either says.
    changes = tried_points(run, 2)["change"].dropna()
    for model in (own, plain):
        low, high = (model["mean"] - 3 * model["deviation"]).min(), (model["mean"] + 3 * model["deviation"]).max()
        assert changes.between(low, high).all()


def test_ranks_have_standard_scores(runs):
    view = surrogate_view(runs["bg_pbt"], 4, "lr", "x", 6)
    assert view.groupby("model")["unit"].first().to_dict() == {"mixed kernel": SCORE, PLAIN_GP: CHANGE}
    assert view[view["unit"] == SCORE]["mean"].abs().max() < 3


def test_points_are_those_of_the_history(runs):
    run = runs["pb2"]
    points = tried_points(run, 3)
    tried, suggested = points[points["kind"] == "tried"], points[points["kind"] == "suggested"]
    assert len(tried) == 16
    assert len(suggested) == 1
    for point, row in zip(tried.to_dict("records"), run.history.transitions(), strict=False):
        assert point["change"] == pytest.approx(row.return_after - row.return_before)
        assert point["hp.lr"] == row.hyperparameters["lr"]
    coming = run.history.generation(4)[int(suggested["member"].iloc[0])]
    assert coming.parent is not None
    assert suggested["hp.x"].iloc[0] == coming.hyperparameters["x"]
    assert suggested["change"].isna().all()


def test_what_cannot_be_shown_is_said_in_one_line(runs, tmp_path):
    run = runs["pb2"]
    for arguments, said in (
        ((9, "lr", "x"), "generation must be from 0 to 7, got 9"),
        ((3, "lr", "lr"), "x and y must be two"),
        ((3, "lr", "y"), "hyperparameter"),
        ((3, "lr", "x", 1), "resolution must be >= 2"),
    ):
        with pytest.raises(MetapbtError, match=said):
            surrogate_view(run, *arguments)
    with pytest.raises(MetapbtError, match="act is a category"):
        surrogate_view(runs["pb2_mix"], 2, "lr", "act")
    with pytest.raises(MetapbtError, match="method=pbt has no surrogate"):
        surrogate_view(runs["pbt"], 3, "lr", "x")
    with pytest.raises(MetapbtError, match="too little to fit"):
        surrogate_view(runs["bg_pbt"], 0, "lr", "x")
    with pytest.raises(MetapbtError, match="method=pb2 has no memory"):
        memory_view(run)
    assert [has_surrogate(method) for method in ("pb2", "pbt")] == [True, False]


def test_code_that_results_name_is_not_imported(tmp_path, monkeypatch):
    run = told(tmp_path, "metapbt.population.explorers.pb2:PB2Explorer", generations=2)
    with pytest.raises(MetapbtError, match="not imported because results name it"):
        surrogate_view(run, 1, "lr", "x")
    assert not has_surrogate(run.info.method)
    assert "not imported" in write_run_figures(run, tmp_path / "out").notes[0]


def test_defaults_are_what_mattered(runs):
    found = defaults(runs["pb2"])
    assert {found.x, found.y} <= {"lr", "x", "n"}
    assert found.generations[-1] == 6  # after the last generation nothing is chosen
    assert not found.told


def test_memory_says_what_the_log_said(runs):
    run = runs["meta_pb2"]
    known = [-1, *sorted({r.generation - 1 for r in run.history if r.parent is not None})]
    view = memory_view(run, known)  # nobody trained with what was chosen last
    assert view.trust["generation"].tolist() == known
    np.testing.assert_allclose(view.trust[["related", "kernel", "alone"]].sum(axis=1), 1.0)
    for row, line in zip(view.trust.to_dict("records"), runs["said"][:-1], strict=True):
        related = [row["related"] / (len(RELATEDNESS) - 1)] * (len(RELATEDNESS) - 1)
        assert explained([row["kernel"], *related, row["alone"]]) in line
    assert view.sources["rows"].tolist() == [24, 24]
    assert view.sources["context.shift"].tolist() == [0.4, 0.6]
    assert view.sources["share"].sum() == pytest.approx(1)
    per_cents = [int(part) for part in re.findall(r"(\d+)%", view.sentence)]
    assert sum(per_cents[:3]) == sum(per_cents[3:]) == 100
    assert view.sentence.startswith("Memory is 48 intervals of 2 runs on 2 contexts. At the start ")


def test_models_that_are_kept_no_more_are_trained_only_when_asked(runs, tmp_path):
    before = runs["meta_pb2"].path
    run = load(shutil.copytree(before, tmp_path / before.relative_to(before.parents[3])))
    with pytest.raises(MetapbtError, match="kept no more"):
        surrogate_view(run, 1, "lr", "x")
    view = memory_view(run, [-1], train=True)
    assert (tmp_path / FOLDER).is_dir()  # they are kept from then on
    assert view.sentence == memory_view(run, [-1]).sentence == memory_view(runs["meta_pb2"], [-1]).sentence


def test_figures_show_models_side_by_side(runs, tmp_path):
    view, points = surrogate_view(runs["meta_pb2"], 3, "lr", "x", 8), tried_points(runs["meta_pb2"], 3)
    figure = draw_landscape(view, points)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [f"{m}: {q}" for m in ("plain kernel, with memory", PLAIN_GP) for q in ("mean", "deviation")]
    figure.savefig(tmp_path / "figure.png")
    dots = figure.axes[0].collections[-3:]
    assert [len(dot.get_offsets()) for dot in dots] == [12, 4, 1]  # tried, tried last, chosen next
    trust, sources = draw_memory(memory_view(runs["meta_pb2"])).axes
    assert [label.get_text() for label in sources.get_yticklabels()] == ["shift=0.4", "shift=0.6"]
    assert len(trust.collections) == 3


def test_a_run_is_drawn_twice_alike_and_says_what_is_missing(runs, tmp_path):
    first, again = (write_run_figures(runs["pbt"], tmp_path / name) for name in ("first", "again"))
    assert first == again
    assert first.notes == ("method=pbt has no surrogate: no landscape",)
    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_runs_figures_are_as_wide_as_a_papers_column(runs, tmp_path):
    assert (
        main(
            [
                "report",
                str(runs["pbt"].path),
                "--out",
                str(tmp_path),
                "--figures",
                "curves",
                "--views",
                "0",
                "--width",
                "4in",
            ]
        )
        == 0
    )
    with Image.open(tmp_path / "run" / "importance.png") as image:
        assert image.width == 4 * 150
    figure = draw_landscape(surrogate_view(runs["pb2"], 3, "lr", "x", 4), tried_points(runs["pb2"], 3), width=4.0)
    assert figure.get_figwidth() == 4.0
    assert {text.get_fontsize() for axes in figure.axes for text in axes.get_xticklabels()} == {8.0}


def test_a_flat_surrogate_is_drawn_too(runs, tmp_path):
    view, points = surrogate_view(runs["pb2"], 3, "lr", "x", 4), tried_points(runs["pb2"], 3)
    for flat in (0.0, 1e9):
        draw_landscape(view.assign(mean=flat, deviation=flat * 1e-9), points).savefig(tmp_path / "flat.png")


def test_of_an_asynchronous_run_it_is_the_last_that_made_a_copy(tmp_path):
    overrides = ["env=quadratic", "population.asynchronous=true", "budget.steps=16", "evaluation.episodes=1"]
    run = metapbt.run([*overrides, "method=pb2", f"results_dir={tmp_path}"])
    explorer, decided = explorer_of(run), 0
    for generation in range(run.history.generations - 1):
        decision = decision_after(run, generation)
        for child, record in zip(decision.children, decision.suggested, strict=False):
            rng = seeding.generator(0, child.generation + 1, child.member, "explore")
            (again,) = explorer.propose(decision.children, decision.parents, decision.history, decision.pending, rng)
            assert dict(again.hyperparameters) == dict(record.hyperparameters)
            decided += 1
    assert decided >= 2


@pytest.mark.slow
def test_the_page_about_results_runs(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "reading_results.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    place = "results/cart_pole/pole_length=0.6/meta_pb2/seed_0"
    assert place in code
    names = {}
    exec(code.replace(place, str(runs["meta_pb2"].path)), names)
    assert set(names["view"]["model"]) == {"plain kernel, with memory", PLAIN_GP}
    drawn = {file.stem for file in (tmp_path / "figures").glob("*.png") if file.stat().st_size > 10_000}
    assert {"importance", "memory", "landscape_4"} <= drawn
    assert (tmp_path / "figures" / "landscape_4_tried.csv").read_text().startswith("kind,generation,member,source")
