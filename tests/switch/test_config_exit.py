"""A wrong configuration ends the program, with line and reason, before it touches a thing."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import ROOT, Lab

pytestmark = pytest.mark.switch


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def run(lab: Lab, text: str) -> subprocess.CompletedProcess[str]:
    """The program's whole run, with this configuration; it must end by itself."""
    path = lab.dir / "wrong.toml"
    path.write_text(text)
    program = [str(Path(sys.executable).parent / "ryu-manager"), "ofgtp.app"]
    env = [f"OFGTP_CONFIG={path}", f"PYTHONPATH={ROOT}"]
    return lab.exec("gw", ["env", *env, *program], check=False, timeout=60)


def untouched(lab: Lab) -> bool:
    """Nothing was made: no bridge, no device, no nftables rule."""
    made = lab.vsctl("list-br") + lab.exec("gw", ["nft", "list", "ruleset"]).stdout
    return made == "" and "br-ofgtp" not in lab.exec("gw", ["ip", "link"]).stdout


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


WRONG = [
    ('bridge = "br-ofgtp"', 'bridg = "br-ofgtp"', "bridg", "did you mean"),
    ('access_ip = "10.1.0.1/24"', 'access_ip = "10.1.0.256/24"', "access_ip", "10.1.0.256"),
    ('["10.45.0.0/16"]', '["10.45.0.0/16", "10.45.7.0/24"]', "ue_pools", "overlap"),
    ('next_hop = "10.2.0.2"', 'next_hop = "10.3.0.2"', "next_hop", "10.3.0.2"),
    ('core_port = "eth2"', 'core_port = "host"', "next_hop", "host"),
    ('listen = "127.0.0.1:8080"', 'listen = "0.0.0.0:8080"', "rest", "token_file"),
    ("[[gateway]]", "[[gateway]", None, ""),
]


@pytest.mark.parametrize(("right", "wrong", "key", "reason"), WRONG)
def test_wrong_file(lab: Lab, right: str, wrong: str, key: str | None, reason: str) -> None:
    text = lab.config().replace(right, wrong)
    assert wrong in text
    done = run(lab, text)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    found = re.search(r"wrong\.toml:(\d+): (.*)", said)
    assert found is not None, said
    if key != "next_hop" or "next_hop" in wrong:
        assert int(found[1]) == line_of(text, wrong), said
    assert key is None or key in found[2], said
    assert reason in found[2], said
    assert untouched(lab)


def test_no_file(lab: Lab) -> None:
    lab_env = ["env", "OFGTP_CONFIG=/nonexistent.toml", f"PYTHONPATH={ROOT}"]
    program = [str(Path(sys.executable).parent / "ryu-manager"), "ofgtp.app"]
    done = lab.exec("gw", [*lab_env, *program], check=False, timeout=60)
    assert done.returncode == 2 and "/nonexistent.toml" in done.stderr
    assert untouched(lab)


@pytest.mark.parametrize(
    ("make", "undo", "key", "reason"),
    [
        (
            "ip addr add 192.0.2.7/24 dev eth1",
            "ip addr del 192.0.2.7/24 dev eth1",
            "access_port",
            "192.0.2.7",
        ),
        (
            "ip addr add 192.0.2.7/24 dev eth2",
            "ip addr del 192.0.2.7/24 dev eth2",
            "core_port",
            "192.0.2.7",
        ),
        (
            "ip route add default dev eth1",
            "ip route del default dev eth1",
            "access_port",
            "default route",
        ),
    ],
)
def test_port_of_the_host(lab: Lab, make: str, undo: str, key: str, reason: str) -> None:
    text = lab.config()
    lab.exec("gw", make.split())
    try:
        done = run(lab, text)
        assert done.returncode == 2, done.stderr
        assert f"wrong.toml:{line_of(text, key)}: " in done.stderr
        assert key in done.stderr and reason in done.stderr
        assert lab.vsctl("list-br") == ""
    finally:
        lab.exec("gw", undo.split())
    assert untouched(lab)


@pytest.mark.parametrize("damage", ["garbage", "another's"])
def test_store_that_cannot_be_used(lab: Lab, damage: str) -> None:
    store = lab.dir / "bad.db"
    store.unlink(missing_ok=True)
    if damage == "garbage":
        store.write_bytes(os.urandom(20000))
    else:
        with sqlite3.connect(store) as db:
            db.execute("CREATE TABLE theirs (a)")
            db.execute("PRAGMA user_version = 77")
        db.close()
    before = store.read_bytes()
    text = lab.config(controller='ownership = "switch"').replace("sessions.db", "bad.db")
    done = run(lab, text)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "bad.db" in done.stderr and "Traceback" not in done.stderr
    (aside,) = lab.dir.glob("bad.db.damaged-*") if damage == "garbage" else (store,)
    assert aside.read_bytes() == before
    aside.unlink()
    assert untouched(lab)


def test_second_controller() -> None:
    """One more on the same OpenFlow or REST port says so, and the first goes on."""
    with Lab() as lab:
        lab.start_controller()
        lab.http("PUT", "/v1/sessions/a", {"ue_ip": "10.45.0.2", "uplink": {"teid": 1}})
        text = lab.config().replace("sessions.db", "second.db")
        done = run(lab, text.replace("8080", "8081"))
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"wrong.toml:{line_of(text, 'openflow')}: " in done.stderr
        assert "another controller" in done.stderr
        done = run(lab, text.replace("6653", "6654"))
        assert done.returncode == 2, done.stdout + done.stderr
        assert "8080" in done.stderr and "Traceback" not in done.stderr
        assert lab.http("GET", "/v1/sessions/a").json()["state"] == "active"
        assert lab.http("GET", "/v1/health").status == 200
        assert lab.vsctl("get-controller", "br-ofgtp").strip() == "tcp:127.0.0.1:6653"
