"""`ofgtp doctor`: looks a host over, and says what to do about what is wrong."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ofgtp.cli import output
from ofgtp.cli.errors import EXIT_FAILED, EXIT_UNREACHABLE, CliError
from ofgtp.cli.settings import api_options
from ofgtp.core.doctor import (
    of_controller,
    of_firewall,
    of_gateway,
    of_host,
    of_pfcp,
    of_switch,
)
from ofgtp.core.doctor.facts import Controller, Socket, Switch
from ofgtp.core.doctor.finding import Finding, Verdict, failed, skipped
from ofgtp.core.errors import ConfigError, GatewayNotReady, OfgtpError
from ofgtp.core.flows import faults

if TYPE_CHECKING:
    from ofgtp.config import Config
    from ofgtp.core.model import Gateway, Pfcp

OVSDB = "unix:/var/run/openvswitch/db.sock"
"""Where Open vSwitch's database is, if no configuration says."""
TRIES = 3
"""So often flows are compared: what a request changes meanwhile is no difference."""
WIDTH = 100
"""Of a line where the terminal does not say."""
ANSWER_S = 10.0
"""Longest silence of the controller, in seconds, before it counts as hung."""

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}
SHOWN = {Verdict.FAILED: "FAILED"}


@click.command()
@click.option(
    "--packet",
    is_flag=True,
    help="Send real packets, IPv4 and IPv6, through a tunnel of this host's switch, too: by a"
    " bridge that is made for it and taken away again. Gateways at work may lose a packet when the"
    " switch takes its ports in and out; nothing else of theirs is touched.",
)
@api_options
def doctor(packet: bool) -> None:
    """Check this host, and say what to do (root).

    Before and after installation, on the switch's host. Without --packet nothing is changed. It
    reads the configuration ($OFGTP_CONFIG, else /etc/ofgtp/ofgtp.toml), Open vSwitch, nftables,
    interfaces and routes, and asks the controller if it runs: is it connected, does the switch have
    the right flows? It tries whether this host's firewall lets it reach the addresses that the
    controller listens on.

    Each check is ok, a warning, FAILED, or skipped. Exit codes: 0 nothing failed; 1 something did.
    """
    found: list[Finding] = []
    for finding in _examine(packet):
        found.append(finding)
        if not output.wants_json():
            _show(finding)
    counts = {verdict: sum(f.verdict is verdict for f in found) for verdict in Verdict}
    if output.wants_json():
        output.document({"well": not counts[Verdict.FAILED], "checks": [*map(_json, found)]})
    else:
        _sum_up(counts)
    sys.exit(EXIT_FAILED if counts[Verdict.FAILED] else 0)


# --- what is checked, in order


def _examine(packet: bool) -> Iterator[Finding]:
    from ofgtp.control.host import survey

    is_root = os.geteuid() == 0
    yield of_host.root(is_root)
    missing = survey.missing_programs()
    yield of_host.programs(missing)
    config, finding = _configuration()
    yield finding
    if config is not None and is_root:
        yield of_host.store(*survey.store(config.controller.store))
    if not is_root or missing:
        why = "this needs root" if not is_root else "this needs the programs above"
        yield skipped("all else", why)
        return
    gateways = [] if config is None else config.gateways
    switches = {
        ovsdb: survey.switch(ovsdb)
        for ovsdb in dict.fromkeys(gateway.ovsdb for gateway in gateways) or [OVSDB]
    }
    for switch in switches.values():
        yield from _switch(switch)
    yield of_host.nftables(survey.nft_error(), survey.kernel())
    if config is not None:
        installed = any(switches[g.ovsdb].installed(g) for g in config.gateways)
        controller, sockets = _ask(), survey.sockets()
        firewall = _firewall(config, sockets)
        # What runs may have been started with another file.
        leased = any(report.get("lease") for report in controller.gateways.values())
        ends = leased or config.controller.ownership == "controller"
        for finding in _controller(config, controller, installed, sockets, firewall):
            yield finding.warned(ends)
        blocked = of_firewall.blocked(firewall)
        for gateway in config.gateways:
            try:
                at = switches[gateway.ovsdb]
                for finding in _gateway(gateway, at, controller, sockets, blocked):
                    yield finding.warned(ends).of(gateway.name)
            except GatewayNotReady as error:
                yield failed("reading", str(error)).of(gateway.name)
    if packet:
        for switch in switches.values():
            yield _packet(switch)


def _configuration() -> tuple[Config | None, Finding]:
    from ofgtp import config

    path = config.default_path()
    try:
        found = config.load(path)
    except ConfigError as error:
        return None, of_host.configuration(str(path), str(error), [], Path(path).exists())
    names = [gateway.name for gateway in found.gateways]
    return found, of_host.configuration(str(path), None, names, True)


def _switch(switch: Switch) -> Iterator[Finding]:
    from ofgtp.control.host import proof

    yield of_switch.ovsdb(switch)
    if switch.ovsdb_error is not None:
        yield skipped("vswitchd", "its database does not answer")
        return
    yield of_switch.vswitchd(switch)
    if switch.daemon_error is None:
        yield of_switch.version(switch)
        yield of_switch.datapath(switch)
    left = of_switch.leftover(switch, proof.BRIDGE)
    if left is not None:
        yield left


def _ask() -> Controller:
    """What the controller says of itself, if it runs."""
    import httpx

    from ofgtp.cli.api import Api

    url = "the API"
    try:
        with Api(seconds=ANSWER_S) as api:
            url = api.url
            health = api.health()
            gateways = {gateway["name"]: gateway for gateway in api.items("/v1/gateways")}
            peers = [*api.items("/v1/peers")]
            nodes = {node["gateway"]: node for node in api.items("/v1/pfcp")}
            return Controller(url, health=health, gateways=gateways, peers=peers, nodes=nodes)
    except CliError as error:
        if isinstance(error.__cause__, httpx.TimeoutException):
            return Controller(url, f"it does not answer at {url} within {ANSWER_S:g} s", hangs=True)
        return Controller(url, str(error), refuses=error.code != EXIT_UNREACHABLE)


def _firewall(config: Config, sockets: list[Socket]) -> list[Finding]:
    from ofgtp.control.host import survey

    tried = [survey.reach(what, host, port, sockets) for what, _, host, port in _listens(config)]
    reached = [each for each in tried if each is not None]
    return of_firewall.firewall(survey.chains(), survey.legacy_tables(), config.gateways, reached)


def _listens(config: Config) -> Iterator[tuple[str, str, str, int]]:
    """Where the controller listens: for what, by which key, address and port."""
    yield "REST", "listen", config.rest.host, config.rest.port
    for target in dict.fromkeys(gateway.openflow for gateway in config.gateways):
        host, port = target.removeprefix("tcp:").rsplit(":", 1)
        yield "OpenFlow", "openflow", host, int(port)


def _controller(
    config: Config,
    controller: Controller,
    installed: bool,
    sockets: list[Socket],
    firewall: list[Finding],
) -> Iterator[Finding]:
    from ofgtp.control.host import survey

    blocked = of_firewall.blocked(firewall)
    yield of_controller.controller(controller, installed, blocked)
    for _, key, host, port in _listens(config):
        yield of_host.listens(key, key, host, port, sockets, controller, blocked)
    yield of_host.gtp_port(sockets, survey.kernel_gtp(), config.gateways)
    yield from firewall


def _gateway(
    gateway: Gateway,
    switch: Switch,
    controller: Controller,
    sockets: list[Socket],
    blocked: Finding | None,
) -> Iterator[Finding]:
    from ofgtp.southbound.ovstools import Tools

    installed = switch.installed(gateway)
    yield from _host(gateway, switch, installed, sockets)
    if gateway.pfcp is not None:
        yield from _pfcp(gateway, gateway.pfcp, controller, sockets)
    if switch.ovsdb_error is not None or switch.daemon_error is not None:
        yield skipped("rules", "Open vSwitch does not run")
        yield skipped("flows", "Open vSwitch does not run")
        return
    yield of_gateway.bridge(gateway, switch)
    if not installed:
        yield skipped("rules", "nothing is installed yet")
        yield skipped("flows", "nothing is installed yet")
        return
    sessions = Tools(gateway.ovsdb).forwards(gateway)
    controlled = gateway.name in controller.gateways
    yield _rules(gateway, switch, controlled, needed=controlled or sessions is not None)
    if controller.error is not None:
        if controller.hangs or blocked is not None:
            yield skipped("forwarding", "the controller is there, and does not answer")
        else:
            yield of_controller.forwarding(sessions)
        yield skipped("flows", "only the controller knows what they should be")
        return
    yield of_controller.connected(gateway, controller, blocked)
    report = controller.gateways.get(gateway.name)
    if report is None:
        return
    yield of_controller.next_hop(gateway, report)
    if of_ipv6 := of_controller.next_hop6(gateway, report):
        yield of_ipv6
    yield of_controller.peers(gateway, report, controller.peers)
    yield of_controller.lease(report)
    yield of_controller.losses(gateway, report)
    yield _flows(gateway)


def _host(
    gateway: Gateway, switch: Switch, installed: bool, sockets: list[Socket]
) -> Iterator[Finding]:
    from ofgtp.control.host import survey
    from ofgtp.core.rules.terms import longest_headers
    from ofgtp.southbound import veths

    access = survey.interface(gateway.access_port)
    core = None if gateway.host_core else survey.interface(gateway.core_port)
    ports = [access] if core is None else [access, core]
    for role, port in zip(("access port", "core port"), ports, strict=False):
        yield of_gateway.port(role, port, installed, completes=bool(gateway.veths))
    if all(port.link != "missing" for port in ports):
        refusal = veths.refusal(gateway)
        if refusal is None and gateway.veths and (said := survey.nft_error(afxdp=True)):
            refusal = f"nftables cannot join the ports to veths: {said}"
        yield of_gateway.reading(gateway, switch, refusal)
    there = [port for port in ports if port.link != "missing"]
    if len(there) == len(ports):
        ipv6, tunnel = bool(gateway.ue_pools6), longest_headers(gateway)
        yield of_gateway.mtu(access, core, ipv6=ipv6, tunnel=tunnel)
    yield of_gateway.offloads(there, installed)
    yield of_gateway.addresses(gateway, survey.addresses(), installed)
    routes = survey.routes()
    yield of_gateway.routes(gateway, [*routes, *survey.routes6()])
    if gateway.host_core:
        device = next((route.device for route in routes if not route.to.prefixlen), None)
        yield of_gateway.routing(gateway, device, device is not None and survey.forwards(device))
        if (routing6 := of_gateway.routing6(gateway, *survey.way_out6())) is not None:
            yield routing6
        yield of_gateway.host_services(gateway, sockets)


def _pfcp(
    gateway: Gateway, pfcp: Pfcp, controller: Controller, sockets: list[Socket]
) -> Iterator[Finding]:
    from ofgtp.control.host import survey

    here = [
        each.ip
        for of_link in survey.addresses().values()
        for each in of_link
        if isinstance(each, IPv4Interface)
    ]
    node = controller.nodes.get(gateway.name)
    yield of_pfcp.address(pfcp, here, sockets, controller, node)
    if controller.error is None:
        yield of_pfcp.control_planes(node)
        yield of_pfcp.network_instances(pfcp, node)


def _rules(gateway: Gateway, switch: Switch, controlled: bool, needed: bool) -> Finding:
    from ofgtp.southbound import netfilter

    if not needed:
        return skipped("rules", "nothing is forwarded, so none are needed")
    version = faults.parse(switch.version)
    exact = netfilter.check(gateway, version)
    return of_gateway.rules(exact or netfilter.present(gateway, version), exact, controlled)


def _flows(gateway: Gateway) -> Finding:
    """Compare until nothing differs; what differs each time, does."""
    from ofgtp.cli.api import Api
    from ofgtp.southbound.ovstools import Tools

    looks: list[tuple[list[str], list[str]]] = []
    try:
        with Api() as api:
            while len(looks) < TRIES and (not looks or any(looks[-1])):
                wanted = api.text("/v1/flows", gateway=gateway.name).splitlines()
                looks.append(Tools(gateway.ovsdb).difference(gateway.bridge, wanted))
    except OfgtpError as error:
        return skipped("flows", str(error))
    missing = set.intersection(*(set(lacks) for lacks, _ in looks))
    surplus = set.intersection(*(set(has) for _, has in looks))
    return of_controller.flows(gateway.bridge, sorted(missing), sorted(surplus))


def _packet(switch: Switch) -> Finding:
    from ofgtp.control.host.proof import Proof

    if switch.ovsdb_error is not None or switch.daemon_error is not None:
        return skipped("packet", "Open vSwitch does not run")
    try:
        with Proof(switch.ovsdb) as proof:
            return of_gateway.packet(proof.run())
    except OfgtpError as error:
        return failed(
            "packet", f"it could not be tried: {error}", "ofgtp doctor --packet   # again"
        )


# --- what is printed


def _show(finding: Finding) -> None:
    word = SHOWN.get(finding.verdict, str(finding.verdict))
    style = STYLES.get(finding.verdict)
    bold = finding.verdict is Verdict.FAILED
    name = f"{finding.gateway}: {finding.check}" if finding.gateway else finding.check
    head = f"{click.style(f'{word:<7}', fg=style, bold=bold)}  {name:<20} "
    width = max(min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH), 60)
    lines = textwrap.wrap(finding.text, width - 30, break_long_words=False) or [""]
    output.say(head + lines[0])
    for line in lines[1:]:
        output.say(" " * 30 + line)
    for line in finding.remedy:
        output.say(f"{'':<11}do:  {line}")


def _sum_up(counts: dict[Verdict, int]) -> None:
    parts = [f"{count} {SHOWN.get(verdict, verdict)}" for verdict, count in counts.items() if count]
    output.say()
    output.say(", ".join(parts))


def _json(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "gateway": finding.gateway,
        "verdict": str(finding.verdict),
        "text": finding.text,
        "remedy": list(finding.remedy),
    }
