"""Environment steps a CPU second of PPO on one of Brax's bodies: ours beside Brax's own, and of populations.

    python benchmarks/brax_training.py                          # the hopper, on one pinned core
    python benchmarks/brax_training.py --body ant --repeats 5

Everyone trains the same agent: two layers of 64 tanh units for policy and value each, observations normalised, rollouts
of 128 environments x 20 steps, 4 epochs of 16 minibatches, episodes of 1000 steps, backend spring. Each rate comes from
a process of its own, pinned to one core, after a first part that is not counted (imports, compilation); the repeats of
all go round in turn, and the table shows medians. Seconds are the process's own, so that a busy machine counts little.

Peers (`pip install "metapbt[brax]" rejax`; those that are missing are left out):

- Brax's own PPO, `brax.training.agents.ppo`. Brax 0.14.2 calls `jax.device_put_replicated`, which JAX 0.10 has no more;
  `with_old_jax` gives it back.
- EvoRL's PBT-PPO cannot be installed: the package `evorl` on PyPI is another project. In its place stands rejax, whose
  PPO is made to be trained in one `vmap`, as EvoRL's is: 8 members, beside 8 of ours by `Learner.train_many`.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

N_ENVS, N_STEPS, EPOCHS, MINIBATCHES = 128, 20, 4, 16
ROLLOUT = N_ENVS * N_STEPS
MEMBERS = 8
EPISODE = 1000
RATE, GAMMA, LAMBDA, CLIP, ENTROPY = 3e-4, 0.97, 0.95, 0.2, 1e-3


def alone(body: str, rollouts: int) -> float:
    """Our environments, random actions: the limit of everybody."""
    from metapbt.envs.jax import make_jax_env
    from metapbt.jax_backend import jax

    env = make_jax_env(f"brax/{body}", {})

    @jax.jit
    def rollout(states: Any, key: Any) -> Any:
        shape = (N_STEPS, N_ENVS, *env.action_space.shape)
        actions = jax.random.uniform(key, shape, minval=-1, maxval=1)

        def step(states: Any, chosen: Any) -> Any:
            states, _, rewards, _ = jax.vmap(env.step, in_axes=(0, 0, None))(states, chosen, {})
            return states, rewards.sum()

        return jax.lax.scan(step, states, actions)

    states, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(jax.random.split(jax.random.key(0), N_ENVS), {})
    jax.block_until_ready(rollout(states, jax.random.key(0)))
    began = time.process_time()
    for i in range(rollouts):
        states, _ = rollout(states, jax.random.key(i))
    jax.block_until_ready(states)
    return rollouts * ROLLOUT / (time.process_time() - began)


def ppo(body: str, rollouts: int) -> float:
    """Our learner: an interval of training. Its evaluation is one episode, counted too."""
    return _trained(body, rollouts, 1)


def ppo_members(body: str, rollouts: int) -> float:
    """Eight members of ours in one call, each with hyperparameters of its own."""
    return _trained(body, rollouts, MEMBERS)


def _trained(body: str, rollouts: int, members: int) -> float:
    from metapbt.envs import make_context
    from metapbt.history import Budget, Interval, Ref
    from metapbt.learners import LearnerSpec
    from metapbt.learners.base import Assigned

    hyperparameters = {
        "n_steps": N_STEPS, "batch_size": ROLLOUT // MINIBATCHES, "n_epochs": EPOCHS, "gamma": GAMMA,
        "gae_lambda": LAMBDA, "ent_coef": ENTROPY, "learning_rate": RATE,
    }  # fmt: skip
    settings = {
        "n_envs": N_ENVS, "engine": "jax", "normalise_observations": True, "hyperparameters": hyperparameters,
    }  # fmt: skip
    steps = rollouts * ROLLOUT
    name = f"brax/{body}"
    learner = LearnerSpec("ppo", name, make_context(name), Budget(10 * steps, steps), settings).make()

    def jobs(generation: int, states: list[Any]) -> list[Assigned]:
        return [
            Assigned(
                Interval(
                    Ref(generation, m),
                    Ref(generation - 1, m) if generation else None,
                    None,
                    {"clip_range": CLIP * (1 + m / MEMBERS)},
                    generation * steps,
                    (generation + 1) * steps,
                    100 * generation + m,
                    m,
                    1,
                ),
                states[m],
                None,
            )
            for m in range(members)
        ]

    first = learner.train_many(jobs(0, [None] * members))
    began = time.process_time()
    learner.train_many(jobs(1, [training.state for training in first]))
    return members * steps / (time.process_time() - began)


def brax_ppo(body: str, rollouts: int) -> float:
    """Brax's own, without evaluations: the last of its three parts."""
    with_old_jax(_one_threaded_jax())
    from brax import envs
    from brax.training.agents.ppo import networks, train
    from flax import linen

    found: list[tuple[int, float]] = []  # steps so far, and CPU seconds
    train.train(
        environment=envs.get_environment(body, backend=_backend(body)),
        num_timesteps=3 * rollouts * ROLLOUT,
        num_envs=N_ENVS,
        unroll_length=N_STEPS,
        batch_size=N_ENVS // MINIBATCHES,
        num_minibatches=MINIBATCHES,
        num_updates_per_batch=EPOCHS,
        episode_length=EPISODE,
        learning_rate=RATE,
        discounting=GAMMA,
        gae_lambda=LAMBDA,
        clipping_epsilon=CLIP,
        entropy_cost=ENTROPY,
        normalize_observations=True,
        network_factory=functools.partial(
            networks.make_ppo_networks,
            policy_hidden_layer_sizes=(64, 64),
            value_hidden_layer_sizes=(64, 64),
            activation=linen.tanh,
        ),
        num_evals=4,
        run_evals=False,
        progress_fn=lambda steps, _: found.append((steps, time.process_time())),
    )
    (before, began), (after, ended) = found[-2:]
    return (after - before) / (ended - began)


def with_old_jax(jax: Any) -> None:
    """Give JAX back what Brax's PPO calls: a copy of a pytree for each device."""

    def device_put_replicated(tree: Any, devices: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * len(devices)), tree)

    jax.device_put_replicated = device_put_replicated


def rejax_members(body: str, rollouts: int) -> float:
    """Eight members of rejax's PPO in one ``vmap``, each with its own clip range: all share one optimiser."""
    jax = _one_threaded_jax()
    from brax import envs
    from rejax import PPO
    from rejax.compat.brax2gymnax import Brax2GymnaxEnv

    env = Brax2GymnaxEnv(envs.create(body, EPISODE, auto_reset=False, backend=_backend(body)))
    algorithm = PPO.create(
        env=env,
        num_envs=N_ENVS,
        num_steps=N_STEPS,
        num_epochs=EPOCHS,
        num_minibatches=MINIBATCHES,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        ent_coef=ENTROPY,
        learning_rate=RATE,
        normalize_observations=True,
        agent_kwargs={"activation": "tanh"},
    )
    clips = CLIP * (1 + jax.numpy.arange(MEMBERS) / MEMBERS)

    @jax.jit
    def some(states: Any) -> Any:
        def member(clip: Any, state: Any) -> Any:
            own = algorithm.replace(clip_eps=clip)
            return jax.lax.scan(lambda s, _: (own.train_iteration(s), None), state, None, rollouts)[0]

        return jax.vmap(member)(clips, states)

    states = jax.block_until_ready(some(jax.vmap(algorithm.init_state)(jax.random.split(jax.random.key(0), MEMBERS))))
    began = time.process_time()
    jax.block_until_ready(some(states))
    return MEMBERS * rollouts * ROLLOUT / (time.process_time() - began)


def _one_threaded_jax() -> Any:
    """JAX as metapbt sets it up, before anybody else imports it."""
    from metapbt.jax_backend import jax

    return jax


def _backend(body: str) -> str:
    return "generalized" if body == "swimmer" else "spring"


#: What is timed, with its name, a module that may be missing, and what stands beside it.
CONTESTANTS: dict[Callable[[str, int], float], tuple[str, str, Callable[[str, int], float]]] = {
    alone: ("environments alone", "brax", ppo),
    ppo: ("learner=ppo engine=jax", "brax", ppo),
    brax_ppo: ("Brax's PPO", "brax", ppo),
    ppo_members: (f"learner=ppo engine=jax, {MEMBERS} members", "brax", ppo_members),
    rejax_members: (f"rejax's PPO, {MEMBERS} members in one vmap", "rejax", ppo_members),
}


def timed(contestant: Callable[[str, int], float], body: str, rollouts: int, core: int) -> float | None:
    """The rate of one contestant in a process of its own; None, said on stderr, where it cannot run."""
    code = (
        f"import os, sys; os.sched_setaffinity(0, {{{core}}}); sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import brax_training as b; print('RATE', b.{contestant.__name__}({body!r}, {rollouts}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RATE"):
            return float(line.split()[1])
    print(f"{contestant.__name__} failed:\n{done.stderr[-3000:]}", file=sys.stderr)
    return None


def compare(body: str, rollouts: int, repeats: int, core: int) -> None:
    taking_part = [c for c, (_, module, _) in CONTESTANTS.items() if importlib.util.find_spec(module)]
    rates: dict[Callable[[str, int], float], list[float]] = {contestant: [] for contestant in taking_part}
    for _ in range(repeats):
        for contestant in taking_part:
            rate = timed(contestant, body, rollouts, core)
            if rate is not None:
                rates[contestant].append(rate)
    print(f"\n{body}, one core, medians of {repeats} (goals: ahead of Brax's PPO, at least 0.8 of the vmapped peer)\n")
    print("| what | steps/CPU s | ours is so many times as fast | repeats |")
    print("| --- | ---: | ---: | --- |")
    for contestant, (name, _, beside) in CONTESTANTS.items():
        values, ours = rates.get(contestant), rates.get(beside)
        if not values:
            print(f"| {name} | {'failed' if contestant in taking_part else 'not installed'} | | |")
            continue
        ratio = f"{statistics.median(ours) / statistics.median(values):.2f}" if ours else ""
        print(f"| {name} | {statistics.median(values):,.0f} | {ratio} | {' '.join(f'{v:,.0f}' for v in values)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--body", nargs="+", default=["hopper"], help="of metapbt's brax/... (hopper)")
    parser.add_argument("--rollouts", type=int, default=40, help=f"of {ROLLOUT} steps, that are timed (40)")
    parser.add_argument("--repeats", type=int, default=3, help="of each (3)")
    arguments = parser.parse_args()
    for body in arguments.body:
        compare(body, arguments.rollouts, arguments.repeats, max(os.sched_getaffinity(0)))


if __name__ == "__main__":
    main()
