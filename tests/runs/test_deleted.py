"""Runs whose directory is deleted, moved or replaced while they train: noticed, said, and nothing comes back."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from test_runs import command, in_a_process, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.errors import MetapbtError

SMALL = ["population.size=2", "budget.steps=20", "learner.name=gone:Gone"]
RUN = Path("results/quadratic/default/pb2/seed_0")
SAID = "was deleted, moved or replaced while this run worked on it: nothing more is written there"
GONE = """
import json, os, shutil
from pathlib import Path
from stand_in import StandInLearner, _count

class Gone(StandInLearner):
    def train(self, *arguments):
        self.act()
        return super().train(*arguments)

    def evaluate(self, *arguments):
        self.act()
        return super().evaluate(*arguments)

    def act(self):
        asked = json.loads(os.environ.get("GONE", "null"))
        if asked and _count(Path(asked["folder"])) == asked["call"]:
            run = Path("results/quadratic/default/pb2/seed_0")
            if asked["how"] == "delete":
                shutil.rmtree("results")
            else:
                run.rename("away")
            if asked["how"] == "replace":
                shutil.copytree("other/quadratic/default/pb2/seed_0", run)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "gone.py").write_text(GONE)
    sys.modules.pop("gone", None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # what reaches the disk shows nowhere


def asked(folder, how, call):
    folder.mkdir()
    return f'{{"folder": "{folder}", "how": "{how}", "call": {call}}}'


def content(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(Path(folder).rglob("*"))}


CALLS = 9  # 4 intervals, each trained and evaluated, and the test at the end


@pytest.mark.parametrize("how", ["delete", "move", "replace"])
def test_at_any_moment_a_run_notices_that_its_place_is_gone(space, tmp_path, monkeypatch, how):  # noqa: F811
    metapbt.run(command("whole", *SMALL), space)
    metapbt.run(command("other", *SMALL, "seed=0", "budget.steps=10"), space)
    other = content("other")
    for call in range(1, CALLS + 1) if how == "delete" else (2, 5, CALLS):
        monkeypatch.setenv("GONE", asked(tmp_path / f"calls_{call}", how, call))
        with pytest.raises(MetapbtError, match=SAID) as raised:
            metapbt.run(command("results", *SMALL), space)
        assert "\n" not in str(raised.value)
        monkeypatch.delenv("GONE")
        if how == "delete":
            assert not Path("results").exists()
            continue
        if how == "replace":
            assert {Path("other", *path.parts[1:]): data for path, data in content("results").items()} == other
            shutil.rmtree("results")
        else:
            assert not RUN.exists()
        RUN.parent.mkdir(parents=True, exist_ok=True)
        Path("away").rename(RUN)  # moved back, it goes on
        metapbt.run(command("results", *SMALL), space)
        same(records("results"), records("whole"))
        shutil.rmtree("results")


@pytest.mark.parametrize(("how", "call"), [("delete", 1), ("replace", 4)])
def test_workers_write_nothing_into_what_took_the_place(space, tmp_path, monkeypatch, how, call):  # noqa: F811
    metapbt.run(command("other", *SMALL, "budget.steps=10"), space)
    other = content("other")
    monkeypatch.setenv("GONE", asked(tmp_path / "calls", how, call))
    workers = ["executor=processes", "executor.workers=2"]
    done = in_a_process(command("results", *SMALL, *workers), space, extra_path=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("metapbt: error: results/")
    assert SAID in last
    if how == "delete":
        assert not Path("results").exists()
    else:
        assert {Path("other", *path.parts[1:]): data for path, data in content("results").items()} == other


def test_the_same_command_begins_again_where_its_directory_was_deleted(space, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("GONE", asked(tmp_path / "calls", "delete", 5))
    with pytest.raises(MetapbtError, match=SAID):
        metapbt.run(command("results", *SMALL), space)
    monkeypatch.delenv("GONE")
    assert not Path("results").exists()
    again = metapbt.run(command("results", *SMALL), space)
    assert again.info.state == "done"
