"""`[rest]`, read."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from ofgtp.config.table import Table
from ofgtp.config.values import Rest
from ofgtp.core.errors import ConfigError

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def rest_of(table: Table) -> Rest:
    """The section.

    Raises:
        ConfigError: something in it is wrong, or there is no token in its `token_file`.
    """
    default = Rest()
    listen = table.get("listen", str, f"{default.host}:{default.port}")
    found = re.fullmatch(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[^:]+)):(?P<port>[0-9]{1,5})", listen)
    try:
        if not found or not 1 <= (port := int(found["port"])) <= 65535:
            raise ValueError(listen)
        if found["v6"]:
            host = str(_listened(table, IPv6Address(found["v6"])))
        else:
            host = found["v4"] if found["v4"] == "localhost" else str(IPv4Address(found["v4"]))
    except ValueError as error:
        reason = f"{listen!r} is not an address and a port, like 127.0.0.1:8080 or [::1]:8080"
        raise table.error("listen", reason) from error
    token_file = table.get("token_file", str, "")
    if "\0" in token_file:
        raise table.error("token_file", "must be the path of a file")
    rest = Rest(
        host, port, table.source.path.parent / token_file if token_file else None, _hosts(table)
    )
    if not rest.loopback and rest.token_file is None:
        raise table.error("listen", f"{host} is not a loopback address, so token_file is needed")
    try:
        rest.token()
    except ConfigError as error:
        raise table.error("token_file", error.reason) from error
    return rest


def _listened(table: Table, address: IPv6Address) -> IPv6Address:
    """The address, if a socket can be bound to it without a zone."""
    if address.is_link_local:
        raise table.error("listen", f"{address} is a link-local address: take another one")
    if address.scope_id is not None:
        raise table.error("listen", f"{address} has a zone: leave it out")
    return address


def _hosts(table: Table) -> tuple[str, ...]:
    """The names in lower case, and the addresses in their shortest form, as they are compared."""
    hosts: list[str] = []
    for index, name in table.strings("hosts"):
        try:
            address = ip_address(name)
        except ValueError as error:
            if not _HOST.fullmatch(name):
                reason = f"{name!r} is not a host name (without a port)"
                raise table.error("hosts", reason, index) from error
            hosts.append(name.lower())
        else:
            if isinstance(address, IPv6Address) and address.scope_id is not None:
                raise table.error("hosts", f"{address} has a zone: leave it out", index)
            hosts.append(str(address))
    return tuple(hosts)
