"""BG-PBT, its ablations, PB2 and PBT on bodies that move, at equal total steps: ``experiment=bg_pbt_small``.

    python benchmarks/bg_pbt_bodies.py                              # the lander, 10 seeds; goes on where it stopped
    python benchmarks/bg_pbt_bodies.py --experiment bg_pbt_small_brax --results results/bg_pbt_brax
    python benchmarks/bg_pbt_bodies.py --variants bg_pbt pb2 --seeds 3

Every run ends with the first generation in which it has trained ``--steps`` environment steps or more in all,
candidates and students included (2.2 millions, unless told otherwise). What is compared is
the test return: of the best agent that a run ever had, on 100 episodes that no decision saw. Means with their 95%
intervals over seeds, and those of the differences in pairs of the same seed. Runs are trained one to a core, whatever
executor the experiment has.
"""

from __future__ import annotations

from bg_pbt_runs import Task, arguments_of, study

MEMBERS = 8
ALONE = ("eras.count=1", "population.candidates=null")
VARIANTS: dict[str, tuple[str, ...]] = {
    "bg_pbt": (),
    "pb2": ("method=pb2", *ALONE),
    "pbt": ("method=pbt", *ALONE),
    "no_eras": ("eras.count=1",),
    "random_architectures": ("eras.architectures=random",),
    "no_trust_region": ("method.trust_region=false",),
    "students_from_scratch": ("eras.teacher=false",),
}


def main() -> None:
    parser = arguments_of(__doc__, 10, VARIANTS, "results/bg_pbt_bodies")
    parser.add_argument("--experiment", default="bg_pbt_small", help="bg_pbt_small, or one like it")
    parser.add_argument("--steps", type=int, default=2_200_000, help="of a whole run (2,200,000)")
    arguments = parser.parse_args()
    budget = f"budget.steps={arguments.steps // MEMBERS}"  # more than members of BG-PBT come to
    tasks = [
        Task(
            variant,
            seed,
            arguments.experiment,
            (
                f"experiment={arguments.experiment}",
                f"stop.spent_steps={arguments.steps}",
                budget,
                *VARIANTS[variant],
                *arguments.also,
            ),
        )
        for seed in range(arguments.seeds)
        for variant in arguments.variants
    ]
    title = f"{arguments.experiment}, {MEMBERS} members, {arguments.steps:,} steps in all"
    study(tasks, arguments, "bg_pbt" if "bg_pbt" in arguments.variants else arguments.variants[0], title, 1)


if __name__ == "__main__":
    main()
