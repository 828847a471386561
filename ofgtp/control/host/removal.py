"""Takes a gateway back off its host, with the controller stopped.

The order makes every failure repeatable: do it again, and what is done already is passed over.

1. Receive offloads of the ports: their former values are kept in OVSDB alone.
2. The rows in OVSDB. ovs-vswitchd takes the bridge down, and with its devices go their addresses,
   routes, neighbours and settings.
3. The veths by which the switch has had its ports, if it reads them by AF_XDP.
4. nftables last: while the bridge is there, the host's stack must not see what it reads.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from ofgtp.core.errors import GatewayNotReady, OfgtpError
from ofgtp.core.model import Gateway
from ofgtp.southbound import hostnet, netfilter, veths
from ofgtp.southbound.ovsdb import Ovsdb

GONE_S = 1.0
"""Longest wait for a deleted bridge's interface to go, in seconds, after ovs-vswitchd's answer."""


class ControllerRuns(OfgtpError):
    """Somebody listens, or may listen, where the gateway's controller does."""


@contextmanager
def controller_kept_out(gateways: Iterable[Gateway]) -> Iterator[None]:
    """Hold the addresses that the controller listens on, so that it neither runs nor starts.

    Raises:
        ControllerRuns: one of them cannot be held.
    """
    with ExitStack() as held:
        for target in dict.fromkeys(gateway.openflow for gateway in gateways):
            host, port = target.removeprefix("tcp:").rsplit(":", 1)
            listener = held.enter_context(socket.socket())
            # Without it, connections that the controller closed a minute ago would be in the way.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, int(port)))
                listener.listen(0)
            except OSError as error:
                raise ControllerRuns(
                    f"the controller seems to run ({target}: {error.strerror}): "
                    "stop it first (systemctl stop ofgtp)"
                ) from error
        yield


def take_back(gateway: Gateway) -> Iterator[str]:
    """Undo what was made for a gateway; one sentence for each thing done, as it is done.

    Raises:
        GatewayNotReady: what is in the way; all before it is done, the rest is not.
    """
    db = Ovsdb(gateway.ovsdb)
    try:
        facts = db.recall(gateway)
        for port in gateway.ports:
            kept = {k: v for name in gateway.names_of(port) for k, v in facts.get(name, {}).items()}
            settings = (*hostnet.OFFLOADS.values(), veths.PROMISCUOUS)
            former = {name: kept[name] for name in settings if name in kept}
            if former:
                _restore(gateway, port, former)
                yield f"{port}: {', '.join(f'{k} {v}' for k, v in former.items())} again"
        if db.remove(gateway):
            _await_gone(gateway)
            yield f"bridge {gateway.bridge} deleted, and with it its ports, addresses and routes"
    finally:
        db.close()
    if veths.remove(gateway):
        yield "veths deleted"
    if netfilter.remove(gateway):
        yield "nftables tables deleted"


def _restore(gateway: Gateway, port: str, former: dict[str, str]) -> None:
    if not hostnet.exists(port):
        # Its former values would go with the rows. Perhaps this is another network namespace.
        raise GatewayNotReady(
            f"bridge {gateway.bridge} has port {port}, which is not on this host: run this in the "
            f"switch's network namespace, or forget the port (ovs-vsctl del-port "
            f"{gateway.bridge} {port})"
        )
    veths.restore_promiscuous(port, former.get(veths.PROMISCUOUS, "on"))
    hostnet.restore_offloads(port, former)


def _await_gone(gateway: Gateway) -> None:
    deadline = time.monotonic() + GONE_S
    while hostnet.exists(gateway.bridge):
        if time.monotonic() > deadline:
            raise GatewayNotReady(
                f"bridge {gateway.bridge} is deleted in OVSDB, but its interface is still there: "
                "is ovs-vswitchd well? Then run this again"
            )
        time.sleep(0.05)
