"""BG-PBT's explore step: where its suggestions lie, what they follow, and that they are a function of the history."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.memory.encoder import Encoder, Samples
from metapbt.memory.scales import HistoryScale
from metapbt.population.explorers import make_explorer
from metapbt.population.explorers.base import Pending
from metapbt.population.explorers.bg_pbt import BGPBTExplorer
from metapbt.population.explorers.mixed_space import MixedSpace
from metapbt.population.explorers.standing import Standing
from metapbt.space import Space
from metapbt.surrogates.trust_region import Rule

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "bg_pbt.json").read_text())
FLOAT = {"type": "float", "low": 0.0, "high": 1.0}
SPACES = {
    "floats": dict.fromkeys("abcd", FLOAT),
    "one float": {"a": FLOAT},
    "one integer": {"n": {"type": "int", "low": 1, "high": 9}},
    "one category": {"kind": {"type": "categorical", "choices": ["p", "q", "r"]}},
    "categories": {f"c{place}": {"type": "categorical", "choices": [*"pqrst"]} for place in range(4)},
    "many choices": {"a": FLOAT, "c": {"type": "categorical", "choices": list(range(40))}},
    "thirty": {
        **{f"x{place}": FLOAT for place in range(20)},
        **{f"n{place}": {"type": "int", "low": 0, "high": 5 + place} for place in range(5)},
        **{f"c{place}": {"type": "categorical", "choices": [*"pqr"]} for place in range(5)},
    },
    "grids": {
        "log": {"type": "int", "low": 2, "high": 16, "log": True},
        "large": {"type": "int", "low": 1, "high": 1_000_000, "log": True},
        "long": {"type": "int", "low": 0, "high": 60},
        "switch": {"type": "int", "low": 0, "high": 1},
        "step": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.05},
        "fine": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.001},
    },
    "conditions": {
        "kind": {"type": "categorical", "choices": ["p", "q", "r"]},
        "x": FLOAT,
        "only_q": {**FLOAT, "when": {"kind": "q"}},
        "n": {"type": "int", "low": 1, "high": 4},
        "only_two": {"type": "int", "low": 1, "high": 9, "when": {"n": [2, 3], "kind": ["p", "q"]}},
        "shade": {"type": "categorical", "choices": ["u", "v"], "when": {"kind": ["p", "q"]}},
    },
    "architecture": {
        "lr": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "optimiser": {"type": "categorical", "choices": ["adam", "sgd"]},
        "layers": {"type": "int", "low": 1, "high": 5, "role": "architecture"},
        "activation": {"type": "categorical", "choices": ["tanh", "relu"], "role": "architecture"},
        "heads": {"type": "int", "low": 1, "high": 8, "role": "architecture", "when": {"activation": "relu"}},
    },
    "all of it architecture": {"layers": {"type": "int", "low": 1, "high": 5, "role": "architecture"}},
}


def history(space, generations=5, members=6, seed=0, gain=lambda h: 0.0, steps=10):
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = space.sample(rng)
            returns[member] += gain(drawn) + 0.05 * rng.normal()
            done = steps * (generation + 1)
            records.append(Record(generation, member, None, "random", drawn, done, float(returns[member])))
    return History(tuple(records), size=members)


def proposed(explorer, past, parents=None, pending=(), seed=0):
    parents = list(past.latest[:2]) if parents is None else parents
    children = list(past.latest[: len(parents)])
    found = explorer.propose(children, parents, past, list(pending), np.random.default_rng(seed))
    return [suggestion.hyperparameters for suggestion in found]


def is_category(parameter):
    return parameter.kind == "categorical" or (parameter.kind == "int" and parameter.extremes == (0, 1))


def share(parameter, value):
    """Which part of its axis a number has: a point, or the share that rounds to it."""
    if parameter.kind == "float":
        half = 0 if parameter.step is None else parameter.step / 2 / (parameter.high - parameter.low)
        return parameter.to_unit(value) - half, parameter.to_unit(value) + half
    scaled = math.log if parameter.log else float
    ends = [scaled(parameter.low - 0.49999), scaled(parameter.high + 0.49999)]
    return [(scaled(value + half) - ends[0]) / (ends[1] - ends[0]) for half in (-0.5, 0.5)]


def check_within(space, parent, found, length, changes):
    assert found in space
    assert space.with_architecture_of(found, parent) == found
    values = {**space.unconditional_default(), **parent}
    differing = 0
    for parameter in space.parameters:
        if parameter.name not in found or parameter.role is not None:
            continue
        if is_category(parameter):
            differing += found[parameter.name] != values[parameter.name]
        else:
            centre = np.mean(share(parameter, values[parameter.name]))
            if parameter.log and parameter.kind == "int":
                low, high = (math.log(parameter.low - 0.49999), math.log(parameter.high + 0.49999))
                centre = (math.log(values[parameter.name]) - low) / (high - low)
            low, high = share(parameter, found[parameter.name])
            assert low <= centre + length / 2 + 1e-4, parameter.name
            assert high >= centre - length / 2 - 1e-4, parameter.name
    assert differing <= changes


@pytest.mark.parametrize("name", SPACES)
def test_suggestions_lie_in_the_box_on_the_grid_and_within_the_hamming_bound(name):
    space, seed = Space(SPACES[name]), len(name)
    past = history(space, seed=seed, gain=lambda h: sum(map(len, map(str, h.values()))))
    free = sum(p.role is None and is_category(p) for p in space.parameters)
    for length, categories in ((0.4, 1.0), (0.2, 0.3)):
        explorer = BGPBTExplorer(space, length=length, length_min=0.1, categories=categories)
        pending = [Pending(record.reached, record.hyperparameters) for record in past.latest[2:]]
        parents = [past.best(), past.latest[1]]
        changes = min(free, max(1, math.floor(free * categories + 1e-9)))
        for parent, found in zip(parents, proposed(explorer, past, parents, pending, seed), strict=True):
            check_within(space, parent.hyperparameters, found, length, changes)


def test_without_a_trust_region_the_best_is_found_wherever_it_is():
    space = Space(
        {"x": FLOAT, "n": {"type": "int", "low": 1, "high": 9}, "kind": {"type": "categorical", "choices": [*"pqr"]}}
    )

    def gain(h):
        return -2 * abs(h["x"] - 0.8) - abs(h["n"] - 7) / 8 + (h["kind"] == "q")

    past = history(space, generations=12, gain=gain)
    far = next(r for r in past.latest if r.hyperparameters["x"] < 0.4)
    (free,) = proposed(BGPBTExplorer(space, beta=0.1, trust_region=False), past, [far])
    assert free["kind"] == "q"
    assert free["x"] == pytest.approx(0.8, abs=0.15)
    assert free["n"] >= 6
    (near,) = proposed(BGPBTExplorer(space, beta=0.1), past, [far])
    assert near["x"] == pytest.approx(far.hyperparameters["x"] + 0.2, abs=1e-9)
    assert near["kind"] == "q"


def test_a_category_that_does_not_exist_is_no_difference():
    """Both branches are alike but for what exists only in one; the model must not see more difference than that."""
    space = Space(SPACES["conditions"])
    mixed = MixedSpace(space)
    without = {"kind": "r", "x": 0.3, "n": 1}
    assert mixed.row(without) == mixed.row({**without, **{"only_q": space.unconditional_default()["only_q"]}})
    import torch

    raw = torch.tensor(
        [mixed.row({**space.unconditional_default(), "kind": "r", "only_q": 0.9, "only_two": 8, "shade": "v"})]
    )
    default = torch.tensor([mixed.row({**space.unconditional_default(), "kind": "r"})])
    assert mixed.conditions.transform(raw).tolist() == default.tolist()
    kept = torch.tensor(
        [mixed.row({**space.unconditional_default(), "kind": "q", "n": 2, "only_q": 0.9, "only_two": 8})]
    )
    assert mixed.conditions.transform(kept).tolist() == kept.tolist()


def test_copies_of_one_generation_keep_away_from_each_other_and_from_what_is_pending():
    space = Space(SPACES["floats"])
    past = history(space, generations=8, gain=lambda h: -abs(h["a"] - 0.5))
    explorer, parents = BGPBTExplorer(space), [past.best()] * 4
    found = proposed(explorer, past, parents)
    assert len({json.dumps(each) for each in found}) == 4
    (first,) = proposed(explorer, past, parents[:1])
    assert first == found[0]
    (other,) = proposed(explorer, past, parents[:1], [Pending(past.best().reached, first)] * 3)
    assert other != first


def test_pending_members_without_a_return_are_passed_over():
    space = Space(SPACES["floats"])
    past = history(space)
    waiting = [Pending(math.nan, space.default())]
    assert proposed(BGPBTExplorer(space), past, pending=waiting) == proposed(BGPBTExplorer(space), past)


def test_copies_are_drawn_until_there_are_enough_rows_and_of_parents_without_a_return():
    space = Space(SPACES["architecture"])
    past = history(space, generations=1)
    parents = list(past.latest)
    drawn = BGPBTExplorer(space).propose(parents, parents, past, [], np.random.default_rng(0))
    assert {suggestion.source for suggestion in drawn} == {"random"}
    for parent, suggestion in zip(parents, drawn, strict=True):
        check_within(space, parent.hyperparameters, suggestion.hyperparameters, 2.0, 1)
    asked = BGPBTExplorer(space, min_rows=6).propose(parents, parents, past, [], np.random.default_rng(0))
    assert {suggestion.source for suggestion in asked} == {"surrogate"}
    lost = Record(0, 0, None, "random", parents[0].hyperparameters, 10, math.nan)
    mixed = BGPBTExplorer(space, min_rows=6).propose(
        [lost, lost], [lost, parents[1]], past, [], np.random.default_rng(0)
    )
    assert [suggestion.source for suggestion in mixed] == ["random", "surrogate"]


@pytest.mark.parametrize("level", [0.0, 1e300, -1e300, 1e-300])
def test_returns_that_are_all_the_same_or_absurd_are_no_mishap(level):
    space = Space(SPACES["conditions"])
    records = [
        Record(g, m, None, "random", space.sample(np.random.default_rng(6 * g + m)), 10 * (g + 1), level * (1 + m % 2))
        for g in range(4)
        for m in range(6)
    ]
    past = History(tuple(records), size=6)
    assert all(found in space for found in proposed(BGPBTExplorer(space), past))


def test_an_interval_of_twice_the_length_that_changes_twice_as_much_says_the_same():
    space = Space({"a": FLOAT})
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(12)]

    def past(long):
        records = []
        for member, each in enumerate(drawn):
            steps = long if member % 2 else 10
            rate = 1 - abs(each["a"] - 0.4)
            records.append(Record(0, member, None, "random", each, 10, 1.0))
            records.append(Record(1, member, None, "continued", each, 10 + steps, 1.0 + rate * steps))
        return History(tuple(sorted(records, key=lambda r: r.generation)), size=12)

    parent = past(10).latest[0]
    short, long = (proposed(BGPBTExplorer(space), past(length), [parent]) for length in (10, 40))
    assert short == long


def test_rows_are_the_published_ones():
    """The log holds a copy's parent once more, with the copy's hyperparameters; a record says instead whom it copied.
    Costs are negated returns, and only rows of the newest era count: here from round 3 on."""
    log, records, seen = REFERENCE["rows"]["log"], [], {}
    for entry in log:
        place = (entry["agent"], entry["t"])
        if place in seen:  # the copy begins: from the agent with the same cost
            seen[(entry["agent"], "copies")] = next(
                e["agent"]
                for e in log
                if e["t"] == entry["t"] and e["cost"] == entry["cost"] and e["agent"] != place[0]
            )
            continue
        seen[place] = True
        parent = seen.pop((entry["agent"], "copies"), None)
        found = dict(zip("ab", entry["x"], strict=True))
        records.append(
            Record(
                entry["t"] - 1, entry["agent"], parent, "surrogate" if parent is not None else "continued", found,
                entry["steps"], -entry["cost"], parent_generation=None if parent is None else entry["t"] - 2,
            )
        )  # fmt: skip
    records.sort(key=lambda record: record.generation)
    rows = [row for row in History(tuple(records)).transitions() if row.generation + 1 >= 3]
    found = sorted((r.generation + 1, tuple(r.hyperparameters.values()), -r.return_before, -r.slope) for r in rows)
    expected = sorted((d["t"], tuple(d["x"]), d["R_before"], d["y"]) for d in REFERENCE["rows"]["data"])
    assert [f[:2] for f in found] == [e[:2] for e in expected]
    assert [f[2:] for f in found] == [pytest.approx(e[2:], rel=1e-9) for e in expected]
    space = Space({"a": FLOAT, "b": FLOAT})
    scale = HistoryScale.of(np.array([row.return_before for row in rows]))
    encoded = Encoder(scale).rows(Samples.of(rows, MixedSpace(space, 2).row))
    assert encoded.inputs.shape == (len(rows), 4)
    assert encoded.inputs[:, 2:].tolist() == [list(row.hyperparameters.values()) for row in rows]


def test_only_the_last_rows_count():
    space = Space({"a": FLOAT})
    old, new = history(space, 10, gain=lambda h: h["a"]), history(space, 10, seed=1, gain=lambda h: -h["a"])
    later = [
        Record(r.generation + 10, r.member, None, "continued", r.hyperparameters, r.env_steps + 100, r.train_return)
        for r in new
    ]
    past = History((*old.records, *later), size=6)
    trained = BGPBTExplorer(space, rows=55, beta=0.01, trust_region=False)
    assert proposed(trained, past)[0]["a"] < 0.2
    assert proposed(trained, old)[0]["a"] > 0.8


# --- integers as the surrogate sees them


@pytest.mark.parametrize("name", REFERENCE["encoding"]["ints"])
def test_encoding_of_integers(name):
    expected = REFERENCE["encoding"]["ints"][name]
    entry = {"type": "int", "low": expected["lower"], "high": expected["upper"], "log": expected["log"]}
    mixed = MixedSpace(Space({"n": entry}))
    found = {value: mixed.row({"n": int(value)})[0] for value in expected["unit"]}
    if len(found) == 2:  # a switch: where it lies says nothing but whether it differs
        assert list(found.values()) == [0.0, 1.0]
    else:
        assert found == pytest.approx(expected["unit"], abs=1e-12)
    assert [mixed.configuration([u], {})["n"] for u in found.values()] == [int(value) for value in found]


@pytest.mark.parametrize("name", REFERENCE["encoding"]["floats"])
def test_encoding_of_floats(name):
    expected = REFERENCE["encoding"]["floats"][name]
    values = expected["values_at_unit_0_.25_.5_.75_1"]
    entry = {"type": "float", "low": round(values[0], 12), "high": round(values[-1], 12), "log": expected["log"]}
    mixed = MixedSpace(Space({"x": entry}))
    found = [mixed.configuration([u], {})["x"] for u in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx(values, rel=1e-9)


@pytest.mark.parametrize("name", REFERENCE["discrete_neighbour"]["neighbours"])
def test_the_box_reaches_the_neighbours_of_an_integer_at_its_first_length(name):
    """The published search steps to a neighbour, clips it to the box and may leave the grid; the values it ends at are
    those whose share of the axis the box touches, which are always on the grid here."""
    entry, neighbours = REFERENCE["encoding"]["ints"][name], REFERENCE["discrete_neighbour"]["neighbours"][name]
    space = Space({"n": {"type": "int", "low": entry["lower"], "high": entry["upper"], "log": entry["log"]}})
    mixed = MixedSpace(space)
    for value, around in neighbours.items():
        centre = {"n": int(value)}
        region = mixed.region(centre, (), Rule().begin(), np.ones(1), ())
        codes = region.grid.get(0) or region.categories[0]
        reached = [mixed.configuration([code], {})["n"] for code in codes]
        assert reached == list(range(min(reached), max(reached) + 1))
        assert {each for each in around if abs(each - int(value)) == 1} <= set(reached)


def test_an_integer_that_steps_by_a_factor_is_its_exponent():
    widths = MixedSpace(Space({"n": {"type": "int", "low": 16, "high": 128, "factor": 2}}))
    exponents = MixedSpace(Space({"n": {"type": "int", "low": 0, "high": 3}}))
    for exponent in range(4):
        assert widths.row({"n": 16 * 2**exponent}) == exponents.row({"n": exponent})
        regions = [
            mixed.region({"n": value}, (), Rule().begin(), np.ones(1), ())
            for mixed, value in ((widths, 16 * 2**exponent), (exponents, exponent))
        ]
        assert regions[0].grid == regions[1].grid
    assert [widths.configuration([u], {})["n"] for u in (0.0, 0.2, 0.3, 0.7, 1.0)] == [16, 16, 32, 64, 128]
    switch = MixedSpace(Space({"n": {"type": "int", "low": 16, "high": 32, "factor": 2}}))
    assert [p.name for p in switch.categories] == ["n"]
    assert [switch.configuration(switch.row({"n": value}), {})["n"] for value in (16, 32)] == [16, 32]


def test_suggestions_step_by_the_factor():
    space = Space(
        {"n": {"type": "int", "low": 16, "high": 1024, "factor": 2}, "x": {"type": "float", "low": 0, "high": 1}}
    )
    past = history(space, gain=lambda h: h["n"] / 1024)
    for length in (0.2, 0.4, 1.0):
        for found in proposed(BGPBTExplorer(space, length=length), past):
            assert found in space
    best = proposed(BGPBTExplorer(space, trust_region=False, beta=0.0), past)[0]
    assert best["n"] == 1024


# --- where the trust region stands


def told(outcomes, rule=None, patience=1000, members=3, best=None):
    """A history whose generations were a success, a failure or none of the region's, replayed."""
    values, records = 0.0, []
    for generation, outcome in enumerate(outcomes):
        values = values + 1 if best is None else best[generation]
        for member in range(members):
            parent, source = (1, "surrogate") if member == 0 and outcome in "sf" and generation else (None, "continued")
            top = (member == 0) == (outcome == "s")
            value = values if top else values - 10
            records.append(Record(generation, member, parent, source, {"x": 0.5}, 10 * (generation + 1), value))
    return Standing.after(History(tuple(records), size=members), rule or Rule(), patience, ("surrogate",))


def test_the_region_grows_after_successes_and_shrinks_after_failures():
    assert told("nss").region.length == pytest.approx(0.4)
    assert told("nsss").region.length == pytest.approx(0.6)
    assert told("n" + "s" * 30).region.length == 1.0
    assert told("n" + "f" * 10).region.length == pytest.approx(0.4 / 1.5)
    assert told("n" + "f" * 10).region.categorical == pytest.approx(1 / 1.5)
    assert told("nssnnns").region.length == pytest.approx(0.6)  # a generation without a suggestion changes nothing
    assert told("nssf").region.successes == 0


@pytest.mark.parametrize("case", [c for c in REFERENCE["trust_region"]["cases"] if c["restart"]])
def test_replaying_a_history_is_what_the_published_code_counts(case):
    for end in (len(case["sequence"]) // 2, len(case["sequence"])):
        standing, step = told("n" + case["sequence"][:end]), case["steps"][end - 1]
        assert standing.region.length == pytest.approx(step["length"])
        assert standing.region.categorical == pytest.approx(step["length_categorical"])
        assert (standing.region.successes, standing.region.failures) == (step["successes"], step["failures"])


def test_a_region_that_became_too_small_begins_anew_and_what_was_before_is_forgotten():
    almost, begun = told("n" + "f" * 29), told("n" + "f" * 30)
    assert almost.since == 0
    assert almost.region.length == pytest.approx(0.4 / 1.5**2)
    assert (begun.region, begun.since) == (Rule().begin(), 31)
    assert told("n" + "f" * 32).since == 31


def test_a_region_begins_anew_after_generations_without_a_new_best():
    best = [5.0, *[4.0] * 20]
    assert told("n" * 15, patience=15, best=best).since == 0
    assert told("n" * 16, patience=15, best=best).since == 16  # the sixteenth is the fifteenth without a new best
    rising = [float(g) for g in range(21)]
    assert told("n" * 21, patience=15, best=rising).since == 0
    assert told("n" * 21, patience=3, best=rising[:10] + [3.0] * 11).since == 21  # from 13, 17 and 21 on


def test_a_best_that_ties_is_a_success():
    records = [
        Record(
            g, m, 1 if g and not m else None, "surrogate" if g and not m else "continued", {"x": 0.5}, 10 * g + 10, 1.0
        )
        for g in range(4)
        for m in range(3)
    ]
    standing = Standing.after(History(tuple(records), size=3), Rule(), 100, ("surrogate",))
    assert standing.region.length == pytest.approx(0.6)


def test_a_new_era_begins_anew_and_a_single_birth_does_not():
    """Students are born in generation 3 under numbers of their own; the members of generation 4 go on from them."""
    records = [
        Record(g, m, None, "continued" if g else "random", {"x": 0.5}, 10 * (g + 1), float(g + m))
        for g in range(3)
        for m in range(2)
    ]
    single = Record(3, 0, None, "random", {"x": 0.5}, 10, 9.0, restart=True)
    goes_on = Record(3, 1, None, "continued", {"x": 0.5}, 40, 9.0)
    rule = Rule()
    assert Standing.after(History((*records, single, goes_on), size=2), rule, 100, ()).since == 0
    students = [
        Record(3, m, None, "random", {"x": 0.5}, 40, 1.0, restart=True, teacher_generation=2, teacher_member=1)
        for m in (2, 3, 4)
    ]
    members = [
        Record(3 + g, m, m + 2 if g == 1 else None, "screened" if g == 1 else "continued", {"x": 0.5}, 40 + 10 * g, 1.0,
               parent_generation=3 if g == 1 else None)
        for g in (1, 2)
        for m in (0, 1)
    ]  # fmt: skip
    past = History((*records, *students, *members), size=2)
    assert Standing.after(past, rule, 100, ()) == Standing(rule.begin(), 4)
    assert Standing.after(past, None, 100, ()) == Standing(None, 4)


def test_candidates_and_generations_under_way_do_not_count():
    candidates = [Record(0, m, None, "random", {"x": 0.5}, 10, 100.0 + m) for m in (2, 3, 4)]
    first = [Record(1, m, m + 2, "screened", {"x": 0.5}, 20, 1.0, parent_generation=0) for m in (0, 1)]
    copied = [Record(2, 0, 1, "surrogate", {"x": 0.5}, 30, 5.0)]
    whole = Record(2, 1, None, "continued", {"x": 0.5}, 30, 2.0)
    unfinished = Standing.after(History((*candidates, *first, *copied), size=2), Rule(), 100, ("surrogate",))
    assert unfinished.region.successes == 0
    finished = Standing.after(History((*candidates, *first, *copied, whole), size=2), Rule(), 100, ("surrogate",))
    assert finished.region.successes == 1


# --- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -1}, "method.beta must be a number from 0 to 1e.06, got -1"),
        ({"rows": 0}, "method.rows must be .* >= 1, got 0"),
        ({"noise": [0.1]}, r"method.noise must be a lowest and a highest variance, got \[0.1\]"),
        ({"noise": [0.1, 0.01]}, "method.noise must be a lowest and a highest variance"),
        ({"noise": "much"}, "method.noise must be a lowest and a highest variance, got 'much'"),
        ({"length": 0.1}, r"method.length_min must be < method.length \(0.1\), got 0.15"),
        ({"length_max": 0.3}, "method.length_max must be a number from 0.4 to 2, got 0.3"),
        ({"categories_min": 2}, "method.categories_min must be a number from 0 to 1, got 2"),
        ({"factor": 1.0}, "method.factor must be"),
        ({"trust_region": "yes"}, "method.trust_region must be true or false, got 'yes'"),
        ({"lenght": 0.4}, "unknown setting of method bg_pbt 'lenght'; did you mean 'length'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(MetapbtError, match=message):
        make_explorer("bg_pbt", Space({"a": FLOAT}), **settings)


def test_lengthscales_of_their_own_give_a_box_with_edges_of_its_own():
    space = Space({"a": FLOAT, "b": FLOAT})
    past = history(space, generations=16, gain=lambda h: math.sin(9 * h["a"]))
    parent = min(past, key=lambda r: abs(r.hyperparameters["a"] - 0.5) + abs(r.hyperparameters["b"] - 0.5))
    found = [proposed(BGPBTExplorer(space, ard=True, beta=30.0), past, [parent], seed=seed)[0] for seed in range(3)]
    reach = {name: max(abs(each[name] - parent.hyperparameters[name]) for each in found) for name in space.names}
    assert reach["a"] < 0.19 < 0.21 < reach["b"]  # a cube's would be 0.2 each
