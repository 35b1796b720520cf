"""The page as people meet it: in a browser, by eye, by hand, by keyboard and by screen reader."""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from browser import Tab, chromium, violations
from omegaconf import OmegaConf
from page_data import data_of
from synthetic_results import SyntheticRun, make_run, realistic_runs, store_runs

from metapbt.config import compose
from metapbt.report.groups import group_read_runs
from metapbt.report.page.commands import command_of
from metapbt.report.page.data import SCHEMA, Places, group_data, overview, run_data
from metapbt.report.page.detail import detail
from metapbt.report.page.page import render_page
from metapbt.report.page.write import write_page
from metapbt.report.reading import RunReader
from metapbt.report.section import Section
from metapbt.runs.plan import RunPlan

EVIL = "<img src=x onerror=alert(1)></script><script>window.hacked=1</script>"
ODD = "cart_pole/pole_length=0.6/meta_pb2/seed_0"


def written(results: Path, runs: list[SyntheticRun], out: str = "page") -> Path:
    """The page of runs, without the figures for print."""
    store_runs(results, runs)
    read = RunReader(results).read()
    sections = [Section.of(group) for group in group_read_runs(read, results)]
    write_page(results / out, results, read, sections, views=0)
    return results / out / "index.html"


def lively(run: SyntheticRun) -> SyntheticRun:
    """The run with a second hyperparameter, and a member that copies the other in every other generation."""
    info, frame = run
    frame = frame.assign(
        **{"hp.clip": 0.1 + 0.3 * frame["member"], "hp.act": np.where(frame["member"], "relu", "tanh")}
    )
    copied = (frame["member"] == 1) & (frame["generation"] % 2 == 1)
    frame["parent"] = frame["parent"].mask(copied, 0)
    frame["hp.clip"] = frame["hp.clip"] + 0.02 * frame["generation"] * copied
    return info, frame


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    runs = [lively(run) for run in realistic_runs(contexts=4, seeds=3, generations=6)]
    two = [
        make_run(method, env="lunar_lander", changed={"gravity_y": g, "leg_height": h}, scores=(1.0, g, h))
        for method in ("pbt", "pb2")
        for g, h in ((-5.0, 16.0), (-8.0, 4.0))
    ]
    return written(results, [*runs, *two, make_run("pb2", env="mountain_car", name=EVIL)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Tab]:
    found = Tab(browser, page.as_uri())
    yield found
    found.close()


def test_every_figure_is_drawn_and_none_is_blank(tab: Tab) -> None:
    assert tab.draw() >= 15
    drawn = tab.page.locator(".plot:visible svg")
    assert drawn.count() >= 13
    for number in range(drawn.count()):
        marks = drawn.nth(number).locator(".mark-line path, .mark-symbol path, .mark-rect path, .mark-rule line")
        assert marks.count() > 0, drawn.nth(number).get_attribute("aria-label")
    assert tab.page.locator(".plot:visible p").all_inner_texts() in ([], ["No run has a score yet."] * 2)


def test_the_verdict_stands_above_every_figure(tab: Tab) -> None:
    lead = tab.page.locator("#sections section").first.locator(".verdict .lead")
    assert "meta_pb2 against pb2" in lead.inner_text()
    assert lead.bounding_box()["y"] < tab.page.locator(".plot").first.bounding_box()["y"]


@pytest.mark.slow
def test_nobody_is_kept_out_by_light_or_dark(tab: Tab, browser: Any, page: Path) -> None:
    tab.draw()
    assert violations(tab.page) == []
    dark = Tab(browser, page.as_uri(), dark=True)
    dark.draw()
    assert violations(dark.page) == []
    back, ink = dark.page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert max(map(int, re.findall(r"\d+", back))) < 60
    assert min(map(int, re.findall(r"\d+", ink))) > 200
    colours = [each.page.locator(".plot svg .mark-line path").first.get_attribute("stroke") for each in (tab, dark)]
    assert colours[0] != colours[1]
    dark.close()


@pytest.mark.parametrize("place", ["", f"#run={quote(ODD, safe='')}"])
def test_a_phone_scrolls_down_only(browser: Any, page: Path, place: str) -> None:
    phone = Tab(browser, page.as_uri() + place, width=390)
    if place:  # the overview stands there for a moment before the run does
        phone.page.locator("#run h1:visible").wait_for(timeout=60_000)
    phone.draw()
    assert phone.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    for box in phone.page.locator(".plot:visible svg").all():
        assert box.bounding_box()["width"] > 250
    assert violations(phone.page) == []
    phone.close()


def test_what_the_pointer_is_at_is_told(tab: Tab) -> None:
    plot = tab.page.locator(".panels .plot").first
    plot.scroll_into_view_if_needed()
    plot.locator("svg").wait_for()
    box = plot.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = tab.page.locator("#vg-tooltip-element.visible")
    told.wait_for()
    assert {"method", "steps", "return"} <= set(re.sub("[^a-z\n\t ]", "", told.inner_text()).split())


def test_methods_seeds_and_contexts_are_chosen(tab: Tab) -> None:
    section = tab.page.locator("#sections section").first
    panel = section.locator(".panels .chart").first
    panel.locator("svg").wait_for()
    lines = panel.locator(".mark-line path")
    before = lines.count()
    assert before == 3  # default, pb2, meta_pb2
    section.locator(".chip", has_text="default").click()
    panel.locator(".mark-line path >> nth=2").wait_for(state="detached")
    assert lines.count() == 2
    assert section.locator(".chip", has_text="default").get_attribute("aria-pressed") == "false"
    section.locator(".toolbar select").select_option("all")
    panel.locator(".mark-line path >> nth=5").wait_for()  # 2 methods x 3 seeds
    charts = section.locator(".panels >> nth=0").locator(".chart")
    shown = charts.count()
    section.locator(".toolbar summary").click()
    section.locator("details .chip").first.click()
    charts.nth(shown - 1).wait_for(state="detached")
    assert charts.count() == shown - 1


def test_tables_are_sorted_by_a_click_and_say_so(tab: Tab) -> None:
    table = tab.page.locator("table", has=tab.page.locator("a[href^='#run=']")).first

    def column() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
        return [float(cell) for cell in cells if cell != "–"]

    heading = table.locator("thead th", has_text="return").first
    heading.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)
    tab.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())


def test_sources_are_grey_and_not_missing(tab: Tab) -> None:
    table = tab.page.locator("#sections section").first.locator("table").first
    row = table.locator("tbody tr.grey").first
    assert "source" in row.inner_text()
    assert "missing" not in row.inner_text()
    assert "1 stopped, 1 failed" in tab.page.locator("#sections section").first.inner_text()


def test_one_run_is_opened_played_and_left(tab: Tab) -> None:
    tab.page.locator(f"a[href='#run={quote(ODD, safe='')}']").first.click()
    tab.page.locator("#run h1").wait_for()
    assert "meta_pb2, seed 0" in tab.page.locator("#run h1").inner_text()
    assert tab.draw() >= 5
    panels = tab.page.locator("#run .chart", has_text="clip").locator(".mark-symbol path")
    assert panels.count() > 0  # copies are marked
    player = tab.page.locator("#run .playback")
    player.scroll_into_view_if_needed()
    slider, words = player.locator("input"), player.locator(".happening")
    assert words.inner_text().startswith("Generation 1 of 6")
    assert "member 1 copies 0 and goes on with learning_rate" in words.inner_text()
    slider.focus()
    tab.page.keyboard.press("ArrowRight")
    assert words.inner_text().startswith("Generation 2 of 6")
    places = (
        "() => [...document.querySelectorAll('.playback .mark-symbol path')].map((p) => p.getAttribute('transform'))"
    )
    before = tab.page.evaluate(places)
    player.locator("button.play").click()
    tab.page.locator(".happening", has_text="Generation 6 of 6").wait_for(timeout=60_000)
    assert tab.page.evaluate(places) != before
    assert player.locator("button.play").inner_text() == "Play"  # it ended by itself
    assert violations(tab.page) == []
    command = tab.page.locator(".command code").inner_text()
    assert command.startswith("metapbt run env=cart_pole context.pole_length=0.6 method=meta_pb2 learner=sb3 seed=0")
    tab.page.locator("#run a", has_text="all runs").first.click()
    tab.page.locator("#overview").wait_for()
    assert tab.page.locator("#run").is_hidden()


def test_names_from_results_stay_text(browser: Any, page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<img" not in html.split("<script", 1)[0]
    shown, _ = data_of(page)
    (run,) = [run for run in shown["runs"] if run["method"] == EVIL]
    tab = Tab(browser, page.as_uri())
    tab.draw()
    assert EVIL in tab.page.locator("#sections section").last.inner_text()
    tab.page.evaluate("(id) => { location.hash = `run=${encodeURIComponent(id)}`; }", run["id"])
    tab.page.locator("#run h1", has_text=EVIL).wait_for()
    tab.draw()
    assert tab.page.locator("img").count() == 0
    assert tab.page.evaluate("() => window.hacked") is None
    tab.close()


def test_an_unknown_run_is_told(browser: Any, page: Path) -> None:
    tab = Tab(browser, f"{page.as_uri()}#run=nowhere%2F%E0%A4")
    tab.page.locator("#sections section").first.wait_for()
    tab.close()
    tab = Tab(browser, f"{page.as_uri()}#run=nowhere")
    tab.page.locator("#run h1", has_text="No such run").wait_for()
    tab.close()


def test_the_data_are_those_of_the_tables(page: Path) -> None:
    shown, runs = data_of(page)
    assert shown["schema"] == SCHEMA
    group = shown["groups"][0]
    assert [method["name"] for method in group["methods"]] == ["default", "pb2", "meta_pb2"]
    assert [context["source"] for context in group["contexts"]] == [True, False, True, False]
    cells = pd.DataFrame(group["final"])
    assert set(cells.loc[cells["c"] == 0, "status"]) == {"source", "3 seeds"}
    found = runs[ODD]
    assert found["copies"] == [[g, 1, g - 1, 0] for g in (1, 3, 5)]
    assert [each["name"] for each in found["hyperparameters"]] == ["learning_rate", "clip", "act"]
    assert [each["numeric"] for each in found["hyperparameters"]] == [True, True, False]
    assert found["records"]["train"] == [100] * 6 + [99] * 6
    assert "results_dir" not in found["config"]


def test_three_hundred_runs_fit_into_five_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    runs = []
    for number in range(20):  # of which each stands for fifteen
        info, frame = make_run("pb2", number, scores=rng.normal(300, 50, 50).tolist())
        population = pd.concat([frame.assign(member=frame["member"] + 2 * place) for place in range(4)])
        count = len(population)
        population["train_return"] = rng.normal(300, 50, count)
        for name in ("learning_rate", "clip", "lambda", "epochs"):
            values = pd.Series(np.where(rng.random(count) < 0.25, rng.random(count), np.nan))
            population[f"hp.{name}"] = values.ffill().fillna(0.5).to_numpy()
        runs.append((info, population))
    store_runs(tmp_path, runs)
    places = Places(tmp_path, {}, {})
    read = RunReader(tmp_path).read()
    (group,) = group_read_runs(read, tmp_path)
    shown = [run_data(each, places) for each in read] * 15
    names = [f"cart_pole/pole_length={number}/pb2/seed_0" for number in range(300)]
    data = overview([group_data(Section.of(group), places)] * 10, shown, "metapbt report results", "0.1.0")
    details = dict(zip(names, [detail(each) for each in read] * 15, strict=True))
    page = tmp_path / "index.html"
    page.write_text(render_page(data, details), encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    found, kept = data_of(page)
    assert len(found["runs"]) == len(kept) == 300


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "other"):
        results = store_runs(tmp_path / name / "results", [lively(make_run("pb2", seed)) for seed in (0, 1)])
        for file in results.rglob("*"):
            os.utime(file, (1_800_000_000, 1_800_000_000))
        read = RunReader(results).read()
        sections = [Section.of(group) for group in group_read_runs(read, results)]
        write_page(results / "report", results, read, sections, views=1)
        pages.append((results / "report" / "index.html").read_bytes())
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]
    shown, runs = data_of(results / "report" / "index.html")
    assert str(tmp_path) not in repr((shown, runs))
    assert shown["updated"] == "2027-01-15T08:00:00Z"
    (known,) = [run["known"] for run in runs.values() if run["known"]]
    assert known["notes"]  # these runs' configurations name no space


def test_what_there_is_no_room_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Any) -> None:
    from metapbt.report.page import page as module

    monkeypatch.setattr(module, "MOST_BYTES_OF_RUNS", 100)
    found = written(tmp_path, [make_run("pb2")])
    tab = Tab(browser, f"{found.as_uri()}#run={quote('cart_pole/default/pb2/seed_0', safe='')}")
    tab.page.locator("#run", has_text="metapbt watch RESULTS shows them").wait_for()
    tab.close()


def test_a_video_that_may_not_be_read_is_named_and_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = store_runs(tmp_path / "results", [make_run("pb2")])
    video = results / "cart_pole/default/pb2/seed_0/video.mp4"
    video.write_bytes(b"somebody else's")
    opened = Path.open

    def refused(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == video:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refused)
    read = RunReader(results).read()
    write_page(tmp_path / "out", results, read, [Section.of(group) for group in group_read_runs(read, results)])
    shown, _ = data_of(tmp_path / "out/index.html")
    assert shown["problems"] == ["cart_pole/default/pb2/seed_0/video.mp4 cannot be read: Permission denied"]
    assert not (tmp_path / "out/videos").exists()


@pytest.mark.parametrize(
    ("overrides", "written", "unsaid"),
    [
        ([], "", []),
        (["learner.n_envs=4", "budget.steps=500"], " budget.steps=500 learner.n_envs=4", []),
        (["space.learning_rate.high=1e-2"], "", ["space"]),
        (["~space.n_epochs", "initial=[{learning_rate: 1e-3}]"], "", ["initial", "space"]),
        (["selection=multiple_frequencies", "population.size=6"], None, ["selection"]),
    ],
)
def test_the_command_of_a_run_says_what_it_leaves_out(
    overrides: list[str], written: str | None, unsaid: list[str]
) -> None:
    config: Any = OmegaConf.to_container(compose(["env=cart_pole", *overrides]), resolve=True)
    info, _ = make_run("pb2", learner="ppo")
    command, _, comment = command_of(config, info).partition(" # and more, see its configuration: ")
    assert command.startswith("metapbt run env=cart_pole method=pb2 learner=ppo seed=0")
    assert comment.split(", ") == (unsaid or [""])
    if written is not None:
        assert command == f"metapbt run env=cart_pole method=pb2 learner=ppo seed=0{written}"
    again: Any = OmegaConf.to_container(compose(shlex.split(command)[2:]), resolve=True)
    differing = {group for group in again if again[group] != config[group]}
    assert differing <= {*unsaid, "env", "features"}  # what the command and its comment say is all of it


def test_the_command_of_a_stored_run_is_taken_again() -> None:
    stored = RunPlan.of(compose(["env=cart_pole", "budget.steps=5000"])).config
    assert "eras" not in stored  # nor restarts: a run without them says nothing of them
    info, _ = make_run("pb2", learner="ppo")
    command = command_of(stored, info)
    assert command == "metapbt run env=cart_pole method=pb2 learner=ppo seed=0 budget.steps=5000"
    RunPlan.of(compose(shlex.split(command)[2:]))


def test_the_table_of_runs_has_the_areas_that_are_compared(tmp_path: Path) -> None:
    runs = [make_run("pb2", scores=[0.0, 10.0, 400.0, 400.0]), make_run("pbt", scores=[0.0, 20.0])]
    results = store_runs(tmp_path, runs)
    (group,) = group_read_runs(RunReader(results).read(), results)
    areas = group_data(Section.of(group), Places(results, {}, {}))["runs"]
    assert {name: area for name, _, area in areas} == {
        "cart_pole/default/pb2/seed_0": pytest.approx(5.0),
        "cart_pole/default/pbt/seed_0": pytest.approx(10.0),
    }


def test_videos_lie_beside_the_page(tmp_path: Path, browser: Any) -> None:
    results = store_runs(tmp_path, [make_run("pb2", seed=seed) for seed in (0, 1)])
    pixel = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
    (results / "cart_pole/default/pb2/seed_0/video.gif").write_bytes(pixel)
    (tmp_path / "elsewhere.gif").write_bytes(pixel)
    (results / "cart_pole/default/pb2/seed_1/video.gif").symlink_to(tmp_path / "elsewhere.gif")
    read = RunReader(results).read()
    out = tmp_path / "out"
    write_page(out, results, read, [Section.of(group) for group in group_read_runs(read, results)], views=0)
    assert [path.name for path in (out / "videos").iterdir()] == ["cart_pole-default-pb2-seed_0.gif"]
    tab = Tab(browser, f"{(out / 'index.html').as_uri()}#run={quote('cart_pole/default/pb2/seed_0', safe='')}")
    tab.page.locator("#run .video img").wait_for()
    assert tab.page.evaluate("() => document.querySelector('.video img').naturalWidth") == 1
    link = tab.page.locator("#run .facts a").get_attribute("href")
    assert (out / link).resolve() == (results / "cart_pole/default/pb2/seed_0").resolve()
    tab.close()
