"""EnvPool (Weng et al., 2022), environments in C++: loading it, and what it misses."""

from __future__ import annotations

import contextlib
import io
from importlib import import_module
from types import ModuleType

from metapbt.errors import MetapbtError, one_line


def load_envpool(needed_by: str, extra: str) -> ModuleType:
    """EnvPool, without what an old Gym that it brings along has to say about itself.

    Args:
        needed_by: what needs it, for the message.
        extra: of metapbt, that installs it.

    Raises:
        MetapbtError: it is not installed, or misses a library of the system; the message says what installs that.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return import_module("envpool")
    except ImportError as error:
        raise MetapbtError(f"{needed_by} needs pip install 'metapbt[{extra}]': {one_line(error)}") from error
