"""A gateway's part of the host, where no host is needed; what systemd lets it do."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from ofgtp.control.host import host
from ofgtp.control.host.host import STARTING, Host, say
from ofgtp.core.errors import GatewayNotReady
from ofgtp.southbound.ovsdb import IFINDEX
from tests.support.lab import gateway


def test_problems_and_their_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problem: str | None = STARTING
    for now in (None, None, "no ovsdb-server", "no ovsdb-server", "no port eth1", None):
        problem = say(gateway(), problem, now)
        assert problem == now
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "gateway=gw1: the host is set up"),
        ("WARNING", "gateway=gw1: no ovsdb-server"),
        ("WARNING", "gateway=gw1: no port eth1"),
        ("INFO", "gateway=gw1: this problem is gone: no port eth1"),
    ]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Host:
    """One whose bridge has had eth5, eth6 and eth7, and the end of a veth, which are all there."""
    one = Host(gateway(), "nonce", lambda *_, **__: None, lambda _: None, tuple)
    numbers = {"eth1": 1, "eth5": 5, "eth6": 66, "br-ofgtp-n0": 8}
    kept = {
        "eth1": {"gro": "on", IFINDEX: "1"},
        "eth5": {"gro": "on", IFINDEX: "5"},
        "eth6": {"gro": "on", IFINDEX: "6"},
        "eth7": {"gro": "on", IFINDEX: "7"},
        "br-ofgtp-n0": {"gro": "on", IFINDEX: "8"},
    }
    monkeypatch.setattr(one._ovsdb, "recall", lambda _: kept)
    monkeypatch.setattr(host.hostnet, "exists", numbers.__contains__)
    monkeypatch.setattr(host.hostnet, "ifindex", numbers.__getitem__)
    return one


def test_which_interfaces_are_no_ports_any_more(bare: Host) -> None:
    """Neither those that are, nor another one of that name, nor one that is gone, nor a veth."""
    assert bare._former_ports() == {"eth5": {"gro": "on"}}


def test_what_cannot_be_given_back_is_not_in_the_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(port: str, values: object) -> None:
        raise GatewayNotReady(f"ethtool: no device {port}")

    monkeypatch.setattr(host.hostnet, "restore_offloads", fails)
    host._give_back(gateway(), "eth5", {"gro": "on"})
    assert "eth5 is no port any more: ethtool: no device eth5" in caplog.text


def test_a_look_that_fails_forgets_no_former_port(
    bare: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OVSDB kept of it may be gone by then."""
    restored: list[str] = []
    monkeypatch.setattr(host.hostnet, "port_refusal", lambda _: None)
    monkeypatch.setattr(host.hostnet, "restore_offloads", lambda port, _: restored.append(port))
    monkeypatch.setattr(host.veths, "refusal", lambda _: None)

    def fails(*_: object, **__: object) -> None:
        bare._ovsdb.recall = lambda _: {}  # type: ignore[method-assign]
        raise GatewayNotReady("ovs-vswitchd did not take the configuration")

    monkeypatch.setattr(bare._ovsdb, "ensure", fails)
    monkeypatch.setattr(bare, "_let_go", lambda: False)
    with pytest.raises(GatewayNotReady):
        bare._prepare()
    assert (restored, bare._former) == ([], {"eth5": {"gro": "on"}})

    class Enough(Exception):
        pass

    def stop(gateway: object, port: str, former: object) -> None:
        restored.append(port)
        raise Enough

    monkeypatch.setattr(bare._ovsdb, "ensure", lambda *_, **__: None)
    monkeypatch.setattr(host, "_give_back", stop)
    with pytest.raises(Enough):
        bare._prepare()
    assert restored == ["eth5"]


def test_what_a_reload_changes_during_a_look_is_nobodys_repair(
    bare: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in that look, and not in the next, whatever the gateway is by then."""
    differed: list[bool] = []

    def prepare() -> None:
        differed.append(bare.differs)
        if len(differed) == 1:
            bare.changing()
        if len(differed) == 3:
            bare.stop()

    monkeypatch.setattr(bare, "_prepare", prepare)
    monkeypatch.setattr(bare, "_wait", lambda: None)
    monkeypatch.setattr(bare._ovsdb, "stir", lambda _: None)
    bare.run()
    assert differed == [False, True, False]


def test_the_unit_lets_it_make_all_sockets_that_it_makes() -> None:
    """Else one that the kernel has seems not to be there, as AF_XDP did."""
    root = Path(host.__file__).parents[3]
    text = "".join(path.read_text() for path in (root / "ofgtp").rglob("*.py"))
    made = set(re.findall(r"socket\.socket\((?:socket\.)?(AF_[A-Z0-9]+)", text))
    unit = (root / "etc" / "ofgtp.service").read_text()
    (families,) = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.MULTILINE)
    assert "AF_XDP" in made and made <= set(families.split())
    assert "\nSystemCallErrorNumber=EPERM\n" in unit, "what is refused is not killed"
