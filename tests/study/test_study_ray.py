"""A study on Ray's test cluster: it ends complete although a node is lost and a run fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_cluster import a_cluster

import metapbt

pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::FutureWarning")]

# Fails where its context is 0.3, once; takes its node along where it is 0.2, once: a task's parent is its raylet.
ODD = """
import os, signal, time
from pathlib import Path
from metapbt.learners.problems.quadratic import QuadraticLearner

def first(name):
    try:
        os.close(os.open(Path(__file__).with_name(name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

class Odd(QuadraticLearner):
    def train(self, interval, start, teacher=None):
        if self.shift == 0.3 and interval.ref == (1, 1) and not Path(__file__).with_name("mended").exists():
            raise ValueError("bad luck")
        if self.shift == 0.2 and interval.ref == (1, 0) and first("lost"):
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return super().train(interval, start, teacher)
"""
STUDY = """
env: quadratic
overrides: [learner.name=odd:Odd, population.size=2, budget.steps=8, on_failure=stop]
method: pbt
sources: {context.optimum_shift: [0.1, 0.2, 0.3]}
targets: {after: sources, context.optimum_shift: 0.4}
"""


def study(*arguments):
    asked = [sys.executable, "-m", "metapbt", "study", "mine.yaml", *arguments]
    return subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)


def records(folder):
    found = {}
    for journal in Path(folder).rglob("journal"):
        run = metapbt.load(journal.parent)
        assert run.info.state == "done"
        found[journal.parent.relative_to(folder)] = run.records.drop(columns="wall_seconds").to_json()
    return found


def test_a_study_ends_complete_although_a_node_is_lost_and_a_run_fails(tmp_path, monkeypatch):
    started_in = Path.cwd()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(metapbt.__file__).parents[1]), str(tmp_path)]))
    with a_cluster(nodes=2, cpus=1) as cluster:
        monkeypatch.chdir(tmp_path)
        assert Path.cwd() != started_in  # and so the nodes' working directory is another
        Path("odd.py").write_text(ODD)
        Path("mine.yaml").write_text(STUDY)
        on_ray = ["cluster=ray", f"cluster.address={cluster.address}"]
        blind = study(*on_ray, "results_dir=/proc/self/cwd/results")
        assert blind.returncode == 1
        assert "is not seen, or may not be written, on" in blind.stderr
        assert len(blind.stderr.strip().splitlines()) == 1, blind.stderr
        ended = study(*on_ray)
        assert Path("lost").exists()
        assert ended.returncode == 1
        assert (
            "1 of 4 runs failed or could not start; to try again: metapbt study mine.yaml cluster=ray" in ended.stderr
        )
        assert "on Ray: 3 nodes, 2 cores" in ended.stdout
        Path("mended").touch()
        again = study(*on_ray, "--failed")
        assert again.returncode == 0, again.stderr
        assert "4 of 4 runs are done" in again.stdout
    here = study("results_dir=here", "--jobs", "1")
    assert here.returncode == 0, here.stderr
    assert records("results/mine") == records("here")
