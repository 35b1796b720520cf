"""The commands that use what a run trained: ``metapbt replay``, ``evaluate``, ``video`` and ``export``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metapbt.runs.agent import Agent


def add_agent(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands, made by ``command(name, function, summary)``."""
    replay = command("replay", _replay, "train one fresh agent on the hyperparameter schedule of a run's best member")
    replay.add_argument("run", type=Path, metavar="RUN_DIR", help="the directory of a run")
    replay.add_argument(
        "--seed",
        type=int,
        help="seed of the fresh agent (default: the run's number; its random draws differ from the run's even then)",
    )
    replay.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RUN_DIR/replay)")

    def agents(made: argparse.ArgumentParser, examples: str) -> argparse.ArgumentParser:
        """Add what commands share that let a run's best agent act."""
        made.formatter_class, made.epilog = argparse.RawDescriptionHelpFormatter, f"examples:\n{examples}"
        made.add_argument("run", type=Path, metavar="RUN_DIR", help="the directory of a run")
        made.add_argument(
            "context", nargs="*", metavar="context.FEATURE=VALUE", help="features that differ from the run's"
        )
        made.add_argument(
            "--seed",
            type=int,
            help="seed of the first episode; the others count up from it (default: the run's test episodes)",
        )
        made.add_argument(
            "--levels",
            choices=["train", "validation", "test"],
            default="test",
            help="which levels the agent plays, for runs with held-out levels such as Procgen's (default: test)",
        )
        made.add_argument(
            "--sampled",
            action=argparse.BooleanOptionalAction,
            help="draw actions from the policy, or take the most likely ones (default: as the run evaluates)",
        )
        return made

    evaluate = agents(
        command("evaluate", _evaluate, "evaluate a run's best agent, in the run's own context or in another"),
        "  metapbt evaluate results/lunar_lander/default/pb2/seed_0\n"
        "  metapbt evaluate results/lunar_lander/default/pb2/seed_0 context.gravity_y=-5 --episodes 20 --json",
    )
    evaluate.add_argument("--episodes", type=int, help="how many (default: as many as the run was tested on)")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object, each episode's return in it")

    video = agents(
        command("video", _video, "write a video of a run's best agent"),
        "  metapbt video results/lunar_lander/default/pb2/seed_0\n"
        "  metapbt video results/lunar_lander/default/pb2/seed_0 --to lander.webp --episodes 3\n"
        "  metapbt video results/lunar_lander/default/pb2/seed_0 context.gravity_y=-5 --to moon.gif\n"
        "  metapbt video results/procgen/game=starpilot/pb2/seed_0 --to game.webp --levels train --sampled --steps 90",
    )
    video.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="ending in .mp4 (pip install 'metapbt[video]'), .gif or .webp (default: RUN_DIR/video.mp4, where the "
        "report's page finds it, or video.gif where MP4 cannot be written)",
    )
    video.add_argument("--episodes", type=int, default=1, help="how many, one after another (default: 1)")
    video.add_argument("--fps", type=float, help="frames per second (default: as the environment says)")
    video.add_argument("--steps", type=int, default=10_000, help="maximum steps per episode (default: 10000)")

    export = command("export", _export, "write a run's best agent, or its hyperparameter schedule, for other programs")
    export.formatter_class, export.epilog = argparse.RawDescriptionHelpFormatter, _EXPORTS
    export.add_argument("run", type=Path, metavar="RUN_DIR", help="the directory of a run")
    export.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE",
        help="ending in .onnx (pip install 'metapbt[onnx]'), .pt2 (torch.export), .pt (TorchScript), or .yaml "
        "(the schedule)",
    )


_EXPORTS = """\
examples:
  metapbt export results/lunar_lander/default/pb2/seed_0 --to policy.onnx
  metapbt export results/lunar_lander/default/pb2/seed_0 --to policy.pt2
  metapbt export results/lunar_lander/default/pb2/seed_0 --to schedule.yaml

A policy takes a batch of observations in the environment's format and returns the most likely actions, in the format
that the environment takes, and logits or means. Each file is read back and compared with metapbt's own policy on 1,000
observations."""


def _replay(parsed: argparse.Namespace) -> int:
    from metapbt.runs.replay import replay

    print(replay(parsed.run, parsed.seed, parsed.out).comparison)
    return 0


def _evaluate(parsed: argparse.Namespace) -> int:
    import json

    found = _agent(parsed).evaluate(parsed.episodes)
    print(json.dumps(found.to_dict()) if parsed.json else found)
    return 0


def _video(parsed: argparse.Namespace) -> int:
    from metapbt.runs.video import write_video

    print(write_video(_agent(parsed), parsed.to, parsed.episodes, parsed.fps, parsed.steps))
    return 0


def _export(parsed: argparse.Namespace) -> int:
    from metapbt.runs.run import load

    print(load(parsed.run).export(parsed.to))
    return 0


def _agent(parsed: argparse.Namespace) -> Agent:
    from metapbt.overrides import features_of
    from metapbt.runs.run import load

    return load(parsed.run).agent(features_of(parsed.context), parsed.sampled, parsed.seed, parsed.levels)
