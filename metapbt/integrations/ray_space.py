"""Ray Tune's search spaces in our own words."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError, shown
from metapbt.space import Hyperparameters, Space


def from_ray(space: Any, prefix: str = "") -> Any:
    """A space's specification in which Ray's domains are written as ours; whatever else stands in it stays.

    Args:
        space: names with specifications, with Ray's domains, or with more names.
        prefix: of names, for messages.

    Raises:
        MetapbtError: a domain is none of which a range or choices are known.

    Example:
        >>> from ray import tune                                           # doctest: +SKIP
        >>> from_ray({"lr": tune.loguniform(1e-5, 1e-2)})                  # doctest: +SKIP
        {'lr': {'type': 'float', 'low': 1e-05, 'high': 0.01, 'log': True}}
    """
    if not isinstance(space, Mapping):
        return space
    return {name: _entry(value, f"{prefix}{name}") for name, value in space.items()}


def _entry(value: Any, name: str) -> Any:
    from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Quantized, Uniform

    if isinstance(value, Mapping):
        return value if isinstance(value.get("type"), str) else from_ray(value, f"{name}.")
    if isinstance(value, Categorical):
        return {"type": "categorical", "choices": list(value.categories)}
    if isinstance(value, Function) or callable(value):
        raise MetapbtError(f"space.{name} is a function, of which no range is known: say tune.uniform(low, high)")
    if isinstance(value, list | tuple):
        raise MetapbtError(
            f"space.{name} must not be a bare list, which is choices in Ray's PBT and bounds in its PB2: say "
            f"tune.choice({shown(value)}), or tune.uniform(low, high)"
        )
    if not isinstance(value, Domain):
        return value
    sampler = value.get_sampler()
    if not isinstance(value, Float | Integer) or isinstance(sampler, Quantized):
        raise MetapbtError(f"space.{name}: {shown(value)} has no counterpart: say tune.uniform, randint or choice")
    if not isinstance(sampler, Uniform | LogUniform):
        raise MetapbtError(f"space.{name} is drawn without bounds: say tune.uniform(low, high) or tune.loguniform")
    whole = isinstance(value, Integer)
    return {
        "type": "int" if whole else "float",
        "low": value.lower,
        "high": value.upper - 1 if whole else value.upper,  # Ray's upper bound of integers is beyond them
        **({"log": True} if isinstance(sampler, LogUniform) else {}),
    }


def values_in(config: Mapping[str, Any], space: Space) -> Hyperparameters:
    """What a trial's config says of a space, whose names are nested in it; what it leaves out is left out."""
    found = {}
    for name in space.names:
        place: Any = config
        for part in name.split("."):
            if not isinstance(place, Mapping) or part not in place:
                break
            place = place[part]
        else:
            found[name] = place
    return found


def configured(config: Mapping[str, Any], space: Space, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a trial's config with other hyperparameters; those that have no value now are gone from it."""
    changed = copy.deepcopy(dict(config))
    for name in space.names:
        *folders, last = name.split(".")
        place = changed
        for part in folders:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        if name in hyperparameters:
            place[last] = hyperparameters[name]
        else:
            place.pop(last, None)
    return changed
