"""The SQLite file of a session store: what it must be, its connections, and its write-ahead log.

Two connections: one writes, one reads. What is read outside a transaction is always what was last
committed, even while a long batch is half written. Write-ahead logging with `synchronous=NORMAL`
keeps every commit through a killed process; `FULL` adds an fsync per commit for power cuts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from ofgtp.core.errors import StoreDamaged, StoreError, StoreUnfit
from ofgtp.store.files import is_full
from ofgtp.store.rows import errors
from ofgtp.store.tables import APPLICATION_ID, MIGRATIONS, SCHEMA, SCHEMA_VERSION

log = logging.getLogger(__name__)

INSTANCE_ID = "instance_id"

LOG_PAGES = 4_000
"""Pages in the write-ahead log before they are folded into the file."""
COMMIT_PAGES, ROWS_A_PAGE = 7, 30
"""What a transaction writes there, about: so many pages, and one for so many rows."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_SECONDS = 1.0


class Database:
    """An SQLite file with the tables of a session store.

    Args:
        path: the file; it and its directory are made if missing (readable by the owner alone:
            session ids tend to be subscriber identities).
        durability: "normal" keeps every commit through a killed process, "full" through a power
            cut as well, at the price of an fsync per transaction.
        aside: runs what takes long, at once or in another system thread.
        pause: called again and again by who wants to write while that runs.

    Raises:
        StoreUnfit: the file is damaged, is no ofgtp store, or was written by a later version.
        StoreError: it cannot be made, read or written now.
    """

    writer: sqlite3.Connection
    reader: sqlite3.Connection

    def __init__(
        self,
        path: Path,
        durability: Literal["normal", "full"],
        aside: Callable[[Callable[[], None]], None],
        pause: Callable[[], None],
    ) -> None:
        self.path = path
        self._aside, self._pause = aside, pause
        self._logged, self._folding, self._not_folded = 0, False, ""
        self._open, self._transactions = False, 0
        self._connections: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        try:
            self.writer = self._connect()
            self._prepare(durability)
            self.reader = self._connect()
            self.reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            self.close()
            kind = StoreDamaged if error.sqlite_errorcode & 0xFF in _DAMAGE else StoreError
            why = "the disk is full" if is_full(path.parent) else str(error)
            raise kind(f"{path}: cannot be used as the session store: {why}") from error
        except StoreError:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connections.append(db)
        return db

    def _prepare(self, durability: Literal["normal", "full"]) -> None:
        """Check what the file is, make the tables in an empty one, and set the journal up."""
        db = self.writer
        version = db.execute("PRAGMA user_version").fetchone()[0]
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and owner != APPLICATION_ID:
            raise StoreUnfit(f"{self.path}: is another program's database")
        if version > SCHEMA_VERSION:
            raise StoreUnfit(
                f"{self.path}: has schema version {version}, this ofgtp knows {SCHEMA_VERSION}"
            )
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise StoreDamaged(f"{self.path}: is damaged: {damage}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        db.execute(f"PRAGMA journal_size_limit = {16 << 20}")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # `fold` does it
        # Or what each savepoint changes is first copied into a file.
        db.execute("PRAGMA temp_store = MEMORY")
        if empty:
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            self.set_meta(INSTANCE_ID, str(uuid.uuid4()))
        else:
            for older in range(version, SCHEMA_VERSION):
                step = f"{MIGRATIONS[older]} PRAGMA user_version = {older + 1};"
                db.executescript(f"BEGIN IMMEDIATE; {step} COMMIT;")

    def meta(self, key: str) -> str | None:
        """What stands under a key, None if nothing does."""
        row = self.reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write a value down under a key."""
        self.writer.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def try_to_write(self, key: str, value: str) -> None:
        """Write a value down, unless others write; StoreError if it cannot be written."""
        if self._open or self._folding:
            return
        with errors():
            self.set_meta(key, value)
        self._wrote(1)

    @property
    def quiet(self) -> int | None:
        """None while a transaction is open; else the same number until the next one is made."""
        return None if self._open else self._transactions

    @contextmanager
    def transaction(self, last: Callable[[int], None]) -> Iterator[None]:
        """Commit what is done in the block, or, if it raises, nothing of it. `last` is called
        before that is committed, with how many transactions have been made.

        Raises:
            StoreError: the file cannot be written, or another transaction is open.
        """
        if self._open:
            raise StoreError("the session store: another transaction is open")
        while self._folding:
            self._pause()
        db = self.writer
        with errors():
            db.execute("BEGIN IMMEDIATE")
        self._open, rows = True, db.total_changes
        try:
            yield
            with errors():
                self._transactions += 1
                last(self._transactions)
                db.execute("COMMIT")
        finally:
            self._open = False
            if db.in_transaction:
                with errors():
                    db.execute("ROLLBACK")
        self._wrote(COMMIT_PAGES + (db.total_changes - rows) // ROWS_A_PAGE)

    def _wrote(self, pages: int) -> None:
        """So many pages, about, have been added to the write-ahead log."""
        self._logged += pages
        if self._not_folded:
            log.warning(
                "%s: SQLite's write-ahead log is not written back into the file, and grows: %s",
                self.path,
                self._not_folded,
            )
            self._not_folded = ""
        if self._logged > LOG_PAGES and not self._folding:
            self._logged, self._folding = 0, True
            self._aside(self.fold)

    def fold(self) -> None:
        """Fold the write-ahead log into the file, and have it begin anew. It may take long, and
        has a connection of its own: readers go on meanwhile, and the writer waits. (If it did not,
        the log would never be folded to its end, and grow.)"""
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as db:
                if db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
                    self._not_folded = "it is being read"
        except sqlite3.Error as error:
            self._not_folded = str(error)  # this may be another system thread: it logs nothing
        finally:
            self._folding = False

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        for db in reversed(self._connections):
            db.close()
        self._connections.clear()
