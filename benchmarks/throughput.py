"""Packets and bits a second, beside the smallest flow set by hand, with more and more UEs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import blast, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import WAYS, Ends, Run, arrives, ends, frame, pin, sending, window

HAND = "br-hand"
TTLS = (64, 128)
LENGTHS = (64, 1400)
"""Of the inner packet, in bytes."""

STEPS = (1, 1_000, 10_000, 100_000)
ROUNDS = 5
WARM_S, WINDOW_S = 0.15, 0.4

Case = tuple[str, int, int]
"""Way, inner TTL, length."""


CASES = tuple((way, ttl, size) for size in LENGTHS for ttl in TTLS for way in WAYS)


def run(
    sessions: int,
    *,
    rounds: int = ROUNDS,
    window_s: float = WINDOW_S,
    cases: Sequence[Case] = CASES,
) -> list[Row]:
    """A row for each way, inner TTL and length."""
    steps = sorted({min(step, sessions) for step in STEPS})
    found: dict[Case, dict[int, _Pair]] = {case: {} for case in cases}
    with _by_ofgtp() as ours, _by_hand() as theirs:
        there = 0
        for step in steps:
            site.batch(ours.lab, site.puts(range(there, step)))
            there = step
            for case in cases:
                pair = found[case][step] = _Pair([], [])
                ours.prepare(case)
                theirs.prepare(case)
                for _ in range(rounds):
                    pair.hand.append(theirs.measure(case, window_s))
                    pair.ofgtp.append(ours.measure(case, window_s))
    return [_row(case, pairs) for case, pairs in found.items()]


@dataclass(frozen=True, slots=True)
class _Pair:
    ofgtp: list[Run]
    hand: list[Run]

    @property
    def ratio(self) -> float:
        return _capacity(self.ofgtp) / _capacity(self.hand)

    @property
    def by_clock(self) -> float:
        mine, other = ([run.rate for run in runs] for runs in (self.ofgtp, self.hand))
        return samples(mine).median / samples(other).median


def _capacity(runs: Sequence[Run]) -> float:
    return samples(run.capacity for run in runs).median


def _row(case: Case, steps: dict[int, _Pair]) -> Row:
    way, ttl, length = case
    worst = min(pair.ratio for pair in steps.values())
    least, most = min(steps), max(steps)
    flat = _capacity(steps[most].ofgtp) / _capacity(steps[least].ofgtp)
    lines = [
        "| sessions | ofgtp | by hand | ratio | by the clock: ofgtp | by hand | ratio | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step, pair in steps.items():
        load = samples(run.load for run in (*pair.ofgtp, *pair.hand)).median
        clock = (samples((run.rate / 1e3 for run in runs), "k") for runs in (pair.ofgtp, pair.hand))
        cells = (
            f"{step:,}",
            _shown(pair.ofgtp, length),
            _shown(pair.hand, length),
            f"{pair.ratio:.2f}",
            *map(str, clock),
            f"{pair.by_clock:.2f}",
            f"{load:.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return Row(
        f"{way}, inner TTL {ttl}, {length} bytes",
        f"{_shown(steps[most].ofgtp, length)} with {most:,}",
        f"{_shown(steps[most].hand, length)} by hand",
        worst,
        "0.95 of it with any number of sessions, flat",
        worst >= 0.95 and flat >= 0.95,
        [
            "\n".join(lines),
            f"The ratio above is the least of these. With {most:,} sessions ofgtp passes "
            f"{flat:.2f} of what it passes with {least:,}.",
        ],
    )


def _shown(runs: Sequence[Run], length: int) -> str:
    if length == max(LENGTHS):
        return str(samples((run.bits / 1e6 for run in runs), "Mbit/s"))
    return str(samples((run.capacity / 1e3 for run in runs), "kpackets/s"))


@dataclass(frozen=True, slots=True)
class _Way:
    """A gateway with the means to load it."""

    lab: site.Lab
    ends: Ends
    ttl_chosen: bool
    """Whether the flows are for one inner TTL, and must be set for each."""

    def prepare(self, case: Case) -> None:
        """Make ready for a case; the packets must come through rightly."""
        way, ttl, length = case
        if self.ttl_chosen:
            _write_flows(self.lab, self.ends, ttl)
        data = frame(way, self.ends, site.session(0), ttl=ttl, length=length)
        arrives(self.lab, way, [data], inner=data[-length:])
        blast.write(self.lab.dir / "frames", [data])

    def measure(self, case: Case, seconds: float) -> Run:
        way, frames = case[0], self.lab.dir / "frames"
        with sending(self.lab, way, frames, rate=0, seconds=WARM_S + seconds + 5, nice=5):
            time.sleep(WARM_S)
            return window(self.lab, way, seconds)


@contextmanager
def _by_ofgtp() -> Iterator[_Way]:
    with site.lab() as lab:
        site.started(lab, "controller")
        pin(lab)
        yield _Way(lab, ends(lab), False)


@contextmanager
def _by_hand() -> Iterator[_Way]:
    """The smallest gateway for one session, without a controller."""
    access, core = "02:00:00:00:00:01", "02:00:00:00:00:02"
    tunnel = "options:remote_ip=flow options:key=flow options:local_ip=10.1.0.1"
    ports = {
        "eth1": "ofport_request=1",
        "eth2": "ofport_request=2",
        "gtpu": f"ofport_request=3 type=gtpu options:packet_type=ptap {tunnel}",
    }
    rules = "\n".join(
        (
            "table netdev hand {",
            'chain a { type filter hook ingress device "eth1" priority 0; policy drop; }',
            'chain b { type filter hook ingress device "eth2" priority 0; policy drop; }',
            'chain c { type filter hook egress device "eth1" priority 0;',
            "meta protocol ip udp dport 2152 udp checksum set 0; }; }",
        )
    )
    with site.lab() as lab:
        site.add_bridge(lab, HAND)
        lab.vsctl("set", "bridge", HAND, f'other_config:hwaddr="{access}"')
        for port, options in ports.items():
            lab.vsctl("add-port", HAND, port, "--", "set", "interface", port, *options.split())
        lab.exec("gw", ["ip", "addr", "add", "10.1.0.1/24", "dev", HAND])
        lab.exec("gw", ["ip", "link", "set", HAND, "up"])
        lab.exec("gw", ["nft", rules])
        lab.appctl("tnl/neigh/set", HAND, "10.1.0.2", lab.mac("enb"))
        pin(lab)
        yield _Way(lab, Ends(access, core, lab.mac("enb"), lab.mac("pdn")), True)


def _write_flows(lab: site.Lab, there: Ends, ttl: int) -> None:
    """Flows for one session and one inner TTL: what is not typed rightly must be typed anew."""
    session = site.session(0)
    ue_ip, down = session["ue_ip"], session["downlink"]
    forward = f"set_field:{there.core}->eth_src,set_field:{there.pdn}->eth_dst,output:2"
    known = f"in_port=3,tun_id={session['uplink']['teid']}"
    flows = [
        "in_port=1,arp actions=LOCAL",
        "in_port=1,udp,tp_dst=2152 actions=LOCAL",
        "in_port=LOCAL actions=output:1",
        f"in_port=2,ip,nw_dst={ue_ip} actions=decap(),set_field:{down['teid']}->tun_id,"
        f"set_field:{down['remote_ip']}->tun_dst,output:3",
    ]
    if ttl == 64:
        flows.append(
            f"{known},packet_type=(1,0x800),nw_src={ue_ip} actions=encap(ethernet),{forward}"
        )
    else:
        flows.append(
            f"{known},packet_type=(0,0),dl_dst=40:00:00:00:00:00/f0:00:00:00:00:00 "
            "actions=encap(mpls),encap(ethernet),pop_mpls:0x0800,goto_table:1"
        )
        flows.append(f"table=1,ip,nw_src={ue_ip} actions={forward}")
    lab.ofctl("del-flows", HAND)
    lab.ofctl("--bundle", "add-flows", HAND, site.file(lab, "hand", flows))
