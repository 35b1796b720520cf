"""A runner: a process that trains runs of a study, one after another, so that these need not each load everything.

A run whose process ends takes no other with it: the study starts another runner. A runner ends with the study, however
that ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import Any, NoReturn

from metapbt.errors import Interrupted, MetapbtError, one_line, unexpected

_LONGEST = 300  # characters of what a process said last
_MOST = 2**20  # bytes that are kept of what it prints


class Runner:
    """A runner as the study sees it.

    Attributes:
        signs: what to wait for: an answer, or the process's end.
    """

    def __init__(self) -> None:
        """Start the process, which loads nothing before its first run.

        Raises:
            MetapbtError: no process can be started.
        """
        self._line, other = Pipe()
        # What a learner prints is for nobody, unless it is the last that is heard of it.
        self._said = TemporaryFile()  # noqa: SIM115 - as long as the process
        # As in workers: what can be imported here can be there.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from metapbt.study.runner import serve; serve({other.fileno()})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[other.fileno()],
                process_group=0,  # Ctrl-C is for the study to act on
                env={
                    **os.environ,
                    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
                },
            )
        except OSError as error:
            raise MetapbtError(f"no process can be started to train in: {one_line(error)}") from error
        finally:
            other.close()
        # What a learner forks may hold the line open beyond the process's end.
        self._end = os.pidfd_open(self._process.pid)
        self.signs: tuple[Connection | int, ...] = (self._line, self._end)

    def ask(self, what: str, overrides: Sequence[str], cores: int = 1) -> None:
        """Let it ``train`` or ``check`` what follows ``metapbt run``; ``cores`` are asked for where they are given."""
        self._forget()
        with suppress(OSError):
            self._line.send_bytes(json.dumps({"what": what, "overrides": list(overrides)}).encode())

    def forget_old(self) -> None:
        """Keep little of what the process prints, for it may print for days."""
        if self._said.seek(0, os.SEEK_CUR) > _MOST:
            self._forget()

    def _forget(self) -> None:
        self._said.seek(0)  # there the process, which shares the file, prints on
        self._said.truncate(0)

    def answer(self) -> dict[str, Any]:
        """What came of it: ``seconds`` of training, ``failed`` or ``died`` with the error, ``stopped``; or nothing."""
        try:
            if self._line.poll():
                found: dict[str, Any] = json.loads(self._line.recv_bytes())
                return found
        except (OSError, EOFError):
            pass
        return {"died": self._end_in_words()}

    def stop(self) -> None:
        """Let it save its run and say so."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and give everything back."""
        self.kill()
        self._process.wait()
        os.close(self._end)
        self._line.close()
        self._said.close()

    def _end_in_words(self) -> str:
        # Not reaped yet: until it is closed nobody else can have its number.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        code = 0 if ended is None else ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self._said.seek(max(self._said.seek(0, os.SEEK_END) - 4096, 0))
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        why = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its process was {how}{why}" + (f"; it said last: {last[:_LONGEST]}" if last else "")


def serve(descriptor: int) -> NoReturn:
    """Train what comes along the line until it ends; called in the runner's own process."""
    os.set_inheritable(descriptor, False)
    line = Connection(descriptor)
    asked: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(line, asked), daemon=True).start()
    while True:
        job = asked.get()
        answer = answered(job["what"], job["overrides"])
        line.send_bytes(json.dumps(answer).encode())


def _listen(line: Connection, asked: queue.SimpleQueue[Mapping[str, Any]]) -> None:
    while True:
        try:
            asked.put(json.loads(line.recv_bytes()))
        except (OSError, EOFError):  # the study has ended; what is finished is saved
            os.killpg(0, signal.SIGKILL)


def answered(what: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What comes of training or checking a run in this process; see ``Runner.answer``."""
    from metapbt.config import compose
    from metapbt.runs.run import check, run_config

    try:
        config = compose(overrides)
        if what == "check":
            check(config)
            return {}
        began = time.monotonic()
        run_config(config)
        return {"seconds": time.monotonic() - began}
    except Interrupted:
        return {"stopped": True}
    except MetapbtError as error:
        return {"failed": str(error)}
    except BaseException as error:
        return {"failed": str(unexpected(error))}
