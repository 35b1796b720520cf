"""What the fuzzers share: mutations of what is valid, and limits on what an example may take.

``FUZZ_EXAMPLES`` says how many examples each fuzzer tries; they are the same ones each time.
"""

from __future__ import annotations

import copy
import math
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from metapbt.callbacks import Callback
from metapbt.errors import Interrupted, MetapbtError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
SECONDS = 120  # an example takes less than one: whoever takes so long hangs
BYTES = 1_000_000_000

#: What nobody should write, and everybody does.
ABSURD: list[Any] = [
    None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e-320, 1e-300, 1e300, 1.7e308,
    math.nan, math.inf, -math.inf, "", "x", "1e-4", "null", "a" * 3000, "\x00", "ß\u2028\n", "../../x", "${seed}",
    "${nope}", [], [1], [[]], {}, {"x": 1}, {"type": "float"}, {"": {}}, [None, "auto", 0.1], [1, True, "1"],
]  # fmt: skip


def examples(share: float = 1.0) -> settings:
    """Hypothesis' settings for a fuzzer that tries a share of the usual number of examples."""
    return settings(
        max_examples=max(round(EXAMPLES * share), 5),
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def within_limits() -> Iterator[None]:
    """Fail where an example hangs, or takes a gigabyte of memory."""

    def too_long(_number: int, _frame: object) -> None:
        raise AssertionError(f"an example hung for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < BYTES


#: A source of randomness for each example, whose draws are the same ones each time.
CHANCE = st.randoms(use_true_random=True)


def mutated_bytes(chance: Random, data: bytes, most: int = 2) -> bytes:
    """A file's content with one to ``most`` damages."""
    for _ in range(chance.randint(1, most)):
        first = chance.randrange(len(data)) if data else 0
        length = chance.choice([1, 2, 8, 50, 500])
        part, behind = data[first : first + length], data[first + length :]
        match chance.choice(["flip", "flip", "flip", "cut", "truncate", "insert", "zero", "repeat", "move"]):
            case "flip" if data:
                data = data[:first] + bytes([data[first] ^ (1 << chance.randrange(8))]) + data[first + 1 :]
            case "cut":
                data = data[:first] + behind
            case "truncate":
                data = data[:first]
            case "zero":
                data = data[:first] + bytes(len(part)) + behind
            case "repeat":
                data = data[:first] + part + part + behind
            case "move":
                rest = data[:first] + behind
                place = chance.randint(0, len(rest))
                data = rest[:place] + part + rest[place:]
            case _:
                data = data[:first] + chance.randbytes(chance.randint(1, 12)) + data[first:]
    return data


def _places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _places(value, (*place, key))


def _at(tree: Any, place: Sequence[Any]) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def mutated_tree(chance: Random, tree: Any, most: int = 2, nudges: int = 1) -> Any:
    """Nested lists and mappings with one to ``most`` changes: values replaced or, ``nudges`` times as often as anything
    else, made a little larger or smaller; keys lost, renamed, or added."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.randint(1, most)):
        places = list(_places(tree))
        absurd = copy.deepcopy(chance.choice(ABSURD))
        if not places or chance.random() < 0.02:
            return absurd
        if nudges > 1:
            places = [place for place in places if isinstance(_at(tree, place), int | float)] or places
        *path, last = chance.choice(places)
        holder = _at(tree, path)
        match chance.choice(["replace", "replace", "replace", *["nudge"] * nudges, "delete", "rename", "add"]):
            case "nudge" if isinstance(holder[last], int | float):
                holder[last] = holder[last] * chance.choice([-1, 2, 0.5, 0.9, 10]) + chance.choice([0, 0, 1])
            case "delete":
                del holder[last]
            case "rename" if isinstance(holder, dict):
                holder[chance.choice([f"{last}x", f"{last}.a", "", "type", 1, None])] = holder.pop(last)
            case "add" if isinstance(holder, dict):
                holder[chance.choice(["more", "a.b", "", "x/y"])] = absurd
            case _:
                holder[last] = absurd
    return tree


T = TypeVar("T")


def attempt(call: Callable[[], T]) -> T | None:
    """What a call returns; None where it refuses in one line. Nothing else may be raised."""
    with within_limits():
        try:
            return call()
        except MetapbtError as error:
            lines = str(error).splitlines()
    assert len(lines) == 1
    assert len(lines[0]) < 2000
    return None


class Shares:
    """Counts how many examples got past the first check, of a fuzzer that is to reach what lies behind it."""

    def __init__(self) -> None:
        self.tried = self.past = 0

    def count(self, past: bool) -> None:
        self.tried += 1
        self.past += past

    def check(self, least: float = 1 / 3) -> None:
        assert self.past >= least * self.tried, f"only {self.past} of {self.tried} examples got past the first check"


class StopAfterFour(Callback):
    """Stops a run after four generations, as Ctrl-C would."""

    def on_generation(self, history: Any) -> None:
        if history.generations == 4:
            raise Interrupted(2, "stopped for a test")
