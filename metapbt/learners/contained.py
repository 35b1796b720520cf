"""Where a learner's own code runs: it cannot end the process, nor leave our part of it changed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any

import numpy as np

from metapbt.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM)


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
    """

    def __enter__(self) -> None:
        """Remember what is to be put back."""
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


def _loaded(name: str) -> Any:
    """A module, if it is there as a whole; None while another thread is just loading it."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", True) else module
