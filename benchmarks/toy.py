"""The toy of the PBT guides with 4 members as a whole process, beside Ray Tune.

    python benchmarks/toy.py [--repeats 5]

Both train 4 members for 100 steps with a decision every 4, synchronously; each time is that of one process from its
start to its end. Ray Tune is measured once, where the extra is installed (pip install "metapbt[ray]").
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

OURS = ["-m", "metapbt", "run", "env=quadratic", "method=pbt", "method.resample_probability=0.5"]

RAYS = """
import json, os, tempfile
import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

def train(config):
    theta, step = np.array([0.9, 0.9]), 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            saved = json.load(open(os.path.join(folder, "state.json")))
        theta, step = np.array(saved["theta"]), saved["step"]
    while step < 100:
        step += 1
        h = np.array([config["h0"], config["h1"]])
        theta = theta - config["learning_rate"] * 2 * np.array([0.75, 1.0]) * h * theta
        q = 1.2 - (np.array([0.75, 1.0]) * theta**2).sum()
        with tempfile.TemporaryDirectory() as folder:
            made = None
            if step % 4 == 0:
                json.dump({"theta": theta.tolist(), "step": step}, open(os.path.join(folder, "state.json"), "w"))
                made = tune.Checkpoint.from_directory(folder)
            tune.report({"Q": q, "training_iteration": step}, checkpoint=made)

space = {"learning_rate": tune.loguniform(5e-3, 1e-1), "h0": tune.uniform(0, 1), "h1": tune.uniform(0, 1)}
scheduler = PopulationBasedTraining(
    time_attr="training_iteration", perturbation_interval=4, metric="Q", mode="max", quantile_fraction=0.25,
    resample_probability=0.5, hyperparam_mutations=space, synch=True,
)
ray.init(num_cpus=2, log_to_driver=False)
tune.Tuner(
    train, param_space=space, tune_config=tune.TuneConfig(num_samples=4, scheduler=scheduler),
    run_config=tune.RunConfig(stop={"training_iteration": 100}, verbose=0),
).fit()
"""


def seconds(arguments: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of our own process; the median counts")
    repeats = parser.parse_args().repeats
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            times.append(seconds(OURS, Path(folder)))
    ours = statistics.median(times)
    table = Table("4 members, 100 steps", "seconds", "ratio")
    table.add_row("metapbt run", f"{ours:.2f}", "1")
    if find_spec("ray"):
        with tempfile.TemporaryDirectory() as folder:
            peer = seconds(["-W", "ignore", "-c", RAYS], Path(folder))
        table.add_row("Ray Tune", f"{peer:.1f}", f"{peer / ours:.0f}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
