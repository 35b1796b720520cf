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


def test_training_never_sees_an_evaluation_seed():
    environments = 1000  # seeds are counted up from the first, one for each environment
    training = [seeding.training_seed(s, g, m) for s in range(20) for g in range(20) for m in range(4)]
    evaluation = [seeding.evaluation_seed(s) for s in range(100)]
    assert max(training) + environments < 2**30 <= min(evaluation)
    assert max(evaluation) + environments < 2**31
