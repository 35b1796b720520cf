"""What a contextual environment is: its features with their legal ranges, and how one context is built.

No Gymnasium here: the feature tables are read far more often than an environment is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, unknown_name

if TYPE_CHECKING:
    import gymnasium

#: Builds one context: every feature by name (completed and checked), and Gymnasium's ``render_mode``.
Build = Callable[[Mapping[str, float], str | None], "gymnasium.Env[Any, Any]"]


@dataclass(frozen=True)
class Feature:
    """One number of an environment that a context may change.

    Args:
        name: how users write it.
        unit: its physical unit (``"1"`` for a plain number).
        default: its value in Gymnasium's own environment.
        low: smallest legal value, in ``unit``.
        high: largest legal value, in ``unit``.
        constant: the name in Gymnasium's code of the number that it replaces; None where that has no name.
        description: one line on what it is.
        whole: Gymnasium counts with it, so other values are rounded to the nearest whole number (halves to
            the even one). The rounded value is what a context holds and what the range applies to.
    """

    name: str
    unit: str
    default: float
    low: float
    high: float
    constant: str | None
    description: str
    whole: bool = False

    def checked(self, value: Any, where: str) -> float:
        """Return ``value`` as a legal float; ``where`` is the name to complain under.

        Raises:
            MetapbtError: ``value`` is no number, or is outside ``[low, high]``.
        """
        if isinstance(value, bool) or not isinstance(value, Real):
            raise MetapbtError(f"{where} must be a number, got {value!r}")
        number = float(value)
        if self.whole and math.isfinite(number):
            number = float(round(number))
        if not self.low <= number <= self.high:
            raise MetapbtError(f"{where} must be in [{self.low:g}, {self.high:g}], got {float(value):.15g}")
        return number


@dataclass(frozen=True)
class Environment:
    """A family of environments, one for each context.

    Calling it with any of its features gives the bare Gymnasium environment; this is the entry point that
    ``gymnasium.make`` calls before it adds the time limit.

    Args:
        name: how users write it.
        features: what a context may change, in the order in which contexts are written.
        gym_id: its id in Gymnasium; None for a synthetic problem that only its own learner knows.
        build: makes one context; None where ``gym_id`` is None.
        max_episode_steps: after which Gymnasium truncates an episode; None for never.
        render_modes: what ``build`` accepts as a ``render_mode``, beside None.
    """

    name: str
    features: tuple[Feature, ...]
    gym_id: str | None = None
    build: Build | None = None
    max_episode_steps: int | None = None
    render_modes: tuple[str, ...] = ("human", "rgb_array")

    def __call__(self, *, render_mode: str | None = None, **features: float) -> gymnasium.Env[Any, Any]:
        """Build the context in which ``features`` are changed and all others have their defaults.

        Raises:
            MetapbtError: a feature is unknown or illegal, or there is no Gymnasium environment to build.
        """
        context = self.complete(features)
        if self.build is None:
            raise MetapbtError(f"{self.name} is a toy without a Gymnasium environment, trained by learner={self.name}")
        return self.build(context, render_mode)

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``gymnasium.make`` reads to decide whether it must add a rendering wrapper."""
        return {"render_modes": list(self.render_modes)}

    def complete(self, changed: Mapping[str, float]) -> dict[str, float]:
        """Return every feature, changed or not, in declared order.

        Raises:
            MetapbtError: a feature is unknown, no number, or out of its range.
        """
        known = {feature.name: feature for feature in self.features}
        for name in changed:
            if name not in known:
                raise unknown_name(f"feature of {self.name}", name, known)
        return {
            name: feature.checked(changed.get(name, feature.default), f"{self.name}.{name}")
            for name, feature in known.items()
        }

    def changed(self, context: Mapping[str, float]) -> dict[str, float]:
        """Return the features of ``context`` that differ from their defaults, in declared order.

        Raises:
            MetapbtError: as for ``complete``.
        """
        completed = self.complete(context)
        return {f.name: completed[f.name] for f in self.features if completed[f.name] != f.default}
