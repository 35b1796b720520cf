"""A run for people: started, loaded, looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metapbt.callbacks import make_callbacks
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.execution.worker import leave_script
from metapbt.history import History, Record
from metapbt.log import LOGGER, counted, logging_to
from metapbt.runs.door import check_kept
from metapbt.runs.lineage import lineage
from metapbt.runs.loop import drive
from metapbt.runs.mending import finished
from metapbt.runs.plan import RunPlan
from metapbt.runs.signals import SAME, one_line_errors, stoppable
from metapbt.store.results import RunInfo, describe, read_history, to_frame
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import to_table

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from metapbt.history import FeatureValue
    from metapbt.learners.base import Policy
    from metapbt.population.tuner import Tuner
    from metapbt.runs.agent import Agent
    from metapbt.runs.export import Exported
    from metapbt.runs.schedule import Schedule


@dataclass(frozen=True, repr=False)
class Run:
    """A run, finished or as far as it is written.

    Attributes:
        info: what it is, without its records.
        history: all its records.
    """

    info: RunInfo
    history: History

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a run directory; see `load`."""
        info = describe(RunDirectory(path))
        return cls(info, read_history(info))

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.info.path

    @property
    def records(self) -> pd.DataFrame:
        """The records as a data frame, with the columns of ``records.parquet``: ``context.<feature>`` and so on.

        One more is ``score``: the return that selection looked at, ``population.metric`` or what speaks for it.
        """
        frame = to_frame(to_table(self.info.identity, self.history))
        scores = [self.history.value(record) for record in self.history]
        frame.insert(list(frame.columns).index("eval_return") + 1, "score", scores)
        return frame

    @property
    def best(self) -> Record:
        """The best agent that the run ever had, by the mean of its two returns (`History.best`)."""
        return self.history.best()

    @property
    def test_return(self) -> float | None:
        """The best agent's mean return on episodes that no decision saw; None until the run is finished."""
        return self.info.test_return

    @property
    def quoted(self) -> str:
        """What the run is worth, in words."""
        done = RunDirectory(self.path).finished()
        if done is None or done.test_return is None:  # what others trained, as by a tuner, nobody tested
            how = "not finished, best return so far" if done is None else "finished, best return"
            return f"{how} {self.history.value(self.history.leader_ever()):.2f}"
        return (
            f"test return {done.test_return:.2f} over {counted(done.test_episodes, 'fresh episode')} "
            f"(best agent: member {self.best.member} after {self.best.env_steps} steps)"
        )

    @property
    def schedule(self) -> pd.DataFrame:
        """The hyperparameters that the best agent was trained with: one row for each interval of its line of descent.

        Columns: ``generation``, ``env_steps`` at the interval's end, and ``hp.<name>`` for each hyperparameter.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "generation": record.generation,
                "env_steps": record.env_steps,
                **{f"hp.{name}": value for name, value in record.hyperparameters.items()},
            }
            for record in lineage(self.history)
        )

    def agent(
        self,
        changed: Mapping[str, FeatureValue] | None = None,
        sampled: bool | None = None,
        seed: int | None = None,
        levels: str = "test",
    ) -> Agent:
        """The best agent that the run ever had, which can be evaluated and filmed.

        Args:
            changed: features of its environment that differ from the run's.
            sampled: whether its actions are drawn from its policy; None for what the run does when it evaluates.
            seed: of its first episode; None for the run's own test episodes.
            levels: where a run holds levels out, of which of its contexts: ``train``, ``validation`` or ``test``.

        Raises:
            MetapbtError: no generation has finished yet, a feature is unknown or illegal, or there are no such levels.

        Example:
            >>> run = load("results/lunar_lander/default/pb2/seed_0")  # doctest: +SKIP
            >>> run.agent({"gravity": -5}).evaluate(episodes=20).mean  # doctest: +SKIP
        """
        from metapbt.runs.agent import Agent

        return Agent.of(self.info, self.history, changed, sampled, seed, levels)

    def policy(self) -> Policy:
        """The policy of the best agent that the run ever had.

        Raises:
            MetapbtError: no generation has finished yet, its checkpoint is gone or damaged, or the learner solves a
                problem without observations.

        Example:
            >>> run = load("results/cart_pole/default/pb2/seed_0")  # doctest: +SKIP
            >>> run.policy().act(observation)  # doctest: +SKIP
        """
        return self.agent().policy()

    def export(self, file: str | Path) -> Exported | Schedule:
        """Write the best agent, or its hyperparameter schedule, for other programs.

        Args:
            file: a policy ending in ``.onnx``, ``.pt2`` or ``.pt`` (see `metapbt.runs.export.write_policy`), or a
                schedule in ``.yaml`` or ``.yml`` (see `metapbt.runs.schedule.write_schedule`).

        Raises:
            MetapbtError: the ending is unknown, what writes the file is not installed, there is no such policy, or what
                was written is not what the agent says.
            OSError: the file cannot be written.

        Example:
            >>> load("results/cart_pole/default/pb2/seed_0").export("policy.onnx")  # doctest: +SKIP
        """
        file = Path(file)
        if file.suffix.lower() in (".yaml", ".yml"):
            from metapbt.runs.schedule import write_schedule

            return write_schedule(self.info, self.history, file)
        from metapbt.runs.export import write_policy

        return write_policy(self.agent(), file)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from metapbt.runs.notebook import as_html

        return as_html(self.info, self.history, self.quoted if len(self.history) else "nothing yet")

    def __repr__(self) -> str:
        tested = "" if self.test_return is None else f", test return {self.test_return:.2f}"
        return (
            f"Run({self.path}: {self.info.state}, {counted(self.info.size, 'member')}, "
            f"{self.history.generations} of {self.info.generations or 'so many'} generations{tested})"
        )


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


def load(path: str | Path) -> Run:
    """Read a run directory, of a run that is finished, stopped or under way.

    Raises:
        MetapbtError: it is none, or what it holds cannot be read.

    Example:
        >>> run = load("results/cart_pole/default/pb2/seed_0")  # doctest: +SKIP
        >>> run.records[["generation", "member", "hp.learning_rate", "eval_return"]]  # doctest: +SKIP
    """
    if not (Path(path) / "config.yaml").exists():
        raise MetapbtError(f"{path} is no run directory: it has no config.yaml")
    return Run.load(Path(path))


def check(config: DictConfig) -> None:
    """Check all that can be wrong with what a configuration asks for, as its run would; nothing is written.

    Raises:
        MetapbtError: something is.
    """
    asked = RunPlan.of(config)
    asked.plan.make_executor().close()
    make_callbacks(asked.plan.callbacks)
    _check(asked)
    _tuner_to_check(asked).start()


def _check(asked: RunPlan) -> None:
    asked.check_learner()
    check_kept(asked.plan.identity, asked.space)


def _tuner_to_check(asked: RunPlan) -> Tuner:
    if not asked.remembers:
        return asked.tuner()
    from metapbt.runs.remembering import nothing_remembered

    return asked.tuner(**nothing_remembered(asked))


def run_config(config: DictConfig, place: str = "") -> Run:
    """Train the population that a composed configuration asks for; see ``run``.

    Args:
        config: composed.
        place: of the run among others, for the bar.
    """
    leave_script()
    asked = RunPlan.of(config)
    plan, directory = asked.plan, RunDirectory(asked.plan.path)
    directory.open(asked.config, resume=asked.config["resume"])

    def command() -> str | None:
        if directory.replacing:
            return None
        return SAME if asked.config["resume"] else f"{SAME} without resume=false"

    try:
        with (
            logging_to(directory.log, directory.held),
            stoppable(plan.path, command) as heed,
            one_line_errors(plan.path, directory.log, command),
        ):
            population = asked.config["population"]
            if finished(plan, directory, population["metric"], population["size"]):
                LOGGER.warning("%s is finished already: nothing to do", plan.path)
            else:
                try:
                    _train(asked, directory, heed, place)
                except MetapbtError:
                    directory.refuse()
                    raise
            return Run.load(plan.path)
    finally:
        directory.release()


def _train(asked: RunPlan, directory: RunDirectory, heed: Callable[[], None], place: str) -> None:
    # All that can be wrong with what was asked shows before anything is written, or removed.
    with closing(asked.plan.make_executor()) as executor:
        callbacks = make_callbacks(asked.plan.callbacks, place)
        _check(asked)
        if asked.remembers:
            from metapbt.runs.remembering import Remembered

            _tuner_to_check(asked).start()
            remembered = Remembered(asked, directory)
            tuner = asked.tuner(**remembered.settings)
            directory.begin(asked.config)
            remembered.keep(tuner.explorer)
        else:
            tuner = asked.tuner()
            tuner.start()
            directory.begin(asked.config)
        drive(asked.plan, directory, tuner, executor, callbacks, heed)
