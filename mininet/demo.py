"""The main job of ofgtp, end to end: a phone reaches a host through GTP-U tunnels, and back.

make demo        or, as root:  .venv/bin/python mininet/demo.py
"""

from __future__ import annotations

import json

from stage import Failed, Script, Stage, bearer, perform, run, tshark, wait_for

GATEWAY, ENB, PDN = "10.1.0.1", "10.1.0.2", "10.2.0.2"

UE1 = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": ENB},
}
UE2 = {
    "id": "imsi-001010000000002-5",
    "ue_ip": "10.45.0.3",
    "uplink": {"teid": 4098},
    "downlink": {"teid": 8194, "remote_ip": ENB},
}

PICTURE = """
ue1 10.45.0.2 ─┐
               ├─ enb1 ══ GTP-U (S1-U) ══ gw-eth1 [ Open vSwitch ] gw-eth2 ── pdn 10.2.0.2
ue2 10.45.0.3 ─┘  10.1.0.2            10.1.0.1        ↑        10.2.0.1
                                             Ryu + ofgtp (REST)
"""


def play(stage: Stage, script: Script) -> None:
    start(stage, script)
    post_sessions(stage, script)
    pings(stage, script)
    decode(stage, script)
    speed(stage, script)
    flows(stage, script)
    spoof(stage, script)
    end(stage, script)


def start(stage: Stage, script: Script) -> None:
    script.step(
        "The network, and ofgtp in it",
        """Two phones (UE: user equipment) hang on one base station (eNB). Between base station and
        gateway every packet of a phone travels inside another one: that is GTP-U. The gateway
        takes it out and hands it to the packet data network (pdn), and the other way round.""",
    )
    script.quote(PICTURE.strip("\n"))
    for name, text in stage.versions():
        script.quote(f"{name:<14}{text}")
    stage.start_controller()
    script.quote(run("ovs-vsctl", "show"))
    script.ok("the controller has made the bridge and its ports, and is connected to it")


def post_sessions(stage: Stage, script: Script) -> None:
    script.step(
        "Two sessions, told to ofgtp by REST",
        """A session is one phone's pair of tunnels. Each tunnel has a number, the TEID (tunnel
        endpoint identifier), which whoever receives has chosen: the gateway receives the uplink
        (from the phone) and the base station the downlink (to the phone).""",
    )
    script.quote(f"curl http://127.0.0.1:8080/v1/sessions --json '{json.dumps(UE1, indent=2)}'")
    answer = stage.create(UE1)
    script.quote(f"201 Created\n{json.dumps(answer, indent=2)}")
    script.ok(f"{answer['id']} is active: the switch has confirmed its two flows")
    script.ok(f"{stage.create(UE2)['id']} as well")
    stage.enb = stage.start_enb("enb1", bearer(UE1), bearer(UE2))
    script.say("""The base station gets the same numbers (in a real network from the MME); here it
        is a small program of its own, topologies/enb.py, with no code of the gateway's.""")


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
        answers, text = stage.ping(node, address)
        script.quote("\n".join(text.strip().splitlines()[-2:]))
        if answers != 5:
            raise Failed(f"{what}: {answers} answers to 5 pings")
        script.ok(f"{what}: 5 of 5")


def decode(stage: Stage, script: Script) -> None:
    script.step(
        "The same pings on S1-U, as tshark decodes them",
        f"""Recorded at the base station's end of the link. Outside: base station {ENB} and
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
        (ENB, GATEWAY, UE1["uplink"]["teid"], ue, PDN),
        (GATEWAY, ENB, UE1["downlink"]["teid"], PDN, ue),
    }
    if seen != wanted or len(rows) != 8:
        raise Failed(f"{len(rows)} packets, not 8, or tunnels other than the session's: {seen}")
    script.ok("8 packets, all in the session's two tunnels")
    if bad:
        raise Failed(f"{bad} packets have a wrong UDP checksum: receivers will drop them")
    script.ok("every UDP checksum is right, or left out (0) as IPv4 allows")


def speed(stage: Stage, script: Script) -> None:
    script.step(
        "iperf3, each way",
        """TCP for three seconds through the tunnels. The base station is a Python program that
        handles packets one by one: this shows that much traffic passes, not how much could.""",
    )
    for what, options in (("uplink,   ue1 → pdn", ()), ("downlink, pdn → ue1", ("-R",))):
        rate = stage.iperf3("ue1", "pdn", PDN, *options)
        if rate < 1:
            raise Failed(f"{what}: {rate:.3f} Mbit/s")
        script.ok(f"{what}: {rate:.0f} Mbit/s")


def flows(stage: Stage, script: Script) -> None:
    path = f"/v1/sessions/{UE1['id']}/flows"
    script.step(
        "The OpenFlow flows of ue1's session",
        f"GET {path}: one flow for the uplink, one for the downlink, with the switch's counters.",
    )
    items = stage.get(path)["items"]
    for item in items:
        script.quote(f"{item['direction']}: {item['packets']} packets, {item['bytes']} bytes")
        script.quote(f"  {item['flow'].replace(',', ', ').replace('actions=', chr(10) + '  →  ')}")
    if sorted(item["direction"] for item in items) != ["downlink", "uplink"]:
        raise Failed(f"not one uplink and one downlink flow: {items}")
    idle = [item["direction"] for item in items if item["packets"] < 10]
    if idle:
        raise Failed(f"no packets counted: {idle}")
    script.ok("both have counted packets")


def spoof(stage: Stage, script: Script) -> None:
    script.step(
        "A phone that lies about its address",
        """ue1 now sends with 10.45.0.99, an address that is not its session's. The base station
        lets it pass, in ue1's tunnel. The gateway must not, or phones could speak for others.""",
    )
    stage.net["ue1"].run("ip", "address", "add", "10.45.0.99/32", "dev", "lo")
    stage.enb.ask(f"add {bearer({**UE1, 'ue_ip': '10.45.0.99', 'downlink': {'teid': 9999}})}")
    sent, counted = stage.enb.stats()["uplink_packets"], drops(stage)
    with stage.capture("pdn", "pdn-eth0", "icmp") as capture:
        stage.ping("ue1", PDN, 3, "-I", "10.45.0.99")
        stage.ping("ue1", PDN, 1)
    sources = {row[0] for row in tshark(capture, ("ip.src",), "icmp.type == 8")}
    if stage.enb.stats()["uplink_packets"] < sent + 4 or sources != {UE1["ue_ip"]}:
        raise Failed(f"4 pings went into the tunnel, the host saw some from {sources}")
    wait_for("3 more drops counted", lambda: drops(stage) >= counted + 3, 5)
    gateway = stage.get("/v1/gateways")["items"][0]
    script.quote(f"GET /v1/gateways: drops: no_uplink_session: {drops(stage)} (was {counted})")
    script.quote(f"                  uplink_misses_seen: {gateway['uplink_misses_seen']}")
    script.ok("three such packets sent and counted, none arrived; ue1's own address still works")


def drops(stage: Stage) -> int:
    """Uplink packets that the switch dropped because they are of no session."""
    return stage.get("/v1/gateways")["items"][0]["drops"]["no_uplink_session"]


def end(stage: Stage, script: Script) -> None:
    script.step("The end", "The sessions are deleted, and the controller is stopped.")
    for session, ue in ((UE1, "ue1"), (UE2, "ue2")):
        status, _ = stage.call("DELETE", f"/v1/sessions/{session['id']}")
        if status != 204:
            raise Failed(f"DELETE {session['id']}: {status}, not 204")
        answers, _ = stage.ping(ue, PDN, 2)
        if answers:
            raise Failed(f"{answers} answers to {ue}'s pings, which has no session any more")
        script.ok(f"{session['id']} is deleted: {ue}'s pings are no longer answered")
    stage.stop_controller()
    script.ok("the controller has ended, and there is no flow of it left in the switch")


if __name__ == "__main__":
    perform("one_enb", play)
