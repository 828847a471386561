"""Error Indications of the gateway's (TS 29.281, 7.3.1): to whom they go, and to whom never, since
a base station that gets one gives the bearer up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ofgtp.control.peers.signalling import ERROR_INDICATIONS
from tests.support import gtpu, tshark
from tests.support import ownership as own
from tests.support.answers import Counted, Hearing, Said, add_peers, judge, said
from tests.support.gtpu import ERROR_INDICATION, PN, E, S
from tests.support.lab import Lab
from tests.support.site import ACCESS_IP, BRIDGE, ENB_IP, PDN_IP, Site, until

pytestmark = pytest.mark.switch

UE, TEID, DOWN = "10.45.0.2", 0x1001, 0x2001
UNKNOWN = 0x0DEAD000
ROUTER = "10.1.0.254"
ROUTES = 'access_routes = [{to = "10.9.0.0/16", via = "10.1.0.254"}]'
(EACH_RATE, EACH_BURST), (ALL_RATE, ALL_BURST) = ERROR_INDICATIONS
INNER = gtpu.ipv4(UE, PDN_IP)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Two base stations, the second a router too; the switch owns the tunnels."""
    with Lab(enbs=2) as lab:
        lab.exec("enb2", ["ip", "addr", "add", f"{ROUTER}/24", "dev", "eth0"])
        site = Site(lab, lab.config(controller=own.SWITCH, gateway=ROUTES))
        site.ready()
        site.session(UE, teid=TEID, downlink=DOWN)
        yield site
        site.alive()
        site.check_sent()
        assert judge(site)


@pytest.fixture(scope="module")
def hear(site: Site) -> Hearing:
    return Hearing(site)


@pytest.fixture(scope="module")
def strangers(site: Site) -> Iterator[str]:
    """Peers that no session names, each with a limit of its own that is not used up."""
    return add_peers(site.lab)


def error_indication(teid: int) -> bytes:
    """As 7.3.1 has it: TEID 0, S set, TEID Data I, GTP-U Peer Address."""
    ies = (
        b"\x10" + teid.to_bytes(4, "big") + b"\x85\x00\x04" + bytes(map(int, ACCESS_IP.split(".")))
    )
    return gtpu.message(ERROR_INDICATION, 0, ies, flags=0x32, sequence=0)


def indicated(message: Said) -> int:
    """The TEID that an Error Indication names."""
    assert message.octets[12] == 0x10
    return int.from_bytes(message.octets[13:17], "big")


# --- sent


@pytest.mark.parametrize("ttl", (1, 64, 100, 128))
def test_a_tpdu_of_no_session(
    site: Site, hear: Hearing, strangers: Iterator[str], ttl: int
) -> None:
    peer = next(strangers)
    inner = gtpu.ipv4(UE, PDN_IP, ttl=ttl)
    forms = (gtpu.PLAIN, gtpu.PLAIN | S, gtpu.PLAIN | S | PN)
    frames = [
        site.t_pdu(UNKNOWN + number, inner, flags=flags, source=peer, source_port=5555)
        for number, flags in enumerate(forms)
    ]
    count = Counted(site.lab)
    with site.counted(no_uplink_session=len(frames), seen_unknown_teid=len(frames)):
        assert site.uplink(*frames) == []
        told = hear.wait(len(frames), ERROR_INDICATION)
    assert [each.octets for each in told] == [error_indication(UNKNOWN + n) for n in range(3)]
    for each in told:
        assert (each.to, each.eth_dst) == (peer, site.enb_mac["enb"])
        assert (each.source, each.ports) == (ACCESS_IP, (2152, 2152))
    assert count.sent == {"error_indication": len(frames)}
    assert hear.after() == []


def test_tshark_reads_it_so(site: Site, hear: Hearing) -> None:
    site.enb.send(site.t_pdu(UNKNOWN, INNER))
    hear.wait(1, ERROR_INDICATION)
    fields = ("message", "teid", "flags.s", "flags.e", "teid_data", "gsn_ipv4")
    row = tshark.rows(site.enb.seen[-1:], [f"gtp.{field}" for field in fields])
    assert row == [["0x1a", "0x00000000", "1", "0", f"0x{UNKNOWN:08x}", ACCESS_IP]]


def test_a_peer_whose_mac_is_asked_for_first(
    site: Site, hear: Hearing, strangers: Iterator[str]
) -> None:
    peer = next(strangers)
    site.enb.all()
    site.enb.seen.clear()
    site.enb.send(site.t_pdu(UNKNOWN, INNER, source=peer))
    [told] = hear.wait(1, ERROR_INDICATION)
    assert told.to == peer
    asked = [
        place
        for place, frame in enumerate(site.enb.seen)
        if frame[12:14] == b"\x08\x06" and frame[38:42] == bytes(map(int, peer.split(".")))
    ]
    assert asked and asked[0] < len(site.enb.seen) - 1, "ARP first"


def test_one_that_does_not_answer_arp_gets_nothing_and_harms_nobody(
    site: Site, hear: Hearing, strangers: Iterator[str]
) -> None:
    count = Counted(site.lab)
    silent, off_link = "10.1.0.250", "192.0.2.1"
    for source in (silent, off_link):
        assert hear.after(*[site.t_pdu(UNKNOWN, INNER, source=source)] * 20) == []
    assert count.sent == {}
    peer = next(strangers)
    site.enb.send(site.t_pdu(UNKNOWN, INNER, source=peer))
    assert hear.wait(1, ERROR_INDICATION)[0].to == peer


def test_a_peer_beyond_a_route(site: Site, hear: Hearing) -> None:
    """By the router's MAC, though it is another base station's that the packet came by."""
    site.enb.send(site.t_pdu(UNKNOWN, INNER, source="10.9.0.5"))
    [told] = hear.wait(1, ERROR_INDICATION, "enb2")
    assert (told.to, told.eth_dst) == ("10.9.0.5", site.enb_mac["enb2"])
    assert told.octets == error_indication(UNKNOWN)


def test_a_session_that_is_deleted(site: Site, hear: Hearing) -> None:
    """Its T-PDUs are answered from its deletion on, and no more once it is made again."""
    session = site.session("10.45.0.9", teid=0x1009)
    frame = site.t_pdu(0x1009, gtpu.ipv4("10.45.0.9", PDN_IP, ttl=128))
    for _ in range(4):
        assert hear.after(frame) == []
        site.delete(session)
        site.cache_follows(frame, passes=False)
        hear.after()
        assert [each.octets for each in hear.after(frame)] == [error_indication(0x1009)]
        site.session("10.45.0.9", teid=0x1009)
        site.cache_follows(frame, passes=True)
        hear.after()
        assert hear.after(*[frame] * 5) == []
        assert len(site.uplink(frame)) == 1


# --- never sent


def test_teid_zero(site: Site, hear: Hearing) -> None:
    count = Counted(site.lab)
    with site.counted(no_uplink_session=4, seen_unknown_teid=4):
        frames = [site.t_pdu(0, gtpu.ipv4(UE, PDN_IP, ttl=ttl)) for ttl in (1, 64, 100, 128)]
        assert hear.after(*frames) == []
    assert count.sent == {}
    for flags in (gtpu.PLAIN | E, gtpu.PLAIN | E | S):
        octets = gtpu.t_pdu(0, b"\x01\x10\x09\x00" + INNER, flags=flags, extension=0x85)
        assert hear.after(site.from_enb(octets)) == []


def test_a_spoofed_source_on_a_live_teid(site: Site, hear: Hearing) -> None:
    """Or any UE could take another's bearer down."""
    inner = [gtpu.ipv4("10.45.0.77", PDN_IP, ttl=ttl) for ttl in (1, 64, 100, 128)]
    with site.counted(no_uplink_session=4, seen_spoofed_source=4):
        assert hear.after(*(site.t_pdu(TEID, each) for each in inner)) == []
        assert site.uplink() == []


def test_another_peer_than_the_pinned_one(site: Site, hear: Hearing) -> None:
    site.session("10.45.0.3", teid=0x1003, pinned=ENB_IP["enb2"])
    with site.counted(no_uplink_session=1, seen_wrong_peer=1):
        assert hear.after(site.t_pdu(0x1003, gtpu.ipv4("10.45.0.3", PDN_IP))) == []


def test_a_session_made_again_under_a_stream(site: Site, hear: Hearing) -> None:
    """From each answer to a PUT on nothing is said, though packets came all the time."""
    ue, teid = "10.45.0.4", 0x1004
    frame = site.t_pdu(teid, gtpu.ipv4(ue, PDN_IP, ttl=128))
    session, told = site.session(ue, teid=teid), 0
    with sending(site, frame):
        for _ in range(5):
            site.delete(session)
            time.sleep(0.1)  # so that the limit lets one out again
            told += len(said(hear.fence(), [ERROR_INDICATION]))
            site.session(ue, teid=teid)
            told += len(said(hear.fence(), [ERROR_INDICATION]))
            assert hear.after(frame) == []
            site.cache_follows(frame, passes=True)
    assert told, "while it was away its packets were answered"


def test_a_session_that_the_switch_did_not_take(site: Site, hear: Hearing) -> None:
    """It is stored, as `failed`: known, and so no Error Indication."""
    ue, teid = "10.45.0.5", 0x1005
    session = site.session(ue, teid=teid, downlink=0x2005)
    flows = site.lab.ofctl("dump-flows", BRIDGE, "table=30").count("actions=")
    limit = ["--id=@t", "create", "Flow_Table", f"flow_limit={flows - 1}", "overflow_policy=refuse"]
    site.lab.vsctl(*limit, "--", "set", "Bridge", BRIDGE, "flow_tables:30=@t")

    def state() -> str:
        return str(site.lab.http("GET", f"/v1/sessions/{session}").json()["state"])

    try:
        site.lab.ofctl("del-flows", BRIDGE, f"table=30,reg0={teid:#x}")
        until(lambda: state() == "failed", "the session that has no room is failed")
        frame = site.t_pdu(teid, gtpu.ipv4(ue, PDN_IP, ttl=128))
        with site.counted(no_uplink_session=3, seen_not_installed=3):
            assert hear.after(frame, frame, frame) == []
    finally:
        site.lab.vsctl("clear", "Bridge", BRIDGE, "flow_tables")
    site.session(ue, teid=teid, downlink=0x2005)


def test_a_session_whose_flows_somebody_took(site: Site, hear: Hearing) -> None:
    """While the controller hangs; it then sees the packets before it knows that flows are gone."""
    seen = site.counters().get("seen_not_installed", 0)
    frame = site.t_pdu(TEID, INNER)
    with own.frozen(site.lab):
        site.lab.ofctl("del-flows", BRIDGE, f"table=30,reg0={TEID:#x}")
        site.enb.send(*[frame] * 20)
        until(lambda: site.packets("table=30", "priority=0,") >= 20, "the switch dropped them")
    assert hear.after() == []
    until(lambda: len(site.uplink(frame)) == 1, "the session's flow is back")
    assert hear.after() == []
    until(lambda: site.counters().get("seen_not_installed", 0) > seen, "it knows what it was")


# --- a restart


def test_a_restart_is_no_reason(site: Site) -> None:
    """Live sessions are never answered so, and others not before the flows have been compared.

    Nearly all flows are taken meanwhile, so that the controller is shown the packets of live
    sessions, and has much to do before it is in sync.
    """
    lab = site.lab
    own.batch(lab, own.puts(range(4000)))
    lab.stop_controller(signal.SIGKILL)
    lab.ofctl("del-flows", BRIDGE, "table=30,ip")
    live = [nth_packet(site, number) for number in range(0, 4000, 500)]
    foreign = site.t_pdu(UNKNOWN, INNER)
    site.enb.all()
    with sending(site, *live, *[foreign] * 4, pause=0.01):
        lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text(), status=None)
        first: Said | None = None
        deadline = time.monotonic() + 60
        while first is None:
            assert time.monotonic() < deadline, "a foreign TEID is answered in the end"
            for frame in site.enb.all(0.01):
                for each in said([frame], [ERROR_INDICATION]):
                    first = first or each
                    assert own.gateway(lab)["in_sync"], "not before the first comparison"
                    assert indicated(each) == UNKNOWN
        lab.wait_health(200)
        told = said(site.enb.all(0.5), [ERROR_INDICATION])
    assert {indicated(each) for each in told} == {UNKNOWN}
    shown = site.counters()
    assert shown["seen_not_installed"] and shown["seen_unknown_teid"]
    site.cache_follows(live[0], passes=True)
    own.batch(lab, ({"op": "delete", "id": own.nth_session(n)["id"]} for n in range(4000)))


def nth_packet(site: Site, number: int) -> bytes:
    session = own.nth_session(number)
    inner = gtpu.ipv4(session["ue_ip"], PDN_IP, ttl=128)
    return site.t_pdu(session["uplink"]["teid"], inner)


# --- limits


def test_limit_for_one_peer(site: Site, hear: Hearing, strangers: Iterator[str]) -> None:
    """1,000 as fast as the switch takes them, from one whose MAC address is known."""
    peer = next(strangers)
    hear.after(site.t_pdu(UNKNOWN, INNER, source=peer))
    until(lambda: answered(site, peer), "the first is answered")
    start, count = time.monotonic(), Counted(site.lab)
    told: list[Said] = []
    for part in range(25):
        frames = [site.t_pdu(UNKNOWN + part * 40 + n, INNER, source=peer) for n in range(40)]
        told += hear.after(*frames)
    seconds = time.monotonic() - start
    assert EACH_BURST - 1 <= len(told) <= EACH_BURST + EACH_RATE * seconds + 1
    assert {each.to for each in told} == {peer}
    assert count.sent == {"error_indication": len(told)}
    assert count.ignored["error_indication_not_sent"] > 50
    assert set(count.ignored) == {"error_indication_not_sent"}


def answered(site: Site, peer: str) -> bool:
    """Whether that peer has got an Error Indication."""
    site.enb.all()
    return any(each.to == peer for each in said(site.enb.seen, [ERROR_INDICATION]))


def test_limit_for_all_peers(site: Site, hear: Hearing, strangers: Iterator[str]) -> None:
    """From forty in turn: each is within its own limit."""
    peers = [next(strangers) for _ in range(40)]
    for peer in peers:
        hear.after(site.t_pdu(UNKNOWN, INNER, source=peer))
    hear.after()
    start, count = time.monotonic(), Counted(site.lab)
    told: list[Said] = []
    frames = [site.t_pdu(UNKNOWN, INNER, source=peer) for peer in peers]
    while time.monotonic() < start + 2:  # all that is saved up is used up by then
        site.enb.send(*frames)
        told += said(site.enb.all(0.05), [ERROR_INDICATION])
    told += said(hear.fence(), [ERROR_INDICATION])
    seconds = time.monotonic() - start
    assert 50 < len(told) <= ALL_BURST + ALL_RATE * seconds + 1
    assert count.sent["error_indication"] <= ALL_BURST + ALL_RATE * seconds + 1
    assert count.ignored["error_indication_not_sent"] > 20


@contextmanager
def sending(site: Site, *frames: bytes, pause: float = 0.002) -> Iterator[None]:
    """Within, these frames go out again and again."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            site.enb.send(*frames)
            time.sleep(pause)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
