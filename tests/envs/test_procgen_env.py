"""Procgen's games do what OpenAI's own do: levels, rewards, ends and pictures; needs the extra ``metapbt[procgen]``."""

import importlib
import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metapbt.envs import make_env, register_envs
from metapbt.envs.batches import make_batch
from metapbt.envs.procgen import GAMES
from metapbt.errors import MetapbtError

pytest.importorskip("envpool.procgen.registration", exc_type=ImportError)

#: By tests/data/procgen_original.py.
ORIGINAL = json.loads((Path(__file__).parent.parent / "data" / "procgen_original.json").read_text())
NOTHING = 4


def seeded(first):
    return lambda place, count: first + place


@pytest.mark.parametrize("game", GAMES)
def test_levels_rewards_ends_and_frames_are_the_originals(game):
    for told in ORIGINAL[game]["trajectories"]:
        num_levels, start_level, mode, seed = told["context"]
        context = {"game": game, "num_levels": num_levels, "start_level": start_level, "distribution_mode": mode}
        env = make_env("procgen", render_mode="rgb_array", **context)
        frame, info = env.reset(seed=seed)
        levels, rewards, ends = [info["level_seed"]], [], []
        for step, action in enumerate(np.random.RandomState(seed).randint(15, size=400)):
            if step % 100 == 0:
                # Qt's versions differ in the last bits of a few pixels.
                found = frame.reshape(4, 16, 4, 16, 3).mean((1, 3))
                assert np.abs(found - told["frames"][step // 100]).max() < 1
                assert np.array_equal(env.render(), frame)
            frame, reward, terminated, truncated, info = env.step(action)
            assert not truncated
            if reward:
                rewards.append([step, reward])
            if terminated:
                ends.append(step)
                frame, info = env.reset()
                levels.append(info["level_seed"])
        assert (levels, rewards, ends) == (told["levels"], told["rewards"], told["ends"])


@pytest.mark.parametrize("game", ["leaper", "maze", "miner", "plunder"])
def test_the_clock_ends_an_episode_where_the_originals_does(game):
    batch = make_batch(f"procgen/{game}", {}, 1)
    batch.reset(seeded(7))
    steps, ended = 0, False
    while not ended:
        step = batch.step(np.array([NOTHING]))
        steps, ended = steps + 1, bool(step.terminated[0])
        assert not step.truncated[0]
    assert steps == ORIGINAL[game]["nothing_ends_after"]


def test_a_batch_steps_as_single_environments_do():
    batch, envs = make_batch("procgen/fruitbot", {}, 3), [make_env("procgen/fruitbot") for _ in range(3)]
    assert (batch.observation_space, batch.action_space) == (envs[0].observation_space, envs[0].action_space)
    seen = batch.reset(seeded(11))
    assert (seen.shape, seen.dtype) == ((3, 64, 64, 3), np.uint8)
    for place, env in enumerate(envs):
        assert np.array_equal(env.reset(seed=11 + place)[0], seen[place])
    rng, ended = np.random.default_rng(0), 0
    for _ in range(400):
        actions = rng.integers(15, size=3)
        step = batch.step(actions)
        for place, env in enumerate(envs):
            final, reward, terminated, _, _ = env.step(actions[place])
            assert (reward, terminated) == (step.rewards[place], step.terminated[place])
            first = env.reset()[0] if terminated else final
            if terminated or not step.terminated.any():
                assert np.array_equal(final, step.final_observations[place])
            assert np.array_equal(first, step.observations[place])
            ended += terminated
    assert ended >= 9


def test_the_same_seed_begins_the_same_sequence_of_levels():
    def play(batch):
        seen, rng = [batch.reset(seeded(5)).copy()], np.random.default_rng(1)
        for _ in range(150):
            step = batch.step(rng.integers(15, size=4))
            seen += [step.observations.copy(), step.rewards.copy(), step.terminated.copy()]
        return seen

    batch = make_batch("procgen/starpilot", {}, 4)
    first, again, anew = play(batch), play(batch), play(make_batch("procgen/starpilot", {}, 4))
    assert sum(int(each.sum()) for each in first[3::3]) >= 4
    assert all(map(np.array_equal, first, again))
    assert all(map(np.array_equal, first, anew))
    assert not np.array_equal(batch.reset(seeded(6)), first[0])


@pytest.mark.parametrize(("num_levels", "start_level"), [(3, 0), (50, 200), (1, 2**31 - 2)])
def test_episodes_are_on_the_levels_of_the_context(num_levels, start_level):
    env = make_env("procgen/bossfight", num_levels=num_levels, start_level=start_level)
    seen = {env.reset(seed=seed)[1]["level_seed"] for seed in range(150)}
    seen |= {env.reset()[1]["level_seed"] for _ in range(50)}
    assert seen <= set(range(start_level, start_level + num_levels))
    assert len(seen) > 0.9 * num_levels


def test_all_levels_are_hardly_ever_those_of_training():
    env = make_env("procgen/bossfight", num_levels=0)
    seen = [env.reset(seed=seed)[1]["level_seed"] for seed in range(200)]
    assert len(set(seen)) == 200
    assert not set(seen) & set(range(200))
    assert max(seen) > 2**30


def test_who_rests_is_stepped_no_more_and_the_others_go_on_as_ever():
    resting, whole = make_batch("procgen/starpilot", {}, 4), make_batch("procgen/starpilot", {}, 4)
    for batch in (resting, whole):
        batch.reset(seeded(2))
    which = np.array([True, False, False, True])
    resting.rest(which)
    rng = np.random.default_rng(0)
    for _ in range(200):
        actions = rng.integers(15, size=4)
        some, others = resting.step(actions), whole.step(actions)
        for one, other in zip(some[:4], others[:4], strict=True):
            assert np.array_equal(one[~which], other[~which])
        over = some.terminated
        assert np.array_equal(some.final_observations[over], others.final_observations[over])
        assert not some.rewards[which].any()
        assert not some.terminated[which].any()
    resting.rest(~which)
    assert not resting.step(actions).terminated.any()
    assert np.array_equal(resting.reset(seeded(2)), whole.reset(seeded(2)))


def test_gymnasium_makes_every_game():
    register_envs()
    for game in GAMES:
        env = gymnasium.make(f"metapbt/Procgen{game.capitalize()}-v0", num_levels=7, start_level=40)
        _, info = env.reset(seed=0)
        assert 40 <= info["level_seed"] < 47
    check_env(env.unwrapped, skip_render_check=True)
    with pytest.raises(MetapbtError, match="procgen.num_levels must be in"):
        gymnasium.make("metapbt/ProcgenMaze-v0", num_levels=-1)


def test_a_batch_has_one_context():
    with pytest.raises(MetapbtError, match="one context for all of its environments"):
        make_batch("procgen", [{"game": "maze"}, {"game": "heist"}], 2)
    assert make_batch("procgen", [{}, {"game": "bigfish"}], 2).num_envs == 2


def test_a_library_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("envpool.procgen")]:
        monkeypatch.delitem(sys.modules, name)
    real = importlib.import_module

    def without_gl(name, *package):
        if name.startswith("envpool.procgen"):
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return real(name, *package)

    monkeypatch.setattr("metapbt.envs.procgen_game.import_module", without_gl)
    with pytest.raises(MetapbtError, match=r"apt-get install libgl1 libglib2\.0-0 \(libGL\.so\.1: cannot"):
        make_batch("procgen", {}, 2)


def test_a_seed_of_more_than_32_bits_is_refused_in_one_line():
    with pytest.raises(MetapbtError, match=r"env 'procgen' has seeds from 0 to 4294967295, got 4294967296"):
        make_env("procgen").reset(seed=2**32)
