"""Screening: more agents than members train for a while, and the best of them become the members.

Candidates of the first generation are screened in one rung, students of later eras in those of successive halving.
Which rung a run is in follows from its history, so one that is stopped goes on in the midst of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from metapbt.history import History, Record, Rung
from metapbt.population.decisions import Assignment
from metapbt.population.selection.base import fittest, ranking


def screened(history: History, rungs: Sequence[Rung], size: int) -> dict[int, Assignment]:
    """What comes after a rung: the next one, of its best; or the members, who go on from the best of the last.

    Students of the next rung are copies under numbers that nobody has had, and keep their teacher.

    Args:
        history: whose last records are those of the rung.
        rungs: of students.
        size: members.
    """
    ranked, rung = ranking(history), next_rung(history, rungs)
    if rung is None:
        return numbered(
            (Assignment("copy", r.ref, r.hyperparameters, "screened") for r in fittest(history, ranked, size)), 0
        )
    return numbered(
        (
            Assignment("copy", r.ref, r.hyperparameters, "screened", r.teacher, born(history, r) + rung.until)
            for r in fittest(history, ranked, rung.count)
        ),
        history.next_number,
    )


def next_rung(history: History, rungs: Sequence[Rung]) -> Rung | None:
    """The rung that comes after the one that was just finished; None after the last, and that of candidates."""
    coming = rungs[history.rung + 1 :] if history.eras > 1 else ()
    return coming[0] if coming else None


def numbered(assignments: Iterable[Assignment], first: int) -> dict[int, Assignment]:
    """Assignments by member, whose numbers are counted up from the first."""
    return dict(enumerate(assignments, first))


def born(history: History, student: Record) -> int:
    """Environment steps at which a student was born: its teacher's, 0 without one; whole ones."""
    teacher = history.counts_on(None, student.teacher)
    return 0 if teacher is None else math.ceil(teacher.env_steps)
