"""`[[gateway]]`, read: one gateway, of whose keys the larger have modules of their own."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address
from typing import Final, Literal, get_args

from ofgtp.config.access_side import access_allow_of, access_ip6_of, access_routes_of
from ofgtp.config.core_side import next_hop6_of, next_hop_of
from ofgtp.config.echo import N3_REQUESTS_MAX, T3_RESPONSE_SECONDS_MAX, echo_seconds_of
from ofgtp.config.pfcp import pfcp_of
from ofgtp.config.pools import ue_pools_of
from ofgtp.config.resolvers import dns6_of
from ofgtp.config.table import Table
from ofgtp.config.values import Controller
from ofgtp.core.model import GTPU_PORT, Gateway, PortType

UeToUe = Literal["deny", "route"]
HostServices = Literal["deny", "allow"]
OnPathDown = Literal["keep", "remove"]
Ports = Literal["af_packet", "afxdp"]

_TEST_NO_PMD: Final = "OFGTP_TEST_NO_PMD"
"""Environment variable that has AF_XDP ports read in the switch's main thread. For tests only: a
thread for them polls all the time, and takes a core from all others."""

_GATEWAY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def gateway_of(table: Table, controller: Controller) -> Gateway:
    """The section, and what `[controller]` says of all gateways.

    Raises:
        ConfigError: something in it is wrong.
    """
    name = table.get("name", str)
    if not _GATEWAY.fullmatch(name):
        raise table.error("name", f"{name!r} is no gateway name: 1 to 64 of A-Z a-z 0-9 . _ -")
    ovsdb = table.get("ovsdb", str, "unix:/var/run/openvswitch/db.sock")
    if not re.fullmatch(r"unix:/[^\0]+", ovsdb):
        raise table.error("ovsdb", f"{ovsdb!r} is not unix: and an absolute path")
    access_ip = table.interface("access_ip")
    core_ip = table.interface("core_ip")
    if core_ip.network.overlaps(access_ip.network):
        reason = f"{core_ip.network} overlaps the access subnet {access_ip.network}"
        raise table.error("core_ip", reason)
    core_port = table.interface_name("core_port")
    core_ip6 = table.interface6("core_ip6") if "core_ip6" in table.values else None
    access_ip6 = access_ip6_of(table, core_ip6)
    routes = access_routes_of(table, (access_ip, access_ip6), (core_ip, core_ip6))
    allow, allow6 = access_allow_of(table, access_ip6)
    pools, pools6 = ue_pools_of(table, access_ip, core_ip, routes, core_ip6, access_ip6)
    t3_response = table.whole("t3_response_seconds", 3, 1, T3_RESPONSE_SECONDS_MAX)
    n3_requests = table.whole("n3_requests", 3, 1, N3_REQUESTS_MAX)
    gateway = Gateway(
        name=name,
        ovsdb=ovsdb,
        openflow=_openflow(table),
        bridge=table.interface_name("bridge"),
        access_port=table.interface_name("access_port"),
        access_ip=access_ip,
        core_port=core_port,
        core_ip=core_ip,
        next_hop=next_hop_of(table, core_port, core_ip),
        ue_pools=pools,
        ue_pools6=pools6,
        core_ip6=core_ip6,
        next_hop6=next_hop6_of(table, core_port, core_ip6),
        router_advertisement=table.get("router_advertisement", bool, True),
        dns6=dns6_of(table, core_ip6),
        access_routes=routes,
        access_allow=allow,
        access_ip6=access_ip6,
        access_allow6=allow6,
        ue_to_ue=table.choice("ue_to_ue", get_args(UeToUe)),
        decrement_ttl=table.get("decrement_ttl", bool, True),
        dscp=_dscp(table),
        source_port=_source_port(table),
        masquerade=table.get("masquerade", bool, False),
        masquerade6=table.get("masquerade6", bool, False),
        host_services=table.choice("host_services", get_args(HostServices)),
        echo_seconds=echo_seconds_of(table, n3_requests * t3_response),
        t3_response_seconds=t3_response,
        n3_requests=n3_requests,
        on_path_down=table.choice("on_path_down", get_args(OnPathDown)),
        pfcp=pfcp_of(table) if "pfcp" in table.values else None,
        port_type=_port_type(table),
        pmd_cores=controller.pmd_cores,
        leased=controller.ownership == "controller",
    )
    for key, asked in (("masquerade", gateway.masquerade), ("masquerade6", gateway.masquerade6)):
        if asked and not gateway.host_core:
            raise table.error(key, 'is possible only with core_port = "host"')
    if gateway.masquerade6 and core_ip6 is None:
        raise table.error("masquerade6", "needs core_ip6")
    if gateway.host_services == "allow" and not gateway.host_core:
        reason = 'is possible only with core_port = "host": with a port no UE reaches the host'
        raise table.error("host_services", reason)
    return gateway


def _openflow(table: Table) -> str:
    text = table.get("openflow", str, "tcp:127.0.0.1:6653")
    found = re.fullmatch(r"tcp:([0-9.]+):([0-9]{1,5})", text)
    try:
        if not found or not 1 <= int(found[2]) <= 65535:
            raise ValueError(text)
        address = IPv4Address(found[1])
    except ValueError as error:
        reason = f"{text!r} is not tcp:, an IPv4 address and a port, like tcp:127.0.0.1:6653"
        raise table.error("openflow", reason) from error
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        raise table.error("openflow", f"{address} is no address a switch can connect to")
    return text


def _port_type(table: Table) -> PortType:
    options: tuple[Ports, ...] = get_args(Ports)
    ports = table.choice("ports", options)
    return "afxdp-nonpmd" if ports == "afxdp" and os.environ.get(_TEST_NO_PMD) else ports


def _dscp(table: Table) -> int | None:
    value = table.values.get("dscp", "inherit")
    if value == "inherit":
        return None
    if type(value) is not int or not 0 <= value <= 63:
        raise table.error("dscp", f'must be "inherit" or a number from 0 to 63, not {value!r}')
    return value


def _source_port(table: Table) -> int | None:
    value = table.values.get("source_port", "hashed")
    if value == "hashed":
        return None
    if type(value) is not int or value != GTPU_PORT:
        raise table.error("source_port", f'must be "hashed" or {GTPU_PORT}, not {value!r}')
    return value
