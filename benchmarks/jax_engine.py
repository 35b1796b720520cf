"""Environment steps a CPU-second of PPO on the cart-pole: engine=jax, engine=python and a JAX-native peer, on one core.

    python benchmarks/jax_engine.py                       # 1, 3 and 10 epochs
    python benchmarks/jax_engine.py --peers DIR           # where `pip install --target DIR` put the peer
    python benchmarks/jax_engine.py --population          # 8 members: executor=vectorised against executor=inline

The peer is rejax 0.1.3 on gymnax 0.0.9 (whole training in one jitted call, as purejaxrl's PPO). With jax 0.10 it needs
a nightly package of a dependency: `pip install --no-deps --target DIR gymnax==0.0.9 rejax==0.1.3 flax optax chex
absl-py distrax toolz msgpack orbax-checkpoint treescope tfp-nightly dm-tree etils wrapt decorator cloudpickle six`.

Everyone trains the same agent: two layers of 64 tanh units for policy and value each, 16 environments x 128 steps,
minibatches of 64. Each rate comes from a process of its own with one thread, pinned to one core, after a first part
that is not counted (imports, compilation). Contestants take turns; the ratio is that of the medians. Time is that of
the process, so that others on the machine count as little as possible. Ours ends in an evaluation of one episode, which
counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

N_ENVS, N_STEPS, MINIBATCH = 16, 128, 64
ROLLOUT = N_ENVS * N_STEPS
MEMBERS = 8


def ours(engine: str, epochs: int, rollouts: int) -> float:
    """Our learner: one interval."""
    from metapbt.envs import make_context
    from metapbt.history import Budget, Interval, Ref
    from metapbt.learners import LearnerSpec

    fixed = {"n_steps": N_STEPS, "batch_size": MINIBATCH, "n_epochs": epochs}
    settings = {"n_envs": N_ENVS, "engine": engine, "device": "cpu", "hyperparameters": fixed}
    steps = rollouts * ROLLOUT
    learner = LearnerSpec("ppo", "cart_pole", make_context("cart_pole"), Budget(10**9, steps), settings).make()
    state = learner.train(Interval(Ref(0, 0), None, None, {}, 0, ROLLOUT, 0, 0, 1), None).state
    began = time.process_time()
    learner.train(Interval(Ref(1, 0), Ref(0, 0), None, {}, ROLLOUT, ROLLOUT + steps, 1, 0, 1), state)
    return steps / (time.process_time() - began)


def rejax(engine: str, epochs: int, rollouts: int) -> float:
    """The peer, without its evaluations."""
    import jax
    from rejax import PPO

    algorithm = PPO.create(
        env="CartPole-v1",
        agent_kwargs={"activation": "tanh"},
        total_timesteps=rollouts * ROLLOUT,
        eval_freq=rollouts * ROLLOUT,
        skip_initial_evaluation=True,
        num_envs=N_ENVS,
        num_steps=N_STEPS,
        num_epochs=epochs,
        num_minibatches=ROLLOUT // MINIBATCH,
        learning_rate=3e-4,
    ).replace(eval_callback=lambda algorithm, state, key: ())
    train = jax.jit(lambda key: algorithm.train(key)[0])
    jax.block_until_ready(train(jax.random.PRNGKey(0)))
    began = time.process_time()
    jax.block_until_ready(train(jax.random.PRNGKey(1)))
    return rollouts * ROLLOUT / (time.process_time() - began)


def population(executor: str, epochs: int, rollouts: int) -> float:
    """Eight members through an executor, with loading, evaluation of 10 episodes, and saving."""
    import tempfile

    import numpy as np

    from metapbt.envs import make_context
    from metapbt.execution import make_executor
    from metapbt.execution.base import Job
    from metapbt.history import Budget, Interval, Ref
    from metapbt.learners import LearnerSpec

    fixed = {"n_steps": N_STEPS, "batch_size": MINIBATCH, "n_epochs": epochs}
    settings = {"n_envs": N_ENVS, "engine": "jax", "device": "cpu", "hyperparameters": fixed}
    steps = rollouts * ROLLOUT
    spec = LearnerSpec("ppo", "cart_pole", make_context("cart_pole"), Budget(10**9, steps), settings)
    made = make_executor(executor, spec)
    rates = np.geomspace(1e-4, 1e-3, MEMBERS)
    with tempfile.TemporaryDirectory() as folder:
        for generation in range(2):  # the first compiles
            began = time.process_time()
            jobs = []
            for member in range(MEMBERS):
                start = Path(folder, f"{generation - 1}_{member}.npz") if generation else None
                interval = Interval(
                    Ref(generation, member),
                    None,
                    None,
                    {"learning_rate": float(rates[member])},
                    generation * steps,
                    (generation + 1) * steps,
                    member,
                    2**30,
                    10,
                )
                jobs.append(Job(interval, start, Path(folder, f"{generation}_{member}.npz")))
            made.submit(jobs)
            for _ in jobs:
                _, outcome = made.next()
                assert outcome.env_steps == (generation + 1) * steps, outcome
    return MEMBERS * steps / (time.process_time() - began)


#: What is timed: a function, its first argument, and what to call it.
CONTESTANTS = {
    "engine=jax": (ours, "jax"),
    "engine=python": (ours, "python"),
    "rejax": (rejax, ""),
    "executor=vectorised": (population, "vectorised"),
    "executor=inline": (population, "inline"),
}


def timed(name: str, epochs: int, rollouts: int, core: int, peers: str | None) -> float:
    """The rate of one contestant in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--epochs", str(epochs), "--rollouts", str(rollouts)]
    threads = {
        "JAX_PLATFORMS": "cpu",
        "PJRT_NPROC": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "OMP_NUM_THREADS": "1",
    }
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    if peers and name == "rejax":
        paths.append(peers)
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--peers", help="folder with rejax, where it is not installed")
    parser.add_argument("--population", action="store_true")
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        function, first = CONTESTANTS[chosen.only]
        print(function(first, chosen.epochs[0], chosen.rollouts))
        return
    names = (
        ["executor=vectorised", "executor=inline"] if chosen.population else ["engine=jax", "engine=python", "rejax"]
    )
    baseline = names[-1]
    print(f"steps a CPU-second, medians of {chosen.repeats}; the last column: the first against {baseline}")
    print("epochs", *names, "ratio", sep=" | ")
    for epochs in chosen.epochs:
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(chosen.repeats):
            for name in names:
                rates[name].append(timed(name, epochs, chosen.rollouts, chosen.core, chosen.peers))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        ratio = medians[names[0]] / medians[baseline]
        print(epochs, *(f"{medians[name]:,.0f}" for name in names), f"{ratio:.2f}", sep=" | ", flush=True)
        print("   each:", {name: [round(rate) for rate in found] for name, found in rates.items()}, flush=True)


if __name__ == "__main__":
    main()
