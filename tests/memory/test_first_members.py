"""Which configurations a first generation begins with."""

from dataclasses import dataclass

import numpy as np

from metapbt.memory.first_members import promising


@dataclass(frozen=True)
class Uncertain:
    """An ensemble that knows nothing about small first coordinates, and everything about large ones."""

    def moments(self, x):
        return x[:, 0], 9.0 * (x[:, 0] < 0.3)

    def draws(self, x, count, rng):
        mean, variance = self.moments(x)
        return mean + np.sqrt(variance) * rng.standard_normal((count, len(x)))


def chosen(slope):
    """Two of the square's points, worth their first coordinate, and so much for each unit that they change by more."""
    return promising(
        lambda points, higher: points[:, 0] + slope * higher,
        Uncertain(),
        1.0,
        lambda points: points,
        np.empty((0, 2)),
        2,
        np.random.default_rng(0),
    )


def test_what_is_uncertain_counts_by_what_it_is_worth():
    """Where all catch up, a bad configuration does not become a good one by nobody knowing how bad it is at first."""
    assert chosen(slope=0.0).min(axis=0)[0] > 0.9
    assert chosen(slope=0.0)[0, 0] >= chosen(slope=0.0)[1, 0]  # the best comes first
    assert chosen(slope=1.0).min(axis=0)[0] < 0.3
