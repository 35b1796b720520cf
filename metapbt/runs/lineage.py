"""The line of descent of a run's best agent."""

from __future__ import annotations

from metapbt.errors import MetapbtError
from metapbt.history import History, Record


def lineage(history: History) -> tuple[Record, ...]:
    """The records that led to the best agent's, from its first interval on; after a restart, from that one on.

    Args:
        history: of a run, finished or not.

    Raises:
        MetapbtError: there is no record yet, or one on the way is missing.
    """
    chain = [history.best()]
    while not chain[-1].restart and (origin := history.before(chain[-1])) is not None:
        chain.append(origin)
    first = chain[-1]
    if first.origin is not None and not first.restart:
        raise MetapbtError(f"the records lack what member {first.member} of generation {first.generation} went on from")
    return tuple(reversed(chain))
