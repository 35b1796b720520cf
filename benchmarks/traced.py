"""The learners of ``population.py --run``: PPO that writes down when it trains, and one that sleeps instead.

In a module of their own: whoever trains with them is to load no more than `metapbt run` loads for PPO itself.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from metapbt.history import Interval
from metapbt.learners.base import State, Teacher, Training
from metapbt.learners.ppo.learner import PPOLearner
from metapbt.space import Hyperparameters

TRACE = "BENCHMARK_TRACE"  # names the file that the learners write into

#: Seconds of the lander on one core of the machine of docs/ppo.md: of an environment step, of one of an epoch, of an
#: evaluation and of each of its episodes.
STEP, EPOCH, EVALUATION, EPISODE = 1.05 / 50_000, 0.065 / 50_000, 0.074, 0.0067


class TracedPPO(PPOLearner):
    """PPO that writes down when it trains, evaluation included: process, begin and end, and CPU seconds."""

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        began, used = time.monotonic(), time.process_time()
        training = self._trained_for(interval, start, teacher)
        line = json.dumps([os.getpid(), began, time.monotonic(), time.process_time() - used])
        with Path(os.environ[TRACE]).open("a") as file:
            file.write(f"{line}\n")
        return training

    def _trained_for(self, interval: Interval, start: State | None, teacher: Teacher | None) -> Training:
        return super().train(interval, start, teacher)


class SleepingPPO(TracedPPO):
    """Sleeps for as long as PPO would train and evaluate; its returns grow, the nearer to a point the faster."""

    def _trained_for(self, interval: Interval, start: State | None, teacher: Teacher | None) -> Training:
        h, steps = interval.hyperparameters, interval.until_steps - interval.start_steps
        time.sleep(steps * (STEP + EPOCH * h["n_epochs"]))
        drawn = np.random.default_rng(interval.seed).normal()
        rate = np.exp(-((np.log10(h["learning_rate"]) + 3.5) ** 2) - (h["n_epochs"] / 30 - 0.5) ** 2)
        reached = (-200.0 if start is None else float(start["reached"])) + rate * steps / 5_000 + drawn
        state: State = {"reached": np.array(reached)}
        evaluated = self.evaluate(state, h, interval.evaluation_seed, interval.evaluation_episodes)
        return Training(state, interval.until_steps, (reached,), evaluated)

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        time.sleep(EVALUATION + EPISODE * episodes)
        return float(state["reached"])
