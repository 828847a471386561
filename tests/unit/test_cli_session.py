"""`ofgtp session`, against the API of gateways that are real but for their switches."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self, cast

import pytest

from ofgtp.cli.api import Api
from ofgtp.cli.deletion import delete_many
from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Shell

OFGTP = Path(sys.executable).parent / "ofgtp"


ADD = "session add phone --gateway gw1 --ue-ip 10.45.0.7 --uplink-teid 0x1001"
WHOLE = f"{ADD} --peer 10.1.0.2 --teid 0x2001"


def shown(ofgtp: Shell, name: str = "phone") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ofgtp(f"session show {name} --json").out)
    return answer


def test_add_says_what_is_there_now(ofgtp: Shell) -> None:
    assert ofgtp(WHOLE).lines == [
        "phone: active: 10.45.0.7, uplink TEID 0x1001 at 10.1.0.1, downlink TEID 0x2001 at 10.1.0.2"
    ]
    session = shown(ofgtp)
    assert session["uplink"] == {"teid": 0x1001, "local_ip": "10.1.0.1", "remote_ip": None}
    assert session["downlink"] == {"teid": 0x2001, "remote_ip": "10.1.0.2"}


def test_add_with_the_least(ofgtp: Shell) -> None:
    (line,) = ofgtp("session add --ue-ip 10.45.0.7 --gateway gw1").lines
    assert re.fullmatch(
        r"\S+: active: 10\.45\.0\.7, uplink TEID 0x\w+ at 10\.1\.0\.1, no downlink: idle", line
    )
    added = json.loads(ofgtp("--json session add --ue-ip 10.45.0.8 --gateway gw1").out)
    assert (added["ue_ip"], added["downlink"]) == ("10.45.0.8", None)


def test_add_to_a_switch_that_is_away(api: Background, ofgtp: Shell) -> None:
    api.do(Net.detach)
    done = ofgtp(WHOLE)
    assert (done.code, done.out.split(":")[1]) == (0, " pending")
    assert done.err == (
        "the switch has not confirmed it: it is away or slow; see ofgtp gateway list\n"
    )
    deleted = ofgtp("session delete phone")
    assert deleted.lines == ["phone: deleted: its flows go as soon as the switch is back"]


@pytest.mark.parametrize(
    "command, code, line",
    [
        (f"{ADD}", 1, "ofgtp: the id 'phone' is in use (see: ofgtp session show phone)"),
        (
            "session add other --gateway gw1 --ue-ip 10.45.0.7",
            1,
            "ofgtp: the UE address 10.45.0.7 is in use by session 'phone' "
            "(see: ofgtp session show phone)",
        ),
        (
            "session add other --gateway gw1 --ue-ip 10.99.0.7",
            1,
            "ofgtp: ue_ip: 10.99.0.7 is not in the UE pools (10.45.0.0/16)",
        ),
        ("session add a/b --ue-ip 10.45.0.9", 1, "ofgtp: id: 1 to 128 of A-Z a-z 0-9 . _ : @ -"),
        (
            "session add other --gateway gw9 --ue-ip 10.45.0.9",
            4,
            "ofgtp: no gateway has the name 'gw9'",
        ),
        ("session list --gateway gw9", 4, "ofgtp: no gateway has the name 'gw9'"),
        ("session watch --gateway gw9", 4, "ofgtp: no gateway has the name 'gw9'"),
        ("session export --gateway gw9", 4, "ofgtp: no gateway has the name 'gw9'"),
        ("session show nobody", 4, "ofgtp: no session has the id 'nobody'"),
        ("session show 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        ("session delete 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        ("session watch 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        ("events --session 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        ("bearer list 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        ("usage --session 10.45.0.99", 4, "ofgtp: no session's UE has the address 10.45.0.99"),
        (
            "session show 2001:db8:a:3::/64",
            4,
            "ofgtp: no session's UE has the prefix 2001:db8:a:3::/64",
        ),
        (
            "session set 10.45.0.99 --idle",
            4,
            "ofgtp: no session's UE has the address 10.45.0.99: add it: ofgtp session add --ue-ip "
            "10.45.0.99, or --create",
        ),
        ("session show ..", 4, "ofgtp: no session has the id '..'"),
        ("session delete nobody", 4, "ofgtp: no session has the id 'nobody'"),
        (
            "session set nobody --idle",
            4,
            "ofgtp: no session has the id 'nobody': add it: ofgtp session add nobody --ue-ip …, "
            "or --create",
        ),
        ("session set phone --teid 1", 1, "ofgtp: downlink.remote_ip: is required"),
    ],
)
def test_refusals_are_one_line(ofgtp: Shell, command: str, code: int, line: str) -> None:
    ofgtp(ADD)
    done = ofgtp(command)
    assert (done.code, done.line) == (code, line)


@pytest.mark.parametrize(
    "command, what",
    [
        ("session add x", "Missing option '--ue-ip'"),
        ("session add x --ue-ip 10.45.0.300", "'10.45.0.300' is not an IPv4 address"),
        ("session add x --ue-ip 2001:db8::1", "there is no IPv6 here"),
        ("session add x --ue-ip 10.45.0.0/24", "is not one address (/32)"),
        ("session add x --ue-ip 10.45.0.9 --peer 10.1.0.2", "--peer and --teid go together"),
        ("session add x --ue-ip 10.45.0.9 --teid 0", "'0' is not a TEID: 1 to 4294967295"),
        ("session add x --ue-ip 10.45.0.9 --teid 017", "'017' is not a TEID"),
        ("session add x --ue-ip 10.45.0.9 --teid 0x100000000", "is not a TEID"),
        ("session set x", "say what to change"),
        ("session set x --idle --teid 1", "--idle, or --peer and --teid"),
        ("session set x --idle --create", "--create needs --ue-ip"),
        ("session set x --idle --gateway gw1", "a session stays on its gateway"),
        ("session add x --ue-ip 10.45.0.9 --qfi 0", "0 is not in the range 1<=x<=63"),
        ("session add x --ue-ip 10.45.0.9 --qfi 64", "64 is not in the range 1<=x<=63"),
        ("session add x --ue-ip 10.45.0.9 --qfi-optional", "go with --qfi"),
        ("session set x --no-qfi --qfi 5", "--no-qfi goes without --qfi"),
        ("session set x --no-qfi --no-rqi", "--no-qfi goes without --qfi"),
        ("session set x --uplink-peer some", "'some' is not an IPv4 address"),
        ("session delete", "name sessions, or give --peer or --all: one of these"),
        ("session delete phone --all", "name sessions, or give --peer or --all: one of these"),
        ("session delete phone --gateway gw1", "--gateway goes with --peer or --all"),
        ("session list --stat active", "Did you mean '--state'?"),
        ("session lst", "No such command 'lst'"),
        ("sessions", "Did you mean 'session'?"),
        ("s ls", "'s' may be session or status"),
        ("session s phone", "'s' may be set or show"),
    ],
)
def test_wrong_command_lines(ofgtp: Shell, command: str, what: str) -> None:
    done = ofgtp(command)
    assert done.code == 2 and what in done.line
    assert re.search(r"\(see: ofgtp[ a-z]* --help\)$", done.line)


def test_set_handover_idle_and_pinned(ofgtp: Shell) -> None:
    ofgtp(WHOLE)
    (line,) = ofgtp("session set phone --peer 10.1.0.3 --teid 0x2002").lines
    assert line.endswith("uplink TEID 0x1001 at 10.1.0.1, downlink TEID 0x2002 at 10.1.0.3")
    ofgtp("session set phone --peer 10.1.0.4")  # the TEID stays
    assert shown(ofgtp)["downlink"] == {"teid": 0x2002, "remote_ip": "10.1.0.4"}
    assert ofgtp("session set 10.45.0.7 --idle").lines[0].endswith("no downlink: idle")
    assert shown(ofgtp)["downlink"] is None
    ofgtp("session set phone --uplink-peer 10.1.0.3 --uplink-teid 77")
    assert shown(ofgtp)["uplink"] == {"teid": 77, "local_ip": "10.1.0.1", "remote_ip": "10.1.0.3"}
    ofgtp("session set phone --uplink-peer any --ue-ip 10.45.0.8")
    assert shown(ofgtp)["uplink"]["remote_ip"] is None
    assert shown(ofgtp)["ue_ip"] == "10.45.0.8"


def container(ofgtp: Shell) -> list[Any]:
    found = shown(ofgtp)
    return [found[name] for name in ("qfi", "rqi", "qfi_required", "qfi_check")]


def says_of_qfi(ofgtp: Shell) -> list[str]:
    lines = ofgtp("session show phone").lines
    return [line.removeprefix("QFI").strip() for line in lines if line.startswith("QFI ")]


def test_the_qfi(ofgtp: Shell) -> None:
    (line,) = ofgtp(f"{WHOLE} --qfi 9").lines
    assert line.endswith("downlink TEID 0x2001 at 10.1.0.2, QFI 9")
    assert container(ofgtp) == [9, False, True, False]
    assert says_of_qfi(ofgtp) == ["9 downlink; uplink a container is required, of any QFI"]
    assert ofgtp("session list").lines[1].endswith("0x2001 to 10.1.0.2, QFI 9")

    ofgtp("session set phone --rqi --qfi-optional --qfi-check")
    assert container(ofgtp) == [9, True, False, True]
    ofgtp("session set phone --peer 10.1.0.3 --teid 0x2002")  # a handover from gNB to gNB
    ofgtp("session set phone --qfi 63")
    assert container(ofgtp) == [63, True, False, True]
    assert says_of_qfi(ofgtp) == [
        "63 with RQI downlink; uplink a container is optional, of this QFI alone"
    ]
    ofgtp("session set phone --no-rqi --qfi-required --no-qfi-check")
    assert container(ofgtp) == [63, False, True, False]

    (line,) = ofgtp("session set phone --no-qfi").lines
    assert "QFI" not in line
    assert container(ofgtp) == [None, False, False, False] and says_of_qfi(ofgtp) == []
    assert ofgtp("session set phone --rqi").line == (
        "ofgtp: rqi: needs a qfi: it stands in the PDU Session Container beside it"
    )
    ofgtp("session set phone --qfi 5")  # from 4G to 5G
    assert container(ofgtp) == [5, False, True, False]


def test_add_and_create_with_all_of_the_container(ofgtp: Shell) -> None:
    options = "--ue-ip 10.45.0.7 --gateway gw1 --qfi 7 --rqi --qfi-optional --qfi-check"
    for command in ("session add phone", "session set phone --create"):
        assert ofgtp(f"{command} {options}").code == 0
        assert container(ofgtp) == [7, True, False, True]
        ofgtp("session delete phone")


def test_set_can_create(ofgtp: Shell) -> None:
    for teid in (1, 2):
        ofgtp(
            "session set phone --create --gateway gw1 --ue-ip 10.45.0.7 --peer 10.1.0.2 --teid",
            teid,
        )
        assert shown(ofgtp)["downlink"] == {"teid": teid, "remote_ip": "10.1.0.2"}


def test_show_is_for_people(ofgtp: Shell) -> None:
    ofgtp(f"{WHOLE} --uplink-peer 10.1.0.2")
    facts = dict(line.split("  ", 1) for line in ofgtp("session show phone").lines)
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["state"] == "active"
    assert facts["uplink"] == "TEID 0x1001 (4097) at 10.1.0.1, from 10.1.0.2 alone"
    assert facts["downlink"] == "TEID 0x2001 (8193) at 10.1.0.2"
    made = r"1,234 packets, 5.68 kB since the session was made, \d+ s ago"
    assert re.fullmatch(made, facts["sent up"])
    assert re.fullmatch(made, facts["sent down"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, \d+ s ago", facts["created"])
    text = ofgtp("session show 10.45.0.7 --flows").out
    assert (
        "\nuplink flow, 1,234 packets, 5.68 kB:\n  cookie=0x0f67" in text
        and "nw_dst=10.45.0.7" in text
    )
    flows = json.loads(ofgtp("session show phone --flows --json").out)["flows"]
    assert [flow["direction"] for flow in flows] == ["uplink", "downlink"]


def test_a_ue_of_two_gateways(ofgtp: Shell) -> None:
    """Its address alone does not say which session is meant; nothing is deleted by a guess."""
    ofgtp("session add one --gateway gw1 --ue-ip 10.45.0.7")
    ofgtp("session add two --gateway gw2 --ue-ip 10.45.0.7")
    done = ofgtp("session delete 10.45.0.7")
    assert (done.code, done.line) == (
        1,
        "ofgtp: several gateways have a UE 10.45.0.7: name its session: one or two",
    )
    assert len(ofgtp("session list").lines) == 3


def test_list(ofgtp: Shell) -> None:
    done = ofgtp("session list")
    assert (done.code, done.out, done.err) == (0, "", "no sessions\n")
    assert json.loads(ofgtp("session list --json").out) == {"items": []}
    ofgtp(f"{WHOLE} --uplink-peer 10.1.0.9")
    ofgtp("session add idle --gateway gw2 --ue-ip 10.46.0.8 --uplink-teid 5")
    assert ofgtp("session list").lines == [
        "SESSION  GATEWAY  UE         STATE   UPLINK                DOWNLINK",
        "phone    gw1      10.45.0.7  active  0x1001 from 10.1.0.9  0x2001 to 10.1.0.2",
        "idle     gw2      10.46.0.8  active  0x5                   idle",
    ]
    for filters, names in {
        "--gateway gw2": ["idle"],
        "--ue-ip 10.45.0.7": ["phone"],
        "--teid 0x1001": ["phone"],
        "--peer 10.1.0.9": ["phone"],
        "--peer 10.1.0.2": ["phone"],
        "--state active": ["phone", "idle"],
        "--state failed": [],
        "--limit 1": ["phone"],
    }.items():
        items = json.loads(ofgtp(f"session list {filters} --json").out)["items"]
        assert [item["id"] for item in items] == names, filters
    assert "GATEWAY" not in ofgtp("session list --gateway gw2").lines[0]


def test_ues_with_ipv6(ofgtp: Shell) -> None:
    """Alone and beside IPv4: added, found by any address of the prefix, shown, changed."""
    six = "session add six --gateway gw1 --ue-ipv6 2001:db8:a:1::/64 --uplink-teid 1"
    assert ofgtp(six).lines == [
        "six: active: 2001:db8:a:1::/64, uplink TEID 0x1 at 10.1.0.1, no downlink: idle"
    ]
    dual = six.replace("six", "dual").replace(":1::", ":2::").replace("-teid 1", "-teid 2")
    assert ofgtp(f"{dual} --ue-ip 10.45.0.7").lines == [
        "dual: active: 10.45.0.7 and 2001:db8:a:2::/64, uplink TEID 0x2 at 10.1.0.1, no downlink:"
        " idle"
    ]
    head, *rows = ofgtp("session list").lines
    assert [re.split(r"  +", row)[2] for row in (head, *rows)] == [
        "UE",
        "2001:db8:a:1::/64",
        "10.45.0.7, 2001:db8:a:2::/64",
    ]
    for name in ("2001:db8:a:2::7", "2001:0DB8:a:2:ffff::", "2001:db8:a:2::/64", "10.45.0.7"):
        assert "UE         10.45.0.7 and 2001:db8:a:2::/64" in ofgtp(f"session show {name}").lines
        assert len(ofgtp(f"session list --ue-ip {name}").lines) == 2
    assert "UE         2001:db8:a:1::/64" in ofgtp("session show 2001:db8:a:1::").lines
    assert len(ofgtp("session list --ue-ip 2001:db8:a::/48").lines) == 3
    for name in ("2001:db8:a:3::7", "2001:db8:a::/48", "2001:db8:a:1::/65"):
        assert ofgtp(f"session show {name}").code == 4
    assert ofgtp("session set dual --ue-ip none").out.startswith("dual: active: 2001:db8:a:2::/64,")
    assert ofgtp("session set 2001:db8:a:2::7 --ue-ipv6 none").code == 1
    moved = ofgtp("session set dual --ue-ipv6 2001:db8:a:3::/64 --ue-ip 10.45.0.8").out
    assert moved.startswith("dual: active: 10.45.0.8 and 2001:db8:a:3::/64,")
    taken = ofgtp("session set dual --ue-ipv6 2001:db8:a:1::7/128")
    assert taken.line == (
        "ofgtp: 2001:db8:a:1::7/128 overlaps the prefix of session 'six' (see: ofgtp session show"
        " six)"
    )
    wrong = ofgtp("session set dual --ue-ipv6 2001:db8:a:4::7/64").line
    assert wrong == "ofgtp: ue_ipv6: has bits set behind its prefix length"
    assert ofgtp("session set dual --ue-ip none --ue-ipv6 none").code == 1
    assert ofgtp("session set new --create --ue-ip none --gateway gw1").code == 2
    assert ofgtp("session delete 2001:db8:a:1::9 10.45.0.8").lines == [
        "six: deleted",
        "dual: deleted",
    ]


def test_a_limit_beyond_all_numbers(ofgtp: Shell) -> None:
    ofgtp(ADD)
    assert len(ofgtp(f"session list --limit {10**30}").lines) == 2


def test_a_list_of_more_than_a_page(ofgtp: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofgtp.cli.api.PAGE", 4)
    monkeypatch.setattr("ofgtp.cli.output.AT_ONCE", 3)
    for number in range(10, 20):
        ofgtp(f"session add s{number} --gateway gw1 --ue-ip 10.45.0.{number}")
    names = [f"s{number}" for number in range(10, 20)]
    assert [line.split()[0] for line in ofgtp("session list").lines[1:]] == names
    assert [line.split()[0] for line in ofgtp("session list --limit 6").lines[1:]] == names[:6]
    items = json.loads(ofgtp("session list --json").out)["items"]
    assert [item["id"] for item in items] == names


def test_delete_tries_all(ofgtp: Shell) -> None:
    ofgtp("session add a --gateway gw1 --ue-ip 10.45.0.1")
    ofgtp("session add b --gateway gw1 --ue-ip 10.45.0.2")
    done = ofgtp("session delete a nobody 10.45.0.2")
    assert (done.code, done.out) == (4, "a: deleted\nb: deleted\n")
    assert done.err == "ofgtp: no session has the id 'nobody'\n"
    ofgtp("session add a --gateway gw1 --ue-ip 10.45.0.1")
    gone = json.loads(ofgtp("session delete a --json").out)
    assert gone == {"items": [{"id": "a", "confirmed": True}]}


def test_names_are_shortened_and_have_aliases(ofgtp: Shell) -> None:
    ofgtp(WHOLE)
    whole = ofgtp("session list").lines
    for words in ("sess l", "se list", "session ls", "sess ls"):
        assert ofgtp(words).lines == whole
    assert json.loads(ofgtp("-j sess sh phone").out)["id"] == "phone"
    assert json.loads(ofgtp("sess ls -j").out)["items"][0]["id"] == "phone"
    assert ofgtp("b ls phone").err == "no bearers\n"
    assert ofgtp("gate ls").out == ofgtp("gateway list").out
    assert "Usage: ofgtp session delete " in ofgtp("sess rm -h").out
    assert ofgtp("session rm phone").lines == ["phone: deleted"]


def test_an_id_may_look_like_an_address(ofgtp: Shell) -> None:
    ofgtp("session add 10.45.0.99 --gateway gw1 --ue-ip 10.45.0.7")
    assert shown(ofgtp, "10.45.0.99")["ue_ip"] == "10.45.0.7"
    done = ofgtp("session set 10.45.0.98 --create --gateway gw1 --ue-ip 10.45.0.98")
    assert done.out.startswith("10.45.0.98: active")


def test_a_wide_list(ofgtp: Shell) -> None:
    ofgtp(WHOLE)
    ofgtp("bearer add phone voice --precedence 1 --filter", "permit out udp from any to assigned")
    head, session, bearer = ofgtp("session list --wide --gateway gw1 --state active").lines
    assert re.split(r"  +", head) == [
        *("SESSION", "UE", "STATE", "UP PKTS", "UP", "DOWN PKTS", "DOWN", "OWNER", "CHANGED"),
        *("UPLINK", "DOWNLINK"),
    ]
    cells = re.split(r"  +", session)
    packets = [int(cells[place].replace(",", "")) for place in (3, 5)]
    counters = shown(ofgtp)["counters"]
    assert packets == [counters[way]["packets"] for way in ("uplink", "downlink")]
    assert packets[0] > 0 and cells[4].endswith("kB")
    assert cells[7] == "REST" and cells[8].endswith(" s ago")
    assert cells[9:] == ["0x1001", "0x2001 to 10.1.0.2"]
    assert bearer.split()[0] == "voice"
    assert len(re.split(r"  +", bearer.strip())) == len(cells)
    assert ofgtp("session list -w --peer 10.1.0.9").err == "no sessions\n"


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """There is a terminal, and somebody at it; what was asked."""
    questions: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        questions.append(text)
        return answer == "y"

    monkeypatch.setattr("ofgtp.cli.deletion._is_terminal", lambda: True)
    monkeypatch.setattr("ofgtp.cli.deletion.click.confirm", confirm)
    return questions


def test_delete_all_of_a_peer(
    api: Background, ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, peer in enumerate(("10.1.0.2", "10.1.0.2", "10.1.0.3", "10.1.0.3")):
        ofgtp(
            f"session add s{number} --gateway gw1 --ue-ip 10.45.0.{number} --teid 0x{number + 1}"
            f" --peer {peer}"
        )
    ofgtp("session add far --gateway gw2 --ue-ip 10.46.0.1")
    refused = ofgtp("session delete --peer 10.1.0.2")
    assert (refused.code, refused.line) == (
        2,
        "ofgtp: there is no terminal to ask on: add --yes",
    )
    questions = asked(monkeypatch, "n")
    refused = ofgtp("session delete --peer 10.1.0.2")
    assert (refused.code, refused.line) == (1, "ofgtp: nothing was deleted")
    assert questions == ["Delete 2 sessions with peer 10.1.0.2?"]
    assert len(ofgtp("session list").lines) == 6
    asked(monkeypatch, "y")
    assert ofgtp("session delete --peer 10.1.0.2").lines == [
        "2 sessions with peer 10.1.0.2 deleted"
    ]
    monkeypatch.setattr("ofgtp.cli.deletion._is_terminal", lambda: False)
    assert json.loads(ofgtp("session rm --all --gateway gw2 -y -j").out) == {"deleted": 1}
    monkeypatch.setattr("ofgtp.cli.deletion.BATCH_LINES", 1)
    assert ofgtp("session delete --all --yes").lines == ["2 sessions deleted"]
    assert ofgtp("session delete --all").lines == ["0 sessions deleted"]
    ofgtp(WHOLE)
    api.do(Net.detach)
    done = ofgtp("session delete --all --yes")
    assert (done.code, done.out) == (0, "1 session deleted\n")
    assert done.err == "not connected, so that flows there go when they are back: gw1\n"


class Canned:
    """An API that answers every batch so."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def send(self, _method: str, _path: str, body: bytes, *, seconds: float) -> dict[str, Any]:
        assert seconds > 60
        self.bodies.append(body)
        return {}

    def health(self) -> dict[str, Any]:
        return {"gateways": [{"name": "gw1", "connected": True}]}


def test_what_control_planes_own_stays(capsys: pytest.CaptureFixture[str]) -> None:
    owner = {"kind": "pfcp", "node_id": "smf.example.org"}
    sessions = [{"id": "ours"}, {"id": "theirs", "owner": owner}, {"id": "mine", "owner": None}]
    api = Canned()
    delete_many(cast(Api, api), sessions, " with peer 10.1.0.2", True)
    assert [json.loads(line)["id"] for line in api.bodies[0].splitlines()] == ["ours", "mine"]
    assert capsys.readouterr() == (
        "2 sessions with peer 10.1.0.2 deleted\n",
        "not deleted, as control planes own them (PFCP): 1 session with peer 10.1.0.2\n",
    )
    delete_many(cast(Api, api), sessions[1:2], "", True)
    assert len(api.bodies) == 1 and capsys.readouterr().out == "0 sessions deleted\n"


def test_delete_all_while_others_delete_too(
    api: Background, ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        ofgtp(f"session add s{number} --gateway gw1 --ue-ip 10.45.0.{number}")
    asked(monkeypatch, "y")

    def confirm(text: str, **_: object) -> bool:
        api.do(lambda net: net.service.delete("s1"))
        return True

    monkeypatch.setattr("ofgtp.cli.deletion.click.confirm", confirm)
    assert ofgtp("session delete --all").lines == ["2 sessions deleted"]
    assert ofgtp("session list").err == "no sessions\n"


class Watching:
    """`ofgtp session watch`, or another command, as a process of its own."""

    def __init__(
        self, api: Background, *arguments: str, command: tuple[str, ...] = ("session", "watch")
    ) -> None:
        self.process = subprocess.Popen(
            [OFGTP, *command, *arguments],
            env={**os.environ, "OFGTP_URL": api.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None and self.process.stdout is not None
        self.out = self.process.stdout
        assert self.process.stderr.readline() == f"events of {api.url}:\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C: exit code, and what else was printed."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_watch(api: Background, ofgtp: Shell) -> None:
    with Watching(api) as everything, Watching(api, "phone", "--json") as one:
        ofgtp("session add other --gateway gw2 --ue-ip 10.46.0.8")
        ofgtp(WHOLE)
        ofgtp("session set phone --idle")
        ofgtp("session delete phone")
        lines = [everything.out.readline() for _ in range(4)]
        kinds = ["session_created", "session_created", "session_changed", "session_deleted"]
        assert [line.split()[1] for line in lines] == kinds
        facts = "session_created   gateway=gw2 session=other state=active"
        assert re.fullmatch(rf"\d\d:\d\d:\d\d  {facts}\n", lines[0])
        events = [json.loads(one.out.readline()) for _ in range(3)]
        assert [event["kind"] for event in events] == kinds[1:]
        assert {event["session"] for event in events} == {"phone"}
        for each in (everything, one):
            assert each.interrupt() == (130, "", "\n")


def test_events(api: Background, ofgtp: Shell) -> None:
    ofgtp("session add before --gateway gw1 --ue-ip 10.45.0.6")
    command = ("events",)
    with (
        Watching(api, command=command) as everything,
        Watching(api, "--kind", "session_deleted", "--json", command=command) as some,
        Watching(api, "--kept", "--session", "before", command=command) as kept,
    ):
        assert "session_created   gateway=gw1 session=before" in kept.out.readline()
        ofgtp(WHOLE)
        ofgtp("session delete phone")
        facts = "session_created   gateway=gw1 session=phone state=active"
        assert re.fullmatch(rf"\d\d:\d\d:\d\d  {facts}\n", everything.out.readline())
        event = json.loads(some.out.readline())
        assert (event["kind"], event["session"]) == ("session_deleted", "phone")
        ofgtp("session set before --idle --buffer 3")
        assert "session_changed   gateway=gw1 session=before" in kept.out.readline()
        for each in (some, kept):
            assert each.interrupt() == (0, "", "")
    assert ofgtp("events --gateway gw9").code == 4


def test_output_that_nobody_reads(api: Background, ofgtp: Shell) -> None:
    """`ofgtp session list | head`: no complaint."""
    ofgtp(WHOLE)
    read, write = os.pipe()
    os.close(read)
    argv, env = [OFGTP, "session", "list"], {**os.environ, "OFGTP_URL": api.url}
    done = subprocess.run(argv, env=env, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_completion(ofgtp: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What bash would offer for the last word."""

    def completed(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", f"ofgtp {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        done = ofgtp("")
        assert (done.code, done.err) == (0, "")
        return [line.removeprefix("plain,") for line in done.out.splitlines() if line]

    ofgtp(WHOLE)
    monkeypatch.setenv("_OFGTP_COMPLETE", "bash_complete")
    assert completed("se") == ["session"]
    assert completed("sess l") == ["list"]
    assert completed("s l") == []
    assert completed("session s") == ["set", "show"]
    assert completed("session show p") == ["phone"]
    assert completed("peer show 10.") == ["10.1.0.2"]
    assert completed("session list --peer 10.") == ["10.1.0.2"]
    assert completed("session list --gateway g") == ["gw1", "gw2"]
    assert completed("session list --state a") == ["active"]
    assert completed("route add 10.45.0.9 encap g") == ["gtp"]
    assert completed("route add 10.45.0.9 encap gtp d") == ["dst", "dev"]
    assert completed("route add 10.45.0.9 dev gw2") == ["gw2"]
    assert completed("route del 10.45") == ["10.45.0.7"]
    assert completed("tunnel delete gw1") == ["gw1"]
    monkeypatch.setenv("OFGTP_URL", "http://127.0.0.1:1")  # nobody there: no complaint
    assert completed("session show p") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(ofgtp: Shell, shell: str) -> None:
    done = ofgtp(f"completion {shell}")
    assert done.code == 0 and f"{shell}_complete" in done.out and "ofgtp" in done.out


# --- how it looks


def on_a_terminal(api: Background, command: str, columns: int) -> list[str]:
    """What a terminal of so many columns shows, without colours."""
    run = f"COLUMNS={columns} OFGTP_URL={api.url} TERM=xterm-256color {OFGTP} {command}"
    done = subprocess.run(
        ["script", "-qec", run, "/dev/null"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode())
    return [line.rstrip() for line in text.splitlines()]


def test_a_table_fits_into_80_columns(api: Background, ofgtp: Shell) -> None:
    for number in range(1, 4):
        ofgtp(
            f"session add imsi-00101000000000{number}-5 --gateway gw1 --ue-ip 10.45.123.{number} "
            f"--uplink-teid 0xfedcba0{number} --peer 10.1.0.2 --teid 0xabcdef0{number}"
        )
    lines = on_a_terminal(api, "session list --gateway gw1", 80)
    assert lines == ofgtp("session list --gateway gw1").lines
    assert max(map(len, lines)) <= 80
    narrow = on_a_terminal(api, "session list --gateway gw1", 60)
    assert max(map(len, narrow)) <= 60
    assert "imsi-001010000000001-5" not in "".join(narrow)  # folded, and nothing is lost
    assert "…" not in "".join(narrow)


def test_a_question_on_a_terminal(api: Background, ofgtp: Shell) -> None:
    """It is asked on the terminal; nothing, or a no, deletes nothing."""
    ofgtp(WHOLE)
    for answer, left in (("\n", ["phone"]), ("n\n", ["phone"]), ("y\n", [])):
        run = f"OFGTP_URL={api.url} {OFGTP} session delete --all"
        done = subprocess.run(
            ["script", "-qec", run, "/dev/null"],
            input=answer.encode(),
            capture_output=True,
            check=False,
        )
        assert b"Delete 1 session? [y/N]: " in done.stdout
        assert done.returncode == (1 if left else 0)
        items = json.loads(ofgtp("session list --json").out)["items"]
        assert [each["id"] for each in items] == left
