"""Sessions' flows as bytes: each form is encoded once by the codec, and patched for each session.

The codec makes a flow in some 15 microseconds, this in less than one. What is made here is what
the codec would make: that is checked for each form as it is prepared.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address

from ofgtp.core.flows.flow import CookieKind, Flow, make_cookie
from ofgtp.core.model import FlowValues, FTeid, Qos, Session, Uplink
from ofgtp.core.rules.session import tunnel_pair_flows
from ofgtp.core.rules.terms import Links, wanted_container
from ofgtp.southbound import openflow as of
from ofgtp.southbound.templates import Templates

FLOWS = 2
"""Flows of a session, and so the transaction ids that its messages take."""

_BUNDLE, _XID = 0xB1B2B3B4, 0xC1C2C3C4
_NUMBER, _UE, _TEID, _PEER = 0xA1A2A3A4A5, 0xD1D2D3D4, 0xE1E2E3E4, 0xF1F2F3F4
_FAR_TEID, _FAR_IP = 0x91929394, 0x81828384
_COOKIE = make_cookie(CookieKind.SESSION, _NUMBER)
_SESSION_COOKIE = make_cookie(CookieKind.SESSION)

_SAMPLE = Session(
    number=_NUMBER,
    id="sample",
    gateway="sample",
    ue_ip=IPv4Address(_UE),
    uplink=Uplink(_TEID),
    downlink=FTeid(_FAR_TEID, IPv4Address(_FAR_IP)),
)
_PINNED = replace(_SAMPLE, uplink=Uplink(_TEID, IPv4Address(_PEER)))
_IDLE = replace(_SAMPLE, downlink=None)
_INDICATED = replace(_SAMPLE, error_indicated=True)
_QOS = Qos(0x29, rqi=True, check=True)
_SAMPLE_QOS = replace(_SAMPLE, qos=_QOS)
_PINNED_QOS = replace(_PINNED, qos=_QOS)

_INNER = 16
"""Octets of a bundle-add message in front of the flow-mod in it."""

_OCTET = 0x7F
"""Of `Qos.number`, the bits of `Qos.octet`."""


class Form:
    """Bytes with numbers in them that differ from session to session."""

    def __init__(self, sample: bytes, holes: Sequence[tuple[str, int]]) -> None:
        """`holes` are format (I or Q) and value of the numbers, in the order they stand."""
        layout, self._parts, at = "!", [], 0
        for kind, value in holes:
            pattern = struct.pack(f"!{kind}", value)
            place = sample.index(pattern, at)
            layout += f"{place - at}s{kind}"
            self._parts += [sample[at:place], value]
            at = place + len(pattern)
        self._parts.append(sample[at:])
        self._pack = struct.Struct(f"{layout}{len(sample) - at}s").pack

    def __call__(self, *numbers: int) -> bytes:
        """The bytes with these numbers."""
        parts = self._parts.copy()
        parts[1::2] = numbers
        return self._pack(*parts)


class Prepared:
    """The forms of session flows for a gateway's links."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.templates = Templates(links)
        """For the sessions that are more than tunnel pairs."""
        up, down = _flows(_SAMPLE, links)
        pinned, idle, indicated = (_flows(each, links) for each in (_PINNED, _IDLE, _INDICATED))
        ue, teid, peer = ("I", _UE), ("I", _TEID), ("I", _PEER)
        far = ("I", _FAR_TEID), ("I", _FAR_IP)
        up_qos, down_qos = _flows(_SAMPLE_QOS, links)
        pinned_qos, _ = _flows(_PINNED_QOS, links)
        wanted, octet = ("I", wanted_container(_QOS)), ("I", _QOS.octet)
        add, delete = of.Command.ADD, of.Command.DELETE_STRICT
        self._add_up = _message(add, up, teid, ue)
        self._add_pinned = _message(add, pinned[0], teid, peer, ue)
        self._add_up_qos = _message(add, up_qos, teid, ue, wanted)
        self._add_pinned_qos = _message(add, pinned_qos, teid, peer, ue, wanted)
        self._add_down = _message(add, down, ue, *far)
        self._add_down_qos = _message(add, down_qos, ue, octet, *far)
        self._add_idle = _message(add, idle[1], ue, cookie=False)
        self._add_indicated = _message(add, indicated[1], ue, cookie=False)
        self._delete_up = _message(delete, up, teid, ue)
        self._delete_pinned = _message(delete, pinned[0], teid, peer, ue)
        self._delete_down = _message(delete, down, ue)
        self._up = _report(up, ue, teid)
        self._pinned = _report(pinned[0], ue, teid, peer)
        self._up_qos = _report(up_qos, ue, teid, wanted)
        self._pinned_qos = _report(pinned_qos, ue, teid, peer, wanted)
        self._down = _report(down, ue, *far)
        self._down_qos = _report(down_qos, ue, octet, *far)
        self._idle = _report(idle[1], ue)
        self._indicated = _report(indicated[1], ue)
        self._check()

    def add(self, values: FlowValues, bundle: int, xid: int) -> bytes:
        """The messages that put a session's flows into a bundle; they take `xid` and the next."""
        number, ue, teid, peer, far_teid, far_ip, indicated, container = values
        cookie, second = _SESSION_COOKIE | number, xid + 1
        wanted = _wanted(container) if container else 0
        if wanted and peer is None:
            up = self._add_up_qos(xid, bundle, xid, cookie, teid, ue, wanted)
        elif wanted and peer is not None:
            up = self._add_pinned_qos(xid, bundle, xid, cookie, teid, peer, ue, wanted)
        elif peer is None:
            up = self._add_up(xid, bundle, xid, cookie, teid, ue)
        else:
            up = self._add_pinned(xid, bundle, xid, cookie, teid, peer, ue)
        if far_teid is None or far_ip is None:
            return up + self._add_idle(second, bundle, second, ue)
        if indicated:
            return up + self._add_indicated(second, bundle, second, ue)
        if container:
            octet = container & _OCTET
            return up + self._add_down_qos(
                second, bundle, second, cookie, ue, octet, far_teid, far_ip
            )
        return up + self._add_down(second, bundle, second, cookie, ue, far_teid, far_ip)

    def add_bare(self, values: FlowValues, xid: int) -> bytes:
        """The flow-mods that add a session's flows by themselves; they take `xid` and the next."""
        bundled = self.add(values, 0, xid)
        middle = int.from_bytes(bundled[2:4], "big")
        return bundled[_INNER:middle] + bundled[middle + _INNER :]

    def delete(self, values: FlowValues, bundle: int, xid: int) -> bytes:
        """Likewise those that delete them."""
        number, ue, teid, peer = values[:4]
        cookie, second = _SESSION_COOKIE | number, xid + 1
        if peer is None:
            up = self._delete_up(xid, bundle, xid, cookie, teid, ue)
        else:
            up = self._delete_pinned(xid, bundle, xid, cookie, teid, peer, ue)
        return up + self._delete_down(second, bundle, second, cookie, ue)

    def reported_up(self, values: FlowValues) -> bytes:
        """Match and instructions of the uplink flow as the switch reports them."""
        wanted = _wanted(values.qos) if values.qos else 0
        if wanted and values.peer is None:
            return self._up_qos(values.ue_ip, values.teid, wanted)
        if wanted and values.peer is not None:
            return self._pinned_qos(values.ue_ip, values.teid, values.peer, wanted)
        if values.peer is None:
            return self._up(values.ue_ip, values.teid)
        return self._pinned(values.ue_ip, values.teid, values.peer)

    def reported_down(self, values: FlowValues) -> bytes:
        """Match and instructions of the downlink flow as the switch reports them."""
        if values.far_teid is None or values.far_ip is None:
            return self._idle(values.ue_ip)
        if values.error_indicated:
            return self._indicated(values.ue_ip)
        if values.qos:
            octet = values.qos & _OCTET
            return self._down_qos(values.ue_ip, octet, values.far_teid, values.far_ip)
        return self._down(values.ue_ip, values.far_teid, values.far_ip)

    def _check(self) -> None:
        """Hold each form to the codec, with a session of other numbers than it was made from."""
        other = replace(
            _SAMPLE,
            number=7,
            ue_ip=IPv4Address("10.1.2.3"),
            uplink=Uplink(9),
            downlink=FTeid(11, IPv4Address("10.9.8.7")),
        )
        pinned = replace(other, uplink=Uplink(9, IPv4Address("10.9.8.6")))
        idle, told = replace(other, downlink=None), replace(other, error_indicated=True)
        plain = (other, pinned, idle, told)
        for qos in (None, Qos(1), Qos(62, True, required=False), Qos(7, check=True)):
            self._check_flows([replace(session, qos=qos) for session in plain])

    def _check_flows(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            values = FlowValues.of(session)
            flows = tunnel_pair_flows(session, self.links)
            for command, made in (
                (of.Command.ADD, self.add(values, 5, 6)),
                (of.Command.DELETE_STRICT, self.delete(values, 5, 6)),
            ):
                mods = [of.flow_mod(command, flow, xid) for xid, flow in enumerate(flows, 6)]
                if command is of.Command.DELETE_STRICT:
                    # Strictly deleted is what has the key; of a drop's cookie nothing is asked.
                    down = replace(flows[1], cookie=_SESSION_COOKIE | values.number)
                    mods[1] = of.flow_mod(command, down, 7)
                codec = b"".join(of.bundle_add(5, mod, xid) for xid, mod in enumerate(mods, 6))
                _same(made, codec, session)
            _same(self.reported_up(values), of.reported(flows[0]), session)
            _same(self.reported_down(values), of.reported(flows[1]), session)


@cache
def _wanted(container: int) -> int:
    """What the uplink flow of a session with this `Qos.number` writes; there are few."""
    qos = Qos.of(container)
    return 0 if qos is None else wanted_container(qos)


def session_of(values: FlowValues) -> Session:
    """A session with these numbers, as far as its flows are concerned."""
    peer = None if values.peer is None else IPv4Address(values.peer)
    far = None
    if values.far_teid is not None and values.far_ip is not None:
        far = FTeid(values.far_teid, IPv4Address(values.far_ip))
    return Session(
        number=values.number,
        id="",
        gateway="",
        ue_ip=IPv4Address(values.ue_ip),
        uplink=Uplink(values.teid, peer),
        downlink=far,
        error_indicated=values.error_indicated,
        qos=Qos.of(values.qos),
    )


def _flows(session: Session, links: Links) -> tuple[Flow, Flow]:
    return tunnel_pair_flows(session, links)


def _message(
    command: of.Command, flow: Flow, *numbers: tuple[str, int], cookie: bool = True
) -> Form:
    """A flow-mod in a bundle; the numbers stand in the order of the match and the actions."""
    sample = of.bundle_add(_BUNDLE, of.flow_mod(command, flow, _XID), _XID)
    ids = ("I", _XID), ("I", _BUNDLE), ("I", _XID)
    return Form(sample, [*ids, *([("Q", _COOKIE)] if cookie else []), *numbers])


def _report(flow: Flow, *numbers: tuple[str, int]) -> Form:
    return Form(of.reported(flow), numbers)


def _same(made: bytes, codec: bytes, session: Session) -> None:
    if made != codec:
        raise AssertionError(f"prepared bytes differ from the codec's: {session}")
