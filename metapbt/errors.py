"""The errors that users see: one line that says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1500  # characters of an error's line


class MetapbtError(Exception):
    """A mistake in what the user asked for, or a failure they can act on. Its text is one line, whatever is in it."""

    def __init__(self, text: object = "") -> None:
        line = " ".join(str(text).splitlines())
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}...")


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
    """An error's text in one line of printable characters, shortened where it is endless; whoever wrote the error."""
    try:
        text = str(error)
    except Exception as unreadable:
        text = f"(its text cannot be read: {type(unreadable).__name__})"
    return _printable(text, 2000)


def _printable(text: str, most: int) -> str:
    line = " ".join(text[: 4 * most].split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def unexpected(error: BaseException) -> MetapbtError:
    """The error for what nobody foresaw."""
    said = one_line(error)
    return MetapbtError(
        f"unexpected {type(error).__name__}{': ' if said else ''}{said} (METAPBT_TRACEBACK=1 shows where)"
    )


def shown(value: object, most: int = 80) -> str:
    """A value of the user's in one line of at most so many characters, whatever it is."""
    try:
        return _printable(repr(value), most)
    except Exception:  # their own class, or one that holds itself
        return f"a {type(value).__name__}"


def shown_word(value: object) -> str:
    """A name for a message: text as it is, unless it is odd."""
    text = shown(value)
    return text[1:-1] if isinstance(value, str) and text[0] in "'\"" and text[-1] == text[0] else text


def named(error: BaseException) -> str:
    """An error's type and text in one line; whoever wrote the error."""
    text = one_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MetapbtError:
    """The error for a name that is not known, whatever it is, with the nearest known name.

    Example:
        >>> print(unknown_name("env", "lunar_landr", ["cart_pole", "lunar_lander"]))
        unknown env 'lunar_landr'; did you mean 'lunar_lander'? (known: cart_pole, lunar_lander)
    """
    names, word = sorted(known), shown_word(name)
    alike = {name.lower(): name for name in names}
    nearest = difflib.get_close_matches(word.lower(), alike, n=1, cutoff=0.5)
    hint = f"; did you mean '{alike[nearest[0]]}'?" if nearest else ""
    return MetapbtError(f"unknown {kind} '{word}'{hint} (known: {', '.join(names)})")
