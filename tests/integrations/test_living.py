"""Selection among members that may end: whoever copies starts from what was kept."""

import math

import numpy as np
import pytest

from metapbt.history import History, Record
from metapbt.integrations.living import AmongTheLiving

# The best of the first generation is kept no more once the second has a better one, whose member then ends.
RETURNS = [[10.0, 5.0, 4.0, 3.0], [1.0, 100.0, 1.5, 1.2], [2.0, None, 2.5, 1.0]]


def record(generation, member, value):
    return Record(generation, member, None, "random", {}, 2, math.nan if value is None else value, failed=value is None)


def history(generations):
    rows = RETURNS[:generations]
    return History(tuple(record(g, m, value) for g, row in enumerate(rows) for m, value in enumerate(row)), size=4)


@pytest.mark.parametrize("settings", [{}, {"lead": 0.0}, {"grace": 1}, {"name": "pairwise"}])
@pytest.mark.parametrize("backtrack", [False, True])
def test_what_is_copied_was_kept_whoever_has_ended_since(settings, backtrack):
    selection = AmongTheLiving(4, 0.25, {**settings, "backtrack": backtrack})
    copied = set()
    for seed in range(10):
        found = selection.select(history(3), range(4), np.random.default_rng(seed))
        assert 1 not in found
        copied |= {exploit.start for exploit in found.values()}
    kept = selection.keeps(history(2)) | {each.ref for each in history(3).latest if not each.failed}
    assert copied
    assert copied <= kept
    assert not backtrack or copied == {(1, 1)}


def test_who_has_ended_is_neither_copied_nor_replaced_otherwise():
    found = AmongTheLiving(4, 0.5).select(history(3), range(4), np.random.default_rng(0))
    assert {member: exploit.start for member, exploit in found.items()} == {3: (2, 2)}
