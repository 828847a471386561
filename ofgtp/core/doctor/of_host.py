"""Checks of the host, whatever the gateways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ofgtp.core.doctor.facts import Controller, Socket
from ofgtp.core.doctor.finding import RESTART, Finding, failed, ok, some, warning
from ofgtp.core.model import GTPU_PORT, Gateway

PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "tc": "iproute2",
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
    what: str,
    key: str,
    host: str,
    port: int,
    sockets: Iterable[Socket],
    controller: Controller,
    blocked: Finding | None = None,
) -> Finding:
    """An address that the controller listens on is free, or its own.

    `blocked` is the finding that says that the host's rules keep everybody away from it.
    """
    holders = [each for each in sockets if each.holds(host, port)]
    where = f"{host}:{port}"
    if not holders:
        if not controller.runs:
            return ok(what, f"{where} is free")
        text = f"nobody listens at {where}, though the controller runs: its file is another one"
        return failed(what, text, RESTART)
    holder = _holder(holders[0])
    if controller.runs:
        return ok(what, f"{where} is the controller's ({holder})")
    if blocked is not None:
        text = f"{where} is held by {holder}, which is not reached: see `firewall`"
        return failed(what, text, *blocked.remedy)
    return failed(
        what,
        f"{where} is taken by {holder}, and the controller does not answer",
        f"ss -ltnp 'sport = :{port}'",
        f"stop that program, or change `{key}`",
        f"{RESTART}   # if it is an ofgtp that hangs",
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


def _holder(socket: Socket) -> str:
    return f"{socket.process} (pid {socket.pid})" if socket.pid else socket.process
