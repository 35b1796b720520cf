"""Commands over directories in which one run is damaged: it is named, the others are shown, and nothing wrong is told.

And the command that goes on with a damaged run: it ends as if nothing had happened, or says in one line why not.
"""

import contextlib
import io
import json
import os
import shutil

import pytest
from fuzzing import CHANCE, examples, mutated_bytes, within_limits
from hypothesis import given

import metapbt
from metapbt.cli import main
from metapbt.errors import Interrupted

BASE = ["env=quadratic", "executor=inline", "budget.steps=24", "seed=0"]
RUNS = {
    "done": ["method=pbt"],
    "candidates": ["method=pb2", "name=candidates", "population.candidates=6", "selection.backtrack=true"],
    "asynchronous": ["method=pbt", "name=asynchronous", "population.asynchronous=true"],
}
STOPPED = ["method=pbt", "name=stopped"]


def command(*arguments):
    """The exit status of a command, and what it says."""
    out = io.StringIO()
    with within_limits(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(list(arguments))
    said = out.getvalue()
    assert "Traceback" not in said
    assert "error: unexpected" not in said
    return status, said


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three finished runs and a stopped one."""
    place = tmp_path_factory.mktemp("sound") / "r"
    for overrides in RUNS.values():
        metapbt.run([*BASE, *overrides, f"results_dir={place}"])
    with pytest.raises(Interrupted):
        metapbt.run([*BASE, *STOPPED, f"results_dir={place}", "callbacks=[fuzzing:StopAfterFour]"])
    return place


@pytest.fixture
def copy(results, tmp_path):
    """Makes a fresh copy of the results under the same path each time."""
    place = tmp_path / "r"

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(results, place)
        return place

    return fresh


def damage(chance, place, which):
    """Damage one file of a run, as disks, people and other programs do."""
    run = place / "quadratic/default" / which / "seed_0"
    files = [file for file in sorted(run.rglob("*")) if file.is_file() and file.name not in (".lock", "run.log")]
    # Of checkpoints there are many.
    few = [file for file in files if file.suffix != ".npz"]
    file = chance.choice(few if few and chance.random() < 0.7 else files)
    match chance.choice(["bytes", "bytes", "bytes", "empty", "gone", "folder", "other", "pipe", "unreadable text"]):
        case "bytes":
            file.write_bytes(mutated_bytes(chance, file.read_bytes()))
        case "empty":
            file.write_bytes(b"")
        case "gone":
            file.unlink()
        case "folder":
            file.unlink()
            (file / "inside").mkdir(parents=True)
        case "other":
            file.write_bytes(chance.choice(files).read_bytes())
        case "pipe":
            file.unlink()
            os.mkfifo(file)
        case _:
            file.write_bytes("größe: 1\n".encode("utf-16"))
    return run


def records_of(place):
    """Every record under a directory, by run; what export says."""
    file = place.parent / "all.json"
    file.unlink(missing_ok=True)
    status, said = command("data", "export", str(place), "--to", str(file))
    rows = json.loads(file.read_text()) if file.exists() else []
    found = {}
    for row in rows:
        found.setdefault(row["run_dir"], []).append(json.dumps(row, sort_keys=True))
    return status, said, found


def test_one_damaged_run_hides_no_other_and_tells_nothing_wrong(copy):
    _, _, sound = records_of(copy())

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        place = copy()
        damaged = damage(chance, place, chance.choice(["pbt", "candidates", "asynchronous", "stopped"]))
        checked, findings = command("data", "check", str(place))
        status, said, found = records_of(place)
        for run, rows in sound.items():
            if run != str(damaged):
                assert found[run] == rows
                assert run not in findings
        if str(damaged) not in found:
            assert str(damaged) in said or "/stopped/" in str(damaged) or "config.yaml" in findings or checked == 0
        if found.get(str(damaged)) != sound[str(damaged)]:
            assert checked == 1
            assert str(damaged) in findings
        for name in ("ls", "show"):
            status, said = command("data", name, str(place))
            assert status in (0, 1)
            assert "asynchronous" in said or "candidates" in said or name == "show"
        assert command("status", str(place))[0] in (0, 1)

    fuzz()


def test_a_damaged_run_goes_on_to_the_same_end_or_says_why_not(copy):
    place = copy()
    asked = ["run", *BASE, *STOPPED, f"results_dir={place}"]
    assert command(*asked)[0] == 0
    _, _, whole = records_of(place)
    run = str(place / "quadratic/default/stopped/seed_0")

    def timeless(rows):
        return [{**json.loads(row), "wall_seconds": 0} for row in rows]

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        place = copy()
        damage(chance, place, "stopped")
        status, said = command(*asked)
        if status:
            assert "metapbt: error: " in said
        else:
            assert timeless(records_of(place)[2][run]) == timeless(whole[run])

    fuzz()
