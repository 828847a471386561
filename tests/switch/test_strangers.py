"""Those who connect to the OpenFlow port without being the switch: very many, slow, or talking
nonsense. The controller lives, the lease holds, and the switch gets a place when it needs one."""

from __future__ import annotations

import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ofgtp.southbound.listener import EACH, TOTAL, UNCLAIMED_S
from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.strangers import HELLO, NOBODY, Strangers, message
from tests.support.stream import Stream

pytestmark = pytest.mark.switch

FILES = 1024
"""What a process may have open where nobody raised it."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        start(lab)
        yield lab


@pytest.fixture
def running(lab: Lab) -> Lab:
    """A gateway whose controller may have few files open, and whose lease is short."""
    try:
        well(lab)
    except (AssertionError, OSError):  # what the last test was to show has happened
        lab.stop_controller(signal.SIGKILL)
        start(lab)
    return lab


def start(lab: Lab) -> None:
    lab.start_controller(
        lab.config(controller=own.CONTROLLER), by=["prlimit", f"--nofile={FILES}:{FILES}"]
    )
    own.until(lambda: own.in_sync(lab), "in sync")
    own.put(lab)


def files(lab: Lab) -> int:
    assert lab.controller is not None
    return len(list(Path("/proc", str(lab.controller.pid), "fd").iterdir()))


def connections(lab: Lab) -> int:
    """OpenFlow connections that the controller has open."""
    return len(lab.exec("gw", ["ss", "-Htn", "sport = :6653"]).stdout.splitlines())


def well(lab: Lab) -> None:
    """The controller lives, answers, and changes sessions."""
    assert lab.controller is not None and lab.controller.poll() is None
    assert lab.http("GET", "/v1/health", timeout=10.0).status == 200
    own.put(lab, own.nth_session(1))
    assert lab.http("DELETE", f"/v1/sessions/{own.nth_session(1)['id']}").status == 204


def dpid(lab: Lab) -> int:
    return int(own.gateway(lab)["datapath_id"], 16)


def test_a_user_with_very_many_connections(running: Lab) -> None:
    """More than the controller may have files open, and they stay."""
    with Stream(running) as stream:
        stream.wait_flowing()
        with Strangers(running, count=FILES + 200) as strangers:
            own.until(lambda: files(running) < 3 * TOTAL, "few of them are kept")
            well(running)
            time.sleep(own.LEASE_S + 1)
            well(running)
        assert strangers.made == FILES + 200 and strangers.closed >= FILES + 200 - EACH
    assert stream.lost == 0, str(stream)
    assert own.gateway(running)["lease"]["expiries"] == 0
    last = f"the last of user {NOBODY}"
    own.until(lambda: last in running.controller_log.read_text(), "it is told")


@pytest.mark.parametrize("user", [NOBODY, 0])
@pytest.mark.parametrize("how", ["silent", "greeting", "claiming"])
def test_the_switch_gets_in_past_them(running: Lab, how: str, user: int) -> None:
    """They come again as soon as they are closed. Those of the switch's own user do so only while
    they are silent: it could not be told from them."""
    says, answers = b"" if how == "silent" else HELLO, dpid(running) if how == "claiming" else 0
    again = user == NOBODY or how == "silent"
    with Strangers(
        running, count=200, user=user, again=again, says=says, answers=answers
    ) as strangers:
        running.stop_vswitchd()
        own.until(lambda: not own.in_sync(running), "it is gone")
        running.start_vswitchd()
        started = time.monotonic()
        own.until(lambda: own.in_sync(running), "the switch is back", timeout=60)
        took = time.monotonic() - started
        well(running)
    print(f"{how}, user {user}: {took:.1f} s, while {strangers.made} others connected")
    assert strangers.closed > 100
    own.assert_settled(running, own.LEASE_S)


def test_nobody_may_stay_unclaimed(running: Lab) -> None:
    """Also one that answers whatever it is asked, but for who it is."""
    own.until(lambda: connections(running) == 1, "none but the switch is connected")
    with (
        Strangers(running, count=3) as silent,
        Strangers(running, count=3, says=HELLO, answers=0x1234) as greeting,
        Strangers(running, count=3, says=b"\x05\x00\x00\xff") as cut_short,
    ):
        own.until(lambda: connections(running) == 1, "they are closed", timeout=UNCLAIMED_S + 30)
    assert [each.closed for each in (silent, greeting, cut_short)] == [3, 3, 3]
    well(running)


# --- nonsense

EIGHT = struct.Struct("!HHI")
NONSENSE = {
    "an element of 0 bytes in HELLO": message(0, EIGHT.pack(1, 0, 0)),
    "an element of 0 bytes in HELLO of 1.5": message(0, EIGHT.pack(1, 0, 0), version=6),
    "an element of HELLO that is longer": message(0, EIGHT.pack(1, 400, 0)),
    "a HELLO that is cut short": message(0, b"\0"),
    "a HELLO without OpenFlow 1.4": message(0, version=4),
    "a HELLO of a version there is not": message(0, EIGHT.pack(1, 8, 0xFFFFFFFF), version=200),
    "a header that is longer than its message": message(0, size=4),
    "a header of 0 bytes": message(0, size=0) * 100,
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
    "TLS": bytes.fromhex("16030100f8010000f40303") + bytes(range(256)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000,
    "features of 4 bytes": HELLO + message(6, b"1234"),
    "features of 60,000 bytes": HELLO + message(6, bytes(60_000)),
    "OpenFlow 1.0 after HELLO": HELLO + message(14, bytes(72), version=1),
    "a port of 0 bytes": HELLO
    + message(6, struct.pack("!QIBBxxII", 1, 0, 254, 0, 0, 0))
    + message(19, EIGHT.pack(13, 0, 0) + bytes(72)),
    "a port with a property of 0 bytes": HELLO
    + message(6, struct.pack("!QIBBxxII", 1, 0, 254, 0, 0, 0))
    + message(19, EIGHT.pack(13, 0, 0) + struct.pack("!IH66x", 1, 80) + bytes(8)),
    "table features of 0 bytes": HELLO + message(19, EIGHT.pack(12, 0, 0) + bytes(64)),
    "HELLO_FAILED that is no text": message(1, b"\0\0\0\0" + b"\xff" * 50),
    "an error without an error": message(1),
    "experimenter": HELLO + message(4, b"\xff" * 60_000),
    "requests": HELLO + b"".join(message(kind, bytes(100)) for kind in range(40)) * 10,
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense(running: Lab, what: str) -> None:
    """It ends with its connection, when that is late if not before; the log has no traceback."""
    log = own.Log(running)
    with running.inside("gw"):
        sock = socket.create_connection(("127.0.0.1", 6653), timeout=UNCLAIMED_S + 30)
    with sock:
        with suppress(ConnectionError):
            sock.sendall(NONSENSE[what])
        well(running)
        with suppress(ConnectionError):
            while sock.recv(65536):
                pass
    assert "Traceback" not in log.text() and len(log.text()) < 5_000, log.text()
    assert own.gateway(running)["lease"]["expiries"] == 0


@pytest.mark.parametrize("what", ["echo", "parts"])
def test_much_that_is_right_by_itself(running: Lab, what: str) -> None:
    """Echo Requests without end; a description without end. They take neither time nor memory."""
    flood = message(2, bytes(64)) * 1000
    if what == "parts":
        features = struct.pack("!QIBBxxII", dpid(running), 0, 254, 0, 0, 0)
        ports = message(19, EIGHT.pack(13, 0, 0))
        flood = message(19, EIGHT.pack(0, 1, 0) + bytes(60_000)) * 20
    before = memory(running)
    with running.inside("gw"):
        sock = socket.create_connection(("127.0.0.1", 6653), timeout=10)
    with sock, Stream(running) as stream, suppress(ConnectionError, TimeoutError):
        sock.sendall(HELLO)
        if what == "parts":
            sock.sendall(message(6, features) + ports)
        deadline = time.monotonic() + UNCLAIMED_S + 30
        while time.monotonic() < deadline:
            sock.sendall(flood)
            well(running)
    assert stream.lost == 0, str(stream)
    assert memory(running) - before < 100 << 20
    assert own.gateway(running)["lease"]["expiries"] == 0


def memory(lab: Lab) -> int:
    assert lab.controller is not None
    pages = int(Path("/proc", str(lab.controller.pid), "statm").read_text().split()[1])
    return pages * resource.getpagesize()


# --- no more files


def another(lab: Lab) -> None:
    """A connection that REST has no descriptor for: it is not to be the last one."""
    with suppress(OSError):
        own.Client(lab, timeout=0.2).close()


def test_no_file_can_be_opened_for_a_while(running: Lab, request: pytest.FixtureRequest) -> None:
    """Commands, connections and the database want some. What works goes on; all is well after."""
    assert running.controller is not None
    pid = running.controller.pid
    client = own.Client(running)
    request.addfinalizer(client.close)
    log = own.Log(running)
    assert client.call("GET", "/v1/health", None, "") == 200
    body = own.batch_body([own.nth_session(1)]).strip()
    # Ports' queues hold some 250 packets: while the switch waits for ovsdb-server none is lost.
    with Stream(running, interval=0.02) as stream:
        stream.wait_flowing()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, FILES))
        try:
            with Strangers(running, count=40):
                deadline = time.monotonic() + own.LEASE_S + 3
                while time.monotonic() < deadline:
                    assert client.call("GET", "/v1/gateways", None, "") in (200, 503)
                    assert client.call("GET", "/metrics", None, "") in (200, 503)
                    kind = "application/json"
                    changed = client.call("PUT", "/v1/sessions/s1001", body, kind)
                    assert changed in (200, 201, 503), changed
                    batch = own.batch_body(own.puts(range(2, 300)))
                    kind = "application/x-ndjson"
                    assert client.call("POST", "/v1/sessions:batch", batch, kind) in (200, 503)
                    time.sleep(0.5)
                another(running)
                running.stop_ovsdb()
                running.start_ovsdb()
                time.sleep(3)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        own.until(lambda: own.in_sync(running), "in sync")
        own.until(lambda: running.http("GET", "/v1/health").status == 200, "healthy")
    assert log.says("cannot accept connections: Too many open files")
    own.until(lambda: "connections are accepted again" in log.text(), "it says that it is over")
    assert stream.up.lost + stream.down.lost == 0, str(stream)
    well(running)
    running.stop_vswitchd()
    running.start_vswitchd()
    own.until(lambda: own.in_sync(running), "the switch is back", timeout=60)
    own.assert_settled(running, own.LEASE_S)


def test_it_may_open_as_many_files_as_the_host_allows() -> None:
    with Lab() as lab:
        lab.start_controller(by=["prlimit", "--nofile=256:2048"])
        assert lab.controller is not None
        assert resource.prlimit(lab.controller.pid, resource.RLIMIT_NOFILE) == (2048, 2048)


def test_a_process_that_cannot_go_on_ends_with_a_code() -> None:
    """Its listening socket is destroyed under it. The unit's Restart has systemd start it again."""
    with Lab() as lab:
        start(lab)
        lab.exec("gw", ["ss", "-K", "-tln", "sport = :6653"])
        assert lab.controller is not None
        assert lab.controller.wait(30) == 5
        assert "openflow: has ended, and so does ofgtp" in lab.controller_log.read_text()
        lab.start_controller(lab.config(controller=own.CONTROLLER))
        own.until(lambda: own.in_sync(lab), "in sync")
