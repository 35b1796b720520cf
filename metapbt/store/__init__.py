"""Where runs are kept: run directories, records on disk, and queries over many runs."""

from metapbt.store.results import RunInfo, find_runs, read_records
from metapbt.store.run_directory import RunDirectory, context_label, run_directory

__all__ = ["RunDirectory", "RunInfo", "context_label", "find_runs", "read_records", "run_directory"]
