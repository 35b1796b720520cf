"""Commands that would make a run again, from its configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from metapbt.envs import BODIES, ENVIRONMENTS, PICTURES
from metapbt.history.context import digits
from metapbt.store.results import RunInfo

#: Where and how a run was computed, what follows from the rest, and what the command says first anyway.
_LEFT_OUT = (
    *("env", "context", "features", "versions", "seed", "name", "method", "learner", "results_dir", "meta"),
    *("executor", "resume", "scripts", "cluster", "callbacks", "initial", "start", "constraint", "space"),
)
_MOST_OVERRIDES = 12


def command_of(config: Mapping[str, Any], info: RunInfo) -> str:
    """The ``metapbt run`` that trains such a run: environment, context, method, seed and what differs from defaults.

    Nothing that results name is imported: the defaults of an environment of one's own are not looked up.
    """
    words = [f"env={info.env}"]
    words += [f"context.{name}={digits(value)}" for name, value in info.context.changed.items()]
    words += [f"method={info.method}", f"learner={info.learner}", f"seed={info.seed}"]
    words += [f"name={info.name}"] if info.name != info.method else []
    start = config.get("start")
    words += [f"start={start.get('name')}", *_written_in("start", start)] if isinstance(start, Mapping) else []
    words += _differing(config, info)
    words += ["meta.results_dir=RESULTS"] if info.ancestry else []
    return " ".join(["metapbt run", *map(shlex.quote, words)])


def _written_in(group: str, choice: Mapping[str, Any]) -> list[str]:
    """The settings of a group's choice, as overrides."""
    return [f"{group}.{name}={_written(value)}" for name, value in choice.items() if name != "name"]


def _differing(config: Mapping[str, Any], info: RunInfo) -> list[str]:
    ours = info.env in ENVIRONMENTS | BODIES | PICTURES
    usual = _usual(info.env, info.method, info.learner) if ours else {}
    if not usual:
        budget = config.get("budget")
        return [f"budget.steps={budget['steps']}"] if isinstance(budget, Mapping) and "steps" in budget else []
    found = [
        f"{name}={_written(value)}"
        for name, value in _flat(config)
        if name in usual and usual[name] != value and name.partition(".")[0] not in _LEFT_OUT
    ]
    return found[:_MOST_OVERRIDES]


@cache
def _usual(env: str, method: str, learner: str) -> dict[str, Any]:
    """What a configuration holds where nothing but these was asked for; empty where they are not ours."""
    from omegaconf import OmegaConf

    from metapbt.config import compose

    try:
        composed = compose([f"env={env}", f"method={method}", f"learner={learner}"])
        plain: Any = OmegaConf.to_container(composed, resolve=True)
    except Exception:  # a configuration of somebody else's, of any other version
        return {}
    return dict(_flat(plain))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _written(value: Any) -> str:
    return "null" if value is None else json.dumps(value) if not isinstance(value, str) else value
