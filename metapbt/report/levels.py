"""On which levels a run was trained, evaluated and tested: levels made from numbers, as Procgen's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from metapbt.envs.levels import FEATURES
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory


class Levels(NamedTuple):
    """Levels in words, such as ``levels 0 to 199`` or ``all levels``.

    Attributes:
        trained: those of training.
        evaluated: those that members are evaluated on after each interval.
        tested: those that the best agent is tested on at the end.
        sampled: whether evaluations sample actions, as training does, instead of taking the most likely ones.
    """

    trained: str
    evaluated: str
    tested: str
    sampled: bool


def levels_of(run: RunInfo) -> Levels | None:
    """On which levels a run was trained, evaluated and tested; None where all are the same, or there are no levels.

    Raises:
        MetapbtError: the run's configuration cannot be read.
    """
    if not all(isinstance(run.context.get(name), int | float) for name in FEATURES):
        return None
    asked = RunDirectory(run.path).config().get("evaluation")
    asked = asked if isinstance(asked, Mapping) else {}
    trained, evaluated, tested = (_in_words(run.context, asked, prefix) for prefix in (None, "", "test_"))
    if trained == evaluated == tested:
        return None
    return Levels(trained, evaluated, tested, bool(asked.get("sampled")))


def _in_words(context: Mapping[str, Any], asked: Mapping[str, Any], prefix: str | None) -> str:
    found = {name: context[name] for name in FEATURES}
    if prefix is not None:
        found |= {name: v for name in FEATURES if isinstance(v := asked.get(f"{prefix}{name}"), int | float)}
    count, first = (int(found[name]) for name in FEATURES)
    return f"levels {first:,} to {first + count - 1:,}" if count else "all levels"
