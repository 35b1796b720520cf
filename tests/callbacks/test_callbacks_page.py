"""docs/callbacks.md: what it shows is run."""

import re
import shlex
from pathlib import Path

import pytest

import metapbt
from metapbt.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text(encoding="utf-8")
TOY = ["executor=inline", "budget.steps=8"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("WANDB_MODE", "WANDB_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.S):
        Path(name).write_text(code, encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^metapbt (run .*)$", PAGE, re.M))
def test_each_command_runs(command):
    _, *asked = shlex.split(command)
    needed = re.search(r"callbacks=\[(wandb|mlflow)\]", command)
    if needed:
        pytest.importorskip(needed.group(1), reason="make test-loggers installs it")
    small = TOY if "env=quadratic" in asked else ["executor=inline", "budget.steps=800", "budget.interval=400",
                                                 "evaluation.test_episodes=1"]  # fmt: skip
    assert main(["run", *asked, *small]) == 0
    if needed:
        assert any(Path().glob({"wandb": "wandb/offline-run-*", "mlflow": "mlflow.db"}[needed.group(1)]))
    elif "tensorboard" in command:
        assert len(list(Path("results").rglob("events.out.tfevents.*"))) == 5
    else:
        told = Path("best.txt").read_text().splitlines()
        run = metapbt.load(next(Path("results").rglob("seed_0")))
        assert [line.split()[0] for line in told] == [str(n + 1) for n in range(run.history.generations)]
        assert float(told[-1].split()[1]) == run.best.value()


def test_ones_own_has_five_lines():
    assert len([line for line in Path("best.py").read_text().splitlines() if line]) == 5


def test_ones_own_logger_gets_all_there_is():
    run = metapbt.run(["env=quadratic", "method=pbt", "callbacks=[csv_files:CsvFiles]", *TOY])
    for member, rows in run.records.groupby("member"):
        lines = [line.split(",") for line in (run.path / "csv" / f"member_{member}.csv").read_text().splitlines()]
        told = [(int(step), float(value)) for step, name, value in lines if name == "eval_return"]
        assert told == list(zip(rows["spent_steps"], rows["eval_return"], strict=True))
