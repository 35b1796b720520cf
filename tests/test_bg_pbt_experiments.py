"""The experiments of BG-PBT: what the paper says, composed; and tiny runs of what is trained on two cores."""

import pytest
from omegaconf import OmegaConf

import metapbt
from metapbt.config import compose
from metapbt.learners.ppo.hyperparameters import check_space
from metapbt.runs.plan import RunPlan
from metapbt.space import Space


def composed(*overrides):
    return OmegaConf.to_container(compose([*overrides, "executor=inline"]), resolve=True)


def test_the_published_experiment_has_the_published_numbers():
    config = composed("experiment=bg_pbt_paper")
    assert (config["env"], config["method"]["name"]) == ("brax/ant", "bg_pbt")
    population, budget, eras = config["population"], config["budget"], config["eras"]
    assert (population["size"], population["candidates"], population["quantile"]) == (8, 24, 0.125)
    assert (budget["steps"], budget["interval"]) == (150_000_000, 1_000_000)
    assert (eras["count"], eras["patience"], eras["students"]) == (3, 20, 25)
    assert (eras["steps"], eras["distil_steps"], eras["distil_anneal"]) == (40_000_000, 30_000_000, 0.8)
    assert eras["architectures"] == "surrogate"
    assert eras["teacher"]
    assert not config["selection"]["backtrack"]
    assert config["learner"]["distillation"]["policy"] == 5.0
    method = config["method"]
    assert (method["length"], method["length_min"], method["length_max"]) == (0.4, 0.15, 1.0)
    assert (method["factor"], method["successes"], method["failures"], method["patience"]) == (1.5, 3, 10, 15)
    assert (method["beta"], method["rows"], method["min_rows"]) == (3.0, 100, 8)


def test_the_published_space_has_its_thirteen_living_dimensions_and_ppo_knows_them():
    space = Space(composed("experiment=bg_pbt_paper")["space"])
    assert len(space) == 13
    assert space.architecture == tuple(
        f"network.{head}.{name}" for head in ("policy", "value") for name in ("layers", "width")
    )
    widths = [p for p in space.parameters if p.name.endswith("width")]
    assert all((p.low, p.high, p.factor) == (32, 256, 2) for p in widths)
    check_space(space, shared=False)


def test_without_architectures_nothing_but_the_space_the_networks_and_backtracking_differ():
    with_them, without = composed("experiment=bg_pbt_paper"), composed("experiment=bg_pbt_hpo")
    space = Space(without["space"])
    assert len(space) == 9
    assert space.architecture == ()
    assert list(space.names) == list(Space(with_them["space"]).names)[:9]
    assert without["eras"].pop("count") == 1
    assert without["selection"].pop("backtrack")
    networks = without["learner"].pop("network")
    assert [networks["policy"][key] for key in ("layers", "width")] == [4, 32]
    assert [networks["value"][key] for key in ("layers", "width")] == [5, 256]
    for config in (with_them, without):
        del config["space"]
    del with_them["eras"]["count"], with_them["selection"]["backtrack"], with_them["learner"]["network"]
    assert without == with_them


@pytest.mark.parametrize("experiment", ["bg_pbt_paper", "bg_pbt_hpo"])
def test_an_experiment_is_for_any_body_and_as_the_paper_has_it_for_hopper(experiment):
    hopper = (
        "env=brax/hopper", "budget.interval=5000000", "budget.interval_end=1000000", "eras.distil_steps=40000000",
        "eras.steps=60000000",
    )  # fmt: skip
    config = composed(f"experiment={experiment}", *hopper)
    assert (config["env"], config["budget"]["steps"], config["budget"]["interval_end"]) == (
        "brax/hopper", 150_000_000, 1_000_000,
    )  # fmt: skip


def test_the_small_experiment_is_legal_and_its_eras_fit_into_its_budget():
    plan = RunPlan.of(compose(["experiment=bg_pbt_small"]))
    plan.check_learner()
    config = plan.config
    eras, budget = config["eras"], config["budget"]
    assert plan.tuner().space.architecture
    changes = eras["count"] - 1
    assert changes * (eras["steps"] + eras["distil_steps"]) + eras["steps"] <= budget["steps"]


@pytest.mark.slow
def test_a_tiny_run_of_the_small_experiment_changes_its_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(
        [
            "experiment=bg_pbt_small", "executor=inline", "population.size=2", "population.candidates=3",
            "budget.steps=800", "budget.interval=100", "eras.count=2", "eras.steps=300", "eras.distil_steps=200",
            "eras.students=3", "learner.n_envs=2", "learner.hyperparameters.n_steps=25", "evaluation.episodes=1",
            "evaluation.test_episodes=1", "learner.hyperparameters.batch_size=50",
        ]
    )  # fmt: skip
    records = run.records
    networks = [name for name in records.columns if name.startswith("hp.network.")]
    students = records[records["restart"]]
    assert len(networks) == 6
    assert len(students) == 3
    assert students["teacher_member"].notna().all()
    taught = records[records["generation"] > students["generation"].max()]
    assert set(map(tuple, taught[networks].to_numpy())) <= set(map(tuple, students[networks].to_numpy()))
    assert records["env_steps"].max() == 800
