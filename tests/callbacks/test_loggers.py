"""TensorBoard, Weights & Biases and MLflow, read by their own readers: whole after a stop, and never in a run's way."""

import shutil
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metapbt
from metapbt.callbacks import CALLBACKS, make_callbacks
from metapbt.callbacks.logger import LoggerCallback, lineage_of
from metapbt.errors import MetapbtError
from metapbt.history import Record

SPACE = """\
x: {type: float, low: 0.0, high: 1.0}
width: {type: int, low: 1, high: 9, role: architecture}
kind: {type: categorical, choices: [plain, odd]}
"""
VARIANTS = {
    "members": [],
    "asynchronous": ["population.asynchronous=true"],
    "candidates": ["population.candidates=9", "selection.backtrack=true"],
    "eras": ["population.size=3", "budget.steps=60", "eras.count=2", "eras.steps=20", "eras.distil_steps=20",
             "eras.students=7"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_loggers.yaml").write_text(SPACE)
    return tmp_path / "conf"


def command(folder, *overrides):
    return [
        "env=quadratic", "learner.name=stand_in:StandInStudent", "~learner.start", "budget.steps=40",
        "budget.interval=10", "space=for_loggers", "method=pbt", "executor=inline", f"results_dir={folder}", *overrides,
    ]  # fmt: skip


def stopped_and_gone_on(asked, conf, writes, times=2):
    """A run that was killed so many times on its way."""
    total = writes.during(lambda: metapbt.run([*asked, "results_dir=counted", "callbacks=[]"], conf))
    for _ in range(times):
        writes.kill_before(total // (times + 1), lambda: metapbt.run(asked, conf))
    return metapbt.run(asked, conf)


def expected(run):
    """Of each stream its scalars, (step, value) by name, and its lines of lineage: from the records alone."""
    numbers, lines = defaultdict(lambda: defaultdict(list)), defaultdict(list)
    best = -np.inf
    for row, record in zip(run.records.to_dict("records"), run.history, strict=True):
        stream, step = f"member_{record.member}", row["spent_steps"]
        for name in ("train_return", "eval_return", "env_steps", "spent_steps", "hp.x", "hp.width"):
            if np.isfinite(row[name]):
                numbers[stream][name.replace("hp.", "hp/")].append((step, row[name]))
        best = max(best, record.value())
        numbers["population"]["best_return"].append((step, best))
        if lineage_of(record):
            lines[stream].append(lineage_of(record))
    numbers["population"]["test_return"] = [(row["spent_steps"], run.test_return)]
    return numbers, lines


def from_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    numbers, lines = {}, {}
    for folder in (run.path / "tensorboard").iterdir():
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        numbers[folder.name] = {
            name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]
        }
        if "lineage/text_summary" in events.Tags()["tensors"]:
            told = events.Tensors("lineage/text_summary")
            lines[folder.name] = [event.tensor_proto.string_val[0].decode() for event in told]
    return numbers, lines


def same_numbers(found, wanted):
    assert found.keys() == wanted.keys()
    for stream, scalars in wanted.items():
        for name, points in scalars.items():
            steps, values = zip(*points, strict=True)
            found_steps, found_values = zip(*found[stream][name], strict=True)
            assert found_steps == steps, (stream, name)
            np.testing.assert_allclose(found_values, values, rtol=1e-6, err_msg=f"{stream} {name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_tensorboard_has_each_member_once_and_whole_after_kills(variant, conf, writes):
    asked = command("results", *VARIANTS[variant], "callbacks=[tensorboard]")
    run = stopped_and_gone_on(asked, conf, writes)
    wanted, lines = expected(run)
    numbers, found = from_tensorboard(run)
    assert found == lines
    assert lines
    tested = {stream for stream, scalars in numbers.items() if "test_return" in scalars}
    still_there = {f"member_{run.best.member}"} if run.best.member in run.history.members else set()
    assert tested == {"population", *still_there}
    same_numbers(numbers, wanted)


def test_a_copy_and_a_student_are_told_of_in_words(conf):
    run = metapbt.run(command("results", *VARIANTS["eras"], "callbacks=[tensorboard]"), conf)
    _, lines = from_tensorboard(run)
    student = next(record for record in run.history if record.restart)
    teacher = student.teacher
    assert lines[f"member_{student.member}"] == [
        f"generation {student.generation + 1}: began anew, "
        f"taught by member {teacher.member} of generation {teacher.generation + 1}"
    ]
    copy = next(record for record in run.history if record.parent is not None and record.source == "perturbed")
    said = f"generation {copy.generation + 1}: copied member {copy.parent} of generation {copy.origin.generation + 1}"
    assert f"{said} (perturbed)" in lines[f"member_{copy.member}"]


def test_words_among_the_hyperparameters_are_told_as_they_change(conf):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = metapbt.run(command("results", "callbacks=[tensorboard]"), conf)
    for member, rows in run.records.groupby("member"):
        events = EventAccumulator(str(run.path / "tensorboard" / f"member_{member}")).Reload()
        told = [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors("hp/kind/text_summary")]
        changed = rows[rows["hp.kind"] != rows["hp.kind"].shift()]
        assert told == list(zip(changed["spent_steps"], changed["hp.kind"], strict=True))


def test_what_workers_train_is_told_as_what_is_trained_here(conf):
    here = metapbt.run(command("here", "callbacks=[tensorboard]"), conf)
    workers = ["executor=processes", "executor.workers=2"]
    there = metapbt.run(command("there", *workers, "callbacks=[tensorboard]"), conf)
    (numbers, lines), (others, their_lines) = from_tensorboard(here), from_tensorboard(there)
    assert lines == their_lines
    for scalars in (*numbers.values(), *others.values()):
        scalars.pop("wall_seconds", None)
    assert numbers == others


def test_a_member_that_fails_for_good_is_told_of_without_numbers(conf, monkeypatch):
    monkeypatch.setenv("STAND_IN_LOST", "[[1, 2]]")
    run = metapbt.run(command("results", "callbacks=[tensorboard]"), conf)
    numbers, lines = from_tensorboard(run)
    assert "generation 2: could not be trained" in lines["member_2"][0]
    assert [generation for _, generation in numbers["member_2"]["generation"]] == [1, 3, 4]
    assert [step for step, _ in numbers["member_2"]["hp/x"]] == [30, 100, 140]  # what failed cost nothing


def test_the_streams_that_end_are_those_of_candidates_and_students_alone(conf, monkeypatch):
    left = []
    monkeypatch.setattr(
        "metapbt.callbacks.tensorboard.TensorBoardCallback.leave", lambda self, stream: left.append(stream)
    )
    run = metapbt.run(command("results", *VARIANTS["eras"], "callbacks=[tensorboard]"), conf)
    students = {f"member_{record.member}" for record in run.history if record.member >= 3}
    assert len(left) == len(set(left))
    assert set(left) == students


def test_a_run_that_is_trained_again_from_nothing_leaves_nothing_of_the_one_before(conf):
    metapbt.run(command("results", "budget.steps=80", "callbacks=[tensorboard]"), conf)
    run = metapbt.run(command("results", "resume=false", "callbacks=[tensorboard]"), conf)
    same_numbers(from_tensorboard(run)[0], expected(run)[0])


def test_logging_changes_no_record_and_no_check(conf, capsys):
    from metapbt.cli import main

    logged = metapbt.run(command("logged", "callbacks=[tensorboard]"), conf)
    plain = metapbt.run(command("plain"), conf)
    drop = ["wall_seconds"]
    pd.testing.assert_frame_equal(logged.records.drop(columns=drop), plain.records.drop(columns=drop))
    capsys.readouterr()
    assert main(["data", "check", "logged"]) == 0
    assert "1 run checked, 0 with problems" in capsys.readouterr().out


class Breaks(LoggerCallback):
    title = "The service"

    def __init__(self, moment):
        self.moment, self.heard = moment, []

    def _at(self, moment):
        self.heard.append(moment)
        if moment == self.moment:
            raise OSError(28, "No space left on device")

    def begin(self, run):
        self._at("begin")

    def write(self, stream, entry):
        self._at("write")

    def flush(self):
        self._at("flush")

    def end(self, finished):
        self._at("end")


@pytest.mark.parametrize("moment", ["begin", "write", "flush", "end"])
def test_a_logger_that_fails_is_said_once_and_the_run_goes_on(moment, conf, monkeypatch):
    broken = Breaks(moment)
    monkeypatch.setattr("metapbt.runs.run.make_callbacks", lambda names, place: [broken])
    run = metapbt.run(command("results"), conf)
    assert run.info.state == "done"
    assert broken.heard.count(moment) == (2 if moment == "end" else 1)  # it is closed all the same
    said = [line for line in (run.path / "run.log").read_text().splitlines() if "The service" in line]
    assert len(said) == 1
    assert "WARNING The service failed" in said[0]
    assert "No space left on device" in said[0]


def test_a_folder_that_cannot_be_made_does_not_stop_the_run(conf, capsys):
    asked = command("results", "callbacks=[tensorboard]")
    metapbt.run([*asked, "callbacks=[]", "stop.spent_steps=40"], conf)
    place = next(Path("results").rglob("seed_0"))
    shutil.rmtree(place)
    place.mkdir()
    (place / "tensorboard").write_text("in the way")
    run = metapbt.run(asked, conf)
    assert run.info.state == "done"
    assert capsys.readouterr().err.count("TensorBoard failed and gets no more updates from this run") == 1
    assert (place / "tensorboard").read_text() == "in the way"


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "sqlalchemy")]
)
def test_a_library_that_is_missing_is_named_before_anything_is_written(name, module, conf, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MetapbtError, match=rf'pip install "metapbt\[{name}\]"') as raised:
        metapbt.run(command("results", f"callbacks=[{name}]"), conf)
    assert "\n" not in str(raised.value)
    assert not Path("results").exists()
    with pytest.raises(MetapbtError, match=f"did you mean '{name}'"):
        make_callbacks([name[:-1]])
    assert name in CALLBACKS


def test_the_words_of_a_lineage():
    def words(**said):
        return lineage_of(Record(3, 2, said.pop("parent", None), "surrogate", {}, 10, 1.0, **said))

    assert words() == ""
    assert words(parent=1) == "generation 4: copied member 1 of generation 3 (surrogate)"
    assert words(parent=1, parent_generation=0) == "generation 4: copied member 1 of generation 1 (surrogate)"
    assert words(restart=True, teacher_generation=1, teacher_member=5) == (
        "generation 4: began anew, taught by member 5 of generation 2"
    )
    assert words(failed=True) == "generation 4: could not be trained"


# --- what needs more than `make test` installs: make test-loggers


def wandb_records(file):
    """The records of a .wandb file: LevelDB's log format, in wandb's own protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data, at, text = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        text += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(text)
            yield record
            text = b""


@pytest.mark.parametrize("variant", ["members", "candidates", "eras"])
def test_wandb_has_each_member_in_the_group_once_and_whole_after_kills(variant, conf, writes):
    pytest.importorskip("wandb", reason="make test-loggers installs it")
    import json

    asked = command("results", *VARIANTS[variant], "callbacks=[wandb]")
    run = stopped_and_gone_on(asked, conf, writes, times=1)
    numbers, lines, groups = {}, {}, set()
    for file in Path("wandb").glob("offline-run-*/*.wandb"):
        stream = None
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run" and stream is None:
                stream = record.run.display_name.replace(" ", "_")
                assert stream not in numbers  # one file for each
                groups.add(record.run.run_group)
                numbers[stream], lines[stream] = defaultdict(list), []
                assert record.run.project == "metapbt"
            elif kind == "history":
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                for name, value in row.items():
                    if isinstance(value, int | float):
                        numbers[stream][name].append((row["_step"], value))
                lines[stream] += [row["lineage"]] if "lineage" in row else []
            elif kind == "summary":
                for item in record.summary.update:
                    if (item.key or "/".join(item.nested_key)) == "test_return":
                        numbers[stream]["test_return"] = [(run.history.spent_steps[-1], json.loads(item.value_json))]
    wanted, told = expected(run)
    assert groups == {"quadratic default pbt seed 0"}
    same_numbers(numbers, wanted)
    assert {stream: said for stream, said in lines.items() if said} == told


@pytest.mark.parametrize("variant", ["members", "candidates", "eras"])
def test_mlflow_has_each_member_in_the_populations_run_once_and_whole_after_kills(variant, conf, writes):
    pytest.importorskip("mlflow", reason="make test-loggers installs it")
    from mlflow.tracking import MlflowClient

    asked = command("results", *VARIANTS[variant], "callbacks=[mlflow]")
    run = stopped_and_gone_on(asked, conf, writes, times=1)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("metapbt")
    found = {it.data.tags["metapbt.stream"]: it for it in client.search_runs([experiment.experiment_id])}
    wanted, told = expected(run)
    numbers = {
        stream: {
            name: [(point.step, point.value) for point in client.get_metric_history(it.info.run_id, name)]
            for name in it.data.metrics
        }
        for stream, it in found.items()
    }
    same_numbers(numbers, wanted)
    assert {s: it.data.tags["lineage"].splitlines() for s, it in found.items() if "lineage" in it.data.tags} == told
    population = found.pop("population")
    assert population.info.run_name == "quadratic default pbt seed 0"
    assert {it.data.tags["mlflow.parentRunId"] for it in found.values()} == {population.info.run_id}
    assert {it.info.status for it in (population, *found.values())} == {"FINISHED"}
    assert population.data.params["context.optimum_shift"] == "0.0"


def test_an_mlflow_whose_store_goes_away_does_not_stop_the_run(conf, monkeypatch, capsys):
    pytest.importorskip("mlflow", reason="make test-loggers installs it")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/mlflow.db")
    run = metapbt.run(command("results", "callbacks=[mlflow]"), conf)
    assert run.info.state == "done"
    assert capsys.readouterr().err.count("MLflow failed and gets no more updates from this run") == 1
