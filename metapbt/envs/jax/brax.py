"""Brax's bodies as pure functions, with a context of traced numbers.

A context holds the numbers that differ from their defaults, and nothing else is traced. So the default is Brax's own
program, bit by bit, and all contexts that change the same features share one compiled program.

Masses: ``spring`` and ``positional`` calculate with mass^(1 - spring_mass_scale), which is 1 for every part of ant,
hopper and pusher, and with inertia alike. Factors of a context apply to what is calculated with, so they always count.

Derived from the default body remain MuJoCo's ``invweight0``, from which ``generalized`` and ``mjx`` take how soft
contacts and limits are.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces

from metapbt.envs.bodies import mass_factors
from metapbt.envs.mujoco import quiet_mujoco
from metapbt.errors import MetapbtError
from metapbt.history.context import Context
from metapbt.jax_backend import jax, jnp

EPISODE = 1000  # steps of Brax's episodes, whatever the body

#: Numbers of an observation, and of an action.
_SIZES = {
    "ant": (27, 8),
    "halfcheetah": (17, 6),
    "hopper": (11, 3),
    "humanoid": (244, 17),
    "walker2d": (17, 6),
    "reacher": (11, 2),
    "swimmer": (8, 2),
    "pusher": (23, 7),
    "inverted_pendulum": (4, 1),
    "inverted_double_pendulum": (8, 1),
}

#: The backends that calculate in joints, and so know what is in them; the others hold parts together by springs.
_EXACT = ("generalized", "mjx")
_SPRINGS = ("spring", "positional")
#: In which backends a feature counts, where it does not in all.
_ONLY_IN = {
    "joint_stiffness": _EXACT,
    "armature": _EXACT,
    "elasticity": _SPRINGS,
    "vel_damping": _SPRINGS,
    "ang_damping": _SPRINGS,
}
#: Their model files give the springs no damping.
_UNDAMPED = ("inverted_pendulum", "inverted_double_pendulum")


@dataclass(frozen=True)
class BraxBody:
    """One of Brax's environments.

    Actions are in [-1, 1], as Brax's learners take them. Brax's wrapper for episodes counts the steps of repeated
    actions too, so a larger ``action_repeat`` means fewer steps here, and the reward is the sum over them.

    Attributes:
        body: as Brax calls it.
        backend: Brax's physics.
        action_repeat: steps of Brax's that each action is taken for.
        context: the changed numbers, which do not count in comparisons: they are handed to the functions.
    """

    body: str
    backend: str
    action_repeat: int
    context: dict[str, float] = field(compare=False)

    @property
    def observation_size(self) -> int:
        """Numbers of an observation."""
        return _SIZES[self.body][0]

    @property
    def action_space(self) -> spaces.Box:
        """Forces of all actuators, as shares of their limits."""
        return spaces.Box(-1.0, 1.0, (_SIZES[self.body][1],), np.float32)

    @property
    def max_episode_steps(self) -> int:
        """After which Brax truncates an episode."""
        return -(-EPISODE // self.action_repeat)

    def reset(self, key: jax.Array, context: Mapping[str, Any]) -> tuple[Any, jax.Array]:
        """Begin an episode; the state is that of Brax's pipeline."""
        state = self._in(context).reset(key)
        return state.pipeline_state, state.obs

    def step(
        self, state: Any, action: jax.Array, context: Mapping[str, Any]
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """Step Brax's environment ``action_repeat`` times; as there, what its last step says of an end counts."""
        from brax.envs import State

        env = self._in(context)
        zero = jnp.float32(0)

        def once(pipeline: Any, _: Any) -> tuple[Any, tuple[Any, ...]]:
            after = env.step(State(pipeline, None, zero, zero), action)
            return after.pipeline_state, (after.obs, jnp.asarray(after.reward, jnp.float32), after.done.astype(bool))

        if self.action_repeat == 1:
            state, (observation, reward, terminated) = once(state, None)
            return state, observation, reward, terminated
        state, (observations, rewards, ends) = jax.lax.scan(once, state, (), self.action_repeat)
        return state, observations[-1], jnp.sum(rewards), ends[-1]

    def _in(self, context: Mapping[str, Any]) -> Any:
        """Brax's environment in a context."""
        own = _brax_env(self.body, self.backend)
        if not context:
            return own
        changed = copy.copy(own)
        changed.sys = _changed(own.sys, self.body, self.backend, context)
        return changed


def brax_body(name: str, context: Context) -> BraxBody:
    """Make a body in a complete context.

    Args:
        name: ``brax/`` and the body.
        context: of its environment.

    Raises:
        MetapbtError: Brax is not installed, or a changed feature does not count with the chosen backend.
    """
    body, backend = name.removeprefix("brax/"), str(context["backend"])
    numbers = {k: float(v) for k, v in context.changed.items() if k not in ("backend", "action_repeat")}
    _check(body, backend, numbers)
    _brax_env(body, backend)
    return BraxBody(body, backend, int(context["action_repeat"]), numbers)


@functools.cache
def _brax_env(body: str, backend: str) -> Any:
    # MuJoCo prints which of its optional parts are missing, and Brax calls its own environments outdated.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from brax import envs
        except ImportError as error:
            raise MetapbtError(f"env 'brax/{body}' needs Brax: pip install 'metapbt[brax]' ({error})") from error
        _mend_fluids()
        with quiet_mujoco():
            return envs.get_environment(body, backend=backend)


def _mend_fluids() -> None:
    """Let Brax 0.14's fluids, which only the swimmer has, run with a JAX whose ``clip`` has no ``a_min`` any more."""
    from brax import fluid

    if fluid.jp is jnp and "a_min" not in inspect.signature(jnp.clip).parameters:
        fluid.jp = SimpleNamespace(**{**vars(jnp), "clip": lambda x, a_min: jnp.clip(x, min=a_min)})


def _check(body: str, backend: str, changed: Iterable[str]) -> None:
    only_in = {**_ONLY_IN, "joint_damping": _EXACT} if body in _UNDAMPED else _ONLY_IN
    for name in changed:
        backends = only_in.get(name, (backend,))
        if backend not in backends:
            choices = " or ".join(f"context.backend={other}" for other in backends)
            raise MetapbtError(f"brax/{body}.{name} does not count with backend={backend}: choose {choices}")


def _changed(system: Any, body: str, backend: str, context: Mapping[str, Any]) -> Any:
    """A system in which some numbers are others: those that Brax's own backends read, and those of ``mjx``."""
    factors = mass_factors(body, context, system.link_names)
    if factors is not None:
        system = _heavier(system, jnp.stack([jnp.float32(factor) for factor in factors]), backend)
    for name, value in context.items():
        match name:
            case "gravity":
                pull = system.gravity.at[2].set(value)
                system = system.tree_replace({"gravity": pull, "opt.gravity": pull})
            case "friction":
                system = system.replace(geom_friction=system.geom_friction.at[:, 0].multiply(value))
            case "joint_strength":
                system = system.tree_replace({"actuator.gear": system.actuator.gear * value})
                system = system.replace(actuator_gear=system.actuator_gear * value)
            case "joint_damping":
                constraint = system.link.constraint_ang_damping * value
                damping = {"dof.damping": system.dof.damping * value, "link.constraint_ang_damping": constraint}
                system = system.tree_replace(damping).replace(dof_damping=system.dof_damping * value)
            case "joint_stiffness":
                system = system.tree_replace({"dof.stiffness": system.dof.stiffness * value})
                system = system.replace(jnt_stiffness=system.jnt_stiffness * value)
            case "armature":
                system = system.tree_replace({"dof.armature": system.dof.armature * value})
                system = system.replace(dof_armature=system.dof_armature * value)
            case "elasticity":
                system = system.replace(elasticity=jnp.full_like(system.elasticity, value))
            case "vel_damping" | "ang_damping" | "density" | "viscosity":
                system = system.replace(**{name: value})
    return system


def _heavier(system: Any, factors: jax.Array, backend: str) -> Any:
    """A system with the mass and inertia of each link, (links,), multiplied."""
    mass, inertia = system.link.inertia.mass, system.link.inertia.i
    if backend not in _EXACT:
        mass = mass ** (1 - system.spring_mass_scale)
        inertia = jax.vmap(jnp.diag)(jax.vmap(jnp.diagonal)(inertia) ** (1 - system.spring_inertia_scale))
        system = system.replace(spring_mass_scale=0.0, spring_inertia_scale=0.0)
    both = {"link.inertia.mass": mass * factors, "link.inertia.i": inertia * factors[:, None, None]}
    with_world = jnp.concatenate([jnp.ones(1), factors])
    return system.tree_replace(both).replace(
        body_mass=system.body_mass * with_world, body_inertia=system.body_inertia * with_world[:, None]
    )
