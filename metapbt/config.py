"""The configuration of a run: Hydra groups under ``conf/``, composed and checked."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, one_line, shown, unknown_name
from metapbt.overrides import arranged, broken_file, check_files, check_games, config_dir_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def shared_dir(name: str) -> Path:
    """Return the folder ``conf`` or ``jobs``: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def job_runner() -> str:
    """How automatic_job_runner.sh is called from here: in a checkout, or where the package was installed."""
    here = Path("automatic_job_runner.sh")
    inside = shared_dir("jobs")
    return f"./{here}" if here.exists() else str((inside if (inside / here).exists() else inside.parent) / here)


_MOST_ENTRIES = 10_000  # of a folder of the user's own choices, for it to be looked through before each composition
_OPEN = "learner.hyperparameters"  # what a file of ``conf/learner`` names there is not all that may be set

#: ``metapbt.envs``, which this file does not know, adds here what names an environment's features, for error messages.
FEATURE_NAMES: list[Callable[[str], Iterable[str]]] = []


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> DictConfig:
    """Compose the configuration from ``conf/`` and the user's overrides.

    Args:
        overrides: Hydra overrides such as ``["env=cart_pole", "context.pole_length=0.8"]``; ``--config-dir=DIR`` may be
            among them.
        config_dir: a folder of the user's own with more choices (``method/mine.yaml``, ``space/mine.yaml``).

    Raises:
        MetapbtError: a name or key is unknown, or an override cannot be parsed.
    """
    from copy import deepcopy

    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    config_dir = config_dir or config_dir_of(overrides)
    overrides = [text for text in overrides if not text.startswith("--config-dir=")]
    with readable_errors(overrides, config_dir):
        choices = tuple(text for text in overrides if not _sets_a_value(text, config_dir))
        values = [_parsed(text) for text in hydra_arguments([o for o in overrides if o not in choices], config_dir)]
        files = _files_below(config_dir)
        if files is None or any(value.is_sweep_override() for value in values):  # of which Hydra is to complain
            return _composed(overrides, config_dir)
        config = deepcopy(_made_by(choices, config_dir, files))
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        check_games(overrides)  # of which one may be in a choice's name
        check_effective(overrides, config)
        return config


def sweep_of(overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """What the configuration itself sweeps over, ``hydra.sweeper.params``, as overrides.

    Raises:
        MetapbtError: as `compose` does, or another sweeper is chosen than Hydra's own.
    """
    sweeper = _composed(overrides, config_dir, with_hydra=True).hydra.sweeper
    if not str(sweeper._target_).endswith(".BasicSweeper"):
        raise MetapbtError(
            f"--jobs needs Hydra's own sweeper, not {sweeper._target_}: leave it out, or choose no other"
        )
    return [f"{key}={value}" for key, value in (sweeper.params or {}).items()]


def _composed(overrides: Sequence[str], config_dir: Path | None, with_hydra: bool = False) -> DictConfig:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    config_dir = config_dir or config_dir_of(overrides)
    overrides = [text for text in overrides if not text.startswith("--config-dir=")]
    search = [f"hydra.searchpath=['file://{config_dir.resolve()}', any-env://]"] if config_dir else []
    GlobalHydra.instance().clear()  # a composition may be asked for inside another program's Hydra
    with readable_errors(overrides, config_dir):
        asked = hydra_arguments(overrides, config_dir)
        with hydra.initialize_config_dir(str(shared_dir("conf")), version_base="1.3"):
            config = hydra.compose("config", [*asked, *search], return_hydra_config=with_hydra)
            check_effective(overrides, config)
            return config


@lru_cache(maxsize=128)
def _made_by(choices: tuple[str, ...], config_dir: Path | None, files: tuple[Any, ...]) -> DictConfig:
    """What choices of groups make, while the user's own files stay as they are.

    To compose it takes longer than the start of a small run; values are put into a copy of it, as Hydra does.
    """
    return _composed(choices, config_dir)


@lru_cache(maxsize=1024)
def _parsed(override: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed


def _files_below(config_dir: Path | None) -> tuple[Any, ...] | None:
    """All that Hydra might read there, and when each changed; None where there is more than is quickly looked at."""
    found, entries = [], 0
    for folder, folders, names in os.walk(config_dir.resolve(), followlinks=True) if config_dir is not None else ():
        entries += len(folders) + len(names)
        if entries > _MOST_ENTRIES:
            return None
        for file in (Path(folder, name) for name in names if name.endswith((".yaml", ".yml"))):
            with suppress(OSError):  # a link that leads nowhere, or a file that somebody has just removed
                status = file.stat()
                found.append((str(file), status.st_ctime_ns, status.st_size))
    return tuple(found)


def check_effective(overrides: Iterable[str], config: DictConfig) -> None:
    """Check that no override fixes for the learner what the search space tunes: the space's value would win.

    Args:
        overrides: of one run.
        config: what they make.

    Raises:
        MetapbtError: one does.
    """
    from omegaconf import OmegaConf

    for text in overrides:
        fixed = re.match(r"\+{0,2}learner\.(?:hyperparameters\.?)?([\w.]*)=", text)
        if fixed is None:
            continue
        value = _parsed(text).value()
        names = [f"{fixed[1]}.{key}" for key in value] if isinstance(value, Mapping) else [fixed[1]]
        for name in names:
            tuned = name.strip(".").removeprefix(f"{config.learner.get('algorithm')}.")
            entry = OmegaConf.select(config, f"space.{tuned}")
            if OmegaConf.is_dict(entry) and "type" in entry and "when" not in entry:
                raise MetapbtError(
                    f"{text} has no effect, for the search space tunes {tuned}: leave it out with ~space.{tuned}"
                )


def _sets_a_value(override: str, config_dir: Path | None) -> bool:
    """Whether an override sets, adds or deletes a plain key, and chooses nothing of a group."""
    written = re.match(r"(?:\+\+|\+|~)?(\w[\w.]*)(?:=|$)(.*)", override, re.DOTALL)
    if written is None or written[1].partition(".")[0] == "hydra":
        return False
    if written[2].lstrip().startswith("{"):  # to Hydra no choice, but keys of it
        return True
    folders = [shared_dir("conf"), *([config_dir] if config_dir else [])]
    return not any((folder / written[1]).is_dir() for folder in folders)


def hydra_arguments(arguments: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """Return what the user wrote as Hydra is to read it, and make Hydra take any ``env=NAME``; see ``arranged``.

    Args:
        arguments: options and overrides.
        config_dir: a folder with more choices; None for the one that the options name.

    Raises:
        MetapbtError: one cannot be read, or a file that they choose cannot.
    """
    from metapbt import any_env

    any_env.register()
    check_files(config_dir or config_dir_of(arguments), arguments)
    return arranged(arguments, _groups_of)


def _groups_of(choice: str) -> list[str]:
    return [path.parent.name for path in sorted(shared_dir("conf").glob("*/*.yaml")) if path.stem == choice]


def check_shape(config: Mapping[str, Any]) -> None:
    """Check that every key of ``conf/config.yaml`` is there, and is a mapping where it is one there.

    Raises:
        MetapbtError: one is not, or a mapping has a key that nobody reads.
    """
    shipped = _shipped()
    for key in ("method", "learner", "executor", "selection", "start"):
        choice = config.get(key)
        if not isinstance(choice, Mapping) or not isinstance(choice.get("name"), str):
            raise MetapbtError(f"{key} must be one of its choices, {key}=NAME, got {shown(choice)}")
    if not isinstance(config.get("env"), str) or not config["env"]:
        raise MetapbtError(f"env must be the name of an environment, got {shown(config.get('env'))}")
    if "space" not in config:
        raise MetapbtError("space is missing: choose one, space=NAME")
    for key in shipped.keys() - {"defaults", "hydra", "scripts"}:
        if key not in config:
            raise MetapbtError(f"{key} is missing")
        if not isinstance(shipped[key], Mapping):
            continue
        if config[key] is None and not shipped[key]:
            continue
        if not isinstance(config[key], Mapping):
            raise MetapbtError(f"{key} must hold keys such as {_example(key, shipped[key])}, got {shown(config[key])}")
        for name in shipped[key].keys() - config[key].keys():
            raise MetapbtError(f"{key}.{name} is missing")
        for name in config[key].keys() - shipped[key].keys() if shipped[key] else ():
            raise unknown_name(f"key of {key}", str(name), shipped[key])


def top_level_keys() -> frozenset[str]:
    """The keys of a run's configuration, and of what is done with it."""
    return frozenset({*_shipped(), *(path.name for path in shared_dir("conf").iterdir() if path.is_dir())})


@cache
def _shipped() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((shared_dir("conf") / "config.yaml").read_text(encoding="utf-8"))
    return found


def _example(key: str, names: Mapping[str, Any]) -> str:
    return f"{key}.{next(iter(names), 'NAME')}"


class readable_errors:  # noqa: N801 - used as a function: ``with readable_errors():``
    """Context manager that turns Hydra's and OmegaConf's errors into one line with the nearest known name.

    Args:
        overrides: what the user wrote: says whose features an unknown key may be meant for.
        config_dir: a folder with more choices; None for the one that the overrides name.
    """

    def __init__(self, overrides: Sequence[str] = (), config_dir: Path | None = None) -> None:
        self._overrides = overrides
        self._config_dir = config_dir

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, MetapbtError | BrokenPipeError):
            return  # whose pipe breaks reads no more
        import yaml
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, HydraException):
            raise MetapbtError(_one_line(error, self._overrides)) from error
        # What Hydra passes on of others: of OmegaConf's, YAML's and Python's, and of its own, for method=null.
        others = (
            OmegaConfBaseException,
            yaml.YAMLError,
            OSError,
            RecursionError,
            ValueError,
            TypeError,
            AttributeError,
        )
        if isinstance(error, others):
            broken = broken_file(self._config_dir or config_dir_of(self._overrides))
            raise MetapbtError(broken or _one_line(error, self._overrides)) from error


def _is_override(error: BaseException) -> bool:
    from hydra.errors import OverrideParseException

    return isinstance(error, OverrideParseException)


def _one_line(error: BaseException, overrides: Sequence[str]) -> str:
    text = str(error)
    missing_choice = re.search(
        r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':\n(.*?)\n(?:Config|$)", text, re.S
    )
    if missing_choice:
        choice, group, options = missing_choice.groups()
        return str(unknown_name(group, choice.removeprefix(f"{group}/"), options.split()))
    missing_key = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if missing_key:
        key = missing_key.group(1)
        elsewhere = _choices_with(key)
        if elsewhere:
            group = key.partition(".")[0]
            return f"unknown override '{key}'; it is a key of {' and '.join(elsewhere)}: choose {group} first"
        known = _known_keys(overrides)
        place, _, name = key.rpartition(".")
        if place.startswith(_OPEN) and key not in known:  # any other argument of a learner is named with a +
            beside = [other.removeprefix(f"{place}.") for other in known if other.startswith(f"{place}.")]
            meant = difflib.get_close_matches(name, beside, 1, cutoff=0.75)
            hint = f"did you mean '{place}.{meant[0]}'? Otherwise " if meant else ""
            return f"'{key}' is not set yet; {hint}+{key}=VALUE sets it"
        nearest = _nearest_key(key, known)
        if nearest == key:
            return f"unknown key in what '{key}' is set to; +{key}.KEY=VALUE adds one"
        hint = f"; did you mean '{nearest}'?" if nearest else ""
        return f"unknown override '{key}'{hint} (metapbt run --cfg job shows every key)"
    if "Ambiguous value for argument" in text:
        several = re.search(r"argument '([^']*)'", text)
        written = several.group(1) if several else "key=a,b"
        key, _, values = written.partition("=")
        return f"{written} asks for several runs: add --multirun, or write a list as {key}=[{values}]"
    if _is_override(error):
        written = getattr(error, "override", None) or ""
        reason = one_line(Exception(text.partition("See https://hydra.cc")[0]))
        key, _, value = written.partition("=")
        return f"{shown(written)} cannot be read ({reason}); put quotes around text: '{key}=\"{value}\"'"
    if "Config group override must be a string" in text:
        nulls = [written for written in overrides if written.endswith(("=null", "=", "={}"))]
        return f"a group needs one of its choices, GROUP=NAME, got {' '.join(nulls) or 'null'}"
    unfit = re.search(r"Error merging override (.*)", text)
    if unfit:
        return f"{shown(unfit.group(1))} does not fit what this key holds"
    told = text.partition("full_key:")[0]
    return one_line(Exception(told)) or f"the configuration cannot be read: {type(error).__name__}"


def _choices_with(key: str) -> list[str]:
    """The choices of a group, ``selection=multiple_frequencies``, that have a key."""
    import yaml

    group, _, name = key.partition(".")
    return [
        f"{group}={file.stem}"
        for file in sorted((shared_dir("conf") / group).glob("*.yaml"))
        if name in (yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    ]


def _nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The known key that is most like ``key``: as a whole, or in its last part where ``key`` has but one."""

    def likeness(other: str) -> float:
        parts = [other] if "." in key else [other, other.rpartition(".")[2]]
        return max(difflib.SequenceMatcher(None, key, part).ratio() for part in parts)

    nearest = max(known, key=likeness)
    return nearest if likeness(nearest) >= 0.6 else None


def _known_keys(overrides: Sequence[str]) -> list[str]:
    """Every key of the configuration without overrides, and the features of the environments that these choose."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys = []
        for key in map(str, node):
            value = node._get_node(key)
            name = f"{prefix}{key}"
            keys += [name, *(walk(value, f"{name}.") if isinstance(value, DictConfig) else [])]
        return keys

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(shared_dir("conf")), version_base="1.3"):
        groups = {path.name for path in shared_dir("conf").iterdir() if path.is_dir()}
        choices = [text for text in overrides if text.partition("=")[0] in groups and "," not in text]
        try:
            config = OmegaConf.create(hydra.compose("config", overrides=choices))
        except HydraException:  # a choice is wrong as well
            config = OmegaConf.create(hydra.compose("config"))
    chosen = [text.removeprefix("env=").split(",") for text in overrides if text.startswith("env=")]
    envs = chosen[-1] if chosen else [config.env]
    features = [f"context.{name}" for env in envs for names in FEATURE_NAMES for name in names(env)]
    return [*walk(config, ""), *features]
