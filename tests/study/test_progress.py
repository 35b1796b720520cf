"""What a study says of the whole, on narrow and wide terminals."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from metapbt.study import progress


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("name", ["demo", "sources_and_targets_of_the_lander_with_six_leg_heights_and_two_gravities"])
def test_count_bar_and_time_are_all_there_and_nothing_is_cut(width, name, monkeypatch):
    terminal = Console(width=width, force_terminal=True, file=io.StringIO())
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    study = SimpleNamespace(runs=[None] * 1234, name=name)
    for left, said in ((None, "time left unknown yet"), (456_789.0, "126h53m left")):
        shown = progress.Progress(study, 987)
        shown._wrong = 12
        shown.update(16, 24, left)
        page = Console(width=width, record=True, force_terminal=True, file=io.StringIO())
        page.print(shown._bar.get_renderable())
        text = page.export_text()
        assert f"{name}, 16 running, 24 elsewhere, 12 failed" in " ".join(text.split())
        last = text.splitlines()[-1]
        assert len(last) <= width
        assert last.count("━") >= 10
        assert last.rstrip().endswith(f"987 of 1234 runs {said}")
        assert "…" not in text
