"""Integers, architectures and teachers of the synthetic problem, against its closed forms."""

import numpy as np
import pytest
from learner_intervals import interval, made, train
from omegaconf import OmegaConf

import metapbt
from metapbt.config import compose
from metapbt.learners.base import Teacher
from metapbt.learners.problems.synthetic import CHOICES, SyntheticLearner, best_return, true_return
from metapbt.space import Space

INTEGERS = ["i0", "i1", "i2"]
ARCHITECTURE = ["a0", "a1", "a2", "a3", "k0", "k1"]
N = 1000


def make(context=None, **settings):
    return made(SyntheticLearner, "synthetic", settings, context=context, budget=N)


@pytest.fixture(scope="module")
def space():
    return Space(OmegaConf.to_container(compose(["env=synthetic", "space=synthetic_bg_pbt"]).space))


def test_the_space_has_nine_tuned_dimensions_and_six_of_the_architecture(space):
    assert space.architecture == tuple(ARCHITECTURE)
    assert len(space) == 15
    assert [p.kind for p in space.parameters[:9]] == ["float"] * 5 + ["int"] * 3 + ["categorical"]


def test_the_best_integer_is_the_one_nearest_to_the_optimum_and_has_a_rate_of_1():
    learner = make()
    for step in (0, 400, 999):
        best = learner.optimum(step, INTEGERS)
        assert all(isinstance(value, int) for value in best.values())
        assert learner.rates(best, np.array([step])) == [1.0]
        # Integers from 0 to 10 count as tenths: all of them two away is a distance of 0.2.
        away = {name: value + (2 if value < 5 else -2) for name, value in best.items()}
        assert learner.rates(away, np.array([step])) == pytest.approx(np.exp(-(0.2**2) / (2 * 0.15**2)))
    steps = np.arange(N)
    moved = np.array([list(learner.optimum(step, INTEGERS).values()) for step in steps])
    assert (np.abs(np.diff(moved, axis=0)) <= 1).all()  # they go from one integer to the next
    assert (np.ptp(moved, axis=0) > 0).any()


def test_numbers_of_both_kinds_share_one_mean():
    learner = make()
    best = learner.optimum(0, ["x0", "i0"])
    away = {**best, "x0": best["x0"] + 0.1}
    assert learner.rates(away, np.array([0])) == pytest.approx(np.exp(-(0.1**2 / 2) / (2 * 0.15**2)))


def test_the_ceiling_is_1_at_the_best_architecture_and_falls_to_the_floor(space):
    learner = make(floor=0.3)
    best = learner.optimum(0, ARCHITECTURE)
    assert learner.ceiling(best) == 1.0
    assert learner.ceiling({"x0": 0.5}) == 1.0  # nothing to choose
    a_step = {**best, "a0": best["a0"] + (1 if best["a0"] < 4 else -1)}
    assert learner.ceiling(a_step) == pytest.approx(0.3 + 0.7 * np.exp(-(0.25**2 / 4) / (2 * 0.25**2)))
    wrong = {**best, "k1": next(c for c in CHOICES if c != best["k1"])}
    assert learner.ceiling(wrong) == pytest.approx(0.3 + 0.7 * 0.5)
    rng = np.random.default_rng(0)
    ceilings = np.array([learner.ceiling(space.sample(rng)) for _ in range(500)])
    assert (ceilings >= 0.3).all()
    assert (ceilings < 1).all()
    assert ceilings.std() > 0.05


def test_the_best_architecture_stands_still_in_time_and_turns_with_the_context():
    learner = make()
    assert learner.optimum(0, ARCHITECTURE) == learner.optimum(999, ARCHITECTURE)
    assert make({"shift": 1.5}).optimum(0, ARCHITECTURE) != learner.optimum(0, ARCHITECTURE)
    mirrored = make({"mislead": 1.0}).optimum(0, ARCHITECTURE)
    for name, value in learner.optimum(0, ARCHITECTURE).items():
        if name[0] == "a":
            assert mirrored[name] == 4 - value
        else:
            assert CHOICES.index(mirrored[name]) == (CHOICES.index(value) + 2) % 4


def test_the_architecture_bounds_the_return_and_not_the_progress(space):
    learner = make()
    rng = np.random.default_rng(1)
    tuned = learner.optimum(0, [name for name in space.names if name not in ARCHITECTURE])
    best, other = learner.optimum(0, ARCHITECTURE), {name: space.sample(rng)[name] for name in ARCHITECTURE}
    trained, bounded = (train(learner, None, {**tuned, **architecture}, 50) for architecture in (best, other))
    assert trained.state == bounded.state
    progress = float(trained.state["progress"])
    assert trained.eval_return == true_return(progress)
    assert bounded.eval_return == true_return(progress, learner.ceiling(other))
    assert bounded.eval_return == pytest.approx(learner.ceiling(other) * trained.eval_return)
    assert learner.evaluate(bounded.state, {**tuned, **other}, 3, 2) == bounded.eval_return


def test_following_the_optimum_on_the_best_architecture_gives_the_best_return(space):
    learner = made(SyntheticLearner, "synthetic", {}, budget=100)
    training = None
    for step in range(100):
        training = train(learner, training, learner.optimum(step, space.names), 1)
    assert training.eval_return == pytest.approx(best_return(100, 100))


def test_a_new_agent_without_a_teacher_begins_with_nothing():
    learner = make()
    old = train(learner, None, learner.optimum(0, ["x0"]), 400)
    young = train(learner, None, learner.optimum(0, ["x0"]), 25)
    assert young.eval_return < old.eval_return / 3


@pytest.mark.parametrize("instance", [0, 4])
def test_a_teachers_progress_comes_back_at_the_known_rate(instance):
    """Wrong categories of wrong=0 let nobody learn by oneself: what comes back is the teacher's alone."""
    learner = make(instance=instance, wrong=0.0, regain=20.0, distillation={"start": 1.0, "end": 0.2})
    right = {learner.optimum(step, ["c0"])["c0"] for step in range(300, 420)}
    wrong = {"c0": next(c for c in CHOICES if c not in right)}
    state = {"progress": np.array(3.0)}
    whole = learner.train(interval(wrong, 120, start_steps=300), None, Teacher(state, wrong, 0, annealed_over=80))
    # 80 weights that fall from 1 towards 0.2, then 40 of 0.2.
    weights = 80 * 1.0 - 0.8 * sum(range(80)) / 80 + 40 * 0.2
    assert float(whole.state["progress"]) == pytest.approx(3.0 * (1 - np.exp(-20.0 * weights / N)))
    # In two intervals it is the same: the weight is a function of the student's own steps.
    first = learner.train(interval(wrong, 30, start_steps=300), None, Teacher(state, wrong, 0, annealed_over=80))
    second = learner.train(
        interval(wrong, 90, start_steps=330), first.state, Teacher(state, wrong, 30, annealed_over=80)
    )
    assert float(second.state["progress"]) == pytest.approx(float(whole.state["progress"]), rel=1e-12)
    # Whose teacher's weight has fallen long ago has it at its end.
    late = learner.train(interval(wrong, 120, start_steps=300), None, Teacher(state, wrong, 500, annealed_over=80))
    assert float(late.state["progress"]) == pytest.approx(3.0 * (1 - np.exp(-20.0 * 120 * 0.2 / N)))


def test_a_student_learns_by_itself_too_and_a_teacher_never_holds_it_back():
    learner = make()
    best = learner.optimum(10, ["x0", "i0", "c0"])
    weak = Teacher({"progress": np.array(0.0)}, best, 0, 100)
    alone = train(learner, None, best, 50)
    taught = learner.train(interval(best, 50), None, weak)
    assert float(taught.state["progress"]) == pytest.approx(float(alone.state["progress"]))
    strong = Teacher({"progress": np.array(1.0)}, best, 0, 100)
    assert taught.eval_return < learner.train(interval(best, 50), None, strong).eval_return


def test_no_student_passes_the_best_possible_return():
    """The teacher has the most progress that there can be, and the student everything right, for ever."""
    learner = made(SyntheticLearner, "synthetic", {"regain": 1e6}, budget=100)
    teacher_steps = 40
    teacher = {"progress": np.array(5.0 * teacher_steps / 100)}
    state = None
    for step in range(teacher_steps, 100):
        best = learner.optimum(step, ["x0", "i0", "c0", *ARCHITECTURE])
        assigned = Teacher(teacher, best, step - teacher_steps, 60)
        training = learner.train(interval(best, 1, start_steps=step), state, assigned)
        state = training.state
        assert training.eval_return <= best_return(step + 1, 100) + 1e-12
    assert training.eval_return == pytest.approx(best_return(100, 100))


def test_more_of_each_kind_do_not_change_the_first_ones(space):
    learner = make()
    assert learner.optimum(7, space.names).items() >= learner.optimum(7, ["i1", "a2", "k0", "x3"]).items()


def test_the_experiment_trains_members_on_architectures_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(["experiment=synthetic_bg_pbt", "method=pbt", "budget.steps=100", "learner.instance=3"])
    assert run.path.as_posix() == "results/synthetic/noise=0.02/pbt/seed_0"
    assert len(run.records) == 4 * 8
    assert len({tuple(run.records[f"hp.{name}"][member] for name in ARCHITECTURE) for member in range(8)}) > 4
