import numpy as np

import metapbt
from metapbt import seeding
from metapbt.history import Context


def test_a_draw_depends_on_seed_generation_member_and_purpose_and_on_nothing_else():
    places = [
        (0, 0, 0, "a"),
        (1, 0, 0, "a"),
        (0, 1, 0, "a"),
        (0, 0, 1, "a"),
        (0, 0, 0, "b"),
        (0, -1, -1, "a"),
    ]
    draws = [seeding.generator(*place).random() for place in places]
    assert len(set(draws)) == len(places)
    assert draws == [seeding.generator(*place).random() for place in places]


def test_training_validation_and_test_share_no_episode():
    episodes = 2**20  # counted up from the first
    training = [seeding.training_seed(s, g, m) for s in range(20) for g in range(20) for m in range(4)]
    began = [seeding.episode_seed(seed, place, count) for seed in training for place in range(4) for count in range(4)]
    validation = [seeding.evaluation_seed(s) for s in range(2000)]
    test = [seeding.test_seed(s) for s in range(2000)]
    assert min(training + began) >= 0
    assert max(training + began) < 2**30 <= min(validation)
    assert max(validation) + episodes <= 3 * 2**29 <= min(test)
    assert max(test) + episodes <= 2**31


def test_every_episode_has_a_seed_of_its_own():
    episodes = [(seed, place, count) for seed in range(30) for place in range(30) for count in range(30)]
    seeds = [seeding.episode_seed(*episode) for episode in episodes]
    assert len(set(seeds)) >= len(seeds) - 3  # of 2**30, two may meet by chance
    assert seeds == [seeding.episode_seed(*episode) for episode in episodes]
    # Spread over the whole range, though their arguments are small.
    counts = np.bincount(np.array(seeds) >> 26, minlength=16)
    assert counts.min() > 0.9 * len(seeds) / 16


def test_each_context_has_draws_of_its_own_and_the_usual_one_those_of_the_seed():
    contexts = [Context({"a": 1.0, "b": 2.0}, [])]
    contexts += [Context({"a": a, "b": 2.0}, ["a"]) for a in (0.5, 0.50001, 2.0)]
    contexts += [Context({"a": 1.0, "b": 0.5}, ["b"]), Context({"a": 0.5, "b": 0.5})]
    seeds = [seeding.population_seed(seed, context.label) for seed in range(3) for context in contexts]
    assert len(set(seeds)) == len(seeds)
    assert seeds[:: len(contexts)] == [0, 1, 2]
    assert seeds == [seeding.population_seed(seed, context.label) for seed in range(3) for context in contexts]


def test_methods_on_one_context_begin_alike_and_on_another_otherwise(tmp_path):
    def first(method, shift):
        overrides = [f"results_dir={tmp_path}", "env=synthetic", f"method={method}", f"context.shift={shift}"]
        run = metapbt.run([*overrides, "executor=inline", "budget.steps=20", "budget.interval=10"])
        return [dict(record.hyperparameters) for record in run.history.generation(0)]

    assert first("pbt", 0.25) == first("random", 0.25)
    assert first("pbt", 0.25) != first("pbt", 0.75)
