"""A handover: a phone moves from one base station to another while it pings, and keeps its address.

.venv/bin/python mininet/handover.py        (as root, after `make setup`)
"""

from __future__ import annotations

import json
import time

from stage import Failed, Script, Stage, bearer, perform, tshark

PDN = "10.2.0.2"
PINGS, INTERVAL = 250, 0.02  # five seconds of them
LOST_AT_MOST = 10  # besides those sent while everything changes

SESSION = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
}
TARGET = {"teid": 12289, "remote_ip": "10.1.0.3"}


def play(stage: Stage, script: Script) -> None:
    script.step(
        "Two base stations",
        """ue1 is at enb1 (10.1.0.2), in reach of enb2 (10.1.0.3). One session is posted, with its
        downlink tunnel to enb1.""",
    )
    stage.start_controller()
    stage.create(SESSION)
    source = stage.start_enb("enb1", bearer(SESSION))
    target = stage.start_enb("enb2")
    stage.answered("ue1", PDN)
    script.ok("ue1 → pdn through enb1: 5 of 5")

    script.step(
        "The handover",
        """ue1 pings fifty times a second. Meanwhile enb2 is given the tunnels, ue1 tunes to it, and
        ofgtp is told by PATCH where the downlink goes now. The uplink TEID stays: the gateway
        takes it from either base station.""",
    )
    with (
        stage.capture("enb2", "enb2-eth0", "udp", "port", "2152") as capture,
        stage.pinging("ue1", PDN, PINGS, INTERVAL) as pings,
    ):
        time.sleep(2)
        path, patch = f"/v1/sessions/{SESSION['id']}", {"downlink": TARGET}
        script.quote(f"curl -X PATCH http://127.0.0.1:8080{path} --json '{json.dumps(patch)}'")
        begun = time.monotonic()
        target.ask(f"add {bearer(SESSION | patch)}")
        ue = stage.net["ue1"]
        ue.attach(ue.intfList()[1])
        status, answer = stage.call("PATCH", path, patch)
        if status != 200 or answer["state"] != "active" or answer["downlink"] != TARGET:
            raise Failed(f"PATCH: {status} {answer}")
        at_most = LOST_AT_MOST + int((time.monotonic() - begun) / INTERVAL)
        time.sleep(0.5)
        source.ask(f"remove ue_ip={SESSION['ue_ip']}")
        at_source = source.stats()
    script.quote(pings.summary)
    lost = pings.sent - pings.answers
    if lost > at_most:
        raise Failed(f"{lost} of {PINGS} pings lost, more than {at_most}")
    script.ok(f"{lost} of {PINGS} pings lost")

    script.step("Where the packets go now", "enb1 is silent, and tshark sees the tunnels at enb2.")
    rows = tshark(capture, ("ip.src", "ip.dst", "gtp.teid"), "gtp.message == 255 && icmp")
    tunnels = sorted({(*(field.split(",")[0] for field in row[:2]), row[2]) for row in rows})
    for outer_from, outer_to, teid in tunnels:
        script.quote(f"{outer_from} → {outer_to}  TEID {teid}")
    wanted = [("10.1.0.1", "10.1.0.3", 12289), ("10.1.0.3", "10.1.0.1", 4097)]
    if [(*row[:2], int(row[2], 16)) for row in tunnels] != wanted:
        raise Failed(f"these are not the session's tunnels: {tunnels}")
    if source.stats() != at_source:
        raise Failed(f"enb1 still carries packets: {source.stats()}, before {at_source}")
    stage.answered("pdn", SESSION["ue_ip"])
    script.ok("pdn → ue1 through enb2: 5 of 5")
    stage.stop_controller()


if __name__ == "__main__":
    perform("two_enb", play)
