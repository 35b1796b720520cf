"""A tuner's run directory, as somebody uses it who has a training loop of their own."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.memory.reading import read_sources
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import choose_sources
from metapbt.store.check import problem
from metapbt.store.results import find_runs

SPACE = {
    "lr": {"type": "float", "low": 0.0, "high": 1.0},
    "optimiser": {"momentum": {"type": "float", "low": 0, "high": 1}},
}

#: Somebody's program: it keeps its agents in JSON files, named by generation and member.
PROGRAM = """
import json, os, sys
from pathlib import Path
import metapbt

SPACE = {"lr": {"type": "float", "low": 0.0, "high": 1.0},
         "optimiser": {"momentum": {"type": "float", "low": 0, "high": 1}}}
results, asynchronous, die = sys.argv[1], sys.argv[2] == "yes", int(sys.argv[3])
told = 0

def trained(tuner, member):
    global told
    told += 1
    if told == die:
        os.kill(os.getpid(), 9)
    assignment = tuner.assignments[member]
    agents = Path(results, "agents")
    agents.mkdir(exist_ok=True)
    start = assignment.start
    agent = json.loads((agents / f"{start[0]}_{start[1]}").read_text()) if start else {"steps": 0, "value": 0.0}
    agent = {"steps": agent["steps"] + 10, "value": agent["value"] + assignment.hyperparameters["lr"]}
    (agents / f"{tuner.coming_generation(member)}_{member}").write_text(json.dumps(agent))
    return agent["steps"], agent["value"]

with metapbt.Tuner(SPACE, "pbt", results_dir=results, env="net", context={"noise": 0.5}, seed=3) as tuner:
    tuner.start()
    while tuner.history.generations < 6:
        if asynchronous:
            member = min(tuner.assignments, key=tuner.coming_generation)
            tuner.tell_member(member, *trained(tuner, member))
        else:
            tuner.tell(*zip(*[trained(tuner, member) for member in tuner.assignments]))
"""


def program(results, asynchronous=False, die=0):
    Path(results).mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(metapbt.__file__).parents[1])}
    how = ["yes" if asynchronous else "no", str(die)]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(results), *how],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def tuner(results="results", **more):
    more = {"env": "net", "context": {"noise": 0.5}, "seed": 3, **more}
    return metapbt.Tuner(SPACE, more.pop("method", "pbt"), results_dir=results, **more)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tell(tuner, generations):
    tuner.start()
    while tuner.history.generations < generations:
        steps = [
            10 + (tuner.counts_on(member).env_steps if tuner.counts_on(member) else 0) for member in tuner.assignments
        ]
        values = [
            assignment.hyperparameters["lr"] + step
            for step, assignment in zip(steps, tuner.assignments.values(), strict=True)
        ]
        tuner.tell(steps, values)
    return tuner


def test_it_leaves_a_run_like_any_other(capsys):
    with tuner() as ours:
        tell(ours, 5)
    assert ours.path == Path("results/net/noise=0.5/pbt/seed_3")
    run = metapbt.load(ours.path)
    assert (run.info.state, run.history, problem(run.info)) == ("done", ours.history, None)
    assert {"context.noise", "hp.lr", "hp.optimiser.momentum"} <= set(run.records)
    assert "5 of so many generations" in repr(run)
    without = metapbt.Tuner(SPACE, "pbt", seed=3)
    tell(without, 5)  # keeping it changes no decision
    assert [r.hyperparameters for r in without.history] == [r.hyperparameters for r in ours.history]
    with tuner(seed=4) as other:
        tell(other, 5)
    for command in (["status"], ["data", "ls"], ["data", "show"], ["data", "check"], ["report"], ["data", "export"]):
        more = ["--to", "all.csv"] if command[-1] == "export" else []
        assert main([*command, "results", *more]) == 0
    assert len(pd.read_csv("all.csv")) == 40
    assert "pbt alone" in capsys.readouterr().out
    for command in (["evaluate"], ["replay"]):
        assert main([*command, str(ours.path)]) == 1
    assert capsys.readouterr().err.count("is of a metapbt.Tuner: its agents are where") == 2


@pytest.mark.usefixtures("briefly_trained")
def test_another_task_remembers_it():
    for noise in (0.2, 0.9):
        with tuner(context={"noise": noise}) as before:
            tell(before, 6)
    memory = Memory(Context({"noise": 0.5}), read_sources(find_runs(Path("results"))))
    with tuner(method="meta_pb2", memory=memory) as ours:
        tell(ours, 3)
    run = metapbt.load(ours.path)
    assert run.info.ancestry == {Context({"noise": 0.2}), Context({"noise": 0.9})}
    assert problem(run.info) is None
    with tuner(method="meta_pb2", memory=memory) as again:
        assert again.history == ours.history
    # Whose first members are drawn learns from its sources at its first decision, inside whatever the program has set.
    with torch.inference_mode(), tuner("drawn", method="meta_pb2", memory=memory, first_generation=0) as drawn:
        tell(drawn, 3)
    other = Memory(Context({"noise": 0.5}), read_sources(find_runs(Path("results/net/noise=0.2"))))
    with pytest.raises(MetapbtError, match=r"began with another memory \(.+ differs\): give that one, or resume=False"):
        tuner(method="meta_pb2", memory=other)


@pytest.mark.usefixtures("briefly_trained")
def test_what_lies_behind_a_memory_is_known_over_any_number_of_hops():
    def learned(noise, method, place, sources=(), **more):
        memory = Memory(Context({"noise": noise}), read_sources(sources))
        with tuner(place, method=method, context={"noise": noise}, memory=memory, **more) as ours:
            tell(ours, 6)
        return metapbt.load(ours.path).info

    first = learned(0.5, "meta_pb2", "first")
    second = learned(0.2, "meta_pb2", "second", [first])
    third = learned(0.9, "pb2", "third", [second], start="transfer")
    assert [each.ancestry for each in (first, second)] == [frozenset(), {Context({"noise": 0.5})}]
    assert third.ancestry == {Context({"noise": 0.2}), Context({"noise": 0.5})}
    assert choose_sources(Path("third"), "net", third.learner, Context({"noise": 0.5}), "all", 1) == []
    assert problem(third) is None


@pytest.mark.parametrize("asynchronous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_between_two_reports_it_goes_on_to_the_same_records(asynchronous):
    assert program("whole", asynchronous).returncode == 0
    for die in (1, 3, 9, 4):
        assert program("killed", asynchronous, die).returncode == -9
        (info,) = find_runs(Path("killed"))
        assert (info.state, problem(info)) == ("stopped", None)
    assert program("killed", asynchronous).returncode == 0
    whole, killed = (metapbt.load(f"{name}/net/noise=0.5/pbt/seed_3") for name in ("whole", "killed"))
    assert killed.history == whole.history
    assert (killed.info.state, problem(killed.info)) == ("done", None)


def test_a_reader_beside_it_sees_what_was_told_and_a_second_tuner_is_refused():
    ours = tell(tuner(), 3)
    run = metapbt.load(ours.path)
    assert (run.info.state, run.history) == ("running", ours.history)
    with pytest.raises(MetapbtError, match=f"is being worked on by process {os.getpid()} on "):
        tuner()
    ours.close(finished=False)
    assert metapbt.load(ours.path).info.state == "stopped"
    with pytest.raises(MetapbtError, match="this tuner was closed"):
        tell(ours, 4)
    with pytest.raises(MetapbtError, match=r"of another configuration: population.size \(was 4, now 6\)"):
        tuner(population_size=6)
    with pytest.raises(MetapbtError, match="4 members need"), tuner() as again:
        tell(again, 4).tell([1], [1])  # an error ends the block
    assert len(again.history) == 16
    assert metapbt.load(ours.path).info.state == "stopped"
    with tuner() as done:
        tell(done, 5)
    with tuner() as further:  # done is not for ever
        tell(further, 6)
    assert metapbt.load(ours.path).info.done.generations == 6
    with tuner(resume=False) as anew:
        assert len(anew.history) == 0


def goes_on_from_what_was_told(ours):
    assert problem(metapbt.load(ours.path).info) is None
    with tuner() as again:
        assert again.history == ours.history


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_what_stands_in_the_journal_has_been_told_whatever_becomes_of_the_table(monkeypatch, error):
    def fails(*_):
        raise error

    with tuner() as ours:
        tell(ours, 1)
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr("metapbt.population.kept.write_table", fails)
            ours.tell([20] * 4, [1.0, 2.0, 3.0, 4.0])
        assert ours.history.generations == 2
        tell(ours, 3)
    goes_on_from_what_was_told(ours)


@pytest.mark.parametrize("written", [1.0, 0.5])
def test_a_tell_that_is_interrupted_while_it_is_written_may_be_told_again(monkeypatch, written):
    def interrupted(file, data):
        file.write(data[: int(len(data) * written)])
        raise KeyboardInterrupt

    with tuner() as ours:
        tell(ours, 1)
        with monkeypatch.context() as patched:
            patched.setattr("metapbt.store.journal.write_through", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ours.tell([20] * 4, [1.0, 2.0, 3.0, 4.0])
        assert ours.history.generations == 1
        tell(ours, 3)
    goes_on_from_what_was_told(ours)


def test_whole_records_are_shown_by_the_return_that_they_have():
    """As the Ray scheduler's, which makes its own."""
    with tuner() as ours:
        ours.start()
        ours.observe([ours.record(member, env_steps=10, train_return=1.0 + member) for member in range(4)])
        ours.observe([ours.record(member, env_steps=20, train_return=2.0, eval_return=9.0) for member in range(4)])
    run = metapbt.load(ours.path)
    assert [record.eval_return for record in run.history] == [1.0, 2.0, 3.0, 4.0, 9.0, 9.0, 9.0, 9.0]
    assert run.quoted == "finished, best return 4.00"


def test_what_cannot_be_kept_is_refused_in_a_line_and_may_be_told_again():
    with tuner() as ours:
        ours.start()
        with pytest.raises(MetapbtError, match="env_steps must be whole numbers, got 0.5"):
            ours.tell([0.5] * 4, [1.0] * 4)
        ours.tell([1] * 4, [1.0, float("nan"), 2.0, 3.0])
        with pytest.raises(MetapbtError, match="goes on from its run directory"):
            ours.load_state(json.loads(json.dumps(ours.state())))
    assert problem(metapbt.load(ours.path).info) is None
    for wrong in (
        {"env": ""},
        {"context": {"a": None}},
        {"context": 3},
        {"context": {"a": 2**70}},
        {"name": 5},
        {"resume": "no"},
        {"learner": None},
    ):
        with pytest.raises(MetapbtError, match="must"):
            tuner("other", **wrong)
