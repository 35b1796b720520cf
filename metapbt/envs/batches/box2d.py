"""The Box2D environments as batches: Gymnasium's physics and rewards, without what neither changes.

Identical to ``make_env``, bit by bit. What is left out: wrappers and checks, all that is only drawn, and NumPy's
functions where Python's own give the same float. Most of the time that remains is Box2D's solver, whose 180
iterations a step are part of the trajectory.

Box2D hands out a body's position and velocity as views: taken once an episode, they always read what is current.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from Box2D import b2_dynamicBody, b2BodyDef, b2Shape, b2World
from Box2D.b2 import contactListener, edgeShape, fixtureDef, polygonShape, rayCastCallback, revoluteJointDef
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from metapbt.envs import get_environment, make_env
from metapbt.envs.batches.base import BatchStep, Episodes, Seeds, shared_action_space
from metapbt.envs.batches.episodes import packed, played, same_episodes

#: The next observation, the reward, and whether the episode terminated.
Outcome = tuple[list[float], float, bool]


class Box2DBatch:
    """Steps Box2D environments one after another.

    Args:
        name: of the environment.
        contexts: the changed features of each environment.
        make: makes one environment from Gymnasium's own.

    Raises:
        MetapbtError: as for ``make_env`` and ``shared_action_space``.
    """

    def __init__(self, name: str, contexts: Sequence[Mapping[str, Any]], make: Callable[[Any], Any]) -> None:
        self.num_envs = len(contexts)
        originals: list[Any] = [make_env(name, render_mode=None, **context).unwrapped for context in contexts]
        self.observation_space: spaces.Box = originals[0].observation_space
        self.action_space = shared_action_space(name, originals)
        self._envs = [make(original) for original in originals]
        self._step_each: list[Callable[[Any], Outcome]] = [env.step for env in self._envs]
        limit = get_environment(name).max_episode_steps
        self._max_episode_steps = limit or math.inf
        # Time is counted once for all; an episode is as old as the time since it began.
        self._time = 0
        self._began: list[float] = [0] * self.num_envs
        self._first_limit: float = 0  # when the oldest episode reaches its limit
        self._nowhere = np.zeros(self.num_envs, np.bool_)
        self._resting = True  # some of them, or nothing has begun
        self._seeds = [0] * self.num_envs
        self._actions: deque[NDArray[Any]] = deque(maxlen=limit)
        self._observations = np.empty((self.num_envs, *self.observation_space.shape), np.float32)
        self._observed = self._observations.ravel()  # the same numbers in one row
        self._final_observations = np.empty_like(self._observations)

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> NDArray[np.float32]:
        """Begin an episode in every environment, or play those under way again, unless it is in their midst."""
        self._seed_of, self._count = seeds, [0] * self.num_envs
        if under_way is not None and not self._resting and same_episodes(self.under_way(), under_way):
            return self._observations
        self._time, self._resting = 0, False
        self._actions.clear()
        self._step_each = [env.step for env in self._envs]
        if under_way is None:
            for i in range(self.num_envs):
                self._begin(i)
        else:
            self._seeds = under_way["seed"].tolist()
            self._began = (-under_way["age"]).tolist()
            self._actions.extend(under_way["actions"])
            for i, env in enumerate(self._envs):
                observation = env.begin(self._seeds[i])
                for action in played(under_way, i).tolist():
                    observation, _, _ = env.step(action)
                self._observations[i] = observation
        self._first_limit = min(self._began) + self._max_episode_steps
        return self._observations

    def _begin(self, i: int) -> None:
        seed = self._seeds[i] = self._seed_of(i, self._count[i])
        self._count[i] += 1
        self._began[i] = self._time
        self._observations[i] = self._envs[i].begin(seed)

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once."""
        self._actions.append(actions.copy())
        outcomes = [step(action) for step, action in zip(self._step_each, actions.tolist(), strict=True)]
        observations, rewards, terminated = zip(*outcomes, strict=True)
        self._time += 1
        # A list of lists is slow for NumPy to take over.
        self._observed[:] = np.fromiter(chain.from_iterable(observations), np.float64, len(self._observed))
        final_observations = self._observations
        ended = truncated = self._nowhere
        limited = self._time >= self._first_limit
        if limited:
            truncated = np.array([self._time - began >= self._max_episode_steps for began in self._began])
        if limited or True in terminated:
            ended = np.array(terminated)
            final_observations = self._final_observations
            final_observations[:] = self._observations
            for i in range(self.num_envs):
                if terminated[i] or truncated[i]:
                    self._begin(i)
            self._first_limit = min(self._began) + self._max_episode_steps
        return BatchStep(self._observations, np.array(rewards, np.float64), ended, truncated, final_observations)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way: their seeds and actions."""
        actions = np.array(self._actions)
        ages = [self._time - int(began) for began in self._began]
        each: list[Any] = [actions[len(actions) - age :, i] if age else [] for i, age in enumerate(ages)]
        return packed(self._seeds, each, self.action_space)

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Step these environments no more until the next reset."""
        self._resting = True
        outcome: Outcome = [0.0] * self._observations[0].size, 0.0, False
        for i in np.flatnonzero(which):
            self._step_each[i] = lambda _: outcome
            self._began[i] = math.inf

    def close(self) -> None:
        """Let go of the environments."""
        self._envs, self._step_each = [], []


def lunar_lander_batch(contexts: Sequence[Mapping[str, Any]]) -> Box2DBatch:
    """Make lunar landers, one for each of ``contexts``."""
    return Box2DBatch("lunar_lander", contexts, _LunarLander)


def bipedal_walker_batch(contexts: Sequence[Mapping[str, Any]]) -> Box2DBatch:
    """Make bipedal walkers, one for each of ``contexts``."""
    return Box2DBatch("bipedal_walker", contexts, _walker)


class _Contacts(contactListener):
    """Tells an environment what touches the ground, as Gymnasium's ``ContactDetector``."""

    def __init__(self, env: Any) -> None:
        super().__init__()
        self.env = env

    def BeginContact(self, contact: Any) -> None:
        self._note(contact, 1.0)

    def EndContact(self, contact: Any) -> None:
        self._note(contact, 0.0)

    def _note(self, contact: Any, touches: float) -> None:
        env = self.env
        for body in (contact.fixtureA.body, contact.fixtureB.body):
            if body == env.hull:
                env.crashed = True  # for good, so that the contact's end changes nothing
            for i, foot in enumerate(env.feet):
                if body == foot:
                    env.foot_contacts[i] = touches

    def PreSolve(self, contact: Any, old_manifold: Any) -> None:
        """Spare Box2D the way back into C++ for its own, which does nothing."""

    def PostSolve(self, contact: Any, impulse: Any) -> None:
        """As ``PreSolve``."""


def _uniforms(seed: int) -> Iterator[float]:
    """A lander's draws are all from [0, 1) and then scaled; by the hundred they come much cheaper than one by one."""
    random, _ = seeding.np_random(seed)
    while True:
        yield from random.random(128).tolist()


#: How strongly the main engine fires, and a side engine (the left one below 0), where an action names one of them.
_ENGINES = [(0.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)]


def _throttles(action: Sequence[float]) -> tuple[float, float]:
    """How strongly the engines fire at the continuous ``action``: not at all, or at half of their power or more."""
    up, side = action
    main = (min(up, 1.0) + 1.0) * 0.5 if up > 0.0 else 0.0
    return main, math.copysign(min(abs(side), 1.0), side) if abs(side) > 0.5 else 0.0


class _LunarLander:
    """One lander of Gymnasium's, without wind; ``original`` says in which context."""

    def __init__(self, original: Any) -> None:
        constants = original.constants
        self._gravity = original._gravity
        self._fps = constants["FPS"]
        self._scale = scale = constants["SCALE"]
        self._main_power = constants["MAIN_ENGINE_POWER"]
        self._side_power = constants["SIDE_ENGINE_POWER"]
        self._main_y = constants["MAIN_ENGINE_Y_LOCATION"] / scale
        self._side_height = constants["SIDE_ENGINE_HEIGHT"]
        self._side_away = constants["SIDE_ENGINE_AWAY"] / scale
        self._initial_random = constants["INITIAL_RANDOM"]
        self._width, self._height = constants["VIEWPORT_W"] / scale, constants["VIEWPORT_H"] / scale
        self._half_width, self._half_height = self._width / 2, self._height / 2
        self._rest_y = self._height / 4 + constants["LEG_DOWN"] / scale
        # Definitions that every episode uses again.
        self._edge = edgeShape()
        self._floor = fixtureDef(shape=self._edge)
        self._ground = fixtureDef(shape=self._edge, density=0, friction=0.1)
        self._hull = b2BodyDef(
            type=b2_dynamicBody,
            position=(self._half_width, self._height),
            fixtures=fixtureDef(
                shape=polygonShape(vertices=[(x / scale, y / scale) for x, y in constants["LANDER_POLY"]]),
                density=5.0, friction=0.1, categoryBits=0x0010, maskBits=0x001, restitution=0.0,
            ),
        )  # fmt: skip
        leg_away, leg_down = constants["LEG_AWAY"], constants["LEG_DOWN"]
        leg = fixtureDef(
            shape=polygonShape(box=(constants["LEG_W"] / scale, constants["LEG_H"] / scale)),
            density=1.0, restitution=0.0, categoryBits=0x0020, maskBits=0x001,
        )  # fmt: skip
        self._legs = [
            (
                b2BodyDef(
                    type=b2_dynamicBody,
                    position=(self._half_width - side * leg_away / scale, self._height),
                    angle=side * 0.05,
                    fixtures=leg,
                ),
                revoluteJointDef(
                    localAnchorA=(0, 0),
                    localAnchorB=(side * leg_away / scale, leg_down / scale),
                    enableMotor=True,
                    enableLimit=True,
                    maxMotorTorque=constants["LEG_SPRING_TORQUE"],
                    motorSpeed=0.3 * side,
                    referenceAngle=side * 0.05,  # the leg's, as Box2D sets it where it is told the bodies
                    lowerAngle=lower,
                    upperAngle=upper,
                ),
            )
            for side, lower, upper in ((-1, 0.9 - 0.5, 0.9), (1, -0.9, -0.9 + 0.5))
        ]
        self._contacts = _Contacts(self)
        self._uniforms: Iterator[float] = iter(())
        self._powers: Callable[[Any], tuple[float, float]] = _ENGINES.__getitem__
        self._nothing: Any = 0
        if original.continuous:
            self._powers, self._nothing = _throttles, (0.0, 0.0)

    def begin(self, seed: int) -> list[float]:
        """Begin an episode."""
        self._uniforms = _uniforms(seed)
        self.crashed = False
        self.foot_contacts = [0.0, 0.0]
        self._shaping: float | None = None
        self._world = world = b2World(gravity=self._gravity)
        world.contactListener = self._contacts
        self._make_ground(world)
        self.hull = world.CreateBody(self._hull)
        self.hull.ApplyForceToCenter((self._push(), self._push()), True)
        self.feet = [self._make_leg(world, *definitions) for definitions in self._legs]
        self._advance = world.Step
        self._position, self._velocity = self.hull.position, self.hull.linearVelocity
        return self.step(self._nothing)[0]

    def _push(self) -> float:
        return -self._initial_random + 2 * self._initial_random * next(self._uniforms)

    def _make_ground(self, world: Any) -> None:
        height = [self._half_height * next(self._uniforms) for _ in range(12)]
        height[3:8] = [self._height / 4] * 5  # the landing pad
        edge = self._edge
        edge.vertices = (0, 0), (self._width, 0)
        moon = world.CreateStaticBody()
        moon.CreateFixture(self._floor)
        points = [
            (self._width / 10 * i, 0.33 * (height[i - 1] + height[i] + height[i + 1])) for i in range(11)
        ]  # Gymnasium smooths the first of them with the last of ``height``
        for edge.vertex1, edge.vertex2 in zip(points, points[1:], strict=False):
            moon.CreateFixture(self._ground)

    def _make_leg(self, world: Any, body: Any, joint: Any) -> Any:
        leg = world.CreateBody(body)
        joint.bodyA, joint.bodyB = self.hull, leg
        world.CreateJoint(joint)
        return leg

    def step(self, action: Any) -> Outcome:
        """Fire engines (0 none, 1 left, 2 main, 3 right; or two throttles), and let the world go on by one step."""
        hull, position, velocity = self.hull, self._position, self._velocity
        uniforms, scale = self._uniforms, self._scale
        # Gymnasium draws these for every action.
        dispersion_0 = (2.0 * next(uniforms) - 1.0) / scale
        dispersion_1 = (2.0 * next(uniforms) - 1.0) / scale
        main, side = self._powers(action)
        if main:
            sin, cos, power = math.sin(hull.angle), math.cos(hull.angle), self._main_power
            along = self._main_y + 2 * dispersion_0
            x = sin * along - cos * dispersion_1
            y = -cos * along - sin * dispersion_1
            hull.ApplyLinearImpulse((-x * power * main, -y * power * main), (position.x + x, position.y + y), True)
        if side:
            sin, cos, power = math.sin(hull.angle), math.cos(hull.angle), self._side_power
            across = 3 * dispersion_1 + math.copysign(self._side_away, side)
            x = sin * dispersion_0 - cos * across
            y = -cos * dispersion_0 - sin * across
            # Gymnasium writes 17 where its SIDE_ENGINE_HEIGHT is meant.
            point = position.x + x - sin * 17 / scale, position.y + y + cos * self._side_height / scale
            side = abs(side)
            hull.ApplyLinearImpulse((-x * power * side, -y * power * side), point, True)

        self._advance(1.0 / self._fps, 180, 60)

        x = (position.x - self._half_width) / self._half_width
        y = (position.y - self._rest_y) / self._half_height
        vx = velocity.x * self._half_width / self._fps
        vy = velocity.y * self._half_height / self._fps
        angle = hull.angle
        left, right = self.foot_contacts
        shaping = (
            -100 * math.sqrt(x * x + y * y) - 100 * math.sqrt(vx * vx + vy * vy) - 100 * abs(angle)
            + 10 * left + 10 * right
        )  # fmt: skip
        reward = 0.0 if self._shaping is None else shaping - self._shaping
        self._shaping = shaping
        terminated = False
        reward -= main * 0.30
        reward -= side * 0.03
        if self.crashed or abs(x) >= 1.0:
            terminated, reward = True, -100.0
        if not hull.awake:
            terminated, reward = True, 100.0
        return [x, y, vx, vy, angle, 20.0 * hull.angularVelocity / self._fps, left, right], reward, terminated


class _Ray(rayCastCallback):
    """How far along a ray of the lidar the ground is, 1 for out of its range."""

    fraction: float

    def ReportFixture(self, fixture: Any, point: Any, normal: Any, fraction: float) -> float:
        if fixture.type != b2Shape.e_edge:
            return -1.0  # only the ground is made of edges
        self.fraction = fraction
        return fraction


def _walker(original: Any) -> Any:
    base: Any = type(original)
    return _walker_class(base)(original._gravity)


@functools.cache
def _walker_class(base: Any) -> type[Any]:
    """Return the bipedal walker ``base`` with ground that is not drawn and a faster step; only without obstacles."""
    constants = base.constants
    fps, scale = constants["FPS"], constants["SCALE"]
    speeds = [constants["SPEED_HIP"], constants["SPEED_KNEE"]] * 2
    # Gymnasium multiplies it by float32 actions, in float32.
    torque = float(np.float32(constants["MOTORS_TORQUE"]))
    torque_cost = 0.00035 * constants["MOTORS_TORQUE"]
    terrain_step, terrain_length = constants["TERRAIN_STEP"], constants["TERRAIN_LENGTH"]
    terrain_height, terrain_grass = constants["TERRAIN_HEIGHT"], constants["TERRAIN_GRASS"]
    level = constants["TERRAIN_STARTPAD"]
    finish = (terrain_length - terrain_grass) * terrain_step
    width, height = constants["VIEWPORT_W"] / scale, constants["VIEWPORT_H"] / scale
    lidar_range = constants["LIDAR_RANGE"]
    reaches = [(math.sin(1.5 * i / 10) * lidar_range, math.cos(1.5 * i / 10) * lidar_range) for i in range(10)]

    class Walker(base):
        def __init__(self, gravity: tuple[float, float]) -> None:
            super().__init__(gravity, None)
            self._contacts = _Contacts(self)
            self._rays = [_Ray() for _ in reaches]
            self._edge = edgeShape()
            self._ground = fixtureDef(shape=self._edge, friction=constants["FRICTION"], categoryBits=0x0001)
            self._static = b2BodyDef()

        def begin(self, seed: int) -> list[float]:
            self.crashed = False
            self.foot_contacts = [0.0, 0.0]
            self._handles: tuple[Any, ...] | None = None
            self._shaping: float | None = None
            observation: list[float] = self.reset(seed=seed)[0]
            return observation

        def _destroy(self) -> None:
            """Drop all at once, with the world that holds it."""

        @property
        def feet(self) -> tuple[Any, Any]:
            return self.legs[1], self.legs[3]

        def _generate_terrain(self, hardcore: bool) -> None:
            world, random = self._world, self.np_random
            world.contactListener = self._contacts  # instead of the one that reset has just set
            heights: list[float] = []
            y, velocity, counter, grass = terrain_height, 0.0, level, True
            for i in range(terrain_length):
                if grass:
                    velocity = 0.8 * velocity + 0.01 * ((y < terrain_height) - (y > terrain_height))
                    if i > level:
                        velocity += (2.0 * random.random() - 1.0) / scale
                    y += velocity
                heights.append(y)
                counter -= 1
                grass = counter != 0
                if not grass:
                    counter = random.integers(terrain_grass // 2, terrain_grass)
            self.terrain = []
            edge = self._edge
            for i in range(terrain_length - 1):
                edge.vertices = (i * terrain_step, heights[i]), ((i + 1) * terrain_step, heights[i + 1])
                piece = world.CreateBody(self._static)
                piece.CreateFixture(self._ground)
                self.terrain.append(piece)
            self.terrain.reverse()  # the order in which Gymnasium will destroy them

        def _generate_clouds(self) -> None:
            self.np_random.random(terrain_length // 20 * 11)  # not drawn, but their random numbers are

        def step(self, action: Sequence[float]) -> Outcome:
            if self._handles is None:
                hull = self.hull
                self._handles = hull, hull.position, hull.linearVelocity, self.joints
            hull, position, velocity, joints = self._handles
            efforts = [min(abs(a), 1.0) for a in action]
            for joint, speed, a, effort in zip(joints, speeds, action, efforts, strict=True):
                joint.motorSpeed = math.copysign(speed, a) if a else 0.0
                joint.maxMotorTorque = torque * effort

            self._world.Step(1.0 / fps, 180, 60)

            x, y = position.x, position.y
            cast, here = self._world.RayCast, (x, y)
            for ray, (right, down) in zip(self._rays, reaches, strict=True):
                ray.fraction = 1.0
                cast(ray, here, (x + right, y - down))
            angle = hull.angle
            hip, knee, other_hip, other_knee = joints
            foot, other_foot = self.foot_contacts
            state = [
                angle, 2.0 * hull.angularVelocity / fps,
                0.3 * velocity.x * width / fps, 0.3 * velocity.y * height / fps,
                hip.angle, hip.speed / speeds[0], knee.angle + 1.0, knee.speed / speeds[1], foot,
                other_hip.angle, other_hip.speed / speeds[0], other_knee.angle + 1.0, other_knee.speed / speeds[1],
                other_foot,
                *[ray.fraction for ray in self._rays],
            ]  # fmt: skip
            shaping = 130 * x / scale - 5.0 * abs(angle)
            reward = 0.0 if self._shaping is None else shaping - self._shaping
            self._shaping = shaping
            for effort in efforts:
                reward -= torque_cost * np.float32(effort)  # rounded as Gymnasium's, whatever NumPy's rules
            if self.crashed or x < 0:
                return state, -100.0, True
            return state, reward, x > finish

    return Walker
