"""The memory that ships, as a run meets it: where nothing else is found, by name, and beside one's own runs."""

import shutil
from pathlib import Path

import pytest
from test_runs import command, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.integrations.memory import remembered
from metapbt.memory import shipped
from metapbt.store import find_runs
from metapbt.store.check import problem
from metapbt.store.memory_table import read_memory
from metapbt.store.results import SHIPPED

ANOTHER = "+space.z={type: float, low: 0.0, high: 1.0}"  # one hyperparameter more than others have


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


@pytest.fixture
def box(tmp_path, monkeypatch, space, briefly_trained):  # noqa: F811
    """A memory that ships, of two contexts: finished runs without agents, in a package that cannot be written."""
    folder = tmp_path / "package" / "results" / "memory"
    for seed, shift in enumerate((0.3, 0.9)):
        run = metapbt.run(
            command(str(folder), f"context.optimum_shift={shift}", f"seed={seed}", method="random"), space
        )
        shutil.rmtree(run.path / "checkpoints")
        (run.path / "run.log").unlink()
    (folder / SHIPPED).write_text("7\n")
    monkeypatch.setattr(shipped, "shared_dir", lambda name: tmp_path / "package" / name)
    return folder


def shifts(run):
    """The contexts that a run remembers."""
    return {context["optimum_shift"] for context in read_memory(run.path / "memory.parquet")[1]}


def log_of(run):
    return (run.path / "run.log").read_text()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_finds_no_others_learns_from_what_ships_and_says_so(box, space):  # noqa: F811
    before = files(box)
    run = metapbt.run(command("results", method="meta_pb2"), space)
    assert shifts(run) == {0.3, 0.9}
    said = "no runs of quadratic with learner stand_in:StandInLearner on other contexts under results, so the memory"
    assert f"{said} that ships" in log_of(run)
    assert "(meta.results_dir=shipped), version 7" in log_of(run)
    assert problem(run.info) is None
    # Trained models are kept beside the run's own results: where metapbt is installed nothing can be written.
    assert files(box) == before
    assert list(Path("results").glob(".meta_models/*.npz"))


def test_where_nothing_ships_either_the_log_says_so_and_judges_no_memory(space):  # noqa: F811
    run = metapbt.run(command("results", method="meta_pb2"), space)
    said = log_of(run)
    assert "memory: no runs of quadratic with learner stand_in:StandInLearner on other contexts under results" in said
    assert "nor in the memory that ships; meta_pb2 goes on without memory" in said
    assert "held-out" not in log_of(run)
    assert "too few source contexts" not in log_of(run)


def test_the_same_by_name_and_killed_it_goes_on(box, space, writes):  # noqa: F811
    arguments = ["meta.results_dir=shipped", "budget.steps=20", "population.size=2"]
    metapbt.run(command("whole", *arguments, method="meta_pb2"), space)
    again = command("killed", *arguments, method="meta_pb2")
    writes.kill_before(4, lambda: metapbt.run(again, space))
    metapbt.run(again, space)
    same(records("killed"), records("whole"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], {0.1}),
        (["meta.results_dir=shipped"], {0.3, 0.9}),
        (["meta.results_dir=[results,shipped]"], {0.1, 0.3, 0.9}),
        (["meta.results_dir=elsewhere"], set()),
    ],
)
@pytest.mark.parametrize("who", ["meta_pb2", "transfer"])
def test_ones_own_runs_come_first_and_what_is_asked_for_counts(box, space, asked, found, who):  # noqa: F811
    metapbt.run(command("results", "context.optimum_shift=0.1", method="random"), space)
    Path("elsewhere").mkdir()
    how = {"method": "pbt" if who == "transfer" else who}
    start = ["start=transfer"] if who == "transfer" else []
    run = metapbt.run(command("results", *start, *asked, **how), space)
    assert shifts(run) == found
    assert "is used" not in log_of(run)
    # Of few contexts of one's own it is said what else there is; who named a place has chosen.
    offered = "that ships with metapbt is not used: it has optimum_shift=0.3 (1 run), optimum_shift=0.9 (1 run)"
    assert (offered in log_of(run)) is (not asked)
    assert ("meta.results_dir=[results,shipped] adds them" in log_of(run)) is (not asked)
    if not found:
        none = "no runs of quadratic with learner stand_in:StandInLearner on other contexts under elsewhere; "
        assert none in log_of(run)


@pytest.mark.parametrize("who", ["meta_pb2", "transfer"])
def test_what_cannot_be_learned_from_hides_nothing_that_can(box, space, who):  # noqa: F811
    # A run of one's own in another search space, and one of another method than is asked for.
    own = metapbt.run(command("results", "context.optimum_shift=0.1", ANOTHER, method="random"), space)
    metapbt.run(command("results", "context.optimum_shift=0.2", method="default"), space)
    start = ["start=transfer"] if who == "transfer" else []
    how = {"method": "pbt" if who == "transfer" else who}
    run = metapbt.run(command("results", *start, "meta.methods=[random]", **how), space)
    assert shifts(run) == {0.3, 0.9}
    assert f"{own.path} is passed over: its hyperparameters are not of this run's space" in log_of(run)
    assert "with learner stand_in:StandInLearner and method random on other contexts under results, so" in log_of(run)


def test_where_all_that_ships_is_of_another_space_it_is_said_once_and_that_there_is_no_memory(box, space):  # noqa: F811
    run = metapbt.run(command("results", ANOTHER, method="meta_pb2"), space)
    assert shifts(run) == set()
    said = log_of(run)
    assert said.count("passed over: its hyperparameters are not of this run's space") == 1
    assert "(and 1 more) is passed over" in said
    assert "so the memory that ships" not in said
    assert "goes on without memory" in said


def test_sources_on_another_scale_are_named(box, space):  # noqa: F811
    run = metapbt.run(command("results", "space.x.low=0.01", "+space.x.log=true", method="meta_pb2"), space)
    assert "2 source runs searched x on another scale than this run does (space.x.log or .complement)" in log_of(run)
    run = metapbt.run(command("same", method="meta_pb2"), space)
    assert "another scale" not in log_of(run)


def test_a_place_that_is_not_there_is_an_error_but_for_where_ones_own_results_will_be(box, space):  # noqa: F811
    asked = command("results", "meta.results_dir=[results,shipped]", method="meta_pb2")
    assert shifts(metapbt.run(asked, space)) == {0.3, 0.9}
    with pytest.raises(MetapbtError, match="meta.results_dir=result is no directory, so there is nothing to remember"):
        metapbt.run(command("others", "meta.results_dir=[result,shipped]", method="meta_pb2"), space)


def test_it_is_not_among_ones_own_results(box, space, capsys):  # noqa: F811
    shutil.copytree(box, "results/memory")
    own = metapbt.run(command("results", "context.optimum_shift=0.1", method="random"), space)
    assert [run.path for run in find_runs(Path("results"))] == [own.path]
    assert len(find_runs(Path("results/memory"))) == len(find_runs(Path("results/memory/"))) == 2
    assert len(find_runs(Path("results/memory/quadratic"))) == 2
    run = metapbt.run(command("results", method="meta_pb2"), space)
    assert shifts(run) == {0.1}


def test_runs_without_agents_are_whole_and_a_damaged_one_is_found(box, capsys):
    assert main(["data", "check", str(box)]) == 0
    assert "2 runs checked, 0 with problems" in capsys.readouterr().out
    run = find_runs(box)[0]
    data = bytearray((run.path / "records.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (run.path / "records.parquet").write_bytes(data)
    assert main(["data", "check", str(box)]) == 1


def test_an_agent_that_is_lost_from_a_run_that_keeps_them_is_missed(box):
    run = find_runs(box)[0]
    (run.path / "checkpoints").mkdir()
    assert "checkpoints/generation_" in problem(run)


def test_a_scheduler_of_ray_tune_is_handed_it_by_name(box):
    known = {"env": "quadratic", "learner": "stand_in:StandInLearner", "context": {"optimum_shift": 0.5}}
    memory = remembered("meta_pb2", "shipped", known)["memory"]
    assert {context["optimum_shift"] for context in memory.contexts} == {0.3, 0.9}
    with pytest.raises(MetapbtError, match="memory_of=nowhere is no directory, so there is nothing to remember"):
        remembered("meta_pb2", "nowhere", known)
