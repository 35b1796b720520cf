"""The errors that users see: one line that says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MetapbtError(Exception):
    """A mistake in what the user asked for, or a failure they can act on. Its text is one line."""


class MemberError(MetapbtError):
    """A member of the population failed more often than it may be retried."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM asked the run to stop; what is finished has been saved.

    As a ``KeyboardInterrupt`` it is no ``Exception``: nothing on its way takes it for a failure.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def one_line(error: BaseException) -> str:
    """An error's text with its line breaks folded."""
    return " ".join(str(error).split())


def unknown_name(kind: str, name: str, known: Iterable[str]) -> MetapbtError:
    """The error for a name that is not known, with the nearest known names first.

    Example:
        >>> print(unknown_name("env", "lunar_landr", ["cart_pole", "lunar_lander"]))
        unknown env 'lunar_landr'; did you mean 'lunar_lander'? (known: cart_pole, lunar_lander)
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    return MetapbtError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names)})")
