"""What a tuner's method remembers of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.log import LOGGER
from metapbt.memory.cache import ModelCache
from metapbt.memory.reading import read_sources
from metapbt.memory.shipped import memory_dirs, require_directories
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import choose_sources
from metapbt.population.explorers import explorer_class
from metapbt.population.starts import start_class


def remembered(method: str, memory_of: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a method with memory, or a start that copies from other runs, is handed beside its settings.

    Args:
        method: the method's name.
        memory_of: a folder of runs, or ``shipped``; None for that of ``results_dir``.
        settings: the arguments of ``metapbt.Tuner`` that say which run it is.

    Raises:
        MetapbtError: neither has a memory, nothing says where the runs are, or ``memory_of`` is no directory.
    """
    if not (explorer_class(method).uses_memory or start_class(settings.get("start", "method")).uses_memory):
        if memory_of is not None:
            raise MetapbtError(
                f"memory_of is for methods with memory, such as meta_pb2, and start='transfer', not for '{method}'"
            )
        return {}
    if "memory" in settings:
        return {}
    place = settings.get("results_dir") if memory_of is None else memory_of
    if place is None:
        who = f"method '{method}'" if explorer_class(method).uses_memory else "start='transfer'"
        raise MetapbtError(f"{who} learns from other runs: say memory_of=DIR, where they are, or memory")
    env, learner = settings.get("env", "own"), settings.get("learner", "own")
    target = Context(settings.get("context") or {})
    places = memory_dirs(place)
    if memory_of is not None:
        require_directories(places, "memory_of")
    runs = choose_sources(places, env, learner, target, "all", 1)
    if not runs:
        LOGGER.warning("memory: no runs of env=%s on other contexts under %s", env, place)
    found: dict[str, Any] = {"memory": Memory(target, read_sources(runs))}
    if explorer_class(method).uses_cache and "cache" not in settings:
        results = settings.get("results_dir")
        found["cache"] = ModelCache.beside(places, None if results is None else Path(results))
    return found
