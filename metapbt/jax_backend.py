"""JAX set up for a worker: on the CPU, with one thread, and with compiled functions kept on disk.

Every other module takes ``jax`` and ``jnp`` from here, so that nothing of JAX starts before that. Each
choice is an environment variable of JAX or XLA, and one that is set already stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["jax", "jnp"]

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metapbt" / "jax"

# A network of 64 units is too small for a GPU or for a second thread, and the other cores have members of their own.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PJRT_NPROC", "1")  # threads of XLA's pool; without the flag below, work would go through it
if "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
