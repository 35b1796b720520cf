"""Runs on Procgen as users start them; needs the extra ``metapbt[procgen]``."""

from pathlib import Path

import numpy as np
import pytest
from test_runs import records, same

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.store.check import problem_in
from metapbt.store.run_directory import RunDirectory

pytest.importorskip("envpool.procgen.registration", exc_type=ImportError)

#: Few frames: Stable-Baselines3's convolutions take milliseconds each.
CNN = [
    "learner=sb3", "learner.policy=CnnPolicy", "learner.n_envs=2", "space=rate",
    "learner.hyperparameters.PPO={n_steps: 16, batch_size: 16}", "+learner.hyperparameters.PPO.n_epochs=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "rate.yaml").write_text(
        "learning_rate: {type: float, low: 1.0e-5, high: 1.0e-3, log: true}\n"
    )


def trained(results, *more):
    return metapbt.run(command(results, *more), Path("conf"))


def command(results, *more):
    return [
        "env=procgen/fruitbot", "method=pbt", "executor=inline", "population.size=2", "budget.steps=64",
        "budget.interval=32", "evaluation.episodes=1", "evaluation.test_episodes=1", f"results_dir={results}",
        "context.num_levels=5", *CNN, *more,
    ]  # fmt: skip


def test_stable_baselines3_learns_from_pictures_with_and_without_a_kill(writes):
    run = trained("results")
    assert str(run.path) == "results/procgen/game=fruitbot,num_levels=5/pbt/seed_0"
    assert len(run.records) == 4
    assert np.isfinite(run.records["eval_return"]).all()
    assert np.isfinite(run.test_return)
    assert problem_in(RunDirectory(run.path)) is None
    with np.load(next((run.path / "checkpoints").glob("*.npz"))) as state:
        kernels = [name for name in state.files if state[name].ndim == 4]
        assert kernels
        assert not [name for name in state.files if name.startswith("episodes/")]
    writes.kill_before(9, lambda: trained("stopped"))
    trained("stopped")
    same(records("stopped"), records("results"))


def test_ppo_names_who_learns_from_pictures(capsys):
    with pytest.raises(
        MetapbtError, match="learner=ppo learns from vectors, and env 'procgen' shows pictures: choose "
    ):
        metapbt.run(["env=procgen/maze", "learner=ppo", "executor=inline"])
    assert main(["run", "env=procgen/maze", "learner=ppo", "executor=inline"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith("choose learner=drac, or learner=sb3 learner.policy=CnnPolicy")
