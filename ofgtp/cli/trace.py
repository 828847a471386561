"""`ofgtp trace`: where a session's packets go in the switch, and why they do not."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED, CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import ANY_ADDRESS, GATEWAY, SESSION, TEID, Number, Octets, Protocol
from ofgtp.core.filters import PROTOCOLS, WITH_PORTS

if TYPE_CHECKING:
    from ofgtp.cli.subject import Subject
    from ofgtp.core.model import Address, Direction, Gateway, Qos
    from ofgtp.core.sessions.rule import Rule
    from ofgtp.core.trace.explain import Part, Step, Story
    from ofgtp.core.trace.known import Verdict
    from ofgtp.core.trace.lately import Finding
    from ofgtp.core.trace.probe import Packet, Question
    from ofgtp.core.trace.symptoms import Symptom
    from ofgtp.southbound.ovstools import Tools

ARP_S = 1.0
"""How long an ARP request of the switch may stay without an answer, in seconds."""
ECN = {"ect1": 1, "ect0": 2, "ce": 3}
"""Codepoints of RFC 3168, 5: capable of ECN, twice, and congestion experienced."""
FAR_HOST, FAR_HOST_6 = "8.8.8.8", "2001:4860:4860::8888"
"""A host beyond the gateway's own, which routes to it. Nothing is sent there."""
NOBODYS_IPV6 = "2001:db8::1"
"""Set aside for documentation (RFC 3849): of a UE behind a relay, if that is asked for."""


@click.command(
    epilog="""\b
Examples:
  ofgtp trace 10.45.0.7                    both ways: the first thing to type
  ofgtp trace 2001:db8:a:1::7              the same by IPv6
  ofgtp trace phone-1 --downlink --size 1500
  ofgtp trace phone-1 --dport 80 --host 192.0.2.80
  ofgtp trace phone-1 --proto udp --dport 5004 --dscp 46   by which bearer?
  ofgtp trace phone-1 --uplink --peer 10.1.0.3       from another base station
  ofgtp trace phone-1 --uplink --no-qfi              as an eNB sends it
  ofgtp trace phone-1 --uplink --outer-ecn ce        as a full router marks it
  ofgtp trace phone-1 --router-solicitation          does it learn its prefix?
  ofgtp trace 10.45.0.7 --raw              with Open vSwitch's own words""",
)
@click.argument("name", metavar="SESSION", type=SESSION)
@click.option("--uplink", is_flag=True, help="From the UE only.")
@click.option("--downlink", is_flag=True, help="To the UE only.")
@click.option("-4", "--ipv4", is_flag=True, help="IPv4 only. Else what the UE has, or is named by.")
@click.option("-6", "--ipv6", is_flag=True, help="IPv6 only.")
@click.option(
    "--host",
    type=ANY_ADDRESS,
    help=f"The far end. Else the next hop, or {FAR_HOST} ({FAR_HOST_6}) where the host routes.",
)
@click.option(
    "--proto",
    metavar="NAME|N",
    type=Protocol({name: PROTOCOLS[name] for name in ("icmp", "tcp", "udp", "icmpv6", "sctp")}),
    help="icmp, tcp, udp, sctp, or a number. Else icmp; tcp if a port is given. icmp of IPv6 is"
    " ICMPv6.",
)
@click.option("--sport", metavar="PORT", type=Number(0, 65535), help="The UE's port. Else 40000.")
@click.option(
    "--dport", metavar="PORT", type=Number(0, 65535), help="The far end's port. Else 443."
)
@click.option(
    "--size",
    type=Number(28, 65535),
    help="Octets of the UE's IP packet. Else 84, of IPv6 104; of IPv6 48 at least.",
)
@click.option("--dscp", type=Number(0, 63), default=0, help="Of the UE's packet.")
@click.option("--ecn", type=click.Choice(list(ECN)), help="Of the UE's packet. Else not capable.")
@click.option(
    "--ttl",
    type=Number(1, 255),
    default=64,
    show_default=True,
    help="Of the UE's packet; of IPv6 its hop limit.",
)
@click.option(
    "--peer",
    type=ANY_ADDRESS,
    help="Uplink: from this base station. Else from the one that the downlink goes to, or that the"
    " uplink is pinned to.",
)
@click.option(
    "--teid",
    type=TEID,
    help="Uplink: with this TEID. Else the session's, or that of the bearer whose filters match.",
)
@click.option("--source", type=ANY_ADDRESS, help="Uplink: from this inner address. Else the UE's.")
@click.option(
    "--router-solicitation",
    is_flag=True,
    help="Uplink: what a phone with IPv6 sends to learn its prefix, and nothing else.",
)
@click.option(
    "--qfi",
    type=Number(0, 63),
    help="Uplink: with a PDU Session Container of this QFI. Else the session's, if it has one.",
)
@click.option("--no-qfi", is_flag=True, help="Uplink: without a PDU Session Container, as of 4G.")
@click.option(
    "--container",
    metavar="HEX",
    type=Octets(4, 64),
    help="Uplink: with these octets from the PDU Session Container to the UE's packet, as a"
    " capture shows them: 01100900 is QFI 9.",
)
@click.option(
    "--outer-ecn",
    type=click.Choice(list(ECN)),
    help="Uplink: as routers on its way have marked it (ECN). Else they have not.",
)
@click.option("--gateway", type=GATEWAY, help="Where several have the same UE address.")
@click.option("-v", "--verbose", is_flag=True, help="Show each flow, and what its table is for.")
@click.option("--raw", is_flag=True, help="Show what Open vSwitch was asked and said, too.")
@api_options
def trace(name: str, uplink: bool, downlink: bool, **given: Any) -> None:
    """Show where a session's packets go, and why not (root).

    First what has lately happened to real packets, as far as it was seen: packets that were
    dropped (the controller is shown some of them), what ICMP says of the base station, whether
    packets go up and none comes down. Then it follows a packet of the session, as it should be,
    through the real switch, in words. SESSION is an id, the UE's address, or its IPv6 prefix. Of a
    UE with IPv4 and IPv6 that is named by its id both are followed. Nothing is sent, but the switch
    may ask for a base station's MAC address by ARP. For root, on the switch's host. With an address
    it works without the controller, too: by the switch and ofgtp.toml alone.

    Of a session with bearers it says which one took the packet, and by which of its filters. Uplink
    the packet comes with the TEID of the bearer that it belongs to. Of a relay both directions come
    in a tunnel.

    The uplink packet of a session with a QFI has a PDU Session Container, as a gNB sends it. The
    switch is asked by `ofproto/trace`, which ends where a packet leaves its tunnel and where it is
    parsed anew: a downlink packet is asked for twice, an uplink one two or three times, with a
    container five or six. Not seen are nftables, the network beyond the ports, rate limits, and the
    host's firewall where the host routes.

    \b
    Exit codes: 0 delivered, in all directions asked for; 1 dropped in one, or
    real packets were, or not root; 3 the API does not answer and SESSION is no
    address; 4 no such session.
    """
    from ofgtp.cli import subject as subjects
    from ofgtp.southbound.ovstools import Tools

    proto, ports = given["proto"], (given["sport"], given["dport"])
    if proto and PROTOCOLS.get(proto) not in WITH_PORTS and ports != (None, None):
        raise click.UsageError(f"{proto} has no ports: --proto tcp, udp or sctp, or neither port")
    containers = [given["qfi"] is not None, given["no_qfi"], given["container"] is not None]
    if sum(containers) > 1:
        raise click.UsageError("--qfi, --no-qfi and --container exclude each other")
    of_uplink = [given["peer"], given["teid"], given["source"], *containers, given["outer_ecn"]]
    if downlink and not uplink and any(of_uplink):
        raise click.UsageError(
            "--peer, --teid, --source, --qfi, --no-qfi, --container and --outer-ecn are for the"
            " uplink"
        )
    solicits = given["router_solicitation"]
    own = (downlink, given["ipv4"], given["host"], proto, *ports, given["size"], given["dscp"])
    if solicits and any(own):
        raise click.UsageError(
            "--router-solicitation is an uplink packet whose destination, protocol and size are"
            " known"
        )
    version = _version(given)
    subjects.need_root()
    subject = subjects.find(name, given["gateway"])
    switch = Tools(subject.gateway.ovsdb)
    switch.appctl("version")  # without it all else would look gone
    both = uplink == downlink and not solicits
    uplink = uplink or solicits
    ways: list[Direction] = []
    if uplink or both:
        ways.append("uplink")
    if downlink or both:
        ways.append("downlink")
    run = _Run(subject, switch, given, version)
    run.trace(ways)
    if output.wants_json():
        output.document(run.as_json())
    else:
        _print(run, verbose=given["verbose"], raw=given["raw"])
    if not run.well:
        sys.exit(EXIT_FAILED)


def _version(given: dict[str, Any]) -> int | None:
    """The IP version that the options ask for; None: they ask for none.

    Raises:
        click.UsageError: they ask for both.
    """
    asked = {
        "--ipv4": 4 if given["ipv4"] else None,
        "--ipv6": 6 if given["ipv6"] else None,
        "--router-solicitation": 6 if given["router_solicitation"] else None,
        "--proto icmpv6": 6 if given["proto"] == "icmpv6" else None,
        "--source": given["source"] and ip_address(given["source"]).version,
        "--host": given["host"] and ip_address(given["host"]).version,
    }
    versions = {option: version for option, version in asked.items() if version}
    if len(set(versions.values())) > 1:
        raise click.UsageError(f"{' and '.join(versions)}: one is IPv4, one is IPv6")
    return next(iter(versions.values()), None)


class _Run:
    """What is found out, in order."""

    def __init__(
        self, subject: Subject, switch: Tools, given: dict[str, Any], version: int | None
    ) -> None:
        self.subject, self.switch, self._given = subject, switch, given
        self._version = version
        self.stories: list[Story] = []
        self._asked_arp = False
        self.findings: list[Finding] = []
        """What has happened to real packets."""
        self.symptoms: list[Symptom] = []

    @property
    def well(self) -> bool:
        """Whether packets would be delivered, and really are as far as it is known."""
        would = all(story.verdict.delivered for story in self.stories)
        return would and all(finding.over for finding in self.findings)

    def trace(self, ways: Sequence[Direction]) -> None:
        """Ask the switch and the host, and add up what the API said."""
        from ofgtp.cli import subject as subjects
        from ofgtp.core.trace import symptoms
        from ofgtp.southbound import hostnet

        subject, gateway = self.subject, self.subject.gateway
        missing: list[str] = []
        installed: list[str] = []
        if hostnet.exists(gateway.bridge):
            installed = subjects.learn(subject, self.switch)
            missing, _ = self.switch.difference(gateway.bridge, subject.wanted, installed)
        ports = (gateway.access_port, gateway.core_device)
        links = {port: str(hostnet.link_state(port)) for port in ports}
        todo = [(way, version) for version in self._versions(ways) for way in ways]
        for way, version in todo:
            if way == "downlink" and not self._comes_down(version):
                continue
            story = self._story(way, version)
            if down := symptoms.link_verdict(way, gateway, links):
                story = replace(story, verdict=down)
            elif story.verdict.delivered and gateway.host_core and _to_host(story):
                story = replace(story, verdict=self._by_host(story))
            self.stories.append(story)
        self.findings = [each for each in self._lately(installed) if each.direction in ways]
        self.symptoms = list(self._symptoms(missing))

    def _versions(self, ways: Sequence[Direction]) -> Sequence[int]:
        """The IP versions that are followed: what is asked for, else that of the address by which
        the UE is named, else all that it has.

        Raises:
            CliError: it has no addresses of the version that is asked for.
            click.UsageError: no packet of that version is as small as is asked for.
        """
        from ofgtp.core.trace import probe

        known, asked, size = self.subject.known, self.subject.asked, self._given["size"]
        versions = known.versions or ((4, 6) if self._version else (4,))  # a relay: any
        if self._version is not None:
            given = self._given["source"] or self._given["router_solicitation"]
            if self._version not in versions and (not given or "uplink" not in ways):
                raise CliError(
                    f"{known.name} has no IPv{self._version}, only {known.who}: what becomes of"
                    " such a packet that its phone sends all the same is told with --uplink"
                    " --source ADDRESS"
                )
            versions = (self._version,)
        elif asked is not None:
            versions = (asked.version,)
        if 6 in versions and size is not None and size < probe.LEAST[6]:
            raise click.UsageError(f"--size {size}: of IPv6 {probe.LEAST[6]} is the least")
        return versions

    def _comes_down(self, version: int) -> bool:
        """Whether there is an address to which a packet could come."""
        known = self.subject.known
        return version in known.versions or not known.versions

    @property
    def _of_another(self) -> bool:
        """Whether it is asked for a packet that is not as the session's are."""
        given = self._given
        asked = ("peer", "teid", "source", "qfi", "container")
        return given["no_qfi"] or any(given[option] is not None for option in asked)

    def _lately(self, installed: Sequence[str]) -> list[Finding]:
        from ofgtp.core.trace import lately

        if self._of_another:
            return []
        subject, now = self.subject, datetime.now(UTC)
        known, gateway = subject.known, subject.gateway
        went = lately.passed(installed, known.cookie)
        versions = {story.packet.version for story in self.stories}
        went = {version: ways for version, ways in went.items() if version in versions}
        found = lately.findings(subject.seen, now, known, gateway, went, subject.peer)
        if all(story.verdict.delivered for story in self.stories):
            return found
        # What keeps packets from passing at all is why there are no answers.
        return [each for each in found if each.reason != lately.NO_ANSWERS]

    def _story(self, way: Direction, version: int) -> Story:
        """A packet's way; if ARP is in its way, the switch has just asked, and is given time."""
        packet = self._packet(way, version)
        first = story = self._follow(packet)
        deadline = time.monotonic() + ARP_S
        while story.verdict.reason == "no_arp" and time.monotonic() < deadline:
            time.sleep(0.1)
            story = self._follow(packet)
        self._asked_arp |= first.verdict.reason == "no_arp" and story.verdict.delivered
        return story

    def _by_host(self, story: Story) -> Verdict:
        """What the host makes of a packet that it is to route on."""
        from ofgtp.core.trace import verdict
        from ofgtp.core.trace.known import Case
        from ofgtp.southbound import hostnet

        packet, gateway = story.packet, self.subject.gateway
        dev, said = hostnet.way_on(packet.destination, packet.source, gateway.core_device)
        if dev is None:
            return verdict.not_routed(Case(packet, self.subject.known, gateway), said)
        if dev == gateway.bridge or any(packet.destination in pool for pool in gateway.pools):
            return story.verdict
        router = f" to {said}" if said else ""
        return replace(story.verdict, says=f"{story.verdict.says} by {dev}{router}")

    def _follow(self, packet: Packet) -> Story:
        from ofgtp.core.errors import GatewayNotReady
        from ofgtp.core.trace import explain, verdict
        from ofgtp.core.trace.known import Case
        from ofgtp.southbound import hostnet

        known, gateway = self.subject.known, self.subject.gateway
        try:
            local = hostnet.mac(gateway.bridge)
            core = local if gateway.host_core else hostnet.mac(gateway.core_device)
        except GatewayNotReady:
            case = Case(packet, known, gateway)
            end = verdict.refused(case, "unknown bridge")
            if hostnet.exists(gateway.bridge):
                end = verdict.no_port(case, gateway.core_device)
            return explain.Story(packet, end, (), ())
        return explain.follow(packet, known, gateway, local_mac=local, core_mac=core, ask=self._ask)

    def _ask(self, question: Question) -> str:
        from ofgtp.core.trace.explain import TraceRefused
        from ofgtp.southbound.ovstools import CommandRefused

        try:
            return self.switch.appctl(*question.arguments(self.subject.gateway.bridge))
        except CommandRefused as refused:
            raise TraceRefused(str(refused)) from refused

    def _packet(self, way: Direction, version: int) -> Packet:
        from ofgtp.core.trace import choice, probe
        from ofgtp.core.trace.probe import Packet

        given, known = self._given, self.subject.known
        source = given["source"] if way == "uplink" else None
        sport, dport = given["sport"], given["dport"]
        if given["router_solicitation"]:
            asked = replace(
                probe.solicitation(*([IPv6Address(source)] if source else [])),
                ecn=ECN.get(given["ecn"], 0),
            )
            return self._in_tunnel(asked, choice.expected(known.rules, asked))
        proto = given["proto"] or ("icmp" if sport is dport is None else "tcp")
        packet = Packet(
            direction=way,
            ue=ip_address(source) if source else self._ue(version),
            host=ip_address(given["host"] or self._far_host(version)),
            proto="icmp" if proto == "icmpv6" and version == 6 else proto,
            ue_port=40000 if sport is None else sport,
            host_port=443 if dport is None else dport,
            size=given["size"] or probe.USUAL[version],
            dscp=given["dscp"],
            ttl=given["ttl"],
            ecn=ECN.get(given["ecn"], 0),
        )
        return self._in_tunnel(packet, choice.expected(known.rules, packet))

    def _ue(self, version: int) -> Address:
        """The address of the UE by which it is named, or one that it has, or may have."""
        known, asked, gateway = self.subject.known, self.subject.asked, self.subject.gateway
        if asked is not None and asked.version == version:
            return asked
        if version == 4:
            return known.ue or _any_ue(gateway)
        if known.ue6 is not None:
            return known.ue6.network_address + (known.ue6.prefixlen < 127)
        return gateway.ue_pools6[0][1] if gateway.ue_pools6 else IPv6Address(NOBODYS_IPV6)

    def _far_host(self, version: int) -> Address:
        gateway = self.subject.gateway
        if version == 4:
            return gateway.next_hop or IPv4Address(FAR_HOST)
        hop = gateway.next_hop6
        return hop if hop and not hop.is_link_local else IPv6Address(FAR_HOST_6)

    def _in_tunnel(self, packet: Packet, rule: Rule | None) -> Packet:
        """The packet in the tunnel by which it should come; `rule` is the one that takes it."""
        from ofgtp.core.model import Qos

        given, known = self._given, self.subject.known
        if packet.direction == "downlink":
            if rule is None or rule.teid is None or known.relay is None:
                return packet
            return replace(packet, teid=rule.teid, peer=known.relay.ip)
        teid = given["teid"] or (rule and rule.teid) or known.teid or 0
        peer = given["peer"] or known.sender(rule) or _any_peer(self.subject.gateway)
        qos = known.qos if rule is None else rule.container
        if rule is not None and rule.qfis:
            qos = Qos(rule.qfis[0])
        return replace(
            packet,
            teid=teid,
            peer=ip_address(peer),
            container=self._container(qos),
            outer_ecn=ECN.get(given["outer_ecn"], 0),
        )

    def _container(self, qos: Qos | None) -> bytes:
        from ofgtp.core.trace import probe

        given = self._given
        if given["container"] is not None:
            return bytes(given["container"])
        qfi = given["qfi"] if qos is None or given["qfi"] is not None else qos.qfi
        return b"" if given["no_qfi"] or qfi is None else probe.container(qfi)

    def _symptoms(self, missing: Sequence[str]) -> Iterator[Symptom]:
        from ofgtp.core.trace import lately, symptoms
        from ofgtp.core.trace.verdict import delete_command, place

        subject = self.subject
        if subject.unreachable:
            yield symptoms.Symptom(
                "bad", f"{subject.unreachable}. This is what the switch and ofgtp.toml tell"
            )
        if subject.report:
            yield from symptoms.of_controller(subject.report)
        if subject.session:
            yield from symptoms.of_session(subject.session)
            took = {story.taken.rule.id for story in self.stories if story.taken}
            yield from symptoms.of_rates(subject.session, took)
        yield from symptoms.of_flows(missing)
        for story in self.stories:
            for hop in story.foreign if story.verdict.reason != "foreign_flow" else ():
                out = delete_command(hop, subject.gateway)
                yield symptoms.Symptom(
                    "bad", f"a flow in {place(hop)} is not ofgtp's; to take it out: {out}"
                )
        if self._asked_arp:
            yield symptoms.ARP_ASKED
        if subject.asked is not None and self._version is None:
            for other in subject.known.versions:
                if other != subject.asked.version:
                    has = subject.known.of_version(other)
                    yield symptoms.Symptom("info", f"the UE has {has} too: trace it by -{other}")
        if all(story.verdict.reason != "wrong_peer" for story in self.stories):
            yield from symptoms.of_pin(subject.known)
        if not self._of_another:
            yield from lately.of_neighbours(subject.seen, subject.known)
            yield from lately.of_peers(subject.seen, datetime.now(UTC), subject.known)
        if subject.peer:
            yield from symptoms.of_peer(subject.peer)
        if subject.session and not self.findings:
            well = {
                way: all(s.verdict.delivered for s in self.stories if s.packet.direction == way)
                for way in {str(each.packet.direction) for each in self.stories}
            }
            yield from symptoms.of_counters(subject.session, subject.known, subject.gateway, well)

    # what is printed

    def command(self, question: Question) -> str:
        """What was asked, as it can be typed."""
        arguments = question.arguments(self.subject.gateway.bridge)
        return shlex.join(self.switch.appctl_command(*arguments))

    def as_json(self) -> dict[str, Any]:
        subject, known = self.subject, self.subject.known
        return {
            "session": known.id,
            "ue_ip": known.ue and str(known.ue),
            "ue_ipv6": known.ue6 and str(known.ue6),
            "gateway": subject.gateway.name,
            "delivered": all(story.verdict.delivered for story in self.stories),
            "lately": [asdict(finding) for finding in self.findings],
            "ways": [self._story_json(story) for story in self.stories],
            "also": [{"level": each.level, "says": each.says} for each in self.symptoms],
            "known_by": "api" if subject.session else "switch",
        }

    def _story_json(self, story: Story) -> dict[str, Any]:
        packet, end = story.packet, story.verdict
        tunnel = {
            "teid": packet.teid,
            "peer": str(packet.peer),
            "container": packet.container.hex() or None,
            "outer_ecn": packet.outer_ecn,
        }
        return {
            "direction": packet.direction,
            "delivered": end.delivered,
            "reason": end.reason,
            "says": end.says,
            "do": end.do,
            "run": end.run,
            "bearer": _bearer_json(story),
            "packet": {
                "source": str(packet.source),
                "destination": str(packet.destination),
                "version": packet.version,
                "proto": packet.protocol,
                **({"ports": packet.ports} if packet.ports else {}),
                "octets": packet.size,
                "dscp": packet.dscp,
                "ecn": packet.ecn,
                **(tunnel if packet.tunnelled else {}),
            },
            "steps": [_step_json(part, step) for part in story.parts for step in part.steps],
            "asked": [
                {"command": self.command(each.question), "answer": each.answer}
                for each in story.asked
            ],
        }


def _step_json(part: Part, step: Step) -> dict[str, Any]:
    said: dict[str, Any] = {"part": part.title, "says": step.says}
    if step.hop is None:
        return said
    flow = {
        "match": step.hop.match,
        "priority": step.hop.priority,
        "cookie": f"{step.hop.cookie:#018x}",
        "actions": list(step.hop.actions),
        "notes": list(step.hop.notes),
    }
    return {
        **said,
        "table": step.hop.table,
        "name": step.table.name if step.table else None,
        "purpose": step.table.purpose if step.table else None,
        "owner": step.owner or None,
        "flow": flow if step.hop.found else None,
    }


def _bearer_json(story: Story) -> dict[str, Any] | None:
    """The bearer that took the packet, and why."""
    from ofgtp.core.trace import choice

    taken = story.taken
    if taken is None or not taken.rule.id:
        return None
    return {
        "id": taken.rule.id,
        "precedence": taken.rule.precedence,
        "filter": taken.by and choice.in_words(taken.by),
    }


def _to_host(story: Story) -> bool:
    """Whether it leaves for the host, which routes on."""
    packet = story.packet
    return packet.direction == "uplink" and not story.relayed and not packet.solicits


def _any_ue(gateway: Gateway) -> IPv4Address:
    """An address for what a relay carries, which is not looked at."""
    if not gateway.ue_pools:
        return IPv4Address(FAR_HOST)
    return next(iter(gateway.ue_pools[0].hosts()), gateway.ue_pools[0].network_address)


def _any_peer(gateway: Gateway) -> IPv4Address:
    """A base station, for a session that names none: one that may send."""
    prefix = (*gateway.access_allow, gateway.access_ip.network)[0]
    hosts = (host for host in prefix.hosts() if host != gateway.access_ip.ip)
    return next(hosts, prefix.network_address)


def _print(run: _Run, *, verbose: bool, raw: bool) -> None:
    from ofgtp.core.rules.terms import ECN_NAMES

    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    for finding in run.findings:
        if not finding.over:
            _print_finding(finding, width)
    if not all(finding.over for finding in run.findings):
        output.say("A packet as it should be:")
    versions = dict.fromkeys(story.packet.version for story in run.stories)
    for version in versions:
        if len(versions) > 1:
            output.say(f"IPv{version}, {run.subject.known.of_version(version)}:")
        for story in run.stories:
            if story.packet.version == version:
                _print_verdict(story, width)
    for finding in run.findings:
        if finding.over:
            _hang("- ", f"it is over: {finding.says}", width, indent=2)
    for symptom in run.symptoms:
        mark = click.style("!", fg="red", bold=True) if symptom.level == "bad" else "-"
        _hang(f"{mark} ", symptom.says, width, indent=2)
    output.say()
    _hang("", _heading(run.subject), width, indent=2)
    for story in run.stories:
        output.say()
        tunnel = ""
        if story.packet.tunnelled:
            teid = f"{story.packet.teid:#x}" if story.packet.teid else "of unknown TEID"
            tunnel = f", in tunnel {teid} from {story.packet.peer}"
            if story.packet.container:
                tunnel += f", with container {story.packet.container.hex()}"
            if story.packet.outer_ecn:
                tunnel += f", marked {ECN_NAMES[story.packet.outer_ecn]}"
        title = story.packet.direction.capitalize()
        _hang(click.style(title, bold=True), f": {story.packet}{tunnel}", width, indent=2)
        for part in story.parts:
            output.say(f"  {part.title}")
            for step in part.steps:
                _print_step(step, width, verbose)
        for each in story.asked if raw else ():
            output.say(f"\n$ {run.command(each.question)}\n{each.answer.rstrip()}")


def _heading(subject: Subject) -> str:
    known, session = subject.known, subject.session
    teid = "unknown" if known.teid is None else f"{known.teid:#x}"
    pinned = f" from {known.pinned} alone" if known.pinned else ""
    far = known.downlink
    down = f"downlink {far.teid:#x} to {far.ip}" if far else "no downlink"
    name = f"Session {known.id}" if known.id else "The session"
    qfi = f", QFI {known.qos.qfi or 'unknown'}" if known.qos else ""
    who = f"UE {known.who}" if known.who else "a relay"
    core = f", core {known.relay.teid:#x} to {known.relay.ip}" if known.relay else ""
    bearers = f", {known.kind}s {', '.join(known.bearers)}" if known.bearers else ""
    owner = f", of control plane {known.owner}" if known.owner else ""
    says = f"{name} on {subject.gateway.name}: {who}, uplink {teid}{pinned}, {down}{qfi}"
    says += f"{core}{bearers}{owner}"
    if session is None:
        return f"{says}."
    up, dn = (session["counters"][way]["packets"] for way in ("uplink", "downlink"))
    return f"{says}; {session['state']}; packets so far: {up} up, {dn} down."


def _print_finding(finding: Finding, width: int) -> None:
    _print_end(finding.direction, "LATELY", "red", finding.says, width)
    _print_help(finding.do, finding.run, width)


def _print_verdict(story: Story, width: int) -> None:
    from ofgtp.core.trace.verdict import HELD

    end: Verdict = story.verdict
    word, colour = ("DELIVERED", "green") if end.delivered else ("DROPPED", "red")
    if end.reason == HELD:
        word, colour = "HELD", "yellow"
    _print_end(story.packet.direction, word, colour, end.says, width)
    _print_help(end.do, end.run, width)


def _print_end(direction: Direction, word: str, colour: str, says: str, width: int) -> None:
    head = f"{direction + ':':<10}{word}: "
    styled = head.replace(word, click.style(word, fg=colour, bold=True))
    _hang(styled, says, width, indent=10)


def _print_help(do: str | None, run: str | None, width: int) -> None:
    if do:
        _hang(" " * 10 + "To do: ", do, width, indent=10)
    if run:
        output.say(f"{' ' * 10}$ {run}")


def _print_step(step: Step, width: int, verbose: bool) -> None:
    if step.hop is None:
        _hang("    => ", step.says, width, indent=7)
        return
    name = step.table.name if step.table else ""
    loud = step.owner in ("drop", "other", "")
    head = f"    {step.hop.table:>3} {name:<10} "
    styled = click.style(head, fg="red") if loud else head
    _hang(styled, step.says, width, indent=19)
    if not verbose:
        return
    if step.table:
        _hang(" " * 8, step.table.purpose, width, indent=8)
    if step.hop.found:
        cookie = f"cookie={step.hop.cookie:#018x}"
        match = f",{step.hop.match}" if step.hop.match else ""
        _hang(" " * 8, f"{cookie},priority={step.hop.priority}{match}", width, indent=10)
        _hang(" " * 8, f"actions={','.join(step.hop.actions)}", width, indent=10)


def _hang(head: str, text: str, width: int, *, indent: int) -> None:
    """Print text after a head, wrapped, the further lines indented; words stay whole."""
    start = len(click.unstyle(head))
    lines = textwrap.wrap(
        "x" * start + text,
        width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    lines[0] = head + lines[0][start:]
    for line in lines:
        output.say(line)
