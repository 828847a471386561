"""The connection to ovsdb-server: its schema, its lock, and waiting for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from ovs import jsonrpc, stream
from ovs.db.idl import Idl, SchemaHelper
from ovs.poller import Poller

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import COLUMNS, Row

CONNECT_S = 2.0
"""Longest wait for ovsdb-server to answer."""


class Connection:
    """A connection to ovsdb-server and the copy of its database, used by one green thread.

    A lost connection is made anew by `connect`.
    """

    def __init__(self, remote: str, *, lock: str | None = None) -> None:
        """For `remote` and `lock` see `Ovsdb`; nothing is sent."""
        self.remote, self._lock = remote, None if lock is None else _identifier(lock)
        self.idl: Any = None
        """None without a connection."""
        self._seen: tuple[object, ...] = ()

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        if self.idl is not None:
            self.idl.close()
            self.idl = None

    @property
    def connected(self) -> bool:
        """Whether ovsdb-server was there when it was last looked at."""
        return self.idl is not None and self.idl._session.is_connected()

    def wait(self, timeout: float) -> bool:
        """Yield until the database changed since it was last looked at, or `timeout` s.

        Returns True when it changed, or the connection was lost or is back.
        """
        deadline = time.monotonic() + timeout
        if not self.connected:
            try:
                self.connect()
            except GatewayNotReady:
                block(lambda _poller: None, deadline)
                return False
            return True
        while True:
            self.run()
            if self._state() != self._seen:
                self.look()
                return True
            if not block(self.idl.wait, deadline):
                return False

    def connect(self) -> None:
        """Bring the connection and the copy of the database up to date, within CONNECT_S.

        Raises:
            GatewayNotReady: ovsdb-server does not answer, or is none of Open vSwitch's.
        """
        if self.idl is not None:
            self.run()
            if self.connected:
                self.look()
                return
            self.close()
        deadline = time.monotonic() + CONNECT_S
        helper = SchemaHelper(schema_json=_schema(self.remote, deadline))
        for table, columns in COLUMNS.items():
            helper.register_columns(table, columns)
        self.idl = Idl(self.remote, helper)
        while True:
            self.run()
            if self.idl.has_ever_connected():
                break
            if not block(self.idl.wait, deadline):
                self.close()
                raise GatewayNotReady(f"ovsdb-server at {self.remote} does not answer")
        if self._lock is not None:
            # not before: the answer would pass for the database's content
            self.idl.set_lock(self._lock)
        self.look()

    def await_lock(self, gateway: Gateway) -> None:
        """Return when the lock is ours, if there is to be one.

        Raises:
            GatewayNotReady: somebody else has it, or nothing is known of it within CONNECT_S.
        """
        deadline = time.monotonic() + CONNECT_S
        while self._lock is not None and not self.idl.has_lock:
            if self.idl.is_lock_contended or not block(self.idl.wait, deadline):
                raise GatewayNotReady(
                    f"another controller looks after bridge {gateway.bridge} (it holds the OVSDB "
                    f"lock {self._lock}): this one stands back"
                )
            self.run()

    def run(self) -> None:
        """Take in what has arrived, all of it (the IDL stops after 50 messages)."""
        before = None
        while before != (before := self.idl.change_seqno):
            self.idl.run()

    def _state(self) -> tuple[object, ...]:
        return self.connected, self.idl.change_seqno

    def look(self) -> None:
        """Take what there is for seen: `wait` is for what comes after it."""
        self._seen = self._state()

    def pause(self, deadline: float) -> None:
        """Let the connection do its work; raise when it is gone or the time is up."""
        on_time = block(self.idl.wait, deadline)
        self.idl.run()
        if not on_time or not self.connected:
            self.close()
            raise GatewayNotReady(f"ovsdb-server at {self.remote} did not answer a transaction")

    # its copy of the database

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, those that a transaction is making among them."""
        return list(self.idl.tables[table].rows.values())

    def root(self) -> Row:
        """The one row of table Open_vSwitch.

        Raises:
            GatewayNotReady: there is none.
        """
        rows = self.rows("Open_vSwitch")
        if not rows:
            raise GatewayNotReady(
                f"the database at {self.remote} is not initialised (ovs-vsctl --no-wait init)"
            )
        return rows[0]

    def find(self, table: str, name: str) -> Row:
        """The row of that name, None if there is none."""
        return next((row for row in self.rows(table) if row.name == name), None)


def _identifier(text: str) -> str:
    """An <id> of RFC 7047 (3.1), different for each text: letters, digits, underscores."""
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):x}_", text)


def block(wait: Callable[[Any], None], deadline: float) -> bool:
    """Yield until what `wait` waits for; False when the deadline has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    poller = Poller()
    poller.timer_wait(max(1, int(left * 1000)))
    wait(poller)
    poller.block()
    return True


def _schema(remote: str, deadline: float) -> Any:
    """Ask ovsdb-server for its schema: the IDL needs it, and it may be of another version."""
    left_ms = max(0, int((deadline - time.monotonic()) * 1000))
    error, connection = stream.Stream.open_block(stream.Stream.open(remote), left_ms)
    if error:
        raise GatewayNotReady(f"no ovsdb-server at {remote}: is openvswitch running?")
    rpc = jsonrpc.Connection(connection)
    try:
        request = jsonrpc.Message.create_request("get_schema", ["Open_vSwitch"])
        rpc.send(request)
        while True:
            rpc.run()
            error, message = rpc.recv()
            if message is not None and message.id == request.id:
                if message.type == jsonrpc.Message.T_ERROR:
                    raise GatewayNotReady(f"{remote} has no Open_vSwitch database")
                return message.result
            if rpc.get_status():
                raise GatewayNotReady(f"ovsdb-server at {remote} closed the connection")

            def ready(poller: Any) -> None:
                rpc.wait(poller)
                rpc.recv_wait(poller)

            if not block(ready, deadline):
                raise GatewayNotReady(f"ovsdb-server at {remote} does not answer")
    finally:
        rpc.close()
