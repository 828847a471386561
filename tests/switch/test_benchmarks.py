"""The benchmarks run, and measure something: with few sessions, and no time is judged."""

from __future__ import annotations

import pytest

from benchmarks import (
    batch,
    bearers,
    ipv6,
    lifecycle,
    paging,
    pfcp,
    run,
    single,
    thresholds,
    throughput,
    underload,
    variety,
)
from benchmarks.measure import COLUMNS, Row, figure, quantile, samples, table

pytestmark = pytest.mark.switch

SESSIONS = 20


def verify(rows: list[Row], count: int) -> None:
    """Every row has its figures, and can be printed."""
    assert len(rows) == count
    for row in rows:
        assert any(char.isdigit() for char in row.ofgtp), row
        assert row.notes and all(row.notes), row
        assert row.ratio is None or (row.ratio > 0 and row.against and row.reach), row
        assert (row.reached is None) == (not row.reach), row
    text = run.document(rows, 1.0, 0.5)
    assert all(row.measure in text for row in rows)
    lines = table(rows).splitlines()
    assert len(lines) == count + 2
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


def test_batches_beside_ovs_ofctl() -> None:
    rows = batch.run(SESSIONS)
    verify(rows, 3)
    assert rows[2].reached, "a lease expired"


def test_batches_of_sessions_with_bearers() -> None:
    verify(bearers.many(SESSIONS), 4)


def test_sessions_by_pfcp_beside_rest() -> None:
    rows = pfcp.run(SESSIONS, rounds=1)
    verify(rows, 9)
    assert "; 0 flow-mods; " in rows[6].ofgtp


def test_packets_for_idle_ues() -> None:
    rows = paging.run(SESSIONS, rounds=3, ues=20, cycles=1, rate=50)
    verify(rows, 3)
    assert "of 20 UEs all packets delivered in order" in rows[1].ofgtp
    assert rows[2].ofgtp.startswith("0 lost, ")


def test_reports_at_thresholds() -> None:
    verify(thresholds.run(SESSIONS, first_s=0.5, last_s=1.0, flood_s=0.1), 1)


@pytest.mark.long
def test_packets_of_bearers() -> None:
    verify(bearers.packets(rounds=1, window_s=0.1), 8)
    verify(bearers.megaflows(SESSIONS), 1)


@pytest.mark.long
def test_single_requests_beside_ofctl_rest() -> None:
    verify(single.run(SESSIONS), 2)


def test_restart_repair_and_memory() -> None:
    rows = lifecycle.restart(SESSIONS, rounds=1)
    verify(rows, 3)
    assert "; 0 flow-mods, 0 packets lost" in rows[0].ofgtp


@pytest.mark.long
def test_restart_and_repair_under_load() -> None:
    rows = underload.run(6_000, rounds=1, calm_s=0.5)
    verify(rows, 3)
    assert "0 flow-mods" in rows[0].ofgtp
    assert "Of the 3 comparisons 3 were in slices" in rows[0].notes[0]


@pytest.mark.long
def test_start_and_stop() -> None:
    verify(lifecycle.start(SESSIONS, rounds=1), 1)
    verify(lifecycle.stop(SESSIONS, rounds=1), 2)


def test_throughput_beside_flows_by_hand() -> None:
    cases = [("uplink", 128, 64), ("downlink", 64, 1400)]
    verify(throughput.run(SESSIONS, rounds=1, window_s=0.1, cases=cases), 2)


@pytest.mark.long
def test_many_connections_and_many_ues() -> None:
    rows = variety.megaflows(SESSIONS, seconds=1.0)
    verify(rows, 1)
    assert rows[0].reached
    verify(variety.upcalls(SESSIONS, warm_s=0.2, window_s=1.0), 1)


@pytest.mark.long
def test_ipv6_beside_ipv4() -> None:
    verify(ipv6.run(SESSIONS, rounds=1, window_s=0.1), 8)
    rows = ipv6.megaflows(SESSIONS, seconds=1.0)
    verify(rows, 1)
    assert rows[0].reached


def test_figures() -> None:
    assert figure(1234.4) == "1,234" and figure(0.01234) == "0.0123" and figure(2.0) == "2"
    assert str(samples([3.0, 1.0, 2.0])) == "2 s (1 to 3)" and str(samples([1.0])) == "1 s"
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0 and quantile([1.0, 2.0, 3.0], 0.5) == 2.0
