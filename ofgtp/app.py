"""The Ryu application: `ryu-manager ofgtp.app`. Events in, commands out, nothing else.

Ryu listens, shakes hands and tells when a switch comes and goes. The messages that ofgtp works with
are taken from it as bytes, before it makes objects of them: that is slow, and Ryu does not know the
gtpu port's fields.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import eventlet
from eventlet import patcher
from eventlet.semaphore import Semaphore
from ryu import cfg
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.controller import Datapath, datapath_connection_factory
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_4, ofproto_v1_4_parser

from ofgtp import config as configuration
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.sessions.service import SessionService
from ofgtp.core.errors import ConfigError, GatewayNotReady, StoreDamaged, StoreError
from ofgtp.core.rules.base import protected_networks
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.http.server import Server, serve
from ofgtp.northbound.rest import RestApp
from ofgtp.southbound import hostnet
from ofgtp.southbound.channel import Channel
from ofgtp.southbound.openflow import PacketIn, Type
from ofgtp.store.sqlite import SessionStore, claim, set_aside

log = logging.getLogger(__name__)

EXIT_CONFIG = 2
"""Exit code when the configuration is wrong."""

EXIT_STORE = 3
"""Exit code when the store cannot be used."""

STOP_S = 10.0
"""Longest time for a clean stop, in seconds."""

CLAIM_S = 10.0
"""How long a connection may wait for OVSDB to tell whose datapath id it has, in seconds."""

RAW = (
    Type.ERROR,
    Type.PACKET_IN,
    Type.MULTIPART_REPLY,
    Type.BARRIER_REPLY,
    Type.BUNDLE_CONTROL,
)
"""Message types that go to a channel as bytes."""


class Ofgtp(app_manager.RyuApp):  # type: ignore[misc]
    """Wires the parts together."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_4.OFP_VERSION]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            config = configuration.load(configuration.default_path())
            _check_host(config)
            self._listen = _addresses(config)
        except ConfigError as error:
            _give_up(str(error), EXIT_CONFIG)
        try:
            store = _open_store(config.controller)
        except StoreError as error:
            _give_up(str(error), EXIT_STORE)
        writer = Semaphore(1)
        protected = protected_networks(config.gateways)
        nonce = f"ofgtp {secrets.token_hex(16)}"
        owned = config.controller.ownership == "controller"
        lease_seconds = config.controller.lease_seconds if owned else None
        events = EventLog()
        self._agents = [
            GatewayAgent(gateway, store, writer, protected, nonce, lease_seconds, events)
            for gateway in config.gateways
        ]
        self._channels: dict[Datapath, Channel] = {}
        self._claimed: dict[Datapath, GatewayAgent] = {}
        service = SessionService(store, self._agents, writer, events)
        self._config, self._service, self._store, self._writer = config, service, store, writer
        self._take_over_messages()
        first_host, first_port = self._listen[0]
        cfg.CONF.set_override("ofp_listen_host", first_host)
        cfg.CONF.set_override("ofp_tcp_listen_port", first_port)
        cfg.CONF.set_override("echo_request_interval", 5.0)
        cfg.CONF.set_override("maximum_unreplied_echo_requests", 3)

    def start(self) -> Any:
        """Called by Ryu once all applications are made."""
        thread = super().start()
        rest = self._config.rest
        try:
            app = RestApp(self._service, host=rest.host, token=rest.token(), hosts=rest.hosts)
            server = serve(app, (rest.host, rest.port))
        except ConfigError as error:
            _give_up(str(error), EXIT_CONFIG)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: hub.spawn(self._stop, server))
        for address in self._listen[1:]:
            hub.spawn(hub.StreamServer(address, datapath_connection_factory).serve_forever)
        for agent in self._agents:
            hub.spawn(agent.run)
        return thread

    def _stop(self, server: Server) -> NoReturn:
        """Stop cleanly: no more requests, then what each gateway owes, then the store.

        A request under way is finished where its result outlives us, and else cut off.
        """
        log.info("stopping")
        server.stop()
        with eventlet.Timeout(STOP_S, False):
            if self._config.controller.ownership == "switch":
                self._writer.acquire()
            list(eventlet.GreenPool().imap(_stop_agent, self._agents))
        self._store.close()
        logging.shutdown()
        # Ryu's own way out waits for threads that never end.
        os._exit(0)

    # --- OpenFlow

    def _take_over_messages(self) -> None:
        parsers = ofproto_v1_4_parser._MSG_PARSERS
        for kind in RAW:
            parsers[kind] = self._raw(parsers[kind])

    def _raw(self, parse: Callable[..., Any]) -> Callable[..., Any]:
        """A parser for Ryu that hands a connected switch's messages to its channel."""

        def receive(
            datapath: Datapath, version: int, kind: int, size: int, xid: int, data: bytes
        ) -> Any:
            channel = self._channels.get(datapath)
            if channel is not None:
                channel.receive(kind, xid, bytes(data[8:size]))
                return None
            if kind in (Type.MULTIPART_REPLY, Type.ERROR):  # Ryu's own handshake
                return parse(datapath, version, kind, size, xid, data)
            return None

        return receive

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])  # type: ignore[untyped-decorator]
    def on_state_change(self, event: Any) -> None:
        """A switch has shaken hands, or is gone."""
        datapath = event.datapath
        if event.state == MAIN_DISPATCHER:
            channel = Channel(datapath.send, lambda packet: self._on_packet_in(datapath, packet))
            self._channels[datapath] = channel
            hub.spawn(self._claim, datapath, channel)
        elif datapath in self._channels:
            channel = self._channels.pop(datapath)
            agent = self._claimed.pop(datapath, None)
            if agent is not None:
                agent.detach(channel)
            else:
                channel.close()

    def _claim(self, datapath: Datapath, channel: Channel) -> None:
        """Find whose bridge this is, by its datapath id, and make sure that it really is."""
        try:
            with eventlet.Timeout(CLAIM_S, GatewayNotReady("no gateway has its datapath id")):
                while (agent := self._agent_of(datapath.id)) is None:
                    eventlet.sleep(0.05)
            if channel.closed:
                return
            agent.attach(channel)
            self._claimed[datapath] = agent
        except GatewayNotReady as error:
            log.warning(
                "dpid=%016x from %s refused: %s", datapath.id, _peer(datapath.address), error
            )
            datapath.close()

    def _agent_of(self, datapath_id: int) -> GatewayAgent | None:
        for agent in self._agents:
            facts = agent.links.facts
            if facts is not None and facts.datapath_id == datapath_id:
                return agent
        return None

    def _on_packet_in(self, datapath: Datapath, packet: PacketIn) -> None:
        agent = self._claimed.get(datapath)
        if agent is not None:
            agent.packet_in(packet)


def _open_store(controller: configuration.Controller) -> SessionStore:
    """Open the store; if the controller owns the tunnels, begin with an empty one.

    Raises:
        StoreError: it cannot be used, or was damaged and has been set aside while the switch still
            forwards by it.
    """
    path, owned = controller.store, controller.ownership == "controller"
    claim(path)
    try:
        store = _store(controller)
    except StoreDamaged as error:
        aside = set_aside(path, "damaged")
        if not owned:
            raise StoreError(
                f"{error}. It was set aside as {aside}; the switch keeps the flows it has. Put a"
                " good copy in its place, or start again to begin with no sessions."
            ) from error
        log.error("%s. It was set aside as %s", error, aside)
        return _store(controller)
    if not owned:
        return store
    if not any(store.count().values()):
        store.reset()
        return store
    store.close()
    log.warning("the sessions of the last run were set aside as %s", set_aside(path, "ended"))
    return _store(controller)


def _store(controller: configuration.Controller) -> SessionStore:
    """The store; what waits long for the disk has a system thread of its own, and the loop goes on.

    Raises:
        StoreError.
    """

    def aside(work: Callable[[], None]) -> None:
        try:
            patcher.original("threading").Thread(target=work, daemon=True).start()
        except RuntimeError:  # there is no room for a thread
            work()

    def pause() -> None:
        eventlet.sleep(0.001)

    path, durability = controller.store, controller.durability
    return SessionStore(path, durability=durability, aside=aside, pause=pause)


def _stop_agent(agent: GatewayAgent) -> None:
    try:
        agent.stop()
    except GatewayNotReady as error:
        log.error("gateway=%s: not cleared: %s", agent.gateway.name, error)


def _check_host(config: configuration.Config) -> None:
    """Refuse ports that the host itself lives on; one that is not there yet may still come.

    Raises:
        ConfigError: with the line that names the port.
    """
    for place, gateway in enumerate(config.gateways):
        keys = ["access_port"] if gateway.host_core else ["access_port", "core_port"]
        for key in keys:
            port = getattr(gateway, key)
            if hostnet.exists(port) and (reason := hostnet.port_refusal(port)) is not None:
                raise configuration.error_at(config, place, key, reason)


def _addresses(config: configuration.Config) -> list[tuple[str, int]]:
    """Where to listen for OpenFlow: each address once, and free.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    found: dict[tuple[str, int], int] = {}
    for place, gateway in enumerate(config.gateways):
        host, port = gateway.openflow.removeprefix("tcp:").rsplit(":", 1)
        found.setdefault((host, int(port)), place)
    for address, place in found.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                probe.listen()
            except OSError as error:
                reason = f"cannot listen there: {error.strerror}; is another controller running?"
                raise configuration.error_at(config, place, "openflow", reason) from error
    return list(found)


def _peer(address: tuple[Any, ...]) -> str:
    return ":".join(str(part) for part in address[:2])


def _give_up(reason: str, code: int) -> NoReturn:
    print(f"ofgtp: {reason}", file=sys.stderr)
    raise SystemExit(code)
