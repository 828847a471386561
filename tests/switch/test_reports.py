"""Flows of sessions as the real switch reports them: as bytes, what a comparison expects."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from ofgtp.control.flows.comparison import Comparison
from ofgtp.core.model import FlowValues, Session
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.rules import meters_of
from ofgtp.southbound import openflow as of
from ofgtp.southbound.prepared import Prepared
from tests.support.lab import Lab
from tests.support.sample import ALL_KINDS, LINKS, session

pytestmark = pytest.mark.switch

BRIDGE = "br-bare"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        row = ["datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow14"]
        lab.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, *row)
        yield lab


def exchanged(lab: Lab, *messages: bytes) -> list[tuple[int, bytes]]:
    """Kinds and bodies of the switch's messages until its answer to a barrier."""
    with socket.socket(socket.AF_UNIX) as switch:
        switch.settimeout(10)
        switch.connect(str(lab.dir / f"{BRIDGE}.mgmt"))
        switch.sendall(of.message(0, 0) + b"".join(messages) + of.barrier(5))
        answers, found = switch.makefile("rb"), []
        while not found or found[-1][0] != of.Type.BARRIER_REPLY:
            _, kind, length, _ = struct.unpack("!BBHI", answers.read(8))
            found.append((kind, answers.read(length - 8)))
    return found


@pytest.mark.parametrize("kind", ["plain", *ALL_KINDS])
def test_they_are_known_as_bytes(lab: Lab, kind: str) -> None:
    lab.ofctl("del-flows", BRIDGE)
    lab.ofctl("del-meters", BRIDGE)
    one: Session = ALL_KINDS.get(kind) or session()
    meters = [of.meter_mod(of.MeterCommand.ADD, meter, 1) for meter in meters_of(one)]
    flows = session_flows(one, LINKS)
    added = exchanged(lab, *meters, *(of.flow_mod(of.Command.ADD, flow, 2) for flow in flows))
    assert of.Type.ERROR not in {kind for kind, _ in added}
    plain, more = ([FlowValues.of(one)], []) if one.detail is None else ([], [one])
    found = Comparison(Prepared(LINKS), plain, more)
    for answer, body in exchanged(lab, of.flow_stats_request(0, 0, 3)):
        if answer == of.Type.MULTIPART_REPLY:
            found.take(of.decode_multipart(body)[2])
    assert found.reported == len(flows)
    assert found.others == []
    assert not found.detailed_differ
    assert found.missing() == []
