"""Names that users write in YAML, and the classes behind them, imported only when asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from metapbt.errors import MetapbtError, named, one_line, shown, unknown_name

T = TypeVar("T")


def settings_of(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a chosen method, learner or executor: all of its keys but ``name``."""
    return {key: value for key, value in choice.items() if key != "name"}


def lookup(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Return the object behind ``name``: an entry of ``table``, or one's own as ``package.module:Object``.

    Args:
        kind: what the name is, for the error message (``"method"``, ``"learner"``).
        name: a key of ``table``, or ``"package.module:Object"`` for code outside metapbt.
        table: known names with their ``"package.module:Object"``.

    Raises:
        MetapbtError: the name is unknown (with the nearest known one), or its module cannot be imported.
    """
    if not isinstance(name, str) or (":" not in name and name not in table):
        raise unknown_name(kind, name, table)
    module_name, _, attribute = table.get(name, name).partition(":")
    try:
        return getattr(import_for(kind, name, module_name), attribute)
    except AttributeError as error:
        raise MetapbtError(f"{kind} '{name}' cannot be loaded: {error}") from error


def lookup_class(kind: str, name: str, table: Mapping[str, str], base: type[T]) -> type[T]:
    """The class behind ``name``, as `lookup` finds it.

    Raises:
        MetapbtError: the name is unknown, or of no class that is derived from ``base``.
    """
    found = lookup(kind, name, table)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise MetapbtError(f"{kind} '{name}' must be a class derived from {base.__module__}:{base.__qualname__}")
    return found


def import_for(kind: str, name: str, module_name: str) -> ModuleType:
    """Import the module that the ``kind`` called ``name`` lies in.

    Raises:
        MetapbtError: there is no such module, or it fails, whatever the reason: it is the user's own code.
    """
    try:
        return importlib.import_module(module_name)
    except MetapbtError:
        raise
    except Exception as error:
        reason = one_line(error) if isinstance(error, ImportError) else named(error)
        raise MetapbtError(f"{kind} '{name}' cannot be loaded: {reason}") from error


@contextmanager
def making(kind: str, name: object) -> Iterator[None]:
    """Name what is being made where it cannot be, as of a setting that it cannot compute with.

    Raises:
        MetapbtError: making it failed, whatever the reason.
    """
    try:
        yield
    except MetapbtError:
        raise
    except Exception as error:
        raise MetapbtError(f"{kind} '{name}' cannot be made: {type(error).__name__}: {one_line(error)}") from error


def check_settings(
    group: str,
    name: str,
    made_by: Callable[..., Any],
    settings: Mapping[str, Any],
    positional: int = 1,
    also_known: Collection[str] = (),
) -> None:
    """Check settings against the parameters of what is about to be called with them: names, and switches.

    A parameter that is annotated as ``bool`` takes true and false alone: ``no`` is a word, which counts as true.

    Args:
        group: of what is chosen: ``method``, ``selection``, as keys of the configuration have it.
        name: of the choice, for the error message.
        made_by: a class or function; where it takes ``**settings`` it checks names itself.
        settings: by name.
        positional: how many arguments it gets by position before them.
        also_known: names that would be right beside these settings, for the hint.

    Raises:
        MetapbtError: a name is unknown (with the nearest known one), one is missing, or a switch is neither true nor
            false.
    """
    kind = f"setting of {group} {name}"
    parameters = list(inspect.signature(made_by).parameters.values())[positional:]
    known = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for setting in settings:
            if setting not in known:
                raise unknown_name(kind, setting, {*known, *also_known})
    missing = [p.name for p in known.values() if p.name not in settings and p.default is p.empty]
    if missing:
        raise MetapbtError(f"missing {kind}: {', '.join(missing)}")
    for setting in settings.keys() & known.keys():
        if known[setting].annotation in (bool, "bool") and not isinstance(settings[setting], bool):
            raise MetapbtError(f"{group}.{setting} must be true or false, got {shown(settings[setting])}")
