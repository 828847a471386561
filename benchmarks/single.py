"""One session a request, beside Ryu's own `ofctl_rest`, one flow a request: made, and shown."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from benchmarks import site
from benchmarks.measure import Row, quantile, samples

ROUNDS = 3
JOBS = 2000
OTHER = "br-other"
OURS, THEIRS = 8080, 8081
OFCTL_REST = [
    *("--ofp-tcp-listen-port", "6654", "--wsapi-host", "127.0.0.1"),
    *("--wsapi-port", str(THEIRS), "ryu.app.ofctl_rest"),
]


def run(sessions: int) -> list[Row]:
    """Rows for 1 connection and for 16: sessions made, and sessions shown."""
    count = min(JOBS, sessions)
    with site.lab() as lab:
        site.started(lab, "controller")
        base = site.flow_count(lab)
        datapath = _ofctl_rest(lab)
        puts = [put(number) for number in range(count)]
        posts = [_posts(number, datapath) for number in range(count)]
        gets = [_get(number) for number in range(count)]
        asks = [_ask(number, datapath) for number in range(count)]
        made, shown = [], []
        for connections in (1, 16):
            ours, theirs = _Runs(count), _Runs(count)
            ours_shown, theirs_shown = _Runs(count), _Runs(count)
            for _ in range(ROUNDS):
                ours.add(site.drive(lab, OURS, connections, puts), {201})
                if (found := site.flow_count(lab)) != base + 2 * count:
                    raise RuntimeError(f"{found} flows, not {base + 2 * count}")
                theirs.add(site.drive(lab, THEIRS, connections, posts), {200})
                site.until(lambda: _flows(lab) == 2 * count, "ofctl_rest's flows")
                ours_shown.add(site.drive(lab, OURS, connections, gets), {200})
                theirs_shown.add(site.drive(lab, THEIRS, connections, asks), {200})
                site.batch(lab, site.deletes(range(count)))
                lab.ofctl("del-flows", OTHER)
            made.append(_row(connections, ours, theirs))
            shown.append(_shown_row(connections, ours_shown, theirs_shown))
    return made + shown


class _Runs:
    def __init__(self, count: int) -> None:
        self._count = count
        self.rates: list[float] = []
        self.took: list[float] = []

    def add(self, run: tuple[float, list[float], list[int]], wanted: set[int]) -> None:
        seconds, took, statuses = run
        if set(statuses) != wanted:
            raise RuntimeError(f"answered {sorted(set(statuses))}, not {sorted(wanted)}")
        self.rates.append(self._count / seconds)
        self.took += took

    def __str__(self) -> str:
        return (
            f"{samples(self.rates, 'sessions/s')}, "
            f"{_ms(self.took, 0.5)} median, {_ms(self.took, 0.99)} 99th percentile"
        )


def _ms(took: Sequence[float], share: float) -> str:
    return f"{quantile(took, share) * 1e3:.1f} ms"


def _row(connections: int, ours: _Runs, theirs: _Runs) -> Row:
    ratio = samples(ours.rates).median / samples(theirs.rates).median
    kept = "1 connection" if connections == 1 else f"{connections} connections"
    return Row(
        f"single `PUT`, {kept}",
        str(ours),
        f"{theirs} two `POST /stats/flowentry/add` of `ofctl_rest`",
        ratio,
        "2 times its sessions/s",
        ratio >= 2,
        [
            f"New sessions, one `PUT /v1/sessions/{{id}}` each, answered when the switch has "
            f"confirmed, on {kept} kept alive; {ROUNDS} runs of each in turn. Beside it the stock "
            "`ryu-manager ryu.app.ofctl_rest`, with a bridge of its own in the same switch: two "
            "requests one after the other for a session, of the flows `ip,tun_id,nw_src → "
            "goto_table` and `ip,nw_dst → set tun_id, set tun_dst, output`. It knows neither "
            "registers nor `decap`, which ofgtp's flows have besides; it answers as soon as it has "
            "written to its socket, and neither stores nor confirms. The same client for both, on "
            "the same cores."
        ],
    )


def _shown_row(connections: int, ours: _Runs, theirs: _Runs) -> Row:
    kept = "1 connection" if connections == 1 else f"{connections} connections"
    return Row(
        f"single `GET`, {kept}",
        str(ours),
        f"{theirs} `POST /stats/flow` of `ofctl_rest`",
        samples(ours.rates).median / samples(theirs.rates).median,
        notes=[
            "Those sessions, one `GET /v1/sessions/{id}` each, with the counters of its two flows "
            f"as the switch has them then, on {kept} kept alive; {ROUNDS} runs of each in turn. "
            "Beside it `ofctl_rest`, asked for the two flows with the session's cookie."
        ],
    )


def _get(number: int) -> list[bytes]:
    return [site.request("GET", f"/v1/sessions/{site.session(number)['id']}", port=OURS)]


def _ask(number: int, datapath: int) -> list[bytes]:
    asked = {"cookie": number, "cookie_mask": (1 << 64) - 1}
    return [site.request("POST", f"/stats/flow/{datapath}", asked, port=THEIRS)]


def put(number: int) -> list[bytes]:
    body = site.session(number)
    return [site.request("PUT", f"/v1/sessions/{body['id']}", body, port=OURS)]


def _posts(number: int, datapath: int) -> list[bytes]:
    session = site.session(number)
    head = {"dpid": datapath, "cookie": number, "priority": 100}
    down = session["downlink"]
    flows: list[dict[str, Any]] = [
        {
            **head,
            "table_id": 30,
            "match": {
                "eth_type": 0x800,
                "ipv4_src": session["ue_ip"],
                "tunnel_id": session["uplink"]["teid"],
            },
            "actions": [{"type": "GOTO_TABLE", "table_id": 40}],
        },
        {
            **head,
            "table_id": 70,
            "match": {"eth_type": 0x800, "ipv4_dst": session["ue_ip"]},
            "actions": [
                {"type": "SET_FIELD", "field": "tunnel_id", "value": down["teid"]},
                {"type": "SET_FIELD", "field": "tun_ipv4_dst", "value": down["remote_ip"]},
                {"type": "OUTPUT", "port": 3},
            ],
        },
    ]
    return [site.request("POST", "/stats/flowentry/add", flow, port=THEIRS) for flow in flows]


def _ofctl_rest(lab: site.Lab) -> int:
    """Start it with a bridge of its own; the bridge's datapath id."""
    site.add_bridge(lab, OTHER)
    lab.vsctl("set-controller", OTHER, "tcp:127.0.0.1:6654")
    with (lab.dir / "ofctl_rest.log").open("ab") as output:
        lab.spawn(
            "gw",
            [str(site.RYU_MANAGER), *OFCTL_REST],
            env=site.environment(lab),
            cwd=lab.dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def switches() -> list[int]:
        try:
            answer = lab.http("GET", "/stats/switches", address=("127.0.0.1", THEIRS))
        except OSError:
            return []
        return list(answer.json())

    return site.until(switches, "ofctl_rest and its switch")[0]


def _flows(lab: site.Lab) -> int:
    return int(lab.ofctl("dump-aggregate", OTHER).split("flow_count=")[1])
