"""Metrics: what is counted, what /metrics shows of it, and that docs and dashboard agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import eventlet
import pytest
from fake_service import GATEWAY, FakeService
from prometheus_client.parser import text_string_to_metric_families

from ofgtp import logs
from ofgtp.control.flows.counters import DEVICE_SETTLE_S, Counters
from ofgtp.control.peers.signalling import UNREADABLE, Ignored
from ofgtp.core.errors import StoreError
from ofgtp.core.flows.drops import MEANINGS, SWITCH_MEANINGS, switch_drops
from ofgtp.core.flows.flow import CookieKind, Flow, Meter, cookie_kind, make_cookie
from ofgtp.core.flows.pipeline import (
    ACCESS,
    CORE,
    DOWNLINK,
    FIT,
    FRAMED,
    GUARD,
    HELD,
    IDLE_UE_METER,
    INGRESS,
    LEASE,
    LOCAL,
    MEASURE,
    ONWARD,
    OTHER_RELAYED,
    OTHER_RULES,
    PIPELINE,
    RELAY_FIT,
    RELAYED,
    RETYPE,
    ROUTE,
    RULES,
    SENT6_METER,
    SENT_METER,
    TOO_BIG_METER,
    TOO_BIG_RELAYED_METER,
    TOO_BIG_UPLINK_METER,
    UPLINK,
    DropReason,
    Report,
    Table,
)
from ofgtp.core.flows.reconcile import Plan
from ofgtp.core.model import FTeid, Session, Uplink
from ofgtp.core.rules.base import gateway_flows, protected_networks
from ofgtp.core.rules.session import session_flows
from ofgtp.core.rules.terms import TUNNEL_HEADERS
from ofgtp.core.sessions.rules import METERS_FROM
from ofgtp.northbound.rest import RestApp
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import (
    LATENCY_BOUNDS,
    Channel,
    Disconnected,
    FlowsRefused,
    NotConfirmed,
    Tally,
)
from ofgtp.southbound.channel import connection as connection_module
from ofgtp.southbound.channel.requests import Requests
from ofgtp.southbound.portcounts import PortCounts
from tests.support.client import Client
from tests.support.sample import LINKS

ROOT = Path(__file__).parents[2]
UNREADABLE_HEADING = "Signalling that cannot be read"
SWITCH_HEADING = "What the switch drops by itself"
IGNORED_HEADING = "Signalling that leads to nothing"

# ---- /metrics


def scrape(service: FakeService) -> dict[str, Any]:
    """The families by name, as Prometheus' own parser reads them."""
    response = Client(RestApp(service)).get("/metrics")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def values(family: Any) -> dict[tuple[str, ...], float]:
    """Values by label values, in the order of the labels' names, without the gateway's."""
    return {
        tuple(v for k, v in sorted(sample.labels.items()) if k != "gateway"): sample.value
        for sample in family.samples
    }


def test_what_the_service_counts_is_shown() -> None:
    service = FakeService()
    shown = scrape(service)
    assert values(shown["ofgtp_packets"]) == {("uplink",): 10, ("downlink",): 20}
    assert values(shown["ofgtp_bytes"]) == {("uplink",): 1000, ("downlink",): 3000}
    assert values(shown["ofgtp_drops"]) == {("unknown_ue",): 7, ("vlan",): 0}
    assert values(shown["ofgtp_received_frames"]) == {("access",): 41, ("core",): 42}
    assert values(shown["ofgtp_next_hop_resolved"]) == {("4",): 1, ("6",): 0}
    own = {("arp",): 43, ("ping",): 44, ("signalling",): 45, ("router",): 46}
    assert values(shown["ofgtp_own_frames"]) == own
    switch = {(GATEWAY.ovsdb, "tunnel_pop_error"): 46, (GATEWAY.ovsdb, "rx_invalid_packet"): 0}
    assert values(shown["ofgtp_switch_drops"]) == switch
    assert values(shown["ofgtp_sessions"]) == {("active",): 0, ("pending",): 0}
    assert values(shown["ofgtp_flow_mods"]) == {("add",): 5, ("modify",): 0, ("delete",): 2}
    assert values(shown["ofgtp_openflow_errors"]) == {("BAD_FIELD", "OFPET_BAD_MATCH"): 4}
    assert values(shown["ofgtp_repairs"]) == {(): 6}
    assert values(shown["ofgtp_gateway_connected"]) == {(): 1}
    assert values(shown["ofgtp_lease_seconds"]) == {(): 10}
    assert values(shown["ofgtp_lease_renewed_timestamp_seconds"]) == {(): 1767323045.5}
    assert values(shown["ofgtp_lease_renewals"]) == {(): 42}
    assert values(shown["ofgtp_lease_expiries"]) == {(): 1}
    assert values(shown["ofgtp_gtpu_messages"]) == {
        ("received", "echo_request"): 8,
        ("sent", "echo_request"): 9,
    }
    assert values(shown["ofgtp_gtpu_ignored"]) == {("error_indication_unknown_tunnel",): 3}
    for what, value in (("sessions", 2), ("packets", 47), ("bytes", 48)):
        assert values(shown[f"ofgtp_buffer_{what}"]) == {(): value}
    assert values(shown["ofgtp_buffered_packets"]) == {("held",): 49, ("replayed",): 50}
    assert values(shown["ofgtp_gtpu_extension_headers"]) == {("0x85",): 12}
    requests = {
        ("1", "Session Establishment Request"): 7,
        ("65", "Session Deletion Request"): 1,
    }
    assert values(shown["ofgtp_pfcp_requests"]) == requests
    assert values(shown["ofgtp_pfcp_dropped"]) == {("not_allowed",): 3}
    assert values(shown["ofgtp_pfcp_received"]) == {("Heartbeat Request",): 5}
    took = {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value
        for sample in shown["ofgtp_pfcp_response_seconds"].samples
        if sample.labels["message"] == "Session Deletion Request"
    }
    assert took == {
        ("bucket", "0.001"): 3,
        ("bucket", "0.5"): 4,
        ("bucket", "+Inf"): 6,
        ("count", None): 6,
        ("sum", None): 11.25,
    }
    assert values(shown["ofgtp_pfcp_sessions"]) == {("smf.example.org",): 6}
    assert values(shown["ofgtp_pfcp_peer_up"]) == {("smf.example.org",): 1}
    assert values(shown["ofgtp_paths"]) == {("unknown",): 1, ("up",): 2, ("down",): 0}
    assert values(shown["ofgtp_neighbours"]) == {
        ("resolved",): 2,
        ("unresolved",): 1,
        ("stale",): 0,
    }
    barriers = [
        (sample.name.rpartition("_")[2], sample.labels.get("le"), sample.value)
        for sample in shown["ofgtp_barrier_seconds"].samples
    ]
    assert barriers == [
        ("bucket", "0.001", 3),
        ("bucket", "0.5", 4),
        ("bucket", "+Inf", 6),
        ("count", None, 6),
        ("sum", None, 11.25),
    ]


def test_without_a_lease_none_is_shown() -> None:
    service = FakeService()
    service.lease, service.connected = None, False
    shown = scrape(service)
    assert [s for name, f in shown.items() if "lease" in name for s in f.samples] == []
    assert values(shown["ofgtp_gateway_connected"]) == {(): 0}


def test_lines_of_the_log_that_were_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "lost", lambda: 7)
    assert values(scrape(FakeService())["ofgtp_log_lines_lost"]) == {(): 7}


def test_the_store_fails() -> None:
    service = FakeService()
    service.error = StoreError("disk full")
    response = Client(RestApp(service)).get("/metrics")
    assert response.status_code == 503
    assert response.mimetype == "application/problem+json"


# ---- docs/metrics.md and the dashboard


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of docs/metrics.md."""
    text = (ROOT / "docs/metrics.md").read_text().split(f"## {heading}\n")[1]
    text = text.split("\n#")[0]
    rows = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def exposed() -> dict[str, Any]:
    """Families under the names that queries use."""
    return {
        f"{name}_total" if family.type == "counter" else name: family
        for name, family in scrape(FakeService()).items()
    }


def test_the_document_is_complete() -> None:
    described = {
        name.strip("`"): (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in table("Metrics")
    }
    shown = {
        name: (family.type, {label for s in family.samples for label in s.labels} - {"le"})
        for name, family in exposed().items()
        if not name.startswith("process_")
    }
    assert described == shown


def test_the_document_knows_every_reason() -> None:
    described = {name.strip("`"): meaning for name, meaning in table("Reasons of drops")}
    counted = Counters().drops
    assert set(described) == set(counted)
    for reason in DropReason:
        assert described[reason.label] == reason.meaning


def test_the_document_knows_all_that_is_unreadable() -> None:
    described = {name.strip("`"): meaning for name, meaning in table(UNREADABLE_HEADING)}
    assert set(described) == set(UNREADABLE) - {reason.label for reason in DropReason}
    described |= {name.strip("`"): meaning for name, meaning in table("Reasons of drops")}
    assert described == MEANINGS, "and the page says the same"


def test_the_document_knows_what_a_switch_counts_by_itself() -> None:
    described = {name.strip("`"): meaning for name, meaning in table(SWITCH_HEADING)}
    assert described == SWITCH_MEANINGS


def test_what_a_switch_says_of_its_drops() -> None:
    shown = """\
Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash=e8a5d2ab:
datapath_drop_rx_invalid_packet   0.0/sec     0.000/sec        0.0000/sec   total: 3
drop_action_of_pipeline    0.6/sec     0.050/sec        0.0008/sec   total: 30
drop_action_congestion     0.0/sec     0.000/sec        0.0000/sec   total: 12345678901
netdev_received            1.0/sec     1.000/sec        1.0000/sec   total: 99
130 events never hit
"""
    found = switch_drops(shown)
    assert {name: count for name, count in found.items() if count} == {
        "rx_invalid_packet": 3,
        "congestion": 12345678901,
    }
    assert list(found) == list(SWITCH_MEANINGS)
    assert set(switch_drops("").values()) == {0}


def test_the_document_knows_all_that_is_ignored() -> None:
    described = {name.strip("`"): meaning for name, meaning in table(IGNORED_HEADING)}
    assert described == {str(ignored): ignored.meaning for ignored in Ignored}


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((ROOT / "etc/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    used = {name for text in asked for name in re.findall(r"\b(?:ofgtp|process)_\w+", text)}
    there = exposed()
    known = set(there) | {f"{n}_bucket" for n, f in there.items() if f.type == "histogram"}
    assert used <= known
    histograms = {"ofgtp_barrier_seconds", "ofgtp_pfcp_response_seconds"}
    own = {name for name in known if name.startswith("ofgtp_")} - histograms
    assert own <= used, "each metric has a panel"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_no_two_panels_overlap() -> None:
    dashboard = json.loads((ROOT / "etc/grafana-dashboard.json").read_text())
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


# ---- totals of a gateway


class FakeChannel:
    """Answers with the flows it holds, as the switch would."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = {flow.key: (flow, 0, 0) for flow in flows}
        self.reported = 0
        self.limited = {1: 0, 2: 0}
        self.metered: dict[int, tuple[int, int]] = {}
        """Packets and octets that passed a meter which only counts."""

    def hit(self, flow: Flow, packets: int, octets: int = 0) -> None:
        """Let packets pass a flow, and its meter; one that is not there is made."""
        if flow.meter is not None:
            through, size = self.metered.get(flow.meter, (0, 0))
            self.metered[flow.meter] = through + packets, size + octets
        _, before, octets_before = self.flows.get(flow.key, (flow, 0, 0))
        self.flows[flow.key] = flow, before + packets, octets_before + octets

    def remake(self, flow: Flow) -> None:
        self.flows[flow.key] = flow, 0, 0

    def flows_of(self, cookies: list[int]) -> list[list[of.FlowStats]]:
        found = [
            [self._stats(*f) for f in self.flows.values() if f[0].cookie == c] for c in cookies
        ]
        self.reported = sum(map(len, found))
        return found

    def _stats(self, flow: Flow, packets: int, octets: int) -> of.FlowStats:
        raw = of.encode_match(flow.match)
        match, _ = of.decode_match(raw, 0)
        does = of.encode_instructions(flow)
        counts = packets, octets
        return of.FlowStats(
            flow.table, flow.priority, flow.cookie, match, raw, does, (0, 0), *counts
        )

    def meter_counts_of(self, numbers: Iterable[int]) -> dict[int, of.MeterCounts]:
        through = {each: of.MeterCounts(n, 0, size) for each, (n, size) in self.metered.items()}
        through |= {each: of.MeterCounts(2 * n, n) for each, n in self.limited.items()}
        asked = set(numbers)
        return {number: counts for number, counts in through.items() if number in asked}


BASE = list(gateway_flows(GATEWAY, LINKS, protected_networks([GATEWAY]), 10))


def base(table: int, field: str | None = None, *, drops: bool = False) -> Flow:
    """The first base flow of a table that matches a field."""
    kind = CookieKind.DROP if drops else CookieKind.BASE
    return next(
        flow
        for flow in BASE
        if flow.table == table
        and cookie_kind(flow.cookie) is kind
        and (field is None or field in {c.field for c in flow.match})
    )


def read(
    counters: Counters, channel: FakeChannel, now: float = 0, **ports: tuple[int, int]
) -> None:
    """`ports` are frames received, and overruns, as the kernel counts them."""
    found = {port: PortCounts(*counts) for port, counts in ports.items()}
    counters.read(channel, found, now)  # type: ignore[arg-type]


def test_each_packet_is_counted_once() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    for flow in BASE:
        channel.hit(flow, 100, 100 * 200)
    read(counters, channel)
    relays = [flow for flow in BASE if leads_on_in_a_tunnel(flow)]
    assert len(relays) == 2 + 2 + 2
    longer = [flow for flow in BASE if flow.meter == TOO_BIG_RELAYED_METER.number]
    ups = 1 + len(relays) - len(longer)
    assert counters.packets == {"uplink": 100 * ups, "downlink": 100}
    as_they_came = [f for f in relays if f.table in (RELAYED.number, OTHER_RELAYED.number)]
    framed = 100 * 14 * (1 + len(relays) - len(as_they_came))
    assert counters.bytes == {
        "uplink": 20_000 * ups + framed,
        "downlink": 20_000 - 100 * TUNNEL_HEADERS,
    }
    drops = [flow for flow in BASE if cookie_kind(flow.cookie) is CookieKind.DROP]
    gone = len(drops) - len(longer)
    assert counters.drops.total() - counters.drops["too_big"] == 100 * gone


def test_outer_headers_are_taken_off_by_their_lengths() -> None:
    channel, counters = FakeChannel(()), Counters()
    channel.metered |= {SENT_METER.number: (10, 1360), SENT6_METER.number: (5, 780)}
    read(counters, channel)
    assert counters.packets["downlink"] == 15
    assert counters.bytes["downlink"] == 15 * 100


def leads_on_in_a_tunnel(flow: Flow) -> bool:
    if flow.table in (RULES.number, OTHER_RULES.number):
        return flow.goto == MEASURE.number
    relayed = flow.table in (RELAYED.number, OTHER_RELAYED.number)
    return (relayed and flow.goto == RELAY_FIT.number) or flow.table == ONWARD.number


def test_what_is_over_a_rate_is_not_forwarded() -> None:
    """Its meter is read late, when the flows have counted it; no total goes down."""
    channel, counters = FakeChannel(BASE), Counters()
    up = METERS_FROM + 128 * 5
    counters.rates.are([Meter(up, 1, 1), Meter(up + 1, 1, 1)])
    channel.hit(base(ROUTE.number), 10, 1000)
    read(counters, channel)
    assert (counters.packets["uplink"], counters.drops["rate_exceeded"]) == (10, 0)
    channel.limited |= {up: 4, up + 1: 3}
    counters.rates.read(cast(Channel, channel))
    read(counters, channel)
    assert counters.packets["uplink"] == 10
    assert counters.drops["rate_exceeded"] == 7
    channel.hit(base(ROUTE.number), 10, 1000)
    read(counters, channel)
    assert counters.packets["uplink"] == 16


def test_from_ue_to_ue_is_uplink_too() -> None:
    routed = replace(GATEWAY, ue_to_ue="route")
    links = replace(LINKS, ue_to_ue=True)
    flows = list(gateway_flows(routed, links, protected_networks([routed]), 10))
    channel, counters = FakeChannel(flows), Counters()
    pools = [f for f in flows if f.table == GUARD.number and f.goto == FRAMED.number]
    assert len(pools) == len(GATEWAY.ue_pools)
    [among] = [
        f for f in flows if f.table == FRAMED.number and f.goto == FIT.number and not f.match
    ]
    for flow in (*pools, among):
        channel.hit(flow, 3, 300 - 3 * 14)
    channel.hit(base(GUARD.number), 1, 100)
    read(counters, channel)
    assert counters.packets == {"uplink": 3, "downlink": 0}
    assert counters.bytes["uplink"] == 300


NARROW = replace(LINKS, core_mtu=1400)
METER = TOO_BIG_UPLINK_METER.number


def narrow() -> tuple[FakeChannel, Flow, Flow]:
    """A switch that compares sizes, its flow to the core port, and that for what does not fit."""
    flows = list(gateway_flows(GATEWAY, NARROW, protected_networks([GATEWAY]), 10))
    route = [flow for flow in flows if flow.table == ROUTE.number and (flow.goto or flow.actions)]
    (out,) = (flow for flow in route if flow.goto is None)
    (not_,) = (flow for flow in route if flow.goto is not None)
    return FakeChannel(flows), out, not_


def test_what_is_too_big_for_the_core_port_is_not_forwarded() -> None:
    """Both flows count all packets, some time after the meter has."""
    channel, out, not_ = narrow()
    counters = Counters()
    read(counters, channel)

    def passes(packets: int, octets: int) -> None:
        metered = dict(channel.metered)  # the size is compared between the flow and its meter
        channel.hit(out, packets, octets - 14 * packets)
        channel.hit(not_, packets, octets - 14 * packets)
        channel.metered = metered

    channel.metered[METER] = 2, 3000
    read(counters, channel)
    assert counters.packets["uplink"] == counters.bytes["uplink"] == 0
    passes(5, 3000 + 300)
    read(counters, channel)
    assert (counters.packets["uplink"], counters.bytes["uplink"]) == (3, 300)
    assert counters.drops["too_big_uplink"] == counters.standing["too_big_uplink"] == 2
    passes(1, 100)
    channel.metered[METER] = 3, 4500  # its flow is late again
    read(counters, channel)
    assert (counters.packets["uplink"], counters.bytes["uplink"]) == (3, 300)
    passes(1, 1500)
    read(counters, channel)
    assert (counters.packets["uplink"], counters.bytes["uplink"]) == (4, 400)


def test_what_was_too_big_before_the_first_look() -> None:
    """The meter outlives the flow: more cannot be taken off than that has counted since."""
    channel, out, _ = narrow()
    counters = Counters()
    channel.metered[METER] = 1000, 1_500_000
    channel.hit(out, 5, 500 - 14 * 5)
    read(counters, channel)
    assert counters.packets["uplink"] == 0
    channel.hit(out, 5, 500 - 14 * 5)
    read(counters, channel)
    assert (counters.packets["uplink"], counters.bytes["uplink"]) == (5, 500)
    assert counters.drops["too_big_uplink"] == 1000


def test_a_meter_that_was_made_anew() -> None:
    channel, out, _ = narrow()
    counters = Counters()
    channel.metered[METER] = 10, 15_000
    read(counters, channel)
    channel.metered[METER] = 1, 1500
    channel.hit(out, 3, 1700 - 14 * 3)
    read(counters, channel)
    assert (counters.packets["uplink"], counters.bytes["uplink"]) == (2, 200)
    assert counters.drops["too_big_uplink"] == 11


def test_totals_survive_flows_made_anew() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    route, out = base(ROUTE.number), base(LOCAL.number, "udp_dst")
    drop = base(GUARD.number, drops=True)
    for round_ in range(1, 4):
        for flow in (route, out, drop):
            channel.hit(flow, 5, 1000)
        read(counters, channel)
        read(counters, channel)
        assert counters.packets == {"uplink": 5 * round_, "downlink": 5 * round_}
        assert counters.bytes["uplink"] == (1000 + 14 * 5) * round_
        assert counters.drops["protected_destination"] == 5 * round_
        if round_ == 2:
            for flow in (route, out, drop):
                channel.remake(flow)


def test_octets_that_fall_are_no_flow_made_anew() -> None:
    """As of T-PDUs cut off in their header, which the switch takes for nearly 4 GiB."""
    channel, counters = FakeChannel(BASE), Counters()
    drop = base(GUARD.number, drops=True)
    channel.hit(drop, 5, 1000)
    channel.hit(base(ROUTE.number), 5, 1000)
    read(counters, channel)
    channel.hit(drop, 1, -4)
    channel.hit(base(ROUTE.number), 1, -4)
    read(counters, channel)
    assert counters.drops["protected_destination"] == counters.packets["uplink"] == 6
    assert counters.bytes["uplink"] == 1000 + 14 * 6


def idle(number: int) -> Flow:
    session = Session(
        number, f"s{number}", "gw1", IPv4Address("10.45.0.0") + number, Uplink(1), None
    )
    return session_flows(session, LINKS)[1]


def test_idle_ues_that_wake_up_do_not_count_twice() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    channel.hit(idle(1), 10)
    channel.hit(idle(2), 4)
    read(counters, channel)
    assert counters.drops["idle_ue"] == 14
    channel.hit(idle(1), 2)
    del channel.flows[idle(1).key]
    read(counters, channel)
    assert counters.drops["idle_ue"] == 16, "with what it had counted since"
    channel.hit(idle(2), 3)
    read(counters, channel)
    assert counters.drops["idle_ue"] == 19


def test_meters_count_as_drops() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    channel.limited = {1: 6, 2: 9}
    read(counters, channel)
    channel.limited = {1: 8, 2: 2}
    read(counters, channel)
    assert counters.drops["rate_limited_ping"] == 8
    assert counters.drops["rate_limited_arp"] == 11
    channel.limited = {5: 3}
    read(counters, channel)
    assert counters.drops["too_big"] == 6, "what comes to that meter, not what its band drops"


def test_what_is_too_big_for_an_idle_ue_is_no_packet_of_it() -> None:
    """The switch counts it on that UE's flow, too, but sends it by the meter of the other."""
    channel, counters = FakeChannel(BASE), Counters()
    channel.hit(idle(1), 3)
    channel.metered[TOO_BIG_METER.number] = 2, 3000
    channel.metered[IDLE_UE_METER.number] = 1, 100
    read(counters, channel)
    assert (counters.drops["idle_ue"], counters.drops["too_big"]) == (1, 2)
    assert counters.standing["idle_ue"] == 1


def test_the_cost_does_not_grow_with_the_sessions() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    read(counters, channel)
    before = channel.reported
    for number in range(2, 300):
        session = Session(
            number,
            f"s{number}",
            "gw1",
            IPv4Address("10.45.0.0") + number,
            Uplink(number),
            FTeid(number, IPv4Address("10.1.0.2")),
        )
        for flow in (*session_flows(session, LINKS), idle(number + 1000)):
            channel.hit(flow, 1, 100)
    read(counters, channel)
    assert channel.reported == before
    assert counters.packets.total() == 0


# ---- what went in and came out nowhere


ASKED = make_cookie(CookieKind.REPORT, Report.ROUTER_SOLICITATION)
GATEWAY6 = replace(
    GATEWAY,
    ue_pools6=(IPv6Network("2001:db8:a::/48"),),
    core_ip6=IPv6Interface("2001:db8:c::1/64"),
    next_hop6=IPv6Address("2001:db8:c::2"),
)
BASE6 = list(
    gateway_flows(
        GATEWAY6, replace(LINKS, peer_mac6=LINKS.peer_mac), protected_networks([GATEWAY6]), 10
    )
)


def passed(
    table: Table,
    priority: int | None = None,
    *,
    drop: bool = False,
    among: Sequence[Flow] = BASE,
    **asked: int,
) -> Flow:
    """The first base flow of a table with these conditions."""
    kind = CookieKind.DROP if drop else None
    return next(
        flow
        for flow in among
        if flow.table == table.number
        and priority in (None, flow.priority)
        and (cookie_kind(flow.cookie) is CookieKind.DROP) == drop
        and kind in (None, cookie_kind(flow.cookie))
        and asked.items() <= {c.field: c.value for c in flow.match}.items()
    )


RECEIVED_ACCESS = passed(INGRESS, in_port=LINKS.access)
RECEIVED_CORE = passed(INGRESS, in_port=LINKS.core)
TUNNELLED = passed(ACCESS, udp_dst=2152)
TO_UE = passed(CORE, 80)
DELIVERED = {
    "uplink": (RECEIVED_ACCESS, TUNNELLED, passed(ROUTE)),
    "downlink": (RECEIVED_CORE, TO_UE, passed(LOCAL, udp_dst=2152)),
    "no session": (RECEIVED_ACCESS, TUNNELLED, passed(UPLINK, 0, drop=True)),
    "signalling": (RECEIVED_ACCESS, TUNNELLED, passed(RETYPE, 100, nw_src=0, udp_dst=2152)),
    "unknown UE": (RECEIVED_CORE, TO_UE, passed(DOWNLINK, drop=True)),
    "no lease up": (RECEIVED_ACCESS, TUNNELLED, passed(LEASE, drop=True)),
    "no lease down": (RECEIVED_CORE, passed(LEASE, drop=True)),
    "ARP": (RECEIVED_ACCESS, passed(ACCESS, 102, arp_op=1)),
    "other ARP": (RECEIVED_ACCESS, passed(ACCESS, 100, dl_type=0x806)),
    "ping": (RECEIVED_ACCESS, passed(ACCESS, icmp_type=8)),
    "core's ARP": (RECEIVED_CORE, passed(CORE, 90, arp_op=1)),
    "core's ping": (RECEIVED_CORE, passed(CORE, 90, icmp_type=8)),
    "next hop": (RECEIVED_CORE, passed(CORE, 100, arp_op=2)),
    "not for us": (RECEIVED_ACCESS, passed(ACCESS, 0, drop=True)),
    "no UE": (RECEIVED_CORE, passed(CORE, 0, drop=True)),
    "ICMP error": (RECEIVED_ACCESS, passed(ACCESS, 90, drop=True, icmp_type=3)),
}
"""The flows that count a packet, by what becomes of it."""


def passed6(table: Table, priority: int | None = None, **asked: Any) -> Flow:
    """Of IPv6."""
    return passed(table, priority, among=BASE6, dl_type=0x86DD, **asked)


DELIVERED6 = {
    **DELIVERED,
    "IPv6 uplink": (RECEIVED_ACCESS, TUNNELLED, passed6(ROUTE)),
    "IPv6 downlink": (RECEIVED_CORE, passed6(CORE, 103), passed(LOCAL, udp_dst=2152)),
    "a UE asks its router": (
        RECEIVED_ACCESS,
        TUNNELLED,
        next(flow for flow in BASE6 if flow.cookie == ASKED),
    ),
    "core's solicitation": (RECEIVED_CORE, passed6(CORE, 90, icmpv6_type=135)),
    "core's probe": (RECEIVED_CORE, passed6(CORE, 100, icmpv6_type=135)),
    "core's IPv6 ping": (RECEIVED_CORE, passed6(CORE, 90, icmpv6_type=128)),
    "IPv6 next hop": (RECEIVED_CORE, passed6(CORE, 100, icmpv6_type=136)),
}
"""The same with IPv6."""
OWN6 = {
    "a UE asks its router": "router",
    "core's IPv6 ping": "ping",
    **dict.fromkeys(("core's solicitation", "core's probe", "IPv6 next hop"), "arp"),
}


def settled(
    counters: Counters, channel: FakeChannel, start: float, **ports: tuple[int, int]
) -> float:
    """Read until all that may be counted late is; the time then."""
    for _ in range(3):
        start += DEVICE_SETTLE_S
        read(counters, channel, start, **ports)
    return start


def came(channel: FakeChannel, **more: int) -> dict[str, tuple[int, int]]:
    """What the kernel says of the ports: what the switch has taken, what of more it has not."""
    flows = {"access": RECEIVED_ACCESS, "core": RECEIVED_CORE}
    return {
        port: (10**6 + channel.flows[flow.key][1] + more.get(port, 0), 0)
        for port, flow in flows.items()
    }


@pytest.mark.parametrize(
    ("base", "kinds", "what"),
    [
        *((BASE, DELIVERED, what) for what in DELIVERED),
        *((BASE6, DELIVERED6, what) for what in DELIVERED6),
    ],
    ids=[*DELIVERED, *(f"{what}, beside IPv6" for what in DELIVERED6)],
)
def test_a_packet_that_has_an_end_is_not_lost(
    base: list[Flow], kinds: dict[str, tuple[Flow, ...]], what: str
) -> None:
    """And what came in is what went out, what was for the gateway, and what was dropped."""
    channel, counters = FakeChannel(base), Counters()
    now = settled(counters, channel, 0, **came(channel))
    for number, flows in enumerate(kinds.values()):
        for flow in flows:
            channel.hit(flow, number + 1)
    own = dict(counters.own)
    for flow in kinds[what]:
        channel.hit(flow, 1000)
    settled(counters, channel, now + 1, **came(channel))
    for reckoned in ("tunnel_error", "not_sent", "access_not_taken", "core_not_taken"):
        assert counters.drops[reckoned] == 0
    ended = counters.packets.total() + counters.own.total() + counters.drops.total()
    assert sum(counters.received.values()) == ended
    assert ended == 1000 + sum(range(len(kinds) + 1))
    if what in OWN6:
        assert counters.own[OWN6[what]] >= own[OWN6[what]] + 1000


def test_what_comes_out_nowhere_is_lost() -> None:
    """However often a lease is renewed, which makes its flows anew."""
    channel, counters = FakeChannel(BASE), Counters()
    now = settled(counters, channel, 0)
    lease = base(LEASE.number)
    for _ in range(3):
        channel.hit(lease, 10)
        read(counters, channel, now)
        channel.remake(lease)
    for flows in DELIVERED.values():
        for flow in flows:
            channel.hit(flow, 50)
    for flow in (RECEIVED_ACCESS, TUNNELLED):
        channel.hit(flow, 7)
    for flow in (RECEIVED_CORE, TO_UE):
        channel.hit(flow, 3)
    now = settled(counters, channel, now + 1)
    assert (counters.drops["tunnel_error"], counters.drops["not_sent"]) == (7, 3)
    assert (counters.standing["tunnel_error"], counters.standing["not_sent"]) == (7, 3)
    channel.remake(TUNNELLED)
    now = settled(counters, channel, now + 1)
    assert counters.drops["tunnel_error"] == 7, "a flow made anew is no news"
    for flow in (RECEIVED_ACCESS, TUNNELLED):
        channel.hit(flow, 2)
    settled(counters, channel, now + 1)
    assert counters.drops["tunnel_error"] == 9


def test_what_the_switch_was_too_slow_to_take() -> None:
    """The kernel counts from 0 again when the switch opens its port anew."""
    channel, counters = FakeChannel(BASE), Counters()
    channel.hit(RECEIVED_ACCESS, 5)
    read(counters, channel, access=(900, 10), core=(100, 2))
    read(counters, channel, access=(903, 13), core=(100, 2))
    read(counters, channel, access=(907, 4), core=(100, 2))
    assert (counters.drops["access_overrun"], counters.drops["core_overrun"]) == (17, 2)
    assert counters.received == {"access": 5 + 10 + 7, "core": 2}
    assert counters.standing["access_overrun"] == 4


def test_what_the_switch_did_not_take() -> None:
    channel, counters = FakeChannel(BASE), Counters()
    now = settled(counters, channel, 0, **came(channel))
    channel.hit(RECEIVED_CORE, 9)
    now = settled(counters, channel, now, **came(channel, core=4))
    assert (counters.drops["access_not_taken"], counters.drops["core_not_taken"]) == (0, 4)
    assert counters.received == {"access": 0, "core": 13}
    # a port that is gone is no port that takes nothing
    now = settled(counters, channel, now)
    settled(counters, channel, now, **came(channel, core=4))
    assert counters.drops["core_not_taken"] == 4


def test_gateways_of_one_switch_show_its_drops_once() -> None:
    service = FakeService()
    (one,) = service.metrics()
    service.metrics = lambda: [one, replace(one, name="gw2")]  # type: ignore[method-assign]
    text = Client(RestApp(service)).get("/metrics").text
    assert text.count('reason="tunnel_pop_error"') == 1


def test_base_flows_are_few() -> None:
    """131 compare QFIs, 101 find what is in front of the packet, 95 serve sessions of rules, and
    130 idle UEs."""
    assert len(BASE) < 140 + 246 + 95 + 130
    assert len({flow.table for flow in BASE}) == len(PIPELINE)


# ---- what a channel counts


class Switch:
    """The other end of a channel: answers barriers and bundles, and records."""

    def __init__(self) -> None:
        self.channel = Channel(self.take)
        self.answers = True
        self.error_on: of.Type | None = None

    def take(self, data: bytes) -> None:
        while data:
            kind, size = data[1], int.from_bytes(data[2:4], "big")
            xid = int.from_bytes(data[4:8], "big")
            eventlet.spawn(self.answer, kind, xid, data[8:size])
            data = data[size:]

    def answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == self.error_on:
            self.channel.receive(of.Type.ERROR, xid, b"\0\4\0\6")
        elif kind == of.Type.BARRIER_REQUEST and self.answers:
            self.channel.receive(of.Type.BARRIER_REPLY, xid, b"")
        elif kind == of.Type.BUNDLE_CONTROL:
            self.channel.receive(kind, xid, body)


@pytest.fixture
def switch() -> Iterator[Switch]:
    yield Switch()


def test_flow_mods_and_barriers_are_counted(switch: Switch) -> None:
    channel, tally = switch.channel, switch.channel.tally
    channel.apply(Plan(add=BASE[:3], modify=BASE[3:4], delete=BASE[4:6]))
    channel.renew(BASE[:2])
    channel.delete_ours()
    assert tally.flow_mods == {"add": 5, "modify": 1, "delete": 3}
    assert sum(tally.barriers) == 3
    assert len(tally.barriers) == len(LATENCY_BOUNDS) + 1
    assert 0 < tally.barrier_seconds < 1
    assert not tally.errors


def test_errors_are_counted(switch: Switch) -> None:
    switch.error_on = of.Type.BUNDLE_ADD
    with pytest.raises(FlowsRefused):
        switch.channel.apply(Plan(add=BASE[:2]))
    assert switch.channel.tally.errors == {"OFPET_BAD_MATCH: BAD_FIELD": 2}


def test_barriers_without_an_answer(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=iter((10.0, 15.2, 20.0)).__next__)
    monkeypatch.setattr(connection_module, "time", clock)
    monkeypatch.setattr(Requests, "wait", refuse(NotConfirmed("late")))
    with pytest.raises(NotConfirmed):
        switch.channel.barrier()
    assert switch.channel.tally.barriers[-1] == 1
    assert switch.channel.tally.barrier_seconds == pytest.approx(5.2)
    monkeypatch.setattr(Requests, "wait", refuse(Disconnected("gone")))
    with pytest.raises(Disconnected):
        switch.channel.barrier()
    assert sum(switch.channel.tally.barriers) == 1


def refuse(error: Exception) -> Any:
    def wait(*_: object) -> None:
        raise error

    return wait


def test_classes_of_latency() -> None:
    tally = Tally()
    for seconds in (0.0001, 0.00011, 5.0, 5.01):
        tally.took(seconds)
    assert (tally.barriers[0], tally.barriers[1]) == (1, 1)
    assert tally.barriers[-2:] == [1, 1]
    assert sum(tally.barriers) == 4


def test_what_is_held_has_not_been_lost() -> None:
    """Shown to the controller, held, replayed, dropped there, or lost on the way there."""
    channel, counters = FakeChannel(BASE), Counters()
    share = next(flow for flow in BASE if flow.table == HELD.number)
    entered = next(
        flow
        for flow in BASE
        if flow.table == CORE.number and flow.goto is not None and flow.goto != FRAMED.number
    )
    for now in (0.0, 3.0):
        read(counters, channel, now)
    channel.hit(entered, 100, 100 * 200)
    channel.hit(share, 100, 100 * 200)
    counters.shown = 90
    counters.dropped("buffer_timeout", 5)
    counters.dropped("idle_ue", 7)
    for now in (4.0, 7.0, 10.0):
        read(counters, channel, now)
    lost = {name: counters.drops[name] for name in ("not_sent", "buffer_full")}
    assert lost == {"not_sent": 0, "buffer_full": 10}
    assert (counters.drops["buffer_timeout"], counters.drops["idle_ue"]) == (5, 7)
    assert {name: counters.standing[name] for name in ("buffer_timeout", "idle_ue")} == {
        "buffer_timeout": 5,
        "idle_ue": 7,
    }
