"""Settings of all tests."""

import os
from pathlib import Path

# As in worker processes; set before anything numerical is loaded, and inherited by every subprocess.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# Compiled functions of the tests stay out of the user's cache, and are there for the next tests.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
