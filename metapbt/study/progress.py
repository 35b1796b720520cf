"""What a study says while it trains: one line for each run that starts or ends, and a bar for the whole."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import TextColumn

from metapbt.callbacks.bar import TwoLines, bar_column, whole
from metapbt.callbacks.log import duration
from metapbt.log import counted
from metapbt.store.run_directory import RunDirectory
from metapbt.study.study import Study, StudyRun

_SHORTEST = 24  # columns for the name of a run


class Progress:
    """Lines on standard output and, where standard error is a terminal, a bar below them.

    Args:
        study: what is trained.
        done: how many of its runs are done.
    """

    def __init__(self, study: Study, done: int) -> None:
        self._total, self._done, self._wrong = len(study.runs), done, 0
        console = Console(stderr=True)
        self._bar = TwoLines(
            bar_column(),
            TextColumn("{task.completed} of {task.total} runs", table_column=whole()),
            TextColumn("{task.fields[left]}", table_column=whole()),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            expand=True,
            redirect_stdout=sys.stdout.isatty(),  # what is not shown on the terminal goes its own way
        )
        self._task = self._bar.add_task(study.name, total=self._total, completed=done, said="starting", left="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, said: str, run: StudyRun | None = None, then: str = "") -> None:
        """A line of its own, of a run or not; on a terminal it is cut to be one, the run's name in its middle."""
        before = f"[{self._done:{len(str(self._total))}}/{self._total}] {said}"
        title, width = "" if run is None else f" {run.title}", shutil.get_terminal_size().columns
        if sys.stdout.isatty() and len(before + title + then) > width:
            room = max(width - len(before + then), _SHORTEST) - 1
            if len(title) > room:
                title = f"{title[: room - room // 2]}…{title[len(title) - room // 2 :]}"
        with suppress(BrokenPipeError):  # who reads no further ends no study
            print(f"{before}{title}{then}"[: width if sys.stdout.isatty() else None], flush=True)

    def update(self, running: int, elsewhere: int, left: float | None) -> None:
        """How many runs train, here and elsewhere, and for how many seconds it goes on."""
        parts = [f"{running} running", *([f"{elsewhere} elsewhere"] if elsewhere else [])]
        parts += [f"{self._wrong} failed"] if self._wrong else []
        time = "time left unknown yet" if left is None else f"{duration(left)} left"
        self._bar.update(self._task, completed=self._done, said=", ".join(parts), left=time)

    def started(self, run: StudyRun, cores: int, share: float | None) -> None:
        """A run begins, or goes on."""
        on = "" if cores == 1 else f" on {counted(cores, 'core')}"
        self.say("goes on" if share else "start  ", run, (f" from {share:.0%}" if share else "") + on)

    def finished(self, run: StudyRun, seconds: float | None, left: float | None) -> None:
        """A run is done."""
        self._done += 1
        done = RunDirectory(run.path).finished()
        worth = "" if done is None or done.test_return is None else f": test return {done.test_return:.2f}"
        took = "" if seconds is None else f" in {duration(seconds)}"
        rest = f"; {duration(left)} left" if left and self._bar.disable else ""  # else the bar says it
        self.say("done   ", run, f"{worth}{took}{rest}")

    def failed(self, run: StudyRun, error: str) -> None:
        """A run has failed."""
        self._wrong += 1
        self.say("failed ", run, f": {error}")

    def stopped(self, run: StudyRun) -> None:
        """A run was told to stop, and is saved."""
        self.say("saved  ", run)

    def elsewhere(self, run: StudyRun) -> None:
        """A run is trained by another process."""
        self.say("waits  ", run, f": {RunDirectory(run.path).worker} trains it")
