"""What a study says of the whole, on narrow and wide terminals."""

import io
import sys
from pathlib import Path
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


@pytest.mark.parametrize("said", ["finished", "failed"])
def test_a_run_is_one_line_on_a_terminal_and_whole_in_a_file(said, monkeypatch, capsys):
    title = "sources leg_height=13.1,gravity_y=-11.3,main_engine_power=12.5 meta_pb2_with_a_long_name seed 3"
    run = SimpleNamespace(title=title, path=Path("nowhere"))
    monkeypatch.setenv("COLUMNS", "80")

    def printed():
        shown = progress.Progress(SimpleNamespace(runs=[None] * 12, name="demo"), 4)
        shown.finished(run, 3723.0, None) if said == "finished" else shown.failed(run, "no memory is left " * 9)
        return capsys.readouterr().out

    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert title in printed()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    (line,) = printed().splitlines()
    assert len(line) <= 80
    assert "sources leg" in line
    assert "seed 3" in line
    assert said == "failed" or line.endswith("in 1h02m")
