"""The configuration of a run: Hydra groups under ``conf/``, composed and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

    search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    GlobalHydra.instance().clear()  # a composition may be asked for inside another program's Hydra
    with hydra.initialize_config_dir(str(shared_dir("conf")), version_base="1.3"), readable_errors():
        return hydra.compose("config", overrides=[*open_context(overrides), *search])


def open_context(overrides: Sequence[str]) -> list[str]:
    """Let ``context.<feature>=value`` add its key: features are checked by the environment, not by Hydra.

    So a misspelt feature is answered with the environment's own features.
    """
    return [f"++{text}" if text.startswith("context.") else text for text in overrides]


class readable_errors:  # noqa: N801 - used as a function: ``with readable_errors():``
    """Context manager that turns Hydra's and OmegaConf's errors into one line with the nearest known name."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, HydraException | OmegaConfBaseException):
            raise MetapbtError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
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
        nearest = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.5)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        return f"unknown override '{key}'{hint} (metapbt run --cfg job shows every key)"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _known_keys() -> list[str]:
    from omegaconf import DictConfig, OmegaConf

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys = []
        for key in map(str, node):
            value = node._get_node(key)
            name = f"{prefix}{key}"
            keys += [name, *(walk(value, f"{name}.") if isinstance(value, DictConfig) else [])]
        return keys

    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(shared_dir("conf")), version_base="1.3"):
        return walk(OmegaConf.create(hydra.compose("config")), "")
