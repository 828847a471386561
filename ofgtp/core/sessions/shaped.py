"""Sessions with bearers as shapes and numbers: for where there are very many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from operator import itemgetter
from typing import NamedTuple

from ofgtp.core.flows.flow import Meter
from ofgtp.core.model import Session
from ofgtp.core.sessions.detail import Detail
from ofgtp.core.sessions.rules import (
    METERS_OF_A_SESSION,
    all_teids,
    all_tunnels,
    meters_of,
    peers_of,
)
from ofgtp.core.sessions.shape import Numbers, numbers_of, with_numbers

_MAGIC, _STEP = 0xE1F2_A3B5, 0x10203


class Shape:
    """What many sessions have in common: all but their ids and numbers.

    It is one object for all of them, so that whoever works something out of it does so once. The
    places are those of the numbers in `ShapedPut.values`.
    """

    __slots__ = (
        "bearer_teids",
        "bearer_tunnels",
        "columns",
        "detail",
        "meters",
        "named",
        "of_addresses",
        "own",
        "peers",
        "qos",
        "sample",
        "size",
        "teids",
        "tunnels",
    )

    def __init__(self, session: Session, detail: Detail) -> None:
        """Of a session with a UE address, a tunnel to us, bearers or rates, and no more."""
        self.size = size = len(numbers_of(session, detail).values)
        """How many numbers a session has."""
        magic = [_MAGIC + place * _STEP for place in range(size)]
        self.sample = with_numbers(
            replace(session, id="", gateway=""), detail, Numbers(0, 0, tuple(magic))
        )
        """With numbers of ten digits, all different, where those of a session are to go."""
        self.detail = self.sample.detail or detail
        self.qos = 0 if session.qos is None else session.qos.number
        self.meters = tuple(meters_of(self.sample))
        """As of slot 0."""
        self.of_addresses = any(
            isinstance(each.local, IPv4Network)
            for bearer in detail.bearers
            for each in bearer.filters
        )
        """Whether filters name addresses of the UE: they are right for some UEs only."""
        place = {value: index for index, value in enumerate(magic)}
        teids = {loc: place[teid] for loc, teid in all_teids(self.sample)}
        tunnels = {
            loc: (place[far.teid], place[int(far.ip)]) for loc, far in all_tunnels(self.sample)
        }
        self.teids = tuple(teids.values())
        """Of TEIDs of ours."""
        self.tunnels = tuple(tunnels.values())
        """Of TEID and address of each peer's tunnel."""
        self.peers = tuple(
            sorted({*range(1, size)} - {*self.teids} - {teid for teid, _ in self.tunnels})
        )
        """Of all addresses of peers."""
        self.named = tuple(sorted(place[int(ip)] for ip in peers_of(self.sample)))
        """Of those that `peers_of` the session names."""
        own = teids.pop("uplink.teid")
        far = tunnels.pop("downlink", (size, size))
        self.own = len(numbers_of(self.sample, Detail()).values)
        """So many come first that stand in the session's row."""
        pinned = self.sample.uplink is not None and self.sample.uplink.remote_ip is not None
        self.columns = itemgetter(0, own, own + 1 if pinned else size, *far)
        """Of the numbers, with None behind them: UE address, TEID, peer, and the downlink's two."""
        self.bearer_teids = tuple(teids.values())
        self.bearer_tunnels = tuple(tunnels.values())
        """Those that do not stand in the session's row."""

    def session(self, number: int, slot: int, values: Sequence[int]) -> Session:
        """A session of this shape, without id and gateway."""
        return with_numbers(self.sample, self.detail, Numbers(number, slot, tuple(values)))

    def meters_of(self, slot: int) -> Iterable[Meter]:
        """The meters of the session with this slot."""
        first = slot * METERS_OF_A_SESSION
        return [replace(meter, number=first + meter.number) for meter in self.meters]


class ShapedPut(NamedTuple):
    """A new session as one line of a batch asks for it, with bearers or rates, all in right form.

    Ids that are None are to be chosen, as in `BatchPut`.
    """

    id: str | None
    gateway: str | None
    shape: Shape
    values: tuple[int, ...]
    """As `numbers_of` has them."""

    def session(self) -> Session:
        """What is asked for, without a number and a slot."""
        made = self.shape.session(0, 0, self.values)
        return replace(made, id=self.id or "", gateway=self.gateway or "")


class Shaped(NamedTuple):
    """A session as the store has it: what its flows are made from."""

    shape: Shape
    numbers: Numbers
