"""What Stable-Baselines3 cannot train is refused before anything is, in one line; what people write is not."""

import re
import shlex
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from learner_intervals import made, train
from omegaconf import OmegaConf

import metapbt
from metapbt.cli import main
from metapbt.config import compose
from metapbt.envs import Environment
from metapbt.errors import MetapbtError
from metapbt.learners.sb3 import SB3Learner
from metapbt.learners.sb3 import learner as module
from metapbt.learners.sb3.arguments import ACTIVATIONS, NETWORKS, NOISES, OPTIMISERS, REPLAY_BUFFERS
from metapbt.runs.plan import RunPlan
from metapbt.space import Space

PENDULUM = Environment(
    "pendulum", (), gym_id="tests/DoorPendulum-v1", build=lambda *_: PendulumEnv(), max_episode_steps=20
)


class Split(gymnasium.ObservationWrapper):
    """Shows a dictionary."""

    def __init__(self, env):
        super().__init__(env)
        halves = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
        self.observation_space = gymnasium.spaces.Dict({"cart": halves, "pole": halves})

    def observation(self, observation):
        return {"cart": observation[:2], "pole": observation[2:]}


SPLIT = Environment(
    "split_pole", (), gym_id="tests/SplitPole-v1", build=lambda *_: Split(CartPoleEnv()), max_episode_steps=20
)
SMALL = {"policy_kwargs": {"net_arch": [4]}}


def learner(algorithm, n_envs=1, env=None, device="cpu", policy="MlpPolicy", **fixed):
    env = env or ("cart_pole" if algorithm in ("PPO", "A2C", "DQN") else f"{__name__}:PENDULUM")
    settings = {
        "algorithm": algorithm,
        "policy": policy,
        "n_envs": n_envs,
        "device": device,
        "hyperparameters": {algorithm: {**SMALL, **fixed}},
    }
    return made(SB3Learner, env, settings, budget=1000, length=100)


def number(low, high, **others):
    kind = "int" if isinstance(low, int) else "float"
    return {"type": kind, "low": low, "high": high, **others}


def one_of(*choices, **others):
    return {"type": "categorical", "choices": list(choices), **others}


NETWORK = "changes the network.*needs `role: architecture`"
GAMMA = {"gamma": number(0.9, 0.99)}


REFUSED = [
    ("PPO", {}, {"batch_size": number(1, 300, default=64)}, "space.batch_size=1 cannot be trained by PPO on cart_pole"),
    ("PPO", {}, {"n_steps": number(1, 200, default=64)}, r"space.n_steps=1 .*`n_steps \* n_envs` must be greater"),
    ("PPO", {}, {"n_steps": one_of(8, "many")}, "n_steps='many' .*n_steps must be a whole number >= 1, got 'many'"),
    ("PPO", {}, {"learning_rate": number(-1.0, 1.0, default=0.5)}, "space.learning_rate=-1.0 .*Invalid learning rate"),
    ("PPO", {}, {"clip_range_vf": number(0.0, 1.0)}, "space.clip_range_vf=0.0 .*must be positive"),
    ("PPO", {}, {"gamma": one_of(0.9, "lin_0.9")}, "space.gamma='lin_0.9' .*can be no schedule"),
    ("PPO", {}, {"policy_kwargs.activation_fn": one_of("tanh", "rleu")}, "fn='rleu' .*did you mean 'relu'"),
    ("PPO", {}, {"policy_kwargs.net_arch": one_of("tiny", "small")}, f"space.policy_kwargs.net_arch='small' {NETWORK}"),
    ("SAC", {}, {"use_sde": one_of(False, True)}, f"space.use_sde=True {NETWORK}"),
    ("SAC", {}, {"policy_kwargs.n_critics": number(1, 3, default=2)}, f"space.policy_kwargs.n_critics=1 {NETWORK}"),
    (
        "PPO",
        {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-5}}},
        {"policy_kwargs.optimizer_class": one_of("adam", "sgd")},
        "optimizer_class='sgd' .*unexpected keyword argument 'eps'",
    ),
    ("PPO", {"policy_kwargs": {"net_arhc": [4]}}, GAMMA, "unknown key of PPO's policy_kwargs 'net_arhc'.* 'net_arch'"),
    ("PPO", {"tensorbord_log": "x"}, GAMMA, "did you mean 'tensorboard_log'"),
    ("SAC", {"n_envs": 2}, {"train_freq": one_of("(4, 'step')", "(1, 'episode')")}, "space.train_freq=.*only one env"),
    ("SAC", {"noise_std": 0.1}, GAMMA, "noise_std has no effect without action_noise: normal or ornstein-uhlenbeck"),
    ("DQN", {"action_noise": "normal"}, GAMMA, "unknown hyperparameter of DQN 'action_noise'"),
    ("SAC", {"replay_buffer_class": "HerReplayBuffer"}, GAMMA, "unknown replay_buffer_class 'HerReplayBuffer'"),
    ("SAC", {}, {"ent_coef": one_of("auto", "atuo")}, "space.ent_coef='atuo' .*could not convert"),
    ("SAC", {}, {"ent_coef": one_of("auto", "auto_0")}, "space.ent_coef='auto_0' .*greater than 0"),
    ("TD3", {}, {"policy_delay": number(0, 3)}, "space.policy_delay=0 cannot be trained by TD3"),
    ("DQN", {}, {"buffer_size": number(1000, 10**14)}, "space.buffer_size=.*MemoryError"),
    ("DQN", {"optimize_memory_usage": True}, {"buffer_size": number(1, 100, default=50)}, "space.buffer_size=1 cannot"),
    ("DQN", {"n_steps": 3}, {"optimize_memory_usage": one_of(False, True)}, "optimize_memory_usage=True .*NStep"),
    (
        "SAC",
        {"optimize_memory_usage": True},
        {"replay_buffer_kwargs.handle_timeout_termination": one_of(False, True)},
        "handle_timeout_termination=True .*simultaneously",
    ),
    ("TD3", {}, {"train_freq": number(1.5, 4.0)}, "TD3 on .*PENDULUM.*must be an integer"),
]


@pytest.mark.parametrize(("algorithm", "settings", "space", "message"), REFUSED)
def test_what_cannot_be_trained_is_refused(algorithm, settings, space, message):
    with pytest.raises(MetapbtError, match=message) as caught:
        learner(algorithm, **settings).check(Space(space))
    assert "\n" not in str(caught.value)


WRITTEN = {
    "PPO": {
        "policy_kwargs.activation_fn": one_of("tanh", "relu", "elu", "leaky_relu", "silu", "gelu"),
        "policy_kwargs.net_arch": one_of("tiny", "small", role="architecture"),
        "policy_kwargs.optimizer_class": one_of("adam", "rmsprop", "sgd"),
        "learning_rate": one_of("lin_3e-4", "lin_1e-3"),
        "clip_range": one_of("lin_0.2", "lin_0.1"),
        "batch_size": number(2, 4096, log=True),
        "n_steps": number(2, 4096, log=True),
    },
    "A2C": {
        "use_rms_prop": one_of(True, False),
        "normalize_advantage": one_of(True, False),
        "ent_coef": number(0.0, 0.1),
    },
    "DQN": {
        "optimize_memory_usage": one_of(True, False),
        "buffer_size": number(1000, 1000000, log=True),
        "batch_size": number(1, 100000, log=True),
        "train_freq": number(1, 256, log=True),
        "exploration_fraction": number(0.01, 0.5),
    },
    "SAC": {
        "ent_coef": one_of("auto", "auto_0.1"),
        "train_freq": one_of("(1, 'episode')", "(8, 'step')"),
        "gradient_steps": number(-1, 8),
        "policy_kwargs.log_std_init": number(-4.0, 1.0),
        "policy_kwargs.n_critics": number(1, 3, role="architecture"),
    },
    "TD3": {
        "action_noise": one_of("normal", "ornstein-uhlenbeck"),
        "noise_std": number(0.0, 0.5),
        "policy_delay": number(1, 4),
    },
}


@pytest.mark.parametrize("algorithm", WRITTEN)
def test_what_people_write_is_taken(algorithm, caplog):
    one, space = learner(algorithm), Space(WRITTEN[algorithm])
    one.check(space)
    # And what was taken trains.
    before, after = space.corners()[-2:]
    training = train(one, None, before, 60, episodes=1)
    train(one, training, space.with_architecture_of(after, before), 60, episodes=1)
    assert {record.levelname for record in caplog.records} <= {"WARNING"}


SHIPPED = {"PPO": "ppo", "A2C": "a2c", "DQN": "dqn", "SAC": "sac", "TD3": "sac", "DDPG": "sac"}


@pytest.mark.parametrize(("algorithm", "space"), SHIPPED.items())
def test_shipped_spaces_and_settings_pass(algorithm, space):
    root = Path(__file__).parents[2] / "conf"
    settings = OmegaConf.to_container(compose(["learner=sb3"]), resolve=True)["learner"]
    assert settings.pop("name") == "sb3"
    env = "bipedal_walker" if space == "sac" else "cart_pole"
    one = made(SB3Learner, env, {**settings, "algorithm": algorithm}, budget=100_000, length=5000)
    one.check(Space(OmegaConf.to_container(OmegaConf.load(root / "space" / f"{space}.yaml"))))


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_dictionaries_of_observations_are_trained_in_every_interval(algorithm):
    fixed = {"n_steps": 20} if algorithm == "PPO" else {"learning_starts": 10, "buffer_size": 100}
    one = learner(algorithm, n_envs=2, env=f"{__name__}:SPLIT", policy="MultiInputPolicy", **fixed)
    one.check(Space(GAMMA))
    first = train(one, None, {}, 80)
    second = train(one, first, {}, 80)
    assert second.env_steps == 160
    if algorithm == "DQN":
        assert second.state["replay/observations/pole"].shape == (50, 2, 2)


PAGE = Path(__file__).parents[2] / "docs" / "stable_baselines3.md"


def test_the_page_names_what_there_is_and_its_space_is_taken():
    text = PAGE.read_text(encoding="utf-8")
    for table in (ACTIVATIONS, OPTIMISERS, NETWORKS, NOISES, REPLAY_BUFFERS):
        assert [name for name in table if f"`{name}`" not in text] == []
    space = re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1)
    learner("PPO", policy_kwargs={}).check(Space(yaml.safe_load(space)))


def test_the_commands_of_the_page_can_be_asked_for():
    commands = re.findall(r"^metapbt run (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands
    for command in commands:
        asked = RunPlan.of(compose(shlex.split(command)))
        asked.plan.learner.make().check(asked.space)


def test_a_door_that_refuses_a_run_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    varied = "+space.policy_kwargs.net_arch={type: categorical, choices: [tiny, small]}"
    assert main(["run", "env=cart_pole", "learner=sb3", "method=pbt", "executor=inline", varied]) == 1
    assert "needs `role: architecture`" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.rglob("journal"))


def test_a_population_that_tunes_names_and_schedules_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "named.yaml").write_text(
        "learning_rate: {type: categorical, choices: [lin_3e-4, lin_1e-3]}\n"
        "policy_kwargs:\n"
        "  activation_fn: {type: categorical, choices: [tanh, relu]}\n"
        "  net_arch: {type: categorical, choices: [tiny, small], role: architecture}\n"
        "  optimizer_class: {type: categorical, choices: [adam, rmsprop]}\n"
    )
    rollouts = ["learner.hyperparameters.PPO.n_steps=20", "+learner.hyperparameters.PPO.n_epochs=1"]
    short = ["budget.steps=320", "budget.interval=80", "evaluation.episodes=1", "evaluation.test_episodes=1"]
    chosen = ["env=cart_pole", "learner=sb3", "space=named", "method=pbt", "executor=inline"]
    done = metapbt.run([*chosen, *rollouts, *short], tmp_path / "conf")
    records = done.records
    assert records["generation"].max() == 3
    assert set(records["hp.policy_kwargs.activation_fn"]) == {"tanh", "relu"}


# --- devices


@pytest.mark.parametrize(
    ("device", "count", "message"),
    [
        ("gpu", 0, "learner.device must be cpu, cuda, cuda:<number> or auto, got 'gpu'"),
        ("meta", 0, "learner.device must be cpu, cuda"),
        (None, 0, "learner.device must be cpu, cuda"),
        ("cuda", 0, "learner.device=cuda: torch sees no CUDA devices"),
        ("cuda:1", 1, "learner.device=cuda:1: torch sees 1 CUDA device$"),
        ("cuda:7", 2, "learner.device=cuda:7: torch sees 2 CUDA devices$"),
    ],
)
def test_a_device_that_is_not_there_is_refused_at_the_door_and_in_training(device, count, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    for ask in (lambda one: one.check(Space(GAMMA)), lambda one: train(one, None, {}, 100)):
        with pytest.raises(MetapbtError, match=message):
            ask(learner("PPO", device=device))


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert learner("PPO", device="auto")._device.type == "cpu"


def test_a_trial_uses_one_thread_and_one_environment(monkeypatch):
    made_envs, threads = [], []
    original = module.make_env
    monkeypatch.setattr(module, "make_env", lambda *a, **k: made_envs.append(original(*a, **k)) or made_envs[-1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    learner("PPO", n_envs=4).check(Space(GAMMA))
    assert threads == [1, 7]
    assert len(made_envs) == 1
