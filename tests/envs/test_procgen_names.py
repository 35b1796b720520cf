"""What Procgen is called and which contexts it has; nothing here needs EnvPool."""

import sys

import pytest

from metapbt.cli import main
from metapbt.config import compose
from metapbt.envs import get_environment, make_context, make_env
from metapbt.envs.batches import make_batch, why_anew
from metapbt.envs.levels import evaluation_contexts
from metapbt.envs.procgen import GAMES
from metapbt.errors import MetapbtError
from metapbt.runs.plan import RunPlan
from metapbt.study.study import planned

SMALL = ["learner=sb3", "learner.policy=CnnPolicy"]


def plan(*overrides):
    return RunPlan.of(compose([*overrides, *SMALL]))


def test_a_game_in_the_name_is_a_game_in_the_context():
    short, long = plan("env=procgen/starpilot", "seed=3"), plan("env=procgen", "context.game=starpilot", "seed=3")
    assert short.plan.path == long.plan.path
    assert str(short.plan.path) == "results/procgen/game=starpilot/pb2/seed_3"
    assert short.config == long.config
    assert plan("env=procgen/bigfish").config == plan("env=procgen").config
    assert make_context("procgen/maze", {"num_levels": 50}) == make_context(
        "procgen", {"game": "maze", "num_levels": 50}
    )
    assert get_environment("procgen/maze") is get_environment("procgen")


def test_it_is_drac_that_learns_from_pictures_unless_one_says_another():
    assert RunPlan.of(compose(["env=procgen/maze"])).plan.learner.name == "drac"
    assert RunPlan.of(compose(["env=procgen/maze", "learner=ppo"])).plan.learner.name == "ppo"
    assert plan("env=procgen/maze").plan.learner.name == "sb3"


def test_a_choice_of_ones_own_may_say_the_game_too(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /env: procgen/heist\ncontext: {num_levels: 20}\n"
    )
    (tmp_path / "experiment" / "key.yaml").write_text("# @package _global_\nenv: procgen/heist\n")
    mine = RunPlan.of(compose(["experiment=mine", *SMALL], tmp_path))
    assert mine.plan.learner.context.changed == {"game": "heist", "num_levels": 20.0}
    assert mine.config["evaluation"]["num_levels"] == 0
    key = RunPlan.of(compose(["experiment=key", *SMALL], tmp_path))
    assert (key.config["env"], key.config["context"]) == ("procgen", {"game": "heist"})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["env=procgen/pong"], "procgen.game must be one of bigfish, .*, got 'pong'"),
        (["env=procgen/starpilo"], "did you mean 'starpilot'"),
        (["env=procgen/maze", "context.game=heist"], "env=procgen/maze and context.game='heist' are two games"),
        (["env=procgn"], "did you mean 'procgen'"),
        (["env=metapbt/ProcgenMaze-v0"], "is called procgen/maze here"),
        (
            ["env=procgen", "context.num_levels=0", "context.start_level=5"],
            "start_level must be 0 where num_levels is 0",
        ),
        (["env=procgen", "context.num_levels=1", "context.start_level=2147483647"], "levels 0 to 2147483646: 1 from"),
        (["env=procgen", "context.distribution_mode=medium"], "distribution_mode must be one of easy, hard"),
        (["env=procgen", "evaluation.num_levels=100"], "0 to 99, are not apart from those of training, 0 to 199"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(overrides, said):
    with pytest.raises(MetapbtError, match=said) as raised:
        plan(*overrides)
    assert "\n" not in str(raised.value)


def test_a_study_refuses_two_games_too():
    with pytest.raises(MetapbtError, match="are two games"):
        planned("two", [["env=procgen/maze", "context.game=heist", *SMALL]])


def test_levels_are_held_out_unless_one_says_otherwise():
    learner = plan("env=procgen/maze", "context.start_level=50").plan.learner
    assert learner.context.changed == {"game": "maze", "start_level": 50.0}
    assert learner.evaluation_context == learner.test_context == make_context("procgen/maze", {"num_levels": 0})
    everything = plan("env=procgen/maze", "context.num_levels=0").plan.learner
    assert everything.evaluation_context is everything.test_context is None
    apart = ["evaluation.num_levels=100", "evaluation.start_level=200"]
    found = plan("env=procgen/maze", *apart).plan.learner.evaluation_context
    assert found == make_context("procgen/maze", {"num_levels": 100, "start_level": 200})
    with pytest.raises(MetapbtError, match="not apart from those of evaluation.num_levels, 200 to 299"):
        plan("env=procgen/maze", *apart, "evaluation.test_num_levels=7", "evaluation.test_start_level=299")
    assert evaluation_contexts("procgen", make_context("procgen"), {}) == (None, None)


def test_episodes_begin_anew_with_a_reason():
    assert why_anew("procgen/maze", {}) == why_anew("procgen", {}) == why_anew("procgen", {}, "python")
    assert "replaying its pictures is expensive" in why_anew("procgen", {})


def test_without_envpool_one_line_says_what_installs_it(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "envpool", None)
    for make in (lambda: make_batch("procgen", {}, 2), lambda: make_env("procgen/maze")):
        with pytest.raises(MetapbtError, match=r"^env 'procgen' needs pip install 'metapbt\[procgen\]': "):
            make()
    assert main(["run", "env=procgen/maze", *SMALL, "executor=inline"]) == 1
    assert "metapbt: error: env 'procgen' needs pip install 'metapbt[procgen]'" in capsys.readouterr().err


def test_scripts_have_a_context_for_each_game_or_number_of_levels(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["scripts", *SMALL, "scripts.seeds=1"]
    assert main([*common, "env=procgen", "scripts.feature=game"]) == 0
    assert len(list((tmp_path / "contexts/procgen/game").glob("context_*.sh"))) == len(GAMES)
    assert main([*common, "env=procgen/maze", "scripts.feature=num_levels", "scripts.values=[50,100]"]) == 0
    text = (tmp_path / "contexts/procgen/num_levels/context_1.sh").read_text()
    assert "results/procgen/game=maze,num_levels=50/pb2/seed_0" in text
    assert "env=procgen/maze" in text
    assert main([*common, "env=procgen/maze", "scripts.feature=game"]) == 1
    assert "env=procgen/maze: the scripts' values of game are set with scripts" in capsys.readouterr().err
