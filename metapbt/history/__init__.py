"""What happened in a run: its records, what they say together, and the rows that surrogates learn from."""

from metapbt.history.context import Context, FeatureValue
from metapbt.history.history import History
from metapbt.history.interval import Budget, Interval, Ref
from metapbt.history.record import Record
from metapbt.history.transitions import Transition

__all__ = ["Budget", "Context", "FeatureValue", "History", "Interval", "Record", "Ref", "Transition"]
