"""What was lost or damaged is made again: checkpoints by training, the table from the journal."""

from __future__ import annotations

from collections.abc import Iterable

from metapbt.errors import MetapbtError
from metapbt.execution import Executor
from metapbt.history import History, Record, Ref
from metapbt.log import LOGGER, counted
from metapbt.runs.plan import Plan
from metapbt.store.checkpoint import Outcome, read_outcome
from metapbt.store.journal import read_journal
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import differing_column, read_table, to_table, write_table


def finished(plan: Plan, directory: RunDirectory, metric: str, size: int) -> bool:
    """Whether a run has nothing left to do; a table that was lost, or says another thing, is written again.

    What ``DONE`` says, the journal must bear out: where it does not, the run goes on from the journal.

    Args:
        plan: of the run.
        directory: open.
        metric: the return that selection looks at.
        size: members of the population.

    Raises:
        MetapbtError: the journal cannot be read.
        OSError: the directory cannot be written.
    """
    if not directory.done:
        return False
    content = read_journal(directory.journal.path)
    history = History(content.records, metric, size)
    doubt = content.damage or _doubt(directory, history, content.head.get("crc32"))
    if doubt is not None and (content.damage is None or content.cut):
        LOGGER.warning("%s is marked as finished but is not: %s; it continues", directory.path, doubt)
        directory.withdraw_done()
        return False
    if doubt is not None:
        LOGGER.warning("%s; the run is finished nevertheless", doubt)
        return True
    table = to_table(plan.identity, history)
    try:
        column = differing_column(read_table(directory.records), table)
        wrong = None if column is None else f"{directory.records} has another {column} than the journal"
    except MetapbtError as error:
        wrong = str(error)
    if wrong is not None:
        LOGGER.warning("%s: it is written again from the journal", wrong)
        directory.held.check()
        write_table(directory.records, table)
    return True


def _doubt(directory: RunDirectory, history: History, journal: str | None) -> str | None:
    """Why DONE cannot be the end of what the journal tells."""
    try:
        done = directory.finished()
    except MetapbtError as error:
        return str(error)
    if done is None or done.journal not in (None, journal):
        return "DONE is another run's"
    if (done.generations, done.records or len(history)) != (history.generations, len(history)):
        said = f"{done.generations} generations" + (f" and {done.records} records" if done.records else "")
        return f"DONE after {said}, but the journal has {history.generations} and {len(history)}"
    return None


class Checkpoints:
    """The checkpoints of a run, made again where they are missing or damaged.

    An interval is known from its record and always trains the same, so whoever needs what it ended with can have it
    again: from the nearest checkpoint that is whole along its line of descent, or from the line's beginning.
    """

    def __init__(self, plan: Plan, directory: RunDirectory, executor: Executor) -> None:
        self._plan, self._directory, self._executor = plan, directory, executor

    def set_aside_damaged(self, history: History) -> None:
        """Let damaged checkpoints without a record be trained again, as if they were not there."""
        for ref, path in self._directory.checkpoints().items():
            if history.at(ref) is None:
                try:
                    read_outcome(path)
                except MetapbtError as error:
                    LOGGER.warning("%s: set aside as %s", error, self._directory.set_aside(path).name)

    def make_whole(self, history: History, needed: Iterable[Ref]) -> None:
        """Train those of ``needed`` again that are not what their records say; nothing else trains meanwhile.

        Args:
            history: everything that is in the journal.
            needed: records of it.

        Raises:
            MetapbtError: training failed, or brought another agent than the one on record.
        """
        missing = self._missing(history, needed)
        if missing:
            LOGGER.warning("training %s again, to go on from where they led", counted(len(missing), "interval"))
        while missing:
            ready = [record for record in missing.values() if not missing.keys() & set(_begins_from(record))]
            self._executor.submit([self._plan.job_again(self._directory, history, record) for record in ready])
            for _ in ready:
                job, result = self._executor.next()
                record = missing.pop(job.interval.ref)
                if not isinstance(result, Outcome):
                    LOGGER.debug("%s", result.traceback)
                    raise MetapbtError(f"{job.save_to} was lost and could not be made again: {result.error}")
                if result.differing_field(record) is not None:
                    self._directory.set_aside(job.save_to)
                    raise MetapbtError(
                        f"{job.save_to} was lost, and trained again it became another agent than the one on record: "
                        "the learner or the machine has changed. Put a copy back, or set resume=false"
                    )

    def _missing(self, history: History, needed: Iterable[Ref]) -> dict[Ref, Record]:
        """What must be trained again for these, from the nearest checkpoints that are whole."""
        missing: dict[Ref, Record] = {}
        whole: set[Ref] = set()
        left = sorted(needed)
        while left:
            ref = left.pop()
            record = history.at(ref)
            if record is None:
                raise MetapbtError(f"{self._directory.journal.path} is damaged: it has no record of {ref}")
            if ref in missing or ref in whole:
                continue
            if self._is_whole(record):
                whole.add(ref)
            else:
                missing[ref] = record
                left += _begins_from(record)
        return missing

    def _is_whole(self, record: Record) -> bool:
        path = self._directory.checkpoint(record.ref)
        try:
            outcome = read_outcome(path)
        except MetapbtError as error:
            there, wrong = path.exists(), str(error)
        else:
            if outcome.differing_field(record) is None:
                return True
            there, wrong = True, f"{path} is of another interval than its record"
        LOGGER.warning("%s%s", wrong, f": set aside as {self._directory.set_aside(path).name}" if there else "")
        return False


def _begins_from(record: Record) -> list[Ref]:
    """The records whose checkpoints its interval starts from."""
    return [ref for ref in (record.origin, record.teacher) if ref is not None]
