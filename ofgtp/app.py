"""The Ryu application: `ryu-manager ofgtp.app`. Events in, commands out, nothing else.

Ryu reads from a switch's connection and writes to it, shakes hands, and tells when a switch comes
and goes. Messages are taken from it as bytes, before it makes objects of them: that is slow, for
some messages without end, and Ryu does not know the gtpu port's fields.
"""

from __future__ import annotations

import logging
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NoReturn

import eventlet
from eventlet import patcher
from eventlet.semaphore import Semaphore
from ryu import cfg
from ryu.base import app_manager
from ryu.controller import ofp_event, ofp_handler
from ryu.controller.controller import Datapath, datapath_connection_factory
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_parser, ofproto_v1_4
from ryu.ofproto import ofproto_v1_4_parser as messages

from ofgtp import config as configuration
from ofgtp import logs
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.history import Sampler
from ofgtp.control.pfcp.endpoint import PfcpEndpoint
from ofgtp.control.reload import Reload
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.usage.round import Round
from ofgtp.core.errors import (
    CodecError,
    ConfigError,
    GatewayNotReady,
    OfgtpError,
    StoreDamaged,
    StoreError,
    StoreUnfit,
)
from ofgtp.core.rules.base import protected_networks
from ofgtp.core.unclaimed import Stage
from ofgtp.northbound.events import EventLog
from ofgtp.northbound.http.server import Server, serve
from ofgtp.northbound.rest import RestApp
from ofgtp.southbound import hostnet
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import Channel, Disconnected
from ofgtp.southbound.listener import BACKLOG, Listener
from ofgtp.southbound.openflow import Multipart, PacketIn, Type
from ofgtp.store.files import claim, set_aside
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

EXIT_CONFIG = 2
"""Exit code when the configuration is wrong."""

EXIT_STORE = 3
"""Exit code when somebody must look at the store before the next start."""

EXIT_STORE_AWAY = 4
"""Exit code when the store cannot be used now: the disk is full, say. The next start may do."""

EXIT_ENDED = 5
"""Exit code when a part of the process ended that the rest is nothing without."""

STOP_S = 10.0
"""Longest time for a clean stop, in seconds."""

CLAIM_S = 10.0
"""How long a connection may wait for OVSDB to tell whose datapath id it has, in seconds."""

ECHO = (Type.ECHO_REQUEST, Type.ECHO_REPLY)

RAW = (
    Type.ERROR,
    Type.PACKET_IN,
    Type.MULTIPART_REPLY,
    Type.BARRIER_REPLY,
    Type.BUNDLE_CONTROL,
)
"""Message types that go to a channel."""


class Ofgtp(app_manager.RyuApp):  # type: ignore[misc]
    """Wires the parts together."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_4.OFP_VERSION]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        logs.detach_handlers()
        # Before `start` there is nothing to reload; by default it would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _raise_file_limit()
        try:
            config = configuration.load(configuration.default_path())
            _check_host(config)
            self._listening = _listen(config)
        except ConfigError as error:
            _give_up(str(error), EXIT_CONFIG)
        try:
            store = _open_store(config.controller)
            _end_pfcp(store, config)
        except StoreUnfit as error:
            _give_up(str(error), EXIT_STORE)
        except StoreError as error:
            _give_up(str(error), EXIT_STORE_AWAY)
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
        try:
            self._endpoints = {
                agent.gateway.name: PfcpEndpoint(
                    agent.gateway,
                    agent.gateway.pfcp,
                    store,
                    service,
                    protected,
                    events,
                    _ready(agent),
                )
                for agent in self._agents
                if agent.gateway.pfcp is not None
            }
        except StoreError as error:
            _give_up(str(error), EXIT_STORE_AWAY)
        seconds = config.controller.usage_round_seconds
        self._rounds = [Round(agent, store, writer, seconds) for agent in self._agents]
        try:
            self._reload = Reload(
                config, self._agents, self._endpoints, self._rounds, service, store, writer
            )
        except ConfigError as error:
            _give_up(str(error), EXIT_CONFIG)
        self._config, self._service, self._store, self._writer = config, service, store, writer
        self._listener = Listener(datapath_connection_factory)
        self._stopping = False
        self._take_over_messages()
        # Ryu's own way to listen ends with the first error, and the process with it.
        ofp_handler.OpenFlowController = lambda: _wait_for_ever
        cfg.CONF.set_override("echo_request_interval", 5.0)
        cfg.CONF.set_override("maximum_unreplied_echo_requests", 3)

    def start(self) -> Any:
        """Called by Ryu once all applications are made."""
        thread = super().start()
        rest = self._config.rest
        try:
            app = RestApp(
                self._service,
                host=rest.host,
                token=rest.token(),
                hosts=rest.hosts,
                reload=self._reload,
            )
            server = serve(app, (rest.host, rest.port))
        except ConfigError as error:
            _give_up(str(error), EXIT_CONFIG)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: hub.spawn(self._stop, server))
        self._reload.api = app
        signal.signal(signal.SIGHUP, lambda *_: hub.spawn(self._reload_now))
        for rest_thread in server.threads:
            hub.spawn(self._for_ever, "rest", rest_thread.wait)
        for listening in self._listening:
            hub.spawn(self._for_ever, "openflow", partial(self._listener.accept, listening))
        for agent in self._agents:
            name = agent.gateway.name
            hub.spawn(self._for_ever, f"gateway={name}", agent.run)
            limits = partial(self._service.limits.run, name)
            hub.spawn(self._for_ever, f"limits of gateway={name}", limits)
        for agent, rounds in zip(self._agents, self._rounds, strict=True):
            hub.spawn(self._for_ever, f"usage of gateway={agent.gateway.name}", rounds.run)
        hub.spawn(self._for_ever, "history", Sampler(self._agents).run)
        for name, endpoint in self._endpoints.items():
            hub.spawn(self._for_ever, f"PFCP of gateway={name}", endpoint.run)
        return thread

    def _reload_now(self) -> None:
        """Read the configuration again, on SIGHUP; what comes of it is in the log."""
        try:
            with suppress(OfgtpError):  # it has logged that
                self._reload()
        except Exception:
            log.exception("reload: unexpected")

    def _for_ever(self, what: str, work: Callable[[], object]) -> None:
        """Do what must not end while the process lives. If it does, the process ends, too, and is
        started again: half of it would be neither alive nor dead."""
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        if not self._stopping:
            log.critical("%s: has ended, and so does ofgtp", what, exc_info=error)
            logs.drain()
            os._exit(EXIT_ENDED)

    def _stop(self, server: Server) -> NoReturn:
        """Stop cleanly: no more requests, then what each gateway owes, then the store.

        A request under way is finished where its result outlives us, and else cut off.
        """
        log.info("stopping")
        self._stopping = True
        code = EXIT_ENDED
        try:
            server.stop()
            with eventlet.Timeout(STOP_S, False):
                if self._config.controller.ownership == "switch":
                    self._writer.acquire()
                list(eventlet.GreenPool().imap(_stop_agent, self._agents))
            self._store.close()
            code = 0
        except Exception:
            log.exception("not stopped cleanly")
        logs.drain()
        # Ryu's own way out waits for threads that never end.
        os._exit(code)

    # --- OpenFlow

    def _take_over_messages(self) -> None:
        """Have Ryu hand over each message as bytes.

        Its parsers, some of which never return, are not for what anybody on this host may send.
        """
        ofproto_parser._MSG_PARSERS.update(dict.fromkeys(range(256), self._receive))

    def _receive(
        self, datapath: Datapath, version: int, kind: int, size: int, xid: int, data: bytes
    ) -> Any:
        """Take a message; what is returned Ryu's own handshake goes on with."""
        body = bytes(data[8:size])
        if datapath not in self._claimed:
            # Who is not known yet comes last, however much it says.
            eventlet.sleep(0)
        if datapath in self._claimed:
            if kind in RAW:
                self._channels[datapath].receive(kind, xid, body)
            elif kind in ECHO:
                self._echo(datapath, kind, xid, body)
            return None
        if datapath.state == DEAD_DISPATCHER:
            return None
        try:
            if int.from_bytes(data[2:4], "big") != size:
                raise CodecError("a message that is shorter than its header")
            return self._greet(datapath, version, kind, xid, body)
        except CodecError as error:
            self._refuse(datapath, str(error))
            return None

    def _greet(self, datapath: Datapath, version: int, kind: int, xid: int, body: bytes) -> Any:
        """Take a message of a connection that is not claimed: what the handshake is made of.

        Raises:
            CodecError: it is not OpenFlow 1.4.
        """
        if kind == Type.HELLO:
            if of.VERSION not in of.offered_versions(version, body):
                raise CodecError("it does not speak OpenFlow 1.4")
            self._listener.advance(datapath.socket, Stage.GREETED)
            return messages.OFPHello(datapath, [messages.OFPHelloElemVersionBitmap([of.VERSION])])
        if version != of.VERSION:
            raise CodecError(f"a message of OpenFlow version {version:#04x}")
        if kind in ECHO:
            self._echo(datapath, kind, xid, body)
        elif kind == Type.FEATURES_REPLY:
            self._listener.advance(datapath.socket, Stage.NAMED)
            return messages.OFPSwitchFeatures(datapath, datapath_id=of.decode_features(body))
        elif kind == Type.MULTIPART_REPLY:
            form, more, _ = of.decode_multipart(body)
            if form == Multipart.PORT_DESC:  # asked for by Ryu, and of no use here
                return messages.OFPPortDescStatsReply(datapath, body=[], flags=int(more))
            if form == Multipart.DESC and datapath in self._channels:
                self._channels[datapath].receive(kind, xid, body)
        elif kind == Type.ERROR and datapath in self._channels:
            self._channels[datapath].receive(kind, xid, body)
        return None

    @staticmethod
    def _echo(datapath: Datapath, kind: int, xid: int, body: bytes) -> None:
        if kind == Type.ECHO_REQUEST:
            datapath.send(of.message(Type.ECHO_REPLY, xid, body))
        else:
            datapath.acknowledge_echo_reply(xid)

    def _refuse(self, datapath: Datapath, reason: str) -> None:
        name = "" if datapath.id is None else f"dpid={datapath.id:016x} "
        peer = ":".join(str(part) for part in datapath.address[:2])
        self._listener.refuse(datapath.socket, f"{name}from {peer} refused: {reason}")
        datapath.close()

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
            agent.attach(channel, lambda: self._recognised(datapath, agent))
        except GatewayNotReady as error:
            self._refuse(datapath, str(error))
        except Exception:
            log.exception("dpid=%016x: unexpected", datapath.id)
            self._refuse(datapath, "an internal error")

    def _recognised(self, datapath: Datapath, agent: GatewayAgent) -> None:
        if datapath not in self._channels:
            raise Disconnected("it went away")
        self._claimed[datapath] = agent
        self._listener.claimed(datapath.socket)

    def _agent_of(self, datapath_id: int) -> GatewayAgent | None:
        for agent in self._agents:
            facts = agent.links.facts
            if facts is not None and facts.datapath_id == datapath_id:
                return agent
        return None

    def _on_packet_in(self, datapath: Datapath, packet: PacketIn) -> None:
        agent = self._claimed.get(datapath)
        if agent is not None:
            agent.packet_ins.take(packet)


def _open_store(controller: configuration.Controller) -> SessionStore:
    """Open the store; if the controller owns the tunnels, begin with an empty one.

    Raises:
        StoreUnfit: it is another's, or was damaged and has been set aside while the switch still
            forwards by it.
        StoreError: it cannot be used now.
    """
    path, owned = controller.store, controller.ownership == "controller"
    claim(path)
    try:
        store = _store(controller)
    except StoreDamaged as error:
        aside = set_aside(path, "damaged")
        if not owned:
            raise StoreUnfit(
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


def _end_pfcp(store: SessionStore, config: configuration.Config) -> None:
    """Where PFCP has gone from the configuration nobody could change its sessions any more: they
    go, too."""
    for gateway in config.gateways:
        if gateway.pfcp is None and (ended := store.end_pfcp(gateway.name)):
            log.warning("gateway=%s: no PFCP any more: %d sessions deleted", gateway.name, ended)


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


def _ready(agent: GatewayAgent) -> Callable[[], bool]:
    return lambda: agent.synced


def _stop_agent(agent: GatewayAgent) -> None:
    try:
        agent.stop()
    except GatewayNotReady as error:
        log.error("gateway=%s: its flows were not removed: %s", agent.gateway.name, error)


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


def _listen(config: configuration.Config) -> list[socket.socket]:
    """Listen for OpenFlow: once at each address.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    found: dict[tuple[str, int], int] = {}
    for place, gateway in enumerate(config.gateways):
        host, port = gateway.openflow.removeprefix("tcp:").rsplit(":", 1)
        found.setdefault((host, int(port)), place)
    listening = []
    for address, place in found.items():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            reason = f"cannot listen there: {error.strerror}; is another controller running?"
            raise configuration.error_at(config, place, "openflow", reason) from error
        listening.append(sock)
    return listening


def _raise_file_limit() -> None:
    """Have as many files, connections and pipes as the host allows at most."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _wait_for_ever() -> NoReturn:
    while True:
        eventlet.sleep(3600)


def _give_up(reason: str, code: int) -> NoReturn:
    print(f"ofgtp: {reason}", file=sys.stderr)
    raise SystemExit(code)
