"""What learners are told: settings with their defaults, and hyperparameters with their legal values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from metapbt.errors import MetapbtError, unknown_name

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Space


class Legal(Protocol):
    """The legal values of one hyperparameter."""

    @property
    def default(self) -> Any:
        """What it is when nobody sets it."""

    def check(self, name: str, value: Any) -> None:
        """Refuse an illegal value.

        Raises:
            MetapbtError: it is illegal.
        """


@dataclass(frozen=True)
class Range:
    """The legal values of a number."""

    default: float | None  # None: no limit; then None is legal too
    low: float
    high: float = math.inf
    open: bool = False  # whether ``low`` itself is illegal
    whole: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse an illegal value.

        Raises:
            MetapbtError: it is illegal.
        """
        if value is None and self.default is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        above = number and (value > self.low if self.open else value >= self.low)
        if not (above and value <= self.high) or (self.whole and value != int(value)):
            raise MetapbtError(f"{name} must be {self}, got {value!r}")

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        above = f"{'>' if self.open else '>='} {self.low:g}"
        bounds = f"in [{self.low:g}, {self.high:g}]" if self.high < math.inf else above
        return f"{kind} {bounds}{' or null' if self.default is None else ''}"


def check_values(learner: str, legal: Mapping[str, Legal], hyperparameters: Hyperparameters) -> None:
    """Check one configuration.

    Args:
        learner: its name, for the error message.
        legal: the values of each hyperparameter that it has.
        hyperparameters: the configuration.

    Raises:
        MetapbtError: a name is unknown or a value is illegal.
    """
    for name, value in hyperparameters.items():
        _known(learner, legal, name).check(name, value)


def check_ranges(learner: str, legal: Mapping[str, Legal], space: Space) -> None:
    """Check that all values of a space are legal.

    Args:
        learner: its name, for the error message.
        legal: the values of each hyperparameter that it has.
        space: the search space.

    Raises:
        MetapbtError: the message names the hyperparameter.
    """
    for parameter in space.parameters:
        where, of_it = f"space.{parameter.name}", _known(learner, legal, parameter.name)
        for value in parameter.choices or (parameter.low, parameter.high):
            of_it.check(where, value)
        between = parameter.kind == "float" and (parameter.step is None or parameter.step != int(parameter.step))
        if isinstance(of_it, Range) and of_it.whole and between:
            raise MetapbtError(f"{where} must be {of_it}, which floats between are not: write type: int")


def complete(kind: str, where: str, defaults: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    """``defaults`` with what was chosen instead; ``kind`` and ``where`` are what to call a key and the whole.

    Raises:
        MetapbtError: ``chosen`` is no mapping, or has a key that ``defaults`` has not.
    """
    if not isinstance(chosen, Mapping):
        raise MetapbtError(f"{where} must be a mapping, got {chosen!r}")
    for key in chosen:
        if key not in defaults:
            raise unknown_name(kind, key, defaults)
    return {**defaults, **chosen}


def flag(name: str, value: Any) -> bool:
    """A setting that is true or false.

    Raises:
        MetapbtError: it is neither.
    """
    if not isinstance(value, bool):
        raise MetapbtError(f"{name} must be true or false, got {value!r}")
    return value


def word(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """A setting that is one of a few words.

    Raises:
        MetapbtError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise unknown_name(name, value, choices)
    return value


def _known(learner: str, legal: Mapping[str, Legal], name: str) -> Legal:
    if name not in legal:
        raise unknown_name(f"hyperparameter of learner {learner}", name, legal)
    return legal[name]
