"""N3, the 5G way into the gateway: each T-PDU carries a PDU Session Container with a QFI.

make demo-5g     or, as root:  .venv/bin/python mininet/n3.py
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ipv6 import PDN6, pinged, switched_on, traced
from stage import Enb, Failed, PingStream, Script, Stage, mobile, perform, run, tshark, wait_for

GATEWAY, GNB1, ENB1, PDN = "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.2"

UE1 = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "ue_ipv6": "2001:db8:a:1::/64",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": GNB1},
    "qfi": 9,
}
UE2 = {
    "id": "imsi-001010000000002-5",
    "ue_ip": "10.45.0.3",
    "ue_ipv6": "2001:db8:a:2::/64",
    "uplink": {"teid": 4098},
    "downlink": {"teid": 12290, "remote_ip": ENB1},
}
EVEN = {"qfi": 12, "rqi": True}
TO_ENB = {"qfi": None, "downlink": {"teid": 12289, "remote_ip": ENB1}}
TO_GNB = {"qfi": 9, "downlink": {"teid": 8195, "remote_ip": GNB1}}
WRONG_QFI = 5  # that the gNB puts into its containers by mistake

N3_MTU, S1U_MTU = 1456, 1464  # what fits 1500 octets behind IPv4, UDP, GTP-U, and the container
UL, DL = "1", "0"  # PDU types (TS 38.415)
GTPU = ("udp", "port", "2152")

Kind = tuple[str, str, int, str, str]  # of T-PDUs: outer from, to, TEID, PDU type and QFI, or ""


class TPdu(NamedTuple):
    """A T-PDU as tshark decodes it; of the container "" where there is none."""

    kind: Kind
    rqi: str
    units: str  # of 4 octets
    octets: bytes
    complaint: str  # of tshark's

    def header(self) -> str:
        """GTP-U header, container, and the inner packet's first octet."""
        end = 12 + 4 * int(self.units)
        parts = (self.octets[a:b].hex(" ") for a, b in ((0, 8), (8, 12), (12, end), (end, end + 1)))
        return " | ".join(parts) + " …"


FIELDS = (
    *("ip.src", "ip.dst", "gtp.teid"),
    *("gtp.ext_hdr.pdu_ses_con.pdu_type", "gtp.ext_hdr.pdu_ses_con.qos_flow_id"),
    *("gtp.ext_hdr.pdu_ses_cont.rqi", "gtp.ext_hdr.length", "udp.payload", "_ws.expert.message"),
)

PICTURE = """
5G: ue1 10.45.0.2 ── gnb1 10.1.0.2 ══ GTP-U (N3) ════╗
        2001:db8:a:1::/64                            ╠══ [ Open vSwitch ] ── pdn 10.2.0.2
4G: ue2 10.45.0.3 ── enb1 10.1.0.3 ══ GTP-U (S1-U) ══╝  10.1.0.1 ↑ 10.2.0.1  2001:db8:c::2
        2001:db8:a:2::/64                               Ryu + ofgtp (REST)
"""


def play(stage: Stage, script: Script) -> None:
    start(stage, script)
    decode(stage, script)
    side_by_side(stage, script)
    ipv6(stage, script)
    speed(stage, script)
    flows(stage, script)
    change_of_qfi(stage, script)
    longer_containers(stage, script)
    path_mtu(stage, script)
    wrong_qfi(stage, script)
    handover(stage, script)
    end(stage, script)


def start(stage: Stage, script: Script) -> None:
    script.step(
        "A gNB and an eNB at one gateway",
        """ue1 is a 5G phone at a gNB, ue2 a 4G phone at an eNB. Both base stations speak GTP-U with
        the gateway. But on N3, between gNB and gateway, each packet has an extension header more,
        the PDU Session Container: it says to which QoS flow of the phone the packet belongs, by the
        QFI, 1 to 63. Open vSwitch knows no extension headers. ofgtp's flows do it all the same.""",
    )
    script.quote(PICTURE.strip("\n"))
    for name, text in stage.versions():
        script.quote(f"{name:<14}{text}")
    stage.start_controller()
    stage.gnb1, stage.enb1 = stage.start_enb("gnb1"), stage.start_enb("enb1")
    stage.gnb1.add(UE1)
    stage.enb1.add(UE2)
    script.say("A session with a qfi is one of 5G, one without is of 4G:")
    for session in (UE1, UE2):
        script.quote(f"curl http://127.0.0.1:8080/v1/sessions --json '{json.dumps(session)}'")
        answer = stage.create(session)
        script.ok(f"{answer['id']} is active: qfi {json.dumps(answer['qfi'])}")

    def both_up() -> bool:
        peers = stage.get("/v1/peers")["items"]
        return {peer["ip"]: peer["state"] for peer in peers} == {GNB1: "up", ENB1: "up"}

    wait_for("GET /v1/peers: both up", both_up)
    script.ok("both base stations have answered an Echo Request: the paths are up")


def decode(stage: Stage, script: Script) -> None:
    script.step(
        "One packet each way on N3, as tshark decodes it",
        """ue1 pings the host once. The gNB puts the container into the question: UL PDU SESSION
        INFORMATION. The gateway takes it off, and puts one into the answer: DL PDU SESSION
        INFORMATION. Recorded at the gNB:""",
    )
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture:
        stage.answered("ue1", PDN, 1)
    packets = t_pdus(capture)
    if kinds(packets) != [(GNB1, GATEWAY, 4097, UL, "9"), (GATEWAY, GNB1, 8193, DL, "9")]:
        raise Failed(f"not a container with QFI 9 each way: {packets}")
    decoded = run("tshark", "-n", "-r", capture, "-O", "gtp", "-Y", "icmp").split("\n\n")
    for what, packet, text in zip(("uplink", "downlink"), packets, decoded, strict=False):
        lines = [line for line in text.splitlines() if not line.startswith("Internet Control")]
        outer, *_, inner = (line for line in lines if line.startswith("Internet"))
        begin = next(at for at, line in enumerate(lines) if "TEID" in line)
        shown = [f"{what}:", outer, *lines[begin:-1], inner, f"octets: {packet.header()}"]
        script.quote("\n  ".join(shown))
    script.ok("uplink PDU type 1, downlink PDU type 0, QFI 9 in both")
    if any(packet.complaint for packet in packets):
        raise Failed(f"tshark finds fault with them: {packets}")
    script.ok("tshark finds no fault with them")


def side_by_side(stage: Stage, script: Script) -> None:
    script.step(
        "5G and 4G at the same time",
        """Both phones ping the host, through the same gateway port. The eNB is of 4G: a container
        that came to it would be dropped and counted.""",
    )
    with stage.capture("gw", "gw-eth1", *GTPU) as capture, pinging(stage) as stream:
        stage.answered("ue2", PDN, 10)
    show(script, seen := kinds(t_pdus(capture)))
    wanted = {
        (GNB1, GATEWAY, 4097, UL, "9"),
        (GATEWAY, GNB1, 8193, DL, "9"),
        (ENB1, GATEWAY, 4098, "", ""),
        (GATEWAY, ENB1, 12290, "", ""),
    }
    if set(seen) != wanted:
        raise Failed(f"not these four kinds of packets: {set(seen) ^ wanted}")
    nothing_dropped(stage.gnb1, stage.enb1)
    script.ok(f"ue1: {none_lost(stream)}, ue2: 0 of 10; neither base station dropped a packet")


def ipv6(stage: Stage, script: Script) -> None:
    script.step(
        "IPv6, on N3 and on S1-U",
        """Each session has a prefix beside its IPv4 address. A phone asks for its router through
        its tunnel, the gateway answers with the prefix, and the phone forms its address: nobody has
        told it one. On N3 these packets have a container as all others; the gateway puts the
        session's QFI into its answer.""",
    )
    asked, told = {"133": "Router Solicitation", "134": "Router Advertisement"}, []
    with stage.capture("gw", "gw-eth1", *GTPU) as capture:
        found = {
            ue: switched_on(stage, ue, session["ue_ipv6"])
            for ue, session in (("ue1", UE1), ("ue2", UE2))
        }
    fields = ("ip.src", "ip.dst", "icmpv6.type", "icmpv6.opt.prefix")
    fields += ("gtp.ext_hdr.pdu_ses_con.qos_flow_id", "icmpv6.checksum.status")
    for source, target, kind, prefix, qfi, checksum in tshark(
        capture, fields, "gtp && (icmpv6.type == 133 || icmpv6.type == 134)"
    ):
        words = asked[kind], f"prefix {prefix}" if prefix else "", f"QFI {qfi}" if qfi else ""
        script.quote(f"{source} → {target}  {', '.join(filter(None, words))}")
        told.append((source, kind, qfi, checksum))
    wanted = {(GNB1, "133", "9", "1"), (GATEWAY, "134", "9", "1"), (ENB1, "133", "", "1")}
    if set(told) != wanted | {(GATEWAY, "134", "", "1")}:
        raise Failed(f"not a question and its answer for each phone: {told}")
    for ue, address in found.items():
        script.ok(f"{ue} has formed {address}")
    for ue, address in found.items():
        script.quote(pinged(stage, ue, PDN6))
        script.quote(pinged(stage, "pdn", address))
    nothing_dropped(stage.gnb1, stage.enb1)
    script.ok("both ways, both phones: 5 of 5, and neither base station dropped a packet")
    script.quote(traced(stage, "ue1", PDN6))
    script.ok("the gateway is the only hop between")


def speed(stage: Stage, script: Script) -> None:
    script.step(
        "iperf3 through N3, each way, by IPv4 and by IPv6",
        """TCP for two seconds. The base station is a Python program that handles packets one by
        one: this shows that much traffic passes, not how much could.""",
    )
    for address, family in ((PDN, "IPv4"), (PDN6, "IPv6")):
        for what, options in (("uplink,   ue1 → pdn", ()), ("downlink, pdn → ue1", ("-R",))):
            rate = stage.iperf3("ue1", "pdn", address, *options)
            if rate < 1:
                raise Failed(f"{what}, {family}: {rate:.3f} Mbit/s")
            script.ok(f"{what}, {family}: {rate:.0f} Mbit/s")
    nothing_dropped(stage.gnb1)


def flows(stage: Stage, script: Script) -> None:
    script.step(
        "The OpenFlow flows of a 5G session",
        """Two, and two for IPv6, as in 4G: the container costs none. reg4 is how the common tables
        behind are told what to take off, check and put on; the QFI of the downlink, 9, is there to
        be read.""",
    )
    path = f"/v1/sessions/{UE1['id']}/flows"
    items = stage.get(path)["items"]
    [cookie] = {item["flow"].partition(",")[0] for item in items}
    command = ("ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-ofgtp", f"{cookie}/-1")

    def dumped() -> list[str]:
        lines = [line.strip() for line in run(*command).splitlines() if "actions=" in line]
        counted = [int(count) for line in lines for count in re.findall(r"n_packets=(\d+)", line)]
        return lines if counted and min(counted) > 100 else []

    lines = wait_for("more than 100 packets counted in each flow", dumped)
    script.quote(" ".join(command))
    script.quote("\n".join("  " + re.sub(r",\b", ", ", line) for line in lines))
    if len(lines) != 4 or len(items) != 4:
        raise Failed(f"{len(lines)} flows in the switch, {len(items)} by GET {path}, not 4")
    script.ok("four flows, which have counted the packets")


def change_of_qfi(stage: Stage, script: Script) -> None:
    script.step(
        "Another QFI, under traffic",
        """ue1 pings fifty times a second, and its session gets QFI 12, with RQI: the phone shall
        treat its own packets as the network treats those to it (reflective QoS). The gNB is told of
        QFI 12 before, and to forget QFI 9 after.""",
    )
    before = stage.gnb1.stats()["downlink_qfi_9"]
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture, pinging(stage) as stream:
        stage.gnb1.add(UE1, qfi="9+12")
        patch(stage, script, EVEN)
        wait_for("QFI 12", lambda: stage.gnb1.stats().get("downlink_qfi_12", 0) > 10)
        stage.gnb1.add(UE1 | EVEN)
    packets = t_pdus(capture)
    show(script, seen := kinds(packets))
    if {row[3:] for row in seen} != {(UL, "9"), (UL, "12"), (DL, "9"), (DL, "12")}:
        raise Failed(f"not from QFI 9 to 12 both ways: {seen}")
    downlink = [packet for packet in packets if packet.kind[0] == GATEWAY]
    marks = [(packet.kind[4], packet.rqi) for packet in downlink]
    if marks != [("9", "0")] * marks.count(("9", "0")) + [("12", "1")] * marks.count(("12", "1")):
        raise Failed(f"not first QFI 9 without RQI, then QFI 12 with it: {marks}")
    lost, stats = none_lost(stream), nothing_dropped(stage.gnb1)
    if stats["downlink_rqi"] != stats["downlink_qfi_12"]:
        raise Failed(f"the gNB has not seen RQI in each packet of QFI 12: {stats}")
    took = stats["downlink_qfi_9"] - before
    script.ok(
        f"{lost}; at gnb1 {took} answers had QFI 9, and then {stats['downlink_rqi']} QFI 12 and RQI"
    )
    script.quote(f"octets: {downlink[-1].header()}")
    if "| 01 00 4c 00 |" not in downlink[-1].header():
        raise Failed("not one unit of type 0, with RQI (40) and QFI 12 (0c)")
    script.ok("4c is RQI, 40, and QFI 12, 0c; an even QFI is sent in the same form as an odd one")


def longer_containers(stage: Stage, script: Script) -> None:
    script.step(
        "A gNB that measures",
        """A gNB may put more into the uplink container: here the delay that the packet had in it, 7
        ms, and a number for each packet of the QFI. That makes it 12 octets long, not 4.""",
    )
    stage.gnb1.add(UE1 | EVEN, ul_delay=7, qfi_sequence=1)
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture:
        stage.answered("ue1", PDN, 3)
    uplink = [packet for packet in t_pdus(capture) if packet.kind[1] == GATEWAY][:3]
    for packet in uplink:
        script.quote(f"uplink: {packet.header()}")
    if [packet.units for packet in uplink] != ["3"] * 3:
        raise Failed(f"not three containers of three units of 4 octets: {uplink}")
    stage.gnb1.add(UE1 | EVEN)
    script.ok("all three are taken off: 3 of 3 pings answered")


def path_mtu(stage: Stage, script: Script) -> None:
    script.step(
        "The largest packet",
        f"""The access link takes 1500 octets. In a tunnel {S1U_MTU} of them are the phone's, and on
        N3 {N3_MTU}, since the container and what comes before it are 8 octets. The gateway knows
        that for each session: a packet that must not be fragmented (DF) and is one octet too long
        is answered by ICMP. (The phones and their radio links, else of 1400, take 1500 now.)""",
    )
    for station, radio, ue in (("gnb1", "gnb1-eth1", "ue1"), ("enb1", "enb1-eth2", "ue2")):
        for node, device in ((station, "gtp0"), (station, radio), (ue, f"{ue}-eth0")):
            stage.net[node].run("ip", "link", "set", device, "mtu", 1500)
    stage.net["pdn"].run("ip", "route", "replace", "10.45.0.0/16", "via", "10.2.0.1")
    for what, session, most in (("N3", UE1, N3_MTU), ("S1-U", UE2, S1U_MTU)):
        told = f"From 10.2.0.1 icmp_seq=1 Frag needed and DF set (mtu = {most})"
        for size in (most, most + 1):
            options = ("-M", "do", "-s", str(size - 28))  # behind 20 octets of IPv4, 8 of ICMP
            if size == most:
                text = stage.answered("pdn", session["ue_ip"], 2, *options)
            else:
                answers, text = stage.ping("pdn", session["ue_ip"], 2, "-W", "5", *options)
                if answers or told not in text:
                    raise Failed(f"{what}, {size} octets: {text}")
            said = [line for line in text.splitlines() if "icmp_seq=1 " in line]
            script.quote(f"ping {' '.join(options)} {session['ue_ip']}: {said[0]}")
        script.ok(f"{what}: {most} octets pass, of one more the sender is told {most}")
    stage.net["pdn"].run("ip", "route", "replace", mobile.UE_POOL6, "via", mobile.GATEWAY6)
    script.say(
        "With IPv6 no router fragments, and the sender of any packet is told, by Packet Too Big."
    )
    address = stage.net["ue1"].ipv6()
    for size in (N3_MTU, N3_MTU + 1):
        options = ("-M", "do", "-s", str(size - 48))  # behind 40 octets of IPv6, 8 of ICMPv6
        _, text = stage.ping("pdn", address, 2, "-W", "5", *options)
        said = [line for line in text.splitlines() if "icmp_seq=1 " in line]
        script.quote(f"ping {' '.join(options)} {address}:\n  {said[0]}")
        wanted = " ttl=" if size == N3_MTU else f"From {mobile.GATEWAY6} icmp_seq=1 Packet too big"
        if wanted not in said[0]:
            raise Failed(f"IPv6, {size} octets: {text}")
    script.ok(f"{N3_MTU} octets pass, of one more the sender is told {N3_MTU}")


def wrong_qfi(stage: Stage, script: Script) -> None:
    script.step(
        "A gNB with another QFI than the session",
        """A session may insist: "qfi_check" lets uplink packets with its own QFI pass, and no
        others.""",
    )
    patch(stage, script, {"qfi_check": True})
    stage.answered("ue1", PDN, 3)
    script.ok("ue1 → pdn: 3 of 3")
    script.say(
        f"Then somebody changes the gNB, which puts QFI {WRONG_QFI} into its containers now."
    )
    stage.gnb1.add(UE1 | EVEN, qfi=f"{WRONG_QFI}+12")
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture:
        answers, _ = stage.ping("ue1", PDN, 3)
    if answers:
        raise Failed(f"{answers} answers to pings with QFI {WRONG_QFI}")
    script.ok("ue1 → pdn: 0 of 3. Why?")
    wait_for("3 drops counted as wrong_qfi", lambda: drops(stage) >= 3)
    status = ofgtp(stage, "status")
    script.quote("ofgtp status")
    first, *others = status.splitlines()
    wanted = re.compile("drops|peers|  10| {10}[0-9,]+ [a-z]")
    script.quote("\n".join(["  " + first, *(f"  {line}" for line in others if wanted.match(line))]))
    if not re.search(r"^(drops| {8}) .*\b3 wrong_qfi\b", status, re.MULTILINE):
        raise Failed(f"not 3 drops as wrong_qfi: {status}")
    script.ok(
        "wrong_qfi: they have a container, but not with the session's QFI. On N3, with which?"
    )
    show(script, seen := kinds(t_pdus(capture)))
    if seen != [(GNB1, GATEWAY, 4097, UL, str(WRONG_QFI))]:
        raise Failed(f"not three packets with QFI {WRONG_QFI}: {seen}")
    script.say(
        """(What the phones' kernels tell of their multicast groups, by MLD and from link-local
        addresses, does not pass, and is counted as no_uplink_session.)"""
    )
    script.say("Without qfi_check a container is taken off whatever its QFI.")
    patch(stage, script, {"qfi_check": False})
    wait_for("ue1 → pdn", lambda: stage.ping("ue1", PDN, 1)[0])
    stage.answered("ue1", PDN)
    stage.gnb1.add(UE1 | EVEN)
    script.ok("ue1 → pdn: 5 of 5")


def handover(stage: Stage, script: Script) -> None:
    script.step(
        "From 5G to 4G, and back",
        """ue1 pings fifty times a second, leaves the gNB for the eNB, and returns. One PATCH says
        both: where the downlink goes, and that there is no QFI any more. It comes before ue1 tunes
        to the eNB: as long as the session has a QFI, an uplink packet without a container is
        dropped (unless the session says "qfi_required": false). On the way back it comes after: a
        container is taken off for every session.""",
    )
    counted = markers(stage)
    ue, at_gnb, at_enb = stage.net["ue1"], *stage.net["ue1"].intfList()
    with stage.capture("gw", "gw-eth1", *GTPU) as capture, pinging(stage) as stream:
        stage.enb1.add(UE1 | TO_ENB)
        patch(stage, script, TO_ENB)
        ue.attach(at_enb)
        wait_for("an End Marker at gnb1", lambda: markers(stage)[0] > counted[0])
        script.ok("at the eNB")
        time.sleep(1)
        stage.gnb1.add(UE1 | TO_GNB)
        ue.attach(at_gnb)
        patch(stage, script, TO_GNB)
        wait_for("an End Marker at enb1", lambda: markers(stage)[1] > counted[1])
        script.ok("at the gNB again; each way the base station that was left got an End Marker")
    show(script, seen := kinds(t_pdus(capture)))
    wanted = {
        (GATEWAY, GNB1, 8193, DL, "12"),
        (GNB1, GATEWAY, 4097, UL, "12"),
        (GATEWAY, ENB1, 12289, "", ""),
        (ENB1, GATEWAY, 4097, "", ""),
        (GATEWAY, GNB1, 8195, DL, "9"),
        (GNB1, GATEWAY, 4097, UL, "9"),
    }
    if set(seen) != wanted:
        raise Failed(f"not these six kinds of packets: {set(seen) ^ wanted}")
    nothing_dropped(stage.gnb1, stage.enb1)
    script.ok(f"{none_lost(stream)}; none came to the eNB with a container, or to the gNB without")


def end(stage: Stage, script: Script) -> None:
    script.step("The end", "The sessions are deleted, and the controller is stopped.")
    for session in (UE1, UE2):
        stage.call("DELETE", f"/v1/sessions/{session['id']}")
    for ue in ("ue1", "ue2"):
        stage.unanswered(ue, PDN)
    script.ok("both are deleted, and pings are no longer answered")
    stage.stop_controller()
    script.ok("the controller has ended, and there is no flow of it left in the switch")


# -- what the steps share ------------------------------------------------------------------------


@contextlib.contextmanager
def pinging(stage: Stage) -> Iterator[PingStream]:
    """ue1 pings the host, from a second before to a second after."""
    stream = PingStream(stage, "ue1", PDN, calm=1)
    yield stream
    stream.end()


def none_lost(stream: PingStream) -> str:
    """Says so, or Failed."""
    if stream.lost:
        raise Failed(f"{stream.told()}: {stream.outages}")
    return f"0 of {stream.sent} pings lost"


def patch(stage: Stage, script: Script, change: dict[str, Any]) -> dict[str, Any]:
    """Change ue1's session, and show how; Failed unless the switch has confirmed it."""
    path = f"/v1/sessions/{UE1['id']}"
    script.quote(f"curl -X PATCH http://127.0.0.1:8080{path} --json '{json.dumps(change)}'")
    _, answer = stage.call("PATCH", path, change)
    if answer["state"] != "active" or any(answer[name] != change[name] for name in change):
        raise Failed(f"PATCH: {answer}")
    return answer


def ofgtp(stage: Stage, *words: str) -> str:
    """What the ofgtp command prints."""
    command = Path(sys.executable).with_name("ofgtp")
    return run("env", f"OFGTP_CONFIG={stage.files / 'ofgtp.toml'}", command, *words)


def drops(stage: Stage) -> int:
    """Packets that the switch dropped since their container has another QFI."""
    return stage.get("/v1/gateways")["items"][0]["drops"]["wrong_qfi"]


def markers(stage: Stage) -> tuple[int, int]:
    """The End Markers that gNB and eNB have got."""
    return stage.gnb1.stats()["end_markers"], stage.enb1.stats()["end_markers"]


def nothing_dropped(*stations: Enb) -> dict[str, int]:
    """The counters of the last; Failed if a base station has dropped a packet."""
    for station in stations:
        stats = station.stats()
        if dropped := {name: count for name, count in stats.items() if name.startswith("drop")}:
            raise Failed(f"a base station has dropped packets: {dropped}")
    return stats


def t_pdus(capture: Path) -> list[TPdu]:
    """The T-PDUs of a capture that hold whole IPv4 packets."""
    found = []
    for source, target, teid, pdu_type, qfi, rqi, units, payload, complaint in tshark(
        capture, FIELDS, "gtp.message == 255 && ip"
    ):
        outer = source.partition(",")[0], target.partition(",")[0]
        octets = bytes.fromhex(payload.partition(",")[0])
        kind = (*outer, int(teid, 16), pdu_type, qfi)
        found.append(TPdu(kind, rqi, units, octets, complaint))
    return found


def kinds(packets: list[TPdu]) -> list[Kind]:
    """Of what kinds they are, as they first came."""
    return list(dict.fromkeys(packet.kind for packet in packets))


def show(script: Script, rows: list[Kind]) -> None:
    script.quote(f"{'outer':<24}{'TEID':<14}container")
    for source, target, teid, pdu_type, qfi in rows:
        kind = {UL: "UL", DL: "DL"}.get(pdu_type, f"PDU type {pdu_type}")
        container = f"{kind}, QFI {qfi}" if pdu_type else "none"
        script.quote(f"{source + ' → ' + target:<24}0x{teid:08x}    {container}")


if __name__ == "__main__":
    perform("gnb_enb", play)
