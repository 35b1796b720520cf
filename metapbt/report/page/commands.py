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
    *("env", "context", "features", "versions", "seed", "name", "results_dir", "meta"),
    *("executor", "resume", "scripts", "cluster", "callbacks", "start"),
)
_TOO_LONG = ("initial", "constraint", "space")  # for a command
_MOST_OVERRIDES = 12


def command_of(config: Mapping[str, Any], info: RunInfo) -> str:
    """The ``metapbt run`` that trains such a run: environment, context, method, seed and what differs from defaults.

    A comment behind it names what else the configuration says that cannot be written in a few words. Nothing that
    results name is imported: the defaults of an environment of one's own are not looked up.
    """
    words = [f"env={info.env}"]
    words += [f"context.{name}={digits(value)}" for name, value in info.context.changed.items()]
    words += [f"method={info.method}", f"learner={info.learner}", f"seed={info.seed}"]
    words += [f"name={info.name}"] if info.name != info.method else []
    start = config.get("start")
    if isinstance(start, Mapping) and start.get("name") != "method":
        words += [f"start={start.get('name')}", *_written_in("start", start)]
    written, more = _differing(config, info)
    words += written
    words += ["meta.results_dir=RESULTS"] if info.ancestry else []
    comment = [f"# and more, see its configuration: {', '.join(more)}"] if more else []
    return " ".join(["metapbt run", *map(shlex.quote, words), *comment])


def _written_in(group: str, choice: Mapping[str, Any]) -> list[str]:
    """The settings of a group's choice, as overrides."""
    return [f"{group}.{name}={_written(value)}" for name, value in choice.items() if name != "name"]


def _differing(config: Mapping[str, Any], info: RunInfo) -> tuple[list[str], list[str]]:
    """What differs from the defaults, as overrides, and the groups of keys of which some are not said."""
    said, ours = dict(_flat(config)), info.env in ENVIRONMENTS | BODIES | PICTURES
    usual = _usual(info.env, info.method, info.learner) if ours else {}
    if not usual:
        steps = said.get("budget.steps")
        return [] if steps is None else [f"budget.steps={steps}"], ["all that is not a default"]
    found: list[str] = []
    more: list[str] = []
    # What was left out with ~ differs, too, but not groups that a run has no use for; a space's keys are not another's.
    left_out = [name for name in usual if name not in said and name.partition(".")[0] in config]
    for name, value in (said | dict.fromkeys(left_out)).items():
        group = name.partition(".")[0]
        if usual.get(name) == value or group in _LEFT_OUT or name in ("method.name", "learner.name"):
            continue
        if name not in usual or group in _TOO_LONG or len(found) == _MOST_OVERRIDES:
            more.append(group)
        else:
            found.append(f"{name}={_written(value)}")
    return found, sorted(set(more))


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
