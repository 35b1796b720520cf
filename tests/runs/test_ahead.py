"""Who is sure to go on trains while others of its generation still do, and nothing of it can be seen in the records."""

import signal
from pathlib import Path

import pytest
from test_runs import STAND_IN, in_a_process, records, same, space  # noqa: F401 - space is a fixture

import metapbt

WORKERS = ["executor=processes", "executor.workers=2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def command(folder, *overrides):
    learner = ["learner.name=stand_in:StandInThatWaits", "budget.steps=20"]
    return [*STAND_IN, *learner, "space=for_tests", "method=pbt", f"results_dir={folder}", *overrides]


def of_the_second_generation(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).rglob("generation_1_member_*.npz")}


def test_a_free_worker_trains_ahead_and_a_kill_then_loses_nothing(space, tmp_path, monkeypatch):  # noqa: F811
    metapbt.run(command("inline"), space)
    monkeypatch.setenv("STAND_IN_WAITS", "killed")  # for somebody to train ahead
    kill = {"folder": str(tmp_path), "call": 1, "signal": "SIGKILL"}
    assert in_a_process(command("killed", *WORKERS), space, kill).returncode == -signal.SIGKILL
    ahead = of_the_second_generation("killed")
    assert ahead
    (journal,) = Path("killed").rglob("journal")
    assert len(journal.read_bytes().splitlines()) == 1  # not a record yet, even of the first generation
    assert in_a_process(command("killed", *WORKERS), space).returncode == 0
    same(records("killed").drop(columns="run_id"), records("inline").drop(columns="run_id"))
    assert ahead.items() <= of_the_second_generation("killed").items()  # not trained again


@pytest.mark.parametrize(
    "why", [["stop.spent_steps=1000", *WORKERS], ["budget.interval_end=20", *WORKERS], ["executor=inline"]]
)
def test_nobody_trains_ahead_where_others_may_change_it_or_nobody_waits(space, monkeypatch, why):  # noqa: F811
    looked: list[int] = []
    monkeypatch.setattr(metapbt.Tuner, "ahead", lambda *_: looked.append(1))
    metapbt.run(command("results", *why), space)
    assert not looked
