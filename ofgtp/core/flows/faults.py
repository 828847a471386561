"""What is known to be wrong with Open vSwitch, by version, and what ofgtp does about it.

The one table of version differences: remedies ask it, the API and the commands show it, and
docs/ovs-faults.md takes its table from here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, int]
"""Major and minor: a fault that a patch release mends is taken to be in all of its minor."""

GTPU_SINCE: Version = (2, 13)
"""The first Open vSwitch with a gtpu port."""

TRIED: Sequence[Version] = ((3, 1), (3, 5), (4, 0))
"""Versions on which all of ofgtp's tests with a switch run, and each fault was looked for."""


class Basis(StrEnum):
    """How it is known that a version has a fault."""

    MEASURED = "measured"
    READ = "read in its source"
    PRESUMED = "not tried"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a range of versions; None for a bound that is not known, or not there."""

    name: str
    section: str
    """The heading in docs/ovs-faults.md."""
    summary: str
    """What goes wrong, in a few words."""
    remedy: str
    """What ofgtp does about it."""
    since: Version | None
    fixed: Version | None
    """The first version that is right."""
    measured: Sequence[Version]
    """Where it was seen with packets."""
    read: tuple[Version, Version] | None = None
    """From and to where it was found in the source."""

    def affects(self, version: Version | None) -> bool:
        """Whether a version must be taken to have it; None, which cannot be read, has all."""
        if version is None:
            return True
        return (self.since is None or version >= self.since) and (
            self.fixed is None or version < self.fixed
        )

    def basis(self, version: Version | None) -> Basis:
        """How it is known of a version that it has the fault."""
        if version in self.measured:
            return Basis.MEASURED
        if version is not None and self.read is not None:
            first, last = self.read
            if first <= version <= last:
                return Basis.READ
        return Basis.PRESUMED

    @property
    def versions(self) -> str:
        """The versions that have it, for people."""
        if self.fixed is not None:
            before = f"before {_text(self.fixed)}"
            return f"{_text(self.since)} on, {before}" if self.since is not None else before
        known = [*self.measured, *(self.read or ())]
        first, last = _text(min(known)), _text(max(known))
        if self.since is not None:
            return f"{_text(self.since)} to {last} at least"
        return f"{first} to {last} at least" if first != last else f"{last} at least"

    @property
    def reference(self) -> str:
        """Where docs say more."""
        return f"docs/ovs-faults.md#{anchor(self.section)}"


INNER_VERSION = Fault(
    name="inner_version",
    section="The inner IP version is read at a wrong place",
    summary="T-PDUs are typed by their inner TTL",
    remedy="tables normalise, retype set the type",
    since=GTPU_SINCE,
    fixed=None,
    measured=TRIED,
    read=(GTPU_SINCE, (4, 0)),
)

OUTER_ECN = Fault(
    name="outer_ecn",
    section="A congestion mark is judged by the wrong packet",
    summary="T-PDUs marked CE (ECN) are lost",
    remedy="gtpu ports of their own unwrap them",
    since=GTPU_SINCE,
    fixed=None,
    measured=TRIED,
    read=(GTPU_SINCE, (4, 0)),
)

UDP_CHECKSUM = Fault(
    name="udp_checksum",
    section="UDP checksums are wrong",
    summary="GTP-U leaves with wrong UDP checksums",
    remedy="nftables sets them to zero (none)",
    since=GTPU_SINCE,
    fixed=(3, 2),
    measured=((3, 1),),
    read=(GTPU_SINCE, (3, 1)),
)

UDP_CHECKSUM_IPV6 = Fault(
    name="udp_checksum_ipv6",
    section="Over IPv6 the UDP checksum is wrong, or missing",
    summary="over IPv6 UDP has no right checksum",
    remedy="nftables makes GTP-U of GRE",
    since=GTPU_SINCE,
    fixed=None,
    measured=TRIED,
    read=((3, 1), (4, 0)),
)

MPLS_ABORT = Fault(
    name="mpls_abort",
    section="A label on what reads as MPLS aborts the switch",
    summary="a crafted packet can abort the switch",
    remedy="dropped first, as inner_mpls",
    since=None,
    fixed=None,
    measured=TRIED,
)

GTPU_BITS = Fault(
    name="gtpu_bits",
    section="GTP-U flags and types are matched by their bits",
    summary="a match on type 1 takes 255, too",
    remedy="asked in an order that allows for it",
    since=None,
    fixed=None,
    measured=TRIED,
)

KERNEL_SEES = Fault(
    name="kernel_sees",
    section="The kernel sees the packets, too",
    summary="the host's stack answers by ICMP",
    remedy="nftables drops its copies",
    since=None,
    fixed=None,
    measured=TRIED,
)

ARP_TWICE = Fault(
    name="arp_twice",
    section="ARP is answered twice",
    summary="the host's stack answers ARP, too",
    remedy="nftables drops its copies",
    since=None,
    fixed=None,
    measured=TRIED,
)

CACHE_KEPT = Fault(
    name="cache_kept",
    section="The cache keeps what it cannot change",
    summary="hot traffic goes on by deleted flows",
    remedy="a patch port, and fields always 0",
    since=None,
    fixed=(3, 2),
    measured=((3, 1),),
)

INTERFACE_LOST = Fault(
    name="interface_lost",
    section="An interface that is made anew is not read",
    summary="ports lose interfaces made anew",
    remedy="those ports are made anew, too",
    since=None,
    fixed=None,
    measured=TRIED,
)

BUNDLE_IN_PART = Fault(
    name="bundle_in_part",
    section="A bundle with a bad flow is carried out in part",
    summary="a bundle is not atomic",
    remedy="errors are awaited before the commit",
    since=None,
    fixed=None,
    measured=TRIED,
)

PADDING = Fault(
    name="padding",
    section="Ethernet padding goes into the tunnel",
    summary="short packets keep their padding",
    remedy="nftables sets the lengths right",
    since=None,
    fixed=None,
    measured=TRIED,
)

BATCH_LOST = Fault(
    name="batch_lost",
    section="A frame that is too long takes others along",
    summary="what is too long loses others, too",
    remedy="sizes are compared, and frames cut",
    since=None,
    fixed=None,
    measured=TRIED,
)

FAULTS: Sequence[Fault] = (
    INNER_VERSION,
    OUTER_ECN,
    UDP_CHECKSUM,
    UDP_CHECKSUM_IPV6,
    MPLS_ABORT,
    GTPU_BITS,
    CACHE_KEPT,
    BUNDLE_IN_PART,
    KERNEL_SEES,
    ARP_TWICE,
    PADDING,
    BATCH_LOST,
    INTERFACE_LOST,
)


def parse(version: str | None) -> Version | None:
    """Major and minor of `3.1.0` or `3.3.0~git20231204`; None if it cannot be read."""
    found = re.match(r"\s*(\d+)\.(\d+)(?!\d)", version or "")
    return (int(found[1]), int(found[2])) if found else None


def of(version: Version | None) -> list[Fault]:
    """The faults that a version has, or must be taken to have."""
    return [fault for fault in FAULTS if fault.affects(version)]


def anchor(heading: str) -> str:
    """The link to a heading of a Markdown file, as forges make it."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
