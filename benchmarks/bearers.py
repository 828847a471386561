"""What bearers cost: many at once beside the switch's own tool, and on the way of packets."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import blast, site
from benchmarks.batch import OFCTL, OTHER, expect, others
from benchmarks.measure import Row, samples, timed
from benchmarks.traffic import WAYS, Ends, Run, arrives, ends, frame, pin, sending, window
from benchmarks.variety import CONNECTIONS, keep, megaflows_of, way_of

ROUNDS, PACKET_ROUNDS = 3, 9
WARM_S, WINDOW_S = 0.15, 0.4
LENGTH, PORT = 64, 9000
MOST_KBPS = 100_000_000
OTHERS = 1_000
"""UEs beside the one that is looked at."""

Session = dict[str, Any]


def bearer(name: str, precedence: int, *filters: str | Session, **members: Any) -> Session:
    return {"id": name, "precedence": precedence, "filters": list(filters), **members}


# --- many at once


DEDICATED = (
    ("voice", 10, "permit out udp from 10.2.0.0/24 to assigned"),
    ("video", 20, "permit out tcp from 10.2.1.0/24 to assigned"),
)


def with_dedicated(number: int, count: int) -> Session:
    """Session `number` with dedicated bearers, which have tunnels of their own, beside the default
    one: that is the session's tunnel pair."""
    made = site.session(number)
    up, down = made["uplink"]["teid"], made["downlink"]

    def own(place: int) -> Session:
        far = {"teid": down["teid"] + place * 1_000_000, "remote_ip": down["remote_ip"]}
        return {"uplink": {"teid": up + place * 1_000_000}, "downlink": far}

    some = enumerate(DEDICATED[:count], 1)
    return {**made, "bearers": [bearer(*each, **own(place)) for place, each in some]}


def many(sessions: int) -> list[Row]:
    """The rows `batch` and `memory`: with one dedicated bearer each, and half as many with two."""
    return [*_many(sessions, 1), *_many(max(sessions // 2, 1), 2)]


def _many(sessions: int, dedicated: int) -> list[Row]:
    put: list[float] = []
    add: list[float] = []
    bearers = 1 + dedicated
    with site.lab() as lab:
        site.add_bridge(lab, OTHER)
        site.started(lab, "controller")
        base, size = site.flow_count(lab), site.rss(lab)
        parts = [
            site.ndjson({"op": "put", "session": with_dedicated(n, dedicated)} for n in some)
            for some in (range(sessions // 2), range(sessions // 2, sessions))
        ]
        deletes = site.deletes(range(sessions))
        each = memory = 0.0
        for _ in range(ROUNDS):
            with timed(put):
                for part in parts:  # one body would be longer than a batch may be
                    site.batch(lab, part)
            memory = max(memory, site.rss(lab) - size)
            lines = site.session_flows(lab)
            each = len(lines) / sessions
            expect(site.flow_count(lab) - base, len(lines), "flows after the batch")
            flows = site.file(lab, "flows", lines)
            site.batch(lab, deletes)
            with timed(add):
                lab.exec("gw", [*OFCTL, "add-flows", OTHER, flows])
            expect(others(lab), len(lines), "flows added by ovs-ofctl")
            lab.ofctl("del-flows", OTHER)
    mine, other = samples(put), samples(add)
    ratio = other.median / mine.median
    of_one = memory / sessions / bearers / 1000
    words = {1: "the default one and a dedicated one", 2: "the default one and two dedicated ones"}
    return [
        Row(
            f"{sessions:,} sessions with {bearers} bearers each by `:batch`",
            str(mine),
            f"{other} `ovs-ofctl --bundle add-flows`",
            ratio,
            "0.9 of its speed, 3 flows a bearer or fewer",
            ratio >= 0.9 and each <= 3 * bearers,
            [
                f"In 3GPP's words: {words[dedicated]}, each with a tunnel pair of its own, the "
                f"dedicated with a filter: {each:g} flows a session. The same flows, in the same "
                f"switch, on another bridge without ports; {ROUNDS} runs of each in turn."
            ],
        ),
        Row(
            f"memory of the controller with {bearers} bearers a session",
            f"{of_one:.2f} kB a bearer",
            reach="0.5 kB",
            reached=of_one <= 0.5,
            notes=[
                "Resident memory after that batch less that of the controller when it had no "
                f"session, by bearers ({words[dedicated]}); the most of {ROUNDS} runs."
            ],
        ),
    ]


# --- on the way of packets

FILTERED = [
    bearer("voice", 10, "permit out udp from any 5004-5060 to assigned"),
    bearer("web", 20, "permit out tcp from any 80 to assigned"),
    bearer("rest", 30, f"permit out udp from any {PORT} to assigned"),
]
RATES = {"uplink_kbps": MOST_KBPS, "downlink_kbps": MOST_KBPS}
METERED = {**FILTERED[2], "mbr": RATES}


def packets(_: int = 1, *, rounds: int = PACKET_ROUNDS, window_s: float = WINDOW_S) -> list[Row]:
    """The rows `filters` and `meters`."""
    return [*_filters(rounds, window_s), *_meters(rounds, window_s)]


def _filters(rounds: int, window_s: float) -> Iterator[Row]:
    ways: dict[str, dict[str, Session]] = {
        "plain": {"bearers": []},
        "filtered": {"bearers": FILTERED},
    }
    for number, whose, least in ((0, "a UE with three filters", 0.9), (1, "a UE beside it", 1.0)):
        for way, runs in _compared(ways, number, rounds, window_s):
            yield _row(f"{whose}, {way}", runs, "filtered", "plain", least)


def _meters(rounds: int, window_s: float) -> Iterator[Row]:
    ways = {
        "without": {"ambr": None, "bearers": [FILTERED[2]]},
        "one meter": {"ambr": RATES, "bearers": [FILTERED[2]]},
        "two meters": {"ambr": RATES, "bearers": [METERED]},
    }
    for way, runs in _compared(ways, 0, rounds, window_s):
        for meters in ("one meter", "two meters"):
            yield _row(f"{meters}, {way}", runs, meters, "without", 0.97)


def _compared(
    kinds: Mapping[str, Session], number: int, rounds: int, window_s: float
) -> Iterator[tuple[str, dict[str, list[Run]]]]:
    """Packets of session `number` while session 0 is changed to each of these kinds in turn."""
    with site.lab() as lab:
        site.started(lab, "controller")
        site.batch(lab, site.puts([0, 1]))
        there = ends(lab)
        pin(lab)
        for way in WAYS:
            runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
            for _ in range(rounds):
                for kind, taken in runs.items():
                    path = f"/v1/sessions/{site.session(0)['id']}"
                    answer = lab.http("PATCH", path, kinds[kind])
                    expect(answer.status, 200, f"PATCH, {answer.body!r}")
                    taken.append(_run(lab, way, there, number, window_s))
            yield way, runs


def _run(lab: site.Lab, way: str, there: Ends, number: int, seconds: float) -> Run:
    data = frame(way, there, site.session(number), ttl=64, length=LENGTH, port=PORT)
    arrives(lab, way, [data], inner=data[-LENGTH:])
    frames = lab.dir / "frames"
    blast.write(frames, [data])
    with sending(lab, way, frames, rate=0, seconds=WARM_S + seconds + 5, nice=5):
        time.sleep(WARM_S)
        return window(lab, way, seconds)


def _row(measure: str, runs: dict[str, list[Run]], kind: str, plain: str, least: float) -> Row:
    ours, beside = (
        samples((run.capacity / 1e3 for run in runs[each]), "kpackets/s") for each in (kind, plain)
    )
    ratio = ours.median / beside.median
    return Row(
        measure,
        str(ours),
        f"{beside} {plain}",
        ratio,
        f"{least} of it",
        ratio >= least,
        [
            f"{LENGTH} octets, inner TTL 64; changed by PATCH between the windows, in turn. "
            "No rate is reached."
        ],
    )


# --- the cache


def megaflows(sessions: int) -> list[Row]:
    """The row `megaflows`: ports in filters, and many connections."""
    most = min(sessions, CONNECTIONS[-1])
    chance = random.Random(2)
    mixed = [
        bearer("a", 10, "permit out udp from any 5004-5060 to assigned"),
        bearer("b", 20, "permit out tcp from 10.0.0.0/8 443,8443 to assigned"),
        bearer("c", 30, "permit out ip from 172.16.0.0/12 to assigned"),
        bearer("d", 40, "permit out udp from any to assigned 40000-40999"),
        bearer("e", 50, {"protocol": "udp", "dscp": 46, "remote_ports": "1-1023"}),
    ]
    with site.lab() as lab:
        site.started(lab, "controller")
        beside = [
            site.session(number)
            | {
                "bearers": [
                    bearer(
                        f"b{place}",
                        place,
                        f"permit out udp from any {chance.randrange(1, 65536)} to assigned",
                    )
                    for place in range(5)
                ]
            }
            for number in range(2, 2 + min(sessions, OTHERS))
        ]
        filtered = site.session(0) | {"bearers": mixed}
        site.batch(
            lab,
            site.ndjson(
                {"op": "put", "session": each} for each in (filtered, site.session(1), *beside)
            ),
        )
        keep(lab)
        found = {number: megaflows_of(lab, site.session(number), most) for number in (0, 1)}
        up, down = way_of(lab, site.session(1))
    return [
        Row(
            f"megaflows while one UE with five filters has {most:,} connections",
            str(found[0]),
            f"{found[1]} of a UE without filters beside it",
            reach="1,000; 1 downlink without filters",
            reached=found[0] <= 1000 and down == 1,
            notes=[
                f"{min(sessions, OTHERS):,} more UEs have five filters with random ports each. "
                "UDP both ways with hosts anywhere in the IPv4 address space, each at a port of "
                f"its own. Of those of a UE without filters {down} is downlink and {up} are uplink "
                "packets out of their tunnel, by the prefixes that no UE may reach, as in the row "
                "above; the rest are the tunnel's and ARP."
            ],
        )
    ]
