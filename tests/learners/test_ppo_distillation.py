"""Students of learner=ppo: what they learn from a teacher, and how much, and that it helps."""

import math

import numpy as np
import pytest
import torch
from learner_intervals import interval, made, train
from test_ppo_update import DEFAULTS, INPUTS, arrays, coefficients, random_samples, sb3, sb3_loss
from torch.distributions import Categorical, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from metapbt.errors import MetapbtError
from metapbt.jax_backend import jax
from metapbt.learners.base import Teacher, Training
from metapbt.learners.normalise import RunningMoments
from metapbt.learners.ppo import PPOLearner
from metapbt.learners.ppo import learner as module
from metapbt.learners.ppo.distillation import Lesson, kl_divergence
from metapbt.learners.ppo.network import Network
from metapbt.learners.ppo.teaching import reward_unit
from metapbt.learners.ppo.update import loss

SMALL = {"n_steps": 25, "batch_size": 20, "n_epochs": 2}
TEACHERS = {"network.policy.layers": 1, "network.policy.width": 24, "network.value.width": 20}
STUDENTS = {"network.policy.width": 8, "network.policy.activation": "silu", "network.value.layers": 1}


def learner(env="cart_pole", hyperparameters=None, network=None, **settings):
    given = {"n_envs": 4, "hyperparameters": {**SMALL, **(hyperparameters or {})}, "network": network or {}}
    return made(PPOLearner, env, {**given, **settings}, budget=10_000)


def taught(one, teacher, hyperparameters=None, start=None, steps=200, **others):
    training = isinstance(start, Training)
    others.setdefault("start_steps", start.env_steps if training else 500)
    return one.train(interval(hyperparameters, steps, **others), start.state if training else start, teacher)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


def distribution(outputs, log_std=None):
    if log_std is None:
        return Categorical(logits=outputs)
    return Independent(Normal(outputs, torch.exp(log_std) * torch.ones_like(outputs)), 1)


def drawn(continuous, seed, size=40):
    rng = np.random.default_rng(seed)
    outputs = 2 * rng.standard_normal((size, 2 if continuous else 3)).astype(np.float32)
    return outputs, rng.standard_normal(outputs.shape[1]).astype(np.float32)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_divergence_and_its_gradient_are_those_of_torch(continuous):
    network = Network(INPUTS, 2 if continuous else 3, continuous)
    (outputs, log_std), (teachers, teachers_log_std) = drawn(continuous, 0), drawn(continuous, 1)

    def ours(outputs, log_std):
        return kl_divergence(network, {"log_std": log_std}, outputs, teachers, teachers_log_std)

    s, s_log_std, t, t_log_std = (torch.tensor(x) for x in (outputs, log_std, teachers, teachers_log_std))
    s.requires_grad_()
    s_log_std.requires_grad_()
    student = distribution(s, s_log_std if continuous else None)
    expected = torch_kl(distribution(t, t_log_std if continuous else None), student)
    np.testing.assert_allclose(ours(outputs, log_std), expected.detach(), rtol=1e-4, atol=1e-5)
    assert expected.min() > 1e-3
    expected.sum().backward()
    gradients = jax.grad(lambda *student: ours(*student).sum(), argnums=(0, 1))(outputs, log_std)
    np.testing.assert_allclose(gradients[0], s.grad, rtol=1e-4, atol=1e-5)
    if continuous:
        np.testing.assert_allclose(gradients[1], s_log_std.grad, rtol=1e-4)


def test_the_divergence_is_what_numerical_integration_gives():
    """Of the teacher from the student, not the other way round."""
    network, x = Network(INPUTS, 1, True), np.linspace(-20, 20, 200_001)
    (mean, log_std), (teachers_mean, teachers_log_std) = (0.3, 0.4), (-0.5, -0.2)

    def log_density(mean, log_std):
        return -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi)

    p, q = log_density(teachers_mean, teachers_log_std), log_density(mean, log_std)
    expected = np.trapezoid(np.exp(p) * (p - q), x)
    found = kl_divergence(
        network,
        {"log_std": np.float32([log_std])},
        np.float32([[mean]]),
        np.float32([[teachers_mean]]),
        np.float32([teachers_log_std]),
    )
    assert found.tolist() == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_students_loss_and_gradients_are_those_of_torch(continuous):
    model, network = sb3(continuous), Network(INPUTS, 2 if continuous else 3, continuous, (16, 8), (16, 8))
    given = {**DEFAULTS, "ent_coef": 0.1}
    rng = np.random.default_rng(1)
    samples = random_samples(continuous, rng)
    teachers, teachers_log_std = drawn(continuous, 2, len(samples.values))
    values = rng.standard_normal(len(samples.values)).astype(np.float32)
    lesson = Lesson(None, None, teachers_log_std, np.float32(3.0), np.float32(0.7))
    (total, _), gradients = jax.value_and_grad(loss, has_aux=True)(
        arrays(model),
        network,
        samples._replace(teacher_outputs=teachers, teacher_values=values),
        coefficients(**given),
        True,
        None,
        lesson,
    )
    expected, _ = sb3_loss(model, samples, given, True)
    student = model.policy.get_distribution(torch.tensor(samples.observations)).distribution
    log_std = torch.tensor(teachers_log_std) if continuous else None
    student = Independent(student, 1) if continuous else student
    expected = expected + 3.0 * torch_kl(distribution(torch.tensor(teachers), log_std), student).mean()
    predicted = model.policy.predict_values(torch.tensor(samples.observations)).flatten()
    expected = expected + 0.7 * ((predicted - torch.tensor(values)) ** 2).mean()
    expected.backward()
    assert float(total) == pytest.approx(expected.item(), rel=1e-5)
    for name, array in arrays(model, lambda parameter: parameter.grad).items():
        np.testing.assert_allclose(gradients[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def spied(monkeypatch):
    """The lessons of all updates from now on."""
    lessons, update = [], module.update
    monkeypatch.setattr(module, "update", lambda *a, **k: (lessons.append(a[6]), update(*a, **k))[1])
    return lessons


def test_the_teachers_weight_falls_over_the_students_own_steps(monkeypatch):
    lessons, one = spied(monkeypatch), learner(distillation={"policy": 4.0, "value": 2.0, "start": 1.0, "end": 0.25})
    state = train(one, None, {}, 100).state
    assert lessons == [None]
    lessons.clear()
    first = taught(one, Teacher(state, {}, 0, 400), start_steps=1000, steps=300)
    assert first.env_steps == 1300
    taught(one, Teacher(state, {}, 300, 400), start=first, steps=300)
    weights = [float(lesson.policy_weight) for lesson in lessons]
    assert weights == pytest.approx([4, 3.25, 2.5, 1.75, 1, 1])
    assert [float(lesson.value_weight) for lesson in lessons] == pytest.approx([w / 2 for w in weights])


@pytest.mark.parametrize("env", ["cart_pole", "bipedal_walker"])
def test_a_teacher_with_another_network_is_asked_about_what_its_student_sees(env, monkeypatch):
    """Its own normaliser, as it was at the end of its training, looks at the raw observations."""
    one = learner(env, normalise_observations=True, distillation={"offer_moments": False})
    teacher = train(one, None, TEACHERS, 400, seed=3)
    lessons, rollouts, collect = spied(monkeypatch), [], module.Runner.collect

    def seen(runner, *arguments):
        rollouts.append((collect(runner, *arguments), runner.raw.copy()))
        return rollouts[-1][0]

    monkeypatch.setattr(module.Runner, "collect", seen)
    student = taught(one, Teacher(teacher.state, TEACHERS, 0, 100), STUDENTS)
    assert student.state["policy/0/kernel"].shape[1] == 8
    assert "policy/1/kernel" in teacher.state
    assert "policy/2/kernel" not in teacher.state
    policy = one.policy(teacher.state, TEACHERS)
    for lesson, (rollout, raw) in zip(lessons, rollouts, strict=True):
        assert (lesson.outputs.shape[:2], lesson.values.shape) == ((32, 4), (32, 4))
        assert not lesson.outputs[25:].any()
        assert not np.allclose(rollout.observations[:25], raw, atol=0.1)
        for t, i in ((0, 0), (13, 2), (24, 3)):
            best, act = lesson.outputs[t, i], policy.act(raw[t, i])
            assert (best.argmax() == act) if env == "cart_pole" else np.allclose(np.clip(best, -1, 1), act, atol=1e-6)


def test_a_new_student_begins_with_its_teachers_moments_if_it_may():
    settings = {"normalise_observations": True, "normalise_returns": True}
    one, none = learner(**settings), learner(**settings, distillation={"offer_moments": False})
    state = train(one, None, TEACHERS, 600).state
    teacher = Teacher(state, TEACHERS, 0, 1000)
    offered, not_offered = (taught(which, teacher, STUDENTS, steps=100).state for which in (one, none))
    assert offered["observations/count"] == pytest.approx(state["observations/count"] + 104)
    assert offered["returns/count"] == pytest.approx(state["returns/count"] + 100)
    assert not_offered["observations/count"] == pytest.approx(104, abs=0.01)
    # Later it goes on with its own.
    again = taught(one, Teacher(state, TEACHERS, 100, 1000), STUDENTS, not_offered, steps=100).state
    assert again["observations/count"] == pytest.approx(not_offered["observations/count"] + 100)


def test_values_are_in_units_of_the_students_own_rewards(monkeypatch):
    """A teacher whose rewards were ten times as large has values ten times as large."""
    one = learner()
    state, lessons = train(one, None, {}, 100).state, spied(monkeypatch)
    for of_teacher, of_student in ((1.0, 1.0), (10.0, 1.0), (10.0, 5.0)):
        taught(one, Teacher(state, {"reward_scale": of_teacher}), {"reward_scale": of_student}, steps=100)
    same_units, smaller, half = (lesson.values for lesson in lessons)
    np.testing.assert_allclose(10 * smaller, same_units, rtol=1e-5)
    np.testing.assert_allclose(2 * half, same_units, rtol=1e-5)
    moments = RunningMoments(())
    moments.update(np.array([-3.0, 3.0, -3.0, 3.0]))
    assert reward_unit({"reward_scale": 6.0}, moments) == pytest.approx(2, rel=1e-3)
    assert reward_unit({"reward_scale": 6.0}, None) == 6


def test_scaled_rewards_are_what_is_learned_from_but_not_what_is_reported():
    one = learner(normalise_advantages=False)
    plain, scaled = (train(one, None, {"reward_scale": scale, "vf_coef": 0.0}, 100) for scale in (1.0, 1e-3))
    assert plain.returns == scaled.returns
    assert not np.array_equal(plain.state["policy/0/kernel"], scaled.state["policy/0/kernel"])


def test_a_teacher_that_weighs_nothing_changes_nothing():
    """Bit by bit; its moments are no matter of weight."""
    settings = {"normalise_observations": True, "normalise_returns": True}
    for without in ({"start": 0.0, "end": 0.0}, {"policy": 0.0, "value": 0.0}):
        one = learner(**settings, distillation={**without, "offer_moments": False})
        state = train(one, None, TEACHERS, 200, seed=5).state
        with_teacher = taught(one, Teacher(state, TEACHERS, 0, 100), STUDENTS)
        alone = train(one, None, STUDENTS, 200, start_steps=500)
        assert same(with_teacher.state, alone.state)
        assert with_teacher.returns == alone.returns
    heavy = taught(learner(**settings, distillation={"offer_moments": False}), Teacher(state, TEACHERS), STUDENTS)
    assert not same(heavy.state, alone.state)


def test_a_student_goes_on_from_a_file_with_the_same_bits(tmp_path):
    settings = {"normalise_observations": True, "normalise_returns": True}
    one = learner(**settings)
    state = train(one, None, TEACHERS, 400, seed=5).state
    before = {name: array.copy() for name, array in state.items()}
    first = taught(one, Teacher(state, TEACHERS, 0, 400), STUDENTS, seed=1)
    second = taught(one, Teacher(state, TEACHERS, 200, 400), STUDENTS, first, seed=2)
    for name, saved in (("teacher", state), ("student", first.state)):
        np.savez(tmp_path / f"{name}.npz", **saved)
    other = learner(**settings)
    teacher, student = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("teacher", "student"))
    again = taught(other, Teacher(teacher, TEACHERS, 200, 400), STUDENTS, student, start_steps=700, seed=2)
    assert same(again.state, second.state)
    assert (again.returns, again.eval_return) == (second.returns, second.eval_return)
    assert same(state, before)
    without = one.train(interval(STUDENTS, 200, start_steps=700, seed=2), student, None)
    assert not same(without.state, second.state)


def test_a_rollout_of_a_student_may_be_of_any_length():
    one, state = learner("bipedal_walker"), None
    for n_steps in (25, 30):
        hyperparameters = {"n_steps": n_steps, "batch_size": 30}
        state = state or train(one, None, {}, 100).state
        student = taught(one, Teacher(state, {}), hyperparameters, steps=4 * n_steps)
        assert all(np.isfinite(array).all() for array in student.state.values())


def test_a_student_learns_to_balance_the_pole_sooner_than_without_a_teacher():
    settings = {"n_envs": 8, "hyperparameters": {"learning_rate": 1e-3}}
    one = made(PPOLearner, "cart_pole", settings, budget=30_000, length=8000)
    teacher = None
    for number in range(3):
        teacher = train(one, teacher, TEACHERS, 8000, seed=number, evaluation_seed=7, episodes=10)
    assert teacher.eval_return > 400
    said = Teacher(teacher.state, TEACHERS, 0, 3000)
    given = {"steps": 3000, "start_steps": 24_000, "evaluation_seed": 7, "episodes": 10}
    students, alone = (
        [taught(one, who, STUDENTS, seed=10 + i, **given).eval_return for i in range(6)] for who in (said, None)
    )
    assert np.mean(students) > np.mean(alone) + 100, (students, alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"polcy": 1}, "unknown key of learner.distillation 'polcy'; did you mean 'policy'"),
        ({"policy": -1}, "learner.distillation.policy must be a number >= 0, got -1"),
        ({"end": "0"}, "learner.distillation.end must be a number >= 0, got '0'"),
        ({"value": math.inf}, "learner.distillation.value must be a number >= 0, got inf"),
        ({"offer_moments": 1}, "learner.distillation.offer_moments must be true or false, got 1"),
    ],
)
def test_bad_settings_are_named(given, message):
    with pytest.raises(MetapbtError, match=message):
        learner(distillation=given)


def test_a_teacher_that_does_not_fit_its_hyperparameters_is_refused():
    one = learner()
    state = train(one, None, TEACHERS, 100).state
    with pytest.raises(MetapbtError, match="the checkpoint does not fit the network of its hyperparameters"):
        taught(one, Teacher(state, {}), STUDENTS)
    with pytest.raises(MetapbtError, match="lacks 'observations/mean'"):
        taught(learner(normalise_observations=True), Teacher(state, TEACHERS), STUDENTS)
