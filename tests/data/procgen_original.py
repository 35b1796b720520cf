"""Writes ``procgen_original.json``: what OpenAI's own Procgen does, for ``test_procgen_env.py`` to compare with.

It runs in an environment of its own, as it needs another NumPy: ``pip install procgen2==0.10.7``, the original's 0.10.7
built for newer Pythons.
"""

import json
from pathlib import Path

import numpy as np
from procgen import ProcgenGym3Env

GAMES = (
    "bigfish bossfight caveflyer chaser climber coinrun dodgeball fruitbot "
    "heist jumper leaper maze miner ninja plunder starpilot"
).split()
#: num_levels, start_level, distribution_mode, and the seed.
CONTEXTS = ((200, 0, "easy", 7), (50, 1000, "hard", 8), (0, 0, "easy", 9))
STEPS = 400
LONGEST = 6100
NOTHING = 4  # the action


def make(game, num_levels, start_level, mode, seed):
    return ProcgenGym3Env(
        num=1, env_name=game, rand_seed=seed, num_levels=num_levels, start_level=start_level, distribution_mode=mode
    )


def thumbnail(frame):
    """Means of 16 x 16 pixels: (4, 4, 3)."""
    return frame.reshape(4, 16, 4, 16, 3).mean((1, 3)).round(2).tolist()


def trajectory(game, context):
    env = make(game, *context)
    found = {
        "context": context,
        "levels": [int(env.get_info()[0]["level_seed"])],
        "rewards": [],
        "ends": [],
        "frames": [],
    }
    for step, action in enumerate(np.random.RandomState(context[-1]).randint(15, size=STEPS)):
        if step % 100 == 0:
            found["frames"].append(thumbnail(env.observe()[1]["rgb"][0]))
        env.act(np.array([action]))
        reward, _, first = env.observe()
        if reward[0]:
            found["rewards"].append([step, float(reward[0])])
        if first[0]:
            found["ends"].append(step)
            found["levels"].append(int(env.get_info()[0]["level_seed"]))
    return found


def first_end_of_doing_nothing(game):
    """Steps of the first episode; None for more than ``LONGEST``."""
    env = make(game, 200, 0, "easy", 7)
    for step in range(LONGEST):
        env.act(np.array([NOTHING]))
        if env.observe()[2][0]:
            return step + 1
    return None


if __name__ == "__main__":
    found = {
        game: {
            "trajectories": [trajectory(game, context) for context in CONTEXTS],
            "nothing_ends_after": first_end_of_doing_nothing(game),
        }
        for game in GAMES
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
