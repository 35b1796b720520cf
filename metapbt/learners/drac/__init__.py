"""A data-regularised actor-critic for pictures and vectors (DrAC, Raileanu et al., 2021), in PyTorch."""

from metapbt.learners.drac.learner import DrACLearner

__all__ = ["DrACLearner"]
