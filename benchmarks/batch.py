"""Many sessions at once, in and out, beside the switch's own tool; and other requests meanwhile."""

from __future__ import annotations

import threading
import time

from benchmarks import site
from benchmarks.measure import Row, figure, quantile, samples, timed

ROUNDS = 3
OTHER = "br-other"
OFCTL = ("ovs-ofctl", "-O", "OpenFlow14", "--bundle")


def run(sessions: int) -> list[Row]:
    """The rows `install`, `remove` and `during`."""
    with site.lab() as lab:
        site.add_bridge(lab, OTHER)
        site.started(lab, "controller")
        base = site.flow_count(lab)
        numbers = range(sessions)
        puts, deletes = site.puts(numbers), site.deletes(numbers)
        put: list[float] = []
        delete: list[float] = []
        add: list[float] = []
        remove: list[float] = []
        for _ in range(ROUNDS):
            with timed(put):
                done = site.batch(lab, puts)
            expect(done["created"], sessions, "sessions created")
            expect(site.flow_count(lab), base + 2 * sessions, "flows after the batch")
            lines = site.session_flows(lab)
            expect(len(lines), 2 * sessions, "flows shown")
            with timed(delete):
                done = site.batch(lab, deletes)
            expect(done["deleted"], sessions, "sessions deleted")
            expect(site.flow_count(lab), base, "flows after removal")
            flows = site.file(lab, "flows", lines)
            matches = site.file(lab, "matches", map(_match, lines))
            with timed(add):
                lab.exec("gw", [*OFCTL, "add-flows", OTHER, flows])
            expect(others(lab), 2 * sessions, "flows added by ovs-ofctl")
            with timed(remove):
                text = f"{' '.join(OFCTL)} --strict del-flows {OTHER} - < {matches}"
                lab.exec("gw", ["sh", "-c", text])
            expect(others(lab), 0, "flows left by ovs-ofctl")
        during = _during(lab, puts, sessions)
    title = f"{sessions:,} sessions"
    return [
        _row(f"{title} by `:batch`", put, add, "`ovs-ofctl --bundle add-flows`", 0.9, sessions),
        _row(
            f"{title} removed by `:batch`",
            delete,
            remove,
            "`ovs-ofctl --bundle --strict del-flows`",
            0.5,
            sessions,
        ),
        during,
    ]


def _row(
    measure: str, ours: list[float], theirs: list[float], tool: str, reach: float, sessions: int
) -> Row:
    mine, other = samples(ours), samples(theirs)
    ratio = other.median / mine.median
    return Row(
        measure,
        str(mine),
        f"{other} {tool}",
        ratio,
        f"{reach} of its speed",
        ratio >= reach,
        [
            f"{sessions / mine.median:,.0f} sessions and {2 * sessions / mine.median:,.0f} flows a "
            f"second; {tool} {2 * sessions / other.median:,.0f} flows a second. The same flows, in "
            f"the same switch, on another bridge without ports; {ROUNDS} runs of each in turn, "
            "nothing else installed. Measured until the request is answered, and until the tool "
            "has ended."
        ],
    )


def _match(line: str) -> str:
    """A flow as `del-flows --strict` takes it: table, priority and match."""
    return line.split(" actions=")[0].split(",", 1)[1]


def others(lab: site.Lab) -> int:
    """Flows of the other bridge."""
    text = lab.ofctl("dump-aggregate", OTHER)
    return int(text.split("flow_count=")[1])


def expect(found: int, wanted: int, what: str) -> None:
    """Raises RuntimeError if it is not so many."""
    if found != wanted:
        raise RuntimeError(f"{what}: {found}, not {wanted}")


def _during(lab: site.Lab, puts: bytes, sessions: int) -> Row:
    """How long other requests take while a batch is being done."""
    extra = sessions  # a session beyond the batch's
    asked = {
        "GET /v1/health": site.request("GET", "/v1/health"),
        "GET /v1/gateways": site.request("GET", "/v1/gateways"),
        "PUT of one session": site.request(
            "PUT", f"/v1/sessions/{site.session(extra)['id']}", site.session(extra)
        ),
    }
    took: dict[str, list[float]] = {name: [] for name in asked}
    statuses: dict[str, set[int]] = {name: set() for name in asked}
    over = threading.Event()

    def repeat(name: str) -> None:
        connection = site.Connection(lab, 8080)
        connection.sock.settimeout(60)
        while not over.is_set():
            with timed(took[name]):
                statuses[name].add(connection.ask(asked[name]))
            time.sleep(0.01)
        connection.close()

    threads = [threading.Thread(target=repeat, args=(name,)) for name in asked]
    seconds: list[float] = []
    for thread in threads:
        thread.start()
    try:
        with timed(seconds):
            site.batch(lab, puts)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    log = lab.controller_log.read_text(errors="replace")
    expired = log.count("event lease_expired")
    parts = [
        f"{name}: {len(took[name])} answers, median {quantile(took[name], 0.5) * 1e3:.0f} ms, "
        f"99th percentile {quantile(took[name], 0.99) * 1e3:.0f} ms, "
        f"longest {max(took[name]) * 1e3:.0f} ms, status {sorted(statuses[name])}"
        for name in asked
    ]
    worst = max(took["GET /v1/health"])
    return Row(
        "other requests during that batch",
        f"`GET /v1/health` {figure(worst * 1e3)} ms at the longest; {expired} leases expired",
        reached=expired == 0,
        reach="no lease expires",
        notes=[
            f"A batch of {sessions:,} while three more connections ask 10 ms after each answer "
            f"(which makes the batch take {seconds[0]:.1f} s). " + "; ".join(parts) + ".",
        ],
    )
