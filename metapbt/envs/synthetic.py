"""A family of synthetic problems whose best hyperparameters drift and are known; ``learner=synthetic`` trains on it.

| feature   | unit          | default | legal range | Gymnasium | what it is                                           |
| --------- | ------------- | ------- | ----------- | --------- | ---------------------------------------------------- |
| shift     | quarter turns | 0.5     | [0, 2]      | -         | how far the optimum is turned; near ones are alike   |
| mislead   | 1             | 0       | [0, 1]      | -         | 1 mirrors the optimum: what is good elsewhere is bad |
| noise     | 1             | 0       | [0, 1]      | -         | deviation of what is observed around the true return |
| deception | 1             | 0       | [0, 1]      | -         | what heat takes from the return: patience pays       |
| cooling   | budgets       | 0.1     | [0, 1]      | -         | in how much of the budget heat shrinks by e          |

The formulas are in ``metapbt/learners/problems/synthetic.py``, in ``temperature.py`` beside it, and in
``docs/synthetic_problems.md``.
"""

from __future__ import annotations

from metapbt.envs.base import Environment, Feature

SYNTHETIC = Environment(
    name="synthetic",
    features=(
        # Not 0, so that multiples of the default are contexts: `metapbt scripts env=synthetic scripts.feature=shift`.
        Feature("shift", "quarter turns", 0.5, 0.0, 2.0, None, "how far the optimum is turned; near ones are alike"),
        Feature("mislead", "1", 0.0, 0.0, 1.0, None, "1 mirrors the optimum: what is good elsewhere is bad"),
        Feature("noise", "1", 0.0, 0.0, 1.0, None, "deviation of what is observed around the true return"),
        Feature("deception", "1", 0.0, 0.0, 1.0, None, "what heat takes from the return: patience pays"),
        Feature("cooling", "budgets", 0.1, 0.0, 1.0, None, "in how much of the budget heat shrinks by e"),
    ),
)
