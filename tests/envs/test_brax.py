"""Brax's bodies: Brax's own where nothing is changed, changed where a context says so, and a view of them."""

import pickle

import gymnasium
import numpy as np
import pytest
from env_trajectories import trajectory
from gymnasium.utils.env_checker import check_env

import metapbt
from metapbt.envs import get_environment, make_context, make_env
from metapbt.envs.batches import make_batch, why_anew
from metapbt.envs.bodies import LIMBS
from metapbt.envs.jax import make_jax_env
from metapbt.errors import MetapbtError
from metapbt.history import Budget
from metapbt.jax_backend import jax, jnp
from metapbt.learners.ppo import PPOLearner

pytestmark = pytest.mark.brax
pytest.importorskip("brax")

#: Those that compile in seconds; the others take up to a minute each (make test-brax SLOW=1).
QUICK = ("hopper", "reacher", "inverted_pendulum", "inverted_double_pendulum")
BODIES = [pytest.param(body, marks=() if body in QUICK else pytest.mark.slow) for body in LIMBS]
#: Whole numbers and words choose another program; all other features are numbers that it gets.
CHOICES = ("action_repeat", "backend")


def brax_env(body, backend):
    from brax import envs

    return envs.get_environment(body, backend=backend)


def same_episodes(body, backend, steps):
    """Assert that Brax's own environment and ours show the same bits for the same key and actions.

    Both are asked for the same: XLA rounds a reward differently where metrics are asked for, too.
    """
    theirs, ours = brax_env(body, backend), make_jax_env(f"brax/{body}", {"backend": backend})
    assert theirs.action_size == ours.action_space.shape[0]
    begin = jax.jit(lambda key: theirs.reset(key).replace(metrics={}))
    step = jax.jit(lambda state, action: theirs.step(state, action).replace(metrics={}))
    our_step = jax.jit(ours.step)
    rng = np.random.default_rng(0)
    state = begin(jax.random.PRNGKey(3))
    pipeline, observation = jax.jit(ours.reset)(jax.random.key(3), ours.context)
    assert observation.shape == (ours.observation_size,)
    for _ in range(steps):
        np.testing.assert_array_equal(observation, state.obs)
        action = rng.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        state = step(state, action)
        pipeline, observation, reward, terminated = our_step(pipeline, action, ours.context)
        assert (float(reward), float(terminated)) == (float(state.reward), float(state.done))


@pytest.mark.parametrize("body", BODIES)
def test_the_default_is_braxs_own_bit_by_bit(body):
    same_episodes(body, "generalized" if body == "swimmer" else "spring", 100)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["positional", "generalized", "mjx"])
def test_so_it_is_with_every_backend(backend):
    same_episodes("inverted_pendulum", backend, 20)


def numbers(body, backend):
    """The features that count with a backend, which are all traced at once here."""

    def counts(feature):
        try:
            return make_jax_env(f"brax/{body}", {feature.name: feature.high, "backend": backend})
        except MetapbtError:
            return None

    return [f for f in get_environment(f"brax/{body}").features if f.name not in CHOICES and counts(f)]


def in_contexts(env, contexts, steps):
    """What the same random episode shows in each context, (contexts, steps, size): one program for all."""
    actions = jax.random.uniform(jax.random.key(1), (steps, *env.action_space.shape), minval=-1, maxval=1)

    def episode(context):
        def step(state, action):
            state, observation, reward, _ = env.step(state, action, context)
            return state, jnp.append(observation, reward)

        return jax.lax.scan(step, env.reset(jax.random.key(0), context)[0], actions)[1]

    stacked = {name: jnp.array([context[name] for context in contexts], jnp.float32) for name in contexts[0]}
    return np.asarray(jax.jit(jax.vmap(episode))(stacked))


@pytest.mark.parametrize("body", BODIES)
def test_every_feature_counts_and_works_at_both_ends_of_its_range(body):
    backend = "generalized" if body == "swimmer" else "spring"
    features = numbers(body, backend)
    default = {feature.name: feature.default for feature in features}
    ends = [(f.name, end) for f in features for end in (f.low, f.high) if end != f.default]
    shown = in_contexts(
        make_jax_env(f"brax/{body}", {"backend": backend}), [default, *({**default, n: v} for n, v in ends)], 200
    )
    assert np.isfinite(shown).all()
    assert [end for end, one in zip(ends, shown[1:], strict=True) if np.array_equal(one, shown[0])] == []
    assert {f.name for f in get_environment(f"brax/{body}").features} >= {name for name, _ in ends}


def test_heavier_parts_fall_alike_and_obey_less():
    # Without actuators a free fall does not depend on mass; with them, acceleration goes with the inverse of it.
    env = make_jax_env("brax/inverted_pendulum", {})
    light, heavy = (dict.fromkeys(("mass", "joint_strength"), 1.0) | {"mass": mass} for mass in (1.0, 4.0))

    def speed(context, action):
        state, _ = env.reset(jax.random.key(0), context)
        return env.step(state, jnp.full(1, action), context)[1][2]

    pushed = [jax.jit(speed)(c, 1.0) - jax.jit(speed)(c, -1.0) for c in (light, heavy)]
    assert pushed[0] / pushed[1] == pytest.approx(4, rel=0.05)
    assert jax.jit(speed)({**light, "joint_strength": 2.0}, 1.0) > 1.9 * jax.jit(speed)(light, 1.0)


def test_contexts_that_change_the_same_features_share_a_program():
    one, other = (make_jax_env("brax/hopper", {"gravity": gravity}) for gravity in (-5.0, -7.0))
    assert (one, hash(one)) == (other, hash(other))
    assert (one.context, other.context) == ({"gravity": -5.0}, {"gravity": -7.0})
    assert make_jax_env("brax/hopper", {}).context == {}
    assert make_jax_env("brax/hopper", {"action_repeat": 2}) != make_jax_env("brax/hopper", {})


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (
            {"armature": 2.0},
            "brax/hopper.armature does not count with backend=spring: "
            "choose context.backend=generalized or context.backend=mjx",
        ),
        (
            {"elasticity": 0.5, "backend": "mjx"},
            "brax/hopper.elasticity does not count with backend=mjx: "
            "choose context.backend=spring or context.backend=positional",
        ),
    ],
)
def test_a_feature_that_would_not_count_is_refused(context, line):
    with pytest.raises(MetapbtError) as error:
        make_env("brax/hopper", **context)
    assert str(error.value) == line


def test_actions_are_repeated_as_braxs_wrapper_does():
    from brax.envs.wrappers.training import EpisodeWrapper

    theirs = EpisodeWrapper(brax_env("inverted_pendulum", "spring"), 1000, 3)
    ours = make_jax_env("brax/inverted_pendulum", {"action_repeat": 3})
    assert ours.max_episode_steps == 334
    step, our_step = jax.jit(theirs.step), jax.jit(ours.step)
    state = jax.jit(theirs.reset)(jax.random.PRNGKey(3))
    pipeline, _ = ours.reset(jax.random.key(3), ours.context)
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 1)).astype(np.float32):
        state = step(state, action)
        pipeline, observation, reward, terminated = our_step(pipeline, action, ours.context)
        np.testing.assert_allclose(observation, state.obs, rtol=1e-5)
        assert (float(reward), float(terminated)) == (float(state.reward), float(state.done))


# ---- through Gymnasium


def test_gymnasium_sees_an_environment_of_its_own():
    env = make_env("brax/inverted_pendulum", gravity=-5.0)
    check_env(env.unwrapped, skip_render_check=True)
    assert trajectory(env, 0, 50) == trajectory(make_env("brax/inverted_pendulum", gravity=-5.0), 0, 50)
    assert trajectory(pickle.loads(pickle.dumps(env)), 0, 50) == trajectory(env, 0, 50)
    assert trajectory(make_env("brax/inverted_pendulum"), 0, 50) != trajectory(env, 0, 50)
    metapbt.register_envs()
    by_id = gymnasium.make("metapbt/BraxInvertedPendulum-v0", gravity=-5.0)
    assert trajectory(by_id, 0, 50) == trajectory(env, 0, 50)


def test_episodes_end_as_braxs():
    env = make_env("brax/inverted_pendulum", gravity=-5.0)
    observation, terminated = env.reset(seed=0)[0], False
    while not terminated:
        assert abs(observation[1]) <= 0.2
        observation, reward, terminated, truncated, _ = env.step(np.ones(1, np.float32))
        assert (reward, truncated) == (1, False)
    assert abs(observation[1]) > 0.2
    env.reset(seed=0)
    env.unwrapped._steps = 998  # nobody holds a pole for so long by chance
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(2)] == [False, True]


def test_episodes_go_on():
    assert why_anew("brax/inverted_pendulum", {"gravity": -5.0}) is None
    batch, again = (make_batch("brax/inverted_pendulum", {"gravity": -5.0}, num_envs=2) for _ in range(2))
    batch.reset(lambda place, count: 10 * place + count)
    actions = np.random.default_rng(0).uniform(-0.1, 0.1, (20, 2, 1)).astype(np.float32)
    for action in actions[:10]:
        batch.step(action)
    again.reset(lambda place, count: 500, batch.under_way())
    for action in actions[10:15]:
        one, other = batch.step(action), again.step(action)
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_observations_of_bodies_are_normalised_unless_one_says_otherwise():
    def normalises(env, **settings):
        return PPOLearner(env, make_context(env), Budget(100, 100), settings).normalise_observations

    assert normalises("brax/inverted_pendulum")
    assert not normalises("brax/inverted_pendulum", normalise_observations=False)
    assert not normalises("cart_pole")
    with pytest.raises(MetapbtError, match="normalise_observations must be true or false, got 'x'"):
        normalises("cart_pole", normalise_observations="x")


@pytest.mark.parametrize("learner", ["ppo", "sb3"])
def test_a_body_is_trained_by_every_learner(learner, tmp_path):
    own = {
        "ppo": ["learner.hyperparameters.batch_size=64", "learner.n_envs=2"],
        "sb3": ["learner=sb3", "space=a2c", "learner.algorithm=A2C", "learner.n_envs=2"],
    }
    run = metapbt.run([
        "env=brax/inverted_pendulum", "context.gravity=-5", "population.size=2", "budget.steps=512",
        "budget.interval=256", "evaluation.episodes=1", "evaluation.test_episodes=1", "executor=inline",
        *own[learner], f"results_dir={tmp_path}",
    ])  # fmt: skip
    assert run.path.relative_to(tmp_path).as_posix() == "brax-inverted_pendulum/gravity=-5/pb2/seed_0"
    assert (run.records["train_return"] >= 1).all()
