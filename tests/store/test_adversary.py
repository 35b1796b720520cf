"""What is edited in a finished run by somebody who makes every checksum right again."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from finished_runs import GOOD, TARGET

from metapbt.files import read_arrays, write_arrays
from metapbt.history import Context
from metapbt.store import find_runs, read_history
from metapbt.store.check import problem
from metapbt.store.done import Done
from metapbt.store.memory_table import read_memory, write_memory
from metapbt.store.reading import sealed
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import read_table, to_table, write_table

Entries = list[dict[str, Any]]


class Forger:
    """Edits a run's files, and makes whatever names their checksums right again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = RunDirectory(path)
        self.entries: Entries = [json.loads(line[9:]) for line in (path / "journal").read_bytes().splitlines()]
        self.done: dict[str, Any] = json.loads((path / "DONE").read_text())

    def config(self, edit: Callable[[dict[str, Any]], object]) -> None:
        file = self.path / "config.yaml"
        config = yaml.safe_load(file.read_text())
        edit(config)
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        self.entries[0]["config"] = f"{zlib.crc32(file.read_bytes()):08x}"

    def record(self, place: int, **edit: Any) -> None:
        """Change a record in the journal and, by ``save``, in the table."""
        records = [record for entry in self.entries for record in entry.get("records", ())]
        records[place].update(edit)

    def table(self, column: str, edit: Callable[[list[Any]], list[Any]]) -> None:
        table = read_table(self.directory.records)
        place, old = table.schema.get_field_index(column), table[column]
        changed = pa.array(edit(old.to_pylist()), old.type)
        write_table(self.directory.records, table.set_column(place, table.schema.field(place), changed))

    def save(self, table: bool = True) -> None:
        lines = []
        for entry in self.entries:
            text = json.dumps(entry, separators=(",", ":")).encode()
            lines.append(b"%08x %s\n" % (zlib.crc32(text), text))
        (self.path / "journal").write_bytes(b"".join(lines))
        self.done["journal"] = lines[0][:8].decode()
        self.done.pop("crc32", None)
        (self.path / "DONE").write_text(sealed(self.done))
        if table:
            self.directory.records.unlink()
            (run,) = find_runs(self.path)
            write_table(self.directory.records, to_table(run.identity, read_history(run)))

    def checkpoint(self, edit: Callable[[dict[str, Any]], object]) -> None:
        path = sorted(self.path.glob("checkpoints/*.npz"))[0]
        arrays = read_arrays(path)
        outcome = json.loads(arrays["outcome.json"].tobytes())
        edit(outcome)
        arrays["outcome.json"] = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
        write_arrays(path, arrays)


Edit = Callable[[Forger], object]
#: Of what the files say of one another.
FOUND: dict[str, Edit] = {
    "return in the table": lambda f: f.table("eval_return", lambda v: [*v[:3], v[3] + 1, *v[4:]]),
    "all returns in the table": lambda f: f.table("train_return", lambda v: [2 * x for x in v]),
    "steps in the table": lambda f: f.table("env_steps", lambda v: [*v[:-1], v[-1] + 1]),
    "hyperparameter in the table": lambda f: f.table("hp.h0", lambda v: [0.5, *v[1:]]),
    "seed in the table": lambda f: f.table("seed", lambda v: [7] * len(v)),
    "method in the table": lambda f: f.table("method", lambda v: ["pbt"] * len(v)),
    "context in the table": lambda f: f.table("context.optimum_shift", lambda v: [0.2] * len(v)),
    "rows swapped in the table": lambda f: f.table("member", lambda v: v[::-1]),
    "spent steps": lambda f: f.table("spent_steps", lambda v: [x + 4 for x in v]),
    "seed in the configuration": lambda f: (f.config(lambda c: c.update(seed=5)), f.save(False)),
    "method in the configuration": lambda f: (f.config(lambda c: c["method"].update(name="pb2")), f.save(False)),
    "context in the configuration": lambda f: (
        f.config(lambda c: c.update(features={"optimum_shift": 0.2})),
        f.save(False),
    ),
    "what was changed in the context": lambda f: (f.config(lambda c: c.update(context={})), f.save(False)),
    "population size": lambda f: (f.config(lambda c: c["population"].update(size=3)), f.save(False)),
    "metric": lambda f: (f.config(lambda c: c["population"].update(metric="eval_return")), f.save(False)),
    "a smaller budget": lambda f: (f.config(lambda c: c["budget"].update(steps=8)), f.save(False)),
    "a larger budget": lambda f: (
        f.config(lambda c: c["budget"].update(steps=16)),
        f.entries[0]["run"].update(generations=4),
        f.save(),
    ),
    "a narrower space": lambda f: (f.config(lambda c: c["space"]["h0"].update(low=0.99)), f.save()),
    "another name for all of it": lambda f: (
        f.config(lambda c: c.update(seed=5)),
        f.entries[0]["run"].update(seed=5),
        f.save(),
    ),
    "hyperparameters in both": lambda f: (
        f.record(-1, hyperparameters={"learning_rate": 0.05, "h0": 0.5, "h1": 0.5}),
        f.save(),
    ),
    "hyperparameter out of range in both": lambda f: (
        f.record(-1, hyperparameters={"learning_rate": 9, "h0": 0.5, "h1": 0.5}),
        f.save(),
    ),
    "source in both": lambda f: (f.record(5, source="grid"), f.save()),
    "parent in both": lambda f: (f.record(-1, parent=2, parent_generation=0), f.save()),
    "parent to come in both": lambda f: (f.record(4, parent=1, parent_generation=2), f.save()),
    "restart in both": lambda f: (f.record(-1, restart=True), f.save()),
    "steps back in both": lambda f: (f.record(-1, env_steps=3), f.save()),
    "steps and what was asked in both": lambda f: (f.record(-1, env_steps=11, until_steps=11), f.save()),
    "last returns in both": lambda f: (f.record(-1, train_return=0.1, eval_return=0.1), f.save()),
    "the best of all in both": lambda f: (f.record(0, train_return=9.9, eval_return=9.9), f.save()),
    "negative seconds in both": lambda f: (f.record(0, wall_seconds=-1.0), f.save()),
    "a record left out of both": lambda f: (f.entries[1]["records"].pop(), f.save()),
    "a record twice in both": lambda f: (f.entries[1]["records"].append(f.entries[1]["records"][0]), f.save()),
    "generations swapped in both": lambda f: (f.entries.insert(1, f.entries.pop(2)), f.save()),
    "a member of whom nobody knew": lambda f: (f.record(3, member=7), f.save()),
    "the last generation left out of all": lambda f: (
        f.entries.pop(),
        f.done.update(generations=2, records=8),
        f.save(),
    ),
    "decision": lambda f: (next(iter(f.entries[0]["decisions"].values()))["hyperparameters"].update(h0=0.5), f.save()),
    "test return": lambda f: (f.done.update(test_return=1e9), f.save(False)),
    "infinite test return": lambda f: (f.done.update(test_return=float("inf")), f.save(False)),
    "test episodes": lambda f: (f.done.update(test_episodes=1000), f.save(False)),
    "another best": lambda f: (f.done.update(best=[0, 0]), f.save(False)),
    "generations in DONE": lambda f: (f.done.update(generations=2), f.save(False)),
    "score in DONE": lambda f: (f.done.update(eval_return=99.0), f.save(False)),
    "count in DONE": lambda f: (f.done.update(records=3), f.save(False)),
    "DONE of another run": lambda f: shutil.copy(f.path.parents[3] / GOOD / "DONE", f.path),
    "outcome of a checkpoint": lambda f: f.checkpoint(lambda o: o.update(eval_return=9.9)),
    "hyperparameters of a checkpoint": lambda f: f.checkpoint(lambda o: o["hyperparameters"].update(h0=0.123)),
    "a checkpoint exchanged": lambda f: shutil.copy(*sorted(f.path.glob("checkpoints/*.npz"))[:2]),
    "a checkpoint removed": lambda f: sorted(f.path.glob("checkpoints/*.npz"))[0].unlink(),
    "a checkpoint of something else": lambda f: write_arrays(
        sorted(f.path.glob("checkpoints/*.npz"))[0], {"a": np.zeros(3)}
    ),
    "ancestry": lambda f: write_memory(f.directory.memory, read_memory(f.directory.memory)[0], []),
    "more ancestry": lambda f: write_memory(
        f.directory.memory,
        read_memory(f.directory.memory)[0],
        [*read_memory(f.directory.memory)[1], Context({"optimum_shift": 0.9})],
    ),
    "memory of another context": lambda f: _forged_memory(f, "context.optimum_shift", 0.15),
    "memory of another environment": lambda f: _forged_memory(f, "env", "cart_pole"),
    "memory removed": lambda f: f.directory.memory.unlink(),
    "a failure beside the end": lambda f: (f.path / "FAILED").write_text("it failed\n"),
    "something left over": lambda f: (f.path / ".metapbt-0123456789abcdef.tmp.parquet").touch(),
    "the journal removed": lambda f: (f.path / "journal").unlink(),
    "the table removed": lambda f: f.directory.records.unlink(),
}
#: What no other file bears witness to: returns in the midst of a run, and how long it took.
NOT_FOUND: dict[str, Edit] = {
    "a return in the midst, in both": lambda f: (f.record(4, train_return=0.4, eval_return=0.4), f.save()),
    "test return within reason": lambda f: (f.done.update(test_return=1.5), f.save(False)),
    "seconds in both": lambda f: (f.record(4, wall_seconds=9.0), f.save()),
}


def _forged_memory(forger: Forger, column: str, value: Any) -> None:
    table, ancestry = read_memory(forger.directory.memory)
    place = table.schema.get_field_index(column)
    forged = pa.array([value] * len(table), table[column].type)
    write_memory(forger.directory.memory, table.set_column(place, table.schema.field(place), forged), ancestry)


def said_of(study: Path, tmp_path: Path, edit: Edit) -> str | None:
    results = tmp_path / "results"
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(study, results)
    edit(Forger(results / TARGET))
    problems: list[str] = []
    runs = find_runs(results / TARGET, lambda error: problems.append(str(error)))
    return problems[0] if problems else problem(runs[0])


def test_what_an_adversary_edits_is_found_where_another_file_bears_witness(study: Path, tmp_path: Path) -> None:
    assert said_of(study, tmp_path, lambda forger: forger.save()) is None  # the forger's hand alone shows nowhere
    passed = [name for name, edit in FOUND.items() if said_of(study, tmp_path, edit) is None]
    assert not passed
    assert len(FOUND) >= 50
    assert [name for name, edit in NOT_FOUND.items() if said_of(study, tmp_path, edit) is not None] == []


def test_a_run_is_not_what_it_says_where_only_its_seed_or_its_name_was_changed(study: Path, tmp_path: Path) -> None:
    for other in ("quadratic/optimum_shift=0.15/meta_pb2/seed_1", "quadratic/optimum_shift=0.15/pb2/seed_0"):
        shutil.copytree(study / TARGET, tmp_path / other)
        (run,) = find_runs(tmp_path / other)
        assert f"its path is {other}" in str(problem(run))
    shutil.copytree(study / TARGET, tmp_path / "elsewhere" / "kept")  # moved, it is still what it was
    (run,) = find_runs(tmp_path / "elsewhere")
    assert problem(run) is None


def test_done_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "DONE").write_text("generations: 3\ntest_return: 1.5\ntest_episodes: 2\nbest:\n- 1\n- 0\n")
    assert Done.read(tmp_path / "DONE") == Done(3, 1.5, 2, (1, 0))
    (tmp_path / "DONE").write_text("4\n")
    assert Done.read(tmp_path / "DONE") == Done(4)
