"""Writes source runs over and over, as a study that goes on does; says each time that one was written."""

import shutil
import sys
from pathlib import Path

import yaml

from metapbt.envs import make_context
from metapbt.files import write_text_atomically
from metapbt.history import History, Record
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import Identity, to_table, write_table


def main(results: Path) -> None:
    number = 0
    while True:
        for length in (0.5, 0.6, 0.7):
            number += 1
            context = make_context("cart_pole", {"pole_length": length})
            path = run_directory(results, "cart_pole", context, "pb2", 0)
            identity = Identity("x", "cart_pole", context, "pb2", "pb2", "sb3", 0)
            path.mkdir(parents=True, exist_ok=True)
            config = {
                "env": "cart_pole", "context": context.changed, "features": dict(context), "method": {"name": "pb2"},
                "learner": {"name": "sb3"}, "seed": 0, "budget": {"steps": 60, "interval": 10},
                "population": {"metric": "train_return", "size": 2},
            }  # fmt: skip
            write_text_atomically(path / "config.yaml", yaml.safe_dump(config))
            directory = RunDirectory(path)
            directory.journal.begin({})
            records = []
            for generation in range(6):
                new = [
                    Record(generation, m, None, "random", {"rate": 0.1 * m}, 10 * (generation + 1), float(generation))
                    for m in (0, 1)
                ]
                directory.journal.append(new, {})
                records += new
                if generation in (0, 1, 3, 5):
                    write_table(path / "records.parquet", to_table(identity, History(tuple(records))))
            (path / "DONE").write_text("6\n")
            print(number, flush=True)
            if number % 2:
                (path / "DONE").unlink()
                shutil.rmtree(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
