"""Settings of all tests."""

import os

# As in worker processes; set before anything numerical is loaded, and inherited by every subprocess.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
