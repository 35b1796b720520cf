"""The report's page, live: served to this machine alone, while runs go on."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import stat
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from metapbt.errors import MetapbtError, one_line, unknown_name
from metapbt.log import counted
from metapbt.population.explorers import METHODS
from metapbt.report.groups import Group, group_read_runs
from metapbt.report.page.data import Places, Plain, group_data, overview, run_data, video_of
from metapbt.report.page.detail import detail
from metapbt.report.page.page import encoded, package_version, render_page
from metapbt.report.reading import ReadRun, RunReader, name_of
from metapbt.report.section import Section

HOST = "127.0.0.1"
PORT = 8765
_CHUNK = 2**18
_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"}
_QUERY_LENGTH = 2000


class Snapshot(NamedTuple):
    """What the page was told at some time.

    Attributes:
        body: the overview as JSON.
        tag: changes with it.
        runs: those that were read, by the name that the page has for them.
    """

    body: bytes
    tag: str
    runs: Mapping[str, ReadRun]


class Live:
    """The data of a results directory as it is now; only what has changed is read and worked out again.

    Args:
        results: a directory that holds run directories, at any depth.
        baseline: what every other method is compared with, in groups that have it; chosen for each if None.
    """

    def __init__(self, results: Path, baseline: str | None = None) -> None:
        self.results = results
        self.baseline = baseline
        self.reader = RunReader(results)
        self._runs: dict[str, tuple[ReadRun, Plain]] = {}
        self._groups: dict[str, tuple[Section, Plain]] = {}
        self._told: list[str] = []
        self._details: dict[str, tuple[ReadRun, bytes]] = {}
        self._reading, self._thinking = threading.Lock(), threading.Lock()
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """What there is now.

        Raises:
            MetapbtError: the directory is gone.
        """
        with self._reading:
            problems: list[MetapbtError] = []
            read = self.reader.read(problems.append)
            runs = {name_of(run.info.path, self.results): run for run in read}
            videos = {name: f"video?id={quote(name, safe='')}" for name, run in runs.items() if video_of(run.info.path)}
            places = Places(self.results, {}, videos)
            changed = self._take_runs(runs, places) | self._take_groups(read, places)
            told = [str(error) for error in problems]
            if changed or self._snapshot is None or told != self._told:
                self._told = told
                body = encoded(
                    overview(
                        [plain for _, plain in self._groups.values()],
                        [plain for _, plain in self._runs.values()],
                        self._command,
                        package_version(),
                        problems,
                    )
                )
                self._snapshot = Snapshot(body, f'"{hashlib.sha256(body).hexdigest()[:20]}"', runs)
                self._details = {name: had for name, had in self._details.items() if runs.get(name) is had[0]}
            return self._snapshot

    @property
    def _command(self) -> str:
        asked = ["--baseline", self.baseline] if self.baseline else []
        return shlex.join(["metapbt", "watch", self.results.name or str(self.results), *asked])

    def _take_runs(self, runs: Mapping[str, ReadRun], places: Places) -> bool:
        before = self._runs
        self._runs = {}
        for name, run in runs.items():
            had = before.get(name)
            same = had is not None and had[0] is run and had[1]["video"] == places.videos.get(name)
            self._runs[name] = had if had is not None and same else (run, run_data(run, places))
        return self._runs.keys() != before.keys() or any(self._runs[n] is not before[n] for n in self._runs)

    def _take_groups(self, read: list[ReadRun], places: Places) -> bool:
        before = self._groups
        found = group_read_runs(read, self.results) if any(run.table is not None for run in read) else []
        self._groups = {}
        for group in found:
            had = before.get(group.folder)
            if had is None or not _same(had[0].group, group):
                section = Section.of(group, self.baseline, before=had[0] if had else None)
                had = section, group_data(section, places)
            self._groups[group.folder] = had
        return self._groups.keys() != before.keys() or any(self._groups[n] is not before[n] for n in self._groups)

    def detail(self, name: str) -> bytes | None:
        """One run as JSON; None where there is none of this name, or it has no records yet."""
        run = self.run(name)
        if run is None or run.table is None:
            return None
        had = self._details.get(name)
        if had is None or had[0] is not run:
            had = self._details[name] = (run, encoded({**detail(run), "known": None}))
        return had[1]

    def known(self, name: str) -> bytes | None:
        """What a run's method knew, as JSON; None as for `detail`. Takes seconds."""
        from metapbt.report.page.known import known  # GPs, which nobody waits for before they are asked for

        return self._thought(name, lambda run: known(run, train=False))

    def surrogate(self, name: str, generation: int, x: str, y: str) -> bytes | None:
        """A surrogate over two hyperparameters, as JSON; None as for `detail`.

        Raises:
            MetapbtError: there is none for these.
        """
        from metapbt.report.page.known import surrogate

        return self._thought(name, lambda run: surrogate(run, generation, x, y))

    def _thought(self, name: str, think: Callable[[ReadRun], Plain]) -> bytes | None:
        run = self.run(name)
        if run is None or run.table is None:
            return None
        with self._thinking:  # one at a time: the others' pages go on meanwhile
            return encoded(think(run))

    def video(self, name: str) -> Path | None:
        """The video of a run: a file inside of the results, wherever links lead."""
        run = self.run(name)
        file = None if run is None else video_of(run.info.path)
        if file is None or not file.resolve().is_relative_to(self.results.resolve()):
            return None
        return file

    def run(self, name: str) -> ReadRun | None:
        """The run of this name, as it was read last."""
        snapshot = self._snapshot or self.snapshot()
        return snapshot.runs.get(name)


def _same(one: Group, other: Group) -> bool:
    """Whether nothing has changed: the runs are the very same ones, and nothing else is said of them."""
    said = [(group.env, group.learner, group.notes, group.sources, dict(group.labels)) for group in (one, other)]
    alike = len(one.runs) == len(other.runs) and all(a is b for a, b in zip(one.runs, other.runs, strict=True))
    return alike and said[0] == said[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    live: Live

    @cached_property
    def page(self) -> bytes:
        """The page, which asks for its data."""
        return render_page().encode()

    @property
    def hosts(self) -> set[str]:
        """What a browser on this machine calls it; another name is another site's, which may not look."""
        return {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that closed its side is none of the user's business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "metapbt"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page, its data, or a video; with nothing else."""
        if self.headers.get("Host") not in self.server.hosts:
            self._say(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
            return
        url = urlsplit(self.path)
        asked = {name: found[0] for name, found in parse_qs(url.query[:_QUERY_LENGTH]).items()}
        try:
            if url.path in ("/", "/index.html"):
                self._send(self.server.page, "text/html; charset=utf-8")
            elif url.path == "/data.json":
                self._data()
            elif url.path == "/run.json":
                self._json(self.server.live.detail(asked.get("id", "")))
            elif url.path == "/known.json":
                self._json(self.server.live.known(asked.get("id", "")))
            elif url.path == "/surrogate.json":
                self._surrogate(asked)
            elif url.path == "/video":
                self._video(asked.get("id", ""))
            else:
                self._say(HTTPStatus.NOT_FOUND, "there is no such page")
        except MetapbtError as error:
            self._say(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _data(self) -> None:
        snapshot = self.server.live.snapshot()
        if self.headers.get("If-None-Match") == snapshot.tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", snapshot.tag)
            self.end_headers()
        else:
            self._send(snapshot.body, "application/json", {"ETag": snapshot.tag})

    def _json(self, body: bytes | None) -> None:
        if body is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such run, or it has no records yet")
        else:
            self._send(body, "application/json")

    def _surrogate(self, asked: Mapping[str, str]) -> None:
        generation = asked.get("generation", "")
        if not (generation.isdecimal() and len(generation) < 8):
            raise MetapbtError(f"generation must be a whole number, got {generation!r:.20}")
        found = self.server.live.surrogate(asked.get("id", ""), int(generation), asked.get("x", ""), asked.get("y", ""))
        self._json(found)

    def _video(self, name: str) -> None:
        path = self.server.live.video(name)
        if path is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such video")
            return
        with path.open("rb") as file:
            size = _size(file)
            first, last = _range(self.headers.get("Range"), size)
            partial = self.headers.get("Range") is not None
            self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
            self.send_header("Content-Type", _TYPES[path.suffix])
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Accept-Ranges", "bytes")
            if partial:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            file.seek(first)
            left = last - first + 1
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                self.wfile.write(chunk)
                left -= len(chunk)

    def _say(self, status: HTTPStatus, words: str) -> None:
        self._send(words.encode(), "text/plain; charset=utf-8", status=status)

    def _send(
        self, body: bytes, kind: str, headers: Mapping[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in (own | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """End the headers, with what keeps other sites out."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Frame-Options", "DENY")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each look is of no use to anybody."""


def _size(file: IO[bytes]) -> int:
    """The size of an open file, if it is a regular one.

    Raises:
        MetapbtError: it is not.
    """
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise MetapbtError("the video is no file")
    return status.st_size


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """First and last byte of ``bytes=first-last``; the whole file where that says nothing that it has."""
    if asked and asked.startswith("bytes="):
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if first.isdecimal() and int(first) < size and (not last or last.isdecimal()):
            return int(first), min(int(last), size - 1) if last else size - 1
    return 0, size - 1


def make_server(results: Path, port: int | None = None, baseline: str | None = None) -> _Server:
    """A server of the live page, which listens to this machine alone.

    Args:
        results: a directory that holds run directories, at any depth.
        port: where; 8765, or a free one where that is taken, if None.
        baseline: as of `Live`; a method of ours may have its first run later.

    Raises:
        MetapbtError: the directory does not exist, the port is taken or not to be had, or nothing is called as the
            baseline.
    """
    live = Live(results, baseline)
    known = {*METHODS, *(run.info.name for run in live.snapshot().runs.values())}
    if baseline is not None and baseline not in known:
        raise unknown_name("baseline", baseline, known)
    for wanted in (port,) if port is not None else (PORT, 0):
        try:
            server = _Server((HOST, wanted), _Handler)
        except (OSError, OverflowError) as error:
            if port is not None or getattr(error, "errno", None) != errno.EADDRINUSE:
                why = getattr(error, "strerror", None) or one_line(error)
                raise MetapbtError(f"port {wanted} cannot be listened on: {why}; choose another with --port") from error
        else:
            server.live = live
            return server
    raise MetapbtError("no port is free")


def watch(results: Path, port: int | None = None, baseline: str | None = None) -> int:
    """Serve the page until Ctrl-C; return the exit status.

    Raises:
        MetapbtError: as `make_server`.
    """
    server = make_server(results, port, baseline)
    count = counted(len(server.live.snapshot().runs), "run")
    print(f"{results}: {count}, live at http://{HOST}:{server.server_port}/ until Ctrl-C", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped watching")
    finally:
        server.server_close()
    return 0
