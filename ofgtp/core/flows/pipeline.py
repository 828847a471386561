"""The flow tables, declared once: purpose, fields to match, tables to lead to, what a miss is.

A rule is made through its table (`Table.flow`), which refuses what it did not declare. The document
`docs/pipeline.md` is generated from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ofgtp.core.flows.flow import Action, CookieKind, Flow, Match, Meter, RuleError, make_cookie


class DropReason(IntEnum):
    """Why a packet goes no further. The number stands in the cookie of each flow that drops."""

    def __new__(cls, number: int, meaning: str) -> DropReason:
        """Keep the meaning beside the number."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member

    meaning: str

    UNKNOWN_PORT = 1, "came in by a port that is not ofgtp's"
    VLAN = 2, "VLAN-tagged frame on a port that carries none"
    OUTER_FRAGMENT = 3, "fragment of a packet to the access address"
    ACCESS_DENIED = 4, "GTP-U from an address outside access_allow"
    ACCESS_OTHER = 5, "on the access port, and neither GTP-U, ARP nor ping to us"
    LOCAL_OTHER = 6, "from the host towards the access port, and neither GTP-U, ARP nor ping"
    EXTENSION_HEADER = 7, "T-PDU whose first extension header is no PDU Session Container"
    INNER_MPLS = 9, "T-PDU whose bytes 12 and 13 read as an MPLS Ethernet type"
    FORGED_SIGNALLING = 10, "T-PDU whose inner bytes imitate a signalling frame"
    NOT_IP = 12, "T-PDU whose inner packet is neither IPv4 nor IPv6"
    NO_UPLINK_SESSION = 13, "T-PDU of no session: unknown TEID, wrong inner source or wrong peer"
    INNER_IPV6 = 14, "IPv6 T-PDU on a gateway without IPv6 pools"
    PROTECTED_DESTINATION = 15, "uplink packet to an address that no UE may reach"
    UE_TO_UE = 16, "uplink packet to another UE while ue_to_ue is deny"
    NEXT_HOP_UNRESOLVED = 17, "uplink packet while the next hop has not answered"
    CORE_OTHER = 18, "on the core port, and not for a UE or for us"
    UNKNOWN_UE = 19, "downlink packet to a UE address without a session"
    IDLE_UE = 20, "downlink packet to a UE whose session has no downlink"
    LEASE_EXPIRED = 21, "the controller that owns the tunnels has not renewed its lease"
    ERROR_INDICATED = 22, "packet for a tunnel that its peer, a base station say, does not know"
    WRONG_VERSION = 23, "GTP-U packet whose version is not 1"
    GTP_PRIME = 24, "GTP' packet (PT = 0), which is charging's and not GTP-U"
    LONG_CONTAINER = 25, "T-PDU whose PDU Session Container has more than 28 octets"
    BAD_CONTAINER = 26, "T-PDU whose PDU Session Container is no uplink one, or contradicts itself"
    EXTENSION_CHAIN = 27, "T-PDU with another extension header behind its PDU Session Container"
    WRONG_QFI = 28, "T-PDU with another QFI than its session's, which asks for qfi_check"
    CONTAINER_MISSING = 29, "T-PDU without a PDU Session Container, which its session requires"
    NOT_ECN_CAPABLE = 30, "T-PDU marked CE (ECN) on its way, with a packet not capable of ECN"
    NEIGHBOUR_DISCOVERY = 31, "IPv6 neighbour discovery of a UE, beyond what it may ask its router"
    WRONG_BEARER = 50, "T-PDU in a bearer's tunnel that matches none of the bearer's filters"
    GATE_CLOSED = 51, "packet of a bearer whose gate is closed in its direction"
    NO_RULE = 52, "downlink packet that none of its session's rules takes"
    FAR_DROP = 53, "packet that a control plane's rule drops (FAR with DROP)"
    TTL_EXPIRED = 54, "packet whose TTL is at its end: the gateway routes, and takes 1 off"
    QUOTA_EXHAUSTED = 55, "packet of a session or bearer whose quota is used up"
    BUFFER_FULL = 56, "packet for an idle UE of which as many are held as may be"
    TOO_BIG = 60, "packet that would not fit the access MTU with its tunnel headers"
    ICMP_ERROR = 39, "ICMP error about what the gateway sent on the access side"
    BAD_INNER = 40, "T-PDU whose packet is cut off, or not as long as its header says"

    @property
    def label(self) -> str:
        """Its name as counters, logs and the REST API show it."""
        return self.name.lower()


class Report(IntEnum):
    """What is shown to the controller though it is not dropped; the number stands in the cookie."""

    NEXT_HOP = 1
    """ARP from the next hop on the core side."""
    ACCESS_ARP = 2
    """ARP on the access side, whose sender may be a peer's next hop."""
    SIGNALLING = 3
    """A GTP-U message that is no T-PDU, as its whole frame."""
    TOO_BIG = 4
    """The beginning of a packet that does not fit the access MTU."""
    HELD = 10
    """A downlink packet whose session's rule holds it."""
    TOO_BIG_UPLINK = 5
    """The beginning of an uplink packet that does not fit the core MTU."""
    ROUTER_SOLICITATION = 6
    """A UE looks for its router, or asks whether it is still there."""
    SENDER = 7
    """GTP-U from an IPv6 address that ends in bits which are asked for."""


@dataclass(frozen=True, slots=True)
class Table:
    """One flow table; `next` names the tables its flows may lead to."""

    number: int
    name: str
    purpose: str
    fields: frozenset[str]
    next: tuple[str, ...]
    miss: DropReason | None

    def flow(
        self,
        priority: int,
        match: Match,
        *actions: Action,
        goto: Table | None = None,
        meter: Meter | int | None = None,
        cookie: int | None = None,
        hard_timeout: int = 0,
    ) -> Flow:
        """A flow of this table.

        Raises:
            RuleError: it matches a field or leads to a table that this one does not declare.
        """
        undeclared = {condition.field for condition in match} - self.fields
        if undeclared:
            raise RuleError(f"table {self.name} does not declare {sorted(undeclared)}")
        if goto is not None and goto.name not in self.next:
            raise RuleError(f"table {self.name} does not lead to {goto.name}")
        return Flow(
            table=self.number,
            priority=priority,
            match=match,
            cookie=make_cookie(CookieKind.BASE) if cookie is None else cookie,
            actions=actions,
            goto=None if goto is None else goto.number,
            meter=meter.number if isinstance(meter, Meter) else meter,
            hard_timeout=hard_timeout,
        )

    def drop(
        self,
        priority: int,
        match: Match,
        reason: DropReason,
        *actions: Action,
        meter: Meter | None = None,
    ) -> Flow:
        """A flow that ends the packet and counts it under `reason`; actions may report it."""
        cookie = make_cookie(CookieKind.DROP, reason)
        return self.flow(priority, match, *actions, meter=meter, cookie=cookie)

    def report(
        self, priority: int, match: Match, kind: Report, *actions: Action, meter: Meter
    ) -> Flow:
        """A flow one of whose actions shows packets to the controller as being of that kind."""
        cookie = make_cookie(CookieKind.REPORT, kind)
        return self.flow(priority, match, *actions, meter=meter, cookie=cookie)


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split())


INGRESS = Table(
    0,
    "ingress",
    "Sorts packets by the port they came in by.",
    _fields("in_port tun_src ct_label"),
    ("access", "relay_form", "normalise", "retype", "lease", "local"),
    DropReason.UNKNOWN_PORT,
)
ACCESS = Table(
    10,
    "access",
    "From the radio side (N3, S1-U). ARP, neighbour discovery and ping to the access addresses go"
    " to the LOCAL port, and so does GTP-U, while the lease lasts.",
    _fields(
        "dl_dst dl_type vlan_vid nw_src nw_dst ipv6_src ipv6_dst nw_proto nw_ttl ip_frag udp_dst"
        " icmp_type icmpv6_type icmpv6_code nd_target arp_op arp_tpa"
    ),
    ("outer_ecn",),
    DropReason.ACCESS_OTHER,
)
OUTER_ECN = Table(
    12,
    "outer_ecn",
    "GTP-U that a router on its way has marked (ECN, RFC 3168) is to be unwrapped by gtpu ports of"
    " its own, which tell it from the rest: the switch itself would judge by what it wrongly takes"
    " the inner packet for.",
    _fields("dl_type nw_proto nw_ecn"),
    ("lease",),
    None,
)
RELAY_FORM = Table(
    15,
    "relay_form",
    "T-PDUs that a relay may send on as they came: those without a sequence number. The GTP-U flags"
    " of a packet go out again, so each combination has a flow of its own.",
    _fields("tun_gtpu_flags tun_gtpu_msgtype"),
    ("relay", "normalise"),
    None,
)
RELAY = Table(
    16,
    "relay",
    "One set of flows for each direction of a relay: which TEID its T-PDUs get, and which peer.",
    _fields("tun_id tun_src ct_label"),
    ("relayed", "other_relayed", "normalise"),
    None,
)
RELAYED = Table(
    17,
    "relayed",
    "T-PDUs of relays leave again by the gtpu port. Neither unwrapped nor looked at; extension"
    " headers stay as they are. Their size is compared with what fits the access MTU.",
    _fields("reg5 ct_label"),
    ("relay_fit", "refusal"),
    None,
)
OTHER_RELAYED = Table(
    18,
    "other_relayed",
    "The same; a relay that changes goes over from one of the two tables to the other, as its rules"
    " do from rules to other_rules.",
    _fields("reg5 ct_label"),
    ("relay_fit", "refusal"),
    None,
)
RELAY_FIT = Table(
    19,
    "relay_fit",
    "What came longer than the access MTU allows, as an interface may take it, does not leave.",
    _fields("reg2"),
    (),
    None,
)
NORMALISE = Table(
    20,
    "normalise",
    "Decapsulated packets, typed at random by the switch. Tells T-PDUs from signalling, and sends"
    " both once round by a patch port: T-PDUs with an MPLS label below a new Ethernet header, their"
    " TEID in the packet's mark, and the peer's address in the label and a VLAN tag. Those that are"
    " typed rightly (TTL 64 to 79) have no label, and the peer's address in the Ethernet header. A"
    " patch port makes the switch forget the tunnel's metadata.",
    _fields("packet_type reg7 dl_dst dl_type nw_proto tun_gtpu_flags tun_gtpu_msgtype"),
    (),
    DropReason.NOT_IP,
)
RETYPE = Table(
    22,
    "retype",
    "T-PDUs come back: TEID and peer go into registers. Those with an extension header lose their"
    " label, and are parsed as IPv6, which they are not. Signalling goes to the controller.",
    _fields("dl_type vlan_vid vlan_pcp nw_src ipv6_src nw_proto udp_dst"),
    ("container", "bare", "epoch"),
    DropReason.NOT_IP,
)
BARE = Table(
    27,
    "bare",
    "T-PDUs lose the label and the Ethernet header, and are said to be what they really are; the"
    " switch parses them anew. Those whose octets it had read as a VLAN tag lose that in its books."
    " Of what ends within its sequence number, which the switch has taken off all the same, nothing"
    " is left.",
    _fields("reg2 vlan_vid"),
    ("epoch",),
    None,
)
CONTAINER = Table(
    23,
    "container",
    "T-PDUs with something in front of their packet, read as IPv6: what stands in `ipv6_dst` says"
    " whether it is a PDU Session Container (TS 38.415), and how long, or that no extension header"
    " follows. The QFI goes into a register.",
    _fields("reg5 pkt_mark dl_type ipv6_dst nw_proto"),
    ("container_end",),
    DropReason.EXTENSION_HEADER,
)
CONTAINER_END = Table(
    24,
    "container_end",
    "Whether an IP packet follows the container, and of which version. What is written into"
    " `ipv6_label` makes of all that stands in front of it one Network Service Header.",
    _fields("reg5 pkt_mark dl_type ipv6_dst nw_proto udp_src"),
    ("unwrap",),
    DropReason.EXTENSION_CHAIN,
)
UNWRAP = Table(
    26,
    "unwrap",
    "Takes this header off, and the container with it. The switch parses the packet anew.",
    _fields("dl_type pkt_mark"),
    ("epoch",),
    DropReason.NOT_IP,
)
LEASE = Table(
    25,
    "lease",
    'All user traffic passes here, each direction by one flow. With `ownership = "controller"`'
    " these two have a hard timeout, and the controller adds them anew as long as it lives: when it"
    " does not, forwarding ends, whatever the number of sessions. Uplink is still in its tunnel"
    " here: it goes to the LOCAL port, where the switch decapsulates it, and comes back by the gtpu"
    " port.",
    _fields("in_port"),
    ("core",),
    DropReason.LEASE_EXPIRED,
)
EPOCH = Table(
    28,
    "epoch",
    "UEs' packets, typed rightly. Those that were parsed anew get an Ethernet header. All are asked"
    " for a field that is always 0, each time it is changed for other bits of it; those of table"
    " ingress for the gtpu port ask for such a field, too. Open vSwitch before 3.2 cannot change"
    " what it has cached for decapsulated packets, but drops it when something new is asked: so a"
    " changed next hop, say, holds for packets under way.",
    _fields("packet_type pkt_mark"),
    ("inner_ecn",),
    None,
)
INNER_ECN = Table(
    29,
    "inner_ecn",
    "What a router marked on the outer header goes into the UE's packet, by RFC 6040. One that"
    " cannot bear it is dropped: to its sender that says the same.",
    _fields("reg7 dl_type nw_ecn"),
    ("uplink",),
    None,
)
UPLINK = Table(
    30,
    "uplink",
    "One flow a session: TEID, inner source and, if pinned, the peer.",
    _fields(
        "reg0 reg1 dl_type nw_src ipv6_src nw_dst nw_ttl nw_proto icmpv6_type icmpv6_code nd_target"
        " ct_mark"
    ),
    ("rules", "other_rules", "qfi", "onward", "guard", "refusal", "router"),
    DropReason.NO_UPLINK_SESSION,
)
_OF_RULES = _fields(
    "reg3 reg4 reg6 reg8 ct_label dl_type nw_src nw_dst ipv6_src ipv6_dst nw_proto ip_dscp"
    " ip_frag"
    " tcp_src tcp_dst udp_src udp_dst sctp_src sctp_dst"
)
_FROM_RULES = ("qfi", "onward", "guard", "measure", "held", "refusal")
RULES = Table(
    31,
    "rules",
    "Uplink packets of sessions with bearers, rates or breakout: which rule takes them, by its"
    " filters. A tunnel whose rules all have filters lets nothing else pass.",
    _OF_RULES,
    _FROM_RULES,
    None,
)
OTHER_RULES = Table(
    32,
    "other_rules",
    "The same. When a session's uplink rules change they move to the other of these two tables,"
    " which asks for other bits that are always 0: so the switch notices the change, and it is made"
    " at one moment.",
    _OF_RULES,
    _FROM_RULES,
    None,
)
QFI = Table(
    35,
    "qfi",
    "For sessions with a QFI: the container that a T-PDU had against what its session wants, which"
    " is in a register: 0x80 an uplink container, 0x40 and the QFI this QFI if there is one.",
    _fields("reg3 reg4 ct_mark"),
    ("guard",),
    None,
)
ONWARD = Table(
    36,
    "onward",
    "Packets that came in a tunnel and leave in one, unwrapped in between. Their size is compared"
    " with what fits the access MTU.",
    _fields("reg3"),
    ("onward_fit",),
    None,
)
ONWARD_FIT = Table(
    37,
    "onward_fit",
    "What does not fit does not leave. Of the rest, those that had a PDU Session Container get one"
    " again, of the same type and with their QFI.",
    _fields("reg2 reg3"),
    (),
    None,
)
GUARD = Table(
    40,
    "guard",
    "Where no UE may send: the access networks, the gateway's own addresses, loopback, link-local,"
    " multicast; other UEs, as configured. Neighbour discovery (IPv6) goes nowhere but to table"
    " `router`. If the core MTU is smaller than what may come out of a"
    " tunnel, the size of what goes on is compared with it.",
    _fields(
        "dl_type nw_dst ipv6_dst nw_proto nw_ttl ip_frag icmpv6_type icmpv6_code nd_target ct_zone"
    ),
    ("route", "framed", "router"),
    None,
)
ROUTE = Table(
    50,
    "route",
    "Towards the packet data network (N6, SGi): the TTL is one less, the next hop's MAC, and out."
    " What does not fit the core MTU is kept from the port as in table `fit`.",
    _fields("dl_type nw_ttl reg2"),
    ("too_big",),
    DropReason.NEXT_HOP_UNRESOLVED,
)
CORE = Table(
    60,
    "core",
    "From the packet data network: ARP and ping for the core address are answered here, packets"
    " for UEs go on.",
    _fields(
        "dl_dst dl_type vlan_vid nw_dst ipv6_dst nw_proto nw_ttl ip_frag icmp_type"
        " icmpv6_type icmpv6_code ipv6_src nd_target arp_op arp_spa arp_tpa"
    ),
    ("neighbour", "framed", "fit"),
    DropReason.CORE_OTHER,
)
NEIGHBOUR = Table(
    61,
    "neighbour",
    "What table core has made the answer to a Neighbour Solicitation for the core address gets its"
    " flags and its option, which only an answer has.",
    _fields("dl_type nw_proto icmpv6_type icmpv6_code"),
    (),
    DropReason.CORE_OTHER,
)
FRAMED = Table(
    62,
    "framed",
    "Packets to framed routes: networks behind a UE, outside the UE pools. As table `core` has it"
    " for the UE pools; here is what all framed routes have in common. And packets from UE to UE.",
    _fields("in_port dl_type nw_ttl"),
    ("fit",),
    None,
)
FIT = Table(
    65,
    "fit",
    "Keeps what would not fit the access MTU once it is encapsulated from the port: the kernel"
    " refuses it, and the switch then loses the packets that wait behind it, too. What fits is"
    " looked up anew: the switch counts a packet on the flows of both ways that its size might have"
    " taken, and a session's flow is to count what fits. Not so from UE to UE behind the longest"
    " containers, since the switch does not do it that often: flows count 14 octets less of them.",
    _fields("reg2 reg5 dl_type"),
    ("fitted", "downlink", "too_big"),
    None,
)
FITTED = Table(
    66,
    "fitted",
    "What fits begins here, in an Ethernet frame, wherever it came from. What has come out of a"
    " tunnel is asked for the epoch again.",
    _fields("in_port pkt_mark"),
    ("downlink",),
    None,
)
REPLAYED = Table(
    68,
    "replayed",
    "What the controller has held comes back here, its tunnel set, and a register if it gets a"
    " container; it leaves as what table choose lets pass.",
    _fields("reg4"),
    ("measure",),
    None,
)
DOWNLINK = Table(
    70,
    "downlink",
    "One flow a session: the UE's address; sets TEID and peer, and out by the gtpu port. Packets of"
    " a session with a QFI go on, RQI and QFI in a register.",
    _fields("dl_type nw_dst ipv6_dst"),
    ("choose", "measure", "held", "refusal"),
    DropReason.UNKNOWN_UE,
)
CHOOSE = Table(
    71,
    "choose",
    "Downlink packets of sessions with bearers: the first bearer one of whose filters matches, else"
    " the tunnel that table downlink has set.",
    _fields(
        "reg4 reg6 reg8 dl_type nw_src nw_dst ipv6_src ipv6_dst nw_proto ip_dscp ip_frag"
        " tcp_src tcp_dst udp_src udp_dst sctp_src sctp_dst"
    ),
    ("measure", "held", "refusal"),
    None,
)
MEASURE = Table(
    72,
    "measure",
    "Compares the size of what gets a container with what fits the access MTU then.",
    _fields(""),
    ("contain",),
    None,
)
CONTAIN = Table(
    74,
    "contain",
    "Puts the PDU Session Container in front, as two MPLS labels, and out by the gtpu port.",
    _fields("reg2 reg4 reg6"),
    ("too_big",),
    None,
)
TOO_BIG = Table(
    76,
    "too_big",
    "Shows some of what does not fit to the controller, which tells the sender by ICMP (RFC 1191)."
    " Nothing of it goes further.",
    _fields("reg2"),
    (),
    None,
)
LOCAL = Table(
    80,
    "local",
    "From the host: encapsulated packets, ARP, neighbour discovery and ping of the access addresses"
    " go out; T-PDUs over IPv6 come as GRE, of which nftables makes GTP-U. No frame is longer than"
    " the access MTU allows: what a sender puts behind its IP packet is not compared with any size,"
    " and the kernel would refuse it.",
    _fields("dl_type nw_src ipv6_src nw_proto udp_dst icmp_type icmpv6_type"),
    (),
    DropReason.LOCAL_OTHER,
)

HELD = Table(
    85,
    "held",
    "Downlink packets of idle UEs that the controller holds, or of which it tells a control plane:"
    " on through one meter for each share of the sessions. Of a session of which as many are held"
    " as may be, the controller closes the way here.",
    _fields("reg6"),
    ("shown", "refusal"),
    None,
)
SHOWN = Table(
    86,
    "shown",
    "They go to the controller, through a meter for all of them.",
    _fields(""),
    (),
    None,
)
ROUTER = Table(
    88,
    "router",
    "What UEs ask their router (IPv6) goes to the controller, through one meter for each share of"
    " the TEIDs.",
    _fields("reg0"),
    (),
    DropReason.NEIGHBOUR_DISCOVERY,
)
REFUSAL = Table(
    90,
    "refusal",
    "Packets that a session's rule refuses: the reason and the direction are in a register.",
    _fields("reg5"),
    (),
    None,
)

PIPELINE: tuple[Table, ...] = (
    INGRESS,
    ACCESS,
    OUTER_ECN,
    RELAY_FORM,
    RELAY,
    RELAYED,
    OTHER_RELAYED,
    RELAY_FIT,
    NORMALISE,
    RETYPE,
    CONTAINER,
    CONTAINER_END,
    LEASE,
    UNWRAP,
    BARE,
    EPOCH,
    INNER_ECN,
    UPLINK,
    RULES,
    OTHER_RULES,
    QFI,
    ONWARD,
    ONWARD_FIT,
    GUARD,
    ROUTE,
    CORE,
    NEIGHBOUR,
    FRAMED,
    FIT,
    FITTED,
    REPLAYED,
    DOWNLINK,
    CHOOSE,
    MEASURE,
    CONTAIN,
    TOO_BIG,
    LOCAL,
    HELD,
    SHOWN,
    ROUTER,
    REFUSAL,
)

SENDER_METER = Meter(34, rate=20, burst=20)
PING_METER = Meter(1, rate=100, burst=100)
ARP_METER = Meter(2, rate=1000, burst=1000)
UPLINK_MISS_METER = Meter(3, rate=200, burst=200)
NEXT_HOP_METER = Meter(4, rate=20, burst=20)
TOO_BIG_METER = Meter(5, rate=10_000_000, burst=10_000_000)
"""Limits nothing: it counts. The switch counts a packet whose size was compared on both flows that
it may take, but a meter counts what really passes it."""
EXTENSION_METER = Meter(6, rate=200, burst=200)
TOO_BIG_REPORT_METER = Meter(7, rate=100, burst=100)
NEIGHBOUR_METER = Meter(8, rate=500, burst=500)
OTHER_ARP_METER = Meter(9, rate=100, burst=100)
TOO_BIG_UPLINK_METER = Meter(30, rate=10_000_000, burst=10_000_000)
"""Counts, as TOO_BIG_METER."""
TOO_BIG_UPLINK_REPORT_METER = Meter(31, rate=100, burst=100)
TOO_BIG_RELAYED_METER = Meter(33, rate=10_000_000, burst=10_000_000)
"""The same of relays, whose senders are told nothing: a relay does not look at packets."""
TTL_METER = Meter(32, rate=100, burst=100)
UNKNOWN_UE_METER, IDLE_UE_METER, ERROR_INDICATED_METER, SENT_METER = (
    Meter(number, rate=10_000_000, burst=10_000_000) for number in (40, 41, 42, 43)
)
"""These count, as TOO_BIG_METER does: what has no downlink tunnel, and what really left by one.
Flows of sessions that were idle go with what they had counted; this stays."""
SENT6_METER = Meter(59, rate=10_000_000, burst=10_000_000)
"""What left by a tunnel over IPv6, whose headers are longer."""
NO_RULE_METER, GATE_CLOSED_METER, FAR_DROP_METER, QUOTA_EXHAUSTED_METER = (
    Meter(number, rate=10_000_000, burst=10_000_000) for number in (46, 47, 48, 54)
)
"""The same for what comes from the packet data network for sessions with rules."""
UPLINK_IDLE_METER, UPLINK_ERROR_INDICATED_METER, UPLINK_GATE_CLOSED_METER, UPLINK_FAR_DROP_METER = (
    Meter(number, rate=10_000_000, burst=10_000_000) for number in (49, 50, 51, 52)
)
UPLINK_QUOTA_EXHAUSTED_METER = Meter(55, rate=10_000_000, burst=10_000_000)
"""And for what comes in a tunnel."""
REFUSED_METER = Meter(44, rate=200, burst=200)
ICMP_ERROR_METER = Meter(45, rate=50, burst=50)
SIGNALLING_METERS = tuple(Meter(16 + share, rate=100, burst=100) for share in range(8))
"""One for each eighth of the peers, told apart by the last three bits of their addresses: one that
floods the gateway drowns the signalling of one eighth and not of all."""

ROUTER_METERS = tuple(Meter(192 + share, rate=25, burst=25) for share in range(16))
"""What UEs ask their router: one for each 16th of the TEIDs, told apart by their last four bits. A
UE that floods the gateway drowns one 16th and not all; it sends three when it attaches."""

UPLINK_HELD_METER = Meter(53, rate=10_000_000, burst=10_000_000)
"""The same for what comes in a tunnel to be held: HELD_METERS count it with all other."""
BUFFER_FULL_METER, REPLAYED_METER = (
    Meter(number, rate=10_000_000, burst=10_000_000) for number in (57, 58)
)
"""The same for what finds its session's way to the controller closed, and for what comes back from
there."""
SHOWN_METER = Meter(56, rate=4000, burst=4000)
"""What the controller is shown of idle UEs' packets: it has other things to do."""
HELD_METERS = tuple(Meter(64 + share, rate=1500, burst=1500) for share in range(128))
"""One for each 128th of the sessions: of a UE that is flooded no more goes on until its way is
closed, and it takes from few others."""

METERS: dict[str, Meter] = {
    "ping": PING_METER,
    "arp": ARP_METER,
    "uplink_miss": UPLINK_MISS_METER,
    "next_hop": NEXT_HOP_METER,
    "too_big": TOO_BIG_METER,
    "extension": EXTENSION_METER,
    "too_big_report": TOO_BIG_REPORT_METER,
    "neighbour": NEIGHBOUR_METER,
    "other_arp": OTHER_ARP_METER,
    "unknown_ue": UNKNOWN_UE_METER,
    "idle_ue": IDLE_UE_METER,
    "error_indicated": ERROR_INDICATED_METER,
    "no_rule": NO_RULE_METER,
    "gate_closed": GATE_CLOSED_METER,
    "far_drop": FAR_DROP_METER,
    "quota_exhausted": QUOTA_EXHAUSTED_METER,
    "uplink_idle": UPLINK_IDLE_METER,
    "uplink_error_indicated": UPLINK_ERROR_INDICATED_METER,
    "uplink_gate_closed": UPLINK_GATE_CLOSED_METER,
    "uplink_far_drop": UPLINK_FAR_DROP_METER,
    "uplink_quota_exhausted": UPLINK_QUOTA_EXHAUSTED_METER,
    "uplink_held": UPLINK_HELD_METER,
    "buffer_full": BUFFER_FULL_METER,
    "replayed": REPLAYED_METER,
    "shown": SHOWN_METER,
    "sent": SENT_METER,
    "sent_ipv6": SENT6_METER,
    "refused": REFUSED_METER,
    "icmp_error": ICMP_ERROR_METER,
    **{f"signalling_{share}": meter for share, meter in enumerate(SIGNALLING_METERS)},
    **{f"held_{share}": meter for share, meter in enumerate(HELD_METERS)},
    "too_big_uplink": TOO_BIG_UPLINK_METER,
    "too_big_relayed": TOO_BIG_RELAYED_METER,
    "ttl": TTL_METER,
    **{f"router_{share}": meter for share, meter in enumerate(ROUTER_METERS)},
    "sender": SENDER_METER,
    "too_big_uplink_report": TOO_BIG_UPLINK_REPORT_METER,
}
