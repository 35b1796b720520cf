"""What tests of the store share."""

from pathlib import Path

import pytest
from finished_runs import make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs; whoever changes them works on a copy."""
    return make_study(tmp_path_factory.mktemp("study"))
