"""Runs whose members train together are runs as all others: the same records, whatever kills them."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import metapbt

OVERRIDES = [
    "env=cart_pole",
    "method=pbt",
    "learner.engine=jax",
    "learner.n_envs=4",
    "learner.network={policy: {width: 8}, value: {width: 8}}",
    "learner.hyperparameters={n_steps: 25, batch_size: 20}",
    "space={learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}, n_epochs: {type: int, low: 1, high: 12}}",
    "population.size=3",
    "budget.steps=1200",
    "budget.interval=200",
    "evaluation={episodes: 2, test_episodes: 3}",
]
COLUMNS = ["generation", "member", "parent", "source", "env_steps", "train_return", "eval_return", "hp.learning_rate"]


def records(folder, *overrides):
    run = metapbt.run([*OVERRIDES, f"results_dir={folder}", *overrides])
    return run.records[COLUMNS].reset_index(drop=True)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    return records(tmp_path_factory.mktemp("alone"), "executor=vectorised")


def test_on_a_cpu_they_are_those_of_inline(left_alone, tmp_path):
    # Bit by bit: there updates come one after another, and a row of a product does not depend on the others.
    assert left_alone.equals(records(tmp_path, "executor=inline"))


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(left_alone, tmp_path):
    command = [sys.executable, "-m", "metapbt", "run", *OVERRIDES, f"results_dir={tmp_path}", "executor=vectorised"]
    for generation in (1, 3):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waiting_for = f"generation_{generation}_member_0.npz"
        while running.poll() is None and not list(tmp_path.rglob(waiting_for)):
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not list(tmp_path.rglob("DONE"))
    assert left_alone.equals(records(tmp_path, "executor=vectorised"))


def test_asynchronous_members_train_together_too_and_are_repeatable(tmp_path):
    asynchronous = "population.asynchronous=true"
    first = records(tmp_path / "a", "executor=vectorised", asynchronous)
    again = records(tmp_path / "b", "executor=vectorised", asynchronous)
    assert first.equals(again)
    assert first.groupby("generation").size().tolist() == [3] * 6


def test_learners_that_train_one_at_a_time_are_trained_one_after_another(tmp_path):
    quadratic = ["env=quadratic", "method=pbt", "population.size=2", "budget={steps: 20, interval: 4}"]
    together, inline = (
        metapbt.run([*quadratic, f"executor={name}", f"results_dir={tmp_path / name}"]).records["eval_return"]
        for name in ("vectorised", "inline")
    )
    np.testing.assert_array_equal(together, inline)
