"""What is known of a session whose packet is traced, and what is said of the packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network

from ofgtp.core.model import Address, FTeid, Gateway, Qos
from ofgtp.core.sessions.rule import Rule, Tunnel
from ofgtp.core.trace.probe import Packet


@dataclass(frozen=True, slots=True)
class Known:
    """A session as far as it is known: by the API, or else by its flows in the switch."""

    ue: IPv4Address | None
    """None of a UE that has IPv6 alone, and of a relay that takes any content."""
    id: str | None = None
    """None: there was only the switch to ask."""
    cookie: int | None = None
    """Of its flows."""
    teid: int | None = None
    """Of its uplink; None: not known."""
    pinned: IPv4Address | None = None
    """The peer that its uplink is pinned to."""
    downlink: FTeid | None = None
    """None: idle, or not known."""
    qos: Qos | None = None
    """None: its T-PDUs carry no PDU Session Container. A QFI of 0 is one that is not known."""
    rules: tuple[Rule, ...] = ()
    """In the order in which they are asked. None: they are not known, or only what is above."""
    relay: FTeid | None = None
    """Where a relay sends what comes uplink."""
    further_teids: frozenset[int] = frozenset()
    """Of bearers, where only the switch tells of them."""
    further_tunnels: frozenset[FTeid] = frozenset()
    """Likewise."""
    owner: str | None = None
    """The control plane that made it by PFCP, and alone may change it."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Of such a session: what its rules are called, by their ids."""
    ue6: IPv6Network | None = None
    """The UE's IPv6 prefix."""

    @property
    def versions(self) -> tuple[int, ...]:
        """Those of IP of which the UE has addresses."""
        return (4,) * (self.ue is not None) + (6,) * (self.ue6 is not None)

    @property
    def who(self) -> str:
        """The UE's address, its prefix, or both; nothing of a relay that takes any content."""
        return " and ".join(str(own) for own in (self.ue, self.ue6) if own is not None)

    def of_version(self, version: int) -> str:
        """The UE's address or prefix of an IP version, or else what it has."""
        own = self.ue6 if version == 6 else self.ue
        return self.who if own is None else str(own)

    @property
    def teids(self) -> frozenset[int]:
        """All of ours by which its packets come."""
        own = () if self.teid is None else (self.teid,)
        of_rules = (rule.teid for rule in self.rules if rule.teid is not None)
        return self.further_teids.union(own, of_rules)

    @property
    def tunnels(self) -> frozenset[FTeid]:
        """All that its packets leave in."""
        own = (far for far in (self.downlink, self.relay) if far is not None)
        sent = (rule.forward.to for rule in self.rules if isinstance(rule.forward, Tunnel))
        return self.further_tunnels.union(own, sent)

    @property
    def bearers(self) -> tuple[str, ...]:
        """Their names, in the order in which they are asked."""
        return tuple(dict.fromkeys(rule.id for rule in self.rules if rule.id))

    def pin_of(self, teid: int) -> IPv4Address | None:
        """The only peer from which what comes by a TEID is taken."""
        if teid == self.teid:
            return self.pinned
        return next((rule.peer for rule in self.rules if rule.teid == teid), None)

    def sender(self, rule: Rule | None) -> Address | None:
        """Who should send what a rule takes: where the downlink of the same bearer goes, or the
        peer that it is pinned to."""
        if rule is not None and rule.id:
            pair = (each for each in self.rules if each.id == rule.id and not each.uplink)
            sent = (each.forward.to.ip for each in pair if isinstance(each.forward, Tunnel))
            found = next(sent, None)
            if found is not None:
                return found
        pinned = self.pinned if rule is None else rule.peer
        return self.downlink.ip if self.downlink else pinned

    def owns(self, address: Address) -> bool:
        """Whether it is the UE's, or one behind it."""
        prefixes = (prefix for rule in self.rules for prefix in rule.ue)
        own = address == self.ue or (self.ue6 is not None and address in self.ue6)
        return own or any(address in prefix for prefix in prefixes)

    @property
    def stranger(self) -> Address | None:
        """The downlink's peer, if the uplink is pinned to another, so that it may not send."""
        far = self.downlink
        if far is None:
            return None
        return far.ip if self.pinned not in (None, far.ip) else None

    @property
    def required(self) -> bool:
        """Whether its T-PDUs must have an uplink PDU Session Container."""
        return self.qos is not None and self.qos.required

    @property
    def name(self) -> str:
        """What to call it."""
        return f"session {self.id}" if self.id else f"the session of {self.who}"

    def called(self, rule_id: str) -> str:
        """What to call a rule that is not the session's own."""
        return self.names.get(rule_id) or f"bearer {rule_id}"

    def named(self, rule: Rule) -> str:
        """What to call one of its rules, and whose it is."""
        return f"{self.called(rule.id)} of {self.name}" if rule.id else self.name

    @property
    def kind(self) -> str:
        """What its rules are."""
        return "PDR" if self.names else "bearer"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a packet. `reason` is a word for scripts, None if it is delivered; `do` is
    what helps, if something does, and `run` a command for it."""

    delivered: bool
    says: str
    reason: str | None = None
    do: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Whose packet it is, and where."""

    packet: Packet
    session: Known
    gateway: Gateway
