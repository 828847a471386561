"""Checks of the host, whatever the gateways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ofgtp.core.doctor.facts import Chain, Controller, Socket
from ofgtp.core.doctor.finding import RESTART, Finding, failed, ok, some, warning
from ofgtp.core.model import GTPU_PORT, Gateway

PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "ethtool": "ethtool",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-ofctl": "openvswitch-switch",
    "ovs-appctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
}
"""The programs that ofgtp and its doctor run -> Debian's packages."""


def root(is_root: bool) -> Finding:
    if is_root:
        return ok("root", "you are root")
    return failed(
        "root", "you are not root, so most of the host cannot be read", "sudo ofgtp doctor"
    )


def programs(missing: Sequence[str]) -> Finding:
    if not missing:
        return ok("programs", "all that ofgtp runs is installed")
    packages = sorted({PACKAGES[name] for name in missing})
    return failed(
        "programs",
        f"not installed: {', '.join(missing)}",
        f"apt-get install {' '.join(packages)}",
    )


def configuration(path: str, error: str | None, gateways: Sequence[str], exists: bool) -> Finding:
    check = "configuration"
    if error is None:
        return ok(check, f"{path}: {some('gateway', gateways)}")
    if not exists:
        make = f"install -D -m 644 etc/ofgtp.toml {path}   # then edit it"
        return failed(check, f"{path} is not there", make, "ofgtp check-config")
    return failed(check, error, f"edit {path}", "ofgtp check-config")


def store(directory: str, free: int | None, error: str | None) -> Finding:
    """`free` is in bytes."""
    if error is not None:
        return failed("store", error, f"mkdir -p {directory}", f"ls -ld {directory}")
    if free is not None and free < 100 << 20:
        text = f"{directory}: only {free >> 20} MB are free"
        return warning("store", text, f"df -h {directory}")
    return ok("store", f"{directory} can be written")


def nftables(error: str | None, kernel: str) -> Finding:
    """`error` is nft's own, to a set of rules with all that ofgtp needs."""
    if error is None:
        return ok("nftables", f"Linux {kernel} has the hooks (ingress, egress)")
    return failed(
        "nftables",
        f"Linux {kernel} does not take the rules that ofgtp needs: {error}",
        "uname -r; nft --version   # Linux 5.16 or later, nftables 1.0 or later",
    )


def listens(
    what: str, key: str, host: str, port: int, sockets: Iterable[Socket], controller: Controller
) -> Finding:
    """An address that the controller listens on is free, or its own."""
    holders = [
        s
        for s in sockets
        if s.protocol == "tcp" and s.port == port and s.address in (None, host, "0.0.0.0", "::")
    ]
    where = f"{host}:{port}"
    if not holders:
        if not controller.runs:
            return ok(what, f"{where} is free")
        text = f"nobody listens at {where}, though the controller runs: its file is another one"
        return failed(what, text, RESTART)
    holder = _holder(holders[0])
    if controller.runs:
        return ok(what, f"{where} is the controller's ({holder})")
    return failed(
        what,
        f"{where} is taken by {holder}, and the controller does not answer",
        f"ss -ltnp 'sport = :{port}'",
        f"stop that program (or an ofgtp that hangs: {RESTART}), or change `{key}`",
    )


def gtp_port(
    sockets: Iterable[Socket], devices: Sequence[str], gateways: Sequence[Gateway]
) -> Finding:
    """Others that would speak GTP-U on this host."""
    check, ours = "gtp-u", {str(gateway.access_ip.ip) for gateway in gateways}
    taken = [s for s in sockets if s.protocol == "udp" and s.port == GTPU_PORT]
    near = [s for s in taken if s.address is None or s.address in ours | {"0.0.0.0", "::"}]
    if devices:
        text = f"the kernel's own GTP has {some('device', devices)}: they get no packet of ofgtp's"
        return warning(check, text, *(f"ip link del {device}" for device in devices))
    if near:
        text = (
            f"UDP port {GTPU_PORT} is held by {_holder(near[0])}, which gets no packet of ofgtp's"
        )
        return warning(check, text, f"ss -lunp 'sport = :{GTPU_PORT}'   # stop it")
    return ok(check, f"nobody else speaks GTP-U here (UDP {GTPU_PORT})")


def firewall(
    chains: Iterable[Chain], legacy: Sequence[str], gateways: Sequence[Gateway]
) -> Finding:
    """Rules of others that would stop users' packets."""
    check = "firewall"
    ports = {gateway.access_port for gateway in gateways}
    ports |= {gateway.core_device for gateway in gateways}
    routed = [gateway for gateway in gateways if gateway.host_core]
    others = [chain for chain in chains if not chain.table.startswith("ofgtp_")]
    for chain in others:
        if chain.family == "netdev" and (shared := ports.intersection(chain.devices)):
            text = f"chain {_name(chain)} is on {', '.join(sorted(shared))}, which is ofgtp's"
            return warning(check, text, f"nft list chain {_name(chain)}")
    for chain in others:
        if chain.hook == "forward" and chain.policy == "drop" and routed:
            accept = [
                f"nft insert rule {_name(chain)} {way} {gateway.core_device} accept"
                for gateway in routed
                for way in ("iifname", "oifname")
            ]
            text = f"chain {_name(chain)} drops by default what this host routes: UEs' packets, too"
            return warning(check, text, *accept)
    if legacy and routed:
        text = f"old iptables have tables ({', '.join(legacy)}), which cannot be judged here"
        return warning(check, text, "iptables-legacy -S FORWARD   # must let the UE pools pass")
    known = {"firewalld": "firewalld", "ufw-": "ufw"}
    for chain in others:
        for start, name in known.items():
            if chain.table.startswith(start) or chain.name.startswith(start):
                return ok(check, f"{name} is active, and not in the way of these gateways")
    return ok(check, "no other rules in the way")


def _holder(socket: Socket) -> str:
    return f"{socket.process} (pid {socket.pid})" if socket.pid else socket.process


def _name(chain: Chain) -> str:
    return f"{chain.family} {chain.table} {chain.name}"
