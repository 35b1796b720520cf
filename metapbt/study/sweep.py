"""What is swept: a list in a study's file, ``key=a,b`` on the command line; read by Hydra's own parser."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.config import hydra_arguments, readable_errors
from metapbt.errors import MetapbtError, shown

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def parsed(overrides: Sequence[str], config_dir: Path | None = None, where: str = "") -> list[Override]:
    """Read overrides, which may be swept.

    Args:
        overrides: as behind ``metapbt run --multirun``.
        config_dir: a folder with more choices.
        where: what an error begins with.

    Raises:
        MetapbtError: one cannot be read.
    """
    parser, found = _parser(), []
    for text in overrides:
        try:
            with readable_errors([text], config_dir):
                found += parser.parse_overrides(hydra_arguments([text], config_dir))
        except MetapbtError as error:
            raise MetapbtError(f"{where}{error}") from error
    return found


def product(overrides: Sequence[Override]) -> list[tuple[str, ...]]:
    """The overrides of each run of a sweep, the last key changing first; what a key was given last counts.

    Raises:
        MetapbtError: one is swept over an interval.
    """
    last: dict[str, Override] = {}
    for override in overrides:
        key = f"{override.key_or_group}@{override.package}" + ("~" if override.is_delete() else "")
        last.pop(key, None)  # behind what may be said of its parts
        last[key] = override
    return list(itertools.product(*(_each(override) for override in last.values())))


def _each(override: Override) -> list[str]:
    """An override as it was written, once for each value that it is swept over."""
    from hydra.core.override_parser.types import Glob

    written, key = str(override.input_line), override.get_key_element()
    if override.key_or_group.startswith("context."):  # to which others add the ++ again
        written, key = written.removeprefix("++"), key.removeprefix("++")
    if not override.is_sweep_override():
        return [written]
    if isinstance(override.value(), Glob):
        raise MetapbtError(f"{written}: write the names, {key}=A,B, instead of a pattern")
    if not override.is_discrete_sweep():
        raise MetapbtError(f"{written}: an interval cannot be swept over; write its values")
    return [f"{key}={_written(value)}" for value in override.sweep_iterator()]


def _written(value: Any) -> str:
    from hydra.core.override_parser.types import Override

    # Hydra would escape an interpolation, which is to stay one.
    return value if isinstance(value, str) and _read(value) == value else Override._get_value_element_as_str(value)


def in_words(value: Any, where: str, inner: bool = False) -> str:
    """A value of YAML as it is written behind ``key=``; a text may be anything that can stand there.

    Args:
        value: of the file.
        where: what an error begins with.
        inner: whether it is within a list or a mapping, where a text is but one value.

    Raises:
        MetapbtError: it can be no value of a run, such as a date.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if not inner or _is_one_value(value) else quoted(value)
    if isinstance(value, list):
        return f"[{','.join(in_words(each, where, inner=True) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{quoted(str(k))}:{in_words(v, where, inner=True)}' for k, v in value.items())}}}"
    raise MetapbtError(f"{where}: {shown(value)} is no value of a run; put quotes around text")


def quoted(text: str) -> str:
    """A text as Hydra reads it, in quotes where it would be read as something else."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return text if _read(f"[{text}]") == [text] else str(QuotedString(text, Quote.single).with_quotes())


def _is_one_value(text: str) -> bool:
    read = _read(f"[{text}]")
    return isinstance(read, list) and len(read) == 1 and text == text.strip()


def _read(text: str) -> Any:
    """What a text is behind ``key=``; None where it is swept, or cannot be read."""
    from hydra.errors import HydraException

    try:
        (override,) = _parser().parse_overrides([f"key={text}"])
    except HydraException:
        return None
    return None if override.is_sweep_override() else override.value()


def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()
