"""What is to be trained: a run's plan, from a checked configuration."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.execution import Executor, make_executor
from metapbt.execution.base import Job
from metapbt.history import Budget, Eras, History, Interval, Record, Ref
from metapbt.learners import LearnerSpec
from metapbt.log import LOGGER
from metapbt.plain import thawed
from metapbt.population.decisions import Assignment
from metapbt.population.explorers import explorer_class
from metapbt.population.starts import Start, run_name, start_class
from metapbt.population.tuner import Tuner
from metapbt.registry import lookup, settings_of
from metapbt.runs.checked import checked
from metapbt.space import Space
from metapbt.store.run_directory import RunDirectory, run_directory, run_id
from metapbt.store.table import Identity

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Plan:
    """What is to be trained and where it is kept; a run's and a replay's alike.

    Attributes:
        path: the run directory.
        title: the run in a few words, for people.
        identity: what all records share.
        learner: what trains members.
        budget: of each member.
        executor: where members train: ``name`` and settings.
        evaluation: ``episodes`` after each interval, ``test_episodes`` at the end; ``learner`` says in which contexts.
        stop: when the run may end early.
        window: episodes, at least, whose mean is the training return.
        asynchronous: whether each member is judged as it reports.
        callbacks: names of one's own.
        seed: from which every draw derives; a replay's is another than the run's of the same number.
        tests_last: whether the last agent is tested at the end, instead of the best that there ever was.
        eras: when architectures change.
        on_failure: what becomes of a member whose interval fails for good: ``replace`` it, or ``stop`` the run.
        ends: environment steps at which each interval ends (None for the usual ones), where these are not the budget's.
    """

    path: Path
    title: str
    identity: Identity
    learner: LearnerSpec
    executor: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    window: int
    seed: int
    stop: Mapping[str, Any] = field(default_factory=dict)
    asynchronous: bool = False
    callbacks: Sequence[str] = ()
    tests_last: bool = False
    eras: Eras = field(default_factory=Eras)
    on_failure: str = "stop"
    ends: Sequence[int | None] | None = None

    @property
    def budget(self) -> Budget:
        """Of each member."""
        return self.learner.budget

    @property
    def generations(self) -> int:
        """How many intervals each member trains at most."""
        return self.eras.most_generations(self.budget) if self.ends is None else len(self.ends)

    @property
    def looks_ahead(self) -> bool:
        """Whether a member that is sure to go on may train on before the others of its generation have reported.

        It may not where what the others report may end the run, or changes the length of its interval.
        """
        ends_early = any(limit is not None for limit in self.stop.values())
        lengths_change = self.budget.interval_end is not None or self.eras.restarts is not None
        return not (self.asynchronous or ends_early or lengths_change)

    def intervals(self, size: int) -> int:
        """How many intervals members and students train together if every era comes."""
        return self.eras.intervals(self.budget, size) if self.ends is None else size * len(self.ends)

    def make_executor(self) -> Executor:
        """Make the executor.

        Raises:
            MetapbtError: its name or a setting is unknown.
        """
        return make_executor(self.executor["name"], self.learner, **settings_of(self.executor))

    def tested(self, history: History) -> Record:
        """Whose agent is tested at the end."""
        return history.leader() if self.tests_last else history.best()

    def goes_on(self, tuner: Tuner, member: int) -> bool:
        """Whether a member has another interval to train."""
        if member >= tuner.population_size:
            return True  # a rung is trained whole
        coming, counted = tuner.coming_generation(member), tuner.counts_on(member)
        if self.ends is not None:
            return coming < len(self.ends) and (counted is None or counted.env_steps < self.budget.steps)
        return self.eras.goes_on(self.budget, tuner.history, coming, counted)

    def job(self, directory: RunDirectory, tuner: Tuner, member: int) -> Job:
        """A member's coming interval, with its files."""
        assignment, history = tuner.assignments[member], tuner.history
        ref = Ref(tuner.coming_generation(member), member)
        asked = assignment.until_steps if self.ends is None else self.ends[ref.generation]
        # Who waits for the others trains as long as they do.
        until = self.eras.end_after(self.budget, history, ref, tuner.counts_on(member), asked, self.asynchronous)
        return self._job(directory, history, ref, tuner.origin(member), assignment, until)

    def job_again(self, directory: RunDirectory, history: History, record: Record) -> Job:
        """The interval that a record is of, with its files."""
        until = record.env_steps if record.until_steps is None else record.until_steps
        return self._job(directory, history, record.ref, history.before(record), record, until)

    def _job(
        self,
        directory: RunDirectory,
        history: History,
        ref: Ref,
        origin: Record | None,
        decided: Assignment | Record,
        until_steps: int,
    ) -> Job:
        teacher, rule = decided.teacher, self.eras.restarts
        counted = history.counts_on(origin.ref if origin else None, teacher)
        start_steps = counted.env_steps if counted else 0
        interval = Interval(
            ref=ref,
            start=origin.ref if origin else None,
            teacher=teacher,
            hyperparameters=thawed(decided.hyperparameters),
            start_steps=start_steps,
            until_steps=until_steps,
            seed=seeding.training_seed(self.seed, ref.generation, ref.member),
            evaluation_seed=seeding.evaluation_seed(self.seed),
            evaluation_episodes=self.evaluation["episodes"],
            taught_steps=history.taught_steps(origin, teacher) if teacher else 0,
            # A teacher that a selection of one's own chose teaches for that interval.
            annealed_over=self.eras.annealed_over if self.eras.count > 1 else until_steps - start_steps,
            shrink=(rule.shrink, rule.perturb) if rule is not None and origin and decided.restart else None,
        )
        return Job(
            interval=interval,
            start_from=directory.checkpoint(origin.ref) if origin else None,
            teacher_from=directory.checkpoint(teacher) if teacher else None,
            save_to=directory.checkpoint(ref),
            window=self.window,
            held=directory.held,
        )


@dataclass(frozen=True)
class RunPlan:
    """What a configuration asks for, checked.

    Attributes:
        config: what is written to ``config.yaml``.
        space: the search space.
        plan: what is to be trained.
    """

    config: dict[str, Any]
    space: Space
    plan: Plan

    @classmethod
    def of(cls, config: DictConfig) -> RunPlan:
        """Check a composed configuration.

        Raises:
            MetapbtError: something asked for is unknown or out of range.
        """
        plain = checked(config)
        env, method, population = plain["env"], plain["method"]["name"], plain["population"]
        learner = LearnerSpec.of(plain)
        eras = Eras.of_config(plain, learner.budget)
        if eras.count > 1 and population["asynchronous"]:
            asks, who = (
                (f"eras.count={eras.count}", "students")
                if eras.restarts is None
                else (f"restarts.patience={eras.restarts.patience}", "newcomers")
            )
            raise MetapbtError(f"{asks} needs population.asynchronous=false: {who} are screened together")
        # What a run does not need is not in its file, so that it goes on where earlier versions knew nothing of it.
        if eras.count == 1 or eras.restarts is not None:
            del plain["eras"]
        if eras.restarts is None:
            del plain["restarts"]
        start, name, context = start_class(plain["start"]), _name(plain), learner.context
        path = run_directory(Path(plain["results_dir"]), env, context, name, plain["seed"])
        if not (explorer_class(method).uses_memory or start.uses_memory):
            del plain["meta"]
        label = name if plain["name"] is not None or start is not Start else None
        if start is Start:
            del plain["start"]
        place = run_id(env, context, name, plain["seed"])
        return cls(
            config={
                **plain,
                "name": label,
                "context": context.changed,
                "features": dict(context),
                "versions": dict(_versions()),
            },
            space=Space(plain["space"]),
            plan=Plan(
                path=path,
                title=f"{env} {context.label} {name} seed {plain['seed']}",
                identity=Identity(place, env, context, method, name, plain["learner"]["name"], plain["seed"]),
                learner=learner,
                executor=plain["executor"],
                evaluation=plain["evaluation"],
                window=population["window"],
                seed=plain["seed"],
                stop=plain["stop"],
                asynchronous=population["asynchronous"],
                callbacks=plain["callbacks"],
                eras=eras,
                on_failure=plain["on_failure"],
            ),
        )

    @property
    def remembers(self) -> bool:
        """Whether its method or its start takes a memory of other runs."""
        return "meta" in self.config

    def check_learner(self) -> None:
        """Check that the learner can train what is asked for.

        Raises:
            MetapbtError: it cannot.
        """
        spec, eras = self.plan.learner, self.plan.eras
        learner = spec.make()
        for context in {spec.evaluation_context, spec.test_context} - {None}:
            spec.make(context)
        if eras.count > 1 and eras.teacher and not getattr(learner, "teachable", False):
            raise MetapbtError(
                f"learner={spec.name} cannot learn from a teacher, as eras.count={eras.count} asks for: "
                "choose eras.teacher=false, eras.count=1 or another learner"
            )
        if eras.restarts is not None and eras.restarts.fresh < 1 and not hasattr(learner, "shrunk"):
            LOGGER.info(
                "learner=%s does not shrink weights: agents that begin anew with old weights keep them in full",
                spec.name,
            )
        learner.check(self.space)

    def tuner(self, **remembered: Any) -> Tuner:
        """Make the tuner; ``remembered`` is what a run with memory is handed."""
        config, population = self.config, self.config["population"]
        return Tuner(
            self.space,
            config["method"]["name"],
            population["size"],
            population["quantile"],
            seeding.population_seed(config["seed"], self.plan.identity.context.label),
            population["metric"],
            initial=config["initial"],
            start=config.get("start", "method"),
            constraint=lookup("constraint", config["constraint"], {}) if config["constraint"] else None,
            selection=config["selection"],
            candidates=population["candidates"],
            eras=config.get("eras"),
            restarts=config.get("restarts"),
            budget=self.plan.budget,
            **settings_of(config["method"]),
            **remembered,
        )


def _name(config: Mapping[str, Any]) -> str:
    name = config["name"]
    if name is None:
        return run_name(None, config["method"]["name"], config["start"])
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise MetapbtError(f"name must be a word of letters, digits, '_', '.', '+' and '-', got {name!r}")
    return name


@cache
def _versions() -> dict[str, str]:
    packages = (
        "metapbt", "torch", "gpytorch", "botorch", "jax", "gymnasium", "stable-baselines3", "numpy",
    )  # fmt: skip
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
