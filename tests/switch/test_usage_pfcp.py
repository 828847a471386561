"""What a control plane's session has used, by REST, with real packets, without any URR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ofgtp.core.pfcp.wire import grouped as g
from ofgtp.core.pfcp.wire.enums import Action
from tests.support import gtpu, smf
from tests.support.paging import hold
from tests.support.site import ENB_IP, PDN_IP, Site, is_gtpu, until
from tests.support.smf import ControlPlane

pytestmark = pytest.mark.switch

UE, DOWN, SIZE = "10.45.8.2", 0x2001, 100


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with smf.site() as site:
        site.session("10.45.0.3", teid=0x1003, downlink=0x2003, peer=ENB_IP["enb2"])
        site.warm("enb2", "10.45.0.3", 0x2003)
        yield site


def test_over_idle_and_handover(site: Site) -> None:
    with ControlPlane(site.lab) as cp:
        assert cp.associate().cause == 1
        pdrs = smf.uplink(), smf.downlink(UE)
        session = cp.establish(pdrs, (smf.to_core(), smf.to_tunnel(DOWN, ENB_IP["enb"])))
        path = f"/v1/sessions/pfcp-{session.up_seid:016x}"
        sent = {"uplink": 0, "downlink": 0}

        def up(times: int) -> None:
            frame = site.t_pdu(session.teids[1], gtpu.ipv4(UE, PDN_IP, size=SIZE))
            assert len(site.uplink(*[frame] * times)) == times
            sent["uplink"] += times

        def down(times: int, enb: str = "enb") -> int:
            frame = site.to_ue(gtpu.ipv4(PDN_IP, UE, size=SIZE))
            got = site.downlink(*[frame] * times)
            if enb != "enb":
                got = site.enbs[enb].all(0.1)
            came = len([each for each in got if is_gtpu(each, DOWN)])
            sent["downlink"] += came
            return came

        def used() -> dict[str, Any]:
            return dict(site.lab.http("GET", f"{path}/usage").json())

        def counted() -> bool:
            found = used()
            return all(
                found[way] == {"packets": count, "bytes": SIZE * count}
                for way, count in sent.items()
            )

        up(3)
        assert down(4) == 4
        until(counted, "all is counted")
        idle = g.UpdateFar(2, Action.BUFF | Action.NOCP)
        assert session.modify(update_fars=(idle,)).cause == 1
        assert counted()
        hold(site, *[gtpu.ipv4(PDN_IP, UE, size=SIZE)] * 5)
        assert counted()
        assert session.modify(update_fars=(smf.moved(DOWN, ENB_IP["enb2"]),)).cause == 1
        sent["downlink"] += 5
        delivered: list[bytes] = []

        def comes() -> bool:
            frames = site.enbs["enb2"].all(0.1)
            delivered.extend(each for each in frames if is_gtpu(each, DOWN))
            return len(delivered) == 5

        until(comes, "what was held comes, at another base station")
        until(counted, "and is counted")
        until(lambda: down(1, "enb2"), "it is back")
        up(2)
        until(counted, "all is counted")
        found = used()
        assert {each["id"] for each in found["rules"]} == {"1", "2"}
        assert sum(each["uplink"]["packets"] for each in found["rules"]) == sent["uplink"]
        assert found["active_at"] >= found["since"][:19]
        assert session.modify(remove_pdrs=(g.RemovePdr(2),)).cause == 1
        removed = used()
        assert removed["removed"]["downlink"] == found["downlink"] == removed["downlink"]
        assert session.delete().cause == 1
        assert site.lab.http("GET", f"{path}/usage").status == 404
