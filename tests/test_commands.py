"""Every ``metapbt`` command on every page: quickly, that it would begin; and at length (slow), that it works."""

import shlex
from pathlib import Path

import pytest
from test_docs import PAGES, blocks

from metapbt.cli import _parsed, main
from metapbt.config import compose
from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.overrides import features_of
from metapbt.runs.run import check

#: Pages whose commands need files that the page names, or are followed from top to bottom: in test_docs.py.
FOLLOWED = {"your_own_environment", "your_own_learner", "your_own_method", "getting_started"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def commands(page):
    """The arguments of the ``metapbt`` commands on a page, in order, comments left out and lines that go on joined."""
    for language in ("", "bash"):
        for _, text in blocks(page, language):
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith("metapbt "):
                    yield tuple(shlex.split(line, comments=True)[1:])


def marks(arguments):
    """Brax and MuJoCo come with ``make test-brax``."""
    text = " ".join(arguments)
    return [pytest.mark.brax] if "brax" in text or "-v5" in text else []


def every(run):
    """Of all pages: those that train, or the others."""
    return [
        pytest.param(arguments, id=f"{page.stem}: {' '.join(arguments)}", marks=marks(arguments))
        for page in PAGES
        if page.stem not in FOLLOWED
        for arguments in dict.fromkeys(commands(page))
        if (arguments[0] == "run") == run
        if "--config-dir" not in arguments or not run  # which the page's own files belong to: tests/test_docs.py
    ]


def overrides_of(arguments):
    """The first run of those that a ``metapbt run`` asks for, without what needs a machine of its own."""
    plain = [a for a in arguments[1:] if not a.startswith(("-", "executor", "callbacks"))]
    return [a if "[" in a or "{" in a else a.partition(",")[0] for a in plain]


@pytest.mark.parametrize("arguments", every(run=True))
def test_every_run_on_a_page_would_begin(arguments):
    compose([a for a in arguments[1:] if not a.startswith("-") and "," not in a])  # executor and callbacks are known
    try:
        check(compose([*overrides_of(arguments), "executor=inline"]))
    except MetapbtError as error:
        if "pip install" in str(error) or "learner.device=" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("arguments", every(run=False))
def test_every_other_command_on_a_page_is_one(arguments):
    if arguments[0] != "scripts":  # which Hydra reads
        _parsed(arguments)


HELPS = ("study", "status", "report", "watch", "toy", "replay", "evaluate", "video", "export", "data")


@pytest.mark.parametrize("command", HELPS)
def test_every_example_in_a_help_text_is_a_command(command, capsys):
    """And names features that the environment has, where the path of a run says which that is."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  metapbt ")]
    assert lines or command not in ("evaluate", "video", "export", "study")
    for line in lines:
        parsed = _parsed(shlex.split(line, comments=True)[1:])
        if getattr(parsed, "context", None):
            make_context(parsed.run.parts[1], features_of(parsed.context))


#: What pages take for granted: a few runs.
BEFORE = ["run", "--multirun", "env=quadratic", "method=pbt,pb2", "seed=0,1,2", "budget.steps=20", "budget.interval=10"]
WITHOUT_RUNS = ("figures", "page", "README")
#: What is tested with what it needs: other machines, packages, a server, a GPU, minutes of training.
ELSEWHERE = (
    "watch", "cluster=", "executor=ray", "experiment=", "brax", "-v5", "procgen", "callbacks=", "learner.device=",
    "study demo", "results/demo",
)  # fmt: skip
#: So that agents train, but learn nothing; problems that cost nothing are as they are.
SHORT = {
    "env=quadratic": [],
    "env=synthetic": ["budget.steps=30"],
    "learner.algorithm=SAC": ["budget.steps=400", "budget.interval=200"],
    "": ["budget.steps=2000", "budget.interval=1000"],
}
EPISODES = ["evaluation.episodes=2", "evaluation.test_episodes=2", "resume=false"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in FOLLOWED], ids=lambda page: page.stem)
def test_the_commands_of_a_page_work_one_after_another(page, capfd):
    """As they stand, with the files that the page shows; but for budgets, which are for agents that learn."""
    for name, text in blocks(page, "yaml"):
        if name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
    asked = [arguments for arguments in commands(page) if not any(w in " ".join(arguments) for w in ELSEWHERE)]
    if not asked:
        pytest.skip("they are tested with what they need")
    for arguments in [*([BEFORE] if page.stem in WITHOUT_RUNS else []), *asked]:
        short = next(s for words, s in SHORT.items() if words in " ".join(arguments)) if arguments[0] == "run" else []
        env = "lunar_lander" if "context.gravity_y=-5" in arguments else "cart_pole"
        runs = (path.parent for path in Path("results").glob(f"{env}/*/*/*/DONE"))
        line = [str(next(runs)) if argument == "RUN_DIR" else argument for argument in arguments]
        line += [*short, *EPISODES] if arguments[0] == "run" else []
        assert main(line) == 0, (line, capfd.readouterr().err)
