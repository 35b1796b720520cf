"""Runs that are killed in the midst of a distillation go on bit by bit."""

import random
from pathlib import Path

import pytest
from test_eras import SHORT, VARIANTS, command, space  # noqa: F401 - space is a fixture
from test_runs import in_a_process, records, same

import metapbt
from metapbt.store import find_runs
from metapbt.store.check import problem


def without_identity(frame):
    return frame.drop(columns=["run_id"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_may_die_at_any_write_of_a_distillation(space, writes, variant):  # noqa: F811
    options = [*SHORT, *VARIANTS[variant]]
    metapbt.run(command("whole", *options), space)
    expected = records("whole")
    assert set(expected["era"]) == {0, 1}
    assert problem(find_runs(Path("whole"))[0]) is None
    total = writes.during(lambda: metapbt.run(command("counted", *options), space))
    for limit in range(1, total + 1, 3 if variant == "teacher" else 7):
        arguments = command(f"stopped_{limit}", *options)
        writes.kill_before(limit, lambda arguments=arguments: metapbt.run(arguments, space))
        found = find_runs(Path(f"stopped_{limit}"))  # none before its first file
        assert [problem(info) for info in found] in ([], [None])
        metapbt.run(arguments, space)
        same(records(f"stopped_{limit}"), expected)


@pytest.mark.slow
def test_sigkills_at_random_moments_lose_nothing(space, tmp_path):  # noqa: F811
    draw = random.Random(0)
    options = [*SHORT, "executor=processes", "executor.workers=2"]
    metapbt.run(command("whole", *options), space)
    for number in range(2):
        folder = tmp_path / f"kill_{number}"
        folder.mkdir()
        kill = {"folder": str(folder), "call": draw.randint(5, 10), "signal": "SIGKILL"}
        in_a_process(command("killed", *options), space, kill)
    assert in_a_process(command("killed", *options), space).returncode == 0
    same(without_identity(records("killed")), without_identity(records("whole")))
    assert problem(find_runs(Path("killed"))[0]) is None


def test_checkpoints_lost_in_the_midst_of_a_distillation_are_trained_again_the_teachers_too(space, writes):  # noqa: F811
    metapbt.run(command("whole"), space)
    # The journal's first entries, nine checkpoints of three generations, seven of the first rung, and the tables of the
    # first, second and fourth generation; it dies in the second rung.
    writes.kill_before(2 + 9 + 7 + 3 + 4 + 2, lambda: metapbt.run(command("stopped"), space))
    (info,) = find_runs(Path("stopped"))
    history = metapbt.load(info.path).history
    assert history.screening
    teacher = history.generation(3)[0].teacher
    lost = list(Path("stopped").rglob("*.npz"))
    assert any(path.name == f"generation_{teacher.generation}_member_{teacher.member}.npz" for path in lost)
    for path in lost:
        path.unlink()
    run = metapbt.run(command("stopped"), space)
    same(records("stopped"), records("whole"))
    assert "again, to go on from where they led" in (run.path / "run.log").read_text()


def test_asynchronous_members_go_by_their_own_steps_and_may_be_killed(space, writes):  # noqa: F811
    options = ["eras.count=1", "budget.interval_end=4", "budget.steps=60", "population.asynchronous=true"]
    run = metapbt.run(command("whole", *options), space)
    for record in run.history:
        before = run.history.steps_before(record)
        assert record.until_steps == min(60, before + int(10 + (4 - 10) / 60 * before))
    assert problem(run.info) is None
    total = writes.during(lambda: metapbt.run(command("counted", *options), space))
    for limit in range(1, total + 1, 6):
        writes.kill_before(limit, lambda: metapbt.run(command(f"stopped_{limit}", *options), space))  # noqa: B023
        metapbt.run(command(f"stopped_{limit}", *options), space)
        same(records(f"stopped_{limit}"), records("whole"))
