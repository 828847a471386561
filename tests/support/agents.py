"""Gateways' agents and the session service over flow tables: all that is real but the switches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network
from typing import Any

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp.control import gateway as module
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.host import host
from ofgtp.control.sessions.service import SessionService
from ofgtp.core.flows.flow import Flow
from ofgtp.core.rules.base import protected_networks
from ofgtp.northbound.events import EventLog
from ofgtp.southbound import openflow as of
from ofgtp.southbound.ovsdb import BridgeFacts
from ofgtp.store import SessionStore
from tests.support.flowtable import FlowTable, read_flow_mod
from tests.support.lab import gateway

FACTS = BridgeFacts(
    datapath_id=1,
    ovs_version="3.1.0",
    access_ofport=1,
    core_ofport=2,
    gtpu_ofport=3,
    ect_1_ofport=6,
    ce_ofport=7,
    loop_out_ofport=4,
    loop_in_ofport=5,
    local_mac="02:00:00:00:00:01",
    access_mac="04:00:00:00:00:01",
    core_mac="06:00:00:00:00:02",
    interfaces=(3, 4),
    controller_connected=True,
)

SECOND: dict[str, Any] = {
    "name": "gw2",
    "bridge": "br-two",
    "access_ip": IPv4Interface("10.3.0.1/24"),
    "core_ip": IPv4Interface("10.4.0.1/24"),
    "next_hop": IPv4Address("10.4.0.2"),
    "ue_pools": (IPv4Network("10.45.0.0/16"), IPv4Network("10.46.0.0/24")),
    "ue_to_ue": "route",
}
"""How gateway gw2 differs from gw1."""


class Net:
    """One or two gateways with a store, the first with IPv6 pools, too, if there are any; netfilter
    is to be patched away (see `quiet`)."""

    def __init__(
        self, store: SessionStore, count: int = 1, pools6: tuple[IPv6Network, ...] = ()
    ) -> None:
        self.store, self.writer, self.events = store, Semaphore(1), EventLog()
        gateways = [gateway(ue_pools6=pools6), gateway(**SECOND)][:count]
        self.tables = {each.name: FlowTable() for each in gateways}
        protected = protected_networks(gateways)
        self.agents: dict[str, GatewayAgent] = {}
        for each in gateways:
            agent = GatewayAgent(each, store, self.writer, protected, "nonce", None, self.events)
            agent.links.facts, agent.host.access_mtu = FACTS, 1500
            agent.host.core_mtu = 1500
            agent.core_side.next_hop.assume("52:54:00:00:00:03")
            self.agents[each.name] = agent
        self.service = SessionService(store, self.agents.values(), self.writer, self.events)

    def attach(self, name: str = "gw1") -> None:
        """The switch connects, and its flows are compared."""
        self.agents[name].attach(self.tables[name].connect())
        self.wait(name)

    def attach_all(self) -> None:
        for name, agent in self.agents.items():
            if agent.sync.channel is None or agent.sync.channel.closed:
                if agent.sync.channel is not None:
                    agent.detach(agent.sync.channel)
                self.attach(name)
            else:
                self.wait(name)

    def wait(self, name: str = "gw1") -> None:
        """Until the comparison has ended."""
        with eventlet.Timeout(60):
            while not self.agents[name].synced:
                eventlet.sleep(0)

    def compare(self, name: str = "gw1") -> None:
        """Have the flows compared again."""
        self.agents[name].sync.resync_soon("a test")
        self.wait(name)

    def detach(self, name: str = "gw1") -> None:
        channel = self.agents[name].sync.channel
        if channel is not None:
            self.agents[name].detach(channel)

    def end(self) -> None:
        """Let the green threads of the agents end."""
        for name, agent in self.agents.items():
            agent._stopped = True
            self.detach(name)
        eventlet.sleep(0)

    def wanted(self, name: str = "gw1") -> set[tuple[object, ...]]:
        """What the gateway's switch should have."""
        return contents(self.agents[name].wanted())

    def have(self, name: str = "gw1") -> set[tuple[object, ...]]:
        return self.tables[name].contents


def contents(flows: Iterable[Flow]) -> set[tuple[object, ...]]:
    """Flows as the switch has them once they were added."""
    return {read_flow_mod(of.flow_mod(of.Command.ADD, flow, 1))[2].content for flow in flows}


def quiet(patch: Any) -> None:
    """No nftables, and no pauses: for tests of agents."""
    patch.setattr(host.netfilter, "apply", lambda *_: False)
    patch.setattr(module, "PAUSE_S", 0.0)
    patch.setattr(module, "RETRY_S", 0.0)


def moved(facts: BridgeFacts = FACTS, **ports: int) -> BridgeFacts:
    """The bridge with other port numbers."""
    return replace(facts, **ports)
