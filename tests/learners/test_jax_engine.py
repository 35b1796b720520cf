"""``engine=jax``: compiled rollouts are those of ``engine=python``, and members that train together lose nothing."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from gymnasium import spaces
from learner_intervals import interval, made, train

from metapbt.envs import Environment, Feature
from metapbt.envs.batches import BatchStep
from metapbt.envs.jax import JAX_ENVIRONMENTS, make_jax_env
from metapbt.errors import MetapbtError
from metapbt.jax_backend import jax, jnp
from metapbt.learners.base import Assigned, Teacher, Training
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo import PPOLearner, compiled
from metapbt.learners.ppo.hyperparameters import HYPERPARAMETERS
from metapbt.learners.ppo.jax_state import moments_from, new_episodes
from metapbt.learners.ppo.learned import initial
from metapbt.learners.ppo.moments import Moments
from metapbt.learners.ppo.network import Actor, Network
from metapbt.learners.ppo.rollout import Runner
from metapbt.learners.ppo.teaching import Distillation, Teaching
from metapbt.learners.ppo.update import Coefficients, Sizes, update

N_ENVS, GAMMA, SCALE = 4, 0.9, 0.5
COEFFICIENTS = Coefficients(1e-3, 0.2, 0.3, 0.95, GAMMA, 0.01, 0.5, 0.5, np.inf)


@dataclass(frozen=True)
class Point:
    """A point on a line that is pushed: continuous actions, and episodes of 13 steps unless it leaves [-1, 1]."""

    context: dict = field(compare=False)
    observation_size = 2
    action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)
    max_episode_steps = 13

    def reset(self, key, context):
        state = jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)
        return state, state

    def step(self, state, action, context):
        speed = state[1] + context["push"] * action[0]
        after = jnp.stack([state[0] + 0.1 * speed, speed])
        return after, after, 1 - after[0] ** 2 + action[0], jnp.abs(after[0]) > 1


POINT = Environment("point", (Feature("push", "1", 1.0, 0.1, 10.0),), build=lambda context, mode: None)
NAME = f"{__name__}:POINT"


@pytest.fixture(autouse=True)
def point(monkeypatch):
    monkeypatch.setitem(JAX_ENVIRONMENTS, NAME, f"{__name__}:make_point")


def make_point(name, context):
    return Point(dict(context))


class SameEpisodes:
    """A batch for ``engine=python`` that steps an environment of JAX and begins the compiled one's episodes."""

    def __init__(self, env, fresh, first):
        self.num_envs, self.action_space = N_ENVS, env.action_space
        self._env, self._fresh, self._first, self._time = env, fresh, first, 0

    def reset(self, seeds, under_way=None):
        self._states, observations = self._first
        self._age = np.zeros(N_ENVS, int)
        return np.array(observations)

    def step(self, actions):
        env = self._env
        self._states, final, rewards, terminated = jax.vmap(env.step, (0, 0, None))(self._states, actions, env.context)
        self._age += 1
        truncated = self._age >= env.max_episode_steps
        ended = np.asarray(terminated) | truncated
        fresh, new = jax.tree.map(lambda drawn: drawn[self._time // 8], self._fresh)
        observations = np.where(ended[:, None], new, final)
        self._states = jax.tree.map(
            lambda new, old: np.where(ended.reshape(-1, *[1] * (old.ndim - 1)), new, old), fresh, self._states
        )
        self._age[ended] = 0
        self._time += 1
        return BatchStep(
            observations, np.array(rewards, np.float64), np.asarray(terminated), truncated, np.asarray(final)
        )

    def under_way(self):
        return {}


class SameNoise(Actor):
    def __init__(self, network, vector, noise):
        super().__init__(network, vector)
        self._noise = noise

    def noise(self, rng, *shape):
        scale = self.std if self.network.continuous else 1  # there it is applied beforehand
        return np.asarray(self._noise[: shape[0]]) / scale


def prepared(env, n_steps, normalise):
    """A program with places for 32 steps, of which a member takes ``n_steps``; the member; and its plan."""
    discrete = isinstance(env.action_space, spaces.Discrete)
    network = Network(env.observation_size, 2 if discrete else 1, not discrete, (8,), (6, 5))
    program = compiled.Program(env, network, N_ENVS, 32, 16, n_steps == 32, True, False)
    observations = moments_from(None, "observations", (env.observation_size,)) if normalise else None
    returns = moments_from(None, "returns", ()) if normalise else None
    learned = initial(network, np.random.default_rng(0))
    member = compiled.Member(learned, observations, returns, new_episodes(env, N_ENVS))
    context = {name: np.float32(value) for name, value in env.context.items()}
    sizes = Sizes(np.int32(n_steps), np.int32(16))
    coefficients = Coefficients(*map(np.float32, COEFFICIENTS))
    rates = coefficients._replace(learning_rate=np.full(1, 1e-3, np.float32))
    numbers = (np.int32(3), np.int32(0), np.int32(1), np.int32(2))
    return program, member, compiled.Plan(context, *numbers, sizes, rates, np.float32(SCALE), None)


collect = jax.jit(compiled.collect, static_argnums=0, compiler_options=compiled.OPTIONS)


def alone(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)


@pytest.mark.parametrize(
    ("name", "n_steps", "normalise"),
    [("cart_pole", 32, False), ("cart_pole", 25, True), (NAME, 32, True), (NAME, 25, False)],
)
def test_rollouts_and_updates_are_those_of_engine_python(name, n_steps, normalise):
    env = make_jax_env(name, {})
    program, member, plan = prepared(env, n_steps, normalise)
    network, learned = program.network, member.learned
    keys = jax.random.split(jax.random.key(7), 1)
    after, rollout, _, ended = collect(program, alone(member), alone(plan), keys)
    walk, given = jax.jit(compiled._begin, static_argnums=0)(program, member, plan, keys[0])

    observations, returns = ObservationNormaliser(network.inputs), RunningMoments(())
    batch = SameEpisodes(env, given.fresh, (walk.episodes.state, walk.episodes.observation))
    which = (observations, returns) if normalise else (None, None)
    runner = Runner(batch, None, None, *which, GAMMA, None, SCALE)
    expected = runner.collect(SameNoise(network, learned.parameters, given.noise), n_steps, 32)

    for name_of in ("observations", "actions", "rewards", "dones"):
        mine, theirs = (np.asarray(getattr(each, name_of)) for each in (rollout, expected))
        np.testing.assert_allclose(mine[0, :n_steps], theirs[:n_steps], atol=1e-5, rtol=1e-5, err_msg=name_of)
    np.testing.assert_allclose(rollout.last_observations[0], expected.last_observations, atol=1e-5)
    np.testing.assert_allclose(ended.returns[:, 0][ended.done[:, 0]], runner.returns, rtol=1e-5)
    assert runner.returns, "an episode ended, so the case is worth something"
    if normalise:
        np.testing.assert_allclose(after.observations.variance[0], observations.moments.variance, rtol=1e-4)
        np.testing.assert_allclose(after.returns.mean[0], returns.mean, rtol=1e-4)

    key = jax.random.key(5)
    size = n_steps * N_ENVS
    orders = np.stack([compiled._order(jax.random.fold_in(key, epoch), size, 32 * N_ENVS) for epoch in range(2)])
    assert [sorted(order[:size]) for order in orders.tolist()] == [list(range(size))] * 2
    coefficients = Coefficients(*map(np.float32, COEFFICIENTS))
    rollout = jax.tree.map(lambda leaf: leaf[0], rollout)
    one = compiled._Update(learned, None, rollout, None, jax.random.key_data(key), compiled._of_rollout(0, plan))
    mine = jax.jit(compiled._learn, static_argnums=0)(program, one)
    theirs, _ = update(
        learned,
        expected,
        orders.astype(np.int32),
        np.int32(2),
        coefficients,
        plan.sizes,
        network=network,
        batch_size=16,
        normalise_advantages=True,
    )
    np.testing.assert_allclose(mine.parameters, theirs.parameters, atol=1e-5)


def learner(env="cart_pole", settings=None, **fixed):
    fixed = {"n_steps": 25, "batch_size": 20, "n_epochs": 2, **fixed}
    chosen = {"n_envs": N_ENVS, "engine": "jax", "network": SMALL, "hyperparameters": fixed, **(settings or {})}
    return made(PPOLearner, env, chosen, context=chosen.pop("context", None), budget=1000, length=100)


SMALL = {"policy": {"width": 8, "layers": 1}, "value": {"width": 8, "layers": 1}}


def differ(some: Training, other: Training) -> float:
    return max(
        float(np.abs(some.state[name].astype(float) - other.state[name].astype(float)).max()) for name in some.state
    )


CHANGED = {
    "learning_rate": 1e-2,
    "n_steps": 20,
    "batch_size": 10,
    "n_epochs": 3,
    "gamma": 0.5,
    "gae_lambda": 0.5,
    "clip_range": 0.001,
    "clip_range_vf": 0.001,
    "ent_coef": 0.5,
    "vf_coef": 2.0,
    "max_grad_norm": 0.01,
    "target_kl": 1e-9,
    "reward_scale": 0.1,
}


def test_every_hyperparameter_matters():
    assert CHANGED.keys() == HYPERPARAMETERS.keys()
    one = learner()
    usual = train(one, None, {"learning_rate": 3e-2}, 100)
    for name, value in CHANGED.items():
        other = train(one, None, {"learning_rate": 3e-2, name: value}, 100)
        assert other.state["policy/0/kernel"].tolist() != usual.state["policy/0/kernel"].tolist(), name


JOBS = [
    {},
    {"learning_rate": 1e-2, "gamma": 0.9, "n_epochs": 5},
    {"n_steps": 20, "batch_size": 17},
    {"n_epochs": 1, "target_kl": 1e-3},
    {"network.policy.width": 5, "network.policy.activation": "relu", "network.value.layers": 2},
]


@pytest.mark.slow  # in brief: tests/execution/test_vectorised.py
@pytest.mark.parametrize(("env", "side_by_side"), [("cart_pole", False), (NAME, True)])
def test_members_that_train_together_get_what_each_gets_alone(env, side_by_side, monkeypatch):
    one = learner(env, {"normalise_observations": True, "normalise_returns": True})
    monkeypatch.setattr(one._jax, "_side_by_side", side_by_side)
    starts = [None, *(train(one, None, {}, 100, seed=9) for _ in range(3)), None]
    jobs = [
        Assigned(interval(each, 100, seed=place), start and start.state)
        for place, (each, start) in enumerate(zip(JOBS, starts, strict=True))
    ]
    together = one.train_many(jobs)
    for job, found in zip(jobs, together, strict=True):
        single = one.train(job.interval, job.start)
        assert differ(found, single) < 1e-5
        assert found.env_steps == single.env_steps
        assert found.returns == pytest.approx(single.returns, rel=1e-5)
        assert found.eval_return == pytest.approx(single.eval_return, rel=1e-5)


@pytest.mark.slow
def test_students_with_one_teacher_learn_from_it_together_as_each_does_alone():
    one = learner(settings={"normalise_observations": True, "normalise_returns": True})
    taught_by = {"network.policy.width": 6, "network.value.layers": 2, "reward_scale": 0.5}
    teacher = Teacher(train(one, None, taught_by, 300).state, taught_by, steps=100, annealed_over=400)
    jobs = [Assigned(interval({"learning_rate": rate}, 200, seed=3), None, teacher) for rate in (1e-3, 1e-2)]
    together = one.train_many(jobs)
    for job, found in zip(jobs, together, strict=True):
        single = one.train(job.interval, None, teacher)
        untaught = one.train(job.interval, None)
        assert differ(found, single) < 1e-5
        assert not np.array_equal(found.state["policy/0/kernel"], untaught.state["policy/0/kernel"])
        assert found.state["observations/count"] > untaught.state["observations/count"], "the teacher's were offered"


@pytest.mark.parametrize("normalise", [False, True])
def test_what_a_teacher_says_is_what_it_says_with_engine_python(normalise):
    env = make_jax_env("cart_pole", {})
    program, member, plan = prepared(env, 25, normalise)
    teachers = Network(4, 2, False, (7,), (5,), "relu", "silu")
    vector = initial(teachers, np.random.default_rng(1)).parameters
    moments = (
        Moments(np.float32([0.1, 0.2, 0, 0]), np.float32([0.1, 0.2, 0.3, 2]), np.float32(50)) if normalise else None
    )
    taught = compiled.Taught(vector, moments, np.float32(0.3), np.float32([2.0]), np.float32([0.7]))
    program, plan = replace(program, teacher=teachers), plan._replace(taught=taught)
    after, rollout, raw, _ = collect(program, alone(member), alone(plan), jax.random.split(jax.random.key(7), 1))
    first = jax.tree.map(lambda leaf: leaf[0], (after.returns, rollout, raw))
    update_of = compiled._Update(member.learned, *first, None, compiled._of_rollout(0, plan))
    mine = jax.jit(compiled._lesson, static_argnums=0)(program, update_of)

    observations = ObservationNormaliser(4)
    unit = SCALE
    if normalise:
        observations.moments.mean, observations.moments.variance = moments.mean, moments.variance
        unit = SCALE / np.sqrt(after.returns.variance[0] + 1e-8)
    teacher = Teacher({}, {}, steps=0, annealed_over=1)
    teaching = Teaching(
        teacher, Distillation(2.0, 0.7, 1.0, 1.0), Actor(teachers, vector), observations if normalise else None, 0.3
    )
    theirs = teaching.lesson(np.asarray(raw[0, :25]), 32, unit, 0)
    np.testing.assert_allclose(mine.outputs[:25], theirs.outputs[:25], atol=1e-5)
    np.testing.assert_allclose(mine.values[:25], theirs.values[:25], atol=1e-5, rtol=1e-4)
    assert (mine.policy_weight, mine.value_weight) == (theirs.policy_weight, theirs.value_weight)


@pytest.mark.slow
def test_networks_of_a_search_share_programs_on_a_gpu(monkeypatch):
    searched = [{"network.policy.width": width, "network.policy.layers": layers} for width, layers in [(5, 1), (8, 3)]]
    monkeypatch.setattr("metapbt.learners.ppo.jax_engine._TOGETHER", 3)
    own = [train(learner(), None, each, 100, seed=5) for each in searched]
    one = learner()
    monkeypatch.setattr(one._jax, "_side_by_side", True)
    compiled.advance.clear_cache()  # of what other tests compiled
    compiled_before = compiled.advance._cache_size()
    alone = [train(one, None, each, 100, seed=5) for each in searched]
    together = one.train_many([Assigned(interval(each, 100, seed=5), None) for each in [*searched, *searched]])
    assert compiled.advance._cache_size() == compiled_before + 1, "three side by side, of which some idle"
    for place, (mine, padded, chosen) in enumerate(zip(own, alone, searched, strict=True)):
        for other in (padded, together[place], together[place + 2]):
            assert differ(mine, other) < 1e-5
        assert one.evaluate(padded.state, chosen, 1, 2) == padded.eval_return


def test_other_numbers_of_members_compile_little():
    compiled.advance.clear_cache()  # of what other tests compiled
    one = learner()
    counted = []
    for members in (1, 2, 3):
        jobs = [Assigned(interval({}, 100, seed=seed), None) for seed in range(members)]
        before = compiled.advance._cache_size()
        found = one.train_many(jobs)
        assert len({each.state["policy/0/kernel"].tobytes() for each in found}) == members, "each its own"
        counted.append(compiled.advance._cache_size() - before)
    assert counted == [1, 1, 0]


def test_a_member_that_cannot_be_trained_leaves_the_others_alone():
    one = learner()
    misfit = {name: array for name, array in train(one).state.items() if name != "value/0/bias"}
    found = one.train_many(
        [
            Assigned(interval({}, 100), misfit),
            Assigned(interval({}, 100), None),
            Assigned(interval({"clip_range": -1}, 100), None),
        ]
    )
    assert isinstance(found[0], MetapbtError)
    assert "does not fit" in str(found[0])
    assert isinstance(found[2], MetapbtError)
    assert differ(found[1], train(one, None, {}, 100)) == 0


def test_a_member_that_diverges_leaves_the_others_alone():
    one = learner()
    broken = {name: array * np.nan if name.startswith("policy") else array for name, array in train(one).state.items()}
    start = train(one).state
    _, found = one.train_many([Assigned(interval({}), broken), Assigned(interval({}), start)])
    assert differ(found, one.train(interval({}), start)) < 1e-5


def test_members_whose_call_fails_are_trained_alone(monkeypatch):
    # As when a device's memory is too small for all of them.
    one, advance = learner(), compiled.advance
    alone = train(one)

    def too_many(program, most, members, plans):
        if len(plans.rollouts) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED")
        return advance(program, most, members, plans)

    monkeypatch.setattr("metapbt.learners.ppo.jax_engine.advance", too_many)
    found = one.train_many([Assigned(interval({}), None), Assigned(interval({}), None)])
    assert [differ(each, alone) for each in found] == [0, 0]


def test_every_step_is_in_an_episode_that_ended_or_goes_on():
    one, training, counted = learner(), None, 0
    for place in range(4):
        training = train(one, training, {}, 100, seed=place)
        counted += sum(training.returns)  # a step's reward is 1
        assert counted + training.state["episodes/age"].sum() == training.env_steps == 100 * (place + 1)


def test_a_long_interval_is_one_of_many_calls(monkeypatch):
    one = learner()
    whole = train(one, None, {}, 700)
    monkeypatch.setattr("metapbt.learners.ppo.jax_engine._MOST_ROLLOUTS", 3)
    parts = train(one, None, {}, 700)
    assert differ(whole, parts) == 0
    assert whole.returns == parts.returns


def test_the_evaluation_is_of_the_most_likely_actions_on_its_own_seeds():
    one = learner(NAME, {"normalise_observations": True, "context": {"push": 3.0}})
    training = train(one, None, {}, 100, evaluation_seed=2**30 + 5, episodes=19)
    policy, env = one.policy(training.state, {}), make_jax_env(NAME, {"push": 3.0})
    returns = []
    for place in range(19):
        state, seen = env.reset(jax.random.key(2**30 + 5 + place), env.context)
        total, done, steps = 0.0, False, 0
        while not done and steps < env.max_episode_steps:
            state, seen, reward, done = env.step(state, policy.act(np.asarray(seen)), env.context)
            total, steps = total + float(reward), steps + 1
        returns.append(total)
    assert training.eval_return == pytest.approx(np.mean(returns), rel=1e-4)
    assert one.evaluate(training.state, {}, 2**30 + 5, 19) == training.eval_return
    assert one.evaluate(training.state, {}, 2**32 + 2**30 + 5, 19) == training.eval_return  # any whole number is a seed


def test_sampled_evaluation_draws_actions_as_engine_python_does():
    """Not the same draws, but from the same policy: the means of many episodes agree."""
    state = train(learner(), None, {}, 200).state
    returns = {
        engine: {
            sampled: learner(settings={"engine": engine, "sampled_evaluation": sampled}).evaluate(state, {}, 7, 512)
            for sampled in (True, False)
        }
        for engine in ("jax", "python")
    }
    again = learner(settings={"sampled_evaluation": True})
    assert again.evaluate(state, {}, 7, 512) == returns["jax"][True]
    assert returns["jax"][True] == pytest.approx(returns["python"][True], rel=0.1)
    assert abs(returns["jax"][True] - returns["jax"][False]) > 0.3 * returns["jax"][False]


def test_another_context_compiles_nothing_but_matters():
    usual = train(learner(), None, {}, 100)
    compiled_before = compiled.advance._cache_size()
    other = train(learner(settings={"context": {"pole_length": 0.1}}), None, {}, 100)
    assert compiled.advance._cache_size() == compiled_before
    assert np.mean(other.returns) < np.mean(usual.returns)


def test_the_learning_rate_falls_with_every_rollout():
    annealed, constant = (learner(settings={"anneal_learning_rate": each}) for each in (True, False))
    first, other = train(annealed, None, {}, 100), train(constant, None, {}, 100)
    assert differ(first, other) == 0, "of the first rollout it is whole"
    last, before = train(annealed, None, {}, 1100, start_steps=0), train(annealed, None, {}, 1000, start_steps=0)
    assert np.array_equal(last.state["policy/0/kernel"], before.state["policy/0/kernel"])


def test_it_learns():
    steps = 80_000  # after half as many processors differ: on some 400 are not reached yet
    one = made(PPOLearner, "cart_pole", {"engine": "jax"}, budget=steps, length=steps)
    training = train(one, None, {"n_epochs": 4}, steps, evaluation_seed=2**30, episodes=20)
    assert training.eval_return > 400


def test_checkpoints_that_do_not_fit_are_refused():
    one, two = learner(), learner(settings={"n_envs": 3})
    state = train(one).state
    with pytest.raises(MetapbtError, match="episodes of 4 environments, but learner.n_envs=3"):
        two.train(interval({}), state)
    from_python = train(learner(settings={"engine": "python"})).state
    with pytest.raises(MetapbtError, match="cannot go on with learner.engine=jax: they have no state/position"):
        one.train(interval({}), from_python)
    with pytest.raises(MetapbtError, match="lacks 'observations/mean'"):
        learner(settings={"normalise_observations": True}).train(interval({}), state)


def test_what_there_is_not_is_named():
    with pytest.raises(MetapbtError, match="unknown learner.engine 'jaxx'; did you mean 'jax'"):
        learner(settings={"engine": "jaxx"})
    with pytest.raises(MetapbtError, match="engine=jax steps .*cart_pole, mountain_car.*got 'lunar_lander'"):
        learner("lunar_lander")
    with pytest.raises(MetapbtError, match="unknown learner.device 'tpu'"):
        learner(settings={"device": "tpu"})


@pytest.mark.skipif(any(device.platform == "gpu" for device in jax.devices()), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named_and_auto_takes_the_cpu():
    with pytest.raises(MetapbtError, match="learner.device=gpu: JAX finds no GPU"):
        learner(settings={"device": "gpu"})
    assert learner(settings={"device": "auto"})._jax._device.platform == "cpu"
