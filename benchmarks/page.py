"""How large the page is, how long it and the live page's refresh take to be made, in processor time, at 300 runs.

Run with: python benchmarks/page.py [--runs 300] [--members 8] [--generations 50]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from metapbt.envs import make_context
from metapbt.history import History, Record
from metapbt.report.groups import group_read_runs
from metapbt.report.live import Live
from metapbt.report.page.write import write_page
from metapbt.report.reading import RunReader
from metapbt.report.section import Section
from metapbt.store.done import Done
from metapbt.store.results import describe
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import to_table, write_table

METHODS = "pbt", "pb2", "meta_pb2"
CONTEXTS = 10
REFRESHES = 20
FINISHED = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--generations", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        rng = np.random.default_rng(0)
        for number in range(asked.runs):
            running = write_run(results, number, asked.members, asked.generations, rng)
        more = (write_run(results, asked.runs + n, asked.members, asked.generations, rng) for n in range(FINISHED))
        rows = [*page(results), *refreshes(results, running, asked.members, rng, more)]
    table = Table(title=f"{asked.runs} runs of {asked.members} members, {asked.generations} generations")
    table.add_column("what")
    table.add_column("", justify="right")
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)


def page(results: Path) -> list[tuple[str, str]]:
    """The file: how long reading, the numbers behind the figures and writing take, and its size."""
    begun = time.process_time()
    read = RunReader(results).read()
    had = time.process_time()
    sections = [Section.of(group) for group in group_read_runs(read, results)]
    known = time.process_time()
    write_page(results / "page", results, read, sections, views=0)
    done = time.process_time()
    size = (results / "page" / "index.html").stat().st_size
    return [
        ("reading the runs", f"{had - begun:.1f} s"),
        ("their numbers", f"{known - had:.1f} s"),
        ("the page, without views of surrogates", f"{done - known:.1f} s"),
        ("its size", f"{size / 1e6:.2f} MB"),
    ]


def refreshes(
    results: Path, running: Path, members: int, rng: np.random.Generator, more: Iterator[Path]
) -> list[tuple[str, str]]:
    """The live page: its start, a refresh where nothing changed, where one run went on, and where one has finished."""
    begun = time.process_time()
    live = Live(results)
    live.snapshot()
    started = time.process_time() - begun
    journal = RunDirectory(running).journal
    still, moved = [], []
    for generation in range(REFRESHES):
        begun = time.process_time()
        live.snapshot()
        still.append(time.process_time() - begun)
        journal.append(generation_of(generation + 1, members, rng), {})
        begun = time.process_time()
        live.snapshot()
        moved.append(time.process_time() - begun)
    ended = []
    for _ in more:  # each writes a finished run
        begun = time.process_time()
        live.snapshot()
        ended.append(time.process_time() - begun)
    return [
        ("the live page's start", f"{started:.1f} s"),
        ("a refresh, nothing new", f"{1000 * statistics.median(still):.0f} ms"),
        ("a refresh, one run went on", f"{1000 * statistics.median(moved):.0f} ms"),
        ("a refresh, one run has finished", f"{1000 * statistics.median(ended):.0f} ms"),
    ]


def write_run(results: Path, number: int, members: int, generations: int, rng: np.random.Generator) -> Path:
    """A finished run; the last one has just begun."""
    place, seed = divmod(number, CONTEXTS * len(METHODS))[::-1]
    context = make_context("cart_pole", {"pole_length": 0.1 + 0.1 * (place % CONTEXTS)})
    method = METHODS[place // CONTEXTS]
    path = run_directory(results, "cart_pole", context, method, seed)
    path.mkdir(parents=True)
    config = {
        "env": "cart_pole",
        "context": context.changed,
        "features": dict(context),
        "budget": {"steps": 1000 * generations, "interval": 1000},
        "method": {"name": method},
        "learner": {"name": "ppo"},
        "population": {"metric": "train_return", "size": members},
        "seed": seed,
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    directory = RunDirectory(path)
    last = seed == 9 and place == CONTEXTS * len(METHODS) - 1
    if last:
        start = {"kind": "start", "hyperparameters": {}, "source": "random"}
        directory.journal.begin(dict.fromkeys(range(members), start))
        directory.journal.append(generation_of(0, members, rng), {})
        return path
    records = [record for generation in range(generations) for record in generation_of(generation, members, rng)]
    write_table(directory.records, to_table(describe(directory).identity, History(tuple(records))))
    directory.mark_done(Done(generations, float(rng.normal(300, 50)), 100, records=len(records), failed=0))
    return path


def generation_of(generation: int, members: int, rng: np.random.Generator) -> list[Record]:
    """The records of one generation; a quarter of the members become copies."""
    names = ("learning_rate", "clip_range", "gae_lambda", "n_epochs")
    return [
        Record(
            generation=generation,
            member=member,
            parent=0 if generation and member >= 0.75 * members else None,
            source="surrogate" if generation else "random",
            hyperparameters={
                name: float(rng.random()) if member >= 0.75 * members else 0.1 * member + 0.01 for name in names
            },
            env_steps=1000 * (generation + 1),
            train_return=float(rng.normal(300, 50)),
            eval_return=float(rng.normal(300, 50)),
            episodes=20,
            wall_seconds=1.0,
        )
        for member in range(members)
    ]


if __name__ == "__main__":
    main()
