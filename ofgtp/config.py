"""ofgtp.toml: read, checked and frozen before anything is touched.

Whatever is wrong in the file is a `ConfigError` that names the line, the key and the reason. What
is missing at run time (a port, OVSDB) is no matter of this module.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from ofgtp.core.errors import ConfigError
from ofgtp.core.filters import Network, overlap, within
from ofgtp.core.model import GTPU_PORT, IFNAMSIZ, AccessRoute, Address, Gateway, Pfcp, PortType

Ownership = Literal["controller", "switch"]
Durability = Literal["normal", "full"]
UeToUe = Literal["deny", "route"]
HostServices = Literal["deny", "allow"]
OnPathDown = Literal["keep", "remove"]
OnPeerLost = Literal["keep", "remove"]
Ports = Literal["af_packet", "afxdp"]

LEASE_MIN: Final = 5
"""Shortest lease, in seconds: its renewal must survive a slow switch."""
LEASE_MAX: Final = 65535
"""Longest lease, in seconds: an OpenFlow hard timeout has 16 bits."""

ROUND_MIN: Final = 10
"""100,000 sessions in so many seconds cost the switch hardly a packet."""
ROUND_MAX: Final = 3600

ECHO_SECONDS_MIN: Final = 60
"""Echo Requests to one peer are no closer than this, in seconds (TS 29.281, 7.2.1)."""
ECHO_SECONDS_MAX: Final = 86_400
T3_RESPONSE_SECONDS_MAX: Final = 60
N3_REQUESTS_MAX: Final = 20
_TEST_ECHO_SECONDS_MIN: Final = "OFGTP_TEST_ECHO_SECONDS_MIN"
"""Environment variable that lowers ECHO_SECONDS_MIN. For tests only, which cannot wait minutes for
a path to go down: peers need not stand more requests than the standard allows."""

_TEST_NO_PMD: Final = "OFGTP_TEST_NO_PMD"
"""Environment variable that has AF_XDP ports read in the switch's main thread. For tests only: a
thread for them polls all the time, and takes a core from all others."""

PMD_CORES_MAX: Final = 16
CORE_MAX: Final = 1023

DNS6_MAX: Final = 8
"""Resolvers that UEs are told; hosts need take no more than three (RFC 8106, 5.3.1)."""

HEARTBEAT_SECONDS_MIN: Final = 5
HEARTBEAT_SECONDS_MAX: Final = 3_600

_NO_UNICAST: Final = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}

_NO_UNICAST6: Final = {
    IPv6Network("::/96"): "unspecified, loopback, IPv4-compatible",
    IPv6Network("::ffff:0:0/96"): "IPv4-mapped",
    IPv6Network("100::/64"): "discard-only",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("ff00::/8"): "multicast",
}

_LIKE_MPLS: Final = (IPv4Network("136.71.0.0/16"), IPv4Network("136.72.0.0/16"))
"""Source addresses whose first bytes are the Ethernet types of MPLS, 0x8847 and 0x8848. The switch
reads some inner packets as frames, with the source address where the type stands, and must drop
these two types."""

_MISREAD6: Final = (IPv6Network("4000::/4"), IPv6Network("6000::/4"))
"""IPv6 source addresses whose first digit stands where the switch looks for the IP version of an
inner packet. Nobody has been given any of them."""

_INTERFACE: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._+@#~-]{{0,{IFNAMSIZ - 1}}}")
_GATEWAY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_FQDN: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_INSTANCE: Final = re.compile(r"[!-~]{1,100}")
_TOKEN: Final = re.compile(r"[!-~]+")
_TYPES: Final = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=str)
_At = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Controller:
    """`[controller]`: who owns the tunnels, and where sessions are kept."""

    ownership: Ownership = "controller"
    lease_seconds: int = 10
    store: Path = Path("/var/lib/ofgtp/sessions.db")
    durability: Durability = "normal"
    usage_round_seconds: int = 60
    pmd_cores: tuple[int, ...] = ()
    """Cores of the host on which Open vSwitch reads AF_XDP ports; none: it takes one itself."""


@dataclass(frozen=True, slots=True)
class Rest:
    """`[rest]`: where the API listens and whom it answers. `host` is an address or localhost."""

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    hosts: tuple[str, ...] = ()
    """Host header names (no port, lower case) accepted beside `host` and the loopback names."""

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach the API."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def token(self) -> str | None:
        """The bearer token (RFC 6750), read from `token_file` now; None when there is none.

        Raises:
            ConfigError: the file cannot be read, is empty or holds no usable token.
        """
        if self.token_file is None:
            return None
        try:
            token = self.token_file.read_text("utf-8").strip()
        except OSError as error:
            reason = f"cannot read {self.token_file}: {error.strerror}"
            raise ConfigError(reason, key="rest.token_file") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.token_file} is not text", key="rest.token_file") from error
        if not token:
            raise ConfigError(f"{self.token_file} is empty", key="rest.token_file")
        if not _TOKEN.fullmatch(token):
            reason = f"{self.token_file} must hold one token of visible ASCII characters"
            raise ConfigError(reason, key="rest.token_file")
        return token


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, validated."""

    controller: Controller
    rest: Rest
    gateways: tuple[Gateway, ...]
    path: Path


def default_path() -> Path:
    """`$OFGTP_CONFIG`, else /etc/ofgtp/ofgtp.toml."""
    return Path(os.environ.get("OFGTP_CONFIG") or "/etc/ofgtp/ofgtp.toml")


def load(path: Path) -> Config:
    """Read and check the configuration file.

    Raises:
        ConfigError: with the line (0 when the file as a whole is at fault), key and reason.
    """
    source = _Source(path, _read(path))
    root = _Table(source, (), source.parse(), ("controller", "rest", "gateway"))
    controller = _controller(root.table("controller", Controller))
    rest = _rest(root.table("rest", Rest, renamed={"host": "listen", "port": "listen"}))
    if isinstance(root.values.get("gateway"), dict):
        raise root.error("gateway", "several gateways are possible: write [[gateway]]")
    keys = {"port_type": "ports", "pmd_cores": "ports", "leased": "ports", "ue_pools6": "ue_pools"}
    keys["access_allow6"] = "access_allow"
    tables = root.tables("gateway", Gateway, keys)
    gateways = tuple(_gateway(each, controller) for each in tables)
    if not gateways:
        raise root.error("gateway", "at least one [[gateway]] is needed")
    _check_together(source, gateways)
    return Config(controller, rest, gateways, path)


def error_at(config: Config, gateway: int, key: str, reason: str) -> ConfigError:
    """An error at a key of the n-th gateway (from 0) that only the host could show."""
    return _Source(config.path, _read(config.path)).error(("gateway", gateway, key), reason)


# The file: its text, where things stand in it, and typed access to its tables.


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from error
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8", line=line, path=str(path)) from error


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    text: str

    def parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            # Beside TOMLDecodeError: ValueError for an integer of thousands of digits.
            found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            at_end = str(error).endswith("(at end of document)")
            last = self.text.rstrip("\n").count("\n") + 1
            line = int(found[1]) if found else last if at_end else 0
            raise ConfigError(str(error), line=line, path=str(self.path)) from error

    def error(self, at: _At, reason: str) -> ConfigError:
        """An error at a key, on its line or else on that of the table it is missing from."""
        key = ".".join(part for part in at if isinstance(part, str))
        lines = _lines(self.text)
        while at and at not in lines:
            at = at[:-1]
        return ConfigError(reason, line=lines.get(at, 0), key=key, path=str(self.path))


def _lines(text: str) -> dict[_At, int]:
    """The line on which each table and key of a valid TOML text begins (tomllib does not say).

    A statement (a header, or a key with its value) is a run of lines that parses by itself.
    """
    lines: dict[_At, int] = {}
    last: dict[_At, int] = {}  # index of the last [[table]] of each array of tables

    def note(at: _At, value: Any, line: int) -> None:
        lines.setdefault(at, line)
        if isinstance(value, dict | list):
            for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
                note((*at, part), inner, line)

    table: _At = ()
    statement = ""
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start if statement else number
        statement += line + "\n"
        try:
            value: Any = tomllib.loads(statement)
        except ValueError:
            continue
        if not statement.lstrip().startswith("["):
            for key, inner in value.items():
                note((*table, key), inner, start)
        else:
            table = ()
            while value:  # down a header's parts: {"a": {"b": [{}]}} is [[a.b]]
                ((part, value),) = value.items()
                table = (*table, part)
                lines.setdefault(table, start)
                if isinstance(value, list):
                    last[table] = last.get(table, -1) + 1
                    value = value[0]
                if table in last:
                    table = (*table, last[table])
                    lines.setdefault(table, start)
        statement = ""
    return lines


class _Table:
    """A table of the file: refuses unknown keys, and hands out values of the right type."""

    def __init__(
        self, source: _Source, at: _At, values: dict[str, Any], known: tuple[str, ...]
    ) -> None:
        self.source, self.at, self.values = source, at, values
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise self.error(key, f"unknown {'key' if at else 'table or key'}; {hint}")

    def error(self, key: str, reason: str, *index: int) -> ConfigError:
        return self.source.error((*self.at, key, *index), reason)

    def get(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of a key; without a default the key is required."""
        if key not in self.values:
            if default is None:
                raise self.error(key, "is missing")
            return default
        return self._typed(key, self.values[key], kind)

    def _typed(self, key: str, value: Any, kind: type[_T], *index: int) -> _T:
        if type(value) is not kind:  # not isinstance: true is no integer
            what = "every element must be" if index else "must be"
            raise self.error(key, f"{what} {_TYPES[kind]}, not {value!r}", *index)
        return value

    def strings(self, key: str) -> Iterator[tuple[int, str]]:
        """The indexed elements of a list of strings that may be left out."""
        for index, value in enumerate(self.get(key, list, [])):
            yield index, self._typed(key, value, str, index)

    def choice(self, key: str, options: tuple[_Choice, ...]) -> _Choice:
        """One of the options, the first by default."""
        value = self.get(key, str, options[0])
        for option in options:
            if value == option:
                return option
        raise self.error(key, f"must be {' or '.join(map(repr, options))}, not {value!r}")

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """An integer in a range."""
        value = self.get(key, int, default)
        if not least <= value <= most:
            raise self.error(key, f"must be {least} to {most}, not {value}")
        return value

    def table(self, key: str, cls: type[Any], renamed: dict[str, str] | None = None) -> _Table:
        """A table that may be left out; its keys are the fields of `cls`."""
        return _Table(self.source, (*self.at, key), self.get(key, dict, {}), _keys(cls, renamed))

    def tables(
        self, key: str, cls: type[Any], renamed: dict[str, str] | None = None
    ) -> list[_Table]:
        """A list of tables that may be left out; their keys are the fields of `cls`."""
        known = _keys(cls, renamed)
        return [
            _Table(self.source, (*self.at, key, i), self._typed(key, value, dict, i), known)
            for i, value in enumerate(self.get(key, list, []))
        ]

    def address(self, key: str) -> IPv4Address:
        """An IPv4 address."""
        text = self.get(key, str)
        try:
            return IPv4Address(text)
        except ValueError as error:
            raise self.error(key, f"{text!r} is not an IPv4 address") from error

    def interface(self, key: str) -> IPv4Interface:
        """An address of ours with its subnet: unicast, with room for a neighbour."""
        text = self.get(key, str)
        try:
            found = _prefixed(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv4 address with a prefix length, like 10.1.0.1/24"
            raise self.error(key, reason) from error
        net = found.network
        if net.prefixlen == 32:
            raise self.error(key, f"{text} leaves no room for a neighbour: /31 at most")
        if net.prefixlen < 31 and found.ip == net.network_address:
            raise self.error(key, f"{found.ip} is the network address of {net}")
        if net.prefixlen < 31 and found.ip == net.broadcast_address:
            raise self.error(key, f"{found.ip} is the broadcast address of {net}")
        for special, what in _NO_UNICAST.items():
            if net.overlaps(special):
                raise self.error(key, f"{net} overlaps {special} ({what})")
        return found

    def interface6(self, key: str) -> IPv6Interface:
        """An IPv6 address of ours with its subnet: unicast, with room for a neighbour."""
        text = self.get(key, str)
        try:
            found = _prefixed6(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv6 address with a prefix length, like 2001:db8::1/64"
            raise self.error(key, reason) from error
        net = found.network
        if net.prefixlen == 128:
            raise self.error(key, f"{text} leaves no room for a neighbour: /127 at most")
        if net.prefixlen < 127 and found.ip == net.network_address:
            reason = f"{found.ip} is the anycast address of all routers of {net} (RFC 4291, 2.6.1)"
            raise self.error(key, reason)
        for special, what in _NO_UNICAST6.items():
            if net.overlaps(special):
                raise self.error(key, f"{net} overlaps {special} ({what})")
        return found

    def network6(self, key: str, text: str, *index: int) -> IPv6Network:
        """An IPv6 prefix without host bits."""
        try:
            found = _prefixed6(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv6 prefix, like 2001:db8:a::/48"
            raise self.error(key, reason, *index) from error
        if found.ip != found.network.network_address:
            reason = f"{text} has host bits set; the prefix is {found.network}"
            raise self.error(key, reason, *index)
        return found.network

    def network(self, key: str, text: str, *index: int) -> IPv4Network:
        """A prefix without host bits."""
        try:
            found = _prefixed(text)
        except ValueError as error:
            reason = f"{text!r} is not an IPv4 prefix, like 10.45.0.0/16"
            raise self.error(key, reason, *index) from error
        if found.ip != found.network.network_address:
            reason = f"{text} has host bits set; the prefix is {found.network}"
            raise self.error(key, reason, *index)
        return found.network

    def interface_name(self, key: str) -> str:
        """A name the kernel, Open vSwitch and nftables all take for an interface."""
        name = self.get(key, str)
        if not _INTERFACE.fullmatch(name):
            reason = f"{name!r} is no interface name: 1 to {IFNAMSIZ} of A-Z a-z 0-9 . _ + @ # ~ -"
            raise self.error(key, reason)
        return name


def _keys(cls: type[Any], renamed: dict[str, str] | None) -> tuple[str, ...]:
    """The keys that stand for the fields of a class."""
    names = (field.name for field in fields(cls))
    return tuple(dict.fromkeys((renamed or {}).get(name, name) for name in names))


def _prefixed(text: str) -> IPv4Interface:
    """An address with a prefix length (`IPv4Interface` takes a netmask, or nothing, too)."""
    if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
        raise ValueError(text)
    return IPv4Interface(text)


def _prefixed6(text: str) -> IPv6Interface:
    if not re.fullmatch(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
        raise ValueError(text)
    return IPv6Interface(text)


# The sections.


def _controller(table: _Table) -> Controller:
    default = Controller()
    lease = table.whole("lease_seconds", default.lease_seconds, LEASE_MIN, LEASE_MAX)
    store = table.get("store", str, str(default.store))
    if not store or "\0" in store:
        raise table.error("store", "must be the path of a file")
    return Controller(
        ownership=table.choice("ownership", get_args(Ownership)),
        lease_seconds=lease,
        store=table.source.path.parent / store,
        durability=table.choice("durability", get_args(Durability)),
        usage_round_seconds=table.whole(
            "usage_round_seconds", default.usage_round_seconds, ROUND_MIN, ROUND_MAX
        ),
        pmd_cores=_pmd_cores(table),
    )


def _pmd_cores(table: _Table) -> tuple[int, ...]:
    cores: list[int] = []
    for index, core in enumerate(table.get("pmd_cores", list, [])):
        if type(core) is not int or not 0 <= core <= CORE_MAX:
            reason = f"every element must be the number of a core, 0 to {CORE_MAX}, not {core!r}"
            raise table.error("pmd_cores", reason, index)
        if core in cores:
            raise table.error("pmd_cores", f"core {core} stands twice", index)
        cores.append(core)
    if len(cores) > PMD_CORES_MAX:
        raise table.error("pmd_cores", f"at most {PMD_CORES_MAX} cores, not {len(cores)}")
    return tuple(sorted(cores))


def _rest(table: _Table) -> Rest:
    default = Rest()
    listen = table.get("listen", str, f"{default.host}:{default.port}")
    found = re.fullmatch(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[^:]+)):(?P<port>[0-9]{1,5})", listen)
    try:
        if not found or not 1 <= (port := int(found["port"])) <= 65535:
            raise ValueError(listen)
        if found["v6"]:
            host = str(ipaddress.IPv6Address(found["v6"]))
        else:
            host = found["v4"] if found["v4"] == "localhost" else str(IPv4Address(found["v4"]))
    except ValueError as error:
        reason = f"{listen!r} is not an address and a port, like 127.0.0.1:8080 or [::1]:8080"
        raise table.error("listen", reason) from error
    hosts = []
    for index, name in table.strings("hosts"):
        if not _HOST.fullmatch(name) and not _is_address(name):
            raise table.error("hosts", f"{name!r} is not a host name (without a port)", index)
        hosts.append(name.lower())
    token_file = table.get("token_file", str, "")
    if "\0" in token_file:
        raise table.error("token_file", "must be the path of a file")
    rest = Rest(
        host, port, table.source.path.parent / token_file if token_file else None, tuple(hosts)
    )
    if not rest.loopback and rest.token_file is None:
        raise table.error("listen", f"{host} is not a loopback address, so token_file is needed")
    try:
        rest.token()
    except ConfigError as error:
        raise table.error("token_file", error.reason) from error
    return rest


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _gateway(table: _Table, controller: Controller) -> Gateway:
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
    access_ip6 = _access_ip6(table, core_ip6)
    routes = _access_routes(table, (access_ip, access_ip6), (core_ip, core_ip6))
    allow, allow6 = _access_allow(table, access_ip6)
    pools, pools6 = _ue_pools(table, access_ip, core_ip, routes, core_ip6, access_ip6)
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
        next_hop=_next_hop(table, core_port, core_ip),
        ue_pools=pools,
        ue_pools6=pools6,
        core_ip6=core_ip6,
        next_hop6=_next_hop6(table, core_port, core_ip6),
        router_advertisement=table.get("router_advertisement", bool, True),
        dns6=_dns6(table, core_ip6),
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
        echo_seconds=_echo_seconds(table, n3_requests * t3_response),
        t3_response_seconds=t3_response,
        n3_requests=n3_requests,
        on_path_down=table.choice("on_path_down", get_args(OnPathDown)),
        pfcp=_pfcp(table) if "pfcp" in table.values else None,
        port_type=_port_type(table),
        pmd_cores=controller.pmd_cores,
        leased=controller.ownership == "controller",
    )
    for key, asked in (("masquerade", gateway.masquerade), ("masquerade6", gateway.masquerade6)):
        if asked and not gateway.host_core:
            raise table.error(key, 'is possible only with core_port = "host"')
    if gateway.host_services == "allow" and not gateway.host_core:
        reason = 'is possible only with core_port = "host": with a port no UE reaches the host'
        raise table.error("host_services", reason)
    return gateway


def _pfcp(gateway: _Table) -> Pfcp:
    table = gateway.table("pfcp", Pfcp)
    listen = table.address("listen")
    if (what := _not_unicast(IPv4Network(listen))) not in (None, "loopback"):
        raise table.error("listen", f"{listen} is no address of a host ({what})")
    table.get("peers", list)  # required
    peers = tuple(table.network("peers", text, index) for index, text in table.strings("peers"))
    if not peers:
        reason = "at least one prefix is needed: nobody else is answered"
        raise table.error("peers", reason)
    name = table.get("node_id", str, "")
    if name and not _is_address(name) and not _FQDN.fullmatch(name):
        reason = f"{name!r} is neither an IPv4 address nor a name like upf.example.org"
        raise table.error("node_id", reason)
    instances = []
    for index, text in table.strings("network_instances"):
        if not _INSTANCE.fullmatch(text):
            reason = f"{text!r} is no name of 1 to 100 visible ASCII characters"
            raise table.error("network_instances", reason, index)
        instances.append(text)
    try:
        node_id: IPv4Address | str = IPv4Address(name) if name else listen
    except ValueError:
        node_id = name
    return Pfcp(
        listen=listen,
        peers=peers,
        node_id=node_id,
        on_peer_lost=table.choice("on_peer_lost", get_args(OnPeerLost)),
        heartbeat_seconds=table.whole(
            "heartbeat_seconds", 10, HEARTBEAT_SECONDS_MIN, HEARTBEAT_SECONDS_MAX
        ),
        network_instances=tuple(instances),
    )


def _openflow(table: _Table) -> str:
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


def _next_hop(table: _Table, core_port: str, core_ip: IPv4Interface) -> IPv4Address | None:
    if core_port == "host":
        if "next_hop" in table.values:
            reason = 'is not allowed with core_port = "host": the host\'s own routes decide'
            raise table.error("next_hop", reason)
        return None
    if "next_hop" not in table.values:
        raise table.error("next_hop", 'is missing (only core_port = "host" goes without)')
    return _neighbour(table, "next_hop", core_ip, "core")


def _next_hop6(table: _Table, core_port: str, core_ip6: IPv6Interface | None) -> IPv6Address | None:
    """The router for IPv6, which may be told by its link-local address."""
    given = "next_hop6" in table.values
    if core_port == "host" or core_ip6 is None:
        if given:
            reason = 'the host\'s own routes decide, with core_port = "host"'
            raise table.error("next_hop6", reason if core_ip6 else "needs core_ip6")
        return None
    if not given:
        raise table.error("next_hop6", "is missing: core_ip6 needs it")
    return _neighbour6(table, "next_hop6", core_ip6, "core")


def _neighbour6(table: _Table, key: str, ours: IPv6Interface, side: str) -> IPv6Address:
    """The address of a router on a subnet of ours, or its link-local one."""
    text, net = table.get(key, str), ours.network
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise table.error(key, f"{text!r} is not an IPv6 address") from error
    if address == ours.ip or address.scope_id is not None:
        reason = f"is {side}_ip6 itself" if address == ours.ip else "has a zone: leave it out"
        raise table.error(key, f"{address} {reason}")
    if not address.is_link_local and address not in net:
        raise table.error(key, f"{address} is neither in {net} nor link-local")
    if net.prefixlen < 127 and address == net.network_address:
        reason = f"{address} is the anycast address of all routers of {net}"
        raise table.error(key, reason)
    return address


def _dns6(table: _Table, core_ip6: IPv6Interface | None) -> tuple[IPv6Address, ...]:
    """Resolvers that UEs reach."""
    resolvers: list[IPv6Address] = []
    for index, text in table.strings("dns6"):
        try:
            address = IPv6Address(text)
        except ValueError as error:
            raise table.error("dns6", f"{text!r} is not an IPv6 address", index) from error
        if address.scope_id is not None:
            raise table.error("dns6", f"{address} has a zone: leave it out", index)
        special = next((what for net, what in _NO_UNICAST6.items() if address in net), None)
        if special is not None:
            raise table.error("dns6", f"{address} is no address of a resolver ({special})", index)
        if core_ip6 is not None and address == core_ip6.ip:
            raise table.error("dns6", f"{address} is core_ip6, which no UE reaches", index)
        if address in resolvers:
            raise table.error("dns6", f"{address} stands twice", index)
        resolvers.append(address)
    if len(resolvers) > DNS6_MAX:
        raise table.error("dns6", f"{len(resolvers)} addresses: at most {DNS6_MAX}")
    if resolvers and core_ip6 is None:
        raise table.error("dns6", "needs core_ip6")
    if resolvers and not table.get("router_advertisement", bool, True):
        reason = "is told by Router Advertisements, which router_advertisement = false turns off"
        raise table.error("dns6", reason)
    return tuple(resolvers)


def _neighbour(table: _Table, key: str, ours: IPv4Interface, side: str) -> IPv4Address:
    """The address of a router on a subnet of ours."""
    address, net = table.address(key), ours.network
    if address not in net:
        raise table.error(key, f"{address} is not in the {side} subnet {net}")
    if address == ours.ip:
        raise table.error(key, f"{address} is {side}_ip itself")
    if net.prefixlen < 31 and address in (net.network_address, net.broadcast_address):
        raise table.error(key, f"{address} is the network or broadcast address of {net}")
    return address


_Ours = tuple[IPv4Interface, IPv6Interface | None]
"""The gateway's addresses on one side, of each IP version."""


def _access_routes(table: _Table, access: _Ours, core: _Ours) -> tuple[AccessRoute, ...]:
    routes: list[AccessRoute] = []
    for entry in table.tables("access_routes", AccessRoute):
        text = entry.get("to", str)
        to: Network
        via: Address
        if ":" in text:
            to = entry.network6("to", text)
            if access[1] is None:
                raise entry.error("to", f"{to} needs access_ip6")
            via = _neighbour6(entry, "via", access[1], "access")
            if via.is_link_local:
                reason = (
                    f"{via} is link-local: the switch finds routers by {access[1].network} only"
                )
                raise entry.error("via", reason)
        else:
            to = entry.network("to", text)
            via = _neighbour(entry, "via", access[0], "access")
        for side, ours in (("access", access), ("core", core)):
            for net in (each.network for each in ours if each is not None):
                if within(to, net):
                    raise entry.error("to", f"{to} is part of the {side} subnet {net}")
        if (what := _not_unicast(to)) is not None:
            raise entry.error("to", f"{to} holds no unicast address ({what})")
        if any(to == route.to for route in routes):
            raise entry.error("to", f"{to} stands twice")
        routes.append(AccessRoute(to, via))
    return tuple(routes)


def _access_ip6(table: _Table, core_ip6: IPv6Interface | None) -> IPv6Interface | None:
    if "access_ip6" not in table.values:
        return None
    address = table.interface6("access_ip6")
    if address.ip.is_link_local:
        raise table.error("access_ip6", f"{address.ip} is a link-local address")
    if core_ip6 is not None and address.network.overlaps(core_ip6.network):
        reason = f"{address.network} overlaps the core subnet {core_ip6.network}"
        raise table.error("access_ip6", reason)
    return address


def _access_allow(
    table: _Table, access_ip6: IPv6Interface | None
) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """Those of each IP version."""
    allowed: list[IPv4Network] = []
    allowed6: list[IPv6Network] = []
    for index, text in table.strings("access_allow"):
        if ":" in text:
            net6 = table.network6("access_allow", text, index)
            if access_ip6 is None:
                raise table.error("access_allow", f"{net6} needs access_ip6", index)
            allowed6.append(net6)
            continue
        net = table.network("access_allow", text, index)
        if (what := _not_unicast(net)) is not None:
            raise table.error("access_allow", f"{net} can hold no GTP-U peer ({what})", index)
        allowed.append(net)
    return tuple(allowed), tuple(allowed6)


def _not_unicast(net: Network) -> str | None:
    """The reason why no address of a prefix is unicast, if so."""
    special = _NO_UNICAST | _NO_UNICAST6
    return next((what for each, what in special.items() if within(net, each)), None)


def _ue_pools(
    table: _Table,
    access_ip: IPv4Interface,
    core_ip: IPv4Interface,
    routes: tuple[AccessRoute, ...],
    core_ip6: IPv6Interface | None,
    access_ip6: IPv6Interface | None,
) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """Those of each IP version."""
    table.get("ue_pools", list)  # required
    taken: list[tuple[Network, str]] = []
    taken += [(net, f"({what})") for net, what in _NO_UNICAST.items()]
    taken += [(net, f"({what})") for net, what in _NO_UNICAST6.items()]
    taken += [(net, "(the switch cannot tell such sources from MPLS)") for net in _LIKE_MPLS]
    taken += [(net, "(the switch misreads packets from there)") for net in _MISREAD6]
    taken += [(access_ip.network, "(the access subnet)"), (core_ip.network, "(the core subnet)")]
    taken += [] if core_ip6 is None else [(core_ip6.network, "(the core subnet)")]
    taken += [] if access_ip6 is None else [(access_ip6.network, "(the access subnet)")]
    taken += [(route.to, "(an access route)") for route in routes]
    pools: list[IPv4Network] = []
    pools6: list[IPv6Network] = []
    for index, text in table.strings("ue_pools"):
        pool: Network
        if ":" in text:
            pool = table.network6("ue_pools", text, index)
            if core_ip6 is None:
                reason = f"{pool} needs core_ip6, the gateway's own IPv6 address"
                raise table.error("ue_pools", reason, index)
            pools6.append(pool)
        else:
            pool = table.network("ue_pools", text, index)
            pools.append(pool)
        for net, what in taken:
            if overlap(pool, net):
                raise table.error("ue_pools", f"{pool} overlaps {net} {what}", index)
        taken.append((pool, "(another pool)"))
    if not pools and not pools6:
        raise table.error("ue_pools", "at least one pool is needed")
    return tuple(pools), tuple(pools6)


def _port_type(table: _Table) -> PortType:
    options: tuple[Ports, ...] = get_args(Ports)
    ports = table.choice("ports", options)
    return "afxdp-nonpmd" if ports == "afxdp" and os.environ.get(_TEST_NO_PMD) else ports


def _dscp(table: _Table) -> int | None:
    value = table.values.get("dscp", "inherit")
    if value == "inherit":
        return None
    if type(value) is not int or not 0 <= value <= 63:
        raise table.error("dscp", f'must be "inherit" or a number from 0 to 63, not {value!r}')
    return value


def _source_port(table: _Table) -> int | None:
    value = table.values.get("source_port", "hashed")
    if value == "hashed":
        return None
    if type(value) is not int or value != GTPU_PORT:
        raise table.error("source_port", f'must be "hashed" or {GTPU_PORT}, not {value!r}')
    return value


def _echo_seconds(table: _Table, exchange: int) -> int:
    """The interval of Echo Requests, no shorter than one exchange of so many seconds may take."""
    value = table.whole("echo_seconds", 60, _echo_seconds_min(table), ECHO_SECONDS_MAX)
    if value < exchange:
        reason = (
            f"is {value}, but n3_requests requests of t3_response_seconds each take {exchange}:"
            " an exchange must end before the next begins"
        )
        raise table.error("echo_seconds", reason)
    return value


def _echo_seconds_min(table: _Table) -> int:
    text = os.environ.get(_TEST_ECHO_SECONDS_MIN) or str(ECHO_SECONDS_MIN)
    if not re.fullmatch(r"[0-9]{1,5}", text):
        reason = f"{_TEST_ECHO_SECONDS_MIN}={text!r} in the environment is not an integer"
        raise table.error("echo_seconds", reason)
    return min(max(int(text), 1), ECHO_SECONDS_MIN)


def _check_together(source: _Source, gateways: tuple[Gateway, ...]) -> None:
    """What gateways share: the names of interfaces, and the routing table of the host.

    Open vSwitch takes tunnel routes from that table as well. UE pools meet in it only where
    `core_port` is "host": two gateways with ports of their own may use one pool in two networks.
    """
    names: set[str] = set()
    devices: dict[str, str] = {}
    networks: list[tuple[Network, str, str]] = []
    routes: dict[Network, str] = {}
    nodes: dict[IPv4Address, str] = {}
    for number, gw in enumerate(gateways):
        if gw.name in names:
            raise source.error(("gateway", number, "name"), f"{gw.name!r} is the name of another")
        names.add(gw.name)
        if gw.pfcp is not None:
            at = ("gateway", number, "pfcp", "listen")
            if gw.pfcp.listen in nodes:
                reason = f"{nodes[gw.pfcp.listen]} listens there: each gateway is a node of its own"
                raise source.error(at, reason)
            nodes[gw.pfcp.listen] = gw.name
            for pool in (pool for other in gateways for pool in other.ue_pools):
                if gw.pfcp.listen in pool:
                    raise source.error(at, f"{gw.pfcp.listen} is in the UE pool {pool}")
        for key, device, role in (
            ("bridge", gw.bridge, "bridge"),
            ("access_port", gw.access_port, "access port"),
            ("bridge", gw.core_device, "core-side internal port")
            if gw.host_core
            else ("core_port", gw.core_port, "core port"),
            ("bridge", gw.gtpu_port, "gtpu port"),
            *(("bridge", port, "gtpu port for marked packets") for port in gw.ecn_ports),
            ("bridge", gw.gre_port, "port for IPv6 peers"),
            *(("bridge", port, "patch port") for port in gw.loop_ports),
            *(("bridge", end, "veth") for pair in gw.veths for end in (pair.end, pair.host_end)),
        ):
            owner = f"the {role} of {gw.name}"
            if device in devices:
                reason = f"{device!r} would be both {devices[device]} and {owner}"
                raise source.error(("gateway", number, key), reason)
            devices[device] = owner
        ours: list[tuple[str, Network]] = [("access_ip", gw.access_ip.network)]
        if gw.access_ip6 is not None:
            ours += [("access_ip6", gw.access_ip6.network)]
        if gw.host_core:
            ours += [("core_ip", gw.core_ip.network)]
            ours += [] if gw.core_ip6 is None else [("core_ip6", gw.core_ip6.network)]
            ours += [("ue_pools", pool) for pool in gw.pools]
        for key, net in ours:
            for other, other_key, owner in networks:
                if overlap(net, other):
                    reason = (
                        f"{net} overlaps {other} ({other_key} of {owner}): one host routes both"
                    )
                    raise source.error(("gateway", number, key), reason)
        networks += [(net, key, gw.name) for key, net in ours]
        for index, route in enumerate(gw.access_routes):
            if route.to in routes:
                reason = f"{route.to} is an access route of {routes[route.to]} already"
                raise source.error(("gateway", number, "access_routes", index, "to"), reason)
            routes[route.to] = gw.name
