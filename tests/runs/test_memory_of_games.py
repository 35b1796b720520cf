"""Memory spans games and sets of levels: it learns which augmentation suits which game.

Recorded runs of two games, each with an augmentation of its own that suits it, teach a run on one of them.
"""

from pathlib import Path

import numpy as np
import pytest
import yaml

import metapbt
from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.memory.describe import Experience, by_features
from metapbt.memory.sources import choose_sources
from metapbt.space import Space

LEARNER = """\
# @package _global_
defaults:
  - /space@space: planted
learner:
  name: planted_augmentations:PlantedLearner
"""
SPACE = """\
learning_rate: {type: float, low: 1.0e-5, high: 1.0e-3}
aug_type:
  type: categorical
  choices: [crop, random-conv, grayscale, flip, rotate, cutout, cutout-color, color-jitter]
"""
COMMON = [
    "env=procgen", "learner=planted", "budget.steps=60000", "budget.interval=10000", "population.size=8",
    "executor=inline", "evaluation.episodes=1", "evaluation.test_episodes=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with recorded runs of two games on two sets of levels each."""
    folder = tmp_path_factory.mktemp("games")
    for name, text in (("learner", LEARNER), ("space", SPACE)):
        (folder / "conf" / name).mkdir(parents=True)
        (folder / "conf" / name / "planted.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(Path(__file__).parent))
        for game in ("coinrun", "starpilot"):
            for levels in (50, 200):
                train(
                    f"context.game={game}", f"context.num_levels={levels}", f"seed={levels}", "method=random",
                    "results_dir=sources", "population.quantile=0.5",
                )  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def train(*overrides):
    return metapbt.run([*COMMON, *overrides], Path("conf"))


def remembering(game, seed, *overrides):
    return train(
        f"context.game={game}", "context.num_levels=100", f"seed={seed}", "method=meta_pb2", "method.kernel=plain",
        "meta.results_dir=sources", *overrides,
    )  # fmt: skip


def share(run, augmentation, generations):
    records = run.records
    return (records["hp.aug_type"][records["generation"].isin(generations)] == augmentation).mean()


@pytest.mark.parametrize(
    ("game", "suits", "others", "seeds"),
    [
        ("starpilot", "color-jitter", "crop", [0]),
        pytest.param("coinrun", "crop", "color-jitter", [0, 1], marks=pytest.mark.slow),
    ],
)
def test_a_game_gets_the_augmentation_that_suited_it_elsewhere(game, suits, others, seeds):
    with_memory = [remembering(game, seed, "meta.sources=all") for seed in seeds]
    without = [train(f"context.game={game}", "context.num_levels=100", f"seed={seed}", "method=pb2") for seed in seeds]

    def mean(runs, augmentation, generations):
        return np.mean([share(run, augmentation, generations) for run in runs])

    first, later = [0], range(1, 6)
    chance = 1 / 8
    assert mean(with_memory, suits, first) > chance
    assert mean(with_memory, suits, later) > max(mean(without, suits, later), 3 * chance)
    assert mean(with_memory, others, later) < chance
    assert np.mean([run.test_return for run in with_memory]) > np.mean([run.test_return for run in without])
    remembered = with_memory[0].records
    assert {"memory", "hedge"} <= set(remembered["source"][remembered["generation"] == 0])


@pytest.mark.parametrize("game", ["starpilot", "coinrun"])
def test_similar_sources_are_those_of_the_same_game(game):
    target, space = make_context("procgen", {"game": game, "num_levels": 100}), Space(yaml.safe_load(SPACE))
    learner = "planted_augmentations:PlantedLearner"
    runs = choose_sources(Path("sources"), "procgen", learner, target, "similar", 2, space=space)
    assert [run.context["game"] for run in runs] == [game, game]


@pytest.mark.slow
def test_contexts_of_pictures_are_similar_by_experience():
    try:
        metapbt.make_env("procgen").close()
    except MetapbtError as error:
        pytest.skip(str(error))
    run = remembering(
        "starpilot", 9, "meta.sources=similar", "meta.num_contexts=2", "meta.describe_by=experience", "meta.episodes=4",
        "budget.steps=10000",
    )  # fmt: skip
    assert [context["game"] for context in run.info.ancestry] == ["starpilot", "starpilot"]
    assert "memory" in set(run.records["source"])
    contexts = [
        make_context("procgen", {"game": g, "num_levels": n}) for g in ("starpilot", "coinrun") for n in (50, 200)
    ]
    places = np.array([list(each.values()) for each in Experience("procgen", 4)(contexts)])
    gaps = np.linalg.norm(places[:, None] - places, axis=-1)
    assert max(gaps[0, 1], gaps[2, 3]) < min(gaps[:2, 2:].ravel())


def test_all_levels_are_more_than_any_number_of_them():
    contexts = [
        make_context("procgen", {"num_levels": n, "start_level": s}) for n, s in ((200, 0), (0, 0), (200, 5000))
    ]
    few, everything, elsewhere = by_features(contexts)
    assert few == elsewhere  # which levels they are says nothing
    assert few["num_levels"] == np.log2(201)
    assert everything["num_levels"] == 31
