"""Results of runs that were never run: as the store describes them, and as directories that it can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from metapbt.envs import ENVIRONMENTS, PICTURES, make_context
from metapbt.history import Context, History, Record
from metapbt.report.groups import Group, group_runs
from metapbt.report.reading import best_rows
from metapbt.report.run import Run
from metapbt.store.done import Done
from metapbt.store.results import RunInfo
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import to_table, write_table

RESULTS = Path("/somewhere/private/results")

SyntheticRun = tuple[RunInfo, pd.DataFrame]


def make_run(
    method: str = "pb2",
    seed: int = 0,
    *,
    env: str = "cart_pole",
    changed: Mapping[str, float | str] | None = None,
    name: str | None = None,
    test_return: float | None = None,
    learner: str = "sb3",
    state: str = "done",
    scores: Sequence[float] = (10.0, 20.0, 30.0),
    interval: int = 1000,
    generations: int | None = None,
    sources: Sequence[Mapping[str, float | str]] = (),
    folder: str = "",
) -> SyntheticRun:
    """One run of two members; ``scores`` are those of the best one, the other is 5 better by chance."""
    context = _complete(env, changed or {})
    info = RunInfo(
        path=run_directory(RESULTS / folder, env, context, name or method, seed),
        env=env,
        method=method,
        name=name or method,
        learner=learner,
        seed=seed,
        context=context,
        state=state,
        error="out of memory" if state == "failed" else None,
        generations=len(scores) if generations is None else generations,
        metric="train_return",
        size=2,
        ancestry=frozenset(_complete(env, source) for source in sources),
        test_return=test_return,
    )
    rows = [
        {
            "run_dir": str(info.path),
            "generation": generation,
            "member": member,
            "env_steps": (generation + 1) * interval,
            "spent_steps": (2 * generation + member + 1) * interval,
            "failed": False,
            "parent": pd.NA,
            "parent_generation": pd.NA,
            "restart": False,
            "hp.learning_rate": 1e-3 / (generation + 1),
            "train_return": 100.0 - member,
            "eval_return": score + 5 * member,
            "best": member == 0,
        }
        for generation, score in enumerate(scores)
        for member in (0, 1)
    ]
    return info, pd.DataFrame(rows)


def groups_of(runs: Sequence[SyntheticRun]) -> list[Group]:
    """The groups of runs made with :func:`make_run`."""
    return group_runs(((info, _read(info, frame)) for info, frame in runs), RESULTS)


def _read(info: RunInfo, frame: pd.DataFrame) -> Run:
    return Run.of(info, best_rows(frame), frame) if len(frame) else Run.of(info, None)


def group_of(runs: Sequence[SyntheticRun]) -> Group:
    """The only group of the runs."""
    (group,) = groups_of(runs)
    return group


def realistic_runs(contexts: int = 6, seeds: int = 3, generations: int = 10) -> list[SyntheticRun]:
    """Every other context is a source with pb2 alone; a seed is missing, a run goes on, another failed."""
    rng = np.random.default_rng(1)
    lengths = np.round(np.linspace(0.1, 1.6, contexts), 2).tolist()
    sources = [{"pole_length": length} for length in lengths[::2]]
    odd_ones = {(1, "meta_pb2", 1): ("running", 0.6), (3, "pb2", 0): ("failed", 0.3)}
    steps = np.arange(1, generations + 1) / generations
    runs = []
    for number, length in enumerate(lengths):
        for method in ["pb2"] if number % 2 == 0 else ["default", "pb2", "meta_pb2"]:
            for seed in range(seeds):
                if (number, method, seed) == (1, "default", 2):
                    continue
                speed = {"default": 0.6, "pb2": 1.0, "meta_pb2": 1.6}[method] * rng.uniform(0.8, 1.2)
                scores = 500 / (1 + length / 2) * (1 - np.exp(-3 * speed * steps)) + rng.normal(0, 12, generations)
                state, share = odd_ones.get((number, method, seed), ("done", 1))
                runs.append(
                    make_run(
                        method,
                        seed,
                        changed={"pole_length": length},
                        state=state,
                        scores=scores[: round(share * generations)].tolist(),
                        interval=10_000,
                        generations=generations,
                        sources=sources if method == "meta_pb2" else (),
                    )
                )
    return runs


def store_runs(results: Path, runs: Sequence[SyntheticRun]) -> Path:
    """Write the runs as run directories below ``results``; a running one is left as a stopped one."""
    for info, frame in runs:
        path = results / info.path.relative_to(RESULTS)
        path.mkdir(parents=True)
        steps = int(frame["env_steps"].iloc[0]) if len(frame) else 1000
        config = {
            "env": info.env,
            "context": info.context.changed,
            "features": dict(info.context),
            "budget": {"steps": steps * info.generations, "interval": steps},
            "method": {"name": info.method},
            **({} if info.name == info.method else {"name": info.name}),
            "learner": {"name": info.learner},
            "population": {"metric": info.metric, "size": info.size},
            "seed": info.seed,
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        columns = ["generation", "member", "env_steps", "train_return", "eval_return"]
        records = [
            Record(
                parent=None if pd.isna(row["parent"]) else int(row["parent"]),
                source="random",
                hyperparameters={name.removeprefix("hp."): row[name] for name in row if name.startswith("hp.")},
                **{name: row[name] for name in columns},
            )
            for row in (frame.to_dict("records") if len(frame) else [])
        ]
        if records:
            write_table(path / "records.parquet", to_table(info.identity, History(tuple(records))))
        if info.ancestry:
            learned_from = [
                to_table(replace(info.identity, context=context, run_id=context.label), History(tuple(records[:1])))
                for context in info.ancestry
            ]
            write_table(RunDirectory(path).memory, pa.concat_tables(learned_from, promote_options="default"))
        if info.state == "done":
            RunDirectory(path).mark_done(Done(len(records) // 2, info.test_return))
        if info.state == "failed":
            (path / "FAILED").write_text(str(info.error), encoding="utf-8")
    return results


def _complete(env: str, changed: Mapping[str, float | str]) -> Context:
    return make_context(env, changed) if env in ENVIRONMENTS | PICTURES else Context(changed)
