"""Records as arrays say what records one by one say, bit by bit."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.columns import RecordColumns
from metapbt.memory.points import points_of
from metapbt.memory.reading import joined, own_columns
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import Tasks
from metapbt.space import Space
from metapbt.store.table import AS_JSON, Identity, read_table, to_table, write_table
from metapbt.surrogates.thinning import evenly

SPACE = Space(
    {
        "rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "clip": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.05},
        "epochs": {"type": "int", "low": 3, "high": 30},
        "batch": {"type": "int", "low": 2, "high": 512, "log": True},
        "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"optimizer": ["sgd", "rms"]}},
        "decay": {"type": "float", "low": 0.0, "high": 1.0, "when": {"nesterov": True, "optimizer": "sgd"}},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd", "rms"]},
        "nesterov": {"type": "categorical", "choices": [True, False], "when": {"optimizer": "sgd"}},
        "size": {"type": "categorical", "choices": [8, 16]},
    }
)


def plain(sources, space=SPACE, most=100_000):
    """Rows as the definition has them: an object for each record, each checked by itself."""
    found = [
        (source.context, row)
        for source in sources
        for row in source.history.transitions()
        if row.hyperparameters in space
    ]
    found = [found[index] for index in evenly(len(found), most)]
    places = {}
    which = [places.setdefault(context, len(places)) for context, _ in found]
    numbers = [(r.generation, r.steps_before, r.steps, r.return_before, r.return_after) for _, r in found]
    points = [space.to_unit(row.hyperparameters) for _, row in found]
    usual = np.median([row.steps for _, row in found])
    histories = {id(record): source.history for source in sources for record in source.history}
    chosen = [place for place, parameter in enumerate(space.parameters) if parameter.choices]

    def after(record):
        """What an agent had trained with lately after a record's interval: half of it in the last usual interval."""
        point, origin = space.to_unit(record.hyperparameters), histories[id(record)].before(record)
        if origin is None or origin.hyperparameters not in space:
            return point
        kept = 0.5 ** ((record.env_steps - origin.env_steps) / usual)
        mean = kept * np.array(after(origin)) + (1 - kept) * np.array(point)
        mean[chosen] = np.array(point)[chosen]
        return mean

    recent = [
        point if row.origin is None or row.origin.hyperparameters not in space else after(row.origin)
        for point, (_, row) in zip(points, found, strict=True)
    ]
    return list(places), np.array(numbers, dtype=float), (np.array(points), np.array(recent)), np.array(which)


def assert_same(memory, sources, space=SPACE, most=100_000):
    tasks = Tasks.of(memory, space, max_rows=most)
    contexts, numbers, (points, recent), which = plain(sources, space, most)
    samples = tasks.samples
    assert list(tasks.contexts) == contexts
    columns = (
        samples.generations, samples.steps_before, samples.steps, samples.returns_before, samples.returns_after,
    )  # fmt: skip
    for column, expected in zip(columns, numbers.T, strict=True):
        assert column.dtype == np.float64
        assert column.tobytes() == np.ascontiguousarray(expected).tobytes()
    assert samples.points.tobytes() == points.tobytes()
    np.testing.assert_allclose(samples.recent, recent, atol=1e-12)
    here = tasks.origins >= 0  # who went on from what, of what is there
    whole = tasks.whole
    assert (whole.returns_before[here] == whole.returns_after[tasks.origins[here]]).all()
    np.testing.assert_array_equal(samples.contexts, which)


def awkward(seed, size=4, generations=7, candidates=6, restarts=True):
    """A history with all that may happen: candidates, another order of reports, restarts, old parents, no returns."""
    rng = np.random.default_rng(seed)
    records, last = [], {}

    def train(generation, member, parent=None, parent_generation=None, restart=False, teacher=None):
        since = None if restart else (records[last[member]] if member in last and parent is None else None)
        if parent is not None:
            since = next(r for r in records if (r.generation, r.member) == (parent_generation, parent))
        start = since.env_steps if since else 0
        returns = rng.normal(size=2)
        for place in range(2):
            if rng.random() < 0.25:
                returns[place] = rng.choice([math.nan, math.inf, -math.inf, 1e300, -1e300])
        hp = SPACE.sample(rng)
        if rng.random() < 0.1:
            hp = {**SPACE.unconditional_default(), **hp}  # some do not exist under the others
        if rng.random() < 0.1:
            hp = {**hp, "rate": 1.0}  # of another space
        if rng.random() < 0.1:
            hp.pop("epochs")
        records.append(
            Record(
                generation, member, parent, "random", hp, start + int(rng.integers(5, 15)), returns[0], returns[1],
                parent_generation=parent_generation, restart=restart,
                teacher_generation=teacher and teacher[0], teacher_member=teacher and teacher[1],
            )
        )  # fmt: skip
        last[member] = len(records) - 1

    for member in rng.permutation(candidates):
        train(0, int(member))
    for generation in range(1, generations):
        for member in map(int, rng.permutation(size)):
            kind = rng.random()
            if restarts and generation > 1 and kind < 0.2:
                train(generation, member, restart=True, teacher=(generation - 1, 0) if kind < 0.1 else None)
            elif kind < 0.5:  # backtracking reaches any record before
                old = records[int(rng.integers(len(records)))]
                train(generation, member, old.member, old.generation)
            else:
                train(generation, member)
    order = rng.permutation(len(records)) if seed % 2 else np.arange(len(records))
    return History(tuple(records[place] for place in sorted(order)), size=size)


def sources(count=6):
    contexts = [{"gravity": 9.8, "robot": "a"}, {"gravity": 5.0, "robot": "b"}, {"robot": "a", "gravity": 9.8}]
    return [SourceRun(Context(contexts[seed % 3]), awkward(seed)) for seed in range(count)]


TARGET = Context({"gravity": 7.0, "robot": "c"})


@pytest.mark.parametrize("most", [100_000, 17, 1])
def test_rows_are_those_of_the_plain_definition(most):
    assert_same(Memory(TARGET, tuple(sources())), sources(), most=most)


def test_runs_whose_records_are_interleaved_are_told_apart():
    table = Memory(TARGET, tuple(sources())).table
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = table.take(np.concatenate([np.sort(order[::2]), np.sort(order[1::2])]))
    runs = shuffled["run_id"].to_pylist()
    found = [sources()[int(run)] for run in dict.fromkeys(runs)]
    order_of = {run: [i for i, other in enumerate(runs) if other == run] for run in dict.fromkeys(runs)}
    names = {run: [(shuffled["generation"][i].as_py(), shuffled["member"][i].as_py()) for i in order_of[run]]
             for run in order_of}  # fmt: skip
    reordered = [
        SourceRun(
            source.context, History(tuple(source.history.at(ref) for ref in names[run]), size=source.history.size)
        )
        for run, source in zip(order_of, found, strict=True)
    ]
    assert_same(Memory(TARGET, shuffled), reordered)


def test_rows_that_went_through_a_file_are_the_same(tmp_path):
    write_table(tmp_path / "memory.parquet", Memory(TARGET, tuple(sources())).table)
    assert_same(Memory(TARGET, read_table(tmp_path / "memory.parquet")), sources())


def test_no_rows_at_all():
    for memory in (
        Memory(TARGET),
        Memory(TARGET, (SourceRun(TARGET, History()),)),
        Memory(TARGET, (SourceRun(TARGET, History((Record(0, 0, None, "random", {}, 10, math.nan),))),)),
    ):
        tasks = Tasks.of(memory, SPACE)
        assert len(tasks) == 0
        assert tasks.contexts == ()


def configurations(count, seed=0):
    rng = np.random.default_rng(seed)
    strange = {
        "rate": [1e-5, 1e-2, 0.0, -1.0, 1.0, math.nan, math.inf],
        "epochs": [3, 30, 31, 7.0],
        "clip": [0.1, 0.15, 0.12, 0.5, 0.55, 0.15000000001],
        "momentum": [0.5, 2.0],
        "decay": [0.3],
        "nesterov": [True, False],
        "optimizer": ["adam", "sgd", "rms", "nobody"],
        "size": [8, 16, 9],
    }
    found = []
    for _ in range(count):
        drawn = SPACE.sample(rng)
        for name in rng.permutation(list(strange))[: rng.integers(3)]:
            values = strange[str(name)]
            drawn[str(name)] = values[rng.integers(len(values))]
        if rng.random() < 0.2:
            drawn.pop(str(rng.choice(list(drawn))))
        found.append(drawn)
    return found


def test_points_of_many_configurations_are_those_of_each():
    asked = configurations(400)
    names = dict.fromkeys(name for each in asked for name in each)
    table = pa.table({f"hp.{name}": pa.array([each.get(name) for each in asked]) for name in names})
    points = points_of(table, SPACE)
    legal = ~np.isnan(points).any(axis=1)
    assert legal.tolist() == [each in SPACE for each in asked]
    assert 100 < legal.sum() < 300
    expected = np.array([SPACE.to_unit(each) for each in asked if each in SPACE])
    assert points[legal].tobytes() == expected.tobytes()


def test_columns_of_other_types_hold_no_legal_values_and_do_no_harm():
    asked = configurations(20)
    texts = [str(each.get("rate")) for each in asked]
    for column in (pa.array(texts), pa.array(["x"] * 20), pa.nulls(20), pa.array([True] * 20)):
        table = pa.table({"hp.rate": column, "hp.size": pa.array([8] * 20)})
        assert np.isnan(points_of(table, SPACE)).any(axis=1).all()
    table = pa.table(
        {"hp.rate": pa.array([1e-3] * 20), "hp.size": pa.array([8] * 20), "hp.unknown": pa.array([1] * 20)}
    )
    assert np.isnan(points_of(table, SPACE)).all()


def test_categories_of_any_plain_data_are_told_apart():
    choices = ["auto", 0.05, [64, 64], {"kind": "cosine"}, None, True, 1]
    space = Space({"any": {"type": "categorical", "choices": choices}})
    asked = [*choices, "none", [64], 2, False, 0.05]
    texts = [json.dumps(value) for value in asked]
    field = pa.field("hp.any", pa.string(), metadata=AS_JSON)
    table = pa.table([pa.array([*texts, None])], schema=pa.schema([field]))
    expected = [space.to_unit({"any": value})[0] if {"any": value} in space else math.nan for value in asked]
    np.testing.assert_array_equal(points_of(table, space)[:, 0], [*expected, math.nan])


MIXED = Space(
    {"alpha": {"type": "float", "low": 0.0, "high": 1.0}, "size": {"type": "categorical", "choices": [8, 16]}}
)


def part(run, hyperparameters, context=None):
    history = History(tuple(Record(0, m, None, "random", hp, 10, float(m)) for m, hp in enumerate(hyperparameters)))
    identity = Identity(run, "env", Context(context or {"gravity": 9.8}), "pb2", "pb2", "ppo", 0)
    return identity, own_columns(to_table(identity, history))


def test_runs_whose_columns_differ_in_type_are_read_together(tmp_path):
    parts = [
        part("whole", [{"alpha": 1, "size": 8}, {"alpha": 0, "size": 16}]),
        part("none", [{"size": 8}]),
        part("words", [{"alpha": "auto", "size": 8}]),
        part("numbers", [{"alpha": 0.25, "size": 16}, {"alpha": 0.5, "size": 8}], {"gravity": 9, "robot": "a"}),
    ]
    write_table(tmp_path / "memory.parquet", joined(parts))
    table = read_table(tmp_path / "memory.parquet")
    assert table.schema.field("hp.alpha").metadata == AS_JSON
    assert table["hp.alpha"].to_pylist() == ["1", "0", None, '"auto"', "0.25", "0.5"]
    points = points_of(table, MIXED)
    assert (~np.isnan(points).any(axis=1)).tolist() == [True, True, False, False, True, True]
    np.testing.assert_array_equal(points[[0, 1, 4, 5], 0], [1.0, 0.0, 0.25, 0.5])
    assert joined(parts[:2]).schema.field("hp.alpha").type == pa.int64()
    assert joined([parts[0], parts[3]])["hp.alpha"].to_pylist() == [1.0, 0.0, 0.25, 0.5]
    again = joined([(parts[0][0], own_columns(table.slice(0, 2))), (parts[2][0], own_columns(table.slice(3, 1)))])
    assert again["hp.alpha"].to_pylist() == ["1", "0", '"auto"']  # not encoded twice
    memory = Memory(Context({"gravity": 9.0}), table)
    assert memory.contexts[0] == {"gravity": 9.8}
    assert memory.contexts[3] == {"gravity": 9.0, "robot": "a"}


def test_tables_of_version_2_are_read_as_those_of_today(tmp_path):
    history, identity = awkward(0, restarts=False), Identity("x", "env", TARGET, "pb2", "pb2", "ppo", 0)
    table = to_table(identity, history)
    features = pa.array([[("gravity", 7.0)]] * len(table), pa.map_(pa.string(), pa.float64()))
    later = ["name", "era", "restart", "failed", "teacher_member", "teacher_generation", "until_steps", "spent_steps"]
    old = table.drop_columns([*later, "context.gravity", "context.robot", "schema_version"])
    old = old.append_column("context", features).append_column("schema_version", pa.array([2] * len(table)))
    pq.write_table(old, tmp_path / "records.parquet")
    found = joined([(identity, own_columns(read_table(tmp_path / "records.parquet")))])
    assert_same(Memory(TARGET, found), [SourceRun(TARGET, history)])


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("generation", [0, 0, 1, -1], "generation -1 of member 1 is none that a run has"),
        ("member", [0, 1, 0, 2**62], "is none that a run has"),
        ("member", [0, 1, 0, 0], "generation 1 of member 0 has two records"),
        ("env_steps", [10, 10, 10, 20], "generation 1 of member 0 trained no steps"),
        ("env_steps", [10, 10, 20, -20], "generation 1 of member 1 trained no steps"),
        ("env_steps", [0, 10, 20, 20], "generation 0 of member 0 trained no steps"),
        ("parent", [None, None, None, 1], None),
    ],
)
def test_records_that_no_run_writes_are_found(column, values, what):
    records = [Record(g, m, None, "random", {"alpha": 0.5}, 10 * (g + 1), 1.0) for g in (0, 1) for m in (0, 1)]
    parts = []
    for run in ("good", "bad"):
        identity = Identity(run, "env", TARGET, "pb2", "pb2", "ppo", 0)
        table = own_columns(to_table(identity, History(tuple(records))))
        if run == "bad":
            table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, pa.int64()))
        parts.append((identity, own_columns(table)))
    problems = RecordColumns.of(joined(parts)).problems()
    assert list(problems) == (["bad"] if what else [])
    assert what is None or what in problems["bad"]


def test_returns_of_columns_are_those_of_the_records():
    odd = (2.0, -3.0, math.nan, math.inf, -math.inf, 1e200)
    records = [Record(0, m, None, "random", {}, 10, *pair) for m, pair in enumerate((a, b) for a in odd for b in odd)]
    found = RecordColumns.of(Memory(Context({}), [SourceRun(Context({}), History(tuple(records)))]).table)
    for name in ("reached", "performance"):
        np.testing.assert_array_equal(getattr(found, name), [getattr(record, name) for record in records])
