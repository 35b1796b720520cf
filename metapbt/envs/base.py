"""What a contextual environment is: its features with their legal ranges, and how one context is built.

No Gymnasium here: the feature tables are read far more often than an environment is made.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.history.context import Context, FeatureValue
from metapbt.plain import number

if TYPE_CHECKING:
    import gymnasium

#: Builds one context: every feature by name (completed and checked), and Gymnasium's ``render_mode``. The values are
#: floats where a ``Feature`` declares them and words where a ``Category`` does.
Build = Callable[[Mapping[str, Any], str | None], "gymnasium.Env[Any, Any]"]

#: Arguments of ``gymnasium.make``, which a feature of the same name would never get past.
_RESERVED = {"id", "max_episode_steps", "disable_env_checker", "render_mode"}


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
        whole: the environment counts with it, so other values are rounded to the nearest whole number (halves to
            the even one). The rounded value is what a context holds and what the range applies to.

    Raises:
        MetapbtError: the default is illegal, or the name cannot be written as ``context.<name>``.
    """

    name: str
    unit: str
    default: float
    low: float
    high: float
    constant: str | None = None
    description: str = ""
    whole: bool = False

    def __post_init__(self) -> None:
        _check_feature_name(self.name)
        self.checked(self.default, f"the default of feature '{self.name}'")

    def checked(self, value: Any, where: str) -> float:
        """Return ``value`` as a legal float; ``where`` is the name to complain under.

        Raises:
            MetapbtError: ``value`` is no number, or is outside ``[low, high]``.
        """
        found = None if isinstance(value, str) else number(value)
        if found is None:
            raise MetapbtError(f"{where} must be a number, got {shown(value)}")
        written = float(found) if not abs(found) >= 2**1023 else math.inf
        rounded = float(round(written)) if self.whole and math.isfinite(written) else written
        if not self.low <= rounded <= self.high:
            raise MetapbtError(f"{where} must be in [{self.low:g}, {self.high:g}], got {written:.15g}")
        return rounded + 0.0  # -0.0 is 0.0: one context, one path


@dataclass(frozen=True)
class Category:
    """One property of an environment that is no number: a context names one of its choices.

    Args:
        name: how users write it.
        choices: its legal values, words of letters, digits and ``_ . + -``.
        default: which of them it is where a context does not say.
        description: one line on what it is.

    Raises:
        MetapbtError: the default is no choice, a choice is no such word or there twice, or the name cannot be written
            as ``context.<name>``.

    Example:
        >>> Category("ground", choices=("grass", "ice"), default="grass").checked("ice", "walker.ground")
        'ice'
    """

    name: str
    choices: tuple[str, ...]
    default: str
    description: str = ""
    #: As of a plain number.
    unit: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        _check_feature_name(self.name)
        choices: tuple[object, ...] = self.choices
        for choice in choices:
            # They stand in overrides and in paths as they are.
            if not isinstance(choice, str) or not re.fullmatch(r"[\w.+-]+", choice):
                raise MetapbtError(f"choices of feature '{self.name}' must be words without spaces, got {choice!r}")
        for choice, count in Counter(choices).items():
            if count > 1:
                raise MetapbtError(f"choices of feature '{self.name}' must differ, got {choice!r} {count} times")
        self.checked(self.default, f"the default of feature '{self.name}'")

    def checked(self, value: Any, where: str) -> str:
        """Return ``value`` as one of the choices; ``where`` is the name to complain under.

        Raises:
            MetapbtError: ``value`` is none of them.
        """
        # `context.robot=3` is a number to Hydra, whatever the choices are.
        word = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(word, str) or word not in self.choices:
            nearest = difflib.get_close_matches(str(word), self.choices, n=1)
            hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
            raise MetapbtError(f"{where} must be one of {', '.join(self.choices)}, got {shown(value)}{hint}")
        return str(word)


@dataclass(frozen=True)
class Environment:
    """A family of environments, one for each context.

    Calling it with any of its features gives the bare Gymnasium environment; this is the entry point that
    ``gymnasium.make`` calls before it adds the time limit.

    Args:
        name: how messages call it.
        features: what a context may change, in the order in which contexts are written. One that comes later, when
            runs have been trained without it, stands last and in `metapbt.history.context.NEWER`.
        gym_id: its id in Gymnasium; None where it needs none.
        build: makes one context. None with a ``gym_id``: the environment of that id, as Gymnasium makes it; None
            without: a synthetic problem that only its own learner knows.
        max_episode_steps: after which Gymnasium truncates an episode; None for never.
        render_modes: what ``build`` accepts as a ``render_mode``, beside None.
        check: refuses, with a ``MetapbtError``, a context whose features are legal each, but not together; it gets all
            of them. None where any are.

    Raises:
        MetapbtError: two features have one name.

    Example:
        >>> length = Feature("length", unit="m", default=1.0, low=0.5, high=2.0)
        >>> Environment("swing", (length,)).context({"length": 2}).changed
        {'length': 2.0}
    """

    name: str
    features: tuple[Feature | Category, ...]
    gym_id: str | None = None
    build: Build | None = None
    max_episode_steps: int | None = None
    render_modes: tuple[str, ...] = ("human", "rgb_array")
    check: Callable[[Mapping[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        for name, count in Counter(feature.name for feature in self.features).items():
            if count > 1:
                raise MetapbtError(f"env {self.name} has {count} features '{name}'")

    def __call__(self, *, render_mode: str | None = None, **features: FeatureValue) -> gymnasium.Env[Any, Any]:
        """Build the context in which ``features`` are changed and all others have their defaults.

        Raises:
            MetapbtError: a feature is unknown or illegal, or there is no Gymnasium environment to build.
        """
        context = self.context(features)
        if self.build is not None:
            return self.build(context, render_mode)
        if self.gym_id is None:
            raise MetapbtError(f"{self.name} is a toy without a Gymnasium environment, trained by learner={self.name}")
        import gymnasium

        return gymnasium.make(self.gym_id, render_mode=render_mode, disable_env_checker=True)

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``gymnasium.make`` reads to decide whether it must add a rendering wrapper."""
        return {"render_modes": list(self.render_modes)}

    def context(self, changed: Mapping[str, FeatureValue]) -> Context:
        """Return the context in which ``changed`` differ from the defaults, with every feature in declared order.

        Raises:
            MetapbtError: a feature is unknown, of the wrong type, or out of its range; or features do not go together.
        """
        known = {feature.name: feature for feature in self.features}
        if not isinstance(changed, Mapping):
            raise MetapbtError(f"context must map features of {self.name} to values, got {shown(changed)}")
        for name in changed:
            if not known:
                raise MetapbtError(
                    f"{self.name} has no features, got '{name}' (docs/your_own_environment.md adds some)"
                )
            if name not in known:
                raise unknown_name(f"feature of {self.name}", name, known)
        values: dict[str, FeatureValue] = {
            name: feature.checked(changed.get(name, feature.default), f"{self.name}.{name}")
            for name, feature in known.items()
        }
        if self.check is not None:
            self.check(values)
        return Context(values, [f.name for f in self.features if values[f.name] != f.default])


def _check_feature_name(name: str) -> None:
    if not name.isidentifier() or name in _RESERVED:
        raise MetapbtError(f"a feature cannot be called '{name}': take a Python name other than {_either(_RESERVED)}")


def _either(names: set[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} or {last}"
