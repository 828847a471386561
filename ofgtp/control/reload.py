"""A changed ofgtp.toml, taken while the controller runs: all of it, or nothing.

What a tunnel hangs on (addresses, ports, bridges, who owns the tunnels, the gateways themselves)
needs a restart. If any of that has changed nothing of the file is taken, so that what runs is
always what one file has said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, Final, Protocol

import eventlet
from eventlet.semaphore import Semaphore

from ofgtp import config as configuration
from ofgtp.config import Config
from ofgtp.control.gateway import GatewayAgent
from ofgtp.control.pfcp.endpoint import PfcpEndpoint
from ofgtp.control.sessions.service import SessionService
from ofgtp.control.usage.round import Round
from ofgtp.core.errors import ConfigError, NotReloaded, OfgtpError
from ofgtp.core.filters import Network, overlap, within
from ofgtp.core.model import RELOADED, Gateway, Pfcp
from ofgtp.core.rules.base import protected_networks
from ofgtp.northbound.service import Reloaded, Taken
from ofgtp.southbound import hostnet
from ofgtp.store.sqlite import SessionStore

log = logging.getLogger(__name__)

HOST_S = 10.0
"""How long the host's part of a gateway (routes, nftables, tunnel ports) is waited for, seconds."""

RESTART: Final = "needs a restart"

_KEYS: Final = {"port_type": "ports", "access_allow6": "access_allow", "ue_pools6": "ue_pools"}
"""Fields of a gateway that the file has by another name."""
_DERIVED: Final = ("name", "pmd_cores", "leased", "pfcp")
"""Fields that are looked at elsewhere."""
_PFCP: Final = ("peers", "on_peer_lost", "heartbeat_seconds", "network_instances")
"""What of `[gateway.pfcp]` is taken."""
_REST: Final = ("hosts", "token_file")
"""What of `[rest]` is."""

Reasons = list[tuple[str, str]]


class Admits(Protocol):
    """The API: whom it answers may change."""

    def reloaded(self, hosts: Sequence[str], token: str | None) -> None:
        """Accept these names in the Host header, and this token."""


class Reload:
    """Takes the file anew when it is called."""

    def __init__(
        self,
        config: Config,
        agents: Sequence[GatewayAgent],
        endpoints: Mapping[str, PfcpEndpoint],
        rounds: Sequence[Round],
        service: SessionService,
        store: SessionStore,
        writer: Semaphore,
    ) -> None:
        """`config` is what runs: its gateways are those that the agents hold."""
        self._config, self._token = config, config.rest.token()
        self._agents, self._endpoints, self._rounds = agents, endpoints, rounds
        self._service, self._store, self._writer = service, store, writer
        self._alone = Semaphore(1)
        self.api: Admits | None = None
        """To be told of names and tokens."""

    def token_in_file(self) -> str | None:
        """The token that `token_file` holds now, which may be another than the API asks for; None
        if it holds none that could be taken."""
        with suppress(ConfigError):
            return self._config.rest.token()
        return None

    def __call__(self) -> Reloaded:
        """Read the file again and take what has changed.

        Raises:
            ConfigError: the file is wrong; nothing has changed.
            NotReloaded: something needs a restart, or the host or a session is in the way; nothing
                has changed.
            FlowsRefused: a switch refused; nothing has changed.
            StoreError: peers of sessions are not known; nothing has changed.
        """
        with self._alone:
            try:
                return self._reload()
            except OfgtpError as error:
                log.warning("reload: %s", error)
                raise

    def _reload(self) -> Reloaded:
        new = configuration.load(self._config.path)
        token = new.rest.token()
        taken, reasons = differences(self._config, new)
        if token != self._token:
            taken.append(Taken(None, "token_file", _token_text(self._token, token)))
        reasons += self._in_the_way(new)
        if reasons:
            raise NotReloaded(reasons)
        changed = any(each.gateway is not None for each in taken)
        pending = self._take(new) if changed else {}
        for rounds in self._rounds:
            rounds.seconds = new.controller.usage_round_seconds
        if self.api is not None:
            self.api.reloaded(new.rest.hosts, token)
        mine = tuple(agent.gateway for agent in self._agents)
        self._config, self._token = replace(new, gateways=mine), token
        for each in taken:
            log.info("reload: %s", each)
        for name, reason in pending.items():
            log.warning("reload: gateway=%s: not done yet: %s", name, reason)
        return Reloaded(str(new.path), taken, pending)

    def _take(self, new: Config) -> dict[str, str]:
        """Have all gateways be as they are in the file; what is not done yet, by gateway."""
        wanted = {gateway.name: gateway for gateway in new.gateways}
        protected = protected_networks(new.gateways)
        pending: dict[str, str] = {}
        for agent in self._agents:
            agent.sync.settle()
        with self._writer:
            # Once more: sessions may have come.
            if reasons := [*self._in_the_way(new)]:
                raise NotReloaded(reasons)
            before: list[tuple[GatewayAgent, Gateway, Sequence[Network]]] = []
            try:
                for agent in self._agents:
                    was = agent, replace(agent.gateway), agent.protected
                    if not agent.reload(wanted[agent.gateway.name], protected):
                        pending[agent.gateway.name] = "the switch is away, or being compared"
                    before.append(was)
            except Exception:
                for agent, gateway, networks in before:
                    agent.reload(gateway, networks)
                raise
            self._service.reloaded()
            for agent in self._agents:
                gateway = agent.gateway
                if gateway.pfcp is not None:
                    self._endpoints[gateway.name].reloaded(gateway, gateway.pfcp, protected)
        hosts = eventlet.GreenPool().imap(lambda agent: agent.host.look(HOST_S), self._agents)
        for agent, lacks in zip(self._agents, hosts, strict=True):
            if lacks is not None:
                pending.setdefault(agent.gateway.name, lacks)
        return pending

    def _in_the_way(self, new: Config) -> Iterator[tuple[str, str]]:
        """What of the host and of sessions new prefixes meet, so that tunnels would be cut off."""
        running = {gateway.name: gateway for gateway in self._config.gateways}
        framed: list[Network] | None = None
        for gateway in new.gateways:
            if (old := running.get(gateway.name)) is None:
                continue
            pools = [pool for pool in gateway.pools if pool not in old.pools]
            there = {route.to for route in old.access_routes}
            routes = [each.to for each in gateway.access_routes if each.to not in there]
            peers = self._store.peers(gateway.name) if pools else {}
            for pool in pools:
                if peer := next((peer for peer in peers if peer in pool), None):
                    yield _at(gateway, "ue_pools"), f"{pool} holds {peer}, a peer of sessions"
            if framed is None and (pools or routes):
                # Of all gateways: no UE of any of them may send to an access route.
                framed = [each for name in running for each in self._store.framed(name)]
            for key, prefixes in (("ue_pools", pools), ("access_routes", routes)):
                for prefix in prefixes:
                    if behind := next(
                        (each for each in framed or () if overlap(each, prefix)), None
                    ):
                        reason = f"{prefix} overlaps {behind}, which is behind a UE (framed_routes)"
                        yield _at(gateway, key), reason
            routed = {"access_routes": routes, "ue_pools": pools if gateway.host_core else []}
            for key, prefixes in routed.items():
                for prefix, own in hostnet.own_routes(old, prefixes).items():
                    if own.startswith(f"{prefix} "):
                        reason = f"the host has a route to it of its own ({own}): delete that first"
                        yield _at(gateway, key), f"{prefix}: {reason}"


def differences(old: Config, new: Config) -> tuple[list[Taken], Reasons]:
    """What of a new file can be taken, and what of it needs a restart; but for the token."""
    taken: list[Taken] = []
    reasons: Reasons = []
    for section, free in (("controller", ("usage_round_seconds",)), ("rest", _REST)):
        for name, was, is_ in _changes(getattr(old, section), getattr(new, section)):
            if name in free:
                taken.append(Taken(None, name, _text(name, was, is_)))
            else:
                key = "listen" if name in ("host", "port") else name
                reasons.append((f"{section}.{key}", _restart(was, is_)))
    before = {gateway.name: gateway for gateway in old.gateways}
    after = {gateway.name: gateway for gateway in new.gateways}
    reasons += [(f"gateway.{name}", f"is new: {RESTART}") for name in after if name not in before]
    reasons += [(f"gateway.{name}", f"is gone: {RESTART}") for name in before if name not in after]
    for name in (name for name in after if name in before):
        _compare(before[name], after[name], taken, reasons)
    return taken, reasons


def _compare(old: Gateway, new: Gateway, taken: list[Taken], reasons: Reasons) -> None:
    done: set[str] = set()
    for name, was, is_ in _changes(old, new):
        key = _KEYS.get(name, name)
        if name in _DERIVED or key in done:
            continue
        done.add(key)
        if key == "ue_pools":
            was, is_ = old.pools, new.pools
            reasons += ((_at(new, key), reason) for reason in _shrinks(old, new))
        elif key == "access_allow":
            was, is_ = (
                (*old.access_allow, *old.access_allow6),
                (*new.access_allow, *new.access_allow6),
            )
        elif name not in RELOADED:
            reasons.append((_at(new, key), _restart(was, is_)))
            continue
        taken.append(Taken(new.name, key, _text(key, was, is_)))
    _compare_pfcp(old, new, taken, reasons)


def _compare_pfcp(old: Gateway, new: Gateway, taken: list[Taken], reasons: Reasons) -> None:
    was: Pfcp | None = old.pfcp
    if was is None or new.pfcp is None:
        if was is not new.pfcp:
            reasons.append((_at(new, "pfcp"), f"is {'new' if was is None else 'gone'}: {RESTART}"))
        return
    for name, before, after in _changes(was, new.pfcp):
        key = f"pfcp.{name}"
        if name in _PFCP:
            taken.append(Taken(new.name, key, _text(key, before, after)))
        else:
            reasons.append((_at(new, key), _restart(before, after)))


def _shrinks(old: Gateway, new: Gateway) -> Iterator[str]:
    """Why new pools are not just more than the old ones."""
    for pool in old.pools:
        if not any(within(pool, each) for each in new.pools):
            yield f"{pool} is not in it any more, and may have UEs: {RESTART}"
    if new.ue_pools6 and not old.ue_pools6:
        yield f"{new.ue_pools6[0]} is the first one of IPv6: {RESTART}"


def _changes(old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields of a dataclass that differ."""
    for field in fields(old):
        was, is_ = getattr(old, field.name), getattr(new, field.name)
        if was != is_:
            yield field.name, was, is_


def _at(gateway: Gateway, key: str) -> str:
    return f"gateway.{gateway.name}.{key}"


def _restart(was: object, is_: object) -> str:
    return f"{_shown(is_)} in the file, {_shown(was)} in use: {RESTART}"


def _text(key: str, was: object, is_: object) -> str:
    if key == "access_routes" and isinstance(is_, tuple):
        return f"{len(is_)} route{'' if len(is_) == 1 else 's'} now"
    none = {"dscp": "inherit", "access_allow": "any", "pfcp.network_instances": "any"}
    now, before = (_shown(each, none.get(key, "none")) for each in (is_, was))
    return f"{now} now, {before} before"


def _shown(value: object, none: str = "none") -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value)) or none
    return none if value is None else str(value)


def _token_text(was: str | None, is_: str | None) -> str:
    if is_ is None:
        return "no token is asked for now"
    return "a token is asked for now" if was is None else "another token now"
