"""What a real switch said when it was asked for the way of a packet: recorded, and read again.

    .venv/bin/python -m tests.support.traces

records all of tests/data/trace anew, as root, from the installed Open vSwitch. The tests of the
explanation read the files; the tests with a real switch ask it.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

from ofgtp.cli.rules import read_rules
from ofgtp.core.model import FTeid, Gateway, Qos
from ofgtp.core.trace.explain import Story, TraceRefused, follow
from ofgtp.core.trace.known import Known
from ofgtp.core.trace.probe import Packet, Question, container, solicitation
from ofgtp.southbound.ovstools import CommandRefused, Tools
from tests.support.lab import Lab, gateway
from tests.support.site import BRIDGE, PDN_IP, Site, answer6

FILES = Path(__file__).resolve().parents[1] / "data" / "trace"
UE, PEER, OTHER_UE = IPv4Address("10.45.0.2"), IPv4Address("10.1.0.2"), IPv4Address("10.45.0.3")
HOST = IPv4Address(PDN_IP)
COOKIE = 0x0F67_0300_0000_0002
"""The session's: the site's marker is number 1."""
SESSION = Known(UE, "phone-1", COOKIE, 0x1001, None, FTeid(0x2001, PEER))
UP = Packet("uplink", UE, HOST, teid=0x1001, peer=PEER)
DOWN = Packet("downlink", UE, HOST)
REFUSED = "refused: "


@dataclass(frozen=True)
class Way:
    """What is asked, and how the gateway and the session are."""

    packet: Packet
    session: Known = SESSION
    gateway: Gateway = field(default_factory=gateway)


def to(peer: str) -> Known:
    """The session with its downlink to another peer."""
    return replace(SESSION, downlink=FTeid(0x2001, IPv4Address(peer)))


def of_qfi(qfi: int) -> Packet:
    """The uplink packet as a gNB sends it."""
    return replace(UP, container=container(qfi))


BEARERS: list[dict[str, Any]] = [
    {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
        "uplink": {"teid": 0x1002},
        "downlink": {"teid": 0x2002, "remote_ip": str(PEER)},
    },
    {"id": "web", "precedence": 20, "filters": [{"protocol": "tcp", "dscp": 46}], "gate": "uplink"},
]
CORE = {"teid": 0x5001, "remote_teid": 0x6001, "remote_ip": str(PEER)}


def of_rules(**more: Any) -> Known:
    """The session with what REST has of its bearers, or of its relay."""
    plain = {"uplink": None, "qfi": None, "gate": "open", "error_indicated": False}
    shown = [plain | each for each in more.pop("bearers", [])]
    for each in shown:
        each["uplink"] = each["uplink"] and {"remote_ip": None, **each["uplink"]}
    session = {
        "id": "phone-1",
        "gateway": "gw1",
        "ue_ip": str(UE),
        "uplink": {"teid": 0x1001, "remote_ip": None},
        "downlink": {"teid": 0x2001, "remote_ip": str(PEER)},
        "bearers": shown,
    }
    return replace(SESSION, rules=read_rules(session | more))


WITH_BEARERS = of_rules(bearers=BEARERS)
EDGE = replace(of_rules(core=CORE, breakout=["10.2.0.0/24"]), relay=FTeid(0x6001, PEER))
VOICE = replace(UP, proto="udp", host_port=5004, teid=0x1002)
WEB = replace(UP, proto="tcp", dscp=46)
FAR = replace(UP, host=IPv4Address("198.51.100.7"))

N3 = replace(SESSION, qos=Qos(10, rqi=True))
CHECKED = replace(SESSION, qos=Qos(10, rqi=True, check=True))
ALLOW = gateway(access_allow=(IPv4Network("10.1.0.0/29"),))
ROUTED = gateway(ue_to_ue="route")

PREFIX, UE6 = IPv6Network("2001:db8:a:1::/64"), IPv6Address("2001:db8:a:1::7")
CORE6, HOP6 = IPv6Interface("2001:db8:c::1/64"), IPv6Address("2001:db8:c::2")
OF_IPV6 = gateway(ue_pools6=(IPv6Network("2001:db8:a::/48"),), core_ip6=CORE6, next_hop6=HOP6)
IPV6_TO_UE = replace(OF_IPV6, ue_to_ue="route")
BOTH = replace(of_rules(ue_ipv6=str(PREFIX)), ue6=PREFIX)
N3_BOTH = replace(BOTH, qos=Qos(10), rules=())
UP6 = Packet("uplink", UE6, HOP6, teid=0x1001, peer=PEER, size=104)
DOWN6 = Packet("downlink", UE6, HOP6, size=104)
OTHER_UE6 = IPv6Address("2001:db8:a:2::9")
SOLICITS = replace(solicitation(), teid=0x1001, peer=PEER)


def by6(packet: Packet, session: Known = BOTH, of: Gateway = OF_IPV6) -> Way:
    return Way(packet, session, of)


WAYS = {
    "up": Way(UP),
    "up-ttl-100": Way(replace(UP, ttl=100)),
    "up-ttl-128": Way(replace(UP, ttl=128, proto="tcp")),
    "up-ce": Way(replace(UP, dscp=46, ecn=2, outer_ecn=3)),
    "up-ce-incapable": Way(replace(UP, ttl=128, outer_ecn=3)),
    "up-ect1": Way(replace(UP, ecn=2, outer_ecn=1)),
    "down": Way(replace(DOWN, dscp=46)),
    "down-too-big": Way(replace(DOWN, size=1465)),
    "down-just-fits": Way(replace(DOWN, size=1464)),
    "down-no-arp": Way(DOWN, to("10.1.0.9")),
    "down-no-route": Way(DOWN, to("172.16.0.9")),
    "down-idle": Way(DOWN, replace(SESSION, downlink=None)),
    "down-error-indicated": Way(DOWN),
    "down-unknown-ue": Way(replace(DOWN, ue=IPv4Address("10.45.0.77"))),
    "up-unknown-teid": Way(replace(UP, teid=0x9999)),
    "up-spoofed": Way(replace(UP, ue=IPv4Address("192.168.1.2"))),
    "up-wrong-peer": Way(UP, replace(SESSION, pinned=IPv4Address("10.1.0.7"))),
    "up-pinned": Way(UP, replace(SESSION, pinned=PEER)),
    "up-protected": Way(replace(UP, host=IPv4Address("10.1.0.7"))),
    "up-to-ue-denied": Way(replace(UP, host=OTHER_UE)),
    "up-to-ue": Way(replace(UP, host=OTHER_UE), gateway=ROUTED),
    "up-to-ue-too-big": Way(replace(UP, host=OTHER_UE, size=1465), gateway=ROUTED),
    "up-access-denied": Way(replace(UP, peer=IPv4Address("10.1.0.66")), gateway=ALLOW),
    "up-foreign-drop": Way(UP),
    "up-foreign-pass": Way(UP),
    "up-deleted": Way(UP),
    "up-next-hop": Way(UP),
    "up-no-match": Way(UP),
    "up-lease": Way(UP),
    "down-lease": Way(DOWN),
    "up-no-gtpu-port": Way(UP),
    "down-no-gtpu-port": Way(DOWN),
    "up-no-patch": Way(UP),
    "up-no-flows": Way(UP),
    "up-no-port": Way(UP),
    "up-no-bridge": Way(UP),
    "n3-up": Way(of_qfi(9), N3),
    "n3-up-ttl-1": Way(replace(of_qfi(9), ttl=1), N3),
    "n3-up-long": Way(replace(UP, container=bytes.fromhex("03180a000a0b0c0001010100")), N3),
    "n3-up-checked": Way(of_qfi(10), CHECKED),
    "n3-up-wrong-qfi": Way(of_qfi(11), CHECKED),
    "n3-up-missing": Way(UP, N3),
    "n3-up-optional": Way(UP, N3),
    "n3-up-longest": Way(replace(UP, container=bytes.fromhex("07180a" + "00" * 25)), N3),
    "n3-up-too-long": Way(replace(UP, container=bytes.fromhex("08180a" + "00" * 29)), N3),
    "n3-up-bad": Way(replace(UP, container=bytes.fromhex("01000a00")), N3),
    "n3-up-type-0": Way(replace(UP, container=bytes.fromhex("01004a00")), N3),
    "n3-up-ce": Way(replace(of_qfi(9), ecn=1, outer_ecn=3), N3),
    "n3-up-ce-incapable": Way(replace(of_qfi(9), outer_ecn=3), N3),
    "n3-up-chain": Way(replace(UP, container=bytes.fromhex("01100a4001000000")), N3),
    "n3-up-not-ip": Way(replace(UP, container=bytes.fromhex("01100a0001000000")), N3),
    "n3-up-unknown-teid": Way(replace(of_qfi(9), teid=0x9999), N3),
    "n3-up-to-4g": Way(replace(of_qfi(9), host=OTHER_UE), N3, gateway=ROUTED),
    "n3-up-4g": Way(of_qfi(9)),
    "rules-up-voice": Way(VOICE, WITH_BEARERS),
    "rules-up-web": Way(WEB, WITH_BEARERS),
    "rules-up-own": Way(UP, WITH_BEARERS),
    "rules-up-wrong": Way(replace(UP, teid=0x1002), WITH_BEARERS),
    "rules-down-voice": Way(replace(VOICE, direction="downlink", teid=0, peer=None), WITH_BEARERS),
    "rules-down-closed": Way(replace(WEB, direction="downlink", teid=0, peer=None), WITH_BEARERS),
    "rules-down-own": Way(DOWN, WITH_BEARERS),
    "relay-up": Way(FAR, EDGE),
    "relay-up-breakout": Way(UP, EDGE),
    "relay-down": Way(replace(FAR, direction="downlink", teid=0x5001), EDGE),
    "relay-down-breakout": Way(DOWN, EDGE),
    "n3-down": Way(DOWN, N3),
    "n3-down-just-fits": Way(replace(DOWN, size=1456), N3),
    "n3-down-too-big": Way(replace(DOWN, size=1457), N3),
    "n3-down-far-too-big": Way(replace(DOWN, size=1465), N3),
    "ipv6-up": by6(UP6),
    "ipv6-up-hops-100": by6(replace(UP6, ttl=100, proto="tcp", dscp=46)),
    "ipv6-up-spoofed": by6(replace(UP6, ue=OTHER_UE6)),
    "ipv6-up-link-local": by6(replace(UP6, ue=IPv6Address("fe80::7"))),
    "ipv6-up-protected": by6(replace(UP6, host=IPv6Address("ff02::1"))),
    "ipv6-up-to-ue-denied": by6(replace(UP6, host=OTHER_UE6)),
    "ipv6-up-to-ue": by6(replace(UP6, host=OTHER_UE6), of=IPV6_TO_UE),
    "ipv6-up-unknown-teid": by6(replace(UP6, teid=0x9999)),
    "ipv6-up-next-hop": by6(UP6),
    "ipv6-up-ce": by6(replace(UP6, ecn=2, outer_ecn=3)),
    "ipv6-up-without": Way(UP6),
    "ipv6-up-n3": by6(replace(UP6, container=container(9)), N3_BOTH),
    "ipv6-up-n3-long": by6(
        replace(UP6, container=bytes.fromhex("07180a" + "00" * 25), ttl=1), N3_BOTH
    ),
    "ipv6-down": by6(replace(DOWN6, dscp=46)),
    "ipv6-down-just-fits": by6(replace(DOWN6, size=1464)),
    "ipv6-down-too-big": by6(replace(DOWN6, size=1465)),
    "ipv6-down-unknown-ue": by6(replace(DOWN6, ue=IPv6Address("2001:db8:a:77::1"))),
    "ipv6-down-idle": by6(DOWN6, replace(BOTH, downlink=None, rules=())),
    "ipv6-down-n3": by6(DOWN6, N3_BOTH),
    "ipv6-solicits": by6(SOLICITS),
    "ipv6-solicits-n3": by6(replace(SOLICITS, container=container(9)), N3_BOTH),
    "ipv6-solicits-unknown-teid": by6(replace(SOLICITS, teid=0x9999)),
    "ipv6-solicits-idle": by6(SOLICITS, replace(BOTH, downlink=None, rules=())),
    "ipv6-solicits-without": Way(SOLICITS),
}


def story(name: str) -> Story:
    """A recorded way, explained."""
    way, blocks = WAYS[name], list(_blocks((FILES / f"{name}.txt").read_text()))
    macs, answers = dict(part.split("=") for part in blocks[0][0].split()), iter(blocks[1:])

    def ask(question: Question) -> str:
        asked, answer = next(answers)
        assert shlex.join(question.arguments(way.gateway.bridge)) == asked
        if answer.startswith(REFUSED):
            raise TraceRefused(answer.removeprefix(REFUSED))
        return answer

    told = follow(way.packet, way.session, way.gateway, ask=ask, **macs)
    assert next(answers, None) is None, "not all was asked that was recorded"
    return told


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for block in text.split("\n$ "):
        head, _, answer = block.removeprefix("# ").partition("\n")
        yield head, answer


class _Recorder:
    def __init__(self, lab: Lab, site: Site) -> None:
        self._lab, self._site, self._switch = lab, site, Tools(lab.ovsdb)

    def record(self, *names: str) -> None:
        for name in names:
            way = WAYS[name]
            macs = {"local_mac": self._site.local_mac, "core_mac": self._site.core_mac}
            lines = ["# " + " ".join(f"{key}={mac}" for key, mac in macs.items())]
            follow(
                way.packet, way.session, way.gateway, ask=self._asking(lines, way.gateway), **macs
            )
            (FILES / f"{name}.txt").write_text("\n".join(lines))

    def _asking(self, lines: list[str], gateway: Gateway) -> Callable[[Question], str]:
        def ask(question: Question) -> str:
            arguments = question.arguments(gateway.bridge)
            lines.append(f"$ {shlex.join(arguments)}")
            with self._lab.inside("gw"):
                try:
                    lines.append(self._switch.appctl(*arguments))
                except CommandRefused as refused:
                    lines.append(f"{REFUSED}{refused}\n")
                    raise TraceRefused(str(refused)) from refused
            return lines[-1]

        return ask


def main() -> None:
    """Record all ways."""
    FILES.mkdir(exist_ok=True)
    routed, allow = 'ue_to_ue = "route"', 'access_allow = ["10.1.0.0/29"]'
    to_ues = "up-to-ue", "up-to-ue-too-big"
    for more, names in ((routed, to_ues), (allow, ("up-access-denied",))):
        with Lab() as lab:
            site = Site(lab, lab.config(gateway=more))
            site.ready()
            site.session(str(UE), teid=0x1001, downlink=0x2001)
            site.session(str(OTHER_UE), teid=0x1003, downlink=0x2003)
            _Recorder(lab, site).record(*names)
    record_n3()
    record_ipv6()
    record_rules()
    with Lab() as lab:
        site = Site(lab, lab.config(controller='ownership = "switch"'))
        site.ready()
        _record_all(lab, site, _Recorder(lab, site).record)


def record_n3() -> None:
    """Record those with a PDU Session Container."""
    with Lab() as lab:
        site = Site(lab, lab.config(gateway='ue_to_ue = "route"'))
        site.ready()
        record = _Recorder(lab, site).record
        name = site.session(str(UE), teid=0x1001, downlink=0x2001)
        site.session(str(OTHER_UE), teid=0x1003, downlink=0x2003)
        record("n3-up-4g")
        site.patch(name, {"qfi": 10, "rqi": True})
        record("n3-up", "n3-up-ttl-1", "n3-up-long", "n3-up-longest", "n3-up-too-long", "n3-up-bad")
        record("n3-up-missing", "n3-up-ce", "n3-up-ce-incapable")
        record("n3-up-chain", "n3-up-not-ip", "n3-up-unknown-teid", "n3-up-to-4g")
        record("n3-down", "n3-down-just-fits", "n3-down-too-big", "n3-down-far-too-big")
        site.patch(name, {"qfi_check": True})
        record("n3-up-checked", "n3-up-wrong-qfi")
        site.patch(name, {"qfi_check": False, "qfi_required": False})
        record("n3-up-optional", "n3-up-type-0")


def record_ipv6() -> None:
    """Record those of UEs with IPv6."""
    own = f'core_ip6 = "{CORE6}"\nnext_hop6 = "{HOP6}"'
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        site.session(str(UE), teid=0x1001, downlink=0x2001)
        _Recorder(lab, site).record("ipv6-up-without", "ipv6-solicits-without")
    for more in ("", 'ue_to_ue = "route"'):
        with Lab() as lab:
            config = lab.config(gateway=f"{own}\n{more}").replace(
                '["10.45.0.0/16"]', '["10.45.0.0/16", "2001:db8:a::/48"]'
            )
            site = Site(lab, config)
            site.ready()
            record = _Recorder(lab, site).record
            name = site.session(str(UE), teid=0x1001, downlink=0x2001, ue_ipv6=str(PREFIX))
            if not more:
                record("ipv6-up-next-hop")
            answer6(site, str(HOP6), str(CORE6.ip))
            site.session(str(OTHER_UE), teid=0x1003, downlink=0x2003, ue_ipv6="2001:db8:a:2::/64")
            if more:
                record("ipv6-up-to-ue")
                continue
            record("ipv6-up", "ipv6-up-hops-100", "ipv6-up-spoofed", "ipv6-up-link-local")
            record("ipv6-up-protected", "ipv6-up-to-ue-denied", "ipv6-up-unknown-teid")
            record("ipv6-up-ce", "ipv6-down", "ipv6-down-just-fits", "ipv6-down-too-big")
            record("ipv6-down-unknown-ue", "ipv6-solicits", "ipv6-solicits-unknown-teid")
            site.patch(name, {"qfi": 10})
            record("ipv6-up-n3", "ipv6-up-n3-long", "ipv6-down-n3", "ipv6-solicits-n3")
            site.patch(name, {"qfi": None, "downlink": None})
            record("ipv6-down-idle", "ipv6-solicits-idle")


def record_rules() -> None:
    """Record those of sessions that have bearers, or are relays."""
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        record = _Recorder(lab, site).record
        name = site.session(str(UE), teid=0x1001, downlink=0x2001, bearers=BEARERS)
        record("rules-up-voice", "rules-up-web", "rules-up-own", "rules-up-wrong")
        record("rules-down-voice", "rules-down-closed", "rules-down-own")
        site.patch(name, {"bearers": [], "core": CORE, "breakout": ["10.2.0.0/24"]})
        record("relay-up", "relay-up-breakout", "relay-down", "relay-down-breakout")


def _record_all(lab: Lab, site: Site, record: Callable[..., None]) -> None:
    name = site.session(str(UE), teid=0x1001, downlink=0x2001)
    record("up", "up-ttl-100", "up-ttl-128", "down", "down-too-big", "down-just-fits")
    record("up-ce", "up-ce-incapable", "up-ect1")
    record("down-unknown-ue", "up-unknown-teid", "up-spoofed", "up-protected", "up-to-ue-denied")
    for peer, way in (("10.1.0.9", "down-no-arp"), ("172.16.0.9", "down-no-route")):
        site.patch(name, {"downlink": {"teid": 0x2001, "remote_ip": peer}})
        record(way)
    site.patch(name, {"downlink": None})
    record("down-idle")
    site.patch(name, {"downlink": {"teid": 0x2001, "remote_ip": str(PEER)}})
    for pinned, way in (("10.1.0.7", "up-wrong-peer"), (str(PEER), "up-pinned")):
        site.patch(name, {"uplink": {"remote_ip": pinned}})
        record(way)
    site.patch(name, {"uplink": {"remote_ip": None}})
    lab.stop_controller(signal.SIGKILL)

    def changed(flow: str, *ways: str, back: str | None = None) -> None:
        """With a flow added, or, where there is one to put back, deleted."""
        if back is None:
            lab.ofctl("add-flow", BRIDGE, flow)
            record(*ways)
            key = flow[flow.index("table=") :].partition(" actions")[0]
            lab.ofctl("--strict", "del-flows", BRIDGE, key)
        else:
            lab.ofctl("--strict", "del-flows", BRIDGE, flow)
            record(*ways)
            lab.ofctl("add-flow", BRIDGE, back)

    indicated = "cookie=0x0f67020000000016,table=70,priority=101,ip,nw_dst=10.45.0.2 actions=drop"
    changed(indicated, "down-error-indicated")
    changed("table=30,priority=200,ip,nw_src=10.45.0.2 actions=drop", "up-foreign-drop")
    foreign = "cookie=0xbad,table=30,priority=200,ip,nw_src=10.45.0.2 actions=goto_table:40"
    changed(foreign, "up-foreign-pass")
    uplink = "table=30,priority=100,ip,reg0=0x1001,nw_src=10.45.0.2"
    changed(uplink, "up-deleted", back=f"cookie={COOKIE:#x},{uplink} actions=goto_table:40")
    for port, ways in (("eth1", ("up-lease",)), ("eth2", ("down-lease",))):
        lease = f"cookie=0x0f67020000000015,table=25,priority=200,in_port={port} actions=drop"
        changed(lease, *ways)
    lab.ofctl("--strict", "del-flows", BRIDGE, "table=50,priority=100,ip")
    record("up-next-hop")
    lab.ofctl("del-flows", BRIDGE, "table=50")
    record("up-no-match")
    lab.vsctl("del-port", f"{BRIDGE}-o")
    record("up-no-patch")
    lab.vsctl("del-port", f"{BRIDGE}-g")
    record("up-no-gtpu-port", "down-no-gtpu-port")
    lab.ofctl("del-flows", BRIDGE)
    record("up-no-flows")
    lab.vsctl("del-port", lab.end("eth1"))
    record("up-no-port")
    lab.vsctl("del-br", BRIDGE)
    record("up-no-bridge")


if __name__ == "__main__":
    main()
