"""A session's flows."""

from __future__ import annotations

from ofgtp.core.flows.flow import (
    CookieKind,
    Decap,
    Flow,
    Match,
    Meter,
    Output,
    SetField,
    make_cookie,
    match,
    set_field,
)
from ofgtp.core.flows.pipeline import (
    DOWNLINK,
    ERROR_INDICATED_METER,
    GUARD,
    IDLE_UE_METER,
    MEASURE,
    QFI,
    UPLINK,
    DropReason,
)
from ofgtp.core.model import Qos, Session
from ofgtp.core.rules.terms import CHECKED, CONTAINED, IPV4, SESSION_PRIORITY, Links


def session_flows(session: Session, links: Links) -> tuple[Flow, Flow]:
    """A session's flows: uplink first, then downlink."""
    cookie = make_cookie(CookieKind.SESSION, session.number)
    peer, qos = session.uplink.remote_ip, session.qos
    wanted = 0 if qos is None else wanted_container(qos)
    uplink = UPLINK.flow(
        SESSION_PRIORITY,
        match(
            reg0=session.uplink.teid,
            dl_type=IPV4,
            nw_src=session.ue_ip,
            **({} if peer is None else {"reg1": peer}),
        ),
        *((SetField("reg4", wanted),) if wanted else ()),
        goto=QFI if wanted else GUARD,
        cookie=cookie,
    )
    to_ue = match(dl_type=IPV4, nw_dst=session.ue_ip)
    if session.downlink is None:
        return uplink, _drop(to_ue, DropReason.IDLE_UE, IDLE_UE_METER)
    if session.error_indicated:
        return uplink, _drop(to_ue, DropReason.ERROR_INDICATED, ERROR_INDICATED_METER)
    tunnel = (
        set_field("tun_id", session.downlink.teid),
        set_field("tun_dst", session.downlink.ip),
    )
    if qos is None:
        out = Decap(), *tunnel, Output(links.gtpu)
        return uplink, DOWNLINK.flow(SESSION_PRIORITY, to_ue, *out, cookie=cookie)
    marked = SetField("reg4", qos.octet), *tunnel
    return uplink, DOWNLINK.flow(SESSION_PRIORITY, to_ue, *marked, goto=MEASURE, cookie=cookie)


def _drop(to_ue: Match, reason: DropReason, meter: Meter) -> Flow:
    return DOWNLINK.drop(SESSION_PRIORITY, to_ue, reason, meter=meter)


def wanted_container(qos: Qos) -> int:
    """What table qfi asks of a session's uplink T-PDUs; 0: nothing."""
    return CONTAINED * qos.required | (CHECKED | qos.qfi) * qos.check
