"""Start, restart and stop of the controller, and its memory."""

from __future__ import annotations

import time

from benchmarks import site
from benchmarks.measure import Row, Samples, figure, samples, timed
from tests.support.stream import Stream

ROUNDS = 3
CHANGED = 1000


def start(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """The row `start-up`: with no sessions, until one can be posted."""
    fresh: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        with site.lab() as lab:
            fresh.append(_first_post(lab))
            site.stop(lab)
            again.append(_first_post(lab))
    took = samples(fresh)
    return [
        Row(
            "start-up, no sessions, until the first is posted",
            str(took),
            reach="3 s",
            reached=max(fresh + again) <= 3,
            notes=[
                "From the start of `ryu-manager` to the answer 201 with `state: active`, asked "
                "again every 10 ms; the bridge and its ports are made on the way. When they are "
                f"there already: {samples(again)}. {rounds} runs of each."
            ],
        )
    ]


def _first_post(lab: site.Lab) -> float:
    begun = site.spawn(lab, "controller")

    def posted() -> bool:
        try:
            answer = lab.http("POST", "/v1/sessions", site.session(0))
        except OSError:
            return False
        return (answer.status == 201 and answer.json()["state"] == "active") or _active(lab)

    site.until(posted, "a session", timeout=30, pause=0.01)
    return time.perf_counter() - begun


def _active(lab: site.Lab) -> bool:
    """Whether a session that was taken while the switch was away is active now."""
    answer = lab.http("GET", f"/v1/sessions/{site.session(0)['id']}")
    return answer.status == 200 and answer.json()["state"] == "active"


def restart(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """The rows `restart`, `repair` and `memory after a restart`."""
    dumps: list[float] = []
    runs: list[dict[str, float]] = []
    repairs: list[dict[str, float]] = []
    flow_mods, lost, sent, memory = 0.0, 0, 0, 0
    with site.lab() as lab:
        site.started(lab, "switch")
        base = site.rss(lab)
        site.batch(lab, site.puts(range(sessions)))
        before = site.installed(lab)
        for _ in range(rounds):
            with timed(dumps):
                dump = f"ovs-ofctl -O OpenFlow14 dump-flows {site.BRIDGE} > {lab.dir}/dump"
                lab.exec("gw", ["sh", "-c", dump])
            with Stream(lab, interval=0.005) as stream:
                site.stop(lab)
                runs.append(site.started(lab, "switch"))
            memory = max(memory, site.rss(lab))
            flow_mods += site.metric(lab, "ofgtp_flow_mods_total")
            lost += stream.lost
            sent += len(stream.up.sent) + len(stream.down.sent)
        changed = min(CHANGED, sessions // 2)
        harm = site.file(lab, "harm", _harm(lab, changed))
        mended, lost_again = 0.0, 0
        for _ in range(rounds):
            with Stream(lab, interval=0.005) as stream:
                site.stop(lab)
                change = ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", site.BRIDGE]
                lab.exec("gw", [*change, harm])
                if len(before & site.installed(lab)) != len(before) - changed - changed // 2:
                    raise RuntimeError("the flows were not changed as meant")
                repairs.append(site.started(lab, "switch"))
            lost_again += stream.lost
            if site.installed(lab) != before:
                raise RuntimeError("in sync, and yet not put right")
            mended += site.metric(lab, "ofgtp_flow_mods_total")
        site.stop(lab)
    whole, dump_took = _part(runs, "in_sync"), samples(dumps)
    ratio = whole.median / dump_took.median
    after = _part(repairs, "in_sync")
    slower = after.median / whole.median
    per_session = (memory - base) / sessions
    return [
        Row(
            f"restart with {sessions:,} sessions, until in sync",
            f"{whole}; {flow_mods:.0f} flow-mods, {lost} packets lost",
            f"{dump_took} `ovs-ofctl dump-flows` to a file",
            ratio,
            "at most 3 times its time, 0 flow-mods, 0 lost",
            ratio <= 3 and not flow_mods and not lost,
            [
                'With `ownership = "switch"`, nothing changed meanwhile; from the start of '
                "`ryu-manager` until `/v1/gateways` shows `in_sync`. The ratio is ofgtp's time by "
                f"the tool's: less is better. {rounds} runs of each in turn. On the way: REST "
                f"answers after {_part(runs, 'answers')}, the switch is connected after "
                f"{_part(runs, 'connected')}. Flow-mods by `/metrics`, all runs together. Packets: "
                f"{sent:,} sent both ways, 200 a second each way, through a session, from before "
                "the stop until after the start, every one numbered."
            ],
        ),
        Row(
            f"the same with {changed:,} sessions changed by hand",
            f"{after}; {lost_again} packets of another session lost",
            f"{whole} with nothing changed",
            slower,
            "at most 1.5 times",
            slower <= 1.5 and not lost_again,
            [
                "While the controller is stopped the flows of half of these sessions are deleted, "
                "and the other half's downlink flows get another TEID, by `ovs-ofctl`. Afterwards "
                f"the switch's flows are compared with those before: they were put right. "
                f"{mended / rounds:,.0f} flow-mods each time. The ratio: less is better. "
                f"{rounds} runs."
            ],
        ),
        Row(
            "memory of the controller after a restart",
            f"{per_session / 1000:.2f} kB a session",
            reach="1.5 kB",
            reached=per_session <= 1500,
            notes=[
                f"Resident: {base / 1e6:.0f} MB without sessions, at most {memory / 1e6:.0f} MB "
                f"just after a restart with {sessions:,}."
            ],
        ),
    ]


def _part(runs: list[dict[str, float]], name: str) -> Samples:
    return samples(run[name] for run in runs)


def _harm(lab: site.Lab, changed: int) -> list[str]:
    """What is done to sessions, in a bundle's words; the stream's session is left alone."""
    flows: dict[str, list[str]] = {}
    for line in site.session_flows(lab):
        cookie, _, rest = line.partition(",")
        flows.setdefault(cookie, []).append(rest)
    several = list(flows.values())[1 : 1 + changed]
    text = []
    for number, (up, down) in enumerate(several):
        if number < changed // 2:
            text += [f"delete_strict {flow.split(' actions=')[0]}" for flow in (up, down)]
        else:
            text.append(f"modify_strict {_other_teid(down)}")
    return text


def _other_teid(flow: str) -> str:
    head, _, actions = flow.partition("set_field:")
    return f"{head}set_field:0x7fffffff->tun_id{actions[actions.index('->tun_id') + 8 :]}"


def stop(sessions: int, *, rounds: int = ROUNDS) -> list[Row]:
    """The rows `clean stop` and `memory`."""
    took: list[float] = []
    memory, base = 0, 1 << 62
    with site.lab() as lab:
        for _ in range(rounds):
            site.started(lab, "controller")
            base = min(base, site.rss(lab))
            site.batch(lab, site.puts(range(sessions)))
            memory = max(memory, site.rss(lab))
            time.sleep(1)  # what it does after the answer may take memory too
            memory = max(memory, site.rss(lab))
            took.append(site.stop(lab))
            if left := site.flow_count(lab):
                raise RuntimeError(f"{left} flows are left after a clean stop")
    per_session = (memory - base) / sessions
    return [
        Row(
            f"clean stop with {sessions:,} sessions",
            str(samples(took)),
            reach="5 s",
            reached=max(took) <= 5,
            notes=[
                'With `ownership = "controller"`: from SIGTERM until the process is gone; none of '
                f"its flows is left in the switch then. {rounds} runs."
            ],
        ),
        Row(
            "memory of the controller",
            f"{per_session / 1000:.2f} kB a session",
            reach="1.5 kB",
            reached=per_session <= 1500,
            notes=[
                f"Resident: {base / 1e6:.0f} MB without sessions; at most {memory / 1e6:.0f} MB "
                f"after a batch of {figure(sessions)}, taken when it is answered and a second "
                f"later, in {rounds} runs."
            ],
        ),
    ]
