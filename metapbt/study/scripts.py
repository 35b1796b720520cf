"""One shell script for each context of a feature, to be submitted to a cluster or run here.

This file decides which contexts there are; ``cluster_script`` writes the scripts.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.envs import Category, Feature, get_environment, make_context
from metapbt.errors import MetapbtError, unknown_name
from metapbt.history.context import Context, FeatureValue, digits
from metapbt.log import counted
from metapbt.overrides import in_full
from metapbt.store.run_directory import path_name
from metapbt.study.cluster_script import (
    MARKER,
    ClusterRun,
    ClusterScript,
    check_cluster,
    rendered,
    write_executable,
)
from metapbt.study.study import StudyRun, planned

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: Of the feature's default, where the user does not say which.
MULTIPLIERS = tuple(tenths / 10 for tenths in range(1, 23))

#: Values of a feature, each with what a complaint calls it.
Named = Sequence[tuple[str, FeatureValue]]


@dataclass(frozen=True)
class ScriptContext:
    """One script's context.

    Args:
        index: its number, counted from 1.
        value: of the feature that the contexts differ in.
        context: with all features.
    """

    index: int
    value: FeatureValue
    context: Context


def write_scripts(
    config: DictConfig,
    overrides: Sequence[str] = (),
    config_dir: str | os.PathLike[str] | None = None,
    choices: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write ``<scripts.directory>/<env>/<feature>/context_<i>.sh`` below the current directory.

    Scripts of an earlier call in the same folder are replaced, and those beyond the new number are removed, so
    that a folder never holds two sets. Nothing is written unless every run can be trained.

    Args:
        config: the composed configuration.
        overrides: what the user wrote; all but ``scripts.*`` and ``cluster*`` goes on to ``metapbt run``.
        config_dir: the user's own configuration folder (``--config-dir``), which goes on to ``metapbt run`` too.
        choices: which file of ``env`` and ``method`` was chosen; None where they are called as what is in them.

    Returns:
        The scripts, in the order of the contexts.

    Raises:
        MetapbtError: the feature is missing or unknown, a value is illegal (named by its multiplier), a key of
            ``scripts`` or ``cluster`` or a setting of the runs cannot be used, or a run was begun with another
            configuration.
    """
    from omegaconf import OmegaConf

    asked: dict[str, Any] = OmegaConf.to_container(config.scripts)  # type: ignore[assignment]
    cluster: dict[str, Any] = OmegaConf.to_container(config.cluster, resolve=True)  # type: ignore[assignment]
    others: dict[str, Any] = OmegaConf.to_container(config.get("context") or OmegaConf.create(), resolve=True)  # type: ignore[assignment]
    (env, others), method = in_full(str(config.env), others), str(config.method.name)
    feature = _feature(env, asked["feature"])
    contexts = script_contexts(env, feature, asked["multipliers"], asked["values"], others)
    seeds = script_seeds(asked["seeds"])
    check_cluster(cluster)
    pinned = {"env": env, "method": method}
    if choices is not None:
        pinned = {group: choices[group] for group in pinned}
    carried = carried_overrides(overrides, pinned, feature.name)

    folder = Path(asked["directory"]) / path_name(env) / feature.name
    options = _config_option(config_dir)
    scripts = {}
    for context in contexts:
        value = digits(context.value)
        told = (*options, *carried, f"context.{feature.name}={value}")
        runs = _planned(told, seeds)
        for run in runs:
            run.check_same()
        script = ClusterScript(
            path=folder / f"context_{context.index}.sh",
            job=f"c{context.index}",
            title=f"{env}, {feature.name} = {value}: context {context.index} of {len(contexts)}, method {method}, "
            f"{counted(len(seeds), 'seed')}.",
            command=shlex.join(["metapbt", "scripts", *overrides]),
            log_directory=f"{path_name(env)}/{feature.name}",
            runs=[ClusterRun(run.path, told) for run in runs],
        )
        scripts[script.path] = rendered(script, cluster)
    for path, text in scripts.items():
        write_executable(path, text)
    _remove_old_scripts(folder, keep=set(scripts))
    return list(scripts)


def script_contexts(
    env: str,
    feature: Feature | Category,
    multipliers: object,
    values: object,
    others: Mapping[str, FeatureValue],
) -> list[ScriptContext]:
    """Return the contexts that the scripts are for, every one of them legal.

    Args:
        env: the environment's name.
        feature: what the contexts differ in.
        multipliers: of the feature's default; None means ``MULTIPLIERS``. A category has none.
        values: of the feature; None means multipliers, and all the choices of a category.
        others: other features that are changed, the same in every context.

    Raises:
        MetapbtError: a value is illegal, or two contexts are the same.
    """
    if multipliers is not None and values is not None:
        raise MetapbtError("scripts.multipliers and scripts.values exclude each other; set one of them")
    named: Named
    if isinstance(feature, Category):
        named = _named_choices(env, feature, multipliers, values)
    else:
        named = _named_numbers(env, feature, multipliers, values)

    contexts: list[ScriptContext] = []
    names: dict[FeatureValue, str] = {}
    for index, (name, wanted) in enumerate(named, start=1):
        context = make_context(env, {**others, feature.name: wanted})
        value = context[feature.name]  # a feature may allow whole numbers only
        if value in names:
            raise MetapbtError(f"{names[value]} and {name} of {env}.{feature.name} both give {digits(value)}")
        names[value] = name
        contexts.append(ScriptContext(index, value, context))
    return contexts


def _named_numbers(env: str, feature: Feature, multipliers: object, values: object) -> Named:
    if values is None:
        factors = MULTIPLIERS if multipliers is None else _numbers("scripts.multipliers", multipliers)
        if feature.default == 0:
            raise MetapbtError(
                f"{env}.{feature.name} is 0 by default and so are its multiples; set scripts.values in"
                f" [{feature.low:g}, {feature.high:g}] instead"
            )
        named = [(f"multiplier {factor:g}", float(f"{factor * feature.default:.10g}")) for factor in factors]
    else:
        named = [(f"value {value:g}", value) for value in _numbers("scripts.values", values)]
    for name, wanted in named:
        if not feature.low <= wanted <= feature.high:
            raise MetapbtError(
                f"{name} of {env}.{feature.name} gives {wanted:g}, outside [{feature.low:g}, {feature.high:g}]"
            )
    return named


def _named_choices(env: str, feature: Category, multipliers: object, values: object) -> Named:
    if multipliers is not None:
        raise MetapbtError(
            f"{env}.{feature.name} is no number and has no multiples; set scripts.values, to some of"
            f" [{','.join(feature.choices)}], instead of scripts.multipliers"
        )
    if values is not None and (not isinstance(values, list) or not values):
        raise MetapbtError(f"scripts.values must be a list like [{','.join(feature.choices)}], got {values!r}")
    chosen = [feature.checked(value, f"scripts.values of {env}.{feature.name}") for value in values or feature.choices]
    return [(f"value {choice}", choice) for choice in chosen]


def script_seeds(seeds: object) -> list[int]:
    """Return the seeds behind ``scripts.seeds``: a number n stands for 0 to n - 1, a list for itself.

    Raises:
        MetapbtError: it is neither, or a seed is negative or there twice.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0:
        return list(range(seeds))
    if (
        isinstance(seeds, list)
        and seeds
        and all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
        and len(set(seeds)) == len(seeds)
    ):
        return seeds
    raise MetapbtError(f"scripts.seeds must be a number > 0 or a list of different seeds >= 0, got {seeds!r}")


def carried_overrides(overrides: Sequence[str], pinned: Mapping[str, str], feature: str) -> list[str]:
    """Return the overrides for each script's ``metapbt run``, without those that concern only the scripts.

    Args:
        overrides: what the user wrote.
        pinned: choices that are written out where the user did not write them, so that a script keeps its
            meaning when a default changes.
        feature: what the contexts differ in.

    Raises:
        MetapbtError: the user set what the scripts set themselves.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override, text in zip(parsed, overrides, strict=True):
        key = override.key_or_group
        if key == "seed":
            raise MetapbtError(f"{text}: a script's seeds are set with scripts.seeds")
        if key == f"context.{feature}" or (key == "env" and feature in in_full(str(override.value()), {})[1]):
            raise MetapbtError(
                f"{text}: the scripts' values of {feature} are set with scripts.multipliers or scripts.values"
            )
        if key == "resume" and override.value() is not True:
            raise MetapbtError(f"{text}: a job that is requeued would start again from nothing each time")
        if override.is_sweep_override():
            raise MetapbtError(f"{text}: one set of scripts has one value; write the others to another folder")
    keys = [override.key_or_group for override in parsed]
    kept = [text for key, text in zip(keys, overrides, strict=True) if not re.match(r"(scripts|cluster)\b", key)]
    written_out = [f"{key}={name}" for key, name in pinned.items() if key not in keys]
    return [*written_out, *kept]


def _feature(env: str, name: object) -> Feature | Category:
    features = {feature.name: feature for feature in get_environment(env).features}
    if not features:
        raise MetapbtError(f"{env} has no features, so there are no contexts to write scripts for")
    if name is None or name == "???":
        raise MetapbtError(f"scripts.feature is missing: one of {', '.join(features)}")
    if name not in features:
        raise unknown_name(f"feature of {env}", name, features)
    return features[str(name)]


def _numbers(key: str, numbers: object) -> list[float]:
    if (
        not isinstance(numbers, list)
        or not numbers
        or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    ):
        raise MetapbtError(f"{key} must be a list of numbers, got {numbers!r}")
    return [float(number) for number in numbers]


def _planned(told: Sequence[str], seeds: Sequence[int]) -> list[StudyRun]:
    """The run of each seed. Where the first and the last differ in their seeds alone, so do those in between."""

    def with_seed(run: StudyRun, seed: int) -> StudyRun:
        return replace(run, path=run.path.with_name(f"seed_{seed}"), config={**run.config, "seed": seed})

    ends = planned("", [(*told, f"seed={seed}") for seed in dict.fromkeys((seeds[0], seeds[-1]))])
    other = with_seed(ends[0], seeds[-1])
    if (other.path, other.config) == (ends[-1].path, ends[-1].config):
        return [with_seed(ends[0], seed) for seed in seeds]
    return list(planned("", [(*told, f"seed={seed}") for seed in seeds]))


def _config_option(config_dir: str | os.PathLike[str] | None) -> list[str]:
    if config_dir is None:
        return []
    path, here = Path(config_dir), Path.cwd()
    # Scripts start metapbt in the project directory; what lies in it is named so that it can be moved.
    return [f"--config-dir={path.relative_to(here) if path.is_relative_to(here) else path}"]


def _remove_old_scripts(folder: Path, keep: set[Path]) -> None:
    for path in set(folder.glob("context_*.sh")) - keep:
        if MARKER in path.read_text(encoding="utf-8", errors="replace"):
            path.unlink()
