import math

import numpy as np
import pytest

from metapbt import Tuner
from metapbt.errors import MetapbtError
from metapbt.history import History, Record, Ref
from metapbt.population.selection import SELECTIONS, Exploit, make_selection
from metapbt.population.selection.multiple_frequencies import MultipleFrequencies
from metapbt.population.selection.pairwise import Pairwise
from metapbt.population.selection.truncation import Truncation


def select(selection, returns, reported=None, generation=0, seed=0):
    history = History(
        tuple(Record(generation, member, None, "random", {}, 1, value) for member, value in enumerate(returns)),
        size=len(returns),
    )
    reported = range(len(returns)) if reported is None else reported
    return selection.select(history, set(reported), np.random.default_rng(seed))


def exploit(parent, hyperparameters_of=None, generation=0):
    model = None if hyperparameters_of is None else Ref(generation, hyperparameters_of)
    return Exploit(Ref(generation, parent), model)


def test_the_worst_quantile_copies_from_the_best_quantile():
    returns = [5.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0]
    seen = set()
    for seed in range(50):
        exploits = select(Truncation(8, 0.25), returns, seed=seed)
        assert sorted(exploits) == [1, 3]
        assert all(e.hyperparameters_of is None for e in exploits.values())
        seen |= {e.start.member for e in exploits.values()}
    assert seen == {2, 4}


@pytest.mark.parametrize(
    ("size", "quantile", "copies"),
    [
        (4, 0.25, 1),
        (8, 0.25, 2),
        (5, 0.2, 1),
        (3, 0.5, 1),
        (2, 0.5, 1),
        (1, 0.5, 0),
        (4, 0.0, 0),
        (4, 0.3, 2),
        (25, 0.28, 7),  # whose product is a little more than 7
        (50, 0.14, 7),
    ],
)
def test_the_quantile_is_whole_members_and_never_overlaps(size, quantile, copies):
    exploits = select(Truncation(size, quantile), list(range(size)))
    assert len(exploits) == copies
    assert all(e.start.member >= size - copies for e in exploits.values())


def test_equals_are_ranked_by_lot_so_that_nobody_stays_the_worst():
    """Where no reward has been found yet all returns are the same, and who never copies never changes."""
    replaced, copied = [], []
    for generation in range(40):
        ((member, taken),) = select(Truncation(4, 0.25), [-200.0] * 4, generation=generation).items()
        again = select(Truncation(4, 0.25), [-200.0] * 4, generation=generation)
        assert again == {member: taken}
        replaced.append(member)
        copied.append(taken.start.member)
    for chosen in (replaced, copied):
        assert min(chosen.count(member) for member in range(4)) >= 3


def test_lots_between_equals_are_each_seeds_own_and_stay_the_same_when_a_population_goes_on():
    """With the same lots in every run one member, with what it began with, would be favoured in all of a study."""

    def fresh(seed):
        return Tuner({"x": {"type": "float", "low": 0.0, "high": 1.0}}, "pbt", 4, seed=seed)

    def replaced(seed, again):
        tuner = fresh(seed)
        tuner.start()
        if again:
            begun, tuner = tuner.state(), fresh(seed)
            tuner.load_state(begun)
        tuner.tell([1] * 4, [0.0] * 4)
        return [member for member, assignment in tuner.assignments.items() if assignment.kind == "copy"]

    copies = [replaced(seed, again=False) for seed in range(20)]
    assert {tuple(each) for each in copies} == {(0,), (1,), (2,), (3,)}
    assert [replaced(seed, again=True) for seed in range(20)] == copies


def test_who_is_sure_to_go_on_among_equals_does():
    for generation in range(20):
        records = [Record(generation, member, None, "random", {}, 1, 7.0) for member in range(4)]
        awaited = Record(generation - 1, 0, None, "random", {}, 1, 7.0) if generation else None
        early = History(tuple(records[1:]) + ((awaited,) if awaited else ()), size=4)
        sure = Truncation(4, 0.25).sure_to_go_on(early, {0})
        assert len(sure) == 2
        assert not sure & select(Truncation(4, 0.25), [7.0] * 4, generation=generation).keys()


def test_a_member_without_a_return_counts_as_worst():
    assert select(Truncation(4, 0.25), [1.0, math.nan, 3.0, 2.0]) == {1: exploit(2)}


def test_only_members_that_wait_for_a_decision_copy():
    returns = [4.0, 1.0, 2.0, 3.0]
    assert select(Truncation(4, 0.25), returns, reported=[0, 2, 3]) == {}
    assert select(Truncation(4, 0.25), returns, reported=[1]) == {1: exploit(0)}


# Two sub-populations of 4: members 0 to 3 evolve after every interval, members 4 to 7 after every second one.
TWO = MultipleFrequencies(8, 0.25, [1, 2])


def test_a_sub_population_evolves_by_itself_when_its_time_has_come():
    returns = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert select(TWO, returns, generation=0) == {3: exploit(0)}
    # After the second interval both evolve: 7 copies 4, and 6, above the worst, gives way to the best of the others.
    exploits = select(TWO, returns, generation=1)
    assert exploits == {3: exploit(0, generation=1), 7: exploit(4, generation=1), 6: exploit(0, 4, generation=1)}


def test_hyperparameters_migrate_from_steadier_sub_populations_only():
    returns = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    # The frequent one takes weights and hyperparameters of the steadier one's best.
    assert select(TWO, returns, generation=0) == {0: exploit(3), 1: exploit(7, 7)}
    returns = returns[::-1]
    # The steadier one takes weights alone, and trains them with its own best hyperparameters.
    assert select(TWO, returns, generation=1)[6] == exploit(0, 4, generation=1)


def test_a_migrant_must_be_better_and_comes_once():
    eight = MultipleFrequencies(16, 0.25, [1, 2])
    own, others = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [4.5, 2.5, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    exploits = select(eight, own + others, generation=0)
    # Ranks 5 and 6 are challenged: 4.0 by 4.5, then 3.0 by 2.5, which is not better.
    assert exploits == {7: exploit(0), 6: exploit(1), 4: exploit(8, 8)}


def test_the_winners_of_a_small_sub_population_are_never_challenged():
    six = MultipleFrequencies(6, 0.5, [1, 2])
    assert select(six, [3.0, 2.0, 1.0, 9.0, 8.0, 7.0]) == {2: exploit(0), 1: exploit(3, 3)}


def test_of_two_who_meet_the_worse_copies_the_better_and_everyone_meets_one():
    returns, met = [5.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0], set()
    for seed in range(60):
        exploits = select(Pairwise(8, 0.0), returns, seed=seed)
        pairs = {(loser, exploit.start.member) for loser, exploit in exploits.items()}
        assert len(pairs) == 4
        assert {member for pair in pairs for member in pair} == set(range(8))
        assert all(returns[loser] < returns[winner] for loser, winner in pairs)
        met |= pairs
    assert len(met) == 8 * 7 / 2  # anybody may meet anybody


def test_of_an_odd_number_one_meets_nobody_and_of_equals_the_lot_says_who_copies():
    alone, pairs = set(), set()
    for seed in range(30):
        exploits = select(Pairwise(5, 0.25), [1.0] * 5, seed=seed)
        assert len(exploits) == 2
        pairs |= {(loser, exploit.start.member) for loser, exploit in exploits.items()}
        alone |= set(range(5)).difference(exploits, (e.start.member for e in exploits.values()))
    assert alone == set(range(5))
    assert not {(winner, loser) for loser, winner in pairs} & pairs
    assert select(Pairwise(1, 0.25), [1.0]) == {}


def test_asynchronously_only_who_reports_copies_whom_it_met():
    returns = [4.0, 1.0, 2.0, 3.0]
    for seed in range(20):
        everyone = select(Pairwise(4, 0.25), returns, seed=seed)
        for member in range(4):
            alone = select(Pairwise(4, 0.25), returns, reported=[member], seed=seed)
            assert alone == {loser: exploit for loser, exploit in everyone.items() if loser == member}


def test_of_two_without_a_finite_return_nobody_copies():
    for seed in range(20):
        exploits = select(Pairwise(6, 0.25), [NAN, INF, -INF, NAN, NAN, 1.0], seed=seed)
        assert [exploit.start.member for exploit in exploits.values()] == [5]


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match=r"periods must be increasing integers >= 1, got \[5, 1\]"):
        MultipleFrequencies(8, 0.25, [5, 1])
    with pytest.raises(MetapbtError, match="population.size must be a multiple of 2, .* at least 3 .* got 4"):
        MultipleFrequencies(4, 0.25, [1, 5])
    with pytest.raises(MetapbtError, match="unknown selection 'truncate'; did you mean 'truncation'"):
        make_selection({"name": "truncate"}, 4, 0.25)
    with pytest.raises(MetapbtError, match="unknown setting of selection truncation 'periods'"):
        make_selection({"name": "truncation", "periods": [1]}, 4, 0.25)
    with pytest.raises(MetapbtError, match="selection.backtrack must be true or false, got 'yes'"):
        make_selection({"name": "truncation", "backtrack": "yes"}, 4, 0.25)


def fallen():
    """Two generations of four members; the best ever is that of the first generation's member 1."""
    values = [[1.0, 9.0, 3.0, 2.0], [4.0, 5.0, 3.0, 2.0]]
    return History(
        tuple(
            Record(generation, member, None, "random", {}, generation + 1, value)
            for generation, row in enumerate(values)
            for member, value in enumerate(row)
        ),
        size=4,
    )


@pytest.mark.parametrize("name", SELECTIONS)
def test_with_backtracking_whoever_copies_starts_from_the_best_checkpoint_ever(name):
    size, settings = (8, {"periods": [1, 2]}) if name == "multiple_frequencies" else (4, {})
    history = fallen()
    if size == 8:
        more = [Record(g, m + 4, None, "random", {}, g + 1, -float(m)) for g in range(2) for m in range(4)]
        history = History((*history.records, *more), size=8)
    plain, back = (make_selection({"name": name, "backtrack": b, **settings}, size, 0.25) for b in (False, True))
    usual = plain.select(history, set(range(size)), np.random.default_rng(0))
    exploits = back.select(history, set(range(size)), np.random.default_rng(0))
    assert exploits.keys() == usual.keys()
    assert {e.start for e in exploits.values() if e.hyperparameters_of is None} == {Ref(0, 1)}
    assert all(e.start.generation == 1 for e in usual.values())
    assert back.keeps(history) == {Ref(0, 1)}


def test_the_best_agent_that_there_ever_was_is_kept_whatever_the_selection():
    """With backtracking also the one with the highest metric, from which copies start."""
    for name in SELECTIONS:
        for backtrack in (False, True):
            selection = {"name": name, "backtrack": backtrack}
            tuner = Tuner({"x": {"type": "float", "low": 0.0, "high": 1.0}}, "pbt", 8, selection=selection)
            tuner.start()
            for steps, leads, best in ((10, 2, 5), (20, -1, -1)):
                returns = [9.0 if member == leads else 1.0 for member in range(8)]
                evaluations = [99.0 if member == best else 1.0 for member in range(8)]
                tuner.observe(
                    [
                        tuner.record(member, env_steps=steps, train_return=train, eval_return=evaluation)
                        for member, (train, evaluation) in enumerate(zip(returns, evaluations, strict=True))
                    ]
                )
            assert tuner.history.best().ref == Ref(0, 5)
            assert Ref(0, 5) in tuner.keeps()
            assert (Ref(0, 2) in tuner.keeps(best=False)) == backtrack


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("backtrack", [False, True])
@pytest.mark.parametrize("metric", ["train_return", "eval_return"])
def test_who_has_no_finite_return_is_never_copied_while_another_has_one(name, bad, backtrack, metric):
    settings = {"periods": [1, 2]} if name == "multiple_frequencies" else {}
    selection = make_selection({"name": name, "backtrack": backtrack, **settings}, 8, 0.5)
    rng = np.random.default_rng(0)
    for finite in [{7}, {0}, {3, 4}, {4, 5, 6, 7}, {1, 2, 3, 5}, set(range(7))]:
        values = [float(member) if member in finite else bad for member in range(8)]
        records = [Record(1, m, None, "random", {}, 1, v, v) for m, v in enumerate(values)]
        history = History(tuple(records), metric, 8)
        exploits = selection.select(history, set(range(8)), rng)
        assert {exploit.start.member for exploit in exploits.values()} <= finite
        assert {e.hyperparameters_of.member for e in exploits.values() if e.hyperparameters_of} <= finite
        assert exploits.keys().isdisjoint({max(finite)})
        assert exploits
        assert history.best().member == history.leader().member == history.best_of(1).member == max(finite)
        assert selection.keeps(history) == ({Ref(1, max(finite))} if backtrack else set())


@pytest.mark.parametrize("backtrack", [False, True])
@pytest.mark.parametrize("name", SELECTIONS)
def test_where_nobody_has_a_finite_return_a_population_trains_on(name, backtrack):
    settings = {"backtrack": backtrack, **({"periods": [1, 2]} if name == "multiple_frequencies" else {})}
    tuner = Tuner({"x": {"type": "float", "low": 0.0, "high": 1.0}}, "pbt", 8, selection={"name": name, **settings})
    tuner.start()
    for generation in range(1, 5):
        tuner.tell([generation] * 8, [NAN, INF, -INF, NAN] * 2)
    last = {a.start for a in tuner.assignments.values()}
    assert last <= {record.ref for record in tuner.history.latest}
    assert tuner.tell([5] * 8, [float(member) for member in range(8)])
    assert tuner.history.leader().member == 7


def test_the_screened_candidates_are_those_with_finite_returns_even_where_these_are_few():
    tuner = Tuner({"x": {"type": "float", "low": 0.0, "high": 1.0}}, "pbt", 4, candidates=8)
    configurations = tuner.start()
    tuner.tell([1] * 8, [NAN, INF, 3.0, -INF, 5.0, NAN, INF, 4.0])
    assert [a.start.member for a in tuner.assignments.values()] == [8, 11, 6, 8]
    assert [a.hyperparameters for a in tuner.assignments.values()] == [configurations[i] for i in (4, 7, 2, 4)]


class Otherwise(Truncation):
    """Selects in another way, and says nothing of who is sure."""

    def select(self, history, reported, rng):
        return {}


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"name": "truncation"}, 4),
        ({"name": "truncation", "backtrack": True}, 7),
        ({"name": "multiple_frequencies", "periods": [1, 2]}, 8),
        ({"name": "truncation", "grace": 1, "lead": 0.5}, 6),
        ({"name": "truncation", "grace": 2, "backtrack": True}, 7),
        ({"name": "multiple_frequencies", "periods": [1, 2], "grace": 1}, 8),
        ({"name": "multiple_frequencies", "periods": [1, 2], "grace": 2, "lead_return": 1.0}, 6),
        ({"name": "pairwise", "grace": 1}, 6),
    ],
)
def test_who_is_sure_to_go_on_does_so_whatever_the_others_report(settings, size):
    selection, rng, ever = make_selection(settings, size, 0.25), np.random.default_rng(0), 0
    for _ in range(15):
        history, copies = History(size=size), {}

        def trained(generation, member, value, copies):
            start = copies[member].start if member in copies else None
            parent = (start.member, start.generation) if start else (None, None)
            return Record(generation, member, parent[0], "", {}, generation + 1, value, parent_generation=parent[1])

        for generation in range(4):
            returns = rng.integers(4, size=size).astype(float)  # ties, too
            returns[rng.random(size) < 0.2] = math.nan
            order = rng.permutation(size).tolist()
            new = {m: trained(generation, m, returns[m], copies) for m in order}
            for known in range(1, size):
                early = history.extended([new[member] for member in order[:known]])
                sure = set(selection.sure_to_go_on(early, order[known:]))
                assert sure <= set(order[:known])
                ever += len(sure)
                for _ in range(4):
                    others = [trained(generation, m, float(rng.integers(4)), copies) for m in order[known:]]
                    assert not sure & selection.select(early.extended(others), set(order), rng).keys()
            history = history.extended([new[member] for member in sorted(new)])
            copies = selection.select(history, set(order), rng)
    assert ever > 30 or settings["name"] == "pairwise"
    assert not Otherwise(size, 0.25).sure_to_go_on(history, [])


def test_the_better_one_of_two_of_four_is_sure_to_go_on_and_two_of_three():
    history = History(tuple(Record(0, m, None, "random", {}, 1, [1.0, 3.0, 2.0][m]) for m in range(3)), size=4)
    assert Truncation(4, 0.25).sure_to_go_on(history, [3]) == {1, 2}
    assert Truncation(4, 0.25).sure_to_go_on(History(history.records[:2], size=4), [2, 3]) == {1}
    assert Truncation(4, 0.0).sure_to_go_on(history, [3]) == {0, 1, 2}
