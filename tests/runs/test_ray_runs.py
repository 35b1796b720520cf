"""Whole runs on Ray: the records of any other run, and quiet; also where workers, nodes and runs are killed."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ray_cluster import a_cluster
from test_runs import SPACE, command, in_a_process, records, same

import metapbt
from metapbt.errors import MetapbtError

ray = pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::FutureWarning")]

WITH_CANDIDATES = ["population.candidates=6"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path(__file__).parent, Path(__file__).parents[1]):
        monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def space(tmp_path):
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "for_tests.yaml").write_text(SPACE)
    return tmp_path / "conf"


def rays_processes(folder):
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found += [file] if str(folder).encode() in file.read_bytes() else []
    return found


def test_a_run_on_rays_workers_is_the_same_after_kills_and_quiet_and_leaves_no_process(space, tmp_path, monkeypatch):
    metapbt.run(command("inline", *WITH_CANDIDATES), space)
    # Ray's sockets must not have long names.
    temporary = Path("/tmp", f"ray_{os.getpid()}")
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    arguments = command("ray", "executor=ray", *WITH_CANDIDATES)
    try:
        for call, name in ((8, "SIGKILL"), (5, "SIGTERM")):
            folder = tmp_path / name
            folder.mkdir()
            stopped = in_a_process(arguments, space, {"folder": str(folder), "call": call, "signal": name})
            number = getattr(signal, name)
            assert stopped.returncode == (-number if name == "SIGKILL" else 128 + number), stopped.stderr
        assert "is saved, and the same command goes on from there" in stopped.stderr
        ended = in_a_process(arguments, space)
        assert ended.returncode == 0, ended.stderr
        for said in (stopped, ended):  # our own lines, and nothing of Ray's
            assert all(line.startswith(("quadratic ", "generation ", "member ", "metapbt: ")) for line in lines(said))
        same(records("ray"), records("inline"))
        end = time.monotonic() + 60
        while rays_processes(temporary) and time.monotonic() < end:
            time.sleep(0.1)
        assert not rays_processes(temporary)
    finally:
        for folder in temporary.iterdir():  # that of the run that was killed
            assert folder.name.startswith("metapbt-ray-")
        shutil.rmtree(temporary)


def lines(process):
    return process.stderr.strip().splitlines()


def test_a_node_that_is_lost_in_the_midst_costs_nothing_but_time(space, tmp_path, monkeypatch):
    lost = tmp_path / "lost"
    monkeypatch.setenv("LOST_NODE", str(lost))
    with a_cluster(nodes=2, cpus=2) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        on_ray = ["executor=ray", "executor.address=auto", "learner.name=loses_its_node:LosesItsNode"]
        metapbt.run(command("ray", *on_ray), space)
        assert lost.exists()
        (log,) = Path("ray").rglob("run.log")
        failures = [line for line in log.read_text().splitlines() if " failed, retry " in line]
        assert 1 <= len(failures) <= 2  # members of that node, each an interval
        assert all("retry 1 of 3: the worker of Ray on" in line and "was lost" in line for line in failures)
        # The cluster is as it was, but for the node.
        assert not ray.is_initialized()
        ray.init(cluster.address, log_to_driver=False)
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        with pytest.raises(MetapbtError, match="no node of Ray has room for executor.cpus=3: it has at most 2 CPUs"):
            metapbt.run(command("none", *on_ray, "executor.cpus=3"), space)
    metapbt.run(command("inline", "learner.name=loses_its_node:LosesItsNode"), space)  # it loses none any more
    same(records("ray"), records("inline"))


def test_where_there_is_no_cluster_one_line_says_so(space, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MetapbtError, match="executor.address: no Ray can be reached at 127.0.0.1:1"):
        metapbt.run(command("none", "executor=ray", "executor.address=auto"), space)
