"""Where a learner's own code runs: it cannot end the process, nor leave our part of it changed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from metapbt.errors import Interrupted

#: What stops a run, and what any other process does about it.
STOPPING: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Left(Exception):  # noqa: N818 - what it stands for is its cause
    """A learner raised what is meant to end a process or a generator, such as ``SystemExit``.

    Attributes:
        raised: that.
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(raised)
        self.raised = raised


class contained:  # noqa: N801 - used as a function: ``with contained():``
    """Let a learner's code work here.

    What it raises that is no ``Exception``, ``SystemExit`` above all, comes out as `Left`: it is a failure like
    any other, and not the end of the run. Ctrl-C and SIGTERM still are. The working directory, the handlers of these
    signals, the standard streams, NumPy's treatment of floating-point errors and Torch's defaults are put back.

    A process that the learner forks ends here at the latest: what comes after is for this one alone to do.
    """

    def __enter__(self) -> None:
        """Remember what is to be put back."""
        self._process = os.getpid()
        self._directory = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
        self._streams = sys.stdout, sys.stderr
        self._errstate = np.geterr()
        self._torch = _loaded("torch")
        if self._torch is not None:
            self._defaults = self._torch.get_default_dtype(), self._torch.is_grad_enabled()
        in_main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in STOPPING} if in_main else {}
        self._handlers = {number: handler for number, handler in handlers.items() if handler is not None}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Put it back."""
        if os.getpid() != self._process:
            _end(error)
        os.fchdir(self._directory)
        os.close(self._directory)
        sys.stdout, sys.stderr = self._streams
        np.seterr(**self._errstate)
        if self._torch is not None:
            dtype, grad = self._defaults
            self._torch.set_default_dtype(dtype)
            self._torch.set_grad_enabled(grad)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if error is not None and not isinstance(error, Exception) and not self._asked_to_stop(error):
            raise Left(error) from error

    def _asked_to_stop(self, error: BaseException) -> bool:
        """Whether somebody outside wants this process to end, rather than the learner."""
        ours = self._handlers.get(signal.SIGINT) is signal.default_int_handler
        return isinstance(error, Interrupted) or (isinstance(error, KeyboardInterrupt) and ours)


def flush_streams() -> None:
    """Let what a learner printed be seen."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the learner may have closed it
            stream.flush()


def _end(error: BaseException | None) -> NoReturn:
    """End a forked process as Python ends one that an error came out of."""
    said = error.code if isinstance(error, SystemExit) else error
    with suppress(BaseException):  # the learner's own error, and streams
        if isinstance(said, BaseException):
            traceback.print_exception(said)
        elif said is not None and not isinstance(said, int):
            print(said, file=sys.stderr)
    flush_streams()
    os._exit(said & 0xFF if isinstance(said, int) else int(said is not None))


def _as_any_process() -> None:
    """Let a forked process end by the signals that in the one which forked it are for metapbt to act on."""
    for number, usual in STOPPING.items():
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith("metapbt."):
            signal.signal(number, usual)


os.register_at_fork(after_in_child=_as_any_process)


def _loaded(name: str) -> Any:
    """A module, if it is there as a whole; None while another thread is just loading it."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", True) else module
