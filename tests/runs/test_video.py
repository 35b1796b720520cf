"""Videos of trained agents: what is in the file is what the agent did, whoever reads it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.runs.video import SMALLEST, shown, write_video

QUICK = [
    "budget.steps=1000", "budget.interval=500", "population.size=2", "evaluation.episodes=1",
    "evaluation.test_episodes=1", "executor=inline", "method=random",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs in it; nothing that a test does changes them."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for env in ("cart_pole", "lunar_lander"):
            metapbt.run([f"env={env}", *QUICK])
    return folder


@pytest.fixture(autouse=True)
def _there(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to(folder / "results")


def run_of(env):
    return metapbt.load(f"results/{env}/default/random/seed_0")


def milliseconds(path):
    """How long each picture of a GIF or WebP stays; Pillow puts pictures that are the same together."""
    with Image.open(path) as image:
        found = []
        for frame in ImageSequence.Iterator(image):
            frame.load()  # of a WebP, its duration too
            found.append(frame.info["duration"])
        return found


def read(path):
    """The frames of a file, (frames, height, width, 3), and its stream; read by FFmpeg's libraries."""
    av = pytest.importorskip("av", reason="MP4 needs the extra video")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        return np.array(frames), (float(stream.average_rate), stream.codec_context.name, stream.codec_context.pix_fmt)


@pytest.mark.parametrize("env", ["cart_pole", "lunar_lander"])
def test_an_mp4_has_a_frame_for_each_step_of_what_is_evaluated(env, capsys):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    run = run_of(env)
    assert main(["video", str(run.path), "--to", "agent.mp4", "--episodes", "2", "--seed", "3"]) == 0
    played = re.findall(r"(-?[\d.]+) in (\d+) steps", capsys.readouterr().out)
    assert [float(total) for total, _ in played] == pytest.approx(list(run.agent(seed=3).evaluate(2).returns), abs=0.01)
    frames, said = read("agent.mp4")
    assert frames.shape == (sum(int(steps) for _, steps in played), 400, 600, 3)
    assert said == (50, "h264", "yuv420p")
    drawn = metapbt.make_env(env, render_mode="rgb_array")
    observation, _ = drawn.reset(seed=3)
    drawn.step(run.policy().act(observation))
    assert np.abs(frames[0].astype(int) - drawn.render()).mean() < 2  # what compression does to it


@pytest.mark.parametrize("name", ["agent.gif", "agent.webp"])
def test_pictures_that_move_show_what_the_environment_draws(name):
    run = run_of("cart_pole")
    (played,) = write_video(run.agent(seed=3), Path(name), most_steps=60).episodes
    assert sum(milliseconds(name)) == 20 * played.steps
    env, policy = metapbt.make_env("cart_pole", render_mode="rgb_array"), run.policy()
    observation, _ = env.reset(seed=3)
    observation, *_ = env.step(policy.act(observation))
    with Image.open(name) as image:
        first = np.asarray(image.convert("RGB"))
        assert image.info["loop"] == 0
    np.testing.assert_array_equal(first, env.render())
    assert played.steps == played.total  # cart_pole gives 1 for each


def test_a_gif_can_be_read_by_others():
    write_video(run_of("cart_pole").agent(seed=3), Path("agent.gif"), most_steps=9)
    assert read("agent.gif")[0].shape == (len(milliseconds("agent.gif")), 400, 600, 3)


@pytest.mark.parametrize("name", ["agent.mp4", "agent.gif", "agent.webp"])
def test_every_kind_of_video_has_as_many_frames_as_steps_when_read_again(name, monkeypatch):
    """Frames that all differ: pictures that are the same are put together in a GIF or WebP."""
    run, drawn = run_of("cart_pole"), iter(np.arange(100, dtype=np.uint8))
    monkeypatch.setattr(
        "gymnasium.envs.classic_control.CartPoleEnv.render", lambda self: np.full((64, 64, 3), 2 * next(drawn))
    )
    (played,) = write_video(run.agent(seed=3), Path(name), most_steps=25).episodes
    if name.endswith(".mp4"):
        pytest.importorskip("av", reason="MP4 needs the extra video")
        assert len(read(name)[0]) == played.steps > 5
    else:
        with Image.open(name) as image:
            assert image.n_frames == played.steps > 5
            greys = [np.asarray(frame.convert("L"))[0, 0] for frame in ImageSequence.Iterator(image)]
        np.testing.assert_allclose(greys, 2 * np.arange(played.steps), atol=1)


@pytest.mark.parametrize("with_av", [True, False])
def test_without_a_name_the_video_is_in_the_run_directory_and_nobody_minds(with_av, monkeypatch, capsys, caplog):
    if with_av:
        pytest.importorskip("av", reason="MP4 needs the extra video")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    overrides = ["env=cart_pole", *QUICK, "results_dir=own"]
    run = metapbt.run([*overrides, "budget.steps=500"])
    capsys.readouterr()
    assert main(["video", str(run.path), "--steps", "5"]) == 0
    out = capsys.readouterr().out
    file = run.path / ("video.mp4" if with_av else "video.gif")
    who = f"member {run.best.member} after {run.best.env_steps} steps"
    assert out == f"{file}: {who} in cart_pole default: return 5.00 in 5 steps (cut)\n"
    said = [record.getMessage() for record in caplog.records if "GIF" in record.getMessage()]
    assert said == ([] if with_av else ["writing a GIF, for MP4 needs PyAV: pip install 'metapbt[video]'"])
    assert file.stat().st_size > 1000
    assert main(["data", "check", "own"]) == 0
    before = file.read_bytes()
    for name in ("DONE", "records.parquet"):  # as if it had been stopped before its end
        (run.path / name).unlink()
    again = metapbt.run([*overrides, "budget.steps=500"])
    assert again.test_return == run.test_return
    assert file.read_bytes() == before
    assert main(["data", "check", "own"]) == 0


def test_videos_and_evaluations_show_how_far_they_are_on_a_terminal(monkeypatch):
    """What a terminal of 80 columns gets, and nothing of it stays."""
    import io

    import rich.console

    run = run_of("cart_pole")
    for do, what in (
        (lambda: write_video(run.agent(seed=3), Path("agent.gif"), most_steps=9), "frames"),
        (lambda: run.agent(seed=3).evaluate(3), "episodes"),
    ):
        shown_there = io.StringIO()
        console = rich.console.Console
        monkeypatch.setattr(
            "rich.console.Console",
            lambda stderr, console=console, there=shown_there: console(file=there, force_terminal=True, width=80),
        )
        do()
        monkeypatch.setattr("rich.console.Console", console)
        lines = [re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", shown_there.getvalue())]
        assert any(line.startswith(what) for line in lines)
        assert max(map(len, lines)) <= 80
        assert not lines[-1].strip()


def test_what_is_asked_for_shows(capsys):
    path = str(run_of("cart_pole").path)
    assert main(["video", path, "--to", "a.gif", "context.pole_length=2.0", "--steps", "7", "--fps", "10"]) == 0
    assert "in cart_pole pole_length=2: return 7.00 in 7 steps (cut)" in capsys.readouterr().out
    assert sum(milliseconds("a.gif")) == 700
    assert main(["video", path, "--to", "b.gif", "--steps", "7", "--fps", "10"]) == 0
    assert Path("a.gif").read_bytes() != Path("b.gif").read_bytes()  # a longer pole


def test_sampled_actions_come_from_the_episodes_seed():
    run = run_of("cart_pole")
    for name, sampled in (("a.gif", True), ("b.gif", True), ("c.gif", False)):
        write_video(run.agent(seed=3, sampled=sampled), Path(name), most_steps=20)
    assert Path("a.gif").read_bytes() == Path("b.gif").read_bytes() != Path("c.gif").read_bytes()


def test_sampled_actions_of_a_video_are_those_of_the_evaluation():
    run = metapbt.run(
        ["env=cart_pole", "learner=drac", "space=drac_vectors", "learner.n_envs=4", "results_dir=own", *QUICK]
    )
    agent = run.agent(seed=3, sampled=True)
    played = write_video(agent, Path("a.gif"), episodes=3).episodes
    assert tuple(each.total for each in played) == agent.evaluate(3).returns


def test_a_video_that_fails_leaves_nothing_and_one_that_was_there_stays(monkeypatch):
    run = run_of("cart_pole")
    Path("agent.gif").write_bytes(b"earlier")

    def fails(self):
        raise RuntimeError("no display")

    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.render", fails)
    with pytest.raises(MetapbtError, match=r"env 'cart_pole' cannot be drawn: RuntimeError: no display"):
        write_video(run.agent(), Path("agent.gif"))
    assert Path("agent.gif").read_bytes() == b"earlier"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["agent.gif", "results"]


def test_what_cannot_be_seen_is_said_in_one_line(capfd):
    metapbt.run(["env=quadratic", "method=pbt", "budget.steps=8", "results_dir=others"])
    capfd.readouterr()
    path = str(run_of("cart_pole").path)
    for arguments, message in (
        ([path, "--to", "x.avi"], "--to must end in .mp4, .gif or .webp, got x.avi"),
        ([path, "--to", "x.gif", "--episodes", "0"], "episodes must be an integer >= 1, got 0"),
        ([path, "--to", "x.gif", "--fps", "0"], "fps must be above 0 and at most 1000, got 0.0"),
        (
            ["others/quadratic/default/pbt/seed_0", "--to", "x.gif"],
            "quadratic is a toy without a Gymnasium environment",
        ),
    ):
        assert main(["video", *arguments]) == 1
        err = capfd.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not Path("x.gif").exists()


def test_an_environment_that_draws_nothing_is_refused(monkeypatch):
    run = run_of("cart_pole")
    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.metadata", {"render_modes": ["human"]})
    with pytest.raises(MetapbtError, match="it has no render mode rgb_array, and its observations are no pictures"):
        write_video(run.agent(), Path("agent.gif"))


def test_mp4_without_its_library_names_what_installs_it():
    code = (
        "import sys; sys.modules['av'] = None\n"
        f"from metapbt.cli import main\nmain(['video', {str(run_of('cart_pole').path)!r}, '--to', 'x.mp4'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "writing MP4 needs PyAV: pip install 'metapbt[video]', or write a .gif or .webp" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 64, 3), (256, 256)), ((100, 300), (300, 900)), ((1, 84, 84), (336, 336)), ((400, 600, 4), (400, 600))],
)
def test_small_pictures_are_magnified_pixel_by_pixel(shape, size):
    picture = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    frame = shown(picture)
    assert frame.shape == (*size, 3)
    assert min(size) >= SMALLEST
    times = size[0] // (shape[1] if shape[0] == 1 else shape[0])
    small = frame[::times, ::times]
    np.testing.assert_array_equal(frame, small.repeat(times, axis=0).repeat(times, axis=1))
    plain = picture.reshape(*small.shape[:2], -1)
    np.testing.assert_array_equal(small, plain[:, :, :3] if plain.shape[2] > 1 else plain.repeat(3, axis=2))


def test_what_is_no_picture_is_refused():
    with pytest.raises(
        MetapbtError, match=r"a frame must be a picture of numbers from 0 to 255, got \(4,\) of float64"
    ):
        shown(np.zeros(4))


def test_odd_sizes_are_filled_up_for_h264(monkeypatch):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    run = run_of("cart_pole")
    drawn = np.random.default_rng(0).integers(256, size=(301, 401, 3), dtype=np.uint8)
    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.render", lambda self: drawn)
    write_video(run.agent(), Path("agent.mp4"), most_steps=3)
    assert read("agent.mp4")[0].shape == (3, 302, 402, 3)


def test_the_agent_of_a_picture_is_seen_through_its_own_eyes(tmp_path, monkeypatch):
    """An environment without any render mode whose observations are pictures."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pictures_for_video.py").write_text(
        "import gymnasium, numpy as np\n"
        "from metapbt.envs import Environment\n"
        "class Bar(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    def picture(self):\n"
        "        found = np.zeros((40, 40, 3), np.uint8)\n"
        "        found[: self.age + 1] = 255\n"
        "        return found\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        self.age = 0\n"
        "        return self.picture(), {}\n"
        "    def step(self, action):\n"
        "        self.age += 1\n"
        "        return self.picture(), 1.0, self.age == 9, False, {}\n"
        "BAR = Environment('bar', (), build=lambda context, render_mode: Bar(), max_episode_steps=20)\n"
    )
    run = metapbt.run(["env=pictures_for_video:BAR", *QUICK, "learner=sb3", "executor.threads=1", "name=own"])
    video = write_video(run.agent(), Path("bar.gif"))
    assert [each.steps for each in video.episodes] == [9]
    with Image.open("bar.gif") as image:
        heights = [(np.asarray(frame.convert("RGB"))[:, 0, 0] > 128).sum() for frame in ImageSequence.Iterator(image)]
        assert image.size == (280, 280)
    assert heights == [7 * (age + 1) for age in range(1, 10)]
    assert json.loads(json.dumps(run.agent().evaluate(1).to_dict()))["returns"] == [9.0]
