"""A transaction: what is written in it, and its commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ovs.db.idl import Transaction

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.connection import Connection

COMMIT_S = 5.0
"""Longest wait for a transaction, and again for ovs-vswitchd to carry it out."""


class Edit:
    """Writes to one transaction, and only what differs from what is there."""

    def __init__(self, txn: Any, idl: Any) -> None:
        self._txn, self._idl = txn, idl
        self._new: list[Row] = []
        self.changed = False

    def insert(self, table: str, **columns: object) -> Row:
        """Make a row with these columns."""
        row = self._txn.insert(self._idl.tables[table])
        self._new.append(row)
        for column, value in columns.items():
            setattr(row, column, value)
        self.changed = True
        return row

    def get(self, row: Row, column: str, default: Any) -> Any:
        """A column's value; the default in a row that this transaction makes."""
        return default if row in self._new else getattr(row, column)

    def set(self, row: Row, **columns: object) -> None:
        """Set columns; a value stands for an optional column's one element."""
        for column, value in columns.items():
            present = self.get(row, column, None)
            if present != value and present != [value]:
                setattr(row, column, value)
                self.changed = True

    def merge(self, row: Row, column: str, entries: dict[str, str]) -> None:
        """Set entries of a map, leaving its others."""
        if row in self._new:
            setattr(row, column, entries)
            return
        present = getattr(row, column)
        for key, value in entries.items():
            if present.get(key) != value:
                row.setkey(column, key, value)
                self.changed = True

    def drop(self, row: Row, column: str, key: str) -> None:
        """Take an entry out of a map."""
        if key in getattr(row, column):
            row.delkey(column, key)
            self.changed = True

    def add(self, row: Row, column: str, child: Row) -> None:
        """Put a child in a set, whatever else others put there meanwhile."""
        if row in self._new:
            setattr(row, column, [*getattr(row, column, []), child])
        else:
            row.addvalue(column, child)
        self.changed = True

    def discard(self, row: Row, column: str, child: Row) -> None:
        """Take a child out of a set; the database deletes rows that nothing refers to."""
        row.delvalue(column, child)
        self.changed = True


def transact(db: Connection, gateway: Gateway, describe: Callable[[Edit], None]) -> bool:
    """Commit what `describe` writes, in one transaction; False if it wrote nothing."""
    deadline = time.monotonic() + COMMIT_S
    while True:
        idl = db.idl
        before = idl.change_seqno
        txn = Transaction(idl)
        edit = Edit(txn, idl)
        try:
            describe(edit)
            if not edit.changed:
                return False
            txn.add_comment(f"ofgtp: gateway {gateway.name}")
            db.root().increment("next_cfg")
            status = _commit(db, txn, deadline)
        finally:
            if idl.txn is txn:
                txn.abort()
        if status == Transaction.SUCCESS:
            db.look()
            return True
        if status != Transaction.TRY_AGAIN:
            raise GatewayNotReady(f"ovsdb-server refused the change: {txn.get_error()}")
        while idl.change_seqno == before:
            db.pause(deadline)


def _commit(db: Connection, txn: Any, deadline: float) -> str:
    while (status := txn.commit()) == Transaction.INCOMPLETE:
        db.pause(deadline)
    return str(status)
