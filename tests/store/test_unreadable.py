"""What cannot be read is named, and everything else is shown all the same, by every command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from finished_runs import GOOD, TARGET

from metapbt.cli import main
from metapbt.errors import MetapbtError
from metapbt.report.groups import load_groups
from metapbt.report.toy import write
from metapbt.store import find_runs
from metapbt.store.run_directory import RunDirectory

PAIR = [1, 2]
FILES = ["config.yaml", "journal", "records.parquet", "memory.parquet", "DONE"]


def content(data: bytes) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        path.write_bytes(data)

    return harm


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def sparse(path: Path) -> None:
    os.truncate(path, 2**40)


LAUGHS = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 122))
HARMS = {
    "empty": content(b""),
    "text": content(b"damaged"),
    "undecodable": content(b"\xff\xfe\x80\n" * 9),
    "zeros": content(bytes(100)),
    "deep": content(b"[" * 20_000),
    "deep blocks": content(b"- " * 20_000),
    "number": content(b"7" * 5000 + b"\n"),
    "laughs": content(LAUGHS),
    "list": content(b"- 1\n- 2\n"),
    "cut": cut,
    "directory": directory,
    "pipe": pipe,
    "loop": loop,
    "a terabyte of nothing": sparse,
}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_whatever_a_file_is_every_command_names_it_and_shows_the_rest(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    for name, harm in HARMS.items():
        results = tmp_path / name
        shutil.copytree(study, results)
        harm(results / TARGET / file)
        to = ["--to", str(tmp_path / "table.csv")]
        ran = {
            command: main([*command.split(), str(results), *to * command.endswith("export")])
            for command in ("status", "data ls", "data show", "data export", "data check")
        }  # fmt: skip
        said = capsys.readouterr()
        wanted = dict.fromkeys(ran, 1)
        if (file, name) == ("DONE", "number"):  # what an earlier version wrote, but for its size
            wanted = ran | {"data check": 1}
        if (file, name) == ("journal", "cut"):  # shows only to who reads it to its end
            wanted = dict.fromkeys(ran, 0) | {"data check": 1}
        assert ran == wanted, (name, said)
        assert str(results / TARGET) in said.err + said.out, name
        assert str(results / GOOD) in said.out, name
        assert said.out.endswith("3 runs checked, 1 with problems\n"), name
        assert "Traceback" not in said.err, name
        problems: list[str] = []
        (group,) = load_groups(results, lambda error, problems=problems: problems.append(str(error)))
        assert len(group.runs) >= 2, name
        assert problems or name == "cut", name


@pytest.mark.slow
def test_the_report_and_the_toy_are_made_of_what_can_be_read(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "write_animation", lambda *_: [])  # slow, and nothing that is read here
    results = tmp_path / "results"
    shutil.copytree(study, results)
    (results / TARGET / "records.parquet").write_bytes(b"PAR1 damaged between its ends \x00\x00\x00\x00PAR1")
    for command in ("report", "toy"):
        assert main([command, str(results)]) == 1
        said = capsys.readouterr()
        assert said.err.count("records.parquet cannot be read") == 1
    assert (results / "report" / "index.html").exists()
    assert (results / "figures" / "history.png").exists()


def test_a_run_whose_configuration_is_lost_is_named(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "results")
    (tmp_path / "results" / TARGET / "config.yaml").unlink()
    problems: list[str] = []
    assert len(find_runs(tmp_path / "results", lambda error: problems.append(str(error)))) == 2
    assert [problem.rpartition("/")[2] for problem in problems] == ["config.yaml cannot be read: there is no such file"]


def test_a_failed_run_whose_error_cannot_be_read_is_named(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(study, tmp_path / "results")
    run = tmp_path / "results" / TARGET
    (run / "DONE").unlink()
    for harm in ("text", "undecodable", "directory", "pipe", "loop"):
        (run / "FAILED").touch()
        HARMS[harm](run / "FAILED")
        status = main(["status", str(tmp_path / "results")])
        said = capsys.readouterr().err
        assert (status, "seed_0/FAILED " in said) == ((0, False) if harm == "text" else (1, True)), (harm, said)
        shutil.rmtree(run / "FAILED") if harm == "directory" else (run / "FAILED").unlink()


def test_a_file_of_another_program_that_is_called_config_hides_no_runs(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    shutil.copytree(study, results)
    (results / "config.yaml").write_text("model: resnet\n")
    for command in ("status", "data ls", "data check"):
        assert main([*command.split(), str(results)]) == 1
        said = capsys.readouterr()
        assert str(results / "config.yaml") in said.err + said.out
        assert "it has no 'method'" in said.err + said.out
        assert str(results / GOOD) in said.out or command != "data ls"
    problems: list[str] = []
    assert len(find_runs(results, lambda error: problems.append(str(error)))) == len(find_runs(study))
    assert len(problems) == 1
    (results / "config.yaml").unlink()
    folder = (results / GOOD).parent
    folder.rename(folder.parent / "config.yaml")  # as name=config.yaml has it
    assert len(find_runs(results, lambda error: problems.append(str(error)))) == len(find_runs(study))


@pytest.mark.parametrize("beside", ["checkpoints/", "journal/", "DONE", "run.log", "records.parquet", ".lock"])
def test_neither_do_its_other_files_whose_names_are_those_of_a_run(study: Path, tmp_path: Path, beside: str) -> None:
    results = tmp_path / "results"
    shutil.copytree(study, results)
    (results / "config.yaml").write_text("model: resnet\n")
    if beside.endswith("/"):
        (results / beside).mkdir()
    else:
        (results / beside).touch()
    problems: list[str] = []
    found = find_runs(results, lambda error: problems.append(str(error)))
    assert len(found) == len(find_runs(study))
    (problem,) = problems
    assert str(results) in problem


@pytest.mark.parametrize("config", [{"a": "b" * 2**20}, {"a": PAIR, "b": PAIR}, {"a": [0] * 100_000}])
def test_a_configuration_that_could_not_be_read_again_is_refused_before_anything_is_written(
    tmp_path: Path, config: dict[str, object]
) -> None:
    with pytest.raises(MetapbtError, match=r"config.yaml (would be larger than|cannot be read: it has aliases)"):
        RunDirectory(tmp_path / "run").open(config, resume=False)
    assert not (tmp_path / "run").exists()
