"""What is asked for is what is trained: every argument of every algorithm, after a restore."""

import inspect
from functools import cache

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from learner_intervals import made, train
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

from metapbt.envs import Environment
from metapbt.errors import MetapbtError
from metapbt.learners.sb3 import SB3Learner
from metapbt.learners.sb3.arguments import argument_names, arguments_of

ALGORITHMS = ("PPO", "A2C", "DQN", "SAC", "TD3", "DDPG")
ON_POLICY = ("PPO", "A2C")
LENGTH, BUDGET = 16, 100

CART_POLE = Environment(
    "short_pole", (), gym_id="tests/ShortPole-v1", build=lambda *_: CartPoleEnv(), max_episode_steps=5
)
PENDULUM = Environment(
    "short_pendulum", (), gym_id="tests/ShortPendulum-v1", build=lambda *_: PendulumEnv(), max_episode_steps=10
)

SMALL = {"policy_kwargs.net_arch": [4]}
ROLLOUTS = {**SMALL, "n_steps": 8}
REPLAYED = {**SMALL, "learning_starts": 4, "buffer_size": 100, "batch_size": 4, "train_freq": 4, "gradient_steps": 2}
BASE = {name: ROLLOUTS if name in ON_POLICY else REPLAYED for name in ALGORITHMS}
BASE["DQN"] = {**REPLAYED, "target_update_interval": 4}
BASE["PPO"] = {**ROLLOUTS, "batch_size": 4, "n_epochs": 2}

# Of each argument two settings; the first is also that of the interval before.
ANY = {
    "learning_rate": [({"learning_rate": 1e-3}, {"learning_rate": 1e-2}), ({}, {"learning_rate": "lin_1e-2"})],
    "gamma": [({"gamma": 0.9}, {"gamma": 0.5})],
    "policy_kwargs": [
        ({"policy_kwargs.activation_fn": "tanh"}, {"policy_kwargs.activation_fn": "relu"}),
        ({"policy_kwargs.optimizer_class": "adam"}, {"policy_kwargs.optimizer_class": "sgd"}),
        ({"policy_kwargs.optimizer_kwargs.eps": 1e-8}, {"policy_kwargs.optimizer_kwargs.eps": 1e-1}),
        ({}, {"policy_kwargs.optimizer_kwargs.weight_decay": 0.1}),
    ],
}
GENTLE = {"use_sde": True}
OF_ROLLOUTS = {
    "n_steps": [({}, {"n_steps": 4})],
    "gae_lambda": [({"gae_lambda": 0.9}, {"gae_lambda": 0.5})],
    "ent_coef": [({"ent_coef": 0.0}, {"ent_coef": 0.5})],
    "vf_coef": [({"vf_coef": 0.5}, {"vf_coef": 0.1})],
    "max_grad_norm": [({"max_grad_norm": 0.5}, {"max_grad_norm": 0.01})],
    "normalize_advantage": [({"normalize_advantage": False}, {"normalize_advantage": True})],
    "sde_sample_freq": [(GENTLE, {**GENTLE, "sde_sample_freq": 2})],
}
NSTEP = {"replay_buffer_class": "NStepReplayBuffer"}
OF_REPLAY = {
    "buffer_size": [({}, {"buffer_size": 8}), ({"buffer_size": 8}, {"buffer_size": 100})],
    "learning_starts": [({}, {"learning_starts": 24})],
    "batch_size": [({}, {"batch_size": 8})],
    "tau": [({"tau": 0.1}, {"tau": 0.9})],
    "gamma": [({"gamma": 0.9}, {"gamma": 0.5}), (NSTEP, {**NSTEP, "gamma": 0.5})],
    "train_freq": [({}, {"train_freq": 8}), ({}, {"train_freq": [1, "episode"]})],
    "gradient_steps": [({}, {"gradient_steps": 1}), ({}, {"gradient_steps": -1})],
    "replay_buffer_class": [({"replay_buffer_class": "ReplayBuffer"}, {"replay_buffer_class": "NStepReplayBuffer"})],
    "replay_buffer_kwargs": [({}, {"replay_buffer_kwargs.handle_timeout_termination": False})],
    "optimize_memory_usage": [
        ({"optimize_memory_usage": False}, {"optimize_memory_usage": True}),
        ({"optimize_memory_usage": True}, {"optimize_memory_usage": False}),
    ],
    "n_steps": [({"n_steps": 1}, {"n_steps": 3}), ({"n_steps": 3}, {"n_steps": 1}), (NSTEP, {**NSTEP, "n_steps": 1})],
    "action_noise": [
        ({"action_noise": None}, {"action_noise": "normal"}),
        ({"action_noise": "ornstein-uhlenbeck"}, {"action_noise": "normal"}),
        ({"action_noise": "normal"}, {"action_noise": "ornstein-uhlenbeck"}),
        ({"action_noise": "ornstein-uhlenbeck"}, {"action_noise": None}),
    ],
    "noise_std": [({"action_noise": "normal"}, {"action_noise": "normal", "noise_std": 0.5})],
}
OF_ONE = {
    "PPO": {
        "batch_size": [({}, {"batch_size": 8})],
        "n_epochs": [({}, {"n_epochs": 1})],
        "clip_range": [({"clip_range": 0.2}, {"clip_range": 1e-4}), ({}, {"clip_range": "lin_1e-4"})],
        "clip_range_vf": [({"clip_range_vf": None}, {"clip_range_vf": 1e-4})],
        "target_kl": [({"target_kl": None}, {"target_kl": 1e-9})],
    },
    "A2C": {
        "rms_prop_eps": [({"rms_prop_eps": 1e-5}, {"rms_prop_eps": 0.1})],
        "use_rms_prop": [({}, {"use_rms_prop": False}), ({"use_rms_prop": False}, {"use_rms_prop": True})],
    },
    "DQN": {
        "target_update_interval": [({"target_update_interval": 4}, {"target_update_interval": 1000})],
        "exploration_fraction": [({"exploration_fraction": 0.02}, {"exploration_fraction": 0.9})],
        "exploration_initial_eps": [
            ({"exploration_fraction": 0.9}, {"exploration_fraction": 0.9, "exploration_initial_eps": 0.0})
        ],
        "exploration_final_eps": [({}, {"exploration_final_eps": 1.0})],
        "max_grad_norm": [({"max_grad_norm": 10}, {"max_grad_norm": 0.001})],
    },
    "SAC": {
        "ent_coef": [
            ({"ent_coef": 0.05}, {"ent_coef": 0.5}),
            ({"ent_coef": 0.05}, {"ent_coef": "auto"}),
            ({"ent_coef": 0.05}, {"ent_coef": "auto_0.1"}),
            ({"ent_coef": "auto"}, {"ent_coef": 0.05}),
        ],
        "target_update_interval": [({"target_update_interval": 1}, {"target_update_interval": 2})],
        "target_entropy": [({"target_entropy": "auto"}, {"target_entropy": -5.0})],
        "sde_sample_freq": [(GENTLE, {**GENTLE, "sde_sample_freq": 2})],
        "use_sde_at_warmup": [
            ({**GENTLE, "learning_starts": 20}, {**GENTLE, "learning_starts": 20, "use_sde_at_warmup": True})
        ],
    },
    "TD3": {
        "policy_delay": [({"policy_delay": 2}, {"policy_delay": 1})],
        "target_policy_noise": [({"target_policy_noise": 0.2}, {"target_policy_noise": 1.0})],
        "target_noise_clip": [({"target_noise_clip": 0.5}, {"target_noise_clip": 0.01})],
    },
}
#: Arguments that cannot change what an agent learns after a restore.
WITHOUT_EFFECT = {
    "stats_window_size": "of a log that is not written",
    "tensorboard_log": "where a log goes",
    "rollout_buffer_class": "there is one for each kind of observations",
    "rollout_buffer_kwargs": "all that it takes are arguments of the algorithm",
    "use_sde": "changes the network, so that it needs `role: architecture` (tested below)",
}


def cases(algorithm):
    shared = OF_ROLLOUTS if algorithm in ON_POLICY else OF_REPLAY
    return {**ANY, **shared, **OF_ONE.get(algorithm, {})}


@cache
def learner(algorithm):
    env = f"{__name__}:{'CART_POLE' if algorithm == 'DQN' else 'PENDULUM'}"
    settings = {
        "algorithm": algorithm,
        "policy": "MlpPolicy",
        "n_envs": 1,
        "hyperparameters": {algorithm: BASE[algorithm]},
    }
    return made(SB3Learner, env, settings, budget=BUDGET, length=LENGTH)


TRAINED = {}


def trained(algorithm, *settings):
    """A line of descent, an interval with each of the settings; same beginnings are trained once."""
    key = (algorithm, repr(settings))
    if key not in TRAINED:
        before = trained(algorithm, *settings[:-1]) if len(settings) > 1 else None
        TRAINED[key] = train(
            learner(algorithm), before, settings[-1], LENGTH, seed=len(settings), evaluation_seed=1, episodes=1
        )
    return TRAINED[key]


def weights(training):
    return {name: array for name, array in training.state.items() if name.startswith("policy/")}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_argument_has_its_case(algorithm):
    names = argument_names(getattr(stable_baselines3, algorithm))
    assert names - WITHOUT_EFFECT.keys() <= cases(algorithm).keys()
    assert not WITHOUT_EFFECT.keys() & cases(algorithm).keys()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_values_of_an_argument_train_two_agents_after_a_restore(algorithm):
    same = []
    for name, pairs in cases(algorithm).items():
        if name not in argument_names(getattr(stable_baselines3, algorithm)):
            continue
        for one, other in pairs:
            kept, changed = (weights(trained(algorithm, one, after)) for after in (one, other))
            assert kept.keys() == changed.keys()
            assert all(np.isfinite(array).all() for array in changed.values())
            if all(np.array_equal(kept[key], changed[key]) for key in kept):
                same.append((name, one, other))
    assert not same


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "SAC"])
def test_what_changes_the_network_is_refused_by_a_restore(algorithm):
    with pytest.raises(MetapbtError, match="does not fit the network.*role: architecture"):
        trained(algorithm, {"use_sde": False}, {"use_sde": True})


def test_these_are_all_algorithms():
    classes = {name: value for name, value in vars(stable_baselines3).items() if inspect.isclass(value)}
    assert {name for name, value in classes.items() if issubclass(value, BaseAlgorithm)} == set(ALGORITHMS)


# --- what people write


def built(algorithm, **written):
    """The model that an interval with these hyperparameters trains."""
    return learner(algorithm)._build({key.replace("__", "."): value for key, value in written.items()})


@pytest.mark.parametrize(
    ("written", "activation"),
    [
        ("tanh", torch.nn.Tanh),
        ("relu", torch.nn.ReLU),
        ("elu", torch.nn.ELU),
        ("leaky_relu", torch.nn.LeakyReLU),
        ("silu", torch.nn.SiLU),
        ("gelu", torch.nn.GELU),
        ("nn.LeakyReLU", torch.nn.LeakyReLU),
    ],
)
def test_activations_go_by_name(written, activation):
    model = built("PPO", policy_kwargs__activation_fn=written)
    assert any(isinstance(module, activation) for module in model.policy.modules())


@pytest.mark.parametrize(
    ("written", "units"),
    [
        ("tiny", [[64], [64]]),
        ("small", [[64, 64], [64, 64]]),
        ("medium", [[256, 256], [256, 256]]),
        ("big", [[400, 300], [400, 300]]),
        ([8], [[8], [8]]),
        ({"pi": [8], "vf": [4, 4]}, [[8], [4, 4]]),
    ],
)
def test_networks_go_by_name_or_by_their_units(written, units):
    extractor = built("PPO", policy_kwargs__net_arch=written).policy.mlp_extractor
    assert [[layer.out_features for layer in net[::2]] for net in (extractor.policy_net, extractor.value_net)] == units


@pytest.mark.parametrize(
    ("written", "frequency"),
    [
        (4, (4, "step")),
        ([4, "step"], (4, "step")),
        ([1, "episode"], (1, "episode")),
        ("(1, 'episode')", (1, "episode")),
    ],
)
def test_frequencies_are_numbers_lists_or_texts(written, frequency):
    found = built("SAC", train_freq=written).train_freq
    assert (found.frequency, found.unit.value) == frequency


def test_action_noise_goes_by_name_and_standard_deviation():
    normal = built("TD3", action_noise="normal", noise_std=0.3).action_noise
    assert isinstance(normal, NormalActionNoise)
    assert normal._sigma.tolist() == [0.3]
    assert isinstance(built("TD3", action_noise="ornstein-uhlenbeck").action_noise, OrnsteinUhlenbeckActionNoise)
    assert built("TD3", action_noise=None, noise_std=0.3).action_noise is None


def test_optimisers_go_by_name_and_keep_their_settings():
    model = built("DQN", policy_kwargs__optimizer_class="rmsprop", policy_kwargs__optimizer_kwargs__alpha=0.5)
    assert isinstance(model.policy.optimizer, torch.optim.RMSprop)
    assert model.policy.optimizer.param_groups[0]["alpha"] == 0.5


def test_what_is_asked_of_a2cs_optimiser_reaches_it():
    group = built("A2C", policy_kwargs__optimizer_kwargs__alpha=0.5).policy.optimizer.param_groups[0]
    assert (group["alpha"], group["eps"]) == (0.5, 1e-5)
    other = built("A2C", use_rms_prop=False, policy_kwargs__optimizer_kwargs__eps=1e-3).policy.optimizer
    assert (type(other), other.param_groups[0]["eps"]) == (torch.optim.Adam, 1e-3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_schedules_run_over_the_whole_budget(algorithm, monkeypatch):
    rates = []
    original = torch.optim.Optimizer.zero_grad
    monkeypatch.setattr(
        torch.optim.Optimizer,
        "zero_grad",
        lambda optimiser, *a, **k: (rates.append(optimiser.param_groups[0]["lr"]), original(optimiser, *a, **k))[1],
    )
    falling = {"learning_rate": "lin_1.0e-3"}
    first = train(learner(algorithm), None, falling, LENGTH)
    second = train(learner(algorithm), first, falling, LENGTH)
    assert second.env_steps == 32
    assert rates[-1] == pytest.approx(1e-3 * (1 - 32 / BUDGET))
    assert rates == sorted(rates, reverse=True)
    last = train(learner(algorithm), second, falling, 80)  # further than the budget
    assert last.env_steps > BUDGET
    assert rates[-1] == 0


def test_an_exploration_goes_on_where_it_was():
    seen = {"exploration_fraction": 1.0}
    state = trained("DQN", seen).state
    model = learner("DQN")._build(seen)
    learner("DQN")._restore(model, state, LENGTH)
    assert model.exploration_rate == pytest.approx(1 - 0.95 * LENGTH / BUDGET)


@pytest.mark.parametrize(
    ("algorithm", "written", "message"),
    [
        (
            "PPO",
            {"policy_kwargs.activation_fn": "rleu"},
            "unknown policy_kwargs.activation_fn 'rleu'; did you mean 'relu'",
        ),
        ("PPO", {"policy_kwargs.optimizer_class": "adm"}, "did you mean 'adam'"),
        ("PPO", {"policy_kwargs.net_arch": "huge"}, "unknown policy_kwargs.net_arch 'huge'.*known: big, large"),
        ("PPO", {"policy_kwargs": "dict(net_arch=[4])"}, "policy_kwargs must be a mapping"),
        ("PPO", {"gamma": 0.9, "gamma.x": 1}, "gamma.x reaches into gamma, which is 0.9"),
        ("PPO", {"learning_rate": "cos_3e-4"}, "learning_rate must be a number, or lin_"),
        ("PPO", {"learning_rate": "lin_much"}, "learning_rate must be a number, or lin_"),
        ("PPO", {"gamma": "lin_0.9"}, "gamma of PPO can be no schedule; learning_rate, clip_range, clip_range_vf can"),
        ("SAC", {"train_freq": "episode"}, "train_freq must be a number or"),
        ("SAC", {"action_noise": "norml"}, "did you mean 'normal'"),
        ("SAC", {"action_noise": "normal", "noise_std": -1}, "noise_std must be a number >= 0, got -1"),
        ("SAC", {"replay_buffer_class": "HerReplayBuffer"}, "unknown replay_buffer_class 'HerReplayBuffer'"),
    ],
)
def test_what_means_nothing_is_named(algorithm, written, message):
    one = learner(algorithm)
    with pytest.raises(MetapbtError, match=message):
        arguments_of(one.algorithm, written, PendulumEnv().action_space)


def test_what_was_written_stays_as_it_was():
    written = {"policy_kwargs": {"net_arch": [4], "optimizer_kwargs": {"eps": 1e-3}}}
    model = learner("A2C")._build(written)
    assert model.policy.optimizer.param_groups[0]["eps"] == 1e-3
    assert written == {"policy_kwargs": {"net_arch": [4], "optimizer_kwargs": {"eps": 1e-3}}}
