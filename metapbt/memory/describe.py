"""What tells contexts apart, as numbers by name: their features, or what a random policy experiences there.

Where a feature is only a name (robot 3), or where nobody measured what makes contexts differ, they can be told apart by
what happens in them. Environment probes (Zhou et al., 2019) learn the policy that tells most; a random one needs no
training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.envs import make_env
from metapbt.envs.levels import FEATURES as LEVELS
from metapbt.envs.pictures import channels_last, is_picture
from metapbt.errors import MetapbtError
from metapbt.history import Context, FeatureValue
from metapbt.log import LOGGER
from metapbt.memory.encoder import Array
from metapbt.plain import whole_number
from metapbt.surrogates.thinning import evenly

#: Describes contexts relative to each other, all by the same names.
Describe = Callable[[Sequence[Context]], list[dict[str, float]]]

MOST_CATEGORIES = 100  # of a feature; where it has more, a value says no more than a name
MOST_LEVELS = 2.0**31
EPISODE_STEPS = 200  # of each, at most
NUMBERS = 256  # of an observation, at most; of longer ones as many are taken, evenly over them
GRID = 4  # of a picture: cells along each side, of each of which every channel's mean and deviation are taken
CHANCE = 0.001  # that a statistic counts which does not depend on the context
COMPONENTS = 3  # of what contexts differ in, at most, and
SMALLEST = 0.1  # share of the differences that each must explain


def by_features(contexts: Sequence[Context]) -> list[dict[str, float]]:
    """Describe contexts by the features that all of them have.

    A number is described by itself, a category by a 0 or 1 for each of its values, unless there are more than
    ``MOST_CATEGORIES``: then it is left out. Sets of levels are described by how many levels they have, on a log
    scale (all of them being ``MOST_LEVELS``): which ones these are says nothing, for levels are drawn independently.
    """
    described: list[dict[str, float]] = [{} for _ in contexts]
    shared = [name for name in contexts[0] if all(name in context for context in contexts)]
    if set(LEVELS) <= set(shared):
        number, first = LEVELS
        shared.remove(first)
        contexts = [Context({**context, number: _levels(context[number])}) for context in contexts]
    for name in shared:
        values = [context[name] for context in contexts]
        categories = sorted(set(map(str, values))) if any(isinstance(value, str) for value in values) else []
        if len(categories) > MOST_CATEGORIES:
            continue
        for description, value in zip(described, values, strict=True):
            if categories:
                description.update({f"{name}={each}": float(str(value) == each) for each in categories})
            else:
                description[name] = float(value)
    return described


def _levels(count: FeatureValue) -> FeatureValue:
    """How many levels there are, on a log scale; 0 is all of them."""
    if isinstance(count, str):
        return count
    return math.log2(1 + max(float(count), 0.0)) if count else math.log2(MOST_LEVELS)


class Experience:
    """Describes contexts, relative to each other, by what a random policy experiences there.

    In every context the same episodes are begun and the same actions taken, so that differences are the context's. A
    statistic of the episodes counts if it differs between contexts by more than chance (an F test of the context's
    effect against what is left of the episodes' differences). Principal components of those that count, each
    statistic with unit deviation, are the description. It is relative to the target as well, so that models trained for
    one target are not another's.
    """

    def __init__(self, env: str, episodes: int) -> None:
        """Describe contexts of one environment.

        Args:
            env: the environment's name.
            episodes: in each context, at least 2; more tell smaller differences from chance.

        Raises:
            MetapbtError: there are fewer than 2 episodes.
        """
        self.env = env
        self.episodes = whole_number("meta.episodes", episodes, 2)
        self._found: dict[Context, Array] = {}
        self._warned = False

    def __call__(self, contexts: Sequence[Context]) -> list[dict[str, float]]:
        """Describe each by the same names, ``experience_0`` and so on; by none where contexts cannot be told apart.

        Args:
            contexts: at least one.

        Raises:
            MetapbtError: the environment or a feature is unknown, the environment has no episodes, or its observations
                are no arrays, or of other sizes in other contexts.
        """
        found = [self._statistics(context) for context in contexts]
        if len(widths := {each.shape[1] for each in found}) > 1:
            raise MetapbtError(
                f"meta.describe_by=experience cannot compare contexts of {self.env}: their observations differ in size "
                f"({len(widths)} sizes); describe them by features"
            )
        components = _components(np.array(found))
        if len(contexts) > 1 and not components.shape[1] and not self._warned:
            self._warned = True
            LOGGER.warning("memory: nothing that a random policy experiences tells these contexts apart")
        return [{f"experience_{n}": float(value) for n, value in enumerate(row)} for row in components]

    def _statistics(self, context: Context) -> Array:
        if context not in self._found:
            self._found[context] = random_episodes(self.env, context, self.episodes)
        return self._found[context]


def random_episodes(env: str, context: Mapping[str, FeatureValue], episodes: int) -> Array:
    """Statistics of a random policy's episodes in one context, ``episodes x statistics``; always the same ones.

    Of each number in an observation (a picture's are those of ``cells``), of its change in a step, and of the reward:
    mean and deviation over the steps. Then the return, and how long the episode was.

    Raises:
        MetapbtError: the environment is unknown, has no episodes, or observations that are no arrays of one size.
    """
    from gymnasium.spaces.utils import flatten

    made = make_env(env, render_mode=None, **dict[str, Any](context))
    space = made.observation_space
    picture = is_picture(space)
    if not space.is_np_flattenable:
        raise MetapbtError(
            f"meta.describe_by=experience needs observations of one size, {env} has {space}; describe by features"
        )

    def numbers(observation: Any) -> Array:
        if picture:
            return cells(observation)
        flat = np.asarray(flatten(space, observation), dtype=np.float64)
        return flat[evenly(len(flat), NUMBERS)]

    found = []
    for episode in range(episodes):
        made.action_space.seed(episode)
        observation, _ = made.reset(seed=episode)
        observations, rewards = [numbers(observation)], []
        for _ in range(EPISODE_STEPS):
            observation, reward, terminated, truncated, _ = made.step(made.action_space.sample())
            observations.append(numbers(observation))
            rewards.append(float(reward))
            if terminated or truncated:
                break
        found.append(_statistics(np.array(observations, dtype=np.float64), np.array(rewards)))
    made.close()
    return np.array(found)


def cells(picture: NDArray[Any]) -> Array:
    """A picture in few numbers: mean and deviation of each channel in each cell of a coarse grid.

    Where things are tells games apart as little as single pixels would; colours, brightness and texture do.

    Args:
        picture: (height, width), (height, width, channels) or (channels, height, width), of bytes.

    Returns:
        At most ``2 * GRID**2 * channels`` numbers from 0 to 1: all means, then all deviations.
    """
    scaled = channels_last(np.asarray(picture)) / 255
    rows = np.array_split(scaled, min(GRID, scaled.shape[0]), axis=0)
    parts = [cell for row in rows for cell in np.array_split(row, min(GRID, scaled.shape[1]), axis=1)]
    return np.concatenate(
        [[cell.mean(axis=(0, 1)) for cell in parts], [cell.std(axis=(0, 1)) for cell in parts]]
    ).ravel()


def _statistics(observations: Array, rewards: Array) -> Array:
    steps = np.diff(observations, axis=0)
    parts: list[Any] = [
        part for each in (observations, steps, rewards[:, None]) for part in (each.mean(0), each.std(0))
    ]
    return np.concatenate([*parts, [rewards.sum(), len(rewards)]])


def _components(found: Array) -> Array:
    """Principal components of the statistics that count, ``contexts x at most COMPONENTS``.

    Args:
        found: ``contexts x episodes x statistics``.
    """
    from scipy.stats import f

    contexts, episodes, _ = found.shape
    effects = found.mean(axis=1)
    centred = effects - effects.mean(axis=0)
    freedom = (contexts - 1, (contexts - 1) * (episodes - 1))
    if not all(freedom):
        return np.empty((contexts, 0))
    left = found - effects[:, None] - found.mean(axis=0) + effects.mean(axis=0)
    between = episodes * (centred**2).sum(axis=0) / freedom[0]
    within = (left**2).sum(axis=(0, 1)) / freedom[1]
    size = np.abs(found).max(axis=(0, 1))
    counts = (between > float(f.isf(CHANCE, *freedom)) * within) & (centred.std(axis=0) > 1e-9 * size)
    if not counts.any():
        return np.empty((contexts, 0))
    scaled = centred[:, counts] / centred[:, counts].std(axis=0)
    left_vectors, sizes, axes = np.linalg.svd(scaled, full_matrices=False)
    kept = np.flatnonzero(sizes**2 >= SMALLEST * (sizes**2).sum())[:COMPONENTS]
    # The sign of a component means nothing; let the first statistic that weighs most in it decide.
    heaviest = np.abs(axes[kept]).argmax(axis=1)
    signs = np.sign(axes[kept, heaviest])
    return np.asarray(left_vectors[:, kept] * sizes[kept] * signs, dtype=np.float64)
