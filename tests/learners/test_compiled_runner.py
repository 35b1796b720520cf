"""Where an environment compiles slowly, members of a search act in one program, and each network learns by its own."""

import itertools

import numpy as np
import pytest
from learner_intervals import interval, train
from test_jax_engine import GAMMA, N_ENVS, NAME, SCALE, SameEpisodes, SameNoise, differ, learner, point, prepared

from metapbt.envs.jax import make_jax_env
from metapbt.jax_backend import jax, jnp
from metapbt.learners.base import Assigned, Teacher
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo import compiled, compiled_evaluation
from metapbt.learners.ppo.acting import AnyPolicy
from metapbt.learners.ppo.compiled_runner import CompiledRunner
from metapbt.learners.ppo.jax_state import new_episodes
from metapbt.learners.ppo.learned import actor_of, initial
from metapbt.learners.ppo.network import ACTIVATIONS, Network
from metapbt.learners.ppo.rollout import Runner

__all__ = ["point"]  # the fixture that names the environment

CPU = jax.devices("cpu")[0]
#: All that a search may try: networks, and the sizes of a rollout and of a minibatch.
SEARCHED = [
    {"network.policy.width": 5, "network.policy.layers": 1, "n_steps": 25},
    {"network.policy.width": 70, "network.policy.activation": "silu", "n_steps": 10, "batch_size": 30},
]


def slow(monkeypatch, *arguments, **settings):
    """A learner whose environment counts as slow to compile."""
    one = learner(*arguments, **settings)
    monkeypatch.setattr(one._jax, "_slow", True)
    return one


@pytest.mark.parametrize("shared", [False, True])
def test_a_policy_of_any_network_acts_as_its_own(shared):
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(5, 3)).astype(np.float32)
    rooms, act = set(), jax.jit(lambda room, arrays: room.outputs_for(jnp, arrays, seen), static_argnums=0)
    shapes = [(5,), (64, 65), (130, 7, 130), (256,) * 8]
    for widths, (activation, continuous) in itertools.product(shapes, [(name, name > "leaky") for name in ACTIVATIONS]):
        value = (widths, activation) if shared else ((4,), "tanh")
        own = Network(3, 2, continuous, widths, value[0], activation, value[1], shared)
        vector = own.initial(rng) + 0.1 * rng.standard_normal(own.size).astype(np.float32)
        room = AnyPolicy.around(own)
        rooms.add(room)
        arrays = room.filled(own, own.split(vector))
        np.testing.assert_allclose(
            act(room, arrays), own.outputs_for(np, own.split(vector), seen), rtol=1e-4, atol=1e-5, err_msg=str(own)
        )
    assert len(rooms) == act._cache_size() == 2, "one for continuous actions, and one for others"
    assert AnyPolicy.around(Network(3, 2, False, (257,) * 9)).policy_widths == (512,) * 16


@pytest.mark.parametrize(
    ("name", "n_steps", "normalise"), [("cart_pole", 32, False), ("cart_pole", 25, True), (NAME, 27, True)]
)
def test_a_block_is_a_rollout_of_engine_python(name, n_steps, normalise):
    env = make_jax_env(name, {})
    program, member, plan = prepared(env, 32, normalise)
    network, learned = program.network, member.learned
    key = jax.random.fold_in(jax.random.key(3), 0)
    walk, given = jax.jit(compiled._begin, static_argnums=0)(program, member, plan, key)
    batch = SameEpisodes(env, given.fresh, (walk.episodes.state, walk.episodes.observation))

    def moments():
        return (ObservationNormaliser(network.inputs), RunningMoments(())) if normalise else (None, None)

    (observations, returns), (theirs_of, theirs_returns) = moments(), moments()
    one = CompiledRunner(env, CPU, new_episodes(env, N_ENVS), 3, observations, returns, GAMMA, SCALE)
    other = Runner(batch, None, None, theirs_of, theirs_returns, GAMMA, None, SCALE)
    mine = one.collect(actor_of(network, learned), n_steps, 32)
    theirs = other.collect(SameNoise(network, learned.parameters, given.noise), n_steps, 32)
    for name_of in ("observations", "actions", "rewards", "dones", "last_observations"):
        some, rest = getattr(mine, name_of), getattr(theirs, name_of)
        np.testing.assert_allclose(some, rest, atol=1e-5, rtol=1e-5, err_msg=name_of)
        assert (some.shape, some.dtype) == (rest.shape, rest.dtype)
    np.testing.assert_allclose(one.raw, other.raw, atol=1e-5)
    np.testing.assert_allclose(one.returns, other.returns, rtol=1e-5)
    assert one.returns, "an episode ended, so the case is worth something"
    if normalise:
        np.testing.assert_allclose(observations.moments.variance, theirs_of.moments.variance, rtol=1e-4)
        np.testing.assert_allclose(returns.mean, theirs_returns.mean, rtol=1e-4)
        assert returns.count == pytest.approx(theirs_returns.count)


def test_blocks_and_rollouts_go_on_from_one_another():
    # The point's observations are its state, so every step can be taken again.
    env, observations = make_jax_env(NAME, {"push": 2.0}), ObservationNormaliser(2)
    runner = CompiledRunner(env, CPU, new_episodes(env, N_ENVS), 3, observations, None, GAMMA, 1.0)
    network = Network(2, 1, True, (8,), (6,))
    actor = actor_of(network, initial(network, np.random.default_rng(0)))
    rollouts = [(runner.collect(actor, n_steps), runner.raw) for n_steps in (70, 5, 40)]
    raw = np.concatenate([seen for _, seen in rollouts])
    actions, rewards, dones = (
        np.concatenate([getattr(rollout, name) for rollout, _ in rollouts]) for name in ("actions", "rewards", "dones")
    )
    context = {"push": np.float32(2)}
    step = jax.jit(jax.vmap(jax.vmap(env.step, (0, 0, None)), (0, 0, None)))
    after, _, reward, terminated = step(raw, np.clip(actions, -0.5, 0.5), context)
    ages = np.zeros((115, N_ENVS), int)
    for t in range(1, 115):
        ages[t] = np.where(dones[t - 1], 0, ages[t - 1] + 1)
    np.testing.assert_array_equal(dones, np.asarray(terminated) | (ages == 12))
    np.testing.assert_allclose(raw[1:][~dones[:-1]], np.asarray(after)[:-1][~dones[:-1]], rtol=1e-5, atol=1e-6)
    assert (np.abs(raw[1:][dones[:-1]]) <= 0.5).all()
    cut = dones & ~np.asarray(terminated)
    np.testing.assert_allclose(rewards[~cut], np.asarray(reward)[~cut], rtol=1e-5)
    worth = (rewards - np.asarray(reward))[
        cut
    ] / GAMMA  # of what would have come after the cut, before the policy moved
    assert cut.any()
    assert (dones & ~cut).any()
    finals = np.asarray(after)[cut]
    np.testing.assert_allclose(worth, actor.values(observations(finals)), atol=0.2)  # its moments have moved a little
    noise = actions - np.concatenate(
        [actor.network.outputs_for(np, actor.parameters, rollout.observations) for rollout, _ in rollouts]
    )
    assert len(np.unique(noise)) == noise.size, "no block draws what another one drew"
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert len(runner.returns) == dones.sum()
    assert observations.moments.count == pytest.approx((115 + 1) * N_ENVS, abs=1)


@pytest.mark.slow
def test_a_search_compiles_little_but_updates(monkeypatch):
    compiled.advance.clear_cache()  # of what other tests compiled
    one = slow(monkeypatch, settings={"n_envs": 3})
    before = compiled.advance._cache_size()
    counted = []
    for chosen in SEARCHED:
        train(one, None, chosen)
        counted.append((compiled.take_steps._cache_size(), compiled_evaluation.evaluate._cache_size()))
    assert len(set(counted)) == 1
    assert compiled.advance._cache_size() == before
    teacher = Teacher(train(one, None, SEARCHED[0]).state, SEARCHED[0], steps=0, annealed_over=100)
    one.train(interval(SEARCHED[1]), None, teacher)
    assert (compiled.take_steps._cache_size(), compiled_evaluation.evaluate._cache_size()) == counted[-1]
    fixed = slow(monkeypatch, settings={"n_envs": 3})
    train(fixed, None, {"learning_rate": 1e-3})
    assert compiled.advance._cache_size() == before + 1, "what is fixed is one program with its environment"


def test_members_of_a_search_go_on_bit_by_bit_and_are_evaluated_as_they_are(monkeypatch):
    chosen = SEARCHED[0]
    settings = {"normalise_observations": True, "normalise_returns": True}
    one = slow(monkeypatch, NAME, settings)
    first = train(one, None, chosen, 100)
    again = slow(monkeypatch, NAME, settings)
    second, repeated = train(one, first, chosen, 100, seed=8), train(again, first, chosen, 100, seed=8)
    assert differ(second, repeated) == 0
    assert second.returns == repeated.returns
    assert second.env_steps == 200
    assert differ(second, train(one, first, chosen, 100, seed=9)) > 0
    assert one.train_many([Assigned(interval(chosen, 100, seed=8, start_steps=100), first.state)]) is None  # each alone
    policy, env = one.policy(second.state, chosen), make_jax_env(NAME, {})
    returns = []
    for place in range(2):
        state, seen = env.reset(jax.random.key(1 + place), {"push": 1.0})
        total, done, steps = 0.0, False, 0
        while not done and steps < env.max_episode_steps:
            state, seen, reward, done = env.step(state, policy.act(np.asarray(seen)), {"push": 1.0})
            total, steps = total + float(reward), steps + 1
        returns.append(total)
    assert second.eval_return == pytest.approx(np.mean(returns), rel=1e-4)


def test_students_of_a_search_learn_from_their_teacher(monkeypatch):
    one = slow(monkeypatch, settings={"normalise_observations": True})
    teacher = Teacher(train(one, None, SEARCHED[0], 200).state, SEARCHED[0], steps=0, annealed_over=400)
    asked = interval(SEARCHED[1], 120, seed=3)
    taught, untaught = one.train(asked, None, teacher), one.train(asked, None)
    assert differ(taught, untaught) > 1e-3
    assert taught.state["observations/count"] > untaught.state["observations/count"], "the teacher's were offered"
    one.distillation = type(one.distillation)(policy=0, value=0, offer_moments=False)
    assert differ(one.train(asked, None, teacher), untaught) == 0
