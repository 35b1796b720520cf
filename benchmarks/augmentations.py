"""Draws docs/images/augmentations.png: what each augmentation of learner=drac makes of a Procgen frame.

    python benchmarks/augmentations.py [--game starpilot] [--seed 0] [--out docs/images/augmentations.png]

Beside the original stands the first draw of each augmentation that changes it, as a minibatch would get it. Needs the
extra ``procgen``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import metapbt
from metapbt.learners.drac.augmentations import AUGMENTATIONS, augmentation_called

STEPS = 60  # of a random policy, after which there is something to be seen
TIMES = 3  # as large as the agent sees it
GAP, HEADING = 12, 22  # pixels
SHOWN = [name for name, each in AUGMENTATIONS.items() if name != "identity" and each.sees != "vectors"]


def frame(game: str, seed: int) -> NDArray[np.uint8]:
    """What an agent sees in the midst of an episode, (64, 64, 3)."""
    env = metapbt.make_env("procgen", game=game)
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    for _ in range(STEPS):
        observation, _, terminated, *_ = env.step(env.action_space.sample())
        if terminated:
            observation, _ = env.reset()
    seen: NDArray[np.uint8] = observation.copy()
    env.close()
    return seen


def augmented(seen: NDArray[np.uint8], name: str, seed: int) -> NDArray[np.uint8]:
    """The first draw that changes the picture; what leaves the range from 0 to 1 is cut off for the eye."""
    augmentation = augmentation_called(name)
    picture = (
        torch.from_numpy(seen).permute(2, 0, 1)[None].float().div(255).contiguous(memory_format=torch.channels_last)
    )
    generator = torch.Generator().manual_seed(seed)
    changed = picture
    while torch.equal(changed, picture):
        changed = augmentation.apply(picture, *augmentation.draw(1, generator))
    return (changed[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def drawn(panels: dict[str, NDArray[np.uint8]], columns: int) -> Image.Image:
    """All of them with their names, in a grid."""
    side = TIMES * next(iter(panels.values())).shape[0]
    rows = -(-len(panels) // columns)
    size = columns * (side + GAP) + GAP, rows * (side + HEADING + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    write: Any = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(panels.items()):
        x, y = GAP + place % columns * (side + GAP), GAP + place // columns * (side + HEADING + GAP)
        write.text((x, y), name, fill="black", font=ImageFont.load_default(16))
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (x, y + HEADING))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="starpilot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/images/augmentations.png")
    asked = parser.parse_args()
    seen = frame(asked.game, asked.seed)
    panels = {"original": seen} | {name: augmented(seen, name, asked.seed) for name in SHOWN}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    drawn(panels, columns=3).save(asked.out, optimize=True)
    print(f"{asked.out}: {asked.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
