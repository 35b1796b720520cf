"""The pages do what they say: their code runs, their commands work, their links lead somewhere."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.parameters import _KEYS
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.store import find_runs, read_records

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def blocks(page, language):
    """The code blocks of a page in a language ("" for none given), each with the file that its first line names."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for kind, text in found:
        if kind == language:
            named = re.match(r"# (\S+/?\S+\.\w+)\n", text)
            yield (named.group(1) if named else None), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_every_page_compiles(page):
    for name, text in blocks(page, "python"):
        compile(text, name or page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_and_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# --- README.md


def test_the_readmes_python_runs_as_a_script_without_a_main_guard(tmp_path):
    ((_, code),) = blocks(ROOT / "README.md", "python")
    assert "__main__" not in code
    small = '"budget.steps=2000", "budget.interval=1000", "evaluation.test_episodes=2", "executor.workers=2", '
    file = tmp_path / "script.py"
    code = code.replace("metapbt.run([", f"metapbt.run([{small}", 1) + "\nprint(min(weights))\n"
    file.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.5  # the toy's agents have learned
    assert done.stderr.count("finished with a test return") == 1  # and nobody ran the script once more


def test_the_readmes_space_is_taken_by_the_command_behind_it(tmp_path, capfd):
    page = ROOT / "README.md"
    ((_, text),) = blocks(page, "yaml")
    (tmp_path / "my_conf/space").mkdir(parents=True)
    (tmp_path / "my_conf/space/mine.yaml").write_text(text)
    lines = [shlex.split(line) for _, text in blocks(page, "") for line in text.splitlines()]
    ((_, *arguments),) = [line for line in lines if "--config-dir" in line]
    small = ["executor=inline", "budget.steps=2000", "budget.interval=1000", "population.size=2"]
    small += ["evaluation.episodes=1", "evaluation.test_episodes=1"]
    assert main([*arguments, *small]) == 0, capfd.readouterr().err
    assert "hp.policy_kwargs.optimizer_kwargs.eps" in metapbt.load("results/cart_pole/default/mine/seed_0").records


# --- docs/from_python.md


def test_the_page_about_python_shows_the_examples_as_they_are():
    shown = {name: text.partition("\n")[2] for name, text in blocks(ROOT / "docs/from_python.md", "python") if name}
    assert shown == {f"examples/{path.name}": path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}


def test_the_page_about_python_runs_from_top_to_bottom():
    everything = "\n".join(text for name, text in blocks(ROOT / "docs/from_python.md", "python") if not name)
    names = {}
    exec(everything, names)
    assert abs(names["weights"][0]) < 10
    fitted = names["fitting"].history
    assert fitted.eras == 3
    assert fitted.best().train_return > -1e-4  # no degree below 7 gets so far
    assert fitted.best().hyperparameters["degree"] > max(r.hyperparameters["degree"] for r in fitted.generation(0))
    assert json.loads(names["text"]) == names["other"].state()
    assert "memory" in {a.source for a in names["remembering"].assignments.values()}


def example(name, *arguments):
    """Run an example as a script; return its variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.parametrize("method", [name for name in METHODS if not explorer_class(name).uses_memory])
def test_the_classifier_is_tuned_by_every_method(method, capsys):
    tuner = example("tune_classifier.py", "--generations", "3", "--method", method)["tuner"]
    assert tuner.history.generations == 3
    assert tuner.history.best().train_return > 0.5  # chance is 0.1
    assert "best accuracy: 0." in capsys.readouterr().out


def test_the_classifier_goes_on_where_it_was_stopped(capsys):
    example("tune_classifier.py", "--generations", "5", "--method", "pbt", "--file", "whole.pt")
    whole = capsys.readouterr().out
    example("tune_classifier.py", "--generations", "2", "--method", "pbt", "--file", "parts.pt")
    capsys.readouterr()
    example("tune_classifier.py", "--generations", "5", "--method", "pbt", "--file", "parts.pt")
    assert capsys.readouterr().out == whole[whole.index("generation 2") :]
    a, b = (torch.load(file, weights_only=True) for file in ("whole.pt", "parts.pt"))
    assert a["tuner"] == b["tuner"]
    assert {record["parent"] for record in json.loads(a["tuner"])["records"]} > {None}  # somebody copied
    for one, other in zip(a["members"], b["members"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_script_of_stable_baselines3_is_tuned(capsys):
    names = example("tune_stable_baselines3.py", "--generations", "2", "--interval", "256", "--method", "pbt")
    assert "copies member" in capsys.readouterr().out
    assert names["tuner"].history.generations == 2
    for agent, assignment in zip(names["agents"], names["tuner"].assignments.values(), strict=True):
        assert agent.learning_rate == assignment.hyperparameters["learning_rate"]
        assert agent.clip_range(1.0) == assignment.hyperparameters["clip_range"]
    (copied,) = [m for m, assignment in names["tuner"].assignments.items() if assignment.kind == "copy"]
    start = names["tuner"].assignments[copied].start
    child, parent = (names["agents"][m].get_parameters() for m in (copied, start.member))
    torch.testing.assert_close(child["policy"], parent["policy"], rtol=0, atol=0)
    moments = [agent["policy.optimizer"]["state"][0]["exp_avg"] for agent in (child, parent)]
    torch.testing.assert_close(*moments, rtol=0, atol=0)
    assert moments[0].data_ptr() != moments[1].data_ptr()


# --- docs/your_own_method.md


@pytest.fixture
def afternoon(tmp_path, monkeypatch):
    """What somebody has who followed the page: the files that it names, in an empty folder."""
    page = ROOT / "docs" / "your_own_method.md"
    for language in ("python", "yaml"):
        for name, text in blocks(page, language):
            if name:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(text)
    yield page
    for name in ("my_methods", "my_selections"):
        sys.modules.pop(name, None)


@pytest.fixture
def importable(afternoon, tmp_path, monkeypatch):
    """As the console script finds it, which looks in the working directory."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return afternoon


def test_the_page_about_methods_names_its_files(afternoon):
    classes, choices = {"my_methods.py", "my_selections.py"}, {"method/mine.yaml", "selection/tournament.yaml"}
    assert {path.as_posix() for path in Path().rglob("*.*")} == classes | {f"my_conf/{name}" for name in choices}


@pytest.mark.slow
def test_the_commands_of_the_page_about_methods_work_one_after_another(afternoon, tmp_path):
    lines = [line for _, text in blocks(afternoon, "") for line in text.splitlines()]
    assert len(lines) == 4
    for line in lines:
        program, *arguments = shlex.split(line)
        words = [Path(sys.executable).with_name(program), *arguments]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert Path("results/report/index.html").exists()
    frame = read_records(find_runs(Path("results")))
    mine = frame[frame["method"] == "my_methods:GaussianExplorer"]
    assert set(mine["seed"]) == {0, 1, 2}
    assert set(frame.loc[frame["name"] == "pbt", "seed"]) == {1, 2}
    tournament = frame[frame["name"] == "pbt_tournament"].set_index(["generation", "member"])
    places = tournament.groupby("generation")["train_return"].rank()
    copies = tournament["parent"].dropna()
    assert len(copies)
    assert all(places[generation - 1, parent] > 1 for (generation, _), parent in copies.items())  # not the worst
    assert set(mine["source"]) == {"random", "continued", "gaussian"}
    assert (mine["source"] == "gaussian").equals(mine["parent"].notna())


def test_the_method_of_the_page_is_used_by_a_tuner(importable):
    (text,) = [text for name, text in blocks(importable, "python") if not name]
    names = {}
    exec(text, names)
    (copy,) = [decision for decision in names["decisions"] if isinstance(decision, metapbt.Copy)]
    assert copy.parent == 3
    assert copy.hyperparameters in names["tuner"].space
    assert copy.hyperparameters != names["configs"][3]


def test_the_method_of_the_page_moves_about_as_far_as_its_step_says(importable):
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "y")}
    tuner = metapbt.Tuner(space, "my_methods:GaussianExplorer", population_size=400, quantile=0.5, step=0.01)
    tuner.start()
    tuner.tell([1] * 400, [float(m) for m in range(400)])
    parents = [a.hyperparameters for a in tuner.assignments.values()]
    moves = [
        a.hyperparameters[name] - parents[a.start.member][name]
        for a in tuner.assignments.values()
        if a.kind == "copy"
        for name in space
        if 0.05 < parents[a.start.member][name] < 0.95  # where nothing is clipped
    ]
    assert pd.Series(moves).std() == pytest.approx(0.01, rel=0.2)


def test_the_method_of_the_page_refuses_a_wrong_setting_in_one_line(importable):
    with pytest.raises(MetapbtError, match=r"^method.step must be in \(0, 1\], got 2$"):
        metapbt.run(["method=mine", "env=quadratic", "method.step=2"], Path("my_conf"))


def test_runs_of_the_method_of_the_page_can_be_repeated_and_stopped(importable, monkeypatch):
    def records(folder):
        command = ["method=mine", "env=quadratic", "budget.steps=20", f"results_dir={folder}"]
        return metapbt.run(command, Path("my_conf")).records.drop(columns=["wall_seconds"])

    whole = records("whole")
    assert "gaussian" in set(whole["source"])
    pd.testing.assert_frame_equal(records("again"), whole, check_exact=True)

    class Killed(BaseException):
        pass

    writes, original = [0], Path.replace

    def replace(self, target):
        writes[0] += 1
        if writes[0] in (8, 13, 21):
            raise Killed
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for _ in range(3):
        with pytest.raises(Killed):
            records("stopped")
        sys.modules.pop("my_methods")  # as in a new process
    pd.testing.assert_frame_equal(records("stopped"), whole, check_exact=True)


# --- docs/your_own_environment.md


@pytest.fixture
def ten_minutes(tmp_path, monkeypatch):
    """What somebody has who followed the page about environments: the files that it names, in an empty folder."""
    page = ROOT / "docs" / "your_own_environment.md"
    ((name, text),) = [(name, text) for name, text in blocks(page, "python") if name]
    (tmp_path / name).write_text(text)
    assert "`my_conf/env/pendulum.yaml`" in page.read_text(encoding="utf-8")
    for name, text in blocks(page, "yaml"):
        file = tmp_path / (name or "my_conf/env/pendulum.yaml")  # whose first line must be Hydra's
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))  # the command looks for modules in the current directory
    yield page
    sys.modules.pop("my_envs", None)


def commands(page, word):
    """The arguments of every ``metapbt`` command on a page whose first word is this one."""
    lines = [line for _, text in blocks(page, "") for line in text.splitlines()]
    assert all(line.startswith("metapbt ") for line in lines)
    return [arguments for _, *arguments in map(shlex.split, lines) if arguments[0] == word]


def test_the_environment_of_the_page_is_made_in_a_context(ten_minutes, capsys):
    ((_, text),) = [(name, text) for name, text in blocks(ten_minutes, "python") if not name]
    names = {}
    exec(text, names)
    pendulum = names["env"].unwrapped
    assert (pendulum.l, pendulum.m, pendulum.g) == (1.5, 1.0, 1.6)
    assert names["env"].spec.max_episode_steps == 200
    ((code, comment),) = re.findall(r"^(print.*)  # (.*)$", text, re.MULTILINE)
    assert capsys.readouterr().out.strip() == comment


def test_at_its_defaults_the_environment_of_the_page_is_gymnasiums(ten_minutes):
    def rewards(env):
        env.reset(seed=0)
        env.action_space.seed(0)
        return [env.step(env.action_space.sample())[1] for _ in range(50)]

    assert rewards(metapbt.make_env("my_envs:PENDULUM")) == rewards(metapbt.make_env("Pendulum-v1"))


def test_the_message_that_the_page_quotes_is_the_one_that_comes(ten_minutes):
    with pytest.raises(MetapbtError) as error:
        metapbt.make_env("my_envs:PENDULUM", planet="mon")
    assert f"`{error.value}`" in ten_minutes.read_text(encoding="utf-8")


def test_the_scripts_of_the_page_about_environments_are_written(ten_minutes):
    for arguments in commands(ten_minutes, "scripts"):
        assert main(arguments) == 0
    found = sorted(path.as_posix() for path in Path("contexts").rglob("*.sh"))
    assert found == [f"contexts/my_envs-PENDULUM/{f}/context_{i}.sh" for f in ("length", "planet") for i in (1, 2, 3)]


@pytest.mark.slow
def test_the_commands_of_the_page_about_environments_work_one_after_another(ten_minutes, capfd):
    runs = commands(ten_minutes, "run")
    assert len(runs) == 5
    # As they stand but for their budgets, which are for agents that learn.
    short = ["budget.steps=2000", "budget.interval=1000", "evaluation.test_episodes=5"]
    reports = [line for line in commands(ten_minutes, "report") if "results/pendulum" not in line]
    for arguments in [*([*run, *short] for run in runs), *reports]:
        assert main(arguments) == 0, capfd.readouterr().err
    assert Path("results/report/index.html").exists()
    done = sorted(path.parent.relative_to("results").as_posix() for path in Path("results").rglob("DONE"))
    assert done == [
        "Pendulum-v1/default/pb2/seed_0",
        "my_envs-PENDULUM/length=0.5/pbt/seed_0",
        "my_envs-PENDULUM/length=0.7/meta_pb2/seed_0",
        "my_envs-PENDULUM/length=1.5,planet=moon/pb2/seed_0",
        "sources/my_envs-PENDULUM/default/pb2/seed_0",
        "sources/my_envs-PENDULUM/length=0.5/pb2/seed_0",
    ]
    frame = read_records(find_runs(Path("results/my_envs-PENDULUM")))
    assert Path("results/my_envs-PENDULUM/length=0.7/meta_pb2/seed_0/memory.parquet").exists()
    assert set(frame.loc[frame["method"] == "pb2", "context.planet"]) == {"moon"}


@pytest.mark.slow
def test_the_study_of_the_page_about_environments_is_planned_and_trains(ten_minutes, capfd):
    dry, submit, *_ = commands(ten_minutes, "study")
    assert main(dry) == 0
    assert "30 runs" in capfd.readouterr().out
    here = [word for word in submit if word != "cluster=ours"]  # which is for a machine with Slurm
    small = ["tune.context.length=0.7", "tune.seed=0", "tune.method=pb2", "tune.budget.steps=400"]
    small += ["tune.budget.interval=200", "population.size=2", "evaluation.episodes=1", "evaluation.test_episodes=1"]
    assert main([*here, *small]) == 0, capfd.readouterr().err
    for arguments in [*commands(ten_minutes, "status"), ["report", "results/pendulum"]]:
        assert main(arguments) == 0, capfd.readouterr().err


# --- docs/search_spaces.md


@pytest.mark.slow
def test_every_way_to_a_space_that_the_page_shows_is_taken(tmp_path, capfd):
    page = ROOT / "docs" / "search_spaces.md"
    ((name, text),) = blocks(page, "yaml")
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    tiny = ["executor=inline", "budget.steps=800", "budget.interval=400", "population.size=2", "learner.n_envs=4"]
    tiny += ["evaluation.episodes=1", "evaluation.test_episodes=1"]
    for arguments in commands(page, "run"):
        assert main([*arguments, *tiny]) == 0, capfd.readouterr().err
    found = {path.parent.name for path in Path("results/cart_pole/default").glob("*/seed_0")}
    assert found == {"architectures", "five_epochs", "wider", "entropy", "mine"}
    keys = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert {key for row in keys for key in row if key} == set().union({"type"}, *_KEYS.values())


# --- docs/getting_started.md

SHORT = ["budget.steps=2000", "budget.interval=1000", "evaluation.episodes=2", "evaluation.test_episodes=2"]


@pytest.mark.slow
def test_the_first_five_minutes_go_as_the_page_says(capfd):
    page = ROOT / "docs" / "getting_started.md"
    lines = [shlex.split(line) for _, text in blocks(page, "") for line in text.splitlines()]
    ours = [arguments for program, *arguments in lines if program == "metapbt"]
    assert [arguments[0] for arguments in ours] == ["run", "run", "status", "report", "run", "evaluate", "video"]
    for line in ours:
        arguments = ["seed=0" if word == "seed=0,1,2" else word for word in line]
        short = SHORT if arguments[0] == "run" else []
        assert main([*arguments, *short]) == 0, capfd.readouterr().err
    assert "meta_pb2" in capfd.readouterr().out
    assert Path("results/poles/report/index.html").exists()
    assert Path("agent.gif").read_bytes().startswith(b"GIF8")
    ((_, code),) = blocks(page, "python")
    names = {}
    exec(code, names)
    assert names["action"] in names["env"].action_space


# --- docs/your_own_learner.md


@pytest.mark.slow
def test_the_learner_of_the_page_is_trained_and_repeats_itself(tmp_path, monkeypatch, capfd):
    page = ROOT / "docs" / "your_own_learner.md"
    for language in ("python", "yaml"):
        for name, text in blocks(page, language):
            file = tmp_path / (name or "my_conf/learner/random_search.yaml")  # whose first line must say where it goes
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    assert "`my_conf/learner/random_search.yaml`" in page.read_text(encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    train, evaluate = (
        shlex.split(line.removeprefix("metapbt ")) for _, text in blocks(page, "") for line in text.splitlines()
    )
    assert main([*train, "executor=inline", "evaluation.test_episodes=20"]) == 0, capfd.readouterr().err
    assert main(evaluate) == 0
    run = metapbt.load("results/cart_pole/default/random_search/seed_0")
    assert run.test_return > 100  # a random policy reaches about 20
    part = ["executor=inline", "evaluation.test_episodes=20", "results_dir=parts"]
    assert main([*train, *part, "stop.spent_steps=20000"]) == 0
    history = metapbt.load("parts/cart_pole/default/random_search/seed_0").records
    columns = ["generation", "member", "env_steps", "eval_return", "train_return"]
    pd.testing.assert_frame_equal(history[columns], run.records[columns].head(len(history)), check_exact=True)
    monkeypatch.delitem(sys.modules, "my_learners", raising=False)
    with pytest.raises(MetapbtError, match="needs step_size and noise"):
        metapbt.run(["env=cart_pole", "learner=random_search", "space=ppo", "results_dir=other"], Path("my_conf"))


# --- the site


def test_every_page_is_in_the_sites_navigation():
    listed = set(re.findall(r"\S+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"}
