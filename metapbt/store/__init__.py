"""Where runs are kept: run directories, the journal, tables, and queries over many runs."""

from metapbt.store.results import RunInfo, find_runs, read_history, read_records
from metapbt.store.run_directory import RunDirectory, path_name, run_directory

__all__ = ["RunDirectory", "RunInfo", "find_runs", "path_name", "read_history", "read_records", "run_directory"]
