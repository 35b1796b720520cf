"""The live page: what it reads again, whom it answers, and how it changes under the reader's eyes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from browser import Tab, chromium
from synthetic_results import make_run, store_runs

from metapbt.cli import main
from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Record
from metapbt.report import live as module
from metapbt.report.groups import load_groups
from metapbt.report.live import Live, make_server
from metapbt.report.section import Section
from metapbt.store.run_directory import RunDirectory, run_directory


class Growing:
    """A run that goes on, as its loop would write it; nobody works on it, so that it counts as stopped."""

    def __init__(self, results: Path, seed: int = 0, generations: int = 2) -> None:
        context = make_context("cart_pole", {"pole_length": 0.8})
        self.path = run_directory(results, "cart_pole", context, "pb2", seed)
        self.path.mkdir(parents=True)
        config = {
            "env": "cart_pole",
            "context": context.changed,
            "features": dict(context),
            "budget": {"steps": 10_000, "interval": 1000},
            "method": {"name": "pb2"},
            "learner": {"name": "ppo"},
            "population": {"metric": "train_return", "size": 2},
            "seed": seed,
        }
        (self.path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.journal = RunDirectory(self.path).journal
        hyperparameters = {"learning_rate": 1e-3, "clip_range": 0.2}
        self.journal.begin(
            {m: {"kind": "start", "hyperparameters": hyperparameters, "source": "random"} for m in (0, 1)}
        )
        self.generations = 0
        for _ in range(generations):
            self.train()

    def train(self) -> None:
        """Another generation."""
        g = self.generations
        made = [
            Record(
                generation=g,
                member=m,
                parent=None,
                source="random",
                hyperparameters={"learning_rate": 1e-3 / (1 + g), "clip_range": 0.2 + 0.1 * m},
                env_steps=1000 * (g + 1),
                train_return=10.0 * g + m,
                eval_return=10.0 * g + 2 * m,
            )
            for m in (0, 1)
        ]
        self.journal.append(made, {})
        self.generations += 1


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return store_runs(tmp_path, [make_run(method, seed) for method in ("pbt", "pb2") for seed in range(5)])


def overview(live: Live) -> dict:
    return json.loads(live.snapshot().body)


def test_a_refresh_reads_only_what_has_changed(results: Path) -> None:
    running = Growing(results)
    live = Live(results)
    first = live.snapshot()
    assert live.reader.reads == len(first.runs) == 11
    assert live.snapshot() is first  # nothing was read, and nothing worked out
    assert live.reader.reads == 11
    running.train()
    second = live.snapshot()
    assert live.reader.reads == 12
    assert second.tag != first.tag
    (run,) = (run for run in json.loads(second.body)["runs"] if run["state"] == "stopped")
    assert run["generations"] == 3
    store_runs(results, [make_run("pb2", 5)])
    assert len(live.snapshot().runs) == 12
    assert live.reader.reads == 13


def test_a_refresh_works_out_only_the_groups_that_changed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = module.group_data
    monkeypatch.setattr(
        module, "group_data", lambda section, places: made.append(section.group.env) or original(section, places)
    )
    store_runs(results, [make_run("pb2", env="mountain_car")])
    live = Live(results)
    live.snapshot()
    assert sorted(made) == ["cart_pole", "mountain_car"]
    store_runs(results, [make_run("pb2", 1, env="mountain_car")])
    live.snapshot()
    assert sorted(made) == ["cart_pole", "mountain_car", "mountain_car"]


def test_it_says_the_same_as_the_report(results: Path) -> None:
    (group,) = load_groups(results)
    assert overview(Live(results))["groups"][0]["verdict"] == Section.of(group).sentences


def test_runs_without_a_generation_wait_for_it(tmp_path: Path) -> None:
    running = Growing(tmp_path, generations=0)
    live = Live(tmp_path)
    assert overview(live)["groups"] == []
    assert live.detail(next(iter(live.snapshot().runs))) is None
    running.train()
    assert len(overview(live)["groups"]) == 1


def test_damaged_runs_are_told_and_the_others_shown(results: Path) -> None:
    broken = results / "cart_pole/default/pb2/seed_0/records.parquet"
    broken.write_bytes(b"PAR1 no")
    found = overview(Live(results))
    assert len(found["runs"]) == 9
    assert len(found["problems"]) == 1


class Answers:
    """A server, asked as browsers and others would."""

    def __init__(self, results: Path) -> None:
        self.server = make_server(results, 0)
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def answers(results: Path) -> Iterator[Answers]:
    found = Answers(results)
    yield found
    found.close()


def test_data_are_sent_once_until_they_change(answers: Answers, results: Path) -> None:
    status, body, headers = answers.ask("/data.json")
    assert (status, len(json.loads(body)["runs"])) == (200, 10)
    status, body, again = answers.ask("/data.json", If_None_Match=headers["ETag"])
    assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])
    Growing(results)
    status, body, changed = answers.ask("/data.json", If_None_Match=headers["ETag"])
    assert (status, len(json.loads(body)["runs"])) == (200, 11)
    assert changed["ETag"] != headers["ETag"]


def test_it_listens_to_this_machine_alone(answers: Answers) -> None:
    assert answers.server.server_address[0] == "127.0.0.1"
    port = answers.server.server_port
    assert answers.ask("/", Host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "localhost", f"127.0.0.1.evil.example:{port}"):
        status, body, _ = answers.ask("/data.json", Host=host)
        assert status == 403
        assert b"pb2" not in body
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert answers.ask("/data.json", method=method)[0] == 501


@pytest.mark.parametrize(
    "path",
    [
        "/../config.yaml",
        "/cart_pole/default/pb2/seed_0/config.yaml",
        "/video?id=../../secret",
        "/video?id=cart_pole/default/pb2/seed_1",
        "/video?id=%2Fetc%2Fpasswd",
        "/run.json?id=..",
        "/run.json",
        "/known.json?id=nobody",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_nothing_but_the_page_its_data_and_videos_is_served(answers: Answers, results: Path, path: str) -> None:
    (results.parent / "secret").mkdir(exist_ok=True)
    (results.parent / "secret" / "video.mp4").write_bytes(b"secret")
    link = results / "cart_pole/default/pb2/seed_1/video.mp4"
    link.symlink_to(results.parent / "secret" / "video.mp4")
    status, body, _ = answers.ask(path)
    assert status == 404
    assert b"secret" not in body


def test_a_video_is_served_whole_and_in_parts(answers: Answers, results: Path) -> None:
    (results / "cart_pole/default/pb2/seed_0/video.mp4").write_bytes(bytes(range(100)))
    _, body, _ = answers.ask("/data.json")
    (video,) = (run["video"] for run in json.loads(body)["runs"] if run["video"])
    status, whole, headers = answers.ask(f"/{video}")
    assert (status, whole, headers["Content-Type"]) == (200, bytes(range(100)), "video/mp4")
    status, part, headers = answers.ask(f"/{video}", Range="bytes=10-19")
    assert (status, part, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/100")
    assert answers.ask(f"/{video}", Range="bytes=90-")[1] == bytes(range(90, 100))


def test_a_surrogate_that_there_is_not_is_told_in_a_line(answers: Answers) -> None:
    run = quote("cart_pole/default/pb2/seed_0", safe="")
    for asked in ("generation=1&x=a&y=b", "generation=-1&x=a&y=b", "generation=1e9&x=a&y=b"):
        status, body, _ = answers.ask(f"/surrogate.json?id={run}&{asked}")
        assert status == 422
        assert body
        assert b"\n" not in body
        assert b"Traceback" not in body


def test_a_port_that_is_taken_is_told_or_passed_over(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MetapbtError, match=rf"port {port} cannot be listened on: .*--port"):
            make_server(results, port)
        monkeypatch.setattr(module, "PORT", port)
        other = make_server(results)
        assert other.server_port not in (0, port)
        other.server_close()


def test_no_directory_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["watch", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"metapbt: error: {tmp_path / 'nowhere'} is no directory"]


def test_it_says_where_it_is_and_ends_with_ctrl_c(results: Path) -> None:
    command = [
        sys.executable,
        "-c",
        # Jobs that a shell started in the background ignore Ctrl-C, and so would this one.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from metapbt.cli import entry; entry()",
        "watch",
        str(results),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"10 runs, live at http://127\.0\.0\.1:(\d+)/ until Ctrl-C", said)
    assert found, said
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    connection.request("GET", "/data.json")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, "stopped watching", "")


def test_the_page_changes_under_the_reader_who_stays_where_they_are(tmp_path: Path) -> None:
    running = Growing(tmp_path)
    store_runs(tmp_path, [make_run("pbt", seed, changed={"pole_length": 0.8}, learner="ppo") for seed in (0, 1)])
    answers = Answers(tmp_path)
    try:
        with chromium() as browser:
            tab = Tab(browser, answers.url)
            root = "() => document.documentElement.dataset.refreshed ?? '0'"
            section = tab.page.locator("#sections section")
            section.locator(".chip", has_text="pbt").click()
            assert "2 of 10" in section.inner_text()
            running.train()
            section.locator("td", has_text="3 of 10").first.wait_for(timeout=60_000)
            assert int(tab.page.evaluate(root)) >= 1
            assert section.locator(".chip", has_text="pbt").get_attribute("aria-pressed") == "false"
            run = "cart_pole/pole_length=0.8/pb2/seed_0"
            tab.page.evaluate("(id) => { location.hash = `run=${encodeURIComponent(id)}`; }", run)
            words = tab.page.locator(".happening")
            words.wait_for()
            assert "of 3" in words.inner_text()
            tab.page.locator(".chip", has_text="1").click()
            running.train()
            tab.page.locator(".happening", has_text="of 4").wait_for(timeout=60_000)
            assert tab.page.locator(".toolbar .chip", has_text="1").get_attribute("aria-pressed") == "false"
            assert tab.page.locator("button", has_text="Work it out").count() == 1
            tab.close()
    finally:
        answers.close()


def test_methods_are_compared_with_whom_one_likes(tmp_path: Path) -> None:
    runs = [make_run(name, seed, scores=[1.0, 2.0 + seed]) for name in ("pbt", "pb2", "random") for seed in range(3)]
    results = store_runs(tmp_path, runs)
    with make_server(results, 0, "pbt") as server:
        (group,) = json.loads(server.live.snapshot().body)["groups"]
    assert all(" against pbt: " in sentence for sentence in group["verdict"])
    with make_server(results, 0, "bg_pbt") as server:  # its runs may come yet
        assert json.loads(server.live.snapshot().body)["groups"][0]["verdict"]
    with pytest.raises(MetapbtError, match="unknown baseline 'pbtt'; did you mean 'pbt'"):
        make_server(results, 0, "pbtt")
