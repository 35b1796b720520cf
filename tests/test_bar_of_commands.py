"""Commands that work for long say so on a terminal, and only there."""

import io

import pytest
import rich.console
from rich.console import Console

from metapbt.progress import progress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_alone(terminal, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(rich.console, "Console", lambda **_: Console(width=80, force_terminal=terminal, file=file))
    with progress("cart_pole, ppo: [held] out") as tell:
        tell(1, 4)
    assert ("cart_pole, ppo: [held] out" in file.getvalue()) == terminal
    assert ("1/4" in file.getvalue()) == terminal
    assert terminal or not file.getvalue().strip()
