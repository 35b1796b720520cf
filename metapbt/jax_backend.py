"""JAX set up for a worker: on the CPU unless a GPU is asked for, with one thread, and with compiled functions on disk.

Every other module takes ``jax`` and ``jnp`` from here, so that nothing of JAX starts before that. Each
choice is an environment variable of JAX or XLA, and one that is set already stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from metapbt.errors import MetapbtError, unknown_name

__all__ = ["DEVICES", "device_for", "drop_programs", "jax", "jnp"]

#: ``auto`` is a GPU where JAX finds one.
DEVICES = ("auto", "cpu", "gpu")

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metapbt" / "jax"

_MAPPINGS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")

_asked = "JAX_PLATFORMS" in os.environ
# Several processes may share a GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# A network of 64 units is too small for a second thread, and the other cores have members of their own.
os.environ.setdefault("PJRT_NPROC", "1")  # threads of XLA's pool; without the flag below, work would go through it
if "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

if not _asked:  # one such network is too small for a GPU, which each process would take memory of
    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]


def device_for(name: str) -> jax.Device:
    """The device that is called ``auto``, ``cpu`` or ``gpu``; everything else of JAX stays on the CPU.

    Raises:
        MetapbtError: there is none, or JAX has begun without it: it looks for devices once in a process.
    """
    if name not in DEVICES:
        raise unknown_name("learner.device", name, DEVICES)
    if name != "cpu":
        if not _asked:
            # All that are there; without effect once JAX has begun.
            jax.config.update("jax_platforms", None)  # type: ignore[no-untyped-call]
        try:
            found = jax.devices("gpu")[0]
        except RuntimeError as error:
            if name == "gpu":
                raise MetapbtError("learner.device=gpu: JAX finds no GPU here (is jax[cuda13] installed?)") from error
        else:
            jax.config.update("jax_default_device", jax.devices("cpu")[0])  # type: ignore[no-untyped-call]
            # Left alone, GPUs multiply matrices with ten bits of each number, those of Brax's physics too.
            jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]
            return found
    return jax.devices("cpu")[0]


def drop_programs(share: float = 0.5) -> bool:
    """Let go of all compiled programs where they take much of what Linux lets a process map; returns whether they did.

    Each program for a CPU is some 200 mappings of memory, of which a process may have 65,530 unless told otherwise: a
    search of networks, or many runs one after another, would end in a crash within the compiler. What is needed again
    comes from the cache on disk.

    Args:
        share: of the limit, from which on they go.
    """
    try:
        limit = int(_MAPPINGS[1].read_text())
        if _MAPPINGS[0].read_bytes().count(b"\n") < share * limit:
            return False
    except (OSError, ValueError):  # another system, which has no such limit
        return False
    jax.clear_caches()  # type: ignore[no-untyped-call]
    return True
