from dataclasses import replace

import numpy as np
import pytest
import torch

from metapbt.memory import training
from metapbt.memory.encoder import Rows
from metapbt.memory.lookahead import Lines
from metapbt.memory.model import MetaModel
from metapbt.memory.scales import SourceScale
from metapbt.memory.training import Learned, learned
from metapbt.memory.trust import PRIOR, evidence, shares


class Given:
    """Contexts whose rows are on a scale already."""

    chosen = 1
    changed = False
    hindsight = 1
    categories = {}
    scale = SourceScale(features=(("feature", 0.0, 1.0),))

    def __init__(self, rows, origins=None):
        self.rows = rows
        self.origins = np.full(len(rows), -1) if origins is None else origins

    def held_out(self, context):
        own = self.rows.contexts == context
        return self.rows[own], self.rows[~own]

    def scale_without(self, context):
        return self.scale

    def lines(self, context):
        rows = self.held_out(context)[0]
        return Lines(rows, np.ones(len(rows)), self.origins[self.rows.contexts == context])

    def digest(self):
        return "given"


def rows(contexts=3, seed=0):
    """A peak that moves with the context's feature (column 2)."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(contexts), 30)
    feature = which - (contexts - 1) / 2
    x = rng.random(len(which))
    y = np.exp(-((x - 0.5 - 0.1 * feature) ** 2) / 0.05) * 3 + 0.1 * rng.standard_normal(len(which))
    times = rng.integers(5, size=len(which))
    return Rows(np.column_stack([times / 5, rng.random(len(which)), feature, x]), y, which, times)


def test_memory_of_like_contexts_is_believed_and_that_of_opposite_ones_is_not():
    data = rows()
    memory = learned(Given(data), deep=False)
    model = memory.model
    own, others = data[data.contexts == 1][:6], data[data.contexts != 1]
    weights = []
    for sign in (1, -1):
        times = np.zeros(len(own), dtype=int)
        here = Rows(own.inputs, sign * own.changes, own.contexts, times)
        errors, noise = model.forecast_errors(others, here)
        weights.append(shares([1, 1], [evidence(errors[place], here.changes, times, noise) for place in (0, -1)])[1])
    assert weights[0] > 0.6
    assert weights[1] < 0.1
    assert memory.trust() > 0.5


def test_the_noise_that_is_expected_of_each_row_is_that_of_its_stage():
    data = rows()
    model = learned(Given(data), deep=False).model
    torch.nn.init.normal_(model.stage.last.weight, generator=torch.Generator().manual_seed(0))
    own, others = data[data.contexts == 1], data[data.contexts != 1]
    noise = model.forecast_errors(others, own)[1]
    np.testing.assert_allclose(noise, model.noise(own.inputs))
    assert np.ptp(noise) > 0.01


@pytest.mark.slow
def test_large_early_and_small_late_changes_are_learned_as_such():
    data = rows(contexts=8)
    late = data.inputs[:, 0] >= 0.4
    rng = np.random.default_rng(5)
    noise = np.where(late, 0.05, 1.0) * rng.standard_normal(len(data))
    changes = np.where(late, 0.1, 1.0) * data.changes + noise
    model = learned(Given(replace(data, changes=changes)), deep=False).model
    early_place, late_place = np.array([[0.2, 0.5, 0.0, 0.5]]), np.array([[0.8, 0.5, 0.0, 0.5]])
    assert 0.2 < model.noise(early_place)[0] < 3
    assert model.noise(late_place)[0] < 0.02
    deviations = model.stage(torch.as_tensor(np.concatenate([early_place, late_place])))[0].detach().numpy()
    assert deviations[1] < 0.5 * deviations[0]


def test_one_context_leaves_trust_as_it_was_and_trains_all_the_same():
    data = rows(contexts=1)
    memory = learned(Given(data), deep=True)
    assert memory.trust() == PRIOR
    assert not any(np.isnan(value).any() for value in memory.weights().values())


def test_held_out_contexts_say_how_long_to_train_but_none_for_the_model_without_it(monkeypatch):
    forecast = {0: [0.0, 5.0, 0.0], 1: [0.0, 0.0, 1.0], 2: [0.0, 0.0, 3.0]}
    steps_of_all, taken = [], []

    def train(self, rows, phase, steps, unseen=None):
        if unseen is None:
            steps_of_all.append(steps)
            return []
        assert set(rows.contexts) | set(unseen.contexts) == {0, 1, 2}
        return [(density, i) for i, density in enumerate(forecast[unseen.contexts[0]])]

    monkeypatch.setattr(MetaModel, "train", train)
    monkeypatch.setattr(MetaModel, "load", lambda self, look: taken.append(look))
    learned(Given(rows()), deep=False)
    assert taken == [2, 1, 1]
    assert steps_of_all == [25]


def test_rows_that_say_nothing_leave_trust_as_it_was():
    data = rows(contexts=2)
    alone = Rows(data.inputs, data.changes, data.contexts, np.zeros(len(data), dtype=int))[[0, 30]]  # one row of each
    assert learned(Given(alone), deep=False).trust() == pytest.approx(PRIOR)


def test_a_new_deep_kernel_is_a_plain_one():
    model, x = MetaModel(2, 1, 3), torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gaps = ((x[:, None] - x) * torch.as_tensor(model.relevance)).square().sum(-1)
    torch.testing.assert_close(model.seen(x.numpy()).covariance(model.seen(x.numpy())).detach(), torch.exp(-gaps / 2))
    np.testing.assert_allclose(np.ptp(model.noise(x.numpy())), 0.0, atol=1e-12)


def lines(contexts, growth, count=25):
    """So many lines of descent of six intervals in each context, each with one x, which grow by ``growth(x)``."""
    rng, parts, origins = np.random.default_rng(0), [], []
    for context in range(contexts):
        for x in rng.random(count):
            changes = growth(x, rng) + 0.1 * rng.standard_normal(6)
            begun = 0.1 * np.cumsum([0.0, *changes[:-1]])
            inputs = np.column_stack([np.arange(6) / 6, begun, np.full(6, context - 1.0), np.full(6, x)])
            first = 6 * len(parts)
            parts.append(Rows(inputs, changes, np.full(6, context), np.arange(6)))
            origins += [-1, *range(first, first + 5)]
    fields = ("inputs", "changes", "contexts", "times")
    everything = Rows(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))
    # Within the rows of a context, whose lines begin anew there.
    return Given(everything, np.array([origin if origin < 0 else origin % (6 * count) for origin in origins]))


def test_memory_looks_ahead_as_far_as_held_out_lines_of_descent_could_be_forecast():
    assert learned(lines(3, lambda x, rng: 2 * np.sin(3 * x)), deep=False).horizon() == 6  # no line is longer
    assert learned(lines(3, lambda x, rng: rng.standard_normal(6)), deep=False).horizon() == 1
    assert learned(lines(1, lambda x, rng: 2 * np.sin(3 * x)), deep=False).horizon() == 1  # nothing is held out


def test_memory_does_not_look_ahead_by_what_a_few_lines_say():
    few = learned(lines(3, lambda x, rng: 2 * np.sin(3 * x), count=4), deep=False)
    assert few.foresight() == [[]] * 8  # 4 lines at 6 times tell no more than 18 differences
    assert few.horizon() == 1


def test_a_horizon_has_no_gaps():
    class Told(Learned):
        def foresight(self):
            return [[0.9, 0.9], [0.5, 0.4], [0.05, 0.05], [0.9, 0.9], [], [], [], []]

    assert Told(None, None, {}).horizon() == 2


@pytest.mark.parametrize(
    ("told", "expected"),
    [([0.9], 1), ([0.6, -0.1], 1), ([0.3, 0.2], 8), ([0.09, 0.09], 1), ([0.11, 0.11], 8), ([0.6, -0.1] * 8, 8)],
)
def test_a_horizon_is_what_contexts_agree_on(told, expected):
    class Told(Learned):
        def foresight(self):
            return [[0.0, 0.0], *[told] * 7]

    assert Told(None, None, {}).horizon() == expected


@pytest.mark.usefixtures("briefly_trained")
def test_a_network_is_kept_only_where_held_out_contexts_are_forecast_no_worse_with_it(monkeypatch):
    tasks = lines(3, lambda x, rng: 2 * np.sin(3 * x))
    plain, train = learned(tasks, deep=False).weights(), Learned.train

    def marked(self, phase, step):
        train(self, phase, step)
        self.model.load({name: value + (phase == training.DEEP) for name, value in self.model.weights().items()})

    monkeypatch.setattr(Learned, "train", marked)
    for *both, kept in (((8, 0.3), (8, 0.4), False), ((8, 0.4), (8, 0.4), True), ((4, 0.9), (5, 0.1), False)):
        sights = iter(both)
        monkeypatch.setattr(Learned, "sight", lambda self, sights=sights: next(sights))
        found = learned(tasks, deep=True).weights()
        assert any((found[name] != plain[name]).any() for name in plain) == kept


def test_sight_is_the_horizon_and_what_is_said_up_to_it():
    class Told(Learned):
        def foresight(self):
            return [[0.9, 0.7], [0.5, 0.3], [], [], [], [], [], []]

    assert Told(None, None, {}).sight() == pytest.approx((2, 0.6))
    assert learned(lines(1, lambda x, rng: 2 * np.sin(3 * x)), deep=False).sight() == (1, 0.0)
