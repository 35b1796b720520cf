"""Padded networks and padded rollouts: agents of many shapes share a program, and learn as each by itself."""

import itertools

import numpy as np
import pytest
from test_ppo_update import INPUTS, coefficients, random_rollout, random_samples

from metapbt.jax_backend import jax
from metapbt.learners.ppo.network import ACTIVATIONS, Actor, Network
from metapbt.learners.ppo.padding import PaddedNetwork, with_room
from metapbt.learners.ppo.update import Learned, Rollout, Sizes, loss, update


def small(continuous, policy=(8,), value=(12, 12), activations=("tanh", "tanh")):
    return Network(INPUTS, 2 if continuous else 3, continuous, policy, value, *activations)


def orders(size=48, places=48, rows=32):
    found, rng = np.zeros((rows, places), np.int32), np.random.default_rng(0)
    for row in found:
        row[:size] = rng.permutation(size)
    return found


def fresh(network, seed=1):
    rng = np.random.default_rng(seed)
    vector = network.initial(rng) + 0.2 * rng.standard_normal(network.size).astype(np.float32)
    moments = 1e-3 * rng.standard_normal((2, network.size)).astype(np.float32)
    return Learned(vector, moments[0], np.abs(moments[1]), np.int32(3))


def updated(network, learned, rollout, **changes):
    given = {"learning_rate": 3e-3, "ent_coef": 0.01, "clip_range_vf": 0.3, **changes}
    return update(
        learned, rollout, orders(), np.int32(3), coefficients(**given), network=network, batch_size=16,
        normalise_advantages=True,
    )[0]  # fmt: skip


def close(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def smallest_around(networks):
    """The smallest padded network that all of some networks fit into."""
    first = networks[0]
    policy, value = (
        (max(max(widths) for widths in several),) * max(len(widths) for widths in several)
        for several in ([n.policy_widths for n in networks], [n.value_widths for n in networks])
    )
    used = {name for n in networks for name in (n.policy_activation, n.value_activation)}
    activations = tuple(name for name in ACTIVATIONS if name in used)
    return PaddedNetwork(first.inputs, first.outputs, first.continuous, policy, value, activations=activations)


SHAPES = [
    small(False),
    small(False, (16, 16, 16), (4,)),
    small(False, (16, 16, 16), (16, 16)),
    small(False, (3, 7, 2), (5, 9)),
]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_exactly_zero_at_zero(activation):
    assert ACTIVATIONS[activation](np, np.zeros(3, np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_activations_and_their_slopes_are_finite_far_out(activation):
    slopes = jax.vmap(jax.grad(lambda x: ACTIVATIONS[activation](jax.numpy, x)))(np.float32([-1e4, -90, 0, 90, 1e4]))
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize(("continuous", "activation"), [(False, "tanh"), (True, "silu")])
def test_a_padded_agent_learns_as_by_itself_and_its_padding_stays_exactly_zero(continuous, activation):
    own = small(continuous, activations=(activation, activation))
    around = smallest_around([own, small(continuous, (16, 16, 16), (4,), (activation, activation))])
    assert (around.policy_widths, around.value_widths) == ((16, 16, 16), (12, 12))
    rollout, before = random_rollout(continuous, np.random.default_rng(0)), fresh(own)
    expected, padded = updated(own, before, rollout), updated(around, around.pad_learned(own, before), rollout)
    assert np.abs(expected.parameters - before.parameters).max() > 1e-3
    close(around.unpad_learned(own, padded), expected)
    # What remains where the agent's own parameters were: all zeros but for the marks of layers and activations.
    same(around.pad_learned(own, around.unpad_learned(own, padded)), padded)


@pytest.mark.parametrize(
    "own", [SHAPES[1], SHAPES[3]], ids=lambda network: f"{network.policy_widths}{network.value_widths}"
)
def test_every_shape_learns_by_one_program(own):
    around = smallest_around(SHAPES)
    rollout, before = random_rollout(False, np.random.default_rng(0)), fresh(own)
    padded = updated(around, around.pad_learned(own, before), rollout)
    close(around.unpad_learned(own, padded), updated(own, before, rollout))
    same(around.pad_learned(own, around.unpad_learned(own, padded)), padded)
    compiled = update._cache_size()
    for other in SHAPES:
        updated(around, around.pad_learned(other, fresh(other)), rollout)
    assert update._cache_size() == compiled


@pytest.mark.slow
def test_agents_with_different_networks_learn_in_one_vmap():
    activations = [("tanh", "relu"), ("silu", "tanh"), ("elu", "elu"), ("leaky_relu", "silu")]
    networks = [small(False, n.policy_widths, n.value_widths, a) for n, a in zip(SHAPES, activations, strict=True)]
    around = smallest_around(networks)
    assert set(around.activations) == set(ACTIVATIONS)
    rollouts = [random_rollout(False, np.random.default_rng(i)) for i in range(4)]
    agents = [fresh(network, i) for i, network in enumerate(networks)]
    padded = jax.tree.map(lambda *x: np.stack(x), *map(around.pad_learned, networks, agents))
    together = jax.vmap(lambda learned, rollout: updated(around, learned, rollout))(
        padded, jax.tree.map(lambda *x: np.stack(x), *rollouts)
    )
    for i, (network, agent, rollout) in enumerate(zip(networks, agents, rollouts, strict=True)):
        one = Learned(*(np.asarray(part[i]) for part in together))
        close(around.unpad_learned(network, one), updated(network, agent, rollout))
        same(around.pad_learned(network, around.unpad_learned(network, one)), one)


@pytest.mark.parametrize("continuous", [False, True])
def test_a_padded_agent_acts_as_by_itself(continuous):
    own = small(continuous, activations=("elu", "silu"))
    around = smallest_around([own, small(continuous, (16, 16, 16), (40,) * 4)])
    vector = fresh(own).parameters
    observations = np.random.default_rng(0).standard_normal((100, INPUTS)).astype(np.float32)
    one, other = Actor(own, vector), Actor(around, around.pad(own, vector))
    np.testing.assert_allclose(other.act(observations), one.act(observations), atol=1e-5)
    np.testing.assert_allclose(other.values(observations), one.values(observations), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused():
    wider = small(False, (9,))
    with pytest.raises(ValueError, match="does not fit"):
        smallest_around([small(False)]).pad(wider, np.zeros(wider.size))
    deeper = small(False, (8, 8))
    with pytest.raises(ValueError, match="does not fit"):
        smallest_around([small(False)]).pad(deeper, np.zeros(deeper.size))
    with pytest.raises(ValueError, match="must be the same"):
        Network(INPUTS, 3, False, (8,), (9,), shared=True)


def padded_rollout(rollout: Rollout, places: int, rng: np.random.Generator) -> Rollout:
    """A rollout with steps behind it that nobody took, full of numbers that nobody should look at."""
    extra = random_rollout(rollout.actions.ndim == 3, rng, places - len(rollout.rewards), rollout.rewards.shape[1])
    arrays = (np.concatenate([own, other]) for own, other in zip(rollout[:4], extra[:4], strict=True))
    return Rollout(*arrays, rollout.last_observations)


@pytest.mark.parametrize(("continuous", "batch_size"), [(False, 20), (False, 1), (True, 48)])
def test_rollouts_and_minibatches_with_room_to_spare_are_learned_from_as_without(continuous, batch_size):
    network, rng = small(continuous), np.random.default_rng(0)
    rollout, before = random_rollout(continuous, rng), fresh(network)
    given = coefficients(learning_rate=3e-3, ent_coef=0.01)
    exact, _ = update(
        before, rollout, orders(), np.int32(3), given, network=network, batch_size=batch_size, normalise_advantages=True
    )
    roomy, _ = update(
        before,
        padded_rollout(rollout, 32, rng),
        orders(places=64),
        np.int32(3),
        given,
        Sizes(np.int32(24), np.int32(batch_size)),
        network=network,
        batch_size=48,
        normalise_advantages=True,
    )
    assert exact.steps == roomy.steps == 3 + 3 * -(-48 // batch_size)
    close(roomy, exact)


def test_what_is_not_looked_at_makes_no_difference():
    network, before = small(False), fresh(small(False))
    rollout = random_rollout(False, np.random.default_rng(0))

    def learned(seed, fill):
        roomy = padded_rollout(rollout, 32, np.random.default_rng(seed))
        rows = orders(places=64)
        rows[:, 48:] = fill
        given = np.int32(3), coefficients(), Sizes(np.int32(24), np.int32(20))
        return update(before, roomy, rows, *given, network=network, batch_size=24, normalise_advantages=True)[0]

    same(learned(1, 0), learned(2, 0))
    same(learned(1, 0), learned(1, 63))


def test_padding_that_overflows_is_padding_all_the_same():
    network, samples = small(False), random_samples(False, np.random.default_rng(0))
    parameters = network.split(fresh(network).parameters)
    absurd = samples._replace(log_probs=np.where(np.arange(48) < 40, samples.log_probs, -1e4).astype(np.float32))
    shares = np.where(np.arange(48) < 40, 1 / 40, 0).astype(np.float32)
    given = network, absurd, coefficients(), True, shares
    (_, losses), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, *given)
    alone = network, jax.tree.map(lambda x: x[:40], samples), coefficients(), True
    (_, expected), expected_gradients = jax.value_and_grad(loss, has_aux=True)(parameters, *alone)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name, array in expected_gradients.items():
        np.testing.assert_allclose(gradients[name], array, rtol=1e-5, atol=1e-6)


def test_other_sizes_compile_nothing():
    network, before = small(False), fresh(small(False))
    roomy = padded_rollout(random_rollout(False, np.random.default_rng(0)), 32, np.random.default_rng(0))

    def learned(n_steps, batch_size):
        rows, sizes = orders(2 * n_steps, 64), Sizes(np.int32(n_steps), np.int32(batch_size))
        given = np.int32(1), coefficients(), sizes
        return update(before, roomy, rows, *given, network=network, batch_size=32, normalise_advantages=True)[0]

    first = learned(24, 16)
    compiled = update._cache_size()
    assert learned(32, 32).steps - learned(17, 32).steps == 0
    assert learned(32, 5).steps - first.steps == 13 - 3
    assert update._cache_size() == compiled


def test_all_activations_share_programs():
    def roomy(policy, value):
        return with_room(Network(3, 2, True, (16,), (8, 8), policy, value))

    pairs = list(itertools.product(ACTIVATIONS, ACTIVATIONS))
    assert len({roomy(*pair) for pair in pairs}) == 2
    for policy, value in pairs:
        own = Network(3, 2, True, (16,), (8, 8), policy, value)
        vector = own.initial(np.random.default_rng(0))
        seen = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
        padded = roomy(policy, value)
        arrays = padded.split(padded.pad(own, vector))
        for mine, theirs in (
            (own.outputs_for(np, own.split(vector), seen), padded.outputs_for(np, arrays, seen)),
            (own.values_for(np, own.split(vector), seen), padded.values_for(np, arrays, seen)),
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
