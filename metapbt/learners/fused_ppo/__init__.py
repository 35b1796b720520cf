"""PPO at the machine's speed: bare batched environments, and each update in one compiled call of JAX."""

from metapbt.learners.fused_ppo.learner import FusedPPOLearner

__all__ = ["FusedPPOLearner"]
