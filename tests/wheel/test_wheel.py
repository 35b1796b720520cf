"""What `pip install` of the wheel brings: into an empty environment, outside of the checkout."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment that holds the wheel and what it needs."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", place, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", place / "env"], check=True)
    python = place / "env/bin/python"
    (wheel,) = place.glob("*.whl")
    subprocess.run([python, *pip[1:], "install", "--constraint", ROOT / "constraints.txt", wheel], check=True)
    return python


def run(python, *arguments, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_python_example_of_the_readme_runs_as_a_script_without_a_main_guard(installed, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    # With a hundredth of its budget.
    assert "metapbt.run([" in code
    small = '"budget.steps=2000", "budget.interval=1000", "evaluation.test_episodes=2", '
    (tmp_path / "script.py").write_text(code.replace("metapbt.run([", f"metapbt.run([{small}", 1), encoding="utf-8")
    done = run(installed, "script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert next(tmp_path.rglob("DONE")).is_file()


def test_the_command_runs_reports_and_writes_scripts(installed, tmp_path):
    metapbt = Path(installed).with_name("metapbt")
    for arguments in (
        ["run", "env=quadratic", "budget.steps=8", "budget.interval=4", "results_dir=r"],
        ["status", "r"],
        ["report", "r"],
        ["data", "check", "r"],
        ["scripts", "env=cart_pole", "scripts.feature=pole_length", "scripts.seeds=1"],
    ):
        done = run(metapbt, *arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
    assert (tmp_path / "r/report/index.html").is_file()


def test_the_memory_that_ships_is_in_it(installed, tmp_path):
    metapbt = Path(installed).with_name("metapbt")
    small = ["budget.steps=1024", "budget.interval=1024", "evaluation.episodes=1", "evaluation.test_episodes=1"]
    done = run(metapbt, "run", "env=cart_pole", "method=meta_pb2", "executor=inline", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = next(tmp_path.rglob("run.log")).read_text()
    assert "so the memory that ships with metapbt is used" in log
    assert "once for these sources" not in log  # nor need anything be learned
