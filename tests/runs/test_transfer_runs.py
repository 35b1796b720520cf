"""start=transfer as users type it: alone, killed in its midst, and in a study."""

import shutil
import signal
from pathlib import Path

import pytest
from test_runs import command, in_a_process, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.store import find_runs
from metapbt.store.check import problem

BEGIN = ["start=transfer", "meta.results_dir=sources"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def sources(space, *shifts, method="random"):  # noqa: F811
    """Runs on contexts of their own; what their best members train with."""
    asked = [[f"context.optimum_shift={s}", f"seed={seed}"] for seed, s in enumerate(shifts)]  # alike, they draw alike
    runs = [metapbt.run(command("sources", *each, method=method), space) for each in asked]
    return [dict(run.best.hyperparameters) for run in runs]


def first_of(run):
    return [dict(record.hyperparameters) for record in run.history.generation(0)]


def test_a_run_begins_with_the_best_of_its_sources_nearest_first(space):  # noqa: F811
    far, near = sources(space, 0.9, 0.3)
    told = in_a_process(command("results", *BEGIN, method="pbt"), space)
    assert told.returncode == 0, told.stderr
    run = metapbt.load("results/quadratic/default/pbt_transfer/seed_0")
    assert first_of(run)[:2] == [near, far]
    assert [record.source for record in run.history.generation(0)] == ["transfer"] * 4
    log = (run.path / "run.log").read_text()
    assert "configuration 1 of 4 is from optimum_shift=0.3, random seed 1" in log
    assert (run.info.name, run.info.method) == ("pbt_transfer", "pbt")
    assert (len(run.info.ancestry), problem(run.info)) == (2, None)
    plain = metapbt.run(command("results", method="pbt"), space)
    assert plain.path.parent.name == "pbt"
    with pytest.raises(MetapbtError, match="another configuration"):
        metapbt.run(command("results", *BEGIN, "start.stage=0.2", method="pbt"), space)
    # It is no source for what it learned from.
    beyond = ["context.optimum_shift=0.3", "start=transfer", "name=mine", f"meta.results_dir={run.path}"]
    assert metapbt.run(command("more", *beyond, method="random"), space).info.ancestry == frozenset()


def test_killed_it_goes_on_as_if_it_had_not_been_though_its_sources_changed(space):  # noqa: F811
    sources(space, 0.9, 0.3)
    metapbt.run(command("whole", *BEGIN, method="pbt"), space)
    kill = {"folder": str(Path("killed").absolute()), "call": 7, "signal": "SIGKILL"}
    Path("killed").mkdir()
    told = in_a_process(command("stopped", *BEGIN, method="pbt"), space, kill)
    assert told.returncode == -signal.SIGKILL
    shutil.rmtree("sources")
    sources(space, 0.1, method="pbt")
    metapbt.run(command("stopped", *BEGIN, method="pbt"), space)
    same(records("stopped"), records("whole"))


@pytest.mark.slow
def test_it_may_die_before_any_file_takes_its_name(space, writes):  # noqa: F811
    sources(space, 0.3)
    arguments = [*BEGIN, "budget.steps=20", "population.size=2"]
    metapbt.run(command("whole", *arguments, method="pbt"), space)
    total = writes.during(lambda: metapbt.run(command("counted", *arguments, method="pbt"), space))
    for limit in range(1, total + 1):
        again = command(f"stopped_{limit}", *arguments, method="pbt")
        writes.kill_before(limit, lambda again=again: metapbt.run(again, space))
        metapbt.run(again, space)
        same(records(f"stopped_{limit}"), records("whole"))


def test_without_sources_it_says_so_and_begins_as_the_method_does(space):  # noqa: F811
    with pytest.raises(MetapbtError, match="meta.results_dir=sources is no directory, so there is nothing to remember"):
        metapbt.run(command("results", *BEGIN, method="random"), space)
    Path("sources").mkdir()
    run = metapbt.run(command("results", *BEGIN, method="random"), space)
    log = (run.path / "run.log").read_text()
    assert "no runs of quadratic with learner stand_in:StandInLearner on other contexts under sources; random" in log
    assert "; random_transfer goes on without memory" in log
    assert first_of(run) == first_of(metapbt.run(command("results", method="random"), space))


def test_a_study_hands_it_what_the_groups_before_left(capsys):
    Path("mine.yaml").write_text(
        "env: quadratic\noverrides: [budget.steps=8, budget.interval=4, executor=inline, population.size=2]\n"
        "sources: {method: random, context.optimum_shift: [0.2, 0.8]}\n"
        "targets: {after: sources, method: pbt, start: [method, transfer], context.optimum_shift: 0.4}\n"
    )
    assert main(["study", "mine.yaml", "--jobs", "1"]) == 0
    runs = {run.name: metapbt.load(run.path) for run in find_runs(Path("results/mine/targets"))}
    assert set(runs) == {"pbt", "pbt_transfer"}
    assert set(runs["pbt"].records.query("generation == 0")["source"]) == {"random"}
    assert set(runs["pbt_transfer"].records.query("generation == 0")["source"]) == {"transfer"}
    assert len(runs["pbt_transfer"].info.ancestry) == 2
