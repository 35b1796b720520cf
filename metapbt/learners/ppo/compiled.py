"""Environments, rollouts and updates of several members in one compiled call.

Everything here is pure, and every array of a member has the members as its first dimension. What differs between the
members of one program is data: hyperparameters, contexts, seeds, how many rollouts. Actions are drawn side by side
(``jax.vmap``); updates too on a GPU, and one after another on a CPU, where members with fewer epochs would only wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from metapbt.envs.jax import JaxEnv
from metapbt.jax_backend import jax, jnp
from metapbt.learners.intervals import environment_actions
from metapbt.learners.normalise import LARGEST
from metapbt.learners.ppo.distillation import Lesson
from metapbt.learners.ppo.moments import Moments, deviation, normalised, seen
from metapbt.learners.ppo.network import Network
from metapbt.learners.ppo.update import Coefficients, Learned, Rollout, Sizes, learn, policy_and_values

Array = Any

#: For XLA: compiles in two thirds of the time that its highest level takes, for programs that are as fast.
OPTIONS: dict[str, bool | str] = {"xla_backend_optimization_level": "2"}

#: First states are drawn for so many steps at a time, for it would cost too much to draw those of every step: one whose
#: episodes are shorter may begin two of them alike.
_STEPS_BETWEEN = 8


@dataclass(frozen=True)
class Program:
    """What is compiled in: members that differ in anything else share a program.

    Attributes:
        env: the environment, in any context.
        network: the network.
        n_envs: environments stepped side by side.
        time: places for the steps of each in a rollout.
        batch_size: places for the samples of a minibatch.
        full: whether all of these are taken, and minibatches divide a rollout.
        normalise_advantages: within each minibatch.
        side_by_side: whether members are updated side by side.
        teacher: the network of the members' teachers; None for members without.
        learns: whether members learn in it; where they do so elsewhere, a teacher may speak there.
    """

    env: JaxEnv
    network: Network
    n_envs: int
    time: int
    batch_size: int
    full: bool
    normalise_advantages: bool
    side_by_side: bool
    teacher: Network | None = None
    learns: bool = True


class Episodes(NamedTuple):
    """The episodes under way, with the environments as the next dimension."""

    state: Any  # of the environments, a pytree
    observation: Array  # (envs, inputs): to act on next, as the environment gave it
    age: Array  # (envs,): steps since they began; -1 for one that is to begin
    returns: Array  # (envs,): so far, in the environment's own rewards
    discounted: Array  # (envs,): the same, discounted, with the last reward counting most


class Member(NamedTuple):
    """All that a member carries from rollout to rollout."""

    learned: Learned
    observations: Moments | None  # where they are normalised
    returns: Moments | None
    episodes: Episodes


class Taught(NamedTuple):
    """A member's frozen teacher."""

    parameters: Array  # (size,), of its network
    observations: Moments | None  # that normalise what it sees
    unit: Array  # what it made of a reward of 1
    policy_weight: Array  # (rollouts,), as in ``Lesson``
    value_weight: Array  # (rollouts,), the same


class Plan(NamedTuple):
    """What a member does in one call."""

    context: Any  # numbers of the environment's context
    seed: Array  # of everything random in the interval
    first: Array  # which rollout of the interval comes first
    rollouts: Array  # how many of them to make
    n_epochs: Array
    sizes: Sizes
    coefficients: Coefficients  # with a learning rate for each rollout of the call
    reward_scale: Array  # of the rewards that are learned from
    taught: Taught | None


class Ended(NamedTuple):
    """Which steps ended an episode, and the returns so far."""

    done: Array
    returns: Array


class Walk(NamedTuple):
    """What changes with every step of a rollout."""

    episodes: Episodes
    last: Array  # (envs, inputs): what the policy sees next
    observations: Moments | None
    returns: Moments | None
    cut: Array  # (slots, envs, inputs): what was seen last in episodes that the time limit cut short


class _Given(NamedTuple):
    """What stays in a rollout."""

    parameters: dict[str, Array]
    plan: Plan
    noise: Array  # (time, envs, outputs)
    fresh: tuple[Any, Array]  # first states and their observations, each (blocks, envs, ...)


class Step(NamedTuple):
    """What is kept of a step, each (envs, ...)."""

    raw: Array | None  # observations as the environment gave them, where a teacher needs them
    observations: Array
    outputs: Array
    actions: Array
    rewards: Array
    done: Array
    cut: Array
    returns: Array


@partial(jax.jit, static_argnames=("program", "most"), compiler_options=OPTIONS)
def advance(program: Program, most: int, members: Member, plans: Plan) -> tuple[Member, Ended]:
    """Make as many rollouts as each member's plan says, at most ``most``, and learn from each.

    Returns:
        The members after them, and which episodes ended: (rollouts, time, members, envs).
    """
    count = len(plans.rollouts)
    shape = most, program.time, count, program.n_envs
    ended = Ended(jnp.zeros(shape, jnp.bool_), jnp.zeros(shape))

    def once(carry: tuple[Array, Member, Ended]) -> tuple[Array, Member, Ended]:
        index, members, ended = carry
        keys = jax.vmap(lambda plan: jax.random.fold_in(jax.random.key(plan.seed), plan.first + index))(plans)
        of_rollout, of_orders = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        after, rollouts, raw, now = collect(program, members, plans, of_rollout)
        under_way = index < plans.rollouts
        updates = _Update(
            after.learned,
            after.returns,
            rollouts,
            raw,
            jax.random.key_data(of_orders),
            jax.vmap(partial(_of_rollout, index))(plans)._replace(n_epochs=jnp.where(under_way, plans.n_epochs, 0)),
        )
        each = partial(_learn, program)
        learned = jax.vmap(each)(updates) if program.side_by_side else jax.lax.map(each, updates)
        members = jax.tree.map(partial(_where, under_way), after._replace(learned=learned), members)
        return index + 1, members, _put_in(ended, now, index)

    last = plans.rollouts.max()
    _, members, ended = jax.lax.while_loop(lambda carry: carry[0] < last, once, (jnp.int32(0), members, ended))
    return members, ended


def collect(program: Program, members: Member, plans: Plan, keys: Array) -> tuple[Member, Rollout, Array | None, Ended]:
    """Take the steps of one rollout in every environment of every member.

    Returns:
        The members; their rollouts; the observations of these as the environments gave them, where a teacher needs
        them; and which episodes ended, (time, members, envs).
    """
    walks, given = jax.vmap(partial(_begin, program))(members, plans, keys)
    each = jax.vmap(partial(_step, program), (0, 0, None))
    kept = jax.eval_shape(each, walks, given, jnp.int32(0))[1]
    steps: Step = jax.tree.map(lambda one: jnp.zeros((program.time, *one.shape), one.dtype), kept)

    def step(t: Array, carry: tuple[Walk, Step]) -> tuple[Walk, Step]:
        walks, steps = carry
        after, now = each(walks, given, t)
        if not program.full:
            after = jax.tree.map(partial(_where, t < plans.sizes.n_steps), after, walks)
        return after, _put_in(steps, now, t)

    taken = program.time if program.full else plans.sizes.n_steps.max()
    walks, steps = jax.lax.fori_loop(0, taken, step, (walks, steps))
    rollouts = jax.vmap(partial(_rollout, program), (0, 0, 1))(walks, given, steps)
    members = members._replace(episodes=walks.episodes, observations=walks.observations, returns=walks.returns)
    done = steps.done
    if not program.full:  # members whose rollouts are shorter have waited
        done &= (jnp.arange(program.time)[:, None] < plans.sizes.n_steps)[..., None]
    raw = None if steps.raw is None else jnp.moveaxis(steps.raw, 1, 0)
    return members, rollouts, raw, Ended(done, steps.returns)


@partial(jax.jit, static_argnames="program", compiler_options=OPTIONS)
def take_steps(program: Program, member: Member, plan: Plan) -> tuple[Walk, Step]:
    """Take ``plan.sizes.n_steps`` steps, at most ``program.time``, in every environment of one member; learn nothing.

    Returns:
        Where the environments are then, and what is kept of each step, (time, envs, ...).
    """
    walk, given = _begin(program, member, plan, jax.random.fold_in(jax.random.key(plan.seed), plan.first))
    kept = jax.eval_shape(partial(_step, program), walk, given, jnp.int32(0))[1]
    steps: Step = jax.tree.map(lambda one: jnp.zeros((program.time, *one.shape), one.dtype), kept)

    def once(t: Array, carry: tuple[Walk, Step]) -> tuple[Walk, Step]:
        walk, now = _step(program, carry[0], given, t)
        return walk, _put_in(carry[1], now, t)

    return jax.lax.fori_loop(0, plan.sizes.n_steps, once, (walk, steps))


def _begin(program: Program, member: Member, plan: Plan, key: Array) -> tuple[Walk, _Given]:
    """Draw what is random in a rollout, and begin the episodes that are to begin."""
    env, network, n_envs = program.env, program.network, program.n_envs
    parameters = network.split(member.learned.parameters)
    of_noise, of_resets = jax.random.split(key)
    draw = jax.random.normal if network.continuous else jax.random.gumbel
    noise = draw(of_noise, (program.time, n_envs, network.outputs))
    if network.continuous:
        noise *= jnp.exp(parameters["log_std"])
    blocks = 1 + -(-program.time // _STEPS_BETWEEN)
    reset = jax.vmap(jax.vmap(env.reset, (0, None)), (0, None))
    (new, new_observation), fresh = _first_and_rest(reset(jax.random.split(of_resets, (blocks, n_envs)), plan.context))

    episodes, moments = member.episodes, member.observations
    begins = episodes.age < 0
    observation = _where(begins, new_observation, episodes.observation)
    state = jax.tree.map(partial(_where, begins), new, episodes.state)
    episodes = episodes._replace(state=state, observation=observation, age=jnp.maximum(episodes.age, 0))
    if moments is not None:  # others have been seen already
        moments = jax.tree.map(partial(jnp.where, begins.any()), seen(moments, observation), moments)
    last = observation if moments is None else normalised(moments, observation)
    cut = jnp.zeros((_slots(program), *last.shape))
    return Walk(episodes, last, moments, member.returns, cut), _Given(parameters, plan, noise, fresh)


def _step(program: Program, walk: Walk, given: _Given, t: Array) -> tuple[Walk, Step]:
    """One step in every environment; where it ends an episode, the next one begins."""
    env, network, plan, episodes = program.env, program.network, given.plan, walk.episodes
    outputs = network.outputs_for(jnp, given.parameters, walk.last)
    actions = outputs + given.noise[t]
    if not network.continuous:
        actions = actions.argmax(axis=1)
    to_env = environment_actions(env.action_space, jnp)
    state, final, reward, terminated = jax.vmap(env.step, (0, 0, None))(episodes.state, to_env(actions), plan.context)
    age = episodes.age + 1
    cut = ~terminated & (age >= env.max_episode_steps)
    done = terminated | cut
    new_state, new_observation = jax.tree.map(lambda drawn: drawn[t // _STEPS_BETWEEN], given.fresh)
    state = jax.tree.map(partial(_where, done), new_state, state)
    observation = last = _where(done, new_observation, final)
    moments = walk.observations
    if moments is not None:
        moments = seen(moments, observation)
        last, final = normalised(moments, observation), normalised(moments, final)
    slot = t // env.max_episode_steps
    finals = walk.cut.at[slot].set(_where(cut, final, walk.cut[slot]))

    returns, discounted, rewards, of_returns = episodes.returns + reward, episodes.discounted, reward, walk.returns
    if of_returns is not None:
        discounted = discounted * plan.coefficients.gamma + reward
        of_returns = seen(of_returns, discounted)
        rewards = jnp.clip(reward / deviation(of_returns), -LARGEST, LARGEST)
        discounted = jnp.where(done, 0, discounted)
    rewards *= plan.reward_scale
    episodes = Episodes(state, observation, jnp.where(done, 0, age), jnp.where(done, 0, returns), discounted)
    raw = None if program.learns and program.teacher is None else walk.episodes.observation
    kept = Step(raw, walk.last, outputs, actions, rewards, done, cut, returns)
    return Walk(episodes, last, moments, of_returns, finals), kept


def _rollout(program: Program, walk: Walk, given: _Given, steps: Step) -> Rollout:
    """A rollout to learn from. An episode cut short by the clock would have gone on: the value of the rest is added."""
    network, slots = program.network, _slots(program)
    finals = walk.cut.reshape(-1, network.inputs)
    values = network.values_for(jnp, given.parameters, finals).reshape(slots, program.n_envs)
    rest = values[jnp.arange(program.time) // program.env.max_episode_steps]
    rewards = steps.rewards + jnp.where(steps.cut, given.plan.coefficients.gamma * rest, 0)
    return Rollout(steps.observations, steps.actions, rewards, steps.done, walk.last, steps.outputs)


class _Update(NamedTuple):
    """All that a member needs to learn from a rollout."""

    learned: Learned
    returns: Moments | None
    rollout: Rollout
    raw: Array | None
    key: Array  # as numbers
    plan: Plan  # of this rollout alone


def _of_rollout(index: Array, plan: Plan) -> Plan:
    """A plan with what it says of one rollout instead of what it says of each."""
    coefficients = plan.coefficients._replace(learning_rate=plan.coefficients.learning_rate[index])
    taught = plan.taught
    if taught is not None:
        policy_weight, value_weight = taught.policy_weight[index], taught.value_weight[index]
        taught = taught._replace(policy_weight=policy_weight, value_weight=value_weight)
    return plan._replace(coefficients=coefficients, taught=taught)


def _learn(program: Program, update: _Update) -> Learned:
    key, plan, places = jax.random.wrap_key_data(update.key), update.plan, program.time * program.n_envs
    size = places if program.full else plan.sizes.n_steps * program.n_envs
    return learn(
        update.learned,
        update.rollout,
        lambda epoch: _order(jax.random.fold_in(key, epoch), size, places),
        plan.n_epochs,
        plan.coefficients,
        None if program.full else plan.sizes,
        _lesson(program, update),
        network=program.network,
        batch_size=program.batch_size,
        normalise_advantages=program.normalise_advantages,
    )[0]


def _lesson(program: Program, update: _Update) -> Lesson | None:
    """What the teacher says of a rollout; its values in units of the student's rewards."""
    network, taught = program.teacher, update.plan.taught
    if network is None or taught is None or update.raw is None:
        return None
    seen = update.raw if taught.observations is None else normalised(taught.observations, update.raw)
    parameters, shape = network.split(taught.parameters), update.rollout.rewards.shape
    outputs, values = policy_and_values(network, parameters, seen.reshape(-1, network.inputs))
    unit = update.plan.reward_scale / (1 if update.returns is None else deviation(update.returns))
    return Lesson(
        outputs.reshape(*shape, -1),
        values.reshape(shape) * (unit / taught.unit),
        parameters.get("log_std", jnp.zeros(network.outputs)),
        taught.policy_weight,
        taught.value_weight,
    )


def _order(key: Array, size: Any, places: int) -> Array:
    """(places,), of which the first ``size`` are a permutation of 0, ..., size - 1.

    XLA's sort of single words is several times faster on a CPU than that of pairs, so words are sorted whose low bits
    are the numbers themselves. Where too few bits are left for chance, pairs are.
    """
    bits, numbers = (places - 1).bit_length(), jnp.arange(places, dtype=jnp.uint32)
    words = jax.random.bits(key, (places,))
    if bits > 16:
        return jnp.argsort(jnp.where(numbers < size, words >> 1, jnp.uint32(2**31)))
    # The highest bit puts what does not count behind all that does.
    words = (words << bits & jnp.uint32(2**31 - 1)) | numbers | (numbers >= size).astype(jnp.uint32) << 31
    return jnp.sort(words) & jnp.uint32((1 << bits) - 1)


def _slots(program: Program) -> int:
    """How often, at most, a time limit cuts episodes of one environment short in a rollout."""
    return -(-program.time // program.env.max_episode_steps)


def _put_in(every: Any, one: Any, index: Array) -> Any:
    """Arrays (time, ...) with one more (...) at an index."""
    return jax.tree.map(lambda all, now: jax.lax.dynamic_update_index_in_dim(all, now, index, 0), every, one)


def _first_and_rest(tree: Any) -> tuple[Any, Any]:
    return jax.tree.map(lambda x: x[0], tree), jax.tree.map(lambda x: x[1:], tree)


def _where(which: Array, yes: Array, no: Array) -> Array:
    """``jnp.where`` for (n,) and arrays (n, ...)."""
    return jnp.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
