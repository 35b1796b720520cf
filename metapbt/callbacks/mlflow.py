"""MLflow: a run for each member, nested in the population's."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

from metapbt.callbacks.base import RunStart
from metapbt.callbacks.logger import POPULATION, Entry, LoggerCallback, about, key_of
from metapbt.errors import MetapbtError

_KEY, _STREAM = "metapbt.run", "metapbt.stream"
_MOST = 900  # numbers in one batch, of which MLflow takes 1,000
_LONGEST = 4000  # characters of a tag


@dataclass
class _Kept:
    """What MLflow has of a stream, and what it is to be told next."""

    id: str
    last: int  # step
    lineage: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class MlflowCallback(LoggerCallback):
    """Logs to MLflow, which reads where to from ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME``.

    Raises:
        MetapbtError: MLflow is not installed.
    """

    title = "MLflow"

    def __init__(self) -> None:
        try:
            import alembic  # noqa: F401 - of the database, which MLflow's small package leaves out
            import sqlalchemy  # noqa: F401
            from mlflow import entities
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MetapbtError('callbacks=[mlflow] needs MLflow: pip install "metapbt[mlflow]"') from error
        for name in ("mlflow", "alembic"):  # what they say of making a database
            logging.getLogger(name).setLevel(logging.WARNING)
        self._entities: Any = entities
        self._make: Any = MlflowClient
        self._kept: dict[str, _Kept] = {}

    def begin(self, run: RunStart) -> None:
        """Find what is there of this run."""
        self._client = self._make()
        self._experiment, self._key = self._find_experiment(), key_of(run, "mlflow")
        self._title, self._about = run.title, about(run)
        self._known = {it.data.tags[_STREAM]: it for it in self._all_runs()}
        self._of(POPULATION)

    def write(self, stream: str, entry: Entry) -> None:
        """Keep it until the generation ends."""
        kept = self._of(stream)
        if "lineage" in entry.texts:
            kept.lineage.append(entry.texts["lineage"])
        kept.tags |= {name.replace("/", "."): text for name, text in entry.texts.items()}
        if entry.step > kept.last or "test_return" in entry.numbers:
            kept.entries.append(entry)

    def flush(self) -> None:
        """Send it: tags first, which may be sent twice."""
        for kept in self._kept.values():
            if kept.lineage:
                kept.tags["lineage"] = "\n".join(kept.lineage)[-_LONGEST:]
            for name, text in kept.tags.items():
                self._client.set_tag(kept.id, name, text[:_LONGEST])
            kept.tags.clear()
            self._send(kept)

    def leave(self, stream: str) -> None:
        """Its run has finished."""
        self.flush()
        self._client.set_terminated(self._kept.pop(stream).id)

    def end(self, finished: bool) -> None:
        """All runs have finished, or were stopped."""
        self.flush()
        for kept in self._kept.values():
            self._client.set_terminated(kept.id, "FINISHED" if finished else "KILLED")

    def _send(self, kept: _Kept) -> None:
        now = int(time.time() * 1000)
        batch: list[Any] = []
        for entry in kept.entries:
            if len(batch) + len(entry.numbers) > _MOST:
                self._client.log_batch(kept.id, metrics=batch)
                batch = []
            batch += [self._entities.Metric(name, number, now, entry.step) for name, number in entry.numbers.items()]
            kept.last = entry.step
        if batch:
            self._client.log_batch(kept.id, metrics=batch)
        kept.entries.clear()

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "metapbt")
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another run was quicker
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _all_runs(self) -> list[Any]:
        found, page = [], None
        while True:
            part = self._client.search_runs([self._experiment], f"tags.`{_KEY}` = '{self._key}'", page_token=page)
            found += part
            page = part.token
            if not page:
                return found

    def _of(self, stream: str) -> _Kept:
        if stream in self._kept:
            return self._kept[stream]
        known = self._known.get(stream)
        if known is None:
            known = self._begin(stream)
        else:
            self._client.update_run(known.info.run_id, status="RUNNING")
        kept = _Kept(known.info.run_id, int(known.data.metrics.get("spent_steps", -1)))
        self._kept[stream] = kept
        return kept

    def _begin(self, stream: str) -> Any:
        tags = {_KEY: self._key, _STREAM: stream, "group": self._title[:_LONGEST]}
        name = self._title
        if stream != POPULATION:
            tags["mlflow.parentRunId"] = self._of(POPULATION).id
            name = stream.replace("_", " ")
        run = self._client.create_run(self._experiment, run_name=name[:250], tags=tags)
        params = [self._entities.Param(key, str(value)) for key, value in self._about.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return run
