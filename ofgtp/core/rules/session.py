"""A session's flows: two of one that is but a tunnel pair, those of its rules of any other."""

from __future__ import annotations

from ofgtp.core.flows.flow import (
    CookieKind,
    Decap,
    Flow,
    Match,
    Meter,
    Output,
    RuleError,
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
from ofgtp.core.model import Session
from ofgtp.core.rules import ruleset
from ofgtp.core.rules.ruleset import Owned
from ofgtp.core.rules.terms import IPV4, SESSION_PRIORITY, Links, wanted_container


def session_flows(session: Session, links: Links) -> tuple[Flow, ...]:
    """All flows of a session; of one that is but a tunnel pair, uplink first, then downlink."""
    if session.detail is None:
        return tunnel_pair_flows(session, links)
    return tuple(owned.flow for owned in ruleset.flows(session, session.detail, links))


def tunnel_pair_flows(session: Session, links: Links) -> tuple[Flow, Flow]:
    """The flows of a session without detail: what is made of its two rules, by the short way that
    `southbound/prepared.py` holds its bytes to."""
    if session.ue_ip is None or session.uplink is None:
        raise RuleError(f"session {session.id} has neither a UE address nor rules")
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


def owned_flows(session: Session, links: Links) -> list[Owned]:
    """The same, each with the rule whose it is."""
    if session.detail is not None:
        return list(ruleset.flows(session, session.detail, links))
    up, down = tunnel_pair_flows(session, links)
    return [
        Owned(up, "", "uplink", group=0, rest=""),
        Owned(down, "", "downlink", group=0, rest=""),
    ]


def _drop(to_ue: Match, reason: DropReason, meter: Meter) -> Flow:
    return DOWNLINK.drop(SESSION_PRIORITY, to_ue, reason, meter=meter)
