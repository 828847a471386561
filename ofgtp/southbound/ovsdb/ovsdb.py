"""The gateway's part of OVSDB: made, read back, remembered, removed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway
from ofgtp.core.rules.terms import longest_headers
from ofgtp.southbound import hostnet
from ofgtp.southbound.ovsdb.bridge import delete_bridge, describe_bridge, discard_port
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.controller import stand_back
from ofgtp.southbound.ovsdb.memory import recall, remember
from ofgtp.southbound.ovsdb.ports import derived_macs
from ofgtp.southbound.ovsdb.readback import OWED, BridgeFacts, carried_out, read_back
from ofgtp.southbound.ovsdb.transaction import Edit, transact

log = logging.getLogger(__name__)


class Ovsdb:
    """One connection to ovsdb-server, used by one green thread.

    Every call may raise GatewayNotReady: no server, no ovs-vswitchd, or a configuration that
    cannot be. A lost connection is made anew by the next call.
    """

    def __init__(self, remote: str, *, lock: str | None = None) -> None:
        """`remote` is an active OVSDB connection method such as `unix:/path`; nothing is sent.

        With a `lock`, changes are made only while this connection holds the OVSDB lock of that
        name (RFC 7047, 4.1.8): two controllers on one bridge must not fight.
        """
        self._db = Connection(remote, lock=lock)
        self.changes = 0
        """How often `ensure` has changed something."""
        self.opened = 0
        """How often it has had ports opened."""
        self._introduced = False
        """Whether the switch has been given this process as its controller."""

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        self._db.close()

    @property
    def connected(self) -> bool:
        """Whether ovsdb-server was there when it was last looked at."""
        return self._db.connected

    def wait(self, timeout: float) -> bool:
        """Yield until the database changed since the last call of any method, or `timeout` s.

        Returns True when it changed, or the connection was lost or is back.
        """
        return self._db.wait(timeout)

    def ensure(self, gateway: Gateway, *, nonce: str) -> BridgeFacts:
        """Make the gateway's bridge, ports and controller what they should be; touch no more.

        `nonce` becomes the datapath description, so that a switch that connects by OpenFlow can
        be told from one that merely claims the datapath id. When nothing differs, nothing is
        written.

        Raises:
            GatewayNotReady: what is missing or in the way, and what to do about it.
        """
        access_mac, access_mtu = hostnet.mac(gateway.access_port), hostnet.mtu(gateway.access_port)
        local_mac, core_mac = derived_macs(access_mac)
        if not gateway.host_core:
            core_mac = hostnet.mac(gateway.core_port)
        macs = {
            gateway.bridge: local_mac,
            **dict.fromkeys(gateway.access_ends, access_mac),
            **dict.fromkeys(gateway.core_ends, core_mac),
        }
        numbers = {port: hostnet.ifindex(port) for port in gateway.switch_ports}
        self._db.connect()
        stand_back(self._db, gateway)
        mtu = access_mtu - longest_headers(gateway)

        adds = False

        def describe(edit: Edit) -> None:
            nonlocal adds
            adds = describe_bridge(
                edit, self._db, gateway, nonce, macs, numbers, mtu, introduced=self._introduced
            )

        if transact(self._db, gateway, describe):
            self.changes += 1
            self.opened += adds
            log.info("gateway=%s bridge=%s: configured in OVSDB", gateway.name, gateway.bridge)
        self._introduced = True
        return read_back(self._db, gateway, macs)

    def catch_up(self, gateway: Gateway) -> None:
        """Have ovs-vswitchd carry out all that it owes.

        Raises:
            GatewayNotReady: it does not, within COMMIT_S.
        """
        self._db.connect()
        stand_back(self._db, gateway)
        self.stir(gateway)
        if not carried_out(self._db):
            raise GatewayNotReady(OWED)

    def take_out(self, gateway: Gateway, name: str) -> None:
        """Take one of our ports out of the bridge; by the bridge's own name, all of the bridge.

        Returns when ovs-vswitchd has done it, so that `ensure` has it opened anew: for a port that
        is only described anew nothing is opened.

        Raises:
            GatewayNotReady: it has not, within COMMIT_S.
        """
        self._db.connect()
        stand_back(self._db, gateway)

        changed = transact(
            self._db, gateway, lambda edit: discard_port(edit, self._db, gateway, name)
        )
        if changed and not carried_out(self._db):
            raise GatewayNotReady(OWED)

    def stir(self, gateway: Gateway) -> None:
        """Have ovs-vswitchd look at its connections, by asking it for nothing.

        What becomes of a connection that is not up yet it sees only when it wakes for something
        else, which may take it half a second.
        """

        def touch(edit: Edit) -> None:
            root = self._db.root()
            root.verify("next_cfg")
            edit.set(root, next_cfg=root.next_cfg + 1)

        transact(self._db, gateway, touch)

    def remove(self, gateway: Gateway) -> bool:
        """Delete the bridge and all we made with it; False if there is none of ours.

        Returns when ovs-vswitchd has done it, or after COMMIT_S: it may be down.

        Raises:
            GatewayNotReady: the bridge holds a port that is not ours.
        """
        self._db.connect()
        if not transact(self._db, gateway, lambda edit: delete_bridge(edit, self._db, gateway)):
            return False
        log.info("gateway=%s bridge=%s: removed from OVSDB", gateway.name, gateway.bridge)
        if not carried_out(self._db):
            log.warning(
                "gateway=%s: ovs-vswitchd has not removed the bridge yet: is it running?",
                gateway.name,
            )
        return True

    def remember(self, gateway: Gateway, port: str, facts: Mapping[str, str]) -> None:
        """Keep small facts about one of our ports in OVSDB, beside those kept before. Those about
        an interface of the host are kept with the first port by which the bridge has it.

        Raises:
            GatewayNotReady: the port is not one of this gateway's.
        """
        self._db.connect()
        transact(self._db, gateway, lambda edit: remember(edit, self._db, gateway, port, facts))

    def recall(self, gateway: Gateway) -> dict[str, dict[str, str]]:
        """Our ports in the gateway's bridge, each with the facts kept about it."""
        self._db.connect()
        return recall(self._db, gateway)
