"""Random requests, restarts, crashes, damage by hand; after each the switch is as the model says.

The model is a dictionary of sessions. Neither the store nor the reconciliation takes part in the
comparison: flows are compared by `ovs-ofctl`, sessions by the API's answers.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support import ownership as own
from tests.support.lab import Lab

pytestmark = pytest.mark.switch

UES = [f"10.45.0.{number}" for number in range(10, 15)]
TEIDS = [0x5001, 0x5002, 0x5003, 0x5004, 0x5005]
PEERS = ["10.1.0.2", "10.1.0.3"]

ids = st.sampled_from(["a", "b", "c", "d"])
downlinks = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"teid": st.sampled_from([0x6001, 0x6002, 0x6003]), "remote_ip": st.sampled_from(PEERS)}
    ),
)
uplinks = st.fixed_dictionaries(
    {"teid": st.sampled_from(TEIDS)}, optional={"remote_ip": st.sampled_from(PEERS)}
)
bodies = st.fixed_dictionaries(
    {"ue_ip": st.sampled_from(UES), "uplink": uplinks, "downlink": downlinks}
)
operations = st.one_of(
    st.tuples(st.just("put"), ids, bodies), st.tuples(st.just("delete"), ids, st.none())
)

Body = dict[str, Any]

HARM: dict[str, tuple[str, ...]] = {
    "all flows deleted": ("ovs-ofctl", "del-flows", own.BRIDGE),
    "uplink flows deleted": ("ovs-ofctl", "del-flows", own.BRIDGE, "table=30"),
    "downlink flows changed": ("ovs-ofctl", "mod-flows", own.BRIDGE, "table=70,actions=drop"),
    "a flow added under our cookie": (
        "ovs-ofctl",
        "add-flow",
        own.BRIDGE,
        f"cookie={own.SESSION_COOKIE + 12345:#x},table=30,priority=9,ip actions=drop",
    ),
    "nftables flushed": ("nft", "flush", "ruleset"),
}


def refused(model: dict[str, Body], session_id: str, body: Body) -> bool:
    """Whether the model must refuse a session: something of it is another's."""
    for other_id, other in model.items():
        if other_id != session_id and (
            other["ue_ip"] == body["ue_ip"]
            or other["uplink"]["teid"] == body["uplink"]["teid"]
            or (body["downlink"] is not None and other["downlink"] == body["downlink"])
        ):
            return True
    return False


class Gateway(RuleBasedStateMachine):
    """One gateway in one mode; the lab stays, the sessions of the last run are deleted."""

    lab: ClassVar[Lab]
    mode: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Body] = {}

    def teardown(self) -> None:
        """Show a failure at once: another run, by which Hypothesis confirms it, may go well."""
        error = sys.exception()
        if isinstance(error, Exception):
            traceback.print_exception(error)
            print(self.lab.controller_log.read_text()[-3000:])

    @initialize()
    def empty(self) -> None:
        present = [{"op": "delete", "id": name} for name in own.sessions(self.lab)]
        if present:
            own.batch(self.lab, present)
        self.settle()

    @rule(session_id=ids, body=bodies)
    def put(self, session_id: str, body: Body) -> None:
        answer = self.lab.http("PUT", f"/v1/sessions/{session_id}", body)
        if refused(self.model, session_id, body):
            assert answer.status == 409, answer.body
        else:
            assert answer.status == (200 if session_id in self.model else 201), answer.body
            assert answer.json()["state"] == "active"
            self.model[session_id] = body
        self.settle()

    @rule(session_id=ids, downlink=downlinks)
    def hand_over(self, session_id: str, downlink: Body | None) -> None:
        head = {"Content-Type": "application/merge-patch+json"}
        path = f"/v1/sessions/{session_id}"
        answer = self.lab.http("PATCH", path, {"downlink": downlink}, headers=head)
        changed = {**self.model.get(session_id, {}), "downlink": downlink}
        if session_id not in self.model:
            assert answer.status == 404, answer.body
        elif refused(self.model, session_id, changed):
            assert answer.status == 409, answer.body
        else:
            assert answer.status == 200, answer.body
            self.model[session_id] = changed
        self.settle()

    @rule(session_id=ids)
    def delete(self, session_id: str) -> None:
        answer = self.lab.http("DELETE", f"/v1/sessions/{session_id}")
        assert answer.status == (204 if session_id in self.model else 404), answer.body
        self.model.pop(session_id, None)
        self.settle()

    @rule(operations=st.lists(operations, min_size=1, max_size=6))
    def batch(self, operations: list[tuple[str, str, Body | None]]) -> None:
        after, well, lines = dict(self.model), True, []
        for op, session_id, body in operations:
            if body is None:
                lines.append({"op": op, "id": session_id})
                well &= session_id in after
                after.pop(session_id, None)
            else:
                lines.append({"op": op, "session": {"id": session_id, **body}})
                if refused(after, session_id, body):
                    well = False
                else:
                    after[session_id] = body
        answer = self.lab.http(
            "POST",
            "/v1/sessions:batch",
            own.batch_body(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.status == (200 if well else 422), answer.body
        if well:
            self.model = after
        self.settle()

    @rule(harm=st.sampled_from(sorted(HARM)))
    def harm_by_hand(self, harm: str) -> None:
        log = own.Log(self.lab)
        forwards = any(body["downlink"] for body in self.model.values())
        self.harm(harm)
        if harm != "downlink flows changed" or forwards:  # else they drop already
            own.until(lambda: log.events("repaired"), f"{harm}: event `repaired`")
        self.settle()

    @rule(
        number=st.sampled_from([signal.SIGTERM, signal.SIGKILL]),
        harm=st.none() | st.sampled_from(sorted(HARM)),
    )
    def restart(self, number: signal.Signals, harm: str | None) -> None:
        note(f"restart by {number.name}, meanwhile {harm}")
        self.lab.stop_controller(number)
        if self.mode == "controller" and number is signal.SIGTERM:
            assert own.our_flows(self.lab) == []
        if harm is not None:
            self.harm(harm)
        own.start(self.lab, self.mode)
        if self.mode == "controller":
            self.model = {}
        self.settle()

    @rule()
    def restart_the_switch(self) -> None:
        self.lab.stop_vswitchd()
        self.lab.start_vswitchd()
        self.settle()

    @rule(session_id=ids, body=bodies)
    def put_while_the_switch_is_away(self, session_id: str, body: Body) -> None:
        self.lab.stop_vswitchd()
        own.until(lambda: not own.gateway(self.lab)["connected"], "the switch away")
        answer = self.lab.http("PUT", f"/v1/sessions/{session_id}", body)
        if refused(self.model, session_id, body):
            assert answer.status == 409, answer.body
        else:
            assert answer.status in (200, 201), answer.body
            same = self.model.get(session_id) == body
            assert answer.json()["state"] == "pending" or same
            self.model[session_id] = body
        self.lab.start_vswitchd()
        self.settle()

    def harm(self, harm: str) -> None:
        note(harm)
        words = HARM[harm]
        if words[0] == "ovs-ofctl":
            self.lab.ofctl(*words[1:])
        else:
            self.lab.exec("gw", words)

    def expected(self) -> list[Body]:
        return [{"id": name, **body} for name, body in sorted(self.model.items())]

    def settle(self) -> None:
        """Wait for `in_sync`, and compare."""
        lease = own.LEASE_S if self.mode == "controller" else None
        own.until(lambda: own.in_sync(self.lab), "in sync")
        told = own.sessions(self.lab)
        assert set(told) == set(self.model)
        for name, body in self.model.items():
            assert told[name]["ue_ip"] == body["ue_ip"]
            assert told[name]["uplink"]["teid"] == body["uplink"]["teid"]
            assert told[name]["uplink"]["remote_ip"] == body["uplink"].get("remote_ip")
            assert told[name]["downlink"] == body["downlink"]
            assert told[name]["state"] == "active"
        # "in sync" may still be said in the instant before a change by hand is heard of
        own.until(
            lambda: not own.flow_differences(self.lab, self.expected(), lease),
            lambda: f"flows: {own.flow_differences(self.lab, self.expected(), lease)}",
        )
        assert own.our_tables(self.lab)


@pytest.fixture(scope="module", params=["controller", "switch"])
def machine(request: pytest.FixtureRequest) -> Iterator[type[Gateway]]:
    with Lab() as lab:
        own.start(lab, request.param)
        yield type("Machine", (Gateway,), {"lab": lab, "mode": request.param})


COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
    "database": None,
}


def test_switch_follows_the_model(machine: type[Gateway]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=20,
            derandomize=True,
            phases=[Phase.generate],
            **COMMON,
        ),
    )


@pytest.mark.long
def test_switch_follows_the_model_for_long(machine: type[Gateway]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, phases=[Phase.generate], **COMMON
        ),
    )
