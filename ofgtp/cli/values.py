"""Values on the command line: TEIDs, addresses, and names that the shell can complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar

import click
from click.shell_completion import CompletionItem

from ofgtp.core.buffer.queue import LIMIT_MAX
from ofgtp.core.model import QFI_MAX, TEID_MAX
from ofgtp.core.sessions.detail import INACTIVITY_MAX_S, OCTETS_MAX, PRECEDENCE_MAX, RATE_MAX_KBPS

QUICK_S = 0.5
"""Completion waits no longer than this for the API, in seconds: somebody has pressed Tab."""

QOS = ("qfi", "rqi", "qfi_required", "qfi_check")
"""Members of a session that speak of the PDU Session Container; but for the first, of a QFI."""

SHARED, NEW = 0, -1
"""Instead of a bearer's own TEID: that of its session; one that is chosen."""

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}")


def read_teid(text: str) -> int:
    """A TEID, decimal or 0x… (no octal: a leading 0 is refused).

    Raises:
        ValueError: it is not one from 1 to 2^32-1.
    """
    found = int(text, 0) if _NUMBER.fullmatch(text) else 0
    if not 1 <= found <= TEID_MAX:
        raise ValueError(f"{text!r} is not a TEID: 1 to {TEID_MAX}, or 0x1 to {TEID_MAX:#x}")
    return found


def read_qfi(text: str) -> int:
    """A QFI, decimal.

    Raises:
        ValueError: it is not one from 1 to 63.
    """
    found = int(text) if re.fullmatch(r"[0-9]{1,2}", text, re.ASCII) else 0
    if not 1 <= found <= QFI_MAX:
        raise ValueError(f"{text!r} is not a QFI: 1 to {QFI_MAX}")
    return found


def read_metric(text: str) -> int:
    """A bearer's precedence, decimal.

    Raises:
        ValueError: it is not one from 0 to 65535.
    """
    found = int(text) if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) else PRECEDENCE_MAX + 1
    if found > PRECEDENCE_MAX:
        raise ValueError(f"{text!r} is no metric: 0 to {PRECEDENCE_MAX}")
    return found


def qos_of(session: dict[str, Any]) -> dict[str, Any]:
    """What a session of the API says of the container; nothing if it has no QFI, or is of an
    older ofgtp that knows none."""
    return {name: session[name] for name in QOS} if session.get("qfi") else {}


def read_address(text: str) -> IPv4Address:
    """An IPv4 address, with or without /32.

    Raises:
        ValueError: it is not one.
    """
    try:
        return IPv4Address(text.removesuffix("/32"))
    except ValueError:
        if ":" in text:
            raise ValueError(f"{text!r} is not an IPv4 address: there is no IPv6 here") from None
        if "/" in text:
            raise ValueError(f"{text!r} is not one address (/32)") from None
        raise ValueError(f"{text!r} is not an IPv4 address like 10.45.0.7") from None


def read_ue(text: str) -> str:
    """How a UE is named: by its IPv4 address, with or without /32, by an IPv6 address, or by its
    IPv6 prefix.

    Raises:
        ValueError: it is none of these.
    """
    if ":" not in text:
        return str(read_address(text))
    try:
        return str(IPv6Network(text) if "/" in text else IPv6Address(text))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def is_ue(text: str) -> bool:
    """Whether a UE may be named so."""
    try:
        read_ue(text)
    except ValueError:
        return False
    return True


def ues_of(session: dict[str, Any]) -> list[str]:
    """The UE's IPv4 address and its IPv6 prefix, those that it has; none of a relay."""
    return [each for each in (session["ue_ip"], session.get("ue_ipv6")) if each is not None]


def by_ue(ue: str | None) -> dict[str, str]:
    """For a list of sessions: those of a UE, by how it is named."""
    return {} if ue is None else {"ue_ipv6" if ":" in ue else "ue_ip": ue}


class Number(click.IntRange):
    """A whole number within a range."""

    name = "number"


class Seconds(click.FloatRange):
    """A time within a range, in seconds."""

    name = "number of seconds"


class Octets(click.ParamType[bytes]):
    """Octets in hexadecimal digits, so many; spaces and colons between them are passed over."""

    name = "octets"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            found = bytes.fromhex(value.replace(":", " "))
        except ValueError:
            self.fail(f"{value!r} is not hexadecimal, two digits an octet", param, ctx)
        if not self._least <= len(found) <= self._most:
            self.fail(f"{len(found)} octets, not {self._least} to {self._most}", param, ctx)
        return found


class Protocol(click.ParamType[str]):
    """An IP protocol, by the name that it has here, else by its number."""

    name = "protocol"

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self._known:
            return str(value)
        number = int(value) if re.fullmatch(r"[0-9]{1,3}", value, re.ASCII) else 256
        if number > 255:
            names = ", ".join(self._known)
            self.fail(f"{value!r} is no protocol: {names} or a number, 0 to 255", param, ctx)
        return next((name for name, its in self._known.items() if its == number), str(number))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items(self._known, incomplete)


class _Teid(click.ParamType[int]):
    name = "teid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else read_teid(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Address(click.ParamType[str]):
    name = "ip"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(read_address(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Ue(click.ParamType[str]):
    name = "ip|prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return read_ue(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _AddressOrNone(_Address):
    name = "ip|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return "none" if value == "none" else super().convert(value, param, ctx)


class _AnyAddress(click.ParamType[str]):
    """An address of either IP version."""

    name = "ip"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = ip_address(value)
            if isinstance(found, IPv6Address) and found.scope_id is not None:
                raise ValueError
        except ValueError:
            self.fail(f"{value!r} is not an address like 10.45.0.7 or 2001:db8::7", param, ctx)
        return str(found)


class _Peer(_AnyAddress):
    """The address of a peer that sessions name."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items((each["ip"] for each in _quickly(ctx, "/v1/peers")), incomplete)


class _Pin(_Address):
    name = "ip|any"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return "any" if value == "any" else super().convert(value, param, ctx)


class _Octets(click.ParamType[int]):
    """A number of octets; 0 is what `none` is."""

    name = "octets"
    units: ClassVar[dict[str, int]] = {
        "": 1,
        "k": 1000,
        **{unit: 1000**power for power, unit in enumerate("KMGT", 1)},
        **{f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)},
    }

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "none":
            return 0
        read = re.fullmatch(r"([0-9]{1,16})(k|[KMGT]?i?)", value, re.ASCII)
        unit = None if read is None else self.units.get(read[2])
        found = int(read[1]) * unit if read and unit else 0
        if not 1 <= found <= OCTETS_MAX:
            self.fail(
                f"{value!r} is no number of octets: 1 to {OCTETS_MAX}, or with K, M, G, T (500M) or"
                " Ki, Mi, Gi, Ti, or none",
                param,
                ctx,
            )
        return found


class _OrNone(click.ParamType[int]):
    """A number of something; 0 is what `none` is."""

    def __init__(self, name: str, what: str, most: int, unit: str = "") -> None:
        self.name, self._what, self._most, self._unit = name, what, most, unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "none":
            return 0
        found = int(value) if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) else 0
        if not 1 <= found <= self._most:
            unit = f" {self._unit}" if self._unit else ""
            self.fail(f"{value!r} is no {self._what}: 1 to {self._most}{unit}, or none", param, ctx)
        return found


class _OwnTeid(_Teid):
    """A TEID, or a word; 0 is what `shared` is, -1 what `new` is."""

    name = "teid|new|shared"
    words: ClassVar[dict[str, int]] = {"shared": SHARED, "new": NEW}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return self.words[value] if value in self.words else super().convert(value, param, ctx)


class _Gateway(click.ParamType[str]):
    name = "gateway"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items(gateway_names(ctx), incomplete)


class _Session(click.ParamType[str]):
    name = "session"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items((each["id"] for each in some_sessions(ctx)), incomplete)


class _Bearer(click.ParamType[str]):
    name = "bearer"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items((each["id"] for each in some_bearers(ctx)), incomplete)


TEID = _Teid()
OWN_TEID = _OwnTeid()
KBPS = _OrNone("kbit/s", "rate", RATE_MAX_KBPS, "kbit/s")
OCTETS = _Octets()
SECONDS = _OrNone("seconds", "time", INACTIVITY_MAX_S, "s")
PACKETS = _OrNone("packets", "number of packets", LIMIT_MAX)
BEARER = _Bearer()
ADDRESS = _Address()
ADDRESS_OR_NONE = _AddressOrNone()
UE = _Ue()
ANY_ADDRESS = _AnyAddress()
PEER = _Peer()
PIN = _Pin()
GATEWAY = _Gateway()
SESSION = _Session()


def items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Those that begin so, for the shell."""
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def gateway_names(ctx: click.Context) -> Iterator[str]:
    """The gateways' names, if the API answers at once."""
    return (each["name"] for each in _quickly(ctx, "/v1/gateways"))


def some_sessions(ctx: click.Context) -> list[dict[str, Any]]:
    """The first page of sessions, if the API answers at once."""
    return _quickly(ctx, "/v1/sessions", limit=1000)


def some_bearers(ctx: click.Context) -> list[dict[str, Any]]:
    """The bearers of the session that the words before name, if the API answers at once."""
    name = str(ctx.params.get("session"))
    try:
        by = by_ue(read_ue(name))
    except ValueError:
        by = {"id": name}  # which may be a part of others'
    found = _quickly(ctx, "/v1/sessions", limit=1000, **by)
    named = (each for each in found if by.get("id") in (None, each["id"]))
    return [bearer for each in named for bearer in each.get("bearers") or ()]


def _quickly(ctx: click.Context, path: str, **params: object) -> list[dict[str, Any]]:
    from ofgtp.cli.api import Api
    from ofgtp.core.errors import OfgtpError

    try:
        with ctx.scope(cleanup=False), Api(seconds=QUICK_S) as api:
            found: list[dict[str, Any]] = api.get(path, **params)["items"]
            return found
    except OfgtpError:
        return []  # what is completed is a help, not more
