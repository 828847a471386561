"""What control planes have been seen to send that user planes did not bear, at a gateway at work.

None of it ends the gateway, none leaves half a session, and each is answered with its cause.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Interface
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import (
    AssociationSetupRequest,
    SessionDeletionRequest,
    SessionEstablishmentRequest,
    SessionModificationRequest,
    read,
    write,
)
from tests.support import gtpu, smf
from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.pfcp import tlv, u16, u32
from tests.support.site import ENB_IP, PDN_IP, Site, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

ENB, DOWN = ENB_IP["enb"], 0x2001
UE, OTHER_UE, REST_UE = "10.45.8.2", "10.45.8.3", "10.45.8.4"
REST_TEID = 0x1234
CONFIG = smf.CONFIG.replace("heartbeat_seconds = 5", "heartbeat_seconds = 3600")
"""While a test waits, nobody answers heartbeats: no control plane is to be down for that."""
_sequences = itertools.count(0x70_0000)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        smf.n4(lab)
        site = Site(lab, lab.config(controller=own.SWITCH, gateway=CONFIG))
        site.ready()
        site.session(REST_UE, teid=REST_TEID, downlink=0x2F00)
        yield site
        site.alive()


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp


@pytest.fixture(scope="module")
def live(site: Site, cp: ControlPlane) -> PfcpSession:
    """A session beside all of it, which must not notice."""
    pdrs = smf.uplink(qer_ids=(1,)), smf.downlink(UE, qer_ids=(1,))
    fars = smf.to_core(), smf.to_tunnel(DOWN, ENB)
    session = cp.establish(pdrs, fars, create_qers=(smf.qer(),))
    site.warm("enb", UE, DOWN)
    return session


@pytest.fixture
def unmoved(site: Site, live: PfcpSession) -> Iterator[None]:
    """Flows and sessions are after it as they were before, and packets flow."""
    flows, sessions = own.our_flows(site.lab), own.sessions(site.lab)
    yield
    assert own.our_flows(site.lab) == flows
    assert own.sessions(site.lab).keys() == sessions.keys()
    assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))
    assert site.uplink(site.t_pdu(live.teids[1], gtpu.ipv4(UE, PDN_IP)))


# --- requests octet by octet

NODE, FSEID = tlv(Ie.NODE_ID, 0, IPv4Address(smf.SMF).packed), 0x4321
CP_FSEID = tlv(Ie.FSEID, 2, FSEID.to_bytes(8, "big"), IPv4Address(smf.SMF).packed)
CHOOSE = tlv(Ie.FTEID, 5)


def pdr(*pdi: bytes, number: int = 7, source: int = 0, more: bytes = b"") -> bytes:
    return tlv(
        Ie.CREATE_PDR,
        tlv(Ie.PDR_ID, u16(number)),
        tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, source), *pdi),
        tlv(Ie.FAR_ID, u32(8)),
        more,
    )


def ue_ip(address: str, flags: int = 6) -> bytes:
    return tlv(Ie.UE_IP_ADDRESS, flags, IPv4Address(address).packed)


def far(*parameters: bytes, to: int = 1, number: int = 8, action: bytes = b"\2") -> bytes:
    inside = tlv(Ie.FORWARDING_PARAMETERS, tlv(Ie.DESTINATION_INTERFACE, to), *parameters)
    return tlv(
        Ie.CREATE_FAR,
        tlv(Ie.FAR_ID, u32(number)),
        tlv(Ie.APPLY_ACTION, action),
        inside if parameters or to != 99 else b"",
    )


def ohc(address: str, teid: int = 7) -> bytes:
    return tlv(Ie.OUTER_HEADER_CREATION, b"\1\0", u32(teid), IPv4Address(address).packed)


def sdf(text: bytes) -> bytes:
    return tlv(Ie.SDF_FILTER, 1, 0, u16(len(text)), text)


def qer(*ies: bytes, number: int = 1) -> bytes:
    return tlv(Ie.CREATE_QER, tlv(Ie.QER_ID, u32(number)), tlv(Ie.GATE_STATUS, 0), *ies)


def urr(number: int, *ies: bytes) -> bytes:
    method, triggers = tlv(Ie.MEASUREMENT_METHOD, 2), tlv(Ie.REPORTING_TRIGGERS, 0, 0)
    return tlv(Ie.CREATE_URR, tlv(Ie.URR_ID, u32(number)), method, triggers, *ies)


def nested(depth: int) -> bytes:
    inner = tlv(Ie.SOURCE_INTERFACE, 0)
    for _ in range(depth):
        inner = tlv(Ie.PDI, inner)
    return inner


UP, CORE = pdr(CHOOSE, ue_ip(OTHER_UE)), far()
TO_UE = pdr(ue_ip(OTHER_UE), source=1)
V6 = IPv6Address("2001:db8::1").packed
FULL = [urr(number) for number in range(1, 66)]

ESTABLISHMENTS: dict[str, tuple[int, list[bytes]]] = {
    # open5gs#4152, #4423, free5gc#796, eupf#630
    "short Outer Header Creation": (68, [UP, far(tlv(Ie.OUTER_HEADER_CREATION, b"\1\0\0"))]),
    "Outer Header Creation without its address": (
        68,
        [TO_UE, far(tlv(Ie.OUTER_HEADER_CREATION, b"\1\0", u32(7)), to=0)],
    ),
    # open5gs#4153, #4154, #4182
    "short MBR": (68, [UP, CORE, qer(tlv(Ie.MBR, bytes(9)))]),
    "short F-TEID": (68, [pdr(tlv(Ie.FTEID, 1, 0, 0)), CORE]),
    "short Dropped DL Traffic Threshold": (
        68,
        [UP, CORE, urr(1, tlv(Ie.DROPPED_DL_TRAFFIC_THRESHOLD, 1, 0))],
    ),
    # open5gs#4151, free5gc#746, #801, eupf#633
    "short SDF filter": (68, [pdr(CHOOSE, tlv(Ie.SDF_FILTER, 1, 0, u16(200), b"permit")), CORE]),
    "SDF filter that is none": (73, [pdr(CHOOSE, ue_ip(OTHER_UE), sdf(b"permit all")), CORE]),
    "SDF filter of a host name": (
        73,
        [pdr(CHOOSE, ue_ip(OTHER_UE), sdf(b"permit out ip from example.org to any")), CORE],
    ),
    # open5gs#4218
    "destination 0x99": (69, [UP, far(to=0x99)]),
    "source 0x99": (69, [pdr(CHOOSE, source=0x99), CORE]),
    # open5gs#4135
    "CHOOSE over IPv6": (75, [pdr(tlv(Ie.FTEID, 6)), CORE]),
    "tunnel over IPv6": (
        75,
        [TO_UE, far(tlv(Ie.OUTER_HEADER_CREATION, b"\2\0", u32(7), V6), to=0)],
    ),
    # open5gs#4169, #4181, free5gc#818
    "65 URRs": (75, [UP, CORE, *FULL]),
    "three rates": (
        75,
        [
            pdr(CHOOSE, ue_ip(OTHER_UE), more=b"".join(tlv(Ie.QER_ID, u32(n)) for n in (1, 2, 3))),
            CORE,
            *(qer(tlv(Ie.MBR, bytes(4), 9, bytes(4), 9), number=n) for n in (1, 2, 3)),
        ],
    ),
    # open5gs#3747
    "restoration with TEID 0": (
        69,
        [
            pdr(tlv(Ie.FTEID, 1, u32(0), IPv4Address("10.1.0.1").packed)),
            CORE,
            tlv(Ie.PFCPSEREQ_FLAGS, 1),
        ],
    ),
    "F-TEID at another address": (
        73,
        [pdr(tlv(Ie.FTEID, 1, u32(9), IPv4Address(ENB).packed)), CORE],
    ),
    # free5gc#800, omec upf#955-957, #927
    "PDR without PDI": (66, [tlv(Ie.CREATE_PDR, tlv(Ie.PDR_ID, u16(7))), CORE]),
    "no PDR": (66, [CORE]),
    "no FAR": (66, [UP]),
    "PDR without FAR ID": (
        67,
        [
            tlv(
                Ie.CREATE_PDR,
                tlv(Ie.PDR_ID, u16(7)),
                tlv(Ie.PDI, tlv(Ie.SOURCE_INTERFACE, 0), CHOOSE),
            ),
            CORE,
        ],
    ),
    "PDR of a FAR that is not there": (73, [UP, far(number=9)]),
    # upg-vpp#92
    "PDR twice": (73, [UP, UP, CORE]),
    "FAR twice": (73, [UP, CORE, CORE]),
    # free5gc#44, free5gc/smf#55
    "FORW without parameters": (67, [UP, far(to=99)]),
    "an empty Create PDR beside none": (66, [tlv(Ie.CREATE_PDR), CORE]),
    "an IE that reaches over the end": (68, [UP, CORE, u16(Ie.CREATE_FAR) + u16(500) + b"\0"]),
    # section 5
    "tunnel to ourselves": (73, [TO_UE, far(ohc("10.1.0.1"), to=0)]),
    "tunnel to loopback": (73, [TO_UE, far(ohc("127.0.0.1"), to=0)]),
    "tunnel to a multicast group": (73, [TO_UE, far(ohc("224.0.0.5"), to=0)]),
    "tunnel to a UE": (73, [TO_UE, far(ohc("10.45.0.77"), to=0)]),
    "UE address outside the pools": (73, [pdr(CHOOSE), pdr(ue_ip("10.99.0.1"), number=9), CORE]),
    "UE address of a REST session": (64, [pdr(CHOOSE), pdr(ue_ip(REST_UE), number=9), CORE]),
    "TEID of a REST session": (
        71,
        [
            pdr(tlv(Ie.FTEID, 1, u32(REST_TEID), IPv4Address("10.1.0.1").packed), ue_ip(OTHER_UE)),
            CORE,
        ],
    ),
}


def establishment(*ies: bytes) -> bytes:
    body = NODE + CP_FSEID + b"".join(ies)
    sequence = next(_sequences).to_bytes(3, "big")
    return b"\x21\x32" + u16(12 + len(body)) + bytes(8) + sequence + b"\0" + body


def answer(cp: ControlPlane, data: bytes) -> tuple[Any, Any]:
    """The answer to octets that are no message themselves."""
    sequence = int.from_bytes(data[12:15], "big")
    cp.send(data)
    while True:
        got = cp.receive(10)
        assert got is not None, "it is answered"
        header, body = read(got)
        if header.sequence == sequence:
            return header, body


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("name", ESTABLISHMENTS)
def test_an_establishment_that_is_refused(site: Site, cp: ControlPlane, name: str) -> None:
    cause, ies = ESTABLISHMENTS[name]
    header, body = answer(cp, establishment(*ies))
    assert header.type is MessageType.SESSION_ESTABLISHMENT_RESPONSE
    assert (header.seid, body.cause) == (FSEID, cause)
    assert body.up_fseid is None and body.created_pdrs == ()
    assert body.node_id == IPv4Address(smf.UPF)
    assert_logged(
        site,
        f"Session Establishment Request of {smf.SMF} refused, cause {cause}: ",
        WORDS.get(name),
    )


WORDS = {
    "short MBR": "QER 1, MBR: ",
    "SDF filter that is none": "PDR 7, SDF Filter: ",
    "destination 0x99": "FAR 8, Destination Interface: ",
    "no PDR": "Create PDR: ",
    "tunnel to ourselves": "FAR 8, Outer Header Creation: ",
    "UE address of a REST session": "UE IP Address: ",
}
"""Of some refusals what the log says: the rule, the IE, and why."""


def assert_logged(site: Site, line: str, words: str | None = None) -> None:
    def there() -> bool:
        text = site.lab.controller_log.read_text()
        return any(line in each and (words or "") in each for each in text.splitlines())

    until(there, f"the log has {line!r}, {words!r}")


def test_what_is_strange_and_no_fault(site: Site, cp: ControlPlane, live: PfcpSession) -> None:
    """omec upf#895, upg-vpp#118, travelping/vpp#26, open5gs#4169: read leniently."""
    ies = [
        tlv(0x8001, 0, 2, b"vendor"),
        far(tlv(Ie.NETWORK_INSTANCE)),
        tlv(Ie.PDN_TYPE),
        tlv(Ie.SNSSAI, 1),
        pdr(CHOOSE, tlv(Ie.NETWORK_INSTANCE), tlv(9999, bytes(99))),
        pdr(ue_ip(OTHER_UE, flags=2), number=9, source=1, more=tlv(Ie.URR_ID, u32(65535))),
        urr(65535),
    ]
    header, body = answer(cp, establishment(*ies))
    assert body.cause == 1, body
    session = PfcpSession(cp, FSEID)
    session.up_seid = body.up_fseid.seid
    assert header.seid == FSEID
    assert [each.pdr_id for each in body.created_pdrs] == [7]
    assert site.uplink(
        site.t_pdu(body.created_pdrs[0].local_fteid.teid, gtpu.ipv4(OTHER_UE, PDN_IP))
    )
    assert session.delete().cause == 1


MODIFICATIONS: dict[str, tuple[int, dict[str, Any]]] = {
    # open5gs#4699, #4766; free5gc#798, #802
    "an unknown FAR": (73, {"update_fars": (g.UpdateFar(99, Action.DROP),)}),
    "an unknown PDR": (73, {"update_pdrs": (g.UpdatePdr(99, precedence=1),)}),
    "an unknown QER": (73, {"update_qers": (g.UpdateQer(99, qfi=1),)}),
    "an unknown URR": (73, {"update_urrs": (g.UpdateUrr(99),)}),
    "an unknown BAR": (73, {"update_bars": (g.UpdateBar(99),)}),
    "a FAR that is there": (73, {"create_fars": (smf.to_core(1),)}),
    "a FAR that is needed goes": (73, {"remove_fars": (g.RemoveFar(1),)}),
    "a good change beside a bad one": (
        73,
        {"update_fars": (smf.moved(0x2099, ENB), g.UpdateFar(99, Action.DROP))},
    ),
    "a tunnel to ourselves": (73, {"update_fars": (smf.moved(7, "10.1.0.1"),)}),
    "usage of an unknown URR": (73, {"query_urrs": (g.QueryUrr(99),)}),
    "what is not supported": (
        76,
        {
            "create_pdrs": (
                smf.downlink("10.45.7.1")._replace(
                    pdr_id=9,
                    pdi=g.Pdi(Interface.CORE, ue_ip_address=v.UeIpAddress(choose_ipv4=True)),
                ),
            )
        },
    ),
}


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("name", MODIFICATIONS)
def test_a_modification_that_is_refused(live: PfcpSession, name: str) -> None:
    cause, members = MODIFICATIONS[name]
    refused = live.modify(**members)
    assert (refused.cause, refused.created_pdrs) == (cause, ())


@pytest.mark.usefixtures("unmoved")
def test_a_modification_that_removes_what_is_not_there(live: PfcpSession) -> None:
    """open5gs d28e2f7: accepted."""
    assert live.modify(remove_pdrs=(g.RemovePdr(99),), remove_fars=(g.RemoveFar(99),)).cause == 1


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("seid", [0, 1, 2**63, 2**64 - 1])
def test_a_seid_that_is_none(cp: ControlPlane, live: PfcpSession, seid: int) -> None:
    for request in (SessionModificationRequest(), SessionDeletionRequest()):
        header, body = cp.ask(request, seid)
        assert (header.seid, body.cause) == (0, 65)


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("by", [-3, 3])
def test_a_length_that_is_not_the_datagrams(cp: ControlPlane, live: PfcpSession, by: int) -> None:
    data = bytearray(establishment(UP, CORE))
    data[2:4] = u16(len(data) - 4 + by)
    _, body = answer(cp, bytes(data))
    assert body.cause == 68


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("deep", [5, 60, 1000])
def test_groups_in_groups(cp: ControlPlane, live: PfcpSession, deep: int) -> None:
    _, body = answer(cp, establishment(UP, CORE, tlv(Ie.CREATE_PDR, nested(deep))))
    assert body.cause in (66, 68, 69)


def test_more_than_an_mtu(site: Site, cp: ControlPlane, live: PfcpSession) -> None:
    """open5gs#3689: it comes in fragments, and is read as one."""
    filters = [
        g.CreatePdr(
            10 + number,
            number,
            g.Pdi(
                Interface.CORE,
                sdf_filters=(v.SdfFilter(f"permit out udp from 10.2.0.2 {number} to assigned"),),
            ),
            None,
            2,
        )
        for number in range(1, 60)
    ]
    request = SessionEstablishmentRequest(
        cp.address,
        v.FSeid(FSEID, cp.address),
        (smf.uplink(), smf.downlink(OTHER_UE), *filters),
        (smf.to_core(), smf.to_tunnel(0x2002, ENB)),
    )
    data = write(request, next(_sequences), 0)
    assert len(data) > 3 * 1500
    _, body = answer(cp, data)
    assert body.cause == 1
    session = PfcpSession(cp, FSEID)
    session.up_seid = body.up_fseid.seid
    flows = site.lab.http("GET", f"/v1/sessions/pfcp-{session.up_seid:016x}/flows").json()["items"]
    assert {each["bearer"] for each in flows} >= {str(each.pdr_id) for each in filters}
    assert session.delete().cause == 1


# --- who asks


@pytest.mark.usefixtures("unmoved")
def test_before_an_association_and_of_another(site: Site, cp: ControlPlane, live: Any) -> None:
    with ControlPlane(site.lab, smf.OTHER_SMF) as other:
        theirs = PfcpSession(other, 0x1)
        fars = smf.to_core(), smf.idle()
        _, body = theirs.establish((smf.uplink(), smf.downlink(OTHER_UE)), fars)
        assert body.cause == 72, "before an association"
        assert_logged(
            site,
            f"Session Establishment Request of {smf.OTHER_SMF} refused, cause 72: "
            f"there is no association at {smf.OTHER_SMF}",
        )
        # a second association under the first one's Node ID
        again = AssociationSetupRequest(cp.address, other.stamp)
        _, body = other.ask(again)
        assert body.cause == 64, "it deletes sessions: not from elsewhere (open5gs#4760)"
        assert other.associate().cause == 1
        theirs.up_seid = live.up_seid
        assert theirs.modify(update_fars=(g.UpdateFar(2, Action.DROP),)).cause == 65
        assert theirs.delete().cause == 65
        # what another one has (open5gs#4762, #4767)
        _, body = theirs.establish((smf.uplink(), smf.downlink(UE)), fars)
        assert body.cause == 64
        own_teid = smf.uplink()._replace(
            pdi=g.Pdi(Interface.ACCESS, v.FTeid(live.teids[1], IPv4Address("10.1.0.1")))
        )
        _, body = theirs.establish((own_teid, smf.downlink(OTHER_UE)), fars)
        assert body.cause == 71
        # in another one's name
        request = SessionEstablishmentRequest(
            cp.address, v.FSeid(1, other.address), (smf.uplink(),), fars
        )
        _, body = other.ask(request, 0)
        assert body.cause == 72
        assert other.release().cause == 1
        assert smf.judge(other)


@pytest.mark.usefixtures("unmoved")
def test_pfcp_of_users_base_stations_and_the_core(site: Site, cp: ControlPlane, live: Any) -> None:
    """Neither out of a tunnel, nor by N3 or N6, though the sender is a peer's address: nothing is
    answered, and nothing done (open5gs#4760)."""
    request = write(AssociationSetupRequest(cp.address, cp.stamp), next(_sequences))
    ports = UDP(sport=smf.PORT, dport=smf.PORT)

    def packets(*sources: str) -> list[Any]:
        targets = smf.UPF, "10.1.0.1", "10.2.0.1"
        pairs = itertools.product(sources, targets)
        return [IP(src=source, dst=target) / ports / Raw(request) for source, target in pairs]

    received = _received(site)
    inner = [bytes(each) for each in packets(UE)]
    assert site.uplink(*(site.t_pdu(live.teids[1], each) for each in inner)) == []
    shown = site.gateway()
    by_n3 = [
        bytes(Ether(src=site.enb_mac["enb"], dst=shown["access"]["mac"]) / each)
        for each in packets(ENB, smf.SMF)
    ]
    site.enb.send(*by_n3)
    by_n6 = [
        bytes(Ether(src=site.pdn_mac, dst=shown["core"]["mac"]) / each)
        for each in packets(PDN_IP, smf.SMF)
    ]
    site.pdn.send(*by_n6)
    # what comes behind them on both sides has been answered: they have been looked at
    assert site.downlink(site.to_ue(gtpu.ipv4(PDN_IP, UE)))
    assert site.uplink(site.t_pdu(live.teids[1], gtpu.ipv4(UE, PDN_IP)))
    for frame in (*site.enb.all(0.3), *site.pdn.all(0.3)):
        assert not _is_pfcp(frame)
    assert cp.receive(0.3) is None
    assert _received(site) == received, "the socket has not seen any of it"


def _received(site: Site) -> int:
    [node] = site.lab.http("GET", "/v1/pfcp").json()["items"]
    setups = (each for each in node["received"] if each["message"].startswith("Association"))
    return sum(each["count"] for each in setups)


def _is_pfcp(frame: bytes) -> bool:
    packet = Ether(frame)
    return UDP in packet and smf.PORT in (packet[UDP].sport, packet[UDP].dport)


@pytest.mark.usefixtures("unmoved")
def test_a_flood(site: Site, cp: ControlPlane, live: PfcpSession) -> None:
    """What one sends as fast as it can does not end the service for REST and others."""
    with ControlPlane(site.lab, smf.OTHER_SMF) as other:
        assert other.associate().cause == 1
        request = SessionDeletionRequest()
        other.flood(write(request, next(_sequences), number) for number in range(1, 10_000))
        assert cp.heartbeat()
        assert live.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1
        assert site.lab.http("GET", "/v1/health").status == 200
        while other.receive(0.5) is not None:
            pass  # there are no more answers than requests
        assert other.release().cause == 1


def test_a_heartbeat_with_strange_ies(cp: ControlPlane, live: PfcpSession) -> None:
    """free5gc#482, #483: a vendor's IE, and an empty one."""
    body = tlv(Ie.RECOVERY_TIME_STAMP, u32(cp.stamp)) + tlv(0x8002, 0, 2) + tlv(Ie.NODE_ID)
    sequence = next(_sequences)
    header = b"\x20\1" + u16(4 + len(body)) + sequence.to_bytes(3, "big") + b"\0"
    cp.send(header + body)
    got = cp.receive(10)
    assert got is not None
    told, _ = read(got)
    assert (told.type, told.sequence) == (MessageType.HEARTBEAT_RESPONSE, sequence)
