"""Procgen (``env=procgen/bigfish``): 16 games with levels made from numbers, so that a set of levels is a context.

Cobbe et al., 2020, "Leveraging Procedural Generation to Benchmark Reinforcement Learning". The game itself is the
original's code, as EnvPool carries it (extra ``metapbt[procgen]``). An agent sees pictures and chooses one of 15
actions, which are pairs of a direction and a button; both are the same in every game.

============================  ===============  =======  ==========================================================
feature                       legal            default  what it is
============================  ===============  =======  ==========================================================
``game``                      one of GAMES     bigfish  the game
``num_levels``                0 to 2**31 - 1   200      how many levels episodes are drawn from; 0 for all
``start_level``               0 to 2**31 - 1   0        the first of them
``distribution_mode``         easy, hard       easy     how hard levels are
============================  ===============  =======  ==========================================================

Observations are uint8 (64, 64, 3), red, green and blue. Rewards are the game's. An episode ends by the game's rules,
its clock included: 500 steps in leaper and maze, 4000 in bossfight and plunder, 6000 in bigfish, 1000 in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Category, Environment, Feature
from metapbt.errors import MetapbtError

if TYPE_CHECKING:
    import gymnasium

GAMES = (
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
)  # fmt: skip
_END = 2**31 - 1  # of the levels, which are numbered in 32 bits


def _levels(name: str, default: float, description: str) -> Feature:
    return Feature(name, "1", default, 0.0, float(_END), name, description, whole=True)


def _build(context: Mapping[str, Any], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    from metapbt.envs.procgen_game import ProcgenEnv

    return ProcgenEnv(context, render_mode)


def _check(context: Mapping[str, Any]) -> None:
    number, first = int(context["num_levels"]), int(context["start_level"])
    if number == 0 and first != 0:
        raise MetapbtError(f"procgen.start_level must be 0 where num_levels is 0, which means all levels, got {first}")
    if first + number > _END:
        raise MetapbtError(f"procgen has levels 0 to {_END - 1}: {number} from {first} on are beyond these")


PROCGEN = Environment(
    "procgen",
    features=(
        Category("game", GAMES, "bigfish", "the game"),
        _levels("num_levels", 200.0, "how many levels episodes are drawn from; 0: all"),
        _levels("start_level", 0.0, "the first of these levels"),
        Category("distribution_mode", ("easy", "hard"), "easy", "how hard levels are"),
    ),
    build=_build,
    check=_check,
    render_modes=("rgb_array",),
)
