"""What a context may change in a body that moves, for every simulator alike: names, units, legal ranges.

Brax and MuJoCo read nearly the same model files, so a feature has one name and one meaning in both. Masses, strengths
and the like differ from part to part, so their features are factors: 1 leaves a body as it is. No simulator here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metapbt.envs.base import Feature

#: The parts of each body whose masses have a feature of their own: its name, and the names of the parts that it is of.
LIMBS: dict[str, dict[str, str]] = {
    "ant": {"torso_mass": "torso", "leg_mass": r"aux_\d|.*_leg|"},  # shins have no name
    "halfcheetah": {"torso_mass": "torso", "thigh_mass": ".thigh", "shin_mass": ".shin", "foot_mass": ".foot"},
    "hopper": {"torso_mass": "torso", "thigh_mass": "thigh", "leg_mass": "leg", "foot_mass": "foot"},
    "humanoid": {
        "torso_mass": "torso|lwaist|pelvis",
        "leg_mass": ".*_(thigh|shin|foot)",
        "arm_mass": ".*_arm",
    },
    "walker2d": {"torso_mass": "torso", "thigh_mass": "thigh.*", "leg_mass": "leg.*", "foot_mass": "foot.*"},
    "reacher": {"upper_arm_mass": "body0", "forearm_mass": "body1|fingertip"},
    "swimmer": {"head_mass": "torso", "middle_mass": "mid", "tail_mass": "back"},
    "pusher": {"arm_mass": "r_.*|tips_arm", "object_mass": "object"},
    "inverted_pendulum": {"cart_mass": "cart", "pole_mass": "pole"},
    "inverted_double_pendulum": {"cart_mass": "cart", "lower_pole_mass": "pole", "upper_pole_mass": "pole2"},
}

#: Gymnasium's names of them.
MUJOCO_IDS = {
    "ant": "Ant-v5",
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "humanoid": "Humanoid-v5",
    "walker2d": "Walker2d-v5",
    "reacher": "Reacher-v5",
    "swimmer": "Swimmer-v5",
    "pusher": "Pusher-v5",
    "inverted_pendulum": "InvertedPendulum-v5",
    "inverted_double_pendulum": "InvertedDoublePendulum-v5",
}

#: What can be changed beside masses and strength, where a body has it.
_ALSO: dict[str, tuple[str, ...]] = {
    "ant": ("gravity", "friction", "joint_damping", "armature"),
    "halfcheetah": ("gravity", "friction", "joint_damping", "joint_stiffness", "armature"),
    "hopper": ("gravity", "friction", "joint_damping", "armature"),
    "humanoid": ("gravity", "friction", "joint_damping", "joint_stiffness", "armature"),
    "walker2d": ("gravity", "friction", "joint_damping", "armature"),
    "reacher": ("joint_damping", "armature"),
    "swimmer": ("armature", "density", "viscosity"),
    "pusher": ("gravity", "joint_damping", "armature"),
    "inverted_pendulum": ("gravity", "joint_damping"),
    "inverted_double_pendulum": ("gravity", "joint_damping"),
}

_GRAVITY = Feature("gravity", "m/s²", -9.81, -30.0, -0.5, "opt.gravity", "gravity upwards, so negative")
#: The pusher's arm is weightless.
_PULL = Feature("gravity", "m/s²", 0.0, -20.0, 0.0, "opt.gravity", "gravity upwards, so negative")
FRICTION = Feature("friction", "1", 1.0, 0.1, 5.0, "geom_friction", "factor on sliding friction of all surfaces")
_MASS = Feature("mass", "1", 1.0, 0.2, 5.0, "body_mass", "factor on mass and inertia of all parts")
_STRENGTH = Feature("joint_strength", "1", 1.0, 0.2, 3.0, "actuator_gear", "factor on the force of all actuators")
_JOINTS = (
    Feature("joint_damping", "1", 1.0, 0.0, 5.0, "dof_damping", "factor on what resists motion in all joints"),
    Feature("joint_stiffness", "1", 1.0, 0.0, 5.0, "jnt_stiffness", "factor on the springs in all joints"),
    Feature("armature", "1", 1.0, 0.2, 5.0, "dof_armature", "factor on the inertia of all motors"),
)
_MEDIUM = (
    Feature("density", "kg/m³", 4000.0, 100.0, 20000.0, "opt.density", "of the medium"),
    Feature("viscosity", "Pa s", 0.1, 0.0, 10.0, "opt.viscosity", "of the medium"),
)


def features(body: str) -> tuple[Feature, ...]:
    """The features of a body that every simulator has, in the order in which contexts are written.

    Args:
        body: a key of ``LIMBS``.
    """
    limbs = (
        Feature(name, "1", 1.0, 0.2, 5.0, "body_mass", f"factor on mass and inertia of {_words(name)}")
        for name in LIMBS[body]
    )
    # With more, MuJoCo's integration of the humanoid explodes.
    joints = (replace(_JOINTS[0], high=3.0), *_JOINTS[1:]) if body == "humanoid" else _JOINTS
    every = (_PULL if body == "pusher" else _GRAVITY, FRICTION, _MASS, *limbs, _STRENGTH, *joints, *_MEDIUM)
    always = {"mass", "joint_strength", *LIMBS[body]}
    return tuple(feature for feature in every if feature.name in always or feature.name in _ALSO[body])


def mass_factors(body: str, context: Mapping[str, Any], parts: Sequence[str]) -> list[Any] | None:
    """By how much the mass and inertia of each part change; None where ``context`` changes no mass.

    Args:
        body: a key of ``LIMBS``.
        context: the changed features, as numbers of any kind.
        parts: the names of the parts, in the simulator's order. Those that are no limb keep their mass, as a goal.
    """
    limbs = LIMBS[body]
    if "mass" not in context and not limbs.keys() & context.keys():
        return None
    factors = []
    for part in parts:
        limb = next((name for name, pattern in limbs.items() if re.fullmatch(pattern, part)), None)
        factors.append(1.0 if limb is None else context.get("mass", 1.0) * context.get(limb, 1.0))
    return factors


def _words(name: str) -> str:
    return "the " + name.removesuffix("_mass").replace("_", " ")
