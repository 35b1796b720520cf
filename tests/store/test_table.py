"""Records on disk: what is written is what is read, also by earlier versions."""

import math
import os
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.store.concatenate import concatenated
from metapbt.store.footer import codecs
from metapbt.store.parquet import row_count
from metapbt.store.results import from_frame, records_of, to_frame
from metapbt.store.table import SCHEMA, Identity, read_table, to_records, to_table, write_table

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
    Record(1, 0, None, "random", {"lr": 0.3}, 150, 1.0, restart=True, teacher_generation=0, teacher_member=1),
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
    assert table["spent_steps"].to_pylist() == [
        100,
        200,
        300,
        350,
    ]  # a copy trains what its parent, a student what its teacher had not


def test_a_table_from_before_there_were_eras_is_of_the_first_and_keeps_what_is_said_of_it(tmp_path):
    table = to_table(IDENTITY, History(RECORDS)).drop_columns(["era"]).replace_schema_metadata({"said": "kept"})
    write_table(tmp_path / "records.parquet", table)
    found = read_table(tmp_path / "records.parquet")
    assert found["era"].to_pylist() == [0] * 4
    assert found.schema.metadata[b"said"] == b"kept"
    assert [repr(record) for _, record in to_records(found)] == [repr(record) for record in RECORDS]


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


@pytest.mark.parametrize(
    "values",
    [
        ["auto", 0.05, None], [True, 1, 1.0], [[64, 64], [32], []], [{"a": 1}, None], [True, False, True], [1, 2, 3],
        [1, 0.5, 2], [2**70, 1, 2], ["\ud800", "a", "b"], [None, None, None], [math.inf, 1.0, -math.inf],
    ],
    ids=repr,
)  # fmt: skip
def test_values_of_any_type_come_back_as_they_were(tmp_path, values):
    records = [Record(0, m, None, "random", {"x": value}, 4, 1.0) for m, value in enumerate(values)]
    records.append(Record(0, len(values), None, "random", {}, 4, 1.0))
    write_table(tmp_path / "records.parquet", to_table(IDENTITY, History(tuple(records))))
    found = [record.hyperparameters for _, record in to_records(read_table(tmp_path / "records.parquet"))]
    assert repr(found) == repr([{"x": value} for value in values] + [{}])
    frame = to_frame(read_table(tmp_path / "records.parquet"))
    assert len(frame["hp.x"]) == len(values) + 1
    numbers = all(type(value) in (int, float) for value in values)
    assert pd.api.types.is_numeric_dtype(frame["hp.x"]) or not numbers


def test_tables_whose_columns_differ_in_type_are_put_together(tmp_path):
    kinds = [[0.5, 0.25], ["auto", "off"], ["auto", 1], [True, None]]
    tables = [
        to_table(IDENTITY, History(tuple(Record(0, m, None, "random", {"x": x}, 4, 1.0) for m, x in enumerate(values))))
        for values in kinds
    ]
    rows = to_records(concatenated([*tables, SCHEMA.empty_table()]))
    assert [record.hyperparameters["x"] for _, record in rows] == [x for values in kinds for x in values]


def crafted(path, rows, columns=None, **more):
    """A table whose columns say one thing over and over."""
    names = {
        "schema_version": 3, "run_id": "r", "env": "e", "method": "m", "name": "n", "learner": "l", "seed": 0,
        "era": 0, "generation": 0, "member": 0, "parent": 0, "parent_generation": 0, "teacher_member": 0,
        "teacher_generation": 0, "restart": False, "failed": False, "source": "random", "env_steps": 1,
        "until_steps": 1, "spent_steps": 1, "train_return": 0.0,
        "eval_return": 0.0, "episodes": 1, "wall_seconds": 0.0, **(columns or {}),
    }  # fmt: skip
    whole = pa.schema([*SCHEMA, *((name, pa.string()) for name in columns or ())])
    texts = {field.name for field in whole if pa.types.is_string(field.type)}
    schema = pa.schema([(f.name, pa.dictionary(pa.int32(), pa.string()) if f.name in texts else f.type) for f in whole])
    with pq.ParquetWriter(path, schema, store_schema=False, **more) as writer:
        for start in range(0, rows, 500_000):
            count = min(500_000, rows - start)
            places = pa.repeat(pa.scalar(0, pa.int32()), count)
            arrays = {
                name: pa.DictionaryArray.from_arrays(places, [value])
                if name in texts
                else pa.repeat(pa.scalar(value, whole.field(name).type), count)
                for name, value in names.items()
            }
            writer.write_table(pa.table(arrays, schema))


def measured(path):
    """What reading a table says, the seconds it takes, and the MB that its process comes to need for it."""
    code = (
        "import sys, time, resource; from pathlib import Path; from metapbt.store.table import read_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; began = time.process_time()\n"
        "try: read_table(Path(sys.argv[1])); print('read')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, capture_output=True, text=True, check=True
    )
    *said, numbers = ran.stdout.splitlines()
    return said, *map(float, numbers.split())


@pytest.mark.parametrize(
    ("rows", "columns", "more", "words"),
    [
        (6_000_000, {}, {}, "rows of 24 columns are no run's records"),
        (4_500_000, {}, {}, "rows of 24 columns are too many for records"),
        (300_000, {"hp.x": "x" * 100_000}, {}, "texts are too long for records"),
        (1000, {"hp.x": "x"}, {"compression": "zstd"}, "its compression is not SNAPPY"),
        (1, {f"hp.x{n}": "x" for n in range(3000)}, {}, "1 rows of 3,024 columns are no run's records"),
    ],
    ids=["rows", "cells", "texts", "compression", "columns"],
)
def test_crafted_tables_take_little_time_and_memory_and_are_refused(tmp_path, rows, columns, more, words):
    crafted(tmp_path / "crafted.parquet", rows, columns, **more)
    assert (tmp_path / "crafted.parquet").stat().st_size < 5_000_000
    (said,), seconds, megabytes = measured(tmp_path / "crafted.parquet")
    assert said.startswith("Unreadable")
    assert words in said
    assert seconds < 5
    assert megabytes < 700


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("generation", pa.array([0.0, 1.0]), "generation is double, not int64"),
        ("generation", pa.array([0, None]), "generation lacks values"),
        ("member", pa.array([0, -1]), "member goes from -1 to 0"),
        ("member", pa.array([0, 2**60]), "member goes from 0 to"),
        ("env", pa.array([b"\xff", b"a"], pa.binary()).view(pa.string()), "Invalid UTF8"),
        ("hp.x", pa.array([[1], [2]]), "hp.x is list"),
        ("context.y", pa.array([[[1]], [[2]]]), "context.y is list"),
    ],
)
def test_columns_of_other_kinds_are_refused(tmp_path, column, values, words):
    table = to_table(IDENTITY, History(RECORDS[:2]))
    place = table.schema.get_field_index(column)
    write_table(
        tmp_path / "records.parquet",
        table.append_column(column, values) if place < 0 else table.set_column(place, column, values),
    )
    with pytest.raises(MetapbtError, match=words):
        read_table(tmp_path / "records.parquet")


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_codecs_are_read_from_the_footer(tmp_path, codec):
    crafted(tmp_path / "file", 10, {"hp.x": "x"}, compression=codec)
    numbers = {"none": 0, "snappy": 1, "gzip": 2, "brotli": 4, "zstd": 6, "lz4": 7}
    assert codecs((tmp_path / "file").read_bytes()) == {numbers[codec]}


def test_mutated_footers_end_in_one_line_or_in_the_table(tmp_path):
    """With a checksum that was made right again. Of every few hundred, one made Arrow end the process."""
    write_table(tmp_path / "whole", to_table(IDENTITY, History(RECORDS)))
    whole, draw = (tmp_path / "whole").read_bytes(), random.Random(0)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    code = """if True:
        import sys, collections
        from pathlib import Path
        from metapbt.errors import MetapbtError
        from metapbt.store.table import read_table, to_records
        ends = collections.Counter()
        for path in sorted(Path(sys.argv[1]).glob("mutated_*")):
            try:
                to_records(read_table(path))
                ends["read"] += 1
            except MetapbtError as error:
                assert "\\n" not in str(error)
                ends["refused"] += 1
        print(ends["read"], ends["refused"])
    """
    for number in range(600):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 2, 5])):
            data[draw.randrange(footer if draw.random() < 0.8 else 0, len(data))] = draw.randrange(256)
        if (place := data.rfind(b"metapbt.crc32") + 15) > 14:
            data[place : place + 8] = b"00000000"
            data[place : place + 8] = b"%08x" % zlib.crc32(data)
        (tmp_path / f"mutated_{number}").write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, tmp_path]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-1000:]
    read, refused = map(int, ran.stdout.split())
    assert read + refused == 600
    assert read > 20


def test_a_frame_of_mixed_values_is_a_table_that_reads_the_same() -> None:
    mixed = ["auto", 0.05, True, [64, 64], {"a": 1}, 3]
    rows = [
        Record(0, member, None, "random", {"mix": value, "lr": 0.1, "word": "x", "flag": True}, 4, 0.0, 0.0)
        for member, value in enumerate(mixed)
    ]
    one = to_table(IDENTITY, History(tuple(rows)))
    other = to_table(IDENTITY, History((Record(0, 9, None, "random", {"own": "x"}, 4, 0.0, 0.0),)))
    frame = to_frame(concatenated([one, other]))
    again = to_frame(from_frame(frame))
    assert list(again["hp.mix"])[: len(mixed)] == mixed
    assert again.to_json() == frame.to_json()


@pytest.mark.parametrize("metric", ["train_return", "eval_return"])
def test_a_generations_best_is_the_best_in_training(metric) -> None:
    """Whatever is equal, no number, or failed; the best of several noisy evaluations would be better than it is."""
    rng = random.Random(0)
    values = [1.0, 2.0, math.nan, math.inf, 1e200]
    runs = []
    for seed in range(20):
        records = [
            Record(0, member, None, "random", {}, 4, rng.choice(values), rng.choice(values), failed=rng.random() < 0.2)
            for member in range(6)
        ]
        table = to_table(replace(IDENTITY, seed=seed), History(tuple(records), metric))
        runs.append((SimpleNamespace(path=seed, metric=metric), table))
        frame = records_of(runs)
        assert [*frame["member"][frame["best"]]][-1] == History(tuple(records)).best_of(0).member
    assert frame["best"].sum() == 20


def test_whatever_values_runs_have_they_are_read_together() -> None:
    def run(feature: object, value: object) -> pa.Table:
        identity = replace(IDENTITY, context=Context({"f": feature}))
        return to_table(identity, History((Record(0, 0, None, "random", {"x": value}, 4, 0.0, 0.0),)))

    values = [1, 2.5, "a", True, [1], 10**400, 2**64]
    features = ["robot", 3, 2.5, "x", "y", 0.0, 1]
    frame = to_frame(concatenated([run(*pair) for pair in zip(features, values, strict=True)]))
    assert list(frame["hp.x"]) == values
    assert list(frame["context.f"]) == features
    frame = to_frame(concatenated([run(feature, 10**400) for feature in (1, 2.5)]))
    assert list(frame["context.f"]) == [1.0, 2.5]
    assert list(to_frame(from_frame(frame))["hp.x"]) == [10**400] * 2
