"""One gateway's part of the host: its bridge and ports, addresses, routes and nftables rules."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore

from ofgtp.core.errors import GatewayNotReady, InvalidSession
from ofgtp.core.filters import Network
from ofgtp.core.flows import faults
from ofgtp.core.model import Gateway, Session
from ofgtp.core.sessions.rules import framed_of, peers_of
from ofgtp.southbound import hostnet, netfilter, veths
from ofgtp.southbound.ovsdb import IFINDEX, BridgeFacts, Ovsdb
from ofgtp.southbound.portlease import PortLease

log = logging.getLogger(__name__)

AUDIT_S = 3.0
"""Seconds between two looks at the host's part (OVSDB changes are seen at once)."""

STARTING = "starting"
"""What stands in place of a problem before the host was looked at for the first time."""
RETRY_S = 1.0
"""Seconds before what failed is tried again."""

ASKED_S = 0.25
"""Seconds between two looks at whether somebody wants it looked at now."""


class Host:
    """Makes it, and puts right what others change of it.

    `repaired` is called with what was put right, `learned` with the bridge's facts, each time.
    `framed` tells the prefixes behind UEs, to which a host that routes for the gateway has routes.
    """

    def __init__(
        self,
        gateway: Gateway,
        nonce: str,
        repaired: Callable[..., None],
        learned: Callable[[BridgeFacts], None],
        framed: Callable[[], Sequence[Network]],
    ) -> None:
        self.gateway, self.nonce = gateway, nonce
        lease = netfilter.lease_of(gateway)
        self._lease = None if lease is None else PortLease(*lease)
        self._passes_until = 0.0
        """By a steady clock: until then `renew` has had packets pass."""
        self.ovs_version: str | None = None
        self.access_mtu = 0
        self.core_mtu: int | None = None
        """None: the host routes on, and knows what fits."""
        self.problem: str | None = STARTING
        """What keeps it from being as it should be, for the operator."""
        self._routed = gateway
        """The gateway as the host routes for it: without IPv6 where the host has none."""
        self._repaired, self._learned, self._framed = repaired, learned, framed
        self._ovsdb = Ovsdb(gateway.ovsdb, lock=f"ofgtp_{gateway.bridge}")
        self.lacks_gtpu6: str | None = None
        """Why there is no GTP-U over IPv6 though the gateway is to have it; None: there is."""
        self._made = self._filtered = False
        """Whether there was a time when bridge and host, or the nftables rules, were in order."""
        self._kept: dict[str, dict[str, str]] = {}
        """What was known of the ports when some were taken out to be made anew."""
        self._former: dict[str, dict[str, str]] = {}
        """Interfaces that were ports under another configuration, with their offloads before, until
        they have these again."""
        self._vain: set[tuple[str, int]] = set()
        """Ports that were made anew, with their interfaces' numbers, until they are seen to be
        read: if that does not help, it is not done again."""
        self._interfaces: dict[str, int] = {}
        """Those of the host that veths are joined to, with their numbers."""
        self._anew = False
        """Whether one of them is another one, and not all is set of it yet."""
        self._configured = 0
        """Changes of the bridge's configuration that were told."""
        self._asked: Event | None = None
        """To be told of the next look, that is wanted at once."""
        self.differs = False
        """Whether the gateway is another one than at the last look, so that what differs of its
        part was changed by nobody else."""
        self._changes = 0
        """How often it has become another one."""
        self._stopped = False
        self._netfilter = Semaphore(1)
        """Held while the nftables rules are looked at or changed."""
        self._routes = Semaphore(1)
        """Held while the host's routes are."""

    @property
    def opened(self) -> int:
        """How often the switch was had open ports of the bridge."""
        return self._ovsdb.opened

    def run(self) -> None:
        """Keep it in order until stopped; to be spawned."""
        stirred = False
        while not self._stopped:
            asked, self._asked = self._asked, None
            try:
                changes = self._changes
                lacks = self._prepare()
                self.differs = self._changes > changes or self._asked is not None
                if asked is not None:
                    asked.send(lacks)
                if not stirred:
                    self._ovsdb.stir(self.gateway)
                    stirred = True
                self.problem = say(self.gateway, self.problem, lacks)
                self._wait()
            except GatewayNotReady as error:
                self.problem = say(self.gateway, self.problem, str(error))
                if asked is not None and not asked.ready():
                    asked.send(str(error))
                eventlet.sleep(RETRY_S)
            except Exception:
                log.exception("gateway=%s: unexpected", self.gateway.name)
                self.problem = "an internal error, see the log"
                eventlet.sleep(RETRY_S)

    def _wait(self) -> None:
        """Until the next look."""
        end = time.monotonic() + AUDIT_S
        while self._asked is None and (left := end - time.monotonic()) > 0:
            if self._ovsdb.wait(min(left, ASKED_S)):
                return

    def changing(self) -> None:
        """To be called when the gateway becomes another one."""
        self.differs = True
        self._changes += 1

    def look(self, seconds: float) -> str | None:
        """Have it be what the gateway, which is another one now, asks for: at once, and not at the
        next look. One caller at a time.

        Returns what it lacks, or why it is not known within so many seconds.
        """
        self.differs = True
        self._asked = asked = Event()
        with eventlet.Timeout(seconds, False):
            lacks: str | None = asked.wait()
            return lacks
        return f"not done within {seconds:g} s"

    def stop(self) -> None:
        """Look after it no longer."""
        self._stopped = True
        if self._lease is not None:
            self._lease.close()

    def apply_netfilter(self, *, anew: bool = False) -> None:
        """Have the nftables rules be what they should be; if interfaces are `anew`, they are not.

        Raises:
            GatewayNotReady: nft refused.
        """
        with self._netfilter:
            if self._stopped:
                return
            changed = self._apply_netfilter()
        if changed and self._filtered and not (anew or self.differs):
            self._repaired("the nftables rules were changed")
        self._filtered = True

    def _apply_netfilter(self) -> bool:
        """Where GTP-U over IPv6 cannot be made, the rules are those of a gateway without: then
        nothing leaves over IPv6."""
        version, lease = faults.parse(self.ovs_version), self._passes_until - time.monotonic()
        self.lacks_gtpu6 = hostnet.no_ipv6(self.gateway)
        if self.gateway.access_ip6 is not None and self.lacks_gtpu6 is None:
            try:
                return netfilter.apply(self.gateway, version, lease)
            except GatewayNotReady as error:
                lacks = "the host's nftables cannot make GTP-U over IPv6, so peers have IPv4 only"
                self.lacks_gtpu6 = f"{lacks}: {error}"
        return netfilter.apply(replace(self.gateway, access_ip6=None), version, lease)

    def check_peers(self, session: Session) -> None:
        """Whether packets to a session's peers can leave.

        Raises:
            GatewayNotReady: they have IPv6, over which the host cannot send them.
        """
        if self.lacks_gtpu6 is not None and any(peer.version == 6 for peer in peers_of(session)):
            raise GatewayNotReady(self.lacks_gtpu6)

    def renew(self, seconds: float) -> None:
        """With AF_XDP: have packets pass for so many seconds, and then, if nobody says so again, no
        more; see `netfilter`."""
        if self._lease is None or self._stopped:
            return
        self._passes_until = time.monotonic() + seconds
        try:
            self._lease.renew(self._interfaces.values(), seconds)
        except GatewayNotReady as error:
            # When the tables are back they pass as long.
            log.debug("gateway=%s: %s", self.gateway.name, error)

    def check_framed(self, session: Session) -> None:
        """Whether the host can have routes to the prefixes behind a UE.

        Raises:
            InvalidSession: it has one of its own in the way.
            GatewayNotReady: it cannot be asked.
        """
        if not self.gateway.host_core:
            return
        for prefix, own in hostnet.own_routes(self.gateway, framed_of(session)).items():
            raise InvalidSession(
                f"framed_routes.{framed_of(session).index(prefix)}",
                f"{prefix} is in the way of the host's own route {own}: delete that, or leave the"
                " prefix out",
            )

    def route_framed(self) -> None:
        """Have the host's routes be those to the prefixes behind UEs as they are now."""
        with self._routes:
            if self._made and not self._stopped:
                hostnet.ensure_ue_routes(self._routed, self._framed())

    def remove_framed(self) -> None:
        """Take the routes to them away; to be called when stopped."""
        with self._routes:
            if self._made and self.gateway.host_core:
                hostnet.ensure_ue_routes(self._routed, ())

    def remove_netfilter(self) -> None:
        """Take the nftables rules away; to be called when stopped."""
        with self._netfilter:
            netfilter.remove(self.gateway)

    def _prepare(self) -> str | None:
        """Make all of it; what the host lacks so that a part of the traffic does not get on."""
        gateway = self.gateway
        for port in gateway.ports:
            refusal = hostnet.port_refusal(port)
            if refusal is not None:
                raise GatewayNotReady(refusal)
        if (refusal := veths.refusal(gateway)) is not None:
            raise GatewayNotReady(refusal)
        self._look_for_others()
        changed = gateway.veths != () and veths.ensure(gateway)
        if not self._made:
            self._former |= self._former_ports()
        while self._let_go():
            self._ovsdb.ensure(gateway, nonce=self.nonce)
        facts = self._ovsdb.ensure(gateway, nonce=self.nonce)
        while self._former:
            _give_back(gateway, *self._former.popitem())
        self.ovs_version = facts.ovs_version or self.ovs_version
        remade = bool(self._kept) or self._anew
        for port, kept in self._kept.items():
            # Of an interface that is another one now nothing is known.
            if port in gateway.switch_ports and kept.get(IFINDEX) == str(hostnet.ifindex(port)):
                self._ovsdb.remember(gateway, port, kept)
        self._kept = {}
        for port in gateway.ports:
            changed |= hostnet.ensure_up(port)
            changed |= self._heed(port)
            former = hostnet.offloads_off(port)
            if former:
                self._ovsdb.remember(gateway, port, former)
        ip6 = None if hostnet.no_ipv6(gateway) else gateway.access_ip6
        ipv6 = ip6 is not None
        changed |= hostnet.ensure_device_settings(gateway.bridge, forward=False, ipv6=ipv6)
        changed |= hostnet.ensure_address(gateway.bridge, gateway.access_ip)
        lacks = hostnet.ipv6_refusal(gateway)
        if ip6 is not None:
            changed |= hostnet.ensure_address(gateway.bridge, ip6)
        if gateway.host_core:
            changed |= self._ensure_core_device(with_ipv6=lacks is None)
        with self._routes:
            if self._stopped:
                return None
            self._routed = replace(
                gateway, access_ip6=ip6, core_ip6=None if lacks else gateway.core_ip6
            )
            framed = self._framed() if gateway.host_core else ()
            changed |= hostnet.ensure_routes(self._routed, facts.local_mac, framed)
        # The gateway may have become another one while all this was looked at.
        if self._made and not (remade or self.differs):
            if self._ovsdb.changes > self._configured:
                self._repaired("the bridge, its ports or its controller were changed")
            if changed:
                self._repaired("addresses, routes or settings of the host were changed")
        self._configured = self._ovsdb.changes
        self.access_mtu = hostnet.mtu(gateway.access_port)
        self.core_mtu = None if gateway.host_core else hostnet.mtu(gateway.core_port)
        if self.ovs_version is not None:
            self.apply_netfilter(anew=self._anew)
        self._anew = False
        if not self._made:
            # Those of another `ports`, or of more cores, are no ports of the bridge any more.
            veths.remove(gateway, but=gateway.veths)
        self._made = True
        self._learned(facts)
        return lacks or self.lacks_gtpu6 or hostnet.unforwarded6(gateway)

    def _former_ports(self) -> dict[str, dict[str, str]]:
        """Interfaces that are ports of the bridge by another configuration, with their offloads as
        they were before: that is known as long as they are ports."""
        mine = {name for port in self.gateway.ports for name in self.gateway.names_of(port)}
        found = {}
        for port, kept in self._ovsdb.recall(self.gateway).items():
            former = {name: kept[name] for name in hostnet.OFFLOADS.values() if name in kept}
            if not former or port in mine or self.gateway.is_own(port):
                continue
            # Of an interface that is another one now nothing is known.
            if hostnet.exists(port) and kept.get(IFINDEX) == str(hostnet.ifindex(port)):
                found[port] = former
        return found

    def _ensure_core_device(self, *, with_ipv6: bool) -> bool:
        """The internal port by which the host routes; True if something was changed."""
        device, ip6 = self.gateway.core_device, self.gateway.core_ip6
        ip6 = ip6 if with_ipv6 else None
        changed = hostnet.ensure_device_settings(device, forward=True, ipv6=ip6 is not None)
        changed |= hostnet.ensure_address(device, self.gateway.core_ip)
        if ip6 is not None:
            changed |= hostnet.ensure_address(device, ip6)
        return changed

    def _look_for_others(self) -> None:
        """Look whether interfaces are others than they were, which are joined to the bridge by way
        of veths: these stay, and are joined to what is there now."""
        before = self._interfaces
        self._interfaces = {pair.port: hostnet.ifindex(pair.port) for pair in self.gateway.veths}
        for port, number in self._interfaces.items():
            if before.get(port, number) != number:
                log.warning("gateway=%s: interface %s was made anew", self.gateway.name, port)
                self._repaired(f"interface {port} was made anew, and joined again", port=port)
                self._anew = True

    def _heed(self, port: str) -> bool:
        """Have an interface that is not itself a port of the bridge be promiscuous, as the switch
        has those that are; whether it was not. What it was before is kept until it is the
        gateway's no more."""
        if not self.gateway.veths or not veths.promiscuous(port):
            return False
        self._ovsdb.remember(self.gateway, port, {veths.PROMISCUOUS: "off"})
        return True

    def _let_go(self) -> bool:
        """Take a port out of the bridge whose interface the switch has lost; False if none has.

        It reads on from an interface that is gone, and never from the one that came in its place,
        nor from one that was in another network namespace meanwhile. One port at a time, so that
        each has the number again that it had: what is cached names it.
        """
        gateway, lost = self.gateway, self._lost()
        self._vain &= lost
        if lost <= self._vain:
            return False
        # Perhaps it is only slow: when it starts, it opens what is there then.
        self._ovsdb.catch_up(gateway)
        lost = self._lost() - self._vain
        if not lost:
            return False
        port, number = min(lost)
        self._kept = self._ovsdb.recall(gateway) | self._kept
        self._ovsdb.take_out(gateway, port)
        log.warning("gateway=%s: interface %s was made anew", gateway.name, port)
        self._repaired(f"interface {port} was made anew, and its port with it", port=port)
        self._vain.add((port, number))
        return True

    def _lost(self) -> set[tuple[str, int]]:
        """Our ports in the switch whose interfaces it does not have open, with these' numbers.

        Raises:
            GatewayNotReady: another interface has the name of one that the bridge makes.
        """
        found, there = set(), self._ovsdb.recall(self.gateway)
        for name in self.gateway.internal_ports:
            if name in there and hostnet.is_abandoned(name):
                found.add((name, 0))
        for port in self.gateway.switch_ports:
            made_for, now = there.get(port, {}).get(IFINDEX), hostnet.ifindex(port)
            if made_for is not None and (made_for != str(now) or not self._is_read(port, now)):
                found.add((port, now))
        return found

    def _is_read(self, port: str, number: int) -> bool:
        return veths.has_program(port) if self.gateway.veths else hostnet.is_read(number)


def say(gateway: Gateway, before: str | None, now: str | None) -> str | None:
    """Log a problem when it is new, and its end; returns `now`."""
    if now != before and now is not None:
        log.warning("gateway=%s: %s", gateway.name, now)
    elif now != before and before is not None:
        ended = "the host is set up" if before == STARTING else f"this problem is gone: {before}"
        log.info("gateway=%s: %s", gateway.name, ended)
    return now


def _give_back(gateway: Gateway, port: str, former: dict[str, str]) -> None:
    """Have the offloads of an interface that is no port any more be as they were. If that cannot
    be, the gateway is none the worse."""
    try:
        hostnet.restore_offloads(port, former)
    except GatewayNotReady as error:
        log.warning("gateway=%s: %s is no port any more: %s", gateway.name, port, error)
    else:
        log.info("gateway=%s: %s is no port any more, and as it was", gateway.name, port)
