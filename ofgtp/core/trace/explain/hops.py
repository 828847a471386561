"""What a flow's cookie and its actions say."""

from __future__ import annotations

from ofgtp.core.flows.flow import CookieKind, cookie_kind, cookie_number
from ofgtp.core.flows.pipeline import DropReason, Report
from ofgtp.core.trace.oftrace import Hop
from ofgtp.core.trace.verdict import TABLES


def drop_reason(hop: Hop) -> DropReason:
    """Why a flow of ofgtp's drops."""
    number, table = cookie_number(hop.cookie), TABLES.get(hop.table)
    found = next((reason for reason in DropReason if reason == number), None)
    # else the flows are of another release
    return found or (table.miss if table else None) or DropReason.UNKNOWN_PORT


def is_solicitation(hop: Hop) -> bool:
    """Whether a flow shows Router Solicitations to the controller."""
    kind, number = cookie_kind(hop.cookie), cookie_number(hop.cookie)
    return kind is CookieKind.REPORT and number == Report.ROUTER_SOLICITATION


def far(hop: Hop) -> str:
    """The peer that it sets."""
    return set_by(hop, "tun_dst") or set_by(hop, "tun_ipv6_dst")


def set_by(hop: Hop, field: str) -> str:
    """What an action writes to a field; nothing if none does."""
    end = f"->{field}"
    found = (action for action in hop.actions if action.startswith("set_field:"))
    values = [each.removeprefix("set_field:")[: -len(end)] for each in found if each.endswith(end)]
    return values[0] if values else ""
