"""The levels that agents are evaluated on: those of training, or others, so that nobody has trained on them.

Cobbe et al., 2020: agents train on the levels ``start_level`` to ``start_level + num_levels - 1``, and what they have
learned in general shows on all levels (``num_levels=0``). A set of levels is a context, so evaluation happens in a
context of its own. Nothing here knows of one environment: these two features are all it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history.context import Context

#: Features that say which levels there are. ``num_levels=0`` is all of them.
FEATURES = ("num_levels", "start_level")


class EvaluationContexts(NamedTuple):
    """Where agents are evaluated; None for the context that they train in."""

    validation: Context | None
    test: Context | None


def evaluation_contexts(env: str, context: Context, evaluation: Mapping[str, Any]) -> EvaluationContexts:
    """The contexts of validation and of the final test.

    Args:
        env: the environment's name.
        context: that agents train in.
        evaluation: ``num_levels`` and ``start_level`` of validation, ``test_num_levels`` and ``test_start_level`` of
            the test; None, or no such key, for what training has.

    Raises:
        MetapbtError: the environment has no levels, a value is illegal, or two ranges of levels that are to be apart
            are not.
    """
    validation = _context(env, context, evaluation, "")
    test = _context(env, context, evaluation, "test_")
    if validation is None and test is None:
        return EvaluationContexts(None, None)
    ranges = {"training": context, "evaluation.num_levels": validation, "evaluation.test_num_levels": test}
    known = [(name, levels) for name, where in ranges.items() if where is not None and (levels := _levels(where))]
    for place, (name, levels) in enumerate(known):
        for other, others in known[:place]:
            if max(levels.start, others.start) < min(levels.stop, others.stop):
                raise MetapbtError(
                    f"{name}: its levels, {_shown(levels)}, are not apart from those of {other}, {_shown(others)}: "
                    f"choose another {name.replace('num', 'start').replace('levels', 'level')}, or 0 for all levels"
                )
    return EvaluationContexts(*(None if where == context else where for where in (validation, test)))


def _context(env: str, context: Context, evaluation: Mapping[str, Any], prefix: str) -> Context | None:
    """The context with the levels that are asked for; None where none are."""
    asked = {name: evaluation.get(f"{prefix}{name}") for name in FEATURES}
    changed = {name: value for name, value in asked.items() if value is not None}
    if not changed:
        return None
    if not all(isinstance(context.get(name), float) for name in FEATURES):
        raise MetapbtError(
            f"evaluation.{prefix}{next(iter(changed))} must be null for env={env}: it lacks the features "
            "num_levels and start_level, which say what levels there are"
        )
    if changed.get("num_levels") == 0:
        changed = {"start_level": 0, **changed}  # all levels begin with the first
    try:
        return make_context(env, {**context.changed, **changed})
    except MetapbtError as error:
        raise MetapbtError(f"evaluation.{prefix}{next(iter(changed))}: {error}") from error


def _levels(context: Context) -> range | None:
    """The levels of a context; None for all, which no two can share but by rare chance."""
    number, first = (int(context[name]) for name in FEATURES)
    return range(first, first + number) if number else None


def _shown(levels: range) -> str:
    return f"{levels.start} to {levels.stop - 1}"
