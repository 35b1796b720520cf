"""What happened in a run: its records, what they say together, and the rows that surrogates learn from."""

from metapbt.history.context import ContextKey, context_key
from metapbt.history.history import History
from metapbt.history.record import Record
from metapbt.history.transitions import Transition

__all__ = ["ContextKey", "History", "Record", "Transition", "context_key"]
