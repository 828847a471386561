"""Who may ask: the Host header (DNS rebinding) and the token (RFC 6750)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

_HOSTS_KEPT = 64
"""Host headers whose verdict is remembered."""

_V6_HOST = re.compile(r"\[([0-9a-f:.]+)\](?::[0-9]+)?")


class Access:
    """`host` is the address listened on; `hosts` are other names that are ours."""

    def __init__(self, host: str, hosts: Collection[str], token: str | None) -> None:
        self._token = token.encode() if token else None
        self._hosts = {name.lower() for name in (host, *hosts)}
        self.any_address = host in ("0.0.0.0", "::")
        """Whether requests come to any address of this machine."""
        self.names_us = lru_cache(_HOSTS_KEPT)(self._names_us)
        """Whether a Host header names us; a web page of somebody else's may have made it up.

        The second argument is our end of the connection, if that counts.
        """

    @property
    def needs_token(self) -> bool:
        """Whether not everybody may ask."""
        return self._token is not None

    def authorized(self, header: str) -> bool:
        """Whether an Authorization header has the token, if one is needed."""
        if self._token is None:
            return True
        scheme, _, given = header.partition(" ")
        given_bytes = given.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given_bytes, self._token) and scheme.lower() == "bearer"

    def _names_us(self, header: str, local: str | None) -> bool:
        name = _host_name(header)
        if name in self._hosts or name == "localhost":
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or str(address) in self._hosts or str(address) == local


def _host_name(header: str) -> str:
    """The Host header's name without a port, in lower case and in its shortest form."""
    name = header.strip().lower()
    if found := _V6_HOST.fullmatch(name):
        try:
            return str(IPv6Address(found[1]))
        except ValueError:
            return ""
    return name.partition(":")[0].removesuffix(".")
