"""The best agent of a run, as people meet it: its policy, and what it is worth here or in another context."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.report import descent
from metapbt.report.reading import RunReader
from metapbt.runs.lineage import lineage
from metapbt.store.done import Done
from metapbt.store.run_directory import RunDirectory

QUICK = [
    "env=cart_pole", "budget.steps=2000", "budget.interval=1000", "population.size=2", "evaluation.episodes=2",
    "evaluation.test_episodes=4", "executor=inline", "context.pole_length=0.7",
]  # fmt: skip
PATH = "results/cart_pole/pole_length=0.7/pb2/seed_0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run in it; nothing that a test does changes it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        metapbt.run(QUICK)
    return folder


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return metapbt.load(PATH)


def play(policy, env, seed, rng=None):
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        action = policy.act(observation) if rng is None else policy.act(observation, rng)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    return total


def test_the_evaluation_of_a_run_is_its_own_test(run):
    found = run.agent().evaluate()
    assert len(found.returns) == 4
    assert found.mean == pytest.approx(run.test_return)


def test_the_policy_plays_what_is_evaluated(run):
    agent = run.agent(seed=5)
    env = metapbt.make_env("cart_pole", pole_length=0.7)
    policy = run.policy()
    assert [play(policy, env, seed) for seed in (5, 6, 7)] == list(agent.evaluate(3).returns)


def test_another_context_is_another_evaluation(run):
    longer = run.agent({"pole_length": 2.0}, seed=5)
    env = metapbt.make_env("cart_pole", pole_length=2.0)
    assert list(longer.evaluate(3).returns) == [play(run.policy(), env, seed) for seed in (5, 6, 7)]
    assert longer.evaluate(3).returns != run.agent(seed=5).evaluate(3).returns
    assert longer.learner.context["pole_length"] == 2.0


@pytest.mark.parametrize(
    "learner", [["learner=ppo"], ["learner=sb3"], ["learner=sb3", "learner.algorithm=A2C", "space=a2c"]]
)
def test_every_learners_policy_draws_from_a_generator_alone(learner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = metapbt.run([*QUICK, *learner, "method=random"]).policy()
    observations = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)

    def acts(seed):
        rng = None if seed is None else np.random.default_rng(seed)
        return [policy.act(each) if rng is None else policy.act(each, rng) for each in observations]

    assert acts(1) == acts(1)
    assert acts(None) == acts(None)
    assert len({tuple(acts(seed)) for seed in range(5)} | {tuple(acts(None))}) > 3
    assert set(acts(1)) <= {0, 1}


@pytest.mark.parametrize("learner", ["ppo", "sb3"])
def test_a_sampled_evaluation_is_another_one_and_comes_again(learner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = metapbt.run([*QUICK, f"learner={learner}", "method=random", "evaluation.sampled=true"])
    drawn = run.agent(seed=5).evaluate(5)
    assert drawn.agent.sampled
    assert drawn.returns == run.agent(seed=5, sampled=True).evaluate(5).returns
    assert drawn.returns != run.agent(seed=5, sampled=False).evaluate(5).returns


def test_evaluate_prints_a_line_or_json(run, capsys):
    assert main(["evaluate", PATH, "--episodes", "3", "--seed", "5", "context.pole_length=2"]) == 0
    out = capsys.readouterr().out
    assert f"{PATH} (member {run.best.member} after {run.best.env_steps} steps) in cart_pole pole_length=2: " in out
    assert out.endswith("(standard error) over 3 episodes\n")
    assert main(["evaluate", PATH, "context.pole_length=2", "--episodes=3", "--seed", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["returns"] == list(run.agent({"pole_length": 2}, seed=5).evaluate(3).returns)
    assert found["mean"] == np.mean(found["returns"])
    assert found["standard_error"] == pytest.approx(np.std(found["returns"], ddof=1) / np.sqrt(3))
    assert found["context"]["pole_length"] == 2.0
    assert (found["generation"], found["member"]) == tuple(run.best.ref)


def test_one_episode_has_no_standard_error(run):
    found = run.agent().evaluate(1)
    assert found.to_dict()["standard_error"] is None
    assert str(found).endswith("over 1 episode")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["context.pole_lenght=1"], "unknown feature of cart_pole 'pole_lenght'; did you mean 'pole_length'?"),
        (["context.pole_length=long"], "cart_pole.pole_length must be a number, got 'long'"),
        (["pole_length=1"], "'pole_length=1' is no context.FEATURE=VALUE"),
        (["context.pole_length=1", "context.pole_length=2"], "context.pole_length is there twice"),
        (["--episodes", "0"], "episodes must be an integer >= 1, got 0"),
        (["--seed=-1"], "seed must be an integer >= 0, got -1"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, arguments, message):
    assert main(["evaluate", PATH, *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_option_that_does_not_exist_is_refused_where_overrides_may_stand(run, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", PATH, "--jsn"])
    assert "unrecognized arguments: --jsn" in capsys.readouterr().err


def test_what_is_no_run_or_lost_its_checkpoint_is_said(run, tmp_path, monkeypatch):
    with pytest.raises(MetapbtError, match="nowhere is no run directory"):
        metapbt.load("nowhere")
    monkeypatch.chdir(tmp_path)
    again = metapbt.run([*QUICK, "method=random"])
    for path in (again.path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(MetapbtError, match=r"checkpoints/generation_\d_member_\d.npz cannot be read: No such file"):
        again.policy()


def test_a_problem_without_observations_has_returns_but_no_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = metapbt.run(["env=quadratic", "method=pbt", "budget.steps=8"])
    assert run.agent().evaluate(2).mean == pytest.approx(run.test_return)
    with pytest.raises(MetapbtError, match="learner=quadratic solves a problem without observations and actions"):
        run.policy()


def test_a_run_that_is_under_way_has_an_agent_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, metapbt\n"
        "from metapbt.runs import loop\n"
        "loop._finish = lambda *all: os._exit(3)\n"
        f"metapbt.run({QUICK!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    run = metapbt.load(PATH)
    assert run.test_return is None
    assert run.agent().evaluate(2).mean > 0


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("command", ["evaluate", "replay"])
def test_an_augmentation_that_another_users_run_names_is_not_imported(command, tuned, tmp_path, monkeypatch, capsys):
    (tmp_path / "augmenting.py").write_text("def same(observations, generator):\n    return observations\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = "augmenting:same"
    named = [f"space.aug_type.choices=['{name}']", f"space.aug_type.default='{name}'"]
    if not tuned:
        named = ["~space.aug_type", f"learner.hyperparameters.aug_type='{name}'"]
    metapbt.run(
        [
            "env=cart_pole", "learner=drac", "method=default", "space=drac_vectors", "learner.n_envs=2",
            "budget.steps=32", "budget.interval=32", "population.size=1", "evaluation.episodes=1",
            "evaluation.test_episodes=1", "executor=inline", *named,
        ]
    )  # fmt: skip
    monkeypatch.delitem(sys.modules, "augmenting")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert main([command, str(next(tmp_path.glob("results/**/seed_0")))]) == 1
    assert "is another user's and names code (augmenting:same), which is not imported" in capsys.readouterr().err
    assert "augmenting" not in sys.modules


def test_no_agent_acts_where_actions_are_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = [each for each in QUICK if not each.startswith(("env=", "context."))]
    run = metapbt.run(["env=lunar_lander", "context.actions=continuous", *quick])
    assert np.isfinite(run.agent({"gravity_y": -5.0}).evaluate(2).mean)
    assert run.policy().act(np.zeros(8, np.float32)).shape == (2,)
    assert main(["evaluate", str(run.path), "context.actions=discrete"]) == 1
    message = (
        "agent of lunar_lander actions=continuous cannot act in default: its actions are Box(-1.0, 1.0, (2,), float32)"
    )
    assert message in capsys.readouterr().err


def test_of_a_finished_run_the_best_agent_is_the_one_that_was_tested(trained, tmp_path, monkeypatch):
    """Earlier versions tested another, and no other is kept."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run = metapbt.load(PATH)
    other = next(record for record in run.history.latest if record.ref != run.best.ref)
    RunDirectory(run.path).checkpoint(run.best.ref).unlink()
    RunDirectory(run.path).mark_done(Done.of(run.history, other.ref, 12.5, 4))
    found = metapbt.load(PATH)
    assert (found.best, lineage(found.history)[-1], found.agent().record) == (other, other, other)
    assert f"test return 12.50 over 4 fresh episodes (best agent: member {other.member} after" in found.quoted
    assert main(["evaluate", PATH, "--episodes", "1"]) == 0
    (shown,) = RunReader(tmp_path / "results").read()
    assert shown.history.best() == other
    assert descent.history_of(shown.run).best().ref == other.ref
