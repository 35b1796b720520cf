"""Environment steps a second of PPO: the environment alone, ppo, and its peers, on one pinned core.

    python benchmarks/training.py                       # the lander and the cart-pole
    python benchmarks/training.py --env lunar_lander --repeats 5

Everyone trains the same agent: two layers of 64 tanh units for policy and value each, rollouts of 16 environments x 128
steps, 10 epochs of minibatches of 64. Each rate comes from a process of its own, pinned to one core, after a first part
that is not counted (imports, compilation); the repeats of all go round in turn, and the table shows medians. RLlib and
SBX are left out where they are not installed (`pip install "ray[rllib]"`; SBX needs a nightly package).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

N_ENVS, N_STEPS, EPOCHS, MINIBATCH = 16, 128, 10, 64
ROLLOUT = N_ENVS * N_STEPS
GYM_IDS = {"lunar_lander": "LunarLander-v3", "cart_pole": "CartPole-v1"}
#: Goals of the project for ppo: steps a second, and how many times a peer's.
GOALS = {"lunar_lander": 26_000, "cart_pole": 60_000}


def bare(env: str, steps: int) -> float:
    """Gymnasium's own environment without wrappers, random actions: the limit of a loop over Gymnasium."""
    import gymnasium
    import numpy as np

    bare = gymnasium.make(GYM_IDS[env]).unwrapped
    bare.reset(seed=0)
    actions = np.random.default_rng(0).integers(bare.action_space.n, size=steps)
    began = time.perf_counter()
    for action in actions:
        _, _, terminated, _, _ = bare.step(action)
        if terminated:
            bare.reset()
    return steps / (time.perf_counter() - began)


def batch(env: str, steps: int) -> float:
    """Our batch of 16 environments, random actions."""
    import numpy as np

    from metapbt.envs.batches import make_batch
    from metapbt.seeding import episode_seed

    envs = make_batch(env, {}, N_ENVS)
    envs.reset(partial(episode_seed, 0))
    actions = np.random.default_rng(0).integers(envs.action_space.n, size=(steps // N_ENVS, N_ENVS))
    began = time.perf_counter()
    for chosen in actions:
        envs.step(chosen)
    return len(actions) * N_ENVS / (time.perf_counter() - began)


def ppo(env: str, steps: int) -> float:
    """Our learner: an interval of training. Its evaluation is one episode, counted too."""
    from metapbt.envs import make_context
    from metapbt.history import Budget, Interval, Ref
    from metapbt.learners import LearnerSpec

    hyperparameters = {"n_steps": N_STEPS, "batch_size": MINIBATCH, "n_epochs": EPOCHS}
    settings = {"n_envs": N_ENVS, "hyperparameters": hyperparameters}
    learner = LearnerSpec("ppo", env, make_context(env), Budget(10**6, steps), settings).make()
    state = learner.train(Interval(Ref(0, 0), None, None, {}, 0, ROLLOUT, 0, 0, 1), None).state
    began = time.perf_counter()
    learner.train(Interval(Ref(1, 0), Ref(0, 0), None, {}, ROLLOUT, ROLLOUT + steps, 1, 0, 1), state)
    return steps / (time.perf_counter() - began)


def stable_baselines3(env: str, steps: int) -> float:
    """Stable-Baselines3's PPO with its own vector environment."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    envs = make_vec_env(GYM_IDS[env], N_ENVS, seed=0)
    model = PPO("MlpPolicy", envs, n_steps=N_STEPS, batch_size=MINIBATCH, n_epochs=EPOCHS, device="cpu", seed=0)
    model.learn(ROLLOUT)
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return steps / (time.perf_counter() - began)


def sbx(env: str, steps: int) -> float:
    """SBX: Stable-Baselines3 in JAX, one compiled call for each minibatch."""
    import gymnasium
    from sbx import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = DummyVecEnv([lambda: gymnasium.make(GYM_IDS[env])] * N_ENVS)
    model = PPO("MlpPolicy", envs, n_steps=N_STEPS, batch_size=MINIBATCH, n_epochs=EPOCHS, seed=0)
    model.learn(ROLLOUT)
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return steps / (time.perf_counter() - began)


def rllib(env: str, steps: int) -> float:
    """RLlib's PPO, with everything in one process and its default of one environment."""
    import logging

    import ray
    from ray.rllib.algorithms.ppo import PPOConfig

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = (
        PPOConfig()
        .environment(GYM_IDS[env])
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=ROLLOUT, minibatch_size=2 * MINIBATCH, num_epochs=EPOCHS)
        .rl_module(model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"})
    )
    algorithm = config.build_algo()
    algorithm.train()
    rollouts = max(steps // ROLLOUT, 1)
    began = time.perf_counter()
    for _ in range(rollouts):
        algorithm.train()
    rate = rollouts * ROLLOUT / (time.perf_counter() - began)
    ray.shutdown()
    return rate


#: What is timed, with its name, a module that may be missing (RLlib needs "tree"), and its share of the steps.
CONTESTANTS: dict[Callable[[str, int], float], tuple[str, str | None, float]] = {
    bare: ("environment alone, Gymnasium's", None, 0.5),
    batch: ("environment alone, ours", None, 0.5),
    ppo: ("ppo", None, 1.0),
    stable_baselines3: ("Stable-Baselines3", None, 0.1),
    sbx: ("SBX", "sbx", 0.1),
    rllib: ("RLlib", "tree", 0.05),
}


def timed(contestant: Callable[[str, int], float], env: str, steps: int, core: int) -> float:
    """The rate of one contestant in a process of its own."""
    code = (
        f"import os, sys; os.sched_setaffinity(0, {{{core}}}); sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import training; print('RATE', training.{contestant.__name__}({env!r}, {steps}))"
    )
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RATE"):
            return float(line.split()[1])
    raise SystemExit(f"{contestant.__name__} failed:\n{done.stderr[-3000:]}")


def compare(env: str, steps: int, repeats: int, core: int) -> None:
    taking_part = [c for c, (_, module, _) in CONTESTANTS.items() if module is None or importlib.util.find_spec(module)]
    rates: dict[Callable[[str, int], float], list[float]] = {contestant: [] for contestant in taking_part}
    for _ in range(repeats):
        for contestant in taking_part:
            whole = max(round(steps * CONTESTANTS[contestant][2] / ROLLOUT), 2) * ROLLOUT
            rates[contestant].append(timed(contestant, env, whole, core))
    medians = {contestant: statistics.median(values) for contestant, values in rates.items()}
    print(f"\n{env}, one core, medians of {repeats} (goal for ppo: {GOALS[env]:,} steps/s)\n")
    print("| what | steps/s | ppo is so many times as fast | repeats |")
    print("| --- | ---: | ---: | --- |")
    for contestant, rate in medians.items():
        ratio = f"{medians[ppo] / rate:.2f}"
        print(f"| {CONTESTANTS[contestant][0]} | {rate:,.0f} | {ratio} | {_shown(rates[contestant])} |")
    for contestant in set(CONTESTANTS) - set(taking_part):
        print(f"| {CONTESTANTS[contestant][0]} | not installed | | |")


def _shown(values: list[float]) -> str:
    return " ".join(f"{value:,.0f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", nargs="+", choices=GOALS, default=list(GOALS), help="both of them")
    parser.add_argument("--steps", type=int, default=400_000, help="of ppo; slower ones get fewer (400000)")
    parser.add_argument("--repeats", type=int, default=3, help="of each (3)")
    arguments = parser.parse_args()
    for env in arguments.env:
        compare(env, arguments.steps, arguments.repeats, max(os.sched_getaffinity(0)))


if __name__ == "__main__":
    main()
