"""Uplink T-PDUs that are typed rightly: parsed twice, and, by a flow put above, three times."""

from __future__ import annotations

import time

from benchmarks import blast, site
from benchmarks.measure import Row, samples
from benchmarks.traffic import Ends, Run, arrives, ends, frame, pin, sending, window

TTL, LENGTH = 64, 64
"""Of the inner packet; the length is in bytes."""
STEPS = (1, 1_000)
ROUNDS = 15
WARM_S, WINDOW_S = 1.5, 0.4
"""In the first the cache fills again."""
REACH = 1.05

ASKED = "table=20,priority=85,packet_type=(1,0x800),tun_gtpu_flags=0x30"
ANEW = (
    "encap(mpls),encap(ethernet),move:reg7[0..2]->mpls_tc[],move:tun_id[0..31]->pkt_mark[],"
    "move:tun_src[0..19]->mpls_label[],push_vlan:0x8100,"
    "move:tun_src[20..31]->OXM_OF_VLAN_VID[0..11],set_field:4->vlan_pcp"
)
"""What table normalise does with what is typed wrongly (`ofgtp.core.rules.normalise`)."""
COOKIE = "0x7a"


def run(sessions: int, *, rounds: int = ROUNDS, window_s: float = WINDOW_S) -> list[Row]:
    """The row `parsings`."""
    steps = sorted({min(step, sessions) for step in STEPS})
    with site.lab() as lab:
        site.started(lab, "controller")
        pin(lab)
        way = _Way(lab)
        found = {}
        for step in steps:
            site.batch(lab, site.puts(range(step)))
            way.prepare(step)
            pairs = [way.pair(number, window_s) for number in range(rounds)]
            found[step] = pairs
    ratios = {step: _ratio(pairs) for step, pairs in found.items()}
    most = found[steps[-1]]
    told = "; ".join(
        f"{step:,}: {ratios[step]:.3f} ({', '.join(f'{share:.2f}' for share in _shares(pairs))})"
        for step, pairs in found.items()
    )
    return [
        Row(
            f"uplink, inner TTL {TTL}, {LENGTH} bytes, parsed twice, {steps[-1]:,} sessions",
            f"{_shown([two for two, _ in most])} parsed twice",
            f"{_shown([three for _, three in most])} parsed three times",
            ratios[steps[-1]],
            f"{REACH} of it",
            ratios[steps[-1]] >= REACH,
            [
                "One switch; between the windows a flow comes and goes that has these packets "
                "parsed anew, as those of other TTLs are, and the cache is emptied. By sessions, "
                f"the ratio of the medians, and of each pair of windows: {told}."
            ],
        )
    ]


Pair = tuple[Run, Run]
"""Parsed twice, and three times."""


class _Way:
    def __init__(self, lab: site.Lab) -> None:
        self._lab = lab
        self._ends: Ends = ends(lab)
        port = lab.vsctl("get", "interface", "br-ofgtp-o", "ofport").strip()
        self._flow = f"cookie={COOKIE},{ASKED} actions={ANEW},output:{port}"

    def prepare(self, sessions: int) -> None:
        """Make ready for so many; both ways the packets must come through rightly."""
        ues = [site.session(number) for number in range(sessions)]
        frames = [frame("uplink", self._ends, ue, ttl=TTL, length=LENGTH) for ue in ues]
        blast.write(self._lab.dir / "frames", frames)
        for anew in (True, False):
            self._parse(anew)
            arrives(self._lab, "uplink", frames[:1], inner=frames[0][-LENGTH:])

    def pair(self, number: int, seconds: float) -> Pair:
        """Two windows, the one or the other first."""
        found = {anew: self._measure(anew, seconds) for anew in (bool(number % 2), not number % 2)}
        return found[False], found[True]

    def _measure(self, anew: bool, seconds: float) -> Run:
        self._parse(anew)
        lab, frames = self._lab, self._lab.dir / "frames"
        with sending(lab, "uplink", frames, rate=0, seconds=WARM_S + seconds + 5, nice=5):
            time.sleep(WARM_S)
            return window(lab, "uplink", seconds)

    def _parse(self, anew: bool) -> None:
        lab = self._lab
        if anew:
            lab.ofctl("add-flow", site.BRIDGE, self._flow)
        else:
            lab.ofctl("del-flows", site.BRIDGE, f"cookie={COOKIE}/-1")
        lab.appctl("revalidator/purge")


def _ratio(pairs: list[Pair]) -> float:
    two, three = (samples(run.capacity for run in runs).median for runs in zip(*pairs, strict=True))
    return two / three


def _shares(pairs: list[Pair]) -> list[float]:
    return sorted(two.capacity / three.capacity for two, three in pairs)


def _shown(runs: list[Run]) -> str:
    return str(samples((run.capacity / 1e3 for run in runs), "kpackets/s"))
