"""The protocol of a callback: the moments of a run at which others may listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        intervals: how many all members, candidates and students will train together, if every era comes and unless
            it stops early.
        generations: how many there will be at most.
        eras: how many there will be at most.
        architecture: names of the hyperparameters that change a network's shape.
        history: what was trained before a stop.
        metric: the return that selection looks at.
        resumed: whether it goes on after a stop, be it one within the first generation.
        at_once: how many intervals its executor trains at once.
        asynchronous: whether members go on as they report.
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
    eras: int = 1
    architecture: Sequence[str] = ()
    at_once: int = 1
    asynchronous: bool = False


@dataclass(frozen=True)
class RungStart:
    """What is known when students of a new era, or those of them that were best, begin to train.

    Attributes:
        era: which one they are to begin, counted from 1.
        rung: which of their screening, counted from 1.
        rungs: how many it has.
        students: what each does next, by their numbers.
        teacher: the record of the agent that they learn from; None without.
        before: those of the rung before, best first; none before the first rung.
    """

    era: int
    rung: int
    rungs: int
    students: Mapping[int, Assignment]
    teacher: Record | None
    before: Sequence[Record] = ()


class Callback:
    """Hears of what happens in a run, in the order of these methods; each may be left out.

    A callback changes nothing: what it raises ends the run as any error does. Name one's own in the configuration,
    ``callbacks=[my_module:MyCallback]``.
    """

    def on_start(self, run: RunStart) -> None:
        """The run starts, or goes on after a stop."""

    def on_record(self, record: Record) -> None:
        """A member, candidate or student has trained an interval."""

    def on_decision(self, member: int, assignment: Assignment, child: Record | None, parent: Record | None) -> None:
        """A member takes over a checkpoint, or is born again; not of students, of whom ``on_rung`` tells.

        Args:
            member: counted from 0.
            assignment: what it does next.
            child: its last record; None where it begins with what a candidate or student had.
            parent: the record that it goes on from; None of a new agent.
        """

    def on_rung(self, rung: RungStart) -> None:
        """Students of a new era, or the best of them, are about to train."""

    def on_generation(self, history: History) -> None:
        """Every member has finished another generation."""

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """The run ends: finished, or before that.

        Args:
            history: everything that happened.
            tested: the record of the agent that was tested at the end, the best that there ever was, and its return on
                episodes that no decision saw; None where the run has not finished.
        """
