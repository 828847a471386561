"""A phone, a base station and a core host that are Linux hosts, around a gateway: their own stacks
speak IPv6.

      ue eth0 ── radio enb eth0 ── eth1 gw eth2 ── eth0 pdn

The base station is topologies/enb.py; the phone knows its router and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.lab import ROOT, Lab
from tests.support.ownership import in_sync6
from tests.support.site import ACCESS_IP, ENB_IP, until

CORE, PDN, POOL = "2001:db8:c::1", "2001:db8:c::2", "2001:db8:a::/48"
PREFIX = "2001:db8:a:1::"
ROUTER = "fe80::1"
UE4, UP, DOWN = "10.45.0.2", 0x1001, 0x2001


class Phone:
    """The phone, and what is around it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.add_namespace("ue")
        lab.link("ue", "eth0", "enb", "radio")
        lab.add_ipv6("pdn", f"{PDN}/64")
        lab.exec("pdn", ["ip", "route", "add", POOL, "via", CORE])

    def session(self, **members: object) -> None:
        """Tell the base station of its session, and make it."""
        body = {
            "ue_ip": UE4,
            "ue_ipv6": f"{PREFIX}/64",
            "uplink": {"teid": UP},
            "downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb"]},
            **members,
        }
        bearer = {
            "ue_ip": UE4,
            "uplink_teid": UP,
            "downlink_teid": DOWN,
            "gateway": ACCESS_IP,
            "radio": "radio",
        }
        if "qfi" in members:
            bearer["qfi"] = members["qfi"]
        words = [f"--{'n3' if 'qfi' in members else 's1u'}", ENB_IP["enb"], "--mtu", "1500"]
        words += ["--bearer", ",".join(f"{name}={value}" for name, value in bearer.items())]
        pipe = subprocess.PIPE
        self.station = self.lab.spawn(
            *("enb", [sys.executable, str(ROOT / "topologies" / "enb.py"), *words]),
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        assert "ready" in self.station.stdout.readline()
        answer = self.lab.http("PUT", "/v1/sessions/phone", body)
        assert answer.json()["state"] == "active", answer.body

    def switch_on(self, **settings: int) -> str:
        """Let its IPv6 begin, with these settings (sysctl); its address, once it has formed one."""
        for name, value in (settings | {"accept_dad": 0}).items():
            self.lab.exec("ue", ["sysctl", "-qw", f"net.ipv6.conf.eth0.{name}={value}"])
        self.lab.exec("ue", ["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"])
        self.lab.exec("ue", ["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"])
        to = "lladdr", self.lab.mac("enb", "radio"), "dev", "eth0", "nud", "permanent"
        self.lab.exec("ue", ["ip", "neigh", "replace", ROUTER, *to])
        return str(until(self.address, "the phone forms an address"))

    def address(self) -> str | None:
        """Its address by SLAAC."""
        shown = self.lab.exec("ue", ["ip", "-json", "-6", "address", "show", "dev", "eth0"]).stdout
        for each in json.loads(shown)[0].get("addr_info", ()):
            if each["scope"] == "global" and each.get("dynamic"):
                return str(each["local"])
        return None

    def stats(self) -> dict[str, int]:
        """The base station's counters."""
        self.station.stdin.write("stats\n")
        self.station.stdin.flush()
        pairs = (word.partition("=") for word in self.station.stdout.readline().split())
        return {name: int(value) for name, equals, value in pairs if equals}


@contextmanager
def phone(**members: object) -> Iterator[Phone]:
    """A lab with a phone that has a session; `members` are the session's."""
    with Lab() as lab:
        made = Phone(lab)
        lab.start_controller(
            lab.config(decrement_ttl=True).replace(
                'ue_pools = ["10.45.0.0/16"]',
                f'ue_pools = ["10.45.0.0/16", "{POOL}"]\n'
                f'core_ip6 = "{CORE}/64"\nnext_hop6 = "{PDN}"',
            )
        )
        until(lambda: in_sync6(lab), "in sync, and the next hops answer")
        made.session(**members)
        yield made
