"""A source that cannot be learned from is passed over, named, and ends nobody's run."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_sources import add_run, remember

from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.memory.describe import Experience
from metapbt.memory.points import any_of_space
from metapbt.memory.reading import read_sources
from metapbt.memory.scales import HistoryScale
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import choose_sources
from metapbt.memory.tasks import Tasks
from metapbt.space import Space
from metapbt.store import run_directory
from metapbt.store.memory_table import ANCESTRY
from metapbt.store.table import Identity, read_table, to_table, write_table

SPACE = Space({"rate": {"type": "float", "low": 0.0, "high": 1.0}})
TARGET = make_context("cart_pole", {"pole_length": 0.35})
BAD = 0.6


@pytest.fixture
def results(tmp_path):
    for length in (0.2, 0.3, BAD):
        add_run(tmp_path, pole_length=length)
    return tmp_path


def place(results, length=BAD):
    return run_directory(results, "cart_pole", make_context("cart_pole", {"pole_length": length}), "pb2", 0)


def chosen(results, **kwargs):
    return choose_sources(results, "cart_pole", "sb3", TARGET, "all", 3, **kwargs)


def memory_of(results):
    return Memory(TARGET, read_sources(chosen(results)))


def lengths(memory):
    return sorted(context["pole_length"] for context in memory.contexts)


def rewritten(results, change):
    """The bad run's records, changed."""
    file = place(results) / "records.parquet"
    write_table(file, change(read_table(file)))


def column(name, values, type_=None):
    def change(table):
        array = pa.array(values, type_)
        where = table.schema.get_field_index(name)
        return table.set_column(where, name, array) if where >= 0 else table.append_column(name, array)

    return change


FILES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-200]),
    "half written": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("generation,member\n0,0\n"),
    "zeros": lambda file: file.write_bytes(bytes(4000)),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
    "a link to nowhere": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a link to itself": lambda file: (file.unlink(), file.symlink_to(file)),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}


@pytest.mark.parametrize("what", FILES)
def test_a_source_whose_records_cannot_be_read_is_passed_over(results, what, caplog):
    FILES[what](place(results) / "records.parquet")
    memory = memory_of(results)
    assert lengths(memory) == [0.2, 0.3]
    assert len(Tasks.of(memory, SPACE)) == 8
    if what != "a link to nowhere":  # which is as if there were no records yet
        assert str(place(results)) in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        column("train_return", ["high"] * 4),
        column("env_steps", ["10"] * 4),
        column("generation", [0, 0, None, 1]),
        column("generation", [0.5, 0.0, 1.0, 1.0]),
        column("member", [0, 1, 0, -1]),
        column("member", [0, 1, 0, 2**60]),
        column("member", [0, 1, 0, 0]),
        column("env_steps", [10, 10, 10, 20]),
        column("env_steps", [10, 10, 20, -(2**40)]),
        column("hp.rate", [[0.1]] * 4),
        lambda table: pa.concat_tables([table, table]),
        lambda table: table.drop_columns(["restart"]),
    ],
)
def test_a_source_with_records_that_no_run_writes_is_passed_over(results, change, caplog):
    rewritten(results, change)
    for known in ({}, {"space": SPACE}):
        caplog.clear()
        memory = Memory(TARGET, read_sources(chosen(results, **known)))
        assert lengths(memory) == [0.2, 0.3]
        assert len(Tasks.of(memory, SPACE)) == 8
        assert str(place(results)) in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        column("hp.rate", ["fast"] * 4),
        column("hp.rate", [True, False, True, False]),
        column("hp.rate", [1e9] * 4),
        column("hp.rate", [math.nan] * 4),
        column("hp.other", [1.0] * 4),
        lambda table: table.drop_columns(["hp.rate"]),
        lambda table: pa.table({**dict(zip(table.column_names, table.columns, strict=True)),
                                **{f"hp.more_{n}": [0.5] * 4 for n in range(1000)}}),
    ],
)  # fmt: skip
def test_a_source_of_another_space_is_named_and_gives_no_rows(results, change, caplog):
    rewritten(results, change)
    tasks = Tasks.of(memory_of(results), SPACE)
    assert [context["pole_length"] for context in tasks.contexts] == [0.2, 0.3]
    assert not any_of_space(read_table(place(results) / "records.parquet"), SPACE)
    # Whoever says what the space is learns nothing from it, and what it leaves room for counts instead.
    assert place(results) not in [run.path for run in chosen(results, space=SPACE)]
    assert f"{place(results)} is passed over: its hyperparameters are not of this run's space" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300, 1e308, -1.7e308])
def test_absurd_returns_leave_every_number_finite(results, value):
    rewritten(results, column("train_return", [0.0, value, 1.0, value]))
    tasks = Tasks.of(memory_of(results), SPACE)
    assert np.isfinite(tasks.rows.inputs).all()
    assert np.isfinite(tasks.rows.changes).all()
    scale = tasks.scale
    assert np.isfinite([scale.low, scale.span, scale.unit, scale.untrained]).all()
    for context in range(len(tasks.contexts)):
        for rows in tasks.held_out(context):
            assert np.isfinite(rows.inputs).all()
            assert np.isfinite(rows.changes).all()
    assert np.isfinite(scale.unscaled(np.array([-1e6, 0.0, 1e6]))).all()
    returns = np.array([0.0, np.clip(np.nan_to_num(value), -1e100, 1e100)])
    assert np.isfinite(HistoryScale.of(returns).start(np.zeros(2), None, returns)).all()


def test_sources_of_no_row_and_of_one(results):
    file = place(results) / "records.parquet"
    whole = read_table(file)
    for count in (0, 1):
        write_table(file, whole.slice(0, count))
        tasks = Tasks.of(memory_of(results), SPACE)
        assert len(tasks) == 8 + count
        assert np.isfinite(tasks.rows.changes).all()


def config_of(results, **changes):
    import yaml

    file = place(results) / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))


@pytest.mark.parametrize(
    "features",
    [
        {"pole_length": math.nan},
        {"pole_length": math.inf},
        {"pole_length": 1e300},
        {"pole_length": [0.6]},
        {"pole_length": None},
        "pole_length",
        None,
    ],
)
def test_a_source_with_an_absurd_context_is_passed_over(results, features, caplog):
    config_of(results, features=features)
    assert lengths(memory_of(results)) == [0.2, 0.3]
    assert str(place(results)) in caplog.text


def test_other_features_and_texts_where_numbers_are_expected_do_no_harm(results):
    config_of(results, features={"pole_length": "long", "colour": "red"})
    memory = memory_of(results)
    assert len(memory.contexts) == 3
    assert np.isfinite(Tasks.of(memory, SPACE).rows.inputs).all()


def test_a_context_that_the_environment_refuses_is_passed_over(results, caplog):
    config_of(results, features={**dict(TARGET), "pole_length": -1e9})

    class Refusing(Experience):
        def _statistics(self, context):
            if context["pole_length"] < 0:
                raise ZeroDivisionError("what a simulator says")
            return np.array([[context["pole_length"] + n] for n in range(3)])

    runs = choose_sources(results, "cart_pole", "sb3", TARGET, "closest", 3, describe=Refusing("cart_pole", 3))
    assert [run.context["pole_length"] for run in runs] == [0.2, 0.3]
    assert "what a simulator says" in caplog.text


@pytest.mark.parametrize(
    "ancestry", [b"[{", b"{}", b"[" * 100_000, b'[{"pole_length": NaN}]', b'[{"pole_length": 1' + b"0" * 400 + b"}]"]
)
def test_a_source_whose_ancestry_is_not_known_is_passed_over(results, ancestry, caplog):
    remember(results, 0.5, 0.3)
    file = run_directory(results, "cart_pole", make_context("cart_pole", {"pole_length": 0.5}), "meta_pb2", 0)
    file = file / "memory.parquet"
    assert lengths(memory_of(results)) == [0.2, 0.3, 0.5, BAD]
    write_table(file, read_table(file).replace_schema_metadata({ANCESTRY: ancestry}))
    assert lengths(memory_of(results)) == [0.2, 0.3, BAD]
    assert str(file) in caplog.text
    file.write_bytes(b"PAR1 and no more")
    assert lengths(memory_of(results)) == [0.2, 0.3, BAD]


def test_a_source_that_is_deleted_or_replaced_after_it_was_chosen_is_passed_over(results, caplog):
    runs = chosen(results)
    shutil.rmtree(place(results))
    (place(results, 0.3) / "records.parquet").write_bytes(b"being copied")
    table = read_sources(runs)
    assert set(table["run_id"].to_pylist()) == {str(place(results, 0.2))}
    assert str(place(results, 0.3)) in caplog.text


def test_of_too_many_records_whole_runs_are_left_out_evenly(results, monkeypatch, caplog):
    monkeypatch.setattr("metapbt.memory.reading.MOST_RECORDS", 9)
    assert lengths(memory_of(results)) == [0.2, BAD]
    assert "12 records are too many to keep: 2 of 3 runs count" in caplog.text


def test_what_records_share_is_what_the_configuration_says(results):
    before = memory_of(results).table
    for name in ("context.pole_length", "run_id", "env", "seed"):
        value = {"context.pole_length": TARGET["pole_length"], "run_id": "../..", "env": "x", "seed": 7}[name]
        rewritten(results, column(name, [value] * 4))
    assert repr(memory_of(results).table.to_pylist()) == repr(before.to_pylist())


def test_a_source_that_may_not_be_read_is_passed_over():
    """As another user, where we are the superuser: whom nothing is forbidden."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from metapbt.envs import make_context\n"
        "from metapbt.memory.reading import read_sources\n"
        "from metapbt.memory.sources import choose_sources\n"
        "target = make_context('cart_pole', {'pole_length': 0.35})\n"
        "def found():\n"
        "    runs = choose_sources(Path(sys.argv[1]), 'cart_pole', 'sb3', target, 'all', 3)\n"
        "    return len(read_sources(runs))\n"
        "if os.getuid() == 0:\n"
        "    found()\n"  # what is imported on the way may lie where only we may read
        "    os.setuid(65534)\n"
        "print(found())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        results.chmod(0o755)
        for length in (0.2, 0.3, BAD):
            add_run(results, pole_length=length)
        locked = place(results)
        for file in (locked / "records.parquet", locked, results):
            file.chmod(0o000)
            arguments = [sys.executable, "-c", code, str(results)]
            found = subprocess.run(arguments, capture_output=True, text=True, check=False)
            file.chmod(0o755)
            assert found.stdout.split() == ["0" if file == results else "8"], (file, found.stderr)
            assert f"{results if file == results else locked}" in found.stderr
            assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("num_contexts", 0, "must be an integer >= 1, got 0"),
        ("num_contexts", -1, "must be an integer >= 1, got -1"),
        ("num_contexts", 1.5, "must be an integer >= 1, got 1.5"),
        ("num_contexts", "all", "must be an integer >= 1, got 'all'"),
        ("num_contexts", True, "must be an integer >= 1, got True"),
        ("num_contexts", None, "must be an integer >= 1, got None"),
        ("min_records", 0, "must be an integer >= 1, got 0"),
        ("min_records", "many", "must be an integer >= 1, got 'many'"),
        ("sources", "near", "unknown meta.sources 'near'"),
        ("sources", None, "unknown meta.sources 'None'"),
        ("sources", ["all"], "unknown meta.sources"),
        ("methods", "pb2", "must be a list of methods, such as .pb2., or null, got 'pb2'"),
        ("methods", [1], "must be a list of methods"),
        ("include_target", "maybe", "must be true or false, got 'maybe'"),
    ],
)
def test_settings_out_of_their_range_are_one_line(results, key, value, what):
    settings = {"sources": "all", "num_contexts": 3, key: value}
    with pytest.raises(MetapbtError, match=what) as error:
        choose_sources(results, "cart_pole", "sb3", TARGET, **settings)
    assert "\n" not in str(error.value)
    assert len(choose_sources(results, "cart_pole", "sb3", TARGET, "closest", 10**12)) == 3
    with pytest.raises(MetapbtError, match="episodes must be an integer >= 2"):
        Experience("cart_pole", 1.5)


def test_sources_that_are_written_meanwhile_end_nobodys_choice(tmp_path):
    """A process writes runs whose tables are replaced, finished, and begun anew, as fast as it can."""
    for length in (0.2, 0.3):
        add_run(tmp_path, pole_length=length)
    writer = Path(__file__).with_name("writing_sources.py")
    process = subprocess.Popen([sys.executable, str(writer), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        rounds = 0
        seen = threading.Event()

        def watch():
            for _ in range(25):
                if not process.stdout.readline():
                    return
            seen.set()

        watching = threading.Thread(target=watch)
        watching.start()
        while rounds < 8 or (not seen.is_set() and watching.is_alive()):
            memory = memory_of(tmp_path)
            assert {0.2, 0.3} <= set(lengths(memory))
            assert np.isfinite(Tasks.of(memory, SPACE).rows.changes).all()
            rounds += 1
        assert seen.is_set()  # it had written all that time
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
        watching.join()


def test_returns_and_contexts_of_a_memory_are_those_of_plain_records(tmp_path):
    context = Context({"a": 1, "b": "x"})
    history = History((Record(0, 0, None, "random", {"rate": 0.5}, 10, 1.0),))
    table = to_table(Identity("run", "env", context, "pb2", "pb2", "ppo", 0), history)
    write_table(tmp_path / "memory.parquet", table)
    assert json.dumps([dict(c) for c in Memory(context, read_table(tmp_path / "memory.parquet")).contexts]) == (
        '[{"a": 1, "b": "x"}]'
    )
