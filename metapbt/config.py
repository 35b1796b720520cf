"""The configuration of a run: Hydra groups under ``conf/``, composed and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def shared_dir(name: str) -> Path:
    """Return the folder ``conf`` or ``jobs``: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def job_runner() -> str:
    """How automatic_job_runner.sh is called from here: in a checkout, or where the package was installed."""
    here = Path("automatic_job_runner.sh")
    return f"./{here}" if here.exists() else str(shared_dir("jobs") / here)


#: ``metapbt.envs``, which this file does not know, adds here what names an environment's features, for error messages.
FEATURE_NAMES: list[Callable[[str], Iterable[str]]] = []


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> DictConfig:
    """Compose the configuration from ``conf/`` and the user's overrides.

    Args:
        overrides: Hydra overrides such as ``["env=cart_pole", "context.pole_length=0.8"]``.
        config_dir: a folder of the user's own with more choices (``method/mine.yaml``, ``space/mine.yaml``).

    Raises:
        MetapbtError: a name or key is unknown, or an override cannot be parsed.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    search = [f"hydra.searchpath=['file://{config_dir.resolve()}', any-env://]"] if config_dir else []
    GlobalHydra.instance().clear()  # a composition may be asked for inside another program's Hydra
    with readable_errors(overrides):
        asked = hydra_overrides(overrides)
        with hydra.initialize_config_dir(str(shared_dir("conf")), version_base="1.3"):
            return hydra.compose("config", overrides=[*asked, *search])


def hydra_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the user's overrides as Hydra is to read them, and make Hydra take any ``env=NAME``.

    ``context.<feature>=value`` adds its key: features are checked by the environment, not by Hydra, so that a misspelt
    one is answered with the environment's own. ``1e5`` becomes ``100000``: to Hydra it would be no integer.
    """
    from metapbt import any_env

    any_env.register()
    return [f"++{text}" if text.startswith("context.") else text for text in map(_without_exponents, overrides)]


def _without_exponents(override: str) -> str:
    key, equals, value = override.partition("=")
    if "'" in value or '"' in value:  # a text
        return override
    return key + equals + re.sub(r"[^][(){},:\s]+", _whole, value)


def _whole(word: re.Match[str]) -> str:
    if not re.fullmatch(r"-?\d+(\.\d+)?[eE]\+?\d{1,2}", word.group()):
        return word.group()
    number = Decimal(word.group())
    return f"{number:.0f}" if number == number.to_integral_value() else word.group()


def integer(config: Mapping[str, Any], key: str, lowest: int = 0) -> int:
    """Return the integer at a dotted key; a float that is a whole number counts, as YAML reads 1e5 as one.

    Args:
        config: nested mappings.
        key: such as ``budget.steps``.
        lowest: the smallest legal value.

    Raises:
        MetapbtError: there is none, or it is below ``lowest``.

    Example:
        >>> integer({"budget": {"steps": 1e5}}, "budget.steps", lowest=1)
        100000
    """
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < lowest:
        wanted = {0: ">= 0", 1: "> 0"}.get(lowest, f">= {lowest}")
        raise MetapbtError(f"{key} must be {wanted} and an integer, got {'nothing' if value is None else value}")
    return whole


class readable_errors:  # noqa: N801 - used as a function: ``with readable_errors():``
    """Context manager that turns Hydra's and OmegaConf's errors into one line with the nearest known name.

    Args:
        overrides: what the user wrote: says whose features an unknown key may be meant for.
    """

    def __init__(self, overrides: Sequence[str] = ()) -> None:
        self._overrides = overrides

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, HydraException | OmegaConfBaseException):
            raise MetapbtError(_one_line(error, self._overrides)) from error


def _one_line(error: BaseException, overrides: Sequence[str]) -> str:
    text = str(error)
    missing_choice = re.search(
        r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':\n(.*?)\n(?:Config|$)", text, re.S
    )
    if missing_choice:
        from metapbt.errors import unknown_name

        choice, group, options = missing_choice.groups()
        return str(unknown_name(group, choice.removeprefix(f"{group}/"), options.split()))
    missing_key = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if missing_key:
        key = missing_key.group(1)
        nearest = _nearest_key(key, _known_keys(overrides))
        hint = f"; did you mean '{nearest}'?" if nearest else ""
        return f"unknown override '{key}'{hint} (metapbt run --cfg job shows every key)"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


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
