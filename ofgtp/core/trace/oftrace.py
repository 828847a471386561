"""What `ofproto/trace` of Open vSwitch prints, read: which flows a packet met, and what they did.

The text is for people and differs a little between versions, so little is relied on: a line
`bridge("…")` for each time that the packet enters the tables, a line `TABLE. MATCH, priority P,
cookie C` for each flow, below it the flow's actions, below these what the switch has to say (`->`,
`>>`), and at the end what the datapath would do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from ofgtp.core.model import Address

_HOP = re.compile(r"( *)(\d+)\. (.*)")
_FLOW = re.compile(r"(?:(.*), )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?")
_OUTPUT = re.compile(r'output(?::|\(port=)(?:"([^"]*)"|([^,"]+))(?:,max_len=\d+\))?')
_LARGER = re.compile(r"check_pkt_larger\((\d+)\)")
_SET_REGISTER = re.compile(r"set_field:(\w+)->reg(\d+)")
_NOW = re.compile(r"-> NXM_NX_REG(\d+)\[([\d.]*)\] is now (\S+)")
_ETHERNET = r"tnl_push\(.*?eth\(dst=(?P<dst_mac>[0-9a-f:]+),src=(?P<src_mac>[0-9a-f:]+),"
_PUSH = re.compile(
    _ETHERNET + r".*?ipv4\(src=(?P<src>[\d.]+),dst=(?P<dst>[\d.]+),proto=17,tos=(?P<tos>\w+),"
    r"ttl=(?P<ttl>\d+).*?gtpu\(flags=0x[0-9a-f]+,msgtype=\d+,teid=(?P<teid>0x[0-9a-f]+)"
)
_PUSH_6 = re.compile(
    _ETHERNET + r".*?ipv6\(src=(?P<src>[\da-f:]+),dst=(?P<dst>[\da-f:]+),"
    r".*?tclass=(?P<tos>\w+),hlimit=(?P<ttl>\d+)\),gre\(.*?key=(?P<teid>0x[0-9a-f]+)"
)
"""As GRE, of which nftables makes GTP-U."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A flow that the packet met, or a table in which it met none."""

    entry: int
    """How often the packet had come into the tables before."""
    table: int
    found: bool
    match: str = ""
    priority: int = 0
    cookie: int = 0
    actions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    indent: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """The ports that it sends the packet to, by name."""
        found = []
        for action in self.actions:
            if output := _OUTPUT.fullmatch(action):
                found.append(output[1] or output[2])
            elif action in ("LOCAL", "IN_PORT", "NORMAL", "FLOOD", "ALL"):
                found.append(action)
        return tuple(found)

    @property
    def limit(self) -> int | None:
        """The largest frame in octets that goes on as if nothing was asked, if it asks."""
        asked = (_LARGER.match(action) for action in self.actions)
        return next((int(found[1]) for found in asked if found), None)

    @property
    def registers(self) -> dict[int, int]:
        """What the actions wrote to registers, by number: a whole one, and then parts of it."""
        written: dict[int, int] = {}
        for action in self.actions:
            if told := _SET_REGISTER.fullmatch(action):
                written[int(told[2])] = int(told[1], 0)
        for note in self.notes:
            if told := _NOW.fullmatch(note):
                number, low = int(told[1]), int(told[2].partition("..")[0] or 0)
                written[number] = written.get(number, 0) | int(told[3], 0) << low
        return written


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The headers that the datapath puts in front of a packet."""

    src_mac: str
    dst_mac: str
    src: Address
    dst: Address
    dscp: int
    ttl: int
    teid: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One answer of `ofproto/trace`."""

    hops: tuple[Hop, ...]
    datapath: str
    """What the datapath would do, as the switch writes it; empty if it is not said."""

    def taken(self, frame_size: int) -> tuple[Hop, ...]:
        """The flows that a frame of that many octets meets.

        Where a flow asks for the size, the switch shows both ways: first, indented, that of frames
        which are larger. The other may ask again.
        """
        hops: list[Hop] = []
        asked: Hop | None = None
        for hop in self.hops:
            if asked is not None and asked.limit is not None:
                larger = hop.indent > asked.indent and hop.entry == asked.entry
                if frame_size > asked.limit and not larger:
                    break
                if frame_size <= asked.limit and larger:
                    continue
            if hop.limit is not None:
                asked = hop
            hops.append(hop)
        return tuple(hops)

    @property
    def unwraps(self) -> bool:
        """Whether the datapath takes it out of a tunnel."""
        return "tnl_pop(" in self.datapath

    @property
    def parsed_anew(self) -> bool:
        """Whether the switch reads the packet again and goes on, which the trace does not show."""
        return "recirc(" in self.datapath

    @property
    def tunnel(self) -> Tunnel | None:
        """The tunnel that it is put into."""
        found = _PUSH.search(self.datapath) or _PUSH_6.search(self.datapath)
        if found is None:
            return None
        return Tunnel(
            src_mac=found["src_mac"],
            dst_mac=found["dst_mac"],
            src=ip_address(found["src"]),
            dst=ip_address(found["dst"]),
            dscp=int(found["tos"], 0) >> 2,
            ttl=int(found["ttl"]),
            teid=int(found["teid"], 16),
        )


@dataclass(slots=True)
class _Open:
    """A hop whose actions are still to come."""

    entry: int
    indent: int
    table: int
    text: str
    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> Hop:
        found = _FLOW.fullmatch(self.text)
        match, priority, cookie = found.groups() if found else ("", "0", None)
        return Hop(
            entry=self.entry,
            table=self.table,
            found=found is not None,
            match=match or "",
            priority=int(priority),
            cookie=int(cookie or "0", 16),
            actions=tuple(self.actions),
            notes=tuple(self.notes),
            indent=self.indent,
        )


def read(text: str) -> Trace:
    """Read an answer of `ofproto/trace`. What is not understood is passed over."""
    entry, hops, datapath = -1, list[_Open](), ""
    for line in text.splitlines():
        said = line.strip()
        if line.startswith("bridge("):
            entry += 1
        elif said.startswith("Datapath actions:"):
            datapath = said.removeprefix("Datapath actions:").strip()
        elif entry < 0 or not said or said.startswith(("Final flow:", "Megaflow:", "---")):
            continue
        elif found := _HOP.fullmatch(line):
            indent = max(0, len(found[1]) + len(found[2]) - 2)  # numbers are two wide at least
            hops.append(_Open(entry, indent, int(found[2]), found[3]))
        else:
            indent = len(line) - len(line.lstrip())
            owner = next((h for h in reversed(hops) if h.indent < indent), None)
            if owner is None or owner.entry != entry:
                continue  # actions of a packet-out, before any table
            (owner.notes if said.startswith(("->", ">>")) else owner.actions).append(said)
    return Trace(tuple(each.close() for each in hops), datapath)
