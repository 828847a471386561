"""An SMF drives the gateway by PFCP (N4): the life of a phone's session, and a crash of ofgtp.

make demo-pfcp        or, as root:  .venv/bin/python mininet/pfcp.py
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stage import (
    ROOT,
    Enb,
    Failed,
    PingStream,
    Program,
    Script,
    Stage,
    bearer,
    ended_by_marker,
    perform,
    tshark,
    wait_for,
)

GATEWAY, GNB1, GNB2, PDN = "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.2"
UE1, UE2 = "10.45.0.2", "10.45.0.3"
N4, SMF = "10.4.0.1", "10.4.0.5"

CONFIG = f"""
[gateway.pfcp]
listen = "{N4}"
peers = ["{SMF}/32"]
"""

# TEIDs that the gNBs choose for their end, the downlink
FIRST, AGAIN, MOVED = 0x2001, 0x2002, 0x3001  # ue1's: at gnb1, there again, at gnb2
OTHER, OTHER_MOVED = 0x3002, 0x2003  # ue2's: at gnb2, then at gnb1
CHOSEN_FROM = 0x8000_0000  # those that ofgtp chooses for the gateway's end, the uplink
QFI, VOICE_QFI = 9, 5
VOICE_PORT = 5004
VOICE = f"permit out udp from {PDN} {VOICE_PORT} to assigned"
IDLE_PINGS = 3

GTPU = ("udp", "port", "2152")
PFCP = ("udp", "port", "8805")
ICMP, TCP, UDP = 1, 6, 17
UL, DL = "1", "0"  # PDU types of the container (TS 38.415)
SESSION_COOKIE = "cookie=0xf6703"  # of the flows that are a session's

MESSAGES = {
    1: "Heartbeat Request",
    2: "Heartbeat Response",
    5: "Association Setup Request",
    6: "Association Setup Response",
    9: "Association Release Request",
    10: "Association Release Response",
    50: "Session Establishment Request",
    51: "Session Establishment Response",
    52: "Session Modification Request",
    53: "Session Modification Response",
    54: "Session Deletion Request",
    55: "Session Deletion Response",
    56: "Session Report Request",
    57: "Session Report Response",
}
PICTURE = """
          smf 10.4.0.5 ── PFCP (N4) ── 10.4.0.1 [ Ryu + ofgtp ]
                                                        │
ue1 10.45.0.2 ── gnb1 10.1.0.2 ══╗                      │
                                 ╠══ GTP-U (N3) ══ [ Open vSwitch ] ── pdn 10.2.0.2
ue2 10.45.0.3 ── gnb2 10.1.0.3 ══╝         10.1.0.1                10.2.0.1
"""


class Row(NamedTuple):
    """Of what kind a GTP-U message is: the outer addresses, the TEID, and what is in it."""

    source: str
    target: str
    teid: int
    container: str
    content: str


class Smf(Program):
    """A running mininet/smf.py, with a record of its messages, which tshark reads."""

    def __init__(self, stage: Stage) -> None:
        capture = stage.capture("smf", "smf-eth0", *PFCP)
        self.capture = stage.ending.enter_context(capture)
        self.shown = 0
        words = (str(ROOT / "mininet" / "smf.py"), "--address", SMF, "--upf", N4)
        super().__init__("the SMF", stage.start_program("smf", *words))

    def do(self, script: Script, line: str) -> dict[str, Any]:
        """Have it do something, and show the messages of that; its answer."""
        answer: dict[str, Any] = json.loads(self.ask(line))
        self.show(script, heartbeats=line == "heartbeat")
        return answer

    def reports(self) -> list[dict[str, Any]]:
        """What ofgtp has told it unasked."""
        found: list[dict[str, Any]] = json.loads(self.ask("reports"))
        return found

    def show(self, script: Script, *, heartbeats: bool = False) -> None:
        """Show the messages that were not yet, and what matters of them here, but for heartbeats,
        or those of ofgtp's; Failed if tshark finds fault with one."""
        count = int(self.ask("count"))
        rows = wait_for(f"{count} PFCP messages recorded", lambda: self.recorded(count))
        for row in rows[self.shown :]:
            if "fault" in row:
                raise Failed(f"tshark finds fault with a PFCP message: {row}")
            kind, from_smf = MESSAGES[int(row["kind"])], row["source"] == SMF
            of_smf = heartbeats and from_smf == kind.endswith("Request")
            if of_smf or not kind.startswith("Heartbeat"):
                way = "smf → ofgtp" if from_smf else "ofgtp → smf"
                script.quote(f"{way}  {': '.join(filter(None, (kind, contents(row))))}")
        self.shown = len(rows)

    def recorded(self, count: int) -> list[dict[str, str]]:
        """The messages until now, each as the fields that it has; nothing before there are so
        many, or while the last is being written."""
        try:
            rows = tshark(self.capture, tuple(N4_FIELDS.values()), "pfcp")
        except Failed:
            return []
        if len(rows) < count:
            return []
        named = (zip(N4_FIELDS, row, strict=True) for row in rows)
        return [{name: value for name, value in row if value} for row in named]


def play(stage: Stage, script: Script) -> None:
    smf = start(stage, script)
    stamp = associate(stage, smf, script)
    teid = attach(stage, smf, script)
    activate(stage, smf, teid, script)
    idle(stage, smf, script)
    come_back(stage, smf, teid, script)
    handover(stage, smf, teid, script)
    flow(stage, smf, teid, script)
    release(stage, smf, teid, script)
    crash(stage, smf, stamp, script)
    end(stage, smf, script)


def start(stage: Stage, script: Script) -> Smf:
    script.step(
        "A 5G network whose core speaks PFCP",
        """The SMF is the part of a 5G core that decides about phones' sessions; what carries
        their packets is the UPF, here ofgtp. The SMF tells it by PFCP, over a link called N4.
        This SMF is a small program, mininet/smf.py, which shares no code with ofgtp. For it
        ofgtp's configuration has three lines more; and ownership = "switch": the tunnels outlive
        ofgtp.""",
    )
    script.quote(PICTURE.strip("\n"))
    for name, text in stage.versions():
        script.quote(f"{name:<14}{text}")
    script.quote(CONFIG.strip())
    stage.start_controller("switch", gateway=CONFIG)
    stage.gnb1, stage.gnb2 = stage.start_enb("gnb1"), stage.start_enb("gnb2")
    smf = Smf(stage)
    script.ok("ofgtp, two gNBs and the SMF run")
    return smf


def associate(stage: Stage, smf: Smf, script: Script) -> int:
    """Returns ofgtp's Recovery Time Stamp."""
    script.step(
        "Association and heartbeat",
        """First the two get to know each other. The Recovery Time Stamp is when a side began: when
        it changes, the other knows that all sessions are lost. Heartbeats ask for it again and
        again. What passes N4, as tshark decodes it:""",
    )
    set_up, beat = smf.do(script, "associate"), smf.do(script, "heartbeat")
    if set_up != beat:
        raise Failed(f"two Recovery Time Stamps: {set_up} {beat}")
    known = associations(stage)
    shown = [{name: each[name] for name in ("node_id", "state", "sessions")} for each in known]
    script.quote(f"GET /v1/pfcp: associations: {json.dumps(shown)}")
    if [each["node_id"] for each in known] != [SMF]:
        raise Failed(f"GET /v1/pfcp does not show the SMF alone: {known}")
    script.ok("they are associated; both answers have the same Recovery Time Stamp")
    stamp: int = beat["recovery_time_stamp"]
    return stamp


def attach(stage: Stage, smf: Smf, script: Script) -> int:
    """Returns the uplink TEID."""
    script.step(
        "ue1 attaches",
        f"""The SMF makes a session of rules. A PDR says which packets: PDR 1 what comes from a gNB
        in the phone's tunnel with QFI {QFI}, PDR 2 what comes for {UE1}. A FAR says what becomes of
        them: FAR 1 forwards (FORW) to the packet data network; FAR 2 cannot yet, and is told to
        buffer and notify (BUFF, NOCP). A QER has the QFI, the number of the QoS flow, which is
        written into each packet on N3. Which TEID the gateway listens to is left to ofgtp
        (CHOOSE).""",
    )
    made = smf.do(script, f"establish ue_ip={UE1} qfi={QFI}")
    teid: int = made["teids"]["1"]
    [session] = sessions(stage)
    shown = {name: session[name] for name in ("id", "state", "ue_ip", "owner")}
    script.quote(f"GET /v1/sessions: {json.dumps(shown)}")
    owner = session["owner"]
    if (session["ue_ip"], owner["node_id"], owner["up_seid"]) != (UE1, SMF, made["upf_seid"]):
        raise Failed(f"not the SMF's session of {UE1}: {session}")
    if teid < CHOSEN_FROM:
        raise Failed(f"the TEID is not one that ofgtp chooses: {teid:#x}")
    script.ok(f"ofgtp has chosen TEID 0x{teid:08x} at {GATEWAY}, and the switch has the flows")
    return teid


def activate(stage: Stage, smf: Smf, teid: int, script: Script) -> None:
    script.step(
        "gnb1 is ready: activation",
        f"""The core tells gnb1 that TEID, and gnb1 answers with its own, 0x{FIRST:08x}. The SMF
        puts that into FAR 2: forward, with the outer header of that tunnel. Then ue1 and the host
        ping each other; recorded on N3, at gnb1:""",
    )
    stage.gnb1.ask(f"add {at_gnb(UE1, teid, FIRST)}")
    smf.do(script, f"activate ue_ip={UE1} teid={FIRST} gnb={GNB1}")
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture:
        stage.answered("ue1", PDN)
        stage.answered("pdn", UE1)
    wire(script, capture, {up(GNB1, teid, QFI, "ping"), down(GNB1, FIRST, QFI, "ping")})
    script.ok(f"ue1 → pdn: 5 of 5, pdn → ue1: 5 of 5, each with QFI {QFI} in N3's container")


def idle(stage: Stage, smf: Smf, script: Script) -> None:
    script.step(
        "ue1 falls silent, and is wanted",
        f"""A phone that says nothing saves its battery: gnb1 lets go of it, and FAR 2 is to buffer
        and notify again. Then the host pings it, {IDLE_PINGS} times. ofgtp must tell the SMF, once
        and not for each packet: a core would now page the phone. The packets themselves wait in
        ofgtp for the tunnel.""",
    )
    smf.do(script, f"idle ue_ip={UE1}")
    stage.gnb1.ask(f"remove ue_ip={UE1}")
    with stage.capture("gw", "gw-eth1", *GTPU) as capture:
        answers, _ = stage.ping("pdn", UE1, IDLE_PINGS)
        wait_for("a Downlink Data Report", smf.reports)
        wait_for("packets that are held", lambda: held(stage)["packets"] >= IDLE_PINGS)
    smf.show(script)
    reports = smf.reports()
    if len(reports) != 1 or reports[0]["pdr"] != 2 or reports[0]["ue_ip"] != UE1:
        raise Failed(f"not one Downlink Data Report for PDR 2 of {UE1}: {reports}")
    if answers or (seen := kinds(capture)):
        raise Failed(f"{answers} answers of an idle phone; on N3: {seen}")
    waiting = held(stage)["packets"]
    if waiting != IDLE_PINGS:
        raise Failed(f"{waiting} packets are held")
    script.ok(f"one Downlink Data Report for {IDLE_PINGS} packets; on N3 there was none of them")
    script.quote(f"GET /v1/gateways: buffer: packets: {waiting}")


def come_back(stage: Stage, smf: Smf, teid: int, script: Script) -> None:
    script.step(
        "ue1 answers the page",
        f"""gnb1 sets the tunnel up anew, with TEID 0x{AGAIN:08x} for its end. The gateway's has
        stayed. FAR 2 forwards again, and what has waited comes first.""",
    )
    stage.gnb1.ask(f"add {at_gnb(UE1, teid, AGAIN)}")
    smf.do(script, f"activate ue_ip={UE1} teid={AGAIN} gnb={GNB1}")
    with stage.capture("gnb1", "gnb1-eth0", *GTPU) as capture:
        stage.answered("pdn", UE1)
    wire(script, capture, {up(GNB1, teid, QFI, "ping"), down(GNB1, AGAIN, QFI, "ping")})
    sent_on = held(stage)["replayed"]
    if sent_on != IDLE_PINGS:
        raise Failed(f"{sent_on} of {IDLE_PINGS} packets that were held were sent on")
    script.ok(f"the {IDLE_PINGS} packets that were held have gone to gnb1; pdn → ue1: 5 of 5")


def handover(stage: Stage, smf: Smf, teid: int, script: Script) -> None:
    script.step(
        "Xn handover to gnb2",
        """ue1 moves to the other gNB while it pings fifty times a second. gnb2 has the tunnels
        ready; the SMF writes its TEID into FAR 2, and asks (SNDEM) for an End Marker: the last
        packet in the old tunnel, by which gnb1 knows that nothing more comes. Recorded at the
        gateway:""",
    )
    with stage.capture("gw", "gw-eth1", *GTPU) as capture:
        stream = PingStream(stage, "ue1", PDN, calm=1)
        move(stage, smf, script, "ue1", (stage.gnb1, stage.gnb2), teid, MOVED)
        stream.end()
    wanted = {
        *(up(GNB1, teid, QFI, "ping"), down(GNB1, AGAIN, QFI, "ping")),
        *(up(GNB2, teid, QFI, "ping"), down(GNB2, MOVED, QFI, "ping")),
        Row(GATEWAY, GNB1, AGAIN, "none", "End Marker"),
    }
    wire(script, capture, wanted)
    script.ok(ended_by_marker(capture, GNB1, AGAIN))
    none_lost(stage, script, stream)


def flow(stage: Stage, smf: Smf, teid: int, script: Script) -> None:
    script.step(
        "A QoS flow of its own for voice",
        f"""ue1 calls, and voice shall not wait behind the rest: the SMF adds PDR 3 and 4, which are
        asked before the others. Their filter takes UDP port {VOICE_PORT} of the host, their QER has
        QFI {VOICE_QFI}. Both flows share ue1's tunnel; gNB and phone tell them apart by the QFI.
        iperf3 makes a second of voice each way. (Its control connection, TCP to the same port, is
        part of the rest: the filter says UDP.)""",
    )
    made = smf.do(script, f"flow ue_ip={UE1} qfi={VOICE_QFI} filter='{VOICE}'")
    if set(made["teids"].values()) != {teid}:
        raise Failed(f"the flow has another TEID than the session: {made}")
    both = f"{QFI}+{VOICE_QFI}"
    stage.gnb2.ask(f"add {at_gnb(UE1, teid, MOVED, qfi=both)}")
    voice = {"qfi": f"{VOICE_QFI}+{QFI}", "traffic": f"udp:{VOICE_PORT}"}
    stage.gnb2.ask(f"add {at_gnb(UE1, teid, MOVED, **voice)}")
    with stage.capture("gnb2", "gnb2-eth0", *GTPU) as capture:
        stage.answered("ue1", PDN, 2)
        options = ("-u", "-b", "100k", "-l", "160", "-t", "1", "--bidir")
        stage.iperf3("ue1", "pdn", PDN, *options, port=VOICE_PORT)
    wanted = {
        way(GNB2, number, qfi, content)
        for way, number in ((up, teid), (down, MOVED))
        for qfi, content in (
            (QFI, "ping"),
            (QFI, f"TCP, port {VOICE_PORT}"),
            (VOICE_QFI, f"UDP, port {VOICE_PORT}"),
        )
    }
    wire(script, capture, wanted)
    nothing_dropped(stage.gnb2)
    script.ok(f"voice has QFI {VOICE_QFI}, the rest {QFI}, both ways, and in the same tunnels")


def release(stage: Stage, smf: Smf, teid: int, script: Script) -> None:
    script.step(
        "ue1 is switched off: release",
        "The SMF deletes the session, and when it is answered all flows of it are gone.",
    )
    smf.do(script, f"release ue_ip={UE1}")
    left = [line for line in stage.flows() if SESSION_COOKIE in line]
    if left or sessions(stage):
        raise Failed(f"flows left: {left}, sessions: {sessions(stage)}")
    stage.unanswered("ue1", PDN)
    wait_for("an Error Indication at gnb2", lambda: stage.gnb2.stats()["error_indications"])
    stage.gnb2.ask(f"remove ue_ip={UE1}")
    script.ok("its pings are no longer answered, and no flow of a session is in the switch")
    script.ok(f"gnb2 was told by an Error Indication that there is no TEID 0x{teid:08x} any more")


def crash(stage: Stage, smf: Smf, stamp: int, script: Script) -> None:
    script.step(
        "ue2 attaches, and ofgtp is killed",
        """ue2 is at gnb2, and pings fifty times a second. Then ofgtp is ended by kill -9, is away
        for some seconds, and is started again. The switch forwards on by the flows that it has, and
        the SMF must notice nothing.""",
    )
    made = smf.do(script, f"establish ue_ip={UE2} qfi={QFI}")
    teid: int = made["teids"]["1"]
    stage.gnb2.ask(f"add {at_gnb(UE2, teid, OTHER)}")
    smf.do(script, f"activate ue_ip={UE2} teid={OTHER} gnb={GNB2}")
    with stage.capture("gw", "gw-eth1", *GTPU) as capture:
        stream = PingStream(stage, "ue2", PDN, calm=1)
        stage.crash_controller()
        script.ok("killed")
        time.sleep(2)  # seconds without any controller
        stage.start_controller("switch", gateway=CONFIG)
        script.ok("started again; the SMF's next heartbeat:")
        beat = smf.do(script, "heartbeat")
        if beat["recovery_time_stamp"] != stamp:
            raise Failed(f"another Recovery Time Stamp than {stamp}: {beat}")
        script.ok("the same Recovery Time Stamp as in step 2: all sessions are still there")
        script.say("And the next modification works, too: ue2 moves to gnb1.")
        move(stage, smf, script, "ue2", (stage.gnb2, stage.gnb1), teid, OTHER_MOVED)
        stream.end()
    wanted = {
        *(up(GNB2, teid, QFI, "ping"), down(GNB2, OTHER, QFI, "ping")),
        *(up(GNB1, teid, QFI, "ping"), down(GNB1, OTHER_MOVED, QFI, "ping")),
        Row(GATEWAY, GNB2, OTHER, "none", "End Marker"),
    }
    wire(script, capture, wanted)
    script.ok(ended_by_marker(capture, GNB2, OTHER))
    none_lost(stage, script, stream)
    compared = re.findall(r"event in_sync: .*flows_changed=\d+", stage.log.read_text())[-1]
    script.quote(f"the controller's log: {compared}")
    if not compared.endswith("flows_changed=0"):
        raise Failed("flows were changed though nothing differed")


def end(stage: Stage, smf: Smf, script: Script) -> None:
    script.step(
        "The end",
        "The SMF releases the association, with which ue2's session goes, and ofgtp is stopped.",
    )
    smf.do(script, "disassociate")
    if (known := associations(stage)) or sessions(stage):
        raise Failed(f"associations {known}, sessions {sessions(stage)}")
    stage.unanswered("ue2", PDN)
    script.ok("there is no session any more, and ue2's pings are no longer answered")
    stage.stop_controller()
    script.ok("the controller has ended")


# -- what the steps share ------------------------------------------------------------------------


def at_gnb(ue_ip: str, uplink: int, downlink: int, **further: object) -> str:
    """A session's tunnels, as a gNB is told them."""
    session = {"ue_ip": ue_ip, "uplink": {"teid": uplink}, "downlink": {"teid": downlink}}
    return bearer(session, **{"qfi": QFI, **further})


def move(
    stage: Stage,
    smf: Smf,
    script: Script,
    ue: str,
    gnbs: tuple[Enb, Enb],
    uplink: int,
    downlink: int,
) -> None:
    """From the first gNB to the second, which chose TEID `downlink`; the first gets an End
    Marker."""
    old, new = gnbs
    node = stage.net[ue]
    markers = old.stats()["end_markers"]
    new.ask(f"add {at_gnb(node.address, uplink, downlink)}")
    target = {stage.gnb1: GNB1, stage.gnb2: GNB2}[new]
    smf.do(script, f"activate ue_ip={node.address} teid={downlink} gnb={target}")
    node.attach(node.intfList()[1])
    wait_for("an End Marker", lambda: old.stats()["end_markers"] > markers)
    old.ask(f"remove ue_ip={node.address}")


def none_lost(stage: Stage, script: Script, stream: PingStream) -> None:
    if stream.lost:
        raise Failed(f"{stream.told()}: {stream.outages}")
    nothing_dropped(stage.gnb1, stage.gnb2)
    script.ok(f"0 of {stream.sent} pings lost")


def nothing_dropped(*gnbs: Enb) -> None:
    for gnb in gnbs:
        stats = gnb.stats()
        if dropped := {name: count for name, count in stats.items() if name.startswith("drop")}:
            raise Failed(f"a gNB has dropped packets: {dropped}")


def held(stage: Stage) -> dict[str, int]:
    """What the gateway says of packets for idle phones."""
    buffer: dict[str, int] = stage.get("/v1/gateways")["items"][0]["buffer"]
    return buffer


def sessions(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.get("/v1/sessions")["items"]
    return found


def associations(stage: Stage) -> list[dict[str, Any]]:
    """Of the only gateway."""
    found: list[dict[str, Any]] = stage.get("/v1/pfcp")["items"][0]["associations"]
    return found


# -- N3, as tshark reads it


def up(gnb: str, teid: int, qfi: int, content: str) -> Row:
    return Row(gnb, GATEWAY, teid, f"UL, QFI {qfi}", content)


def down(gnb: str, teid: int, qfi: int, content: str) -> Row:
    return Row(GATEWAY, gnb, teid, f"DL, QFI {qfi}", content)


def kinds(capture: Path) -> list[Row]:
    """Of what kinds the T-PDUs and End Markers of a capture are, as they first came."""
    fields = ("gtp.message", "ip.src", "ip.dst", "gtp.teid", "ip.proto")
    container = ("gtp.ext_hdr.pdu_ses_con.pdu_type", "gtp.ext_hdr.pdu_ses_con.qos_flow_id")
    ports = ("udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport")
    found: dict[Row, None] = {}
    for message, source, target, teid, protocols, pdu_type, qfi, *of_ports in tshark(
        capture, (*fields, *container, *ports), "gtp.message == 255 || gtp.message == 254"
    ):
        uplink = pdu_type == UL
        protocol = int(protocols.rpartition(",")[2])
        port = of_ports[uplink + 2 * (protocol == TCP)].rpartition(",")[2]
        content = {ICMP: "ping", TCP: f"TCP, port {port}", UDP: f"UDP, port {port}"}[protocol]
        if message == "0xfe":
            content = "End Marker"
        held = f"{'UL' if uplink else 'DL'}, QFI {qfi}" if pdu_type else "none"
        outer = source.partition(",")[0], target.partition(",")[0]
        found[Row(*outer, int(teid, 16), held, content)] = None
    return list(found)


def wire(script: Script, capture: Path, wanted: set[Row]) -> None:
    """Show what was on N3; Failed unless it is what was wanted."""
    seen = kinds(capture)
    script.quote(f"{'outer':<24}{'TEID':<14}{'container':<13}inside")
    for source, target, teid, container, content in seen:
        outer = f"{source} → {target}"
        script.quote(f"{outer:<24}0x{teid:08x}    {container:<13}{content}")
    if set(seen) != wanted:
        raise Failed(f"on N3 there is too much, or too little: {set(seen) ^ wanted}")


# -- N4, as tshark reads it

N4_FIELDS = {
    "fault": "_ws.expert.message",
    "kind": "pfcp.msg_type",
    "source": "ip.src",
    "cause": "pfcp.cause",
    "stamp": "pfcp.recovery_time_stamp",
    "report": "pfcp.report_type.dldr",
    "pdr": "pfcp.pdr_id",
    "ue": "pfcp.ue_ip_addr_ipv4",
    "qfi": "pfcp.qfi_value",
    "filter": "pfcp.flow_desc",
    "choose": "pfcp.f_teid_flags.ch",
    "teid": "pfcp.f_teid.teid",
    "at": "pfcp.f_teid.ipv4_addr",
    "far": "pfcp.far_id",
    "FORW": "pfcp.apply_action.forw",
    "BUFF": "pfcp.apply_action.buff",
    "NOCP": "pfcp.apply_action.nocp",
    "to_teid": "pfcp.outer_hdr_creation.teid",
    "to": "pfcp.outer_hdr_creation.ipv4",
    "end_marker": "pfcp.smreq_flags.sndem",
}


def contents(told: dict[str, str]) -> str:
    """What a message says, in words; `told` are its fields, those with several values by commas."""
    parts = [*named(told), *fars(told)]
    if told.get("end_marker") == "1":
        parts.append("End Marker wanted (SNDEM)")
    return ", ".join(parts)


def named(told: dict[str, str]) -> Iterator[str]:
    """All but FARs and flags."""
    if "cause" in told:
        yield "accepted" if told["cause"] == "1" else f"cause {told['cause']}"
    if "stamp" in told:
        yield f"Recovery Time Stamp {told['stamp'].partition('.')[0]}"
    if "report" in told:
        yield "downlink data"
    if "pdr" in told:
        yield f"PDR {' and '.join(told['pdr'].split(','))}"
    if "ue" in told:
        yield f"UE {told['ue']}"
    if "qfi" in told:
        yield f"QFI {int(told['qfi'].partition(',')[0], 16)}"
    if "filter" in told:
        yield f'filter "{told["filter"].partition(",")[0]}"'
    if "1" in told.get("choose", ""):
        yield "F-TEID to be chosen"
    if "teid" in told:
        yield f"F-TEID {told['teid'].partition(',')[0]} at {told['at'].partition(',')[0]}"


def fars(told: dict[str, str]) -> Iterator[str]:
    """FARs with what they do; those that PDRs merely name stand before them."""
    names = ("FORW", "BUFF", "NOCP")
    actions = list(zip(*(told.get(name, "").split(",") for name in names), strict=True))
    for far, flags in zip(told.get("far", "").split(",")[-len(actions) :], actions, strict=True):
        does = "+".join(name for name, flag in zip(names, flags, strict=True) if flag == "1")
        if does == "FORW" and "to" in told:
            does += f" to TEID {told['to_teid']} at {told['to']}"
        if does:
            yield f"FAR {far}: {does}"


if __name__ == "__main__":
    perform("smf", play)
