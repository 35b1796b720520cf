"""Tune PPO of Stable-Baselines3 on CartPole while it trains."""

import argparse
import copy

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import metapbt

torch.set_num_threads(1)  # with networks as small as these, more threads are slower

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 3e-4},
    "clip_range": {"type": "float", "low": 0.1, "high": 0.4, "default": 0.2},
    "ent_coef": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
}


def make_agent(hyperparameters: dict, seed: int) -> PPO:
    """Return a new agent with these hyperparameters."""
    return PPO("MlpPolicy", "CartPole-v1", n_steps=256, seed=seed, device="cpu", **hyperparameters)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--generations", type=int, default=10)
parser.add_argument("--interval", type=int, default=2048, help="environment steps between two selections")
parser.add_argument("--method", default="pb2")
arguments = parser.parse_args()

tuner = metapbt.Tuner(SPACE, method=arguments.method, population_size=4, quantile=0.25, seed=0)
agents = [make_agent(hyperparameters, seed=m) for m, hyperparameters in enumerate(tuner.start())]
evaluation_env = make_vec_env("CartPole-v1", seed=1000)  # not an agent's own, which is in the middle of an episode

for generation in range(arguments.generations):
    returns = []
    for agent in agents:
        agent.learn(arguments.interval, reset_num_timesteps=False)
        returns.append(evaluate_policy(agent, evaluation_env, n_eval_episodes=5)[0])
    print(f"generation {generation}: returns {' '.join(f'{r:.1f}' for r in returns)}")

    trained = list(agents)
    decisions = tuner.tell([arguments.interval * (generation + 1)] * 4, returns)
    for m, decision in enumerate(decisions):
        if isinstance(decision, metapbt.Copy):
            # A new agent with the new hyperparameters takes over the parent's weights and optimiser state. They are
            # copied because the two optimisers would otherwise train in the same arrays.
            agents[m] = make_agent(decision.hyperparameters, seed=4 * (generation + 1) + m)
            agents[m].set_parameters(copy.deepcopy(trained[decision.parent].get_parameters()))
            print(f"  member {m} copies member {decision.parent} and trains on with {decision.hyperparameters}")

print(f"best return: {tuner.history.best().train_return:.1f}")
