"""What TensorBoard, Weights & Biases and MLflow are told: each member is a run in its population's group."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from metapbt.callbacks.base import Callback, RunStart
from metapbt.errors import named
from metapbt.files import write_text_atomically
from metapbt.history import History, Record, Ref
from metapbt.log import LOGGER, rounded

#: The stream of what is known of all members together.
POPULATION = "population"


@dataclass(frozen=True)
class Entry:
    """What a stream is told at a step.

    Attributes:
        step: environment steps that the run had spent, all members together; along a stream it only grows.
        numbers: finite ones, by name.
        texts: what is new and no number: ``lineage``, and hyperparameters that are words.
    """

    step: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


class LoggerCallback(Callback):
    """Tells a logger of each record, in the order of the journal, once it stands there.

    What is told is a function of the history, so a run that goes on after a stop tells all of it again, and
    ``write`` passes over what the logger has. A logger that fails is given up with one warning; the run goes on.
    """

    #: What people call it.
    title = "a logger"
    _given_up = True  # until it is told that the run starts

    def begin(self, run: RunStart) -> None:
        """The run starts or goes on."""

    def write(self, stream: str, entry: Entry) -> None:
        """Log an entry of a stream: of ``population``, or of ``member_3``."""
        raise NotImplementedError

    def flush(self) -> None:
        """Let readers see what was written."""

    def leave(self, stream: str) -> None:
        """A candidate or student has gone: its stream ends."""

    def end(self, finished: bool) -> None:
        """The run has finished, or was stopped."""

    # --- from here on what subclasses leave alone

    def on_start(self, run: RunStart) -> None:
        """Begin with what was trained before."""
        self._given_up, self._metric, self._size = False, run.metric, run.size
        self._told, self._spent, self._best = 0, 0, -math.inf
        self._open: dict[int, dict[str, str]] = {}  # of each member the hyperparameters that are words
        self._safely(lambda: self.begin(run))
        self._safely(lambda: self._tell(run.history))

    def on_generation(self, history: History) -> None:
        """Tell of what is new."""
        self._safely(lambda: self._tell(history))

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """Tell of the rest, and of the test."""
        self._safely(lambda: self._tell(history))
        if tested is not None:
            self._safely(lambda: self._tell_test(*tested))
        self._safely(lambda: self.end(tested is not None))

    def _safely(self, tell: Callable[[], None]) -> None:
        if self._given_up:
            return
        try:
            tell()
        except Exception as error:
            self._given_up = True
            LOGGER.warning(
                "%s failed and gets no more updates from this run, which continues (once resumed, it gets all): %s",
                self.title,
                named(error),
            )
            with suppress(Exception):
                self.end(False)

    def _tell(self, history: History) -> None:
        for record in history.records[self._told :]:
            self._tell_record(history, record)
        self._told = len(history)
        gone_for_good = self._open.keys() - set(history.members) - set(range(self._size))  # members come back
        for gone in gone_for_good:
            del self._open[gone]
            self.leave(stream_of(gone))
        self.flush()

    def _tell_record(self, history: History, record: Record) -> None:
        self._spent += record.env_steps - history.steps_before(record)
        words = self._open.setdefault(record.member, {})
        texts, numbers = {}, {}
        born = lineage_of(record)
        if born:
            texts["lineage"] = born
        for name, value in record.hyperparameters.items():
            if isinstance(value, int | float):
                numbers[f"hp/{name}"] = float(value)
            elif words.get(name) != (text := _text(value)):
                texts[f"hp/{name}"] = words[name] = text
        if record.failed:
            numbers = {}
        else:
            numbers |= {
                name: float(getattr(record, name))
                for name in ("train_return", "eval_return", "env_steps", "episodes", "wall_seconds")
            }
            numbers |= {"generation": record.generation + 1, "era": history.era(record) + 1, "spent_steps": self._spent}
        if numbers or texts:
            finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
            self.write(stream_of(record.member), Entry(self._spent, finite, texts))
        value = record.value(self._metric)
        if value > self._best:
            self._best = value
        if math.isfinite(self._best) and not record.failed:
            self.write(POPULATION, Entry(self._spent, {"best_return": self._best, "spent_steps": self._spent}))

    def _tell_test(self, agent: Record, test_return: float) -> None:
        numbers = {"test_return": test_return} if math.isfinite(test_return) else {}
        said = f"member {agent.member} of generation {agent.generation + 1}, after {agent.env_steps:,} steps"
        self.write(POPULATION, Entry(self._spent, numbers, {"tested": said}))
        if agent.member in self._open:
            self.write(stream_of(agent.member), Entry(self._spent, numbers))


def stream_of(member: int) -> str:
    """The name of a member's stream."""
    return f"member_{member}"


def lineage_of(record: Record) -> str:
    """Where an agent comes from, in words, and what became of it; nothing where the member just trained on."""
    parts = []
    if record.restart and record.origin is not None:
        parts.append(f"began anew with what was left of {_agent(record.origin)}'s weights ({record.source})")
    elif record.parent is not None and record.origin is not None:
        parts.append(f"copied {_agent(record.origin)} ({record.source})")
    elif record.restart:
        parts.append("began anew")
    if record.teacher is not None:
        parts.append(f"taught by {_agent(record.teacher)}")
    if record.failed:
        parts.append("could not be trained")
    return f"generation {record.generation + 1}: {', '.join(parts)}" if parts else ""


def about(run: RunStart) -> dict[str, Any]:
    """What a logger keeps of a run beside its streams."""
    context = {f"context.{name}": value for name, value in run.context.items()}
    return {"env": run.env, "name": run.name, "seed": run.seed, "metric": run.metric, **context}


def key_of(run: RunStart, logger: str) -> str:
    """A name that a logger keeps the run under: the same after a stop, another one where it is trained anew.

    It stands in a file of the run directory, ``wandb_id`` of the logger ``wandb``.
    """
    place = run.path / f"{logger}_id"
    if run.resumed and place.is_file():
        key = place.read_text(encoding="utf-8", errors="replace")[:64].strip()
        if key.isalnum() and key.isascii():
            return key
    key = uuid.uuid4().hex[:12]
    write_text_atomically(place, f"{key}\n", parents=False)
    return key


def _agent(ref: Ref) -> str:
    return f"member {ref.member} of generation {ref.generation + 1}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else rounded(value) if value is None else json.dumps(value, default=str)
