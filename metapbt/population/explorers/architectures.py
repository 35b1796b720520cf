"""Which networks a new era tries: Bayesian optimisation of the return over the architecture alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metapbt.plain import key
from metapbt.population.explorers.mixed_space import MixedSpace
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.trust_region import Rule

BETA = 3.0  # weight of the deviation, as in the search of hyperparameters
FEWEST = 3  # different architectures from which a surrogate is asked; two say too little
DRAWS = 20  # at random, until one is new


def promising_architectures(
    space: Space,
    count: int,
    tried: Sequence[tuple[Hyperparameters, float]],
    rng: np.random.Generator,
    chosen: Sequence[Hyperparameters] = (),
) -> list[Hyperparameters]:
    """Choose networks by what those of past eras have reached.

    A Gaussian process over architectures learns the Gaussian copula of the best return that each has ever reached; the
    networks with the highest confidence bound in the trust region around the best one are taken one after the other,
    each time with those before counted as if they brought what is expected of them. None is proposed that was tried or
    proposed already, while there are others.

    Source: Wan et al. (2022), section 3.2. In the published code this search never ran: its data were put where nobody
    read them, and the networks were drawn at random.

    Args:
        space: the search space.
        count: how many networks.
        tried: networks, each with the best return that an agent with it ever reached; at random while fewer than
            ``FEWEST`` different ones are known.
        rng: the source of all randomness.
        chosen: networks that are to be tried beside these.

    Returns:
        ``count`` configurations of the space's architecture part.
    """
    names = space.architecture
    reached = _best_of_each(space, tried)
    found: list[Hyperparameters] = []
    if names and len(reached) >= FEWEST:
        found = _searched(space, count, reached, chosen, rng)
    known = {key(network) for network in (*(network for network, _ in reached), *chosen, *found)}
    while len(found) < count:
        found.append(_new(space, known, rng))
        known.add(key(found[-1]))
    return found


def _searched(
    space: Space,
    count: int,
    reached: Sequence[tuple[Hyperparameters, float]],
    beside: Sequence[Hyperparameters],
    rng: np.random.Generator,
) -> list[Hyperparameters]:
    """Up to ``count`` new networks of the trust region around the best one; fewer where it has no more."""
    import torch

    from metapbt.surrogates.mixed import fit_mixed, with_fantasies
    from metapbt.surrogates.search import highest_bound

    networks = Space({name: space.specification[name] for name in space.architecture})
    mixed = MixedSpace(networks)
    rows = torch.tensor([mixed.row(network) for network, _ in reached], dtype=torch.float64)
    returns = torch.tensor([value for _, value in reached], dtype=torch.float64)
    model = fit_mixed(rows, returns, mixed.columns, conditions=mixed.conditions)
    centre = max(reached, key=lambda pair: pair[1])[0]
    trusted, cube = Rule().begin(), np.ones(1)
    pending, found = [*beside], list[Hyperparameters]()
    for _ in range(count):
        taken = [*(network for network, _ in reached), *pending]
        believed = torch.tensor([mixed.row(network) for network in pending], dtype=torch.float64)
        region = mixed.region(centre, (), trusted, cube, (), taken)
        point = highest_bound(with_fantasies(model, believed), region, BETA, int(rng.integers(2**31)))
        network = mixed.found(point, {})
        if network in taken:  # nothing new is left in the region
            break
        found.append(network)
        pending.append(network)
    return found


def _best_of_each(space: Space, tried: Sequence[tuple[Hyperparameters, float]]) -> list[tuple[Hyperparameters, float]]:
    """Each network that was tried once, with the best finite return."""
    best: dict[str, tuple[Hyperparameters, float]] = {}
    for hyperparameters, value in tried:
        network = space.network_of(hyperparameters)
        known = best.get(key(network))
        if math.isfinite(value) and (known is None or value > known[1]):
            best[key(network)] = network, value
    return list(best.values())


def _new(space: Space, known: set[str], rng: np.random.Generator) -> Hyperparameters:
    for _ in range(DRAWS):
        network = space.network_of(space.sample(rng))
        if key(network) not in known:
            break
    return network
