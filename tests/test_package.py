"""What `import metapbt` brings."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import metapbt, gymnasium; env = gymnasium.make('metapbt/LunarLander-v0', leg_height=3.2)",
        "import gymnasium, metapbt; env = gymnasium.make('metapbt/LunarLander-v0', leg_height=3.2)",
        "import gymnasium; env = gymnasium.make('metapbt:metapbt/LunarLander-v0', leg_height=3.2)",
        "import metapbt; env = metapbt.make_env('lunar_lander', leg_height=3.2)",
    ],
)
def test_a_context_is_made_in_any_of_the_ways_that_users_try(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(env.reset(seed=0)[0].shape)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(8,)"


def test_the_public_names_are_all_there():
    import metapbt

    assert set(metapbt.__all__) <= set(dir(metapbt))
    for name in metapbt.__all__:
        assert getattr(metapbt, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'tunr'"):
        _ = metapbt.tunr


def test_the_choices_and_templates_are_found():
    from metapbt.config import shared_dir

    assert (shared_dir("conf") / "config.yaml").exists()
    assert (shared_dir("jobs") / "slurm.sh").exists()


def test_a_space_is_read_and_checked_without_the_library_that_draws_from_it():
    """It takes as long to load as all else that a study's plan or a finished run needs."""
    code = (
        "import sys, numpy; from metapbt import Space\n"
        "space = Space({'lr': {'type': 'float', 'low': 1e-4, 'high': 1e-1, 'log': True, 'default': 0.01}})\n"
        "space.check(space.default()); assert 'ConfigSpace' not in sys.modules\n"
        "space.sample(numpy.random.default_rng(0)); assert 'ConfigSpace' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
