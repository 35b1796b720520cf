"""What the command line and Python may say, and how it is answered."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from metapbt import cli
from metapbt import config as config_module
from metapbt.cli import main
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.plain import whole_number

OWN_MODULE = """
from metapbt.envs import Category, Environment, Feature

CAR = Environment(
    "car",
    (Feature("mass", "kg", 1.0, 0.1, 10.0), Category("ground", ("grass", "ice"), "grass")),
    build=lambda context, render_mode: None,
)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_cars.py").write_text(OWN_MODULE)
    yield
    sys.modules.pop("my_cars", None)


def composed(*arguments: str) -> list:
    """What the command line hands to a run, or to each of a sweep's runs."""
    found: list = []
    cli._with_hydra("run", arguments, found.append)
    return found


# ---- env


@pytest.mark.parametrize("env", ["Pendulum-v1", "ALE/Pong-v5", "my_cars:CAR", "some.package:Car-v0", "cart_pole"])
def test_any_environment_is_a_choice_for_python_and_for_the_command_line(env: str) -> None:
    (there,) = composed(f"env={env}", "seed=3")
    for config in (compose([f"env={env}", "seed=3"]), there):
        assert (config.env, config.seed) == (env, 3)
        assert config.budget == {"steps": 100_000, "interval": 4000, "interval_end": None}
        assert config.learner.name == "ppo"


def test_an_environment_with_a_file_keeps_what_the_file_says() -> None:
    assert compose(["env=quadratic"]).learner.name == "quadratic"
    assert compose(["env=lunar_lander"]).budget.steps == 1_000_000


def test_a_sweep_goes_over_environments_with_and_without_files() -> None:
    found = composed("--multirun", "env=cart_pole,Pendulum-v1,my_cars:CAR", "seed=0,1")
    assert [(c.env, c.seed) for c in found] == [
        (env, seed) for env in ("cart_pole", "Pendulum-v1", "my_cars:CAR") for seed in (0, 1)
    ]


def test_files_of_ones_own_name_environments_too_and_come_first() -> None:
    for path, text in {
        "mine/env/car.yaml": "# @package _global_\nenv: my_cars:CAR\nbudget: {steps: 500}\n",
        "mine/env/Acrobot-v1.yaml": "# @package _global_\nenv: Acrobot-v1\nbudget: {steps: 700}\n",
        "mine/experiment/swing.yaml": "# @package _global_\ndefaults:\n  - override /env: Pendulum-v1\n",
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    for override, env, steps in (
        ("env=car", "my_cars:CAR", 500),
        ("env=Acrobot-v1", "Acrobot-v1", 700),
        ("experiment=swing", "Pendulum-v1", 100_000),
        ("env=my_cars:CAR", "my_cars:CAR", 100_000),
    ):
        for config in (compose([override], Path("mine")), *composed("--config-dir", "mine", override)):
            assert (config.env, config.budget.steps) == (env, steps)


def test_a_category_is_written_like_a_number() -> None:
    (there,) = composed("env=my_cars:CAR", "context.ground=ice", "context.mass=2")
    assert there.context == compose(["env=my_cars:CAR", "context.ground=ice", "context.mass=2"]).context
    assert there.context == {"ground": "ice", "mass": 2}


# ---- numbers


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("budget.steps=1e5", "budget.steps", 100_000),
        ("budget.interval=2.5E+03", "budget.interval", 2500),
        ("executor.workers=1e1", "executor.workers", 10),
        ("learner.n_envs=1e1", "learner.n_envs", 10),
        ("stop.plateau=1e1", "stop.plateau", 10),
        ("scripts.values=[1e1,2]", "scripts.values", [10, 2]),
    ],
)
def test_a_whole_number_may_be_written_with_an_exponent(written: str, key: str, value: object) -> None:
    (there,) = composed(written)
    for config in (compose([written]), there):
        node = config
        for part in key.split("."):
            node = node[part]
        assert node == value
        assert all(type(number) is int for number in (node if isinstance(value, list) else [node]))


def test_a_sweep_over_numbers_with_exponents_is_one_over_whole_numbers() -> None:
    for written in ("1e4,2e4", "choice(1e4,2e4)"):
        steps = [config.budget.steps for config in composed("--multirun", f"budget.steps={written}")]
        assert steps == [10_000, 20_000]
        assert [type(number) for number in steps] == [int, int]


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 0.001), ("1.2345e2", 123.45), ("1.0", 1.0), ("x1e5", "x1e5"), ("'1e5'", "1e5"), ("a-1e5", "a-1e5")],
)
def test_what_is_no_whole_number_stays_as_it_was_written(written: str, value: object) -> None:
    note = compose([f"+note={written}"]).note
    assert (note, type(note)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "whole"),
    [(3, 3), (3.0, 3), (1e5, 100_000), (0, None), (-1, None), (1.5, None), (True, None), ("3", None)],
)
def test_an_integer_may_be_a_float_of_a_file_that_is_whole(value: object, whole: int | None) -> None:
    if whole is not None:
        found = whole_number("budget.steps", value, 1)
        assert (found, type(found)) == (whole, int)
        return
    with pytest.raises(MetapbtError) as error:
        whole_number("budget.steps", value, 1)
    assert str(error.value) == f"budget.steps must be an integer >= 1, got {value!r}"


# ---- unknown keys


@pytest.mark.parametrize(
    ("overrides", "meant"),
    [
        (["pole_length=0.8"], "context.pole_length"),
        (["env=lunar_lander", "leg_hight=3"], "context.leg_height"),
        (["env=my_cars:CAR", "ground=ice"], "context.ground"),
        (["seed=1", "steps=100"], "budget.steps"),
        (["populaton.size=3"], "population.size"),
        (["learner.nenvs=3"], "learner.n_envs"),
    ],
)
def test_an_unknown_key_comes_with_the_one_that_was_meant(overrides: list[str], meant: str) -> None:
    for answer in (lambda: compose(overrides), lambda: composed(*overrides)):
        with pytest.raises(MetapbtError) as error:
            answer()
        key = overrides[-1].partition("=")[0]
        assert str(error.value).startswith(f"unknown override '{key}'; did you mean '{meant}'?")


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (
            ["learner=sb3", "learner.algorithm=SAC", "space=sac", "learner.hyperparameters.SAC.gradient_steps=2"],
            "'learner.hyperparameters.SAC.gradient_steps' is not set yet; "
            "+learner.hyperparameters.SAC.gradient_steps=VALUE sets it",
        ),
        (
            ["learner=sb3", "learner.hyperparameters.PPO.gamma=0.9"],
            "'learner.hyperparameters.PPO.gamma' is not set yet; +learner.hyperparameters.PPO.gamma=VALUE sets it",
        ),
        (
            ["learner.hyperparameters.gama=0.9"],
            "'learner.hyperparameters.gama' is not set yet; did you mean 'learner.hyperparameters.gamma'? "
            "Otherwise +learner.hyperparameters.gama=VALUE sets it",
        ),
    ],
)
def test_a_hyperparameter_that_no_file_names_is_set_with_a_plus(overrides: list[str], answer: str) -> None:
    """The nearest known key was of another algorithm, which the learner does not look at."""
    for ask in (lambda: compose(overrides), lambda: composed(*overrides)):
        with pytest.raises(MetapbtError) as error:
            ask()
        assert str(error.value) == answer


def test_a_feature_is_meant_only_where_the_environment_has_it() -> None:
    with pytest.raises(MetapbtError) as error:
        compose(["env=Pendulum-v1", "pole_length=0.8"])
    assert "context." not in str(error.value)


@pytest.mark.parametrize("group", ["env", "method", "learner", "executor", "selection", "start", "experiment"])
def test_an_unknown_choice_of_every_group_is_named(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That of an experiment was passed over: somebody trained PB2 and believed that it was BG-PBT."""
    for more in ([], ["--multirun", "seed=0,1"]):
        assert main(["run", *more, f"{group}=nosuchthing"]) == 1
        assert f"unknown {group} 'nosuchthing'" in capsys.readouterr().err


# ---- settings that would do nothing


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["env=cart_pole", "learner.hyperparameters.learning_rate=1e-3"], "learning_rate"),
        (["env=cart_pole", "learner.hyperparameters={gamma:0.9,n_epochs:3}"], "n_epochs"),
        (["env=cart_pole", "learner=sb3", "+learner.hyperparameters.PPO.clip_range=lin_0.2"], "clip_range"),
        (["env=cart_pole", "space=ppo_architecture", "learner.network.policy.layers=3"], "network.policy.layers"),
    ],
)
def test_what_the_space_tunes_cannot_be_fixed_beside_it(words: list[str], name: str) -> None:
    said = rf"{re.escape(words[-1])} has no effect, for the search space tunes {name}: leave it out with ~space\.{name}"
    with pytest.raises(MetapbtError, match=said):
        compose(words)
    with pytest.raises(MetapbtError, match=said):
        composed(*words)
    for settle in (compose, lambda asked: composed(*asked)[0]):
        assert settle([*words, f"~space.{name}"]).env == "cart_pole"


def test_what_the_space_tunes_only_at_times_may_be_fixed_for_the_others(tmp_path: Path) -> None:
    (tmp_path / "conf/space").mkdir(parents=True)
    (tmp_path / "conf/space/mine.yaml").write_text(
        "clip_range: {type: float, low: 0.1, high: 0.3}\n"
        "target_kl: {type: float, low: 0.01, high: 0.1, when: {clip_range: 0.3}}\n"
    )
    asked = ["--config-dir=conf", "space=mine", "learner.hyperparameters.target_kl=0.05"]
    assert compose(asked).learner.hyperparameters.target_kl == 0.05


def test_an_unknown_key_in_a_mapping_is_not_answered_with_the_mappings_own_name() -> None:
    with pytest.raises(MetapbtError, match=r"unknown key in what 'learner\.hyperparameters\.PPO' is set to"):
        compose(["learner=sb3", "learner.hyperparameters.PPO={n_epoch: 3}"])


# ---- what is composed once is what Hydra composes anew


@pytest.mark.parametrize(
    "overrides",
    [
        ["learner.n_steps=7", "env=cart_pole", "method=pbt", "learner.hyperparameters={batch_size: 8}"],
        ["env=cart_pole", "~space.gamma", "+space.gamma={type: float, low: 0.8, high: 0.9}", "seed=3"],
        ["env=cart_pole", "+space.gamma.low=0.5", "seed=1", "seed=2"],  # cannot be added: it is there
        ["learner.n_steps=7", "learner={n_steps: 9}"],
        ["learner={n_steps: 9}", "learner.n_steps=7"],
        ["env=cart_pole", "++context={pole_length: 2}", "context.gravity=5", "~context.pole_length"],
        ["~learner.start", "~start", "space=quadratic", "env=quadratic"],
        ["+experiment=synthetic_deceptive", "population.size=3"],
        ["experiment=synthetic_deceptive", "~nothing"],
        ["seed=1,2"],
        ["env=quadratic", "seed=[1", "method=pbt"],
        ["method=nosuchthing", "seed=[1"],
        ["env=Pendulum-v1", "+note=hydra", "results_dir='a=b, c'"],
        ["selection={name: truncation}", "hydra.job.name=x"],
        ["--config-dir=mine", "space=mine", "~space.x", "own=here", "+own.more=1"],
        ["--config-dir=mine", "+own=here", "+own.more=1"],
    ],
)  # fmt: skip
def test_it_is_what_hydra_makes_of_the_same_words_in_the_same_order(overrides: list[str]) -> None:
    for file, text in (("space/mine", "x: {type: float, low: 0, high: 1}\n"), ("own/here", "it: {is: true}\n")):
        Path("mine", file).parent.mkdir(parents=True)
        Path("mine", f"{file}.yaml").write_text(text)

    def of(answer: Callable[[], DictConfig]) -> object:
        try:
            config = answer()
        except MetapbtError as error:
            return str(error)
        return OmegaConf.to_yaml(config), OmegaConf.is_struct(config)

    anew = of(lambda: config_module._composed(overrides, None))
    assert of(lambda: compose(overrides)) == anew
    assert of(lambda: compose(overrides)) == anew  # nobody changed what is kept


def test_a_choice_of_ones_own_that_changed_is_read_again() -> None:
    def low() -> float:
        return compose(["space=mine", "env=cart_pole"], Path("mine")).space.x.low

    for folder, kept in (("mine", "mine/space"), ("elsewhere", "elsewhere")):
        Path(folder).mkdir()
        if folder == "elsewhere":  # reached by a link
            shutil.rmtree("mine")
            Path("mine").mkdir()
            Path("mine/space").symlink_to(Path("elsewhere").resolve())
        Path(kept).mkdir(exist_ok=True)
        for value in (0.25, 0.5):
            Path(kept, "mine.yaml").write_text(f"defaults: [parts]\nx: {{type: float, low: {value}, high: 1}}\n")
            Path(kept, "parts.yaml").write_text("y: {type: float, low: 0, high: 1}\n")
            assert low() == value
            assert low() == value
        Path(kept, "parts.yaml").write_text("x: {type: float, low: 7, high: 1}\n")
        Path(kept, "mine.yaml").write_text("defaults: [parts]\n")
        assert low() == 7
    Path(kept, "mine.yaml").unlink()
    with pytest.raises(MetapbtError, match="unknown space 'mine'"):
        low()


def test_a_folder_of_ones_own_with_a_great_many_files_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_MOST_ENTRIES", 3)
    Path("mine/space").mkdir(parents=True)
    for number in range(4):
        Path(f"mine/space/{number}.yaml").write_text("x: {type: float, low: 0, high: 1}\n")
    for low in (0.25, 0.5):
        Path("mine/space/mine.yaml").write_text(f"x: {{type: float, low: {low}, high: 1}}\n")
        assert compose(["space=mine", "env=cart_pole"], Path("mine")).space.x.low == low
    assert config_module._files_below(Path("mine")) is None
