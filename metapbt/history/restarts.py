"""When a population begins anew, screened and with longer intervals: the settings ``restarts.*`` (IPBT)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.plain import number_within, whole_number

LONGEST = 2**62


@dataclass(frozen=True, slots=True)
class Restarts:
    """How a population begins anew once it learns no more (IPBT, arXiv:2511.09190, with its constants).

    Attributes:
        patience: so many generations in a row in which the smoothed curve of the best returns did not rise, and it
            begins anew.
        window: or at once, where the last so many generations but one have not raised the best return by a standard
            deviation of the curve.
        growth: by which usual intervals are longer after each restart; 1 leaves them as they are.
        random: share of those who begin with drawn hyperparameters; the others' are the method's choice.
        fresh: share of those who begin with new weights; the others have a good member's, shrunk and perturbed.
        shrink: what a good member's weights are multiplied by.
        perturb: what new weights, which are added, are multiplied by.
    """

    patience: int
    window: int = 15
    growth: float = 2.0
    random: float = 0.5
    fresh: float = 0.5
    shrink: float = 0.2
    perturb: float = 0.1

    @classmethod
    def of(cls, asked: Mapping[str, Any] | None) -> Restarts | None:
        """Check what a configuration asks for under ``restarts``; None where nobody begins anew.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        if asked is None:
            return None
        if not isinstance(asked, Mapping):
            raise MetapbtError(f"restarts must hold keys such as restarts.patience, got {shown(asked)}")
        known = {field.name for field in fields(cls)}
        for name in asked.keys() - known:
            raise unknown_name("key of restarts", str(name), known)
        whole = {
            name: whole_number(f"restarts.{name}", asked[name], least, LONGEST)
            for name, least in (("patience", 1), ("window", 2))
            if asked.get(name) is not None
        }
        numbers = {
            name: number_within(f"restarts.{name}", asked[name], least, most)
            for name, least, most in (
                ("growth", 1, 10), ("random", 0, 1), ("fresh", 0, 1), ("shrink", 0, 1), ("perturb", 0, 1),
            )
            if name in asked
        }  # fmt: skip
        return cls(**whole, **numbers) if "patience" in whole else None  # type: ignore[arg-type]
