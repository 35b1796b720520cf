"""PPO at the machine's speed: bare batched environments, and each update in one compiled call of JAX."""

from metapbt.learners.ppo.learner import PPOLearner

__all__ = ["PPOLearner"]
