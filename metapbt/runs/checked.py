"""A composed configuration as plain values, each of its kind and in its range."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.config import check_shape
from metapbt.errors import MetapbtError, one_line, shown
from metapbt.overrides import in_full
from metapbt.plain import whole_number, written_number
from metapbt.runs.stopping import check_stop

if TYPE_CHECKING:
    from omegaconf import DictConfig


def checked(config: DictConfig) -> dict[str, Any]:
    """What a configuration asks for: its environment's name and context in full, counts as integers, paths written out.

    Raises:
        MetapbtError: a value is missing, of another kind or out of range.
    """
    asked = _plain(config)
    check_shape(asked)
    asked["env"], asked["context"] = in_full(asked["env"], asked["context"] or {})
    plain = _with_paths(_with_whole_numbers(asked))
    check_stop(plain["stop"])
    for switch, value in (
        ("resume", plain["resume"]),
        ("population.asynchronous", plain["population"]["asynchronous"]),
        ("evaluation.sampled", plain["evaluation"]["sampled"]),
        ("meta.include_target", plain["meta"]["include_target"]),
    ):
        if not isinstance(value, bool):
            raise MetapbtError(f"{switch} must be true or false, got {shown(value)}")
    if plain["on_failure"] not in ("replace", "stop"):
        raise MetapbtError(f"on_failure must be replace or stop, got {shown(plain['on_failure'])}")
    return plain


def _plain(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    plain: dict[str, Any] = {}
    try:
        for key in config:
            if key not in ("scripts", "cluster"):  # without values unless scripts are written; nothing to a run
                value = config[key]
                whole = OmegaConf.is_config(value)
                plain[str(key)] = OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if whole else value
    except OmegaConfBaseException as error:
        said = one_line(Exception(str(error).partition("full_key:")[0]))
        raise MetapbtError(f"{error.full_key}: {said}" if error.full_key else said) from error
    except RecursionError as error:
        raise MetapbtError("the configuration nests too deep") from error
    return plain


_WHOLE_NUMBERS = (
    ("budget.steps", 1),
    ("budget.interval", 1),
    ("budget.interval_end", 1),
    ("population.size", 1),
    ("population.window", 1),
    ("population.candidates", 1),
    ("evaluation.episodes", 1),
    ("evaluation.test_episodes", 1),
    ("evaluation.num_levels", 0),
    ("evaluation.start_level", 0),
    ("evaluation.test_num_levels", 0),
    ("evaluation.test_start_level", 0),
    ("seed", 0),
)
_OPTIONAL = {"population.candidates", "budget.interval_end", *(key for key, _ in _WHOLE_NUMBERS if "level" in key)}


def _with_whole_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with every count as an integer, also where it was written as ``1e5``."""
    checked = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for key, lowest in _WHOLE_NUMBERS:
        group, _, name = key.rpartition(".")
        place = checked[group] if group else checked
        if key == "budget.interval":
            place[name] = _share(key, place[name], place["steps"])
        if place[name] is not None or key not in _OPTIONAL:
            place[name] = whole_number(key, place[name], lowest)
    checked["context"] = checked["context"] or {}
    return checked


def _share(key: str, written: Any, steps: Any) -> Any:
    """How many steps ``2.5%`` of the budget are, at least one; anything else as it is."""
    if not isinstance(written, str) or not written.endswith("%"):
        return written
    percent = written_number(written[:-1])
    if percent is None or not 0 < percent <= 100:
        raise MetapbtError(f"{key} must be steps, or above 0% and at most 100% of budget.steps, got {shown(written)}")
    return max(round(steps * percent / 100), 1)


def _with_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with ``~`` in its paths written out."""
    meta = config["meta"]
    key, asked = "meta.results_dir", meta["results_dir"]
    places = [_path(key, place) for place in asked] if isinstance(asked, list) and asked else _path(key, asked)
    return {
        **config,
        "results_dir": _path("results_dir", config["results_dir"]),
        "meta": {**meta, "results_dir": places},
    }


def _path(key: str, written: Any) -> str:
    if not isinstance(written, str) or not written.strip() or not written.isprintable():
        raise MetapbtError(f"{key} must be the path of a directory, got {shown(written)}")
    try:
        return str(Path(written).expanduser()) if written.startswith("~") else written
    except RuntimeError as error:  # there is no such user
        raise MetapbtError(f"{key}: {one_line(error)}") from error
