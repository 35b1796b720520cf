import json
import math

import numpy as np
import pytest
import torch

from metapbt import Continue, Copy, Restart, Space, Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Context, Ref
from metapbt.memory.source_runs import Memory
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.population.explorers.base import Explorer, Suggestion
from metapbt.population.explorers.random import RandomExplorer
from metapbt.population.selection import Exploit
from metapbt.population.selection.truncation import Truncation

SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 9, "default": 4},
}


def settings(method):
    remembers = ":" not in method and explorer_class(method).uses_memory
    return {"memory": Memory(Context({"feature": 1.0}))} if remembers else {}


def make(method="pbt", seed=0, **kwargs):
    return Tuner(SPACE, method, seed=seed, **kwargs, **settings(method))


def play(tuner, generations, first=0):
    """Train a synthetic population: return grows faster the nearer x is to 0.7."""
    for generation in range(first, first + generations):
        coming = tuner.assignments.values()
        returns = [-abs(a.hyperparameters["x"] - 0.7) * (generation + 1) for a in coming]
        tuner.tell([10 * (generation + 1)] * len(returns), returns)
    return tuner


@pytest.mark.parametrize("method", METHODS)
def test_every_method_asks_and_tells(method):
    size = 4 if method == "grid" else 8  # the grid has four points
    tuner = make(method, population_size=size)
    configs = tuner.start()
    assert len(configs) == size
    for generation in range(3):
        decisions = tuner.tell([generation + 1] * size, [float(m * (generation + 1)) for m in range(size)])
        assert len(decisions) == size
        for member, decision in enumerate(decisions):
            if isinstance(decision, Copy):
                assert member in (0, 1)
                assert decision.parent in (6, 7)
                assert decision.hyperparameters in Space(SPACE)
            else:
                assert decision == Continue()


@pytest.mark.parametrize("method", METHODS)
def test_a_state_saved_as_json_in_the_middle_changes_nothing(method):
    straight = make(method)
    straight.start()
    play(straight, 2)
    second = make(method)
    second.load_state(json.loads(json.dumps(straight.state())))
    for tuner in (straight, second):
        play(tuner, 2, first=2)
    assert json.dumps(second.state()) == json.dumps(straight.state())


def play_asynchronously(tuner, reports):
    """Members report in turn, member 0 three times as often as the others."""
    order = [0, 1, 0, 2, 0, 3]
    for number in range(reports):
        member = order[number % len(order)]
        origin = tuner.origin(member)
        steps = 10 + (origin.env_steps if origin else 0)
        tuner.tell_member(member, steps, -abs(tuner.assignments[member].hyperparameters["x"] - 0.7) * steps)
    return tuner


@pytest.mark.parametrize("method", [method for method in METHODS if method != "grid"])
def test_members_report_by_themselves_and_a_state_saved_in_between_changes_nothing(method):
    straight = make(method)
    straight.start()
    play_asynchronously(straight, 12)
    second = make(method)
    second.load_state(json.loads(json.dumps(straight.state())))
    for tuner in (straight, second):
        play_asynchronously(tuner, 6)
    assert [record.generation for record in straight.history.latest] == [8, 2, 2, 2]
    assert straight.history.generations == 3
    assert json.dumps(second.state()) == json.dumps(straight.state())


def test_a_member_that_reports_alone_is_judged_by_what_the_others_reported_last():
    tuner = make("pbt", population_size=4)
    tuner.start()
    assert [tuner.tell_member(member, 10, float(member)) for member in (3, 2, 1)] == [Continue()] + [
        Copy(Ref(0, 3), tuner.assignments[member].hyperparameters) for member in (2, 1)
    ]
    assert isinstance(tuner.tell_member(0, 10, 9.0), Continue)
    # Member 3 has trained on, but fell: its best is no longer what others copy.
    tuner.tell_member(3, 20, 0.5)
    copy = tuner.tell_member(1, 20, 0.1)
    assert isinstance(copy, Copy)
    assert copy.parent == 0
    with pytest.raises(MetapbtError, match="members are 0 to 3, got 4"):
        tuner.tell_member(4, 10, 0.0)


def test_what_others_are_training_counts_as_pending():
    seen = []

    class Watching(RandomExplorer):
        copies = True

        def propose(self, children, parents, history, pending, rng):
            seen.append([(p.return_before, p.hyperparameters["x"]) for p in pending])
            return super().start(len(parents), rng)

    tuner = make("random", population_size=4)
    tuner._decider.explorer = Watching(tuner.space)
    configs = tuner.start()
    tuner.tell_member(0, 10, 5.0)
    tuner.tell_member(1, 10, 1.0)
    (pending,) = seen
    assert pending[0] == (5.0, configs[0]["x"])
    assert [x for _, x in pending] == [configs[m]["x"] for m in (0, 2, 3)]
    assert all(math.isnan(value) for value, _ in pending[1:])


def test_who_was_just_decided_to_go_on_is_pending_from_where_it_got_to():
    seen = []

    class Watching(RandomExplorer):
        copies = True

        def propose(self, children, parents, history, pending, rng):
            seen.append([(p.return_before, p.hyperparameters["x"]) for p in pending])
            return super().start(len(parents), rng)

    tuner = make("random", population_size=4)
    tuner._decider.explorer = Watching(tuner.space)
    tuner.start()
    for generation in (1, 2, 3):
        told = [10.0 * generation + member for member in (0, 1, 2, 3)]
        tuner.tell([10 * generation] * 4, told)
        assert seen.pop() == [(told[m], tuner.assignments[m].hyperparameters["x"]) for m in (1, 2, 3)]


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_everything(method):
    states = []
    for seed in (3, 3):
        tuner = make(method, seed)
        tuner.start()
        states.append(json.dumps(play(tuner, 3).state()))
    assert states[0] == states[1]
    if method not in ("default", "grid"):
        assert make(method, 3).start() != make(method, 4).start()


def test_default_and_random_never_copy():
    for method in ("default", "random"):
        tuner = make(method)
        tuner.start()
        assert play(tuner, 3).tell([100] * 4, [1.0, 2.0, 3.0, 4.0]) == [Continue()] * 4


def test_starting_twice_gives_the_same_configurations():
    tuner = make()
    assert tuner.start() == tuner.start()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 2.5}, "population.size must be an integer from 1 to 100000, got 2.5"),
        ({"initial": [1]}, r"initial must be a list of configurations, got \[1\]"),
        ({"population_size": 0}, "population.size must be an integer from 1 to 100000, got 0"),
        ({"quantile": 0.7}, r"population.quantile must be in \[0, 0.5\], got 0.7"),
        ({"method": "pb3"}, "unknown method 'pb3'; did you mean"),
        ({"metric": "loss"}, "population.metric must be one of train_return, eval_return, got loss"),
        ({"seed": -1}, "seed must be an integer from 0 to"),
        ({"method": "pbt", "resample_probability": 2}, r"method.resample_probability must be in \[0, 1\]"),
        ({"method": "pbt", "factors": [0]}, "method.factors must be positive"),
        ({"population": 4}, "'population'; did you mean 'population_size'"),
        ({"method": "pbt", "sigma": 2}, "unknown setting of method pbt or argument of Tuner 'sigma'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(MetapbtError, match=message):
        Tuner(SPACE, **arguments)


def test_bad_reports_are_named():
    tuner = make()
    with pytest.raises(MetapbtError, match="call start first"):
        tuner.tell([1] * 4, [0.0] * 4)
    tuner.start()
    with pytest.raises(MetapbtError, match="4 members need as many env_steps and returns, got 3 and 4"):
        tuner.tell([1] * 3, [0.0] * 4)
    tuner.tell([1] * 4, [0.0] * 4)
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond 1, got 1"):
        tuner.tell([1] * 4, [0.0] * 4)
    with pytest.raises(MetapbtError, match="this is of 4 members, the tuner has 2"):
        make(population_size=2).load_state(tuner.state())


def test_an_explorer_of_ones_own_is_named_by_its_module():
    tuner = Tuner(SPACE, "metapbt.population.explorers.random:RandomExplorer", seed=5)
    assert tuner.start() == Tuner(SPACE, "random", seed=5).start()


def test_given_configurations_go_to_the_first_members_and_the_method_chooses_the_others():
    given = [{"x": 0.25, "n": 3}, {"x": 0.75, "n": 5}]
    tuner = make(initial=given)
    configs = tuner.start()
    assert configs[:2] == given
    assert [a.source for a in tuner.assignments.values()] == ["given", "given", "random", "random"]
    assert configs[2:] == make().start()[2:]
    with pytest.raises(MetapbtError, match="x must be in"):
        make(initial=[{"x": 7.0, "n": 3}])
    with pytest.raises(MetapbtError, match="initial has 5 configurations for 4 members"):
        make(initial=[given[0]] * 5)


def test_a_constraint_has_the_last_word_on_every_new_configuration():
    seen = []

    def at_most_half(hyperparameters):
        seen.append(hyperparameters)
        return {**hyperparameters, "x": min(hyperparameters["x"], 0.5)}

    tuner = make(constraint=at_most_half)
    tuner.start()
    play(tuner, 5)
    assert all(r.hyperparameters["x"] <= 0.5 for r in tuner.history)
    assert len(seen) == 4 + 5
    assert any(h["x"] > 0.5 for h in seen)
    with pytest.raises(MetapbtError, match="x must be in"):
        make(constraint=lambda h: {**h, "x": -1.0}).start()


def screened(method="pbt", candidates=9, size=4):
    """A tuner whose candidates have been told; the return of each is its ``x``."""
    tuner = make(method, population_size=size, candidates=candidates)
    configs = tuner.start()
    assert tuner.screening
    return tuner, configs, tuner.tell([10] * candidates, [config["x"] for config in configs])


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("grid", "default")])
def test_the_best_candidates_become_the_members(method):
    tuner, configs, decisions = screened(method)
    best = sorted(configs, key=lambda config: -config["x"])[:4]
    assert [decision.hyperparameters for decision in decisions] == best
    assert [decision.start for decision in decisions] == [Ref(0, 4 + configs.index(config)) for config in best]
    assert not tuner.screening
    tuner.tell([20] * 4, [1.0, 2.0, 3.0, 4.0])
    assert [(r.member, r.generation, r.env_steps) for r in tuner.history.latest] == [(m, 1, 20) for m in range(4)]
    assert tuner.history.spent_steps[-1] == 9 * 10 + 4 * 10


def test_a_candidate_that_was_not_chosen_is_no_parent_any_more_but_its_row_is_learned_from():
    tuner, configs, _ = screened()
    tuner.tell([20] * 4, [1.0, 2.0, 3.0, 4.0])
    assert {record.member for record in tuner.history.latest} == {0, 1, 2, 3}
    assert len(tuner.history.transitions()) == 9 + 4
    assert tuner.keeps() >= {Ref(1, m) for m in range(4)}


def test_candidates_are_told_together_and_a_state_saved_before_that_changes_nothing():
    tuner = make(candidates=6)
    tuner.start()
    with pytest.raises(MetapbtError, match="candidates of the first generation are told together"):
        tuner.tell_member(0, 10, 1.0)
    with pytest.raises(MetapbtError, match="6 candidates need as many env_steps and returns, got 4 and 4"):
        tuner.tell([10] * 4, [1.0] * 4)
    again = make(candidates=6)
    again.load_state(json.loads(json.dumps(tuner.state())))
    returns = [0.3, 0.1, 0.6, 0.2, 0.5, 0.4]
    assert again.tell([10] * 6, returns) == tuner.tell([10] * 6, returns)
    with pytest.raises(MetapbtError, match=r"population.candidates must be >= population.size \(4\), got 3"):
        make(candidates=3)


def test_copies_go_back_to_the_best_checkpoint_ever():
    tuner = make(selection={"name": "truncation", "backtrack": True})
    tuner.start()
    tuner.tell([10] * 4, [1.0, 2.0, 3.0, 9.0])
    decisions = tuner.tell([20] * 4, [1.0, 2.0, 3.0, 4.0])
    assert decisions[0].start == Ref(0, 3)
    assert Ref(0, 3) in tuner.keeps()
    tuner.tell([15, 30, 30, 30], [1.0, 2.0, 3.0, 4.0])  # it goes on from the steps of then
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond"):
        tuner.tell([0, 40, 40, 40], [1.0, 2.0, 3.0, 4.0])


class BornAgain(Truncation):
    """The worst member is born again and learns from the best."""

    def select(self, history, reported, rng):
        return {m: Exploit(None, teacher=e.start) for m, e in super().select(history, reported, rng).items()}


def test_a_member_that_is_born_again_begins_from_nothing_and_gives_no_transition():
    tuner = make(selection=f"{__name__}:BornAgain")
    tuner.start()
    decisions = tuner.tell([10] * 4, [1.0, 2.0, 3.0, 4.0])
    assert decisions[0] == Restart(tuner.assignments[0].hyperparameters, teacher=Ref(0, 3))
    assert tuner.origin(0) is None
    before = len(tuner.history.transitions())
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond 10, got 5"):
        tuner.tell([5, 20, 20, 20], [1.5, 2.0, 3.0, 4.0])
    tuner.tell([15, 20, 20, 20], [1.5, 2.0, 3.0, 4.0])  # its line of descent has cost its teacher's steps
    born = tuner.history.at(Ref(1, 0))
    assert (born.parent, born.restart, born.teacher_generation, born.teacher_member) == (None, True, 0, 3)
    assert born.origin is None
    assert len(tuner.history.transitions()) == before + 3
    assert tuner.history.spent_steps[-1] == 40 + 5 + 30
    again = make(selection=f"{__name__}:BornAgain")
    again.load_state(json.loads(json.dumps(tuner.state())))
    assert json.dumps(again.state()) == json.dumps(tuner.state())


def test_what_a_caller_does_with_its_configurations_changes_no_history():
    tuner = make()
    configs = tuner.start()
    expected = [dict(config) for config in configs]
    for config in configs:
        config.clear()
    decisions = tuner.tell([10] * 4, [1.0, 2.0, 3.0, 4.0])
    assert [r.hyperparameters for r in tuner.history] == expected
    decisions[0].hyperparameters.pop("x")
    assert "x" in tuner.assignments[0].hyperparameters


class Elsewhere(Explorer):
    """Suggests any network, as if copies could have one."""

    def propose(self, children, parents, history, pending, rng):
        return [Suggestion(self.space.sample(rng), "random") for _ in children]


def test_a_constraint_cannot_change_the_network_of_a_copy():
    space = {"lr": SPACE["x"], "width": {"type": "int", "low": 1, "high": 8, "role": "architecture"}}
    tuner = Tuner(space, "pbt", seed=0, constraint=lambda h: {**h, "width": 8 if h["lr"] > 0.3 else 1})
    configs = tuner.start()
    assert {config["width"] for config in configs} == {1, 8}
    for generation in range(6):
        before = [assignment.hyperparameters["width"] for assignment in tuner.assignments.values()]
        decisions = tuner.tell([generation + 1] * 4, [0.1 * m + generation for m in range(4)])
        for decision in decisions:
            if isinstance(decision, Copy):
                assert decision.hyperparameters["width"] == before[decision.parent]


def test_a_constraint_holds_for_the_network_that_a_copy_trains():
    """It was asked about the network that had been suggested, and the parent's took its place afterwards."""

    def small_rates_for_wide_networks(hyperparameters):
        most = 0.1 if hyperparameters["width"] > 4 else 1.0
        return {**hyperparameters, "lr": min(hyperparameters["lr"], most)}

    space = {"lr": SPACE["x"], "width": {"type": "int", "low": 1, "high": 8, "role": "architecture"}}
    for method in ("pbt", "random_width"):
        name = f"{__name__}:Elsewhere" if method == "random_width" else method
        tuner = Tuner(space, name, 8, 0.5, seed=0, constraint=small_rates_for_wide_networks)
        tuner.start()
        for generation in range(20):
            tuner.tell([generation + 1] * 8, [(m + generation) % 8 for m in range(8)])
            trained = [assignment.hyperparameters for assignment in tuner.assignments.values()]
            assert trained == [small_rates_for_wide_networks(hyperparameters) for hyperparameters in trained]


@pytest.mark.parametrize(("told", "other"), [({}, {"population_size": 2}), ({"candidates": 9}, {"candidates": 6})])
def test_a_state_of_another_population_is_refused_from_the_beginning(told, other):
    tuner = make(**told)
    tuner.start()
    with pytest.raises(MetapbtError, match="this is of"):
        make(**other).load_state(tuner.state())


def test_a_report_that_is_no_number_is_named():
    tuner = make()
    tuner.start()
    with pytest.raises(MetapbtError, match="the return of member 0 must be a number, got 'good'"):
        tuner.tell([1] * 4, ["good"] * 4)
    with pytest.raises(MetapbtError, match="env_steps of member 0 must grow beyond 0, got nan"):
        tuner.tell([math.nan] * 4, [1.0] * 4)


@pytest.mark.parametrize("method", ["pb2", "pb2_mix", "bg_pbt"])
def test_decisions_do_not_depend_on_how_the_program_around_has_set_torch(method):
    def decided():
        tuner = Tuner({f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(5)}, method, 8, seed=3)
        tuner.start()
        rng = np.random.default_rng(0)
        for generation in range(3):
            tuner.tell([10 * (generation + 1)] * 8, rng.normal(size=8))
        return [record.hyperparameters for record in tuner.history]

    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.inference_mode(), torch.no_grad():
                found.append(decided())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]
