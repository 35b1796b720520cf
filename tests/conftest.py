"""Settings of all tests."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

# As in worker processes; set before anything numerical is loaded, and inherited by every subprocess.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# Compiled functions of the tests stay out of the user's cache, and are there for the next tests.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))


from metapbt.store import journal  # noqa: E402 - after the threads are limited


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that other users can enter, too; ``tmp_path`` is the user's alone."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


class Killed(BaseException):
    """What ends a run in a test; nothing catches it."""


class Writes:
    """Counts the places where a run may die: when a file would take its name, and within an entry of the journal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._replace = Path.replace
        self._write_through = journal.write_through

    def during(self, run: Callable[[], object]) -> int:
        """How many such places a run has."""
        return self._run(run, None)

    def kill_before(self, number: int, run: Callable[[], object]) -> None:
        """Let a run die at one of them, counted from 1."""
        with pytest.raises(Killed):
            self._run(run, number)

    def _run(self, run: Callable[[], object], limit: int | None) -> int:
        count = 0

        def replace(path: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == limit:
                raise Killed
            return self._replace(path, target)

        def write_through(file: Any, data: bytes) -> None:
            nonlocal count
            count += 1
            if count == limit:
                self._write_through(file, data[: len(data) // 2])
                raise Killed
            self._write_through(file, data)

        with self._monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(journal, "write_through", write_through)
            run()
        return count


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


@pytest.fixture
def briefly_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of memory that are trained for a few steps, for tests to which it does not matter what they learn."""
    from metapbt.memory import training

    for name in ("PLAIN", "DEEP"):
        phase = getattr(training, name)
        brief = replace(phase, steps=training.CHECK_EVERY, usual=min(phase.usual, training.CHECK_EVERY))
        monkeypatch.setattr(training, name, brief)
