"""Which records are sound, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from metapbt.envs import make_context
from metapbt.history import History, Record
from metapbt.store.check import problem
from metapbt.store.checkpoint import Outcome, save_checkpoint
from metapbt.store.done import Done
from metapbt.store.results import find_runs
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import Identity, to_table, write_table


def record(generation: int, member: int, parent: int | None = None, **more: object) -> Record:
    return Record(generation, member, parent, "random", {"h0": 1.0}, 4 * (generation + 1), 0.0, 0.0, **more)


def said_of(folder: Path, records: list[Record], generations: int | None = None, size: int = 2) -> str | None:
    context = make_context("quadratic")
    config = {
        "env": "quadratic",
        "context": {},
        "features": dict(context),
        "budget": {"steps": 16, "interval": 4},
        "method": {"name": "pbt"},
        "learner": {"name": "quadratic"},
        "population": {"metric": "train_return", "size": size},
        "seed": 0,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    directory = RunDirectory(folder)
    identity = Identity("run", "quadratic", context, "pbt", "pbt", "quadratic", 0)
    if records:
        write_table(directory.records, to_table(identity, History(tuple(records))))
    if generations is not None:
        directory.mark_done(Done(generations))
    (run,) = find_runs(folder)
    return problem(run)


IN_STEP = [record(generation, member) for generation in range(3) for member in range(2)]
# Member 1 is slower, and copies what member 0 was two generations later.
ASYNCHRONOUS = [
    record(0, 0),
    record(1, 0),
    record(0, 1),
    record(2, 0),
    replace(record(1, 1, parent=0, parent_generation=2), env_steps=16),
    replace(record(2, 1), env_steps=20),
]
CANDIDATES = [
    *(record(0, member) for member in range(5)),
    record(1, 0, parent=4, parent_generation=0),
    record(1, 1),
]
BACKTRACKING = [*IN_STEP, record(3, 0, parent=1, parent_generation=0), record(3, 1)]
REBORN = [*IN_STEP, record(3, 0, restart=True, teacher_generation=1, teacher_member=1), record(3, 1)]


@pytest.mark.parametrize(
    ("records", "generations"),
    [(IN_STEP, 3), (ASYNCHRONOUS, 3), (CANDIDATES, 2), (BACKTRACKING, 4), (REBORN, 4)],
    ids=["in step", "asynchronous", "candidates", "backtracking", "restart with a teacher"],
)
def test_runs_of_every_kind_are_sound(tmp_path: Path, records: list[Record], generations: int) -> None:
    assert said_of(tmp_path, records, generations) is None


def test_a_run_that_goes_on_is_sound_as_far_as_it_came(tmp_path: Path) -> None:
    assert said_of(tmp_path, ASYNCHRONOUS[:4]) is None


def test_a_run_without_records_is_sound_unless_it_is_done(tmp_path: Path) -> None:
    assert said_of(tmp_path, []) is None
    assert said_of(tmp_path, [], generations=3) == "DONE, but there are no records"


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([*IN_STEP, IN_STEP[-1]], "there are two records of generation 2 of member 1"),
        ([r for r in IN_STEP if r.ref != (1, 0)], "the records lack generation 1 of member 0"),
        ([IN_STEP[0], *IN_STEP[2:]], "generation 1 of member 1 goes on from generation 0 of member 1"),
        ([*IN_STEP[:2], record(1, 0, parent=3), record(1, 1)], "generation 1 of member 0 goes on from generation 0 of"),
        (
            [record(0, 0), record(0, 1), record(1, 1, parent=0, parent_generation=1), record(1, 0)],
            "generation 1 of member 1 goes on from generation 1 of member 0, which has no record before it",
        ),
        (
            [*IN_STEP, replace(REBORN[-2], teacher_generation=7)],
            "the teacher of generation 3 of member 0 has no record before it",
        ),
    ],
    ids=["twice", "gap", "begins late", "unknown parent", "parent later", "unknown teacher"],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, records: list[Record], words: str) -> None:
    assert words in str(said_of(tmp_path, records))


def test_records_that_end_early_do_not_fit_done(tmp_path: Path) -> None:
    assert said_of(tmp_path, IN_STEP[:4], 3) == "DONE after 3 generations, but there are records of 2"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    said_of(tmp_path, IN_STEP, 3)
    (tmp_path / "records.parquet").write_bytes(b"damaged")
    (run,) = find_runs(tmp_path)
    assert "records.parquet cannot be read" in str(problem(run))


def test_a_journal_that_is_damaged_or_says_something_else_is_named(tmp_path: Path) -> None:
    journal = RunDirectory(tmp_path).journal
    journal.begin({})
    journal.append(IN_STEP[:4], {})
    assert said_of(tmp_path, IN_STEP, 3) == "records.parquet has 6 records, and the journal 4"
    journal.append(IN_STEP[4:], {})
    assert said_of(tmp_path, IN_STEP, 3) is None
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-5])
    assert "journal is cut at entry 3" in str(said_of(tmp_path, IN_STEP, 3))
    journal.path.write_bytes(whole.replace(b"eval_return", b"eval_retorn", 1))
    assert "journal is damaged at entry 2" in str(said_of(tmp_path, IN_STEP, 3))


def test_a_run_that_goes_on_is_known_by_its_journal(tmp_path: Path) -> None:
    journal = RunDirectory(tmp_path).journal
    journal.begin({})
    journal.append(ASYNCHRONOUS[:4], {})
    assert said_of(tmp_path, []) is None
    journal.append([ASYNCHRONOUS[0]], {})
    assert said_of(tmp_path, []) == "there are two records of generation 0 of member 0"


@pytest.mark.parametrize(
    ("source", "generation", "words"),
    [
        ("given", 0, None),
        ("random", 0, "member 1 has another hyperparameters than was decided"),
        ("given", 1, "generation 1 of member 1 is given, though nothing was decided for it"),
    ],
)
def test_first_values_may_be_given_beside_what_was_decided(
    tmp_path: Path, source: str, generation: int, words: str | None
) -> None:
    assert said_of(tmp_path, []) is None
    journal = RunDirectory(tmp_path).journal
    start = {"kind": "start", "hyperparameters": {"h0": 1.0}, "source": "random"}
    journal.begin({0: start, 1: start})
    records = [record(generation, 1) for generation in range(generation + 1)]
    records[-1] = replace(records[-1], source=source, hyperparameters={"h0": 2.0})
    for each in records:
        journal.append([each], {})
    found = said_of(tmp_path, [])
    assert found is None if words is None else found is not None and words in found


@pytest.mark.parametrize(("copied", "words"), [(3, None), (2, "member 1 could train on after")])
def test_who_copies_one_that_is_ready_is_ready_too(tmp_path: Path, copied: int, words: str | None) -> None:
    assert said_of(tmp_path, []) is None
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8") + "stop: {}\n", encoding="utf-8")
    journal = RunDirectory(tmp_path).journal
    start = {"kind": "start", "hyperparameters": {"h0": 1.0}, "source": "random"}
    journal.begin({0: start, 1: start})
    first, second = record(0, 0), record(0, 1)
    on = [replace(record(generation, 0), source="continued") for generation in (1, 2, 3)]
    copy = {**start, "kind": "copy", "source": "perturbed", "start": [copied, 0]}
    last = replace(record(1, 1), source="continued")
    journal.append([first, second], {})
    for each in on:
        journal.append([each], {})
    journal.append([last], {1: copy})
    history = History((first, second, *on, last), size=2)
    identity = find_runs(tmp_path)[0].identity
    write_table(tmp_path / "records.parquet", to_table(identity, history))
    for each in (history.latest[0], history.latest[1], history.best()):
        path = RunDirectory(tmp_path).checkpoint(each.ref)
        path.parent.mkdir(exist_ok=True)
        outcome = ("hyperparameters", "env_steps", "until_steps", "train_return", "eval_return", "episodes")
        brought = {name: getattr(each, name) for name in outcome}
        save_checkpoint(path, {}, Outcome(**brought, wall_seconds=0.0))
    RunDirectory(tmp_path).mark_done(Done.of(history, history.best().ref, 0.0, 1))
    found = problem(find_runs(tmp_path)[0])
    assert found is None if words is None else found is not None and words in found
