"""`"buffer": N`: packets for idle UEs are held, told of once, and delivered in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ownership as own
from tests.support import paging
from tests.support.lab import Lab
from tests.support.paging import Arrived, hold, numbered
from tests.support.peer import events
from tests.support.site import ENB_IP, Site, until

pytestmark = pytest.mark.switch

UP, DOWN = 0x1001, 0x2001
FAR = {"teid": DOWN, "remote_ip": ENB_IP["enb"]}
IDLE = {"downlink": None}

_numbers = itertools.count(2)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab(enbs=2) as lab:
        made = Site(lab, lab.config(controller=own.SWITCH))
        made.ready()
        yield made
        made.alive()


@pytest.fixture
def ue(site: Site) -> Iterator[str]:
    address = f"10.45.7.{next(_numbers)}"
    yield address
    site.lab.http("DELETE", f"/v1/sessions/ue-{address}")
    until(lambda: paging.buffer(site)["packets"] == 0, "nothing is left")


def session(site: Site, ue: str, **members: Any) -> str:
    return site.session(ue, teid=UP, **({"buffer": 8} | members))


def shown(site: Site, name: str) -> dict[str, Any]:
    answer = site.lab.http("GET", f"/v1/sessions/{name}")
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.json()
    return made


def test_once_each_idle_period_and_in_order(site: Site, ue: str) -> None:
    name = session(site, ue)
    arrived, number = Arrived(site), itertools.count()
    with events(site.lab) as heard:
        for period in range(1, 4):
            hold(site, *numbered(ue, itertools.islice(number, 5)))
            until(lambda: len(heard.of("downlink_data", session=name)) >= period, "it is told")  # noqa: B023
            assert len(heard.of("downlink_data", session=name)) == period
            site.patch(name, {"downlink": FAR})
            site.pdn.send(*map(site.to_ue, numbered(ue, itertools.islice(number, 3))))
            arrived.until(DOWN, range(8 * period))
            site.patch(name, IDLE)
            assert shown(site, name)["buffer"] == 8, "it is kept"
        hold(site, *numbered(ue, [99]))
        until(lambda: len(heard.of("downlink_data", session=name)) == 4, "told anew")
        assert heard.of("downlink_data")[0]["gateway"] == "gw1"


@pytest.mark.parametrize("how", ["patch", "put", "batch"])
def test_whoever_names_the_tunnel(site: Site, ue: str, how: str) -> None:
    name = session(site, ue, qfi=5)
    hold(site, *numbered(ue, range(6)))
    arrived = Arrived(site)
    whole = {"id": name, "ue_ip": ue, "uplink": {"teid": UP}, "downlink": FAR, "qfi": 5}
    if how == "patch":
        site.patch(name, {"downlink": FAR})
    elif how == "put":
        assert site.lab.http("PUT", f"/v1/sessions/{name}", whole).status == 200
    else:
        assert own.batch(site.lab, [{"op": "put", "session": whole}])["replaced"] == 1
    arrived.until(DOWN, range(6))
    assert {paging.inside(frame)[0] for frame in arrived.frames} == {5}


def test_to_a_base_station_that_nobody_has_used(site: Site, ue: str) -> None:
    """Its MAC address is asked for before anything is sent there."""
    name = session(site, ue)
    hold(site, *numbered(ue, range(6)))
    arrived = Arrived(site, "enb2")
    site.patch(name, {"downlink": {"teid": DOWN, "remote_ip": ENB_IP["enb2"]}})
    arrived.until(DOWN, range(6))


def test_no_more_than_that(site: Site, ue: str) -> None:
    name = session(site, ue, buffer=3)
    with site.counted(buffer_full=4):
        for n in range(7):
            assert site.downlink(*map(site.to_ue, numbered(ue, [n]))) == []
    arrived = Arrived(site)
    site.patch(name, {"downlink": FAR})
    arrived.until(DOWN, range(3))


def test_none_without_it(site: Site, ue: str) -> None:
    name = session(site, ue)
    hold(site, *numbered(ue, range(2)))
    with site.counted(idle_ue=5):
        site.patch(name, {"buffer": None})
        assert "buffer" not in shown(site, name)
        assert site.downlink(*map(site.to_ue, numbered(ue, range(3)))) == []
    site.patch(name, {"buffer": 4})
    hold(site, *numbered(ue, range(4)))
    with site.counted(idle_ue=4):
        site.delete(name)


def test_a_bearer_that_is_idle_alone(site: Site, ue: str) -> None:
    voice = {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from any 5004 to assigned"],
        "uplink": {"teid": 0x1002},
        "downlink": None,
    }
    name = session(site, ue, downlink=DOWN, bearers=[voice])
    arrived = Arrived(site)
    with events(site.lab) as heard:
        hold(site, *numbered(ue, range(3), sport=5004))
        [told] = until(lambda: heard.of("downlink_data", session=name), "it is told")
        assert told["bearer"] == "voice"
    assert len(site.downlink(*map(site.to_ue, numbered(ue, [7])))) == 1, "the session is not idle"
    far = {"downlink": {"teid": DOWN + 1, "remote_ip": ENB_IP["enb"]}}
    path = f"/v1/sessions/{name}/bearers/voice"
    assert site.lab.http("PATCH", path, far).status == 200
    arrived.until(DOWN + 1, range(3))


@pytest.mark.parametrize("bad", [0, 4097, "8", 1.5])
def test_what_is_no_size(site: Site, bad: object) -> None:
    body = {"ue_ip": "10.45.7.1", "buffer": bad}
    answer = site.lab.http("POST", "/v1/sessions", body)
    assert answer.status == 422
    assert [each["loc"] for each in answer.json()["errors"]] == ["buffer"]


def test_it_is_repaired_and_kept(site: Site, ue: str) -> None:
    """A lost connection changes nothing of what is held; packets come in order afterwards."""
    name = session(site, ue)
    hold(site, *numbered(ue, range(4)))
    arrived = Arrived(site)
    with own.openflow_cut(site.lab):
        answer = site.lab.http("PATCH", f"/v1/sessions/{name}", {"downlink": FAR})
        assert answer.json()["state"] == "pending"
        assert paging.buffer(site)["packets"] == 4
    until(lambda: shown(site, name)["state"] == "active", "it is made", timeout=25)
    arrived.until(DOWN, range(4))


def test_a_controller_that_hangs(site: Site, ue: str) -> None:
    """What came meanwhile is held all the same, in its order."""
    name = session(site, ue, buffer=50)
    hold(site, *numbered(ue, range(5)))
    with own.frozen(site.lab):
        assert site.downlink(*map(site.to_ue, numbered(ue, range(5, 25)))) == []
    until(lambda: paging.buffer(site)["packets"] == 25, "all are held")
    arrived = Arrived(site)
    site.patch(name, {"downlink": FAR})
    arrived.until(DOWN, range(25))


def test_a_controller_that_is_killed_holds_nothing(site: Site, ue: str) -> None:
    name = session(site, ue)
    hold(site, *numbered(ue, range(4)))
    own.crash(site.lab)
    own.start(site.lab, "switch")
    until(lambda: own.in_sync(site.lab), "in sync")
    assert paging.buffer(site)["packets"] == 0
    assert shown(site, name)["buffer"] == 8
    hold(site, *numbered(ue, range(4, 7)))
    arrived = Arrived(site)
    site.patch(name, {"downlink": FAR})
    arrived.until(DOWN, range(4, 7))
