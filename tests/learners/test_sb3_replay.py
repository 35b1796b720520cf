"""Replay buffers go on in buffers of another size or kind, and hold what was seen last."""

import numpy as np
import pytest
from gymnasium import spaces
from learner_intervals import made, train
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer

from metapbt.errors import MetapbtError
from metapbt.learners.sb3 import SB3Learner
from metapbt.learners.sb3.replay import end_episodes, replay_state, restore_replay
from metapbt.seeding import episode_seed

N_ENVS, EPISODE = 2, 7
BOX = spaces.Box(-np.inf, np.inf, (2,))
ACTIONS = spaces.Box(-1, 1, (1,))


def buffer(size, halved=False, n_envs=N_ENVS):
    """An empty buffer with room for ``size`` steps of each environment."""
    return ReplayBuffer(
        size * n_envs,
        BOX,
        ACTIONS,
        "cpu",
        n_envs,
        optimize_memory_usage=halved,
        handle_timeout_termination=not halved,
    )


def fill(held, first, count):
    """Add steps ``first``, ``first + 1``, ...: step t goes from observation t to t + 1, and is paid t."""
    places = 100 * np.arange(held.n_envs)
    for t in range(first, first + count):
        seen = np.stack([t + places] * 2, axis=1).astype(np.float32)
        ends = (t + 1) % EPISODE == 0
        dones = np.full(held.n_envs, ends)
        infos = [{"TimeLimit.truncated": ends and t % 2 == 0}] * held.n_envs
        held.add(seen, seen + 1, np.full((held.n_envs, 1), t / 100), (t + places).astype(np.float32), dones, infos)
    return held


def steps_in(held, knows_ends=True):
    """The steps that a buffer may draw, after a look at all that is drawn with each of them."""
    np.random.seed(0)  # noqa: NPY002
    drawn = held.sample(400)
    step = drawn.rewards.numpy()[:, 0]
    assert np.array_equal(drawn.observations.numpy(), np.stack([step, step], axis=1))
    assert np.array_equal(drawn.next_observations.numpy(), np.stack([step + 1, step + 1], axis=1))
    t = np.round(drawn.actions.numpy()[:, 0] * 100).astype(int)
    assert np.array_equal(t, step % 100)
    is_end = (t + 1) % EPISODE == 0
    cut_off = is_end & (t % 2 == 0) if held.handle_timeout_termination else np.zeros_like(is_end)
    if knows_ends:
        assert np.array_equal(drawn.dones.numpy()[:, 0], is_end & ~cut_off)
    assert len({*step}) == held.n_envs * len({*t})
    return sorted({*t.tolist()})


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("halved_after", [False, True])
@pytest.mark.parametrize("size", [5, 12])
@pytest.mark.parametrize("size_after", [5, 12, 20])
@pytest.mark.parametrize("count", [3, 5, 11, 12, 13, 31])
def test_a_buffer_of_another_size_or_kind_draws_the_latest_steps_and_no_others(
    halved, halved_after, size, size_after, count
):
    state = replay_state(fill(buffer(size, halved), 0, count))
    after = buffer(size_after, halved_after)
    restore_replay(after, {name: array.copy() for name, array in state.items()})
    # A buffer that saves memory has room for one less, once it is full.
    had = min(count, size - (halved and count >= size))
    room = size_after - halved_after
    kept = min(had, room)
    alike = halved == halved_after  # which episodes a time limit cut off is known to the one kind only
    assert steps_in(after, alike) == list(range(count - kept, count))
    fill(after, count, 9)
    assert steps_in(after, alike) == list(range(count + 9 - min(kept + 9, size_after - halved_after), count + 9))


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("count", [5, 12, 29])
def test_a_buffer_of_the_same_size_and_kind_has_everything_at_its_place(halved, count):
    one = fill(buffer(12, halved), 0, count)
    again = buffer(12, halved)
    restore_replay(again, replay_state(one))
    assert (again.pos, again.full) == (one.pos, one.full)
    for held in (one, again):
        np.random.seed(3)  # noqa: NPY002
        fill(held, count, 4)
    first, second = (steps_in(held) for held in (one, again))
    assert first == second
    np.random.seed(1)  # noqa: NPY002
    drawn = one.sample(50)
    np.random.seed(1)  # noqa: NPY002
    for a, b in zip(drawn[:5], again.sample(50)[:5], strict=True):
        assert np.array_equal(a, b)


def test_dictionaries_of_observations_go_on():
    space = spaces.Dict({"here": BOX, "there": spaces.Discrete(5)})

    def empty(size):
        return DictReplayBuffer(size, space, ACTIONS, "cpu", 1)

    one = empty(10)
    for t in range(13):
        seen, later = ({"here": np.full((1, 2), k, np.float32), "there": np.array([k % 5])} for k in (t, t + 1))
        one.add(seen, later, np.zeros((1, 1)), np.array([float(t)]), np.zeros(1), [{}])
    other = empty(4)
    restore_replay(other, replay_state(one))
    drawn = other.sample(100)
    rewards = drawn.rewards[:, 0].numpy()
    assert set(rewards.tolist()) == {9, 10, 11, 12}
    assert np.array_equal(drawn.observations["here"][:, 0], rewards)
    assert np.array_equal(drawn.next_observations["there"].flatten(), (rewards + 1) % 5)


def test_no_return_of_many_steps_runs_over_episodes_that_do_not_go_on():
    held = NStepReplayBuffer(20, BOX, ACTIONS, "cpu", 1, n_steps=3, gamma=1.0)
    fill(held, 0, 4)
    end_episodes(held)
    fill(held, 50, 3)
    drawn = held._get_samples(np.array([2, 3, 4]))
    assert drawn.rewards[:, 0].tolist() == [2 + 3, 3, 50 + 51 + 52]
    assert drawn.dones[:, 0].tolist() == [0, 0, 0]


def test_a_buffer_of_other_environments_is_refused():
    state = replay_state(fill(buffer(5), 0, 3))
    with pytest.raises(MetapbtError, match="does not fit"):
        restore_replay(buffer(5, n_envs=3), state)


# --- in training


def test_two_intervals_draw_and_learn_as_one(monkeypatch):
    """With no chance in actions, and draws that only depend on what the buffer holds."""
    from metapbt.learners.sb3 import learner as module

    monkeypatch.setattr(module, "episode_seed", lambda seed, place, count: episode_seed(0, place, count))
    draws = np.random.RandomState  # noqa: NPY002

    def randint(low, high=None, size=None):
        return draws(int(1000 * 7 + (high or low))).randint(low, high, size)

    monkeypatch.setattr(np.random, "randint", randint)
    for memory in ({}, {"optimize_memory_usage": True}):
        fixed = {"learning_starts": 0, "buffer_size": 40, "batch_size": 8, "train_freq": 5, **memory}
        fixed |= {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0, "target_update_interval": 4}
        settings = {"algorithm": "DQN", "policy": "MlpPolicy", "n_envs": 2, "hyperparameters": {"DQN": fixed}}
        one = made(SB3Learner, "mountain_car", settings, budget=400, length=100)
        hyperparameters = {"learning_rate": "lin_1e-2", "policy_kwargs.net_arch": [4]}
        whole = train(one, None, hyperparameters, 200)
        first = train(one, None, hyperparameters, 100)
        second = train(one, first, hyperparameters, 100)
        assert first.env_steps == 100
        for name in whole.state:
            assert np.array_equal(whole.state[name], second.state[name]), name
