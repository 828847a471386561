"""Sessions of rules: bearers by packet filters, rates, a relay before the gateway, and breakout.

make demo-bearers        or, as root:  .venv/bin/python mininet/bearers.py
"""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from stage import (
    API,
    ROOT,
    RUN,
    Failed,
    PingStream,
    Script,
    Stage,
    bearer,
    is_ready,
    perform,
    run,
    tshark,
    wait_for,
)

GATEWAY, ENB1, SGW, PDN, EDGE = "10.1.0.1", "10.1.0.2", "10.1.0.4", "10.2.0.2", "10.3.0.2"
VOICE_PORT, VIDEO_PORT = 5004, 5202

VOICE = {
    "id": "voice",
    "precedence": 10,
    "filters": ["permit out udp from 10.2.0.0/24 5004-5007 to assigned"],
    "uplink": {"teid": 4098},
    "downlink": {"teid": 8194, "remote_ip": ENB1},
    "mbr": {"uplink_kbps": 256, "downlink_kbps": 256},
}
VIDEO = {
    "id": "video",
    "precedence": 20,
    "filters": [{"protocol": "tcp", "remote": "10.2.0.0/24", "remote_ports": "5202"}],
    "uplink": {"teid": 4099},
    "downlink": {"teid": 8195, "remote_ip": ENB1},
}
UE1 = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": ENB1},
    "bearers": [VOICE, VIDEO],
}
PATH = f"/v1/sessions/{UE1['id']}"
TRAFFIC = {"voice": f"udp:{VOICE_PORT}-5060", "video": f"tcp:{VIDEO_PORT}"}
LIMIT_KBPS = 10_000
LIMIT = {"mbr": {"downlink_kbps": LIMIT_KBPS}}
LOST_AT_MOST = 5  # pings of a hundred beside TCP at full speed: ports of a busy machine overflow
WRONG_PINGS = 3

# With the SGW between each bearer has two tunnels: S1-U to the base station, S5 to the gateway.
RELAYS = [
    {
        "id": f"s5-{name}",
        "uplink": {"teid": s1u},
        "downlink": far["downlink"],
        "core": {
            "teid": s5,
            "remote_teid": far["uplink"]["teid"],
            "remote_ip": GATEWAY,
        },
    }
    for name, s1u, s5, far in (
        ("rest", 20481, 24577, UE1),
        ("voice", 20482, 24578, VOICE),
        ("video", 20483, 24579, VIDEO),
    )
]
BREAKOUT = {"ue_ip": UE1["ue_ip"], "breakout": ["10.3.0.0/24"]}

WAYS = ("uplink", "downlink")
GTPU = ("udp", "port", "2152")
ICMP, TCP, UDP = 1, 6, 17

PICTURE = """
                     10.1.0.2             10.1.0.1
ue1 10.45.0.2 ── enb1 ═══════╦════════════ gw  [ Open vSwitch, ofgtp ] ── pdn 10.2.0.2
                             ║             ║ S5, from step 8
                             ╚════════════ sgw [ Open vSwitch, ofgtp ] ── edge 10.3.0.2
                                          10.1.0.4
"""


class Row(NamedTuple):
    """Of what kind a T-PDU is: the outer addresses, the TEID, and what is in it."""

    source: str
    target: str
    teid: int
    content: str


def play(stage: Stage, script: Script) -> None:
    sgw = start(stage, script)
    three_bearers(stage, script)
    on_the_wire(stage, script)
    flows(stage, script)
    limit(stage, script)
    wrong_bearer(stage, script)
    gate(stage, script)
    relay(stage, sgw, script)
    breakout(stage, sgw, script)
    end(stage, sgw, script)


class Sgw:
    """The second gateway: a switch and a controller of its own, in the namespace of node `sgw`."""

    def __init__(self, stage: Stage) -> None:
        self.node = stage.net["sgw"]
        rundir = RUN / "sgw"
        stage.start_switch(rundir, "sgw")
        config = Path(shutil.copy(ROOT / "topologies" / "sgw.toml", rundir))
        self.process = stage.start_manager(config, stage.log, "sgw", OVS_RUNDIR=str(rundir))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One REST request from within the namespace; Failed unless the answer is a 2xx."""
        words = ["curl", "-sS", "--fail-with-body", "-X", method, API + path]
        if body is not None:
            words += ["--json", json.dumps(body)]
        out, err, code = self.node.pexec(words)
        if code:
            raise Failed(f"sgw: {method} {path}: {err}{out}")
        return json.loads(out) if out else None

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise Failed(f"the controller of sgw has ended ({self.process.returncode})")
        try:
            return is_ready(self.call("GET", "/v1/gateways"))
        except Failed:
            return False

    def stop(self) -> None:
        self.process.terminate()
        if self.process.wait(60) not in (0, -15):
            raise Failed(f"the controller of sgw ended with {self.process.returncode}")


def start(stage: Stage, script: Script) -> Sgw:
    script.step(
        "One phone, and more than one kind of traffic",
        """Voice wants little and must not wait, video wants much, and there is the rest. A 4G
        network gives each a tunnel of its own between base station and gateway: a bearer. Which
        packet goes into which is said by filters: protocol, addresses, ports. To the switch all of
        it is flows.""",
    )
    script.quote(PICTURE.strip("\n"))
    for name, text in stage.versions():
        script.quote(f"{name:<14}{text}")
    sgw = Sgw(stage)
    stage.start_controller()
    stage.enb1 = stage.start_enb("enb1")
    wait_for("sgw: in sync, next hop known", sgw.ready)
    script.ok("both gateways run, each with a switch and a controller of its own")
    return sgw


def three_bearers(stage: Stage, script: Script) -> None:
    script.step(
        "A session with two bearers",
        """The session's own tunnel pair takes what no bearer takes. Filters are written for the
        downlink, from the remote end to the phone; uplink the gateway turns them round. Of two
        bearers the one with the lower precedence is asked first.""",
    )
    script.quote(f"curl {API}/v1/sessions --json '{json.dumps(UE1, indent=1)}'")
    answer = stage.create(UE1)
    made = {each["id"]: each for each in answer["bearers"]}
    if sorted(made) != ["video", "voice"]:
        raise Failed(f"not the two bearers: {answer}")
    for each in (UE1, VOICE, VIDEO):
        stage.enb1.ask(f"add {at_enb(each)}")
    wait_for("GET /v1/peers: up", lambda: stage.get("/v1/peers")["items"][0]["state"] == "up")
    script.ok(f"{answer['id']} is active, with the bearers {' and '.join(made)}")


def on_the_wire(stage: Stage, script: Script) -> None:
    script.step(
        "Each bearer on S1-U, by its TEID",
        f"""Pings, a second of voice (UDP port {VOICE_PORT}, both ways) and one of video (TCP port
        {VIDEO_PORT}), recorded at the base station. (iperf3 makes both; its own connection of
        control, TCP port {VOICE_PORT}, is part of the rest: the voice filter says UDP.)""",
    )
    with stage.capture("enb1", "enb1-eth0", *GTPU) as capture:
        traffic(stage)
    seen = kinds(capture)
    show(script, seen)
    for row in wanted(UE1, VOICE, VIDEO, near=ENB1, far=GATEWAY):
        if row not in seen:
            raise Failed(f"missing: {row}")
    where = {row.content: row.teid for row in seen if row.target == GATEWAY}
    if len(seen) != len(where) * 2 or where[f"TCP, port {VOICE_PORT}"] != 4097:
        raise Failed(f"something in the wrong tunnel: {seen}")
    script.ok("voice, video and the rest: each in the tunnels of its bearer, and in no other")
    stats = stage.enb1.stats()
    if dropped := {name: count for name, count in stats.items() if name.startswith("drop")}:
        raise Failed(f"the base station has dropped packets: {dropped}")


def traffic(stage: Stage) -> None:
    """Some of each bearer's, both ways."""
    stage.answered("ue1", PDN, 2)
    voice = ("-u", "-b", "100k", "-l", "160", "-t", "1", "--bidir")
    stage.iperf3("ue1", "pdn", PDN, *voice, port=VOICE_PORT)
    stage.iperf3("ue1", "pdn", PDN, "-R", "-b", "5M", "-t", "1", port=VIDEO_PORT)


def flows(stage: Stage, script: Script) -> None:
    script.step(
        "The flows, and whose each is",
        f"""GET {PATH}/flows. In table 30 a tunnel is found by its TEID; table 31 holds its packets
        to the bearer's filters. Downlink, table 71 asks the filters in order of precedence, by the
        flows' priority. The mask of reg8 matches everything; it helps the switch's cache.""",
    )

    def counted() -> Any:
        """The bearers, once each has counted packets both ways."""
        bearers = stage.get(f"{PATH}/bearers")["items"]
        counts = [each["counters"][way]["packets"] for each in bearers for way in WAYS]
        return all(counts) and bearers

    bearers = wait_for("packets counted by each bearer, both ways", counted)
    items = stage.get(f"{PATH}/flows")["items"]
    for item in items:
        whose = item["bearer"] or "the session's own"
        flow = re.sub(r"^cookie=\w+,", "", item["flow"])
        script.quote(f"{item['direction']}, {whose}: {item['packets']} packets")
        script.quote(f"  {flow.replace(',', ', ').replace(' actions=', chr(10) + '  →  ')}")
    idle = [item["flow"] for item in items if not item["packets"] and item["bearer"] is None]
    if {item["bearer"] for item in items} != {None, "voice", "video"} or idle:
        raise Failed(f"flows that are nobody's, or have counted nothing: {items}")
    for each in bearers:
        up, down = (each["counters"][way]["packets"] for way in WAYS)
        script.quote(f"{each['id']}: {up} packets up, {down} down")
    script.ok("each bearer has counted its packets, both ways; they are part of the session's")


def limit(stage: Stage, script: Script) -> None:
    script.step(
        "A rate for the video, set in place",
        """iperf3 to the phone for two seconds, before and after. The switch polices by a meter:
        what comes too fast is dropped, and TCP slows down. Meanwhile the phone pings by its default
        bearer, which has no limit.""",
    )
    before = stage.iperf3("ue1", "pdn", PDN, "-R", port=VIDEO_PORT)
    script.ok(f"before: {before:.0f} Mbit/s")
    lost_before = drops(stage, "rate_exceeded")
    answer = change(stage, script, f"{PATH}/bearers/video", LIMIT)
    if answer["mbr"]["downlink_kbps"] != LIMIT_KBPS:
        raise Failed(f"PATCH: {answer}")
    meters = run("ovs-ofctl", "-O", "OpenFlow14", "dump-meters", "br-ofgtp", meter_of(stage))
    script.quote(" ".join(meters.split("\n", 1)[-1].split()))
    stream = PingStream(stage, "ue1", PDN, calm=0.2)
    after = stage.iperf3("ue1", "pdn", PDN, "-R", port=VIDEO_PORT)
    stream.end()
    script.ok(f"after: {after:.1f} Mbit/s, of {LIMIT_KBPS / 1000:.0f}")
    most = LIMIT_KBPS / 1000 * 1.2  # two seconds and a bucket of a quarter of one
    if not most / 4 < after < most < before:
        raise Failed(f"{before:.1f} Mbit/s before, {after:.1f} after")
    policed = wait_for("rate_exceeded", lambda: drops(stage, "rate_exceeded") - lost_before)
    if stream.lost > LOST_AT_MOST:
        raise Failed(f"the default bearer suffered: {stream.told()}")
    script.ok(
        f"{policed} packets counted as rate_exceeded; {stream.lost} of {stream.sent} pings lost"
    )


def wrong_bearer(stage: Stage, script: Script) -> None:
    script.step(
        "A phone that puts the rest into the voice bearer",
        f"""Voice may have priority on the radio, so a phone may want all of its packets there. The
        base station lets it: {WRONG_PINGS} pings with TEID {VOICE["uplink"]["teid"]}.""",
    )
    before = drops(stage, "wrong_bearer")
    stage.enb1.ask(f"add {at_enb(VOICE, traffic='icmp')}")
    if answers := stage.ping("ue1", PDN, WRONG_PINGS)[0]:
        raise Failed(f"{answers} answers to pings in the voice bearer")
    stage.enb1.ask(f"remove ue_ip={UE1['ue_ip']}")
    for each in (UE1, VOICE, VIDEO):
        stage.enb1.ask(f"add {at_enb(each)}")
    wait_for("wrong_bearer", lambda: drops(stage, "wrong_bearer") - before >= WRONG_PINGS)
    if (counted := drops(stage, "wrong_bearer") - before) != WRONG_PINGS:
        raise Failed(f"{counted} packets counted as wrong_bearer")
    script.quote(f"GET /v1/gateways: drops: wrong_bearer: {counted}")
    stage.answered("ue1", PDN, 2)
    script.ok("none came through: a bearer's tunnel takes what its filters say, and nothing else")


def gate(stage: Stage, script: Script) -> None:
    script.step("The gate of the voice bearer", "Closed, no packet of it passes either way.")
    before = drops(stage, "gate_closed")
    change(stage, script, f"{PATH}/bearers/voice", {"gate": "closed"})
    send_voice(stage, 5)
    wait_for("5 drops as gate_closed", lambda: drops(stage, "gate_closed") - before >= 5)
    counted = drops(stage, "gate_closed") - before
    change(stage, script, f"{PATH}/bearers/voice", {"gate": "open"})
    stage.answered("ue1", PDN, 2)
    if counted != 5:
        raise Failed(f"{counted} packets counted as gate_closed, of 5 sent")
    script.ok("5 packets of voice sent to the phone: all are counted as gate_closed")


def send_voice(stage: Stage, count: int) -> None:
    """So many packets from the host's voice port to the phone."""
    program = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f" s.bind(('', {VOICE_PORT})); [s.sendto(b'voice', ('{UE1['ue_ip']}', 40000))"
        f" for _ in range({count})]"
    )
    stage.net["pdn"].run("python3", "-c", program)


def relay(stage: Stage, sgw: Sgw, script: Script) -> None:
    script.step(
        "An SGW between base station and gateway",
        """In 4G the base station speaks to an SGW (S1-U), and that to the gateway (S5). sgw is
        another Open vSwitch with another ofgtp: a session with "core" is a relay, from tunnel to
        tunnel, and does not look at what is in them. Each bearer has one. The phone pings, fifty
        times a second, while its tunnels are laid anew.""",
    )
    for session in RELAYS:
        script.quote(f"sgw# curl {API}/v1/sessions --json '{json.dumps(session)}'")
        answer = sgw.call("POST", "/v1/sessions", session)
        if answer["state"] != "active":
            raise Failed(f"sgw: {answer}")
    stream = PingStream(stage, "ue1", PDN, calm=0.5)
    for each, s5 in zip((UE1, VOICE, VIDEO), RELAYS, strict=True):
        stage.enb1.ask(f"add {at_enb(each, gateway=SGW, uplink_teid=s5['uplink']['teid'])}")
    rest, *others = ({"teid": each["core"]["teid"], "remote_ip": SGW} for each in RELAYS)
    moved = [
        each | {"downlink": far} for each, far in zip((VOICE, VIDEO | LIMIT), others, strict=True)
    ]
    answer = change(stage, script, PATH, {"downlink": rest, "bearers": moved})
    if answer["state"] != "active":
        raise Failed(f"PATCH: {answer}")
    stream.end()
    with stage.capture("sgw", "sgw-eth1", *GTPU) as capture:
        traffic(stage)
    seen = kinds(capture)
    show(script, seen)
    for name, near, far, sides in (
        ("S1-U", ENB1, SGW, [(r["uplink"]["teid"], r["downlink"]["teid"]) for r in RELAYS]),
        ("S5", SGW, GATEWAY, [(r["core"]["remote_teid"], r["core"]["teid"]) for r in RELAYS]),
    ):
        leg = [row for row in seen if {row.source, row.target} == {near, far}]
        got = {(row.teid, row.source == near) for row in leg}
        if got != {(up, True) for up, _ in sides} | {(down, False) for _, down in sides}:
            raise Failed(f"{name}: not these tunnels: {sides}: {seen}")
    if stream.lost:
        raise Failed(stream.told())
    script.ok(f"each T-PDU crosses two tunnels, S1-U and S5; 0 of {stream.sent} pings lost")


def breakout(stage: Stage, sgw: Sgw, script: Script) -> None:
    script.step(
        "Breakout at the SGW",
        f"""The host edge, {EDGE}, is behind the SGW. The relay of the rest learns the phone's
        address and a prefix: what goes there leaves by the SGW's own core port, and what comes
        back is put into the phone's tunnel. All else goes on to the gateway.""",
    )
    if answers := stage.ping("ue1", EDGE, 2)[0]:
        raise Failed(f"{answers} answers from edge before")
    script.ok(f"before: ue1 → edge: 0 of 2; in the packet data network there is no {EDGE}")
    path = f"/v1/sessions/{RELAYS[0]['id']}"
    script.quote(f"sgw# curl -X PATCH {API}{path} --json '{json.dumps(BREAKOUT)}'")
    answer = sgw.call("PATCH", path, BREAKOUT)
    if answer["state"] != "active":
        raise Failed(f"sgw: {answer}")
    wait_for("ue1 → edge", lambda: stage.ping("ue1", EDGE, 1)[0])
    with stage.capture("sgw", "sgw-eth1", *GTPU) as capture:
        stage.answered("ue1", EDGE, 3)
        edge = kinds(capture_so_far(capture))
        stage.answered("ue1", PDN, 3)
    everything = kinds(capture)
    show(script, everything)
    if any(GATEWAY in (row.source, row.target) for row in edge) or len(edge) != 2:
        raise Failed(f"pings to edge were seen on the way to the gateway: {edge}")
    if not any(GATEWAY in (row.source, row.target) for row in everything):
        raise Failed(f"pings to pdn were not seen on the way to the gateway: {everything}")
    script.ok("ue1 → edge: 3 of 3, and none of them was in a tunnel to the gateway")
    script.ok("ue1 → pdn: 3 of 3, by way of the gateway")


def capture_so_far(capture: Path) -> Path:
    """A copy of a capture that goes on, once the packets under way are in it."""
    time.sleep(0.5)
    return Path(shutil.copy(capture, capture.with_suffix(".part")))


def end(stage: Stage, sgw: Sgw, script: Script) -> None:
    script.step("The end", "The sessions are deleted, and both controllers are stopped.")
    stage.call("DELETE", PATH)
    for session in RELAYS:
        sgw.call("DELETE", f"/v1/sessions/{session['id']}")
    for address in (PDN, EDGE):
        stage.unanswered("ue1", address)
    if left := run("ovs-ofctl", "-O", "OpenFlow14", "dump-meters", "br-ofgtp").count("kbps"):
        raise Failed(f"{left} meters are left")
    script.ok("pings are not answered any more, and the bearers' meters are gone")
    stage.stop_controller()
    sgw.stop()
    script.ok(
        "the controllers have ended, and there is no flow of the gateway's left in its switch"
    )


# -- what the steps share ------------------------------------------------------------------------


def at_enb(each: dict[str, Any], **further: object) -> str:
    """A bearer, or the session, as the base station is told it."""
    fields = {"traffic": TRAFFIC[each["id"]]} if each["id"] in TRAFFIC else {}
    tunnels = {"uplink": each["uplink"], "downlink": each["downlink"]}
    return bearer(UE1 | tunnels, **(fields | further))


def change(stage: Stage, script: Script, path: str, patch: dict[str, Any]) -> Any:
    """PATCH, and show how."""
    script.quote(f"curl -X PATCH {API}{path} --json '{json.dumps(patch)}'")
    return stage.call("PATCH", path, patch)[1]


def drops(stage: Stage, reason: str) -> int:
    count: int = stage.get("/v1/gateways")["items"][0]["drops"][reason]
    return count


def meter_of(stage: Stage) -> str:
    """The meter of the video's downlink, as ovs-ofctl names it."""
    for item in stage.get(f"{PATH}/flows")["items"]:
        found = re.search(r"meter:(\d+)", item["flow"])
        if found and (item["bearer"], item["direction"]) == ("video", "downlink"):
            return f"meter={found[1]}"
    raise Failed("no flow of the video's has a meter")


def kinds(capture: Path) -> list[Row]:
    """Of what kinds the T-PDUs of a capture are, as they first came."""
    fields = ("ip.src", "ip.dst", "gtp.teid", "ip.proto")
    ports = ("udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport")
    found: dict[Row, None] = {}
    for source, target, teid, protocols, *of_ports in tshark(
        capture, (*fields, *ports), "gtp.message == 255 && ip"
    ):
        uplink = source.rpartition(",")[2] == UE1["ue_ip"]
        protocol = int(protocols.rpartition(",")[2])
        udp, tcp = of_ports[uplink], of_ports[2 + uplink]
        content = {
            ICMP: "ping",
            UDP: f"UDP, port {udp.rpartition(',')[2]}",
            TCP: f"TCP, port {tcp.rpartition(',')[2]}",
        }[protocol]
        outer = source.partition(",")[0], target.partition(",")[0]
        found[Row(*outer, int(teid, 16), content)] = None
    return list(found)


def wanted(*bearers: dict[str, Any], near: str, far: str) -> list[Row]:
    """What must be seen of these bearers between base station and gateway."""
    contents = {"voice": f"UDP, port {VOICE_PORT}", "video": f"TCP, port {VIDEO_PORT}"}
    rows = []
    for each in bearers:
        content = contents.get(each["id"], "ping")
        rows.append(Row(near, far, each["uplink"]["teid"], content))
        rows.append(Row(far, near, each["downlink"]["teid"], content))
    return rows


def show(script: Script, rows: list[Row]) -> None:
    script.quote(f"{'outer':<24}{'TEID':<14}inside")
    for source, target, teid, content in rows:
        script.quote(f"{source + ' → ' + target:<24}0x{teid:08x}    {content}")


if __name__ == "__main__":
    perform("sgw", play)
