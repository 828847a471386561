"""PFCP for tests: messages of real control planes, IEs octet by octet, and any message at all."""

from __future__ import annotations

import json
import re
import struct
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from hypothesis import strategies as st

from ofgtp.core.pfcp.wire import enums, values
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import CLASSES, Message
from ofgtp.core.pfcp.wire.tables import CODECS, REMOVED, TABLES, Need, Removed

DATA = Path(__file__).parent.parent / "data" / "pfcp"


class Vector(NamedTuple):
    """A message that was seen on the wire, and where."""

    name: str
    data: bytes


def vectors() -> list[Vector]:
    """One of each shape that Open5GS's SMF, SGW-C, UPF and SGW-U sent."""
    return [
        Vector(f"{each['capture']}-{each['frame']}", bytes.fromhex(each["hex"]))
        for each in json.loads((DATA / "open5gs-2.7.7.json").read_text())
    ]


def tlv(ie: int, *content: bytes | int) -> bytes:
    """An IE; what is in it are octets, or numbers of one octet."""
    data = b"".join(bytes((part,)) if isinstance(part, int) else part for part in content)
    return struct.pack("!HH", ie, len(data)) + data


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


Ies = list[tuple[int, Any]]
"""Types, and their octets or what is in them."""


GROUPS = frozenset(
    int(ie) for ie, codec in CODECS.items() if getattr(codec.decode, "__self__", None)
)
"""The types of grouped IEs."""


def tree(data: bytes, opened: frozenset[int] = GROUPS) -> Ies:
    """Types and contents of IEs, groups opened, by a walk of its own."""
    found: Ies = []
    at = 0
    while at < len(data):
        ie, size = struct.unpack_from("!HH", data, at)
        content = data[at + 4 : at + 4 + size]
        at += 4 + size
        found.append((ie, tree(content, opened) if ie in opened else content))
    return found


# --- any value, any message

octet, number16, number32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)
number64 = st.integers(0, 2**64 - 1)
ipv4, ipv6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
either = st.one_of(st.tuples(ipv4, st.none()), st.tuples(st.none(), ipv6), st.tuples(ipv4, ipv6))
visible = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
label = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)
name = st.lists(label, min_size=1, max_size=4).map(".".join)
digits = st.text("0123456789", min_size=6, max_size=15)
text = st.text(visible, min_size=1, max_size=60)


def flags(kind: Any, least: int = 0) -> st.SearchStrategy[Any]:
    known = sum(kind)
    return st.integers(least, known).map(lambda bits: kind(bits & known))


def counted(kind: Any) -> st.SearchStrategy[Any]:
    fields = [st.one_of(st.none(), number64) for _ in kind._fields]
    return st.tuples(*fields).filter(any_there).map(lambda numbers: kind(*numbers))


def any_there(parts: tuple[Any, ...]) -> bool:
    return any(part is not None for part in parts)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


fteids = st.builds(lambda teid, at: values.FTeid(teid, *at), st.integers(1, 2**32 - 1), either)
volumes = counted(values.Volume)
bitrates = st.builds(values.Bitrates, st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1))
addresses = either.map(lambda at: values.Addresses(*at))
ue_addresses = st.builds(
    lambda at, destination, delegated, length: values.UeIpAddress(
        *at, destination, delegated, length if at[1] else None
    ),
    either,
    st.booleans(),
    some(octet),
    some(octet),
)
actions = st.builds(
    lambda one, more: one | more,
    st.sampled_from([enums.Action.DROP, enums.Action.FORW, enums.Action.BUFF]),
    st.integers(0, 0x7FF).map(lambda bits: enums.Action(bits & ~0x67)),
)


@st.composite
def creations(draw: st.DrawFn) -> values.OuterHeaderCreation:
    description = draw(flags(enums.Creation, 1).filter(bool))
    return values.OuterHeaderCreation(
        description,
        draw(number32) if description & 0x03 else None,
        draw(ipv4) if description & 0x15 else None,
        draw(ipv6) if description & 0x2A else None,
        draw(number16) if description & 0x0C else None,
        draw(st.binary(min_size=3, max_size=3)) if description & 0x40 else None,
        draw(st.binary(min_size=3, max_size=3)) if description & 0x80 else None,
    )


@st.composite
def failed_rules(draw: st.DrawFn) -> enums.FailedRule:
    kind = draw(st.sampled_from(enums.RuleKind))
    most = {enums.RuleKind.PDR: 0xFFFF, enums.RuleKind.BAR: 0xFF}.get(kind, 2**32 - 1)
    return enums.FailedRule(kind, draw(st.integers(0, most)))


VALUES: dict[Ie, st.SearchStrategy[Any]] = {
    Ie.CAUSE: octet,
    Ie.SOURCE_INTERFACE: st.sampled_from(enums.Interface).filter(lambda each: each < 4),
    Ie.FTEID: fteids,
    Ie.NETWORK_INSTANCE: name,
    Ie.SDF_FILTER: st.builds(
        values.SdfFilter,
        some(text),
        some(st.tuples(octet, octet)),
        some(number32),
        some(st.integers(0, 0xFFFFF)),
        some(number32),
    ),
    Ie.GATE_STATUS: st.builds(
        values.GateStatus, st.sampled_from(enums.Gate), st.sampled_from(enums.Gate)
    ),
    Ie.MBR: bitrates,
    Ie.GBR: bitrates,
    Ie.TRANSPORT_LEVEL_MARKING: st.builds(values.TrafficClass, octet, octet),
    Ie.VOLUME_THRESHOLD: volumes,
    Ie.SUBSEQUENT_VOLUME_THRESHOLD: volumes,
    Ie.VOLUME_QUOTA: volumes,
    Ie.SUBSEQUENT_VOLUME_QUOTA: volumes,
    Ie.REPORTING_TRIGGERS: flags(enums.Triggers),
    Ie.REPORT_TYPE: flags(enums.ReportType),
    Ie.OFFENDING_IE: number16,
    Ie.DESTINATION_INTERFACE: st.sampled_from(enums.Interface),
    Ie.UP_FUNCTION_FEATURES: flags(enums.UpFeatures),
    Ie.APPLY_ACTION: actions,
    Ie.DOWNLINK_DATA_SERVICE_INFORMATION: st.builds(
        values.DownlinkDataService, some(st.integers(0, 63)), some(st.integers(0, 63))
    ),
    Ie.DOWNLINK_DATA_NOTIFICATION_DELAY: octet,
    Ie.DL_BUFFERING_DURATION: octet,
    Ie.DL_BUFFERING_SUGGESTED_PACKET_COUNT: number16,
    Ie.PFCPSMREQ_FLAGS: flags(enums.ModificationFlags),
    Ie.PFCPSRRSP_FLAGS: flags(enums.ReportResponseFlags),
    Ie.PDR_ID: number16,
    Ie.FSEID: st.builds(lambda seid, at: values.FSeid(seid, *at), number64, either),
    Ie.NODE_ID: st.one_of(ipv4, ipv6, name),
    Ie.MEASUREMENT_METHOD: flags(enums.Method),
    Ie.USAGE_REPORT_TRIGGER: flags(enums.UsageTrigger),
    Ie.VOLUME_MEASUREMENT: counted(values.VolumeMeasurement),
    Ie.DROPPED_DL_TRAFFIC_THRESHOLD: counted(values.DroppedDownlink),
    Ie.OUTER_HEADER_CREATION: creations(),
    Ie.BAR_ID: octet,
    Ie.CP_FUNCTION_FEATURES: flags(enums.CpFeatures),
    Ie.USAGE_INFORMATION: flags(enums.UsageInformation),
    Ie.UE_IP_ADDRESS: ue_addresses,
    Ie.OUTER_HEADER_REMOVAL: st.builds(
        values.OuterHeaderRemoval, st.sampled_from(enums.Removal), some(octet)
    ),
    Ie.MEASUREMENT_INFORMATION: flags(enums.Measurement),
    Ie.NODE_REPORT_TYPE: flags(enums.NodeReportType),
    Ie.REMOTE_GTPU_PEER: addresses,
    Ie.PDN_TYPE: st.sampled_from(enums.PdnType),
    Ie.FAILED_RULE_ID: failed_rules(),
    Ie.RQI: st.booleans(),
    Ie.QFI: st.integers(0, 63),
    Ie.SUGGESTED_BUFFERING_PACKETS_COUNT: octet,
    Ie.USER_ID: st.builds(values.UserId, some(digits), some(digits), some(digits), some(text)),
    Ie.FRAMED_ROUTE: text,
    Ie.FRAMED_IPV6_ROUTE: text,
    Ie.APN_DNN: name,
    Ie.INTERFACE_TYPE_3GPP: st.integers(0, 63),
    Ie.ALTERNATIVE_SMF_IP_ADDRESS: addresses,
    Ie.CP_PFCP_ENTITY_IP_ADDRESS: addresses,
    Ie.PFCPSEREQ_FLAGS: flags(enums.EstablishmentFlags),
    Ie.SNSSAI: st.builds(values.SNssai, octet, st.integers(0, 0xFFFFFF)),
}
"""Values of an IE; those that are not named are numbers of 32 bits."""

PDI_FTEIDS = st.one_of(
    fteids, st.builds(values.ChooseFTeid, st.booleans(), st.booleans(), some(octet))
)


def groups(kind: type, longest: int = 2, *, removals: bool = True) -> st.SearchStrategy[Any]:
    """Any value of a group."""
    hints = get_type_hints(kind, include_extras=True)
    parts = {}
    for field, (ie, need, many, _) in TABLES[kind].fields.items():
        codec = CODECS[ie]
        inner = getattr(codec.decode, "__self__", None)
        if inner is not None:
            part = groups(inner.kind, longest, removals=removals).map(known)
        elif ie is Ie.FTEID and kind.__name__ == "Pdi":
            part = PDI_FTEIDS
        else:
            part = VALUES.get(ie, number32)
        removable = Removed in get_args(hints[field].__origin__)
        if many:
            least = 1 if need is Need.MUST or removable else 0
            part = st.lists(part, min_size=least, max_size=longest).map(tuple)
        if removable:
            part = st.one_of(st.none(), *([st.just(REMOVED)] if removals else []), part)
        elif need is not Need.MUST and not many:
            part = some(part)
        parts[field] = part
    return st.builds(kind, **parts)


def known(group: Any) -> Any:
    """None for a group of nothing, which is read as None."""
    return group if any_there(group) else None


def messages(*, removals: bool = True) -> st.SearchStrategy[Message]:
    """Any message; with empty IEs in updates, or without."""
    return st.one_of(*(groups(kind, removals=removals) for kind in CLASSES.values()))


# --- procedures about sessions, as they were seen


class Seen(NamedTuple):
    """A message about a session, between two addresses."""

    frame: int
    source: IPv4Address
    target: IPv4Address
    data: bytes

    @property
    def from_control_plane(self) -> bool:
        """Whether it is a request of a control plane's."""
        return self.data[1] in (50, 52, 54)


def procedures() -> dict[str, list[Seen]]:
    """Of each capture the messages about sessions, in their order."""
    read = json.loads((DATA / "sessions.json").read_text())
    return {
        name: [
            Seen(frame, IPv4Address(source), IPv4Address(target), bytes.fromhex(data))
            for frame, source, target, data in messages
        ]
        for name, messages in read.items()
    }


def rewritten(data: bytes, target: str, seid: int | None) -> bytes:
    """With the lab's addresses: the user plane is the gateway, its control plane ours, and what
    stood in the capture's subnet stands in the access subnet. And with our SEID."""
    here = int(target.rsplit(".", 1)[1])

    def address(found: re.Match[bytes]) -> bytes:
        host = found[1][0]
        return bytes((10, 1, 0, 1 if host == here else max(host, 2)))

    data = re.sub(rb"\xc0\x00\x02([\x01-\x1f])", address, data)
    if data[1] == 50:
        # The Node ID stands first, and the F-SEID behind it.
        ours = bytes((10, 3, 0, 5))
        data = re.sub(rb"(\x00\x3c\x00\x05\x00)\x0a\x01..", rb"\1" + ours, data, flags=re.S)
        data = re.sub(rb"(\x00\x39\x00\x0d\x02.{8})\x0a\x01..", rb"\1" + ours, data, flags=re.S)
    return data if seid is None else data[:4] + seid.to_bytes(8, "big") + data[12:]
