"""Whatever is written on the command line or in files of one's own: one line, and a status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import metapbt
from metapbt.cli import main
from metapbt.errors import MetapbtError

QUICK = ["env=quadratic", "method=pbt", "executor=inline", "budget.steps=4", "evaluation.test_episodes=1"]
GOOD = "".join(f"{name}: {{type: float, low: 0.1, high: 1}}\n" for name in ("learning_rate", "h0", "h1"))
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def one_line(capfd, arguments, status=1):
    assert main(arguments) == status
    out, err = capfd.readouterr()
    assert not out
    (line,) = err.splitlines()
    return line.removeprefix("metapbt: error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a:\n\ttype: float\n", r"is no YAML: found character '\t' that cannot start any token (line 2, column 1)"),
        (b"a: {type: int, low: 0, high: 1}\na: {type: int, low: 0, high: 2}\n", "has the key 'a' twice (line 2)"),
        ("a: ü".encode("latin-1"), "is not UTF-8"),
        (GOOD.encode("utf-16"), "is not UTF-8"),
        (bytes(range(256)), "is not UTF-8"),
        (b"\x00\x01\x02", "is no YAML: unacceptable character #x0000"),
        (b"- 1\n- 2\n", "must hold keys with values (key: value), not a list or a single value"),
        (b"hello\n", "must hold keys with values (key: value), not a list or a single value"),
        (b"a: &a [*a]\n", "an anchor holds itself"),
        (b"? [1, 2]\n: 3\n", "has a key that is no word (line 1)"),
        (b"a: [1, 2\n", "is no YAML: "),
        (BOMB.encode(), "holds more than 100000 values"),
        (b"a: " + b"[" * 5000, "nests too deep"),
        (None, "is a directory, not a file"),
    ],
)
def test_a_file_of_ones_own_that_cannot_be_read_is_named(capfd, content, message):
    file = Path("conf", "space", "mine.yaml")
    if content is None:
        file.mkdir(parents=True)
    else:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    said = one_line(capfd, ["run", "--config-dir", "conf", *QUICK, "space=mine"])
    assert said.startswith("conf/space/mine.yaml: ")
    assert message.encode().decode() in said
    with pytest.raises(MetapbtError, match="space/mine.yaml: "):
        metapbt.run([*QUICK, "space=mine"], Path("conf"))


def test_another_broken_file_beside_the_chosen_one_disturbs_nobody(capfd):
    Path("conf/space").mkdir(parents=True)
    Path("conf/space/mine.yaml").write_text("\ufeff" + GOOD)  # with a byte order mark, as some editors write
    Path("conf/space/other.yaml").write_bytes(b"\xff\t")
    assert main(["run", *QUICK, "space=mine", "--config-dir", "conf", "name=beside"]) == 0
    capfd.readouterr()
    assert "unknown space 'nope'" in one_line(capfd, ["run", "--config-dir", "conf", *QUICK, "space=nope"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("results_dir=a=b", "'results_dir=a=b' cannot be read ("),
        ("results_dir=a=b", """put quotes around text: 'results_dir="a=b"'"""),
        ("results_dir=7", "results_dir must be the path of a directory, got 7"),
        ("results_dir=null", "results_dir must be the path of a directory, got None"),
        ("results_dir=[a]", "results_dir must be the path of a directory, got ['a']"),
        ("results_dir=", "results_dir must be the path of a directory, got ''"),
        ("results_dir='a\nb'", "results_dir must be the path of a directory, got 'a\\nb'"),
        ("results_dir='\x00'", "results_dir"),
        ("cart_pole", "'cart_pole' is no override: write key=value; did you mean env=cart_pole?"),
        ("a b", "'a b' is no override: write key=value (text with spaces needs quotes"),
        ("seed=0,1", "seed=0,1 asks for several runs: add --multirun, or write a list as seed=[0,1]"),
        ("initial=[1", "'initial=[1' cannot be read"),
        ("name=${nope}", "name: Interpolation key 'nope' not found"),
        ("selection.periods=[1,2]", "it is a key of selection=multiple_frequencies: choose selection first"),
        ("--foo", "unknown option '--foo'"),
        ("--config-dir", "option --config-dir needs a value behind it"),
        ("method=null", "a group needs one of its choices, GROUP=NAME, got method=null"),
        ("~seed", "seed is missing"),
        ("~method", "method must be one of its choices, method=NAME, got None"),
        ("~population.size", "population.size is missing"),
        ("+population.sise=3", "unknown key of population 'sise'; did you mean 'size'?"),
        ("population=3", "population must hold keys such as population.size, got 3"),
        ("stop=null", "stop must hold keys such as stop.return_reached, got None"),
        ("initial=null", "initial must be a list of configurations, got None"),
        ("callbacks=null", "callbacks must be a list, [my_module:MyCallback], got None"),
        ("callbacks=mine", "callbacks must be a list, [my_module:MyCallback], got 'mine'"),
        ("context=[1]", "'context=[1]' does not fit what this key holds"),
        ("context.optimum_shift=[1]", "quadratic.optimum_shift must be a number, got [1]"),
        ("context.optimum_shift=nan", "quadratic.optimum_shift must be in"),
        ("context.optimum_shift=1e400", "quadratic.optimum_shift must be"),
        ("context.optimum_shift=true", "quadratic.optimum_shift must be a number, got True"),
        ("seed=18446744073709551616", "seed must be an integer >= 0 and below 2**63"),
    ],
)
def test_an_override_that_cannot_be_is_one_line(capfd, override, message):
    assert message in one_line(capfd, ["run", *QUICK, override])


def test_a_folder_of_choices_that_does_not_exist_is_one_line(capfd):
    assert "nope' not found" in one_line(capfd, ["run", "--config-dir", "nope", *QUICK])


def test_options_may_stand_between_overrides_and_a_home_directory_is_found(capfd, tmp_path):
    assert main(["run", *QUICK[:2], "--multirun", *QUICK[2:], "seed=0,1", "results_dir=~/mine"]) == 0
    assert len(list((tmp_path / "home" / "mine").rglob("DONE"))) == 2
    assert not list(tmp_path.glob("~*"))
    assert main(["run", *QUICK, "--cfg", "job"]) == 0
    assert "budget:" in capfd.readouterr().out


def test_a_failure_that_nobody_foresaw_takes_no_other_run_of_a_sweep(capfd, monkeypatch):
    from metapbt.runs.plan import RunPlan

    plan = RunPlan.of

    def broken(config):
        if config.seed == 1:
            raise ZeroDivisionError("division by\nzero")
        return plan(config)

    monkeypatch.setattr(RunPlan, "of", broken)
    assert main(["run", "-m", *QUICK, "seed=0,1,2"]) == 1
    err = capfd.readouterr().err
    assert "metapbt: error: unexpected ZeroDivisionError: division by zero (METAPBT_TRACEBACK=1 shows where)\n" in err
    assert "metapbt: error: 1 of 3 runs of the sweep failed\n" in err
    assert len(list(Path("results").rglob("DONE"))) == 2


@pytest.mark.parametrize(
    "error", [RecursionError(), MemoryError(), KeyError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
)
def test_what_nobody_foresaw_is_one_line_and_its_traceback_is_there_to_ask_for(capfd, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr("metapbt.report.status.print_status", broken)
    assert one_line(capfd, ["status", "."]).startswith(f"unexpected {type(error).__name__}")
    monkeypatch.setenv("METAPBT_TRACEBACK", "1")
    assert main(["status", "."]) == 1
    assert "in broken" in capfd.readouterr().err


def command(tail, **environment):
    """The console script as a shell runs it, with ``tail`` behind its arguments."""
    code = "import sys; from metapbt.cli import entry; sys.argv[0] = 'metapbt'; entry()"
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {tail}', sys.executable, code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(metapbt.__file__).parents[1]), **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("tail", "status", "said"),
    [
        ("data ls results >/dev/full", 1, b"metapbt: error: cannot read or write: No space left on device\n"),
        ("data ls results >&-", 0, b""),
        ("data ls nowhere 2>&-", 1, b""),
        ("data ls nowhere 2>/dev/full", 1, b""),
        ("data ls results", 0, b""),
        ("status $'no\\xffwhere'", 1, b"metapbt: error: "),
    ],
)
def test_streams_that_are_full_closed_or_know_few_letters_end_no_command_in_a_traceback(capfd, tail, status, said):
    assert main(["run", *QUICK]) == 0
    capfd.readouterr()
    done = command(tail, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, done.stderr[: len(said)]) == (status, said)
    assert len(done.stderr.splitlines()) <= 1
