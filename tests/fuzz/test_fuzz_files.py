"""Readers of single files: a damaged one is refused, or read as what was written; never as anything else."""

import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzzing import CHANCE, Shares, attempt, examples, mutated_bytes, mutated_tree
from hypothesis import given

import metapbt
from metapbt.history import Record
from metapbt.store.checkpoint import load_state, read_outcome
from metapbt.store.journal import read_journal
from metapbt.store.results import describe, read_history
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import read_table, to_records


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A finished run with copies and perturbed values."""
    results = tmp_path_factory.mktemp("results")
    overrides = ["env=quadratic", "method=pbt", "executor=inline", "budget.steps=20", f"results_dir={results}"]
    return metapbt.run(overrides).path


@pytest.fixture
def copied(run_dir, tmp_path):
    """A run directory to put other files into."""
    for name in ("config.yaml", "DONE", "journal", "records.parquet"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    return tmp_path


def plain(value):
    """Something that equals itself, also where there are NaNs."""
    return json.dumps(value, sort_keys=True, default=str)


def test_a_damaged_journal_is_read_up_to_its_damage(run_dir, tmp_path):
    whole = (run_dir / "journal").read_bytes()
    records = [record.to_dict() for record in read_journal(run_dir / "journal").records]
    file, shares = tmp_path / "journal", Shares()

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        file.write_bytes(mutated_bytes(chance, whole))
        content = attempt(lambda: read_journal(file))
        shares.count(past=content is not None and bool(content.records))
        if content is not None:
            read = [record.to_dict() for record in content.records]
            assert plain(read) == plain(records[: len(read)])
            assert len(read) == len(records) or content.damage is not None or content.whole_bytes < len(whole)

    fuzz()
    shares.check()


def test_an_edited_journal_with_right_checksums_is_read_or_refused(run_dir, tmp_path):
    entries = [json.loads(line[9:]) for line in (run_dir / "journal").read_bytes().splitlines()]
    file, shares = tmp_path / "journal", Shares()

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        edited = mutated_tree(chance, entries)
        texts = [json.dumps(entry).encode() for entry in (edited if isinstance(edited, list) else [edited])]
        file.write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in texts))
        content = attempt(lambda: read_journal(file))
        shares.count(past=content is not None)
        assert content is None or all(isinstance(record, Record) for record in content.records)

    fuzz()
    shares.check()


def test_a_damaged_table_is_refused_or_read_as_it_was_written(run_dir, tmp_path):
    whole = (run_dir / "records.parquet").read_bytes()
    written = plain(read_table(run_dir / "records.parquet").to_pylist())
    file = tmp_path / "records.parquet"

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        file.write_bytes(mutated_bytes(chance, whole))
        read = attempt(lambda: read_table(file))
        assert read is None or plain(read.to_pylist()) == written

    fuzz()


def test_an_edited_table_is_read_or_refused(run_dir, copied):
    table = read_table(run_dir / "records.parquet")
    columns = {name: table[name].to_pylist()[:6] for name in table.column_names}
    (copied / "journal").unlink()

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        try:
            pq.write_table(pa.table(mutated_tree(chance, columns)), copied / "records.parquet")
        except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):
            return  # nobody can make such a file
        attempt(lambda: to_records(read_table(copied / "records.parquet")))
        history = attempt(lambda: read_history(describe(RunDirectory(copied))))
        assert history is None or all(isinstance(record.env_steps, int | float) for record in history)

    fuzz()


def test_a_damaged_checkpoint_is_refused_or_read_as_it_was_written(run_dir, tmp_path):
    file = next((run_dir / "checkpoints").iterdir())
    whole, state, outcome = file.read_bytes(), load_state(file), read_outcome(file)
    damaged = tmp_path / file.name

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        damaged.write_bytes(mutated_bytes(chance, whole))
        read, found = attempt(lambda: load_state(damaged)), attempt(lambda: read_outcome(damaged))
        assert found in (None, outcome)
        if read is not None:
            assert read.keys() == state.keys()
            assert all(read[n].dtype == state[n].dtype and read[n].tobytes() == state[n].tobytes() for n in state)

    fuzz()


@pytest.mark.parametrize("name", ["config.yaml", "DONE"])
def test_a_mutated_configuration_or_end_is_refused_or_read(name, run_dir, copied):
    content, shares = yaml.safe_load((run_dir / name).read_bytes()), Shares()
    if name == "config.yaml":
        (copied / "journal").unlink()  # which knows its checksum

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        (copied / name).write_text(yaml.safe_dump(mutated_tree(chance, content)), encoding="utf-8")
        info = attempt(lambda: describe(RunDirectory(copied)))
        shares.count(past=info is not None)
        if info is not None:
            assert isinstance(info.generations, int)
            assert info.test_return is None or type(info.test_return) in (int, float)
            attempt(lambda: read_history(info))

    fuzz()
    shares.check()
