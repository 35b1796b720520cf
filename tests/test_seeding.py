import numpy as np

from metapbt import seeding


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
