"""A gateway's agent on a scripted switch: what it makes of answers that are late or do not come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventlet.semaphore import Semaphore

from ofgtp.control.batch import SLICE
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.service import SessionService
from ofgtp.core.model import BatchPut, Session
from ofgtp.northbound.events import EventLog
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.store import SessionStore
from tests.support.lab import gateway
from tests.support.sample import ENB, LINKS, OTHER_ENB, session
from tests.unit.test_channel import Switch

FACTS = BridgeFacts(
    datapath_id=1,
    local_mac=LINKS.local_mac,
    access_mac="02:00:00:00:00:aa",
    controller_connected=True,
    core_mac=LINKS.core_mac,
    access_ofport=LINKS.access,
    core_ofport=LINKS.core,
    gtpu_ofport=LINKS.gtpu,
    loop_out_ofport=LINKS.loop_out,
    loop_in_ofport=LINKS.loop_in,
    ovs_version="3.1.0",
)


class World:
    """An agent in sync with a switch that takes everything."""

    def __init__(self, store: SessionStore, ue_to_ue: str = "deny") -> None:
        self.store, self.switch = store, Switch()
        self.agent = GatewayAgent(
            gateway(ue_to_ue=ue_to_ue), store, Semaphore(1), [], "nonce", None, EventLog()
        )
        self.agent.facts, self.agent.host.access_mtu = FACTS, LINKS.access_mtu
        self.agent._channel = self.switch.channel
        self.agent._next_hop.assume(str(LINKS.peer_mac))
        self.agent._links = self.agent._links_now()
        self.agent.synced = self.agent._compared = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    store.close()


@pytest.fixture
def world(store: SessionStore) -> World:
    return World(store)


@pytest.mark.parametrize("before", [[], [session(1, downlink=None)]])
def test_a_change_that_a_silent_switch_is_not_told_is_made_up_for(
    world: World, before: list[Session]
) -> None:
    world.switch.channel.silent = True
    assert world.agent.change(before, [session(1)]) is False
    assert not world.agent.synced
    assert world.switch.got == []


def test_a_comparison_of_a_connection_that_is_gone_ends_nothing(world: World) -> None:
    agent, old = world.agent, world.switch.channel
    agent.detach(old)
    agent._channel = Switch().channel
    links = agent._links_now()
    assert not agent._conclude(old, agent.generation, links, {})
    assert not agent.synced


def test_a_new_next_hop_is_not_lost_to_a_change_of_a_session(store: SessionStore) -> None:
    world = World(store, ue_to_ue="route")
    agent = world.agent
    assert agent._links is not None
    agent._next_hop.assume("52:54:00:00:00:99")
    agent._next_hop.heard("52:54:00:00:00:99", 0.0)
    assert agent.change([], [session(1)])
    assert agent._links.peer_mac == LINKS.peer_mac, "no flow has been sent for the new one"
    agent._update_route()
    assert agent._links.peer_mac == "52:54:00:00:00:99"
    assert any(bytes.fromhex("525400000099") in body for _, _, body in world.switch.got)


def test_a_long_batch_of_single_changes_is_told_as_it_is_read(world: World) -> None:
    """To plan and send all of it at the end would keep all other green threads waiting."""
    agent = world.agent
    service = SessionService(world.store, [agent], agent._writer, agent._events)
    first = int(session(1).ue_ip)
    told = []

    def lines(far_ip: int) -> Iterator[tuple[int, BatchPut | str]]:
        for number in range(1, 4 * SLICE + 1):
            yield (
                number,
                BatchPut(f"ue-{number}", None, first + number, number, None, number, far_ip),
            )
        told.append(len(world.switch.got))

    assert service.batch(lines(int(ENB))).created == 4 * SLICE
    before = len(world.switch.got)
    assert service.batch(lines(int(OTHER_ENB))).replaced == 4 * SLICE
    assert told[1] - before >= 2 * SLICE
