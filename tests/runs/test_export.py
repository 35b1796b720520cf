"""What a run trained, as files for other programs: what they hold is what the agent does, whoever reads them."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO

import metapbt
from metapbt.cli import main
from metapbt.learners.ppo.hyperparameters import HYPERPARAMETERS
from metapbt.runs.lineage import lineage

ROOT = Path(__file__).parents[2]
QUICK = [
    "budget.steps=1000", "budget.interval=500", "population.size=2", "evaluation.episodes=1",
    "evaluation.test_episodes=1", "executor=inline", "method=random",
]  # fmt: skip
SB3_PAGE = "docs/stable_baselines3.md"
POLE = "results/cart_pole/default/random/seed_0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run in it; nothing that a test does changes it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        metapbt.run(["env=cart_pole", *QUICK, "learner.normalise_observations=true"])
    return folder


@pytest.fixture(autouse=True)
def _there(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to(folder / "results")


def block(page, name):
    """The code block of a page whose first line names this file."""
    (found,) = re.findall(rf"^```python\n(# {name}\n.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return found


def session_of(file):
    return pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx").InferenceSession(file)


def test_an_onnx_file_is_the_policy_with_what_it_is_of(capsys):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    assert main(["export", POLE, "--to", "policy.onnx"]) == 0
    out, err = capsys.readouterr()
    run, session = metapbt.load(POLE), session_of("policy.onnx")
    what, whose, checked = out.splitlines()
    assert what == "policy.onnx: observation to action and logits, of"
    assert whose == f"{POLE} (member {run.best.member} after {run.best.env_steps} steps) in cart_pole default"
    assert re.fullmatch(r"checked: 0 of 1,000 observations differ by more than 1e-5 \(at most \de-\d\d\)", checked)
    assert not err
    assert [(each.name, each.shape[1:], each.type) for each in session.get_inputs()] == [
        ("observation", [4], "tensor(float)")
    ]
    assert not isinstance(session.get_inputs()[0].shape[0], int)  # any number of them
    assert [each.name for each in session.get_outputs()] == ["action", "logits"]
    said = session.get_modelmeta().custom_metadata_map
    assert (said["env"], said["run"]) == ("cart_pole", run.info.identity.run_id)
    assert json.loads(said["context"]) == dict(run.info.context)
    assert (int(said["generation"]), int(said["member"])) == tuple(run.best.ref)
    policy, observations = run.policy(), np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    for batch in (observations, observations[:1]):
        np.testing.assert_array_equal(session.run(["action"], {"observation": batch})[0], policy.act(batch))
    assert len(set(policy.act(observations).tolist())) == 2


def test_the_pages_ten_lines_play_gymnasiums_environment(capsys):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    assert main(["export", POLE, "--to", "policy.onnx"]) == 0
    Path("play.py").write_text(block("docs/agents.md", "play.py"))
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['metapbt'] = sys.modules['torch'] = None; import play"],
        capture_output=True, text=True,
    )  # fmt: skip
    expected = metapbt.load(POLE).agent(seed=0).evaluate(1).returns[0]
    assert done.stdout == f"return {expected:.0f} in cart_pole\n", done.stderr


def test_the_pages_commands_work_one_after_another(monkeypatch, tmp_path_factory, capfd):
    pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    pytest.importorskip("av", reason="MP4 needs the extra video")
    monkeypatch.chdir(tmp_path_factory.mktemp("page"))
    (commands,) = re.findall(
        r"^```\n(metapbt.*?)^```$", (ROOT / "docs/agents.md").read_text(), re.MULTILINE | re.DOTALL
    )
    small = ["budget.steps=1000", "budget.interval=500", "population.size=2", "evaluation.test_episodes=3"]
    for command in commands.splitlines():
        _, *arguments = command.split()
        assert main([*arguments, *small] if arguments[0] == "run" else arguments) == 0, capfd.readouterr().err
    assert {"policy.onnx", "schedule.yaml"} <= {path.name for path in Path.cwd().iterdir()}
    assert (Path("results/cart_pole/default/pb2/seed_0") / "video.mp4").exists()
    code = re.findall(r"^```python\n(import metapbt\n.*?)^```$", (ROOT / "docs/agents.md").read_text(), re.M | re.S)
    names = {}
    exec(code[0], names)
    assert names["action"] in (0, 1)


@pytest.mark.parametrize("ending", ["pt2", "pt"])
def test_pytorch_reads_its_files(ending):
    metapbt.load(POLE).export(f"policy.{ending}")
    extra = {"metapbt.json": ""}
    if ending == "pt2":
        module = torch.export.load("policy.pt2", extra_files=extra).module()
    else:
        module = torch.jit.load("policy.pt", _extra_files=extra)
    assert json.loads(extra["metapbt.json"])["env"] == "cart_pole"
    observations = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    action, logits = module(torch.from_numpy(observations))
    np.testing.assert_array_equal(action.numpy(), metapbt.load(POLE).policy().act(observations))
    assert logits.shape == (9, 2)


@pytest.mark.parametrize(
    "asked",
    [
        ["env=Pendulum-v1", "learner.normalise_observations=true"],
        ["env=cart_pole", "learner.engine=jax"],
        ["env=cart_pole", "learner=drac", "space=drac_vectors", "learner.n_envs=4"],
        ["env=Pendulum-v1", "learner=drac", "space=drac_vectors", "learner.n_envs=4"],
        ["env=Pendulum-v1", "learner=sb3", "learner.algorithm=TD3", "~space.clip_range", "~space.gae_lambda",
         "~space.n_epochs", "+learner.hyperparameters.TD3.learning_starts=900"],
    ],
    ids=["ppo-continuous", "ppo-jax", "drac-discrete", "drac-continuous", "sb3-td3"],
)  # fmt: skip
def test_every_learners_agent_is_exported_and_checked(asked):
    run = metapbt.run([*QUICK, *asked, "name=own", "population.size=1", "results_dir=own"])
    exported = run.export("policy.pt")
    assert exported.largest <= 1e-5
    observation, _ = metapbt.make_env(run.info.env).reset(seed=0)
    action, _ = torch.jit.load("policy.pt")(torch.from_numpy(observation[None]))
    np.testing.assert_allclose(action[0].numpy(), run.policy().act(observation), rtol=1e-5, atol=1e-6)


def test_an_agent_of_ones_own_environment_is_exported_in_its_context(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_envs.py").write_text(block("docs/your_own_environment.md", "my_envs.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    run = metapbt.run(["env=own_envs:PENDULUM", "context.length=1.5", *QUICK, "results_dir=own"])
    assert main(["export", str(run.path), "--to", "policy.pt"]) == 0
    extra = {"metapbt.json": ""}
    torch.jit.load("policy.pt", _extra_files=extra)
    said = json.loads(extra["metapbt.json"])
    capsys.readouterr()
    assert main(["evaluate", str(run.path), "context.planet=moon", "--episodes=2", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["context"] == {"length": 1.5, "mass": 1.0, "planet": "moon"}
    assert evaluated["mean"] == pytest.approx(np.mean(evaluated["returns"]))
    assert (said["env"], json.loads(said["context"])["length"]) == ("own_envs:PENDULUM", 1.5)


def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch, capfd):
    toy = str(metapbt.run(["env=quadratic", "method=pbt", "budget.steps=8", "results_dir=others"]).path)
    capfd.readouterr()
    for arguments, message in (
        ([POLE, "--to", "policy.h5"], "--to must end in .onnx, .pt2, .pt or .yaml (the schedule), got policy.h5"),
        ([toy, "--to", "policy.pt"], "learner=quadratic solves a problem without observations and actions"),
        (["nowhere", "--to", "policy.pt"], "nowhere is no run directory"),
    ):
        assert main(["export", *arguments]) == 1
        err = capfd.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not list(tmp_path.glob("policy*"))


def test_onnx_without_its_libraries_names_what_installs_them():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        f"from metapbt.cli import main\nsys.exit(main(['export', {POLE!r}, '--to', 'policy.onnx']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "exporting to ONNX needs: pip install 'metapbt[onnx]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


# --- schedules

TUNED = {
    "learning_rate": (1e-5, 1e-2), "ent_coef": (1e-4, 1e-1), "clip_range": (0.1, 0.5), "gamma": (0.9, 0.999),
    "gae_lambda": (0.8, 0.99), "batch_size": (33, 40), "n_epochs": (1, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose best agent changed its hyperparameters on the way."""
    folder = tmp_path_factory.mktemp("scheduled")
    (folder / "conf/space").mkdir(parents=True)
    space = {
        name: {"type": "int" if isinstance(low, int) else "float", "low": low, "high": high}
        for name, (low, high) in TUNED.items()
    }
    (folder / "conf/space/seven.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    return metapbt.run(
        ["env=cart_pole", "space=seven", "method=pbt", "budget.steps=2400", "budget.interval=400", "learner.n_envs=4",
         "learner.hyperparameters.n_steps=50", "population.size=4", "evaluation.episodes=1", "population.quantile=0.5",
         "evaluation.test_episodes=1", "executor=inline", "seed=1", f"results_dir={folder}/results"],
        folder / "conf",
    )  # fmt: skip


@pytest.fixture
def scheduled(trained):
    """That run, and ``schedule.yaml`` here."""
    assert main(["export", str(trained.path), "--to", "schedule.yaml"]) == 0
    return trained


def test_a_schedule_is_the_line_of_descent_in_steps(scheduled, capsys):
    found = yaml.safe_load(Path("schedule.yaml").read_text())
    records = lineage(scheduled.history)
    assert [each["hyperparameters"] for each in found["intervals"]] == [dict(r.hyperparameters) for r in records]
    ends = [r.env_steps for r in records]
    assert [each["end"] for each in found["intervals"]] == ends
    assert [each["start"] for each in found["intervals"]] == [0, *ends[:-1]]
    assert (found["env"], found["learner"]["n_envs"], found["born_after"]) == ("cart_pole", 4, 0)
    assert main(["export", str(scheduled.path), "--to", "again.yaml"]) == 0
    line = capsys.readouterr().out
    assert line.endswith(f"again.yaml: {', '.join(TUNED)} of {len(records)} intervals, {ends[-1]:,} steps\n")
    assert Path("again.yaml").read_text() == Path("schedule.yaml").read_text()


def test_plain_stable_baselines3_trains_with_a_schedule(scheduled, monkeypatch):
    """The page's ten lines set what the schedule says, in the updates that it says it for."""
    Path("follow_schedule.py").write_text(block(SB3_PAGE, "follow_schedule.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "follow_schedule", raising=False)
    names = vars(importlib.import_module("follow_schedule"))
    used, train = [], PPO.train

    def watched(self):
        epochs = self._n_updates
        train(self)
        used.append(
            (
                self.num_timesteps - 200,  # where the rollout began
                {
                    "learning_rate": self.policy.optimizer.param_groups[0]["lr"],
                    "ent_coef": self.ent_coef,
                    "clip_range": self.clip_range(self._current_progress_remaining),
                    "gamma": self.gamma,
                    "gae_lambda": self.rollout_buffer.gae_lambda,
                    "batch_size": self.batch_size,
                    "n_epochs": self._n_updates - epochs,
                },
                self.rollout_buffer.gamma,
            )
        )

    monkeypatch.setattr(PPO, "train", watched)
    env = metapbt.make_env("cart_pole")
    model = PPO("MlpPolicy", env, n_steps=200, batch_size=50, seed=0, device="cpu")
    intervals = names["INTERVALS"]
    model.learn(intervals[-1]["end"], callback=names["FollowSchedule"]())
    assert [began for began, *_ in used] == list(range(0, intervals[-1]["end"], 200))
    for began, values, of_buffer in used:
        (now,) = [each for each in intervals if each["start"] <= began < each["end"]]
        assert values == now["hyperparameters"]
        assert of_buffer == values["gamma"]
    assert len({values["learning_rate"] for _, values, _ in used}) > 2
    (_, usage) = re.findall(r"^```python\n(.*?)^```$", (ROOT / SB3_PAGE).read_text(), re.MULTILINE | re.DOTALL)
    used.clear()
    exec(usage, names)  # as the page goes on: CartPole by its id, 16 at once
    last = [each for each in intervals if each["start"] <= 2000][-1]
    assert [values["gamma"] for _, values, _ in used] == [
        each["hyperparameters"]["gamma"] for each in (intervals[0], last)
    ]


def test_names_of_ppos_hyperparameters_are_those_of_stable_baselines3():
    import inspect

    assert HYPERPARAMETERS.keys() - inspect.signature(PPO).parameters.keys() == {"reward_scale"}


# --- the best agent

COLLAPSING = """
from metapbt.population.explorers.base import Explorer, Suggestion


class Collapsing(Explorer):
    '''Trains well for two intervals, then with a learning rate that destroys what was learned.'''

    def start(self, size, rng):
        return [Suggestion(self.space.default(), "default")] * size

    def propose(self, children, parents, history, pending, rng):
        ruined = {"learning_rate": 30.0} if children[0].generation >= 1 else {}
        return [Suggestion({**self.space.default(), **ruined}, "perturbed") for _ in children]
"""


@pytest.mark.parametrize(
    "learner",
    [
        ["learner=ppo", "space.learning_rate.high=100", "budget.steps=6000"],
        ["learner=sb3", "space.learning_rate.high=100", "budget.steps=6000"],
        [
            "learner=drac",
            "space=drac_vectors",
            "space.learning_rate.high=100",
            "learner.n_envs=4",
            "budget.steps=8000",
            "seed=1",
        ],  # with 0 a ruined policy is as good on some machines
    ],
    ids=["ppo", "sb3", "drac"],
)
def test_a_run_that_collapses_late_keeps_its_best_agent(learner, tmp_path, monkeypatch):
    (tmp_path / "collapsing.py").write_text(COLLAPSING)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = metapbt.run(
        ["env=cart_pole", "method=default", "method.name=collapsing:Collapsing", *learner,
         "budget.interval=2000", "population.size=1", "evaluation.episodes=5", "evaluation.test_episodes=3",
         "selection.name=metapbt.runs.replay:GoOnAlone", "~selection.backtrack", "population.metric=eval_return",
         "executor=inline", "results_dir=own"]
    )  # fmt: skip
    means = run.records.groupby("generation")["eval_return"].max()
    assert run.best.generation < 2
    assert means.iloc[-1] < 0.5 * run.best.eval_return
    assert run.agent().evaluate(3).mean == pytest.approx(run.test_return)
    assert run.agent().evaluate(10).mean > 1.5 * means.iloc[-1]
