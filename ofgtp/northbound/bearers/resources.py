"""Sessions and bearers as they may be written again: what a PATCH changes."""

from __future__ import annotations

from typing import Any

from ofgtp.core.model import FTeid, Session
from ofgtp.core.sessions.detail import Bearer, Rates, UsageLimits
from ofgtp.northbound.bearers.filters import show_filter


def resource(session: Session) -> dict[str, Any]:
    """What a session has beyond a tunnel pair, as it may be written again; nothing where it has
    nothing."""
    detail = session.detail
    if detail is None:
        return {}
    made: dict[str, Any] = {}
    if detail.ambr:
        made["ambr"] = _rates(detail.ambr)
    if detail.usage:
        made["usage"] = _usage(detail.usage)
    if detail.bearers:
        made["bearers"] = [bearer_resource(each) for each in detail.bearers]
    if detail.relay is not None:
        relay = detail.relay
        made["core"] = {
            "teid": relay.teid,
            "remote_teid": relay.remote.teid,
            "remote_ip": str(relay.remote.ip),
        }
    if detail.breakout:
        made["breakout"] = [str(each) for each in detail.breakout]
    if detail.framed_routes:
        made["framed_routes"] = [str(each) for each in detail.framed_routes]
    if detail.ue_ipv6 is not None:
        made["ue_ipv6"] = str(detail.ue_ipv6)
    if detail.buffer is not None:
        made["buffer"] = detail.buffer
    return made


def bearer_resource(bearer: Bearer) -> dict[str, Any]:
    """A bearer as it may be written again."""
    made: dict[str, Any] = {
        "id": bearer.id,
        "precedence": bearer.precedence,
        "filters": [show_filter(each) for each in bearer.filters],
        "gate": bearer.gate.value,
    }
    if bearer.uplink is not None:
        peer = bearer.uplink.remote_ip
        made["uplink"] = {"teid": bearer.uplink.teid}
        if peer is not None:
            made["uplink"]["remote_ip"] = str(peer)
    if not bearer.shares_downlink:
        far = bearer.downlink
        made["downlink"] = None if far is None else _far(far)
    if bearer.qos is not None:
        made["qfi"] = bearer.qos.qfi
    if bearer.mbr:
        made["mbr"] = _rates(bearer.mbr)
    if bearer.usage:
        made["usage"] = _usage(bearer.usage)
    return made


def _far(far: FTeid) -> dict[str, Any]:
    return {"teid": far.teid, "remote_ip": str(far.ip)}


def _usage(usage: UsageLimits) -> dict[str, int | None]:
    return {
        "threshold_bytes": usage.threshold,
        "quota_bytes": usage.quota,
        "inactivity_seconds": usage.inactivity,
    }


def _rates(rates: Rates) -> dict[str, int]:
    named = {"uplink_kbps": rates.uplink, "downlink_kbps": rates.downlink}
    return {name: rate for name, rate in named.items() if rate is not None}
