"""A synthetic problem whose best hyperparameters are known; only ``learner=quadratic`` can train on it.

| feature       | unit | default | legal range | Gymnasium | what it is                                       |
| ------------- | ---- | ------- | ----------- | --------- | ------------------------------------------------ |
| optimum_shift | 1    | 0       | [0, 1]      | -         | how far below 1 the best coefficients h0, h1 are |
"""

from __future__ import annotations

from metapbt.envs.base import Environment, Feature

QUADRATIC = Environment(
    name="quadratic",
    features=(Feature("optimum_shift", "1", 0.0, 0.0, 1.0, None, "how far below 1 the best coefficients h0, h1 are"),),
)
