"""Settings of all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# As in worker processes; set before anything numerical is loaded, and inherited by every subprocess.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# Compiled functions of the tests stay out of the user's cache, and are there for the next tests.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))


class Killed(BaseException):
    """What ends a run in a test; nothing catches it."""


class Writes:
    """Counts files at the moment when they would take their names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._original = Path.replace

    def during(self, run: Callable[[], object]) -> int:
        """How many whole files a run writes."""
        return self._run(run, None)

    def kill_before(self, number: int, run: Callable[[], object]) -> None:
        """Let a run die just before a file, counted from 1, takes its name."""
        with pytest.raises(Killed):
            self._run(run, number)

    def _run(self, run: Callable[[], object], limit: int | None) -> int:
        count = 0

        def replace(path: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == limit:
                raise Killed
            return self._original(path, target)

        with self._monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            run()
        return count


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)
