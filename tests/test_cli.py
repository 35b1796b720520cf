"""The command as a user meets it: its output, its exit status, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from metapbt.cli import main
from metapbt.config import shared_dir

QUICK = ["env=quadratic", "budget.steps=8", "method=pbt"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results(capfd):
    assert main(["run", "--multirun", *QUICK, "seed=0,1", "context.optimum_shift=0,0.5"]) == 0
    capfd.readouterr()
    return "results"


def test_help_names_every_command_with_examples(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for command in ("run", "scripts", "report", "status", "data"):
        assert f"\n    {command} " in text
    assert "metapbt run env=cart_pole method=pb2 seed=0" in text
    assert "metapbt run env=Pendulum-v1" in text
    assert "metapbt run env=my_envs:PENDULUM" in text


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_help_of_scripts_is_of_scripts(word, capsys):
    assert main(["scripts", "env=cart_pole", word]) == 0
    text = capsys.readouterr().out
    assert text.startswith("metapbt scripts writes")
    for key in OmegaConf.load(shared_dir("conf") / "config.yaml").scripts:
        assert f"scripts.{key}=" in text


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, metapbt.cli\n"
        "try: metapbt.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = 'torch jax pandas hydra matplotlib pyarrow stable_baselines3 scipy'.split()\n"
        "print('loaded:', sorted(set(heavy) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout


def test_the_toy_is_trained_without_torch_or_jax():
    code = (
        "import sys, metapbt.cli\n"
        "metapbt.cli.main(['run', 'env=quadratic', 'method=pbt', 'budget.steps=8'])\n"
        "print({'torch', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("command", ["--help", "run --help", "run --info"])
def test_who_reads_no_further_is_no_error(command):
    # As with `metapbt run --help | head`: the pipe is closed before, or while, it is written to.
    reader, writer = os.pipe()
    os.close(reader)
    asked = [sys.executable, "-m", "metapbt", *command.split()]
    done = subprocess.run(asked, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode in (0, 1)
    assert done.stderr == ""


def test_run_prints_where_the_run_is_and_its_test_return(capfd):
    assert main(["run", *QUICK]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("results/quadratic/default/pbt/seed_0: test return ")
    assert "generation 2/2, 8 steps: member" in err


def test_a_budget_may_be_written_with_an_exponent(capfd):
    assert main(["run", *QUICK, "budget.steps=1e1", "budget.interval=5e0"]) == 0
    assert "generation 2/2, 10 steps" in capfd.readouterr().err


def test_the_help_of_replay_says_which_seed_it_takes(capsys):
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    assert "default: the run's number" in " ".join(capsys.readouterr().out.split())


def test_multirun_trains_every_combination(results):
    found = sorted(str(path.parent) for path in Path(results).rglob("DONE"))
    assert found == [f"results/quadratic/{c}/pbt/seed_{s}" for c in ("default", "optimum_shift=0.5") for s in (0, 1)]


def test_a_sweep_says_how_much_of_it_is_done(capfd):
    assert main(["run", "--multirun", *QUICK, "seed=0,1,2"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"[{seed + 1}/3] results/quadratic/default/pbt/seed_{seed}" for seed in (0, 1, 2)
    ]


def test_a_failing_run_of_a_sweep_leaves_the_others_alone(capfd):
    assert main(["run", "--multirun", *QUICK, "seed=0,-1,1"]) == 1
    err = capfd.readouterr().err
    assert "seed must be an integer >= 0, got -1" in err
    assert "metapbt: error: 1 of 3 runs of the sweep failed" in err
    assert len(list(Path("results").rglob("DONE"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", *QUICK, "budget.interval=-5"], "metapbt: error: budget.interval must be an integer >= 1, got -5"),
        (["run", "env=cart_pol"], "metapbt: error: unknown env 'cart_pol'; did you mean 'cart_pole'?"),
        (["run", "env=cart_pole", "context.pole_lenght=1"], "unknown feature of cart_pole 'pole_lenght'; did you mean"),
        (["run", "pole_length=0.8"], "unknown override 'pole_length'; did you mean 'context.pole_length'?"),
        (["run", "env=Pendulm-v1"], "metapbt: error: unknown env 'Pendulm-v1'; did you mean 'Pendulum-v1'?"),
        (["run", "env=no_such:CAR"], "metapbt: error: env 'no_such:CAR' cannot be loaded: No module named 'no_such'"),
        (["run", *QUICK, "budget.steps=1.5e0"], "budget.steps must be an integer >= 1, got 1.5"),
        (["report", "nowhere"], "metapbt: error: nowhere is no directory"),
        (["status", "."], "metapbt: error: no runs under ."),
        (["data", "export", "."], "metapbt: error: data export needs --to FILE"),
        (["data", "export", ".", "--to", "x.xls"], "--to must end in .csv, .parquet or .json, got x.xls"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(capfd, arguments, message):
    assert main(arguments) == 1
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_command_that_does_not_exist_is_answered_with_those_that_do(capsys):
    with pytest.raises(SystemExit) as done:
        main(["reprot"])
    assert done.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_status_counts_seeds_and_says_which_are_not_done(results, capfd):
    (Path(results) / "quadratic/default/pbt/seed_1/DONE").unlink()
    main(["run", *QUICK, "seed=2"])
    capfd.readouterr()
    assert main(["status", results]) == 0
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in capfd.readouterr().out.splitlines() if "│" in line
    ]
    assert rows == [
        ["quadratic", "default", "pbt", "2 of 3 seeds", "stopped: seed 1"],
        ["quadratic", "optimum_shift=0.5", "pbt", "2 of 3 seeds", "missing: seed 2"],
    ]


def test_data_lists_shows_checks_and_exports(results, capfd):
    assert main(["data", "ls", results]) == 0
    rows = [[c.strip() for c in line.split("│")[1:4]] for line in capfd.readouterr().out.splitlines()]
    assert ["results/quadratic/default/pbt/seed_0", "done", "2/2"] in rows
    assert main(["data", "show", results]) == 0
    assert "quadratic: 32 records of 4 runs on 2 contexts" in capfd.readouterr().out
    assert main(["data", "check", results]) == 0
    assert "4 runs checked, 0 with problems" in capfd.readouterr().out
    for ending in ("csv", "parquet", "json"):
        assert main(["data", "export", results, "--to", f"all.{ending}"]) == 0
    assert len(pd.read_csv("all.csv")) == len(pd.read_parquet("all.parquet")) == len(pd.read_json("all.json")) == 32
    assert pd.read_csv("all.csv")["context.optimum_shift"].iloc[0] == 0.0


def test_check_names_a_damaged_file(results, capfd):
    (Path(results) / "quadratic/default/pbt/seed_0/records.parquet").write_bytes(b"damaged")
    assert main(["data", "check", results]) == 1
    out = capfd.readouterr().out
    assert "seed_0: results/quadratic/default/pbt/seed_0/records.parquet cannot be read" in out
    assert "4 runs checked, 1 with problems" in out


def test_report_writes_a_page_and_prints_a_table(results, capfd):
    assert main(["report", results]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == "results/report/index.html"
    assert "pbt" in out
    assert Path("results/report/quadratic/optimum_shift/heatmap.png").exists()


def test_ones_own_search_space_comes_from_ones_own_folder(tmp_path, capfd):
    (tmp_path / "mine" / "space").mkdir(parents=True)
    (tmp_path / "mine" / "space" / "narrow.yaml").write_text(
        "learning_rate: {type: float, low: 0.01, high: 0.02}\n"
        "h0: {type: float, low: 0.5, high: 1.0}\n"
        "h1: {type: float, low: 0.5, high: 1.0}\n"
    )
    assert main(["run", "--config-dir", "mine", *QUICK, "space=narrow"]) == 0
    frame = pd.read_parquet("results/quadratic/default/pbt/seed_0/records.parquet")
    assert frame["hp.h0"].min() >= 0.5


@pytest.mark.usefixtures("briefly_trained")
def test_data_show_says_how_well_memory_predicts_held_out_contexts(tmp_path, capfd):
    for shift in (0.2, 0.5):
        overrides = ["env=synthetic", "method=random", f"context.shift={shift}", f"results_dir={tmp_path}"]
        assert main(["run", *overrides]) == 0
    capfd.readouterr()
    assert main(["data", "show", str(tmp_path), "--memory"]) == 0
    out = capfd.readouterr().out
    assert "what memory of the other contexts would have predicted" in out
    for word in ("shift=0.2", "default", "plain GP", "no memory"):
        assert word in out
    assert ("deep kernel" in out) is ("the network left out" not in out)  # no model's numbers stand there twice
    assert "memory on 2 held-out contexts: " in out


@pytest.mark.slow
@pytest.mark.usefixtures("briefly_trained")
def test_data_show_trains_all_that_a_run_with_memory_needs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for shift in (0.1, 0.2, 0.3, 0.4, 0.5):  # as many as can say what values tell
        assert main(["run", "env=synthetic", "method=random", f"context.shift={shift}"]) == 0
    assert main(["data", "show", "results", "--memory"]) == 0
    kept = sorted(path.name for path in Path("results/.meta_models").iterdir())
    assert len(kept) == 5  # plain, with a network, in hindsight; how well they forecast, what values tell
    capfd.readouterr()
    assert main(["run", "env=synthetic", "method=meta_pb2", "context.shift=0.6"]) == 0
    said = Path("results/synthetic/shift=0.6/meta_pb2/seed_0/run.log").read_text()
    assert "rows from the sources" in said
    assert "training a" not in said
    assert "asking held-out contexts" not in said
    assert sorted(path.name for path in Path("results/.meta_models").iterdir()) == kept
