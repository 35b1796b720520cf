"""A category among the hyperparameters has no order for memory, however its choices are written."""

import numpy as np
import pytest
import torch

from metapbt.history import Context, History, Record
from metapbt.memory.encoder import Encoder, Rows, Samples
from metapbt.memory.kernel import Warp
from metapbt.memory.meta_surrogate import MetaSurrogate
from metapbt.memory.model import PLAIN, MetaModel
from metapbt.memory.scales import HistoryScale
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import Tasks
from metapbt.space import Space

CHOICES = 8
SPACE = Space(
    {"x": {"type": "float", "low": 0.0, "high": 1.0}, "kind": {"type": "categorical", "choices": ["a", "b", "c"]}}
)


def distances(warp, points):
    with torch.no_grad():
        features = warp(torch.as_tensor(points))
    return torch.cdist(features, features).numpy()


def middles(count):
    return (np.arange(count) + 0.5) / count


def test_any_two_choices_are_equally_far_apart_at_first():
    points = np.column_stack([np.full(CHOICES, 0.3), middles(CHOICES)])
    found = distances(Warp(torch.tensor([1.0, 2.0], dtype=torch.float64), {1: CHOICES}), points)
    off = found[~np.eye(CHOICES, dtype=bool)]
    np.testing.assert_allclose(off, off[0])
    assert off[0] > 0


def test_on_average_as_far_as_two_numbers_of_the_unit_interval():
    rng = np.random.default_rng(0)
    scales = torch.tensor([2.0, 2.0], dtype=torch.float64)
    numbers, category = Warp(scales), Warp(scales, {1: CHOICES})
    x = np.column_stack([np.zeros(1000), rng.random(1000)])
    means = [float((distances(warp, x) ** 2).mean()) for warp in (numbers, category)]
    assert means[1] == pytest.approx(means[0], rel=0.1)


def test_all_coordinates_of_a_choice_are_the_same_point():
    space = Space({"kind": {"type": "categorical", "choices": list("abcdefgh")}})
    warp = Warp(torch.ones(1, dtype=torch.float64), {0: CHOICES})
    x = np.linspace(0, 1, 401)[:, None]
    same = distances(warp, x) == 0
    chosen = np.array([space.from_unit(row)["kind"] for row in x])
    np.testing.assert_array_equal(same, chosen[:, None] == chosen)


def test_what_is_no_category_of_three_or_more_stays_one_column():
    space = Space(
        {
            "rate": {"type": "float", "low": 0.0, "high": 1.0},
            "switch": {"type": "categorical", "choices": [True, False]},
            "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
        }
    )
    assert Tasks.of(Memory(Context({})), space).categories == {1: 2, 2: 3}
    assert MetaModel(2, 1, 3).warp.log_scales.shape == (6,)
    assert MetaModel(2, 1, 3, {1: 2, 2: 3}).warp.log_scales.shape == (8,)


def planted(contexts, each, rng):
    """Rows of contexts of two kinds (column 2); of each kind one choice is good, far from the other's."""
    which = np.repeat(np.arange(contexts), each)
    kind = np.where(which % 2, 1.0, -1.0)
    choice = rng.integers(CHOICES, size=len(which))
    good = np.where(kind > 0, 5, 2)
    changes = 2.0 * (choice == good) - 0.25 + 0.2 * rng.standard_normal(len(which))
    times = rng.integers(5, size=len(which))
    given = [times / 5, rng.random(len(which)), kind]
    return Rows(np.column_stack([*given, rng.random(len(which)), middles(CHOICES)[choice]]), changes, which, times)


def test_from_few_rows_a_choice_that_is_good_says_less_of_the_next_one_in_the_list():
    def density(seed, categories):
        known, unseen = (planted(n, each, np.random.default_rng([seed, n])) for n, each in ((3, 10), (2, 100)))
        return max(found for found, _ in MetaModel(2, 1, 2, categories).train(known, PLAIN, PLAIN.steps, unseen=unseen))

    ordered, unordered = (np.mean([density(seed, c) for seed in range(4)]) for c in (None, {1: CHOICES}))
    assert unordered > ordered + 0.1


def test_a_choice_has_changed_or_not_whichever_it_was():
    encoder = Encoder(HistoryScale(0.0, 1.0), changed=True, categories={1: 4})
    points = np.column_stack([np.full(4, 0.5), middles(4)])
    for before in range(4):
        own = encoder.own(points, np.column_stack([np.full(4, 0.3), np.full(4, middles(4)[before])]))
        np.testing.assert_array_equal(own[:, :2], points)
        np.testing.assert_allclose(own[:, 2], 0.2)
        np.testing.assert_array_equal(own[:, 3], np.arange(4) != before)
    within = encoder.own(np.array([[0.5, 0.26]]), np.array([[0.5, 0.49]]))  # one choice has many coordinates
    assert within[0, 3] == 0


def test_memory_and_the_target_encode_what_changed_alike():
    rng = np.random.default_rng(0)
    run = History(
        tuple(Record(g, m, None, "random", SPACE.sample(rng), 10 * (g + 1), float(g)) for g in range(3) for m in (0, 1))
    )
    memory = Memory(Context({"a": 0.5}), [SourceRun(Context({"a": float(a)}), run) for a in (0, 1)])
    meta = MetaSurrogate(SPACE, memory, lookahead=8)
    own = meta.encoder.rows(Samples.of(run.transitions(), SPACE.to_unit, lambda record: meta.recent(run, record)))
    theirs = meta.tasks.rows[meta.tasks.rows.contexts == 0]
    np.testing.assert_allclose(own.inputs[:, -4:], theirs.inputs[:, -4:])
    assert set(own.inputs[:, -1]) == {0.0, 1.0}
