"""Policies as PyTorch modules and as files, of every kind of network, observation and action."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

from metapbt.errors import MetapbtError
from metapbt.learners.drac.actions import actions_of
from metapbt.learners.drac.network import Architecture
from metapbt.learners.drac.rollout import DrACPolicy, Seer
from metapbt.learners.normalise import ObservationNormaliser
from metapbt.learners.observed import in_a_batch
from metapbt.learners.portable import in_numpy
from metapbt.learners.ppo.network import ACTIVATIONS, Actor, Network
from metapbt.learners.ppo.rollout import PPOPolicy
from metapbt.learners.sb3.policy import SB3Policy
from metapbt.runs import export

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
ARM = spaces.Box(np.float32([-1, 0]), np.float32([1, 3]))


@pytest.fixture(autouse=True)
def _fewer_are_compared(monkeypatch):
    monkeypatch.setattr(export, "OBSERVATIONS", 150)


class Still(gymnasium.Env):
    """Any spaces, and nothing ever happens."""

    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def some(space, count, seed=0):
    """So many observations, by input."""
    space.seed(seed)
    rows = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {name: np.array([row[name] for row in rows], part.dtype) for name, part in space.items()}
    return {"observation": np.array(rows, space.dtype)}


def moved(network):
    """A network whose parameters are not those that it begins with, so that its actions differ."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) / max(parameter[0].numel(), 1) ** 0.5)
    return network


def agrees(policy, space, tmp_path, endings=(".pt",)):
    """Whether files of a policy say what it says; they are compared as the command compares them."""
    portable, seen = policy.portable(), some(space, export.OBSERVATIONS)
    assert np.ptp(portable.ours(seen)[1], axis=0).max() > 0.01  # else this would show nothing
    for ending in endings:
        assert export.written(portable, seen, {"env": "still"}, tmp_path / f"policy{ending}") <= 1e-5
    return portable


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("actions", [spaces.Discrete(4, start=2), ARM], ids=["discrete", "box"])
def test_ppos_policy(activation, actions, tmp_path):
    box = isinstance(actions, spaces.Box)
    network = Network(3, 2 if box else 4, box, (32, 16), (8,), activation, "relu")
    rng = np.random.default_rng(0)
    normalise = ObservationNormaliser(3)
    normalise.see((rng.standard_normal((100, 3)) * [1e-3, 1, 50] + [5, 0, 300]).astype(np.float32))
    vector = network.initial(rng) + 0.3 * rng.standard_normal(network.size).astype(np.float32)
    for normaliser in (None, normalise):
        policy = PPOPolicy(Actor(network, vector), normaliser, VECTOR, actions)
        portable = agrees(policy, VECTOR, tmp_path)
        assert portable.scores == ("mean" if box else "logits")
        found, _ = in_numpy(portable.module, some(VECTOR, 50, 1))
        assert all(each in actions for each in found)


@pytest.mark.parametrize(
    ("name", "observations", "actions", "published"),
    [
        ("mlp", VECTOR, spaces.Discrete(4), False),
        ("mlp", VECTOR, ARM, False),
        ("impala", PICTURE, spaces.Discrete(4), True),
        ("impala", PICTURE, ARM, False),
        ("nature", PICTURE, spaces.Discrete(4), False),
    ],
)
def test_dracs_policy(name, observations, actions, published, tmp_path):
    pictures = len(observations.shape) == 3
    shape = (3, 36, 40) if pictures else observations.shape
    network = Architecture(name, shape, actions_of(actions), published).build(np.random.default_rng(0))
    policy = DrACPolicy(Seer(moved(network), actions_of(actions)), observations, actions)
    agrees(policy, observations, tmp_path)


MIXED = spaces.Dict({"picture": PICTURE, "vector": VECTOR, "mode": spaces.Discrete(3)})


@pytest.mark.parametrize(
    ("algorithm", "policy", "observations", "actions", "arguments"),
    [
        (PPO, "MlpPolicy", VECTOR, spaces.Discrete(3), {}),
        (PPO, "MlpPolicy", VECTOR, ARM, {}),
        (PPO, "MlpPolicy", VECTOR, ARM, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
        (PPO, "MlpPolicy", spaces.Discrete(5), spaces.MultiDiscrete([2, 3]), {}),
        (PPO, "MlpPolicy", spaces.MultiDiscrete([4, 3]), spaces.MultiBinary(4), {}),
        (PPO, "CnnPolicy", PICTURE, spaces.Discrete(3), {}),
        (PPO, "MultiInputPolicy", MIXED, ARM, {}),
        (A2C, "MlpPolicy", VECTOR, spaces.Discrete(3), {}),
        (DQN, "MlpPolicy", VECTOR, spaces.Discrete(3), {}),
        (SAC, "MlpPolicy", VECTOR, ARM, {}),
        (SAC, "MlpPolicy", VECTOR, ARM, {"use_sde": True}),
        (TD3, "MlpPolicy", VECTOR, ARM, {}),
        (DDPG, "MlpPolicy", VECTOR, ARM, {}),
    ],
)
def test_stable_baselines3s_policies(algorithm, policy, observations, actions, arguments, tmp_path):
    small = {} if issubclass(algorithm, PPO | A2C) else {"buffer_size": 10}
    model = algorithm(policy, Still(observations, actions), device="cpu", seed=0, **small, **arguments)
    moved(model.policy)
    portable = agrees(SB3Policy(model), observations, tmp_path)
    assert portable.scores == {DQN: "q_values"}.get(algorithm, "mean" if actions is ARM else "logits")
    unused = [name for name, _ in portable.module.named_parameters() if "value" in name or "critic" in name]
    assert not unused


def test_every_kind_of_file_takes_observations_of_several_parts(tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    model = PPO("MultiInputPolicy", Still(MIXED, spaces.MultiDiscrete([2, 3])), device="cpu", seed=0)
    moved(model.policy)
    agrees(SB3Policy(model), MIXED, tmp_path, (".onnx", ".pt2", ".pt"))


def test_a_file_that_says_something_else_is_refused_and_not_there(tmp_path):
    network = Network(3, 4, False)
    actor = Actor(network, network.initial(np.random.default_rng(0)))
    portable = PPOPolicy(actor, None, VECTOR, spaces.Discrete(4)).portable()
    with torch.no_grad():
        portable.module.scores.layers[-1].bias[2] += 1e-4
    with pytest.raises(MetapbtError, match=r"policy.pt is not written: on 150 of 150 observations it would differ"):
        export.written(portable, some(VECTOR, 150), {}, tmp_path / "policy.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("space", "observation", "shape", "alone"),
    [
        (VECTOR, [1, 2, 3], (1, 3), True),
        (VECTOR, np.zeros((5, 3)), (5, 3), False),
        (PICTURE, np.zeros((36, 40, 3), np.uint8), (1, 36, 40, 3), True),
        (spaces.Discrete(5), 3, (1,), True),
        (spaces.Discrete(5), [3, 1], (2,), False),
    ],
)
def test_one_observation_or_several(space, observation, shape, alone):
    batch, was_alone = in_a_batch(space, observation)
    assert (batch.shape, batch.dtype, was_alone) == (shape, space.dtype, alone)


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (VECTOR, np.zeros(4), r"observation must have the shape \(3,\), or \(n, 3\) for n of them, got \(4,\)"),
        (VECTOR, np.zeros((0, 3)), r"got \(0, 3\)"),
        (VECTOR, "up", "observation must be of float32, got <U2"),
        (VECTOR, [[1], [2, 3]], "observation is no array"),
        (PICTURE, np.zeros((36, 40, 3)), "observation must be of uint8, got float64"),
        (PICTURE, np.zeros((3, 36, 40), np.uint8), r"\(36, 40, 3\), or \(n, 36, 40, 3\) for n of them"),
        (PICTURE, np.full((36, 40, 3), 256), "observation must be of uint8, got int64"),
        (MIXED, np.zeros(3), "an observation must be a mapping with mode, picture, vector, got ndarray"),
        (MIXED, {"mode": 1}, r"must be a mapping with mode, picture, vector, got \['mode'\]"),
    ],
)
def test_what_is_no_observation_is_refused_in_one_line(space, observation, message):
    with pytest.raises(MetapbtError, match=message) as error:
        in_a_batch(space, observation)
    assert "\n" not in str(error.value)


def test_parts_of_one_observation_and_of_several_do_not_mix():
    one, several = some(MIXED, 1), some(MIXED, 4)
    assert in_a_batch(MIXED, several)[1] is False
    assert in_a_batch(MIXED, {name: part[0] for name, part in one.items()})[1] is True
    with pytest.raises(MetapbtError, match="all parts of an observation must be of one, or of the same number"):
        in_a_batch(MIXED, {**several, "mode": 1})
