"""Batches of environments, for training that is not to wait for one environment at a time.

Importing this package imports no Gymnasium.

Example:
    >>> import numpy as np
    >>> from metapbt.envs.batches import make_batch
    >>> batch = make_batch("cart_pole", {"pole_length": 0.8}, num_envs=4)
    >>> batch.reset(lambda place, count: 100 * place + count).shape
    (4, 4)
    >>> batch.step(np.array([0, 1, 0, 1])).rewards
    array([1., 1., 1., 1.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metapbt.envs.batches.base import BatchStep, EnvBatch, Episodes, Observations, Seeds
from metapbt.errors import MetapbtError, unknown_name
from metapbt.overrides import in_full
from metapbt.registry import lookup

__all__ = [
    "ANEW",
    "BATCHES",
    "ENGINES",
    "BatchStep",
    "EnvBatch",
    "Episodes",
    "Observations",
    "Seeds",
    "make_batch",
    "why_anew",
]

#: The environments that have a batch of their own; all others are stepped one after another.
BATCHES: dict[str, str] = {
    "bipedal_walker": "metapbt.envs.batches.box2d:bipedal_walker_batch",
    "cart_pole": "metapbt.envs.batches.classic_control:CartPoleBatch",
    "lunar_lander": "metapbt.envs.batches.box2d:lunar_lander_batch",
    "mountain_car": "metapbt.envs.batches.classic_control:MountainCarBatch",
    "procgen": "metapbt.envs.batches.procgen:ProcgenBatch",
}
#: Those of them whose episodes cannot go on, and why.
ANEW = {"procgen": "Procgen saves no episode, and replaying its pictures is expensive"}
ENGINES = ("python", "envpool")


def make_batch(
    name: str,
    contexts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    num_envs: int,
    engine: str = "python",
) -> EnvBatch:
    """Make ``num_envs`` environments that are stepped together.

    Args:
        name: as for ``metapbt.envs.make_env``.
        contexts: the changed features, of all environments or of each of them.
        num_envs: how many environments.
        engine: ``python`` steps as ``make_env`` does, bit by bit; ``envpool`` steps the default context in
            C++ (extra ``metapbt[envpool]``). Procgen is in C++ with either.

    Raises:
        MetapbtError: the environment, a feature or the engine is unknown or illegal; there are not as many
            contexts as environments, or their actions are not the same; or EnvPool is not installed or has no such
            environment or context.
    """
    each = [contexts] * num_envs if isinstance(contexts, Mapping) else list(contexts)
    if num_envs < 1:
        raise MetapbtError(f"num_envs must be at least 1, got {num_envs}")
    if len(each) != num_envs:
        raise MetapbtError(f"{num_envs} environments need as many contexts, got {len(each)}")
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    each = [in_full(name, context)[1] for context in each]
    name, _ = in_full(name, {})
    if engine == "envpool" and name != "procgen":
        from metapbt.envs.batches.envpool import EnvPoolBatch

        return EnvPoolBatch(name, each)
    if name in BATCHES:
        make: Any = lookup("batch", name, BATCHES)
        batch: EnvBatch = make(each)
        return batch
    from metapbt.envs.batches.generic import GenericBatch

    return GenericBatch(name, each)


def why_anew(name: str, context: Mapping[str, Any], engine: str = "python") -> str | None:
    """Why episodes must begin anew in each interval; None where ``EnvBatch.under_way`` lets them go on.

    Args:
        name: as for ``make_batch``.
        context: the changed features.
        engine: as for ``make_batch``.

    Raises:
        MetapbtError: as for ``make_env``.
    """
    if engine == "envpool":
        return "engine=envpool cannot play them again"
    name, context = in_full(name, context)
    if name in BATCHES:
        return ANEW.get(name)
    from metapbt.envs.batches import episodes

    return episodes.why_anew(name, context)
