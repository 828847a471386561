"""Shapes that several parts of the API's JSON are made of."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_pton
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from ofgtp.core.model import QFI_MAX, SESSION_ID, TEID_MAX, Address

_HEX_TEID = re.compile(r"0[xX][0-9a-fA-F]{1,8}")

_DECIMAL = re.compile(r"[0-9]{1,10}")

ID_RULE = "1 to 128 of A-Z a-z 0-9 . _ : @ -"


def _teid(value: object) -> int:
    if isinstance(value, str) and _HEX_TEID.fullmatch(value):
        value = int(value, 16)
    if type(value) is not int:
        raise PydanticCustomError("teid", "must be an integer or a string like 0x1001")
    if not 1 <= value <= TEID_MAX:
        raise PydanticCustomError("teid", f"must be 1 to {TEID_MAX}")
    return value


def _qfi(value: object) -> int:
    if type(value) is not int or not 1 <= value <= QFI_MAX:
        raise PydanticCustomError("qfi", f"must be an integer from 1 to {QFI_MAX}, or null")
    return value


def _query_teid(value: object) -> int:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    return _teid(value)


def _ipv4(value: object) -> IPv4Address:
    try:
        if isinstance(value, str):
            # Many times as fast as to read it by `ipaddress`, and as strict.
            return IPv4Address(inet_pton(AF_INET, value))
    except (OSError, ValueError):
        pass
    raise PydanticCustomError("ipv4", "must be an IPv4 address like 10.45.0.2")


def _ip(value: object) -> Address:
    if not isinstance(value, str) or ":" not in value:
        return _ipv4(value)
    try:
        return IPv6Address(inet_pton(AF_INET6, value))
    except (OSError, ValueError):
        raise PydanticCustomError("ip", "must be an address like 10.1.0.2 or fd01::2") from None


def _session_id(value: str) -> str:
    if not SESSION_ID.fullmatch(value):
        raise PydanticCustomError("session_id", ID_RULE)
    return value


_TEID_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": TEID_MAX},
        # Not all expressions have a look ahead: eight digits at the most are those of the length.
        {"type": "string", "pattern": "^0[xX]0*[1-9a-fA-F][0-9a-fA-F]{0,7}$", "maxLength": 10},
    ],
    "description": "A TEID, 1 to 2^32-1; a string may be hexadecimal",
}

_IPV4_SCHEMA = {"type": "string", "format": "ipv4"}

Teid = Annotated[int, PlainValidator(_teid), WithJsonSchema(_TEID_SCHEMA)]

QueryTeid = Annotated[int, PlainValidator(_query_teid), WithJsonSchema(_TEID_SCHEMA)]

Qfi = Annotated[
    int,
    PlainValidator(_qfi),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": QFI_MAX}),
]

Ipv4 = Annotated[
    IPv4Address, PlainValidator(_ipv4), PlainSerializer(str), WithJsonSchema(_IPV4_SCHEMA)
]

_IP_SCHEMA = {"anyOf": [_IPV4_SCHEMA, {"type": "string", "format": "ipv6"}]}

Ip = Annotated[Address, PlainValidator(_ip), PlainSerializer(str), WithJsonSchema(_IP_SCHEMA)]

SessionId = Annotated[
    str,
    AfterValidator(_session_id),
    Field(json_schema_extra={"pattern": f"^{SESSION_ID.pattern}$"}),
]


class Strict(BaseModel):
    """What is written in: no unknown members, and no guessing of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class UplinkInput(Strict):
    """How the UE's uplink packets are recognised."""

    teid: Teid | None = Field(None, description="Left out: kept, or allocated at random")
    remote_ip: Ipv4 | None = Field(None, description="Take packets of this peer only")


class DownlinkInput(Strict):
    """Where packets to the UE are sent: the eNB's or gNB's F-TEID."""

    teid: Teid
    remote_ip: Ip = Field(description="Of IPv6 where the gateway has access_ip6")


class Counters(BaseModel):
    """What a flow has forwarded."""

    packets: int
    bytes: int


class DownlinkOutput(BaseModel):
    """The peer's F-TEID."""

    teid: int
    remote_ip: Ip
