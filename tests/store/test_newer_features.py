"""Runs written down before their environment had a feature have it, with the value that it had all the same."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import metapbt
from metapbt.envs import get_environment, make_context
from metapbt.errors import MetapbtError
from metapbt.history.context import NEWER
from metapbt.memory.shipped import shipped_dir
from metapbt.memory.source_runs import Memory
from metapbt.memory.tasks import UNSEEN, Tasks
from metapbt.report.groups import load_groups
from metapbt.space import Space
from metapbt.store.memory_table import ancestry_of_plain
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import read_table, write_table

FEATURES = {"leg_height": 1.3, "gravity_y": -4.3}
DATA = Path(__file__).parents[1] / "data"
OLD = DATA / "lunar_lander" / "leg_height=1.3,gravity_y=-4.3" / "pb2" / "seed_0"  # one that shipped until version 5
NOW = make_context("lunar_lander", FEATURES)


@pytest.mark.parametrize("env", NEWER)
def test_newer_features_are_the_last_with_their_defaults(env):
    newest = get_environment(env).features[-len(NEWER[env]) :]
    assert {feature.name: feature.default for feature in newest} == NEWER[env]


@pytest.mark.parametrize("env", sorted(path.name for path in shipped_dir().iterdir() if (path / path.name).is_dir()))
def test_a_feature_that_shipped_runs_have_not_is_among_the_newer(env):
    run = next((shipped_dir() / env).rglob("DONE")).parent
    written = RunDirectory(run).config()["features"].keys()
    assert {feature.name for feature in get_environment(env).features} == written | NEWER.get(env, {}).keys()


def test_the_runs_here_are_old_enough():
    assert "actions" not in RunDirectory(OLD).config()["features"]


def test_an_old_run_is_on_a_context_of_today():
    run = metapbt.load(OLD)
    assert (run.info.context, list(run.info.context)) == (NOW, list(NOW))
    assert ancestry_of_plain(
        [{name: value for name, value in NOW.items() if name != "actions"}], OLD, "lunar_lander"
    ) == {NOW}


def test_an_old_run_is_the_same_run_today():
    config = RunDirectory(OLD).config()
    RunDirectory(OLD).check_same({**config, "features": dict(NOW)})
    with pytest.raises(MetapbtError, match=r"features.actions \(was 'discrete', now 'continuous'\)"):
        RunDirectory(OLD).check_same({**config, "features": {**NOW, "actions": "continuous"}})


def test_old_tables_have_it_too_also_beside_newer_ones(tmp_path):
    old = read_table(OLD / "records.parquet")
    assert set(old["context.actions"].to_pylist()) == {"discrete"}
    place = old.column_names.index("context.actions")
    newer = old.set_column(place, "context.actions", pa.array(["continuous"] * len(old)))
    write_table(
        tmp_path / "mixed.parquet",
        pa.concat_tables([old.drop_columns("context.actions"), newer], promote_options="default"),
    )
    found = read_table(tmp_path / "mixed.parquet")["context.actions"].to_pylist()
    assert found == ["discrete"] * len(old) + ["continuous"] * len(old)


def test_memory_of_old_runs_knows_little_of_other_actions():
    table = read_table(OLD / "records.parquet")
    trust = {}
    for actions in ("discrete", "continuous"):
        memory = Memory(make_context("lunar_lander", {"actions": actions, **FEATURES}), table)
        tasks = Tasks.of(memory, Space(RunDirectory(OLD).config()["space"]))
        trust[actions] = tasks.coverage(memory.descriptions[memory.context])
    assert trust == {"discrete": 1.0, "continuous": UNSEEN}


def test_a_report_shows_an_old_run_on_its_context_of_today(tmp_path):
    run = tmp_path / "results" / "lunar_lander" / OLD.parent.parent.name / "pb2" / "seed_0"
    shutil.copytree(OLD, run)
    (group,) = load_groups(tmp_path / "results")
    assert list(group.contexts) == [NOW]
