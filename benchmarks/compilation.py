"""What a new architecture costs learner=ppo before it trains: tracing and compiling, on one pinned core.

    python benchmarks/compilation.py                    # the lander's networks
    python benchmarks/compilation.py --env cart_pole
    python benchmarks/compilation.py --tuned            # n_steps and batch_size instead: how often they compile

Each architecture is trained for one rollout and then for the same once more; the difference is what it cost to compile,
in seconds of the process's time and of the clock's. It is measured in a process whose cache on disk is empty, then in
one that finds what the first has left there. A student, whose loss looks at its teacher too, is a program of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Corners of ``space=ppo_architecture``, its middle and the dearest: layers, width, activation, of policy and value.
ARCHITECTURES = [
    ((2, 64, "tanh"), (2, 64, "tanh")),
    ((1, 16, "relu"), (1, 16, "relu")),
    ((1, 128, "silu"), (4, 16, "tanh")),
    ((4, 32, "tanh"), (4, 32, "tanh")),
    ((4, 128, "tanh"), (4, 128, "tanh")),
    ((4, 128, "relu"), (4, 128, "relu")),
    ((4, 128, "silu"), (4, 128, "silu")),
]
N_STEPS, BATCH_SIZES = [16, 20, 32, 50, 64, 100, 125, 128], [32, 50, 64, 100, 128, 200, 256]


def named(policy: tuple[int, int, str], value: tuple[int, int, str]) -> dict[str, Any]:
    return {
        f"network.{head}.{name}": part
        for head, parts in (("policy", policy), ("value", value))
        for name, part in zip(("layers", "width", "activation"), parts, strict=True)
    }


def made(env: str, settings: dict[str, Any]) -> Any:
    from metapbt.envs import make_context
    from metapbt.history import Budget
    from metapbt.learners import LearnerSpec

    return LearnerSpec("ppo", env, make_context(env), Budget(10**6, 10_000), settings).make()


def interval(hyperparameters: dict[str, Any], steps: int) -> Any:
    from metapbt.history import Interval, Ref

    return Interval(Ref(0, 0), None, None, hyperparameters, 0, steps, 0, 0, 1)


def compiled(env: str) -> list[dict[str, float]]:
    """Seconds for each architecture, as an agent by itself and as a student."""
    from metapbt.learners.base import Teacher

    learner, usual = made(env, {}), named((1, 8, "elu"), (1, 8, "elu"))
    teacher = Teacher(learner.train(interval(usual, 2000), None).state, usual, 0, 10_000)
    found = []
    for policy, value in ARCHITECTURES:
        chosen = named(policy, value)
        row: dict[str, float] = {}
        for who, whose in (("alone", None), ("student", teacher)):
            clocks = []
            for _ in range(2):
                began = time.perf_counter(), time.process_time()
                learner.train(interval(chosen, 2000), None, whose)
                clocks.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            row |= {f"{who}, clock": clocks[0][0] - clocks[1][0], f"{who}, process": clocks[0][1] - clocks[1][1]}
        found.append(row)
    return found


def tuned(env: str) -> list[dict[str, float]]:
    """How many programs, and seconds, all combinations of ``n_steps`` and ``batch_size`` cost."""
    from metapbt.learners.ppo.update import update

    learner = made(env, {"network": {head: {"layers": 1, "width": 16} for head in ("policy", "value")}})
    began = time.process_time()
    pairs = [(n_steps, batch) for n_steps in N_STEPS for batch in BATCH_SIZES if batch <= 16 * n_steps]
    for n_steps, batch in pairs:
        learner.train(interval({"n_steps": n_steps, "batch_size": batch, "n_epochs": 1}, 1), None)
    programs = update._cache_size()  # type: ignore[attr-defined]  # of jax.jit, which has no other name for it
    return [{"combinations": len(pairs), "programs": programs, "seconds": time.process_time() - began}]


def measured(what: str, env: str, cache: str, core: int) -> list[dict[str, float]]:
    """What a function of this file returns in a process of its own, on one core."""
    code = (
        f"import os, sys, json; os.sched_setaffinity(0, {{{core}}}); "
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import compilation; print('ROWS', json.dumps(compilation.{what}({env!r})))"
    )
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **one_thread, "JAX_COMPILATION_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("ROWS"):
            rows: list[dict[str, float]] = json.loads(line.removeprefix("ROWS"))
            return rows
    raise SystemExit(f"{what} failed:\n{done.stderr[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", default="lunar_lander")
    parser.add_argument("--tuned", action="store_true", help="n_steps and batch_size instead of architectures")
    arguments = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as cache:
        if arguments.tuned:
            (row,) = measured("tuned", arguments.env, cache, core)
            print(", ".join(f"{name}: {value:g}" for name, value in row.items()))
            return
        cold, warm = (measured("compiled", arguments.env, cache, core) for _ in range(2))
    print(f"{arguments.env}, seconds of the process (of the clock); goal: under 3\n")
    print("| policy | value | new | new, a student | on disk | on disk, a student |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (policy, value), *rows in zip(ARCHITECTURES, cold, warm, strict=True):
        cells = [
            f"{row[f'{who}, process']:.2f} ({row[f'{who}, clock']:.2f})" for row in rows for who in ("alone", "student")
        ]
        names = [f"{layers} x {width} {activation}" for layers, width, activation in (policy, value)]
        print(f"| {' | '.join([*names, *cells])} |")


if __name__ == "__main__":
    main()
