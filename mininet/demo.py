"""The main job of ofgtp, end to end: a phone reaches a host through GTP-U tunnels, and back.

make demo        or, as root:  .venv/bin/python mininet/demo.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ipv6 import PDN6, ROUTER, pinged, switched_on, traced
from stage import Failed, Script, Stage, ended_by_marker, perform, run, tshark, wait_for

GATEWAY, ENB1, ENB2, PDN = "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.2"

UE1 = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "ue_ipv6": "2001:db8:a:1::/64",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": ENB1},
}
UE2 = {
    "id": "imsi-001010000000002-5",
    "ue_ip": "10.45.0.3",
    "ue_ipv6": "2001:db8:a:2::/64",
    "uplink": {"teid": 4098},
    "downlink": {"teid": 12290, "remote_ip": ENB2},
}
MOVED = {"teid": 12289, "remote_ip": ENB2}  # ue1's downlink after the handover
AGAIN = {"teid": 12291, "remote_ip": ENB2}  # and after enb2 has lost that one
FORGED6 = "2001:db8:a:2::99"  # of ue2's prefix
NOBODYS = 57005  # an uplink TEID that no session has

PINGS, INTERVAL = 100, 0.02  # two seconds of them, during the handover
LOST_AT_MOST = 3  # besides those sent while the radio link changes; the gateway loses none
GTPU = ("udp", "port", "2152")
SIGNALLING = {
    "0x01": "Echo Request",
    "0x02": "Echo Response",
    "0x1a": "Error Indication",
    "0xfe": "End Marker",
}

INDICATED = {"TEID": "gtp.teid_data", "peer": "gtp.gsn_ipv4"}  # an Error Indication's contents

PICTURE = """
ue1 10.45.0.2 ── enb1 10.1.0.2 ══╗
    2001:db8:a:1::/64            ╠══ GTP-U (S1-U) ══ [ Open vSwitch ] ── pdn 10.2.0.2
ue2 10.45.0.3 ── enb2 10.1.0.3 ══╝           10.1.0.1       ↑       10.2.0.1 2001:db8:c::2
    2001:db8:a:2::/64                              Ryu + ofgtp      2001:db8:c::1
"""


def play(stage: Stage, script: Script) -> None:
    start(stage, script)
    recorded = post_sessions(stage, script)
    paths(stage, script, recorded)
    pings(stage, script)
    decode(stage, script)
    ipv6(stage, script)
    speed(stage, script)
    flows(stage, script)
    spoof(stage, script)
    unknown_teid(stage, script)
    handover(stage, script)
    lost_tunnel(stage, script)
    end(stage, script)


def start(stage: Stage, script: Script) -> None:
    script.step(
        "The network, and ofgtp in it",
        """Two phones (UE: user equipment), each at a base station (eNB). Between base station and
        gateway every packet of a phone travels inside another one: that is GTP-U. The gateway
        takes it out and hands it to the packet data network (pdn), and the other way round.""",
    )
    script.quote(PICTURE.strip("\n"))
    for name, text in stage.versions():
        script.quote(f"{name:<14}{text}")
    stage.start_controller()
    script.quote(run("ovs-vsctl", "show"))
    script.ok("the controller has made the bridge and its ports, and is connected to it")
    stage.enb1, stage.enb2 = stage.start_enb("enb1"), stage.start_enb("enb2")
    script.ok("the base stations run: a small program, topologies/enb.py, with no code of ofgtp's")


def post_sessions(stage: Stage, script: Script) -> Path:
    """Post the sessions; returns what passes enb1's link meanwhile."""
    script.step(
        "Two sessions, told to ofgtp by REST",
        """A session is one phone's pair of tunnels. Each tunnel has a number, the TEID (tunnel
        endpoint identifier), which whoever receives has chosen: the gateway receives the uplink
        (from the phone) and the base station the downlink (to the phone). The phones have an IPv4
        address, and IPv6 beside it: of that a prefix, within which a phone makes its own.""",
    )
    script.quote(f"curl http://127.0.0.1:8080/v1/sessions --json '{json.dumps(UE1, indent=2)}'")
    with stage.capture("enb1", "enb1-eth0", *GTPU) as recorded:
        stage.enb1.add(UE1)
        stage.enb2.add(UE2)
        answer = stage.create(UE1)
        script.quote(f"201 Created\n{json.dumps(answer, indent=2)}")
        script.ok(f"{answer['id']} is active: the switch has confirmed its flows")
        script.ok(f"{stage.create(UE2)['id']} as well")
        wait_for("GET /v1/peers: both up", lambda: set(peers(stage).values()) == {"up"})
    script.say("The base stations have got the same numbers, in a real network from the MME.")
    return recorded


def peers(stage: Stage) -> dict[str, str]:
    """The gateway's GTP-U peers, and the states of the paths to them."""
    return {peer["ip"]: peer["state"] for peer in stage.get("/v1/peers")["items"]}


def messages(
    script: Script, capture: Path, *, echo: bool = False, **fields: str
) -> list[tuple[str, ...]]:
    """Show the GTP-U messages of a capture that are no T-PDUs, as tshark decodes them.

    Those of Echo, which come once a minute whatever else goes on, only if they are asked for.

    A row a message: its name, from, to, and the fields asked for. Failed if tshark finds fault
    with what the gateway sent.
    """
    wanted = "gtp && gtp.message != 255" + ("" if echo else " && gtp.message > 2")
    faulty = f"{wanted} && ip.src == {GATEWAY} && (_ws.malformed || _ws.expert)"
    if faults := tshark(capture, ("frame.number", "_ws.expert.message"), faulty):
        raise Failed(f"tshark finds fault with what the gateway sent: {faults}")
    rows = tshark(capture, ("gtp.message", "ip.src", "ip.dst", *fields.values()), wanted)
    found = [(SIGNALLING.get(kind, kind), *rest) for kind, *rest in rows]
    for kind, source, target, *values in found:
        named = zip(fields, values, strict=True)
        shown = [f"{name.replace('_', ' ')} {value}" for name, value in named if value]
        script.quote(f"{source} → {target}  {kind + ':':<18} {', '.join(shown)}")
    return found


def paths(stage: Stage, script: Script, recorded: Path) -> None:
    script.step(
        "Are the base stations there? Echo",
        """Each base station that a session names is asked by an Echo Request, at once and then once
        a minute. This passed enb1's link during step 2, as tshark decodes it:""",
    )
    shown = {"sequence_number": "gtp.seq_number", "Recovery": "gtp.recovery"}
    rows = messages(script, recorded, echo=True, **shown)
    asked = [row for row in rows if row[:3] == ("Echo Request", GATEWAY, ENB1)]
    answered = [row for row in rows if row[:3] == ("Echo Response", ENB1, GATEWAY)]
    if len(asked) != 1 or [row[3] for row in asked] != [row[3] for row in answered]:
        raise Failed(f"not one Echo Request and its answer: {rows}")
    peer = stage.get("/v1/peers")["items"][0]
    script.quote(f"GET /v1/peers, the first of two:\n{json.dumps(peer, indent=2)}")
    if peers(stage) != {ENB1: "up", ENB2: "up"}:
        raise Failed(f"the paths are not up: {peers(stage)}")
    script.ok("both paths are up; one that stops answering would be down, and an event would tell")


def pings(stage: Stage, script: Script) -> None:
    script.step(
        "Ping, each way",
        """Uplink first: the phone asks and the host answers; then the host asks. Each ping needs
        both tunnels, one for the question and one for the answer.""",
    )
    for node, address, what in (
        ("ue1", PDN, "ue1 → pdn"),
        ("pdn", UE1["ue_ip"], "pdn → ue1"),
        ("ue2", PDN, "ue2 → pdn"),
    ):
        text = stage.answered(node, address)
        script.quote("\n".join(text.strip().splitlines()[-2:]))
        script.ok(f"{what}: 5 of 5")


def decode(stage: Stage, script: Script) -> None:
    script.step(
        "The same pings on S1-U, as tshark decodes them",
        f"""Recorded at the base station's end of the link. Outside: base station {ENB1} and
        gateway {GATEWAY}. Inside: the phone and the host. Between them the TEID:
        {UE1["uplink"]["teid"]} is 0x{UE1["uplink"]["teid"]:08x} (uplink), {UE1["downlink"]["teid"]}
        is 0x{UE1["downlink"]["teid"]:08x} (downlink).""",
    )
    with stage.capture("enb1", "enb1-eth0", "udp", "port", "2152") as capture:
        stage.ping("ue1", PDN, 2)
        stage.ping("pdn", UE1["ue_ip"], 2)
    fields = ("ip.src", "ip.dst", "gtp.teid", "icmp.type", "udp.checksum.status", "udp.checksum")
    rows = tshark(capture, fields, "gtp.message == 255 && icmp")
    script.quote(f"{'outer':<22}{'TEID':<13}{'inner':<24}{'ICMP':<12}UDP checksum")
    seen, bad = set(), 0
    for source, target, teid, icmp, status, checksum in rows:
        (outer_from, inner_from), (outer_to, inner_to) = source.split(","), target.split(",")
        none = int(checksum, 16) == 0
        good = none or status == "1"
        bad += not good
        verdict = "none (0)" if none else "good" if good else "WRONG"
        kind = {"8": "echo", "0": "reply"}.get(icmp, icmp)
        script.quote(
            f"{outer_from + ' → ' + outer_to:<22}{teid:<13}{inner_from + ' → ' + inner_to:<24}"
            f"{kind:<12}{verdict}"
        )
        seen.add((outer_from, outer_to, int(teid, 16), inner_from, inner_to))
    ue = UE1["ue_ip"]
    wanted = {
        (ENB1, GATEWAY, UE1["uplink"]["teid"], ue, PDN),
        (GATEWAY, ENB1, UE1["downlink"]["teid"], PDN, ue),
    }
    if seen != wanted or len(rows) != 8:
        raise Failed(f"{len(rows)} packets, not 8, or tunnels other than the session's: {seen}")
    script.ok("8 packets, all in the session's two tunnels")
    if bad:
        raise Failed(f"{bad} packets have a wrong UDP checksum: receivers will drop them")
    script.ok("every UDP checksum is right, or left out (0) as IPv4 allows")


def ipv6(stage: Stage, script: Script) -> None:
    script.step(
        "IPv6, in the same tunnels",
        f"""ue1's IPv6 is switched on. Nobody tells it an address: its kernel asks for a router, by
        a Router Solicitation, which travels through the tunnel. The gateway is that router, and
        answers by a Router Advertisement with the session's prefix, {UE1["ue_ipv6"]}. Within that
        the kernel forms an address (SLAAC). This passed enb1's link:""",
    )
    with stage.capture("enb1", "enb1-eth0", *GTPU) as capture:
        address = switched_on(stage, "ue1", UE1["ue_ipv6"])
    fields = ("ip.src", "ip.dst", "gtp.teid", "ipv6.src", "ipv6.dst", "icmpv6.type")
    fields = (*fields, "icmpv6.opt.prefix", "icmpv6.checksum.status")
    kinds = {"133": "Router Solicitation", "134": "Router Advertisement"}
    seen = []
    for source, target, teid, inner_from, inner_to, kind, prefix, checksum in tshark(
        capture, fields, "gtp && (icmpv6.type == 133 || icmpv6.type == 134)"
    ):
        told = f"{kinds[kind]}, prefix {prefix}" if prefix else kinds[kind]
        script.quote(f"{source} → {target}  TEID {teid}  {told}\n    {inner_from} → {inner_to}")
        seen.append((source, target, int(teid, 16), kind, checksum))
    wanted = [(ENB1, GATEWAY, UE1["uplink"]["teid"], "133", "1")]
    wanted.append((GATEWAY, ENB1, UE1["downlink"]["teid"], "134", "1"))
    if not set(wanted) <= set(seen):
        raise Failed(f"not a Router Solicitation and its answer: {seen}")
    script.quote("ue1# ip -6 address show dev ue1-eth0; ip -6 route show default")
    ue = stage.net["ue1"]
    for command in ("address show dev ue1-eth0 scope global", "route show default"):
        script.quote(ue.run("ip", "-6", *command.split()))
    script.ok(f"ue1 has formed {address}, and its router is {ROUTER}")
    for node, target in (("ue1", PDN6), ("pdn", address)):
        script.quote(pinged(stage, node, target))
    script.ok("ue1 → pdn: 5 of 5, pdn → ue1: 5 of 5")
    script.quote(traced(stage, "ue1", PDN6))
    script.ok("between them is one router, the gateway: the base station's tunnel is no hop")


def speed(stage: Stage, script: Script) -> None:
    script.step(
        "iperf3, each way, by IPv4 and by IPv6",
        """TCP for two seconds through the tunnels. The base station is a Python program that
        handles packets one by one: this shows that much traffic passes, not how much could.""",
    )
    for address, family in ((PDN, "IPv4"), (PDN6, "IPv6")):
        for what, options in (("uplink,   ue1 → pdn", ()), ("downlink, pdn → ue1", ("-R",))):
            rate = stage.iperf3("ue1", "pdn", address, *options)
            if rate < 1:
                raise Failed(f"{what}, {family}: {rate:.3f} Mbit/s")
            script.ok(f"{what}, {family}: {rate:.0f} Mbit/s")


def flows(stage: Stage, script: Script) -> None:
    path = f"/v1/sessions/{UE1['id']}/flows"
    script.step(
        "The OpenFlow flows of ue1's session",
        f"""GET {path}: one flow for the uplink, one for the downlink, and the same for IPv6, with
        the switch's counters.""",
    )
    items = stage.get(path)["items"]
    for item in items:
        script.quote(f"{item['direction']}: {item['packets']} packets, {item['bytes']} bytes")
        script.quote(f"  {item['flow'].replace(',', ', ').replace('actions=', chr(10) + '  →  ')}")
    if sorted(item["direction"] for item in items) != ["downlink"] * 2 + ["uplink"] * 2:
        raise Failed(f"not two uplink and two downlink flows: {items}")
    idle = [item["direction"] for item in items if item["packets"] < 10]
    if idle:
        raise Failed(f"no packets counted: {idle}")
    script.ok("all have counted packets")


def spoof(stage: Stage, script: Script) -> None:
    script.step(
        "A phone that lies about its address",
        """ue1 now sends with 10.45.0.99, an address that is not its session's, and with an IPv6
        address of ue2's prefix. The base station lets it pass, in ue1's tunnel. The gateway must
        not, or phones could speak for others.""",
    )
    ue, right = stage.net["ue1"], {UE1["ue_ip"], stage.net["ue1"].ipv6()}
    ue.run("ip", "address", "add", "10.45.0.99/32", "dev", "lo")
    ue.run("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=0")
    ue.run("ip", "address", "add", f"{FORGED6}/128", "dev", "lo", "nodad", "preferred_lft", 0)
    forged = {"ue_ip": "10.45.0.99", "uplink": UE1["uplink"], "downlink": {"teid": 9999}}
    stage.enb1.add(forged)
    before, counted = stage.enb1.stats(), drops(stage)
    with stage.capture("pdn", "pdn-eth0", "icmp", "or", "icmp6") as capture:
        for target, source in ((PDN, "10.45.0.99"), (PDN6, FORGED6)):
            stage.ping("ue1", target, 3, "-I", source)
            stage.ping("ue1", target, 1)
    asked = "icmp.type == 8 || icmpv6.type == 128"
    sources = {four or six for four, six in tshark(capture, ("ip.src", "ipv6.src"), asked)}
    after = stage.enb1.stats()
    if after["uplink_packets"] < before["uplink_packets"] + 8 or sources != right:
        raise Failed(f"8 pings went into the tunnel, the host saw some from {sources}")
    wait_for("6 more drops counted", lambda: drops(stage) >= counted + 6)
    gateway = stage.get("/v1/gateways")["items"][0]
    script.quote(f"GET /v1/gateways: drops: no_uplink_session: {drops(stage)} (was {counted})")
    script.quote(f"                  uplink_misses_seen: {gateway['uplink_misses_seen']}")
    script.say(
        """(Those before: by MLD a kernel tells of its multicast groups, from its link-local
        address, which does not pass either.)"""
    )
    script.ok("six such packets sent and counted, none arrived; ue1's own addresses still work")
    if after["error_indications"] + after.get("drop_error_indication", 0):
        raise Failed("the gateway called ue1's tunnel unknown: a forged packet could end a session")
    script.ok("and the base station was not told that the tunnel is gone: it is not")


def unknown_teid(stage: Stage, script: Script) -> None:
    script.step(
        "A tunnel that the gateway does not know",
        f"""Now the base station puts packets into tunnel {NOBODYS} (0x{NOBODYS:08x}), which no
        session has, as it would after the session has ended without its knowledge. The gateway
        drops them, and says so: an Error Indication names the TEID and the address it was sent to.
        """,
    )
    stray = {"ue_ip": "10.45.0.99", "uplink": {"teid": NOBODYS}, "downlink": {"teid": 9999}}
    stage.enb1.add(stray)
    with stage.capture("enb1", "enb1-eth0", *GTPU) as capture:
        stage.ping("ue1", PDN, 2, "-I", "10.45.0.99")
    stage.enb1.ask("remove ue_ip=10.45.0.99")
    rows = messages(script, capture, **INDICATED)
    said = ("Error Indication", GATEWAY, ENB1, f"0x{NOBODYS:08x}", GATEWAY)
    heard = stage.enb1.stats()["error_indications"]
    if rows != [said, said] or heard != 2:
        raise Failed(f"not one Error Indication for each of 2 packets: {rows}; {heard} understood")
    script.ok("each of two packets was answered so, and the base station has understood it")


def handover(stage: Stage, script: Script) -> None:
    path, patch = f"/v1/sessions/{UE1['id']}", {"downlink": MOVED}
    script.step(
        "A handover",
        """ue1 pings fifty times a second, by IPv4 and by IPv6, and moves to enb2 meanwhile: enb2 is
        given the tunnels, ue1 tunes to it, and ofgtp is told by PATCH where the downlink goes now.
        The last packet in the old tunnel must be an End Marker: by it enb1 knows that nothing more
        comes.""",
    )
    with (
        stage.capture("enb1", "enb1-eth0", *GTPU) as capture,
        stage.pinging("ue1", PDN, PINGS, INTERVAL) as pings,
        stage.pinging("ue1", PDN6, PINGS, INTERVAL) as pings6,
    ):
        time.sleep(0.7)
        script.quote(f"curl -X PATCH http://127.0.0.1:8080{path} --json '{json.dumps(patch)}'")
        begun = time.monotonic()
        stage.enb2.add(UE1 | patch)
        ue = stage.net["ue1"]
        ue.attach(ue.intfList()[1])
        status, answer = stage.call("PATCH", path, patch)
        if status != 200 or answer["state"] != "active" or answer["downlink"] != MOVED:
            raise Failed(f"PATCH: {status} {answer}")
        at_most = LOST_AT_MOST + int((time.monotonic() - begun) / INTERVAL)
        wait_for("an End Marker at enb1", lambda: stage.enb1.stats()["end_markers"])
        stage.enb1.ask(f"remove ue_ip={UE1['ue_ip']}")
    for family, seen in (("IPv4", pings), ("IPv6", pings6)):
        script.quote(seen.summary)
        lost = seen.sent - seen.answers
        if lost > at_most:
            raise Failed(f"{family}: {lost} of {PINGS} pings lost, more than {at_most}")
        script.ok(f"{family}: {lost} of {PINGS} pings lost")
    messages(script, capture, TEID="gtp.teid")
    script.ok(ended_by_marker(capture, ENB1, UE1["downlink"]["teid"]))


def lost_tunnel(stage: Stage, script: Script) -> None:
    path, bring_back = f"/v1/sessions/{UE1['id']}", {"downlink": AGAIN}
    script.step(
        "A base station that has lost a tunnel",
        """enb2 forgets ue1's tunnel, as a restart would make it. It answers the next packet for ue1
        by an Error Indication. The gateway then stops sending, and shows that it did.""",
    )
    stage.enb2.ask(f"remove ue_ip={UE1['ue_ip']}")
    with stage.capture("enb2", "enb2-eth0", *GTPU) as capture:
        stage.ping("pdn", UE1["ue_ip"], 1)
        wait_for("error_indicated", lambda: stage.get(path)["state"] == "error_indicated")
        sent = stage.enb2.stats()["error_indications_sent"]
        answers, _ = stage.ping("pdn", UE1["ue_ip"], 3)
    rows = messages(script, capture, **INDICATED)
    said = ("Error Indication", ENB2, GATEWAY, f"0x{MOVED['teid']:08x}", ENB2)
    if set(rows) != {said}:
        raise Failed(f"not the Error Indication of {ENB2} for TEID {MOVED['teid']}: {rows}")

    def told() -> dict[str, object] | None:
        kinds = [facts for kind, facts in stage.events() if kind == "error_indicated"]
        return kinds[-1] if kinds else None

    script.quote(f"GET {path}: state: {stage.get(path)['state']}")
    event = wait_for("an event error_indicated", told)
    script.quote(f"GET /v1/events: error_indicated: {json.dumps(event)}")
    if event["session"] != UE1["id"] or event["teid"] != MOVED["teid"]:
        raise Failed(f"the event tells of another session or tunnel: {event}")
    script.ok("the session is error_indicated, and an event tells it")
    more = stage.enb2.stats()["error_indications_sent"] - sent
    wait_for("3 drops counted", lambda: drops(stage, "error_indicated") >= 3)
    if answers or more:
        raise Failed(f"downlink packets still go to {ENB2}: {answers} answers, {more} indications")
    script.ok("three more packets for ue1: none was sent to enb2, all are counted as dropped")
    script.say("The tunnel is set up again, with a new TEID, and a PATCH brings the session back.")
    script.quote(f"curl -X PATCH http://127.0.0.1:8080{path} --json '{json.dumps(bring_back)}'")
    stage.enb2.add(UE1 | bring_back)
    status, answer = stage.call("PATCH", path, bring_back)
    if status != 200 or answer["state"] != "active":
        raise Failed(f"PATCH: {status} {answer}")
    stage.answered("pdn", UE1["ue_ip"])
    script.ok("it is active, pdn → ue1: 5 of 5")


def drops(stage: Stage, reason: str = "no_uplink_session") -> int:
    """Packets that the switch dropped for this reason."""
    return stage.get("/v1/gateways")["items"][0]["drops"][reason]


def end(stage: Stage, script: Script) -> None:
    script.step("The end", "The sessions are deleted, and the controller is stopped.")
    for session, ue in ((UE1, "ue1"), (UE2, "ue2")):
        status, _ = stage.call("DELETE", f"/v1/sessions/{session['id']}")
        if status != 204:
            raise Failed(f"DELETE {session['id']}: {status}, not 204")
        stage.unanswered(ue, PDN)
        script.ok(f"{session['id']} is deleted: {ue}'s pings are no longer answered")
    stage.stop_controller()
    script.ok("the controller has ended, and there is no flow of it left in the switch")


if __name__ == "__main__":
    perform("two_enb", play)
