"""The best agent of a run: its policy, and what its episodes return, here or in another context."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from metapbt import seeding
from metapbt.envs import make_context, make_env
from metapbt.errors import MetapbtError, named, unknown_name
from metapbt.execution.outcomes import mean, plain_number
from metapbt.history import Context, FeatureValue, History, Record
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Policy, State
from metapbt.learners.contained import Left, contained
from metapbt.log import counted
from metapbt.plain import whole_number
from metapbt.progress import progress
from metapbt.store.checkpoint import load_state, read_outcome
from metapbt.store.description import check_trained_by_a_run
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory

LEVELS = ("train", "validation", "test")


@dataclass(frozen=True)
class Evaluation:
    """What an agent is worth.

    Attributes:
        agent: whose it is, and in which context.
        returns: of its episodes, in the order of their seeds.
    """

    agent: Agent
    returns: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean return."""
        return mean(np.array(self.returns))

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for a single episode."""
        if len(self.returns) < 2:
            return float("nan")
        return float(np.std(self.returns, ddof=1)) / float(np.sqrt(len(self.returns)))

    def to_dict(self) -> dict[str, Any]:
        """All of it, as plain data that JSON can hold: what is no finite number is None."""
        agent = self.agent
        return {
            "run": str(agent.path),
            "env": agent.learner.env,
            "context": dict(agent.learner.context),
            "generation": agent.record.generation,
            "member": agent.record.member,
            "env_steps": agent.record.env_steps,
            "sampled": agent.sampled,
            "seed": agent.seed,
            "episodes": len(self.returns),
            "mean": _finite(self.mean),
            "standard_error": _finite(self.standard_error),
            "returns": [_finite(each) for each in self.returns],
        }

    def __str__(self) -> str:
        error = f" ± {self.standard_error:.2f} (standard error)" if len(self.returns) > 1 else ""
        return f"{self.agent}: return {self.mean:.2f}{error} over {counted(len(self.returns), 'episode')}"


@dataclass(frozen=True)
class Agent:
    """The best agent that a run ever had, as it acts in one context.

    Attributes:
        path: the run directory.
        run_id: the run's place below its results directory.
        record: which of the run's records it is of.
        learner: what makes it act, in that context.
        sampled: whether its actions are drawn from its policy instead of the most likely ones.
        seed: of its first episode, the others counted up from it.
        episodes: how many it plays where nobody says.
    """

    path: Path
    run_id: str
    record: Record
    learner: LearnerSpec
    sampled: bool
    seed: int
    episodes: int

    @classmethod
    def of(
        cls,
        info: RunInfo,
        history: History,
        changed: Mapping[str, FeatureValue] | None = None,
        sampled: bool | None = None,
        seed: int | None = None,
        levels: str = "test",
    ) -> Agent:
        """The best agent of a run.

        Args:
            info: of the run.
            history: its records, at least one.
            changed: features that differ from those of the run's context.
            sampled: None for what the run itself does when it evaluates.
            seed: None for the run's own test episodes.
            levels: of which of the run's contexts: ``test``, ``validation`` or ``train``. They are the same where a run
                holds no levels out.

        Raises:
            MetapbtError: there is no record, the configuration is damaged, a feature is unknown or illegal, actions
                are others in that context, or there are no such levels.
        """
        if levels not in LEVELS:
            raise unknown_name("levels", levels, LEVELS)
        config = RunDirectory(info.path).config()
        check_trained_by_a_run(config, info.path)
        if seed is not None:
            whole_number("seed", seed, 0)
        try:
            best = history.best()
            refuse_code_of_others(info.path / "config.yaml", config, [best])
            learner = LearnerSpec.of(config)
            sampling = _samples(learner.settings) if sampled is None else sampled
            episodes, number = config["evaluation"]["test_episodes"], config["seed"]
        except (KeyError, TypeError, AttributeError) as error:
            raise MetapbtError(f"{info.path}/config.yaml is no configuration of a run: {error!r}") from error
        of_levels = {"test": learner.test_context, "validation": learner.evaluation_context}.get(levels)
        there = of_levels or learner.context
        context = make_context(info.env, {**there.changed, **(changed or {})})
        if any(isinstance(value, str) and value != there.get(name) for name, value in context.items()):
            _check_same_actions(info.env, there, context)
        return cls(
            path=info.path,
            run_id=info.identity.run_id,
            record=best,
            learner=replace(learner, context=context, evaluation_context=None, test_context=None),
            sampled=sampling,
            seed=seeding.test_seed(number) if seed is None else seed,
            episodes=episodes,
        )

    def policy(self) -> Policy:
        """What maps observations to actions.

        Raises:
            MetapbtError: its checkpoint is gone or damaged, or the learner solves a problem without observations.
        """
        with learners_code(self.learner.name):
            return self.learner.make().policy(self._state, dict(self.record.hyperparameters))

    def evaluate(self, episodes: int | None = None) -> Evaluation:
        """Let it play episodes as its learner evaluates agents.

        The run's own ``test_return`` is the mean of what comes out for its test's levels, seed and number of episodes.
        There episodes are stepped together, so last bits of matrix products may differ, which chaotic bodies make much
        of; and drawn actions of Stable-Baselines3 and ``engine=jax`` are other draws.

        Args:
            episodes: how many; None for as many as the run was tested on.

        Raises:
            MetapbtError: its checkpoint is gone or damaged, or the learner cannot evaluate it in this context.
        """
        count = self.episodes if episodes is None else whole_number("episodes", episodes, 1)
        settings, what = dict(self.learner.settings), f"learner={self.learner.name}: what evaluate returns"
        if self.sampled != _samples(settings):
            settings["sampled_evaluation"] = self.sampled
        learner, returns = replace(self.learner, settings=settings).make(), []
        with progress("episodes", count) as tell, learners_code(self.learner.name):
            for seed in range(self.seed, self.seed + count):
                # One at a time, for a learner says no more than their mean.
                found = learner.evaluate(self._state, dict(self.record.hyperparameters), seed, 1)
                returns.append(plain_number(found, what))
                tell(len(returns))
        return Evaluation(self, tuple(returns))

    @cached_property
    def _state(self) -> State:
        path = RunDirectory(self.path).checkpoint(self.record.ref)
        if (field := read_outcome(path).differing_field(self.record)) is not None:
            raise MetapbtError(f"{path} is of another interval than its record: its {field} is another")
        state = {name: array for name, array in load_state(path).items() if not name.startswith("_")}
        for array in state.values():
            array.flags.writeable = False
        return state

    @property
    def who(self) -> str:
        """Which of its run's members it is, and after how many steps."""
        return f"member {self.record.member} after {self.record.env_steps} steps"

    @property
    def where(self) -> str:
        """Environment and context."""
        return f"{self.learner.env} {self.learner.context.label}"

    def __str__(self) -> str:
        return f"{self.path} ({self.who}) in {self.where}"


def _check_same_actions(env: str, there: Context, here: Context) -> None:
    """Refuse to let an agent act where actions are others than where it learned; only words make them so."""
    changed: list[dict[str, Any]] = [there.changed, here.changed]
    learned, asked = (make_env(env, **features).action_space for features in changed)
    if learned != asked:
        raise MetapbtError(
            f"an agent of {env} {there.label} cannot act in {here.label}: its actions are {learned}, not {asked}"
        )


def refuse_code_of_others(file: Path, config: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Let what a run names as ``package.module:Name`` be imported only where its configuration is the user's own.

    Args:
        file: the configuration's.
        config: what is in it; it names the learner, the environment and fixed hyperparameters, such as an augmentation.
        records: whose hyperparameters are to be used.

    Raises:
        MetapbtError: it is another user's.
    """
    learner = config["learner"]
    fixed = learner.get("hyperparameters") or {}
    names = [learner["name"], config["env"], *fixed.values()]
    names += [value for record in records for value in record.hyperparameters.values()]
    own = list(dict.fromkeys(name for name in names if isinstance(name, str) and ":" in name))
    if own and file.stat().st_uid != os.getuid():
        raise MetapbtError(f"{file} is another user's and names code ({', '.join(own)}), which is not imported")


@contextmanager
def learners_code(name: str) -> Iterator[None]:
    """Where a learner's own code runs: whatever it raises is one of our errors, or an error like any other."""
    try:
        with contained():
            yield
    except Left as left:
        raise MetapbtError(f"learner={name} raised {named(left.raised)}") from left


def _samples(settings: Mapping[str, Any]) -> bool:
    """Whether a learner with these settings evaluates with drawn actions."""
    return bool(settings.get("sampled_evaluation", False))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
