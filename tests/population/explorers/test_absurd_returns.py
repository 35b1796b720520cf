"""Returns and steps of any size break no method: what is suggested is legal and finite, and nobody is warned."""

import math
import warnings

import numpy as np
import pytest

from metapbt import Copy, Space, Tuner
from metapbt.history import Context, History, Record
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers import METHODS, explorer_class

SPACE = Space(
    {
        "x": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
        "n": {"type": "int", "low": 1, "high": 9},
        "c": {"type": "categorical", "choices": ["a", "b", "c"]},
    }
)
SIZE = 6
ABSURD = [0.0, 1e-300, 1.0, 1e300, -1e300, 1.7e308, -1.7e308, math.nan, math.inf, -math.inf]


def drawn(seed, generations=3):
    """Returns of a population, ``generations x SIZE``: anything."""
    return np.random.default_rng(seed).choice(ABSURD, (generations, SIZE)).tolist()


def told(values):
    return [list(values[generation % len(values)]) for generation in range(3)]


RETURNS = {
    "anything": drawn(0),
    "anything else": drawn(1),
    "huge both ways": told([[1.7e308, -1.7e308] * 3]),
    "huge and growing": told([[1e300 * (m + 1) for m in range(SIZE)], [1e307 * (m + 1) for m in range(SIZE)]]),
    "all alike": told([[3.0] * SIZE]),
    "nothing but zeros": told([[0.0] * SIZE]),
    "differing by rounding": told([[1.0 + 2.0**-52 * m for m in range(SIZE)]]),
    "differing by next to nothing": told([[1e-300 * m for m in range(SIZE)], [2e-300 * m for m in range(SIZE)]]),
    "one of them huge": told([[0.0, 1.0, 2.0, 3.0, 4.0, 1e300], [0.5, 1.5, 2.5, 3.5, 4.5, -1e300]]),
    "one of them finite": told([[math.nan, math.inf, -math.inf, 1.0, math.nan, math.inf]]),
    "nobody finite": told([[math.nan, math.inf, -math.inf] * 2]),
}
STEPS = (1, 1000, 10**15)


def source(returns, feature):
    rng = np.random.default_rng(0)
    records = [
        Record(generation, member, None, "random", SPACE.sample(rng), 1000 * (generation + 1), value)
        for generation, values in enumerate(returns)
        for member, value in enumerate(values)
    ]
    return SourceRun(Context({"feature": feature}), History(tuple(records)))


def play(method, returns, steps, **settings):
    """Tell a tuner of what came; every one of its decisions is checked."""
    more = {"levels": 2} if method == "grid" else {}
    size = 12 if method == "grid" else SIZE  # the grid's points
    tuner = Tuner(SPACE, method, population_size=size, quantile=0.4, **more, **settings)
    configurations = tuner.start()
    for generation, values in enumerate(returns):
        values = [values[m % SIZE] for m in range(size)]
        decisions = tuner.tell([steps * (generation + 1)] * size, values)
        for decision in decisions:
            if isinstance(decision, Copy):
                configurations.append(decision.hyperparameters)
                if any(math.isfinite(value) for value in values):
                    assert math.isfinite(values[decision.parent])
    for configuration in configurations:
        SPACE.check(configuration)
        assert configuration in SPACE
        assert all(math.isfinite(configuration[name]) for name in ("x", "n"))


@pytest.fixture(autouse=True)
def _nobody_is_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")  # of libraries about themselves, when loaded
        with np.errstate(all="raise", under="ignore"):
            yield


#: The others are the worst for a surrogate, whose fits take longest.
QUICK = ("default", "random", "grid", "pbt", "gpbt_pl")
OFTEN = {
    "pb2": ["anything", "one of them huge"],
    "pb2_rand": ["all alike"],
    "pb2_mult": ["differing by rounding"],
    "pb2_mix": ["anything else", "huge both ways"],
    "bg_pbt": ["anything", "one of them huge"],
    "ipbt": [],  # within an era it is bg_pbt
}
CASES = [
    pytest.param(method, name, marks=[] if method in QUICK or name in OFTEN[method] else pytest.mark.slow)
    for method in METHODS
    for name in RETURNS
    if not explorer_class(method).uses_memory
]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_every_method_lives_with_returns_and_steps_of_any_size(method, name):
    number = list(RETURNS).index(name)
    play(method, RETURNS[name], STEPS[number % len(STEPS)])


SOURCES = [
    "huge both ways",
    *(pytest.param(name, marks=pytest.mark.slow) for name in RETURNS if name != "huge both ways"),
]


@pytest.mark.parametrize("method", ["meta_pb2", pytest.param("meta_bg_pbt", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SOURCES)
def test_memory_of_returns_of_any_size(name, method):
    ordinary = [[0.1 * m + g for m in range(SIZE)] for g in range(3)]
    sources = (source(RETURNS[name], 0.2), source(RETURNS["anything else"], 0.4), source(ordinary, 0.8))
    memory = Memory(Context({"feature": 0.5}), sources)
    play(method, RETURNS["one of them huge"], 1000, memory=memory)
