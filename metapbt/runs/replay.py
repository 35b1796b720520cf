"""A replay: one fresh agent, trained on the hyperparameter schedule that a population found.

A population's best agent was chosen among many, again and again. Whether its schedule is good by itself, or its agents
were lucky, shows when another agent trains on it from the start and nobody is chosen.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from metapbt import seeding
from metapbt.callbacks.bar import RunProgress
from metapbt.errors import MemberError, MetapbtError, one_line
from metapbt.execution.base import Task, Trainer
from metapbt.execution.checkpoint import read_outcome
from metapbt.files import write_text_atomically
from metapbt.history import History, Record
from metapbt.learners import LearnerSpec
from metapbt.log import LOGGER, logging_to
from metapbt.runs.loop import stoppable
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import Identity, read_table, to_records, to_table, write_table


@dataclass(frozen=True)
class Replay:
    """A finished replay.

    Attributes:
        path: its directory.
        history: its records, one for each interval; the only member is number 0.
        original: the record of the run that the schedule ends with.
    """

    path: Path
    history: History
    original: Record

    @property
    def best(self) -> Record:
        """The last record: its ``eval_return`` is the replay's score."""
        return self.history.best()

    @property
    def comparison(self) -> str:
        """One line: the replay's score and the run's."""
        return (
            f"{self.path}: score {self.best.eval_return:.2f}, the run's {self.original.eval_return:.2f}, "
            f"after {self.best.env_steps} steps"
        )


def lineage(history: History) -> tuple[Record, ...]:
    """The records that led to the best member's last one, from the first generation on.

    Args:
        history: of a run, finished or not.

    Raises:
        MetapbtError: there is no record yet, or one on the way is missing.
    """
    chain = [history.best()]
    while (origin := history.before(chain[-1])) is not None:
        chain.append(origin)
    first = chain[-1]
    if first.generation != 0:
        raise MetapbtError(f"the records lack what member {first.member} of generation {first.generation} went on from")
    return tuple(reversed(chain))


def replay(run_dir: Path, seed: int | None = None, out: Path | None = None) -> Replay:
    """Train one fresh agent on the schedule along the best member's lineage.

    Every random draw is new, also where the seed is the run's own number: a replay asks whether the schedule is good,
    not whether luck repeats itself. The same call goes on where an earlier one stopped, and on a finished replay says
    so and does nothing.

    The directory holds ``schedule.yaml`` (the hyperparameters of each interval, and the environment steps that the
    run's agent had after it), ``records.parquet`` with a run's columns (``method`` is ``<method>_replay``, ``source``
    is ``replay``), ``checkpoints/``, ``run.log``, and ``DONE`` once finished. It has no ``config.yaml``, so nothing
    takes it for a run.

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
    plan = _Plan.of(run_dir, seed)
    directory = RunDirectory((out or run_dir / "replay") / f"seed_{plan.identity.seed}")
    try:
        directory.open({}, resume=True)
    except OSError as error:
        raise MetapbtError(f"{directory.path} cannot be written: {error.strerror or error}") from error
    try:
        with logging_to(directory.log), stoppable(directory.path):
            return _drive(plan, directory)
    finally:
        directory.release()


@dataclass(frozen=True)
class _Plan:
    """What a run says about how to train its schedule again."""

    run_dir: Path
    schedule: tuple[Record, ...]
    identity: Identity
    learner: LearnerSpec
    interval_steps: int
    threads: int
    metric: str
    finished: bool  # whether the run is

    @classmethod
    def of(cls, run_dir: Path, seed: int | None) -> _Plan:
        run = RunDirectory(run_dir)
        if not (run_dir / "config.yaml").is_file():
            raise MetapbtError(f"{run_dir} is no run directory: it has no config.yaml")
        config = run.config()
        if not run.records.exists():
            raise MetapbtError(f"{run_dir} has no records: none of its generations has finished")
        rows = to_records(read_table(run.records))
        if not rows:
            raise MetapbtError(f"{run_dir} has no records: {run.records.name} is empty")
        original = rows[0][0]
        try:
            spec = LearnerSpec.of(config)
            budget, metric = config["budget"], config["population"]["metric"]
            _refuse_code_of_others(run_dir / "config.yaml", (spec.name, spec.env))
            return cls(
                run_dir=run_dir,
                schedule=lineage(History(tuple(record for _, record in rows), metric)),
                identity=_identity(original, original.seed if seed is None else seed),
                learner=spec,
                interval_steps=budget["interval"],
                threads=config["executor"].get("threads", 1),
                metric=metric,
                finished=run.done,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MetapbtError(f"{run_dir}/config.yaml is no configuration of a run: {error!r}") from error

    def task(self, directory: RunDirectory, interval: int) -> Task:
        # A seed of its own, derived from the replay's: the run's draws do not come again.
        derived = int(seeding.generator(self.identity.seed, -1, -1, "replay").integers(2**31))
        return Task(
            generation=interval,
            member=0,
            hyperparameters=dict(self.schedule[interval].hyperparameters),
            start_from=directory.checkpoint(interval - 1, 0) if interval else None,
            save_to=directory.checkpoint(interval, 0),
            interval_steps=self.interval_steps,
            seed=seeding.training_seed(derived, interval, 0),
            evaluation_seed=seeding.evaluation_seed(derived),
        )


def _drive(plan: _Plan, directory: RunDirectory) -> Replay:
    _keep_schedule(plan.schedule, directory.path / "schedule.yaml")
    records = [record for _, record in to_records(read_table(directory.records))] if directory.records.exists() else []
    if directory.done:
        LOGGER.warning("%s is finished already: nothing to do", directory.path)
        return Replay(directory.path, History(tuple(records), plan.metric), plan.schedule[-1])
    begun, length = len(records), len(plan.schedule)
    title = f"replay of {plan.run_dir}, seed {plan.identity.seed}"
    LOGGER.info("%s: %s, interval %d of %d", title, "going on" if begun else "starting", begun + 1, length)
    if not plan.finished:
        last = plan.schedule[-1].generation + 1
        LOGGER.warning("%s is not finished: the schedule ends with its generation %d", plan.run_dir, last)
    trainer = Trainer(plan.learner, plan.threads)
    with RunProgress(title, length, 1, begun) as progress:
        for interval in range(begun, length):
            task = plan.task(directory, interval)
            try:
                # A checkpoint that exists is a finished interval, killed before its record was written.
                outcome = read_outcome(task.save_to) if task.save_to.exists() else trainer.train(task)
            except Exception as error:
                LOGGER.info("%s", traceback.format_exc())
                raise MemberError(
                    f"the agent failed in interval {interval}: {type(error).__name__}: {one_line(error)} "
                    f"(traceback in {directory.log}; everything finished is saved)"
                ) from error
            record = Record(interval, 0, None, "replay", **asdict(outcome))
            records.append(record)
            progress.member_done()
            write_table(directory.records, to_table(plan.identity, records))
            directory.keep_checkpoints({(interval, 0)})
            left = progress.generation_done(interval + 1, record.value(plan.metric))
            LOGGER.info(
                "interval %d/%d, %d steps: %.2f in evaluation, where the run had %.2f; %s left",
                interval + 1,
                length,
                record.env_steps,
                record.eval_return,
                plan.schedule[interval].eval_return,
                left,
            )
    directory.mark_done(length)
    finished = Replay(directory.path, History(tuple(records), plan.metric), plan.schedule[-1])
    LOGGER.info("%s", finished.comparison)
    return finished


def _keep_schedule(schedule: Sequence[Record], file: Path) -> None:
    """Write down what is replayed; where that is written already it must be the same."""
    rows = [
        {"generation": r.generation, "env_steps": r.env_steps, "hyperparameters": dict(r.hyperparameters)}
        for r in schedule
    ]
    if not file.exists():
        write_text_atomically(file, yaml.safe_dump(rows, sort_keys=False))
        return
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise MetapbtError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if before != rows:
        raise MetapbtError(
            f"{file.parent} replays another schedule: the run has gone on since, or was replaced. "
            "Choose another seed, or remove that directory"
        )


def _identity(original: Identity, seed: int) -> Identity:
    return Identity(
        run_id=f"{original.run_id}/replay/seed_{seed}",
        env=original.env,
        context=original.context,
        method=f"{original.method}_replay",
        learner=original.learner,
        seed=seed,
    )


def _refuse_code_of_others(config: Path, names: Sequence[str]) -> None:
    """Import what a configuration names as ``package.module:Name`` only where the file is the user's own."""
    own = [name for name in names if ":" in name]
    if own and config.stat().st_uid != os.getuid():
        raise MetapbtError(f"{config} is another user's and names code ({', '.join(own)}), which is not imported")
