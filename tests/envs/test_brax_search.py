"""``experiment=bg_pbt_small_brax``: what it asks for fits together, and a tiny one compiles little."""

import pytest

import metapbt
from metapbt.config import compose
from metapbt.learners.ppo import compiled, compiled_evaluation
from metapbt.runs.plan import RunPlan

pytestmark = pytest.mark.brax
pytest.importorskip("brax")


def test_the_experiment_is_legal_and_its_eras_fit_into_its_budget():
    plan = RunPlan.of(compose(["experiment=bg_pbt_small_brax"]))
    plan.check_learner()
    config = plan.config
    eras, budget, lander = config["eras"], config["budget"], RunPlan.of(compose(["experiment=bg_pbt_small"])).config
    assert (eras["count"] - 1) * (eras["steps"] + eras["distil_steps"]) + eras["steps"] <= budget["steps"]
    assert (eras, config["method"], config["space"]) == (lander["eras"], lander["method"], lander["space"])
    assert config["env"] == "brax/inverted_double_pendulum"
    assert config["learner"]["normalise_observations"]


def test_a_tiny_run_steps_all_networks_by_one_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    programs = compiled.take_steps, compiled_evaluation.evaluate, compiled.advance
    for program in programs:
        program.clear_cache()  # of what other tests compiled
    run = metapbt.run(
        [
            "experiment=bg_pbt_small_brax", "executor=vectorised", "population.size=2", "population.candidates=3",
            "budget.steps=800", "budget.interval=100", "eras.count=2", "eras.steps=300", "eras.distil_steps=200",
            "eras.students=3", "learner.n_envs=2", "learner.hyperparameters.n_steps=25", "evaluation.episodes=1",
            "evaluation.test_episodes=1", "learner.hyperparameters.batch_size=50",
        ]
    )  # fmt: skip
    assert [program._cache_size() for program in programs] == [1, 1, 0]
    records = run.records
    networks = records[[name for name in records.columns if name.startswith("hp.network.")]]
    assert len(networks.drop_duplicates()) >= 5
    assert records["restart"].sum() == 3
    assert records["env_steps"].max() == 800
    assert (records["train_return"] > 0).all()
