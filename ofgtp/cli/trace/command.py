"""The command, its options, and which of them exclude each other."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED
from ofgtp.cli.settings import api_options
from ofgtp.cli.trace.packets import ECN, FAR_HOST, FAR_HOST_6, Packets
from ofgtp.cli.values import ANY_ADDRESS, GATEWAY, SESSION, TEID, Number, Octets, Protocol
from ofgtp.core.filters import PROTOCOLS, WITH_PORTS

if TYPE_CHECKING:
    from ofgtp.core.model import Direction


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
    from ofgtp.cli.trace import document, printed
    from ofgtp.cli.trace.run import Run
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
    run = Run(subject, switch, Packets(subject, given, version))
    run.trace(ways)
    if output.wants_json():
        output.document(document.of(run))
    else:
        printed.show(run, verbose=given["verbose"], raw=given["raw"])
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
