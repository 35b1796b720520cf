"""PB2 and PBT beside Ray Tune's (the extra metapbt[ray])."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from metapbt.history import History, Record
from metapbt.population.explorers.base import Pending
from metapbt.population.explorers.pb2 import PB2Explorer, Situation
from metapbt.population.explorers.pbt import PBTExplorer
from metapbt.space import Space
from metapbt.surrogates.acquisition import growing_beta, with_pending

pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
pytestmark = pytest.mark.ray

SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c")})


def random_history(seed, members=4):
    rng = np.random.default_rng(seed)
    best, records, returns = rng.random(3), [], np.zeros(members)
    for generation in range(int(rng.integers(2, 13))):
        for member in range(members):
            drawn = SPACE.sample(rng)
            distance = np.linalg.norm(np.array(list(drawn.values())) - best)
            returns[member] += 1 - distance + 0.1 * rng.normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def rays_suggestion(history, parent, pending, seed):
    from ray.tune.schedulers.pb2 import _select_config, import_pb2_dependencies

    import_pb2_dependencies()
    np.random.seed(seed)
    rows = history.transitions()
    x = np.array([[r.generation, r.return_before, *SPACE.to_unit(r.hyperparameters)] for r in rows])
    y = np.array([r.slope for r in rows])
    current = np.array([SPACE.to_unit(p.hyperparameters) for p in pending]) if pending else None
    point = np.array([history.generations, parent.reached])
    return _select_config(x, y, current, point, {name: [0.0, 1.0] for name in SPACE.names}, 2).astype(float)


@pytest.mark.filterwarnings("ignore")
def test_the_acquisition_at_our_suggestion_is_at_least_that_at_rays_on_200_random_histories():
    torch.set_num_threads(1)
    explorer, worse = PB2Explorer(SPACE), []
    for seed in range(200):
        history = random_history(seed)
        parent = history.best()
        pending = [Pending(r.reached, r.hyperparameters) for r in history.latest] if seed % 2 else []
        (suggestion,) = explorer.propose([parent], [parent], history, pending, np.random.default_rng(seed))
        theirs = rays_suggestion(history, parent, pending, seed)

        situation = Situation.of(history, [parent], [parent])
        waiting = [
            [*situation.given(situation.now, p.return_before), *explorer.columns(p.hyperparameters)] for p in pending
        ]
        model = with_pending(explorer.fit(situation, {}), torch.tensor(waiting, dtype=torch.float64).reshape(-1, 5))

        def ucb(unit, model=model, situation=situation, parent=parent):
            x = torch.tensor([[*situation.given(situation.now, parent.reached), *unit]], dtype=torch.float64)
            posterior = model.posterior(x)
            spread = growing_beta(len(situation.rows)) ** 0.5 * posterior.variance.sqrt()
            return (posterior.mean + spread).item(), spread.item()

        (mine, scale), (rays, _) = ucb(SPACE.to_unit(suggestion.hyperparameters)), ucb(np.clip(theirs, 0, 1))
        if mine < rays - 1e-3 * scale:  # the optimisers stop at such differences
            worse.append((seed, mine - rays))
    assert not worse


def test_our_explore_has_the_same_distribution_as_rays():
    from ray import tune
    from ray.tune.schedulers.pbt import _explore

    random.seed(0)
    np.random.seed(0)
    space = Space(
        {
            "x": {"type": "float", "low": 0.0, "high": 10.0},
            "c": {"type": "categorical", "choices": ["a", "b", "c", "d"]},
        }
    )
    before = {"x": 4.0, "c": "b"}
    parent = Record(0, 0, None, "random", before, 10, 1.0)
    mutations = {"x": tune.uniform(0.0, 10.0), "c": ["a", "b", "c", "d"]}
    count = 20_000
    theirs = [_explore(before, mutations, 0.25, (1.2, 0.8), None)[0] for _ in range(count)]
    copied = [parent] * count
    ours = PBTExplorer(space).propose(copied, copied, History((parent,)), [], np.random.default_rng(0))
    assert ks_2samp([o.hyperparameters["x"] for o in ours], [t["x"] for t in theirs]).pvalue > 0.001
    for choice in "abcd":
        shares = [
            np.mean([o.hyperparameters["c"] == choice for o in ours]),
            np.mean([t["c"] == choice for t in theirs]),
        ]
        assert shares[0] == pytest.approx(shares[1], abs=0.015)
