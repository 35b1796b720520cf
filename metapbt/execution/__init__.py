"""Where members train."""

from __future__ import annotations

from typing import Any

from metapbt.execution.base import Executor
from metapbt.learners import LearnerSpec
from metapbt.registry import check_settings, lookup, making

__all__ = ["EXECUTORS", "Executor", "make_executor"]

EXECUTORS = {
    "inline": "metapbt.execution.inline:InlineExecutor",
    "processes": "metapbt.execution.processes:ProcessesExecutor",
    "ray": "metapbt.execution.ray:RayExecutor",
    "vectorised": "metapbt.execution.vectorised:VectorisedExecutor",
}


def make_executor(name: str, learner: LearnerSpec, **settings: Any) -> Executor:
    """Make an executor with its settings, the keys of ``conf/executor/<name>.yaml``.

    Raises:
        MetapbtError: the executor or one of its settings is unknown or out of range.
    """
    made_by = lookup("executor", name, EXECUTORS)
    check_settings("executor", name, made_by, settings)
    with making("executor", name):
        executor: Executor = made_by(learner, **settings)
    return executor
