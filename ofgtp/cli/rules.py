"""A session of the API's JSON -> its rules, as the controller makes them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

from ofgtp.cli.selectors import read_shown
from ofgtp.core.filters import Network
from ofgtp.core.model import FTeid, Qos, Session, Uplink
from ofgtp.core.sessions.detail import Bearer, Detail, Gate, Relay
from ofgtp.core.sessions.rule import Rule
from ofgtp.core.sessions.rules import rules_of


def read_qos(session: dict[str, Any]) -> Qos | None:
    """What a session says of the PDU Session Container; a controller of an earlier release has
    nothing to say of it."""
    if not session.get("qfi"):
        return None
    return Qos(session["qfi"], session["rqi"], session["qfi_required"], session["qfi_check"])


def read_far(tunnel: dict[str, Any] | None) -> FTeid | None:
    """A tunnel of a peer's."""
    return None if tunnel is None else FTeid(tunnel["teid"], ip_address(tunnel["remote_ip"]))


def read_ipv6(session: dict[str, Any]) -> IPv6Network | None:
    """The UE's prefix."""
    prefix = session.get("ue_ipv6")
    return None if prefix is None else IPv6Network(prefix)


def read_rules(session: dict[str, Any]) -> tuple[Rule, ...]:
    """Its rules; none of a session that is but a tunnel pair."""
    if "bearers" not in session or session["uplink"] is None:
        return ()
    core = session.get("core")
    detail = Detail(
        bearers=tuple(_bearer(each, session) for each in session["bearers"]),
        relay=None if core is None else Relay(core["teid"], _relay_to(core)),
        breakout=tuple(map(IPv4Network, session.get("breakout") or ())),
        framed_routes=_prefixes(session.get("framed_routes")),
        ue_ipv6=read_ipv6(session),
        used_up=session.get("closed") is not None,
        buffer=session.get("buffer"),
    )
    ue = session["ue_ip"]
    return rules_of(
        Session(
            number=0,
            id=session["id"],
            gateway=session["gateway"],
            ue_ip=None if ue is None else IPv4Address(ue),
            uplink=_uplink(session["uplink"]),
            downlink=read_far(session["downlink"]),
            qos=read_qos(session),
            detail=detail,
        )
    )


def _bearer(shown: dict[str, Any], session: dict[str, Any]) -> Bearer:
    base, qos = read_qos(session), None
    if shown["qfi"]:
        base = base or Qos(shown["qfi"])
        qos = Qos(shown["qfi"], base.rqi, base.required, base.check)
    return Bearer(
        id=shown["id"],
        precedence=shown["precedence"],
        filters=tuple(map(read_shown, shown["filters"])),
        uplink=None if shown["uplink"] is None else _uplink(shown["uplink"]),
        downlink=read_far(shown.get("downlink")),
        shares_downlink="downlink" not in shown,
        qos=qos,
        gate=Gate(shown["gate"]),
        used_up=shown.get("closed") is not None,
        error_indicated=shown["error_indicated"],
    )


def _uplink(shown: dict[str, Any]) -> Uplink:
    peer = shown["remote_ip"]
    return Uplink(shown["teid"], None if peer is None else IPv4Address(peer))


def _relay_to(core: dict[str, Any]) -> FTeid:
    return FTeid(core["remote_teid"], IPv4Address(core["remote_ip"]))


def _prefixes(shown: list[str] | None) -> tuple[Network, ...]:
    return tuple(IPv6Network(each) if ":" in each else IPv4Network(each) for each in shown or ())
