"""Whole runs with the DrAC learner, and what is refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from drac_learners import GREY, LENGTH, SQUARES, learner
from learner_intervals import train

import metapbt
from metapbt.envs.batches import make_batch
from metapbt.errors import MetapbtError
from metapbt.learners.drac.augmentations import augmentation_called
from metapbt.space import Space

# ---- at the door


def space(**choices: Any) -> Space:
    chosen = choices or {"ent_coef": (0.01,)}
    return Space({name: {"type": "categorical", "choices": list(values)} for name, values in chosen.items()})


@pytest.mark.parametrize(
    ("env", "settings", "choices", "message"),
    [
        (SQUARES, {}, {"learning_rates": [0.1]}, "hyperparameter of learner drac 'learning_rates'; did you mean"),
        (SQUARES, {}, {"n_epochs": [0]}, "space.n_epochs must be a whole number >= 1, got 0"),
        (SQUARES, {}, {"aug_type": ["crap"]}, "unknown aug_type 'crap'; did you mean 'crop'"),
        (SQUARES, {}, {"aug_type": ["squares:LIGHT"]}, "aug_type 'squares:LIGHT' must be a function"),
        (SQUARES, {}, {"aug_type": ["squares:dark"]}, "aug_type 'squares:dark' cannot be loaded"),
        (SQUARES, {}, {"aug_type": ["amplitude"]}, "space.aug_type=amplitude is for vectors, but observations are pic"),
        ("cart_pole", {}, {"aug_type": ["identity", "crop"]}, r"aug_type=crop .* \(4,\): take identity, amplitude, or"),
        ("cart_pole", {"hyperparameters": {"aug_type": "flip"}}, {}, "learner.hyperparameters.aug_type=flip is for"),
        (GREY, {}, {"aug_type": ["crop", "grayscale"]}, "aug_type=grayscale needs three channels, .* have 1"),
        ("cart_pole", {"network": "impala"}, {}, r"learner.network=impala needs pictures, got .* shape \(4,\)"),
        (SQUARES, {"minibatches": 33}, {}, "learner.minibatches must be at most a rollout, 32 samples, got 33"),
    ],
)  # fmt: skip
def test_a_space_that_cannot_be_trained_is_refused(env: str, settings: Any, choices: Any, message: str) -> None:
    with pytest.raises(MetapbtError, match=message):
        learner(env, **settings).check(space(**choices))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_env": 3}, "unknown setting of learner drac 'n_env'; did you mean 'n_envs'"),
        ({"n_steps": 0}, "learner.n_steps must be"),
        ({"network": "natur"}, "unknown learner.network 'natur'; did you mean 'nature'"),
        ({"residual": "own"}, "unknown learner.residual 'own'"),
        ({"kl": True}, "unknown learner.kl"),
        ({"normalise_advantages": "batch"}, "unknown learner.normalise_advantages 'batch'"),
        ({"normalise_rewards": 1}, "learner.normalise_rewards must be true or false, got 1"),
        ({"sampled_evaluation": None}, "learner.sampled_evaluation must be true or false, got None"),
        ({"hyperparameters": {"gamma": 2}}, r"learner.hyperparameters.gamma must be a number in \[0, 1\], got 2"),
        ({"hyperparameters": {"clip_param": 0.1}}, "unknown hyperparameter of learner drac 'clip_param'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(MetapbtError, match=message):
        learner(SQUARES, **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(MetapbtError, match="learner.device=cuda: torch sees no CUDA devices"):
        learner(device="cuda").check(space())
    assert learner(device="auto")._device.type == "cpu"


def test_what_an_augmentation_of_ones_own_does_wrong_is_said_in_one_line() -> None:
    one = learner(SQUARES)
    with pytest.raises(MetapbtError, match="aug_type 'squares:broken' failed: ValueError: no light"):
        train(one, None, {"aug_type": "squares:broken"}, LENGTH)
    with pytest.raises(
        MetapbtError, match=r"'squares:smaller' must return a tensor \(.*3, 36, 36\), got \(.*3, 35, 36\)"
    ):
        train(one, None, {"aug_type": "squares:smaller"}, LENGTH)
    assert augmentation_called("squares:darker").sees == "anything"


# ---- whole runs


RUN = [
    "learner=drac", "method=pbt", "population.size=3", "budget.steps=96", "budget.interval=32", "learner.n_envs=4",
    "learner.n_steps=8", "learner.minibatches=2", "evaluation.episodes=2", "evaluation.test_episodes=2",
]  # fmt: skip
PICTURES = [f"env={SQUARES}", "learner.network=nature_small", "space=drac_small"]


def records(folder: str) -> pd.DataFrame:
    return metapbt.load(folder).records.drop(columns=["wall_seconds"])


@pytest.fixture
def _elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_elsewhere")
def test_a_run_is_the_same_with_every_executor_and_after_being_killed(writes: Any) -> None:
    def run(folder: str, *others: str) -> pd.DataFrame:
        found = metapbt.run([*RUN, *PICTURES, f"results_dir={folder}", *others])
        return found.records.drop(columns=["wall_seconds"])

    whole = run("whole", "executor=inline")
    assert len(whole) == 9
    assert whole["hp.aug_type"].nunique() > 1
    pd.testing.assert_frame_equal(run("processes", "executor.workers=2"), whole, check_exact=True)
    total = writes.during(lambda: run("counted", "executor=inline"))
    writes.kill_before(total // 2, lambda: run("stopped", "executor=inline"))
    pd.testing.assert_frame_equal(run("stopped", "executor=inline"), whole, check_exact=True)


@pytest.mark.usefixtures("_elsewhere")
def test_vectors_have_a_space_of_their_own() -> None:
    run = metapbt.run([*RUN, "env=cart_pole", "space=drac_vectors", "executor=inline"])
    assert set(run.records["hp.aug_type"]) <= {"identity", "amplitude"}
    with pytest.raises(MetapbtError, match="space.aug_type=crop is for pictures"):
        metapbt.run([*RUN, "env=cart_pole", "executor=inline", "results_dir=other"])


@pytest.mark.usefixtures("_elsewhere")
def test_procgen_is_learned_from_and_tested_on_levels_held_out() -> None:
    pytest.importorskip("envpool", reason="Procgen needs EnvPool")
    try:
        make_batch("procgen", {}, 1).close()
    except MetapbtError as error:
        pytest.skip(str(error))
    game = ["env=procgen", "context.game=starpilot", "learner.network=nature_small", "evaluation.sampled=true"]
    small = ["executor=inline", "budget.steps=32", "budget.interval=32", "population.size=2"]
    one, again = (metapbt.run([*RUN, *game, *small, f"results_dir={name}"]).records for name in ("one", "again"))
    columns = [name for name in one.columns if name != "wall_seconds"]
    pd.testing.assert_frame_equal(one[columns], again[columns], check_exact=True)
    assert one["eval_return"].notna().all()
