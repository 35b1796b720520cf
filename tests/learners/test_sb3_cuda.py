"""Stable-Baselines3 on a GPU: `learner.device`. Skipped where torch sees none."""

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from learner_intervals import interval, train

from metapbt.envs import Environment, make_context
from metapbt.errors import MetapbtError
from metapbt.execution import make_executor
from metapbt.execution.base import Failure, Job
from metapbt.history import Budget
from metapbt.learners import LearnerSpec
from metapbt.space import Space
from metapbt.store.checkpoint import load_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")

CART_POLE = Environment("gpu_pole", (), gym_id="tests/GpuPole-v1", build=lambda *_: CartPoleEnv(), max_episode_steps=30)
PENDULUM = Environment(
    "gpu_pendulum", (), gym_id="tests/GpuPendulum-v1", build=lambda *_: PendulumEnv(), max_episode_steps=30
)
ROLLOUTS = {"n_steps": 20}
REPLAYED = {"learning_starts": 10, "buffer_size": 200, "batch_size": 16, "train_freq": 4}
FIXED = {
    "PPO": {**ROLLOUTS, "batch_size": 20, "n_epochs": 2},
    "A2C": ROLLOUTS,
    "DQN": {**REPLAYED, "target_update_interval": 20},
    "SAC": REPLAYED,
    "TD3": {**REPLAYED, "action_noise": "ornstein-uhlenbeck"},
    "DDPG": {**REPLAYED, "optimize_memory_usage": True},
}
CHOSEN = {"learning_rate": 1e-3, "policy_kwargs.net_arch": [8]}


def spec(algorithm, device="cuda"):
    env = f"{__name__}:{'CART_POLE' if algorithm in ('PPO', 'A2C', 'DQN') else 'PENDULUM'}"
    settings = {
        "algorithm": algorithm,
        "policy": "MlpPolicy",
        "n_envs": 2,
        "device": device,
        "hyperparameters": {algorithm: FIXED[algorithm]},
    }
    return LearnerSpec("sb3", env, make_context(env), Budget(400, 80), settings)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("algorithm", FIXED)
def test_an_interval_on_the_gpu_is_repeated_bit_by_bit_and_its_state_is_plain(algorithm):
    torch.cuda.reset_peak_memory_stats()
    one = spec(algorithm).make()
    first = train(one, None, CHOSEN, 80)
    assert torch.cuda.max_memory_allocated() > 0  # it was there
    assert all(type(array) is np.ndarray and array.dtype != object for array in first.state.values())
    assert all(np.isfinite(array).all() for array in first.state.values())
    second, again = (train(one, first, CHOSEN, 80, seed=1) for _ in range(2))
    assert same(second.state, again.state)
    assert second.eval_return == again.eval_return
    assert one.evaluate(second.state, CHOSEN, 1, 2) == second.eval_return


@pytest.mark.parametrize("algorithm", FIXED)
def test_a_state_goes_on_wherever_there_is_a_device(algorithm):
    there, here = spec(algorithm).make(), spec(algorithm, "cpu").make()
    for before, after in ((there, here), (here, there)):
        state = train(before, None, CHOSEN, 80).state
        model = after._build(CHOSEN)
        after._restore(model, state, 80)
        assert model.device.type == after._device.type
        assert next(model.policy.parameters()).device.type == after._device.type
        for name, tensor in model.policy.state_dict().items():
            assert np.array_equal(tensor.cpu().numpy(), state[f"policy/{name}"])
        assert train(after, state, CHOSEN, 80, start_steps=80).env_steps == 160


def test_a_temperature_is_learned_on_the_gpu_and_goes_on():
    one = spec("SAC").make()
    fixed = train(one, None, {**CHOSEN, "ent_coef": 0.2}, 80)
    learned = train(one, fixed, {**CHOSEN, "ent_coef": "auto"}, 80)
    assert np.exp(learned.state["log_ent_coef"]) == pytest.approx(0.2, abs=0.05)
    model = one._build({**CHOSEN, "ent_coef": "auto"})
    one._restore(model, learned.state, 160)
    assert model.log_ent_coef.device.type == "cuda"
    assert model.log_ent_coef.item() == learned.state["log_ent_coef"]


def test_the_door_opens_on_the_gpu_and_knows_how_many_there_are():
    space = Space(
        {
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2},
            "policy_kwargs.optimizer_class": {"type": "categorical", "choices": ["adam", "rmsprop", "sgd"]},
        }
    )
    for device in ("cuda", "cuda:0", "auto"):
        spec("PPO", device).make().check(space)
    with pytest.raises(MetapbtError, match=f"torch sees {torch.cuda.device_count()} CUDA device"):
        spec("PPO", f"cuda:{torch.cuda.device_count()}").make().check(space)


def test_workers_use_the_gpu_that_this_process_has_used(tmp_path):
    asked = spec("SAC")
    here = [train(asked.make(), None, CHOSEN, 80, seed=seed) for seed in (0, 1, 2)]  # CUDA has begun here
    executor = make_executor("processes", asked, workers=2)
    try:
        for generation in (0, 1):
            files = [tmp_path / f"{generation}_{seed}.npz" for seed in (0, 1, 2)]
            before = [tmp_path / f"0_{seed}.npz" if generation else None for seed in (0, 1, 2)]
            executor.submit(
                [
                    Job(interval(CHOSEN, 80, start_steps=80 * generation, seed=seed), before[seed], files[seed])
                    for seed in (0, 1, 2)
                ]
            )
            for _ in files:
                _, outcome = executor.next()
                assert not isinstance(outcome, Failure), outcome
            if not generation:
                for file, training in zip(files, here, strict=True):
                    state = load_state(file)
                    assert all(np.array_equal(state[name], array) for name, array in training.state.items())
    finally:
        executor.close()
