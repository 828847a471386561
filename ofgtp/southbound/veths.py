"""The ways between the host's interfaces and a bridge that reads its ports by AF_XDP.

Each is a pair of veths (see `ofgtp.core.model.VethPair`). What comes in by the interface is handed
to one of them, and what comes out of it to the interface, by nftables
(`ofgtp.southbound.netfilter`).
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Gateway, VethPair
from ofgtp.southbound import hostnet
from ofgtp.southbound.command import attempt, run

log = logging.getLogger(__name__)

AF_XDP = 44
"""Of linux/socket.h; Python's socket module does not have it."""

MTU_MAX = 3_400
"""Longest MTU, in octets, of an interface that AF_XDP reads: the kernel takes no XDP program for a
veth whose packets do not fit into a page (4,096 octets, less what it keeps there itself)."""

_WHOLE = ("tx", "txvlan", "tx-vlan-stag-hw-insert")
"""What the end that packets for the bridge are sent to must not leave to a card, by ethtool's
names."""

PROMISCUOUS = "promisc"
"""The fact about an interface that says whether it was promiscuous before it was the gateway's."""


def refusal(gateway: Gateway) -> str | None:
    """Why its ports cannot be read by AF_XDP on this host; None if they may be, or are not to be.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    if not gateway.veths:
        return None
    back = 'or write ports = "af_packet"'
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return (
            f"this kernel has no AF_XDP sockets ({error.strerror}): take one with"
            f" CONFIG_XDP_SOCKETS, {back}"
        )
    for port in gateway.ports:
        if (mtu := hostnet.mtu(port)) > MTU_MAX:
            return (
                f"the MTU of {port} is {mtu}, and AF_XDP takes {MTU_MAX} at most: set it lower"
                f" (ip link set dev {port} mtu {MTU_MAX}), {back}"
            )
        if has_program(port):
            return (
                f"an XDP program is on {port}, and reads packets before the gateway does: take it"
                f" off (ip link set dev {port} xdp off), {back}"
            )
    return None


def ensure(gateway: Gateway) -> bool:
    """Make the pairs, and set them as their interfaces are; True if something was changed.

    Raises:
        GatewayNotReady: another interface has the name of one of them.
    """
    links = _links()
    missing = [pair for pair in gateway.veths if not _is_whole(links.get(pair.end), pair)]
    for pair in missing:
        if pair.end in links:
            # Whoever made it was killed before it was done.
            run(["ip", "link", "del", "dev", pair.end])
        elif pair.host_end in links:
            _refuse(gateway, pair.host_end)
        _make(gateway, pair)
    if missing:
        links = _links()
    changed = [_set(gateway, pair, links) for pair in gateway.veths]
    return bool(missing) or any(changed)


def remove(gateway: Gateway, but: Iterable[VethPair] = ()) -> bool:
    """Delete the pairs that were made for a gateway, but these; False if there are none."""
    kept, gone = {pair.end for pair in but}, False
    for link in json.loads(run(["ip", "-json", "link", "show", "type", "veth"]) or "[]"):
        mine = link.get("ifalias") == _alias(gateway)
        if mine and not kept & {link["ifname"], link.get("link", "")}:
            # The other end of a pair goes with the first.
            attempt(["ip", "link", "del", "dev", link["ifname"]])
            gone = True
    return gone


def promiscuous(port: str) -> bool:
    """Have an interface take frames that are not for its own address, for those of the bridge;
    False if it did so already.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    if "PROMISC" in hostnet.shown(port)["flags"]:
        return False
    run(["ip", "link", "set", "dev", port, "promisc", "on"])
    return True


def restore_promiscuous(port: str, value: str) -> None:
    """Have it be as it was, `on` or `off`."""
    run(["ip", "link", "set", "dev", port, "promisc", value])


def has_program(port: str) -> bool:
    """Whether an XDP program is on an interface.

    Raises:
        GatewayNotReady: there is no such interface.
    """
    return "xdp" in hostnet.shown(port)


def _is_whole(end: Mapping[str, Any] | None, pair: VethPair) -> bool:
    """Whether a pair is there and made to the end, which its first one's alias says; or another
    interface is, which is not ours."""
    return end is not None and ("ifalias" in end or end.get("link") != pair.host_end)


def _make(gateway: Gateway, pair: VethPair) -> None:
    mtu = ["mtu", str(hostnet.mtu(pair.port))]
    ours = [*mtu, "address", hostnet.mac(pair.port), "type", "veth"]
    run(["ip", "link", "add", pair.end, *ours, "peer", "name", pair.host_end, *mtu])
    # Checksums that are still to be made (a container's base station sends them so by its veth),
    # and VLAN tags that a card has taken off: AF_XDP knows nothing of them. So they are completed,
    # and put back, on the way to the bridge.
    run(["ethtool", "--features", pair.host_end, *(w for f in _WHOLE for w in (f, "off"))])
    for end in (pair.host_end, pair.end):
        run(["ip", "link", "set", "dev", end, "alias", _alias(gateway)])
    log.info("gateway=%s port=%s: veths %s", gateway.name, pair.port, " and ".join(pair[2:]))


def _set(gateway: Gateway, pair: VethPair, links: Mapping[str, dict[str, Any]]) -> bool:
    """Set a pair as its interface is; True if that was a change."""
    port, changed = links.get(pair.port), False
    if port is None:
        raise GatewayNotReady(f"interface {pair.port} does not exist")
    for end in (pair.end, pair.host_end):
        there = links.get(end, {})
        if there.get("ifalias") != _alias(gateway) or "link" not in there:
            _refuse(gateway, end)
        wanted = {"mtu": port["mtu"]} | ({"address": port["address"]} if end == pair.end else {})
        for name, value in wanted.items():
            if there[name] != value:
                run(["ip", "link", "set", "dev", end, name, str(value)])
                changed = True
        changed |= hostnet.ensure_device_settings(end, forward=False)
        if "UP" not in there["flags"]:
            changed |= hostnet.ensure_up(end)
    return changed


def _links() -> dict[str, dict[str, Any]]:
    """All interfaces of the host, as `ip -json` shows them."""
    shown = json.loads(run(["ip", "-json", "link", "show"]) or "[]")
    return {str(link["ifname"]): dict(link) for link in shown if link}


def _refuse(gateway: Gateway, end: str) -> None:
    raise GatewayNotReady(
        f"interface {end} was not made for gateway {gateway.name}, and is in the way of a veth of"
        f" that name: delete it (ip link del {end})"
    )


def _alias(gateway: Gateway) -> str:
    return f"ofgtp {gateway.name}"
