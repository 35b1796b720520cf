"""One run, from its configuration to its last record."""

from __future__ import annotations

import math
import platform
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt import seeding
from metapbt.callbacks.bar import RunProgress
from metapbt.config import compose
from metapbt.envs import changed_features, complete_context
from metapbt.errors import Interrupted, MemberError, MetapbtError, one_line, unknown_name
from metapbt.execution import Executor, make_executor
from metapbt.execution.base import Task
from metapbt.execution.checkpoint import Outcome, read_outcome
from metapbt.history import History, Record
from metapbt.learners import LearnerSpec
from metapbt.log import LOGGER, logging_to
from metapbt.memory.cache import FOLDER, ModelCache
from metapbt.memory.memory import Memory
from metapbt.memory.quality import held_out_quality, summary
from metapbt.memory.sources import Describe, by_features, choose_sources, describe_contexts, read_sources, to_memory
from metapbt.population.explorers import explorer_class
from metapbt.population.tuner import Tuner
from metapbt.registry import lookup, settings_of
from metapbt.space import Space
from metapbt.store.run_directory import RunDirectory, context_label, run_directory
from metapbt.store.table import Identity, read_table, to_records, to_table, write_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from omegaconf import DictConfig

RETRIES = 3  # of a member that raises, in one generation


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: the run directory.
        history: all its records.
    """

    path: Path
    history: History

    @property
    def records(self) -> pd.DataFrame:
        """The records as a data frame, with the columns of ``records.parquet``."""
        frame: pd.DataFrame = read_table(RunDirectory(self.path).records).to_pandas()
        return frame

    @property
    def best(self) -> Record:
        """The last record of the best member: its ``eval_return`` is the run's score."""
        return self.history.best()


def run(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Run:
    """Train one population on one context; the same command goes on where an earlier one stopped.

    Args:
        overrides: as on the command line, ``["env=cart_pole", "context.pole_length=0.8", "method=pb2"]``.
        config_dir: a folder with more choices of one's own.

    Raises:
        MetapbtError: something asked for is unknown or out of range, or a member kept failing.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    return run_config(compose(overrides, config_dir))


def run_config(config: DictConfig) -> Run:
    """Train the population that a composed configuration asks for; see ``run``."""
    plan = _Plan.of(config)
    directory = RunDirectory(plan.path)
    directory.open(plan.config, resume=plan.config["resume"])
    try:
        with logging_to(directory.log), stoppable(plan.path), _one_line_errors(directory):
            return _drive(plan, directory)
    finally:
        directory.release()


@dataclass(frozen=True)
class _Plan:
    """What a configuration asks for, checked."""

    config: dict[str, Any]
    path: Path
    identity: Identity
    changed: dict[str, float]
    space: Space
    learner: LearnerSpec
    generations: int

    @classmethod
    def of(cls, config: DictConfig) -> _Plan:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            # The scripts' keys have no values unless scripts are written, and mean nothing to a run.
            asked = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("scripts", "cluster")])
            plain: dict[str, Any] = OmegaConf.to_container(asked, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise MetapbtError(one_line(error)) from error
        _check_numbers(plain)
        env, budget, method = plain["env"], plain["budget"], plain["method"]["name"]
        context = complete_context(env, plain["context"] or {})
        changed = changed_features(env, context)
        results_dir = Path(plain["results_dir"])
        path = run_directory(results_dir, env, changed, method, plain["seed"])
        _check_population(plain["population"])
        if not explorer_class(method).uses_memory:
            del plain["meta"]
        return cls(
            config={**plain, "context": changed, "features": context, "versions": _versions()},
            path=path,
            identity=Identity(
                path.relative_to(results_dir).as_posix(),
                env,
                context,
                method,
                plain["learner"]["name"],
                plain["seed"],
            ),
            changed=changed,
            space=Space(plain["space"]),
            learner=LearnerSpec.of({**plain, "context": changed}),
            generations=math.ceil(budget["steps"] / budget["interval"]),
        )

    @property
    def cache(self) -> ModelCache | None:
        """Where models trained from memory are kept for other runs, if the method has any."""
        if not explorer_class(self.config["method"]["name"]).uses_cache:
            return None
        return ModelCache(Path(self.config["meta"]["results_dir"]) / FOLDER)

    @cached_property
    def describe(self) -> Describe:
        """How the contexts of the memory are told apart."""
        meta = self.config["meta"]
        if meta["describe_by"] == "features":
            return by_features
        if meta["describe_by"] != "experience":
            raise unknown_name("meta.describe_by", meta["describe_by"], ("features", "experience"))
        from metapbt.memory.describe import Experience

        return Experience(self.identity.env, meta["episodes"])

    def memory(self, sources: pa.Table) -> Memory:
        return to_memory(self.identity.context, sources, self.config["population"]["metric"], self.describe)

    def make_tuner(self, memory: Memory | None) -> Tuner:
        population = self.config["population"]
        settings = settings_of(self.config["method"])
        if memory is not None:
            settings["memory"] = memory
            if self.cache is not None:
                settings["cache"] = self.cache
        return Tuner(
            self.space,
            self.config["method"]["name"],
            population["size"],
            population["quantile"],
            self.config["seed"],
            population["metric"],
            initial=self.config["initial"],
            selection=population["selection"],
            constraint=lookup("constraint", self.config["constraint"], {}) if self.config["constraint"] else None,
            **settings,
        )


def _drive(plan: _Plan, directory: RunDirectory) -> Run:
    if directory.done:
        LOGGER.warning("%s is finished already: nothing to do", plan.path)
        return Run(plan.path, _history(plan, directory))
    executor = make_executor(plan.config["executor"]["name"], plan.learner, **settings_of(plan.config["executor"]))
    plan.learner.make().check(plan.space, plan.config["budget"]["interval"])
    sources = _sources(plan, directory)
    memory = plan.memory(sources) if sources is not None else None
    tuner = plan.make_tuner(memory)
    directory.begin(plan.config)
    if sources is not None and memory is not None and not directory.memory.exists():
        if plan.cache is not None:
            LOGGER.info("%s", summary(held_out_quality(memory, plan.space, plan.cache)))
        write_table(directory.memory, sources)
    _restore(plan, directory, tuner)
    begun = tuner.history.generations
    size = plan.config["population"]["size"]
    title = f"{plan.identity.env} {context_label(plan.changed)} {plan.identity.method} seed {plan.identity.seed}"
    LOGGER.info(
        "%s: %s, %d members, generation %d of %d",
        title,
        "going on" if len(tuner.history) else "starting",
        size,
        begun + 1,
        plan.generations,
    )
    try:
        with RunProgress(title, plan.generations, size, len(tuner.history)) as progress, _warming_up(tuner):
            _train_population(plan, directory, tuner, executor, progress)
    except Exception as error:
        directory.mark_failed(one_line(error))
        raise
    finally:
        executor.close()
    directory.mark_done(tuner.history.generations)
    LOGGER.info("%s: finished with a score of %.2f", title, tuner.history.best().eval_return)
    return Run(plan.path, tuner.history)


@contextmanager
def _warming_up(tuner: Tuner) -> Iterator[None]:
    """Let the tuner load what its decisions need while the first members train."""
    thread = threading.Thread(target=tuner.warm_up)
    thread.start()
    try:
        yield
    finally:
        thread.join()  # an import that the end of the process cuts off shows a traceback


def _train_population(
    plan: _Plan, directory: RunDirectory, tuner: Tuner, executor: Executor, progress: RunProgress
) -> None:
    """Train until every member has had all of its intervals, or there is a reason to stop.

    Synchronous members wait until all have reported, and then decide together. Asynchronous ones decide as they report.
    """
    size, asynchronous = plan.config["population"]["size"], plan.config["population"]["asynchronous"]
    training = _Training(plan, directory, executor)
    waiting: dict[int, Record] = {}
    reason = stop_reason(tuner.history, plan.config["stop"])
    if reason is None:
        training.start(tuner, [m for m in range(size) if tuner.coming_generation(m) < plan.generations])
    while training.under_way:
        record = training.next(tuner)
        waiting[record.member] = record
        progress.member_done()
        if len(waiting) < size and not asynchronous:
            continue
        before = tuner.history.generations
        tuner.observe([waiting[member] for member in sorted(waiting)])
        directory.save_state(tuner.state())
        if tuner.history.generations > before:
            _write_records(plan, directory, tuner)
            _log_generation(plan, tuner.history, progress)
            reason = stop_reason(tuner.history, plan.config["stop"])
            if reason is not None:
                break
        going_on = [member for member in sorted(waiting) if tuner.coming_generation(member) < plan.generations]
        _log_copies(tuner, going_on)
        training.start(tuner, going_on)
        directory.keep_checkpoints({(r.generation, r.member) for r in tuner.history.latest} | training.origins)
        waiting.clear()
    if reason is not None:
        LOGGER.info("stopping: %s", reason)


def _log_generation(plan: _Plan, history: History, progress: RunProgress) -> None:
    best = history.best()
    left = progress.generation_done(history.generations, best.value(plan.config["population"]["metric"]))
    LOGGER.info(
        "generation %d/%d, %d steps: member %d is best with %s; %s left",
        history.generations,
        plan.generations,
        best.env_steps,
        best.member,
        _described(best),
        left,
    )


def stop_reason(history: History, stop: Mapping[str, Any]) -> str | None:
    """Say why a run need not use up its budget, if so.

    Args:
        history: everything so far.
        stop: the configuration's ``stop``: ``return_reached``, ``wall_seconds``, ``plateau``, each a number or None.
    """
    if all(limit is None for limit in stop.values()):
        return None
    scores = [history.best_of(number).reached for number in range(history.generations)]
    if not scores:
        return None
    if stop["return_reached"] is not None and scores[-1] >= stop["return_reached"]:
        return f"the score of {scores[-1]:.2f} has reached stop.return_reached={stop['return_reached']:g}"
    seconds = sum(max(r.wall_seconds for r in history.generation(n)) for n in range(history.generations))
    if stop["wall_seconds"] is not None and seconds >= stop["wall_seconds"]:
        return f"training took {seconds:.0f} s, stop.wall_seconds={stop['wall_seconds']:g}"
    patience = stop["plateau"]
    if patience is not None and len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience]):
        return f"the best score of {max(scores):.2f} has not grown for stop.plateau={patience} generations"
    return None


class _Training:
    """The intervals under way: each is retried where it raises, and not repeated where it was trained before a stop."""

    def __init__(self, plan: _Plan, directory: RunDirectory, executor: Executor) -> None:
        self._plan = plan
        self._directory = directory
        self._executor = executor
        self._origins: dict[int, Record | None] = {}  # by member, what its interval under way goes on from
        self._trained: list[tuple[Task, Outcome]] = []  # before a stop
        self._failures: Counter[int] = Counter()

    @property
    def under_way(self) -> int:
        """How many intervals."""
        return len(self._origins)

    @property
    def origins(self) -> set[tuple[int, int]]:
        """Generation and member of every checkpoint that an interval under way goes on from."""
        return {(origin.generation, origin.member) for origin in self._origins.values() if origin is not None}

    def start(self, tuner: Tuner, members: Iterable[int]) -> None:
        """Start the coming interval of members, those first that are likely to take longest."""
        origins = {member: tuner.origin(member) for member in members}
        for member, origin in sorted(origins.items(), key=lambda item: -item[1].wall_seconds if item[1] else 0.0):
            self._origins[member] = origin
            task = self._task(tuner, member)
            if task.save_to.exists():
                self._trained.append((task, read_outcome(task.save_to)))
            else:
                self._executor.submit(task)

    def next(self, tuner: Tuner) -> Record:
        """Wait for an interval to end, and return its record.

        Raises:
            MemberError: one has failed again and again; the others have ended and are saved.
        """
        while True:
            task, result = self._trained.pop(0) if self._trained else self._executor.next()
            if isinstance(result, Outcome):
                del self._origins[task.member]
                self._failures[task.member] = 0
                return tuner.record(task.member, **asdict(result))
            self._failures[task.member] += 1
            LOGGER.info("member %d: %s", task.member, result.traceback)
            if self._failures[task.member] > RETRIES:
                for _ in range(self.under_way - len(self._trained) - 1):
                    self._executor.next()
                raise MemberError(
                    f"member {task.member} failed {RETRIES + 1} times in generation {task.generation}: "
                    f"{result.error} (traceback in {self._directory.log})"
                )
            LOGGER.warning(
                "member %d failed, retry %d of %d: %s",
                task.member,
                self._failures[task.member],
                RETRIES,
                result.error,
            )
            self._executor.submit(task)

    def _task(self, tuner: Tuner, member: int) -> Task:
        seed, generation, origin = self._plan.identity.seed, tuner.coming_generation(member), self._origins[member]
        return Task(
            generation=generation,
            member=member,
            hyperparameters=dict(tuner.assignments[member].hyperparameters),
            start_from=self._directory.checkpoint(origin.generation, origin.member) if origin else None,
            save_to=self._directory.checkpoint(generation, member),
            interval_steps=self._plan.config["budget"]["interval"],
            seed=seeding.training_seed(seed, generation, member),
            evaluation_seed=seeding.evaluation_seed(seed),
        )


def _restore(plan: _Plan, directory: RunDirectory, tuner: Tuner) -> None:
    """Bring the tuner to where the run stopped; in a new run, to its first generation."""
    state = directory.load_state()
    if state is None:
        tuner.start()
        directory.save_state(tuner.state())
        return
    tuner.load_state(state)
    if tuner.history.generations:
        # The run may have been killed between saving the state and writing the records.
        _write_records(plan, directory, tuner)


def _history(plan: _Plan, directory: RunDirectory) -> History:
    records = [record for _, record in to_records(read_table(directory.records))]
    return History(tuple(records), plan.config["population"]["metric"])


def _sources(plan: _Plan, directory: RunDirectory) -> pa.Table | None:
    """The records that the method remembers: chosen when the run first starts, then kept beside its own records."""
    meta = plan.config.get("meta")
    if meta is None:
        return None
    if directory.memory.exists():
        return read_table(directory.memory)
    place = Path(meta["results_dir"])
    runs = choose_sources(
        place,
        plan.identity.env,
        plan.identity.learner,
        plan.identity.context,
        meta["sources"],
        meta["num_contexts"],
        meta["methods"],
        meta["include_target"],
        exclude=directory.path,
        min_records=meta["min_records"],
        space=plan.space,
        describe=plan.describe,
    )
    if runs:
        LOGGER.info("memory: %s, from %s", describe_contexts(runs), place)
    else:
        LOGGER.warning(
            "memory: no runs of %s on other contexts under %s; %s goes on without memory",
            plan.identity.env,
            place,
            plan.identity.method,
        )
    return read_sources(runs)


def _write_records(plan: _Plan, directory: RunDirectory, tuner: Tuner) -> None:
    write_table(directory.records, to_table(plan.identity, tuner.history.records))


def _log_copies(tuner: Tuner, members: Iterable[int]) -> None:
    """One line for each exploit: who copies whom at which returns, and what explore makes of each hyperparameter."""
    for member in members:
        assignment, parent = tuner.assignments[member], tuner.origin(member)
        if assignment.parent is None or parent is None:
            continue
        before = parent.hyperparameters
        changes = ", ".join(
            f"{name} {_shown(before.get(name))} {_arrow(assignment.operations.get(name))} {_shown(value)}"
            for name, value in assignment.hyperparameters.items()
        )
        LOGGER.info(
            "member %d (%.6g) copies member %d (%.6g), %s: %s",
            member,
            tuner.history.value(tuner.history.last(member)),
            assignment.parent,
            tuner.history.value(parent),
            assignment.source,
            changes,
        )


def _described(record: Record) -> str:
    trained = (
        "no episode ended in training" if math.isnan(record.train_return) else f"{record.train_return:.2f} in training"
    )
    return f"{trained}, {record.eval_return:.2f} in evaluation"


def _arrow(operation: str | None) -> str:
    return f"--({operation})-->" if operation else "->"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_numbers(config: dict[str, Any]) -> None:
    for name, limit in config["stop"].items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise MetapbtError(f"stop.{name} must be a number or null, got {limit!r}")
    if config["stop"]["plateau"] is not None and config["stop"]["plateau"] < 1:
        raise MetapbtError(f"stop.plateau must be >= 1, got {config['stop']['plateau']}")
    for key, lowest in (("budget.steps", 1), ("budget.interval", 1), ("population.size", 1), ("seed", 0)):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise MetapbtError(f"{key} must be {'> 0' if lowest else '>= 0'} and an integer, got {value}")


def _check_population(population: Mapping[str, Any]) -> None:
    if not isinstance(population["asynchronous"], bool):
        raise MetapbtError(f"population.asynchronous must be true or false, got {population['asynchronous']!r}")


def _versions() -> dict[str, str]:
    packages = (
        "metapbt",
        "torch",
        "gpytorch",
        "botorch",
        "jax",
        "gymnasium",
        "stable-baselines3",
        "ConfigSpace",
        "numpy",
    )
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


@contextmanager
def _one_line_errors(directory: RunDirectory) -> Iterator[None]:
    """Turn what nobody foresaw, anywhere in a run, into one line; its traceback goes to the log."""
    try:
        yield
    except MetapbtError:
        raise
    except Exception as error:
        LOGGER.info("%s", traceback.format_exc())
        raise MetapbtError(
            f"unexpected {type(error).__name__}: {one_line(error)} "
            f"(traceback in {directory.log}; everything finished is saved)"
        ) from error


@contextmanager
def stoppable(place: Path) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is saved in ``place`` once; those that follow while it ends are ignored.

    Raises:
        Interrupted: one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number, f"stopped; {place} is saved, and the same command goes on from there")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
