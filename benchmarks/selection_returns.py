"""Does the return in training rank members as their evaluations do?

    python benchmarks/selection_returns.py            # cart-pole, intervals of 2,000, 5,000 and 50,000 steps
    python benchmarks/selection_returns.py --interval 2000 --seeds 10

Selection looks at ``train_return``: the mean over the episodes that ended in the interval, filled up with earlier ones
of the line of descent to at least 20. Of all pairs of members of a generation whose evaluations (of ten episodes)
differ by 50 or more, the table shows the share that training ranks the other way round (goal: at most 10%), and how
many members had no return. Four members train with hyperparameters drawn from the shipped space: alone, or as a
population in which the worst copies the best after every interval and draws new ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from metapbt import seeding

if TYPE_CHECKING:
    from metapbt.learners.base import Learner, State
    from metapbt.space import Hyperparameters

#: Steps of each member, by the interval: long enough to learn the task and to be good at it for a while.
BUDGETS = {2_000: 80_000, 5_000: 100_000, 50_000: 300_000}
SIZE, WINDOW, EPISODES, DIFFERENCE, GOAL = 4, 20, 10, 50.0, 0.10


@dataclass
class Member:
    """One agent and what is known of it."""

    hyperparameters: Hyperparameters
    state: State | None = None
    env_steps: int = 0
    window: tuple[float, ...] = ()
    evaluation: float = np.nan

    @property
    def train_return(self) -> float:
        return float(np.mean(self.window)) if self.window else np.nan

    def copy(self, hyperparameters: Hyperparameters) -> Member:
        return Member(hyperparameters, self.state, self.env_steps, self.window)


@dataclass
class Count:
    """Pairs of members of one generation, by what training says of them."""

    pairs: int = 0
    reversed: int = 0
    unknown: int = 0
    members: int = 0


def generations(env: str, interval: int, seed: int, copying: bool) -> Iterator[list[Member]]:
    """Four members after every interval."""
    from metapbt.config import compose
    from metapbt.envs import make_context
    from metapbt.history import Budget
    from metapbt.learners import LearnerSpec
    from metapbt.space import Space

    config = compose([f"env={env}"])
    space = Space(dict(config.space))
    budget = Budget(BUDGETS[interval], interval)
    learner = LearnerSpec("ppo", env, make_context(env), budget, {}).make()
    rng = seeding.generator(seed, -1, -1, "selection_returns")
    members = [Member(space.sample(rng)) for _ in range(SIZE)]
    for generation in range(budget.steps // interval):
        for number, member in enumerate(members):
            train(learner, member, (generation + 1) * interval, seed, generation, number)
        yield members
        ranks = sorted(range(SIZE), key=lambda m: np.nan_to_num(members[m].train_return, nan=-np.inf))
        if copying:
            members[ranks[0]] = members[ranks[-1]].copy(space.sample(rng))


def train(learner: Learner, member: Member, until_steps: int, seed: int, generation: int, number: int) -> None:
    """Train a member for one interval."""
    from metapbt.history import Interval, Ref

    interval = Interval(
        ref=Ref(generation, number),
        start=Ref(generation - 1, number) if member.state else None,
        teacher=None,
        hyperparameters=member.hyperparameters,
        start_steps=member.env_steps,
        until_steps=until_steps,
        seed=seeding.training_seed(seed, generation, number),
        evaluation_seed=seeding.evaluation_seed(seed),
        evaluation_episodes=EPISODES,
    )
    training = learner.train(interval, member.state)
    member.state, member.env_steps, member.evaluation = training.state, training.env_steps, training.eval_return
    member.window = (member.window + training.returns)[-max(WINDOW, len(training.returns)) :]


def counted(env: str, interval: int, seeds: int, copying: bool) -> Count:
    """What training says of all pairs of members whose evaluations differ clearly."""
    count = Count()
    for seed in range(seeds):
        for members in generations(env, interval, seed, copying):
            count.members += len(members)
            count.unknown += sum(np.isnan(member.train_return) for member in members)
            for one, other in combinations(members, 2):
                evaluations = one.evaluation - other.evaluation
                returns = one.train_return - other.train_return
                if abs(evaluations) >= DIFFERENCE and not np.isnan(returns):
                    count.pairs += 1
                    count.reversed += evaluations * returns < 0
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", default="cart_pole", help="cart_pole")
    parser.add_argument("--interval", nargs="+", type=int, choices=BUDGETS, default=list(BUDGETS), help="all of them")
    parser.add_argument("--seeds", type=int, default=5, help="populations of each interval (5)")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    print(f"{arguments.env}, {arguments.seeds} populations of {SIZE} (goal: at most {GOAL:.0%} the other way round)\n")
    print("| interval | steps | members | pairs that differ | the other way round | members without a return |")
    print("| ---: | ---: | --- | ---: | ---: | ---: |")
    for interval in arguments.interval:
        for copying, name in ((False, "alone"), (True, "copying")):
            count = counted(arguments.env, interval, arguments.seeds, copying)
            share = count.reversed / max(count.pairs, 1)
            print(
                f"| {interval:,} | {BUDGETS[interval]:,} | {name} | {count.pairs} | {count.reversed} ({share:.1%}) "
                f"| {count.unknown} of {count.members} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
