"""The protocol of a callback: the moments of a run at which others may listen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metapbt.history import Context, History, Record
from metapbt.population.decisions import Assignment


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it starts or goes on.

    Attributes:
        path: the run directory.
        title: the run in a few words, for people.
        env: the environment's name.
        context: of the environment.
        name: what the run is called: its method, unless it was given another name.
        seed: of the run.
        size: members.
        intervals: how many will be trained, all members and candidates together, unless it stops early.
        generations: how many each member will train.
        history: what was trained before a stop.
        metric: the return that selection looks at.
        resumed: whether it goes on after a stop, be it one within the first generation.
    """

    path: Path
    title: str
    env: str
    context: Context
    name: str
    seed: int
    size: int
    intervals: int
    generations: int
    history: History
    metric: str
    resumed: bool


class Callback:
    """Hears of what happens in a run, in the order of these methods; each may be left out.

    A callback changes nothing: what it raises ends the run as any error does. Name one's own in the configuration,
    ``callbacks=[my_module:MyCallback]``.
    """

    def on_start(self, run: RunStart) -> None:
        """The run starts, or goes on after a stop."""

    def on_record(self, record: Record) -> None:
        """A member or candidate has trained an interval."""

    def on_decision(self, member: int, assignment: Assignment, child: Record | None, parent: Record | None) -> None:
        """A member takes over a checkpoint, or is born again.

        Args:
            member: counted from 0.
            assignment: what it does next.
            child: its last record; None where it begins with what a candidate had.
            parent: the record that it goes on from; None of a new agent.
        """

    def on_generation(self, history: History) -> None:
        """Every member has finished another generation."""

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """The run ends: finished, or before that.

        Args:
            history: everything that happened.
            tested: the record of the agent that was tested at the end, the best that there ever was, and its return on
                episodes that no decision saw; None where the run has not finished.
        """
