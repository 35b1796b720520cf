"""Every key of the configuration, set to what nobody should write: one line that says so, or a run that may begin."""

import copy
import math
import re

import pytest
from omegaconf import OmegaConf

from metapbt.callbacks import make_callbacks
from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.runs.plan import RunPlan
from metapbt.runs.remembering import nothing_remembered

BASES = {
    "pbt": ["env=quadratic", "method=pbt", "executor=inline"],
    "meta_pb2": ["env=quadratic", "method=meta_pb2"],
    "meta_bg_pbt": ["env=quadratic", "method=meta_bg_pbt"],
    "grid": ["env=quadratic", "method=grid", "population.size=8"],
    "transfer": ["env=quadratic", "method=random", "start=transfer"],
    "frequencies": ["env=quadratic", "method=pb2_mult", "selection=multiple_frequencies", "population.size=6"],
    "synthetic": ["env=synthetic", "method=pb2_mix", "space=synthetic_mixed"],
    "eras": [
        "env=quadratic", "method=pbt", "eras.count=3", "eras.patience=2", "eras.distil_steps=4", "eras.teacher=false",
        "budget.interval_end=2",
    ],
    "ipbt": ["env=quadratic", "method=ipbt", "population.size=3"],
    "ppo": ["env=cart_pole", "method=random"],
}  # fmt: skip
ABSURD = [
    None, True, -1, 0, 2**31, 2**64, 0.5, 1e300, math.nan, math.inf, "", "x", "a" * 300, "1e-4", "\x00", "ß\n", "~/x",
    [], [1], [[]], {}, {"x": 1}, {"": {}}, {"name": None},
]  # fmt: skip


def places(tree, place=()):
    for name, inner in tree.items():
        yield (*place, name)
        if isinstance(inner, dict):
            yield from places(inner, (*place, name))


def value_at(tree, place):
    for name in place:
        tree = tree[name]
    return tree


def begun(config):
    """What a run does before it trains."""
    asked = RunPlan.of(OmegaConf.create(config))
    asked.plan.make_executor().close()
    make_callbacks(asked.plan.callbacks)
    asked.check_learner()
    asked.tuner(**nothing_remembered(asked) if asked.remembers else {}).start()


#: What they have of their own are few keys.
AT_LENGTH = ("eras", "meta_pb2", "meta_bg_pbt", "synthetic", "ipbt", "grid", "frequencies", "transfer")


@pytest.mark.parametrize(
    "base", [pytest.param(base, marks=[pytest.mark.slow] if base in AT_LENGTH else []) for base in BASES]
)
def test_every_key_with_every_absurd_value_is_one_line_or_begins(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.to_container(compose(BASES[base]), resolve=False)
    for unread in ("hydra", "scripts", "cluster"):
        config.pop(unread, None)
    begun(config)
    wrong = []
    first = list(BASES).index(base)
    for number, place in enumerate(places(config)):
        # Not all for each: some, other ones for the next key, and for the same key of the next base.
        for value in ["gone", *(ABSURD[(5 * number + 3 * first + more) % len(ABSURD)] for more in range(3))]:
            changed = copy.deepcopy(config)
            holder = changed
            for name in place[:-1]:
                holder = holder[name]
            holder[place[-1]] = value
            if value == "gone":
                del holder[place[-1]]
            try:
                begun(changed)
            except MetapbtError as error:
                if "\n" in str(error) or len(str(error)) > 1000 or not str(error):
                    wrong.append((place, value, error))
            except Exception as error:
                wrong.append((".".join(place), value, repr(error)))
    assert not wrong, "\n".join(map(str, wrong))
    assert not list(tmp_path.iterdir())


SWITCHES = {base: BASES[base] for base in ("pbt", "meta_pb2", "synthetic", "ipbt", "ppo")}


@pytest.mark.parametrize("base", SWITCHES)
def test_whoever_is_true_or_false_takes_nothing_else(base, tmp_path, monkeypatch):
    """An empty ``resume`` deleted a finished run, and ``no`` switched on what it was to switch off."""
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.to_container(compose(SWITCHES[base]), resolve=False)
    for unread in ("hydra", "scripts", "cluster"):
        config.pop(unread, None)
    switches = [place for place in places(config) if isinstance(value_at(config, place), bool)]
    assert ("resume",) in switches
    for number, place in enumerate(switches):
        for wrong in ("no", "", 0, None)[number % 2 :: 2]:
            changed = copy.deepcopy(config)
            value_at(changed, place[:-1])[place[-1]] = wrong
            with pytest.raises(MetapbtError, match=re.escape(place[-1])):
                begun(changed)
