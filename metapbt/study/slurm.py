"""A study on a Slurm cluster: one script for each group, submitted as arrays of jobs that wait for the groups before.

Each group's script lies beside its runs, ``<results_dir>/<group>.sh``, to be read, and to be run by hand. The same call
again writes it again and submits what is neither finished nor in the queue.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metapbt.config import compose
from metapbt.errors import MetapbtError, one_line
from metapbt.log import counted
from metapbt.store.reading import Unreadable
from metapbt.study.cluster_script import MARKER, ClusterRun, ClusterScript, check_cluster, write_cluster_script
from metapbt.study.queue import queued_runs

if TYPE_CHECKING:
    from metapbt.study.study import Group, Study, StudyRun


def submit(study: Study, command: Sequence[str], failed: bool = False) -> list[str]:
    """Write the script of each group and submit its unfinished runs; return what became of that, line by line.

    What a group asks of the cluster (``cluster.time``, ``cluster.gres``, ...) is that of its first run.

    Args:
        study: what is to be trained.
        command: that asked for it, ``["metapbt", "study", ...]``; it stands in the scripts.
        failed: submit only runs that began and were neither finished nor are in the queue, and what waits for them: no
            run that is to learn from sources, one of which has not begun and is not in the queue.

    Raises:
        MetapbtError: a run was begun with another configuration, or a key of ``cluster`` cannot be used, and nothing is
            submitted; there is no ``sbatch``, or it refused. What was submitted before stays in the queue, and the same
            call goes on from there.
    """
    lines, jobs = [], dict[str, list[str]]()
    for run in study.runs:
        try:
            run.check_same()
        except Unreadable as error:  # the run itself will say so; the others are submitted
            lines.append(str(error))
    missing = _not_begun(study) if failed else set()
    scripts = [(group, *_script_of(study, group, shlex.join(command))) for group in study.groups]
    for group, script, cluster in scripts:
        write_cluster_script(script, cluster)
        done = sum((run.path / "DONE").exists() for run in group.runs)
        lines.append(f"{group.name}: {done} of {counted(len(group.runs), 'run')} done, script {script.path}")
        before = [job for name in group.after for job in jobs[name]]
        held_up = bool(before) and missing.isdisjoint(group.after)
        said = _submitted(script.path, before, failed and not held_up)
        jobs[group.name] = list(dict.fromkeys(_job(line) for line in said))
        if said and before:
            lines.append(f"  after {', '.join(group.after)} (job {', '.join(before)})")
        lines += [f"  {line}" for line in said]
    if not any(jobs.values()):
        lines.append("nothing to submit")
    return lines


def _not_begun(study: Study) -> set[str]:
    """The groups in which a run has neither begun, as their scripts see it, nor is in the queue."""
    queued = {run.path for run in queued_runs(study.results_dir)}
    new = [run for run in study.runs if not any((run.path / sign).exists() for sign in ("DONE", "FAILED", "journal"))]
    return {run.group for run in new if run.path.resolve() not in queued}


def script_of(run: Path) -> Path | None:
    """The script that submits a run, if its study was written for a cluster, and this machine belongs to one."""
    group = run.resolve().parents[3]
    script = group.parent / f"{group.name}.sh"
    try:
        known = shutil.which("sbatch") and MARKER in script.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return script if known else None


def _submitted(script: Path, after: Sequence[str], failed: bool) -> list[str]:
    """Let a script submit its unfinished runs; return its line for each array, ``job <id>: ...``."""
    options = [*(["--failed"] if failed else []), *(["--after", ":".join(after)] if after else [])]
    done = subprocess.run(["bash", str(script), "--submit", *options], capture_output=True, text=True)
    if done.returncode:
        why = one_line(Exception(done.stderr)) or f"status {done.returncode}"
        raise MetapbtError(f"{script} was not fully submitted: {why}. Once this is fixed, the same command continues")
    return done.stdout.splitlines()


def _script_of(study: Study, group: Group, command: str) -> tuple[ClusterScript, Mapping[str, Any]]:
    from omegaconf import OmegaConf

    cluster: Any = OmegaConf.to_container(compose(group.runs[0].overrides).cluster, resolve=True)
    check_cluster(cluster)
    sources = [run.path for other in study.groups if other.name in group.after for run in other.runs]
    waits = f", after {', '.join(group.after)}" if group.after else ""
    script = ClusterScript(
        path=study.results_dir / f"{group.name}.sh",
        job=group.name,
        title=f"Study {study.name}, group {group.name}: {counted(len(group.runs), 'run')}{waits}.",
        command=command,
        log_directory=re.sub(r"\s", "_", study.name),  # a line of #SBATCH ends at a space
        runs=[ClusterRun(run.path, _of_the_run(run)) for run in _by_array(group.runs)],
        sources=sources,
        after=", ".join(group.after),
    )
    return script, cluster


def _by_array(runs: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs in their order, but those that differ only in the seed together."""
    places = {run.path.parent: place for place, run in reversed(list(enumerate(runs)))}
    return sorted(runs, key=lambda run: places[run.path.parent])


def _of_the_run(run: StudyRun) -> tuple[str, ...]:
    """What ``metapbt run`` is told, without what concerns only the cluster."""
    return tuple(text for text in run.overrides if not re.match(r"\+*cluster\b", text))


def _job(line: str) -> str:
    found = re.match(r"job (\w+)", line)
    if found is None:
        raise MetapbtError(f"a cluster's script must say 'job <id>: ...' of each array that it submits, got {line!r}")
    return found[1]
