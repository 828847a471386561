"""URRs with limits, with real packets: when they are reported unasked, and what a quota stops."""

from __future__ import annotations

import itertools
import resource
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from ofgtp.cli import pfcp_rules
from ofgtp.core.flows.pipeline import DropReason
from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire import values as v
from ofgtp.core.pfcp.wire.enums import Action, Measurement, Triggers, UsageTrigger
from ofgtp.core.pfcp.wire.reports import UsageReport
from ofgtp.core.sessions.rule import Refused
from tests.support import gtpu, smf
from tests.support import ownership as own
from tests.support.lab import Lab
from tests.support.paging import hold
from tests.support.site import MARKER_DOWN, MARKER_UE, PDN_IP, Site, until
from tests.support.smf import ControlPlane, PfcpSession
from tests.switch.test_pfcp_usage import (
    DOWN,
    ENB,
    SIZE,
    down,
    measured,
    name,
    up,
    urr,
    volume,
)

pytestmark = pytest.mark.switch

_ues = (f"10.45.9.{number}" for number in itertools.count(2))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        yield site


@pytest.fixture(scope="module")
def cp(site: Site) -> Iterator[ControlPlane]:
    with smf.associated(site.lab) as cp:
        warm(site, cp)
        yield cp


def warm(site: Site, cp: ControlPlane) -> None:
    """The base station's MAC address is known: from now on no packet waits for it."""
    session = measured(cp, ue := next(_ues))
    until(lambda: down(site, ue, 1), "packets arrive")
    session.delete()


@pytest.fixture
def ue() -> str:
    return next(_ues)


def limited(cp: ControlPlane, ue: str, *urrs: g.CreateUrr) -> PfcpSession:
    """A session all of whose packets these measure."""
    ids = tuple(each.urr_id for each in urrs)
    pdrs = smf.uplink(urr_ids=ids), smf.downlink(ue, urr_ids=ids)
    return cp.establish(pdrs, (smf.to_core(), smf.to_tunnel(DOWN, ENB)), create_urrs=urrs)


def told(
    cp: ControlPlane, session: PfcpSession, what: str, count: int = 1, timeout: float = 20.0
) -> list[UsageReport]:
    """The reports of a session, once there are so many."""
    until(lambda: len(cp.usage(session)) >= count, what, timeout=timeout)
    return cp.usage(session)


def sums(reports: list[UsageReport], urr_id: int = 1) -> tuple[int, int]:
    """Packets uplink and downlink."""
    of_urr = [each.volume for each in reports if each.urr_id == urr_id and each.volume]
    return sum(each.uplink_packets or 0 for each in of_urr), sum(
        each.downlink_packets or 0 for each in of_urr
    )


def settled(
    lab: Lab, cp: ControlPlane, session: PfcpSession, up: int, down: int, urr_id: int = 1
) -> None:
    """Wait until so many packets are reported or counted: the switch is half a second late."""

    def stands() -> bool:
        reported = sums(cp.usage(session), urr_id)
        shown = lab.http("GET", f"/v1/sessions/{name(session)}/rules").json()["urrs"]
        seen = next(each for each in shown if each["id"] == urr_id)
        counts = seen["uplink"]["packets"], seen["downlink"]["packets"]
        return (reported[0] + counts[0], reported[1] + counts[1]) == (up, down)

    until(stands, f"{up} packets uplink and {down} downlink are counted")


def test_a_volume_threshold(site: Site, cp: ControlPlane, ue: str) -> None:
    """Of both directions together: reported once it is reached, and measured anew; the sum of all
    reports is what passed."""
    threshold = v.Volume(total=10 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLTH, volume_threshold=threshold))
    assert (up(site, session, ue, 4), down(site, ue, 4)) == (4, 4)
    cp.receive(1.5)
    assert cp.usage(session) == []
    assert down(site, ue, 3) == 3
    [first] = told(cp, session, "the threshold is reported")
    assert (first.trigger, first.sequence) == (UsageTrigger.VOLTH, 0)
    assert first.volume.total >= 10 * SIZE  # type: ignore[union-attr]
    assert down(site, ue, 12) == 12
    reports = told(cp, session, "it is reported anew", 2)
    assert [each.sequence for each in reports] == [0, 1]
    assert reports[1].start_time == first.end_time
    settled(site.lab, cp, session, 4, 19)
    reports, last = cp.usage(session), session.delete().usage_reports
    assert sums([*reports, *last]) == (4, 19)


def test_a_threshold_is_reached_by_what_was_held(site: Site, cp: ControlPlane, ue: str) -> None:
    """No more need come for that."""
    limit = v.Volume(total=5 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLTH, volume_threshold=limit))
    assert session.modify(update_fars=(g.UpdateFar(2, Action.BUFF),)).cause == 1
    hold(site, *[gtpu.ipv4(PDN_IP, ue, size=SIZE)] * 6)
    time.sleep(1.2)  # the switch has told of them
    assert cp.usage(session) == []
    assert session.modify(update_fars=(smf.moved(DOWN, ENB),)).cause == 1
    [first] = told(cp, session, "the threshold is reported")
    assert first.trigger == UsageTrigger.VOLTH
    settled(site.lab, cp, session, 0, 6)
    assert sums([*cp.usage(session), *session.delete().usage_reports]) == (0, 6)


@pytest.mark.parametrize("way", ["uplink", "downlink"])
def test_a_threshold_of_one_direction(site: Site, cp: ControlPlane, ue: str, way: str) -> None:
    limit = v.Volume(**{way: 5 * SIZE})
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLTH, volume_threshold=limit))
    one, other = (lambda n: up(site, session, ue, n)), (lambda n: down(site, ue, n))
    if way == "downlink":
        one, other = other, one
    assert other(20) == 20
    cp.receive(1.5)
    assert cp.usage(session) == []
    assert one(6) == 6
    [report] = told(cp, session, "the threshold is reported")
    assert report.trigger == UsageTrigger.VOLTH
    session.delete()


def test_a_quota_stops_traffic_until_there_is_a_new_one(
    site: Site, cp: ControlPlane, ue: str
) -> None:
    quota = v.Volume(total=10 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLQU, volume_quota=quota))
    assert (up(site, session, ue, 5), down(site, ue, 4)) == (5, 4)
    cp.receive(1.5)
    assert cp.usage(session) == []
    assert down(site, ue, 1) == 1
    [report] = told(cp, session, "it is reported")
    assert (report.trigger, report.volume) == (UsageTrigger.VOLQU, volume(5, 5))
    with site.counted(quota_exhausted=7):
        assert (up(site, session, ue, 3), down(site, ue, 4)) == (0, 0)
    shown = site.lab.http("GET", f"/v1/sessions/{name(session)}/rules").json()
    assert [each["quota_exhausted"] for each in shown["urrs"]] == [True]
    assert {rule.forward for rule in pfcp_rules.read(shown)} == {
        Refused(DropReason.QUOTA_EXHAUSTED)
    }
    assert "URR 1, its quota is used up" in [*pfcp_rules.lines(shown)]
    more = g.UpdateUrr(1, volume_quota=v.Volume(total=8 * SIZE))
    assert session.modify(update_urrs=(more,)).cause == 1
    assert (up(site, session, ue, 3), down(site, ue, 4)) == (3, 4)
    assert len(cp.usage(session)) == 1
    assert down(site, ue, 1) == 1
    reports = told(cp, session, "the second is reported", 2)
    assert reports[1].volume == volume(3, 5)
    last = session.delete().usage_reports
    assert sums([*reports, *last]) == (8, 10)


def test_a_quota_of_nothing(site: Site, cp: ControlPlane, ue: str) -> None:
    """Nothing passes from the beginning, which is reported."""
    quota = v.Volume(total=0)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLQU, volume_quota=quota))
    [report] = told(cp, session, "it is reported")
    assert (report.trigger, report.volume) == (UsageTrigger.VOLQU, volume(0, 0))
    with site.counted(quota_exhausted=5):
        assert (up(site, session, ue, 2), down(site, ue, 3)) == (0, 0)
    more = g.UpdateUrr(1, volume_quota=v.Volume(total=1 << 40))
    assert session.modify(update_urrs=(more,)).cause == 1
    assert (up(site, session, ue, 2), down(site, ue, 3)) == (2, 3)
    session.delete()


def test_a_threshold_does_not_renew_a_quota(site: Site, cp: ControlPlane, ue: str) -> None:
    """What was reported at the threshold is of the quota still."""
    session = limited(
        cp,
        ue,
        urr(
            reporting_triggers=Triggers.VOLTH | Triggers.VOLQU,
            volume_threshold=v.Volume(total=5 * SIZE),
            volume_quota=v.Volume(total=8 * SIZE),
        ),
    )
    assert down(site, ue, 6) == 6
    [first] = told(cp, session, "the threshold is reported")
    assert first.trigger == UsageTrigger.VOLTH
    assert down(site, ue, 2) == 2
    _, second = told(cp, session, "the quota is reported", 2)
    assert second.trigger == UsageTrigger.VOLQU
    assert sums([first, second]) == (0, 8)
    with site.counted(quota_exhausted=2):
        assert down(site, ue, 2) == 0
    session.delete()


def test_periods(cp: ControlPlane, ue: str) -> None:
    """A report each period, though nothing passes; they follow each other without a gap."""
    periodic = urr(reporting_triggers=Triggers.PERIO, measurement_period=1)
    session = limited(cp, ue, periodic)
    reports = told(cp, session, "three periods", 3)[:3]
    assert {each.trigger for each in reports} == {UsageTrigger.PERIO}
    assert [each.sequence for each in reports] == [0, 1, 2]
    assert [each.start_time for each in reports[1:]] == [each.end_time for each in reports[:2]]
    session.delete()


def test_time(site: Site, cp: ControlPlane, ue: str) -> None:
    """Time begins with the first packet; its threshold is reported, its quota stops traffic."""
    session = limited(
        cp,
        ue,
        urr(
            reporting_triggers=Triggers.TIMTH | Triggers.TIMQU,
            time_threshold=2,
            time_quota=4,
        ),
    )
    cp.receive(3.0)
    assert cp.usage(session) == []
    assert down(site, ue, 1) == 1
    until(
        lambda: any(each.trigger & UsageTrigger.TIMQU for each in cp.usage(session)),
        "the quota is reported",
    )
    reports = cp.usage(session)
    assert reports[0].trigger & UsageTrigger.TIMTH
    assert (reports[0].duration or 0) >= 2
    assert sum(each.duration or 0 for each in reports) >= 4
    with site.counted(quota_exhausted=1):
        assert down(site, ue, 1) == 0
    assert session.modify(update_urrs=(g.UpdateUrr(1, time_quota=3600),)).cause == 1
    assert down(site, ue, 1) == 1
    session.delete()


def test_time_that_begins_at_once(cp: ControlPlane, ue: str) -> None:
    wanted = Measurement.MNOP | Measurement.ISTM
    session = limited(
        cp,
        ue,
        urr(reporting_triggers=Triggers.TIMTH, time_threshold=1, measurement_information=wanted),
    )
    report = told(cp, session, "the threshold is reported")[0]
    assert report.trigger == UsageTrigger.TIMTH
    session.delete()


def test_start_and_stop_of_traffic(site: Site, cp: ControlPlane, ue: str) -> None:
    """Time in which nothing passes is not measured."""
    session = limited(
        cp,
        ue,
        urr(
            reporting_triggers=Triggers.START | Triggers.STOPT,
            inactivity_detection_time=2,
        ),
    )
    assert up(site, session, ue, 1) == 1
    [start] = told(cp, session, "the start is reported")
    assert (start.trigger, start.first_packet is not None) == (UsageTrigger.START, True)
    _, stop = told(cp, session, "the stop is reported", 2)
    assert stop.trigger == UsageTrigger.STOPT
    cp.receive(2.0)
    assert up(site, session, ue, 1) == 1
    _, _, again = told(cp, session, "the second start is reported", 3)
    assert again.trigger == UsageTrigger.START
    settled(site.lab, cp, session, 2, 0)
    last = session.delete().usage_reports
    every = [*cp.usage(session), *last]
    assert sums(every) == (2, 0)
    lasted = (every[-1].end_time or 0) - (start.start_time or 0)
    assert sum(each.duration or 0 for each in every) < lasted


def test_a_quota_that_nobody_uses(site: Site, cp: ControlPlane, ue: str) -> None:
    """It is held for the Quota Holding Time, and then traffic needs a new one."""
    session = limited(
        cp,
        ue,
        urr(
            reporting_triggers=Triggers.QUHTI,
            volume_quota=v.Volume(total=1 << 40),
            quota_holding_time=2,
        ),
    )
    [report] = told(cp, session, "it is reported")
    assert report.trigger == UsageTrigger.QUHTI
    with site.counted(quota_exhausted=1):
        assert down(site, ue, 1) == 0
    renewed = g.UpdateUrr(1, volume_quota=v.Volume(total=1 << 40), quota_holding_time=3600)
    assert session.modify(update_urrs=(renewed,)).cause == 1
    assert down(site, ue, 1) == 1
    session.delete()


def test_a_quota_that_is_valid_for_a_time(site: Site, cp: ControlPlane, ue: str) -> None:
    session = limited(
        cp,
        ue,
        urr(
            reporting_triggers=Triggers.QUVTI,
            volume_quota=v.Volume(total=1 << 40),
            quota_validity_time=2,
        ),
    )
    assert down(site, ue, 1) == 1
    [report] = told(cp, session, "it is reported")
    assert (report.trigger, report.volume) == (UsageTrigger.QUVTI, volume(0, 1))
    with site.counted(quota_exhausted=1):
        assert down(site, ue, 1) == 0
    session.delete()


def test_urrs_that_are_linked(site: Site, cp: ControlPlane, ue: str) -> None:
    session = limited(
        cp,
        ue,
        urr(1, reporting_triggers=Triggers.VOLTH, volume_threshold=v.Volume(total=3 * SIZE)),
        urr(2, reporting_triggers=Triggers.LIUSA, linked_urr_ids=(1,)),
        urr(3),
    )
    assert down(site, ue, 4) == 4
    first, second = told(cp, session, "both are reported", 2)
    assert {first.urr_id: first.trigger, second.urr_id: second.trigger} == {
        1: UsageTrigger.VOLTH,
        2: UsageTrigger.LIUSA,
    }
    assert first.volume == second.volume
    settled(site.lab, cp, session, 0, 4, 3)
    assert sums(list(session.delete().usage_reports), 3) == (0, 4)


# --- reports that are not answered


def test_a_report_is_repeated_and_not_lost(site: Site, cp: ControlPlane, ue: str) -> None:
    """Not answered, it comes again; a deletion meanwhile reports it as well."""
    threshold = v.Volume(total=3 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLTH, volume_threshold=threshold))
    cp.answers_reports = None
    try:
        assert down(site, ue, 4) == 4
        [report] = told(cp, session, "it is reported")
        sent = len(cp.reports)
        until(lambda: (cp.usage(session), len(cp.reports) > sent)[1], "it comes again")
        settled(site.lab, cp, session, 0, 4)
        last = session.delete().usage_reports
    finally:
        cp.answers_reports = 1
    assert last[0] == report
    assert [each.sequence for each in last] == [0, 1]
    assert sums(last) == (0, 4)


@pytest.mark.parametrize("cause", [1, 65])
def test_an_answered_report_is_forgotten(site: Site, cp: ControlPlane, ue: str, cause: int) -> None:
    threshold = v.Volume(total=3 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLTH, volume_threshold=threshold))
    cp.answers_reports = cause
    try:
        assert down(site, ue, 4) == 4
        told(cp, session, "it is reported")
        cp.heartbeat()  # what was sent before is read
    finally:
        cp.answers_reports = 1
    [last] = session.delete().usage_reports
    assert last.sequence == 1


def restarted(lab: Lab, meanwhile: Callable[[], None]) -> None:
    lab.stop_controller(signal.SIGKILL)
    meanwhile()
    lab.start_controller(lab.dir.joinpath("ofgtp.toml").read_text(), status=None)
    until(lambda: own.in_sync(lab), "in sync")


def test_a_restart_loses_no_report_and_gives_no_quota_twice() -> None:
    """`ownership = "switch"`, kill -9: what was not answered is sent again, what passed meanwhile
    is of the quota, and what is closed stays closed."""
    ue = next(_ues)
    with smf.site() as site, smf.associated(site.lab) as cp:
        warm(site, cp)
        session = limited(
            cp,
            ue,
            urr(
                reporting_triggers=Triggers.VOLQU | Triggers.VOLTH,
                volume_quota=v.Volume(total=20 * SIZE),
                volume_threshold=v.Volume(total=10 * SIZE),
            ),
        )
        cp.answers_reports = None
        passed = down(site, ue, 11)
        [first] = told(cp, session, "the threshold is reported")
        assert first.trigger == UsageTrigger.VOLTH

        def meanwhile() -> None:
            nonlocal passed
            passed += down(site, ue, 12)
            cp.reports.clear()
            time.sleep(0.6)

        restarted(site.lab, meanwhile)
        cp.answers_reports = 1
        reports = told(cp, session, "both are reported", 2)
        assert reports[0] == first
        assert UsageTrigger.VOLQU & reports[1].trigger
        assert down(site, ue, 3) == 0
        restarted(site.lab, lambda: None)
        assert down(site, ue, 3) == 0
        last = session.delete().usage_reports
        assert sums([*reports, *last]) == (0, passed)


def test_a_controller_that_hangs(site: Site, cp: ControlPlane, ue: str) -> None:
    """What passes meanwhile is of the quota, and is reported."""
    quota = v.Volume(total=20 * SIZE)
    session = limited(cp, ue, urr(reporting_triggers=Triggers.VOLQU, volume_quota=quota))
    assert down(site, ue, 5) == 5
    with own.frozen(site.lab):
        assert down(site, ue, 25) == 25
        time.sleep(1.0)
    [report] = told(cp, session, "it is reported")
    assert report.trigger == UsageTrigger.VOLQU
    assert sums([report]) == (0, 30)
    with site.counted(quota_exhausted=2):
        assert down(site, ue, 2) == 0
    session.delete()


def test_a_store_that_cannot_be_written() -> None:
    """Nothing is reported that is not stored, and nothing is counted twice."""
    ue = next(_ues)
    with smf.site() as site, smf.associated(site.lab) as cp:
        warm(site, cp)
        limit = v.Volume(total=5 * SIZE)
        wanted = urr(reporting_triggers=Triggers.VOLTH, volume_threshold=limit)
        session = limited(cp, ue, wanted)
        assert site.lab.controller is not None
        pid = site.lab.controller.pid
        free = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        assert down(site, ue, 10) == 10
        cp.receive(3.0)
        assert cp.usage(session) == []
        resource.prlimit(pid, resource.RLIMIT_FSIZE, free)
        [report] = told(cp, session, "it is reported")
        assert (report.trigger, report.sequence) == (UsageTrigger.VOLTH, 0)
        assert sums([report]) == (0, 10)
        assert down(site, ue, 2) == 2
        settled(site.lab, cp, session, 0, 12)
        last = session.delete().usage_reports
        assert sums([report, *last]) == (0, 12)


def test_a_switch_that_begins_anew() -> None:
    """What was read stays, and is of the quota."""
    ue = next(_ues)
    with smf.site() as site, smf.associated(site.lab) as cp:
        warm(site, cp)
        session = limited(
            cp,
            ue,
            urr(
                reporting_triggers=Triggers.VOLQU | Triggers.PERIO,
                volume_quota=v.Volume(total=20 * SIZE),
                measurement_period=1,
            ),
        )
        assert down(site, ue, 8) == 8
        until(lambda: sums(cp.usage(session)) == (0, 8), "it is reported")
        site.lab.stop_vswitchd()
        site.lab.start_vswitchd()
        until(lambda: own.in_sync(site.lab), "in sync")
        site.warm("enb", MARKER_UE, MARKER_DOWN)
        assert down(site, ue, 11) == 11
        until(lambda: sums(cp.usage(session)) == (0, 19), "it is reported")
        assert down(site, ue, 1) == 1
        until(lambda: down(site, ue, 1) == 0, "the quota is used up")

        def exhausted() -> bool:
            return any(each.trigger & UsageTrigger.VOLQU for each in cp.usage(session))

        until(exhausted, "that is reported")
        session.delete()
