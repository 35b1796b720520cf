"""Which scripts are written, what is in them, and what they and the job runner do without a cluster.

`metapbt run` is replaced by a stand-in here; tests/slurm runs the real one on a real Slurm.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metapbt.cli import main
from metapbt.config import compose
from metapbt.envs import get_environment
from metapbt.errors import MetapbtError
from metapbt.study.cluster_script import check_cluster
from metapbt.study.scripts import script_contexts, script_seeds, write_scripts

REPOSITORY = Path(__file__).parents[2]
RUNNER = REPOSITORY / "automatic_job_runner.sh"
FOLDER = Path("contexts/lunar_lander/leg_height")
LEG_HEIGHT = ("env=lunar_lander", "scripts.feature=leg_height")

# Finishes the run that the override asks for; fails in the context leg_height=16, and before $SECONDS_TO_TRAIN have
# passed can be stopped by a SIGTERM, as the real one.
METAPBT = """#!/usr/bin/env bash
trap 'echo saved; exit 143' TERM
printf '%s\\n' "$@" >>"$PWD/calls"
for override; do
  case "$override" in context.*) context="${override#context.}" ;; seed=*) seed="${override#seed=}" ;; esac
done
for ((i = 0; i < ${SECONDS_TO_TRAIN:-0} * 10; i++)); do sleep 0.1; done
[[ "$context" != leg_height=16 ]] || { echo "something broke"; exit 1; }
mkdir -p "results/lunar_lander/$context/pb2/seed_$seed"
touch "results/lunar_lander/$context/pb2/seed_$seed/DONE"
"""

# Takes the array's indexes and the script's name, or fails.
SBATCH = """#!/usr/bin/env bash
[[ -z "${SBATCH_FAILS:-}" ]] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
printf '%s\\n' "$*" >>"$PWD/submitted"
echo "$((100 + $(wc -l <"$PWD/submitted")));cluster"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory, with a stand-in for `metapbt` and `sbatch` first on the PATH."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("metapbt", METAPBT), ("sbatch", SBATCH), ("squeue", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    home = tmp_path / "a project"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def write(*overrides: str) -> None:
    assert main(["scripts", *overrides]) == 0


def complaint(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The one line that the command ends with."""
    assert main(["scripts", *overrides]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def shell(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def array(script: Path, name: str) -> list[str]:
    """One of a script's bash arrays."""
    words = re.search(rf"^{name}=\((.*?)\n?\)$", script.read_text(), re.DOTALL | re.MULTILINE)
    assert words is not None
    return shlex.split(words.group(1))


def finish(context: str, *seeds: int) -> None:
    for seed in seeds:
        done = Path(f"results/lunar_lander/{context}/pb2/seed_{seed}/DONE")
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


# ---- which scripts, and what is in them


def test_a_feature_gets_22_contexts_from_a_tenth_to_22_tenths_of_its_default_with_ten_seeds() -> None:
    write(*LEG_HEIGHT)

    assert len(list(FOLDER.iterdir())) == 22
    values = [array(FOLDER / f"context_{i}.sh", "overrides")[-1] for i in range(1, 23)]
    assert values[:3] == ["context.leg_height=0.8", "context.leg_height=1.6", "context.leg_height=2.4"]
    assert values[-1] == "context.leg_height=17.6"
    runs = [f"results/lunar_lander/leg_height=2.4/pb2/seed_{seed}" for seed in range(10)]
    assert array(FOLDER / "context_3.sh", "runs") == runs


def test_the_default_value_trains_in_the_default_context() -> None:
    write(*LEG_HEIGHT, "scripts.seeds=[4]")
    assert array(FOLDER / "context_10.sh", "runs") == ["results/lunar_lander/default/pb2/seed_4"]


def test_the_header_holds_what_conf_cluster_says() -> None:
    write(
        *LEG_HEIGHT,
        "scripts.multipliers=[0.5]",
        "scripts.seeds=3",
        "cluster.partition=long",
        "cluster.cpus=7",
        "cluster.memory=3G",
        "cluster.time=1-12:00:00",
        "cluster.max_parallel=2",
        "cluster.log_dir=my_logs",
        "cluster.gres=gpu:1",
        "cluster.mail=me@example.org",
        "cluster.options=['--qos=normal']",
        "cluster.setup='module load python'",
    )
    text = (FOLDER / "context_1.sh").read_text()
    header = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert header == [
        "--job-name=c1",
        "--array=0-2%2",
        "--output=my_logs/lunar_lander/leg_height/c1_%A_%a.out",
        "--open-mode=append",
        "--partition=long",
        "--ntasks=1",
        "--cpus-per-task=7",
        "--gres=gpu:1",
        "--mem=3G",
        "--time=1-12:00:00",
        "--requeue",
        "--signal=B:USR1@300",
        "--mail-user=me@example.org",
        "--mail-type=END,FAIL",
        "--qos=normal",
    ]
    assert "\n  module load python\n" in text


def test_odd_values_of_overrides_reach_the_run_as_they_were_written(project: Path) -> None:
    odd = "+note='a b; $(touch owned) `touch owned` ${seed} \"x\" # y'"
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=1", "population.size=6", odd, "cluster.cpus=2")

    assert shell("bash", FOLDER / "context_1.sh").returncode == 0
    calls = (project / "calls").read_text().splitlines()
    assert calls == [
        "run",
        "method=pb2",
        "env=lunar_lander",
        "population.size=6",
        odd,
        "context.leg_height=4",
        "seed=0",
    ]
    assert not (project / "owned").exists()


def test_other_changed_features_are_part_of_the_context() -> None:
    write(*LEG_HEIGHT, "scripts.values=[3]", "scripts.seeds=1", "context.gravity_y=-5", "method=pbt")
    script = FOLDER / "context_1.sh"
    assert array(script, "overrides")[-3:] == ["context.gravity_y=-5", "method=pbt", "context.leg_height=3"]
    assert array(script, "runs") == ["results/lunar_lander/leg_height=3,gravity_y=-5/pbt/seed_0"]


def test_a_smaller_set_leaves_no_script_of_a_larger_one_behind() -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 1, 1.5]")
    own = FOLDER / "context_mine.sh"
    own.write_text("echo mine\n")
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]")
    assert sorted(path.name for path in FOLDER.iterdir()) == ["context_1.sh", "context_mine.sh"]


def test_a_configuration_folder_of_ones_own_goes_on_to_the_run(project: Path) -> None:
    config = compose([*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=1"])
    (script,) = write_scripts(config, LEG_HEIGHT, config_dir=project / "my conf")
    assert shell("bash", script).returncode == 0
    assert (project / "calls").read_text().splitlines()[:2] == ["run", "--config-dir=my conf"]


def test_a_file_that_an_experiment_chooses_goes_on_to_the_run_by_its_own_name(project: Path) -> None:
    for path, text in {
        "mine/env/quick.yaml": "# @package _global_\nenv: lunar_lander\nbudget: {steps: 500}\n",
        "mine/experiment/lander.yaml": "# @package _global_\ndefaults:\n  - override /env: quick\n",
    }.items():
        (project / path).parent.mkdir(parents=True)
        (project / path).write_text(text)
    write("--config-dir", "mine", "experiment=lander", "scripts.feature=leg_height", "scripts.values=[3]")
    assert array(FOLDER / "context_1.sh", "overrides")[1:3] == ["env=quick", "method=pb2"]
    assert array(FOLDER / "context_1.sh", "runs")[0] == "results/lunar_lander/leg_height=3/pb2/seed_0"


def test_the_front_door_is_the_same_command() -> None:
    done = shell(sys.executable, REPOSITORY / "meta_create_context_scripts.py", *LEG_HEIGHT)
    assert "wrote 22 scripts" in done.stdout
    assert (FOLDER / "context_22.sh").exists()


@pytest.mark.parametrize("setup", ["source /opt/conda/activate", ""])
def test_scripts_and_runner_are_clean_shell(setup: str) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "+note='${seed} x'", f"cluster.setup='{setup}'")
    files = [FOLDER / "context_1.sh", RUNNER, REPOSITORY / "tests/slurm/one_machine_slurm.sh"]
    checker = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    for file in files:
        assert shell("bash", "-n", file).returncode == 0
    assert shell(checker, "--severity=style", *files).stdout == ""


# ---- environments of one's own, and categories

CARS = """
from metapbt.envs import Category, Environment, Feature

CAR = Environment(
    "car",
    (Feature("mass", "kg", 1.0, 0.1, 10.0), Category("ground", ("grass", "ice", "sand"), "grass")),
    build=lambda context, render_mode: None,
)
"""


@pytest.fixture
def cars(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (project / "my_cars.py").write_text(CARS)
    monkeypatch.syspath_prepend(str(project))
    yield "env=my_cars:CAR"
    sys.modules.pop("my_cars", None)


def test_the_contexts_of_a_category_are_its_choices(cars: str) -> None:
    write(cars, "scripts.feature=ground", "scripts.seeds=1", "context.mass=2")
    scripts = [Path(f"contexts/my_cars-CAR/ground/context_{i}.sh") for i in (1, 2, 3)]
    assert sorted(Path("contexts").rglob("*.sh")) == scripts
    assert [array(script, "overrides")[-1] for script in scripts] == [
        "context.ground=grass",
        "context.ground=ice",
        "context.ground=sand",
    ]
    assert [array(script, "runs") for script in scripts] == [
        ["results/my_cars-CAR/mass=2/pb2/seed_0"],
        ["results/my_cars-CAR/mass=2,ground=ice/pb2/seed_0"],
        ["results/my_cars-CAR/mass=2,ground=sand/pb2/seed_0"],
    ]
    assert "env=my_cars:CAR" in array(scripts[0], "overrides")
    assert shell("bash", scripts[1]).returncode == 0


def test_some_of_a_categorys_choices_are_chosen_with_values(cars: str) -> None:
    write(cars, "scripts.feature=ground", "scripts.values=[sand,grass]")
    scripts = sorted(Path("contexts/my_cars-CAR/ground").iterdir())
    assert [array(script, "overrides")[-1] for script in scripts] == ["context.ground=sand", "context.ground=grass"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["scripts.multipliers=[1,2]"],
            "my_cars:CAR.ground is no number and has no multiples; set scripts.values, to some of [grass,ice,sand],"
            " instead of scripts.multipliers",
        ),
        (
            ["scripts.values=[ice,sandd]"],
            "scripts.values of my_cars:CAR.ground must be one of grass, ice, sand, got 'sandd'; did you mean 'sand'?",
        ),
        (["scripts.values=ice"], "scripts.values must be a list like [grass,ice,sand], got 'ice'"),
        (["scripts.values=[ice,ice]"], "value ice and value ice of my_cars:CAR.ground both give ice"),
    ],
)
def test_what_is_no_set_of_choices_is_said_in_one_line(
    cars: str, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint(capsys, cars, "scripts.feature=ground", *overrides) == f"metapbt: error: {message}"
    assert not Path("contexts").exists()


def test_an_environment_without_features_has_no_contexts(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, "env=Pendulum-v1", "scripts.feature=length")
    assert line == "metapbt: error: Pendulum-v1 has no features, so there are no contexts to write scripts for"


# ---- the example in the repository


def test_the_committed_example_is_what_its_command_writes() -> None:
    example = REPOSITORY / "contexts/cart_pole/pole_length"
    (command,) = {
        re.findall(r"^#   metapbt scripts (.*)$", script.read_text(), re.MULTILINE)[0] for script in example.iterdir()
    }
    write(*shlex.split(command))
    kept, again = (
        {path.name: (path.read_bytes(), os.access(path, os.X_OK)) for path in folder.iterdir()}
        for folder in (example, Path("contexts/cart_pole/pole_length"))
    )
    assert len(kept) == 3
    assert kept == again, f"in the repository: metapbt scripts {command}"


def test_what_is_generated_stays_out_of_the_repository_but_for_the_example_and_the_memory_that_ships() -> None:
    def ignored(path: str) -> bool:
        return shell("git", "-C", REPOSITORY, "check-ignore", "--no-index", "-q", path).returncode == 0

    if shell("git", "-C", REPOSITORY, "rev-parse").returncode != 0:
        pytest.skip("not in a checkout")
    for path in (
        "contexts/cart_pole/gravity/context_1.sh",
        "contexts/lunar_lander/x.sh",
        "results/cart_pole/x",
        "logs/x",
    ):
        assert ignored(path)
    for path in ("contexts/cart_pole/pole_length/context_1.sh", "results/memory/cart_pole/default/pb2/seed_0/DONE"):
        assert not ignored(path)


# ---- mistakes


def test_a_value_outside_the_legal_range_names_its_multiplier_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = complaint(capsys, *LEG_HEIGHT, "scripts.multipliers=[1, 40]")
    assert line.endswith("multiplier 40 of lunar_lander.leg_height gives 320, outside [0.5, 40]")
    assert not Path("contexts").exists()


def test_a_missing_or_misspelt_feature_is_answered_with_the_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert "leg_height, leg_width" in complaint(capsys, "env=lunar_lander")
    assert "did you mean 'leg_height'?" in complaint(capsys, "env=lunar_lander", "scripts.feature=leg_hight")


def test_multiples_of_zero_are_refused_in_favour_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert "set scripts.values" in complaint(capsys, "env=lunar_lander", "scripts.feature=gravity_x")


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed=3", "scripts.seeds"),
        ("context.leg_height=3", "scripts.multipliers"),
        ("resume=false", "start again from nothing"),
        ("resume=0", "start again from nothing"),
        ("resume=", "start again from nothing"),
        ("scripts.seeds=0", "scripts.seeds must be"),
        ("scripts.seeds=[1,1]", "scripts.seeds must be"),
        ("scripts.multipliers=0.5", "must be a list of numbers"),
        ("scripts.multipliers=[1,1.0]", "both give 8"),
        ("cluster.time=90", "cluster.time must be like '04:00:00'"),
        ("cluster.cpus=0", "cluster.cpus must be an integer >= 1"),
        ("cluster.partition='a b'", "cluster.partition must be a word"),
        ("cluster.options=[gpu]", "cluster.options must be a list"),
        ("cluster.template=pbs.sh", "one of slurm.sh"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(override: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert part in complaint(capsys, *LEG_HEIGHT, override)


def test_multipliers_and_values_exclude_each_other() -> None:
    feature = get_environment("lunar_lander").features[0]
    with pytest.raises(MetapbtError, match="exclude each other"):
        script_contexts("lunar_lander", feature, [1.0], [8.0], {})


def test_seeds_are_a_number_or_a_list() -> None:
    assert script_seeds(3) == [0, 1, 2]
    assert script_seeds([7, 3]) == [7, 3]
    with pytest.raises(MetapbtError, match="scripts.seeds"):
        script_seeds(True)


def test_a_key_that_is_missing_from_a_cluster_file_is_named() -> None:
    with pytest.raises(MetapbtError, match=r"cluster\.cpus must be an integer >= 1, got None"):
        check_cluster({"time": "1:00:00"})


# ---- one script


def test_a_script_trains_its_unfinished_seeds_one_after_another_from_anywhere(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=3")
    finish("leg_height=4", 1)
    script = (project / FOLDER / "context_1.sh").as_posix()

    assert shell("bash", script, "--finished").returncode == 1
    elsewhere = subprocess.run(["bash", script], cwd="/", capture_output=True, text=True, timeout=60)
    assert elsewhere.returncode == 0
    assert [line for line in (project / "calls").read_text().split() if "seed" in line] == ["seed=0", "seed=2"]
    finished = shell("bash", script, "--finished")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_a_task_of_an_array_trains_only_its_seed_even_from_slurms_copy_of_the_script(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=[5, 6]")
    copy = project.parent / "slurm_script"
    shutil.copy(FOLDER / "context_1.sh", copy)

    assert shell("bash", copy, SLURM_ARRAY_TASK_ID="1").returncode == 0
    assert (project / "calls").read_text().split()[-1] == "seed=6"
    stray = subprocess.run(["bash", copy], cwd="/", capture_output=True, text=True, timeout=60)
    assert stray.returncode == 1
    assert "no contexts/lunar_lander/leg_height/context_1.sh in /" in stray.stderr


def test_the_project_can_be_moved_with_its_scripts(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=1")
    moved = project.rename(project.parent / "moved")
    assert str(project) not in (moved / FOLDER / "context_1.sh").read_text()
    assert shell("bash", moved / FOLDER / "context_1.sh").returncode == 0
    assert (moved / "results/lunar_lander/leg_height=4/pb2/seed_0/DONE").exists()


def test_one_failing_seed_does_not_keep_the_others_from_training() -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[2]", "scripts.seeds=2")
    failed = shell("bash", FOLDER / "context_1.sh")
    assert failed.returncode == 1
    assert failed.stderr.strip() == f"c1: failed: {' '.join(array(FOLDER / 'context_1.sh', 'runs'))}"


def test_without_metapbt_a_script_says_what_must_provide_it(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]")
    missing = shell("bash", FOLDER / "context_1.sh", PATH="/usr/bin:/bin")
    assert missing.returncode == 1
    assert "cluster.setup" in missing.stderr


# ---- the job runner


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return shell(RUNNER, *arguments, **environment)


def outcomes(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [line.split(maxsplit=1) for line in done.stdout.splitlines()]


def test_contexts_are_submitted_in_natural_order_with_the_unfinished_seeds(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.seeds=3", "cluster.max_parallel=2")
    finish("leg_height=1.6", 0, 1, 2)
    finish("leg_height=8.8", 1)

    done = run(FOLDER, "c11", "c2", "c3")
    assert done.returncode == 0
    assert outcomes(done) == [
        ["c2", "finished, skipped"],
        ["c3", "job 101: c3-lunar_lander-leg_height=2.4-pb2, seed 0,1,2"],
        ["c11", "job 102: c11-lunar_lander-leg_height=8.8-pb2, seed 0,2"],
    ]
    submitted = (project / "submitted").read_text().splitlines()
    assert "--array=0,1,2%2" in submitted[0]
    assert "--array=0,2%2" in submitted[1]
    assert submitted[1].endswith(f"{project / FOLDER}/context_11.sh --from 0")
    assert (project / "logs/lunar_lander/leg_height").is_dir()


def test_a_failing_sbatch_is_named() -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 1]")
    failed = run(FOLDER, SBATCH_FAILS="yes")
    assert failed.returncode == 1
    assert "sbatch: error: invalid partition" in failed.stderr
    assert f"sbatch failed for c1 ({FOLDER}/context_1.sh)" in failed.stderr


def test_scripts_run_here_several_at_a_time_and_are_skipped_when_finished(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 0.6, 0.7]", "scripts.seeds=1")
    finish("leg_height=4", 0)

    begun = time.monotonic()
    done = run("--local", FOLDER, "--jobs", "2", SECONDS_TO_TRAIN="3")
    assert time.monotonic() - begun < 5.5  # one after the other they need 6 s
    assert done.returncode == 0
    assert outcomes(done)[0] == ["c1", "finished, skipped"]
    assert ["c3", "finished (3 of 3)"] in outcomes(done) or ["c2", "finished (3 of 3)"] in outcomes(done)
    assert "seed_0" in (project / "logs/lunar_lander/leg_height/c2.log").read_text()
    assert [what for _, what in outcomes(run(FOLDER, "--local"))] == ["finished, skipped"] * 3


def test_a_script_that_fails_here_is_named_with_its_log(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[2, 0.5]", "scripts.seeds=1")
    failed = run(FOLDER, "--local")
    assert failed.returncode == 1
    assert failed.stderr.strip().endswith("1 of 2 failed: c1")
    log = project / "logs/lunar_lander/leg_height/c1.log"
    assert f"failed with status 1 (1 of 2), see {log}" in failed.stdout
    assert "something broke" in log.read_text()
    assert "c2    finished (2 of 2)" in failed.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_reaches_the_runs_once_and_waits_until_they_have_saved(
    number: signal.Signals, status: int, project: Path
) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 0.6, 0.7]", "scripts.seeds=2")
    runner = subprocess.Popen(
        [RUNNER, FOLDER, "--local", "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SECONDS_TO_TRAIN": "50"},
        start_new_session=True,
        # Tests that run in the background of a script have inherited that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    calls = project / "calls"
    while not calls.exists() or calls.read_text().count("seed=") < 2:
        assert runner.poll() is None
        time.sleep(0.1)
    os.killpg(runner.pid, number)  # as a terminal does with Ctrl-C

    printed, _ = runner.communicate(timeout=20)
    assert runner.returncode == status
    assert printed.count("stopped, continues when started again") == 2
    assert calls.read_text().count("seed=") == 2
    logs = [path.read_text() for path in (project / "logs/lunar_lander/leg_height").iterdir()]
    assert [log.count("saved") for log in logs] == [1, 1]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(project: Path) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 1]", "scripts.seeds=1")
    finish("default", 0)
    assert outcomes(run(FOLDER, "--dry-run")) == [["c1", "would be submitted"], ["c2", "finished, skipped"]]
    assert outcomes(run("--dry-run", "--local", FOLDER, "c1")) == [["c1", "would run here"]]
    assert not (project / "submitted").exists()
    assert not (project / "calls").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        ((), 2, "which folder"),
        (("nowhere",), 1, "no folder nowhere"),
        (("contexts",), 1, "no scripts context_<i>.sh in contexts"),
        ((str(FOLDER), "c9"), 1, f"no context c9 in {FOLDER} (there are c1 c2)"),
        ((str(FOLDER), "--loca"), 2, "unknown option --loca"),
        ((str(FOLDER), "--local", "--jobs"), 2, "--jobs needs a number"),
        ((str(FOLDER), "--local", "--jobs", "0"), 2, "--jobs must be a number > 0, got 0"),
        ((str(FOLDER), "--jobs", "2"), 2, "--jobs goes with --local"),
    ],
)
def test_a_wrong_call_of_the_runner_is_answered_in_one_line(arguments: tuple[str, ...], status: int, part: str) -> None:
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5, 1]")
    wrong = run(*arguments)
    assert wrong.returncode == status
    assert part in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    assert wrong.stdout == ""


def test_what_a_script_trains_is_planned_as_a_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that depend on the run, and settings that no run can have."""
    write(*LEG_HEIGHT, "scripts.multipliers=[0.5]", "scripts.seeds=2", "name=v_${seed}", "results_dir=~/mine")
    home = Path.home() / "mine/lunar_lander/leg_height=4"
    assert array(FOLDER / "context_1.sh", "runs") == [f"{home}/v_0/seed_0", f"{home}/v_1/seed_1"]
    assert "population.size must be" in complaint(capsys, *LEG_HEIGHT, "population.size=0")
    assert "to another scripts.directory" in complaint(capsys, *LEG_HEIGHT, "--multirun", "method=pb2,pbt")


def test_runs_that_were_begun_with_another_configuration_are_not_taken_for_these(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = ["env=quadratic", "executor=inline", "budget.interval=4", "method=pbt"]
    scripts = [*quick, "scripts.feature=optimum_shift", "scripts.values=[0.25]", "scripts.seeds=1"]
    assert main(["run", *quick, "context.optimum_shift=0.25", "budget.steps=8"]) == 0
    write(*scripts, "budget.steps=8")
    capsys.readouterr()
    assert "(was 8, now 40)" in complaint(capsys, *scripts, "budget.steps=40")


def test_a_job_is_not_told_to_stop_as_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    for limit in ("00:05:00", "5:00", "0-00:05:00"):
        said = complaint(capsys, *LEG_HEIGHT, f"cluster.time='{limit}'", "scripts.seeds=1")
        assert "cluster.stop_seconds must be less than cluster.time" in said
    write(*LEG_HEIGHT, "scripts.seeds=1", "scripts.multipliers=[1]", "cluster.time='1-00'")
