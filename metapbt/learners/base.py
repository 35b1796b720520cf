"""The protocol of a learner: what trains one member for one interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

#: Everything that a member carries from one interval to the next, as named arrays: what was learned, and the episodes
#: under way. Names that begin with ``_`` are not the learner's.
State = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Training:
    """What one interval of training brought.

    Numbers may be of Python, NumPy, Torch or JAX, and arrays whatever NumPy makes an array of numbers, truth values or
    text of, tensors included. Anything else is refused before it is written, and named.

    Attributes:
        state: from which the member, or its copies, go on.
        env_steps: environment steps of the line of descent, this interval included: whole, and more than before it.
        returns: of the episodes that ended in the interval, in the order in which they ended; none where none has.
        eval_return: mean return of the deterministic policy over the validation episodes after the interval; NaN where
            it is not evaluated. Who has no finite return is never copied while another has one.
    """

    state: State
    env_steps: int
    returns: tuple[float, ...]
    eval_return: float


@dataclass(frozen=True, slots=True)
class Teacher:
    """The agent that a new one learns from.

    The teacher's weight in the student's loss is a function of the steps that the student has trained since it was
    born, so that it goes on where it was when an interval ends.

    Attributes:
        state: what it has learned.
        hyperparameters: those that it was trained with last.
        steps: environment steps that the student has trained since it was born, before this interval.
        annealed_over: environment steps since its birth, at least 1, over which the teacher's weight falls to what it
            stays at from then on.
    """

    state: State
    hyperparameters: Hyperparameters
    steps: int = 0
    annealed_over: int = 1

    def weight(self, steps: int, start: float = 1.0, end: float = 0.0) -> float:
        """What the teacher weighs after so many steps of this interval.

        It goes linearly from ``start`` to ``end`` over ``annealed_over`` steps and stays there (BG-PBT, Wan et al.,
        2022: from 1 to 0.05 over 80% of the distillation).
        """
        return start + (end - start) * min((self.steps + steps) / self.annealed_over, 1.0)


@dataclass(frozen=True, slots=True)
class Assigned:
    """One interval with all that its training needs: the arguments of ``Learner.train``."""

    interval: Interval
    start: State | None
    teacher: Teacher | None = None


class Policy(Protocol):
    """A trained agent, for people.

    A policy that can be exported has a method ``portable`` as well, without arguments, that returns a
    ``metapbt.learners.portable.Portable``.
    """

    def act(self, observation: Any, rng: np.random.Generator | None = None) -> NDArray[Any] | int:
        """An action for one observation, or one for each of several.

        Args:
            observation: as the environment gives it, or several stacked along a new first axis: ``(*shape)`` or
                ``(n, *shape)``, a mapping of such where observations are dictionaries.
            rng: draws the actions from the policy; None for the most likely ones. Where only these are known, the
                method may have no such argument.

        Returns:
            As the environment takes it. For one observation an integer where actions are ``Discrete``, else an array
            ``(*action)``, in a ``Box`` clipped to its bounds. For n observations an array ``(n,)`` or ``(n, *action)``.

        Raises:
            MetapbtError: the observation's shape, type or keys are others than the environment's.
        """
        ...


class Learner(Protocol):
    """Trains members on one environment in one context.

    A learner keeps nothing between two calls: the same arguments always give the same result, in whichever process.

    Attributes:
        teachable: whether new agents can learn from a teacher; where it says nothing they cannot, and eras whose
            students have one are refused before anything is trained.
    """

    teachable: bool = False

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        """Prepare for an environment.

        Args:
            env: the environment's name.
            context: of the environment.
            budget: of each member in the whole run, for schedules that need to know the end.
            settings: the learner's own, as in ``conf/learner/<name>.yaml``.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """

    def check(self, space: Space) -> None:
        """Check, before anything is trained, that every hyperparameter of the space can be set.

        Raises:
            MetapbtError: one cannot; the message names it.
        """

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Train for one interval, then evaluate.

        Episodes go on: what was under way when ``start`` ended goes on here. Where evaluation is on levels that
        training must not see, ``interval.evaluation_episodes`` is 0, and the ``evaluate`` of a second learner, made for
        these, says what the agent is worth.

        Args:
            interval: what to train; a new agent with a teacher begins at its teacher's environment steps.
            start: of the member or of the one that it copies, not to be changed; None for a new agent.
            teacher: whom a new agent, or one that was new not long ago, learns from.

        Raises:
            MetapbtError: the learner cannot learn from a teacher, or ``start`` does not fit. It is not tried again, as
                what may be a mishap is (``OSError``, ``MemoryError``, a worker that dies) and any other error once.
        """
        ...

    def train_many(self, jobs: Sequence[Assigned]) -> list[Training | Exception] | None:
        """Train several members together; a learner that never can needs no such method.

        Returns:
            In the order of ``jobs``, what ``train`` returns for each, or the exception that it raises: who cannot be
            trained leaves the others alone. None where these are to be trained one after another, and each saved.
        """
        return None

    def shrunk(self, state: State, hyperparameters: Hyperparameters, shrink: float, perturb: float, seed: int) -> State:
        """What an agent begins anew with (``restarts.*``): of its weights ``shrink * weights + perturb * new ones``.

        What is trained is blended with what a new agent would have (Ash and Adams, 2020); an optimiser's moments and
        episodes under way are left out, what was only observed, such as running moments of observations, is kept. So
        ``train`` goes on from it as from any state. It may be left out: then weights are handed on as they are, all
        else with them.

        Args:
            state: of the agent, not to be changed.
            hyperparameters: of the coming interval; of the architecture that the agent has.
            shrink: what its weights are multiplied by.
            perturb: what new ones are multiplied by.
            seed: of these.
        """
        return state

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The mean return of the deterministic policy.

        Args:
            state: of the agent.
            hyperparameters: those that it was trained with last.
            seed: episode i begins from ``seed + i``.
            episodes: how many.
        """
        ...

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """The trained agent.

        Raises:
            MetapbtError: there is none, as in problems without episodes.
        """
        ...


def no_teacher(learner: str, teacher: Teacher | None) -> None:
    """Refuse a teacher.

    Raises:
        MetapbtError: there is one.
    """
    if teacher is not None:
        raise MetapbtError(f"learner={learner} cannot learn from a teacher")


def no_policy(learner: str) -> MetapbtError:
    """The error for who asks for the policy of a problem without episodes."""
    return MetapbtError(f"learner={learner} solves a problem without observations and actions: there is no policy")
