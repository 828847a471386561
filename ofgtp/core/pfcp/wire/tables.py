"""Groups of information elements, read and written as their classes declare them.

A message is a group, and so is a grouped IE (TS 29.244, 7.2.3.3). Its class is a named tuple whose
fields are in the order in which they are sent, each annotated with its IE and what is made of it:

    class Pdi(NamedTuple):
        source_interface: Annotated[Interface, must(Ie.SOURCE_INTERFACE)]
        qfis: Annotated[tuple[int, ...], may(Ie.QFI, many=True)] = ()

They may come in any order. What a group does not declare is skipped, vendors' IEs too (7.6.9), of
a single one that comes again the first counts (7.6.10), and an empty one is as one that is not
there. Where the field may be `Removed`, an empty one takes away what there was (5.6.3).

How deep groups nest is known beforehand, since what is read into them is what they declare.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args, get_type_hints

from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.codecs import CODECS
from ofgtp.core.pfcp.wire.enums import FailedRule, RuleKind
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.fields import Codec
from ofgtp.core.pfcp.wire.ies import Ie

G = TypeVar("G", bound=tuple[Any, ...])

_HEAD = struct.Struct("!HH")
_pack, _unpack = _HEAD.pack, _HEAD.unpack_from
_new = tuple.__new__


class _Marker(Enum):
    REMOVED = "removed"

    def __repr__(self) -> str:
        return self.name


REMOVED: Final = _Marker.REMOVED
"""An IE of length 0 in an update: what it stood for is no more (5.6.3)."""

Removed = Literal[_Marker.REMOVED]


class Need(Enum):
    """What is made of an IE."""

    MUST = "must"
    """Used; without it the request is refused with cause 66."""
    MAY = "may"
    """Used, if it is there; a wrong one refuses the request."""
    LENIENT = "lenient"
    """Kept, if it can be read; a wrong one is as one that is not there (7.6.8)."""


class Field(NamedTuple):
    """One IE of a group, or all of one type."""

    ie: Ie
    need: Need
    many: bool = False
    empty: bool = False
    """An empty one is one, too."""


def must(ie: Ie, *, many: bool = False) -> Field:
    """One that has to be there, or at least one."""
    return Field(ie, Need.MUST, many)


def may(ie: Ie, *, many: bool = False) -> Field:
    """One that may be there, or any number."""
    return Field(ie, Need.MAY, many)


def lenient(ie: Ie, *, many: bool = False, empty: bool = False) -> Field:
    """One without which the request can be carried out, too."""
    return Field(ie, Need.LENIENT, many, empty)


class RefusedIe(NamedTuple):
    """What stands for something that is not supported, and what is not supported, in words."""

    cause: Cause
    what: str


def unsupported(what: str) -> RefusedIe:
    """Refused with cause 76."""
    return RefusedIe(Cause.NOT_SUPPORTED, what)


class Table:
    """Of one group: what is read and written, and what is not."""

    def __init__(
        self,
        kind: type[tuple[Any, ...]],
        refused: Mapping[Ie, RefusedIe],
        ignored: Iterable[Ie],
        rule: RuleKind | None,
    ) -> None:
        self.kind, self.rule = kind, rule
        self.refused, self.ignored = dict(refused), frozenset(ignored)
        self.fields: dict[str, Field] = {}
        self._readers: dict[int, tuple[int, Callable[[bytes], Any], bool, bool]] = {}
        self._writers: list[tuple[int, int, Callable[[Any], bytes], bool]] = []
        self._empty: dict[int, Any] = {}
        """What an empty IE stands for, where it is not as if it were not there."""
        self._many: list[tuple[int, tuple[()] | None]] = []
        """Lists, and what stands for none."""
        self._must: list[tuple[int, Ie]] = []
        for name, hint in get_type_hints(kind, include_extras=True).items():
            index, field = len(self.fields), hint.__metadata__[0]
            removable = Removed in get_args(hint.__origin__)
            codec = CODECS[field.ie]
            self.fields[name] = field
            self._readers[field.ie] = index, codec.decode, field.many, field.need is Need.LENIENT
            self._writers.append((index, field.ie, codec.encode, field.many))
            if removable:
                self._empty[field.ie] = REMOVED
            elif field.empty:
                self._empty[field.ie] = codec.decode(b"")
            if field.many:
                self._many.append((index, None if removable else ()))
            if field.need is Need.MUST:
                self._must.append((index, field.ie))
        for ie, refusal in refused.items():
            self._readers[ie] = len(self.fields), _refuse(refusal), False, False
        self._known: dict[bytes, Any] = {}
        """What was read lately: control planes say the same of most sessions."""
        # one more than the fields, for those that are refused and empty, which are not there
        self._blank: list[Any] = [None] * (len(self.fields) + 1)

    def decode(self, data: bytes) -> Any:
        """Read the IEs of a group.

        Raises:
            Refusal: a length does not fit (68), one that must be there is not (66), a value is
                none that the standard has (69), or what it stands for is not supported.
        """
        known = self._known.get(data)
        if known is not None:
            return known
        try:
            made = self._decode(data)
        except Refusal as refusal:
            if self.rule is not None and refusal.rule is None:
                refusal.rule = self._failed(data)
            raise
        if len(data) <= KNOWN_OCTETS:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[data] = made
        return made

    def _decode(self, data: bytes) -> Any:
        values, readers = self._blank.copy(), self._readers
        at, end = 0, len(data)
        while at < end:
            start = at + 4
            if start > end:
                raise Refusal(Cause.INVALID_LENGTH, f"{end - at} octets at its end are no IE")
            ie, size = _unpack(data, at)
            at = start + size
            if at > end:
                raise Refusal(
                    Cause.INVALID_LENGTH,
                    f"its length is {size}, and {end - start} octets are left",
                    ie,
                )
            reader = readers.get(ie)
            if reader is None:
                continue
            index, decode, several, lenient = reader
            value = values[index]
            if not size:
                if value is None:
                    values[index] = self._empty.get(ie)
                continue
            try:
                if several:
                    if value is None or value is REMOVED:
                        values[index] = value = []
                    value.append(decode(data[start:at]))
                elif value is None:
                    values[index] = decode(data[start:at])
            except Refusal as refusal:
                if not lenient:
                    if refusal.ie is None:
                        refusal.ie = ie
                    raise
        for index, none in self._many:
            value = values[index]
            if value is None:
                values[index] = none
            elif value is not REMOVED:
                values[index] = tuple(value)
        for index, must_be in self._must:
            if values[index] is None or values[index] == ():
                raise Refusal(Cause.MANDATORY_IE_MISSING, "it is missing", must_be)
        values.pop()
        return _new(self.kind, values)

    def decode_some(self, data: bytes) -> Any:
        """As `decode`, but None for a group of nothing that is known: it changes nothing.

        Written it would be empty, and that is something else in an update.
        """
        group = self.decode(data)
        return group if any(value is not None for value in group) else None

    def encode(self, group: tuple[Any, ...]) -> bytes:
        """The IEs of a group, in the order of its fields.

        Raises:
            ValueError: a value does not fit its field (so do OverflowError and struct.error).
        """
        parts: list[bytes] = []
        for index, ie, encode, several in self._writers:
            value = group[index]
            if value is None:
                continue
            if value is REMOVED:
                parts.append(_pack(ie, 0))
            elif several:
                for each in value:
                    octets = encode(each)
                    parts += (_pack(ie, len(octets)), octets)
            elif octets := encode(value):
                parts += (_pack(ie, len(octets)), octets)
            elif self._empty.get(ie) == value:
                parts.append(_pack(ie, 0))
        return b"".join(parts)

    def _failed(self, data: bytes) -> FailedRule | None:
        """Which rule a group is about that cannot be read; None if that cannot be read either."""
        ie = next(iter(self.fields.values())).ie
        octets = first(data, ie)
        if not octets or self.rule is None:
            return None
        try:
            return FailedRule(self.rule, CODECS[ie].decode(octets))
        except Refusal:
            return None


KNOWN, KNOWN_OCTETS = 256, 256
"""Groups of a kind that are kept as they were read, and their length."""

TABLES: dict[type, Table] = {}
"""Of each class that is a group."""


def table(
    *,
    refused: Mapping[Ie, RefusedIe] | None = None,
    ignored: Iterable[Ie] = (),
    rule: RuleKind | None = None,
    ie: Ie | tuple[Ie, ...] = (),
) -> Callable[[type[G]], type[G]]:
    """Declare a class to be a group.

    `ie` is its own type, or its types, if it is an IE and no message. Of a `rule` the first field
    is the ID. What is `ignored` is named for the reader, and skipped as all that is not declared.
    """

    def declare(kind: type[G]) -> type[G]:
        made = TABLES[kind] = Table(kind, refused or {}, ignored, rule)
        optional = not any(field.need is Need.MUST for field in made.fields.values())
        for own in (ie,) if isinstance(ie, Ie) else ie:
            CODECS[own] = Codec(made.decode_some if optional else made.decode, made.encode)
        return kind

    return declare


def decode(kind: type[G], data: bytes) -> G:
    """Read a group from its IEs; see `Table.decode`."""
    group: G = TABLES[kind].decode(data)
    return group


def encode(group: tuple[Any, ...]) -> bytes:
    """The IEs of a group; see `Table.encode`."""
    return TABLES[type(group)].encode(group)


def first(data: bytes, ie: Ie) -> bytes | None:
    """The octets of the first IE of a type, as far as there are any; nothing else is read."""
    at, end = 0, len(data)
    while at + 4 <= end:
        found, size = _unpack(data, at)
        at += 4
        if found == ie:
            return data[at : at + size]
        at += size
    return None


def _refuse(refusal: RefusedIe) -> Callable[[bytes], Any]:
    def decode(value: bytes) -> Any:
        raise Refusal(refusal.cause, f"{refusal.what} is not supported")

    return decode
