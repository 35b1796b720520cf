"""Loads the learner's module into the server that workers are forked from, so that each need not load it anew.

Whatever the module raises is for the workers to say, which load it again then.
"""

import importlib
import json
import os
import sys
from contextlib import suppress

VARIABLE = "METAPBT_PRELOAD"  # in the environment that the server starts in: the module, and where modules are found

if VARIABLE in os.environ:
    with suppress(BaseException):
        _module, *sys.path[:] = json.loads(os.environ.pop(VARIABLE))
        importlib.import_module(_module)
