"""How numbers read, on the page and in the terminal."""

from __future__ import annotations

import math

#: Smaller numbers than these decimals can show are written as ``1.2e-09``.
MOST_DECIMALS = 6


def format_estimate(value: float, low: float, high: float, sign: str = "") -> str:
    """``195 [180, 200]``; without bounds where too few seeds leave them unknown; a dash without a value.

    Args:
        value: the estimate.
        low: lower end of its interval, or NaN.
        high: upper end of its interval, or NaN.
        sign: ``+`` marks values above 0 too, as of differences.
    """
    if math.isnan(value):
        return "–"
    if math.isnan(low):
        return format_number(value, value, sign)
    scale = max(abs(low), abs(high))
    return f"{format_number(value, scale, sign)} [{format_number(low, scale)}, {format_number(high, scale)}]"


def format_number(value: float, scale: float, sign: str = "") -> str:
    """Three significant digits at the given scale, with a true minus sign: ``−12.3``, ``1250``."""
    digits = 2 - math.floor(math.log10(abs(scale))) if scale else 0
    text = f"{value:{sign}.2e}" if digits > MOST_DECIMALS else f"{value:{sign}.{max(digits, 0)}f}"
    return text.replace("-", "−")


def seeds_line(status: str, finished: int, low: float) -> str:
    """The seeds behind a mean, and that they are too few for an interval: ``2 seeds: no interval``."""
    return f"{status}: no interval" if finished and math.isnan(low) else status
