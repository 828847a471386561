"""What `ofgtp doctor` judges by: facts of the host, of its switch and of the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ofgtp.core.filters import Network
from ofgtp.core.model import Gateway


@dataclass(frozen=True, slots=True)
class Switch:
    """What the switch behind an OVSDB socket says of itself."""

    ovsdb: str
    ovsdb_error: str | None = None
    """Why the database does not answer."""
    daemon_error: str | None = None
    """Why ovs-vswitchd does not."""
    version: str | None = None
    datapath_types: Sequence[str] = ()
    interface_types: Sequence[str] = ()
    bridges: Mapping[str, str | None] = field(default_factory=dict)
    """Bridge -> the gateway that ofgtp made it for; None: ofgtp did not make it."""
    ports: Mapping[str, str] = field(default_factory=dict)
    """Port -> the bridge that it is in."""
    pmd_cores: Sequence[int] | None = None
    """The cores of its PMD threads, as somebody has set them; None: nobody has."""

    def installed(self, gateway: Gateway) -> bool:
        """Whether the gateway's bridge is there."""
        return self.bridges.get(gateway.bridge) == gateway.name


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket that waits for packets: of `tcp` or `udp`; an address of None is any."""

    protocol: str
    address: str | None
    port: int
    process: str
    pid: int | None
    full: bool = False
    """Its program takes no more connections: the queue of those that wait is full."""

    def holds(self, host: str, port: int) -> bool:
        """Whether it is what listens for TCP at an address."""
        addresses = (None, host, "0.0.0.0", "::")
        return self.protocol == "tcp" and self.port == port and self.address in addresses


class Jumped(NamedTuple):
    """A rule of a chain without a hook, and how a packet comes to it."""

    chain: str
    asked: str
    """What it must match on the way."""
    rule: str


@dataclass(frozen=True, slots=True)
class Chain:
    """An nftables chain that packets pass by a hook."""

    family: str
    table: str
    name: str
    hook: str
    policy: str
    devices: Sequence[str] = ()
    rules: Sequence[str] = ()
    """In order, as nft shows them; of chains of the host's stack."""
    jumped: Sequence[Jumped] = ()
    """The rules of chains that these lead to."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What came of a connection of this host to an address that its controller listens on."""

    what: str
    """Such as REST."""
    address: str
    """With its port."""
    state: Literal["open", "dropped", "refused"]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the host to a prefix."""

    to: Network
    device: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the host; `link` is missing, down, no carrier or up."""

    name: str
    link: str
    mtu: int = 0
    kind: str | None = None
    """Such as veth; None is a real one."""
    refusal: str | None = None
    """Why it cannot be a gateway's port."""
    offloads: Mapping[str, str] = field(default_factory=dict)
    """Of those that merge received packets, what can be changed: name -> on or off."""
    xdp: bool = False
    """Whether an XDP program sees what it receives, before the switch does."""
    filters: bool = False
    """Whether filters of tc see what leaves by it, after the switch."""


@dataclass(frozen=True, slots=True)
class Controller:
    """What the API says; `error` is why it does not."""

    url: str
    error: str | None = None
    refuses: bool = False
    """It runs, but does not tell us."""
    hangs: bool = False
    """Somebody listens there and says nothing."""
    health: Mapping[str, Any] | None = None
    gateways: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name."""
    peers: Sequence[Mapping[str, Any]] = ()
    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of PFCP, by gateway."""

    @property
    def runs(self) -> bool:
        """Whether there is a controller that answers at all."""
        return self.error is None or self.refuses
