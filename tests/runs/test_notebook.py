"""A run in a notebook: a bar, a short answer, a table with a figure."""

import os
import re
from pathlib import Path

import pytest

import metapbt
from metapbt.errors import MetapbtError
from metapbt.runs.notebook import draw_returns

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_example_runs_and_shows_what_it_says(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)  # as committed
    small = '"budget.steps=1200", "budget.interval=400", "evaluation.test_episodes=2", "population.size=2"'
    (training,) = (cell for cell in notebook.cells if "metapbt.run(" in cell.source)
    training.source = training.source.replace('"budget.steps=20000"', small)
    assert small in training.source
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]

    (bar,) = (output for output in shown[0] if output.output_type == "display_data")
    text = re.sub("<.*?>", "", bar.data["text/html"])
    assert "cart_pole pole_length=0.8 pb2 seed 0, generation 3 of 3" in text
    assert "6 of 6 intervals" in text
    assert "━" in text
    said = "".join(output.text for output in shown[0] if output.output_type == "stream")
    assert "generation" not in said  # the bar says it

    (answer,) = shown[1]
    assert len(answer.data["text/plain"]) < 200
    assert answer.data["text/html"].startswith("<table>")
    assert "<svg" in answer.data["text/html"]
    assert "test return" in answer.data["text/html"]
    assert "<table" in shown[2][0].data["text/html"]
    assert "image/png" in shown[3][-1].data
    assert float(re.search(r"[\d.]+", shown[4][0].data["text/plain"]).group()) > 0


def test_what_a_run_is_called_is_shown_as_text(tmp_path):
    run = metapbt.run(["env=quadratic", "method=pbt", "executor=inline", "budget.steps=8", "results_dir='<b>bold'"])
    page = run._repr_html_()
    assert "&lt;b&gt;bold" in page
    assert "<b>" not in page
    assert page == metapbt.load(run.path)._repr_html_()


def test_the_figure_has_every_member_and_the_best_ones_line(tmp_path):
    run = metapbt.run(["env=quadratic", "method=pbt", "executor=inline", "budget.steps=40", "population.size=3"])
    *members, best = draw_returns(run.history).axes[0].lines
    assert len(members) == 3
    for number, line in enumerate(members):
        rows = run.records[run.records["member"] == number]
        assert list(line.get_xdata()) == list(rows["env_steps"])
        assert list(line.get_ydata()) == list(rows["score"])
    assert list(best.get_xdata()) == list(run.schedule["env_steps"])
    assert best.get_ydata()[-1] == run.records["score"].max()


def test_a_run_without_records_is_shown_without_a_figure(tmp_path, monkeypatch):
    asked = ["env=quadratic", "method=pbt", "executor=inline", "budget.steps=8"]
    monkeypatch.setattr("metapbt.runs.intervals.Intervals.start", lambda *_: 1 / 0)
    with pytest.raises(MetapbtError):
        metapbt.run(asked)
    run = metapbt.load("results/quadratic/default/pbt/seed_0")
    assert "nothing yet" in run._repr_html_()
    assert "<svg" not in run._repr_html_()
    with pytest.raises(MetapbtError, match="no interval has finished yet"):
        draw_returns(run.history)
