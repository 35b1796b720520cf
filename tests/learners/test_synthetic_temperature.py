"""The deceptive part of the synthetic problem: its best and greedy schedules against searches over all schedules."""

from itertools import product

import numpy as np
import pytest
from learner_intervals import interval, made, train
from omegaconf import OmegaConf

import metapbt
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.learners.base import Teacher
from metapbt.learners.problems.synthetic import SyntheticLearner, best_return
from metapbt.learners.problems.temperature import Temperature
from metapbt.space import Space

N = 100
KNOBS = [(0.0, 0.1), (0.25, 0.0), (0.5, 0.05), (0.75, 0.1), (1.0, 0.3), (0.02, 0.5)]


def make(context=None, **settings):
    return made(SyntheticLearner, "synthetic", settings, context=context, budget=N)


def trained(learner, schedule, start=None):
    """The training with all but the temperature at its best, its schedule held for intervals of equal length."""
    for temperature in schedule:
        for _ in range(N // len(schedule)):
            at = 0 if start is None else start.env_steps
            start = train(learner, start, {**learner.optimum(at, ["x0", "x1", "c0"]), "t0": temperature}, 1)
    return start


@pytest.mark.parametrize(("deception", "cooling"), KNOBS)
@pytest.mark.parametrize("cold", [0.0, 0.3])
def test_nothing_comes_to_more_than_the_best_schedule(deception, cooling, cold):
    temperature = Temperature(5.0, cold, deception, cooling)
    for intervals, levels in ((1, 1001), (2, 101), (4, 13), (6, 5)):
        every = np.array(list(product(np.linspace(0, 1, levels), repeat=intervals)))
        best = temperature.best(intervals)
        reached = temperature.final_return(best)
        assert temperature.final_return(every).max() <= reached + 1e-12
        # Nor is there anything better close to it, which a grid does not see.
        near = np.random.default_rng(0).normal(best, 0.01, (200, intervals)).clip(0, 1)
        assert temperature.final_return(near).max() <= reached + 1e-12
        # Hot, then cold, and at most one in between.
        assert (np.diff(best) <= 0).all()
        assert ((best > 0) & (best < 1)).sum() <= 1


@pytest.mark.parametrize(("deception", "cooling"), KNOBS)
def test_the_greedy_schedule_is_the_best_next_interval_each_time(deception, cooling):
    temperature = Temperature(5.0, 0.1, deception, cooling)
    grid, intervals = np.linspace(0, 1, 2001), 8
    progress, heat = 0.0, 0.0
    for chosen in temperature.greedy(intervals):
        after = progress + 5.0 / intervals * temperature.rate(grid)
        hot = temperature.heat(np.full_like(grid, heat), grid, 1 / intervals)
        assert chosen == pytest.approx(grid[np.argmax(-np.expm1(-after) - deception * hot)], abs=1e-3)
        progress += 5.0 / intervals * temperature.rate(float(chosen))
        heat = temperature.heat(heat, float(chosen), 1 / intervals)
    reached = -np.expm1(-progress) - deception * heat
    assert temperature.final_return(temperature.greedy(intervals)) == pytest.approx(reached)


@pytest.mark.parametrize(("deception", "cooling", "mislead"), [(0.25, 0.0, 0.0), (0.5, 0.05, 1.0), (0.75, 0.3, 0.0)])
def test_a_member_comes_to_what_the_formulas_say(deception, cooling, mislead):
    learner = make({"deception": deception, "cooling": cooling, "mislead": mislead, "shift": 1.2})
    temperature = learner.temperature
    for schedule in (temperature.best(10), np.array([0.3, 1.0, 0.0, 0.8])):
        chosen = 1 - schedule if mislead else schedule
        reached = trained(learner, chosen).eval_return
        assert reached == pytest.approx(float(temperature.final_return(schedule)))
        assert reached <= temperature.final_return(temperature.best(N)) + 1e-12


def test_without_deception_there_is_nothing_to_wait_for():
    plain, deceptive = make(), make({"deception": 0.5, "cooling": 0.2})
    for intervals in (1, 7, 50):
        assert (plain.temperature.best(intervals) == 1).all()
        assert (plain.temperature.greedy(intervals) == 1).all()
    assert trained(plain, [1.0]).eval_return == pytest.approx(best_return(N, N))
    # A space without temperatures is the same problem with and without it.
    settings = {"x0": 0.3, "c0": "b"}
    assert train(deceptive, None, settings, 50).returns == train(plain, None, settings, 50).returns


def test_greed_costs_more_the_more_deceptive_and_the_shorter_the_interval():
    def share(deception, intervals):
        temperature = Temperature(5.0, 0.1, deception, 0.1)
        return float(
            temperature.final_return(temperature.greedy(intervals)) / temperature.final_return(temperature.best(100))
        )

    shares = np.array([[share(deception, intervals) for intervals in (20, 10, 5)] for deception in (0, 0.25, 0.5)])
    assert shares[0] == pytest.approx(1.0)
    assert (np.diff(shares[1:], axis=1) > 0).all()
    assert (np.diff(shares, axis=0) < 0).all()
    assert shares[2, 0] < 0.5


def test_when_to_cool_down_depends_on_the_context():
    drops = [int(Temperature(5.0, 0.1, 0.5, cooling).best(N).sum()) for cooling in (0.0, 0.05, 0.1, 0.2)]
    assert drops == sorted(drops, reverse=True)
    assert drops[0] == 99
    assert drops[-1] < 60


def test_several_temperatures_count_as_their_mean():
    learner = make({"deception": 0.5})
    one, two = {"x0": 0.4, "t0": 0.5}, {"x0": 0.4, "t0": 0.8, "t1": 0.2}
    assert train(learner, None, one, 30).eval_return == pytest.approx(train(learner, None, two, 30).eval_return)


def test_a_student_begins_with_its_teachers_heat():
    """So that no new agent is cold with what a hot one has learned."""
    learner = make({"deception": 0.5}, regain=1e6)
    hot = trained(learner, [1.0])
    young = {"x0": 0.5, "t0": 1.0}
    taught = learner.train(interval(young, 1, start_steps=N), None, Teacher(hot.state, young, 0, 50))
    assert float(taught.state["heat"]) == pytest.approx(learner.temperature.heat(float(hot.state["heat"]), 1.0, 1 / N))


def test_another_agent_with_the_same_progress_gets_another_draw_of_the_noise():
    learner = make({"noise": 0.1, "deception": 0.0})
    states = [{"progress": np.array(1.0), "heat": np.array(heat)} for heat in (0.0, 0.5, 0.5)]
    cold, hot, again = (learner.evaluate(state, {}, 3, 1) for state in states)
    assert cold != hot == again


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, writes):
    """Heat, too, is in the checkpoints."""
    monkeypatch.chdir(tmp_path)
    command = ["experiment=synthetic_deceptive", "method=pbt", "learner.instance=3", "budget.interval=50"]
    whole = metapbt.run([*command, "results_dir=whole"])
    assert whole.path.as_posix() == "whole/synthetic/noise=0.02,deception=0.5/pbt/seed_0"
    writes.kill_before(12, lambda: metapbt.run([*command, "results_dir=killed"]))
    killed = metapbt.run([*command, "results_dir=killed"])
    assert killed.records.drop(columns="wall_seconds").equals(whole.records.drop(columns="wall_seconds"))


def test_the_space_and_the_setting_are_checked():
    space = Space(OmegaConf.to_container(compose(["env=synthetic", "space=synthetic_deceptive"]).space))
    make().check(space)
    with pytest.raises(MetapbtError, match="space.t0 must be a float from 0 to 1"):
        make().check(Space({"t0": {"type": "float", "low": 0.0, "high": 2.0}}))
    with pytest.raises(MetapbtError, match=r"learner.cold must be in \[0, 1\), got 1"):
        make(cold=1)
