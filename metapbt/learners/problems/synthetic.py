"""A synthetic problem for judging methods: its best hyperparameters drift, and the best possible return is known.

``docs/synthetic_problems.md`` tells what each part of it is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners.base import Policy, State, Teacher, Training, no_policy
from metapbt.learners.problems.temperature import Temperature

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Parameter, Space

Array = NDArray[np.float64]

#: What every category of the space chooses from.
CHOICES = ("a", "b", "c", "d")
#: The highest value of an integer, tuned or of the architecture; the lowest is 0.
HIGHEST = {"i": 10, "a": 4}

_AMPLITUDE = 0.4  # the optimum stays in [0.1, 0.9]
_ARCHITECTURE_WIDTH = 0.25  # one step of the architecture's integers, in units of their range
_SETTINGS: dict[str, Any] = {
    "drift": 1.0,
    "width": 0.15,
    "speed": 5.0,
    "wrong": 0.5,
    "cold": 0.1,
    "instance": 0,
    "floor": 0.5,
    "regain": 25.0,
    "distillation": {"start": 1.0, "end": 0.05},
}
#: Of each letter that hyperparameters begin with, what they must be.
_KINDS = {
    "x": "a float from 0 to 1",
    "i": f"an int from 0 to {HIGHEST['i']}",
    "c": f"a category that chooses from [{', '.join(CHOICES)}]",
    "t": "a float from 0 to 1",
    "a": f"an int from 0 to {HIGHEST['a']} with role: architecture",
    "k": f"a category that chooses from [{', '.join(CHOICES)}] with role: architecture",
}


def true_return(progress: float, ceiling: float = 1.0) -> float:
    r"""The return without noise of a cold agent with progress and an architecture: $ceiling (1 - e^{-progress})$."""
    return -ceiling * math.expm1(-progress)


def best_return(env_steps: float, budget_steps: float, speed: float = 5.0) -> float:
    r"""The best possible return after ``env_steps``: $1 - e^{-speed \cdot env\_steps / budget\_steps}$.

    It is reached by no other schedule than the optimal one, whose hyperparameters change with every step, on the best
    architecture from the first step on; it depends neither on the context nor on the number of hyperparameters. Regret
    is this minus ``true_return``. Where heat counts (``SyntheticLearner.temperature``) less can be reached.
    """
    return true_return(speed * env_steps / budget_steps)


class SyntheticLearner:
    r"""Learns at a rate that depends on how near its hyperparameters are to an optimum that moves.

    With N the budget's steps, a step n (counted from 0) with numbers x and categories c brings

    $$
    \begin{aligned}
      progress_{n+1} &= progress_n + \frac{speed}{N} \, p_n(x, c), \qquad
      return = ceiling(a, k) \, (1 - e^{-progress}) \\
      p_n(x, c) &= \exp\Bigl(-\frac{\operatorname{mean}_i (x_i - x^*_i(n))^2}{2 \, width^2}\Bigr)
      \cdot wrong^{\#\{j:\ c_j \ne c^*_j(n)\}} \\
      x^*_i(n) &= \tfrac12 + 0.4 \, (1 - 2 \, mislead) \,
      \sin 2\pi\bigl(\varphi_i + \tfrac14 (\pm drift \, \tfrac nN \pm shift)\bigr) \\
      c^*_j(n) &= \text{choice } \lfloor 4 \psi_j + drift \, \tfrac nN + shift \rfloor
      + 2 \, [mislead > \tfrac12] \mod 4 \\
      ceiling(a, k) &= floor + (1 - floor)
      \exp\Bigl(-\frac{\operatorname{mean}_i (a_i - a^*_i)^2}{2 \cdot 0.25^2}\Bigr)
      \cdot wrong^{\#\{j:\ k_j \ne k^*_j\}}
    \end{aligned}
    $$

    so that the rate p is 1 at the optimum and nowhere else, and so is the ceiling. Phases and signs are drawn from
    ``instance``: another instance is another problem of the same kind. The space says how many there are of

    - numbers x0, x1, ... in [0, 1], and integers i0, i1, ... from 0 to 10, which count among the numbers as tenths; the
      best integer is the one nearest to $x^*$;
    - categories c0, c1, ... with the choices a, b, c, d;
    - integers a0, a1, ... from 0 to 4 and categories k0, k1, ... with the choices a, b, c, d that are the architecture.
      Integers count as quarters. Their optimum is that of n = 0 and stands still: what is costly is to reach it;
    - temperatures t0, t1, ... in [0, 1], whose mean is *the* temperature. It multiplies the rate p by cold + (1 - cold)
      times itself, and heat, which follows it, takes deception times itself from the return: what learns fastest looks
      worst until it has cooled (``metapbt.learners.problems.temperature``, with the best and the greedy schedule).
      With mislead above a half it is 1 minus their mean. Spaces without them are neither slowed nor heated.

    **An architecture is changed by a new agent**, which has no progress. A teacher's progress P comes back to it on top
    of what it learns itself: with w its teacher's weight, which falls linearly from ``distillation.start`` to
    ``distillation.end`` over the teacher's ``annealed_over`` steps, each step closes a part of the gap,

    $$progress_{n+1} = progress_n + \frac{speed}{N} \, p_n(x, c)
    + \bigl(1 - e^{-w \cdot regain / N}\bigr) \max(P - progress_n, 0)$$

    so that m steps at p = 0 leave $P \, (1 - e^{-regain \sum w / N})$. As a student counts its teacher's steps as
    its own, and begins with its heat, nobody passes the best possible return.

    Both returns are the return after the interval plus noise of their own. That of ``train_return`` comes from the
    interval's seed; that of ``eval_return`` from the evaluation's seed and the agent, for the same agent on the same
    episodes gets the same return. Noise never enters the state.

    Settings:
        drift: quarter turns of the optimum over the budget, >= 0. One moves a number by up to 0.57 and changes every
            category's best choice once.
        width: root mean square distance at which the rate is down to 0.61, > 0.
        speed: progress over the whole budget at the optimal schedule, > 0.
        wrong: what a wrong category multiplies the rate by, or the ceiling above the floor, in [0, 1].
        cold: what a temperature of 0 multiplies the rate by, in [0, 1).
        instance: which draw of phases and signs, a whole number >= 0.
        floor: what the ceiling of bad architectures comes down to, in [0, 1].
        regain: how many times the gap to a teacher shrinks by e over the budget at a weight of 1, >= 0.
        distillation: ``start`` and ``end`` of the teacher's weight, in [0, 1].
    """

    teachable = True

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        if env != "synthetic":
            raise MetapbtError(f"learner=synthetic trains env=synthetic only, got env={env}")
        self.shift, self.mislead, self.noise = (float(context[name]) for name in ("shift", "mislead", "noise"))
        self.budget_steps = budget.steps
        chosen = _checked(settings)
        self.drift, self.width, self.speed, self.wrong = (chosen[key] for key in ("drift", "width", "speed", "wrong"))
        self.floor, self.regain = chosen["floor"], chosen["regain"]
        self.weights = chosen["distillation.start"], chosen["distillation.end"]
        self.instance = int(chosen["instance"])
        deception, cooling = float(context["deception"]), float(context["cooling"])
        #: What temperatures do here: its ``best`` and ``greedy`` schedules and what they come to.
        self.temperature = Temperature(self.speed, chosen["cold"], deception, cooling)

    def check(self, space: Space) -> None:
        """Check that the space has x0, x1, ..., i0, ..., c0, ..., t0, ..., a0, ..., k0, ... and nothing else."""
        count = {letter: sum(p.name.startswith(letter) for p in space.parameters) for letter in _KINDS}
        known = {f"{letter}{index}" for letter in _KINDS for index in range(max(count[letter], 1))}
        for parameter in space.parameters:
            if parameter.name not in known:
                raise unknown_name("hyperparameter of learner synthetic", parameter.name, known)
            if not _fits(parameter):
                must = _KINDS[parameter.name[0]]
                raise MetapbtError(f"learner synthetic: space.{parameter.name} must be {must}")

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Take the interval's steps of progress."""
        progress = 0.0 if start is None else float(start["progress"])
        heated = start if start is not None else teacher.state if teacher is not None else {}
        heat = float(heated.get("heat", 0.0))
        steps = np.arange(interval.start_steps, interval.until_steps)
        rates = self.rates(interval.hyperparameters, steps)
        if teacher is None:
            progress += self.speed / self.budget_steps * float(rates.sum())
        else:
            progress = self._taught(progress, rates, teacher)
        if (temperature := self._temperature(interval.hyperparameters)) is not None:
            heat = self.temperature.heat(heat, temperature, len(steps) / self.budget_steps)
        after: State = {"progress": np.array(progress), "heat": np.array(heat)}
        observed = self._true_return(after, interval.hyperparameters)
        if self.noise:
            observed += self.noise * np.random.default_rng(interval.seed).standard_normal()
        evaluation = self.evaluate(after, interval.hyperparameters, interval.evaluation_seed, 1)
        return Training(after, interval.until_steps, (observed,), evaluation)

    def shrunk(self, state: State, hyperparameters: Hyperparameters, shrink: float, perturb: float, seed: int) -> State:
        """What shrinking leaves of progress and heat; a new agent has none to add."""
        return {key: np.array(shrink * float(value)) for key, value in state.items()}

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The return that progress, heat and architecture are worth, observed ``episodes`` times."""
        value = self._true_return(state, hyperparameters)
        if self.noise:
            told_apart = [float(state["progress"]), *([heat] if (heat := float(state.get("heat", 0.0))) else [])]
            agent = [int(np.float64(value).view(np.uint64)) for value in told_apart]
            draws = [np.random.default_rng([seed + i, *agent]).standard_normal() for i in range(episodes)]
            value += self.noise * float(np.mean(draws))
        return value

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """There is none."""
        raise no_policy("synthetic")

    def rates(self, hyperparameters: Hyperparameters, steps: NDArray[np.int_]) -> Array:
        """The rate p at each of ``steps`` (shape ``n``) with these hyperparameters: 1 is the best, shape ``n``."""
        numbers = [self._from_best(letter, hyperparameters, steps) for letter in "xi"]
        nearness = self._nearness(np.concatenate(numbers), self.width, "c", hyperparameters, steps)
        temperature = self._temperature(hyperparameters)
        return nearness if temperature is None else nearness * self.temperature.rate(temperature)

    def ceiling(self, hyperparameters: Hyperparameters) -> float:
        """What the return comes up to with an architecture: 1 with the best one, and where there is none to choose."""
        steps = np.zeros(1, dtype=int)
        numbers = self._from_best("a", hyperparameters, steps)
        nearness = self._nearness(numbers, _ARCHITECTURE_WIDTH, "k", hyperparameters, steps)
        return self.floor + (1 - self.floor) * float(nearness[0])

    def optimum(self, step: int, names: Iterable[str]) -> Hyperparameters:
        """The values of the hyperparameters ``names`` at a step that have a rate, or a ceiling, of 1.

        They are the best ones, but for temperatures: when these should drop, ``temperature.best`` says.
        """
        names = list(names)
        best: Hyperparameters = {}
        for letter in _KINDS:
            indices, at = _indices(names, letter), np.array([0 if letter in "ak" else step])
            if letter == "t":
                best.update({f"t{i}": 0.0 if self.mislead > 0.5 else 1.0 for i in indices})
            elif letter in "ck":
                places = self._best_choices(letter, indices, at)[:, 0]
                best.update({f"{letter}{j}": CHOICES[place] for j, place in zip(indices, places, strict=True)})
            else:
                values = self._best_numbers(letter, indices, at)[:, 0] * HIGHEST.get(letter, 1)
                number = round if letter in HIGHEST else float
                best.update({f"{letter}{i}": number(float(u)) for i, u in zip(indices, values, strict=True)})
        return {name: best[name] for name in names}

    def _true_return(self, state: State, hyperparameters: Hyperparameters) -> float:
        """The return without noise."""
        heat = float(state.get("heat", 0.0))
        return true_return(float(state["progress"]), self.ceiling(hyperparameters)) - self.temperature.deception * heat

    def _temperature(self, hyperparameters: Hyperparameters) -> float | None:
        """How hot an agent with these hyperparameters trains; None where nothing says so."""
        temperatures = [float(hyperparameters[f"t{index}"]) for index in _indices(hyperparameters, "t")]
        mean = float(np.mean(temperatures)) if temperatures else None
        return 1 - mean if mean is not None and self.mislead > 0.5 else mean

    def _taught(self, progress: float, rates: Array, teacher: Teacher) -> float:
        """The progress after as many steps as there are rates, with a teacher's coming back."""
        target = float(teacher.state["progress"])
        for step, rate in enumerate(rates):
            share = -math.expm1(-teacher.weight(step, *self.weights) * self.regain / self.budget_steps)
            progress += self.speed / self.budget_steps * float(rate) + share * max(target - progress, 0.0)
        return progress

    def _nearness(
        self, distances: Array, width: float, letter: str, hyperparameters: Hyperparameters, steps: NDArray[np.int_]
    ) -> Array:
        """1 at the best numbers and categories, shape ``n``; ``distances`` has the shape ``numbers x n``."""
        nearness = np.ones(len(steps))
        if len(distances):
            nearness = np.exp(-(distances**2).mean(axis=0) / (2 * width**2))
        indices = _indices(hyperparameters, letter)
        if indices:
            chosen = np.array([[CHOICES.index(str(hyperparameters[f"{letter}{index}"]))] for index in indices])
            nearness = nearness * self.wrong ** (chosen != self._best_choices(letter, indices, steps)).sum(axis=0)
        return nearness

    def _from_best(self, letter: str, hyperparameters: Hyperparameters, steps: NDArray[np.int_]) -> Array:
        """How far numbers are from their best values, in units of their range, shape ``numbers x n``."""
        indices = _indices(hyperparameters, letter)
        values = np.array([float(hyperparameters[f"{letter}{index}"]) for index in indices])
        return values[:, None] / HIGHEST.get(letter, 1) - self._best_numbers(letter, indices, steps)

    def _best_numbers(self, letter: str, indices: list[int], steps: NDArray[np.int_]) -> Array:
        """The best numbers in units of their range, shape ``len(indices) x len(steps)``."""
        draws = _draws(self.instance, letter, max(indices, default=-1) + 1)
        phase, with_time, with_context = draws[:, indices, None]
        turned = _sign(with_time) * self.drift * steps / self.budget_steps + _sign(with_context) * self.shift
        best: Array = 0.5 + _AMPLITUDE * (1 - 2 * self.mislead) * np.sin(2 * np.pi * (phase + turned / 4))
        return np.rint(best * HIGHEST[letter]) / HIGHEST[letter] if letter in HIGHEST else best

    def _best_choices(self, letter: str, indices: list[int], steps: NDArray[np.int_]) -> NDArray[np.int_]:
        """The best choices' places in ``CHOICES``, shape ``len(indices) x len(steps)``."""
        phase = _draws(self.instance, letter, max(indices, default=-1) + 1)[0, indices, None]
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


def _fits(parameter: Parameter) -> bool:
    """Whether a hyperparameter is what those with its first letter must be."""
    letter, is_architecture = parameter.name[0], parameter.role == "architecture"
    if is_architecture != (letter in "ak"):
        return False
    if letter in "ck":
        return parameter.choices == CHOICES
    kind = "int" if letter in HIGHEST else "float"
    return (parameter.kind, parameter.low, parameter.high) == (kind, 0, HIGHEST.get(letter, 1))


def _checked(settings: Mapping[str, Any]) -> dict[str, float]:
    """All settings with their defaults, ``distillation`` flattened to ``distillation.start`` and ``.end``."""
    chosen: dict[str, float] = {}
    for key, value in _flat({**_SETTINGS, **settings}).items():
        if key not in _flat(_SETTINGS):
            raise unknown_name("setting of learner synthetic", key, _flat(_SETTINGS))
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise MetapbtError(f"learner.{key} must be a number, got {value!r}")
        chosen[key] = float(value)
    for key in ("width", "speed"):
        if chosen[key] <= 0:
            raise MetapbtError(f"learner.{key} must be > 0, got {chosen[key]:g}")
    for key in ("drift", "regain"):
        if chosen[key] < 0:
            raise MetapbtError(f"learner.{key} must be >= 0, got {chosen[key]:g}")
    for key in ("wrong", "floor", "distillation.start", "distillation.end"):
        if not 0 <= chosen[key] <= 1:
            raise MetapbtError(f"learner.{key} must be in [0, 1], got {chosen[key]:g}")
    if not 0 <= chosen["cold"] < 1:
        raise MetapbtError(f"learner.cold must be in [0, 1), got {chosen['cold']:g}")
    if chosen["instance"] < 0 or chosen["instance"] != int(chosen["instance"]):
        raise MetapbtError(f"learner.instance must be a whole number >= 0, got {chosen['instance']:g}")
    return chosen


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    weights = settings["distillation"]
    if not isinstance(weights, Mapping):
        raise MetapbtError(f"learner.distillation must have start and end, got {weights!r}")
    nested = {f"distillation.{key}": value for key, value in {**_SETTINGS["distillation"], **weights}.items()}
    return {**{key: value for key, value in settings.items() if key != "distillation"}, **nested}
