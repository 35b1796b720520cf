"""The log: a run told in lines."""

from __future__ import annotations

import math

from metapbt.callbacks.base import Callback, RungStart, RunStart
from metapbt.callbacks.time_left import TimeLeft
from metapbt.history import History, Record
from metapbt.log import LOGGER, counted, rounded
from metapbt.population.decisions import Assignment


class LogCallback(Callback):
    """Writes what happens to the package's logger."""

    def on_start(self, run: RunStart) -> None:
        """Say what runs, and from where."""
        self._run = run
        self._time = TimeLeft(run)
        LOGGER.info(
            "%s: %s, %s, generation %d of %d",
            run.title,
            "going on" if run.resumed else "starting",
            counted(run.size, "member"),
            run.history.generations + 1,
            run.generations,
        )

    def on_record(self, record: Record) -> None:
        """Count it."""
        self._time.on_record(record)

    def on_decision(self, member: int, assignment: Assignment, child: Record | None, parent: Record | None) -> None:
        """Who copies whom at which returns, and which hyperparameters become what."""
        metric = self._run.metric
        if parent is None:
            taught = f" and learns from member {assignment.teacher.member}" if assignment.teacher else ""
            LOGGER.info("member %d begins anew%s", member, taught)
            return
        if child is None:
            network = [
                f"{name} {rounded(value)}"
                for name, value in assignment.hyperparameters.items()
                if parent.generation and name in self._run.architecture
            ]
            LOGGER.info(
                "%s %d (%.6g) becomes member %d%s",
                self._kind(parent),
                parent.member,
                parent.value(metric),
                member,
                f" with {', '.join(network)}" if network else "",
            )
            return
        before = parent.hyperparameters
        changes = ", ".join(
            f"{name} {rounded(before[name])} {_arrow(assignment.operations.get(name))} {rounded(value)}"
            if name in before
            else f"{name} {rounded(value)}"  # under other conditions than the parent's
            for name, value in assignment.hyperparameters.items()
            if name not in before or value != before[name] or name in assignment.operations
        )
        back = "" if parent.generation >= child.generation - 1 else f" of generation {parent.generation + 1}"
        LOGGER.info(
            "member %d (%s) copies member %d%s (%.6g), %s: %s",
            member,
            "failed" if child.failed else f"{child.value(metric):.6g}",
            parent.member,
            back,
            parent.value(metric),
            assignment.source,
            changes or "nothing changed",
        )

    def on_rung(self, rung: RungStart) -> None:
        """Which era begins, who teaches, and how many of a rung go on."""
        count, metric = len(rung.students), self._run.metric
        if rung.before:
            kept = {a.start for a in rung.students.values()}
            values = [record.value(metric) for record in rung.before if record.ref in kept]
            LOGGER.info(
                "era %d of %d, rung %d of %d: the best %d of %s go on (%.6g to %.6g)",
                rung.era,
                self._run.eras,
                rung.rung,
                rung.rungs,
                count,
                counted(len(rung.before), "student"),
                max(values),
                min(values),
            )
            return
        who, shrunk = rung.teacher, sum(a.start is not None for a in rung.students.values())
        LOGGER.info(
            "era %d of %d begins: %s %s",
            rung.era,
            self._run.eras,
            counted(count, "student"),
            f"learn from member {who.member} (generation {who.generation + 1}, {who.value(metric):.6g})"
            if who
            else f"begin, {count - shrunk} from nothing and {shrunk} with shrunk weights"
            if shrunk
            else "begin from nothing",
        )

    def on_generation(self, history: History) -> None:
        """Who is best, and how much time is left."""
        leader = history.leader()
        self._time.on_generation()
        left = self._time.seconds
        LOGGER.info(
            "generation %d/%d, %d steps: %s %d is best with %s%s",
            history.generations,
            self._run.generations,
            leader.env_steps,
            self._kind(leader),
            leader.member,
            _returns(leader),
            "" if left is None else f"; {duration(left)} left",
        )

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """Say what the run is worth."""
        if tested is not None:
            agent, test_return = tested
            LOGGER.info(
                "%s: finished with a test return of %.2f (member %d after %d steps)",
                self._run.title,
                test_return,
                agent.member,
                agent.env_steps,
            )

    def _kind(self, record: Record) -> str:
        """Candidates are of the first generation; whoever else is not of the population is a student."""
        if record.member < self._run.size:
            return "member"
        return "student" if record.generation else "candidate"


def duration(seconds: float) -> str:
    """Seconds for people: ``12s``, ``3m05s``, ``2h07m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _returns(record: Record) -> str:
    trained = (
        "no episode ended in training" if math.isnan(record.train_return) else f"{record.train_return:.2f} in training"
    )
    return f"{trained}, {record.eval_return:.2f} in evaluation"


def _arrow(operation: str | None) -> str:
    return f"--({operation})-->" if operation else "->"
