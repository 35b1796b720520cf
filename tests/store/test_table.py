"""Records on disk: what is written is what is read, also by earlier versions."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.store.table import SCHEMA, Identity, read_table, row_count, to_records, to_table, write_table

IDENTITY = Identity(
    "cart_pole/pole_length=0.8/pbt/seed_1",
    "cart_pole",
    Context({"pole_length": 0.8, "planet": "mars"}, ["pole_length"]),
    "pbt",
    "slow",
    "ppo",
    1,
)
RECORDS = (
    Record(0, 0, None, "random", {"lr": 0.1, "activation": "relu"}, 100, 1.5, 2.5, 3, 0.25, until_steps=96),
    Record(0, 1, None, "random", {"lr": 0.2, "n": 3}, 100, math.nan, 1.0, 0, 0.5),
    Record(1, 1, 0, "perturbed", {"lr": 0.12, "activation": "tanh"}, 200, 3.0, 4.0, 5, 0.125, 0, 196),
    Record(1, 0, None, "random", {"lr": 0.3}, 50, 1.0, restart=True, teacher_generation=0, teacher_member=1),
)


def test_records_come_back_as_they_were(tmp_path):
    write_table(tmp_path / "records.parquet", to_table(IDENTITY, History(RECORDS)))
    rows = to_records(read_table(tmp_path / "records.parquet"))
    assert {identity for identity, _ in rows} == {IDENTITY}
    assert [repr(record) for _, record in rows] == [repr(record) for record in RECORDS]
    assert row_count(tmp_path / "records.parquet") == 4


def test_the_columns_are_those_of_the_contract():
    table = to_table(IDENTITY, History(RECORDS))
    features, hyperparameters = ["context.pole_length", "context.planet"], ["hp.lr", "hp.activation", "hp.n"]
    assert table.column_names == [*SCHEMA.names, *features, *hyperparameters]
    assert table["hp.n"].to_pylist() == [None, 3, None, None]
    assert table["context.planet"].to_pylist() == ["mars"] * 4
    assert table["spent_steps"].to_pylist() == [100, 200, 300, 350]  # a copy trains what its parent had not


def test_a_table_of_version_2_is_read_with_the_columns_of_today(tmp_path):
    old = pa.table(
        {
            "schema_version": [2, 2], "run_id": ["r", "r"], "env": ["cart_pole"] * 2, "method": ["pb2"] * 2,
            "context": pa.array([[("pole_length", 0.8)]] * 2, pa.map_(pa.string(), pa.float64())),
            "learner": ["fused_ppo"] * 2, "seed": [0, 0], "generation": [0, 0], "member": [0, 1],
            "parent": pa.array([None, None], pa.int64()), "source": ["random"] * 2, "env_steps": [100, 100],
            "train_return": [1.0, 2.0], "eval_return": [1.0, 2.0], "episodes": [3, 4], "wall_seconds": [0.1, 0.2],
            "parent_generation": pa.array([None, None], pa.int64()), "hp.lr": [0.1, 0.2],
        }
    )  # fmt: skip
    pq.write_table(old, tmp_path / "records.parquet")
    rows = to_records(read_table(tmp_path / "records.parquet"))
    assert rows[0][0] == Identity("r", "cart_pole", Context({"pole_length": 0.8}), "pb2", "pb2", "fused_ppo", 0)
    assert [record.hyperparameters for _, record in rows] == [{"lr": 0.1}, {"lr": 0.2}]
    assert [record.restart for _, record in rows] == [False, False]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no Parquet")
    with pytest.raises(MetapbtError, match="text cannot be read"):
        read_table(tmp_path / "text")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(MetapbtError, match="is no table of records: it lacks the columns schema_version"):
        read_table(tmp_path / "other")
    newer = to_table(IDENTITY, History(RECORDS)).set_column(0, "schema_version", pa.array([99] * 4))
    write_table(tmp_path / "newer", newer)
    with pytest.raises(MetapbtError, match="schema version 99; this metapbt reads up to 3"):
        read_table(tmp_path / "newer")
