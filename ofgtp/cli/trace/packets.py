"""The packets that are followed: what the options ask for, and else what the session has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import click

from ofgtp.cli.errors import CliError

if TYPE_CHECKING:
    from ofgtp.cli.subject import Subject
    from ofgtp.core.model import Address, Direction, Gateway, Qos
    from ofgtp.core.sessions.rule import Rule
    from ofgtp.core.trace.probe import Packet

ECN = {"ect1": 1, "ect0": 2, "ce": 3}
"""Codepoints of RFC 3168, 5: capable of ECN, twice, and congestion experienced."""
FAR_HOST, FAR_HOST_6 = "8.8.8.8", "2001:4860:4860::8888"
"""A host beyond the gateway's own, which routes to it. Nothing is sent there."""
NOBODYS_IPV6 = "2001:db8::1"
"""Set aside for documentation (RFC 3849): of a UE behind a relay, if that is asked for."""


class Packets:
    """What is asked for of a subject's packets."""

    def __init__(self, subject: Subject, given: dict[str, Any], version: int | None) -> None:
        self._subject, self._given = subject, given
        self.version = version
        """The IP version that the options ask for; None: they ask for none."""

    def versions(self, ways: Sequence[Direction]) -> Sequence[int]:
        """The IP versions that are followed: what is asked for, else that of the address by which
        the UE is named, else all that it has.

        Raises:
            CliError: it has no addresses of the version that is asked for.
            click.UsageError: no packet of that version is as small as is asked for.
        """
        from ofgtp.core.trace import probe

        known, asked, size = self._subject.known, self._subject.asked, self._given["size"]
        versions = known.versions or ((4, 6) if self.version else (4,))  # a relay: any
        if self.version is not None:
            given = self._given["source"] or self._given["router_solicitation"]
            if self.version not in versions and (not given or "uplink" not in ways):
                raise CliError(
                    f"{known.name} has no IPv{self.version}, only {known.who}: what becomes of"
                    " such a packet that its phone sends all the same is told with --uplink"
                    " --source ADDRESS"
                )
            versions = (self.version,)
        elif asked is not None:
            versions = (asked.version,)
        if 6 in versions and size is not None and size < probe.LEAST[6]:
            raise click.UsageError(f"--size {size}: of IPv6 {probe.LEAST[6]} is the least")
        return versions

    def comes_down(self, version: int) -> bool:
        """Whether there is an address to which a packet could come."""
        known = self._subject.known
        return version in known.versions or not known.versions

    @property
    def of_another(self) -> bool:
        """Whether it is asked for a packet that is not as the session's are."""
        given = self._given
        asked = ("peer", "teid", "source", "qfi", "container")
        return given["no_qfi"] or any(given[option] is not None for option in asked)

    def packet(self, way: Direction, version: int) -> Packet:
        """The one that is followed in a direction, of an IP version: 4 or 6."""
        from ofgtp.core.trace import choice, probe
        from ofgtp.core.trace.probe import Packet

        given, known = self._given, self._subject.known
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
        known, asked, gateway = self._subject.known, self._subject.asked, self._subject.gateway
        if asked is not None and asked.version == version:
            return asked
        if version == 4:
            return known.ue or _any_ue(gateway)
        if known.ue6 is not None:
            return known.ue6.network_address + (known.ue6.prefixlen < 127)
        return gateway.ue_pools6[0][1] if gateway.ue_pools6 else IPv6Address(NOBODYS_IPV6)

    def _far_host(self, version: int) -> Address:
        gateway = self._subject.gateway
        if version == 4:
            return gateway.next_hop or IPv4Address(FAR_HOST)
        hop = gateway.next_hop6
        return hop if hop and not hop.is_link_local else IPv6Address(FAR_HOST_6)

    def _in_tunnel(self, packet: Packet, rule: Rule | None) -> Packet:
        """The packet in the tunnel by which it should come; `rule` is the one that takes it."""
        from ofgtp.core.model import Qos

        given, known = self._given, self._subject.known
        if packet.direction == "downlink":
            if rule is None or rule.teid is None or known.relay is None:
                return packet
            return replace(packet, teid=rule.teid, peer=known.relay.ip)
        teid = given["teid"] or (rule and rule.teid) or known.teid or 0
        peer = given["peer"] or known.sender(rule) or _any_peer(self._subject.gateway)
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
