"""Stable-Baselines3: any of its algorithms, by name."""

import contextlib
import io

with contextlib.redirect_stderr(io.StringIO()):
    # It looks for the old Gym, which, where EnvPool brought it along, tells everybody to leave it.
    import stable_baselines3  # noqa: F401

from metapbt.learners.sb3.learner import SB3Learner  # noqa: E402

__all__ = ["SB3Learner"]
