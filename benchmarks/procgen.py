"""learner=drac on Procgen: steps a second beside the published learner's formula, frames a second, memory of a rollout.

    python benchmarks/procgen.py                                # all three, about ten minutes
    python benchmarks/procgen.py speed --networks nature_small --augmentations crop color-jitter --repeats 5
    python benchmarks/procgen.py speed --device cuda            # rollouts of 64 x 256 steps, as published
    python benchmarks/procgen.py frames
    python benchmarks/procgen.py memory

**speed**: rollouts and updates of both learners in one process with one thread, in turns; what counts is CPU time, the
environment's included. The peer is the published learner's formula (Raileanu et al., 2021) as one would write it down
in PyTorch: a rollout of floats, log-probabilities and values of a minibatch, a third pass of the network for the action
that the augmented policy is to take, one pass of each for the whole minibatch, PyTorch's plain Adam, and the
augmentations picture by picture. Network, memory layout, initial weights, threads, environments, rollout and minibatch
are the same. On a GPU the wall-clock time counts, and the peer's rollout lies there, as published.

**frames**: random actions in ``make_batch("procgen", ...)`` beside a bare loop over EnvPool, in which the reset of an
episode takes the place of a step and is not counted.

**memory**: of a rollout of 64 x 256 steps, as published: the arrays that are kept, and how much the process grows.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from metapbt.envs.batches import make_batch
from metapbt.learners.devices import torch_device
from metapbt.learners.drac.actions import Discrete
from metapbt.learners.drac.augmentations import AUGMENTATIONS
from metapbt.learners.drac.learned import adam
from metapbt.learners.drac.learner import REWARD_GAMMA
from metapbt.learners.drac.loss import Coefficients
from metapbt.learners.drac.network import ActorCritic, Architecture
from metapbt.learners.drac.rollout import Runner, Seer
from metapbt.learners.drac.update import Draws, Settings, samples_of, update
from metapbt.learners.normalise import RewardNormaliser, RunningMoments
from metapbt.seeding import episode_seed

GAME = {"game": "starpilot"}
N_ENVS, MINIBATCHES, GAMMA, GAE_LAMBDA, CLIP, LEARNING_RATE, MAX_GRAD_NORM = 64, 8, 0.999, 0.95, 0.2, 5e-4, 0.5
COEFFICIENTS = Coefficients(clip_range=CLIP, ent_coef=0.01, vf_coef=0.5, aug_coef=0.1)
EPSILON = 1e-5
#: Steps of each environment in a rollout, and epochs: as published but for IMPALA's rollout, a sixteenth of whose
#: takes minutes already.
SIZES = {"impala": (16, 3), "nature": (128, 1), "nature_small": (128, 1)}
#: On a GPU, as published.
STEPS_ON_GPU = 256


class Ours:
    """Rollouts and updates as ``learner=drac`` makes them."""

    def __init__(self, network: ActorCritic, n_steps: int, n_epochs: int, aug_type: str) -> None:
        self.network, self.actions = network, Discrete(15)
        self.device = next(network.parameters()).device
        self.optimiser = adam(network, LEARNING_RATE, None)
        rewards = RewardNormaliser(RunningMoments(()), np.zeros(N_ENVS), REWARD_GAMMA)
        envs, seeds = make_batch("procgen", GAME, N_ENVS), partial(episode_seed, 0)
        self.runner = Runner(envs, seeds, np.random.default_rng(0), rewards, GAMMA, n_steps, None)
        self.settings = Settings(
            self.actions,
            MINIBATCHES,
            n_epochs,
            COEFFICIENTS,
            MAX_GRAD_NORM,
            AUGMENTATIONS[aug_type],
            exact=False,
            normalise="rollout",
        )
        rngs = np.random.default_rng(1), np.random.default_rng(2)
        self.draws = Draws(*rngs, torch.Generator().manual_seed(3))

    def train(self) -> None:
        rollout = self.runner.collect(Seer(self.network, self.actions))
        samples = samples_of(rollout, GAMMA, GAE_LAMBDA, True, self.device)
        observations = torch.from_numpy(rollout.observations).flatten(0, 1).to(self.device)
        update(self.network, self.optimiser, observations, samples, self.settings, self.draws)


class Published:
    """The published learner's formula, written down plainly."""

    def __init__(self, network: ActorCritic, n_steps: int, n_epochs: int, aug_type: str) -> None:
        self.network, self.n_steps, self.n_epochs = network, n_steps, n_epochs
        self.device = next(network.parameters()).device
        self.optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, eps=EPSILON)
        self.envs = make_batch("procgen", GAME, N_ENVS)
        self.observations = self.seen(self.envs.reset(partial(episode_seed, 0)))
        self.rewards = RewardNormaliser(RunningMoments(()), np.zeros(N_ENVS), REWARD_GAMMA)
        self.augment = PLAIN[aug_type]

    def seen(self, frames: Any) -> torch.Tensor:
        pictures = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 255
        return pictures.contiguous(memory_format=torch.channels_last)

    def act(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits, values = self.network(observations)
        distribution = torch.distributions.Categorical(logits=logits)
        actions = distribution.sample()
        return values, actions, distribution.log_prob(actions)

    def train(self) -> None:
        shape, device = (self.n_steps, N_ENVS), self.device
        frames = torch.zeros(*shape, 64, 64, 3, device=device).permute(0, 1, 4, 2, 3)
        actions = torch.zeros(shape, dtype=torch.int64, device=device)
        log_probs, values, rewards, masks = (torch.zeros(shape, device=device) for _ in range(4))
        for t in range(self.n_steps):
            frames[t] = self.observations
            with torch.no_grad():
                values[t], actions[t], log_probs[t] = self.act(frames[t])
            step = self.envs.step(actions[t].cpu().numpy())
            done = step.terminated | step.truncated
            rewards[t] = torch.from_numpy(np.asarray(self.rewards.see(step.rewards, done)))
            masks[t] = torch.from_numpy(1.0 - done)
            self.observations = self.seen(step.observations)
        with torch.no_grad():
            next_values = self.network(self.observations)[1]
        returns, advantage = torch.zeros(shape, device=device), torch.zeros(N_ENVS, device=device)
        for t in reversed(range(self.n_steps)):
            error = rewards[t] + GAMMA * next_values * masks[t] - values[t]
            advantage = error + GAMMA * GAE_LAMBDA * masks[t] * advantage
            returns[t], next_values = advantage + values[t], values[t]
        advantages = returns - values
        advantages = (advantages - advantages.mean()) / (advantages.std() + EPSILON)

        flat = [each.flatten(0, 1) for each in (frames, actions, log_probs, values, returns, advantages)]
        size = len(flat[0]) // MINIBATCHES
        for _ in range(self.n_epochs):
            for rows in torch.randperm(len(flat[0]), device=device).split(size):
                self.learn(*(each[rows] for each in flat))

    def learn(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        old_log_probs: torch.Tensor,
        old_values: torch.Tensor,
        returns: torch.Tensor,
        advantages: torch.Tensor,
    ) -> None:
        logits, values = self.network(observations)
        distribution = torch.distributions.Categorical(logits=logits)
        ratio = torch.exp(distribution.log_prob(actions) - old_log_probs)
        clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP) * advantages
        policy_loss = -torch.min(ratio * advantages, clipped).mean()
        near = old_values + (values - old_values).clamp(-CLIP, CLIP)
        value_loss = 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).mean()

        augmented = self.augment(observations)
        with torch.no_grad():
            _, drawn, _ = self.act(observations)
        logits_augmented, values_augmented = self.network(augmented)
        aug_policy = -torch.distributions.Categorical(logits=logits_augmented).log_prob(drawn).mean()
        aug_value = 0.5 * (values.detach() - values_augmented).pow(2).mean()

        loss = COEFFICIENTS.vf_coef * value_loss + policy_loss - COEFFICIENTS.ent_coef * distribution.entropy().mean()
        self.optimiser.zero_grad()
        (loss + COEFFICIENTS.aug_coef * (aug_policy + aug_value)).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRAD_NORM)
        self.optimiser.step()


def plain_crop(images: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(images, (12,) * 4, mode="replicate")
    offsets = torch.randint(25, (len(images), 2)).tolist()
    return torch.stack([padded[i, :, y : y + 64, x : x + 64] for i, (y, x) in enumerate(offsets)]).contiguous(
        memory_format=torch.channels_last
    )


def plain_random_convolution(images: torch.Tensor) -> torch.Tensor:
    changed = []
    for image in images:
        kernel = torch.nn.init.xavier_normal_(torch.empty(3, 3, 3, 3, device=images.device))
        changed.append(functional.conv2d(image[None], kernel, padding=1))
    return torch.cat(changed)


def plain_cutout(images: torch.Tensor) -> torch.Tensor:
    changed = images.clone()
    for i, (h, w) in enumerate(torch.randint(7, 22, (len(images), 2)).tolist()):
        changed[i, :, 12 + h : 12 + 2 * h, 24 + w : 24 + 2 * w] = 0
    return changed


def plain_color_jitter(images: torch.Tensor) -> torch.Tensor:
    def contrast(pictures: torch.Tensor) -> torch.Tensor:
        means = pictures.mean(dim=(2, 3), keepdim=True)
        return torch.clamp((pictures - means) * factor(0.6, 1.4) + means, 0, 1)

    def factor(low: float, high: float) -> torch.Tensor:
        return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)

    def hsv(pictures: torch.Tensor) -> torch.Tensor:
        red, green, blue = (pictures[:, i : i + 1] for i in range(3))
        value, lowest = pictures.max(dim=1, keepdim=True)[0], pictures.min(dim=1, keepdim=True)[0]
        chroma = value - lowest
        hue = torch.zeros_like(value)
        for largest, formula in (
            (red, (green - blue) / (chroma + 1e-8) % 6),
            (green, (blue - red) / (chroma + 1e-8) + 2),
            (blue, (red - green) / (chroma + 1e-8) + 4),
        ):
            hue[value == largest] = formula[value == largest]
        hue = (hue / 6 + factor(-0.5, 0.5) * 255 / 360) % 1
        saturation = torch.clamp(chroma / (value + 1e-8) * factor(0.6, 1.4), 0, 1)
        value = torch.clamp(value * factor(0.6, 1.4), 0, 1)
        k = (torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1) + hue * 6) % 6
        wave = torch.clamp(torch.min(k, 4 - k), 0, 1)
        return torch.clamp(value - value * saturation * wave, 0, 1)

    changed = hsv(contrast(images)) if np.random.default_rng().random() < 0.5 else contrast(hsv(images))
    return changed.contiguous(memory_format=torch.channels_last)


PLAIN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "crop": plain_crop,
    "random-conv": plain_random_convolution,
    "cutout": plain_cutout,
    "color-jitter": plain_color_jitter,
}


def speed(arguments: argparse.Namespace, console: Console) -> None:
    device = torch_device(arguments.device)
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    table = Table(
        "network",
        "epochs",
        "minibatch",
        "aug_type",
        "drac",
        "published formula",
        "ratio",
        title="steps/s, " + torch.cuda.get_device_name(device) if on_gpu else "steps/CPU-s",
    )
    for name in arguments.networks:
        n_steps, n_epochs = SIZES[name]
        if on_gpu:
            n_steps = STEPS_ON_GPU
        for aug_type in arguments.augmentations:
            learners = [
                kind(
                    Architecture(name, (3, 64, 64), Discrete(15)).build(np.random.default_rng(0)).to(device),
                    n_steps,
                    n_epochs,
                    aug_type,
                )
                for kind in (Ours, Published)
            ]
            seconds: list[list[float]] = [[], []]
            for repeat in range(arguments.repeats + 1):  # the first one warms up
                for of_one, learner in zip(seconds, learners, strict=True):
                    began = clock()
                    learner.train()
                    if on_gpu:
                        torch.cuda.synchronize(device)
                    of_one += [clock() - began] if repeat else []
            steps = N_ENVS * n_steps
            ours, published = (steps / float(np.median(of_one)) for of_one in seconds)
            ratio = f"{ours / published:.2f}"
            minibatch = str(steps // MINIBATCHES)
            table.add_row(name, str(n_epochs), minibatch, aug_type, f"{ours:,.0f}", f"{published:,.0f}", ratio)
            console.print(f"{name} {aug_type}: {ours:,.0f} beside {published:,.0f}, {ratio} times")
    console.print(table)


def frames(arguments: argparse.Namespace, console: Console) -> None:
    import envpool

    table = Table("game", "make_batch", "EnvPool, bare", "ratio", title=f"frames/CPU-s, {N_ENVS} environments")
    rng = np.random.default_rng(0)
    actions = rng.integers(15, size=(256, N_ENVS)).astype(np.int32)
    for game in arguments.games:
        batch = make_batch("procgen", {"game": game}, N_ENVS)
        batch.reset(partial(episode_seed, 0))
        bare: Any = envpool.make(
            f"{game.title()}Easy-v0",
            env_type="gymnasium",
            num_envs=N_ENVS,
            num_threads=1,
            seed=0,
            channel_first=False,
            num_levels=200,
            start_level=0,
        )
        bare.reset()
        # A step in which an episode is reset leads nowhere.
        resets = sum(int((step[2] | step[3]).sum()) for step in map(bare.step, actions))
        seconds: list[list[float]] = [[], []]
        for repeat in range(3 * arguments.repeats + 1):
            for of_one, step in zip(seconds, (batch.step, bare.step), strict=True):
                began = time.process_time()
                for chosen in actions:
                    step(chosen)
                of_one += [time.process_time() - began] if repeat else []
        counts = (actions.size, actions.size - resets)
        ours, theirs = (count / float(np.median(of_one)) for count, of_one in zip(counts, seconds, strict=True))
        table.add_row(game, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}")
        batch.close()
        bare.close()
    console.print(table)


def memory(arguments: argparse.Namespace, console: Console) -> None:
    architecture = Architecture("nature_small", (3, 64, 64), Discrete(15))
    seer = Seer(architecture.build(np.random.default_rng(0)), architecture.actions)
    envs, rng = make_batch("procgen", GAME, N_ENVS), np.random.default_rng(0)
    rewards = RewardNormaliser(RunningMoments(()), np.zeros(N_ENVS), REWARD_GAMMA)
    Runner(envs, partial(episode_seed, 0), rng, rewards, GAMMA, 2, None).collect(seer)  # what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rollout = Runner(envs, partial(episode_seed, 0), rng, rewards, GAMMA, 256, None).collect(seer)
    samples = samples_of(rollout, GAMMA, GAE_LAMBDA, True, torch.device("cpu"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    kept = (sum(array.nbytes for array in rollout) + sum(each.nbytes for each in samples)) / 1e6
    console.print(f"a rollout of {N_ENVS} x 256 steps: {kept:.0f} MB of arrays, the process grows by {grown:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="?", choices=["speed", "frames", "memory"], help="one of them; all where left out"
    )
    parser.add_argument("--networks", nargs="+", choices=list(SIZES), default=["nature_small", "impala"])
    parser.add_argument("--augmentations", nargs="+", choices=list(PLAIN), default=["crop", "color-jitter"])
    parser.add_argument("--device", default="cpu", help="of both learners' networks, for speed (cpu)")
    parser.add_argument("--games", nargs="+", default=["bigfish", "starpilot", "coinrun"])
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts (3)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    for measure in (memory, frames, speed):  # memory first: what a process once had it keeps
        if arguments.what in (None, measure.__name__):
            measure(arguments, console)


if __name__ == "__main__":
    main()
