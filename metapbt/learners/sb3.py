"""Stable-Baselines3: any of its algorithms, by name."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from metapbt.envs import make_env
from metapbt.envs.batches import Seeds, why_anew
from metapbt.envs.batches.episodes import SeededEpisodes, resume, under_way
from metapbt.errors import MetapbtError, one_line, unknown_name
from metapbt.learners.base import Policy, State, Teacher, Training, no_teacher
from metapbt.learners.intervals import episodes_in, episodes_state, longest_rollout, warn_if_anew, warn_if_cut
from metapbt.seeding import episode_seed

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

_SETTINGS = {"algorithm", "policy", "n_envs", "hyperparameters"}
_COUNTERS = ("_n_updates", "_n_calls", "_episode_num")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
#: Episodes of an evaluation that are stepped side by side.
_EVALUATED_TOGETHER = 32


class SB3Learner:
    """Trains with an algorithm of Stable-Baselines3.

    Every interval builds the algorithm anew with the interval's hyperparameters and puts back weights, optimiser
    state, replay buffer, counters, action noise, and the episodes under way, which are played again. So any argument of
    the algorithm's constructor can be tuned (but for those that change the shape of the network), and an interval that
    is repeated gives the same result. A rollout is at most as long as an interval, whatever ``n_steps``.
    """

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        for key in settings.keys() - _SETTINGS:
            raise unknown_name("setting of learner sb3", key, _SETTINGS)
        self.env = env
        self.context = context
        self.budget = budget
        self.algorithm = _algorithm(settings["algorithm"])
        self.policy_name = settings["policy"]
        self.n_envs = int(settings["n_envs"])
        self.fixed = dict(settings["hyperparameters"].get(settings["algorithm"], {}))
        if self.n_envs < 1:
            raise MetapbtError(f"learner.n_envs must be >= 1, got {self.n_envs}")

    def check(self, space: Space) -> None:
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
        try:
            self._build(space.default())
        except (TypeError, ValueError, AssertionError) as error:
            raise MetapbtError(
                f"{self.algorithm.__name__} on {self.env} cannot be set up: {one_line(error)}"
            ) from error
        if issubclass(self.algorithm, OnPolicyAlgorithm):
            tuned = [p.choices or (p.low, p.high) for p in space.parameters if p.name == "n_steps"]
            warn_if_cut(max(map(int, *tuned)) if tuned else self._n_steps({}), self.budget, self.n_envs)
        warn_if_anew(self.env, self._why_anew)

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Train whole rollouts until the interval's end, then evaluate the deterministic policy."""
        no_teacher("sb3", teacher)
        envs = self._envs(self.n_envs, partial(episode_seed, interval.seed))
        seeded: list[Any] = envs.envs
        episodes = None if self._why_anew else episodes_in(start, self.n_envs)
        if episodes is not None:
            resume(seeded, episodes)
        model = self._build(interval.hyperparameters, interval.seed, envs)
        if start is not None:
            _restore(model, start)
        model.num_timesteps = interval.start_steps
        going = _Interval(self.budget.steps, start)
        # At least one step, and so one rollout. The environments' first reset plays the episodes under way again.
        steps = max(interval.until_steps - interval.start_steps, 1)
        model.learn(steps, callback=going, log_interval=None, reset_num_timesteps=False)
        state = _state(model)
        if not self._why_anew:
            state |= episodes_state(under_way(seeded))
        envs.close()
        evaluation = self._evaluate(model, interval.evaluation_seed, interval.evaluation_episodes)
        return Training(state, int(model.num_timesteps), tuple(going.returns), evaluation)

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The mean return of the deterministic policy."""
        return self._evaluate(self._restored(state, hyperparameters), seed, episodes)

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """The trained agent."""
        return _SB3Policy(self._restored(state, hyperparameters))

    def _restored(self, state: State, hyperparameters: Hyperparameters) -> Any:
        model = self._build(hyperparameters)
        _restore(model, state)
        return model

    def _build(self, hyperparameters: Hyperparameters, seed: int = 0, envs: DummyVecEnv | None = None) -> Any:
        """The algorithm, on ``envs`` or on closed ones that only show it their spaces."""
        if envs is None:
            envs = self._envs(self.n_envs, lambda place, count: count)
            envs.close()
        # Copies, for action noise has a state.
        arguments = copy.deepcopy(_nested({**self.fixed, **hyperparameters}))
        if issubclass(self.algorithm, OnPolicyAlgorithm):
            arguments["n_steps"] = min(self._n_steps(hyperparameters), longest_rollout(self.budget, self.n_envs))
        with warnings.catch_warnings():
            # About a last minibatch that is smaller than the others: a population tunes the batch size as well.
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            return self.algorithm(self.policy_name, envs, seed=seed, device="cpu", **arguments)

    def _n_steps(self, hyperparameters: Hyperparameters) -> int:
        default = inspect.signature(self.algorithm).parameters["n_steps"].default
        return int({"n_steps": default, **self.fixed, **hyperparameters}["n_steps"])

    def _evaluate(self, model: BaseAlgorithm, seed: int, episodes: int) -> float:
        returns: list[float] = []
        for first in range(seed, seed + episodes, _EVALUATED_TOGETHER):
            count = min(_EVALUATED_TOGETHER, seed + episodes - first)  # one episode for each environment
            envs = self._envs(count, lambda place, count, first=first: first + place)  # type: ignore[misc]
            of_each, _ = evaluate_policy(model, envs, count, deterministic=True, return_episode_rewards=True)
            envs.close()
            returns += of_each  # type: ignore[arg-type]
        return float(np.mean(returns))

    def _envs(self, count: int, seeds: Seeds) -> DummyVecEnv:
        # Episodes outside of the monitor: played again, they give it their rewards.
        features: dict[str, Any] = dict(self.context)

        def maker(place: int) -> Callable[[], SeededEpisodes]:
            return lambda: SeededEpisodes(Monitor(make_env(self.env, **features)), partial(seeds, place))

        return DummyVecEnv([maker(place) for place in range(count)])

    @cached_property
    def _why_anew(self) -> str | None:
        return why_anew(self.env, self.context)


class _SB3Policy:
    """A trained agent."""

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model

    def act(self, observation: Any) -> Any:
        """The most likely action for one observation: an integer, or an array within the bounds of the box."""
        action = self._model.predict(observation, deterministic=True)[0]
        return action if action.ndim else int(action)


class _Interval(BaseCallback):
    """Collects the returns of finished episodes, lets schedules see the whole run's length, and puts noise back."""

    def __init__(self, budget_steps: int, start: State | None) -> None:
        super().__init__()
        self.budget_steps = budget_steps
        self.start = start
        self.returns: list[float] = []

    def _on_training_start(self) -> None:
        # Else an exploration schedule would run its whole course in every interval.
        self.model._total_timesteps = self.budget_steps
        if self.start is not None and "noise" in self.start:  # Stable-Baselines3 has just reset it
            for noise, previous in zip(_noises(self.model), self.start["noise"], strict=True):
                noise.noise_prev = previous.copy()

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
        if noises := _noises(model):
            state["noise"] = np.array([noise.noise_prev for noise in noises])
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
        if name in state:
            _attribute(model, name).data.copy_(torch.as_tensor(state[name]))
    if isinstance(model, OffPolicyAlgorithm):
        _restore_replay(model.replay_buffer, state)


def _restore_replay(buffer: Any, state: State) -> None:
    """Put the latest of the saved steps into a buffer, whose size may have been tuned."""
    place, full = (int(number) for number in state["replay/place"])
    rows, size = len(state["replay/rewards"]), buffer.buffer_size
    oldest = place if full and rows != size else 0
    for name in _REPLAY:
        getattr(buffer, name)[: min(rows, size)] = np.roll(state[f"replay/{name}"], -oldest, axis=0)[-size:]
    if rows != size:
        place, full = min(rows, size) % size, rows > size
    buffer.pos, buffer.full = place, bool(full)


def _parameters(model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module's tensors and each optimiser's state, flat."""
    for name, own in model.get_parameters().items():
        if "param_groups" in own:
            yield name, {f"{i}/{slot}": v for i, slots in own["state"].items() for slot, v in slots.items()}
        else:
            yield name, own


def _variables(model: Any) -> list[str]:
    """Names of learned tensors that belong to no module: SAC's entropy coefficient, unless it is a hyperparameter."""
    return [name for name in model._get_torch_save_params()[1] if _attribute(model, name).requires_grad]


def _noises(model: Any) -> list[OrnsteinUhlenbeckActionNoise]:
    """The action noise of each environment, where it depends on what it was before."""
    noise = getattr(model, "action_noise", None)
    each = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
    return [one for one in each if isinstance(one, OrnsteinUhlenbeckActionNoise)]


def _attribute(model: Any, name: str) -> torch.Tensor:
    for part in name.split("."):
        model = getattr(model, part)
    return model


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.asarray(value)
