"""Stable-Baselines3: any of its algorithms, by name."""

from metapbt.learners.sb3.learner import SB3Learner

__all__ = ["SB3Learner"]
