"""What came in by a gateway's ports, and what became of it, by all that is counted."""

from __future__ import annotations

import re
import time
from collections import Counter

from ofgtp.control.flows.counters import DEVICE_SETTLE_S
from tests.support.site import Site

ENDS = ("packets", "own", "drops")
"""Each frame received is one of these."""

_SAMPLE = re.compile(
    r"ofgtp_(packets|own_frames|drops|received_frames|switch_drops)_total"
    r'\{.*?(?:direction|kind|reason|port)="(\w+)".*?\} (\S+)'
)


def counts(site: Site) -> Counter[tuple[str, str]]:
    """All that is counted, by the kind of counter and by what it says."""
    site.lab.appctl("revalidator/purge")  # flows' counters follow at once
    text = site.lab.http("GET", "/metrics").body.decode()
    found: Counter[tuple[str, str]] = Counter()
    for kind, label, value in _SAMPLE.findall(text):
        found[kind.removesuffix("_frames"), label] = int(float(value))
    return found


def settled(site: Site) -> Counter[tuple[str, str]]:
    """The same when nothing but ARP has come for so long that all is counted."""
    last, since = counts(site), time.monotonic()
    deadline = since + 60
    while time.monotonic() - since < 1.4 * DEVICE_SETTLE_S:
        assert time.monotonic() < deadline, "it never rests"
        time.sleep(0.4)
        now = counts(site)
        if any(kind not in ("own", "received") for kind, _ in now - last):
            since = time.monotonic()
        last = now
    return last


def balanced(site: Site, before: Counter[tuple[str, str]], **drops: int) -> dict[str, int]:
    """What has been counted since, when it has settled, and these drops are there: it must be that
    what came in is what has an end. ARP comes all the time, and may just have."""
    wanted = {("drops", name): count for name, count in drops.items()}
    deadline = time.monotonic() + 30
    while True:
        now = settled(site)
        now.subtract(before)
        received = now["received", "access"] + now["received", "core"]
        ended = sum(count for (kind, _), count in now.items() if kind in ENDS)
        if received == ended and all(now[key] == count for key, count in wanted.items()):
            return {f"{kind} {label}": count for (kind, label), count in now.items() if count}
        shown = {f"{kind} {label}": count for (kind, label), count in now.items() if count}
        assert time.monotonic() < deadline, f"received {received}, {ended} have an end: {shown}"
