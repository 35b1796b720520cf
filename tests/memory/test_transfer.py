import numpy as np
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.transfer import early_lines
from metapbt.space import Space

X = {"type": "float", "low": 0.0, "high": 1.0}
SPACE = Space({"x": X})


def run(shift, *records):
    """A source run of records ``(generation, member, parent, x, return)``, intervals of 10 steps."""
    made = [Record(g, m, parent, "random", {"x": x}, 10 * (g + 1), value) for g, m, parent, x, value in records]
    return SourceRun(Context({"shift": shift}), History(tuple(made)))


def standing(shift, *returns, first=0.0):
    """Members that train with what they began with, 0.1 apart, to their return."""
    return run(
        shift, *[(g, m, None, first + m / 10, value * (g + 1)) for g in range(2) for m, value in enumerate(returns)]
    )


def xs(sources, stage=0.5, space=SPACE, target=0.5, **more):
    memory = Memory(Context({"shift": target}), sources)
    return [line.hyperparameters["x"] for line in early_lines(memory, space, stage, **more)]


# Member 1 begins badly, copies 0 after generation 0, and is the best at the end; 2 looks best early and gets stuck.
DESCENT = run(
    0.4,
    *[(0, 0, None, 0.1, 1.0), (0, 1, None, 0.2, 0.0), (0, 2, None, 0.3, 5.0)],
    *[(1, 0, None, 0.1, 2.0), (1, 1, 0, 0.4, 2.5), (1, 2, None, 0.3, 5.5)],
    *[(2, 0, None, 0.1, 3.0), (2, 1, None, 0.4, 6.0), (2, 2, None, 0.3, 5.6)],
    *[(3, 0, None, 0.1, 3.0), (3, 1, None, 0.9, 9.0), (3, 2, None, 0.3, 5.7)],
)  # fmt: skip


def test_a_line_is_worth_what_came_of_it_and_stands_for_what_it_trained_with_longest_early():
    # Half of 40 steps: the best line trained 10 steps with 0.1, then 10 with 0.4; of equals the earlier counts.
    assert xs([DESCENT], 0.5) == [0.1, 0.3]
    # Three quarters: 20 steps with 0.4.
    assert xs([DESCENT], 0.75) == [0.4, 0.3]
    assert xs([DESCENT], 0.25) == [0.1, 0.3]
    memory = Memory(Context({"shift": 0.5}), [DESCENT])
    first = early_lines(memory, SPACE, 0.75)[0]
    assert (first.steps, first.performance, first.context["shift"]) == (20, 9.0, 0.4)


def test_the_early_stage_of_longer_runs_is_a_share_of_the_targets_budget():
    assert xs([DESCENT], 0.75, budget=20) == xs([DESCENT], 0.375) == [0.1, 0.3]
    assert xs([DESCENT], 0.75, budget=1000) == xs([DESCENT], 0.75)


def test_contexts_take_turns_the_nearest_first_and_runs_of_one_context_the_best_first():
    far, near = standing(0.9, 9.0, 8.0, 1.0), standing(0.6, 2.0, 1.0, first=0.5)
    again = standing(0.6, 4.0, 3.0, first=0.7)
    # near has two runs, of which the second is better; each gives the better half of its lines.
    assert np.allclose(xs([far, near, again]), [0.7, 0.0, 0.5, 0.1])
    assert np.allclose(xs([far, near, again], target=1.0), [0.0, 0.7, 0.1, 0.5])


def test_a_configuration_counts_once_and_one_without_a_return_not_at_all():
    both = [standing(0.6, 2.0, 1.0), standing(0.9, 2.0, 1.0)]
    assert xs(both) == [0.0]
    assert xs([standing(0.6, np.nan, 1.0, 2.0)]) == [0.2]
    assert xs([]) == []


def test_lines_whose_evaluations_are_alike_are_told_apart_by_training_and_then_by_who_was_as_good_earlier():
    """As where every agent reaches the highest return there is."""

    def alike(*members):
        made = [
            Record(generation, member, None, "random", {"x": x}, 10 * (generation + 1), training, 9.0)
            for member, (x, *trainings) in enumerate(members)
            for generation, training in enumerate(trainings)
        ]
        return SourceRun(Context({"shift": 0.6}), History(tuple(made)))

    assert xs([alike((0.1, 1.0, 7.0), (0.2, 2.0, 8.0), (0.3, 3.0, 3.0))]) == [0.2, 0.1]
    assert xs([alike((0.1, 1.0, 9.0), (0.2, 1.0, 2.0), (0.3, 9.0, 8.0))]) == [0.3, 0.1]
    # So are the runs of one context.
    assert xs([alike((0.1, 1.0, 9.0)), alike((0.2, 9.0, 9.0)), alike((0.3, 8.0, 8.0))]) == [0.2, 0.1, 0.3]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"x": {**X, "low": 0.25}}, [0.4]),  # 0.1 is out of range: the line falls back on 0.4
        ({"x": {**X, "high": 0.35}}, [0.1, 0.3]),
        ({"x": {**X, "low": 0.95}}, []),
        ({"x": X, "y": X}, []),  # nobody knows what y was
        ({"y": X}, []),  # nobody tunes x
        ({"x": {"type": "categorical", "choices": [0.1, 0.2]}}, [0.1]),  # a category with another choice is unknown
    ],
)
def test_only_configurations_of_the_targets_space_count(space, expected):
    assert xs([DESCENT], 0.5, Space(space)) == expected


def test_what_exists_only_under_a_condition_is_copied_as_it_is():
    space = Space(
        {
            "kind": {"type": "categorical", "choices": ["a", "b"]},
            "x": {**X, "when": {"kind": "b"}},
        }
    )
    tried = [({"kind": "a"}, 1.0), ({"kind": "b", "x": 0.3}, 2.0), ({"kind": "b"}, 9.0)]
    records = [Record(0, m, None, "random", configuration, 10, value) for m, (configuration, value) in enumerate(tried)]
    memory = Memory(Context({"shift": 0.5}), [SourceRun(Context({"shift": 0.1}), History(tuple(records)))])
    assert [line.hyperparameters for line in early_lines(memory, space, 1.0)] == [{"kind": "b", "x": 0.3}]


def test_contexts_may_have_no_features():
    """As where only runs of the target itself are there to learn from."""
    memory = Memory(Context({}), [SourceRun(Context({}), DESCENT.history)])
    assert memory.contexts == (Context({}),)
    assert [line.hyperparameters["x"] for line in early_lines(memory, SPACE, 0.5)] == xs([DESCENT])
