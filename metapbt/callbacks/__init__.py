"""Who listens while a run works: the log, the bar, loggers, and one's own."""

from __future__ import annotations

from collections.abc import Sequence

from metapbt.callbacks.bar import BarCallback
from metapbt.callbacks.base import Callback, RungStart, RunStart
from metapbt.callbacks.log import LogCallback
from metapbt.errors import MetapbtError, shown
from metapbt.registry import lookup, making

__all__ = ["CALLBACKS", "Callback", "RunStart", "RungStart", "make_callbacks"]

CALLBACKS = {
    "tensorboard": "metapbt.callbacks.tensorboard:TensorBoardCallback",
    "wandb": "metapbt.callbacks.wandb:WandbCallback",
    "mlflow": "metapbt.callbacks.mlflow:MlflowCallback",
}


def make_callbacks(names: Sequence[str], place: str = "") -> list[Callback]:
    """The log, the bar, and those asked for.

    Args:
        names: of ``CALLBACKS``, and of one's own classes, ``package.module:Class``, made without arguments.
        place: of the run among others, for the bar: ``run 2 of 6: ``.

    Raises:
        MetapbtError: one is unknown, cannot be imported or made, or needs a library that is not installed.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise MetapbtError(f"callbacks must be a list, [my_module:MyCallback], got {shown(names)}")
    made: list[Callback] = [LogCallback(), BarCallback(place)]
    for name in names:
        made_by = lookup("callback", name, CALLBACKS)
        with making("callback", name):
            made.append(made_by())
    return made
