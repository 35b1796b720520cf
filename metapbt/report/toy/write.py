"""Everything that shows the toy's runs, written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metapbt.errors import MetapbtError
from metapbt.log import LOGGER
from metapbt.progress import Tell, progress
from metapbt.report.figures.style import figure_style, save_figure
from metapbt.report.toy.animation import mp4_possible, write_animation
from metapbt.report.toy.figures import draw_history, draw_trajectories
from metapbt.report.toy.trajectories import ENV, trajectories
from metapbt.store.results import OnProblem, RunInfo, find_runs, read_history, warn

MAX_RUNS = 12


def write_toy_figures(results: Path, out: Path | None = None, on_problem: OnProblem = warn) -> list[Path]:
    """Draw every run of ``env=quadratic`` under ``results``: trajectories, history of Q, animations.

    Args:
        results: a directory that holds run directories, at any depth.
        out: where the figures go; ``<results>/figures`` if not given.
        on_problem: is told of what cannot be read; without it the log is.

    Returns:
        The files, all written anew: ``trajectories`` and ``history`` as PNG and PDF, with a panel for each run; and
        for each run with members that copied ``<the run's path below results>.gif``, and ``.mp4`` too where ffmpeg
        is on the PATH.

    Raises:
        MetapbtError: there are no such runs, or too many for one figure, or one cannot be recomputed.
    """
    results = Path(results)
    out = Path(out) if out is not None else results / "figures"
    runs = [run for run in find_runs(results, on_problem) if run.env == ENV and _has_records(run, on_problem)]
    if not runs:
        raise MetapbtError(f"{results} holds no run of env={ENV} with records yet")
    if len(runs) > MAX_RUNS:
        raise MetapbtError(
            f"{results} holds {len(runs)} runs of env={ENV}, and figures compare at most {MAX_RUNS}: "
            "name a directory with fewer"
        )
    with progress("drawing") as told:
        return _draw(results, out, runs, told)


def _draw(results: Path, out: Path, runs: Sequence[RunInfo], told: Tell) -> list[Path]:
    shown = []
    for number, run in enumerate(runs):
        told(number, 3 * len(runs))  # an animation takes about as long as two runs computed anew
        shown.append(trajectories(run))
    titles = _titles([run.path.relative_to(results).parts for run in runs], [run.name for run in runs])
    written: list[Path] = []
    with figure_style():
        for name, figure in {
            "trajectories": draw_trajectories(shown, titles),
            "history": draw_history(shown, titles),
        }.items():
            save_figure(figure, out, name, ("png", "pdf"))
            written += [out / f"{name}.png", out / f"{name}.pdf"]
        for number, (of_run, title) in enumerate(zip(shown, titles, strict=True)):
            told(len(runs) + 2 * number, 3 * len(runs))
            if of_run.copies:
                # A run directory that is named itself is below itself by nothing.
                below = of_run.run.path.relative_to(results)
                written += write_animation(of_run, title, out / (below if below.parts else of_run.run.path.name))
    if any(of_run.copies for of_run in shown) and not mp4_possible():
        LOGGER.warning("the animations are GIF only: for MP4 too, ffmpeg must be on the PATH")
    return written


def _has_records(run: RunInfo, on_problem: OnProblem) -> bool:
    try:
        return len(read_history(run)) > 0
    except MetapbtError as error:
        on_problem(error)
        return False


def _titles(paths: Sequence[Sequence[str]], methods: Sequence[str]) -> list[str]:
    """What tells the runs apart: the parts of their paths that not all share; of a single run its method."""
    shared = set.intersection(*map(set, paths))
    titles = ["/".join(part for part in path if part not in shared) for path in paths]
    return [title or method for title, method in zip(titles, methods, strict=True)]
