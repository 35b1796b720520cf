"""How long one suggestion takes, by rows of history (PB2) and of metadata (meta_pb2), beside Ray Tune's PB2; and a
decision of BG-PBT's beside PB2's.

    python benchmarks/suggestion.py [--peer-rows 300]

Prints medians in this one process, on one thread. Ray's PB2 is measured on the same rows where the extra is installed
(pip install "metapbt[ray]"), up to --peer-rows: from 1,000 rows one suggestion of Ray's takes minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metapbt.history import Context, History, Record
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers import make_explorer
from metapbt.population.explorers.base import Explorer, Pending
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.space import Space

ROWS = (20, 100, 300, 1000, 10_000)
MIXED_ROWS, MIXED_MEMBERS = 100, 8
REPEATS = 7
SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")})


#: Fifteen dimensions, as many as BG-PBT's space has.
MIXED = Space(
    {
        **{name: {"type": "float", "low": 0.0, "high": 1.0} for name in "abcdefgh"},
        **{f"n{place}": {"type": "int", "low": 1, "high": 5 + place} for place in range(4)},
        **{f"c{place}": {"type": "categorical", "choices": ["p", "q", "r"]} for place in range(3)},
    }
)


def synthetic_history(rows: int, members: int = 4, seed: int = 0, space: Space = SPACE) -> History:
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(rows // members):
        for member in range(members):
            drawn = space.sample(rng)
            returns[member] += 1 - (drawn["a"] - 0.3) ** 2 - (drawn["b"] - 0.8) ** 2 + 0.1 * rng.normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def median_seconds(action: Callable[[int], object], repeats: int) -> float:
    seconds = []
    for repeat in range(repeats):
        began = time.perf_counter()
        action(repeat)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def ours(past: History) -> Callable[[int], object]:
    explorer, parents = PB2Explorer(SPACE), [past.leader()]
    # A fresh history each time: what one suggestion caches must not help the next.
    return lambda i: explorer.propose(parents, parents, History(past.records), [], np.random.default_rng(i))


def beside_pb2() -> Table:
    """One copy of eight members with a hundred rows, the other seven pending."""
    past = synthetic_history(MIXED_ROWS, MIXED_MEMBERS, space=MIXED)
    parents = [past.leader()]
    pending = [Pending(record.reached, record.hyperparameters) for record in past.latest[1:]]
    table = Table("method", f"{MIXED_ROWS} rows, {len(MIXED)} dimensions, {len(pending)} pending [s]")
    for name in ("pb2", "pb2_mix", "bg_pbt"):
        explorer = make_explorer(name, MIXED)

        def decide(repeat: int, explorer: Explorer = explorer) -> None:
            explorer.propose(parents, parents, History(past.records), pending, np.random.default_rng(repeat))

        decide(0)  # imports
        table.add_row(name, f"{median_seconds(decide, repeats=REPEATS):.3f}")
    return table


def rays(past: History) -> Callable[[int], object]:
    from ray.tune.schedulers.pb2 import _select_config, import_pb2_dependencies

    import_pb2_dependencies()
    rows = past.transitions()
    x = np.array([[r.generation, r.return_before, *SPACE.to_unit(r.hyperparameters)] for r in rows])
    y = np.array([r.slope for r in rows])
    bounds = {name: [0.0, 1.0] for name in SPACE.names}
    point = np.array([past.generations, past.best().reached])
    return lambda i: _select_config(x, y, None, point, bounds, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-rows", type=int, default=300, help="measure Ray's PB2 up to so many rows")
    peer_rows = parser.parse_args().peer_rows if find_spec("ray") else 0
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table("rows", "pb2 [s]", "Ray's PB2 [s]", "ratio", "meta_pb2: training [s]", "meta_pb2 [s]")
    ours(synthetic_history(20))(0)  # imports
    # A run that grows by a generation each time: what one suggestion works out must not be the next one's, too.
    grown = [synthetic_history(40 + 4 * place, seed=99) for place in range(REPEATS)]
    for rows in ROWS:
        past = synthetic_history(rows)
        plain = median_seconds(ours(past), repeats=REPEATS)
        peer = median_seconds(rays(past), repeats=3 if rows <= 100 else 1) if rows <= peer_rows else None
        contexts = [Context({"feature": float(i)}) for i in range(4)]
        sources = tuple(SourceRun(c, synthetic_history(rows // 4, seed=i)) for i, c in enumerate(contexts))
        meta = MetaPB2Explorer(SPACE, Memory(Context({"feature": 1.5}), sources))
        trained = median_seconds(lambda i, meta=meta: meta.start(1, np.random.default_rng(i)), repeats=1)
        suggested = median_seconds(
            lambda i, meta=meta: meta.propose(
                [grown[i].leader()], [grown[i].leader()], grown[i], [], np.random.default_rng(i)
            ),
            repeats=REPEATS,
        )
        shown = (f"{peer:.2f}", f"{peer / plain:.0f}x") if peer else ("-", "-")
        table.add_row(f"{rows:,}", f"{plain:.3f}", *shown, f"{trained:.2f}", f"{suggested:.3f}")
    Console(width=160).print(table)
    Console().print(beside_pb2())


if __name__ == "__main__":
    main()
