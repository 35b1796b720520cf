"""Command lines and YAML files that are nearly right: they run, or are refused in one line."""

import contextlib
import io
import itertools

import pytest
import yaml
from fuzzing import ABSURD, CHANCE, Shares, examples, mutated_bytes, mutated_tree, within_limits
from hypothesis import given

from metapbt.cli import main
from metapbt.config import shared_dir

VALID = [
    ["env=quadratic", "method=pbt"],
    ["env=quadratic", "method=pb2", "population.size=2", "population.quantile=0.5"],
    ["env=quadratic", "context.optimum_shift=0.2", "method=random", "seed=3", "name=mine"],
    ["env=quadratic", "method=pbt", "population.candidates=6", "selection.backtrack=true"],
    ["env=quadratic", "method=grid", "space=quadratic_4d", "learner.start=[0.9,0.9,0.9,0.9]"],
    ["env=quadratic", "method=pbt", "population.asynchronous=true", "population.metric=eval_return"],
    ["env=quadratic", "method=meta_pb2", "meta.sources=closest", "meta.num_contexts=2"],
    ["env=quadratic", "method=pbt", "stop.plateau=2", "stop.return_reached=1.1"],
    ["env=quadratic", "initial=[{learning_rate: 0.01, h0: 0.5, h1: 0.5}]", "method=pbt"],
    ["env=synthetic", "space=synthetic_mixed", "method=pb2_mix"],
]
SOUND = [
    "population.size=3", "population.quantile=0.2", "seed=7", "evaluation.episodes=1", "evaluation.test_episodes=1e0",
    "name=x.1+2", "executor.threads=1", "callbacks=[]", "constraint=null", "population.window=3", "resume=false",
    "stop.wall_seconds=1e6", "+context={}", "'initial=[]'", "population.metric=eval_return",
]  # fmt: skip
COUNT = itertools.count()


def run(overrides, tmp_path, options=()):
    """The exit status of a run in a results directory of its own, and the last line that it says."""
    out = io.StringIO()
    small = ["executor=inline", "budget.steps=8", "budget.interval=4", f"results_dir={tmp_path}/{next(COUNT)}"]
    with within_limits(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(["run", *options, *small, *overrides])
    said = out.getvalue()
    assert "Traceback" not in said
    assert "error: unexpected" not in said
    last = said.splitlines()[-1] if said else ""
    assert status == 0 or last.startswith("metapbt: "), said
    assert len(last) < 2000 or status == 0
    return status, last


def mutated_text(chance, text):
    """A line with one damage, as fingers make them."""
    place = chance.randint(0, len(text))
    value = chance.choice([repr(chance.choice(ABSURD)), chance.choice("=,:[]{}'\"$~+- \t\\#&*!%@.é"), "=", "."])
    return chance.choice(
        [text[:place] + value + text[place:], text[:place] + text[place + 1 :], text[:place], text[place:]]
    )


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_command_lines_run_or_are_refused_in_one_line(tmp_path):
    shares = Shares()

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        overrides = list(chance.choice(VALID))
        place = chance.randrange(len(overrides))
        key, _, _ = overrides[place].partition("=")
        overrides += chance.sample(SOUND, chance.randint(0, 2))
        match chance.choice(["text", "value", "double", "swap", "prefix", "more", "none"]):
            case "text":
                overrides[place] = mutated_text(chance, overrides[place])
            case "value":
                overrides[place] = f"{key}={yaml.safe_dump(chance.choice(ABSURD), default_flow_style=True).strip()}"
            case "double":
                overrides.append(overrides[place])
            case "swap":
                chance.shuffle(overrides)
            case "none":
                pass
            case "prefix":
                overrides[place] = chance.choice("+~") + overrides[place]
            case _:
                overrides.append(
                    chance.choice(["--cfg", "--multirun", "--nope", "-m", "x", "seed=1,2", "~seed", "a=b=c"])
                )
        shares.count(past=run(overrides, tmp_path)[0] == 0)

    fuzz()
    shares.check()


def test_values_of_every_key_run_or_are_refused_in_one_line(tmp_path):
    """One key, chosen among all of them, gets a value of the wrong kind."""
    tree = yaml.safe_load((shared_dir("conf") / "config.yaml").read_text(encoding="utf-8"))
    groups = ("population", "budget", "evaluation", "stop", "meta", "context", "scripts")
    keys = [f"{group}.{key}" for group in groups for key in tree[group]]
    keys += [key for key in tree if key not in ("defaults", "hydra", *groups)] + list(groups)

    @examples(0.5)
    @given(CHANCE)
    def fuzz(chance):
        value = yaml.safe_dump(chance.choice(ABSURD), default_flow_style=True).replace("\n...", "").strip()
        run(
            ["env=quadratic", chance.choice(["method=pbt", "method=meta_pb2"]), f"{chance.choice(keys)}={value}"],
            tmp_path,
        )

    fuzz()


def test_spaces_of_ones_own_run_or_are_refused_in_one_line(tmp_path):
    spaces = tmp_path / "conf/space"
    spaces.mkdir(parents=True)
    written = (shared_dir("conf") / "space/synthetic_mixed.yaml").read_text(encoding="utf-8")
    shares = Shares()

    @examples()
    @given(CHANCE)
    def fuzz(chance):
        if chance.random() < 0.3:
            data = mutated_bytes(chance, written.encode(), most=1)
        else:
            data = yaml.safe_dump(mutated_tree(chance, yaml.safe_load(written), most=1, nudges=8)).encode()
        name = f"mine{next(COUNT)}"
        (spaces / f"{name}.yaml").write_bytes(data)
        options = ["--config-dir", str(tmp_path / "conf")]
        status, said = run(["env=synthetic", f"space={name}", "method=pb2_mix"], tmp_path, options)
        # The first check is the file's own; behind it are the learner's.
        shares.count(past=status == 0 or f"{name}.yaml" not in said and "error: space" not in said)

    fuzz()
    shares.check()
