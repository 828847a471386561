"""Usage as real control planes have it measured, replayed with packets: our Usage Reports beside
those of the real user plane.

Each URR of a session gets, by its PDR, packets of as many octets as the real user plane has
reported. Some come while the UE is idle, where the capture has a Downlink Data Report. So message
types, URRs, UR-SEQNs, triggers and volumes must be the same. What differs, and why:

- Open5GS's user plane gives all URRs of one answer the volume of the last of them (frame 20 of
  5g-flow, 183 of suite-5g-paging-error-indication, beside the packets in those captures). Of these
  MEASURED says what had passed.
- It does not report a URR that is removed; TS 29.244, 7.5.5.1, wants it in that answer.
- It counts packets (asked for by MNOP only) and time (asked for by DURAT only), and its first
  report of a URR has no Start Time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw

from ofgtp.core.pfcp.wire.enums import Action, Interface, UsageTrigger
from ofgtp.core.pfcp.wire.messages import SessionReportResponse, read, write
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.pfcp.wire.values import FTeid, VolumeMeasurement
from tests.support import gtpu, smf
from tests.support.pfcp import Seen, procedures, rewritten
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until
from tests.support.smf import ControlPlane, PfcpSession

pytestmark = pytest.mark.switch

CAPTURES = procedures()
FIRST = CAPTURES["5g-session"]
"""How a session begins that was there before its capture: of the same SMF."""
USER_PLANES = "192.0.2.30", "192.0.2.7"
"""Open5GS's UPFs: between UERANSIM and a packet network, and in its own test suites."""
TERMR = int(UsageTrigger.TERMR)

MEASURED: dict[tuple[str, int], dict[int, list[int]]] = {
    ("5g-flow", 20): {1: [84, 84, 56, 30], 2: []},
    ("suite-5g-paging-error-indication", 183): {1: [], 2: [28, 28, 28]},
}
"""Sizes of packets by URR, where the user plane has reported others."""
UNREPORTED = [84] * 4
"""What a URR measures that no report in its capture is about."""
WAITED = {
    "suite-5g-ipv4v6-two-dnn-flow-rs-ra": 1,
    "suite-5g-n2-handover-indirect": 5,
    "suite-5g-paging-error-indication": 11,
    "suite-5g-qos-flow-sdf-bid": 2,
    "suite-5g-xn-handover-end-marker": 2,
}
"""Packets that are held on their way; none in the other captures."""
BATCH = 4000


class Told(NamedTuple):
    """A message with Usage Reports."""

    type: int
    reports: tuple[UsageReport, ...]

    @property
    def what(self) -> tuple[int, list[tuple[int, int, int]]]:
        """All but volumes and times."""
        return self.type, [(e.urr_id, e.sequence, int(e.trigger)) for e in self.reports]

    @property
    def octets(self) -> list[int | None]:
        return [each.volume.total if each.volume else None for each in self.reports]


@dataclass
class Replayed:
    """A session of a capture in the lab."""

    session: PfcpSession
    ue: str
    uplink: tuple[int, int]
    """TEID and QFI."""
    periods: list[dict[int, list[int]]]
    """What is to pass, by URR: until the first report, the second, and so on."""
    held_later: Counter[int]
    """How many Downlink Data Reports of a PDR are still to come."""
    pdrs: dict[int, Any] = field(default_factory=dict)
    """Those of the downlink, by URR."""
    fars: dict[int, Any] = field(default_factory=dict)
    tunnels: dict[int, Any] = field(default_factory=dict)
    due: dict[int, list[int]] = field(default_factory=dict)
    passed: Counter[int] = field(default_factory=Counter)
    """Octets by URR since it was reported."""
    octets: list[list[int | None]] = field(default_factory=list)
    """What their reports say, or, of those in MEASURED, should."""
    ours: list[Told] = field(default_factory=list)
    theirs: list[Told] = field(default_factory=list)

    def learn(self, request: Any) -> None:
        """What a request makes of its rules."""
        for pdr in request.create_pdrs:
            if pdr.pdi.source_interface == Interface.CORE:
                for urr in pdr.urr_ids:
                    self.pdrs[urr] = pdr
        for far in (*request.create_fars, *getattr(request, "update_fars", ())):
            self.fars[far.far_id] = far.apply_action
            parameters = far.forwarding_parameters
            if parameters is not None and parameters.outer_header_creation is not None:
                self.tunnels[far.far_id] = parameters.outer_header_creation
        for urr in request.create_urrs:
            self.due[urr.urr_id] = list(self.periods[0].get(urr.urr_id, UNREPORTED))

    def forgets(self, request: Any) -> None:
        for urr in request.remove_urrs:
            del self.pdrs[urr.urr_id], self.due[urr.urr_id]

    def told(self, kind: int, reports: tuple[UsageReport, ...]) -> None:
        """Ours: of volumes that have just been sent."""
        if not reports:
            return
        self.ours.append(Told(kind, reports))
        for each in reports:
            assert not self.due[each.urr_id], "all has been sent"
            octets = self.passed.pop(each.urr_id, 0)
            assert each.volume == VolumeMeasurement(octets, 0, octets), "all that passed, once"
            assert each.start_time is not None and each.end_time is not None
            assert each.start_time <= each.end_time
            assert each.duration is None, "DURAT is not asked for"
            for packet in filter(None, (each.first_packet, each.last_packet)):
                assert each.start_time <= packet <= each.end_time

    def next_period(self) -> None:
        del self.periods[0]
        self.due |= {urr: list(sizes) for urr, sizes in self.periods[0].items()}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        # UERANSIM's base station.
        site.lab.exec("enb", ["ip", "addr", "add", "10.1.0.10/24", "dev", "eth0"])
        for number, (enb, peer) in enumerate((("enb", "10.1.0.10"), ("enb2", ENB_IP["enb2"]))):
            ue, teid = f"10.45.250.{number}", 0x7001 + number
            made = site.session(ue, teid=teid, downlink=teid, peer=peer)
            site.warm(enb, ue, teid)
            site.delete(made)
        yield site


@pytest.fixture
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        yield cp
        assert cp.release().cause == 1


def sizes(volume: VolumeMeasurement) -> list[int]:
    """So many packets of so many octets together."""
    count, octets = volume.downlink_packets or 0, volume.downlink or 0
    if not count:
        return []
    size, more = divmod(octets, count)
    return [size + 1] * more + [size] * (count - more)


def periods(name: str, user_plane: str) -> dict[int, list[dict[int, list[int]]]]:
    """What each session is to forward, by its control plane's SEID, and by URR; and nothing more
    behind its last report."""
    found: dict[int, list[dict[int, list[int]]]] = {}
    for seen in CAPTURES[name]:
        header, body = read(seen.data)
        reports = getattr(body, "usage_reports", ())
        if str(seen.source) == user_plane and reports:
            what = MEASURED.get((name, seen.frame))
            if what is None:
                what = {each.urr_id: sizes(each.volume) for each in reports}
            found.setdefault(header.seid or 0, []).append(what)
    return found


def held(name: str, user_plane: str) -> dict[int, Counter[int]]:
    """How often each PDR's packets had a report while they waited, by session."""
    found: dict[int, Counter[int]] = {}
    for seen in CAPTURES[name]:
        header, body = read(seen.data)
        data = getattr(body, "downlink_data", None)
        if str(seen.source) == user_plane and data is not None:
            found.setdefault(header.seid or 0, Counter()).update(data.pdr_ids)
    return found


class Replay:
    """A capture against the gateway, in the place of a user plane."""

    def __init__(self, site: Site, cp: ControlPlane, name: str, user_plane: str) -> None:
        self.site, self.cp = site, cp
        self._name, self._user_plane = name, user_plane
        self._periods, self._held = periods(name, user_plane), held(name, user_plane)
        self.sessions: dict[int, Replayed] = {}
        """By the control plane's SEID in the capture."""
        self._up: dict[int, Replayed] = {}
        """By the user plane's."""
        self._answered: dict[int, Replayed] = {}
        """By the sequence number of an establishment."""
        self._messages = CAPTURES[name]
        self.waited = 0
        """Packets that were held, and reported."""

    def run(self) -> None:
        for seen in self._messages:
            if str(seen.target) == self._user_plane and seen.from_control_plane:
                self._asked(seen)
            elif str(seen.source) == self._user_plane:
                self._told(seen)

    # --- what the control plane sends

    def _asked(self, seen: Seen) -> None:
        header, body = read(seen.data)
        request: Any = body
        if header.type == 50:
            seid = request.cp_fseid.seid
            self._answered[header.sequence] = self._establish(seen.data, self._user_plane, seid)
            return
        session = self._up.get(header.seid or 0) or self._from_before(seen)
        up_seid = session.session.up_seid
        _, answer = read(self.cp.ask_octets(rewritten(seen.data, self._user_plane, up_seid)))
        ours: Any = answer
        assert ours.cause == 1, ours
        session.told(header.type + 1, ours.usage_reports)
        if header.type == 52:
            session.forgets(request)
            session.learn(request)
            # Else packets may count as those of the flow that took them before, or go to the base
            # station that the UE has left.
            self.site.lab.cache_follows()
            self._send(session)

    def _establish(self, data: bytes, user_plane: str, seid: int) -> Replayed:
        _, body = read(data)
        _, answer = read(self.cp.ask_octets(rewritten(data, user_plane, None)))
        request: Any = body
        made: Any = answer
        assert made.cause == 1, made
        session = PfcpSession(self.cp, request.cp_fseid.seid)
        session.up_seid = self.cp.up_seids[session.cp_seid] = made.up_fseid.seid
        uplink = next(pdr for pdr in request.create_pdrs if pdr.pdi.qfis)
        given = uplink.pdi.local_fteid
        chosen = {each.pdr_id: each.local_fteid.teid for each in made.created_pdrs}
        teid = given.teid if isinstance(given, FTeid) else chosen[uplink.pdr_id]
        ue = next(p.pdi.ue_ip_address for p in request.create_pdrs if p.pdi.ue_ip_address)
        wanted = [*self._periods.get(seid, []), {}]
        later = self._held.get(seid, Counter())
        replayed = Replayed(session, str(ue.ipv4), (teid, uplink.pdi.qfis[0]), wanted, later)
        self.sessions[seid] = replayed
        replayed.learn(request)
        self._send(replayed)
        return replayed

    def _from_before(self, seen: Seen) -> Replayed:
        """A session that began before its capture did; the answer has the other SEID."""
        header, _ = read(seen.data)
        seid = next(
            read(each.data)[0].seid or 0
            for each in self._messages
            if each.data[1] == header.type + 1 and read(each.data)[0].sequence == header.sequence
        )
        found = self.sessions.get(seid) or self._begin(seid)
        self._up[header.seid or 0] = found
        return found

    def _begin(self, seid: int) -> Replayed:
        establish, activate = (seen for seen in FIRST if seen.from_control_plane)
        session = self._establish(establish.data, str(establish.target), seid)
        up_seid = session.session.up_seid
        data = rewritten(activate.data, str(activate.target), up_seid)
        _, answer = read(self.cp.ask_octets(data))
        assert getattr(answer, "cause", None) == 1
        session.learn(read(activate.data)[1])
        self._send(session)
        return session

    # --- what the user plane sends

    def _told(self, seen: Seen) -> None:
        header, body = read(seen.data)
        theirs: Any = body
        if header.type == 51:
            self._up[theirs.up_fseid.seid] = self._answered[header.sequence]
            return
        if header.type == 56 and theirs.usage_reports:
            session = self.sessions.get(header.seid or 0) or self._begin(header.seid or 0)
            self._reported(session, self._answer(header.sequence))
        session = self.sessions[header.seid or 0]
        if getattr(theirs, "usage_reports", ()):
            told = Told(header.type, theirs.usage_reports)
            session.theirs.append(told)
            right = MEASURED.get((self._name, seen.frame))
            octets = told.octets if right is None else [sum(each) for each in right.values()]
            session.octets.append(octets)
        if header.type == 56 and theirs.downlink_data is not None:
            self._wait(session, theirs.downlink_data.pdr_ids, self._answer(header.sequence))

    def _answer(self, sequence: int) -> int:
        """The cause with which a report of theirs was answered."""
        answers = (read(seen.data) for seen in self._messages if seen.data[1] == 57)
        return next(b.cause for h, b in answers if h.sequence == sequence)  # type: ignore[union-attr]

    def _reported(self, session: Replayed, cause: int) -> None:
        """Ours comes, too, is answered as theirs was, and does not come again."""
        self.cp.answers_reports = cause
        until(lambda: self.cp.usage(session.session), "the report comes")
        [(_, report)] = self.cp.reports
        session.told(56, report.usage_reports)
        session.next_period()
        self._send(session)

    def _wait(self, session: Replayed, pdr_ids: tuple[int, ...], cause: int) -> None:
        """A packet comes for each of these PDRs, and is held if the UE is idle in ours, too."""
        for urr, pdr in session.pdrs.items():
            if pdr.pdr_id not in pdr_ids:
                continue
            session.held_later[pdr.pdr_id] -= 1
            idle = session.fars[pdr.far_id] & Action.BUFF
            if not idle or not session.due.get(urr):
                continue
            size = session.due[urr].pop(0)
            session.passed[urr] += size
            came = self.site.downlink(self.site.to_ue(packet(session.ue, pdr, size)))
            # An End Marker of a handover before may come meanwhile.
            assert [frame for frame in came if frame[43] == gtpu.T_PDU] == []
            data = self.cp.receive(10)
            assert data is not None, "a Downlink Data Report comes"
            header, body = read(data)
            report: Any = body
            assert (header.type, report.downlink_data.pdr_ids) == (56, (pdr.pdr_id,))
            up_seid = session.session.up_seid
            self.cp.send(write(SessionReportResponse(cause), header.sequence, up_seid))
            self.waited += 1
        self._send(session)

    # --- packets

    def _send(self, session: Replayed) -> None:
        """All that is due where it is forwarded, but what is to wait later; counted before the
        next request comes."""
        for urr, pdr in session.pdrs.items():
            if not session.fars[pdr.far_id] & Action.FORW:
                continue
            due = session.due[urr]
            count = max(len(due) - max(session.held_later[pdr.pdr_id], 0), 0)
            now, session.due[urr] = due[:count], due[count:]
            tunnel = session.tunnels[pdr.far_id]
            for start in range(0, len(now), BATCH):
                self._pass(session.ue, pdr, tunnel, now[start : start + BATCH])
            session.passed[urr] += sum(now)
        forwards = (session.fars[pdr.far_id] & Action.FORW for pdr in session.pdrs.values())
        if any(forwards):
            self._send_uplink(session)
        self._counted(session)

    def _pass(self, ue: str, pdr: Any, tunnel: Any, now: Sequence[int]) -> None:
        made = {size: self.site.to_ue(packet(ue, pdr, size)) for size in set(now)}
        arrived = self.site.downlink(*(made[size] for size in now))

        def all_there() -> bool:
            mine = [each for each in arrived if is_gtpu(each, tunnel.teid)]
            if len(mine) < len(now):
                arrived.extend(self.site.enbs["enb2"].all(0.02))
            return len(mine) >= len(now)

        until(all_there, f"{len(now)} packets come by {tunnel}")
        for wire in self.site.enbs.values():
            wire.seen.clear()

    def _send_uplink(self, session: Replayed) -> None:
        """What the UE sends no URR of these measures."""
        teid, qfi = session.uplink
        container = bytes((1, 0x10, qfi, 0))
        inner = gtpu.ipv4(session.ue, PDN_IP, size=84)
        data = gtpu.t_pdu(teid, container + inner, flags=gtpu.PLAIN | gtpu.E, extension=0x85)
        assert len(self.site.uplink(self.site.from_enb(data))) == 1

    def _counted(self, session: Replayed) -> None:
        """The switch tells of packets half a second late, and of a held one once it is sent on."""
        waits = {urr for urr, pdr in session.pdrs.items() if session.fars[pdr.far_id] & Action.BUFF}
        path = f"/v1/sessions/pfcp-{session.session.up_seid:016x}/rules"

        def stands() -> bool:
            shown = self.site.lab.http("GET", path).json()["urrs"]
            found = {each["id"]: each["downlink"]["bytes"] for each in shown}
            known = sum(told.type == 56 for told in session.ours)
            for each in self.cp.usage(session.session, 0.01)[known:]:
                found[each.urr_id] += each.volume.downlink if each.volume else 0
            last.clear()
            last.update(found)
            return all(found[u] == session.passed[u] for u in session.pdrs if u not in waits)

        last: dict[int, int] = {}
        try:
            until(stands, f"{dict(session.passed)} is counted")
        except AssertionError as late:
            raise AssertionError(f"{late}; counted is {last}") from None


def packet(ue: str, pdr: Any, size: int) -> bytes:
    """One that this PDR takes: by its first filter, or, if it has none, by none."""
    if not pdr.pdi.sdf_filters:
        return gtpu.ipv4(PDN_IP, ue, size=size)
    description = pdr.pdi.sdf_filters[0].description
    fill = Raw(bytes(size - 28))
    if description.startswith("permit out icmp from any"):
        return bytes(IP(src=PDN_IP, dst=ue) / ICMP(type=0) / fill)
    assert description == "permit out udp from 198.51.100.2/32 7000-7010 to assigned"
    return bytes(IP(src="198.51.100.2", dst=ue) / UDP(sport=7001, dport=4000) / fill)


def has_usage(messages: list[Seen]) -> bool:
    bodies: list[Any] = [read(seen.data)[1] for seen in messages]
    return any(
        getattr(body, "create_urrs", ()) or getattr(body, "usage_reports", ()) for body in bodies
    )


RUNS = [name for name, messages in CAPTURES.items() if has_usage(messages)]


@pytest.mark.parametrize("name", RUNS)
def test_usage_of_a_capture(site: Site, cp: ControlPlane, name: str) -> None:
    targets = {str(seen.target) for seen in CAPTURES[name]}
    [user_plane] = targets & set(USER_PLANES)
    replay = Replay(site, cp, name, user_plane)
    replay.run()
    cp.receive(0.3)
    sessions = replay.sessions.values()
    assert sessions
    assert len(cp.reports) == sum(t.type == 56 for each in sessions for t in each.ours), "no others"
    for session in sessions:
        removed = [told for told in session.ours if told.type == 53]
        ours = [told for told in session.ours if told.type != 53]
        assert [told.what for told in ours] == [told.what for told in session.theirs]
        assert [told.octets for told in ours] == session.octets
        assert [told.what[1] for told in removed] in ([], [[(2, 0, TERMR)]])
    assert sum(len(each.theirs) for each in sessions) == sum(
        len(each) for each in periods(name, user_plane).values()
    )
    assert replay.waited == WAITED.get(name, 0)
