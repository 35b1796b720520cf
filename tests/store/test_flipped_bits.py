"""No flipped bit is read as right: an error, a finding of the check, or what had been written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from finished_runs import TARGET, working_in

from metapbt.errors import MetapbtError
from metapbt.store import RunDirectory, find_runs
from metapbt.store.check import problem
from metapbt.store.done import failure_text
from metapbt.store.memory_table import read_memory
from metapbt.store.results import read_run

FLIPS = 50


def read(results: Path) -> tuple[str, str | None] | None:
    """All that the files of the run say, and what the check finds; None where they cannot be read."""
    problems: list[MetapbtError] = []
    runs = {run.path: run for run in find_runs(results, problems.append)}
    if problems:
        return None
    run, directory = runs[results / TARGET], RunDirectory(results / TARGET)
    try:
        table, (memory, ancestry) = read_run(run), read_memory(directory.memory)
        said = [run, table and table.to_pydict(), memory.to_pydict(), sorted(map(repr, ancestry)), directory.config()]
    except MetapbtError:
        return None
    return repr(said), problem(run)


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_no_flipped_bit_is_read_as_right(study: Path, tmp_path: Path, state: str) -> None:
    study = shutil.copytree(study, tmp_path / "results")
    draw = random.Random(state)
    directory = RunDirectory(study / TARGET)
    if state != "done":
        (directory.path / "DONE").unlink()
    if state == "failed":
        (directory.path / "FAILED").write_text(failure_text("member 1 failed 4 times: out of memory"))
    with working_in(study.parent):
        before = read(study)
        assert before is not None
        assert before[1] is None
        files = [path for path in directory.path.rglob("*") if path.is_file() and path.name not in (".lock", "run.log")]
        assert len(files) >= 8
        found = 0
        for path in files:
            whole = path.read_bytes()
            for _ in range(FLIPS if path.parent == directory.path else 8):
                place = draw.randrange(8 * len(whole))
                flipped = bytearray(whole)
                flipped[place // 8] ^= 1 << place % 8
                path.write_bytes(flipped)
                after = read(study)
                right = after is None or after[1] is not None or after[0] == before[0]
                assert right, (path.name, place, after, before)
                found += after is None or after[1] is not None
            path.write_bytes(whole)
        assert found > FLIPS
