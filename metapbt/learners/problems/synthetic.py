"""A synthetic problem for judging methods: its best hyperparameters drift, and the best possible return is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners.base import Policy, State, Teacher, Training, no_policy, no_teacher

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

Array = NDArray[np.float64]

#: What every category of the space chooses from.
CHOICES = ("a", "b", "c", "d")

_AMPLITUDE = 0.4  # the optimum stays in [0.1, 0.9]
_SETTINGS: dict[str, float] = {"drift": 1.0, "width": 0.15, "speed": 5.0, "wrong": 0.5, "instance": 0}


def true_return(progress: float) -> float:
    r"""The return without noise of an agent that has made this much progress: :math:`1 - e^{-progress}`."""
    return -math.expm1(-progress)


def best_return(env_steps: float, budget_steps: float, speed: float = _SETTINGS["speed"]) -> float:
    r"""The best possible return after ``env_steps``: :math:`1 - e^{-speed \cdot env\_steps / budget\_steps}`.

    It is reached by no other schedule than the optimal one, whose hyperparameters change with every step; it depends
    neither on the context nor on the number of hyperparameters. Regret is this minus ``true_return``.
    """
    return true_return(speed * env_steps / budget_steps)


class SyntheticLearner:
    r"""Learns at a rate that depends on how near its hyperparameters are to an optimum that moves.

    With N the budget's steps, a step n (counted from 0) with numbers x and categories c brings

    .. math::
        progress_{n+1} &= progress_n + \frac{speed}{N} \, p_n(x, c), \qquad return = 1 - e^{-progress}

        p_n(x, c) &= \exp\Bigl(-\frac{\operatorname{mean}_i (x_i - x^*_i(n))^2}{2 \, width^2}\Bigr)
                     \cdot wrong^{\#\{j:\ c_j \ne c^*_j(n)\}}

        x^*_i(n) &= \tfrac12 + 0.4 \, (1 - 2 \, mislead) \,
                    \sin 2\pi\bigl(\varphi_i + \tfrac14 (\pm drift \, \tfrac nN \pm shift)\bigr)

        c^*_j(n) &= \text{choice } \lfloor 4 \psi_j + drift \, \tfrac nN + shift \rfloor
                    + 2 \, [mislead > \tfrac12] \mod 4

    so that the rate p is 1 at the optimum and nowhere else. Phases and signs are drawn from ``instance``: another
    instance is another problem of the same kind. The numbers are called x0, x1, ... and lie in [0, 1]; the categories
    are called c0, c1, ... with the choices a, b, c, d; the space says how many there are.

    Both returns are the return after the interval plus noise of their own. That of ``train_return`` comes from the
    interval's seed; that of ``eval_return`` from the evaluation's seed and the agent, for the same agent on the same
    episodes gets the same return. Noise never enters the state.

    Settings:
        drift: quarter turns of the optimum over the budget, >= 0. One moves a number by up to 0.57 and changes every
            category's best choice once.
        width: root mean square distance at which the rate is down to 0.61, > 0.
        speed: progress over the whole budget at the optimal schedule, > 0.
        wrong: what a wrong category multiplies the rate by, in [0, 1].
        instance: which draw of phases and signs, a whole number >= 0.
    """

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        if env != "synthetic":
            raise MetapbtError(f"learner=synthetic trains env=synthetic only, got env={env}")
        self.shift, self.mislead, self.noise = (float(value) for value in context.values())
        self.budget_steps = budget.steps
        chosen = _checked(settings)
        self.drift, self.width, self.speed, self.wrong = (chosen[key] for key in ("drift", "width", "speed", "wrong"))
        self.instance = int(chosen["instance"])

    def check(self, space: Space) -> None:
        """Check that the space has numbers x0, x1, ... in [0, 1] and categories c0, c1, ... and nothing else."""
        count = {letter: sum(p.name.startswith(letter) for p in space.parameters) for letter in "xc"}
        known = {f"{letter}{index}" for letter in "xc" for index in range(max(count[letter], 1))}
        for parameter in space.parameters:
            name = parameter.name
            if name not in known:
                raise unknown_name("hyperparameter of learner synthetic", name, known)
            if name[0] == "x" and (parameter.kind, parameter.low, parameter.high) != ("float", 0, 1):
                raise MetapbtError(f"learner synthetic: space.{name} must be a float from 0 to 1")
            if name[0] == "c" and parameter.choices != CHOICES:
                raise MetapbtError(f"learner synthetic: space.{name} must choose from [{', '.join(CHOICES)}]")

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Take the interval's steps of progress."""
        no_teacher("synthetic", teacher)
        progress = 0.0 if start is None else float(start["progress"])
        rates = self.rates(interval.hyperparameters, np.arange(interval.start_steps, interval.until_steps))
        progress += self.speed / self.budget_steps * float(rates.sum())
        observed = true_return(progress)
        if self.noise:
            observed += self.noise * np.random.default_rng(interval.seed).standard_normal()
        after: State = {"progress": np.array(progress)}
        evaluation = self.evaluate(after, interval.hyperparameters, interval.evaluation_seed, 1)
        return Training(after, interval.until_steps, (observed,), evaluation)

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The return that the progress is worth, observed ``episodes`` times."""
        progress = float(state["progress"])
        value = true_return(progress)
        if self.noise:
            agent = int(np.float64(progress).view(np.uint64))
            draws = [np.random.default_rng([seed + i, agent]).standard_normal() for i in range(episodes)]
            value += self.noise * float(np.mean(draws))
        return value

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """There is none."""
        raise no_policy("synthetic")

    def rates(self, hyperparameters: Hyperparameters, steps: NDArray[np.int_]) -> Array:
        """The rate p at each of ``steps`` (shape ``n``) with these hyperparameters: 1 is the best, shape ``n``."""
        numbers, categories = _indices(hyperparameters, "x"), _indices(hyperparameters, "c")
        rates = np.ones(len(steps))
        if numbers:
            x = np.array([[float(hyperparameters[f"x{index}"])] for index in numbers])
            distance = ((x - self._best_numbers(numbers, steps)) ** 2).mean(axis=0)
            rates = np.exp(-distance / (2 * self.width**2))
        if categories:
            c = np.array([[CHOICES.index(str(hyperparameters[f"c{index}"]))] for index in categories])
            rates = rates * self.wrong ** (c != self._best_choices(categories, steps)).sum(axis=0)
        return rates

    def optimum(self, step: int, names: Iterable[str]) -> Hyperparameters:
        """The best values of the hyperparameters ``names`` at a step: those with a rate of 1."""
        names, at = list(names), np.array([step])
        numbers, categories = _indices(names, "x"), _indices(names, "c")
        x, c = self._best_numbers(numbers, at)[:, 0], self._best_choices(categories, at)[:, 0]
        best: Hyperparameters = {f"x{i}": float(value) for i, value in zip(numbers, x, strict=True)}
        best.update({f"c{j}": CHOICES[choice] for j, choice in zip(categories, c, strict=True)})
        return {name: best[name] for name in names}

    def _best_numbers(self, indices: list[int], steps: NDArray[np.int_]) -> Array:
        """The best x, shape ``len(indices) x len(steps)``."""
        phase, with_time, with_context = _draws(self.instance, "x", max(indices, default=-1) + 1)[:, indices, None]
        turned = _sign(with_time) * self.drift * steps / self.budget_steps + _sign(with_context) * self.shift
        return 0.5 + _AMPLITUDE * (1 - 2 * self.mislead) * np.sin(2 * np.pi * (phase + turned / 4))

    def _best_choices(self, indices: list[int], steps: NDArray[np.int_]) -> NDArray[np.int_]:
        """The best choices' places in ``CHOICES``, shape ``len(indices) x len(steps)``."""
        phase = _draws(self.instance, "c", max(indices, default=-1) + 1)[0, indices, None]
        turned = np.floor(4 * phase + self.drift * steps / self.budget_steps + self.shift).astype(int)
        return (turned + 2 * (self.mislead > 0.5)) % len(CHOICES)


@lru_cache(maxsize=1024)
def _draws(instance: int, letter: str, count: int) -> Array:
    """Uniform draws for ``count`` hyperparameters, shape ``3 x count``; more of them do not change the first ones."""
    return np.random.default_rng([instance, ord(letter)]).random((count, 3)).T


def _sign(uniform: Array) -> Array:
    return np.where(uniform < 0.5, -1.0, 1.0)


def _indices(names: Iterable[str], letter: str) -> list[int]:
    """The numbers behind ``letter`` in the names that start with it."""
    return [int(name[1:]) for name in names if name[0] == letter]


def _checked(settings: Mapping[str, Any]) -> dict[str, float]:
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise unknown_name("setting of learner synthetic", key, _SETTINGS)
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise MetapbtError(f"learner.{key} must be a number, got {value!r}")
    chosen = {**_SETTINGS, **settings}
    for key in ("width", "speed"):
        if chosen[key] <= 0:
            raise MetapbtError(f"learner.{key} must be > 0, got {chosen[key]:g}")
    if chosen["drift"] < 0:
        raise MetapbtError(f"learner.drift must be >= 0, got {chosen['drift']:g}")
    if not 0 <= chosen["wrong"] <= 1:
        raise MetapbtError(f"learner.wrong must be in [0, 1], got {chosen['wrong']:g}")
    if chosen["instance"] < 0 or chosen["instance"] != int(chosen["instance"]):
        raise MetapbtError(f"learner.instance must be a whole number >= 0, got {chosen['instance']:g}")
    return chosen
