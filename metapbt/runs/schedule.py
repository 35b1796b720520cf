"""The hyperparameter schedule of a run's best agent, as a file that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.history import History
from metapbt.log import counted
from metapbt.plain import same, thawed
from metapbt.runs.lineage import lineage
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Schedule:
    """A schedule that was written.

    Attributes:
        path: of the file.
        content: what is in it; see `write_schedule`.
    """

    path: Path
    content: Mapping[str, Any]

    def __str__(self) -> str:
        intervals, born = self.content["intervals"], self.content["born_after"]
        names = ", ".join(intervals[0]["hyperparameters"]) or "no hyperparameters"
        said = f"{self.path}: {names} of {counted(len(intervals), 'interval')}, {intervals[-1]['end']:,} steps"
        return f"{said}; its agent was born after {born:,} steps of another's" if born else said


def schedule_of(info: RunInfo, history: History) -> dict[str, Any]:
    """The schedule along the best agent's line of descent, from its birth on, as plain data.

    What is in it is said at `write_schedule`.

    Raises:
        MetapbtError: there is no record yet, or one on the way is missing.
    """
    records = lineage(history)
    born, config = history.steps_before(records[0]), RunDirectory(info.path).config()
    return {
        "run": info.identity.run_id,
        "env": info.env,
        "context": dict(info.context),
        "learner": config.get("learner"),
        "budget": config.get("budget"),
        "born_after": born,
        "intervals": [
            {
                "generation": record.generation,
                "start": history.steps_before(record) - born,
                "end": record.env_steps - born,
                "hyperparameters": thawed(record.hyperparameters),
            }
            for record in records
        ],
    }


def write_schedule(info: RunInfo, history: History, file: Path) -> Schedule:
    """Write the schedule along the best agent's line of descent as YAML, whole or not at all, and read it again.

    After a restart or a change of architecture that line begins with the birth of the new agent. In the file:

    - ``run``, ``env``, ``context`` (all features), ``learner`` (its settings, what was not tuned among them),
      ``budget``;
    - ``born_after``: steps of a teacher's before the agent's first, or of the agent whose weights were shrunk for it; 0
      where the line begins with the run;
    - ``intervals``: of each ``generation``, ``start`` and ``end`` in environment steps since the agent's birth, and its
      ``hyperparameters``, which hold for all rollouts that begin in ``start <= steps < end``.

    Raises:
        MetapbtError: there is no record yet, one on the way is missing, or YAML does not give back what was written.
        OSError: the file cannot be written.
    """
    content = schedule_of(info, history)
    text = yaml.safe_dump(content, sort_keys=False)
    if not same(yaml.safe_load(text), content):
        raise MetapbtError(f"the schedule of {info.path} cannot be written as YAML")
    write_text_atomically(file, text)
    return Schedule(file, content)
