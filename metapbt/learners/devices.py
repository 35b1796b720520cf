"""Where PyTorch trains."""

from __future__ import annotations

from typing import Any

import torch

from metapbt.errors import MetapbtError


def torch_device(name: Any) -> torch.device:
    """The device that ``learner.device`` names, set up so that a GPU's convolutions are the same bits each time.

    That costs 1 to 3% of an update: unless told otherwise, cuDNN adds up gradients in whatever order its threads come
    to them.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ...; or ``auto``, a GPU where there is one.

    Raises:
        MetapbtError: there is no such device, where libraries would silently take the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise MetapbtError(f"learner.device must be cpu, cuda, cuda:<number> or auto, got {name!r}")
    count = torch.cuda.device_count() if device.type == "cuda" and torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise MetapbtError(f"learner.device={name}: torch sees {count or 'no'} CUDA device{'s' * (count != 1)}")
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    return device
