"""The octets of T-PDUs with a PDU Session Container, step by step, as a real switch has them.

    .venv/bin/python -m tests.support.n3_steps > docs/images/n3-steps.json

For each step, the flow that the packet meets there gets a twin of a higher priority, which carries
out the first of its actions and then shows the packet to `ovs-ofctl monitor`. It ends there: a
switch that shows a packet between these actions, and goes on with it, aborts (Open vSwitch 3.1.0).
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable

from tests.support import gtpu
from tests.support.gtpu import E, S
from tests.support.lab import ROOT, Lab
from tests.support.site import BRIDGE, PDN_IP, Site, is_gtpu, until

UE, UP, DOWN = "10.45.0.2", 0x1001, 0x2001
CONTAINER = 0x85
CONTAINERS = {4: "01100900", 8: "0214090001020300", 12: "031609000102030001020400"}
"""Uplink ones of QFI 9, by their octets: with nothing else, with one delay, with two."""
FORMS = {"E": E, "E and S": E | S}

OUTER = 14 + 20 + 8
"""Octets in front of the GTP-U header. They are left out, and MAC addresses are written as 0 where
they are not: both are other ones each time."""
TWINS = 0x5EE0000
"""The twins' cookies: those of each step have the next, and a packet that was shown late for one
step is not taken for the next one's."""

Step = dict[str, str]
"""`octets`, and what the switch reads them as: `packet_type` and fields."""
Steps = dict[str, Step]


def record(site: Site) -> dict[str, Steps]:
    """Packet -> its steps."""
    site.session(UE, teid=UP, downlink=DOWN, qfi=9)
    switch = _Switch(site)
    found: dict[str, Steps] = {}
    for form, flags in FORMS.items():
        for octets, container in CONTAINERS.items():
            whole = (form, octets) == ("E", 4)
            taken = _uplink(switch, flags, bytes.fromhex(container), whole=whole)
            found[f"uplink, {form}, {octets}"] = taken
    for qfi in (9, 10):
        site.patch(f"ue-{UE}", {"qfi": qfi})
        found[f"downlink, {qfi}"] = _downlink(switch, qfi)
    return found


def _uplink(switch: _Switch, flags: int, container: bytes, *, whole: bool) -> Steps:
    """By the tables normalise, container, container_end and unwrap; or the first and the last."""
    site = switch.site
    message = gtpu.message(
        gtpu.T_PDU,
        UP,
        container + gtpu.ipv4(UE, PDN_IP),
        flags=gtpu.PLAIN | flags,
        sequence=0x1234 if flags & S else 0,
        extension=CONTAINER,
    )
    frame = site.from_enb(message)

    def shown(table: int, done: int) -> Step:
        return switch.shown(table, done, lambda: site.enb.send(frame))

    at = {"gtpu": (20, 0), "retyped": (26, 0)}
    if whole:
        at |= {"nsh": (20, 4), "ipv6": (23, 0), "length": (24, 1), "bare": (26, 2)}
    steps = {"sent": {"octets": message.hex(" ")}}
    steps |= {name: shown(*where) for name, where in at.items()}
    switch.forget()
    [out] = site.uplink(frame)
    return steps | {"core": {"octets": out[14:].hex(" ")}}


def _downlink(switch: _Switch, qfi: int) -> Steps:
    """By the tables contain and local."""
    site = switch.site
    frame = site.to_ue(gtpu.ipv4(PDN_IP, UE))
    odd = f"reg4=0x{qfi % 2}/"

    def shown(table: int, done: int, part: str) -> Step:
        return switch.shown(table, done, lambda: site.pdn.send(frame), part)

    steps = {
        "bare": shown(74, 1, odd),
        "one": shown(74, 6, odd),
        "two": shown(74, 10, odd),
        "gtpu": shown(80, 0, "nw_proto=17"),
    }
    steps["gtpu"] = {"octets": bytes.fromhex(steps["gtpu"]["octets"])[OUTER:].hex(" ")}
    switch.forget()
    [out] = [each for each in site.downlink(frame) if is_gtpu(each, DOWN)]
    return steps | {"wire": {"octets": out[OUTER:].hex(" ")}}


class _Switch:
    """A site's, and what it shows."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._ofctl = ["ovs-ofctl", "-O", "OpenFlow14"]
        self._cookies = itertools.count(TWINS)
        self._log = site.lab.dir / "shown"
        argv = [*self._ofctl, "-mm", "-P", "nxt_packet_in2", "monitor", BRIDGE, "65535"]
        with self._log.open("wb") as out:
            site.lab.spawn("gw", argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def forget(self) -> None:
        """Empty its cache, of what it did while there was another twin or none."""
        self.site.lab.appctl("revalidator/purge")

    def shown(self, table: int, done: int, send: Callable[[], None], part: str = "") -> Step:
        """A packet in that table, when so many actions of its flow are carried out."""
        flows = self.site.lab.http("GET", "/v1/flows").body.decode().splitlines()
        here = [flow for flow in flows if f"table={table}," in flow and part in flow]
        cookie = next(self._cookies)
        twins = "\n".join(filter(None, (_twin(flow, done, cookie) for flow in here)))
        self.site.lab.exec("gw", [*self._ofctl, "add-flows", BRIDGE, "-"], stdin=twins)
        self.forget()
        self._log.write_bytes(b"")

        def found() -> Step | None:
            send()
            time.sleep(0.02)
            return _read(self._log.read_text(errors="replace"), cookie)

        try:
            step: Step = until(found, f"a packet shown in table {table}")
        finally:
            self.site.lab.ofctl("del-flows", BRIDGE, f"cookie={cookie}/-1")
        return step


def _twin(flow: str, done: int, cookie: int) -> str | None:
    asked, _, text = flow.partition(" actions=")
    actions = [each for each in re.split(r",(?![^(]*\))", text) if not each.startswith("meter:")]
    if not actions or actions[0] == "drop" or len(actions) <= done:
        return None
    asked = re.sub(r"cookie=\w+", f"cookie={cookie}", asked)
    asked = re.sub(r"priority=(\d+)", lambda found: f"priority={int(found[1]) + 1000}", asked)
    return f"{asked},actions={','.join([*actions[:done], 'controller(max_len=65535)'])}"


_SHOWN = re.compile(r"cookie=(0x\w+) total_len=(\d+) [^\n]*\n([^\n]*)\n((?:[0-9a-f]{8}  .*\n)+)")


def _read(text: str, cookie: int) -> Step | None:
    for its, size, read_as, dump in _SHOWN.findall(text):
        if int(its, 16) != cookie:
            continue
        octets = bytes.fromhex(re.sub(r"(?m)^[0-9a-f]{8}|-|\n", " ", dump))
        if len(octets) == int(size):
            return {"octets": octets.hex(" "), "read as": read_as}
    return None


def on_the_page() -> list[str]:
    """The flows, rules and entries of the cache that docs/5g.md shows, a line each; in them …
    stands for what is left out."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "5g.md").read_text(), re.S)
    joined = re.sub(r"(?<=[,…])\n +", "", "".join(blocks))
    return re.sub(r"\n +", " ", joined).splitlines()


def is_part(shown: str, whole: str) -> bool:
    """Whether a line of the page is of that text."""
    return re.search(".*".join(map(re.escape, shown.split("…"))), whole) is not None


if __name__ == "__main__":
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        print(json.dumps(record(site), indent=1))
