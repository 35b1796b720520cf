"""BG-PBT, its ablations and other methods on the synthetic problem of fifteen dimensions, at equal total steps.

    python benchmarks/bg_pbt_synthetic.py                      # everything, 50 seeds; goes on where it stopped
    python benchmarks/bg_pbt_synthetic.py --variants bg_pbt pb2 --seeds 10
    python benchmarks/bg_pbt_synthetic.py --also learner.floor=0.9 --results results/little_architecture

``experiment=synthetic_bg_pbt`` (docs/synthetic_problems.md), 8 members. A run ends with the last generation that fits
into 8,000 steps of training, candidates and students of BG-PBT included: 1,000 for each member of the other methods.
Seed s plays instance ``--first-instance`` + s mod 10. What is compared is the test return: of the best agent that a run
ever had, on episodes that no decision saw. Interquartile means with 95% intervals over seeds, each instance a stratum,
and those of the differences in pairs of the same seed and instance. Constants of BG-PBT that are not the published
ones were chosen on instances 100 to 109.
"""

from __future__ import annotations

from bg_pbt_runs import Task, arguments_of, study

MEMBERS, STEPS, INTERVAL, INSTANCES = 8, 1000, 25, 10
TOTAL = MEMBERS * STEPS
#: The first generation after which none fits any more.
FULL = TOTAL - MEMBERS * INTERVAL + 1

BG_PBT = (
    "method=bg_pbt",
    "population.candidates=24",
    "eras.count=2",
    "eras.patience=20",
    "eras.steps=250",
    "eras.distil_steps=100",
    "eras.students=16",
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "bg_pbt": BG_PBT,
    "pb2": ("method=pb2",),
    "pb2_mix": ("method=pb2_mix",),
    "pbt": ("method=pbt",),
    "random": ("method=random",),
    "no_eras": (*BG_PBT, "eras.count=1"),
    "random_architectures": (*BG_PBT, "eras.architectures=random"),
    "no_trust_region": (*BG_PBT, "method.trust_region=false"),
    "students_from_scratch": (*BG_PBT, "eras.teacher=false"),
}


def main() -> None:
    parser = arguments_of(__doc__, 50, VARIANTS, "results/bg_pbt_synthetic")
    parser.add_argument("--first-instance", type=int, default=0, help="of the ten that are played (0)")
    arguments = parser.parse_args()
    common = ("experiment=synthetic_bg_pbt", f"stop.spent_steps={FULL}")
    tasks = [
        Task(
            variant,
            seed,
            f"instance {(instance := arguments.first_instance + seed % INSTANCES)}",
            (*common, f"learner.instance={instance}", *VARIANTS[variant], *arguments.also),
        )
        for seed in range(arguments.seeds)
        for variant in arguments.variants
    ]
    title = f"15 dimensions, {MEMBERS} members, {TOTAL:,} steps in all"
    study(tasks, arguments, "bg_pbt" if "bg_pbt" in arguments.variants else arguments.variants[0], title, 3)


if __name__ == "__main__":
    main()
