"""The Ray that this process works with: one of its own on this machine, or a cluster that is there."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from metapbt.errors import MetapbtError, one_line, shown

_PATIENCE = 10.0  # seconds for a cluster to answer
_SETTINGS_OF_OUR_OWN = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it tells nobody about itself
    "RAY_process_group_cleanup_enabled": "1",  # what a worker started ends with it
}


def import_ray(needed_by: str) -> ModuleType:
    """Ray, which is an optional part.

    Args:
        needed_by: what of ours, for the error message.

    Raises:
        MetapbtError: it is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # as ever: no GPU for who asks for none
    try:
        import ray
    except ImportError as error:
        raise MetapbtError(f"{needed_by} needs Ray: pip install 'metapbt[ray]' ({one_line(error)})") from error
    module: ModuleType = ray
    return module


class Connection:
    """This process's connection to Ray, shared by all in it who want one.

    A Ray that was started for it ends with the last of them; a cluster that was there goes on without them, and a
    connection that the program had made before stays.
    """

    _lock = threading.Lock()
    _users = 0
    _was_there = False  # before the first of them
    _folder: str | None = None  # of a Ray of our own

    def __init__(self, address: str | None, needed_by: str, key: str) -> None:
        """Connect.

        Args:
            address: None for a Ray of this process's own, ``auto`` for the cluster that this machine is part of, or a
                cluster's ``host:port``. Where the program is connected already, that Ray is taken.
            needed_by: what of ours, for error messages.
            key: what the address is called there.

        Raises:
            MetapbtError: Ray is not installed, there is no such cluster, or it cannot be used from here.
        """
        self._ray = import_ray(needed_by)
        if address is not None and (not isinstance(address, str) or not address.strip() or "://" in address):
            raise MetapbtError(
                f"{key} must be auto or the host:port of a cluster that this machine is part of, or null for a Ray of "
                f"this machine's own, got {shown(address)}"
            )
        with Connection._lock:
            if not Connection._users:
                self._connect(address, needed_by, key)
            Connection._users += 1
        self._open = True

    def close(self) -> None:
        """Leave; once is enough."""
        with Connection._lock:
            if not self._open:
                return
            self._open = False
            Connection._users -= 1
            if Connection._users or Connection._was_there:
                return
            self._ray.shutdown()
            if Connection._folder is not None:
                shutil.rmtree(Connection._folder, ignore_errors=True)
                Connection._folder = None

    def _connect(self, address: str | None, needed_by: str, key: str) -> None:
        Connection._was_there = self._ray.is_initialized()
        if Connection._was_there:
            return
        where: dict[str, Any] = {"address": address and _reachable(address, key)}
        if address is None:
            # A folder of its own: in the usual one it would pass for the cluster that others look for. The names of its
            # sockets must not become longer than 107 characters.
            usual = tempfile.gettempdir()
            Connection._folder = tempfile.mkdtemp(prefix="metapbt-ray-", dir=usual if len(usual) <= 20 else "/tmp")
            where = {
                "address": "local",
                "num_cpus": len(os.sched_getaffinity(0)),
                "include_dashboard": False,
                "_temp_dir": Connection._folder,
            }
        try:
            with _signals_as_they_are(), _environment(_SETTINGS_OF_OUR_OWN if address is None else {}):
                self._ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
        except Exception as error:  # whatever Ray raises where it cannot be reached or started
            with suppress(Exception):
                self._ray.shutdown()
            if address is None:
                raise MetapbtError(f"{needed_by} cannot start a Ray here: {one_line(error)}") from error
            raise _unreachable(key, address, one_line(error)) from error


def _reachable(address: str, key: str) -> str:
    """The same, where somebody listens there; Ray itself would try for minutes, and say so again and again.

    Raises:
        MetapbtError: nobody does.
    """
    if address == "auto":
        with suppress(OSError):  # where Ray writes down what `ray start` started
            address = os.environ.get("RAY_ADDRESS") or Path("/tmp/ray/ray_current_cluster").read_text().strip()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return address
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(key, address, one_line(error)) from error
    return address


def _unreachable(key: str, address: str, why: str) -> MetapbtError:
    return MetapbtError(
        f"{key}: no Ray can be reached at {address} ({why}): start one by 'ray start --head', or choose {key}=null for "
        "a Ray of this machine's own"
    )


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Keep the program's own handler of SIGTERM, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for what is started here, where the user has not."""
    ours = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
