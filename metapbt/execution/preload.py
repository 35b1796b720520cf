"""Loads the learner's module into the server that workers are forked from, so that each need not load it anew.

Whatever the module raises is for the workers to say, which load it again then.
"""

import importlib
import os
from contextlib import suppress

VARIABLE = "METAPBT_PRELOAD"  # the module's name, in the environment that the server starts in

if VARIABLE in os.environ:
    with suppress(BaseException):
        importlib.import_module(os.environ.pop(VARIABLE))
