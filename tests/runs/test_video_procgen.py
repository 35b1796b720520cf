"""Agents that see pictures, filmed and evaluated: a Procgen frame is what the agent saw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError

pytest.importorskip("envpool", reason="Procgen needs the extra procgen")
try:
    metapbt.make_env("procgen").close()
except MetapbtError as error:
    pytest.skip(str(error), allow_module_level=True)

PATH = "results/procgen/game=leaper/random/seed_0"
QUICK = [
    "env=procgen", "context.game=leaper", "learner=drac", "learner.network=nature_small", "learner.n_envs=4",
    "learner.n_steps=16", "learner.minibatches=2", "budget.steps=128", "budget.interval=64", "population.size=2",
    "evaluation.episodes=1", "evaluation.test_episodes=2", "executor=inline", "method=random",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        metapbt.run(QUICK)
    return folder


@pytest.fixture(autouse=True)
def run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to(folder / "results")
    return metapbt.load(PATH)


def test_the_frames_are_what_the_agent_saw_four_times_as_large(run, capsys):
    assert main(["video", PATH, "--to", "agent.webp", "--seed", "3", "--steps", "30"]) == 0
    agent = run.agent(seed=3)
    assert agent.learner.context["num_levels"] == 0  # the run's test is on all levels
    env, policy, expected = metapbt.make_env("procgen", **agent.learner.context), run.policy(), []
    observation, _ = env.reset(seed=3)
    while len(expected) < 30:
        observation, _, terminated, *_ = env.step(policy.act(observation))
        expected.append(observation.copy())
        if terminated:
            break
    assert f"in {len(expected)} steps" in capsys.readouterr().out
    with Image.open("agent.webp") as image:
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    distinct = [frame for place, frame in enumerate(expected) if not place or (frame != expected[place - 1]).any()]
    assert len(shown) == len(distinct)
    for frame, seen in zip(shown, distinct, strict=True):
        np.testing.assert_array_equal(frame, seen.repeat(4, axis=0).repeat(4, axis=1))


def test_sampled_actions_are_another_game(run):
    policy, env = run.policy(), metapbt.make_env("procgen", game="leaper")
    observation, _ = env.reset(seed=0)
    drawn = [policy.act(observation, np.random.default_rng(seed)) for seed in range(40)]
    assert drawn == [policy.act(observation, np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(drawn)) > 3
    assert len({policy.act(observation) for _ in range(3)}) == 1


def test_another_game_and_other_levels_are_contexts(run):
    found = run.agent({"game": "starpilot", "num_levels": 3}, sampled=True, seed=1).evaluate(2)
    assert found.agent.learner.context["game"] == "starpilot"
    assert len(found.returns) == 2
    assert found.to_dict()["context"]["num_levels"] == 3.0


def test_levels_of_training_and_of_the_test_are_two_contexts(run, capsys):
    found = {name: run.agent(levels=name).learner.context for name in ("train", "validation", "test")}
    assert {name: context["num_levels"] for name, context in found.items()} == {
        "train": 200,
        "validation": 0,
        "test": 0,
    }
    assert main(["evaluate", PATH, "--levels", "train", "--episodes", "1"]) == 0
    assert "in procgen game=leaper: return" in capsys.readouterr().out
    assert main(["evaluate", PATH, "--episodes", "1"]) == 0
    assert "in procgen game=leaper,num_levels=0: return" in capsys.readouterr().out
    assert run.agent(levels="train").evaluate(2).agent.seed == run.agent().seed
    with pytest.raises(MetapbtError, match="unknown levels 'held_out'"):
        run.agent(levels="held_out")


def test_the_evaluation_of_a_run_is_its_own_test_on_held_out_levels(run):
    assert run.agent().evaluate().mean == pytest.approx(run.test_return)
