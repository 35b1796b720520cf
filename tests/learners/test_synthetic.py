"""The synthetic problem against its own formulas: what is best is known, so every answer is."""

import subprocess
import sys

import numpy as np
import pytest
from learner_intervals import made, train
from omegaconf import OmegaConf

import metapbt
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.learners.problems.synthetic import CHOICES, SyntheticLearner, best_return, true_return
from metapbt.space import Space

NUMBERS = [f"x{i}" for i in range(3)]
MIXED = [*NUMBERS, "c0", "c1"]


def make(context=None, **settings):
    return made(SyntheticLearner, "synthetic", settings, context=context, budget=100)


def follow(learner, names, interval, steps=100):
    """Train with the optimum at the middle of every interval."""
    training = None
    for step in range(0, steps, interval):
        training = train(learner, training, learner.optimum(step + (interval - 1) // 2, names), interval)
    return training


@pytest.mark.parametrize("names", [["x0"], ["c0"], MIXED, [f"x{i}" for i in range(20)]])
@pytest.mark.parametrize("context", [{}, {"shift": 1.7}, {"mislead": 1.0}, {"mislead": 0.3}])
@pytest.mark.parametrize("instance", [0, 1])
def test_the_optimal_schedule_reaches_the_best_return(names, context, instance):
    learner = make(context, instance=instance, speed=2.0)
    for steps in (1, 50, 100):
        reached = follow(learner, names, interval=1, steps=steps)
        assert reached.returns == (reached.eval_return,)
        assert reached.eval_return == pytest.approx(best_return(steps, 100, speed=2.0))
    assert best_return(100, 100, speed=2.0) == pytest.approx(1 - np.exp(-2))
    # Hyperparameters that hold for an interval come close to it.
    assert best_return(100, 100, 2.0) * 0.99 < follow(learner, names[:3], interval=10).eval_return


def test_nothing_is_better_than_the_optimum():
    rng, learner, space = np.random.default_rng(0), make(), Space(composed_space("synthetic_mixed"))
    drawn = [space.sample(rng) for _ in range(2000)]
    rates = np.array([learner.rates(h, np.array([0, 37, 99])) for h in drawn])
    assert (rates > 0).all()
    assert (rates < 1).all()
    assert max(train(learner, None, h, 100).eval_return for h in drawn) < best_return(100, 100)


def test_the_rate_falls_with_the_mean_squared_distance():
    learner = make(width=0.1)
    best = learner.optimum(0, NUMBERS)
    away = {name: value + 0.1 for name, value in best.items()}
    assert learner.rates(away, np.array([0])) == pytest.approx(np.exp(-1 / 2))
    assert learner.rates({**best, "x1": away["x1"]}, np.array([0])) == pytest.approx(np.exp(-1 / 6))
    training = train(learner, None, away, 1)
    assert training.eval_return == pytest.approx(1 - np.exp(-5 / 100 * np.exp(-1 / 2)))


@pytest.mark.parametrize("wrong", [0, 0.25, 1.0])
def test_every_wrong_category_multiplies_the_rate(wrong):
    learner = make(wrong=wrong)
    best = learner.optimum(5, MIXED)
    for j in (0, 1):
        others = set(CHOICES) - {best[f"c{j}"]}
        assert [learner.rates({**best, f"c{j}": c}, np.array([5]))[0] for c in others] == [wrong] * 3
    other = {name: next(c for c in CHOICES if c != best[name]) for name in ("c0", "c1")}
    assert learner.rates({**best, **other}, np.array([5])) == [wrong**2]


def test_drift_moves_the_optimum_and_no_drift_holds_it():
    numbers = [f"x{i}" for i in range(50)]

    def moved(drift):
        learner = make(drift=drift)
        first, last = learner.optimum(0, numbers), learner.optimum(100, numbers)
        return np.array([last[name] - first[name] for name in numbers])

    assert (moved(0.0) == 0).all()
    assert (moved(0.2) != 0).all()
    assert 0.5 < np.abs(moved(1.0)).max() <= 0.4 * np.sqrt(2)  # a quarter turn, at most across the top of the sine
    assert set(np.sign(moved(1.0))) == {-1.0, 1.0}
    names = [f"c{j}" for j in range(20)]
    for before, after in zip(*(make().optimum(step, names).values() for step in (0, 100)), strict=True):
        assert CHOICES.index(after) == (CHOICES.index(before) + 1) % 4
    with_drift, without = make(drift=1.0), make(drift=0.0)
    fixed = with_drift.optimum(0, NUMBERS)
    assert train(without, None, fixed, 100).eval_return == pytest.approx(best_return(100, 100))
    assert train(with_drift, None, fixed, 100).eval_return < 0.9 * best_return(100, 100)


def test_near_contexts_have_near_optima():
    names = [f"x{i}" for i in range(50)]

    def distance(a, b):
        ends = [np.array(list(make({"shift": shift}).optimum(0, names).values())) for shift in (a, b)]
        return float(np.abs(ends[0] - ends[1]).mean())

    assert distance(0.5, 0.5) == 0
    assert 0 < distance(0.5, 0.51) < 0.01
    assert distance(0.5, 0.51) < distance(0.5, 0.6) < distance(0.5, 1.0) < distance(0.5, 1.5)


def test_a_quarter_turn_of_the_context_moves_every_best_choice_and_two_mirror_every_number():
    names = [f"c{j}" for j in range(20)]
    near, far = (make({"shift": shift}).optimum(0, names).values() for shift in (0.3, 1.3))
    assert [(CHOICES.index(b) - CHOICES.index(a)) % 4 for a, b in zip(near, far, strict=True)] == [1] * 20
    near, far = (make({"shift": shift}).optimum(0, NUMBERS).values() for shift in (0.0, 2.0))
    assert [a + b for a, b in zip(near, far, strict=True)] == pytest.approx([1.0] * 3)


def test_numbers_turn_one_way_or_the_other_with_time_and_with_the_context_independently():
    names = [f"x{i}" for i in range(50)]
    start, later, elsewhere = (
        np.array(list(make({"shift": shift}).optimum(step, names).values()))
        for step, shift in ((0, 0.5), (1, 0.5), (0, 0.51))
    )
    alike = np.sign(later - start) == np.sign(elsewhere - start)
    assert 10 < alike.sum() < 40


def test_a_misleading_context_mirrors_the_optimum():
    related, misleading = make(), make({"mislead": 1.0})
    for step in (0, 60):
        good, bad = related.optimum(step, MIXED), misleading.optimum(step, MIXED)
        assert [good[name] + bad[name] for name in NUMBERS] == pytest.approx([1.0] * 3)
        assert [(CHOICES.index(bad[c]) - CHOICES.index(good[c])) % 4 for c in ("c0", "c1")] == [2, 2]
        assert list(make({"mislead": 0.5}).optimum(step, NUMBERS).values()) == pytest.approx([0.5] * 3)
    # With fifty numbers, some are in the middle and lose nothing by the mirror, others are at the edge.
    many = [f"x{i}" for i in range(50)]
    assert misleading.rates(related.optimum(0, many), np.array([0])) < 0.1


def test_instances_are_different_problems_and_names_keep_theirs():
    assert make(instance=1).optimum(0, ["x0"]) != make(instance=2).optimum(0, ["x0"])
    learner = make()
    assert learner.optimum(0, MIXED).items() >= learner.optimum(0, ["x1", "c1"]).items()


def test_noise_is_in_the_returns_and_not_in_the_state():
    settings = {"x0": 0.5, "c0": "a"}
    quiet, noisy = make(), make({"noise": 0.1})
    plain = train(quiet, None, settings, 10, seed=1, evaluation_seed=2)
    first = train(noisy, None, settings, 10, seed=1, evaluation_seed=2)
    assert first.state == plain.state
    assert plain.returns == (plain.eval_return,)
    assert plain.eval_return == true_return(float(plain.state["progress"]))
    assert len({plain.eval_return, first.eval_return, *first.returns}) == 3
    assert train(noisy, None, settings, 10, seed=1, evaluation_seed=2) == first
    other_seed = train(noisy, None, settings, 10, seed=5, evaluation_seed=2)
    assert (other_seed.returns != first.returns) & (other_seed.eval_return == first.eval_return)
    other_evaluation = train(noisy, None, settings, 10, seed=1, evaluation_seed=6)
    assert (other_evaluation.returns == first.returns) & (other_evaluation.eval_return != first.eval_return)


def test_noise_has_the_deviation_asked_for_and_differs_between_agents():
    noisy = make({"noise": 0.1})
    trainings = [train(noisy, None, {"x0": i / 500}, 10, seed=i, evaluation_seed=7) for i in range(500)]
    true = np.array([true_return(float(t.state["progress"])) for t in trainings])
    in_training = np.array([t.returns[0] for t in trainings]) - true
    in_evaluation = np.array([t.eval_return for t in trainings]) - true
    for noise in (in_training, in_evaluation):
        assert noise.std() == pytest.approx(0.1, rel=0.1)
        assert abs(noise.mean()) < 0.02
    assert abs(np.corrcoef(in_training, in_evaluation)[0, 1]) < 0.15


def test_intervals_add_up_to_the_whole():
    settings = {"x0": 0.3, "x1": 0.9, "c0": "b"}
    learner = make()
    both = train(learner, train(learner, None, settings, 50), settings, 50)
    whole = train(learner, None, settings, 100)
    assert both.env_steps == 100
    assert both.eval_return == pytest.approx(whole.eval_return, rel=1e-12)


def composed_space(name):
    return OmegaConf.to_container(compose(["env=synthetic", f"space={name}"]).space)


@pytest.mark.parametrize("space", ["synthetic", "synthetic_mixed", "synthetic_deceptive", "synthetic_bg_pbt"])
def test_the_shipped_choices_run(space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["env=synthetic", f"space={space}", "method=pbt", "budget.steps=30", "context.shift=0.7"]
    run = metapbt.run([*command, "context.noise=0.05", "learner.instance=3"])
    assert run.path.as_posix() == "results/synthetic/shift=0.7,noise=0.05/pbt/seed_0"
    assert len(run.records) == 12


def test_the_shipped_settings_are_the_learners_own():
    settings = OmegaConf.to_container(compose(["env=synthetic"]).learner)
    assert settings.pop("name") == "synthetic"
    assert vars(make(**settings)) == vars(make())
    assert best_return(100, 100) == best_return(100, 100, settings["speed"])


def test_it_needs_no_torch():
    program = "import sys, metapbt.learners.problems.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 1}, "unknown setting of learner synthetic 'widht'; did you mean 'width'"),
        ({"width": 0}, "learner.width must be > 0, got 0"),
        ({"speed": -1}, "learner.speed must be > 0, got -1"),
        ({"drift": -0.5}, "learner.drift must be >= 0, got -0.5"),
        ({"wrong": 2}, r"learner.wrong must be in \[0, 1\], got 2"),
        ({"instance": 1.5}, "learner.instance must be a whole number >= 0, got 1.5"),
        ({"drift": "fast"}, "learner.drift must be a number, got 'fast'"),
        ({"drift": float("nan")}, "learner.drift must be a number, got nan"),
        ({"floor": 1.5}, r"learner.floor must be in \[0, 1\], got 1.5"),
        ({"regain": -1}, "learner.regain must be >= 0, got -1"),
        ({"distillation": {"start": 2}}, r"learner.distillation.start must be in \[0, 1\], got 2"),
        ({"distillation": {"strat": 1}}, "'distillation.strat'; did you mean 'distillation.start'"),
        ({"distillation": 1}, "learner.distillation must have start and end, got 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(MetapbtError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": {"type": "float", "low": 0.0, "high": 1.0}}, "unknown hyperparameter of learner synthetic 'lr'"),
        ({"x1": {"type": "float", "low": 0.0, "high": 1.0}}, "'x1'; did you mean 'x0'"),
        ({"x0": {"type": "float", "low": 0.0, "high": 2.0}}, "space.x0 must be a float from 0 to 1"),
        ({"x0": {"type": "int", "low": 0, "high": 1}}, "space.x0 must be a float from 0 to 1"),
        (
            {"c0": {"type": "categorical", "choices": ["a", "b"]}},
            r"space.c0 must be a category that chooses from \[a, b, c, d\]",
        ),
        ({"i0": {"type": "int", "low": 0, "high": 12}}, "space.i0 must be an int from 0 to 10"),
        ({"i0": {"type": "float", "low": 0, "high": 10}}, "space.i0 must be an int from 0 to 10"),
        ({"a0": {"type": "int", "low": 0, "high": 4}}, "space.a0 must be an int from 0 to 4 with role: architecture"),
        (
            {"x0": {"type": "float", "low": 0, "high": 1, "role": "architecture"}},
            "space.x0 must be a float from 0 to 1",
        ),
    ],
)
def test_a_space_that_does_not_fit_is_named(space, message):
    with pytest.raises(MetapbtError, match=message):
        make().check(Space(space))


def test_only_its_own_environment():
    with pytest.raises(MetapbtError, match="learner=synthetic trains env=synthetic only, got env=cart_pole"):
        made(SyntheticLearner, "cart_pole", {})
