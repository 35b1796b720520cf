"""What a run learned from is chosen once: where it is lost or damaged, nobody chooses anew in its midst."""

import shutil
from pathlib import Path

import pytest

import metapbt
from metapbt.errors import MetapbtError
from metapbt.store.journal import Journal

SETTINGS = ["env=quadratic", "learner.name=stand_in:StandInLearner", "~learner.start", "executor=inline",
            "budget.steps=30", "budget.interval=10", "space=for_tests", "population.size=2"]  # fmt: skip


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_tests.yaml").write_text("x: {type: float, low: 0.0, high: 1.0}\n")
    return tmp_path / "conf"


def sources(space, *shifts):
    for shift in shifts:
        metapbt.run([*SETTINGS, "method=random", "results_dir=sources", f"context.optimum_shift={shift}"], space)


# Nothing is chosen or trained by memory here, only kept.
TARGET = [*SETTINGS, "method=meta_pb2", "method.first_generation=0", "method.steering=false", "results_dir=results",
          "meta.results_dir=sources", "context.optimum_shift=0.9"]  # fmt: skip

DAMAGES = {
    "gone": lambda file: file.unlink(),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-50]),
    "empty": lambda file: file.write_bytes(b""),
    "flipped": lambda file: file.write_bytes(bytes(b ^ (i == 2000) for i, b in enumerate(file.read_bytes()))),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
}


def test_a_run_whose_own_memory_is_lost_says_what_to_do(space, monkeypatch):
    sources(space, 0.2)
    usual = Journal.append

    def append(journal, records, assignments):
        usual(journal, records, assignments)
        raise MetapbtError("a stop")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        with pytest.raises(MetapbtError, match="a stop"):
            metapbt.run(TARGET, space)
    (file,) = Path("results").rglob("memory.parquet")
    whole = shutil.copytree("results", "whole")
    for what, damage in DAMAGES.items():
        shutil.rmtree("results")
        shutil.copytree(whole, "results")
        damage(file)
        with pytest.raises(MetapbtError, match="resume=false") as error:
            metapbt.run(TARGET, space)
        assert file.name in str(error.value), what
        assert "\n" not in str(error.value)
        assert (file.parent / "journal").read_bytes() == (Path(whole) / file.relative_to("results")).with_name(
            "journal"
        ).read_bytes()
    assert metapbt.run([*TARGET, "resume=false"], space).info.state == "done"
    shutil.rmtree("results")
    shutil.copytree(whole, "results")
    assert metapbt.run(TARGET, space).info.state == "done"


def test_sources_of_another_space_are_named(space):
    sources(space, 0.2)
    (space / "space" / "for_tests.yaml").write_text("y: {type: float, low: 0.0, high: 1.0, default: 0.5}\n")
    (space / "space" / "both.yaml").write_text("x: {type: float, low: 2.0, high: 3.0}\n")
    run = metapbt.run([*TARGET, "space=both"], space)
    assert run.info.state == "done"
    log = (run.path / "run.log").read_text()
    assert "optimum_shift=0.2" in log
    assert "is passed over: its hyperparameters are not of this run's space" in log


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("meta.num_contexts=all", "meta.num_contexts must be an integer >= 1, got 'all'"),
        ("meta.num_contexts=1.5", "meta.num_contexts must be an integer >= 1, got 1.5"),
        ("meta.methods=pb2", "meta.methods must be a list"),
        ("meta.results_dir=null", "meta.results_dir must be the path of a directory, got None"),
        ("meta.results_dir=7", "meta.results_dir must be the path of a directory, got 7"),
        ("meta.describe_by=3", "unknown meta.describe_by '3'"),
        ("meta.sources=null", "unknown meta.sources"),
        ("meta.include_target=sure", "meta.include_target must be true or false"),
    ],
)
def test_settings_of_memory_out_of_their_range_are_one_line(space, setting, what):
    with pytest.raises(MetapbtError, match=what) as error:
        metapbt.run([*TARGET, setting], space)
    assert "\n" not in str(error.value)
    assert not list(Path("results").rglob("config.yaml"))
