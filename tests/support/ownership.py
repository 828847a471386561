"""What the tests of ownership and faults share: settings, and the switch's state against the API's.

The wanted flows are built from what the REST API says, and compared by `ovs-ofctl diff-flows`:
neither the reconciliation nor the codec of ofgtp takes part.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from ofgtp.core.model import Gateway
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.terms import Links
from tests.support.lab import Lab
from tests.support.stream import SESSION

BRIDGE = "br-ofgtp"
OURS = "cookie=0x0f67000000000000/0xffff000000000000"
SESSION_COOKIE, IDLE_COOKIE = 0x0F67_0300_0000_0000, 0x0F67_0200_0000_0014
IDLE_METER = 41
"""It counts what comes for idle UEs, and lets nothing through: its flow has no other action."""
LEASE_S = 5

CONTROLLER = f'ownership = "controller"\nlease_seconds = {LEASE_S}'
SWITCH = 'ownership = "switch"'
MODES = {"controller": CONTROLLER, "switch": SWITCH}

OPENFLOW_CUT = (
    "table inet cut { chain in { type filter hook input priority 0; "
    "iif lo tcp dport 6653 drop; iif lo tcp sport 6653 drop; }; }"
)


def until(
    condition: Callable[[], Any], what: str | Callable[[], str], *, timeout: float = 30.0
) -> Any:
    """Ask until the answer is true; returns it."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"{text}: not within {timeout:g} s")
        time.sleep(0.05)
    return answer


def put(lab: Lab, session: dict[str, Any] = SESSION, state: str = "active") -> dict[str, Any]:
    """PUT a session, which must end in that state; the answer."""
    answer = lab.http("PUT", f"/v1/sessions/{session['id']}", session)
    assert answer.status in (200, 201), answer.body
    told: dict[str, Any] = answer.json()
    assert told["state"] == state, told
    return told


def nth_session(number: int) -> dict[str, Any]:
    """A session, different for each number from 0 to 65,000 and never that of the stream."""
    number += 1000
    return {
        "id": f"s{number}",
        "ue_ip": f"10.45.{number >> 8 & 255}.{number & 255}"
        if number < 65536
        else f"10.{46 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        "uplink": {"teid": 0x10_0000 + number},
        "downlink": {"teid": 0x20_0000 + number, "remote_ip": "10.1.0.2"},
    }


def batch_body(operations: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in operations)


def batch(lab: Lab, operations: Iterable[dict[str, Any]], timeout: float = 120.0) -> Any:
    """A batch that must be done; the answer."""
    answer = lab.http(
        "POST",
        "/v1/sessions:batch",
        batch_body(operations),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=timeout,
    )
    assert answer.status == 200, answer.body[:2000]
    return answer.json()


def puts(numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Batch operations that put those sessions."""
    return ({"op": "put", "session": nth_session(number)} for number in numbers)


def sessions(lab: Lab) -> dict[str, dict[str, Any]]:
    """All sessions that the API lists, by id."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        page = lab.http("GET", f"/v1/sessions?limit=1000{more}").json()
        found.update((item["id"], item) for item in page["items"])
        cursor = page["next"]
        if cursor is None:
            return found


def gateway(lab: Lab) -> dict[str, Any]:
    """The gateway as /v1/gateways shows it."""
    shown: dict[str, Any] = lab.http("GET", "/v1/gateways").json()["items"][0]
    return shown


def instance(lab: Lab) -> str:
    return str(lab.http("GET", "/v1/health").json()["instance_id"])


def in_sync(lab: Lab) -> bool:
    """Whether the gateway is connected, compared and knows its next hop."""
    try:
        shown = gateway(lab)
    except (OSError, http.client.HTTPException):
        return False
    return bool(shown["connected"] and shown["in_sync"] and shown["next_hop"]["mac"])


def in_sync6(lab: Lab) -> bool:
    """As `in_sync`, and it knows its next hop for IPv6 too."""
    return in_sync(lab) and gateway(lab)["next_hop6"]["mac"] is not None


EPOCH = re.compile(r"(pkt_mark=0(x0)?/0x[0-9a-f]+|ct_label=0(x0)?/0x[0-9a-f]+0{24})")
"""The epoch, a random number, in ovs-ofctl's text: in the mark, or from bit 96 on in the label."""


def our_flows(lab: Lab) -> list[str]:
    """Our flows in the switch, without statistics and without the epoch."""
    text = lab.ofctl("--no-stats", "dump-flows", BRIDGE, OURS)
    lines = EPOCH.sub("epoch", text).splitlines()
    return sorted(line.strip() for line in lines if "actions=" in line)


def our_tables(lab: Lab) -> str:
    """Our nftables tables, as `nft list ruleset` prints them, without what is in their sets."""
    text = lab.exec("gw", ["nft", "--terse", "list", "ruleset"]).stdout
    return text if "ofgtp" in text else ""


def session_lines(session: dict[str, Any], cookie: int) -> tuple[str, str]:
    """A session's two flows, in ovs-ofctl's words."""
    ue_ip, uplink, down = session["ue_ip"], session["uplink"], session["downlink"]
    peer = uplink.get("remote_ip")
    # TEID and peer stand in registers once the packet is decapsulated
    pinned = "" if peer is None else f",reg1={int(IPv4Address(peer)):#x}"
    up = (
        f"cookie={cookie:#x},table=30,priority=100,ip,reg0={uplink['teid']:#x}{pinned},"
        f"nw_src={ue_ip} actions=goto_table:40"
    )
    to_ue = f"table=70,priority=100,ip,nw_dst={ue_ip}"
    if down is None:
        return up, f"cookie={IDLE_COOKIE:#x},{to_ue} actions=meter:{IDLE_METER}"
    return up, (
        f"cookie={cookie:#x},{to_ue} actions=decap(),set_field:{down['teid']:#x}->tun_id,"
        f"set_field:{down['remote_ip']}->tun_dst,output:3"
    )


def wanted_flows(
    lab: Lab, told: Iterable[dict[str, Any]], lease_seconds: int | None, shown: dict[str, Any]
) -> Iterator[str]:
    """Base flows by ofgtp's rules, sessions' flows by this module's.

    A session's number is not told by the API: it is taken from the cookie of its uplink flow, and
    the downlink flow must have the same.
    """
    facts: Gateway = lab.gateway()
    links = Links(
        access=1,
        core=2,
        gtpu=3,
        gtpu_ect_1=6,
        gtpu_ce=7,
        loop_out=4,
        loop_in=5,
        access_mtu=shown["access"]["mtu"],
        core_mtu=shown["core"]["mtu"],
        local_mac=shown["access"]["mac"],
        core_mac=shown["core"]["mac"],
        peer_mac=shown["next_hop"]["mac"],
        epoch=epoch(lab),
    )
    for flow in gateway_flows(facts, links, protected_networks([facts]), lease_seconds):
        yield str(flow)
    cookies: dict[int, int] = {}
    for line in lab.ofctl("--no-stats", "dump-flows", BRIDGE, "table=30").splitlines():
        found = re.search(r"cookie=0x([0-9a-f]+),.*reg0=0x([0-9a-f]+)", line)
        if found:
            cookies[int(found[2], 16)] = int(found[1], 16)
    used: set[int] = set()
    for session in told:
        cookie = cookies.get(session["uplink"]["teid"], 0)
        assert cookie not in used, f"two sessions with cookie {cookie:#x}"
        used.add(cookie)
        if cookie:
            assert cookie >> 40 == SESSION_COOKIE >> 40, session
        yield from session_lines(session, cookie)


def epoch(lab: Lab) -> int:
    """Which bits table `epoch` asks for: they are all as good."""
    text = lab.ofctl("--no-stats", "dump-flows", BRIDGE, "table=28")
    [mask] = {*re.findall(r"pkt_mark=0(?:x0)?/0x([0-9a-f]+)", text)} or {"ffff"}
    return int(mask, 16)


def flow_differences(
    lab: Lab,
    told: Iterable[dict[str, Any]],
    lease_seconds: int | None,
    others: Iterable[str] = (),
) -> list[str]:
    """What the switch has that it should not (`-`) and lacks (`+`), as `ovs-ofctl` sees it.

    `others` are flows under a cookie that is not ours, which must be there too.
    """
    path = lab.dir / "wanted.txt"
    wanted = [*wanted_flows(lab, told, lease_seconds, gateway(lab)), *others]
    path.write_text("\n".join(wanted) + "\n")
    argv = ["ovs-ofctl", "-O", "OpenFlow14", "diff-flows", BRIDGE, str(path)]
    done = lab.exec("gw", argv, check=False, timeout=120)
    assert done.returncode in (0, 2), done.stderr
    lines = set(done.stdout.splitlines())
    # Two flows that match on fragments differ in hidden bits: the same line stands twice.
    return sorted(line for line in lines if f"{'+-'[line[0] == '+']}{line[1:]}" not in lines)


def assert_settled(
    lab: Lab, lease_seconds: int | None, others: Iterable[str] = (), *, timeout: float = 30.0
) -> None:
    """Wait until the gateway says it is in sync; then the switch must be as the API says."""
    until(lambda: in_sync(lab), "in sync", timeout=timeout)
    told = sessions(lab)
    wrong = flow_differences(lab, told.values(), lease_seconds, others)
    assert not wrong, wrong[:20]
    assert {session["state"] for session in told.values()} <= {"active"}


class Log:
    """The controller's log from a moment on."""

    def __init__(self, lab: Lab) -> None:
        self._path = lab.controller_log
        self._start = self._path.stat().st_size if self._path.exists() else 0

    def text(self) -> str:
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace")

    def events(self, kind: str) -> list[str]:
        """What was told by each event of that kind."""
        return re.findall(rf"^event {kind}: (.*)$", self.text(), re.MULTILINE)

    def has(self, kind: str) -> list[str]:
        """The same once there is one: a line is written some time after it is true."""
        found: list[str] = until(lambda: self.events(kind), f"event `{kind}` in the log")
        return found

    def says(self, text: str) -> bool:
        """True once it says so: see `has`.

        Raises:
            AssertionError: it does not, for long.
        """
        return bool(until(lambda: text in self.text(), lambda: f"{text}, in {self.text()[-4000:]}"))


class SwitchLog:
    """Counts what the switch itself says it was sent, from a moment on: ovs-vswitchd's own log."""

    def __init__(self, lab: Lab) -> None:
        self._path = lab.dir / "ovs-vswitchd.log"
        lab.appctl("vlog/set", "vconn:console:dbg")
        lab.appctl("vlog/disable-rate-limit", "vconn")
        self._start = self._path.stat().st_size

    def flow_mods(self, *, renewals: bool = True) -> int:
        """Flow-mods received, in bundles or not."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            text = file.read().decode(errors="replace")
        lines = re.findall(r"received: OFPT_(?:FLOW_MOD|BUNDLE_ADD_MESSAGE).*", text)
        return len(lines) if renewals else sum("table:25" not in line for line in lines)


def flow_mods_but_renewals(heard: SwitchLog) -> int:
    """Flow-mods but those of table `lease`."""
    return heard.flow_mods(renewals=False)


@contextmanager
def openflow_cut(lab: Lab) -> Iterator[None]:
    """The wire between controller and switch is cut: every packet of it is dropped."""
    lab.exec("gw", ["nft", OPENFLOW_CUT])
    try:
        yield
    finally:
        lab.exec("gw", ["nft", "delete table inet cut"])


@contextmanager
def frozen(lab: Lab) -> Iterator[None]:
    """The controller hangs: SIGSTOP, and SIGCONT at the end."""
    assert lab.controller is not None
    lab.controller.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if lab.controller is not None:
            lab.controller.send_signal(signal.SIGCONT)


def crash(lab: Lab) -> None:
    """kill -9 of the controller."""
    assert lab.stop_controller(signal.SIGKILL) == -signal.SIGKILL


def start(lab: Lab, mode: str, **options: Any) -> None:
    """Start the controller in a mode; returns when it is in sync and knows the next hop."""
    lab.start_controller(lab.config(controller=MODES[mode]), **options)
    until(lambda: in_sync(lab), "in sync")


class Client:
    """A connection to the API that can be used from a thread while the controller may die."""

    def __init__(self, lab: Lab, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=timeout)
        with lab.inside("gw"):
            self._connection.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sock.settimeout(timeout)
        try:
            self._connection.sock.connect(("127.0.0.1", 8080))
        except OSError:
            self.close()
            raise

    def call(self, method: str, path: str, body: bytes | None, kind: str) -> int | None:
        """The status answered; None if nobody answered to the end."""
        try:
            head = {} if body is None else {"Content-Type": kind}
            self._connection.request(method, path, body, head)
            answer = self._connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return None

    def close(self) -> None:
        self._connection.close()


def damage_store(lab: Lab, damage: str) -> None:
    """Make the store unreadable: no database at all (`text`), or one of nonsense (`bytes`)."""
    path = lab.dir / "sessions.db"
    for more in ("-wal", "-shm"):
        path.with_name(path.name + more).unlink(missing_ok=True)
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"this is not a database\n" * 100)
    else:
        content[100:] = b"\xa5" * (len(content) - 100)
    path.write_bytes(content)
