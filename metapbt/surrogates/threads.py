"""Torch as models need it, whatever the program around them has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, and sums in another order would change the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deciding() -> Iterator[None]:
    """In one thread and with gradients, also inside ``torch.no_grad()``: decisions depend on seed and returns alone."""
    import torch

    with one_thread(), torch.inference_mode(False), torch.enable_grad():
        yield
