"""Reads the facts that `ofgtp doctor` judges. Nothing is changed."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from pathlib import Path
from typing import Any

from ofgtp.core.doctor.facts import Chain, Interface, Jumped, Reach, Route, Socket, Switch
from ofgtp.core.doctor.of_host import PACKAGES
from ofgtp.core.errors import GatewayNotReady
from ofgtp.southbound import hostnet, netfilter
from ofgtp.southbound.command import attempt, run
from ofgtp.southbound.ovsdb import PMD_MASK, cores_of
from ofgtp.southbound.ovstools import Tools

SBIN = ("/usr/sbin", "/sbin")
"""Where programs are that only root has on its PATH."""

REACH_S = 2.0
"""Longest time for this host to reach itself, in seconds."""

STACK_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
"""Those of the host's network stack (but of the device: ingress, egress)."""

_LEADS = re.compile(r"(?P<asks>.*?)\b(?:jump|goto) (?P<to>\S+)")
_HOOK = re.compile(
    r"\bhook (?P<hook>\w+)(?: devices? =? ?(?P<devices>\{[^}]*\}|\S+))?[^;]*;"
    r"(?: policy (?P<policy>\w+))?"
)
_PROCESS = re.compile(r'\(\("([^"]*)",pid=(\d+)')


def missing_programs() -> list[str]:
    """Those of ofgtp's programs that are not installed."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
    return [name for name in PACKAGES if shutil.which(name, path=path) is None]


def kernel() -> str:
    """The release of Linux."""
    return platform.release()


def store(path: Path) -> tuple[str, int | None, str | None]:
    """The directory of a store, its free bytes, and why it cannot be written."""
    directory = path.parent
    there = next(at for at in (directory, *directory.parents) if at.exists())
    if not there.is_dir():
        return str(directory), None, f"{there} is no directory"
    if not os.access(there, os.W_OK | os.X_OK):
        return str(directory), None, f"{there} cannot be written"
    return str(directory), shutil.disk_usage(there).free, None


def nft_error(*, afxdp: bool = False) -> str | None:
    """What nft and the kernel say to all that ofgtp needs of them, tried without doing it; or to
    what it needs of them to read ports by AF_XDP."""
    trial = netfilter.TRIAL_AFXDP if afxdp else netfilter.TRIAL
    try:
        code, _, error = attempt(["nft", "--check", "-f", "-"], trial)
    except GatewayNotReady as failure:
        return str(failure)
    lines = [line for line in error.splitlines() if "Error" in line]
    return None if code == 0 else (lines or [f"exit code {code}"])[0].strip()


def sockets() -> list[Socket]:
    """The TCP sockets that listen and the UDP sockets that are bound."""
    return read_sockets(run(["ss", "-Hlntup"]))


def read_sockets(text: str) -> list[Socket]:
    """Those of ss's listing."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=6)
        if len(words) < 6:
            continue
        address, _, port = words[4].rpartition(":")
        address = address.partition("%")[0].strip("[]")
        process = _PROCESS.search(words[6]) if len(words) > 6 else None
        found.append(
            Socket(
                words[0],
                None if address in ("*", "") else address,
                int(port),
                process[1] if process else "another program",
                int(process[2]) if process else None,
                words[0] == "tcp" and int(words[2]) > int(words[3]),
            )
        )
    return found


def kernel_gtp() -> list[str]:
    """Devices of the kernel's own GTP."""
    code, out, _ = attempt(["ip", "-json", "link", "show", "type", "gtp"])
    return [] if code else [each["ifname"] for each in json.loads(out or "[]") if each]


def reach(what: str, host: str, port: int, sockets: Iterable[Socket]) -> Reach | None:
    """Connect to an address that the controller listens on, as REST's users or the switch would.

    If nobody listens there, this listens meanwhile; None if it cannot, or if it would not know
    why nobody answers.
    """
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"{host}:{port}"
    with ExitStack() as held:
        holder = next((each for each in sockets if each.holds(host, port)), None)
        if holder is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                held.enter_context(socket.create_server((host, port), family=family))
            except OSError:
                return None
        try:
            socket.create_connection((target, port), timeout=REACH_S).close()
        except TimeoutError:
            if holder is not None and holder.full:
                return None
            return Reach(what, address, "dropped")
        except OSError:
            return Reach(what, address, "refused")
    return Reach(what, address, "open")


def chains() -> list[Chain]:
    """The chains of nftables that packets pass by a hook; those of the host's stack with rules."""
    code, out, _ = attempt(["nft", "list", "chains"])
    found = [] if code else read_chains(out)
    return [_with_rules(chain) if chain.hook in STACK_HOOKS else chain for chain in found]


def _with_rules(chain: Chain) -> Chain:
    rules = _rules(chain, chain.name)
    jumped: list[Jumped] = []
    led = [("", rule) for rule in rules]
    seen = {chain.name}
    while led:
        asked, rule = led.pop(0)
        leads = _LEADS.fullmatch(rule)
        if leads is None or leads["to"] in seen:
            continue
        seen.add(leads["to"])
        on_the_way = f"{asked} {leads['asks']}".strip()
        there = [Jumped(leads["to"], on_the_way, each) for each in _rules(chain, leads["to"])]
        jumped += there
        led += [(on_the_way, each.rule) for each in there]
    return replace(chain, rules=rules, jumped=jumped)


def _rules(chain: Chain, name: str) -> list[str]:
    """Those of the chain of that name in the same table."""
    words = [chain.family, chain.table, name]
    code, out, _ = attempt(["nft", "--stateless", "list", "chain", *words])
    return [] if code else read_rules(out)


def read_rules(text: str) -> list[str]:
    """The rules of nft's listing of a chain, without the line of its hook."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("\t\t")]
    return [line for line in lines if not line.startswith("type ")]


def read_chains(text: str) -> list[Chain]:
    """Those of nft's listing: its JSON does not tell devices."""
    found = []
    family = table = name = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            family, table = words[1:3]
        elif words[:1] == ["chain"]:
            name = words[1]
        elif hook := _HOOK.search(line):
            devices = tuple(re.findall(r'[^\s",{}]+', hook["devices"] or ""))
            found.append(Chain(family, table, name, hook["hook"], hook["policy"] or "", devices))
    return found


def legacy_tables() -> list[str]:
    """Tables of iptables' old kernel interface, which nft does not show."""
    with suppress(OSError):
        return Path("/proc/net/ip_tables_names").read_text().split()
    return []


def switch(ovsdb: str) -> Switch:
    """What the switch behind an OVSDB socket says of itself."""
    tools = Tools(ovsdb)
    if not tools.socket.exists():
        gone = f"{tools.socket} does not exist"
        return Switch(ovsdb, ovsdb_error=gone, daemon_error="its database does not answer")
    try:
        columns = "ovs_version", "datapath_types", "iface_types", "other_config"
        root = _row(tools, "Open_vSwitch", *columns)
        bridges = _rows(tools, "Bridge", "name", "external_ids", "ports")
        ports = {uuid: name for name, uuid in _rows(tools, "Port", "name", "_uuid")}
    except GatewayNotReady as error:
        return Switch(ovsdb, ovsdb_error=str(error), daemon_error="its database does not answer")
    version, datapaths, kinds, config = root
    mask = dict(config[1]).get(PMD_MASK)
    daemon_error = None
    try:
        version = _version(tools.appctl("version")) or version
    except GatewayNotReady as error:
        daemon_error = str(error)
    return Switch(
        ovsdb,
        daemon_error=daemon_error,
        version=version if isinstance(version, str) else None,
        datapath_types=_set(datapaths),
        interface_types=_set(kinds),
        bridges={name: dict(ids[1]).get("ofgtp") for name, ids, _ in bridges},
        ports={
            ports[uuid]: name
            for name, _, members in bridges
            for uuid in _set(members)
            if uuid in ports
        },
        pmd_cores=None if mask is None else cores_of(mask),
    )


def interface(name: str) -> Interface:
    """An interface of the host, as a gateway's port."""
    link = hostnet.link_state(name)
    if link == "missing":
        return Interface(name, link)
    refusal = hostnet.port_refusal(name)
    (shown,) = (e for e in json.loads(run(["ip", "-json", "-d", "link", "show", "dev", name])) if e)
    kind = shown.get("linkinfo", {}).get("info_kind")
    _, filters, _ = attempt(["tc", "filter", "show", "dev", name, "egress"])
    return Interface(
        name,
        link,
        shown["mtu"],
        kind,
        refusal,
        hostnet.offloads(name),
        xdp="xdp" in shown,
        filters=bool(filters.strip()),
    )


def addresses() -> dict[str, list[IPv4Interface | IPv6Interface]]:
    """The host's addresses by interface."""
    return {
        link["ifname"]: [
            ip_interface(f"{entry['local']}/{entry['prefixlen']}")
            for entry in link["addr_info"]
            if entry["family"] in ("inet", "inet6")
        ]
        for link in json.loads(run(["ip", "-json", "addr", "show"]) or "[]")
        if link
    }


def routes() -> list[Route]:
    """The host's routes in all tables but `local`."""
    found = []
    for entry in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        if entry.get("table") == "local" or entry.get("type", "unicast") != "unicast":
            continue
        to = "0.0.0.0/0" if entry["dst"] == "default" else entry["dst"]
        ours = str(entry.get("protocol")) == hostnet.ROUTE_PROTOCOL
        found.append(Route(IPv4Network(to), entry.get("dev", "?"), ours))
    return found


def routes6() -> list[Route]:
    """The same of IPv6; none where the kernel has it not."""
    code, out, _ = attempt(["ip", "-json", "-6", "route", "show", "table", "all"])
    found = []
    for entry in json.loads((not code and out) or "[]"):
        if entry.get("table") == "local" or entry.get("type", "unicast") != "unicast":
            continue
        to = "::/0" if entry["dst"] == "default" else entry["dst"]
        ours = str(entry.get("protocol")) == hostnet.ROUTE_PROTOCOL
        found.append(Route(IPv6Network(to), entry.get("dev", "?"), ours))
    return found


def forwards(device: str) -> bool:
    """Whether the host routes what comes in by a device."""
    with suppress(OSError):
        setting = Path("/proc/sys/net/ipv4/conf", device, "forwarding")
        return setting.read_text().strip() == "1"
    return False


def way_out6() -> tuple[str | None, list[str]]:
    """The device of the host's IPv6 default route, and the commands that have the host route what
    comes in by it; none if it does."""
    code, out, _ = attempt(["ip", "-json", "-6", "route", "show", "default"])
    ways = [] if code else [str(way["dev"]) for way in json.loads(out or "[]") if "dev" in way]
    device = ways[0] if ways else None
    if device is None or hostnet.forwards6(device):
        return device, []
    return device, hostnet.forwarding6(device)


def _row(tools: Tools, table: str, *columns: str) -> Sequence[Any]:
    rows = _rows(tools, table, *columns)
    if not rows:
        raise GatewayNotReady("the database is not initialised (ovs-vsctl --no-wait init)")
    return rows[0]


def _rows(tools: Tools, table: str, *columns: str) -> list[Sequence[Any]]:
    shown = tools.vsctl("--format=json", f"--columns={','.join(columns)}", "list", table)
    listed: Mapping[str, Any] = json.loads(shown) if shown else {"headings": [], "data": []}
    places = [listed["headings"].index(column) for column in columns if listed["data"]]
    return [[_plain(row[place]) for place in places] for row in listed["data"]]


def _plain(value: Any) -> Any:
    """A UUID as text; all else as RFC 7047 (5.1) writes it."""
    return value[1] if isinstance(value, list) and value[0] == "uuid" else value


def _set(value: Any) -> list[str]:
    """An OVSDB set as a list: one element stands by itself."""
    if isinstance(value, list) and value[:1] == ["set"]:
        return [str(_plain(each)) for each in value[1]]
    return [str(value)]


def _version(text: str) -> str | None:
    found = re.search(r"Open vSwitch\) (\S+)", text)
    return found[1] if found else None
