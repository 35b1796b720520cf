"""The bar has room for all it says, on every terminal, and its time left is right from the second interval on."""

import heapq
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from metapbt.callbacks.bar import BarCallback
from metapbt.callbacks.base import RunStart
from metapbt.callbacks.time_left import TimeLeft
from metapbt.history import Context, History, Record

LONG = "procgen distribution_mode=easy,game=bigfish,num_levels=200,use_backgrounds=false meta_bg_pbt seed 1234"


def record(generation, member, seconds=0.0, value=1.0):
    return Record(generation, member, None, "continued", {}, 10 * (generation + 1), value, wall_seconds=seconds)


def start(title="cart_pole default pb2 seed 0", size=4, generations=25, history=(), **more):
    return RunStart(
        Path(), title, "cart_pole", Context({}), "pb2", 0, size, size * generations, generations,
        History(tuple(history)), "train_return", bool(history), **more,
    )  # fmt: skip


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("title", ["cart_pole default pb2 seed 0", LONG])
def test_bar_count_best_and_time_are_all_there_and_nothing_is_cut(width, title):
    console = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
    bar = BarCallback("", console)
    before = [record(generation, member, value=-12345.678) for generation in range(100) for member in range(12)]
    bar.on_start(start(title, 12, 1000, before))
    bar.on_record(record(100, 0, seconds=40_000.0, value=-20_000.0))
    bar.on_end(History(), None)
    page = Console(width=width, force_terminal=True, record=True, file=io.StringIO())
    page.print(bar._bar.get_renderable())
    text = page.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert f"{title}, generation 101 of 1000" in " ".join(text.split())
    last = text.splitlines()[-1]
    assert last.count("━") >= 10
    assert "1201 of 12000 intervals" in last
    assert "best return -12,346" in last
    assert re.search(r"\d+h\d\dm left$", last.rstrip())


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else():
    for terminal in (True, False):
        file = io.StringIO()
        bar = BarCallback("", Console(width=80, force_terminal=terminal, file=file))
        bar.on_start(start())
        bar.on_record(record(0, 0, 2.0))
        bar.on_generation(History((record(0, 0), record(0, 1))))
        bar.on_end(History(), None)
        assert ("of 100 intervals" in file.getvalue()) == terminal


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def simulated(size, workers, generations, seconds, startup=0.0, decision=0.0, before=0):
    """Members that wait for each other: as each interval ends its number, the forecast, and what it should be."""
    clock = Clock()
    history = [record(g, m) for g in range(before) for m in range(size)]
    left = TimeLeft(start(size=size, generations=generations, history=history, at_once=min(workers, size)), clock)
    told = []
    clock.now += startup
    for generation in range(before, generations):
        begin = clock.now
        for member in range(size):
            clock.now = begin + seconds * (member // workers + 1)
            left.on_record(record(generation, member, seconds))
            if member == size - 1:
                left.on_generation()
            told.append((clock.now, left.seconds))
        clock.now += decision
    finish = told[-1][0]
    return [(number, forecast, finish - now) for number, (now, forecast) in enumerate(told)]


@pytest.mark.parametrize(
    "run",
    [
        {"size": 4, "workers": 2, "seconds": 10.0},
        {"size": 4, "workers": 2, "seconds": 10.0, "startup": 60.0},
        {"size": 8, "workers": 3, "seconds": 5.0, "decision": 0.5},
        {"size": 4, "workers": 16, "seconds": 30.0},
        {"size": 4, "workers": 1, "seconds": 3.0, "before": 7},
        {"size": 6, "workers": 2, "seconds": 3.0, "startup": 20.0, "before": 10},
    ],
    ids=str,
)
def test_the_time_left_is_right_from_the_second_interval_on(run):
    told = simulated(generations=20, **run)
    for number, forecast, truth in told[1:]:
        assert forecast == pytest.approx(truth, rel=0.15, abs=1.5 * run["seconds"]), number
    assert told[0][1] == pytest.approx(told[0][2], rel=0.15, abs=1.5 * run["seconds"])


def test_members_that_wait_for_nobody_are_forecast_too():
    clock = Clock()
    left = TimeLeft(start(size=4, generations=50, at_once=4, asynchronous=True), clock)
    speeds = [10.0, 12.0, 15.0, 9.0]
    queue = [(100.0 + speed, member) for member, speed in enumerate(speeds)]
    heapq.heapify(queue)
    told = []
    for _ in range(200):  # an interval goes to whoever is free, as in a run whose members share the budget
        clock.now, member = heapq.heappop(queue)
        left.on_record(record(0, member, speeds[member]))
        heapq.heappush(queue, (clock.now + speeds[member], member))
        told.append((clock.now, left.seconds))
    for now, forecast in told[1:150]:
        assert forecast == pytest.approx(told[-1][0] - now, rel=0.2, abs=15.0)


def test_the_time_goes_on_between_two_intervals_and_is_unknown_before_the_first():
    clock = Clock()
    left = TimeLeft(start(size=2, generations=10, at_once=2), clock)
    assert left.seconds is None
    clock.now = 110.0
    left.on_record(record(0, 0, 10.0))
    first = left.seconds
    clock.now = 113.0
    assert left.seconds == pytest.approx(first - 3.0)
    clock.now = 10_000.0
    assert left.seconds == 0.0
