"""What a search space may set, what each is when nobody sets it, and which values are legal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metapbt.learners.drac.augmentations import augmentation_called
from metapbt.learners.settings import Legal, Range


@dataclass(frozen=True)
class AugmentationName:
    """A name that ``augmentation_called`` knows."""

    default: str = "crop"

    def check(self, name: str, value: Any) -> None:
        """Refuse an unknown augmentation.

        Raises:
            MetapbtError: it is unknown, or cannot be imported.
        """
        augmentation_called(value)


#: Names are those of ``learner=ppo``, defaults those of the published base configuration.
HYPERPARAMETERS: dict[str, Legal] = {
    "learning_rate": Range(5e-4, 0),
    "n_epochs": Range(3, 1, whole=True),
    "gamma": Range(0.999, 0, 1),
    "gae_lambda": Range(0.95, 0, 1),
    "clip_range": Range(0.2, 0, open=True),  # of the policy and of the values
    "ent_coef": Range(0.01, 0),
    "vf_coef": Range(0.5, 0),
    "max_grad_norm": Range(0.5, 0, open=True),
    "aug_coef": Range(0.1, 0),
    "aug_type": AugmentationName(),
}
