"""The toy seen from inside: where each member's parameters go, step by step, and where it jumps to another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.history import Interval, Record, Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Learner, State
from metapbt.space import Hyperparameters
from metapbt.store.results import RunInfo, read_history
from metapbt.store.run_directory import RunDirectory

ENV = LEARNER = "quadratic"

Array = npt.NDArray[np.float64]


class Jump(NamedTuple):
    """A member leaves its parameters for those of another.

    Attributes:
        step: how many steps it had trained; its next step starts from the parent's parameters.
        parent: the member that it copied; itself, where it went back to what it had been.
        parent_step: how many steps the parent had trained by then; fewer than it has now where an earlier checkpoint
            was copied, 0 for a new agent.
    """

    step: int
    parent: int
    parent_step: int


@dataclass(frozen=True)
class MemberTrajectory:
    """One member's way through the parameters.

    Attributes:
        theta: the parameters after each step, shape ``(steps + 1) x n``; row 0 is the start. A member that trained
            less than others, such as a candidate that was not taken, stays where it ended.
        q: what each of these is worth, shape ``steps + 1``.
        jumps: the copies that it made, in order.
        hyperparameters: those that each step was taken with, one for each of ``steps``.
    """

    theta: Array
    q: Array
    jumps: tuple[Jump, ...]
    hyperparameters: tuple[Hyperparameters, ...]


@dataclass(frozen=True)
class Trajectories:
    """The ways of all members of a run.

    Attributes:
        run: the run.
        members: by their number; candidates behind the others.
        ends: the steps after which members were compared, the last step included.
    """

    run: RunInfo
    members: tuple[MemberTrajectory, ...]
    ends: tuple[int, ...]

    @property
    def steps(self) -> int:
        """How many steps each member has taken."""
        return self.ends[-1]

    @property
    def copies(self) -> bool:
        """Whether any member copied another."""
        return any(member.jumps for member in self.members)

    def taken_over(self, jump: Jump) -> Array:
        """The parameters that a member goes on from."""
        theta: Array = self.members[jump.parent].theta[jump.parent_step]
        return theta

    def jumps(self) -> list[tuple[int, Jump, Array, Array]]:
        """Every copy as (member, jump, its parameters before, those that it took over)."""
        return [
            (number, jump, member.theta[jump.step], self.taken_over(jump))
            for number, member in enumerate(self.members)
            for jump in member.jumps
        ]


def trajectories(run: RunInfo) -> Trajectories:
    """Recompute the parameters of every member after every step from a run's records.

    A run keeps few checkpoints. But on the toy the recorded hyperparameters and parents say all, so its steps are taken
    once more, and Q at each interval's end is compared with the recorded return.

    Args:
        run: a run of ``env=quadratic`` with ``learner=quadratic``, finished or not.

    Raises:
        MetapbtError: the run has no records yet, is of another learner, or does not end up where its records say.
    """
    learner = _learner(run, RunDirectory(run.path).config())
    history = read_history(run)
    if not len(history):
        raise MetapbtError(f"{run.path} has no records yet")
    # No step at all: only where training starts, and what Q is there.
    start = _train(learner, run, history.records[0], None, 0)
    begin = np.asarray(start[0]["theta"], dtype=float), start[1]
    ways = {member: _Way(*begin) for member in range(1 + max(record.member for record in history))}
    states: dict[Ref, State] = {}
    trained: dict[Ref, int] = {}  # how many steps the member itself had trained by then
    ends: dict[int, int] = {}  # of each generation
    for record in history:
        if record.failed:
            continue
        way, origin, before = ways[record.member], record.origin, history.before(record)
        if record.parent is not None:
            way.jumps.append(Jump(way.steps, record.parent, trained[origin] if origin else 0))
        elif record.restart:
            way.jumps.append(Jump(way.steps, record.member, 0))
        state, q = (None if origin is None else states[origin]), begin[1]
        for _ in range(record.env_steps - (before.env_steps if before else 0)):
            state, q = _train(learner, run, record, state, 1)
            way.add(np.asarray(state["theta"], dtype=float), q, record.hyperparameters)
        _check_recorded(run, record, q)
        states[record.ref], trained[record.ref] = state or start[0], way.steps
        ends[record.generation] = max(ends.get(record.generation, 0), way.steps)
    steps = max(ends.values())
    return Trajectories(run, tuple(ways[m].until(steps) for m in sorted(ways)), tuple(sorted(set(ends.values()))))


class _Way:
    """A member's trajectory while it is recomputed."""

    def __init__(self, theta: Array, q: float) -> None:
        self.jumps: list[Jump] = []
        self._thetas, self._qs = [theta], [q]
        self._used: list[Hyperparameters] = []

    @property
    def steps(self) -> int:
        return len(self._used)

    def add(self, theta: Array, q: float, used: Hyperparameters) -> None:
        self._thetas.append(theta)
        self._qs.append(q)
        self._used.append(used)

    def until(self, steps: int) -> MemberTrajectory:
        """The trajectory, made as long as the others'."""
        for _ in range(steps - self.steps):
            self.add(self._thetas[-1], self._qs[-1], self._used[-1])
        return MemberTrajectory(np.array(self._thetas), np.array(self._qs), tuple(self.jumps), tuple(self._used))


def _train(learner: Learner, run: RunInfo, record: Record, state: State | None, steps: int) -> tuple[State, float]:
    """Take steps with a record's hyperparameters: the state after them, and what it is worth."""
    interval = Interval(
        ref=record.ref,
        start=record.origin,
        teacher=None,
        hyperparameters=record.hyperparameters,
        start_steps=0,
        until_steps=steps,
        seed=seeding.training_seed(run.seed, record.generation, record.member),
        evaluation_seed=seeding.evaluation_seed(run.seed),
        evaluation_episodes=1,
    )
    training = learner.train(interval, state)
    return training.state, training.eval_return


def _learner(run: RunInfo, config: dict[str, Any]) -> Learner:
    # Only the shipped learner: nothing that another user's results name is imported.
    if run.env != ENV or run.learner != LEARNER:
        raise MetapbtError(
            f"{run.path} is a run of env={run.env} with learner={run.learner}; "
            f"only env={ENV} with learner={LEARNER} can be recomputed step by step"
        )
    return LearnerSpec.of(config).make()


def _check_recorded(run: RunInfo, record: Record, q: float) -> None:
    if not np.isclose(q, record.eval_return, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise MetapbtError(
            f"{run.path}: member {record.member} comes to Q = {q:.6g} in generation {record.generation}, but its "
            f"record says {record.eval_return:.6g}; its records or its configuration have been changed"
        )
