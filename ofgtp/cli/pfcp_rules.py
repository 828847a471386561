"""A session as `GET /v1/sessions/{id}/rules` shows it -> its rules, and what each is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from ofgtp.core.pfcp.rules import rules_of
from ofgtp.core.pfcp.session import PfcpSession, placed
from ofgtp.core.pfcp.usage import Measured, Usage
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Creation, Gate, Interface, UsageTrigger
from ofgtp.core.pfcp.wire.grouped import CreateFar, CreatePdr, CreateQer, ForwardingParameters, Pdi
from ofgtp.core.sessions.rule import Rule

Json = dict[str, Any]
US = IPv4Address("0.0.0.0")
"""Stands where only the other end of a tunnel matters."""


def read(shown: Json) -> tuple[Rule, ...]:
    """Its rules, in the order in which they are asked."""
    qers = _by_id(map(_qer, shown["qers"]))
    session = PfcpSession(
        "",
        v.FSeid(0, US),
        0,
        pdrs=_by_id(map(_pdr, shown["pdrs"])),
        fars=_by_id(map(_far, shown["fars"])),
        qers=qers,
        places=placed(qers, {}),
        usage=Usage({each["id"]: _measured(each) for each in shown["urrs"]}),
    )
    return rules_of(session, ipv6=True).rules


def names(shown: Json) -> Mapping[str, str]:
    """Of each PDR its name, with the FAR and the QERs that it names."""
    return {str(pdr["id"]): _name(pdr) for pdr in shown["pdrs"]}


def _name(pdr: Json) -> str:
    numbers = ", ".join(map(str, pdr["qers"]))
    qers = f", QER{'s' if len(pdr['qers']) > 1 else ''} {numbers}" if pdr["qers"] else ""
    return f"PDR {pdr['id']} (FAR {pdr['far']}{qers})"


def _pdr(shown: Json) -> CreatePdr:
    pdi = Pdi(
        Interface[shown["source"].upper()],
        local_fteid=None if shown["teid"] is None else v.FTeid(shown["teid"], US),
        ue_ip_address=_ue(shown),
        sdf_filters=tuple(map(_filter, shown["filters"])),
        qfis=tuple(shown["qfis"]),
        framed_routes=tuple(shown["framed_routes"]),
        framed_ipv6_routes=tuple(shown.get("framed_ipv6_routes", ())),
    )
    qers = tuple(shown["qers"])
    urrs = tuple(shown["urrs"])
    return CreatePdr(
        shown["id"], shown["precedence"], pdi, far_id=shown["far"], urr_ids=urrs, qer_ids=qers
    )


def _ue(shown: Json) -> v.UeIpAddress | None:
    ipv4, ipv6 = shown["ue_ip"], shown.get("ue_ipv6")
    if ipv4 is None and ipv6 is None:
        return None
    prefix = None if ipv6 is None else IPv6Network(ipv6)
    return v.UeIpAddress(
        None if ipv4 is None else IPv4Address(ipv4),
        None if prefix is None else prefix.network_address,
        prefix_length=None if prefix is None else prefix.prefixlen,
    )


def _measured(shown: Json) -> Measured:
    """As far as it decides what passes: a quota that is used up."""
    closed = UsageTrigger.VOLQU if shown.get("quota_exhausted") else UsageTrigger(0)
    return Measured(0, closed=closed)


def _filter(shown: Json) -> v.SdfFilter:
    octets = shown["traffic_class"]
    return v.SdfFilter(shown["description"], octets and tuple(octets), filter_id=shown["id"])


def _far(shown: Json) -> CreateFar:
    action = Action(0)
    for flag in shown["action"]:
        action |= Action[flag]
    parameters = None
    if shown["destination"] is not None:
        tunnel, header = shown["tunnel"], None
        if tunnel is not None:
            ip, teid = ip_address(tunnel["remote_ip"]), tunnel["teid"]
            header = (
                v.OuterHeaderCreation(Creation.GTPU_UDP_IPV6, teid, ipv6=ip)
                if isinstance(ip, IPv6Address)
                else v.OuterHeaderCreation(Creation.GTPU_UDP_IPV4, teid, ip)
            )
        to = Interface[shown["destination"].upper()]
        parameters = ForwardingParameters(to, None, header)
    return CreateFar(shown["id"], action, parameters)


def _qer(shown: Json) -> CreateQer:
    gate = v.GateStatus(
        Gate[shown["gate"]["uplink"].upper()], Gate[shown["gate"]["downlink"].upper()]
    )
    mbr = shown["mbr"] and v.Bitrates(shown["mbr"]["uplink_kbps"], shown["mbr"]["downlink_kbps"])
    return CreateQer(shown["id"], gate, mbr, None, shown["qfi"], shown["rqi"])


def _by_id(rules: Iterable[Any]) -> dict[int, Any]:
    return {rule[0]: rule for rule in rules}


# --- in words


def lines(shown: Json) -> Iterator[str]:
    """Its rules as an operator reads them, one a line."""
    for pdr in shown["pdrs"]:
        yield f"{_name(pdr)}: {', '.join(_of_pdr(pdr))}"
    for far in shown["fars"]:
        yield f"FAR {far['id']}: {' '.join(far['action'])}{_to(far)}"
    for qer in shown["qers"]:
        yield f"QER {qer['id']}: {', '.join(_of_qer(qer))}"
    for urr in shown["urrs"]:
        yield f"URR {urr['id']}{', its quota is used up' if urr.get('quota_exhausted') else ''}"
    for bar in shown["bars"]:
        yield f"BAR {bar['id']}"


def _of_pdr(pdr: Json) -> Iterator[str]:
    yield "no precedence" if pdr["precedence"] is None else f"precedence {pdr['precedence']}"
    yield f"from {pdr['source']}"
    if pdr["teid"] is not None:
        yield f"TEID {pdr['teid']:#x}"
    if ue := [each for each in (pdr["ue_ip"], pdr.get("ue_ipv6")) if each is not None]:
        yield f"UE {' '.join(ue)}"
    if pdr["network_instance"]:
        yield f"network instance {pdr['network_instance']}"
    if pdr["qfis"]:
        yield f"QFI {' or '.join(map(str, pdr['qfis']))}"
    for each in pdr["filters"]:
        number = "" if each["id"] is None else f" {each['id']}"
        octets = each["traffic_class"]
        tos = "" if octets is None else f" ToS {octets[0]:#04x}/{octets[1]:#04x}"
        yield f"SDF filter{number}{tos}: {each['description'] or 'as in another PDR'}"
    if routes := [*pdr["framed_routes"], *pdr.get("framed_ipv6_routes", ())]:
        yield f"framed routes {' '.join(routes)}"


def _to(far: Json) -> str:
    to = "" if far["destination"] is None else f" to {far['destination']}"
    if far["tunnel"] is not None:
        to += f", tunnel {far['tunnel']['teid']:#x} at {far['tunnel']['remote_ip']}"
    return to if far["bar"] is None else f"{to}, BAR {far['bar']}"


def _of_qer(qer: Json) -> Iterator[str]:
    yield f"gate {qer['gate']['uplink']} uplink, {qer['gate']['downlink']} downlink"
    for name in ("mbr", "gbr"):
        if qer[name] is not None:
            up, down = qer[name]["uplink_kbps"], qer[name]["downlink_kbps"]
            yield f"{name.upper()} {up} kbit/s up, {down} kbit/s down"
    if qer["qfi"] is not None:
        yield f"QFI {qer['qfi']}{' with RQI' if qer['rqi'] else ''}"
