"""Events and metrics of a real switch: what others break is told and repaired; packets count."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.support.lab import Lab

pytestmark = pytest.mark.switch

SESSION = {
    "id": "ue-1",
    "ue_ip": "10.45.0.2",
    "uplink": {"teid": 0x1001},
    "downlink": {"teid": 0x2001, "remote_ip": "10.1.0.2"},
}
PATIENCE_S = 30.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def metric(lab: Lab, name: str, **labels: str) -> float:
    """The value of one sample of the only gateway."""
    wanted = sorted({"gateway": "gw1", **labels}.items())
    pairs = ",".join(f'{label}="{value}"' for label, value in wanted)
    for line in lab.http("GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name}{{{pairs}}} "):
            return float(line.split()[-1])
    raise AssertionError(f"no {name} with {pairs}")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def stream(lab: Lab, seconds: float) -> Iterator[Iterator[dict[str, Any]]]:
    """The events from now on, each with its id and kind beside its data."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080)
    with lab.inside("gw"):
        connection.sock = socket.socket()
    connection.sock.settimeout(seconds)
    connection.sock.connect(("127.0.0.1", 8080))
    connection.request("GET", "/v1/events")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    assert answer.readline().startswith(b":")

    def events() -> Iterator[dict[str, Any]]:
        fields: dict[str, Any] = {}
        while line := answer.readline().decode():
            name, _, value = line.strip().partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield {**json.loads(fields["data"]), "id": fields["id"], "event": fields["event"]}
                fields = {}

    try:
        yield events()
    finally:
        answer.close()
        connection.close()


def test_what_others_delete_is_told_and_repaired(lab: Lab) -> None:
    lab.start_controller()
    assert lab.http("POST", "/v1/sessions", SESSION).json()["state"] == "active"
    flows = len(lab.ofctl("dump-flows", "br-ofgtp").splitlines()[1:])
    assert metric(lab, "ofgtp_repairs_total") == 0
    assert metric(lab, "ofgtp_sessions", state="active") == 1
    added = metric(lab, "ofgtp_flow_mods_total", command="add")
    barriers = metric(lab, "ofgtp_barrier_seconds_count")
    with stream(lab, PATIENCE_S) as events:
        lab.ofctl("del-flows", "br-ofgtp")
        event = next(each for each in events if each["event"] == "repaired")
        assert event["kind"] == "repaired"
        assert event["gateway"] == "gw1"
        assert event["what"] == "somebody removed flows"
        assert event["flows"] >= flows - 2, "the lease's two may be back already"
        run, number = event["id"].split("-")
        following = next(events)
        assert following["event"] == "in_sync"
        assert following["id"] == f"{run}-{int(number) + 1}"
    assert metric(lab, "ofgtp_repairs_total") == 1
    assert metric(lab, "ofgtp_flow_mods_total", command="add") >= added + flows - 2
    assert metric(lab, "ofgtp_barrier_seconds_count") > barriers
    assert metric(lab, "ofgtp_gateway_in_sync") == 1
    assert len(lab.ofctl("dump-flows", "br-ofgtp").splitlines()[1:]) == flows


def test_sessions_are_told(lab: Lab) -> None:
    lab.start_controller()
    with stream(lab, PATIENCE_S) as events:
        lab.http("POST", "/v1/sessions", SESSION)
        lab.http("PUT", "/v1/sessions/ue-1", SESSION)
        lab.http("PATCH", "/v1/sessions/ue-1", {"downlink": None})
        lab.http("DELETE", "/v1/sessions/ue-1")
        lines = [{"op": "put", "session": {"ue_ip": f"10.45.0.{host}"}} for host in range(1, 8)]
        body = "\n".join(map(json.dumps, lines)).encode()
        head = {"Content-Type": "application/x-ndjson"}
        assert lab.http("POST", "/v1/sessions:batch", body, headers=head).status == 200
        told = [next(events) for _ in range(4)]
    kinds = ["session_created", "session_changed", "session_deleted", "batch"]
    assert [event["event"] for event in told] == kinds
    assert [event.get("session") for event in told] == ["ue-1", "ue-1", "ue-1", None]
    assert told[0]["state"] == "active"
    assert (told[3]["created"], told[3]["replaced"], told[3]["deleted"]) == (7, 0, 0)


def test_packets_are_counted_as_they_pass(lab: Lab) -> None:
    lab.start_controller()
    lab.http("POST", "/v1/sessions", SESSION)
    lab.http("POST", "/v1/sessions", {"id": "idle", "ue_ip": "10.45.0.3"})
    until(lambda: gateway(lab)["next_hop"]["mac"] is not None, "the next hop to be known")
    for name in ("enb", "pdn"):
        lab.mute(name)
    enb, pdn = lab.port("enb"), lab.port("pdn")

    def uplink(ttl: int, teid: int = 0x1001) -> Ether:
        inner = IP(src="10.45.0.2", dst="10.2.0.2", ttl=ttl) / UDP(sport=7, dport=9) / bytes(72)
        outer = IP(src="10.1.0.2", dst="10.1.0.1") / UDP(sport=2152, dport=2152, chksum=0)
        link = Ether(src=lab.mac("enb"), dst=gateway(lab)["access"]["mac"])
        return link / outer / GTP_U_Header(teid=teid, gtp_type=255) / inner

    def downlink(ue_ip: str) -> Ether:
        link = Ether(src=lab.mac("pdn"), dst=gateway(lab)["core"]["mac"])
        return link / IP(src="10.2.0.2", dst=ue_ip) / UDP(sport=9, dport=7) / bytes(72)

    def is_t_pdu(frame: bytes) -> bool:
        return GTP_U_Header in (packet := Ether(frame)) and packet[GTP_U_Header].gtp_type == 255

    def arrives() -> bool:
        pdn.send(downlink("10.45.0.2"))  # lost, while the switch learns the peer's MAC
        return bool(enb.receive(1, want=is_t_pdu, timeout=1.0))

    until(arrives, "a downlink packet arrives")
    enb.receive(want=is_t_pdu, quiet=0.5)
    settle(lab)
    sent = metric(lab, "ofgtp_packets_total", direction="downlink")
    octets = metric(lab, "ofgtp_bytes_total", direction="downlink")

    enb.send(*[uplink(64)] * 5, *[uplink(63)] * 3, *[uplink(64, teid=0x9999)] * 4)
    pdn.send(*[downlink("10.45.0.2")] * 6, *[downlink("10.45.0.3")] * 2)
    pdn.send(*[downlink("10.45.0.99")] * 7)
    assert len(enb.receive(6, want=is_t_pdu)) == 6
    assert len(pdn.receive(8, want=lambda frame: UDP in Ether(frame))) == 8

    wanted = {
        ("ofgtp_packets_total", "direction", "uplink"): 8,
        ("ofgtp_bytes_total", "direction", "uplink"): 8 * 114,
        ("ofgtp_packets_total", "direction", "downlink"): sent + 6,
        ("ofgtp_bytes_total", "direction", "downlink"): octets + 6 * 114,
        ("ofgtp_drops_total", "reason", "no_uplink_session"): 4,
        ("ofgtp_drops_total", "reason", "idle_ue"): 2,
        ("ofgtp_drops_total", "reason", "unknown_ue"): 7,
    }

    def seen() -> dict[tuple[str, str, str], float]:
        return {key: metric(lab, key[0], **{key[1]: key[2]}) for key in wanted}

    def counted() -> bool:
        settle(lab)
        return seen() == wanted

    with suppress(AssertionError):
        until(counted, "they are counted")
    assert seen() == wanted
    # What a session that wakes up had dropped stays counted, and so does what deleted flows saw.
    lab.http("DELETE", "/v1/sessions/idle")
    lab.ofctl("del-flows", "br-ofgtp")
    until(lambda: metric(lab, "ofgtp_repairs_total") == 1, "the flows to come back")
    assert seen() == wanted
    shown = gateway(lab)
    drops = shown["drops"]
    assert drops["no_uplink_session"] == 0, "the switch itself began anew"
    assert (drops["idle_ue"], drops["unknown_ue"]) == (2, 7), "its meters have not"
    assert shown["forwarded"] == {
        way: {what: metric(lab, f"ofgtp_{what}_total", direction=way) for what in numbers}
        for way, numbers in shown["forwarded"].items()
    }
    assert shown["forwarded"]["uplink"] == {"packets": 8, "bytes": 8 * 114}


def settle(lab: Lab) -> None:
    """Bring the flows' counters up to date: Open vSwitch does when it empties its cache."""
    lab.appctl("revalidator/purge")


def gateway(lab: Lab) -> dict[str, Any]:
    """The only gateway as the REST API shows it."""
    return dict(lab.http("GET", "/v1/gateways").json()["items"][0])
