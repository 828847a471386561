"""A real packet through a tunnel of this host's switch, beside the gateways that work on it.

    with Proof(ovsdb) as proof:
        for wrong in proof.run(): ...

A gateway of its own is made for it: a bridge, two pairs of veth in place of base station and
router, addresses set aside for documentation, and the flows and nftables rules that every gateway
gets. The operator's bridges and ports are not touched, though the switch may lose a packet of
theirs when it takes ports in or out. All of it is taken away at the end, whatever happens; what a
killed run left behind, the next one takes away first.
"""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import FrameType
from typing import NoReturn

from eventlet import hubs

from ofgtp.control.host import survey
from ofgtp.core.doctor.facts import Route
from ofgtp.core.errors import GatewayNotReady, OfgtpError
from ofgtp.core.filters import overlap
from ofgtp.core.flows import faults
from ofgtp.core.flows.pipeline import METERS
from ofgtp.core.model import GTPU_PORT, FTeid, Gateway, Session, Uplink
from ofgtp.core.packets import arp, frames
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import Links
from ofgtp.core.sessions.detail import Detail
from ofgtp.southbound import hostnet, netfilter
from ofgtp.southbound.command import attempt, run
from ofgtp.southbound.ovsdb import BridgeFacts, Ovsdb
from ofgtp.southbound.ovstools import Tools

BRIDGE = "ofgtp-doctor"
ACCESS, BASE_STATION = "ofgtp-dr-acc", "ofgtp-dr-enb"
CORE, ROUTER = "ofgtp-dr-core", "ofgtp-dr-pdn"
FAR_SIDE = "netdev ofgtp_doctor"
"""The nftables table that keeps the host's stack off the far ends."""

UE = IPv4Address("203.0.113.2")
SERVER = IPv4Address("203.0.113.130")
UE_POOL = IPv4Network("203.0.113.0/25")
CORE_IP = IPv4Interface("198.18.0.1/30")
UE6, SERVER6 = IPv6Address("2001:db8:d0c:1::2"), IPv6Address("2001:db8:d0c:ffff::1")
UE_POOL6, UE_PREFIX = IPv6Network("2001:db8:d0c::/52"), IPv6Network("2001:db8:d0c:1::/64")
CORE_IP6 = IPv6Interface("2001:db8:d0c:f000::1/64")
"""Set aside for documentation (RFC 3849); the host's stack sees none of them."""
ACCESS_NETS = ("192.0.2.0/30", "198.51.100.0/30", "192.0.2.252/30", "198.51.100.252/30")
"""Of these the first that the host has no route to is the access network, the only one that the
host learns of: all set aside for documentation (RFC 5737)."""

UPLINK_TEID, DOWNLINK_TEID = 0x0D0C_0001, 0x0D0C_0002
UPLINK_TEID_6, DOWNLINK_TEID_6 = 0x0D0C_0003, 0x0D0C_0004
TTLS = (64, 128, 97)
"""Inner TTLs: one of each way in which the switch may type a packet (docs/ovs-faults.md)."""
PATIENCE_S = 6.0
"""Longest wait for a packet, ARP included."""

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of the way through the switch, and how it is spoken to."""

    enb: socket.socket
    enb_mac: str
    peer: IPv4Address
    router: socket.socket
    router_mac: str
    access_ip: IPv4Address
    local_mac: str
    core_mac: str


class Proof:
    """Makes the gateway, sends and looks, takes it away."""

    def __init__(self, ovsdb: str) -> None:
        self._ovsdb = ovsdb
        self._undo = ExitStack()

    def __enter__(self) -> Proof:
        """Hold the lock, and have the signals that end a program end it by way of `__exit__`.

        Raises:
            OfgtpError: another one is under way.
        """
        lock = self._undo.enter_context(socket.socket(socket.AF_UNIX))
        try:
            lock.bind("\0ofgtp-doctor")
        except OSError as error:
            self._undo.close()
            raise OfgtpError("another `ofgtp doctor --packet` is under way") from error
        for number in (signal.SIGTERM, signal.SIGHUP):
            former = signal.signal(number, _interrupt)
            self._undo.callback(signal.signal, number, former)
        return self

    def __exit__(self, *error: object) -> None:
        former = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
        # The signal may have come while the hub of green threads kept its books: what waits there
        # for nothing any more would end the clearing. A new one knows nothing of it.
        hubs.use_hub()
        try:
            clear(self._ovsdb)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            self._undo.close()

    def run(self) -> list[str]:
        """What is wrong with the packets that came out; nothing if all is right.

        Raises:
            OfgtpError: the gateway could not be made.
        """
        clear(self._ovsdb)
        gateway = self._gateway(free_network(survey.routes()))
        self._make_links()
        facts = self._make(gateway)
        ends = Ends(
            enb=self._wire(BASE_STATION),
            enb_mac=hostnet.mac(BASE_STATION),
            peer=gateway.access_ip.ip + 1,
            router=self._wire(ROUTER),
            router_mac=hostnet.mac(ROUTER),
            access_ip=gateway.access_ip.ip,
            local_mac=facts.local_mac,
            core_mac=facts.core_mac,
        )
        self._install(gateway, facts, ends)
        wrong = [*downlink(ends)]
        for ttl in TTLS:
            wrong += uplink(ends, ttl)
        wrong += (f"IPv6, {each}" for each in (*downlink6(ends), *uplink6(ends)))
        return wrong

    def _gateway(self, access: IPv4Network) -> Gateway:
        # Somebody must listen, or the switch would ask a stranger on that port.
        listener = self._undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours, _ = access.hosts()
        return Gateway(
            name=BRIDGE,
            ovsdb=self._ovsdb,
            openflow=f"tcp:127.0.0.1:{listener.getsockname()[1]}",
            bridge=BRIDGE,
            access_port=ACCESS,
            access_ip=IPv4Interface(f"{ours}/{access.prefixlen}"),
            core_port=CORE,
            core_ip=CORE_IP,
            next_hop=CORE_IP.ip + 1,
            ue_pools=(UE_POOL,),
            ue_pools6=(UE_POOL6,),
            core_ip6=CORE_IP6,
            next_hop6=CORE_IP6.ip + 1,
        )

    def _make_links(self) -> None:
        for near, far in ((ACCESS, BASE_STATION), (CORE, ROUTER)):
            run(["ip", "link", "add", near, "type", "veth", "peer", "name", far])
            for end in (near, far):
                run(["ethtool", "--features", end, "tx", "off"])
                hostnet.ensure_device_settings(end, forward=False)
                hostnet.ensure_up(end)
        chains = (
            f'chain {end.rpartition("-")[2]} {{ type filter hook ingress device "{end}" '
            "priority 0; policy drop; }"
            for end in (BASE_STATION, ROUTER)
        )
        run(["nft", "-f", "-"], f"table {FAR_SIDE} {{ {'; '.join(chains)}; }}")

    def _make(self, gateway: Gateway) -> BridgeFacts:
        db = Ovsdb(gateway.ovsdb)
        try:
            facts = db.ensure(gateway, nonce=BRIDGE)
        finally:
            db.close()
        for port in (ACCESS, CORE):
            hostnet.offloads_off(port)
        hostnet.ensure_device_settings(BRIDGE, forward=False)
        hostnet.ensure_address(BRIDGE, gateway.access_ip)
        netfilter.apply(gateway, faults.parse(survey.switch(self._ovsdb).version))
        return facts

    def _install(self, gateway: Gateway, facts: BridgeFacts, ends: Ends) -> None:
        links = Links(
            access=facts.access_ofport,
            core=facts.core_ofport,
            gtpu=facts.gtpu_ofport,
            gtpu_ect_1=facts.ect_1_ofport,
            gtpu_ce=facts.ce_ofport,
            loop_out=facts.loop_out_ofport,
            loop_in=facts.loop_in_ofport,
            access_mtu=hostnet.mtu(ACCESS),
            core_mtu=hostnet.mtu(CORE),
            local_mac=facts.local_mac,
            core_mac=facts.core_mac,
            peer_mac=ends.router_mac,
            peer_mac6=ends.router_mac,
        )
        peer = FTeid(DOWNLINK_TEID, ends.peer)
        session = Session(1, "doctor", BRIDGE, UE, Uplink(UPLINK_TEID), peer)
        of_ipv6 = Session(
            2,
            "doctor-ipv6",
            BRIDGE,
            None,
            Uplink(UPLINK_TEID_6),
            FTeid(DOWNLINK_TEID_6, ends.peer),
            detail=Detail(slot=1, ue_ipv6=UE_PREFIX),
        )
        flows = [
            *gateway_flows(gateway, links, protected_networks([gateway]), None),
            *session_flows(session, links),
            *session_flows(of_ipv6, links),
        ]
        tools = Tools(self._ovsdb)
        for meter in METERS.values():
            tools.ofctl("add-meter", BRIDGE, str(meter))
        tools.ofctl("add-flows", BRIDGE, "-", stdin="\n".join(map(str, flows)))

    def _wire(self, device: str) -> socket.socket:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._undo.enter_context(wire)
        wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        wire.bind((device, ETH_P_ALL))
        return wire


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def clear(ovsdb: str) -> None:
    """Take away all that a proof makes, as far as it is there; each part by itself."""
    gateway = _bare_gateway(ovsdb)
    with suppress(GatewayNotReady):
        db = Ovsdb(ovsdb)
        try:
            db.remove(gateway)
        finally:
            db.close()
    for link in (ACCESS, CORE):
        if hostnet.link_state(link) != "missing":
            attempt(["ip", "link", "del", link])
    with suppress(GatewayNotReady):
        netfilter.remove(gateway)
        run(["nft", "-f", "-"], f"add table {FAR_SIDE}\ndelete table {FAR_SIDE}\n")


def _bare_gateway(ovsdb: str) -> Gateway:
    """The gateway's names: for removal, which asks for no more."""
    nowhere = IPv4Interface("192.0.2.1/30")
    return Gateway(BRIDGE, ovsdb, "", BRIDGE, ACCESS, nowhere, CORE, CORE_IP, None, ())


def free_network(routes: Iterable[Route]) -> IPv4Network:
    """An access network that the host has no route to but the default one.

    Raises:
        OfgtpError: there is none.
    """
    taken = [route.to for route in routes if route.to.prefixlen]
    for candidate in map(IPv4Network, ACCESS_NETS):
        if not any(overlap(candidate, net) for net in taken):
            return candidate
    raise OfgtpError(f"the host has routes to all of {', '.join(ACCESS_NETS)}")


# --- packets


def t_pdu(teid: int, packet: bytes) -> bytes:
    """A G-PDU without optional fields (TS 29.281, 5.1)."""
    return struct.pack("!BBHI", 0x30, 255, len(packet), teid) + packet


def faults_of(frame: bytes, packet: bytes, teid: int) -> Iterator[str]:
    """What is wrong with a frame that should carry `packet` in a tunnel."""
    if frames.checksum(frame[14:34]):
        yield "its outer IPv4 header checksum is wrong"
    length, sent = struct.unpack_from("!HH", frame, 38)
    if length != len(frame) - 34 or length != len(packet) + 16:
        yield f"its UDP length is {length}, not {len(packet) + 16}"
    pseudo = frame[26:34] + struct.pack("!HH", 17, length)
    if sent and frames.checksum(pseudo + frame[34:]):
        yield f"its UDP checksum is wrong ({sent:#06x}): receivers drop it"
    if frame[42:50] != t_pdu(teid, packet)[:8]:
        yield f"its GTP-U header is {frame[42:50].hex()}, not {t_pdu(teid, packet)[:8].hex()}"
    if frame[50:] != packet:
        yield "its content is another than what was sent"


def downlink(ends: Ends) -> Iterator[str]:
    """Send to the UE; what is wrong with what the base station gets."""
    # Longer than any that Ethernet pads: of those nftables sets the checksum in any case.
    text = b"ofgtp doctor, downlink".ljust(64, b".")
    sent = frames.udp_frame(ends.router_mac, ends.core_mac, SERVER, UE, 7, 7, text)
    yield from _downlink(ends, sent, DOWNLINK_TEID)


def downlink6(ends: Ends) -> Iterator[str]:
    """The same of IPv6."""
    text = b"ofgtp doctor, downlink".ljust(64, b".")
    sent = frames.udp_frame(ends.router_mac, ends.core_mac, SERVER6, UE6, 7, 7, text)
    yield from _downlink(ends, sent, DOWNLINK_TEID_6)


def _downlink(ends: Ends, sent: bytes, teid: int) -> Iterator[str]:
    version = sent[14] >> 4

    def is_t_pdu(frame: bytes) -> bool:
        gtpu = frame[12:14] == b"\x08\x00" and frame[36:38] == GTPU_PORT.to_bytes(2, "big")
        return gtpu and len(frame) > 50 and frame[50] >> 4 == version

    def answer(frame: bytes) -> None:
        """Be the base station that is asked for its MAC."""
        said = arp.parse(frame)
        if said is not None and said.op == 1 and said.target_ip == ends.peer:
            ends.enb.send(_arp_reply(ends.enb_mac, ends.peer, said))

    got = _await(
        lambda: ends.router.send(sent),
        ends.enb,
        is_t_pdu,
        answer,
    )
    if got is None:
        yield "downlink: no packet came out of the tunnel's port"
        return
    for wrong in faults_of(got, sent[14:], teid):
        yield f"downlink: {wrong}"


def uplink(ends: Ends, ttl: int) -> Iterator[str]:
    """Send a T-PDU whose packet has this TTL; what is wrong with what the router gets."""
    inner = frames.udp_frame(
        ends.enb_mac, ends.enb_mac, UE, SERVER, 7, 7, b"ofgtp doctor, uplink, TTL %d" % ttl, ttl=ttl
    )[14:]
    yield from _uplink(
        ends,
        t_pdu(UPLINK_TEID, inner),
        lambda frame: frame[12:14] == b"\x08\x00" and frame[22] == ttl,
        f" (inner TTL {ttl})",
    )


def uplink6(ends: Ends) -> Iterator[str]:
    """The same of IPv6, which the switch types by the source's first octet, whatever the limit of
    hops."""
    macs, text = (ends.enb_mac, ends.enb_mac), b"ofgtp doctor, uplink"
    inner = frames.udp_frame(*macs, UE6, SERVER6, 7, 7, text)[14:]
    yield from _uplink(
        ends, t_pdu(UPLINK_TEID_6, inner), lambda frame: frame[12:14] == b"\x86\xdd", ""
    )


def _uplink(
    ends: Ends, message: bytes, wanted: Callable[[bytes], bool], which: str
) -> Iterator[str]:
    ports = GTPU_PORT, GTPU_PORT
    macs = ends.enb_mac, ends.local_mac
    sent = frames.udp_frame(*macs, ends.peer, ends.access_ip, *ports, message)
    got = _await(lambda: ends.enb.send(sent), ends.router, wanted, lambda frame: None)
    if got is None:
        yield f"uplink: no packet came out of the tunnel{which}"
    elif got[14:] != message[8:]:
        yield f"uplink: what came out is another packet than what was sent{which}"
    elif got[:6].hex(":") != ends.router_mac:
        yield f"uplink: it was sent to {got[:6].hex(':')}, not to the next hop"


def _await(
    send: Callable[[], object],
    wire: socket.socket,
    wanted: Callable[[bytes], bool],
    other: Callable[[bytes], None],
) -> bytes | None:
    """Send again and again until a wanted frame comes; the first is lost while ARP resolves."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        send()
        wire.settimeout(0.3)
        with suppress(TimeoutError):
            while time.monotonic() < deadline:
                frame = wire.recv(65536)
                if wanted(frame):
                    return frame
                other(frame)
    return None


def _arp_reply(mac: str, ip: IPv4Address, question: arp.Arp) -> bytes:
    ours, theirs = (bytes.fromhex(each.replace(":", "")) for each in (mac, question.sender_mac))
    body = struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, ours, ip.packed, theirs, question.sender_ip.packed
    )
    return theirs + ours + arp.ETH_TYPE.to_bytes(2, "big") + body
