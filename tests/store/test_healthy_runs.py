"""No false alarm about runs of any kind, and old ones are read as before."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import yaml
from finished_runs import QUICK, working_in

import metapbt
from metapbt.cli import main
from metapbt.runs.replay import replay
from metapbt.store import find_runs
from metapbt.store.check import problem
from metapbt.store.run_directory import RunDirectory

KINDS = {
    "default": ["method=default"],
    "random": ["method=random"],
    "pb2": ["method=pb2"],
    "uneven": ["method=pbt", "budget.steps=30", "budget.interval=7"],
    "asynchronous": ["method=pbt", "population.asynchronous=true", "budget.steps=40"],
    "workers": ["method=pbt", "population.asynchronous=true", "executor=processes", "executor.workers=3"],
    "candidates": ["method=pbt", "population.candidates=9"],
    "candidates, asynchronous": ["method=pbt", "population.candidates=9", "population.asynchronous=true"],
    "backtracking": ["method=pbt", "selection.backtrack=true", "budget.steps=40"],
    "frequencies": ["method=pbt", "selection=multiple_frequencies", "population.size=8", "budget.steps=40"],
    "stopped early": ["method=pbt", "stop.return_reached=0.3"],
    "constraint": ["method=pbt", "constraint=constraining:halve"],
    "initial": ["method=pbt", "initial=[{learning_rate: 0.1, h0: 1, h1: 0}]"],
    "named": ["method=pbt", "name=my.label", "seed=3"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_healthy_runs_of_every_kind_have_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / "constraining.py").write_text("def halve(h):\n    return {**h, 'h0': h['h0'] / 2}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with working_in(tmp_path):
        run = metapbt.run([*QUICK, *KINDS[kind]])
        assert run.info.state == "done"
        assert problem(run.info) is None
        # As it was at every moment of its way: stopped there, or failed.
        journal, table = run.path / "journal", run.path / "records.parquet"
        whole = journal.read_bytes().splitlines(keepends=True)
        (run.path / "DONE").unlink()
        table.unlink()
        for count in range(len(whole) + 1):
            journal.write_bytes(b"".join(whole[:count]) + b"12345678 {unfinish" * (count % 2))
            (info,) = find_runs(tmp_path)
            assert (info.state, problem(info)) == ("stopped", None)


def test_a_run_with_a_replay_in_it_has_no_problem_and_is_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working_in(tmp_path):
        run = metapbt.run([*QUICK, "method=pbt"])
        replay(run.path)
        replay(run.path, seed=5, out=Path("results/replays"))
        assert main(["data", "check", "results"]) == 0
        assert capsys.readouterr().out.endswith("1 run checked, 0 with problems\n")


def test_a_run_of_an_earlier_version_is_read_as_one_of_today(tmp_path: Path) -> None:
    """Its journal does not say what it is, DONE is YAML, and FAILED and the table have no checksum."""
    with working_in(tmp_path):
        run = metapbt.run([*QUICK, "method=pbt"])
        records = run.records.to_dict()
        first, *rest = (run.path / "journal").read_bytes().splitlines(keepends=True)
        entry = {name: value for name, value in json.loads(first[9:]).items() if name in ("journal", "decisions")}
        text = json.dumps(entry, separators=(",", ":")).encode()
        (run.path / "journal").write_bytes(b"%08x %s\n" % (zlib.crc32(text), text) + b"".join(rest))
        done = {"generations": 3, "test_return": run.test_return, "test_episodes": 1, "best": list(run.best.ref)}
        (run.path / "DONE").write_text(yaml.safe_dump(done, sort_keys=False))
        old = metapbt.load(run.path)
        assert problem(old.info) is None
        assert old.info.done is not None
        assert (old.info.env, old.info.context, old.info.state) == (run.info.env, run.info.context, "done")
        assert old.records.to_dict() == records
        assert main(["data", "ls", "results"]) == 0
        (run.path / "DONE").unlink()
        (run.path / "FAILED").write_text("out of memory\n")
        assert RunDirectory(run.path).failure == "out of memory"
        assert metapbt.load(run.path).info.state == "failed"
