"""What choices make is composed once for all runs of a process, and is what Hydra would make each time."""

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from metapbt.config import _composed, _made_by, compose
from metapbt.errors import MetapbtError


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The overrides of each composition by Hydra; nothing is kept from before."""
    _made_by.cache_clear()
    asked: list[list[str]] = []
    original = hydra.compose
    monkeypatch.setattr(
        hydra,
        "compose",
        lambda name, overrides, **more: (asked.append(overrides), original(name, overrides, **more))[1],
    )
    return asked


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["env=lunar_lander", "context.leg_height=3.2", "method=meta_pb2", "meta.results_dir=${results_dir}/x"],
        ["seed=3", "env=quadratic", "~learner.start", "learner.name=my:L", "method=pb2_mix", "budget.steps=1e5"],
        ["learner=sb3", "+learner.hyperparameters.PPO.vf_coef=0.5", "env=cart_pole", "seed=1", "seed=2"],
        ["experiment=bg_pbt_small", "++name=a", "~population.window", "population.size=7"],
        ["~population", "+population={size: 3}", "population.size=4"],
        ["env=Pendulum-v1", "name=null", "callbacks=[log]", "evaluation={episodes: 2}"],
        ["env=procgen/bigfish", "hydra.job.name=x", "seed=1"],
    ],
)
def test_it_is_what_hydra_makes(overrides: list[str]) -> None:
    made = _composed(overrides, None)
    for _ in range(2):  # as it is composed, and as it was kept
        found = compose(overrides)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(made)
        assert OmegaConf.is_struct(found)
        with pytest.raises(ConfigAttributeError):
            found.budget.stps = 3


def test_runs_that_differ_in_values_compose_their_choices_once(counted: list[list[str]]) -> None:
    found = [compose(["env=cart_pole", f"seed={seed}", f"budget.steps={seed + 1}000"]) for seed in range(5)]
    assert [(config.seed, config.budget.steps) for config in found] == [(seed, 1000 * (seed + 1)) for seed in range(5)]
    assert counted == [["env=cart_pole"]]
    compose(["env=quadratic"])
    assert counted == [["env=cart_pole"], ["env=quadratic"]]


def test_what_is_done_with_a_configuration_changes_no_other() -> None:
    first = compose(["env=cart_pole", "context.pole_length=0.7"])
    first.budget.steps = 1
    first.population.size = 77
    again = compose(["env=cart_pole"])
    assert (again.budget.steps, again.population.size, again.context) == (100_000, 4, {})


def test_a_file_of_ones_own_that_has_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "space" / "mine.yaml"
    file.parent.mkdir()
    for high in (1.0, 2.0):
        file.write_text(f"lr: {{type: float, low: 0.1, high: {high}}}\n")
        assert compose(["env=cart_pole", "space=mine"], tmp_path).space.lr.high == high
        assert compose(["env=cart_pole", "space=mine", f"--config-dir={tmp_path}"]).space.lr.high == high


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["env=cart_pole", "budget.stps=3"], "unknown override 'budget.stps'; did you mean 'budget.steps'"),
        (["env=cart_pole", "seed=1,2"], "asks for several runs: add --multirun"),
        (["env=cart_pole", "method=pb3"], "unknown method 'pb3'; did you mean"),
    ],
)
def test_what_is_wrong_is_said_as_hydra_has_it(overrides: list[str], said: str) -> None:
    for _ in range(2):
        with pytest.raises(MetapbtError, match=said):
            compose(overrides)
