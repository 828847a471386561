"""Writes docs/pipeline.md to standard output, from the pipeline and the rules themselves.

    .venv/bin/python scripts/pipeline_doc.py > docs/pipeline.md

A test fails while the file differs from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from ofgtp.core.filters import PacketFilter
from ofgtp.core.flows.faults import OUTER_ECN
from ofgtp.core.flows.flow import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
    FIELDS,
    SESSION_NUMBER_MAX,
    CookieKind,
    Flow,
    Output,
    Port,
    cookie_kind,
    cookie_number,
    make_cookie,
)
from ofgtp.core.flows.pipeline import (
    CONTAIN,
    METERS,
    PIPELINE,
    QFI,
    SENT6_METER,
    SENT_METER,
    TOO_BIG,
    TOO_BIG_METER,
    UPLINK,
    UPLINK_MISS_METER,
    DropReason,
    Table,
)
from ofgtp.core.model import CE_PORT, ECT_1_PORT, QFI_MAX, FTeid, Gateway, Qos, Session, Uplink
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.filters import CLASS_BITS
from ofgtp.core.rules.lease import lease_timeout
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import (
    CONTAINER_HEADERS,
    EXTENDED,
    EXTENDED_NUMBERED,
    GROUP_BITS,
    NUMBERED,
    TUNNEL_HEADERS,
    UNEXTENDED,
    WAY_TABLES,
    WHOLE,
    Links,
)
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Rates, Relay
from ofgtp.core.sessions.rules import BURST_MS, METERS_FROM, METERS_OF_A_SESSION, meters_of

ECN_FAULT = OUTER_ECN.reference.removeprefix("docs/")
GATEWAY = Gateway(
    name="gw1",
    ovsdb="unix:/var/run/openvswitch/db.sock",
    openflow="tcp:127.0.0.1:6653",
    bridge="br-ofgtp",
    access_port="eth1",
    access_ip=IPv4Interface("10.1.0.1/24"),
    core_port="eth2",
    core_ip=IPv4Interface("10.2.0.1/24"),
    next_hop=IPv4Address("10.2.0.2"),
    ue_pools=(IPv4Network("10.45.0.0/16"),),
    access_allow=(IPv4Network("10.1.0.0/24"),),
)
LINKS = Links(
    access=1,
    core=2,
    gtpu=3,
    gtpu_ect_1=6,
    gtpu_ce=7,
    loop_out=4,
    loop_in=5,
    access_mtu=1500,
    core_mtu=1500,
    local_mac="02:54:00:00:00:01",
    core_mac="06:54:00:00:00:02",
    peer_mac="52:54:00:00:00:99",
    decrement_ttl=True,
)
LEASE_SECONDS = 10
SESSION = Session(
    number=1,
    id="imsi-001010000000001-5",
    gateway="gw1",
    ue_ip=IPv4Address("10.45.0.2"),
    uplink=Uplink(0x1001),
    downlink=FTeid(0x2001, IPv4Address("10.1.0.2")),
)
MOVED = FTeid(0x3001, IPv4Address("10.1.0.3"))

SLOT = 5
VOICE = Bearer(
    id="voice",
    precedence=10,
    filters=(PacketFilter.parse("permit out udp from 10.2.0.0/24 5004-5007 to assigned"),),
    uplink=Uplink(0x1002),
    downlink=FTeid(0x2002, IPv4Address("10.1.0.2")),
    mbr=Rates(128, 128),
)
WEB = Bearer(
    id="web",
    precedence=20,
    filters=(PacketFilter.parse("permit out tcp from any 80,443 to assigned"),),
    shares_downlink=True,
    gate=Gate.UPLINK,
    index=1,
)
OF_BEARERS = Detail(slot=SLOT, ambr=Rates(50_000, 100_000), bearers=(VOICE, WEB))
BEARERS = replace(SESSION, detail=OF_BEARERS)
MORE = PacketFilter.parse("permit out udp from 10.2.0.0/24 5060 to assigned")
WIDER = replace(
    BEARERS,
    detail=replace(
        OF_BEARERS, way=2, bearers=(replace(VOICE, filters=(*VOICE.filters, MORE)), WEB)
    ),
)
CORE_SIDE = Relay(0x1003, FTeid(0x4001, IPv4Address("10.1.0.9")))
RELAY_SESSION = replace(SESSION, ue_ip=None, detail=Detail(slot=SLOT, relay=CORE_SIDE))
BREAKOUT = IPv4Network("10.3.0.0/16")
BREAKS_OUT = replace(SESSION, detail=Detail(slot=SLOT, relay=CORE_SIDE, breakout=(BREAKOUT,)))

HEAD = """\
# The pipeline

<!-- Generated: .venv/bin/python scripts/pipeline_doc.py > docs/pipeline.md -->

How packets go through the switch, table by table, with the flows of a sample gateway and a sample
session. This file is generated from `ofgtp/core/flows/pipeline.py` and `ofgtp/core/rules/`, and a
test fails when it is older than they are.

## For a newcomer

A UE (a phone) has an IP address from a *UE pool*. Between its base station (eNB, gNB) and the
gateway its IP packets travel inside UDP datagrams to port 2152: GTP-U (TS 29.281). A number in the
GTP-U header, the *TEID*, says whose tunnel it is; each end chooses the TEID that it wants to
receive. A GTP-U message that carries a UE's packet is a *T-PDU*; the others (Echo, Error
Indication and so on) are *signalling*.

*Uplink*, the gateway takes that wrapping off, checks that the packet is from the UE whose tunnel it
came by, and sends it to the packet data network. *Downlink*, it finds the UE's session by the
packet's destination, wraps the packet with the TEID that the base station asked for, and sends it
there.

The switch wraps and unwraps by itself: what is sent to its `gtpu` port comes back wrapped by the
port `LOCAL`, which has the access address; a GTP-U datagram that is sent to `LOCAL` comes back
unwrapped by the `gtpu` port. So a downlink packet passes the tables twice: from the core port, and
again from `LOCAL`.

An uplink packet passes them three times:

1. from the access port: is it GTP-U for us, and does the controller still hold its *lease*? Then
   on to `LOCAL`, which unwraps it;
2. from the `gtpu` port: is it a T-PDU? Then once round by a *patch port*, a cable, as it were, from
   the bridge to itself. What the switch knows of the tunnel gets lost on this way, and is meant to:
   the packet carries its TEID and its peer along in other fields;
3. from the other end of the patch: the packet gets its true type, then its session is looked for,
   and where it may go.

What costs is that the switch *parses* a packet, looks at its headers, and not the patch. A packet
is parsed when it comes in, when it is out of its tunnel, and when it gets another type. T-PDUs with
an inner TTL of 64 to 79, as phones send most, are typed rightly when they come out of the tunnel,
and are parsed twice; others three times. A downlink packet is parsed twice: when it comes in, and
when its size has been compared, so that what does not fit is not counted with what does.

The way round is there for the sake of the switch's cache, in which Open vSwitch before 3.2 cannot
change entries for packets that carry tunnel metadata: [ovs-faults.md](ovs-faults.md). For the same
reason some flows ask for fields that are always 0 (`ct_zone`, `ct_mark`, `ct_label`, and `pkt_mark`
in bits that change): no packet fails such a condition. It makes the ways differ in what was asked
for, by which the switch notices that a packet has to go another way than the last one like it.

"""

NORMALISE_NOTE = """\
Open vSwitch, up to 4.0 at least, looks for the IP version of an unwrapped packet eight bytes too
far. In an IPv4 packet the TTL stands there, so the packet's type is a matter of its TTL: right for
64 to 79, IPv6 for 96 to 111, and for all others the packet passes for an Ethernet frame whose first
bytes are the IP header's. An IPv6 packet has its source address there, and passes for Ethernet.
The bytes themselves are right.

What is done about it: packets get an MPLS label and a new Ethernet header in front of them here,
and table `retype` takes both off again and says the true type, by which no byte is changed. What
the switch took for Ethernet shows its IP version as the first digit of `dl_dst`. No MAC address of
`LOCAL` begins with 4 or 6, so that signalling, which comes out of the `gtpu` port with its whole
outer frame, is told from it.

T-PDUs whose type is right by chance (`packet_type=(1,0x800)`) go the same way, since it is the
patch port between the two tables that makes the switch forget the tunnel. They get no label, and
the switch does not parse them anew: the session is looked for in the pass in which they came out of
the tunnel. What later tables need is put where a patch port leaves it:

| what | from | by way of | to, in table `retype` |
|---|---|---|---|
| TEID, 32 bits | `tun_id` | `pkt_mark` | `reg0`; the mark is 0 again |
| peer's address, low 20 bits | `tun_src`, by `reg1` | the MPLS label | `reg1`, bits 0 to 19 |
| peer's address, high 12 bits | the same | the VLAN tag's number | `reg1`, bits 20 to 31 |
| the same, of what is typed rightly | `tun_src`, by `reg1` | the new Ethernet source | `reg1` |
| IP version, 4 or 6 | `packet_type`, `dl_dst` | the VLAN tag's priority | the type it is given |
| the same, if the S flag is set: {of_s} | | the VLAN tag's priority | |
| that it is typed rightly: {whole} | `packet_type` | the VLAN tag's priority | |
| ECN of the outer header, 1 or 3 | the gtpu port | the label's traffic class | `reg7` |
| the same, of what is typed rightly | the gtpu port | the new Ethernet source | `reg7` |

For a peer that has IPv6 there is no room. Table `ingress` puts into `reg1` 0xf0000000 and the last
28 bits of its address, so that it is no IPv4 peer; who it is the controller finds out where it must
know (`ofgtp/control/peers/senders.py`).

(The Ethernet source would not do for what was typed Ethernet: the switch asks for all of a field
that is written, and there that is octets of the packet, which differ from packet to packet.)

Their order matters:

1. What reads as MPLS is dropped first. `ovs-vswitchd` aborts when such a packet gets a label, and
   a sender chooses these two bytes. This must stand above every flow that pushes or pops.
2. So are packets of another version than 1. Flags can only be asked to be set, so those of version
   0, and GTP' (PT = 0), are what is left over at the lowest priorities.
3. T-PDUs with extension headers next: the switch leaves these in front of the inner packet, whose
   first bytes are then not an IP header's. They go round as well, with 24 octets put in front of
   them for the table `container`, marked in the VLAN tag's priority ({extended}, or {numbered}
   where the switch took the first four octets of theirs off).
4. T-PDUs with a sequence number *and* an N-PDU number are as those with a sequence number.
   They stand above those with an N-PDU number alone, since a match on the flags can only ask
   whether bits are set, not whether one is clear. The switch takes the four optional bytes off only
   if there is a sequence number; of the others table `container` does ({unextended} in the VLAN
   tag's priority). It takes them off though they be missing, and has fewer octets than none left
   then, and a type that what its buffer held before has given it. So those with a sequence number
   are parsed anew, whatever their type, and table `bare` compares their size before.
5. T-PDUs that hold IP packets are sent round.
6. What is left and begins with `LOCAL`'s MAC is signalling, unless it is a T-PDU: then its sender
   imitates signalling. These flows match every bit of `dl_dst`. Above those of step 5 they would
   make the switch's cache remember every bit of it for good packets too, where it holds an IP
   packet's length and identification, and each packet would be a miss of that cache. Signalling
   that was marked (bit 0 of `reg7`) gets its UDP port back.

Known of these flows: an inner IPv4 source address in 136.71.0.0/16 or 136.72.0.0/16 reads as MPLS,
unless the TTL is 64 to 79 or 96 to 111. Do not use these as UE pools.
"""

ACCESS_NOTE = """\
ARP answers, and ARP that is not for us, are shown to the controller too: it learns from them the
MAC addresses to which its own messages go, and that one of them may have changed. The switch learns
from the answers that go to `LOCAL`.
"""

RETYPE_NOTE = """\
What comes in here was made in table `normalise`: nothing else is sent to the patch. The registers
do not outlast a patch port, but they do outlast another parsing, which comes with the next table
for all that had a label. A packet of any other form would be dropped.

What is parsed anew has no Ethernet header then, as what was typed rightly has none. For a flow
counts the octets with which a packet began its pass: so a session's uplink flow counts IP packets,
whatever their TTL. The MPLS label is taken off by `decap(packet_type(...))`, behind its Ethernet
header; without one in front, this aborts the switch
([ovs-faults.md](ovs-faults.md#a-label-on-what-reads-as-mpls-aborts-the-switch)).

Signalling comes as the whole frame that the peer sent, and ends here: the controller answers it by
a packet-out on the access port. Each eighth of the peers, by the last three bits of their
addresses, has a meter of its own, so that a flood from one peer leaves the others theirs. T-PDUs
with an extension header are read as IPv6 next, with what table `normalise` put in front of them
as its first 24 octets; `reg5` says whether the switch took the header's type off ({numbered}) or
not ({extended}).
"""

OUTER_ECN_NOTE = f"""\
When the switch takes a packet out of its tunnel, and that said CE, it looks at the inner packet's
ECN before any flow does, and in what it takes that packet for, by chance:
[ovs-faults.md]({ECN_FAULT}).
So CE must be gone before. Nothing that flows write outlasts the unwrapping but what the outer
header says, and of that the UDP port decides which gtpu port a packet comes out of. Those of these
two ports, {ECT_1_PORT} and {CE_PORT}, are on no wire: table `access` takes nothing that comes to
them.
"""

INNER_ECN_NOTE = """\
RFC 6040, figure 4: CE makes CE of what is capable of ECN, and ECT(1) makes ECT(1) of ECT(0). This
stands before any session is looked for, so that no change of sessions changes one of these ways.
What has no mark asks for the register alone, which no entry of the switch's cache holds: so it has
as many entries there as without this table. Of what has one, ECN and protocol of the UE's packet
stand in its entries too.
"""

LEASE_NOTE = """\
The flows shown are those of a lease of {lease} s: their hard timeout is {timeout} s, since the
switch may be late to notice. In `ownership = "switch"` they have none. The access address is
answered for (ARP, ping) without a lease too, but not the core address, whose table comes after.
"""

EPOCH_NOTE = """\
A match of metadata alone is for packets of any type, though it names none; so the flows for what
has no Ethernet header stand above.

The 16 bits are drawn anew with a next hop that changes, with repairs, and, where UEs may send to
each other, with their downlink flows. Of two different draws each has a bit that the other has not,
so that whichever came first, the other asks for something new.
"""

UPLINK_NOTE = """\
One flow a session, and two in all: that is why a packet that matches none is not told apart here
into unknown TEID, wrong inner source and wrong peer; telling them apart would take more flows for
each session. The switch counts them all as `no_uplink_session`, and that count is exact. It also
shows some of them to the controller, at most {rate} a second, which looks up the TEID and counts
what it sees as `uplink_misses_seen`: `unknown_teid`, `spoofed_source`, `wrong_peer`, and
`not_installed` for a session whose flows are not there (yet). Above that rate these four are
samples, not exact; what the meter cuts off is still in `no_uplink_session`.

Half of `ct_mark`, always 0, is asked for by the last flow alone: by packets of no session. A
session that ends is thereby noticed by packets that are under way.
"""

CONTAINER_NOTE = """\
A 5G base station puts an extension header in front of each UE's packet, the PDU Session Container,
and Open vSwitch knows no extension headers: what it leaves of a T-PDU begins with them. Here it
parses, as IPv6, 24 octets that table `normalise` put in front, and then these:

```
 24 octets of ours                        ipv6_dst, 16 octets                           UDP ports
                                            0           4           8          12         16
┌─────────────┬─────────────┬───┬─────────────┬───────────┬───────────┬───────────────────────┬───
│ 0f c6 01 .. │ 00 08 11 ff │ … │ 00 08 11 ff │ sequ N 85 │ 01 10 Q 00│ 45 …  the UE's packet │  E
│             │             │   │             ├───────────┼───────────┴───────────────────────┤
│             │             │   │             │ 01 10 Q 00│ 45 …  the UE's packet             │ E, S
└─────────────┴─────────────┴───┴─────────────┴───────────┴───────────────────────────────────┴───
```

The container's length (in units of 4 octets), type and QFI can be matched that way, and the QFI
copied to `reg3`, with a mask for each: nothing else of the packet enters the switch's cache.
`01 10` is a UL PDU SESSION INFORMATION (TS 38.415, 5.5.2.2) of one unit without flags. One of two
units or more has room for delays, a sequence number and times; these are taken off unread.

The end of one of more than 12 octets is not seen here, with S of more than 16. Then 16 octets of
those in front are taken off, the way table `container_end` does it, and the last 8 stay:
`0f c0 00 00 00 08 11 ff`. What is left is parsed as IPv6 again. The T-PDU's octets 16 to 31 are the
destination then, and 32 to 35 the UDP ports: containers of up to 28 octets end there, or of 32.

Where the type is 0 no extension header follows, and of a T-PDU with PN alone it means nothing: the
packet begins behind it, and `reg5` says 0 units. A container of PDU type 0, a downlink one, is
marked in `reg3` (0x40), and table `qfi` asks whether the session takes it.

What has another first extension header is dropped, and some of it shown to the controller. With E
and S set the switch has taken the first header's type off; what looks like an uplink container in
all its parts is taken for one, and what has a version of IP in front for an IP packet.
"""

CONTAINER_END_NOTE = """\
The octet in front of the packet is the type of a further extension header: 0 says that none comes.
The packet's first digit is its IP version. Both are where the container's length says.

The 24 octets in front are an empty Network Service Header (RFC 8300), put there by `encap(nsh)`.
Its first four octets hold its length, 6 words. They are also the first four of what was parsed as
IPv6, whose flow label is the last 20 bits of them. So to write `ipv6_label` is to write the NSH's
length: all that is to go. A metadata type that the switch does not know (3) keeps it from reading
more than the first 8 octets; the next protocol (1 IPv4, 2 IPv6) is what the packet is typed as when
it goes. Then a label is pushed and popped, for the switch to take it for NSH.
"""

CONTAIN_NOTE = """\
On the wire the two labels read `00 00 00 85 01 00 QFI 00`: no sequence number, no N-PDU number,
next extension header 0x85; one unit, DL PDU SESSION INFORMATION (TS 38.415, 5.5.2.1), RQI and QFI,
no further header. `reg4` holds RQI and QFI as one octet. The lowest bit of a label's third octet
says whether it is the last one; Open vSwitch sets it for the second label, in which it is the
lowest bit of the QFI. So for an even QFI the label's last octet is made 1, and an nftables rule
clears both; nftables has to set the E flag of the GTP-U header anyway.
"""

RELAY_FORM_NOTE = """\
A relay sends T-PDUs on in this pass, still typed at random, before anything is taken off them. The
switch sends the GTP-U flags of the packet that came, so packets with other flags must be of another
class for its cache: else those of the first packet go out on all. It asks of flags only whether all
of some bits are set. So the flows with more bits stand above those with fewer, and a packet is
asked for all flags in turn, whichever flow takes it.

Those with S stand on top and are not relayed here. The switch has taken four octets off them, the
number included, and would go on saying that they are there. They take the long way round by the
patch port, which clears the flags: they leave without the number. So do T-PDUs with a router's
mark, ECT(1) or CE, which table `ingress` leads past this table: the mark goes into the packet
itself.
"""

RELAY_NOTE = """\
There is a flow for each type that the switch may have taken a T-PDU for, since a match without
`packet_type` is for Ethernet frames alone. What is no relay's goes on, and is asked for bits of
`ct_label` that are always 0, by which the switch notices it when a relay ends.
"""

RELAYED_NOTE = """\
`reg5` is 0 where there is a tunnel to send to, else it is the reason to refuse. `IN_PORT`, the gtpu
port, is where the packet came from: the switch sends nothing back there unasked.
"""

RULES_NOTE = """\
The flows shown are those for packets that no filter takes. `reg6` names the session's rules: its
slot, a number that the store gives to sessions with rules, and in the {group} bits below it which
of the session's tunnels the packet came by. Bit 31 says that one of the filters must match: the
tunnel is a bearer's own, and what else comes by it is of a wrong bearer. Bits 30, 29 and 28 are
for packets whose content is not asked for: relayed, refused, held.

Flows of sessions ask for `reg6` and for what their filters say, swapped: the remote end is the
destination here. A range of ports becomes flows with masks, at most 30 of them, and two ranges
become their product. What has ports asks for `ip_frag=no` too, since the switch reads port 0 in
every fragment, and for bits of `reg8` that are always 0: those set in the leading {bits} of its
ports, and one above them. Where no flow of one set of masks matches, the switch remembers the
leading bits that tell the packet's ports from those of all its flows, whosever they are; by `reg8`
one set has only ports that begin alike, from which most packets differ early.

Priorities follow from precedences: 65535 less the precedence, so that bearers that come and go
leave the others' flows as they are.
"""

OTHER_RULES_NOTE = """\
What changes behind table `uplink` is not noticed by Open vSwitch before 3.2 for packets that are
under way, unless they are asked for a bit that they were not asked for before. All flows of this
table ask for some bits of `ct_label`, all those of table `rules` for others. So a session whose
rules change goes from one to the other, and so it does at the next change. The bits must differ by
table and not by session: flows of other sessions in the same table have their bits asked, too. In
one bundle the new rules come, the flow in table `uplink` leads to them, and the old ones go: each
packet meets the old rules or the new ones.
"""

ONWARD_NOTE = """\
Packets that were unwrapped and leave in a tunnel all the same: what does not break out of a relay,
and a relay's T-PDUs that took the long way. TEID and peer are set in table `uplink`, or by a rule.
`reg3` says which QFI the container had; what else stood in it is lost.
"""

CHOOSE_NOTE = """\
Table `downlink` has set the tunnel of the rule without filters, and the filters' flows set another
one, if theirs is another. `reg4` has RQI and QFI for the container, with bit 8 as a sign that there
is one. Where the rule without filters sends nothing (the UE is idle, say) bit 31 of `reg6` is set
and that rule has a flow here. From the core port there is no tunnel's metadata in a packet, and
the switch notices changes of these flows: one table is enough.
"""

NOTES = {
    "access": ACCESS_NOTE,
    "normalise": NORMALISE_NOTE.format(
        extended=EXTENDED,
        numbered=EXTENDED_NUMBERED,
        unextended=UNEXTENDED,
        whole=WHOLE,
        of_s=" or ".join(str(NUMBERED[version]) for version in (4, 6)),
    ),
    "retype": RETYPE_NOTE.format(extended=EXTENDED, numbered=EXTENDED_NUMBERED),
    "outer_ecn": OUTER_ECN_NOTE,
    "inner_ecn": INNER_ECN_NOTE,
    "lease": LEASE_NOTE.format(lease=LEASE_SECONDS, timeout=lease_timeout(LEASE_SECONDS)),
    "epoch": EPOCH_NOTE,
    "container": CONTAINER_NOTE,
    "container_end": CONTAINER_END_NOTE,
    "contain": CONTAIN_NOTE,
    "relay_form": RELAY_FORM_NOTE,
    "relay": RELAY_NOTE,
    "relayed": RELAYED_NOTE,
    "rules": RULES_NOTE.format(group=GROUP_BITS, bits=CLASS_BITS),
    "other_rules": OTHER_RULES_NOTE,
    "onward": ONWARD_NOTE,
    "choose": CHOOSE_NOTE,
    "qfi": """\
All flows for what passes stand above those that drop, which ask for the other half of `ct_mark`:
a change of what a session wants is thereby noticed by packets that are under way.
""",
    "measure": f"""\
{CONTAINER_HEADERS} octets more than in the table `fit`: the GTP-U header's optional part, and the
container. The result is bit 1 of `reg2`.
""",
    "uplink": UPLINK_NOTE.format(rate=UPLINK_MISS_METER.rate),
    "guard": """\
A UE that could send to the access address could put GTP-U of its own to it, and choose any TEID.
The access networks and core addresses of all gateways of this controller are named, since the host
may route from one to another. Flows for UE pools are the ones of `ue_to_ue`: drop, or on to
`downlink` (where `NXM_OF_IN_PORT` must be forgotten, because a switch sends nothing out of the port
that it came by).

All of them ask for `ct_zone`, always 0, which packets of no session are never asked for: a session
that is made is thereby noticed by packets that were dropped until then.
""",
    "route": """\
The flow is there once the next hop has answered ARP. With `core_port = "host"` it sends to the
host's end of the internal port.
""",
    "core": """\
With `core_port = "host"` the flows for ARP and ping are left out: the host answers by itself.
""",
    "fit": f"""\
The tables before this one set bit 0 of `reg2` when the packet has more octets than the access MTU
leaves for it beside {TUNNEL_HEADERS} octets of tunnel headers (outer IPv4, UDP, GTP-U). The
comparison counts the Ethernet header too.
""",
    "held": """\
Sessions that hold packets are shared out by the last bits of their number among those in registers.
See [paging.md](paging.md).
""",
    "downlink": """\
`decap()` takes the Ethernet header off, since the tunnel carries bare IP packets. An idle session's
flow has no actions, and counts as `idle_ue`.
""",
}

INEXACT = {
    DropReason.INNER_IPV6: "exact, but for source addresses beginning with the digit 4 or 6 (none"
    " is assigned): these count as `bad_inner`",
    DropReason.NO_UPLINK_SESSION: "exact as a sum; the reasons in it are sampled, see"
    " [uplink](#30-uplink)",
    DropReason.EXTENSION_HEADER: "exact, whatever the inner packet is",
}


def code(lines: Iterable[object], language: str = "") -> str:
    """A fenced block."""
    return "\n".join([f"```{language}", *map(str, lines), "```", ""])


def diagram() -> str:
    """The tables and where they lead, with the ports they get packets from and send them to."""
    lines = ["flowchart LR"]
    lines += [f'    {table.name}["{table.number} {table.name}"]' for table in PIPELINE]
    ports = ("access_port", "core_port", "gtpu_port", "LOCAL_port", "patch_port", "controller")
    lines += [f'    {port}(["{port.replace("_", " ")}"])' for port in ports]
    lines += [f"    {table.name} --> {name}" for table in PIPELINE for name in table.next]
    lines += [f"    {port} --> {PIPELINE[0].name}" for port in ports[:-1]]
    names = {LINKS.access: "access_port", LINKS.core: "core_port", LINKS.gtpu: "gtpu_port"}
    names |= {LINKS.loop_out: "patch_port", LINKS.loop_in: "patch_port"}
    names |= {Port.LOCAL: "LOCAL_port", Port.CONTROLLER: "controller", Port.IN_PORT: "core_port"}
    edges = dict.fromkeys(
        f"    {table.name} -.-> {names[action.port]}"
        for table in PIPELINE
        for flow in _of(table, flows())
        for action in flow.actions
        if isinstance(action, Output)
    )
    return code([*lines, *edges], "mermaid")


def flows() -> list[Flow]:
    """All flows of the sample."""
    base = gateway_flows(GATEWAY, LINKS, protected_networks([GATEWAY]), LEASE_SECONDS)
    return [*base, *session_flows(SESSION, LINKS)]


def _of(table: Table, every: Iterable[Flow]) -> list[Flow]:
    return sorted((f for f in every if f.table == table.number), key=lambda f: -f.priority)


def _ends(table: Table) -> str:
    """What becomes of packets that meet the flows of the lowest priority."""
    lowest = min(flow.priority for flow in _of(table, flows()))
    last = [flow for flow in _of(table, flows()) if flow.priority == lowest]
    ends: list[str] = []
    for flow in last:
        if flow.goto is not None:
            leads = next(each.name for each in PIPELINE if each.number == flow.goto)
            ends.append(f"goes on to `{leads}`")
        elif cookie_kind(flow.cookie) is CookieKind.DROP:
            ends.append(f"dropped as `{DropReason(cookie_number(flow.cookie)).label}`")
        else:
            ends.append("leaves")
    holds = "".join(f" (`{each}` always holds)" for each in last[0].match if len(last) == 1)
    return f"{', or '.join(dict.fromkeys(ends))}{holds}"


def tables() -> Iterator[str]:
    """A section for each table."""
    for table in PIPELINE:
        yield f"### {table.number} {table.name}\n\n{table.purpose}\n"
        order = [name for name in FIELDS if name in table.fields]
        yield f"- matches: {', '.join(f'`{name}`' for name in order)}"
        yield f"- leads to: {', '.join(f'`{name}`' for name in table.next) or 'no other table'}"
        if table is TOO_BIG:
            yield "- every packet ends here\n"
        elif table is CONTAIN:
            yield "- every packet matches\n"
        elif table is QFI:
            yield "- a packet that matches nothing else: dropped as `container_missing`\n"
        elif table.miss is None:
            yield f"- a packet that matches nothing else: {_ends(table)}\n"
        else:
            yield f"- a packet that matches nothing else: dropped as `{table.miss.label}`\n"
        if table.name in NOTES:
            yield NOTES[table.name]
        shown: list[object] = [*_of(table, flows())]
        if table is QFI:
            # Two for each QFI: those of the first two, and of the last.
            shown[5 : 2 * QFI_MAX - 1] = ["…"]
        yield code(shown)


def sessions() -> Iterator[str]:
    """One session, what a handover changes, and the same session idle."""
    assert SESSION.downlink is not None
    yield (
        f"The session `{SESSION.id}`: UE {SESSION.ue_ip}, uplink TEID {SESSION.uplink.teid:#x},"
        f" downlink TEID {SESSION.downlink.teid:#x} at {SESSION.downlink.ip}.\n"
    )
    yield code(session_flows(SESSION, LINKS))
    moved = Session(1, SESSION.id, "gw1", SESSION.ue_ip, SESSION.uplink, MOVED)
    yield (
        f"After a handover to TEID {MOVED.teid:#x} at {MOVED.ip} the downlink flow has other"
        " actions. It is modified in place, so its counters go on:\n"
    )
    yield code(session_flows(moved, LINKS)[1:])
    idle = Session(1, SESSION.id, "gw1", SESSION.ue_ip, SESSION.uplink, None)
    yield "Idle:\n"
    yield code(session_flows(idle, LINKS)[1:])
    pinned = Session(1, SESSION.id, "gw1", SESSION.ue_ip, Uplink(0x1001, MOVED.ip), None)
    fifth = replace(SESSION, qos=Qos(9, check=True))
    yield "With a QFI, as on N3 (`qfi` 9, `qfi_check`):\n"
    yield code(session_flows(fifth, LINKS))
    yield f"With its uplink pinned to the peer {MOVED.ip} (`uplink.remote_ip`):\n"
    yield code(session_flows(pinned, LINKS)[:1])


def sessions_of_rules() -> Iterator[str]:
    """A session with bearers, a relay, and one out of which something breaks."""
    yield (
        "With two bearers: `voice` has a tunnel pair and a rate (`mbr`) of its own, `web` shares"
        " the\nsession's tunnels, and its gate lets pass uplink only. `ambr` limits the whole"
        f" session. The slot is {SLOT},\nso `reg6` begins at {SLOT << GROUP_BITS:#x}. Table"
        " `uplink` finds the tunnel, table `rules` the bearer:\n"
    )
    yield code(session_flows(BEARERS, LINKS))
    yield "The meters of this session, two a bearer at the most and two of its own:\n"
    yield code(meters_of(BEARERS))
    assert WIDER.detail is not None
    yield (
        "The same once `voice` may have one more port: its uplink rules stand in table"
        f" `{WAY_TABLES[WIDER.detail.way].name}` now.\nDownlink, only what is new is added:\n"
    )
    before = {flow.key for flow in session_flows(BEARERS, LINKS)}
    wider = session_flows(WIDER, LINKS)
    yield code([flow for flow in wider if flow.table == UPLINK.number or flow.key not in before])
    yield (
        "A relay of whatever comes (`core`), as an SGW between S1-U and S5, or for forwarding in a"
        " handover.\nBoth directions are found by TEID; the last flow of each is for T-PDUs that"
        " take the long way:\n"
    )
    yield code(session_flows(RELAY_SESSION, LINKS))
    yield (
        f"With a UE address and `breakout` of {BREAKOUT}: what goes there leaves by the core port,"
        " the rest in the\ntunnel, and what comes back from there is sent to the UE:\n"
    )
    yield code(session_flows(BREAKS_OUT, LINKS))


def reasons() -> Iterator[str]:
    """The drop reasons, as a table."""
    yield "| number | reason | meaning | tables | count |\n|---|---|---|---|---|"
    for reason in DropReason:
        cookie = make_cookie(CookieKind.DROP, reason)
        idle = Session(2, "idle", "gw1", SESSION.ue_ip, SESSION.uplink, None)
        lost = replace(SESSION, error_indicated=True)
        every = [*flows(), *session_flows(idle, LINKS), *session_flows(lost, LINKS)]
        where = [
            table.name for table in PIPELINE if any(f.cookie == cookie for f in _of(table, every))
        ]
        yield (
            f"| {reason.value} | `{reason.label}` | {reason.meaning} | {', '.join(where)}"
            f" | {INEXACT.get(reason, 'exact')} |"
        )


def meters() -> Iterator[str]:
    """The meters, as a table."""
    yield "| number | name | packets a second | burst |\n|---|---|---|---|"
    for name, meter in METERS.items():
        yield f"| {meter.number} | {name} | {meter.rate} | {meter.burst} |"
    counting = [each.number for each in METERS.values() if each.rate == TOO_BIG_METER.rate]
    numbers = ", ".join(map(str, sorted(counting)))
    yield (
        f"\nMeters {numbers} limit nothing: they are counters. The switch\ncounts a packet whose"
        " size it compares on both flows that the packet may take, so that neither\nflow's counter"
        " says which it was. And what the flow of an idle session has counted goes with that\nflow."
        f" Meters {SENT_METER.number} and {SENT6_METER.number} count what leaves in a tunnel, over"
        " IPv4 and over IPv6.\n"
    )
    yield (
        f"Meters of sessions, for `ambr` and `mbr`, have numbers from {METERS_FROM} up:"
        f" {METERS_OF_A_SESSION} for each slot. They count\nkilobits of IP packets uplink, of"
        f" frames downlink, 14 octets of Ethernet longer, and let\n{BURST_MS} ms of their rate"
        " through at once. A flow has one meter, so a session's is in the flow by which it is"
        "\nfound, and a bearer's in the flow behind it; where there is one rule only, its meter"
        " is in the first."
    )


def document() -> Iterator[str]:
    """The whole file, part by part."""
    yield HEAD + diagram()
    yield (
        "Solid arrows lead from a port into the tables and from table to table; dotted ones out of"
        " a port.\nAn unwrapped packet, one that comes round by the patch port, and what the"
        " controller or the host's\nstack sends, enters at `ingress` again.\n"
    )
    yield "## A session's flows\n"
    yield from sessions()
    yield "### Sessions of several rules\n"
    yield from sessions_of_rules()
    yield "## Tables\n"
    yield (
        "The sample gateway: access port 1, core port 2, gtpu port 3, with 6 and 7 for what is"
        " marked ECT(1)\nand CE, the patch's ends 4 (out) and 5 (in); access address"
        f" {GATEWAY.access_ip}, core address\n{GATEWAY.core_ip}, next hop {GATEWAY.next_hop},"
        f" access MTU {LINKS.access_mtu}, UE pool {GATEWAY.ue_pools[0]}, `access_allow`\n"
        f"{GATEWAY.access_allow[0]}. The flows"
        "\nare in the syntax of `ovs-ofctl`. A match without `packet_type` is for Ethernet frames"
        " only.\n"
    )
    yield from tables()
    yield "## Why packets are dropped\n"
    yield (
        "Each reason has a counter, which the switch keeps: the sum of its flows' counters, which"
        " start anew when the\nflows are installed anew, or, where they have one of the counting"
        " meters below, that meter's. They are shown\nas `drops` by `GET /v1/gateways`.\n"
    )
    yield from reasons()
    yield (
        "\nARP and ping over a meter's rate are dropped by the meter, and counted exactly by it:"
        " `rate_limited_arp`,\n`rate_limited_ping`.\n"
    )
    yield "## Meters\n"
    yield (
        "They keep senders from flooding the host's stack (`ping`, `arp`) and the controller (the"
        " others).\n"
    )
    yield from meters()
    yield "\n## Cookies\n"
    yield (
        f"Flows are known as ofgtp's by their cookies: `{COOKIE_OWNER:#018x}` under the mask"
        f" `{COOKIE_OWNER_MASK:#018x}`.\nOnly these are ever read or deleted.\n"
    )
    yield "| bits | meaning |\n|---|---|"
    yield f"| 48 to 63 | `{COOKIE_OWNER >> 48:#06x}`: ofgtp's |"
    kinds = ", ".join(f"{kind.value} {kind.name.lower()}" for kind in CookieKind)
    yield f"| 40 to 47 | kind: {kinds} |"
    yield (
        f"| 0 to 39 | session: the session's number, 1 to {SESSION_NUMBER_MAX}; drop: the reason's"
        " number; base: 0 |\n"
    )
    cookie = make_cookie(CookieKind.SESSION, SESSION.number)
    asked = f"ovs-ofctl -O OpenFlow14 dump-flows {GATEWAY.bridge} cookie={cookie:#018x}/-1"
    yield "The sample session's flows and their counters:\n"
    yield code([asked], "sh").rstrip()


if __name__ == "__main__":
    print("\n".join(document()))
