"""The memory that ships, as it is in this checkout."""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import metapbt
from metapbt.cli import main
from metapbt.config import compose
from metapbt.envs import make_context
from metapbt.integrations.memory import remembered
from metapbt.memory.shipped import shipped_dir, shipped_version
from metapbt.memory.training import cache_key
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.report.knowledge import explorer_of
from metapbt.runs.run import check
from metapbt.space import Space
from metapbt.store.results import count_records, find_runs
from metapbt.store.run_directory import RunDirectory
from metapbt.study.study import read_study

SHIPS = {".yaml", ".parquet", ""}  # config.yaml, records.parquet, journal and DONE
MOST_BYTES = 10 * 2**20
STUDIES = Path(metapbt.__file__).parents[1] / "benchmarks"
LATER = ("evidence_walker", "evidence_double_pendulum")  # than the log scale


@cache
def boxed():
    """The runs in it."""
    return find_runs(shipped_dir())


@cache
def studied(file):
    """What a study of ours trains, with one seed."""
    return read_study(str(file), ["seed=0"]).runs


def test_all_of_it_is_whole_and_only_records(capsys):
    assert main(["data", "check", str(shipped_dir())]) == 0
    assert ", 0 with problems" in capsys.readouterr().out
    assert shipped_version().isdigit()


def test_it_holds_what_its_readme_says():
    runs = defaultdict(list)
    for run in boxed():
        runs[run.env].append(run)
    said = re.findall(
        r"^\| `([\w/]+)` \| (\d+) \| (.+?) \| (\d+) \| ([\d,]+) \|", (shipped_dir() / "README.md").read_text(), re.M
    )
    assert {env for env, *_ in said} == set(runs)
    for env, contexts, features, count, records in said:
        found = {run.context for run in runs[env]}
        assert (len(found), len(runs[env])) == (int(contexts), int(count))
        assert sum(map(count_records, runs[env])) == int(records.replace(",", ""))
        assert {name for context in found for name in context.changed} == set(re.findall(r"`(\w+)`", features))


def test_its_contexts_vary_two_features_at_once_and_are_none_that_studies_of_one_feature_train_on():
    for env in {run.env for run in boxed()}:
        found = {run.context for run in boxed() if run.env == env}
        usual = make_context(env, {})
        assert len(found) >= 20
        assert all(len(context.changed) == 2 for context in found)
        assert all(context[name] != usual[name] for context in found for name in context.changed)


@pytest.mark.parametrize("file", sorted(STUDIES.glob("evidence_*.yaml")), ids=lambda file: file.stem)
def test_what_evidence_is_gathered_on_is_not_in_it(file):
    remembered = {run.context for run in boxed()}
    asked = {make_context(run.identity.env, dict(run.identity.context)) for run in studied(file)}
    assert asked
    assert not asked & remembered


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=pytest.mark.brax if file.stem == "evidence_double_pendulum" else [])
        for file in sorted(STUDIES.glob("evidence_*.yaml"))
    ],
)
def test_every_rival_can_be_trained(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = {(run.group, run.identity.name): run for run in studied(file)}
    rivals = {"pb2_transfer", "mf_pbt", "ipbt", "zoo", "random", "gpbt_pl", "zoo_4"}
    if file.stem not in LATER:
        rivals |= {"pb2_log", "meta_pb2_log"}
    assert rivals <= {name for _, name in kinds}
    for run in kinds.values():
        check(compose(run.overrides))


def test_it_is_small():
    shipped = [path for path in shipped_dir().rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    kept = [path for path in shipped if path.suffix in SHIPS and not path.name.startswith(".")]
    assert sum(path.stat().st_size for path in kept) < MOST_BYTES


def test_no_machine_is_named_in_it():
    for path in Path(shipped_dir()).rglob("config.yaml"):
        assert not re.search(r"(?<![\w.])/\w+", path.read_text()), path


@pytest.mark.parametrize(
    ("env", "context"),
    [*(pytest.param(env, [], marks=pytest.mark.brax if env.startswith("brax/") else [])
       for env in sorted({run.env for run in boxed()})),
     ("lunar_lander", ["context.actions=continuous"])],
)  # fmt: skip
def test_what_is_trained_from_it_is_in_it(env, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["budget.steps=1024", "budget.interval=1024", "evaluation.episodes=1", "evaluation.test_episodes=1"]
    run = metapbt.run([f"env={env}", *context, "method=meta_pb2", "executor=inline", *small])
    log = (run.path / "run.log").read_text()
    assert "the memory that ships" in log
    assert "memory: training a" not in log
    assert not (tmp_path / "results" / ".meta_models").exists()
    # The page finds them, too, and so does a scheduler of Ray Tune or whoever else hands a tuner this memory.
    assert explorer_of(run).meta.learned.weights()
    handed = remembered("meta_pb2", "shipped", {"env": env, "learner": run.info.learner, "context": run.info.context})
    assert handed["cache"].folder is None  # nothing is to be written into what ships
    explorer = MetaPB2Explorer(Space(RunDirectory(run.path).config()["space"]), **handed)
    key = cache_key(True, explorer.tasks)
    assert handed["cache"].get(key).keys() == explorer.meta.learned.weights().keys()
