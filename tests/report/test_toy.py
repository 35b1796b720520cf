"""The toy's trajectories, figures and animation, and the page whose commands make them."""

from __future__ import annotations

import itertools
import math
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.collections import PathCollection
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Annotation
from PIL import Image

from metapbt.cli import main
from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Budget, History, Interval, Record, Ref
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.report.toy.animation import Scene, frames_of
from metapbt.report.toy.figures import draw_history, draw_trajectories, member_color, quadratic_q, way
from metapbt.report.toy.trajectories import Jump, trajectories
from metapbt.report.toy.write import MAX_RUNS, write_toy_figures
from metapbt.store import find_runs
from metapbt.store.check import problem
from metapbt.store.done import Done
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import Identity, read_table, to_records, to_table, write_table

PAGE = Path(__file__).parents[2] / "docs" / "visualising_pbt.md"
PBT = {"copies": True}
TWO = [{"learning_rate": 0.05, "h0": 1.0, "h1": 0.0}, {"learning_rate": 0.05, "h0": 0.0, "h1": 1.0}]
KNOWN = [{"learning_rate": 0.045, "h0": 1.0, "h1": 0.0}, {"learning_rate": 0.015, "h0": 0.0, "h1": 1.0}]


def store_toy_run(results, initial, *, copies=False, seed=0, steps=100, interval=4, changed=None, start=(0.9, 0.9)):
    """A run directory as a run leaves it, with the theta of each member and generation that nobody keeps.

    Where members copy, the worst one copies the best after each generation, and goes on with other hyperparameters.
    """
    context, size, rng = make_context("quadratic", changed or {}), len(initial), np.random.default_rng(seed)
    learner = QuadraticLearner("quadratic", context, Budget(steps, interval), {"start": list(start)})
    used, parents, states, thetas, records = list(initial), [None] * size, [None] * size, [], []
    for generation in range(steps // interval):
        trained = []
        for member in range(size):
            parent, before = parents[member], generation * interval
            ref = Ref(generation, member)
            asked = Interval(ref, None, None, used[member], before, before + interval, 0, 0, 1)
            trained.append(learner.train(asked, states[member if parent is None else parent]))
            value = trained[-1].eval_return
            records.append(Record(generation, member, parent, "random", used[member], before + interval, value, value))
        states = [training.state for training in trained]
        thetas.append([training.state["theta"] for training in trained])
        parents = [None] * size
        order = sorted(range(size), key=lambda member: trained[member].eval_return)
        if copies:
            worst, best = order[0], order[-1]
            parents[worst] = best
            used[worst] = {**used[best], "h0": rng.uniform(), "h1": rng.uniform()}
    store(run_directory(Path(results), "quadratic", context, method_of(copies), seed), context, seed, start, records)
    return run_directory(Path(results), "quadratic", context, method_of(copies), seed), thetas


def method_of(copies):
    return "pbt" if copies else "random"


def store(path, context, seed, start, records):
    method, size = path.parent.name, 1 + max(r.member for r in records if r.generation == 1 or r.generation == 0)
    saved = {
        "env": "quadratic",
        "context": context.changed,
        "features": dict(context),
        "budget": {"steps": records[-1].env_steps, "interval": records[0].env_steps},
        "method": {"name": method},
        "learner": {"name": "quadratic", "start": list(start)},
        "population": {"metric": "train_return", "size": size},
        "seed": seed,
    }
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(saved), encoding="utf-8")
    identity = Identity("quadratic", "quadratic", context, method, method, "quadratic", seed)
    history = History(tuple(records))
    RunDirectory(path).mark_done(Done(history.generations))
    write_table(RunDirectory(path).records, to_table(identity, history))


@pytest.fixture(scope="module")
def two_members(tmp_path_factory):
    results = tmp_path_factory.mktemp("two")
    return results, *store_toy_run(results / "pbt_2", TWO, **PBT)


def only_run(results):
    (run,) = find_runs(Path(results))
    return run


def test_recomputed_parameters_are_those_that_were_trained(two_members):
    results, _, thetas = two_members
    shown = trajectories(only_run(results))
    assert shown.steps == 100
    assert shown.ends == tuple(range(4, 101, 4))
    for number, member in enumerate(shown.members):
        assert member.theta.shape == (101, 2)
        assert member.q.shape == (101,)
        assert len(member.hyperparameters) == 100
        np.testing.assert_array_equal(member.theta[0], [0.9, 0.9])
        np.testing.assert_array_equal(member.theta[4::4], [generation[number] for generation in thetas])
        np.testing.assert_allclose(member.q, quadratic_q(*member.theta.T), rtol=1e-12)
        assert member.q[-1] > 1.1999


def test_a_jump_goes_on_from_where_the_parent_was(two_members):
    results, path, _ = two_members
    shown = trajectories(only_run(results))
    records = [record for _, record in to_records(read_table(RunDirectory(path).records))]
    for number, member in enumerate(shown.members):
        assert [(jump.step, jump.parent) for jump in member.jumps] == [
            (4 * r.generation, r.parent) for r in records if r.member == number and r.parent is not None
        ]
    assert shown.copies
    for number, jump, before, taken_over in shown.jumps():
        member = shown.members[number]
        h = member.hyperparameters[jump.step]
        np.testing.assert_array_equal(before, member.theta[jump.step])
        gradient = -2 * np.array([0.75 * h["h0"], h["h1"]]) * taken_over
        np.testing.assert_allclose(member.theta[jump.step + 1], taken_over + h["learning_rate"] * gradient)


def test_members_that_keep_their_hyperparameters_come_to_the_known_answers(tmp_path):
    store_toy_run(tmp_path, KNOWN)
    shown = trajectories(only_run(tmp_path))
    assert not shown.copies
    assert [jumps for member in shown.members for jumps in member.jumps] == []
    np.testing.assert_allclose(shown.members[0].theta[-1], [0.000830093, 0.9], rtol=1e-5)
    np.testing.assert_allclose(shown.members[1].theta[-1], [0.9, 0.0427973], rtol=1e-5)
    assert [member.q[-1] for member in shown.members] == pytest.approx([0.389999, 0.590668], abs=1e-6)


def test_a_copy_of_an_earlier_checkpoint_goes_on_from_there(tmp_path):
    first = store_toy_run(tmp_path / "plain", TWO, steps=12)[1]
    context = make_context("quadratic")
    learner = QuadraticLearner("quadratic", context, Budget(16, 4), {"start": [0.9, 0.9]})
    path, _ = store_toy_run(tmp_path / "back", TWO, steps=12)
    asked = Interval(Ref(3, 1), Ref(0, 0), None, TWO[1], 4, 8, 0, 0, 1)
    value = learner.train(asked, {"theta": first[0][0]}).eval_return
    again = Record(3, 1, 0, "perturbed", TWO[1], 8, value, value, parent_generation=0)
    rewrite(path, lambda records: [*records, again])
    shown = trajectories(only_run(tmp_path / "back"))
    assert shown.members[1].jumps == (Jump(12, 0, 4),)
    assert shown.steps == 16
    np.testing.assert_array_equal(shown.taken_over(shown.members[1].jumps[0]), first[0][0])
    assert shown.members[1].q[-1] == pytest.approx(value)
    np.testing.assert_array_equal(shown.members[0].theta[12:], np.tile(first[2][0], (5, 1)))  # trained no further
    assert all(file.stat().st_size for file in write_toy_figures(tmp_path / "back"))


def test_an_asynchronous_member_may_copy_one_that_is_ahead(tmp_path):
    context = make_context("quadratic")
    learner = QuadraticLearner("quadratic", context, Budget(12, 4), {"start": [0.9, 0.9]})
    records, states = [], {}

    def report(generation, member, parent=None, parent_generation=None):
        record = Record(generation, member, parent, "random", TWO[member], 0, 0.0, parent_generation=parent_generation)
        origin, steps = record.origin, 0
        if origin is not None:
            steps = next(r.env_steps for r in records if r.ref == origin)
        asked = Interval(record.ref, origin, None, TWO[member], steps, steps + 4, 0, 0, 1)
        training = learner.train(asked, states.get(origin))
        states[record.ref] = training.state
        value = training.eval_return
        records.append(replace(record, env_steps=training.env_steps, train_return=value, eval_return=value))

    for generation, member in ((0, 0), (1, 0), (0, 1), (2, 0)):
        report(generation, member)
    report(1, 1, parent=0, parent_generation=2)
    path = run_directory(tmp_path, "quadratic", context, "pbt", 0)
    store(path, context, 0, (0.9, 0.9), records)
    assert problem(only_run(tmp_path)) is None
    shown = trajectories(only_run(tmp_path))
    assert shown.members[1].jumps == (Jump(4, 0, 12),)
    np.testing.assert_array_equal(shown.taken_over(shown.members[1].jumps[0]), states[Ref(2, 0)]["theta"])
    np.testing.assert_array_equal(shown.members[1].theta[8], states[Ref(1, 1)]["theta"])
    assert all(file.stat().st_size for file in write_toy_figures(tmp_path))


def test_other_contexts_and_more_parameters_are_recomputed_and_drawn_too(tmp_path):
    store_toy_run(tmp_path, TWO, **PBT, steps=12, changed={"optimum_shift": 0.3})
    four = [{"learning_rate": 0.05, "h0": 0.1 * m, "h1": 0.2, "h2": 0.3, "h3": 0.4} for m in range(3)]
    store_toy_run(tmp_path / "four", four, seed=2, steps=12, start=[0.9, 0.8, 0.7, 0.6])
    shown = {run.seed: trajectories(run) for run in find_runs(tmp_path)}
    assert shown[2].members[0].theta.shape == (13, 4)
    assert shown[0].members[0].theta.shape == (13, 2)
    assert all(path.stat().st_size for path in write_toy_figures(tmp_path))


def test_a_run_that_goes_on_is_shown_as_far_as_it_came(tmp_path):
    path, _ = store_toy_run(tmp_path, TWO, **PBT)
    rewrite(path, lambda records: [r for r in records if r.generation < 6])
    assert trajectories(only_run(tmp_path)).steps == 24


def rewrite(path, change):
    file = RunDirectory(path).records
    pairs = to_records(read_table(file))
    write_table(file, to_table(pairs[0][0], History(tuple(change([record for _, record in pairs])))))


def one_line(error):
    return "\n" not in str(error.value)


def test_records_that_do_not_follow_from_each_other_are_refused(tmp_path):
    path, _ = store_toy_run(tmp_path, TWO, **PBT, steps=12)
    rewrite(path, lambda records: [*records[:3], replace(records[3], eval_return=1.0), *records[4:]])
    with pytest.raises(MetapbtError, match=r"member 1 comes to Q = .* in generation 1, but its record says 1") as error:
        trajectories(only_run(tmp_path))
    assert one_line(error)


def test_another_learner_is_refused_and_not_imported(tmp_path):
    path, _ = store_toy_run(tmp_path, TWO, **PBT, steps=12)
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["learner"]["name"] = "somewhere.else:Learner"
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(MetapbtError, match="learner=somewhere.else:Learner; only env=quadratic"):
        write_toy_figures(tmp_path)


def test_no_runs_and_too_many_are_one_line(tmp_path):
    with pytest.raises(MetapbtError, match="holds no run of env=quadratic") as error:
        write_toy_figures(tmp_path)
    assert one_line(error)
    for seed in range(MAX_RUNS + 1):
        store_toy_run(tmp_path, TWO, seed=seed, steps=4)
    with pytest.raises(MetapbtError, match="holds 13 runs of env=quadratic, and figures compare at most 12") as error:
        write_toy_figures(tmp_path)
    assert one_line(error)


def test_the_line_of_a_member_breaks_where_it_jumped(two_members):
    shown = trajectories(only_run(two_members[0]))
    number = next(n for n, member in enumerate(shown.members) if member.jumps and member.jumps[0].step == 4)
    member, parent = shown.members[number], shown.members[1 - number]
    line = way(shown, member, 0, 5)
    np.testing.assert_array_equal(line[:5], member.theta[:5])
    assert np.isnan(line[5]).all()
    np.testing.assert_array_equal(line[6:], [parent.theta[4], member.theta[5]])


def test_the_figure_of_trajectories_has_labels_and_points_that_shrink(two_members):
    shown = trajectories(only_run(two_members[0]))
    figure = draw_trajectories([shown], ["two members"])
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.texts if isinstance(text, Annotation)]  # the others are levels of Q
    assert {"0", "4", "8"} <= set(labels)
    assert all(int(label) % 4 == 0 for label in labels)
    points = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert len(points) == 2
    for collection, member in zip(points, shown.members, strict=True):
        np.testing.assert_array_equal(collection.get_offsets(), member.theta)
        assert (np.diff(collection.get_sizes()) < 0).all()
    assert any(isinstance(patch, FancyArrowPatch) for patch in axes.patches)


def test_the_history_shows_q_of_every_step(two_members):
    shown = trajectories(only_run(two_members[0]))
    (axes,) = draw_history([shown], ["two members"]).axes
    for number, member in enumerate(shown.members):
        drawn = {
            (x, y)
            for line in axes.lines
            if line.get_color() == member_color(number)
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        assert set(enumerate(member.q.tolist())) <= {(x, float(y)) for x, y in drawn if not math.isnan(x)}


def test_the_animation_pauses_at_each_jump(two_members):
    shown = trajectories(only_run(two_members[0]))
    frames = frames_of(shown)
    assert [frame.step for frame in frames if not frame.jumps] == list(range(101))
    assert [(number, jump) for frame in frames for number, jump in frame.jumps] == [
        (number, jump) for number, jump, _, _ in sorted(shown.jumps(), key=lambda item: item[1].step)
    ]
    assert all(frame.times > 1 for frame in frames if frame.jumps)


def test_a_long_run_is_shown_in_larger_steps_with_every_jump(tmp_path):
    store_toy_run(tmp_path, TWO, **PBT, steps=1000)
    shown = trajectories(only_run(tmp_path))
    frames = frames_of(shown)
    assert len(frames) <= 2 * 151 + 1
    assert frames[-1].step == 1000
    assert sum(len(frame.jumps) for frame in frames) == len(shown.jumps()) > 0


def test_every_picture_differs_from_the_one_before(tmp_path):
    store_toy_run(tmp_path, TWO, **PBT, steps=8)
    shown = trajectories(only_run(tmp_path))
    scene = Scene(shown, "two members")
    pictures = [scene.picture(frame) for frame in frames_of(shown)]
    assert all((one != other).any() for one, other in itertools.pairwise(pictures))
    height, width, _ = pictures[0].shape
    assert height % 2 == width % 2 == 0  # H.264 takes no others
    np.testing.assert_array_equal(scene.picture(frames_of(shown)[0]), pictures[0])


def test_figures_are_named_after_runs_and_are_the_same_each_time(tmp_path):
    store_toy_run(tmp_path / "pbt_2", TWO, **PBT, steps=8)
    store_toy_run(tmp_path / "no_pbt", KNOWN, steps=8)
    names = [
        "trajectories.png",
        "trajectories.pdf",
        "history.png",
        "history.pdf",
        "pbt_2/quadratic/default/pbt/seed_0.gif",
    ]
    written = [write_toy_figures(tmp_path, tmp_path / out) for out in ("one", "other")]
    for paths, out in zip(written, ("one", "other"), strict=True):
        shown = [path for path in paths if path.suffix != ".mp4"]
        assert shown == [tmp_path / out / name for name in names]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert not list(tmp_path.glob("one/**/.*"))


def test_the_gif_holds_every_picture_and_starts_again(tmp_path):
    path, _ = store_toy_run(tmp_path, TWO, **PBT, steps=8)
    written = write_toy_figures(path)
    (gif,) = [file for file in written if file.suffix == ".gif"]
    assert gif == path / "figures" / "seed_0.gif"
    frames = frames_of(trajectories(only_run(tmp_path)))
    with Image.open(gif) as image:
        assert image.n_frames == len(frames)
        assert image.info["loop"] == 0
        durations = []
        for number in range(image.n_frames):
            image.seek(number)
            durations.append(image.info["duration"])
    assert durations == pytest.approx([125 * frame.times for frame in frames], abs=10)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A stand-in for ffmpeg, alone on the PATH: it does what the lines say, the last argument being the output."""

    def install(*lines):
        script = tmp_path / "bin" / "ffmpeg"
        script.parent.mkdir()
        script.write_text("\n".join(["#!/bin/sh", "for last; do :; done", *lines, ""]))
        script.chmod(0o755)
        tools = [str(Path(shutil.which(tool)).parent) for tool in ("sh", "wc")]
        monkeypatch.setenv("PATH", ":".join([str(script.parent), *tools]))

    return install


def test_where_ffmpeg_is_present_there_is_an_mp4_of_every_frame(tmp_path, ffmpeg):
    path, _ = store_toy_run(tmp_path / "runs", TWO, **PBT, steps=8)
    ffmpeg('wc -c > "$last"')
    *_, gif, mp4 = write_toy_figures(path)
    assert mp4 == gif.with_suffix(".mp4")
    shown = trajectories(only_run(tmp_path / "runs"))
    with Image.open(gif) as image:
        size = image.width * image.height * 4
    assert int(mp4.read_text()) == size * sum(frame.times for frame in frames_of(shown))


def test_an_ffmpeg_that_fails_costs_only_the_mp4(tmp_path, ffmpeg, caplog):
    path, _ = store_toy_run(tmp_path / "runs", TWO, **PBT, steps=8)
    ffmpeg("exit 1")
    assert [file.suffix for file in write_toy_figures(path)][-1] == ".gif"
    assert "has no MP4 beside it, because ffmpeg failed" in caplog.text
    assert not list(path.glob("figures/*.mp4"))


def test_without_ffmpeg_it_says_so(tmp_path, monkeypatch, caplog):
    path, _ = store_toy_run(tmp_path / "runs", TWO, **PBT, steps=8)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [file.suffix for file in write_toy_figures(path)][-1] == ".gif"
    assert "for MP4 too, ffmpeg must be on the PATH" in caplog.text


def fenced(text, language=""):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in blocks if name == language]


@pytest.mark.slow
def test_the_page_holds_what_it_says(tmp_path, monkeypatch):
    page = PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = [block.replace("\\\n", " ") for block in fenced(page)]
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("metapbt ")]
    assert [shlex.split(command)[1] for command in commands] == ["run", "run", "run", "toy"]
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command

    ends = {run.path.parts[2]: trajectories(run) for run in find_runs(Path("results/toy"))}
    known = [member.theta[-1] for member in ends["no_pbt"].members]
    np.testing.assert_allclose(known, [[0.000830093, 0.9], [0.9, 0.0427973]], rtol=1e-5)
    assert [m.q[-1] for m in ends["no_pbt"].members] == pytest.approx([0.389999, 0.590668], abs=1e-6)
    assert min(m.q[-1] for m in ends["pbt_2"].members) > 1.1999
    assert min(m.q[-1] for m in ends["pbt_4"].members) > 1.199

    log = Path("results/toy/pbt_2/quadratic/default/pbt/seed_0/run.log").read_text(encoding="utf-8")
    for line in "".join(fenced(page, "text")).splitlines():
        assert f" {line}\n" in log
    figures = Path("results/toy/figures")
    for name in ("trajectories.png", "history.png", *re.findall(r"`(\S+\.gif)`", page)):
        assert (figures / name).stat().st_size > 0
    for image in re.findall(r"\]\((images/\S+)\)", page):
        assert 0 < (PAGE.parent / image).stat().st_size < 1_500_000
