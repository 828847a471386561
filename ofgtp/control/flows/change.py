"""Changes of a switch's flows: put into a bundle as they become known, then carried out at once."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate

from ofgtp.control.buffer.flips import Flips
from ofgtp.control.buffer.holding import Holding
from ofgtp.core.errors import SwitchRefused
from ofgtp.core.flows.flow import Flow, Meter
from ofgtp.core.flows.pipeline import CHOOSE, DOWNLINK, GUARD
from ofgtp.core.flows.reconcile import plan
from ofgtp.core.model import FlowValues, Session
from ofgtp.core.rules.session import session_flows
from ofgtp.core.sessions.rules import all_teids, meters_of
from ofgtp.core.sessions.shape import numbers_of
from ofgtp.core.sessions.shaped import Shape, Shaped
from ofgtp.southbound import openflow as of
from ofgtp.southbound.channel import Bundle, Channel, Disconnected, FlowsRefused, NotConfirmed
from ofgtp.southbound.prepared import FLOWS, Prepared, session_of
from ofgtp.southbound.templates import Template, TemplateError

FLOWS_AT_ONCE = 4_000
"""So many flows of sessions with bearers are encoded before others get a turn."""


class Change:
    """What becomes of a gateway's sessions, in the order in which it is told.

    Without a bundle, or when the switch goes away meanwhile, it is the next comparison's to do.
    """

    def __init__(
        self, prepared: Prepared | None, bundle: Bundle | None, holding: Holding | None = None
    ) -> None:
        """What `holding` has of packets that wait for the change is sent before it."""
        self._prepared, self._bundle, self._holding = prepared, bundle, holding
        self._flips = Flips() if holding is None else Flips(holding.knows)
        self.drop: set[int] = set()
        """Slots of sessions what waits of which is to be dropped."""
        self.problem: str | None = None
        """Why the switch could not be told, if it was there at the beginning."""
        self.touched = False
        """Whether anything was told."""
        self.downlink = False
        """Whether flows of table downlink changed."""
        self.epoch = False
        """Whether packets may be cached that the switch would not notice to go another way now: of
        a TEID that one session with rules has from another, or from UEs to a framed route."""
        self.untold: set[int] = set()
        """Without a bundle: the numbers of the sessions that it is about."""
        self.untold_drops: set[int] = set()
        """And UE addresses for which there was a flow that drops."""
        self._there: dict[int, Meter] = {}
        """Meters that sessions had before this change."""
        self._wanted: dict[int, Meter] = {}
        """Those that they have after it."""
        self._left: dict[int, int] = {}
        """TEIDs, with their sessions' numbers, whose rules stood in a table of their own."""
        self._gone: set[int] = set()
        """TEIDs of those that are no more, where very many are not."""
        self._set = self._done = False

    @property
    def active(self) -> bool:
        """Whether there is a switch that is told."""
        return self._bundle is not None

    def create(self, sessions: Sequence[FlowValues]) -> None:
        """These are new."""
        self._note_new(values.teid for values in sessions)
        self._put_sessions(of.Command.ADD, sessions)

    def create_shaped(self, sessions: Sequence[Shaped]) -> None:
        """These with bearers are new."""
        templates = self._templates(sessions)
        if templates is None:
            self.alter((), [shape.session(*numbers) for shape, numbers in sessions])
            return
        self._note_new(_teids_of(sessions))
        if self._prepared is not None:
            self._wanted |= _meters_of(sessions)
        self._put_shaped(of.Command.ADD, templates, sessions)

    def delete_shaped(self, sessions: Sequence[Shaped]) -> None:
        """These with bearers are no more."""
        templates = self._templates(sessions)
        if templates is None:
            self.alter([shape.session(*numbers) for shape, numbers in sessions], ())
            return
        self._gone.update(_teids_of(sessions))
        if self._prepared is not None:
            self._forget_meters(_meters_of(sessions))
        self._put_shaped(of.Command.DELETE_STRICT, templates, sessions)

    def _templates(self, sessions: Sequence[Shaped]) -> dict[Shape, Template] | None:
        """Those of the shapes; None if one has none."""
        made: dict[Shape, Template] = {}
        if self._prepared is not None:
            try:
                for shape in {shape for shape, _ in sessions}:
                    made[shape] = self._prepared.templates.of(shape.sample, shape.detail)
            except TemplateError:
                return None
        return made

    def _put_shaped(
        self,
        command: of.Command,
        templates: Mapping[Shape, Template],
        sessions: Sequence[Shaped],
    ) -> None:
        self.touched = self.downlink = True
        prepared = self._prepared
        if prepared is None:
            self.untold.update(numbers.number for _, numbers in sessions)
            return
        self._attempt(lambda bundle: put_shaped(bundle, prepared, command, templates, sessions))

    def delete(self, sessions: Sequence[FlowValues]) -> None:
        """These are no more."""
        if self._prepared is None:
            self.untold_drops.update(values.ue_ip for values in sessions if not values.sends)
        self._put_sessions(of.Command.DELETE_STRICT, sessions)

    def alter(self, before: Iterable[Session], after: Iterable[Session]) -> None:
        """The first are replaced by the second; either may be none."""
        self.touched = True
        prepared = self._prepared
        before, after = list(before), list(after)
        self._flips.add(before, after)
        if prepared is None:
            self.untold.update(each.number for each in (*before, *after))
            self.untold_drops.update(
                int(each.ue_ip) for each in before if each.detail is None and each.ue_ip
            )
            return
        self._take_meters(before, after)
        self._note_teids(before, after)
        numbers_before, numbers_after = ({each.number for each in some} for some in (before, after))
        gone = [s for s in before if s.number not in numbers_after and _has_template(s, prepared)]
        new = [s for s in after if s.number not in numbers_before and _has_template(s, prepared)]
        apart = {each.number for each in (*gone, *new)}
        both = numbers_before & numbers_after
        both -= {
            each.number
            for each in (*before, *after)
            if each.number in both and not _has_template(each, prepared)
        }
        was, now = ([each for each in some if each.number in both] for some in (before, after))
        altered = _Altered(prepared, was, now)
        apart |= both
        changes = plan(
            _flows((each for each in after if each.number not in apart), prepared),
            _flows((each for each in before if each.number not in apart), prepared),
        )
        tables = {flow.table for flow in changes.all()} | altered.tables
        self.downlink |= bool(gone or new) or not tables.isdisjoint(
            {DOWNLINK.number, CHOOSE.number}
        )
        framed = any(each.detail and each.detail.framed_routes for each in (*gone, *new))
        self.epoch |= framed or GUARD.number in tables
        # What goes makes room for what comes.
        self._put_detailed(of.Command.DELETE_STRICT, gone, prepared)
        self._attempt(altered.delete)
        # Very many may be altered in turn: their flows are not kept to be named later.
        self._attempt(lambda bundle: bundle.put_plan(changes, named=False))
        self._attempt(altered.put)
        self._put_detailed(of.Command.ADD, new, prepared)

    def replace(self, before: Iterable[Flow], after: Iterable[Flow]) -> None:
        """Base flows: the first are replaced by the second."""
        changes = plan(after, before)
        self._attempt(lambda bundle: bundle.put_plan(changes))

    def prepare(self) -> None:
        """Have the switch look at all of it; its meters are changed already now.

        Raises:
            FlowsRefused: nothing will be carried out.
        """
        self._attempt(self._prepare)

    def commit(self) -> bool:
        """Have all of it carried out; False if the switch has not confirmed.

        Raises:
            FlowsRefused: nothing was carried out.
        """
        self.prepare()
        holding, flips = self._holding, self._flips
        if holding is not None and (flips.changed or self.drop) and self._bundle is not None:
            holding.flip(flips.changed, flips.had.keys(), self.drop)
        try:
            self._attempt(Bundle.commit)
        except FlowsRefused:
            if holding is not None:
                holding.back(flips.had)
            raise
        if holding is not None:
            holding.let_late_pass()
        self._done = True
        self._attempt(self._delete_meters)
        return self._bundle is not None

    def take_back(self) -> None:
        """Have meters as they were, unless it was carried out; flows are still as they were."""
        if self._set and not self._done:
            self._attempt(self._unset_meters)

    def _take_meters(self, before: Sequence[Session], after: Sequence[Session]) -> None:
        self._forget_meters(
            {meter.number: meter for session in before for meter in meters_of(session)}
        )
        self._wanted |= {meter.number: meter for session in after for meter in meters_of(session)}

    def _forget_meters(self, had: Mapping[int, Meter]) -> None:
        for number, meter in had.items():
            if number in self._wanted:
                del self._wanted[number]
            else:
                self._there[number] = meter

    def _prepare(self, bundle: Bundle) -> None:
        """With one barrier for meters and flows."""
        mods = [] if self._set else self._meter_mods()
        if not mods:
            bundle.prepare()
            return
        self._set = True
        try:
            with bundle.channel.setting_meters(mods):
                if bundle.unseen:
                    bundle.prepare()
                else:
                    bundle.channel.barrier()
        except FlowsRefused:
            raise
        except SwitchRefused as error:
            raise FlowsRefused([(None, str(error))]) from error

    def _meter_mods(self) -> list[tuple[of.MeterCommand, Meter]]:
        mods = []
        for number, meter in self._wanted.items():
            there = self._there.get(number)
            if there is None:
                # One that somebody left there would be in the way.
                mods += [(of.MeterCommand.DELETE, meter), (of.MeterCommand.ADD, meter)]
            elif there != meter:
                mods.append((of.MeterCommand.MODIFY, meter))
        return mods

    def _unset_meters(self, bundle: Bundle) -> None:
        there, wanted = self._there, self._wanted
        mods = [
            (of.MeterCommand.MODIFY, meter)
            for number, meter in there.items()
            if wanted.get(number, meter) != meter
        ]
        new = [meter for number, meter in wanted.items() if number not in there]
        bundle.channel.set_meters([*mods, *((of.MeterCommand.DELETE, meter) for meter in new)])

    @property
    def meters(self) -> tuple[set[int], set[int]]:
        """The numbers of meters that go with it, and of those that are new."""
        there, wanted = set(self._there), set(self._wanted)
        return there - wanted, wanted - there

    def _delete_meters(self, bundle: Bundle) -> None:
        gone = [meter for number, meter in self._there.items() if number not in self._wanted]
        bundle.channel.set_meters([(of.MeterCommand.DELETE, meter) for meter in gone])

    def _note_teids(self, before: Sequence[Session], after: Sequence[Session]) -> None:
        for session in before:
            if session.detail is not None:
                self._left |= {teid: session.number for _, teid in all_teids(session)}
        if self._left or self._gone:
            self.epoch |= any(
                teid in self._gone or self._left.get(teid, session.number) != session.number
                for session in after
                for _, teid in all_teids(session)
            )

    def _note_new(self, teids: Iterable[int]) -> None:
        """Sessions that were not there before have these."""
        if self._left or self._gone:
            self.epoch |= any(teid in self._gone or teid in self._left for teid in teids)

    def _put_sessions(self, command: of.Command, sessions: Sequence[FlowValues]) -> None:
        self.touched = self.downlink = True
        prepared = self._prepared
        if prepared is None:
            self.untold.update(values.number for values in sessions)
            return
        self._attempt(lambda bundle: put_sessions(bundle, prepared, command, sessions))

    def _put_detailed(
        self, command: of.Command, sessions: Sequence[Session], prepared: Prepared
    ) -> None:
        """Put the flows of sessions that are more than tunnel pairs in, to be added or deleted."""
        if not sessions:
            return
        made = [
            (prepared.templates.of(each, each.detail), numbers_of(each, each.detail))
            for each in sessions
            if each.detail is not None
        ]
        places = [*accumulate((template.flows for template, _ in made), initial=0)]

        def put(bundle: Bundle) -> None:
            def make(first: int) -> bytes:
                encoded = (
                    (template.add if command is of.Command.ADD else template.delete)(
                        numbers, bundle.number, first + place
                    )
                    for (template, numbers), place in zip(made, places, strict=False)
                )
                return b"".join(encoded)

            bundle.put(command, places[-1], make, flow_at)

        def flow_at(place: int) -> Flow:
            which = bisect_right(places, place) - 1
            return session_flows(sessions[which], prepared.links)[place - places[which]]

        self._attempt(put)

    def _attempt(self, work: Callable[[Bundle], None]) -> None:
        if self._bundle is None:
            return
        try:
            work(self._bundle)
        except (NotConfirmed, Disconnected) as error:
            self.problem, self._bundle = str(error), None


class _Altered:
    """What becomes of the flows of sessions that are others now: as `plan`, of flows as bytes."""

    def __init__(
        self, prepared: Prepared, before: Iterable[Session], after: Iterable[Session]
    ) -> None:
        gone = {entry.key: entry for entry in _entries(before, prepared)}
        self._modified: list[of.Entry] = []
        self._added: list[of.Entry] = []
        self._deleted: list[of.Entry] = []
        for entry in _entries(after, prepared):
            there = gone.pop(entry.key, None)
            if there is None:
                self._added.append(entry)
            elif there.cookie != entry.cookie:
                self._deleted.append(there)
                self._added.append(entry)
            elif there != entry:
                self._modified.append(entry)
        self._deleted += gone.values()

    @property
    def tables(self) -> set[int]:
        """Those in which something changes."""
        return {each.table for each in (*self._deleted, *self._modified, *self._added)}

    def delete(self, bundle: Bundle) -> None:
        """Have what goes deleted."""
        self._put(bundle, of.Command.DELETE_STRICT, self._deleted)

    def put(self, bundle: Bundle) -> None:
        """Have the others changed and added."""
        self._put(bundle, of.Command.MODIFY_STRICT, self._modified)
        self._put(bundle, of.Command.ADD, self._added)

    def _put(self, bundle: Bundle, command: of.Command, entries: Sequence[of.Entry]) -> None:
        def make(first: int) -> bytes:
            mods = (of.entry_mod(command, each, xid) for xid, each in enumerate(entries, first))
            return bundle.wrap(mods, first)

        # Very many may be altered in turn: as with a plan, their flows are not kept.
        bundle.put(command, len(entries), make, lambda place: None)


def _entries(sessions: Iterable[Session], prepared: Prepared) -> Iterator[of.Entry]:
    for session in sessions:
        if session.detail is not None:
            template = prepared.templates.of(session, session.detail)
            yield from template.entries(numbers_of(session, session.detail))


def _has_template(session: Session, prepared: Prepared) -> bool:
    if session.detail is None:
        return False
    try:
        prepared.templates.of(session, session.detail)
    except TemplateError:
        return False
    return True


def put_sessions(
    bundle: Bundle, prepared: Prepared, command: of.Command, sessions: Sequence[FlowValues]
) -> None:
    """Put the flows of sessions, to be added or deleted, into a bundle.

    Raises:
        Disconnected: the switch is gone.
    """
    encode = prepared.add if command is of.Command.ADD else prepared.delete

    def make(first: int) -> bytes:
        number = bundle.number
        xids = range(first, first + FLOWS * len(sessions), FLOWS)
        return b"".join(
            [encode(values, number, xid) for values, xid in zip(sessions, xids, strict=True)]
        )

    bundle.put(command, FLOWS * len(sessions), make, partial(_flow, prepared, sessions))


def put_shaped(
    bundle: Bundle,
    prepared: Prepared,
    command: of.Command,
    templates: Mapping[Shape, Template],
    sessions: Sequence[Shaped],
) -> None:
    """Put the flows of sessions with bearers, to be added or deleted, into a bundle.

    Raises:
        Disconnected: the switch is gone.
    """
    shapes = [shape for shape, _ in sessions]
    if len(sessions) > 1 and sum(templates[shape].flows for shape in shapes) > FLOWS_AT_ONCE:
        middle = len(sessions) // 2
        for some in (sessions[:middle], sessions[middle:]):
            put_shaped(bundle, prepared, command, templates, some)
        return
    # A batch may be long, and what is put into a bundle is kept to be named should it be refused.
    numbers = array("Q", [each for _, numbers in sessions for each in numbers[:2]])
    values = array("I", [value for _, numbers in sessions for value in numbers.values])
    counts = array("H", [templates[shape].flows for shape in shapes])
    bundled = bundle.number

    def make(xid: int) -> bytes:
        made = []
        for shape, numbers in sessions:
            template = templates[shape]
            encode = template.add if command is of.Command.ADD else template.delete
            made.append(encode(numbers, bundled, xid))
            xid += template.flows
        return b"".join(made)

    def flow_at(place: int) -> Flow:
        start = 0
        for index, (shape, flows) in enumerate(zip(shapes, counts, strict=True)):
            if place < flows:
                own = values[start : start + shape.size]
                number, slot = numbers[2 * index : 2 * index + 2]
                session = shape.session(number, slot, own)
                return session_flows(session, prepared.links)[place]
            place, start = place - flows, start + shape.size
        raise IndexError(place)

    bundle.put(command, sum(counts), make, flow_at)


def _teids_of(sessions: Sequence[Shaped]) -> Iterator[int]:
    return (numbers.values[teid] for shape, numbers in sessions for teid in shape.teids)


def _meters_of(sessions: Sequence[Shaped]) -> dict[int, Meter]:
    return {
        each.number: each
        for shape, numbers in sessions
        if shape.meters
        for each in shape.meters_of(numbers.slot)
    }


def add_sessions(channel: Channel, prepared: Prepared, sessions: Sequence[FlowValues]) -> None:
    """Add the flows of a few new sessions without a bundle; see `Channel.add`."""

    def make(first: int) -> bytes:
        xids = range(first, first + FLOWS * len(sessions), FLOWS)
        return b"".join(map(prepared.add_bare, sessions, xids))

    channel.add(FLOWS * len(sessions), make, partial(_flow, prepared, sessions))


def _flow(prepared: Prepared, sessions: Sequence[FlowValues], place: int) -> Flow:
    """The flow that the message at this place is about."""
    session = session_of(sessions[place // FLOWS])
    return session_flows(session, prepared.links)[place % FLOWS]


def _flows(sessions: Iterable[Session], prepared: Prepared) -> list[Flow]:
    return [flow for session in sessions for flow in session_flows(session, prepared.links)]
