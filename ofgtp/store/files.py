"""The files of a session store: whose they are, and what becomes of them."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from ofgtp.core.errors import StoreError

PAGE = 4096
"""Octets of a page, SQLite's unit."""


def is_full(directory: Path) -> bool:
    """Whether there is no room for a page more: SQLite may call that a disk I/O error."""
    try:
        shown = os.statvfs(directory)
    except OSError:
        return False
    return shown.f_bavail * shown.f_frsize < PAGE or (shown.f_files > 0 and shown.f_favail == 0)


def claim(path: Path) -> int:
    """Keep other processes off a store as long as this one lives; a file descriptor.

    Raises:
        StoreError: another process has claimed it, or the directory cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(f"{path}: another controller uses this store") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return lock


def set_aside(path: Path, why: str) -> Path:
    """Rename a closed store, with its journal files, and return its new path.

    Raises:
        StoreError: it cannot be renamed.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            journal = path.with_name(path.name + suffix)
            if journal.exists():
                journal.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(f"{path}: cannot be set aside: {error.strerror}") from error
    return aside
