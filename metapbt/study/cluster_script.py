"""A shell script that submits runs to a cluster, and trains them there or here: a template of ``jobs/``, filled in.

The scripts do the work themselves (see ``jobs/slurm.sh``): which runs are finished, which are in the queue, how they
are submitted, what happens at a time limit. Scripts of contexts and of a study's groups differ only in their runs.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metapbt.config import shared_dir
from metapbt.errors import MetapbtError
from metapbt.files import atomic_file
from metapbt.plain import whole_number

#: In every script's head, so that only what was written by ``metapbt`` is ever removed or run by it.
MARKER = "# Written by `metapbt "


@dataclass(frozen=True)
class ClusterRun:
    """One run of a script.

    Args:
        directory: where it is kept, ``.../seed_<n>``.
        overrides: what ``metapbt run`` is told of it; the seed may be left out.
    """

    directory: Path
    overrides: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterScript:
    """What one script is to say.

    Args:
        path: of the script.
        job: a word: how its jobs' names begin, and how its log is called.
        title: what it is about, in one line.
        command: that wrote it, ``metapbt scripts ...``.
        log_directory: below ``cluster.log_dir``.
        runs: what it trains; those that differ only in the seed are to stand together, and become one array of jobs.
        sources: directories of the runs that these learn from: one of them must be finished before one of these begins.
        after: whose runs the sources are, in words.
    """

    path: Path
    job: str
    title: str
    command: str
    log_directory: str
    runs: Sequence[ClusterRun]
    sources: Sequence[Path] = ()
    after: str = ""


def write_cluster_script(script: ClusterScript, cluster: Mapping[str, Any]) -> None:
    """Write a script, executable; see `rendered`."""
    write_executable(script.path, rendered(script, cluster))


def rendered(script: ClusterScript, cluster: Mapping[str, Any]) -> str:
    """A script's text.

    Args:
        script: what it is to say.
        cluster: a checked choice of ``conf/cluster``.

    Raises:
        MetapbtError: the template is missing or cannot be filled in.
    """
    common, own = _shared([_without_seed(run.overrides) for run in script.runs])
    arrays = {run.directory.parent.as_posix(): words for run, words in zip(script.runs, own, strict=True)}
    log_directory = f"{cluster['log_dir']}/{script.log_directory}"
    values = {
        "title": _one_line(script.title),
        "command_name": script.command.split()[1],
        # A line break in an override must not end the comment that shows it.
        "command": script.command.replace("\n", "\n#   ").replace("\r", " "),
        "job": script.job,
        "cluster": cluster,
        "limit": "" if cluster["max_parallel"] is None else f"%{cluster['max_parallel']}",
        "setup": cluster["setup"].splitlines(),
        "project": Path(os.path.relpath(Path.cwd(), script.path.parent.resolve())).as_posix(),
        "script": Path(os.path.relpath(script.path.resolve(), Path.cwd())).as_posix(),
        "log": f"{log_directory}/{script.job}",
        "log_directory": log_directory,
        "runs": [{"directory": run.directory.as_posix()} for run in script.runs],
        "overrides": common,
        "arrays": list(arrays.items()) if any(own) else [],
        "sources": [source.as_posix() for source in script.sources],
        "after": _one_line(script.after),
    }
    return _render(cluster["template"], values)


def _without_seed(overrides: Sequence[str]) -> list[str]:
    """A run's directory says its seed."""
    return [text for text in overrides if not text.startswith("seed=")]


def _shared(runs: Sequence[Sequence[str]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """What all runs are told, and what each is told beside it.

    A key that somebody sets twice stays where it was set: of two, the last one counts.
    """
    keys = [[text.partition("=")[0] for text in run] for run in runs]
    once = set.intersection(*({key for key in own if own.count(key) == 1} for own in keys))
    common = [text for text in runs[0] if text.partition("=")[0] in once and all(text in run for run in runs)]
    return common, [tuple(text for text in run if text not in common) for run in runs]


def _seconds(time: str) -> int:
    """Of Slurm's ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours`` and ``days-hours:minutes:seconds``."""
    days, dash, clock = time.rpartition("-")
    parts = list(map(int, clock.split(":")))
    hours, minutes, seconds = (parts + [0, 0])[:3] if dash or len(parts) == 3 else (0, *parts)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def check_cluster(cluster: Mapping[str, Any]) -> None:
    """Check the keys of ``conf/cluster`` that would otherwise fail in a job, or garble its header.

    Raises:
        MetapbtError: a key is missing or cannot be used.
    """
    # YAML reads an unquoted 24:00:00 as a number (86,400), so a number may not be what its writer meant.
    if not isinstance(cluster.get("time"), str) or not re.fullmatch(
        r"(\d+-)?\d+:\d\d(:\d\d)?|\d+-\d+", cluster["time"]
    ):
        raise MetapbtError(f"cluster.time must be like '04:00:00' or '2-00:00:00', quoted, got {cluster.get('time')!r}")
    for key, lowest, optional in (("cpus", 1, False), ("stop_seconds", 1, False), ("max_parallel", 1, True)):
        if not (optional and cluster.get(key) is None):
            whole_number(f"cluster.{key}", cluster.get(key), lowest)
    if cluster["stop_seconds"] >= _seconds(cluster["time"]):
        raise MetapbtError(
            f"cluster.stop_seconds must be less than cluster.time, or a job is told to stop as it begins, "
            f"got {cluster['stop_seconds']} and {cluster['time']}"
        )
    for key, optional in (
        ("template", False), ("memory", False), ("log_dir", False), ("mail_when", False), ("partition", True),
        ("account", True), ("gres", True), ("mail", True),
    ):  # fmt: skip
        word = cluster.get(key)
        if not (optional and word is None) and not re.fullmatch(r"\S+", str("" if word is None else word)):
            raise MetapbtError(f"cluster.{key} must be a word without spaces, got {word!r}")
    options = cluster.get("options")
    if not isinstance(options, list) or not all(re.fullmatch(r"-[^\n]+", str(option)) for option in options):
        raise MetapbtError(f"cluster.options must be a list of sbatch options like '--qos=normal', got {options!r}")
    if not isinstance(cluster.get("requeue"), bool):
        raise MetapbtError(f"cluster.requeue must be true or false, got {cluster.get('requeue')!r}")
    if not isinstance(cluster.get("setup"), str):
        raise MetapbtError(f"cluster.setup must be shell commands (possibly ''), got {cluster.get('setup')!r}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _render(template: str, values: Mapping[str, Any]) -> str:
    import jinja2

    own = Path(template)
    path = own if own.is_file() else shared_dir("jobs") / template
    if not path.is_file():
        known = sorted(file.name for file in shared_dir("jobs").glob("*.sh"))
        raise MetapbtError(f"cluster.template '{template}' is neither a file nor one of {', '.join(known)}")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Jinja's usual {# would begin in the shell's ${#array[@]}.
        comment_start_string="{%#",
        comment_end_string="#%}",
    )
    environment.filters["quote"] = shlex.quote
    try:
        text = environment.from_string(path.read_text(encoding="utf-8")).render(values)
    except jinja2.TemplateError as error:
        raise MetapbtError(f"{path} cannot be filled in: {error}") from error
    return text


def write_executable(path: Path, text: str) -> None:
    """Write a script whole and under a new inode: a shell that is running the old one goes on reading the old one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    mode = path.stat().st_mode
    path.chmod(mode | (mode & 0o444) >> 2)
