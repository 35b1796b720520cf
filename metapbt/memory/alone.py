"""PB2's model of the target alone as an expert among memory's: it knows nothing of other contexts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from botorch.models import SingleTaskGP
from numpy.typing import NDArray

from metapbt.memory.encoder import Array, Encoder, Samples
from metapbt.memory.experts import Expert
from metapbt.memory.scales import HistoryScale, SourceScale
from metapbt.surrogates.acquisition import conditioned
from metapbt.surrogates.thinning import evenly
from metapbt.surrogates.time_varying import FIT_ROWS, fit_time_varying_gp

FIRST_FIT = 10  # rows from which it is fitted for the first time: five parameters of fewer would fit noise
REFIT = 2  # as many times the rows of the fit before, and it is fitted again


def expert_alone(own: Samples, own_scale: HistoryScale, now: int, scale: SourceScale) -> Expert:
    """PB2's model, fitted to the target's samples, to be asked for changes on memory's scale in memory's columns.

    Args:
        own: of the target, the most relevant first; at least one.
        own_scale: of the run.
        now: the generation that it is asked about.
        scale: memory's.
    """
    rows = Encoder(own_scale).rows(own)
    model = fit_time_varying_gp(torch.as_tensor(rows.inputs), torch.as_tensor(rows.changes)[:, None])
    first = 2 + len(scale.features)

    def columns(x: Array) -> Array:
        start = own_scale.start(np.full(len(x), now), None, scale.unscaled(x[:, 1]))
        return np.concatenate([start, x[:, first : first + own.points.shape[1]]], axis=1)

    unit = _unit(scale) * float(np.median(scale.steepness(own.returns_after)))
    # Where no row that it was fitted to has changed differently, nobody knows here by how much it may: by as much as in
    # the sources.
    fitted = rows.changes[evenly(len(rows), FIT_ROWS)]
    return Expert(model, columns, unit if np.ptp(fitted) > 0 else 1.0)


def errors_alone(own: Samples, scale: SourceScale) -> Array:
    """How far the target's samples are from what PB2's model forecast of each before it, ``n``, on memory's scale.

    Its scale and its parameters are of earlier samples only; while there are none it forecasts that nothing changes.
    """
    errors = scale.changes(own)
    times = own.times
    for known, judged in refits(times):
        if len(known):
            # In one order, whichever rows matter most now: the same fit comes again at every later decision.
            before = own[known[np.lexsort([*own.points[known].T, own.returns_before[known], times[known]])]]
            encoder = Encoder(HistoryScale.of(before.returns_before))
            rows, asked = encoder.rows(before), encoder.rows(own[judged])
            model = _fitted(rows.inputs.tobytes(), rows.changes.tobytes())
            model = conditioned(model, torch.as_tensor(asked.inputs), torch.as_tensor(asked.changes)[:, None])
            # Of slopes, changes of return for each step. The forecast is put on memory's scale, not the error: who
            # forecast the same is as wrong here as there, however the scale bends in between.
            now, slopes = own[judged], Expert(model).forecast_errors(times[judged])
            expected = now.returns_after - slopes * now.steps
            errors[judged] = (scale.scaled(now.returns_after) - scale.scaled(expected)) * _unit(scale) / now.steps
    return errors


def refits(times: NDArray[np.int_]) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Divide a run's rows into those that PB2's model is fitted to and those that it is judged by.

    Whoever forecasts a row must not have been fitted to it, nor to another of its time. Fitting anew at every time
    would cost too much, so it is done each time that there are ``REFIT`` times as many rows. All rows are judged once.

    Args:
        times: of the rows, ``n``.

    Yields:
        Positions of the rows before (at first none: nothing is fitted) and of those judged, both in their order.
    """
    bounds, wanted, known = [0], FIRST_FIT, 0
    unique, counts = np.unique(times, return_counts=True)
    for place, count in enumerate(counts):
        if known >= wanted:
            bounds.append(place)
            wanted = REFIT * known
        known += int(count)
    when = np.searchsorted(unique, times)
    for begin, end in zip(bounds, [*bounds[1:], len(unique)], strict=True):
        yield np.flatnonzero(when < begin), np.flatnonzero((begin <= when) & (when < end))


@lru_cache(maxsize=16)
def _fitted(inputs: bytes, changes: bytes) -> SingleTaskGP:
    """PB2's model of these rows; a few are remembered, for fitting is what a decision takes longest for."""
    y = torch.as_tensor(np.frombuffer(changes).copy())[:, None]
    return fit_time_varying_gp(torch.as_tensor(np.frombuffer(inputs).reshape(len(y), -1).copy()), y)


def _unit(scale: SourceScale) -> float:
    return scale.interval / scale.unit
