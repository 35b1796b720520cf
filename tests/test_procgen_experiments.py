"""The experiments on Procgen: what the paper says, composed; and tiny runs of what is trained on two cores."""

import math

import pytest
from omegaconf import OmegaConf

import metapbt
from metapbt.cli import main
from metapbt.config import compose
from metapbt.runs.plan import RunPlan
from metapbt.space import Space

METHODS = ("pbt", "pb2_rand", "pb2_mult", "pb2_mix")


def composed(*overrides):
    return OmegaConf.to_container(compose([*overrides, "executor=inline"]), resolve=True)


def test_the_published_experiment_has_the_published_numbers():
    config = composed("experiment=procgen_paper", "method=pb2_mix", "env=procgen/bigfish", "seed=100")
    assert (config["env"], config["context"], config["seed"]) == ("procgen", {"game": "bigfish"}, 100)
    population, budget, learner = config["population"], config["budget"], config["learner"]
    assert (population["size"], population["quantile"], population["window"]) == (4, 0.25, 100)
    assert population["metric"] == "train_return"
    assert (budget["steps"], budget["interval"]) == (25_000_000, 500_000)
    assert (config["evaluation"]["episodes"], config["evaluation"]["sampled"]) == (100, True)
    assert (config["evaluation"]["num_levels"], config["evaluation"]["test_num_levels"]) == (0, 0)
    assert (learner["name"], learner["network"], learner["sampled_evaluation"]) == ("drac", "impala", True)
    assert (learner["n_envs"], learner["n_steps"], learner["minibatches"]) == (64, 256, 8)
    fixed = learner["hyperparameters"]
    assert [fixed[name] for name in ("n_epochs", "gamma", "gae_lambda", "vf_coef", "max_grad_norm")] == [
        3, 0.999, 0.95, 0.5, 0.5,
    ]  # fmt: skip


def test_the_published_space_is_that_of_the_paper():
    space = Space(composed("experiment=procgen_paper")["space"])
    ranges = {p.name: (p.low, p.high, p.log) for p in space.parameters if p.kind == "float"}
    assert ranges == {
        "ent_coef": (0.0, 0.2, False), "learning_rate": (1e-5, 1e-3, False), "clip_range": (0.01, 0.5, False),
        "aug_coef": (0.01, 0.5, False),
    }  # fmt: skip
    (augmentation,) = (p for p in space.parameters if p.kind == "categorical")
    assert augmentation.choices == (
        "crop", "random-conv", "grayscale", "flip", "rotate", "cutout", "cutout-color", "color-jitter",
    )  # fmt: skip


@pytest.mark.parametrize("game", ["bigfish", "coinrun"])
def test_the_published_command_plans_fifty_intervals_of_four_members(game):
    plan = RunPlan.of(compose(["experiment=procgen_paper", "method=pb2_mix", f"env=procgen/{game}", "seed=100"])).plan
    assert plan.generations == 50
    assert plan.intervals(4) == 200
    assert plan.learner.context["game"] == game
    assert plan.path.as_posix().endswith("/pb2_mix/seed_100")


def test_the_published_command_shows_its_configuration(capfd):
    pytest.importorskip("hydra")
    assert main(["run", "experiment=procgen_paper", "method=pb2_mix", "env=procgen/bigfish", "--cfg", "job"]) == 0
    assert "network: impala" in capfd.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_methods_as_published_keep_their_names_and_set_what_the_paper_had(method):
    config = composed("experiment=procgen_paper", f"method=published/{method}")["method"]
    assert config.pop("name") == method
    if method == "pbt":
        assert config == {"factors": [0.8, 1.2], "resample_probability": 0.0, "redraw_categories": 0.5}
    else:
        assert config["learn_from"] == "train_return"
        assert config.get("without_rows", "parent") == "parent"
        assert config.get("condition_on", "chosen") == "chosen"  # the paper, not its code


def test_the_augmentation_may_be_fixed_as_by_the_published_flag():
    config = composed("experiment=procgen_paper", "~space.aug_type", "learner.hyperparameters.aug_type=flip")
    assert "aug_type" not in config["space"]
    assert config["learner"]["hyperparameters"]["aug_type"] == "flip"


def test_the_small_experiment_is_ten_generations_of_four_members():
    plan = RunPlan.of(compose(["experiment=procgen_small"]))
    assert (plan.plan.generations, plan.plan.learner.context["game"]) == (10, "starpilot")
    assert plan.config["learner"]["network"] == "nature_small"


TINY = (
    "executor=inline", "population.size=2", "population.quantile=0.5", "evaluation.episodes=1",
    "evaluation.test_episodes=1", "learner.n_envs=4", "learner.n_steps=8", "learner.minibatches=2",
)  # fmt: skip


@pytest.mark.parametrize("method", [*(f"published/{method}" for method in METHODS), "random"])
def test_a_tiny_run_of_the_small_experiment_finishes_with_every_method(method, tmp_path, monkeypatch):
    pytest.importorskip("envpool", reason="Procgen needs EnvPool")
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(
        ["experiment=procgen_small", f"method={method}", *TINY, "budget.steps=192", "budget.interval=64", "seed=100"]
    )
    assert run.history.generations == 3
    assert math.isfinite(run.test_return)
    assert {record.parent for record in run.history} > {None} or method == "random"
    assert run.path.parent.name == method.removeprefix("published/")


def test_a_tiny_budget_of_the_published_command_trains_its_network(tmp_path, monkeypatch):
    pytest.importorskip("envpool", reason="Procgen needs EnvPool")
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(
        [
            "experiment=procgen_paper", "method=pb2_mix", "env=procgen/bigfish", "seed=100", *TINY,
            "budget.steps=64", "budget.interval=32", "learner.hyperparameters.n_epochs=1",
        ]
    )  # fmt: skip
    assert run.history.generations == 2
    assert run.records["env_steps"].max() == 64
