"""A crash under traffic: what happens to the tunnels when the controller dies, in each mode.

.venv/bin/python mininet/crash.py        (as root, after `make setup`)
"""

from __future__ import annotations

import re
import time

from stage import UNDER_WAY, Failed, PingStream, Script, Stage, bearer, perform

PDN = "10.2.0.2"
LEASE = 5  # seconds, the shortest that there is

SESSION = {
    "id": "imsi-001010000000001-5",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 4097},
    "downlink": {"teid": 8193, "remote_ip": "10.1.0.2"},
}


def play(stage: Stage, script: Script) -> None:
    figures = [
        ("controller", "kill -9, restart, session posted again", *controller_crash(stage, script)),
        ("controller", "clean stop (SIGTERM)", *controller_stop(stage, script)),
        ("switch", "kill -9, restart", *switch_crash(stage, script)),
        ("switch", "clean stop, restart", *switch_stop(stage, script)),
    ]
    script.step("What was lost", "Pings of ue1 to the host behind the gateway, both ways at once.")
    script.quote(f"{'ownership':<12}{'what happened':<42}{'pings lost':>11}   for how long")
    for mode, what, lost, how_long in figures:
        script.quote(f"{mode:<12}{what:<42}{lost:>11}   {how_long}")
    stage.stop_controller()


def controller_crash(stage: Stage, script: Script) -> tuple[int, str]:
    script.step(
        'ownership = "controller": the tunnels live as long as the controller',
        f"""The default. The switch forwards on a lease that the controller renews: with
        lease_seconds = {LEASE} no packet may pass {LEASE} s after the controller is gone. A session
        is posted, ue1 pings fifty times a second, and the controller is killed with SIGKILL: it
        gets no chance to clean up.""",
    )
    stage.start_controller("controller", LEASE)
    stage.create(SESSION)
    stage.enb = stage.start_enb("enb1", bearer(SESSION))
    first = stage.get("/v1/health")["instance_id"]
    pings = PingStream(stage, "ue1", PDN)
    killed = stage.crash_controller()
    script.ok("killed; its flows are all still in the switch, " + str(len(stage.flows())))
    time.sleep(LEASE + 2)
    script.say("""Now it is started again. It begins empty, and says so by a new instance_id:
        whoever posts sessions knows by it that they must be posted again.""")
    stage.start_controller("controller", LEASE)
    second = stage.get("/v1/health")["instance_id"]
    script.quote(f"GET /v1/health: instance_id {second}\n                   before: {first}")
    if first == second or stage.get("/v1/sessions")["items"]:
        raise Failed("the new controller did not begin empty, or did not say so")
    posted = time.time()
    stage.create(SESSION)
    pings.end()
    last = max(at for at in pings.times if at < posted)
    first_again = min((at for at in pings.times if at > posted), default=0.0)
    if not first_again:
        raise Failed("no ping was answered after the session was posted again")
    script.ok(f"the last answer came {last - killed:.1f} s after the kill")
    script.ok(f"the first one again {first_again - posted:.1f} s after the session was posted")
    script.ok(pings.told())
    if not 0 < last - killed <= LEASE:
        raise Failed(f"forwarding ended {last - killed:.1f} s after the kill")
    return pings.lost, f"{first_again - last:.1f} s"


def controller_stop(stage: Stage, script: Script) -> tuple[int, str]:
    script.step(
        "The same, stopped cleanly",
        """On SIGTERM (or Ctrl-C) the controller takes its flows out of the switch, waits until the
        switch has confirmed, and ends.""",
    )
    pings = PingStream(stage, "ue1", PDN)
    asked = time.time()
    stage.stop_controller()
    ended = time.time()
    pings.end()
    script.ok(f"it took {ended - asked:.1f} s, and left {len(stage.flows())} flows in the switch")
    script.ok(f"the last answer came {max(0.0, pings.last - asked):.1f} s after SIGTERM")
    if pings.last > ended + UNDER_WAY:
        raise Failed("packets passed after the controller had ended")
    return pings.lost, "until the next start"


def switch_crash(stage: Stage, script: Script) -> tuple[int, str]:
    script.step(
        'ownership = "switch": the switch forwards on without the controller',
        """The other mode, for gateways that must not care about a controller's restart. The same
        crash: the flows stay, and have no lease. The next start loads its sessions, compares them
        with what the switch has, and changes what differs.""",
    )
    stage.start_controller("switch")
    stage.create(SESSION)
    before = stage.get("/v1/health")["instance_id"]
    pings = PingStream(stage, "ue1", PDN)
    stage.crash_controller()
    script.ok("killed")
    time.sleep(3)
    stage.start_controller("switch")
    pings.end()
    return finish(stage, script, pings, before)


def switch_stop(stage: Stage, script: Script) -> tuple[int, str]:
    script.step("The same, stopped cleanly and started again", "As for an upgrade.")
    before = stage.get("/v1/health")["instance_id"]
    pings = PingStream(stage, "ue1", PDN)
    stage.stop_controller()
    script.ok(f"stopped; {len(stage.flows())} flows go on working in the switch")
    time.sleep(3)
    stage.start_controller("switch")
    pings.end()
    return finish(stage, script, pings, before)


def finish(stage: Stage, script: Script, pings: PingStream, before: str) -> tuple[int, str]:
    """What a restart must be in mode "switch": nothing lost, nothing changed."""
    compared = re.findall(r"event in_sync: .*flows_changed=\d+", stage.log.read_text())[-1]
    script.quote(f"the controller's log: {compared}")
    if not compared.endswith("flows_changed=0"):
        raise Failed("flows were changed though nothing differed")
    if stage.get("/v1/health")["instance_id"] != before:
        raise Failed("a new instance_id")
    if pings.lost:
        raise Failed(f"{pings.told()}: {pings.outages}")
    script.ok(f"{pings.told()}; no flow was changed, and the instance_id is the same")
    return pings.lost, "0 s"


if __name__ == "__main__":
    perform("one_enb", play)
