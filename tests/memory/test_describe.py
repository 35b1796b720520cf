import gymnasium
import numpy as np
import pytest

from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.memory.describe import GRID, Experience, by_features, cells, random_episodes
from metapbt.memory.encoder import Samples
from metapbt.memory.tasks import UNSEEN, Tasks


@pytest.mark.parametrize(
    ("env", "feature", "values"),
    [
        ("cart_pole", "pole_length", [0.7, 0.15, 0.95, 0.35, 0.5]),
        ("lunar_lander", "leg_height", [8.8, 2.4, 15.2, 5.6]),
        ("mountain_car", "gravity", [0.004, 0.001, 0.002, 0.003]),
    ],
)
def test_the_first_component_orders_contexts_as_the_feature_does_that_it_was_never_told(env, feature, values):
    described = Experience(env, 20)([make_context(env, {feature: value}) for value in values])
    first = np.array([context["experience_0"] for context in described])
    order, expected = np.argsort(first), np.argsort(values)
    assert list(order) in (list(expected), list(expected[::-1]))


def test_the_same_context_experiences_the_same_whenever_it_is_asked():
    once, again = (random_episodes("cart_pole", {"pole_length": 0.8}, 3) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == (3, 4 * 4 + 2 + 2)  # observation and its change: mean and deviation; reward's; return, length
    assert len(np.unique(once[:, -1])) > 1  # episodes differ


def test_a_description_does_not_depend_on_the_order_of_contexts():
    contexts = [make_context("cart_pole", {"pole_length": length}) for length in (0.1, 0.4, 0.9)]
    experience = Experience("cart_pole", 10)
    forwards, backwards = experience(contexts), Experience("cart_pole", 10)(contexts[::-1])
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-9)


def test_statistics_are_those_of_the_episode():
    _, mean, deviation, reached, length = np.split(random_episodes("cart_pole", {}, 1)[0], [16, 17, 18, 19])
    assert (mean, deviation) == (1.0, 0.0)  # the cart-pole's reward is always 1
    assert reached == length


def test_contexts_that_do_not_differ_are_described_by_nothing(caplog):
    with caplog.at_level("WARNING", "metapbt"):
        assert Experience("cart_pole", 5)([Context({})] * 3) == [{}, {}, {}]
    assert "nothing that a random policy experiences tells these contexts apart" in caplog.text
    assert Experience("cart_pole", 5)([Context({})]) == [{}]


def test_differences_that_are_chance_do_not_count():
    from metapbt.memory.describe import _components

    rng = np.random.default_rng(0)
    counted = [_components(rng.standard_normal((6, 20, 30))).shape[1] > 0 for _ in range(100)]
    assert sum(counted) < 10  # 30 statistics, each counting by chance once in a thousand
    with_effect = rng.standard_normal((6, 20, 30)) + np.arange(6)[:, None, None] * (np.arange(30) == 7)
    (found,) = _components(with_effect).T
    assert list(np.argsort(found)) == list(range(6))


def test_mistakes_are_named():
    with pytest.raises(MetapbtError, match="meta.episodes must be an integer >= 2, got 1"):
        Experience("cart_pole", 1)
    with pytest.raises(MetapbtError, match="synthetic is a toy without a Gymnasium environment"):
        Experience("synthetic", 2)([Context({}), Context({})])


class Room(gymnasium.Env):
    """What is seen and how actions end depend on a category; observations are a dictionary."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, surface, slope=0.0, pixels=3):
        self.surface, self.slope = {"ice": 1.0, "sand": -1.0, "grass": 0.0}[surface], slope
        self.observation_space = gymnasium.spaces.Dict(
            {
                "where": gymnasium.spaces.Discrete(2),
                "picture": gymnasium.spaces.Box(-9, 9, (pixels, pixels, 3), np.float64),
            }
        )

    def see(self):
        shape = self.observation_space["picture"].shape
        return {"where": self.steps % 2, "picture": self.surface + self.np_random.random(shape)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        return self.see(), self.slope * action, self.steps == 10, False, {}


@pytest.fixture
def rooms(monkeypatch):
    monkeypatch.setattr("metapbt.memory.describe.make_env", lambda name, render_mode, **features: Room(**features))


@pytest.mark.parametrize("pixels", [3, 64])
def test_experience_tells_contexts_apart_that_differ_in_a_category_alone(rooms, pixels):
    surfaces = ("ice", "grass", "sand", "ice")
    contexts = [Context({"surface": surface, "slope": 0.5, "pixels": pixels}) for surface in surfaces]
    first = [description["experience_0"] for description in Experience("room", 4)(contexts)]
    assert first[0] == pytest.approx(first[3], abs=1e-9)
    assert sorted(first[:3]) in (first[:3], first[2::-1])
    assert len(random_episodes("room", contexts[0], 1)[0]) < 1100  # of pictures some numbers count


@pytest.mark.parametrize(
    ("shape", "parts", "channels"), [((64, 64, 3), 16, 3), ((3, 64, 64), 16, 3), ((10, 7), 16, 1), ((2, 2, 3), 4, 3)]
)
def test_a_picture_is_described_by_the_colours_and_textures_of_its_parts(shape, parts, channels):
    noise = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    assert cells(noise).shape == (2 * parts * channels,)
    assert 0 <= cells(noise).min() <= cells(noise).max() <= 1
    means, deviations = np.split(cells(np.full(shape, 51, np.uint8)), 2)
    np.testing.assert_allclose(means, 0.2)
    np.testing.assert_allclose(deviations, 0, atol=1e-12)


def test_a_channel_and_a_corner_are_told_apart():
    red_corner = np.zeros((64, 64, 3), np.uint8)
    red_corner[:16, :16, 0] = 255
    means, deviations = cells(red_corner).reshape(2, GRID, GRID, 3)
    assert means[0, 0].tolist() == [1, 0, 0]
    assert means.sum() == 1
    assert deviations.max() == 0


def test_observations_of_other_sizes_are_named(rooms):
    contexts = [Context({"surface": "ice", "pixels": pixels}) for pixels in (3, 4)]
    with pytest.raises(MetapbtError, match="observations differ in size"):
        Experience("room", 2)(contexts)


def test_categories_become_columns_of_which_one_is_1():
    contexts = [Context({"length": 0.5, "surface": surface}) for surface in ("ice", "sand", "ice", "grass")]
    described = by_features(contexts)
    assert described[0] == {"length": 0.5, "surface=grass": 0.0, "surface=ice": 1.0, "surface=sand": 0.0}
    numbers = np.array([list(description.values()) for description in described])
    gaps = np.linalg.norm(numbers[:, None] - numbers, axis=-1)
    assert gaps[0, 2] == 0
    assert gaps[0, 1] == gaps[0, 3] == gaps[1, 3] > 0


def test_a_category_that_no_source_has_is_not_covered():
    *sources, known, unknown = by_features([Context({"surface": s}) for s in ("ice", "sand", "ice", "grass")])
    none, nowhere = np.empty(0), np.empty((0, 1))
    tasks = Tasks(Samples(none, none, none, none, none, nowhere, nowhere, none.astype(int)), [], sources)
    assert tasks.coverage(known) == 1
    assert tasks.coverage(unknown) == UNSEEN
