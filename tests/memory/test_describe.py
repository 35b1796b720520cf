import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.memory.describe import Experience, random_episodes


@pytest.mark.parametrize(
    ("env", "feature", "values"),
    [
        ("cart_pole", "pole_length", [0.7, 0.15, 0.95, 0.35, 0.5]),
        ("lunar_lander", "leg_height", [8.8, 2.4, 15.2, 5.6]),
        ("mountain_car", "gravity", [0.004, 0.001, 0.002, 0.003]),
    ],
)
def test_the_first_component_orders_contexts_as_the_feature_does_that_it_was_never_told(env, feature, values):
    described = Experience(env, 20)([{feature: value} for value in values])
    first = np.array([context["experience_0"] for context in described])
    order, expected = np.argsort(first), np.argsort(values)
    assert list(order) in (list(expected), list(expected[::-1]))


def test_the_same_context_experiences_the_same_whenever_it_is_asked():
    once, again = (random_episodes("cart_pole", {"pole_length": 0.8}, 3) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == (3, 4 * 4 + 2 + 2)  # observation and its change: mean and deviation; reward's; return, length
    assert len(np.unique(once[:, -1])) > 1  # episodes differ


def test_a_description_does_not_depend_on_the_order_of_contexts():
    contexts = [{"pole_length": length} for length in (0.1, 0.4, 0.9)]
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
        assert Experience("cart_pole", 5)([{}, {}, {}]) == [{}, {}, {}]
    assert "nothing that a random policy experiences tells these contexts apart" in caplog.text
    assert Experience("cart_pole", 5)([{}]) == [{}]


def test_differences_that_are_chance_do_not_count():
    from metapbt.memory.describe import _components

    rng = np.random.default_rng(0)
    counted = [_components(rng.standard_normal((6, 20, 30))).shape[1] > 0 for _ in range(100)]
    assert sum(counted) < 10  # 30 statistics, each counting by chance once in a thousand
    with_effect = rng.standard_normal((6, 20, 30)) + np.arange(6)[:, None, None] * (np.arange(30) == 7)
    (found,) = _components(with_effect).T
    assert list(np.argsort(found)) == list(range(6))


def test_mistakes_are_named():
    with pytest.raises(MetapbtError, match="meta.episodes must be >= 2, got 1"):
        Experience("cart_pole", 1)
    with pytest.raises(MetapbtError, match="synthetic is a toy without a Gymnasium environment"):
        Experience("synthetic", 2)([{}, {}])
