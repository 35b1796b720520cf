"""A replay: one fresh agent, trained on the hyperparameter schedule that a population found.

A population's best agent was chosen among many, again and again. Whether its schedule is good by itself, or its agents
were fortunate, shows when another agent trains on it from the start and nobody is chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from metapbt import seeding
from metapbt.callbacks import make_callbacks
from metapbt.errors import MetapbtError, one_line
from metapbt.files import write_text_atomically
from metapbt.history import History, Record
from metapbt.learners import LearnerSpec
from metapbt.log import LOGGER, logging_to
from metapbt.plain import same
from metapbt.population.explorers.base import Explorer, Pending, Suggestion
from metapbt.population.selection import Exploit, Selection
from metapbt.population.tuner import Tuner
from metapbt.runs.agent import refuse_code_of_others
from metapbt.runs.lineage import lineage
from metapbt.runs.loop import drive
from metapbt.runs.mending import finished
from metapbt.runs.plan import Plan
from metapbt.runs.schedule import schedule_of
from metapbt.runs.signals import one_line_errors, stoppable
from metapbt.space import Hyperparameters, Space
from metapbt.store.description import check_trained_by_a_run
from metapbt.store.results import RunInfo, describe, read_history
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import Identity


@dataclass(frozen=True)
class Replay:
    """A finished replay.

    Attributes:
        path: its directory.
        history: its records, one for each interval; the only member is number 0.
        test_return: of its agent, over episodes that it did not train on.
        original: what the run says of itself.
        began: environment steps that the run's best agent counts on from, its teacher's or those of the agent whose
            weights it was given, shrunk; 0 where the schedule begins with the run.
    """

    path: Path
    history: History
    test_return: float
    original: RunInfo
    began: int = 0

    @property
    def comparison(self) -> str:
        """One line: the replay's test return and the run's, and from where on the run's agent is replayed."""
        steps = self.history.leader().env_steps
        run = self.original.test_return
        beside = "the run has not finished" if run is None else f"the run's {run:.2f}"
        said = f"{self.path}: test return {self.test_return:.2f} after {steps} steps, {beside}"
        return f"{said}; {_since_birth(self.began)}" if self.began else said


def replay(run_dir: Path, seed: int | None = None, out: Path | None = None) -> Replay:
    """Train one fresh agent on the schedule along the best agent's line of descent.

    Every random draw is new, also where the seed is the run's own number: a replay asks whether the schedule is good,
    not whether chance repeats itself. The same call goes on where an earlier one stopped, and on a finished replay says
    so and does nothing.

    After a restart or a change of architecture that line begins with the birth of the new agent. Where it learned from
    a teacher then, the fresh one trains the same steps alone.

    The directory holds ``schedule.yaml`` (see ``metapbt.runs.schedule.write_schedule``) and what a run directory holds
    (``method`` is ``<method>_replay``, ``source`` is ``replay``), but for ``config.yaml``, so that nothing takes it for
    a run.

    Args:
        run_dir: a run directory, finished or not; nothing in it changes but for the new folder ``replay``.
        seed: of the replay; None for the run's number.
        out: where to make the folder ``seed_<seed>``; None for ``<run_dir>/replay``.

    Raises:
        MetapbtError: ``run_dir`` is no run directory or has no records; the folder holds the replay of another
            schedule; the agent failed.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    if seed is not None and seed < 0:
        raise MetapbtError(f"seed must be >= 0, got {seed}")
    if not (run_dir / "config.yaml").is_file():
        raise MetapbtError(f"{run_dir} is no run directory: it has no config.yaml")
    info = describe(RunDirectory(run_dir))
    history = read_history(info)
    if not len(history):
        raise MetapbtError(f"{run_dir} has no records: none of its generations has finished")
    schedule = lineage(history)
    number = info.seed if seed is None else seed
    directory = RunDirectory((out or run_dir / "replay") / f"seed_{number}")
    began = history.steps_before(schedule[0])
    ends = [None if record.until_steps is None else record.until_steps - began for record in schedule]
    plan, space = _plan(run_dir, info, schedule, number, directory.path, ends)
    directory.open({}, resume=True)
    try:
        with (
            logging_to(directory.log, directory.held),
            stoppable(directory.path) as heed,
            one_line_errors(directory.path, directory.log),
        ):
            directory.begin(None)
            _keep_schedule(schedule_of(info, history), directory.path / "schedule.yaml")
            if finished(plan, directory, info.metric, 1):
                LOGGER.warning("%s is finished already: nothing to do", directory.path)
            else:
                if info.state != "done":
                    LOGGER.warning("%s is not finished: the schedule is that of its best agent so far", run_dir)
                if began:
                    LOGGER.warning("%s: %s", run_dir, _since_birth(began))
                tuner = _tuner(space, schedule, info.metric)
                drive(plan, directory, tuner, plan.make_executor(), make_callbacks(()), heed)
            return _finished(directory, info, began)
    finally:
        directory.release()


class FollowSchedule(Explorer):
    """Gives the only member what stands in a schedule, interval by interval."""

    def __init__(self, space: Space, schedule: Sequence[Hyperparameters]) -> None:
        super().__init__(space)
        self.schedule = schedule

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Return the first interval's hyperparameters."""
        return [Suggestion(self.schedule[0], "replay")]

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Return the coming interval's."""
        coming = min(children[0].generation + 1, len(self.schedule) - 1)
        return [Suggestion(self.schedule[coming], "replay")]


class GoOnAlone(Selection):
    """Lets the only member go on from its own checkpoint, with other hyperparameters."""

    def __init__(self, size: int, quantile: float) -> None:
        pass

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let it copy itself."""
        return {0: Exploit(history.last(0).ref)}


def _plan(
    run_dir: Path, info: RunInfo, schedule: Sequence[Record], seed: int, path: Path, ends: Sequence[int | None]
) -> tuple[Plan, Space]:
    config = RunDirectory(run_dir).config()
    check_trained_by_a_run(config, run_dir)
    try:
        refuse_code_of_others(run_dir / "config.yaml", config, schedule)
        learner = LearnerSpec.of(config)
        plan = Plan(
            path=path,
            title=f"replay of {run_dir}, seed {seed}",
            identity=Identity(
                run_id=f"{info.identity.run_id}/replay/seed_{seed}",
                env=info.env,
                context=info.context,
                method=f"{info.method}_replay",
                name=f"{info.name}_replay",
                learner=info.learner,
                seed=seed,
            ),
            learner=learner,
            executor={"name": "inline", "threads": config["executor"].get("threads", 1)},
            evaluation=config["evaluation"],
            window=config["population"]["window"],
            # A seed of its own, derived from the replay's: the run's draws do not come again.
            seed=int(seeding.generator(seed, -1, -1, "replay").integers(2**31)),
            tests_last=True,
            ends=ends,
        )
        return plan, Space(config["space"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MetapbtError(f"{run_dir}/config.yaml is no configuration of a run: {error!r}") from error


def _tuner(space: Space, schedule: Sequence[Record], metric: str) -> Tuner:
    return Tuner(
        space,
        f"{__name__}:FollowSchedule",
        population_size=1,
        metric=metric,
        selection=f"{__name__}:GoOnAlone",
        schedule=[dict(record.hyperparameters) for record in schedule],
    )


def _since_birth(began: int) -> str:
    return (
        f"the schedule begins with the birth of the run's best agent, which counts on from its teacher's {began} "
        "steps, or those of the agent whose shrunk weights it was given; so the replay trains what came after these, "
        "from nothing and without a teacher"
    )


def _finished(directory: RunDirectory, original: RunInfo, began: int) -> Replay:
    from metapbt.store.journal import read_journal

    done = directory.finished()
    if done is None or done.test_return is None:
        raise MetapbtError(f"{directory.path} is damaged: it does not say what its agent is worth")
    history = History(read_journal(directory.journal.path).records, original.metric, tested=done.best)
    return Replay(directory.path, history, done.test_return, original, began)


def _keep_schedule(content: Mapping[str, Any], file: Path) -> None:
    """Write down what is replayed; where that is written already it must be the same."""
    if not file.exists():
        write_text_atomically(file, yaml.safe_dump(content, sort_keys=False))
        return
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise MetapbtError(f"{file} cannot be read: {one_line(error)}") from error
    if not same(before, content):
        raise MetapbtError(
            f"{file.parent} replays another schedule: the run has gone on since, or was replaced. "
            "Choose another seed, or remove that directory"
        )
