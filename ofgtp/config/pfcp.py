"""`[gateway.pfcp]`, read."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Literal, get_args

from ofgtp.config.addresses import not_unicast
from ofgtp.config.table import Table
from ofgtp.core.model import Pfcp

OnPeerLost = Literal["keep", "remove"]

HEARTBEAT_SECONDS_MIN: Final = 5
HEARTBEAT_SECONDS_MAX: Final = 3_600

_FQDN: Final = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_-]{1,63}\.)*(?![0-9]+$)[A-Za-z0-9_-]{1,63}")
"""A name. Its last label is not all digits: what is so written is meant for an address."""

_INSTANCE: Final = re.compile(r"[!-~]{1,100}")


def pfcp_of(gateway: Table) -> Pfcp:
    """The section of a gateway that has one.

    Raises:
        ConfigError: something in it is wrong.
    """
    table = gateway.table("pfcp", Pfcp)
    listen = table.address("listen")
    if (what := not_unicast(IPv4Network(listen))) not in (None, "loopback"):
        raise table.error("listen", f"{listen} is no address of a host ({what})")
    table.get("peers", list)  # required
    peers = tuple(table.network("peers", text, index) for index, text in table.strings("peers"))
    if not peers:
        reason = "at least one prefix is needed: nobody else is answered"
        raise table.error("peers", reason)
    instances = []
    for index, text in table.strings("network_instances"):
        if not _INSTANCE.fullmatch(text):
            reason = f"{text!r} is no name of 1 to 100 visible ASCII characters"
            raise table.error("network_instances", reason, index)
        instances.append(text)
    return Pfcp(
        listen=listen,
        peers=peers,
        node_id=_node_id(table) or listen,
        on_peer_lost=table.choice("on_peer_lost", get_args(OnPeerLost)),
        heartbeat_seconds=table.whole(
            "heartbeat_seconds", 10, HEARTBEAT_SECONDS_MIN, HEARTBEAT_SECONDS_MAX
        ),
        network_instances=tuple(instances),
    )


def _node_id(table: Table) -> IPv4Address | str:
    """What the node calls itself; empty: nothing is said."""
    text = table.get("node_id", str, "")
    try:
        return IPv4Address(text)
    except ValueError as error:
        if text and not _FQDN.fullmatch(text):
            reason = f"{text!r} is neither an IPv4 address nor a name like upf.example.org"
            raise table.error("node_id", reason) from error
    return text
