"""What is found out, in order: of the switch, of the host, and of real packets."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ofgtp.cli import subject as subjects
from ofgtp.cli.subject import Subject
from ofgtp.cli.trace.packets import Packets
from ofgtp.core.errors import GatewayNotReady
from ofgtp.core.model import Direction
from ofgtp.core.trace import explain, lately, symptoms, verdict
from ofgtp.core.trace.explain import Story, TraceRefused
from ofgtp.core.trace.known import Case, Verdict
from ofgtp.core.trace.lately import Finding
from ofgtp.core.trace.probe import Packet, Question
from ofgtp.core.trace.symptoms import Symptom
from ofgtp.core.trace.verdict import delete_command, place
from ofgtp.southbound import hostnet
from ofgtp.southbound.ovstools import CommandRefused, Tools

ARP_S = 1.0
"""How long an ARP request of the switch may stay without an answer, in seconds."""


class Run:
    """What is found out, in order."""

    def __init__(self, subject: Subject, switch: Tools, packets: Packets) -> None:
        self.subject, self.switch, self._packets = subject, switch, packets
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
        subject, gateway = self.subject, self.subject.gateway
        missing: list[str] = []
        installed: list[str] = []
        if hostnet.exists(gateway.bridge):
            installed = subjects.learn(subject, self.switch)
            missing, _ = self.switch.difference(gateway.bridge, subject.wanted, installed)
        ports = (gateway.access_port, gateway.core_device)
        links = {port: str(hostnet.link_state(port)) for port in ports}
        todo = [(way, version) for version in self._packets.versions(ways) for way in ways]
        for way, version in todo:
            if way == "downlink" and not self._packets.comes_down(version):
                continue
            story = self._story(way, version)
            if down := symptoms.link_verdict(way, gateway, links):
                story = replace(story, verdict=down)
            elif story.verdict.delivered and gateway.host_core and _to_host(story):
                story = replace(story, verdict=self._by_host(story))
            self.stories.append(story)
        self.findings = [each for each in self._lately(installed) if each.direction in ways]
        self.symptoms = list(self._symptoms(missing))

    def _lately(self, installed: Sequence[str]) -> list[Finding]:
        if self._packets.of_another:
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
        packet = self._packets.packet(way, version)
        first = story = self._follow(packet)
        deadline = time.monotonic() + ARP_S
        while story.verdict.reason == "no_arp" and time.monotonic() < deadline:
            time.sleep(0.1)
            story = self._follow(packet)
        self._asked_arp |= first.verdict.reason == "no_arp" and story.verdict.delivered
        return story

    def _by_host(self, story: Story) -> Verdict:
        """What the host makes of a packet that it is to route on."""
        packet, gateway = story.packet, self.subject.gateway
        dev, said = hostnet.way_on(packet.destination, packet.source, gateway.core_device)
        if dev is None:
            return verdict.not_routed(Case(packet, self.subject.known, gateway), said)
        if dev == gateway.bridge or any(packet.destination in pool for pool in gateway.pools):
            return story.verdict
        router = f" to {said}" if said else ""
        return replace(story.verdict, says=f"{story.verdict.says} by {dev}{router}")

    def _follow(self, packet: Packet) -> Story:
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
        try:
            return self.switch.appctl(*question.arguments(self.subject.gateway.bridge))
        except CommandRefused as refused:
            raise TraceRefused(str(refused)) from refused

    def _symptoms(self, missing: Sequence[str]) -> Iterator[Symptom]:
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
        if subject.asked is not None and self._packets.version is None:
            for other in subject.known.versions:
                if other != subject.asked.version:
                    has = subject.known.of_version(other)
                    yield symptoms.Symptom("info", f"the UE has {has} too: trace it by -{other}")
        if all(story.verdict.reason != "wrong_peer" for story in self.stories):
            yield from symptoms.of_pin(subject.known)
        if not self._packets.of_another:
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

    def command(self, question: Question) -> str:
        """What was asked, as it can be typed."""
        arguments = question.arguments(self.subject.gateway.bridge)
        return shlex.join(self.switch.appctl_command(*arguments))


def _to_host(story: Story) -> bool:
    """Whether it leaves for the host, which routes on."""
    packet = story.packet
    return packet.direction == "uplink" and not story.relayed and not packet.solicits
