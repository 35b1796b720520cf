r"""When should a temperature drop? What synthetic problems pay for patience, and the best and the greedy answer.

A temperature t in [0, 1] is to a synthetic problem what a learning rate is to training: hot agents learn faster and
look worse until they have cooled.

$$
\begin{aligned}
  progress_{n+1} &= progress_n + \frac{speed}{N} \, \bigl(cold + (1 - cold) \, t\bigr) \\
  heat_{n+1} &= t + e^{-1 / (cooling \cdot N)} \, (heat_n - t), \qquad heat_0 = 0 \\
  return &= 1 - e^{-progress} - deception \cdot heat
\end{aligned}
$$

over the N steps of a budget, everything else being at its best. Nothing else of the temperature's past is left than
progress and heat, so its best schedule can be written down: after the last interval heat is a weighted sum of the
temperatures, whose weights grow towards the end, and progress is their plain sum. With K intervals of equal length,
of which interval k (from 0) leaves a share $\rho = e^{-1 / (cooling \cdot K)}$ of the heat that it found,

$$
return = 1 - e^{-\Delta \sum_k (cold + (1 - cold) \, t_k)} - \sum_k w_k t_k, \qquad
\Delta = \frac{speed}{K}, \quad w_k = deception \, (1 - \rho) \, \rho^{K - 1 - k}
$$

is concave in the temperatures, and where it is highest no later interval is hotter than an earlier one. So it is best
to be hot at first and cold in the end, with one interval between them at most that is neither (``Temperature.best``).
Who asks of each interval only what it brings by its own end weighs all intervals like the last one, cools down far too
early, and learns slowly from then on (``Temperature.greedy``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: One number, or one for each of several agents.
Value = TypeVar("Value", float, Array)


@dataclass(frozen=True)
class Temperature:
    """What temperatures do, by the formulas of this module.

    Attributes:
        speed: progress over the whole budget at a temperature of 1, > 0.
        cold: what a temperature of 0 multiplies the rate of progress by, in [0, 1).
        deception: what heat takes from the return, >= 0; at 0 nothing speaks against being hot, and the greedy schedule
            is the best one.
        cooling: shares of the budget in which heat comes nearer to the temperature by a factor of e, >= 0; at 0 heat is
            the temperature.
    """

    speed: float
    cold: float
    deception: float
    cooling: float

    def rate(self, temperature: Value) -> Value:
        """What a temperature multiplies the rate of progress by."""
        return self.cold + (1 - self.cold) * temperature

    def heat(self, before: Value, temperature: Value, time: float) -> Value:
        """The heat after a share ``time`` of the budget at a temperature."""
        return temperature + self._kept(time) * (before - temperature)

    def final_return(self, schedules: Array) -> Array:
        """What schedules come to with all else at its best: shape ``... x K`` of K intervals gives shape ``...``."""
        intervals = schedules.shape[-1]
        heat = np.zeros(schedules.shape[:-1])
        for interval in range(intervals):
            heat = self.heat(heat, schedules[..., interval], 1 / intervals)
        progress = self.speed * self.rate(schedules).mean(axis=-1)
        return np.asarray(-np.expm1(-progress) - self.deception * heat)

    def best(self, intervals: int) -> Array:
        r"""The schedule with the best final return, temperatures of shape ``intervals``; of 1, the best constant.

        $$t_k = \Bigl[\frac{\ln\frac{(1 - cold) \Delta}{w_k} - cold \, \Delta K}{(1 - cold) \Delta} - k\Bigr]_0^1$$

        with $[\cdot]_0^1$ clipped: interval k is as hot as pays, with all before it hot and all after it cold.
        """
        before, kept = np.arange(intervals, dtype=np.float64), self._kept(1 / intervals)
        # Where heat is the temperature, kept is 0: 0 ** 0 is 1, and all heat there is comes from the last interval.
        weights = np.asarray(self.deception * (1 - kept) * kept ** before[::-1])
        step = self.speed / intervals
        return self._pays(weights, np.asarray(self.cold * self.speed + (1 - self.cold) * step * before), step)

    def greedy(self, intervals: int) -> Array:
        r"""The schedule whose every interval has the best return that it can end with, shape ``intervals``.

        $$t_k = \Bigl[\frac{\ln\frac{(1 - cold) \Delta}{w_{K - 1}} - cold \, \Delta - progress_k}
        {(1 - cold) \Delta}\Bigr]_0^1$$
        """
        step, progress = self.speed / intervals, 0.0
        weight = np.array(self.deception * (1 - self._kept(1 / intervals)))
        schedule = np.empty(intervals)
        for interval in range(intervals):
            schedule[interval] = self._pays(weight, np.array(self.cold * step + progress), step)
            progress += step * self.rate(float(schedule[interval]))
        return schedule

    def _kept(self, time: float) -> float:
        """The share of the difference between heat and temperature that is left after a share of the budget."""
        return math.exp(-time / self.cooling) if self.cooling else 0.0

    def _pays(self, weights: Array, otherwise: Array, step: float) -> Array:
        """The temperatures t at which the return stops growing with t: its heat costs ``weights`` t, and progress is
        ``otherwise`` + (1 - cold) step t."""
        gain = (1 - self.cold) * step
        with np.errstate(divide="ignore"):
            return np.asarray(np.clip((np.log(gain / weights) - otherwise) / gain, 0.0, 1.0))
