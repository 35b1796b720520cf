"""A study: groups of runs, read from a file, each run planned before any of them trains.

A file is YAML. Each mapping in it is a group, whose keys are those of ``metapbt run``; a list is swept. What is no
mapping holds for all groups:

    env: lunar_lander
    overrides: [budget.steps=60000, evaluation.episodes=5]
    sources: {method: pb2, context.leg_height: [3.2, 9.6], seed: 0}
    targets: {after: sources, method: [pb2, meta_pb2], context.leg_height: [4.8, 11.2], seed: [0, 1, 2]}

Values are written as behind ``key=`` on the command line, and read by Hydra's own parser: ``seed: range(0,10)`` is
swept, too. The same key is taken from the command line, else from the group, else from what holds for all groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.config import compose, readable_errors, shared_dir, top_level_keys
from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.overrides import yaml_problem
from metapbt.study.sweep import in_words, parsed, product, quoted

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from metapbt.store.table import Identity

_NOT_SWEPT = ("after", "overrides")
_GROUP = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        group: the name of its group.
        overrides: what follows ``metapbt run``, whole; ``--config-dir=DIR`` stands first where there is one.
        path: its run directory.
        members: of its population.
        steps: environment steps that its members train together; candidates and students come on top.
        identity: what it is: environment, context, method, learner, seed.
        cores: that it takes, as its executor says; None where it may have as many as there are.
        config: all that was asked, as its ``config.yaml`` says it.
    """

    group: str
    overrides: tuple[str, ...]
    path: Path
    members: int
    steps: int
    identity: Identity
    cores: int | None
    config: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def title(self) -> str:
        """The run in a few words, for people."""
        it = self.identity
        return " ".join([*([self.group] if self.group else []), it.context.label, it.name, f"seed {it.seed}"])

    @property
    def state(self) -> str:
        """``done``, ``running``, ``failed``, ``stopped`` (it goes on where it was), or ``waiting`` (not begun).

        ``unknown`` is whether another machine works on it, where the file system has no locks.
        """
        from metapbt.store.reading import Removed
        from metapbt.store.results import describe
        from metapbt.store.run_directory import RunDirectory

        directory = RunDirectory(self.path)
        if not directory.exists:
            return "running" if directory.busy else "waiting"
        try:
            return describe(directory).state
        except Removed:
            return "waiting"
        except MetapbtError:  # what is wrong is for the run to say, when it is to go on
            return "stopped"

    def check_same(self) -> None:
        """Refuse where a run that nobody trains was begun here with another configuration.

        Raises:
            MetapbtError: so it is, or what was asked then cannot be read.
        """
        from metapbt.store.run_directory import RunDirectory

        directory = RunDirectory(self.path)
        if directory.exists and not directory.busy:
            directory.check_same(self.config)


@dataclass(frozen=True)
class Group:
    """Runs that may train side by side.

    Attributes:
        name: of the group.
        after: names of the groups that must have ended before, from which its methods with memory learn.
        runs: its runs, in the order in which they start.
        needs: whether at least one run of the groups before must be done.
    """

    name: str
    after: tuple[str, ...]
    runs: tuple[StudyRun, ...]
    needs: bool = True


@dataclass(frozen=True)
class Study:
    """Groups of runs.

    Attributes:
        name: of the study.
        results_dir: where each group has a directory.
        groups: each behind those that it comes after.
    """

    name: str
    results_dir: Path
    groups: tuple[Group, ...]

    @property
    def runs(self) -> tuple[StudyRun, ...]:
        """All runs, in the order in which they start."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def cluster(self) -> str | None:
        """Which choice of ``cluster`` was asked for, by the command line or the file; None to train here."""
        asked = (text.partition("=") for run in self.runs for text in run.overrides)
        return next((value for key, _, value in asked if key == "cluster"), None)


def read_study(name_or_file: str | Path, overrides: Sequence[str] = (), config_dir: Path | None = None) -> Study:
    """Read a study and plan its runs, without touching their directories.

    Args:
        name_or_file: the name of a file in ``conf/study/`` or ``<config_dir>/study/``, or the path of any file.
        overrides: which beat those of the file, as on the command line of ``metapbt run --multirun``;
            ``GROUP.key=value`` is for one group, and ``results_dir=DIR`` takes the place of ``results/<name>``.
        config_dir: a folder of the user's own with more choices.

    Raises:
        MetapbtError: there is no such study; its file cannot be read; a key, value or group in it is wrong; or two runs
            would share a directory.
    """
    file, name = _find(str(name_or_file), config_dir)
    problem = yaml_problem(file)
    if problem is not None:
        raise MetapbtError(f"{file}: {problem}")
    written = _loaded(file)
    common = {key: value for key, value in written.items() if not isinstance(value, Mapping)}
    bodies = {key: value for key, value in written.items() if isinstance(value, Mapping)}
    if "after" in common:
        raise MetapbtError(f"{file}: 'after' belongs into a group: GROUP: {{after: {common['after']}, ...}}")
    if not bodies:
        raise MetapbtError(f"{file}: has no group of runs, such as targets: {{method: pb2, seed: [0, 1]}}")
    for group in bodies:
        if not re.fullmatch(_GROUP, group):
            raise MetapbtError(f"{file}: group {shown(group)} must be called by a word of letters, digits, _ . + and -")
        if group in top_level_keys():
            raise MetapbtError(
                f"{file}: {group} is a key of runs, and no name of a group; for all groups write {group}.KEY: VALUE"
            )
    after = {group: _after(file, group, body, bodies) for group, body in bodies.items()}
    own = {group: [text for text in overrides if text.startswith(f"{group}.")] for group in bodies}
    asked = parsed([text for text in overrides if not any(text in texts for texts in own.values())], config_dir)
    everywhere = parsed(_written(file, None, common), config_dir, f"{file}: ")
    results_dir = _results_dir(name, [*everywhere, *asked])
    groups = []
    for group in _ordered(file, after):
        mine = _body(file, group, bodies[group], config_dir)
        last = parsed([text.removeprefix(f"{group}.") for text in own[group]], config_dir, f"{group}: ")
        together = [*everywhere, *mine, *asked, *last]
        groups.append(_group(file, group, after[group], together, results_dir, config_dir))
    check_distinct(f"{file}: ", [run for group in groups for run in group.runs])
    return Study(name, results_dir, tuple(groups))


def planned(group: str, runs: Sequence[Sequence[str]]) -> tuple[StudyRun, ...]:
    """Plan runs, each given by what follows ``metapbt run``.

    Raises:
        MetapbtError: something asked for is unknown or out of range.
    """
    from metapbt.runs.plan import RunPlan

    made = []
    for overrides in runs:
        asked = RunPlan.of(compose(overrides))
        plan, members = asked.plan, asked.config["population"]["size"]
        if not asked.config["resume"]:
            raise MetapbtError("resume=false would begin each run anew at every start; choose another results_dir")
        steps, cores = members * plan.budget.steps, _cores(plan.executor, members)
        made.append(StudyRun(group, tuple(overrides), plan.path, members, steps, plan.identity, cores, asked.config))
    return tuple(made)


def _cores(executor: Mapping[str, Any], members: int) -> int | None:
    """How many cores an executor takes; None for the one that is there unless somebody asks for another."""
    if executor["name"] == "processes" and executor == {**executor, "workers": None, "threads": 1, "timeout": None}:
        return None
    alone = executor["name"] in ("inline", "vectorised")
    workers, threads = 1 if alone else executor.get("workers") or members, executor.get("threads", 1)
    return workers * threads if isinstance(workers, int) and isinstance(threads, int) else 1


def _find(name: str, config_dir: Path | None) -> tuple[Path, str]:
    """The file of a study, and what the study is called."""
    folders = [folder / "study" for folder in ([config_dir] if config_dir else []) + [shared_dir("conf")]]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml", name
    if Path(name).is_file():
        return Path(name), Path(name).stem
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_dir():
        raise MetapbtError(f"{name} is no file of a study")
    known = {
        path.relative_to(folder).with_suffix("").as_posix() for folder in folders for path in folder.rglob("*.yaml")
    }
    raise unknown_name("study", name, known)


def _loaded(file: Path) -> dict[str, Any]:
    import yaml

    found = yaml.safe_load(file.read_text(encoding="utf-8-sig")) or {}
    return {str(key): value for key, value in found.items()}


def _after(file: Path, group: str, body: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, ...]:
    value = body.get("after", [])
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str):
            raise MetapbtError(
                f"{file}: group {group}: after must be a group's name or a list of them, got {shown(value)}"
            )
        if name not in known:
            raise MetapbtError(f"{file}: group {group}: after: {unknown_name('group', name, known)}")
    return tuple(dict.fromkeys(names))


def _ordered(file: Path, after: Mapping[str, Sequence[str]]) -> list[str]:
    """The groups in the order of the file, but each behind those that it comes after."""
    ordered: list[str] = []
    while len(ordered) < len(after):
        ready = [group for group in after if group not in ordered and set(after[group]) <= set(ordered)]
        if not ready:
            waiting = [group for group in after if group not in ordered]
            raise MetapbtError(f"{file}: groups {', '.join(waiting)} wait for each other: mend their 'after'")
        ordered.append(ready[0])
    return ordered


def _body(file: Path, group: str, body: Mapping[str, Any], config_dir: Path | None) -> list[Override]:
    texts = _written(file, group, body)
    read = parsed(texts, config_dir, f"{file}: group {group}: ")
    if any(override.key_or_group == "results_dir" for override in read):
        raise MetapbtError(f"{file}: group {group}: results_dir is that of the whole study: write it above the groups")
    return read


def _written(file: Path, group: str | None, body: Mapping[str, Any]) -> list[str]:
    """What a mapping of a file says, as overrides of a sweep."""
    where = f"{file}: " if group is None else f"{file}: group {group}: "
    own = body.get("overrides", [])
    if not isinstance(own, list) or not all(isinstance(text, str) for text in own):
        raise MetapbtError(f"{where}overrides must be a list of key=value, got {shown(own)}")
    return [*own, *_flat(where, body, "")]


def _flat(where: str, body: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in body.items():
        if not prefix and key in _NOT_SWEPT:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(where, value, f"{name}.")
        elif isinstance(value, list) and not value:
            raise MetapbtError(f"{where}{name} is swept over nothing; an empty list as one value is [[]]")
        else:
            values = value if isinstance(value, list) else [value]
            yield f"{name}=" + ",".join(in_words(each, f"{where}{name}") for each in values)


def _results_dir(name: str, overrides: Sequence[Override]) -> Path:
    from omegaconf import OmegaConf

    asked = [override for override in overrides if override.key_or_group == "results_dir"]
    if not asked:
        return Path("results") / name
    if asked[-1].is_sweep_override():
        raise MetapbtError(f"{asked[-1].input_line}: a study has one results_dir")
    with readable_errors([str(asked[-1].input_line)]):
        value = OmegaConf.create({"results_dir": asked[-1].value()}).results_dir  # ${oc.env:SCRATCH}
    if not isinstance(value, str) or not value.strip():
        raise MetapbtError(f"results_dir must be the path of a directory, got {shown(value)}")
    return Path(value).expanduser()


def _group(
    file: Path,
    name: str,
    after: tuple[str, ...],
    overrides: Sequence[Override],
    results_dir: Path,
    config_dir: Path | None,
) -> Group:
    mine = [override for override in overrides if override.key_or_group != "results_dir"]
    places = [f"results_dir={quoted(str(results_dir / name))}"]
    if after and not any(override.key_or_group == "meta.results_dir" for override in mine):
        memories = [quoted(str(results_dir / other)) for other in after]
        listed = f"[{','.join(memories)}]"
        places.append(f"meta.results_dir={memories[0] if len(after) == 1 else listed}")
    option = [] if config_dir is None else [f"--config-dir={config_dir}"]
    try:
        return Group(name, after, planned(name, [(*option, *words, *places) for words in product(mine)]))
    except MetapbtError as error:
        raise MetapbtError(f"{file}: group {name}: {error}") from error


def check_distinct(where: str, runs: Sequence[StudyRun]) -> None:
    """Refuse two runs in one directory.

    Args:
        where: what the error begins with.
        runs: of a study.

    Raises:
        MetapbtError: two would share one.
    """
    known: dict[Path, StudyRun] = {}
    for run in runs:
        other = known.setdefault(run.path, run)
        if other is not run:
            differing = sorted(set(run.overrides) ^ set(other.overrides))
            group = f"group {run.group}: " if run.group else ""
            raise MetapbtError(
                f"{where}{group}two runs would share {run.path}; "
                + (f"they differ in {', '.join(differing)}: " if differing else "they are the same: ")
                + "give each a name of its own, as with name=LABEL_${KEY}"
            )
