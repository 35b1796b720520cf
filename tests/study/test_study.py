"""A study's file becomes planned runs, or one line that says what is wrong with it."""

from pathlib import Path

import pytest

from metapbt.config import _composed, compose
from metapbt.errors import MetapbtError
from metapbt.runs.plan import RunPlan
from metapbt.study.multirun import read_sweep
from metapbt.study.study import Study, planned, read_study

ROOT = Path(__file__).parents[2]
TWO_GROUPS = """
env: cart_pole
overrides: [budget.steps=8000, budget.interval=4000, seed=7]
targets: {after: sources, method: [pb2, meta_pb2], context.pole_length: [0.35, 0.95], seed: [0, 1]}
sources: {method: pb2, context: {pole_length: [0.2, 0.8]}, overrides: [population.size=2]}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def overrides_of(study: Study, group: str) -> list[dict[str, str]]:
    return [dict(t.split("=", 1) for t in run.overrides) for run in study.runs if run.group == group]


def test_lists_are_swept_and_groups_follow_those_that_they_name(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, TWO_GROUPS))

    assert (study.name, study.results_dir, study.cluster) == ("mine", Path("results/mine"), None)
    assert [(g.name, g.after, len(g.runs)) for g in study.groups] == [("sources", (), 2), ("targets", ("sources",), 8)]
    first = study.groups[0].runs[0]
    assert first.path == Path("results/mine/sources/cart_pole/pole_length=0.2/pb2/seed_7")
    assert (first.members, first.steps) == (2, 16_000)
    assert all(run["results_dir"] == "results/mine/targets" for run in overrides_of(study, "targets"))
    assert {run["meta.results_dir"] for run in overrides_of(study, "targets")} == {"results/mine/sources"}
    assert not any("meta.results_dir" in run for run in overrides_of(study, "sources"))


def test_the_command_line_beats_groups_and_groups_beat_what_holds_for_all(tmp_path: Path) -> None:
    asked = ["method=pb2", "population.size=3", "targets.seed=5,6", "results_dir=here"]
    study = read_study(written(tmp_path, TWO_GROUPS), asked)

    assert study.results_dir == Path("here")
    assert {run.members for run in study.runs} == {3}
    assert sorted(run.path.name for run in study.runs) == ["seed_5"] * 2 + ["seed_6"] * 2 + ["seed_7"] * 2


def test_values_are_read_by_hydra_as_on_the_command_line(tmp_path: Path) -> None:
    text = """
    one:
      env: quadratic
      learner: quadratic
      name: "size_${population.size}"
      population.size: choice(2,3)
      initial: [[{h0: 0.5, h1: 0.5}]]
      budget.steps: 1e3
      seed: range(0,2)
      overrides: ['stop.return_reached=1.5']
    many: {after: [one, other], env: [procgen/starpilot, procgen/coinrun], method: meta_pb2}
    other: {experiment: synthetic_bg_pbt, meta.results_dir: "${results_dir}/x", seed: "1,2"}
    """
    study = read_study(written(tmp_path, text), ["results_dir='${oc.env:PWD}/a=b'"])
    base = f"{Path.cwd()}/a=b"

    assert [run.path.relative_to(base).as_posix() for run in study.runs if run.group == "one"] == [
        f"one/quadratic/default/size_{size}/seed_{seed}" for size in (2, 3) for seed in (0, 1)
    ]
    plans = {run.group: RunPlan.of(compose(run.overrides)).config for run in study.runs}
    assert plans["one"]["initial"] == [{"h0": 0.5, "h1": 0.5}]
    assert plans["one"]["budget"]["steps"] == 1000
    assert overrides_of(study, "other")[0]["meta.results_dir"] == "${results_dir}/x"
    assert plans["many"]["meta"]["results_dir"] == [f"{base}/one", f"{base}/other"]
    assert [run.path.parts[-3] for run in study.runs if run.group == "many"] == ["game=starpilot", "game=coinrun"]
    assert [run.path.name for run in study.runs if run.group == "other"] == ["seed_1", "seed_2"]


def test_runs_are_composed_together_to_what_each_is_alone() -> None:
    runs = [
        [
            "env=lunar_lander",
            "context.leg_height=3.2",
            "seed=1",
            "method=meta_pb2",
            "meta.results_dir=${results_dir}/x",
        ],
        ["env=lunar_lander", "learner.hyperparameters={gamma:0.9}", "seed=2", "method=meta_pb2", "budget.steps=1e5"],
        ["experiment=bg_pbt_small", "seed=1", "++name=a", "~population.window"],
    ]

    assert [compose(overrides) for overrides in runs] == [_composed(overrides, None) for overrides in runs]
    with pytest.raises(MetapbtError, match=r"unknown override 'budget.stps'; did you mean 'budget.steps'"):
        planned("one", [["env=cart_pole", "budget.stps=3"]])


def test_a_folder_of_ones_own_holds_studies_and_choices(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("name: random\n", encoding="utf-8")
    (tmp_path / "study" / "small.yaml").write_text("a: {env: cart_pole, method: mine}\n", encoding="utf-8")
    (run,) = read_study("small", ["cluster=slurm"], config_dir=tmp_path).runs

    assert run.overrides[0] == f"--config-dir={tmp_path}"
    assert RunPlan.of(compose(run.overrides)).plan.path == run.path
    assert read_study("small", ["cluster=slurm"], config_dir=tmp_path).cluster == "slurm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {env: cart_pole, afer: b}", "group a: unknown override 'afer'"),
        ("a: {env: cart_pole, after: b}", "group a: after: unknown group 'b' (known: a)"),
        ("a: {after: b}\nb: {after: c}\nc: {after: a}", "groups a, b, c wait for each other"),
        ("a: {env: cart_pool}", "group a: unknown env"),
        ("a: {env: cart_pole, context.pole_lenght: 1}", "group a: unknown feature of cart_pole 'pole_lenght'"),
        ("a: {seed: [0, x]}", "group a: seed must be an integer >= 0"),
        ("a: {seed: 2024-01-01}", "group a: seed: datetime.date(2024, 1, 1) is no value of a run"),
        ("a: {seed: []}", "group a: seed is swept over nothing"),
        ("a: {name: b=c}", "group a: 'name=b=c' cannot be read"),
        ("a: {overrides: seed=0}", "group a: overrides must be a list of key=value"),
        ("a: {results_dir: x}", "group a: results_dir is that of the whole study"),
        (
            "a: {budget.steps: [100, 200]}",
            "they differ in budget.steps=100, budget.steps=200: give each a name of its own",
        ),
        ("budget: {steps: 100}", "budget is a key of runs"),
        ("a/b: {seed: 0}", "must be called by a word"),
        ("env: cart_pole", "has no group of runs"),
        ("after: b", "'after' belongs into a group"),
        ("a: {seed: 0, seed: 1}", "has the key 'seed' twice (line 1)"),
        ("- a", "must hold keys with values"),
        ("a: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_group_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(MetapbtError) as error:
        read_study(written(tmp_path, text))

    assert said in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'mine.yaml'}: ")


def test_an_unknown_study_is_answered_with_those_there_are() -> None:
    with pytest.raises(MetapbtError, match=r"unknown study 'dmo'; did you mean 'demo'"):
        read_study("dmo")


KEPT = [
    *(ROOT / "conf" / "study").glob("*.yaml"),
    *(file for file in (ROOT / "benchmarks").glob("*.yaml") if "metapbt study" in file.read_text()),
]


@pytest.mark.parametrize("file", sorted(KEPT), ids=lambda file: file.stem)
def test_studies_of_ours_can_be_planned_and_their_commands_name_them(file: Path) -> None:
    study = read_study(file.stem if file.parent.name == "study" else str(file), ["seed=0"])

    contexts = 2 if file.stem == "pb2_tasks" else 5  # which have as many as PB2's paper
    assert len({run.identity.context for run in study.runs}) >= contexts
    text = file.read_text(encoding="utf-8")
    assert f"metapbt study {file.stem if file.parent.name == 'study' else file.relative_to(ROOT)}" in text
    assert f"metapbt report {study.results_dir}" in text or f"metapbt data check {study.results_dir}" in text


def test_a_pattern_of_names_is_refused_in_a_line() -> None:
    with pytest.raises(MetapbtError, match=r"method=glob\(rand\*\): write the names, method=A,B, instead of a pattern"):
        read_sweep(["env=quadratic", "method=glob(rand*)"])
