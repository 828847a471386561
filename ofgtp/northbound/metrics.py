"""`/metrics`: what the service counts, for Prometheus. docs/metrics.md describes each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from ofgtp import logs
from ofgtp.core.pfcp.node.associations import PeerState
from ofgtp.northbound.service import GatewayMetrics, Histogram, PfcpView, Service


class Exposition:
    """Writes a service's metrics, and those of this process."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gateways(service))
        self._registry.register(_Process())
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics as they are now.

        Raises:
            StoreError: the sessions cannot be counted.
        """
        return generate_latest(self._registry)


class _Gateways(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Ask the service, and put what it says into families."""
        gateways = self._service.metrics()
        yield from _states(gateways)
        yield from _traffic(gateways)
        yield from _buffers(gateways)
        yield from _signalling(gateways)
        yield from _openflow(gateways)
        yield from _usage(gateways)
        yield from _leases(gateways)
        yield from _pfcp(self._service.pfcp())


class _Process(Collector):
    def collect(self) -> Iterator[Metric]:
        """What concerns no gateway in particular."""
        yield CounterMetricFamily(
            "ofgtp_log_lines_lost",
            "Lines of the log that could not be written in time, or not at all",
            value=logs.lost(),
        )


def _states(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    connected = GaugeMetricFamily(
        "ofgtp_gateway_connected",
        "1 if the switch is connected and its flows have been compared, else 0",
        labels=["gateway"],
    )
    in_sync = GaugeMetricFamily(
        "ofgtp_gateway_in_sync",
        "1 if the switch has exactly the flows of the stored sessions, else 0",
        labels=["gateway"],
    )
    sessions = GaugeMetricFamily("ofgtp_sessions", "Sessions by state", labels=["gateway", "state"])
    next_hops = GaugeMetricFamily(
        "ofgtp_next_hop_resolved",
        "1 if the core side's next hop answers ARP or neighbour discovery, else 0, by IP version",
        labels=["gateway", "ip_version"],
    )
    repairs = CounterMetricFamily(
        "ofgtp_repairs",
        "Times that flows, nftables rules or host settings changed by others were put right",
        labels=["gateway"],
    )
    for gateway in gateways:
        connected.add_metric([gateway.name], gateway.connected)
        in_sync.add_metric([gateway.name], gateway.in_sync)
        for state, count in gateway.sessions.items():
            sessions.add_metric([gateway.name, state], count)
        for version, answers in gateway.next_hops.items():
            next_hops.add_metric([gateway.name, version], answers)
        repairs.add_metric([gateway.name], gateway.repairs)
    yield from (connected, in_sync, sessions, next_hops, repairs)


def _pfcp(nodes: Sequence[PfcpView]) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "ofgtp_pfcp_received",
        "PFCP messages received from peers, by message",
        labels=["gateway", "message"],
    )
    seconds = HistogramMetricFamily(
        "ofgtp_pfcp_response_seconds",
        "Time from a request about a session or an association to its answer, by message",
        labels=["gateway", "message"],
    )
    requests = CounterMetricFamily(
        "ofgtp_pfcp_requests",
        "PFCP requests that were answered, but for heartbeats, by message and cause",
        labels=["gateway", "message", "cause"],
    )
    dropped = CounterMetricFamily(
        "ofgtp_pfcp_dropped",
        "PFCP messages that were not answered, by reason",
        labels=["gateway", "reason"],
    )
    sessions = GaugeMetricFamily(
        "ofgtp_pfcp_sessions", "Sessions of control planes", labels=["gateway", "node_id"]
    )
    up = GaugeMetricFamily(
        "ofgtp_pfcp_peer_up",
        "1 if a control plane answers heartbeats, else 0",
        labels=["gateway", "node_id"],
    )
    for node in nodes:
        for (message, cause), count in node.answered.items():
            requests.add_metric([node.gateway, message, str(cause)], count)
        for reason, count in node.dropped.items():
            dropped.add_metric([node.gateway, reason], count)
        for each in node.associations:
            labels = [node.gateway, each.node_id]
            sessions.add_metric(labels, each.sessions)
            up.add_metric(labels, each.state is PeerState.UP)
        for kind, count in node.received.items():
            received.add_metric([node.gateway, kind], count)
        for kind, times in node.response_times.items():
            seconds.add_metric([node.gateway, kind], _buckets(times), times.sum)
    yield from (received, requests, dropped, seconds, sessions, up)


def _traffic(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    packets = CounterMetricFamily(
        "ofgtp_packets",
        "Users' packets forwarded, by direction",
        labels=["gateway", "direction"],
    )
    octets = CounterMetricFamily(
        "ofgtp_bytes",
        "Bytes of users' packets forwarded, without the tunnel's headers, by direction",
        labels=["gateway", "direction"],
    )
    drops = CounterMetricFamily(
        "ofgtp_drops", "Packets dropped, by reason", labels=["gateway", "reason"]
    )
    received = CounterMetricFamily(
        "ofgtp_received_frames",
        "Frames that came in by a gateway's port, by port",
        labels=["gateway", "port"],
    )
    own = CounterMetricFamily(
        "ofgtp_own_frames",
        "Frames received for the gateway itself, neither over a limit nor unreadable, by kind",
        labels=["gateway", "kind"],
    )
    switches = CounterMetricFamily(
        "ofgtp_switch_drops",
        "Packets that Open vSwitch dropped by itself, of all its bridges together, by reason",
        labels=["ovsdb", "reason"],
    )
    for ovsdb, found in {each.ovsdb: each.switch_drops for each in gateways}.items():
        for reason, count in found.items():
            switches.add_metric([ovsdb, reason], count)
    for gateway in gateways:
        for port, count in gateway.received.items():
            received.add_metric([gateway.name, port], count)
        for kind, count in gateway.own.items():
            own.add_metric([gateway.name, kind], count)
        for direction, forwarded in gateway.forwarded.items():
            packets.add_metric([gateway.name, direction], forwarded.packets)
            octets.add_metric([gateway.name, direction], forwarded.bytes)
        for reason, count in gateway.drops.items():
            drops.add_metric([gateway.name, reason], count)
    yield from (packets, octets, received, own, drops, switches)


def _buffers(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    so_far = CounterMetricFamily(
        "ofgtp_buffered_packets",
        "Packets for idle UEs that were held, and those of them that were replayed into a tunnel",
        labels=["gateway", "what"],
    )
    now = {
        what: GaugeMetricFamily(f"ofgtp_buffer_{what}", f"{text} held now", labels=["gateway"])
        for what, text in (
            ("sessions", "Sessions of which packets are"),
            ("packets", "Packets for idle UEs that are"),
            ("bytes", "Bytes of these, with Ethernet headers, that are"),
        )
    }
    for gateway in gateways:
        for what in ("held", "replayed"):
            so_far.add_metric([gateway.name, what], gateway.buffer.get(what, 0))
        for what, family in now.items():
            family.add_metric([gateway.name], gateway.buffer.get(what, 0))
    yield from (so_far, *now.values())


def _signalling(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "ofgtp_gtpu_messages",
        "GTP-U signalling messages, by type and direction",
        labels=["gateway", "type", "direction"],
    )
    ignored = CounterMetricFamily(
        "ofgtp_gtpu_ignored",
        "GTP-U signalling messages that were read and then ignored, by reason",
        labels=["gateway", "reason"],
    )
    extension_headers = CounterMetricFamily(
        "ofgtp_gtpu_extension_headers",
        "T-PDUs with extension headers, by the type of the header",
        labels=["gateway", "type"],
    )
    paths = GaugeMetricFamily(
        "ofgtp_paths", "GTP-U peers in use, by the state of the path", labels=["gateway", "state"]
    )
    neighbours = GaugeMetricFamily(
        "ofgtp_neighbours",
        "Next hops of GTP-U peers on the access side, by what ARP knows of them",
        labels=["gateway", "state"],
    )
    for gateway in gateways:
        for (kind, direction), count in gateway.gtpu_messages.items():
            messages.add_metric([gateway.name, kind, direction], count)
        for reason, count in gateway.gtpu_ignored.items():
            ignored.add_metric([gateway.name, reason], count)
        for kind, count in gateway.extension_headers.items():
            extension_headers.add_metric([gateway.name, kind], count)
        for path, count in gateway.paths.items():
            paths.add_metric([gateway.name, path], count)
        for state, count in gateway.neighbours.items():
            neighbours.add_metric([gateway.name, state], count)
    yield from (messages, ignored, extension_headers, paths, neighbours)


def _openflow(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    flow_mods = CounterMetricFamily(
        "ofgtp_flow_mods",
        "Flow-mods carried out by the switch, by command",
        labels=["gateway", "command"],
    )
    barriers = HistogramMetricFamily(
        "ofgtp_barrier_seconds",
        "Time from a barrier request to its reply; unanswered ones are above all bounds",
        labels=["gateway"],
    )
    errors = CounterMetricFamily(
        "ofgtp_openflow_errors",
        "OpenFlow errors that the switch reported",
        labels=["gateway", "type", "code"],
    )
    for gateway in gateways:
        for command in ("add", "modify", "delete"):
            flow_mods.add_metric([gateway.name, command], gateway.flow_mods.get(command, 0))
        barriers.add_metric([gateway.name], _buckets(gateway.barriers), gateway.barriers.sum)
        for error, count in gateway.openflow_errors.items():
            kind, _, code = error.partition(": ")
            errors.add_metric([gateway.name, kind, code], count)
    yield from (flow_mods, barriers, errors)


def _usage(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    polled = CounterMetricFamily(
        "ofgtp_usage_polled_sessions",
        "Sessions that were looked at in turn for what they have used",
        labels=["gateway"],
    )
    rounds = CounterMetricFamily(
        "ofgtp_usage_rounds", "Looks at all sessions in turn that were ended", labels=["gateway"]
    )
    seconds = GaugeMetricFamily(
        "ofgtp_usage_round_seconds",
        "What the last look at all sessions in turn took",
        labels=["gateway"],
    )
    for gateway in gateways:
        polled.add_metric([gateway.name], gateway.rounds.polled)
        rounds.add_metric([gateway.name], gateway.rounds.made)
        seconds.add_metric([gateway.name], gateway.rounds.seconds)
    yield from (polled, rounds, seconds)


def _leases(gateways: Sequence[GatewayMetrics]) -> Iterator[Metric]:
    seconds = GaugeMetricFamily(
        "ofgtp_lease_seconds",
        "Forwarding ends so long after the last renewal; absent if the switch owns the tunnels",
        labels=["gateway"],
    )
    renewed = GaugeMetricFamily(
        "ofgtp_lease_renewed_timestamp_seconds",
        "When the lease was last renewed, in Unix time",
        labels=["gateway"],
    )
    renewals = CounterMetricFamily(
        "ofgtp_lease_renewals", "Renewals of the lease sent", labels=["gateway"]
    )
    expiries = CounterMetricFamily(
        "ofgtp_lease_expiries",
        "Times that one of the lease's two flows ran out while the switch was connected",
        labels=["gateway"],
    )
    for gateway in gateways:
        if gateway.lease is None:
            continue
        seconds.add_metric([gateway.name], gateway.lease.seconds)
        if gateway.lease.renewed_at is not None:
            renewed.add_metric([gateway.name], gateway.lease.renewed_at)
        renewals.add_metric([gateway.name], gateway.lease.renewals)
        expiries.add_metric([gateway.name], gateway.lease.expiries)
    yield from (seconds, renewed, renewals, expiries)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
