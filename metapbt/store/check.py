"""Whether a run's files are whole and fit together."""

from __future__ import annotations

from metapbt.errors import MetapbtError
from metapbt.history import History, Ref
from metapbt.store.journal import read_journal
from metapbt.store.results import RunInfo, read_history
from metapbt.store.run_directory import RunDirectory


def problem(run: RunInfo) -> str | None:
    """What is wrong with a run's files, in words; None where nothing is. A run that goes on may lack what is to come.

    Records stand in the order of reports: in an asynchronous run some members are ahead of others. Sound are those
    whose members train one generation after the other, and go on from records that stand before their own.
    """
    try:
        history = read_history(run)
        if run.state == "done" and not len(history):
            return "DONE, but there are no records"
        return _damage(run, history) or _disorder(history) or _wrong_length(run, history)
    except MetapbtError as error:
        return str(error)


def _damage(run: RunInfo, history: History) -> str | None:
    journal = RunDirectory(run.path).journal
    if not journal.exists:
        return None
    content = read_journal(journal.path)
    # A stop, or a writer at work, leaves an unfinished last entry: nothing that had been finished is lost.
    if content.damage is not None and not (content.cut and run.state != "done"):
        return content.damage
    if run.state == "running":
        return None
    if {record.ref for record in content.records} != {record.ref for record in history}:
        return f"records.parquet has {len(history)} records, and the journal {len(content.records)}"
    return None


def _disorder(history: History) -> str | None:
    seen: set[Ref] = set()
    following: dict[int, int] = {}  # the generation that each member trains next
    for record in history:
        name = f"generation {record.generation} of member {record.member}"
        if record.ref in seen:
            return f"there are two records of {name}"
        due = following.get(record.member, record.generation)
        if record.generation != due:
            return f"the records lack generation {due} of member {record.member}"
        if record.origin is not None and record.origin not in seen:
            return f"{name} goes on from generation {record.origin.generation} of member {record.origin.member}, " + (
                "which has no record before it"
            )
        if record.teacher_generation is not None and record.teacher_member is not None:
            teacher = Ref(record.teacher_generation, record.teacher_member)
            if teacher not in seen:
                return f"the teacher of {name} has no record before it"
        seen.add(record.ref)
        following[record.member] = record.generation + 1
    return None


def _wrong_length(run: RunInfo, history: History) -> str | None:
    done = RunDirectory(run.path).finished()
    if done is not None and history.generations != done.generations:
        return f"DONE after {done.generations} generations, but there are records of {history.generations}"
    return None
