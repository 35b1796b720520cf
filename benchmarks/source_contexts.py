"""Which of many source contexts to learn from: all, those closest to the target, or some spread over the range.

    python benchmarks/source_contexts.py                       # 20 seeds; goes on where it stopped
    python benchmarks/source_contexts.py --variants pb2 meta_pb2_all meta_pb2_closest --seeds 40

The synthetic problem (docs/synthetic_problems.md) with 24 source contexts, one run of ``pb2`` in each, which vary two
features at once: where the optimum is turned to, and how far it lies from the middle. Seed s plays instance
``--first-instance`` + s mod 10; what is compared is the test return, in pairs of the same seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from bg_pbt_runs import Task, arguments_of, play_all, study

INSTANCES = 10
SHIFTS = (0.02, 0.21, 0.4, 0.6, 0.79, 0.98)  # around the target's 0.5
MISLEADS = (0.0, 0.1, 0.2, 0.3)  # around the target's 0.15
TARGET = ("context.shift=0.5", "context.mislead=0.15")
COMMON = ("env=synthetic", "context.noise=0.02")
MEMORY = {"meta_pb2": ("method=meta_pb2",), "transfer": ("method=pb2", "start=transfer")}
RULES = {
    "all": ("meta.sources=all",),
    "closest": ("meta.sources=closest", "meta.num_contexts=4"),
    "spread": ("meta.sources=spread", "meta.num_contexts=4"),
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "pb2": ("method=pb2",),
    **{f"{memory}_{rule}": (*MEMORY[memory], *RULES[rule]) for memory in MEMORY for rule in RULES},
}


def sources(instance: int, results: Path, workers: int) -> Path:
    """Train what memory of an instance is made of; where it is."""
    folder = results / "sources" / f"instance_{instance}"
    tasks = []
    for number, (shift, mislead) in enumerate(itertools.product(SHIFTS, MISLEADS)):
        there = (f"learner.instance={instance}", f"context.shift={shift}", f"context.mislead={mislead}")
        seed = 10_000 + 100 * instance + number  # of its own: no source shares its first draws with the target's runs
        tasks.append(Task("pb2", seed, f"instance {instance}", (*COMMON, *there, "method=pb2")))
    play_all(tasks, folder, workers)
    return folder


def targets(first: int, seeds: int, variants: Mapping[str, Sequence[str]], results: Path, workers: int) -> list[Task]:
    """The runs to compare, on ten instances from ``first`` on, once their sources are trained."""
    instances = [first + seed % INSTANCES for seed in range(seeds)]
    memory = {instance: sources(instance, results, workers) for instance in sorted(set(instances))}
    return [
        Task(
            variant,
            seed,
            f"instance {instance}",
            (*COMMON, *TARGET, f"learner.instance={instance}", f"meta.results_dir={memory[instance]}", *overrides),
        )
        for seed, instance in enumerate(instances)
        for variant, overrides in variants.items()
    ]


def main() -> None:
    parser = arguments_of(__doc__, 20, VARIANTS, "results/source_contexts")
    parser.add_argument("--first-instance", type=int, default=2000, help="of the ten that are played (2000)")
    arguments = parser.parse_args()
    results = Path(arguments.results)
    variants = {variant: (*VARIANTS[variant], *arguments.also) for variant in arguments.variants}
    tasks = targets(arguments.first_instance, arguments.seeds, variants, results, arguments.workers)
    arguments.results = str(results / "targets")
    baseline = "meta_pb2_all" if "meta_pb2_all" in arguments.variants else arguments.variants[0]
    study(tasks, arguments, baseline, f"{len(SHIFTS) * len(MISLEADS)} source contexts, 4 members", 3)


if __name__ == "__main__":
    main()
