"""What happened in a run: its records, what they say together, and the rows that surrogates learn from."""

from metapbt.history.budget import Budget
from metapbt.history.context import Context, FeatureValue, with_newer
from metapbt.history.eras import Eras, Rung
from metapbt.history.history import History
from metapbt.history.interval import Interval, Ref
from metapbt.history.record import Record
from metapbt.history.restarts import Restarts
from metapbt.history.transitions import Transition

__all__ = [
    "Budget",
    "Context",
    "Eras",
    "FeatureValue",
    "History",
    "Interval",
    "Record",
    "Ref",
    "Restarts",
    "Rung",
    "Transition",
    "with_newer",
]
