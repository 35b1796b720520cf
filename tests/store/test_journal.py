"""The journal: what was appended is what is read, up to the last whole entry."""

import json
import math

import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.store.journal import Journal, read_journal
from metapbt.store.table import Identity, to_table, write_table

START = {"kind": "start", "hyperparameters": {"x": 0.5}, "source": "random"}
COPY = {"kind": "copy", "start": [0, 1], "hyperparameters": {"x": 0.25}, "source": "perturbed"}


def record(generation, member, value=1.0, parent=None, eval_return=0.5, **other):
    hyperparameters = {"x": 0.1, "c": "a"}
    return Record(
        generation, member, parent, "random", hyperparameters, 10 * (generation + 1), value, eval_return, **other
    )


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.begin({0: START, 1: START})
    return journal


def test_what_is_appended_is_read_in_that_order(journal):
    first = [record(0, 0, math.pi, until_steps=8), record(0, 1, -math.inf, eval_return=1e-300)]
    journal.append(first, {0: COPY})
    journal.append([record(1, 0, parent=1, parent_generation=0)], {})
    content = read_journal(journal.path)
    assert content.records == (*first, record(1, 0, parent=1, parent_generation=0))
    assert content.assignments == {0: None, 1: None}
    assert content.damage is None


def test_the_last_decision_of_each_member_is_known_also_of_those_that_have_not_reported_since(journal):
    journal.append([record(0, 0)], {0: COPY})
    assert read_journal(journal.path).assignments == {0: COPY, 1: START}
    journal.append([record(0, 1)], {})
    assert read_journal(journal.path).assignments == {0: COPY, 1: None}


def test_nan_comes_back_as_nan(journal):
    journal.append([record(0, 0, math.nan)], {})
    assert math.isnan(read_journal(journal.path).records[0].train_return)


def test_every_cut_is_read_up_to_the_last_whole_entry_and_said(journal):
    ends = [journal.path.stat().st_size]
    for generation in range(3):
        journal.append([record(generation, 0)], {})
        ends.append(journal.path.stat().st_size)
    data = journal.path.read_bytes()
    for length in range(1, len(data)):
        journal.path.write_bytes(data[:length])
        content = read_journal(journal.path)
        whole = sum(end <= length for end in ends)
        assert len(content.records) == max(whole - 1, 0)
        assert content.whole_bytes == ([0, *ends][whole])
        assert (content.damage is None) == (length in ends)
        if content.damage:
            assert f"is cut at entry {whole + 1}" in content.damage


def test_no_flipped_bit_is_read_as_right(journal):
    journal.append([record(0, 0)], {})
    journal.append([record(1, 0)], {})
    data = journal.path.read_bytes()
    whole = read_journal(journal.path)
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        journal.path.write_bytes(bytes(flipped))
        content = read_journal(journal.path)
        assert content.damage is not None
        assert content.records == whole.records[: len(content.records)]


def test_what_a_stop_left_unfinished_is_cut_off_and_the_next_entry_follows(journal):
    journal.append([record(0, 0)], {})
    with journal.path.open("ab") as file:
        file.write(b'12345678 {"records":[')
    assert "is cut at entry 3" in journal.recover().damage
    journal.append([record(1, 0)], {})
    assert read_journal(journal.path).records == (record(0, 0), record(1, 0))


def test_it_never_grows_beyond_what_is_read(journal, monkeypatch):
    monkeypatch.setattr("metapbt.store.journal.MOST_BYTES", 2_000)
    many = [record(0, member) for member in range(6)]
    journal.append(many, {})
    with pytest.raises(MetapbtError, match=r"is full: .* larger than 2,000 bytes, .* what it holds is whole"):
        journal.append([record(1, member) for member in range(12)], {})
    content = journal.recover()
    assert (content.records, content.damage) == (tuple(many), None)
    assert journal.head() is not None


def test_a_first_entry_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("metapbt.store.journal._MOST_OF_AN_ENTRY", 100)
    journal = Journal(tmp_path / "journal")
    with pytest.raises(MetapbtError, match="is full"):
        journal.begin({0: START, 1: START})
    assert not journal.exists


def test_another_version_is_refused(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal._append({"journal": 99}, begin=True)
    with pytest.raises(MetapbtError, match=r"no journal that this metapbt reads \(version 1\): 99"):
        read_journal(journal.path)


def test_all_that_a_long_run_writes_is_less_than_three_times_its_records(journal, tmp_path):
    """64 members, 300 generations, a quarter of them copies; the table at doubling generations and at the end."""
    identity = Identity("r", "cart_pole", Context({"pole_length": 0.5}), "pb2", "pb2", "ppo", 0)
    hyperparameters = {
        "learning_rate": 0.000123456789,
        "clip_range": 0.2345678,
        "gae_lambda": 0.98765432,
        "n_epochs": 7,
    }
    records, written = [], 0
    for generation in range(300):
        now = [
            Record(
                generation, member, 3 if member < 16 else None, "surrogate" if member < 16 else "continued",
                hyperparameters, 4000 * (generation + 1), 123.456789 + member, 234.56789 + member, 12, 0.123456789,
                generation - 1 if member < 16 else None, 4000 * (generation + 1),
            )
            for member in range(64)
        ]  # fmt: skip
        records += now
        copies = {
            member: {
                "kind": "copy",
                "start": [generation, 3],
                "hyperparameters": hyperparameters,
                "source": "surrogate",
            }
            for member in range(16)
        }
        journal.append(now, copies)
        if generation + 1 == 300 or not generation & (generation + 1):
            write_table(tmp_path / "table", to_table(identity, History(tuple(records))))
            written += (tmp_path / "table").stat().st_size
    written += journal.path.stat().st_size
    assert written < 3 * sum(len(json.dumps(record.to_dict())) for record in records)
