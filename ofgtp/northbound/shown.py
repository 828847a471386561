"""The JSON of sessions. `schema.SessionOutput` says what it is; made by hand it takes a fraction of
the time."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from json import dumps
from socket import inet_ntoa

from ofgtp.core.model import Qos
from ofgtp.core.sessions.rules import main_tunnels
from ofgtp.northbound import bearers
from ofgtp.northbound.service import FlowCounters, NewSession, SessionView

_NO_QOS = Qos(0, required=False)
"""What is shown of a session without a QFI."""


def session(view: SessionView) -> str:
    """A session as it is."""
    it, up, down = view.session, view.session.uplink, view.session.downlink
    teid, qos = None if up is None else up.teid, 0 if it.qos is None else it.qos.number
    if up is None:
        teid, tunnel = main_tunnels(it)
        down, qos = (None, 0) if tunnel is None else (tunnel.to, tunnel.octet or 0)
    more = bearers.more(view)
    return _written(
        it.id,
        it.gateway,
        None if it.ue_ip is None else int(it.ue_ip),
        teid,
        (view.local_ip, view.local_ip6),
        None if up is None or up.remote_ip is None else int(up.remote_ip),
        None if down is None else (down.teid, str(down.ip)),
        qos,
        f'"{view.state.value}","reason":{dumps(view.reason)}',
        _time(view.created_at),
        _time(view.updated_at),
        _counters(view.uplink, view.downlink),
        "" if more is None else f",{more.model_dump_json(exclude_unset=True)[1:-1]}",
    )


def new_session(made: NewSession) -> str:
    """A session that was just made: it has counted nothing."""
    put, at = made.put, _time(made.at)
    down = None
    if put.downlink_teid is not None and put.downlink_ip is not None:
        down = put.downlink_teid, _dotted(put.downlink_ip)
    return _written(
        str(put.id),
        made.gateway,
        put.ue_ip,
        put.uplink_teid,
        (made.local_ip, made.local_ip6),
        put.uplink_remote_ip,
        down,
        put.qos,
        f'"{made.state.value}","reason":null',
        at,
        at,
        _NOTHING,
    )


def _written(
    session_id: str,
    gateway: str,
    ue_ip: int | None,
    teid: int | None,
    local_ips: tuple[IPv4Address | None, IPv6Address | None],
    peer: int | None,
    down: tuple[int, str] | None,
    qos: int,
    state: str,
    made: str,
    changed: str,
    counters: str,
    more: str = "",
) -> str:
    ue = "null" if ue_ip is None else f'"{_dotted(ue_ip)}"'
    remote = "null" if peer is None else f'"{_dotted(peer)}"'
    downlink = "null"
    if down is not None:
        downlink = f'{{"teid":{down[0]},"remote_ip":"{down[1]}"}}'
    uplink = "null"
    if teid is not None:
        uplink = f'{{"teid":{teid},{_local(*local_ips)},"remote_ip":{remote}}}'
    return (
        f'{{"id":"{session_id}","gateway":{_quoted(gateway)},"ue_ip":{ue},"uplink":{uplink},'
        f'"downlink":{downlink},{_container(qos)},"state":{state},'
        f'"created_at":"{made}","updated_at":"{changed}","counters":{counters}{more}}}'
    )


def _counters(uplink: FlowCounters | None, downlink: FlowCounters | None) -> str:
    if uplink is None or downlink is None:
        return "null"
    return f'{{"uplink":{_counter(uplink)},"downlink":{_counter(downlink)}}}'


def _counter(flow: FlowCounters) -> str:
    return f'{{"packets":{flow.packets},"bytes":{flow.bytes},"duration_seconds":{flow.seconds}}}'


_NOTHING = _counters(FlowCounters(0, 0, 0), FlowCounters(0, 0, 0))


def _dotted(address: int) -> str:
    return inet_ntoa(address.to_bytes(4, "big"))


def _time(at: datetime) -> str:
    """RFC 3339; `at` is in UTC."""
    return at.isoformat().replace("+00:00", "Z")


@lru_cache(64)
def _quoted(name: str) -> str:
    return dumps(name)


@lru_cache(64)
def _local(ipv4: IPv4Address | None, ipv6: IPv6Address | None) -> str:
    """The members that name our side."""
    named = f'"local_ip":{"null" if ipv4 is None else dumps(str(ipv4))}'
    return named if ipv6 is None else f'{named},"local_ip6":{dumps(str(ipv6))}'


@lru_cache(256)
def _container(number: int) -> str:
    """The members that speak of the PDU Session Container."""
    qos = Qos.of(number) or _NO_QOS
    shown = {
        "qfi": qos.qfi or None,
        "rqi": qos.rqi,
        "qfi_required": qos.required,
        "qfi_check": qos.check,
    }
    return dumps(shown, separators=(",", ":"))[1:-1]
