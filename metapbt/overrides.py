"""What users write for Hydra: the command line, and YAML files of their own; checked before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError, one_line, shown, unknown_name
from metapbt.plain import written_number

#: Hydra's options that are followed by a value.
_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun", "--shell-completion",
}  # fmt: skip
_OPTIONS = sorted(
    {
        *_WITH_VALUE,
        "--help",
        "-h",
        "--hydra-help",
        "--version",
        "--resolve",
        "--run",
        "-r",
        "--multirun",
        "-m",
        "--info",
    }
    | {"-i"} - {"--shell-completion"}
)
_PATHS = ("results_dir", "meta.results_dir")
_MOST_NODES = 100_000  # of a YAML file, each anchor counted as often as it is used


def in_full(env: str, context: Any) -> tuple[str, Any]:
    """What ``env=procgen/bigfish`` is short for: ``env=procgen`` in a context whose ``game`` is ``bigfish``.

    Args:
        env: the name of an environment.
        context: the features that are changed; what is no mapping is for others to complain about.

    Returns:
        The environment's own name, and all features that are changed.

    Raises:
        MetapbtError: the context says another game.
    """
    family, slash, game = env.partition("/")
    if not slash or family != "procgen" or not isinstance(context, Mapping):
        return env, context
    if context.get("game", game) != game:
        raise MetapbtError(f"env={env} and context.game={shown(context['game'])} are two games: write one of them")
    return family, {"game": game, **context}


def arranged(arguments: Sequence[str], groups_of: Callable[[str], Sequence[str]]) -> list[str]:
    """A command line as Hydra is to read it: its options first, wherever they stood, then the overrides.

    Args:
        arguments: options and overrides.
        groups_of: which groups have a choice of this name, for the hint where ``cart_pole`` stands alone.

    Raises:
        MetapbtError: an option is unknown, or something is neither option nor override.
    """
    options, overrides, waiting = [], [], False
    for argument in arguments:
        if waiting:
            options.append(argument)
            waiting = False
        elif argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            fitting = [option for option in _OPTIONS if option == name] or [
                option for option in _OPTIONS if option.startswith(name) and name.startswith("--") and len(name) > 3
            ]
            if len(fitting) != 1:
                raise unknown_name("option", name, _OPTIONS)
            options.append(argument)
            waiting = fitting[0] in _WITH_VALUE and not equals
        else:
            overrides.append(argument)
    if waiting:
        raise MetapbtError(f"option {options[-1]} needs a value behind it")
    check_games(overrides)
    return [*options, *(_override(text, groups_of) for text in overrides)]


def check_games(overrides: Sequence[str]) -> None:
    """Refuse a game in the environment's name beside another in the context.

    Raises:
        MetapbtError: there is one.
    """
    written = dict(text.partition("=")[::2] for text in overrides)
    if "context.game" in written:
        for env in written.get("env", "").split(","):
            in_full(env, {"game": written["context.game"]})


def _override(text: str, groups_of: Callable[[str], Sequence[str]]) -> str:
    """An override as Hydra is to read it.

    ``context.<feature>=value`` adds its key: features are checked by the environment, not by Hydra, so that a misspelt
    one is answered with the environment's own. ``1e5`` becomes ``100000``: to Hydra it would be no integer. ``~`` at
    the beginning of a path is the home directory.

    Raises:
        MetapbtError: it is none.
    """
    key, equals, value = text.partition("=")
    if not equals and not text.startswith("~"):
        groups = groups_of(text)
        hint = f"; did you mean {groups[0]}={text}?" if groups else " (text with spaces needs quotes: 'key=\"a b\"')"
        raise MetapbtError(f"{shown(text)} is no override: write key=value{hint}")
    if key in _PATHS and value.startswith("~"):
        quoted = str(Path(value).expanduser()).replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{quoted}'"
    written = _without_exponents(text)
    return f"++{written}" if text.startswith("context.") else written


def _without_exponents(text: str) -> str:
    key, equals, value = text.partition("=")
    if "'" in value or '"' in value:  # a text
        return text
    return key + equals + re.sub(r"[^][(){},:\s]+", _whole, value)


def _whole(word: re.Match[str]) -> str:
    if not re.fullmatch(r"-?\d+(\.\d+)?[eE]\+?\d{1,2}", word.group()):
        return word.group()
    number = Decimal(word.group())
    return f"{number:.0f}" if number == number.to_integral_value() else word.group()


def features_of(overrides: Sequence[str]) -> dict[str, float | str]:
    """The features that ``context.<feature>=value`` changes, where no Hydra reads them.

    Raises:
        MetapbtError: one is no such override, or changes a feature for the second time.

    Example:
        >>> features_of(["context.gravity=-5", "context.game=bigfish"])
        {'gravity': -5, 'game': 'bigfish'}
    """
    found: dict[str, float | str] = {}
    for text in overrides:
        name, equals, value = text.removeprefix("context.").partition("=")
        if not text.startswith("context.") or not name or not equals:
            raise MetapbtError(f"{shown(text)} is no context.FEATURE=VALUE")
        if name in found:
            raise MetapbtError(f"context.{name} is there twice")
        number = int(value) if re.fullmatch(r"-?\d{1,15}", value) else written_number(value)
        found[name] = value if number is None else number
    return found


def config_dir_of(arguments: Sequence[str]) -> Path | None:
    """The folder of the user's own choices that a command line names."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            return Path(value if equals else next(iter(arguments[place + 1 :]), "."))
    return None


def check_files(config_dir: Path | None, arguments: Sequence[str]) -> None:
    """Check the user's own files that the overrides choose: what Hydra would answer with a traceback, or never.

    Raises:
        MetapbtError: one is no YAML, not UTF-8, or holds anything but a mapping; the message names it.
    """
    for file in _chosen(config_dir, arguments):
        problem = yaml_problem(file)
        if problem is not None:
            raise MetapbtError(f"{file}: {problem}")


def broken_file(config_dir: Path | None) -> str | None:
    """Which of the user's own files cannot be read, and why, after something could not be."""
    files = sorted(config_dir.glob("*/*.yaml")) if config_dir is not None else []
    return next((f"{file}: {problem}" for file in files if (problem := yaml_problem(file)) is not None), None)


def _chosen(config_dir: Path | None, arguments: Sequence[str]) -> Iterator[Path]:
    for argument in arguments if config_dir is not None else ():
        group, _, names = argument.partition("=")
        for name in names.split(","):
            choice = name.strip("'\"")
            if re.fullmatch(r"[\w/]+", group) and re.fullmatch(r"[\w./+-]+", choice):
                file = Path(config_dir or ".", group, choice if choice.endswith(".yaml") else f"{choice}.yaml")
                if file.exists():
                    yield file


def yaml_problem(file: Path) -> str | None:
    """Why a file of the user's is no YAML that holds keys with values; None where it is."""
    import yaml

    try:
        if file.is_dir():
            return "is a directory, not a file"
        text = file.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            return "must hold keys with values (key: value), not a list or a single value"
        _size(root, {}, ())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return "is not UTF-8"
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1}, column {where.column + 1})" if where is not None else ""
        return f"is no YAML: {getattr(error, 'problem', None) or one_line(error)}{line}"
    except RecursionError:
        return "nests too deep"
    except MetapbtError as error:
        return str(error)
    return None


def _size(node: Any, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many nodes there are below a node of YAML, each alias counted in full."""
    import yaml

    if id(node) in above:
        raise MetapbtError("an anchor holds itself")
    if id(node) in known:
        return known[id(node)]
    below = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise MetapbtError(f"has the key {shown(name)} twice (line {node.value[place][0].start_mark.line + 1})")
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:null":
                raise MetapbtError(f"has a key that is no word (line {name.start_mark.line + 1})")
    inner = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else []
    inner = list(node.value) if isinstance(node, yaml.SequenceNode) else inner
    known[id(node)] = 1 + sum(_size(child, known, below) for child in inner)
    if known[id(node)] > _MOST_NODES:
        raise MetapbtError(f"holds more than {_MOST_NODES} values, anchors counted as often as they are used")
    return known[id(node)]
