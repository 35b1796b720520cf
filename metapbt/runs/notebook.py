"""A run in a notebook: a small table, and how its members came along."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING

from metapbt.errors import MetapbtError
from metapbt.log import counted
from metapbt.runs.lineage import lineage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metapbt.history import History
    from metapbt.store.results import RunInfo

_GREY, _BLUE = "#9aa0a6", "#0072b2"


def as_html(info: RunInfo, history: History, worth: str) -> str:
    """What a notebook shows of a run.

    Args:
        info: what it is.
        history: all its records.
        worth: what it came to, in words.
    """
    rows = {
        "run": f"{info.env} {info.context.label} {info.name} seed {info.seed}",
        "state": f"{info.state}, {history.generations} of {info.generations or 'so many'} generations",
        "members": f"{info.size}, together {history.spent_steps[-1]:,} steps" if len(history) else str(info.size),
        "worth": worth,
        "in": str(info.path),
    }
    lines = "".join(f"<tr><th style='text-align:left'>{escape(k)}</th><td style='text-align:left'>{escape(v)}</td></tr>"
                    for k, v in rows.items())  # fmt: skip
    try:
        picture = _as_svg(draw_returns(history))
    except MetapbtError:  # nothing is recorded yet, or not all that the best agent went on from
        picture = ""
    return f"<table>{lines}</table>{picture}"


def draw_returns(history: History) -> Figure:
    """Every member's return over its environment steps, and the line of descent of the best agent.

    Returns:
        The figure, 6 inches wide.

    Raises:
        MetapbtError: no record is there yet, or one that the best agent went on from is missing.
    """
    from matplotlib.figure import Figure

    if not len(history):
        raise MetapbtError("no interval has finished yet")
    figure = Figure(figsize=(6.0, 2.6), layout="constrained")
    axes = figure.subplots()
    members = {record.member for record in history}
    for member in sorted(members):
        own = [record for record in history if record.member == member and not record.failed]
        axes.plot([r.env_steps for r in own], [history.value(r) for r in own], color=_GREY, linewidth=1, marker=".")
    axes.lines[0].set_label(counted(len(members), "member"))
    best = lineage(history)
    axes.plot(
        [record.env_steps for record in best],
        [history.value(record) for record in best],
        color=_BLUE,
        linewidth=2,
        marker="o",
        label="the best agent's line of descent",
    )
    axes.set(xlabel="environment steps", ylabel={"train_return": "training return"}.get(history.metric, "evaluation"))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    return figure


def _as_svg(figure: Figure) -> str:
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "metapbt"}):  # the same run, the same text
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]
