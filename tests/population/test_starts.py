import logging

import pytest

import metapbt
from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers import METHODS
from metapbt.store.check import problem

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 9}}
BEST = {0.3: {"x": 0.25, "n": 3}, 0.9: {"x": 0.75, "n": 7}}  # of each source, by its feature


def source(shift, best):
    tried = [best, {**best, "x": best["x"] + 0.125}, {"x": 0.0, "n": 1}, {"x": 1.0, "n": 9}]
    records = [Record(g, m, None, "random", tried[m], 10 * (g + 1), 9.0 - m - g) for g in range(2) for m in range(4)]
    return SourceRun(Context({"shift": shift}), History(tuple(records)))


MEMORY = Memory(Context({"shift": 0.5}), [source(*each) for each in BEST.items()])
FOUND = [BEST[0.3], BEST[0.9], {"x": 0.375, "n": 3}, {"x": 0.875, "n": 7}]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_begins_with_what_was_transferred(method, caplog):
    caplog.set_level(logging.INFO, "metapbt")
    tuner = Tuner(SPACE, method, seed=1, start="transfer", memory=MEMORY)
    assert tuner.start() == FOUND
    assert {a.source for a in tuner.assignments.values()} == {"transfer"}
    assert "configuration 1 of 4 is from shift=0.3" in caplog.text
    assert "x 0.25, n 3" in caplog.text


def test_given_ones_come_first_and_the_method_has_what_is_left():
    alone = Tuner(SPACE, "random", 6, seed=1).start()
    more = Tuner(SPACE, "random", 6, seed=1, start="transfer", memory=MEMORY, initial=[{"x": 0.5, "n": 5}])
    assert more.start() == [{"x": 0.5, "n": 5}, *FOUND, alone[5]]
    assert [a.source for a in more.assignments.values()] == ["given", *["transfer"] * 4, "random"]
    candidates = Tuner(SPACE, "random", 4, seed=1, start="transfer", memory=MEMORY, candidates=6)
    assert candidates.start() == [*FOUND, *alone[4:]]
    nothing = Tuner(SPACE, "random", 6, seed=1, start="transfer", memory=Memory(Context({"shift": 0.5})))
    assert nothing.start() == alone


@pytest.mark.parametrize("method", METHODS)
def test_every_method_may_begin_with_members_that_fill_the_space_evenly(method):
    tuner = Tuner(SPACE, method, 8, seed=1, start="sobol", **({"memory": MEMORY} if "meta" in method else {}))
    xs = sorted(configuration["x"] for configuration in tuner.start())
    assert [int(8 * x) for x in xs] == list(range(8))  # one in each eighth
    assert {a.source for a in tuner.assignments.values()} == {"sobol"}


def test_another_seed_has_another_sequence_and_given_ones_come_first(tmp_path):
    starts = [Tuner(SPACE, "pbt", 3, seed=seed, start="sobol").start() for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]
    given = Tuner(SPACE, "pbt", 3, seed=1, start="sobol", initial=[{"x": 0.5, "n": 5}], results_dir=tmp_path)
    assert given.start() == [{"x": 0.5, "n": 5}, *starts[0][:2]]
    assert Tuner(SPACE, "pbt", 1, seed=1, start="sobol", initial=[{"x": 0.5, "n": 5}]).start() == [{"x": 0.5, "n": 5}]
    given.tell([10] * 3, [1.0, 2.0, 3.0])
    given.close()
    run = metapbt.load(tmp_path / "own/default/pbt_sobol/seed_1")
    assert (problem(run.info), run.info.method, set(run.records["source"])) == (None, "pbt", {"given", "sobol"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"start": "transfr", "memory": MEMORY}, "unknown start 'transfr'; did you mean 'transfer'"),
        ({"start": "transfer"}, "give a memory"),
        ({"start": {"name": "transfer", "stage": 0}, "memory": MEMORY}, r"start.stage must be in \(0, 1\], got 0"),
        ({"start": {"name": "transfer", "stag": 1}, "memory": MEMORY}, "did you mean 'stage'"),
        ({"memory": MEMORY}, "unknown setting of method pbt .*'memory'"),
    ],
)
def test_what_is_wrong_with_a_start_is_one_line(arguments, said):
    with pytest.raises(MetapbtError, match=said):
        Tuner(SPACE, "pbt", **arguments)


def test_a_tuners_run_directory_has_a_name_of_its_own_and_keeps_what_it_was_copied_from(tmp_path):
    def tuner(**more):
        return Tuner(SPACE, "pbt", results_dir=tmp_path, context={"shift": 0.5}, **more)

    for more in ({"start": "transfer", "memory": MEMORY}, {}):
        with tuner(**more) as ours:
            ours.start()
            ours.tell([10] * 4, [1.0, 2.0, 3.0, 4.0])
    run = metapbt.load(tmp_path / "own/shift=0.5/pbt_transfer/seed_0")
    assert (problem(run.info), run.info.method, set(run.records["source"])) == (None, "pbt", {"transfer"})
    assert run.info.ancestry == {Context({"shift": shift}) for shift in BEST}
    with tuner(start="transfer", memory=Memory(Context({"shift": 0.5}))) as again:  # what there was first counts
        assert again.history.records[0].hyperparameters == FOUND[0]
    assert metapbt.load(tmp_path / "own/shift=0.5/pbt/seed_0").info.ancestry == frozenset()
