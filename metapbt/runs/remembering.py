"""What a run remembers: chosen when it first starts, then kept beside its own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from metapbt.errors import MetapbtError, unknown_name
from metapbt.log import LOGGER, counted
from metapbt.memory.cache import ModelCache
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.planning import LEAST_CONTEXTS
from metapbt.memory.quality import summary
from metapbt.memory.reading import read_sources
from metapbt.memory.shipped import SHIPPED, memory_dirs, require_directories, shipped_dir, shipped_version
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import choose_sources, describe_contexts
from metapbt.population.explorers import explorer_class
from metapbt.population.explorers.base import Explorer
from metapbt.runs.plan import RunPlan
from metapbt.space import Space
from metapbt.store.memory_table import read_memory, write_memory
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory


class Remembered:
    """The sources of a run's memory, and what its method or its start is handed of them.

    Args:
        run: the run's plan.
        directory: of the run, open.
    """

    def __init__(self, run: RunPlan, directory: RunDirectory) -> None:
        self._run, self._directory = run, directory
        self._method = explorer_class(run.config["method"]["name"])
        describe = _describe(run)
        if directory.remembers:
            self._sources = _kept(directory)
        else:
            self._sources = read_sources(_chosen(run, describe))
        self._memory = Memory(run.plan.identity.context, self._sources, describe)

    @property
    def settings(self) -> dict[str, Any]:
        """What its tuner takes beside what the configuration says."""
        return {"memory": self._memory, **({"cache": self._cache} if self._cache is not None else {})}

    def keep(self, explorer: Explorer) -> None:
        """Keep the sources beside the records, once the run has begun; and say how well they predict each other."""
        if self._directory.remembers:
            return
        if self._cache is not None and len(self._sources):
            from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer

            if isinstance(explorer, MetaPB2Explorer) and explorer.meta.kernel != "published":
                LOGGER.info("%s", summary(explorer.meta.quality()))
        write_memory(self._directory.memory, self._sources, self._memory.ancestry)

    @property
    def _cache(self) -> ModelCache | None:
        """Where models trained from memory are kept for other runs, if the method has any."""
        if not self._method.uses_cache:
            return None
        return ModelCache.beside(_places(self._run), Path(self._run.config["results_dir"]))


def _kept(directory: RunDirectory) -> pa.Table:
    """What the run chose when it began."""
    try:
        return read_memory(directory.memory)[0]
    except MetapbtError as error:
        raise MetapbtError(
            f"{error}; it holds what this run learned from, which cannot be chosen again midway: "
            "restore a copy, or set resume=false, which starts the run afresh"
        ) from error


def nothing_remembered(run: RunPlan) -> dict[str, Any]:
    """What a run is handed that has nothing to remember: to see whether its settings are right."""
    return {"memory": Memory(run.plan.identity.context)}


def _describe(run: RunPlan) -> Describe:
    """How the contexts of the memory are told apart."""
    meta: Mapping[str, Any] = run.config["meta"]
    if meta["describe_by"] == "features":
        return by_features
    if meta["describe_by"] != "experience":
        raise unknown_name("meta.describe_by", meta["describe_by"], ("features", "experience"))
    from metapbt.memory.describe import Experience

    return Experience(run.plan.identity.env, meta["episodes"])


def _chosen(run: RunPlan, describe: Describe) -> list[RunInfo]:
    identity, places = run.plan.identity, _places(run)
    own = Path(run.config["results_dir"])
    runs = _found(run, places, describe)
    require_directories([place for place in places if place != own], "meta.results_dir")
    where = " and ".join(map(str, places))
    by_default = places == [own]  # nobody asked for another place
    if by_default and len({found.context for found in runs}) < LEAST_CONTEXTS:
        shipped = _found(run, [shipped_dir()], describe)
        if runs and shipped:
            LOGGER.info(
                "memory: the memory that ships with metapbt is not used: it has %s; meta.results_dir=[%s,%s] adds them",
                describe_contexts(shipped), own, SHIPPED,
            )  # fmt: skip
        elif shipped:
            LOGGER.info(
                "memory: there are no runs of %s on other contexts under %s, so the memory that ships with metapbt is "
                "used (meta.results_dir=%s), version %s",
                _asked(run), where, SHIPPED, shipped_version(),
            )  # fmt: skip
            runs, where = shipped, str(shipped_dir())
        elif not runs:
            where += ", nor in the memory that ships"
    if runs:
        LOGGER.info("memory: %s, from %s", describe_contexts(runs), where)
        _compare_scales(run, runs)
    else:
        LOGGER.warning(
            "memory: no runs of %s on other contexts under %s; %s goes on without memory",
            _asked(run), where, identity.name,
        )  # fmt: skip
    return runs


def _asked(run: RunPlan) -> str:
    """Which runs count, but for their contexts and hyperparameters."""
    identity, methods = run.plan.identity, run.config["meta"]["methods"]
    by = "" if methods is None else f" and method {' or '.join(methods)}"
    return f"{identity.env} with learner {identity.learner}{by}"


def _compare_scales(run: RunPlan, sources: Sequence[RunInfo]) -> None:
    """Say which hyperparameters sources searched on another scale than this run does."""
    here = _scales(run.space)
    others: Counter[str] = Counter()
    for source in sources:
        try:
            there = _scales(Space(RunDirectory(source.path).config()["space"]))
        except (MetapbtError, OSError, LookupError, TypeError, AttributeError):
            continue  # a run of somebody's own loop has none, and a foreign one may have anything
        others.update(name for name in here.keys() & there.keys() if here[name] != there[name])
    for name, count in others.items():
        LOGGER.warning(
            "memory: %s searched %s on another scale than this run does (space.%s.log or .complement): what is learned "
            "there may be worth nothing here",
            counted(count, "source run"), name, name,
        )  # fmt: skip


def _scales(space: Space) -> dict[str, tuple[bool, bool]]:
    """Of each hyperparameter whether its scale is logarithmic, and whether it is that of its distance from 1."""
    return {each.name: (each.log, each.complement) for each in space.parameters}


def _found(run: RunPlan, places: list[Path], describe: Describe) -> list[RunInfo]:
    meta, identity = run.config["meta"], run.plan.identity
    return choose_sources(
        places,
        identity.env,
        identity.learner,
        identity.context,
        meta["sources"],
        meta["num_contexts"],
        meta["methods"],
        meta["include_target"],
        exclude=run.plan.path,
        min_records=meta["min_records"],
        space=run.space,
        describe=describe,
    )


def _places(run: RunPlan) -> list[Path]:
    """Where the memory's sources are looked for."""
    return memory_dirs(run.config["meta"]["results_dir"])
