"""Mininet topologies of a small mobile network around one ofgtp gateway.

    mn --custom topologies/mobile.py --topo one_enb --controller none
    mn --custom topologies/mobile.py --topo two_enb --controller none
    mn --custom topologies/mobile.py --topo gnb_enb --controller none
    mn --custom topologies/mobile.py --topo sgw --controller none
    mn --custom topologies/mobile.py --topo smf --controller none

            10.45.0.2  ue1 ─┐                        gw (ofgtp)
                            ├─ enb1 ══ S1-U ══ gw-eth1 ┤├ gw-eth2 ── SGi ── pdn
            10.45.0.3  ue2 ─┘  10.1.0.2      10.1.0.1    10.2.0.1        10.2.0.2

`two_enb` has enb2 (10.1.0.3) beside enb1, both on one segment with gw-eth1, and each UE in reach of
both. `gnb_enb` is the same with a gNB on N3, gnb1 (10.1.0.2), and an eNB on S1-U, enb1 (10.1.0.3).
`sgw` has one UE at enb1, and a second gateway beside the first, `sgw` (10.1.0.4), in a namespace of
its own, with a host at the network's edge (edge, 10.3.0.2) behind it; topologies/sgw.toml is its
configuration. `smf` has two gNBs, gnb1 and gnb2, and a host for an SMF (smf, 10.4.0.5) on a link of
its own to the gateway's host, which has 10.4.0.1 there (N4). A UE's address is the session's
`ue_ip`; nothing here translates addresses.

With IPv6 the host is 2001:db8:c::2, and a UE has none until it is switched on (`Ue.ipv6_on`): then
its kernel asks for a router by its radio link, and forms its address from what the gateway answers
through the tunnel.

`gw` is a node in the namespace that Mininet runs in. Its ports have no address: ofgtp takes them,
with topologies/mobile.toml as configuration. The base stations' user plane is topologies/enb.py,
which the topology does not start, since the bearers are its caller's to choose:

    mininet> enb1 topologies/enb.py --s1u 10.1.0.2 --bearer … &
"""

from mininet.node import Node
from mininet.topo import Topo

GATEWAY = "10.1.0.1"
SGW = "10.1.0.4"
PDN = "10.2.0.2"
EDGE = "10.3.0.2"
N4, SMF = "10.4.0.1", "10.4.0.5"
UE_POOL = "10.45.0.0/16"
GATEWAY6, PDN6, UE_POOL6 = "2001:db8:c::1", "2001:db8:c::2", "2001:db8:a::/48"
ROUTER = "fe80::1"  # the gateway, on each UE's link
RADIO = "169.254.0.1"  # an eNB's address on each radio link: only there, and never in a packet

# What fits into a 1500-byte access link after IPv4, UDP and GTP-U (20 + 8 + 8 bytes) is 1464. As
# networks do, the UEs are told less, so that sequence numbers (4 bytes), extension headers or an
# IPv6 transport (20 bytes) would fit as well: what is too long would be dropped, not fragmented.
UE_MTU = 1400


class Station(Node):
    """A node without IPv6 noise, whose packets leave with their checksums filled in.

    Where transmit offload is on, a packet crosses a veth without its checksum, and Open vSwitch
    would tunnel it just so; GRO would merge packets into ones that fit into no tunnel.
    """

    def config(self, **params):
        super().config(**{**params, "ip": None})
        names = ("all", "default") if self.inNamespace else self.intfNames()
        for name in names:
            self.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", 1)
        for intf in self.intfNames():
            self.run("ethtool", "-K", intf, "tx", "off", "gro", "off", "lro", "off")

    def run(self, *command):
        """Run a command in this node; RuntimeError if it fails."""
        out, err, code = self.pexec(*map(str, command))
        if code:
            raise RuntimeError(f"{self.name}: {' '.join(map(str, command))}: {out}{err}".strip())
        return out

    def sysctl(self, name, value):
        # -e: not known is not wrong, since a kernel may have no IPv6
        self.run("sysctl", "-qew", f"{name}={value}")

    def neighbour(self, address, intf):
        """Tell what is at the other end of a radio link, where no ARP is spoken."""
        link = intf.link
        other = link.intf2 if intf is link.intf1 else link.intf1
        self.run(
            *("ip", "neigh", "replace", address, "lladdr", other.MAC()),
            *("dev", intf, "nud", "permanent"),
        )


class Ue(Station):
    """A phone: its address is its own, not its interfaces'; its default route is the radio link."""

    def config(self, address, **params):
        super().config(**params)
        self.address = address
        self.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        for intf in self.intfList():
            self.run("ip", "link", "set", intf, "mtu", UE_MTU)
            self.neighbour(RADIO, intf)
        for name in ("all", *self.intfNames()):  # in a handover packets may come by the other link
            self.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)
        self.with_ipv6 = False
        self.attach(self.intfList()[0])

    def attach(self, intf):
        """Use this radio link from now on."""
        self.run(
            *("ip", "route", "replace", "default", "via", RADIO, "dev", intf, "onlink"),
            *("src", self.address),
        )
        if self.with_ipv6:  # the addresses stay, as they do in a phone
            self.start_ipv6(intf, accept_ra=0)
            self.run(
                *("ip", "-6", "route", "replace", "default", "via", ROUTER, "dev", intf),
                *("metric", 512),  # before that of the Router Advertisement
            )

    def ipv6_on(self):
        """Begin IPv6 by the first radio link: what follows is the kernel's own doing."""
        self.with_ipv6 = True
        self.start_ipv6(self.intfList()[0], accept_ra=1)

    def start_ipv6(self, intf, accept_ra):
        # No other host is on the link: nobody could have the same address (accept_dad).
        for name, value in (("accept_dad", 0), ("accept_ra", accept_ra), ("disable_ipv6", 0)):
            self.sysctl(f"net.ipv6.conf.{intf}.{name}", value)
        self.neighbour(ROUTER, intf)

    def ipv6(self):
        """The address that it has formed, or None."""
        shown = self.run("ip", "-6", "-brief", "address", "show", "scope", "global")
        words = [word for line in shown.splitlines() for word in line.split() if ":" in word]
        return words[0].partition("/")[0] if words else None


class Enb(Station):
    """A base station: what comes from a radio link goes into the TUN device, and back."""

    interface = "s1u"  # that it has to the gateway: the option of enb.py

    def config(self, address, **params):
        super().config(**params)
        self.address = address
        s1u, *radio = self.intfList()
        self.run("ip", "address", "add", f"{address}/24", "dev", s1u)
        self.run("ip", "tuntap", "add", "dev", "gtp0", "mode", "tun")
        self.run("ip", "link", "set", "gtp0", "mtu", UE_MTU, "up")
        self.sysctl("net.ipv4.ip_forward", 1)
        # Before all else, even the eNB's own addresses: a UE's packets belong to the tunnel.
        self.run("ip", "route", "add", "default", "dev", "gtp0", "table", 100)
        for intf in radio:
            self.run("ip", "rule", "add", "pref", 1, "iif", intf, "lookup", 100)
        self.run("ip", "rule", "add", "pref", 2, "lookup", "local")
        self.run("ip", "rule", "del", "pref", 0)
        for intf in radio:
            ue = intf.link.intf1.node if intf is intf.link.intf2 else intf.link.intf2.node
            self.run("ip", "link", "set", intf, "mtu", UE_MTU)
            self.run("ip", "route", "add", ue.params["address"], "dev", intf)
            self.neighbour(ue.params["address"], intf)
        for name in ("all", "gtp0", *radio):
            self.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)


class Gnb(Enb):
    """A base station of 5G: nothing else differs here."""

    interface = "n3"


class GatewayHost(Station):
    """Where ofgtp runs: two ports without addresses."""


class SmfHost(Station):
    """Where an SMF runs: a link to the gateway's host, for PFCP (N4)."""

    def config(self, address, gateway, **params):
        super().config(**params)
        [here] = self.intfList()
        there = here.link.intf1 if here is here.link.intf2 else here.link.intf2
        self.run("ip", "address", "add", f"{address}/24", "dev", here)
        there.node.run("ip", "address", "add", f"{gateway}/24", "dev", there)


class PdnHost(Station):
    """A host in the packet data network, which reaches the UEs through the gateway."""

    def config(self, address, address6=None, gateway="10.2.0.1", **params):
        super().config(**params)
        intf = self.intfList()[0]
        self.run("ip", "address", "add", f"{address}/24", "dev", intf)
        self.run("ip", "route", "add", UE_POOL, "via", gateway, "mtu", UE_MTU)
        if address6:
            self.sysctl(f"net.ipv6.conf.{intf}.accept_ra", 0)
            self.sysctl(f"net.ipv6.conf.{intf}.disable_ipv6", 0)
            self.run("ip", "address", "add", f"{address6}/64", "dev", intf, "nodad")
            self.run("ip", "route", "add", UE_POOL6, "via", GATEWAY6, "mtu", UE_MTU)


class Segment(Station):
    """The access network between several base stations and the gateway: a Linux bridge."""

    def config(self, **params):
        super().config(**params)
        self.run("ip", "link", "add", "br0", "type", "bridge")
        self.run("ip", "link", "set", "br0", "up")
        for intf in self.intfNames():
            self.run("ip", "link", "set", intf, "master", "br0")


class OneEnb(Topo):
    """One eNB with two UEs, the gateway, a host in the packet data network."""

    def build(self):
        self.addHost("gw", cls=GatewayHost, inNamespace=False)
        self.addHost("pdn", cls=PdnHost, address=PDN, address6=PDN6)
        self.addHost("enb1", cls=Enb, address="10.1.0.2")
        self.addLink("enb1", "gw", port2=1)
        self.addLink("pdn", "gw", port2=2)
        for number in (1, 2):
            self.addHost(f"ue{number}", cls=Ue, address=f"10.45.0.{number + 1}")
            self.addLink(f"ue{number}", "enb1")


class TwoEnb(Topo):
    """Two eNBs, with both UEs in reach of both; ue1 starts at enb1, ue2 at enb2."""

    stations = (("enb1", Enb), ("enb2", Enb))

    def build(self):
        self.addHost("gw", cls=GatewayHost, inNamespace=False)
        self.addHost("pdn", cls=PdnHost, address=PDN, address6=PDN6)
        self.addHost("access", cls=Segment)
        self.addLink("access", "gw", port2=1)
        self.addLink("pdn", "gw", port2=2)
        for number, (name, cls) in enumerate(self.stations, 1):
            self.addHost(name, cls=cls, address=f"10.1.0.{number + 1}")
            self.addLink(name, "access")
        first, second = (name for name, _ in self.stations)
        for ue, order in (("ue1", (first, second)), ("ue2", (second, first))):
            self.addHost(ue, cls=Ue, address="10.45.0.2" if ue == "ue1" else "10.45.0.3")
            for station in order:
                self.addLink(ue, station)


class GnbEnb(TwoEnb):
    """A gNB and an eNB, with both UEs in reach of both; ue1 starts at gnb1, ue2 at enb1."""

    stations = (("gnb1", Gnb), ("enb1", Enb))


class SgwPgw(Topo):
    """One eNB with one UE, and two gateways on its segment; each has a host behind it."""

    def build(self):
        self.addHost("gw", cls=GatewayHost, inNamespace=False)
        self.addHost("sgw", cls=GatewayHost)
        self.addHost("pdn", cls=PdnHost, address=PDN, address6=PDN6)
        self.addHost("edge", cls=PdnHost, address=EDGE, gateway="10.3.0.1")
        self.addHost("access", cls=Segment)
        self.addHost("enb1", cls=Enb, address="10.1.0.2")
        for gateway, host in (("gw", "pdn"), ("sgw", "edge")):
            self.addLink("access", gateway, port2=1)
            self.addLink(host, gateway, port2=2)
        self.addLink("enb1", "access")
        self.addHost("ue1", cls=Ue, address="10.45.0.2")
        self.addLink("ue1", "enb1")


class TwoGnb(TwoEnb):
    """Two gNBs, and an SMF that reaches the gateway's host by PFCP."""

    stations = (("gnb1", Gnb), ("gnb2", Gnb))

    def build(self):
        super().build()
        self.addHost("smf", cls=SmfHost, address=SMF, gateway=N4)
        self.addLink("smf", "gw", port2=3)


topos = {
    "one_enb": OneEnb,
    "two_enb": TwoEnb,
    "gnb_enb": GnbEnb,
    "sgw": SgwPgw,
    "smf": TwoGnb,
}
