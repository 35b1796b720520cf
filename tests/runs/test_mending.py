"""What can be made again is made again: checkpoints, tables, a DONE that is not true; what cannot is said."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_runs import SPACE, command, records, same, space  # noqa: F401 - space is a fixture

import metapbt
from metapbt.errors import MetapbtError
from metapbt.store import find_runs
from metapbt.store.check import problem
from metapbt.store.checkpoint import load_state, read_outcome, save_checkpoint

KINDS = {
    "sync": [],
    "asynchronous": ["population.asynchronous=true"],
    "backtracking": ["selection.backtrack=true"],
    "candidates": ["population.candidates=6"],
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # what reaches the disk shows nowhere


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Puts a finished run into a folder, trained once for all tests."""
    home = tmp_path_factory.mktemp("trained")
    (home / "conf" / "space").mkdir(parents=True)
    (home / "conf" / "space" / "for_tests.yaml").write_text(SPACE)
    known = {}

    def put(folder, *options, method="pb2"):
        key = (*options, method)
        if key not in known:
            known[key] = home / str(len(known))
            metapbt.run(command(known[key], *options, method=method), home / "conf")
        shutil.copytree(known[key], folder)
        return metapbt.load(next(Path(folder).rglob("seed_0")))

    return put


def damage(path, how):
    match how:
        case "lost":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-50])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "another's":
            others = sorted(path.parent.glob("generation_*.npz"))
            path.write_bytes(next(o for o in others if o.read_bytes() != path.read_bytes()).read_bytes())
        case "a folder":
            path.unlink()
            path.mkdir()


def mended(folder, whole):
    (info,) = find_runs(Path(folder))
    assert (info.state, problem(info)) == ("done", None)
    same(records(folder).drop(columns=["run_id"]), records(whole).drop(columns=["run_id"]))
    return (info.path / "run.log").read_text()


@pytest.mark.parametrize(("kind", "how"), list(zip(KINDS, ["lost", "cut"] * 2, strict=True)))
def test_checkpoints_that_are_gone_on_from_are_trained_again(trained, space, writes, kind, how):  # noqa: F811
    """All of them at once: each line of descent is trained again from its beginning."""
    options = [*KINDS[kind], "budget.steps=60"]
    whole = trained("whole", *options, method="pbt")
    total = writes.during(lambda: metapbt.run(command("counted", *options, method="pbt"), space))
    for limit in (total // 2, total - 1):
        writes.kill_before(limit, lambda: metapbt.run(command("stopped", *options, method="pbt"), space))
        found = list(Path("stopped").rglob("generation_*.npz"))
        assert found
        for path in found:
            damage(path, how)
        run = metapbt.run(command("stopped", *options, method="pbt"), space)
        log = mended("stopped", "whole")
        assert re.search(r"training \d+ intervals? again", log)
        assert ("set aside as generation_" in log) == (how == "cut")
        assert run.test_return == whole.test_return
        shutil.rmtree("stopped")


@pytest.mark.parametrize("how", ["lost", "flipped", "another's", "a folder"])
def test_one_interval_is_trained_again_from_its_parent_where_that_is_there(trained, space, writes, how):  # noqa: F811
    trained("whole")
    # Killed in the midst of the third generation's entry: the second's checkpoints are still there.
    writes.kill_before(1 + 1 + (4 + 1 + 1) + (4 + 1 + 1) + 4 + 1, lambda: metapbt.run(command("stopped"), space))
    parents = sorted(Path("stopped").rglob("generation_1_member_*.npz"))
    assert len(parents) == 4
    damage(parents[0], how)
    metapbt.run(command("stopped"), space)
    log = mended("stopped", "whole")
    assert "training 2 intervals again" in log  # its own parent's checkpoint was removed when nobody needed it


def test_the_best_agents_checkpoint_is_made_again_for_the_test_at_the_end(trained, space, writes):  # noqa: F811
    whole = trained("whole")
    total = writes.during(lambda: metapbt.run(command("counted"), space))
    writes.kill_before(total, lambda: metapbt.run(command("stopped"), space))  # DONE is the last file
    for path in Path("stopped").rglob("generation_*.npz"):
        path.unlink()
    assert metapbt.run(command("stopped"), space).test_return == whole.test_return
    mended("stopped", "whole")


def test_an_interval_that_brings_another_agent_than_the_one_on_record_is_said(trained, space, writes, monkeypatch):  # noqa: F811
    writes.kill_before(16, lambda: metapbt.run(command("stopped"), space))
    for path in Path("stopped").rglob("generation_*.npz"):
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("stand_in.StandInLearner.evaluate", lambda *_: 1.0)  # the learner has changed
        for _ in range(2):  # and it stays said
            with pytest.raises(MetapbtError, match="trained again it became another agent than the one on record") as e:
                metapbt.run(command("stopped"), space)
            assert "\n" not in str(e.value)
    trained("whole")
    metapbt.run(command("stopped"), space)  # it has changed back
    mended("stopped", "whole")


def test_a_healthy_run_looks_at_no_checkpoint_twice(space, monkeypatch):  # noqa: F811
    looked = []
    monkeypatch.setattr("metapbt.runs.mending.read_outcome", lambda path: (looked.append(path), read_outcome(path))[1])
    run = metapbt.run(command("results"), space)
    assert [path.name for path in looked] == [f"generation_{run.best.generation}_member_{run.best.member}.npz"]


@pytest.mark.parametrize(
    ("how", "state"),
    [("lost", "done"), ("cut", "done"), ("flipped", "done"), ("another's", "done"), ("lost", "stopped")],
)
def test_a_lost_table_is_written_again_from_the_journal(trained, space, how, state):  # noqa: F811
    whole = trained("whole")
    run = trained("results")
    table = run.path / "records.parquet"
    if how == "another's":
        frame = pd.read_parquet(table)
        frame.loc[0, "eval_return"] = np.float64(99.0)
        frame.to_parquet(table)
    else:
        damage(table, how)
    if state == "stopped":
        (run.path / "DONE").unlink()
    again = metapbt.run(command("results"), space)
    log = mended("results", "whole")
    assert again.history == run.history
    assert again.test_return == whole.test_return
    assert ("written again from the journal" in log) == (state == "done")
    before = table.stat().st_mtime_ns
    metapbt.run(command("results"), space)
    assert table.stat().st_mtime_ns == before


def test_a_finished_run_with_backtracking_that_is_tested_again_trains_nothing():
    """The best agent and the one that copies would start from are two, and neither is a member's last."""
    noisy = [
        "env=synthetic", "context.noise=0.3", "method=pbt", "selection.backtrack=true", "budget.steps=100",
        "budget.interval=10", "seed=3", "evaluation.episodes=1", "evaluation.test_episodes=2", "executor=inline",
    ]  # fmt: skip
    run = metapbt.run(noisy)
    best, leader = run.history.best().ref, run.history.leader_ever().ref
    assert len({best, leader, *(record.ref for record in run.history.latest)}) == 2 + len(run.history.latest)
    (run.path / "DONE").unlink()
    again = metapbt.run(noisy)
    assert again.test_return == run.test_return
    assert "again" not in (run.path / "run.log").read_text()


def test_a_table_with_nan_is_like_itself(space):  # noqa: F811
    Path("never.py").write_text(
        "import dataclasses\nfrom stand_in import StandInLearner\n"
        "class Never(StandInLearner):\n"
        "    def train(self, *arguments):\n"
        "        return dataclasses.replace(super().train(*arguments), returns=())\n"
    )
    run = metapbt.run(command("results", "learner.name=never:Never"), space)
    assert run.records["train_return"].isna().all()
    before = (run.path / "records.parquet").stat().st_mtime_ns
    metapbt.run(command("results", "learner.name=never:Never"), space)
    assert (run.path / "records.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "wrong",
    [
        "generations: 9\n",
        "[1, 2\n",
        "",
        None,
    ],
)
def test_a_done_that_the_journal_does_not_bear_out_is_withdrawn(trained, space, wrong):  # noqa: F811
    whole = trained("whole")
    run = trained("results")
    if wrong is None:  # the journal is that of an earlier moment
        lines = (run.path / "journal").read_bytes().splitlines(keepends=True)
        (run.path / "journal").write_bytes(b"".join(lines[:-2]) + lines[-2][:30])
    else:
        (run.path / "DONE").write_text(wrong)
    again = metapbt.run(command("results"), space)
    assert "is marked as finished but is not" in mended("results", "whole")
    assert again.test_return == whole.test_return


def test_what_killed_writers_left_is_removed_at_the_next_start(space, writes):  # noqa: F811
    writes.kill_before(9, lambda: metapbt.run(command("results"), space))
    (run,) = Path("results").rglob("seed_0")
    left = [run / ".metapbt-0123456789abcdef.tmp", run / "checkpoints" / ".metapbt-0123456789abcdef.tmp.npz"]
    for path in left:
        path.touch()
    metapbt.run(command("results"), space)
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


def test_a_lost_memory_is_said_and_not_chosen_anew(space, writes):  # noqa: F811
    metapbt.run([*command("sources"), "context.optimum_shift=0.3"], space)
    target = [*command("results", method="meta_pb2"), "meta.results_dir=sources"]
    writes.kill_before(14, lambda: metapbt.run(target, space))
    (memory,) = Path("results").rglob("memory.parquet")
    memory.rename("memory.parquet")
    with pytest.raises(MetapbtError, match=r"has no memory\.parquet, which was lost"):
        metapbt.run(target, space)
    Path("memory.parquet").rename(memory)
    assert metapbt.run(target, space).info.state == "done"


def test_an_agent_of_another_record_is_no_start(trained, space, writes):  # noqa: F811
    """A checkpoint whose state was put there by hand still has the outcome of its own interval."""
    trained("whole")
    writes.kill_before(16, lambda: metapbt.run(command("stopped"), space))
    first, second = sorted(Path("stopped").rglob("generation_1_member_*.npz"))[:2]
    save_checkpoint(first, load_state(second), read_outcome(second))
    metapbt.run(command("stopped"), space)
    assert "is of another interval than its record" in mended("stopped", "whole")
