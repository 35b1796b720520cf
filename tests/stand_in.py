"""A learner for tests of whole runs: quick, random, and failing or killing where it is told to."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np

from metapbt.envs import Environment, Feature
from metapbt.envs.cart_pole import CART_POLE
from metapbt.errors import MetapbtError
from metapbt.learners.base import Training


class StandInLearner:
    """Its return grows by chance and by ``x``; what goes wrong stands in environment variables.

    ``STAND_IN_KILL``: at which call to ``train``, counted over processes, which signal is sent to the main process.
    ``STAND_IN_FAIL``: above which ``x`` training raises, and how often. Both are JSON with a folder to count in.
    ``STAND_IN_LOST``: JSON, a list of the intervals (generation, member) that always fail; in a worker, by its end.
    """

    def __init__(self, env, context, budget, settings):
        pass

    def check(self, space):
        pass

    def train(self, interval, start, teacher=None):
        self._go_wrong(interval.hyperparameters)
        if list(interval.ref) in json.loads(os.environ.get("STAND_IN_LOST", "[]")):
            if multiprocessing.parent_process() is not None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the machine is gone")
        before = 0.0 if start is None else float(start["reached"])
        rng = np.random.default_rng(interval.seed)
        steps = interval.until_steps - interval.start_steps
        reached = before + float(interval.hyperparameters["x"]) * steps / 10 + rng.normal()
        state = {"reached": np.array(reached)}
        evaluation = self.evaluate(state, interval.hyperparameters, interval.evaluation_seed, 1)
        return Training(state, interval.until_steps, (reached,), evaluation)

    def evaluate(self, state, hyperparameters, seed, episodes):
        return float(state["reached"] + np.random.default_rng(seed).normal())

    def _go_wrong(self, hyperparameters):
        kill, fail = (json.loads(os.environ.get(name, "null")) for name in ("STAND_IN_KILL", "STAND_IN_FAIL"))
        if kill and _count(Path(kill["folder"])) == kill["call"]:
            os.kill(int(Path(kill["folder"], "pid").read_text()), getattr(signal, kill["signal"]))
            time.sleep(60)  # in a worker: until the main process is gone and takes it along
        if fail and hyperparameters["x"] > fail["above"] and _count(Path(fail["folder"])) <= fail["times"]:
            raise OSError("meant to fail")  # what may not come again


class StandInStudent(StandInLearner):
    """Its agents have a network of ``width`` weights, the wider the better, and can learn from a teacher.

    A student's return moves towards its teacher's, as far as the teacher's weight and a narrow network let it. What
    each interval was asked is in the state, for tests to look at.
    """

    teachable = True

    def train(self, interval, start, teacher=None):
        width = int(interval.hyperparameters.get("width", 4))
        if start is not None and len(start["weights"]) != width:
            raise MetapbtError(f"a network of {width} cannot take over {len(start['weights'])} weights")
        training = super().train(interval, start)
        steps = interval.until_steps - interval.start_steps
        reached = float(training.state["reached"]) + width * steps / 100
        asked = [-1.0, 0.0, 0.0]
        if teacher is not None:
            weight = teacher.weight(steps, 1.0, 0.05)
            reached += (1 - weight) * width / 9 * (float(teacher.state["reached"]) - reached)
            asked = [weight, teacher.steps, teacher.annealed_over]
        state = {"reached": np.array(reached), "weights": np.full(width, reached), "asked": np.array(asked)}
        evaluation = self.evaluate(state, interval.hyperparameters, interval.evaluation_seed, 1)
        return Training(state, interval.until_steps, (reached,), evaluation)


def _count(folder: Path) -> int:
    """Count calls over processes, by files that are made but once."""
    number = 1
    while True:
        try:
            os.close(os.open(folder / f"call_{number}", os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


def halved(hyperparameters):
    """A constraint: half of every ``x``."""
    return {**hyperparameters, "x": hyperparameters["x"] / 2}


def aimless(hyperparameters):
    """A constraint under which returns wander, so that what was reached can be lost again."""
    return {**hyperparameters, "x": 0.0}


def nothing(hyperparameters):
    """A constraint that forgets to return."""


def _build_robot(context, render_mode):
    return CART_POLE(render_mode=render_mode, pole_length=ROBOTS[int(context["robot"])])


#: Cart-poles by number, in no order: what makes them differ stands in no feature.
ROBOTS = (0.5, 0.12, 0.9, 0.3, 0.7, 0.1, 0.95)
ROBOT = Environment(
    "robot", (Feature("robot", "1", 0, 0, 6, None, "which one", whole=True),), "tests/Robot-v0", _build_robot, 500
)
