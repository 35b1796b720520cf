"""MuJoCo's bodies: Gymnasium's own where nothing is changed, and changed where a context says so."""

import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from env_trajectories import steps
from gymnasium.utils.env_checker import check_env

import metapbt
from metapbt.envs import get_environment, make_env
from metapbt.envs.batches import make_batch, why_anew
from metapbt.envs.bodies import MUJOCO_IDS

pytestmark = pytest.mark.brax
mujoco = pytest.importorskip("mujoco")

NAMES = list(MUJOCO_IDS.values())
FEATURES = [(name, feature) for name in NAMES for feature in get_environment(name).features]


@pytest.fixture
def warned(caplog):
    """What MuJoCo complains of."""
    return lambda: [line.message for line in caplog.records if line.message.startswith("MuJoCo: ")]


@pytest.mark.parametrize("name", NAMES)
def test_the_default_is_gymnasiums_bit_by_bit(name):
    theirs, ours = gymnasium.make(name, disable_env_checker=True), make_env(name)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    assert list(steps(ours, 0, 200)) == list(steps(theirs, 0, 200))


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize(("name", "feature"), FEATURES, ids=[f"{name}-{f.name}" for name, f in FEATURES])
def test_every_feature_counts_and_works_at_both_ends_of_its_range(name, feature, end, warned):
    value = getattr(feature, end)
    if value == feature.default:
        return
    env, default = make_env(name, **{feature.name: value}), make_env(name)
    shown, unchanged = list(steps(env, 0, 100)), list(steps(default, 0, 100))
    if feature.name == "object_mass":  # that nobody pushes meanwhile
        assert env.unwrapped.model.body("object").mass == value * default.unwrapped.model.body("object").mass
    else:
        assert shown != unchanged
    assert all(np.isfinite(np.frombuffer(step[0])).all() for step in shown)
    assert warned() == []


def test_features_change_the_model_as_their_names_say():
    model = make_env("Humanoid-v5").unwrapped.model
    context = {"gravity": -3.0, "friction": 2.0, "mass": 1.5, "leg_mass": 2.0, "joint_strength": 0.5, "armature": 3.0}
    changed = make_env("Humanoid-v5", **context).unwrapped.model
    assert list(changed.opt.gravity) == [0, 0, -3]
    np.testing.assert_allclose(changed.geom_friction, model.geom_friction * [2, 1, 1])
    np.testing.assert_allclose(changed.actuator_gear, model.actuator_gear * 0.5)
    np.testing.assert_allclose(changed.dof_armature, model.dof_armature * 3)
    for part, factor in (("torso", 1.5), ("left_foot", 3.0), ("right_lower_arm", 1.5)):
        assert changed.body(part).mass == pytest.approx(model.body(part).mass * factor)
        np.testing.assert_allclose(changed.body(part).inertia, model.body(part).inertia * factor)
    # What MuJoCo derives follows.
    assert changed.body("world").subtreemass == pytest.approx(changed.body_mass.sum())
    assert changed.body("torso").invweight0[0] < model.body("torso").invweight0[0]


@pytest.mark.parametrize("name", NAMES)
def test_episodes_go_on(name):
    context = {"mass": 1.5}
    assert why_anew(name, context) is None
    rng = np.random.default_rng(0)
    batch = make_batch(name, context, num_envs=2)
    batch.reset(lambda place, count: 10 * place + count)
    actions = rng.uniform(-1, 1, (80, 2, *batch.action_space.shape)).astype(np.float32)
    for action in actions[:60]:
        batch.step(action)
    again = make_batch(name, context, num_envs=2)
    again.reset(lambda place, count: 500 + place, batch.under_way())
    ended = np.zeros(2, bool)
    for action in actions[60:]:
        one, other = batch.step(action), again.step(action)
        np.testing.assert_array_equal(one.rewards[~ended], other.rewards[~ended])
        np.testing.assert_array_equal(one.final_observations[~ended], other.final_observations[~ended])
        ended |= one.terminated | one.truncated


@pytest.mark.parametrize("name", ["Ant-v5", "Pusher-v5"])
def test_gymnasiums_checker_passes(name):
    check_env(make_env(name, mass=1.5).unwrapped, skip_render_check=True)


def test_a_context_survives_pickling():
    env = make_env("Hopper-v5", gravity=-5.0, foot_mass=2.0)
    assert list(steps(pickle.loads(pickle.dumps(env)), 0, 100)) == list(steps(env, 0, 100))


def test_gymnasium_makes_contexts_by_our_ids():
    metapbt.register_envs()
    by_id = gymnasium.make("metapbt/Hopper-v5", gravity=-5.0)
    assert list(steps(by_id, 0, 100)) == list(steps(make_env("Hopper-v5", gravity=-5.0), 0, 100))


def test_mujoco_leaves_no_log_behind(tmp_path):
    code = "import metapbt; env = metapbt.make_env('HalfCheetah-v5'); env.reset(); print(env.step([0.0] * 6)[2])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr, list(tmp_path.iterdir())) == ("False\n", "", [])


def test_a_body_is_trained_by_its_name(tmp_path):
    run = metapbt.run([
        "env=Hopper-v5", "context.gravity=-7", "population.size=2", "budget.steps=512", "budget.interval=256",
        "evaluation.episodes=1", "evaluation.test_episodes=1", "learner.n_envs=2", "executor=inline",
        "learner.hyperparameters.batch_size=64", f"results_dir={tmp_path}",
    ])  # fmt: skip
    assert run.path.relative_to(tmp_path).as_posix() == "Hopper-v5/gravity=-7/pb2/seed_0"
    assert set(run.records["context.gravity"]) == {-7.0}
    assert (run.records["train_return"] > 0).all()
