import math

import pyarrow as pa
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Record
from metapbt.store.table import SCHEMA, Identity, read_table, to_records, to_table, write_table

IDENTITY = Identity("cart_pole/default/pb2/seed_0", "cart_pole", {"gravity": 9.8, "force": 10.0}, "pb2", "sb3", 0)
RECORDS = [
    Record(0, 0, None, "random", {"rate": 1e-4, "n": 3, "optimizer.name": "adam"}, 1000, 1.5, 2.5, 7, 0.25),
    Record(0, 1, None, "random", {"rate": 2e-4, "n": 4}, 1000, math.nan, 3.5, 0, 0.5),
    Record(1, 0, 1, "surrogate", {"rate": 0.1 + 0.2, "n": 5, "optimizer.name": "sgd"}, 2000, 1 / 3, 2.5, 7, 0.25),
]


def test_records_survive_the_file(tmp_path):
    write_table(tmp_path / "records.parquet", to_table(IDENTITY, RECORDS))
    back = to_records(read_table(tmp_path / "records.parquet"))
    assert all(identity == IDENTITY for identity, _ in back)
    assert [str(record) for _, record in back] == [str(record) for record in RECORDS]


def test_the_columns_are_those_of_the_contract():
    table = to_table(IDENTITY, RECORDS)
    assert table.column_names == [
        *"schema_version run_id env context method learner seed generation member parent source".split(),
        *"env_steps train_return eval_return episodes wall_seconds parent_generation".split(),
        "hp.rate", "hp.n", "hp.optimizer.name",
    ]  # fmt: skip
    assert table.schema.field("context").type == pa.map_(pa.string(), pa.float64())
    assert table["parent"].to_pylist() == [None, None, 1]
    assert table["hp.optimizer.name"].to_pylist() == ["adam", None, "sgd"]
    assert table.schema.field("hp.n").type == pa.int64()


def test_what_is_no_table_of_records_is_refused_with_its_path(tmp_path):
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(MetapbtError, match=r"text.parquet cannot be read"):
        read_table(tmp_path / "text.parquet")
    write_table(tmp_path / "other.parquet", pa.table({"a": [1]}))
    with pytest.raises(
        MetapbtError, match=r"other.parquet is no table of records: it lacks the columns schema_version"
    ):
        read_table(tmp_path / "other.parquet")


def test_a_newer_schema_is_refused(tmp_path):
    table = to_table(IDENTITY, RECORDS)
    newer = table.set_column(0, SCHEMA.field(0), pa.array([3] * len(table)))
    write_table(tmp_path / "newer.parquet", newer)
    with pytest.raises(MetapbtError, match="schema version 3; this metapbt reads up to 2"):
        read_table(tmp_path / "newer.parquet")
