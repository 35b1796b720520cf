"""Stable-Baselines3: any of its algorithms, by name."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from metapbt.envs import make_env
from metapbt.errors import MetapbtError, one_line, unknown_name
from metapbt.learners.base import State, Training

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Space

_SETTINGS = {"algorithm", "policy", "n_envs", "eval_episodes", "hyperparameters"}
_COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class SB3Learner:
    """Trains with an algorithm of Stable-Baselines3.

    Every interval builds the algorithm anew with the interval's hyperparameters and puts back weights, optimiser
    state, replay buffer and counters. So any argument of the algorithm's constructor can be tuned (but for those that
    change the shape of the network), and an interval that is repeated gives the same result.
    """

    def __init__(self, env: str, context: Mapping[str, float], budget_steps: int, settings: Mapping[str, Any]) -> None:
        for key in settings.keys() - _SETTINGS:
            raise unknown_name("setting of learner sb3", key, _SETTINGS)
        self.env = env
        self.context: dict[str, Any] = dict(context)
        self.budget_steps = budget_steps
        self.algorithm = _algorithm(settings["algorithm"])
        self.policy = settings["policy"]
        self.n_envs = int(settings["n_envs"])
        self.eval_episodes = int(settings["eval_episodes"])
        self.fixed = dict(settings["hyperparameters"].get(settings["algorithm"], {}))
        for key, value in (("n_envs", self.n_envs), ("eval_episodes", self.eval_episodes)):
            if value < 1:
                raise MetapbtError(f"learner.{key} must be >= 1, got {value}")

    def check(self, space: Space, interval_steps: int) -> None:
        """Check that the algorithm has every hyperparameter, and can be built with the defaults."""
        known = set(inspect.signature(self.algorithm).parameters) - {
            "policy",
            "env",
            "seed",
            "device",
            "verbose",
            "_init_setup_model",
        }
        for name in (*self.fixed, *space.names):
            if name.partition(".")[0] not in known:
                raise unknown_name(f"hyperparameter of {self.algorithm.__name__}", name, known)
        if interval_steps < self.n_envs:
            raise MetapbtError(f"budget.interval must be >= learner.n_envs ({self.n_envs}), got {interval_steps}")
        try:
            model = self._build(space.default(), seed=0)
        except (TypeError, ValueError, AssertionError) as error:
            raise MetapbtError(
                f"{self.algorithm.__name__} on {self.env} cannot be set up: {one_line(error)}"
            ) from error
        model.get_env().close()

    def train(
        self,
        state: State | None,
        hyperparameters: Hyperparameters,
        interval_steps: int,
        seed: int,
        evaluation_seed: int,
    ) -> Training:
        """Train for one interval from fresh episodes, then evaluate the deterministic policy."""
        model = self._build(hyperparameters, seed)
        if state is not None:
            _restore(model, state)
        episodes = _EpisodeReturns(self.budget_steps)
        model.learn(interval_steps, callback=episodes, log_interval=None, reset_num_timesteps=False)
        model.get_env().close()
        return Training(
            state=_state(model),
            env_steps=int(model.num_timesteps),
            train_return=float(np.mean(episodes.returns)) if episodes.returns else math.nan,
            eval_return=self._evaluate(model, evaluation_seed),
            episodes=len(episodes.returns),
        )

    def _build(self, hyperparameters: Hyperparameters, seed: int) -> Any:
        arguments = _nested({**self.fixed, **hyperparameters})
        with warnings.catch_warnings():
            # About a last minibatch that is smaller than the others: a population tunes the batch size as well.
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            return self.algorithm(self.policy, self._envs(self.n_envs), seed=seed, device="cpu", **arguments)

    def _evaluate(self, model: BaseAlgorithm, seed: int) -> float:
        envs = self._envs(self.eval_episodes)  # one episode for each
        envs.seed(seed)
        mean, _ = evaluate_policy(model, envs, n_eval_episodes=self.eval_episodes, deterministic=True)
        envs.close()
        return float(np.mean(mean))

    def _envs(self, count: int) -> DummyVecEnv:
        return DummyVecEnv([lambda: Monitor(make_env(self.env, **self.context))] * count)


class _EpisodeReturns(BaseCallback):
    """Collects the returns of finished episodes, and lets schedules see the whole run's length."""

    def __init__(self, budget_steps: int) -> None:
        super().__init__()
        self.budget_steps = budget_steps
        self.returns: list[float] = []

    def _on_training_start(self) -> None:
        # Else an exploration schedule would run its whole course in every interval.
        self.model._total_timesteps = self.budget_steps

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


def _algorithm(name: str) -> type[BaseAlgorithm]:
    known = {
        key: value
        for key, value in vars(stable_baselines3).items()
        if inspect.isclass(value) and issubclass(value, BaseAlgorithm)
    }
    if name not in known:
        raise unknown_name("learner.algorithm", name, known)
    return known[name]


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = nested
        for key in path:
            place[key] = dict(place.get(key, {}))
            place = place[key]
        place[last] = dict(value) if isinstance(value, Mapping) else value
    return nested


def _state(model: Any) -> State:
    state: State = {name: np.array(getattr(model, name)) for name in _COUNTERS if hasattr(model, name)}
    for name, tensors in _parameters(model):
        state |= {f"{name}/{key}": _array(value) for key, value in tensors.items()}
    for name in _variables(model):
        state[name] = _array(_attribute(model, name))
    if isinstance(model, OffPolicyAlgorithm):
        buffer: Any = model.replay_buffer
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state["replay/place"] = np.array([buffer.pos, buffer.full])
        state |= {f"replay/{name}": getattr(buffer, name)[:filled] for name in _REPLAY}
    return state


def _restore(model: Any, state: State) -> None:
    for name in _COUNTERS:
        if name in state:
            setattr(model, name, int(state[name]))
    parameters = model.get_parameters()
    for name, own in parameters.items():
        # Copies: optimisers keep the tensors they are handed, and would train in the caller's state.
        saved = {k.removeprefix(f"{name}/"): torch.tensor(v) for k, v in state.items() if k.startswith(f"{name}/")}
        if "param_groups" not in own:
            parameters[name] = saved
            continue
        slots: dict[int, dict[str, Any]] = {}
        for key, value in saved.items():
            index, slot = key.split("/")
            slots.setdefault(int(index), {})[slot] = value
        # Only what the optimiser has learned: its settings are the interval's.
        parameters[name] = {"state": slots, "param_groups": own["param_groups"]}
    try:
        model.set_parameters(parameters, exact_match=True, device="cpu")
    except RuntimeError as error:
        raise MetapbtError(
            f"the checkpoint does not fit the network: hyperparameters that change its shape cannot be tuned ({error})"
        ) from error
    for name in _variables(model):
        _attribute(model, name).data.copy_(torch.as_tensor(state[name]))
    if isinstance(model, OffPolicyAlgorithm):
        buffer: Any = model.replay_buffer
        buffer.pos, buffer.full = int(state["replay/place"][0]), bool(state["replay/place"][1])
        for name in _REPLAY:
            saved_rows = state[f"replay/{name}"]
            getattr(buffer, name)[: len(saved_rows)] = saved_rows


def _parameters(model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module's tensors and each optimiser's state, flat."""
    for name, own in model.get_parameters().items():
        if "param_groups" in own:
            yield name, {f"{i}/{slot}": v for i, slots in own["state"].items() for slot, v in slots.items()}
        else:
            yield name, own


def _variables(model: Any) -> list[str]:
    """Names of tensors that belong to no module, such as SAC's entropy coefficient."""
    return model._get_torch_save_params()[1]


def _attribute(model: Any, name: str) -> torch.Tensor:
    for part in name.split("."):
        model = getattr(model, part)
    return model


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.asarray(value)
