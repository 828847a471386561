"""A flood of signalling ends in the switch, and starves neither controller nor other peers."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import gtpu
from tests.support.flood import Flood
from tests.support.gtpu import PLAIN, S
from tests.support.lab import Lab
from tests.support.peer import echo, events, metric, pong, read
from tests.support.site import ENB_IP, Site, until
from tests.support.stream import SESSION, Stream

pytestmark = pytest.mark.switch

SECONDS, LEASE_S = 6.0, 5
LONG = pytest.mark.long


@dataclass(frozen=True)
class Flooding:
    """How many messages a second, and what is asked of the gateway meanwhile."""

    rate: int
    kept_up: float
    """The share of the rate, and of what is above the limit, that must have reached the switch."""
    latency_s: float
    """Longest that a request of the REST API may take."""
    t3_s: float
    """When another peer repeats its Echo Request; the standard's timer is longer. A port that is
    flooded loses a packet now and then, of whatever kind: the kernel's queue in front of the switch
    is full for a moment."""
    first_try: float
    """So many of its requests are to be answered at the first try."""
    lost: float
    """The share of user packets that may be lost, and for how long in a row."""
    outage_s: float


FLOODS = [
    # a machine that has much to do sends less, and its queues are full for longer
    pytest.param(Flooding(20_000, 0.25, 10.0, 3.0, 0.5, 0.2, 3.0), id="busy"),
    pytest.param(Flooding(20_000, 0.8, 1.0, 0.5, 0.9, 0.05, 1.0), id="quiet", marks=LONG),
]
N3 = 3
FLOODER, OTHER = ENB_IP["enb"], "10.1.0.3"
"""Their last three bits differ: the switch limits them apart from each other."""
LET_PASS = 100.0
"""Messages a second that the switch lets pass from an eighth of the addresses; as many more at
once."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab, lab.config(controller=f"lease_seconds = {LEASE_S}"))
        site.ready()
        yield site
        site.alive()


def resident(site: Site) -> int:
    """Bytes of memory that the controller occupies."""
    assert site.lab.controller is not None
    pid = site.lab.controller.pid
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def junk(site: Site) -> list[bytes]:
    """Signalling of all kinds, sensible and not."""
    messages = [
        echo(0x4242, b"\x0e\x00"),
        echo(1),
        pong(7),
        gtpu.message(gtpu.ERROR_INDICATION, 0, flags=PLAIN | S),
        gtpu.message(gtpu.ERROR_INDICATION, 0x7777_7777),
        gtpu.message(gtpu.END_MARKER, 0x1001),
        gtpu.message(31, 0, b"\x8d\x01\x85", flags=PLAIN | S),
        *(gtpu.message(kind, 0, bytes(20)) for kind in (0, 3, 50, 100, 253)),
        echo(2, bytes(1000)),
        gtpu.message(gtpu.ECHO_REQUEST, 0, length=0xFFFF),
    ]
    return [site.from_enb(message) for message in messages]


def latency(site: Site, number: int) -> list[float]:
    """How long a PUT, a GET of all gateways and a GET of the session take, in seconds."""
    lab, name = site.lab, f"/v1/sessions/flood-{number}"
    body = {
        "ue_ip": f"10.45.3.{1 + number % 200}",
        "uplink": {"teid": 0x5000 + number % 200},
        "downlink": {"teid": 0x6000 + number, "remote_ip": OTHER},
    }
    taken = []
    for method, path, data in (
        ("PUT", name, body),
        ("GET", "/v1/gateways", None),
        ("GET", name, None),
        ("DELETE", name, None),
    ):
        begin = time.monotonic()
        answer = lab.http(method, path, data)
        taken.append(time.monotonic() - begin)
        assert answer.status in (200, 201, 204), answer.body
        if method == "PUT":
            assert answer.json()["state"] == "active"
    return taken


class Other:
    """A peer that asks by Echo Request, and again if it gets no answer (N3-REQUESTS)."""

    def __init__(self, site: Site, t3_s: float) -> None:
        self._site, self._t3_s = site, t3_s
        self._waiting: dict[int, tuple[float, int]] = {}
        """When and how often each was sent that is not answered yet."""
        self.tries: Counter[int] = Counter()
        """How many were answered at which try."""
        self._last = 0.0

    def __str__(self) -> str:
        return f"{self.tries.total()} answered, by tries {dict(self.tries)}"

    def ask(self) -> None:
        """Send another one, if the last was a moment ago."""
        self.answered()
        if time.monotonic() - self._last > 0.05:
            self._send(self.tries.total() + len(self._waiting), 1)

    def answered(self) -> bool:
        """Take the answers; whether none is missing."""
        for said in map(read, self._site.enb.all(0.0005)):
            if said and said.peer == OTHER and said.kind == gtpu.ECHO_RESPONSE:
                _, tries = self._waiting.pop(said.sequence or 0, (0.0, 0))
                self.tries[tries] += tries > 0
        for sequence, (at, tries) in list(self._waiting.items()):
            if time.monotonic() - at > self._t3_s:
                assert tries < N3, f"Echo Request {sequence} was sent {tries} times"
                self._send(sequence, tries + 1)
        return not self._waiting

    def _send(self, sequence: int, tries: int) -> None:
        self._last = time.monotonic()
        self._waiting[sequence] = self._last, tries
        self._site.enb.send(self._site.from_enb(echo(sequence), source=OTHER))


@pytest.mark.parametrize("asked", FLOODS)
def test_thousands_a_second(site: Site, asked: Flooding) -> None:
    lab = site.lab
    lab.exec("enb", ["ip", "addr", "replace", f"{OTHER}/24", "dev", "eth0"])
    assert lab.http("PUT", "/v1/sessions/stream", SESSION).status in (200, 201)
    taken: list[float] = []
    other = Other(site, asked.t3_s)
    before = site.counters()["rate_limited_signalling"]
    renewed = metric(lab, "ofgtp_lease_renewals_total")
    memory = resident(site)
    with (
        events(lab) as heard,
        Stream(lab) as stream,
        Flood(lab, "enb", junk(site), rate=asked.rate) as flood,
    ):
        start = time.monotonic()
        while time.monotonic() - start < SECONDS:
            taken += latency(site, len(taken))
            other.ask()
        until(other.answered, "the Echo Requests of the other are answered")
        assert not heard.of("lease_expired")
        assert not heard.of("disconnected")
    limited = site.counters()["rate_limited_signalling"] - before
    print(
        f"{flood.sent} in {flood.seconds:.1f} s ({flood.rate:.0f} a second), {limited} limited;"
        f" {len(taken)} requests: median {1e3 * statistics.median(taken):.1f} ms,"
        f" most {1e3 * max(taken):.0f} ms; Echo Requests: {other};"
        f" memory {memory >> 20} to {resident(site) >> 20} MB;"
        f" lease renewed {metric(lab, 'ofgtp_lease_renewals_total') - renewed:.0f} times;"
        f" up {stream.up}; down {stream.down}"
    )
    assert flood.rate > asked.kept_up * asked.rate
    assert limited > asked.kept_up * (flood.sent - LET_PASS * (flood.seconds + 1))
    assert limited < flood.sent
    assert max(taken) < asked.latency_s
    assert other.tries.total() > 5
    assert other.tries[1] > asked.first_try * other.tries.total(), str(other)
    assert metric(lab, "ofgtp_lease_renewals_total") - renewed >= SECONDS / LEASE_S
    for way in (stream.up, stream.down):
        assert way.lost < asked.lost * len(way.sent), str(way)
        assert all(lasted < asked.outage_s for _, lasted, _ in way.outages()), str(way)
    assert resident(site) - memory < 30 << 20
    assert lab.http("GET", "/v1/gateways").json()["items"][0]["in_sync"]


def test_after_it_the_flooder_is_answered_again(site: Site) -> None:
    """Within the time that its tokens need: it is not banned."""

    def answered() -> bool:
        site.enb.send(site.from_enb(echo(0x7777), source_port=7777))
        return any(
            said is not None and (said.sequence, said.port) == (0x7777, 7777)
            for said in map(read, site.enb.all(0.05))
        )

    until(answered, "the flooder is answered")
