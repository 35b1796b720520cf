import math

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Record
from metapbt.population.selection import Exploit, make_selection
from metapbt.population.selection.multiple_frequencies import MultipleFrequencies
from metapbt.population.selection.truncation import Truncation


def select(selection, returns, reported=None, generation=0, seed=0):
    latest = [Record(generation, member, None, "random", {}, 1, value) for member, value in enumerate(returns)]
    reported = range(len(returns)) if reported is None else reported
    return selection.select(latest, returns, set(reported), np.random.default_rng(seed))


def test_the_worst_quantile_copies_from_the_best_quantile():
    returns = [5.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0]
    seen = set()
    for seed in range(50):
        exploits = select(Truncation(8, 0.25), returns, seed=seed)
        assert sorted(exploits) == [1, 3]
        assert all(exploit.hyperparameters_of is None for exploit in exploits.values())
        seen |= {exploit.parent for exploit in exploits.values()}
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
    ],
)
def test_the_quantile_is_whole_members_and_never_overlaps(size, quantile, copies):
    exploits = select(Truncation(size, quantile), list(range(size)))
    assert len(exploits) == copies
    assert all(exploit.parent >= size - copies for exploit in exploits.values())


def test_a_member_without_a_return_counts_as_worst():
    assert select(Truncation(4, 0.25), [1.0, math.nan, 3.0, 2.0]) == {1: Exploit(2)}


def test_only_members_that_wait_for_a_decision_copy():
    returns = [4.0, 1.0, 2.0, 3.0]
    assert select(Truncation(4, 0.25), returns, reported=[0, 2, 3]) == {}
    assert select(Truncation(4, 0.25), returns, reported=[1]) == {1: Exploit(0)}


# Two sub-populations of 4: members 0 to 3 evolve after every interval, members 4 to 7 after every second one.
TWO = MultipleFrequencies(8, 0.25, [1, 2])


def test_a_sub_population_evolves_by_itself_when_its_time_has_come():
    returns = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert select(TWO, returns, generation=0) == {3: Exploit(0)}
    # After the second interval both evolve: 7 copies 4, and 6, above the worst, gives way to the best of the others.
    exploits = select(TWO, returns, generation=1)
    assert exploits == {3: Exploit(0), 7: Exploit(4), 6: Exploit(0, hyperparameters_of=4)}


def test_hyperparameters_migrate_from_steadier_sub_populations_only():
    returns = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    # The frequent one takes weights and hyperparameters of the steadier one's best.
    assert select(TWO, returns, generation=0) == {0: Exploit(3), 1: Exploit(7, hyperparameters_of=7)}
    returns = returns[::-1]
    # The steadier one takes weights alone, and trains them with its own best hyperparameters.
    assert select(TWO, returns, generation=1)[6] == Exploit(0, hyperparameters_of=4)


def test_a_migrant_must_be_better_and_comes_once():
    eight = MultipleFrequencies(16, 0.25, [1, 2])
    own, others = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [4.5, 2.5, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    exploits = select(eight, own + others, generation=0)
    # Ranks 5 and 6 are challenged: 4.0 by 4.5, then 3.0 by 2.5, which is not better.
    assert exploits == {7: Exploit(0), 6: Exploit(1), 4: Exploit(8, hyperparameters_of=8)}


def test_the_winners_of_a_small_sub_population_are_never_challenged():
    six = MultipleFrequencies(6, 0.5, [1, 2])
    assert select(six, [3.0, 2.0, 1.0, 9.0, 8.0, 7.0]) == {2: Exploit(0), 1: Exploit(3, hyperparameters_of=3)}


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match=r"periods must be increasing integers >= 1, got \[5, 1\]"):
        MultipleFrequencies(8, 0.25, [5, 1])
    with pytest.raises(MetapbtError, match="population.size must be a multiple of 2, .* at least 3 .* got 4"):
        MultipleFrequencies(4, 0.25, [1, 5])
    with pytest.raises(MetapbtError, match="unknown selection 'truncate'; did you mean 'truncation'"):
        make_selection("truncate", 4, 0.25, {})
    with pytest.raises(MetapbtError, match="selection 'truncation': .*periods"):
        make_selection("truncation", 4, 0.25, {"periods": [1]})
