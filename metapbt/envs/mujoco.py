"""MuJoCo's bodies as Gymnasium has them (``env=Hopper-v5``), with other gravity, friction, masses and joints.

Needs the extra ``metapbt[mujoco]``. docs/bodies.md has the table of features. They change the compiled model, after
which MuJoCo derives again what follows from it (``mj_setConst``); where none is changed, nothing is touched.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Environment
from metapbt.envs.bodies import MUJOCO_IDS, features, mass_factors
from metapbt.errors import MetapbtError
from metapbt.log import LOGGER

if TYPE_CHECKING:
    import gymnasium

_STEPS = {"reacher": 50, "pusher": 100}


def _environment(body: str) -> Environment:
    def build(context: Mapping[str, Any], render_mode: str | None) -> gymnasium.Env[Any, Any]:
        changed = {f.name: context[f.name] for f in environment.features if context[f.name] != f.default}
        return _build(body, changed, render_mode)

    environment = Environment(
        MUJOCO_IDS[body],
        features=features(body),
        gym_id=f"metapbt/{MUJOCO_IDS[body]}",
        build=build,
        max_episode_steps=_STEPS.get(body, 1000),
        render_modes=("human", "rgb_array", "depth_array", "rgbd_tuple"),
    )
    return environment


def _build(body: str, changed: dict[str, float], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    """Gymnasium's own environment, with a context that changes these features."""
    made_by = _contextual_class(body)
    with quiet_mujoco():
        environment: gymnasium.Env[Any, Any] = made_by(body, changed, render_mode)
    return environment


@functools.cache
def _contextual_class(body: str) -> type[Any]:
    import gymnasium

    try:
        import mujoco
    except ImportError as error:
        raise MetapbtError(f"env '{MUJOCO_IDS[body]}' needs MuJoCo: pip install 'metapbt[mujoco]' ({error})") from error
    spec = gymnasium.spec(MUJOCO_IDS[body])
    assert isinstance(spec.entry_point, str)
    base: Any = gymnasium.envs.registration.load_env_creator(spec.entry_point)

    class Contextual(base):
        def __init__(self, body: str, changed: dict[str, float], render_mode: str | None) -> None:
            super().__init__(render_mode=render_mode, **spec.kwargs)
            self._changed = changed
            if changed:
                change(self.model, body, changed)
                mujoco.mj_setConst(self.model, self.data)
                mujoco.mj_resetData(self.model, self.data)

        def __reduce__(self) -> tuple[Any, ...]:
            # As Gymnasium's own, pickles into a fresh environment; by arguments, as the class has no home.
            return _build, (body, self._changed, self.render_mode)

    Contextual.__name__ = Contextual.__qualname__ = base.__name__
    return Contextual


def change(model: Any, body: str, changed: Mapping[str, float]) -> None:
    """Change a MuJoCo model in place; ``mj_setConst`` has to follow.

    Args:
        model: a ``mujoco.MjModel`` of the body.
        body: a key of ``MUJOCO_IDS``.
        changed: features of ``metapbt.envs.bodies`` and their values.
    """
    factors = mass_factors(body, changed, [model.body(i).name for i in range(model.nbody)])
    if factors is not None:
        model.body_mass *= factors
        model.body_inertia *= [[factor] for factor in factors]
    for name, value in changed.items():
        match name:
            case "gravity":
                model.opt.gravity[2] = value
            case "friction":
                model.geom_friction[:, 0] *= value
            case "joint_strength":
                model.actuator_gear *= value
            case "joint_damping":
                model.dof_damping *= value
            case "joint_stiffness":
                model.jnt_stiffness *= value
            case "armature":
                model.dof_armature *= value
            case "density":
                model.opt.density = value
            case "viscosity":
                model.opt.viscosity = value


@contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Send what MuJoCo says of model files to our log, for developers; and from then on its warnings, for everybody.

    Left alone, MuJoCo writes a file MUJOCO_LOG.TXT wherever it is.
    """
    import mujoco

    def listen(level: int) -> None:
        mujoco.set_mju_user_warning(lambda said: LOGGER.log(level, "MuJoCo: %s", said))

    listen(logging.DEBUG)
    try:
        yield
    finally:
        listen(logging.WARNING)


ANT = _environment("ant")
HALFCHEETAH = _environment("halfcheetah")
HOPPER = _environment("hopper")
HUMANOID = _environment("humanoid")
WALKER2D = _environment("walker2d")
REACHER = _environment("reacher")
SWIMMER = _environment("swimmer")
PUSHER = _environment("pusher")
INVERTED_PENDULUM = _environment("inverted_pendulum")
INVERTED_DOUBLE_PENDULUM = _environment("inverted_double_pendulum")
