"""The values of information elements that are no groups (TS 29.244, 8.2).

They are named tuples: a decoded message has some thirty of them, and no other kind of frozen value
is made as fast. Numbers are as the standard has them: rates in kbit/s, volumes in octets, durations
in seconds, points in time in seconds since 1900 (the first half of an NTP timestamp).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ofgtp.core.pfcp.wire.enums import Creation, Gate, Removal

NodeId = IPv4Address | IPv6Address | str
"""An address or a name (FQDN, 8.2.38)."""


class FTeid(NamedTuple):
    """A tunnel endpoint, at one address or two (8.2.3)."""

    teid: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None


class ChooseFTeid(NamedTuple):
    """The request to choose an F-TEID (8.2.3): one for all with the same `choose_id`.

    With neither family named, as some control planes send it, it is ours to choose as well.
    """

    ipv4: bool = True
    ipv6: bool = False
    choose_id: int | None = None


class FSeid(NamedTuple):
    """A session's endpoint (8.2.37)."""

    seid: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None


class Addresses(NamedTuple):
    """One address of a node, or one of each family (8.2.70, 8.2.129, 8.2.135)."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None


class UeIpAddress(NamedTuple):
    """The addresses of a UE, or the request to choose them (8.2.62)."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    destination: bool = False
    """The S/D bit; not every control plane sets it, so that it tells no direction."""
    delegated_bits: int | None = None
    """By how many bits the prefix is shorter than 64."""
    prefix_length: int | None = None
    choose_ipv4: bool = False
    choose_ipv6: bool = False


class SdfFilter(NamedTuple):
    """A filter as it is sent; `sdf.packet_filter` makes sense of it (8.2.5)."""

    description: str | None = None
    traffic_class: tuple[int, int] | None = None
    """Octet and mask."""
    spi: int | None = None
    flow_label: int | None = None
    filter_id: int | None = None
    """One filter for both directions: named by this number alone the second time."""


class GateStatus(NamedTuple):
    """What may pass (8.2.7)."""

    uplink: Gate
    downlink: Gate


class Bitrates(NamedTuple):
    """MBR or GBR, in kbit/s (8.2.8, 8.2.9)."""

    uplink: int
    downlink: int


class Volume(NamedTuple):
    """Thresholds and quotas, in octets (8.2.13, 8.2.50)."""

    total: int | None = None
    uplink: int | None = None
    downlink: int | None = None


class VolumeMeasurement(NamedTuple):
    """What was measured (8.2.44); packets only where the control plane asked for them."""

    total: int | None = None
    uplink: int | None = None
    downlink: int | None = None
    total_packets: int | None = None
    uplink_packets: int | None = None
    downlink_packets: int | None = None


class DroppedDownlink(NamedTuple):
    """Dropped DL Traffic Threshold (8.2.49)."""

    packets: int | None = None
    octets: int | None = None


class OuterHeaderCreation(NamedTuple):
    """The header in front of what is sent (8.2.56)."""

    description: Creation
    teid: int | None = None
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    port: int | None = None
    c_tag: bytes | None = None
    s_tag: bytes | None = None


class OuterHeaderRemoval(NamedTuple):
    """The header that is taken off (8.2.64)."""

    description: Removal
    extension_headers: int | None = None
    """Which of GTP-U's to delete: bit 1 is the PDU Session Container."""


class TrafficClass(NamedTuple):
    """Transport Level Marking: the octet of the IP header, and its mask (8.2.12)."""

    octet: int
    mask: int

    @property
    def dscp(self) -> int:
        """0 to 63."""
        return self.octet >> 2


class DownlinkDataService(NamedTuple):
    """Downlink Data Service Information (8.2.27)."""

    ppi: int | None = None
    qfi: int | None = None


class UserId(NamedTuple):
    """Whose session it is, for those who look for a fault (8.2.101); digits."""

    imsi: str | None = None
    imei: str | None = None
    msisdn: str | None = None
    nai: str | None = None


class SNssai(NamedTuple):
    """A slice (8.2.176 of Release 16); `sd` 0xFFFFFF: none."""

    sst: int
    sd: int
