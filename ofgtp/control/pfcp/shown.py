"""A PFCP session as its control plane made it, ready for JSON."""

from __future__ import annotations

from typing import Any

from ofgtp.control.pfcp.clock import NTP_SECONDS, ntp_time
from ofgtp.core.pfcp.rules import prefix_of
from ofgtp.core.pfcp.session import PfcpSession, local_teid
from ofgtp.core.pfcp.usage import Measured
from ofgtp.core.pfcp.wire.grouped import CreateFar, CreatePdr, CreateQer
from ofgtp.core.pfcp.wire.values import Bitrates
from ofgtp.core.rules.counts import Counts

NOTHING: dict[str, Any] = {
    "user": None,
    "apn_dnn": None,
    **{kind: [] for kind in ("pdrs", "fars", "qers", "urrs", "bars")},
}
"""A session that no control plane made."""


def rules(session: PfcpSession) -> dict[str, Any]:
    """Whose it is, and its rules by kind, each with its id."""
    return {
        "user": session.user,
        "apn_dnn": session.apn_dnn,
        "pdrs": [_pdr(each) for each in session.pdrs.values()],
        "fars": [_far(each) for each in session.fars.values()],
        "qers": [_qer(each) for each in session.qers.values()],
        "urrs": [_urr(session, number) for number in session.urrs],
        "bars": [{"id": number} for number in session.bars],
    }


def _pdr(pdr: CreatePdr) -> dict[str, Any]:
    pdi = pdr.pdi
    address = pdi.ue_ip_address
    ue = None if address is None else address.ipv4
    ue6 = None if address is None else prefix_of(address)
    filters = [
        {
            "id": each.filter_id,
            "description": each.description,
            "traffic_class": each.traffic_class and list(each.traffic_class),
        }
        for each in pdi.sdf_filters
    ]
    return {
        "id": pdr.pdr_id,
        "precedence": pdr.precedence,
        "source": pdi.source_interface.name.lower(),
        "teid": local_teid(pdr),
        "ue_ip": None if ue is None else str(ue),
        "ue_ipv6": None if ue6 is None else str(ue6),
        "network_instance": pdi.network_instance,
        "filters": filters,
        "qfis": list(pdi.qfis),
        "framed_routes": list(pdi.framed_routes),
        "framed_ipv6_routes": list(pdi.framed_ipv6_routes),
        "far": pdr.far_id,
        "qers": list(pdr.qer_ids),
        "urrs": list(pdr.urr_ids),
    }


def _far(far: CreateFar) -> dict[str, Any]:
    parameters = far.forwarding_parameters
    header = None if parameters is None else parameters.outer_header_creation
    tunnel = None
    if header is not None and (ip := header.ipv4 or header.ipv6) is not None:
        tunnel = {"teid": header.teid or 0, "remote_ip": str(ip)}
    return {
        "id": far.far_id,
        "action": [flag.name for flag in far.apply_action],
        "destination": None
        if parameters is None
        else parameters.destination_interface.name.lower(),
        "network_instance": None if parameters is None else parameters.network_instance,
        "tunnel": tunnel,
        "bar": far.bar_id,
    }


def _qer(qer: CreateQer) -> dict[str, Any]:
    up, down = (gate.name.lower() for gate in qer.gate_status)
    return {
        "id": qer.qer_id,
        "gate": {"uplink": up, "downlink": down},
        "mbr": _rates(qer.mbr),
        "gbr": _rates(qer.gbr),
        "qfi": qer.qfi,
        "rqi": bool(qer.rqi),
    }


def _urr(session: PfcpSession, number: int) -> dict[str, Any]:
    measured = session.usage.urrs.get(number, Measured(NTP_SECONDS))
    method = session.urrs[number].measurement_method
    return {
        "id": number,
        "measures": [str(flag.name).lower() for flag in method],
        "reports": measured.sequence,
        "since": ntp_time(measured.since).isoformat().replace("+00:00", "Z"),
        "uplink": _counts(measured.uplink),
        "downlink": _counts(measured.downlink),
        "quota_exhausted": bool(measured.closed),
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {"packets": counts.packets, "bytes": counts.octets}


def _rates(rates: Bitrates | None) -> dict[str, int] | None:
    if rates is None:
        return None
    return {"uplink_kbps": rates.uplink, "downlink_kbps": rates.downlink}
