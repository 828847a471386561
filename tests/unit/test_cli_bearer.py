"""`ofgtp bearer`, and what else a session has beyond a tunnel pair, in all commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Done, Shell

SESSION = (
    "session add phone --gateway gw1 --ue-ip 10.45.0.7 --uplink-teid 0x1001"
    " --peer 10.1.0.2 --teid 0x2001"
)
VOICE_FILTER = "permit out udp from 10.2.0.0/24 5004-5060 to assigned"
VOICE = (
    "bearer add phone voice --precedence 10 --uplink-teid 0x1002 --teid 0x2002 --peer 10.1.0.2"
    " --qfi 1 --mbr-uplink 128 --mbr-downlink 1280 --filter"
)
RELAY = (
    "session add sgw --gateway gw1 --uplink-teid 0x3001 --peer 10.1.0.3 --teid 0x2003"
    " --core-teid 0x5001 --core-remote-teid 0x6001 --core-peer 10.9.0.2"
)


@pytest.fixture
def phone(ofgtp: Shell) -> Shell:
    """A session with a bearer of its own tunnels."""
    assert ofgtp(SESSION).code == 0
    assert ofgtp(VOICE, VOICE_FILTER).code == 0
    return ofgtp


def bearers(ofgtp: Shell, session: str = "phone") -> dict[str, dict[str, Any]]:
    items = json.loads(ofgtp(f"bearer list {session} --json").out)["items"]
    return {each["id"]: each for each in items}


def shown(ofgtp: Shell, session: str) -> dict[str, list[str]]:
    """What `session show` says, by name."""
    facts = dict[str, list[str]]()
    for line in ofgtp(f"session show {session}").lines:
        name, _, value = line.partition("  ")
        facts.setdefault(name, []).append(value.strip())
    return facts


# --- bearers


def test_add_says_what_is_there_now(ofgtp: Shell) -> None:
    ofgtp(SESSION)
    (line,) = ofgtp(VOICE, VOICE_FILTER).lines
    assert line.startswith(
        f"voice, precedence 10: {VOICE_FILTER}; uplink 0x1002; downlink 0x2002 to 10.1.0.2; QFI 1;"
        " at most 128 kbit/s up, 1,280 kbit/s down; gate open"
    )
    voice = bearers(ofgtp)["voice"]
    assert voice["filters"] == [VOICE_FILTER] and voice["precedence"] == 10
    assert voice["uplink"] == {"teid": 0x1002, "local_ip": "10.1.0.1", "remote_ip": None}
    assert voice["downlink"] == {"teid": 0x2002, "remote_ip": "10.1.0.2"}
    assert voice["mbr"] == {"uplink_kbps": 128, "downlink_kbps": 1280}
    assert (voice["qfi"], voice["gate"]) == (1, "open")


def test_the_least_shares_the_session_s_tunnel(ofgtp: Shell) -> None:
    ofgtp(SESSION)
    added = json.loads(
        ofgtp(
            "bearer add 10.45.0.7 web --precedence 7 --json --filter",
            "permit out tcp from any 443 to assigned",
        ).out
    )
    assert (added["id"], added["uplink"], "downlink" in added) == ("web", None, False)
    (line,) = ofgtp("bearer list phone").lines[1:]
    assert line.split()[:7] == ["web", "7", "open", "shared", "shared", "-", "-"]


def test_several_filters_in_both_forms(ofgtp: Shell) -> None:
    ofgtp(SESSION)
    other = {"protocol": "udp", "remote_ports": "53", "dscp": 46}
    done = ofgtp(
        "bearer add phone b --precedence 1 --filter", VOICE_FILTER, "--filter", json.dumps(other)
    )
    assert done.code == 0
    (found,) = bearers(ofgtp).values()
    assert found["filters"] == [VOICE_FILTER, other]
    again = found["filters"][1]
    assert json.dumps(again) in ofgtp("bearer list phone").out  # as it may be given again
    assert ofgtp("bearer set phone b --filter", json.dumps(again)).code == 0
    assert bearers(ofgtp)["b"]["filters"] == [other]


def test_a_teid_that_is_chosen_and_one_that_is_shared_again(phone: Shell) -> None:
    assert phone("bearer set phone voice --uplink-teid shared").code == 0
    assert bearers(phone)["voice"]["uplink"] is None
    assert phone("bearer set phone voice --uplink-teid new --uplink-peer 10.1.0.2").code == 0
    up = bearers(phone)["voice"]["uplink"]
    assert up["teid"] not in (0, 0x1001) and up["remote_ip"] == "10.1.0.2"
    assert phone("bearer set phone voice --uplink-peer any").code == 0
    assert bearers(phone)["voice"]["uplink"] == up | {"remote_ip": None}


def test_downlink_idle_elsewhere_and_shared(phone: Shell) -> None:
    before = bearers(phone)["voice"]
    assert "downlink idle;" in phone("bearer set phone voice --idle").lines[0]
    assert bearers(phone)["voice"]["downlink"] is None
    assert phone("bearer set phone voice --peer 10.1.0.9 --teid 9").code == 0
    assert bearers(phone)["voice"]["downlink"] == {"teid": 9, "remote_ip": "10.1.0.9"}
    assert "downlink shared;" in phone("bearer set phone voice --shared").lines[0]
    after = bearers(phone)["voice"]
    assert "downlink" not in after and after | {"downlink": before["downlink"]} == before


def test_set_changes_only_what_is_named(phone: Shell) -> None:
    before = bearers(phone)["voice"]
    assert "gate closed" in phone("bearer set 10.45.0.7 voice --gate closed").lines[0]
    assert bearers(phone)["voice"] == before | {"gate": "closed"}
    phone("bearer set phone voice --mbr-uplink none --mbr-downlink 64 --precedence 4")
    found = bearers(phone)["voice"]
    assert found["mbr"] == {"uplink_kbps": None, "downlink_kbps": 64} and found["precedence"] == 4
    phone("bearer set phone voice --mbr-downlink none --no-qfi")
    found = bearers(phone)["voice"]
    assert (found["mbr"], found["qfi"]) == (None, None)


def test_the_list_is_in_the_order_in_which_they_are_asked(phone: Shell) -> None:
    phone("bearer add phone first --precedence 1 --filter", "permit out icmp from any to assigned")
    head, *rows = phone("bearer list phone").lines
    assert head.split() == (
        ["BEARER", "PREC", "GATE", "UPLINK", "DOWNLINK", "QFI", "RATE", "UP", "DOWN", "FILTERS"]
    )
    assert [row.split()[:2] for row in rows] == [["first", "1"], ["voice", "10"]]
    assert rows[1].endswith(VOICE_FILTER)
    assert rows[1].split()[2:6] == ["open", "0x1002", "0x2002", "to"]


def test_delete_tries_all(phone: Shell) -> None:
    phone("bearer add phone web --precedence 1 --filter", "permit out tcp from any to assigned")
    done = phone("bearer delete phone voice nobody web")
    assert (done.code, done.out) == (4, "voice: deleted\nweb: deleted\n")
    assert done.err == "ofgtp: session 'phone' has no bearer with the id 'nobody'\n"
    listed = phone("bearer list phone")
    assert (listed.code, listed.out, listed.err) == (0, "", "no bearers\n")
    assert json.loads(phone("bearer list phone --json").out) == {"items": []}


def test_with_a_switch_that_is_away(api: Background, phone: Shell) -> None:
    api.do(Net.detach)
    done = phone("bearer set phone voice --gate closed")
    assert done.code == 0 and "gate closed" in done.out
    assert done.err.startswith("the switch has not confirmed it")
    deleted = phone("bearer delete phone voice")
    assert deleted.lines == ["voice: deleted: its flows go as soon as the switch is back"]


@pytest.mark.parametrize(
    "command, more, code, line",
    [
        ("bearer list nobody", (), 4, "ofgtp: no session has the id 'nobody'"),
        (
            "bearer set phone other --gate open",
            (),
            4,
            "ofgtp: session 'phone' has no bearer with the id 'other'",
        ),
        (
            "bearer add phone voice --precedence 11 --filter",
            (VOICE_FILTER,),
            1,
            "ofgtp: the session has a bearer 'voice' already (see: ofgtp session show phone)",
        ),
        (
            "bearer add phone web --precedence 10 --filter",
            (VOICE_FILTER,),
            1,
            "ofgtp: precedence: 10 is another bearer's",
        ),
        (
            "bearer add phone web --precedence 1 --filter",
            ("permit in udp",),
            1,
            "ofgtp: filters.0: 'in' stands where out should stand",
        ),
        (
            "bearer add phone web --precedence 1 --uplink-teid 0x1001 --filter",
            (VOICE_FILTER,),
            1,
            "ofgtp: uplink.teid: 4097 is another TEID of this session",
        ),
    ],
)
def test_refusals_are_one_line(
    phone: Shell, command: str, more: tuple[str, ...], code: int, line: str
) -> None:
    before = bearers(phone)
    done = phone(command, *more)
    assert (done.code, done.line) == (code, line)
    assert bearers(phone) == before


@pytest.mark.parametrize(
    "command, what",
    [
        ("bearer", "Usage: "),
        ("bearer add x y --filter f", "Missing option '--precedence'"),
        ("bearer add x y --precedence 1", "Missing option '--filter'"),
        ("bearer add x y --precedence 65536 --filter f", "65536 is not in the range"),
        ("bearer add x y --precedence 1 --filter {", "is not JSON"),
        ("bearer add x y --precedence 1 --filter f --teid 1", "--peer and --teid go together"),
        ("bearer add x y --precedence 1 --filter f --uplink-teid none", "is not a TEID"),
        ("bearer set x y", "say what to change"),
        ("bearer set x y --idle --teid 1", "--idle, or --peer and --teid"),
        ("bearer set x y --shared --idle", "--shared goes without other changes"),
        ("bearer set x y --qfi 1 --no-qfi", "--qfi, or --no-qfi"),
        ("bearer set x y --mbr-uplink 0", "'0' is no rate: 1 to 100000000 kbit/s, or none"),
        ("bearer set x y --mbr-uplink 100000001", "is no rate"),
        ("bearer set x y --uplink-teid shared --uplink-peer any", "goes with a --uplink-teid"),
        ("bearer set x y --gate ajar", "'ajar' is not one of"),
        ("bearer delete x", "Missing argument 'BEARER...'"),
    ],
)
def test_wrong_command_lines(ofgtp: Shell, command: str, what: str) -> None:
    done = ofgtp(command)
    assert done.code == 2 and what in done.err


def test_completion_knows_bearers(phone: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", f"ofgtp {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        done = phone("")
        return [line.removeprefix("plain,") for line in done.out.splitlines() if line]

    phone("session add phone-2 --gateway gw1 --ue-ip 10.45.0.8")
    phone("bearer add phone-2 video --precedence 1 --filter", VOICE_FILTER)
    phone(RELAY)
    monkeypatch.setenv("_OFGTP_COMPLETE", "bash_complete")
    assert completed("bea") == ["bearer"]
    assert completed("bearer l") == ["list"]
    assert completed("bearer set ph") == ["phone", "phone-2"]
    assert completed("bearer set phone v") == ["voice"]
    assert completed("bearer delete 10.45.0.8 v") == ["video"]
    assert completed("bearer set phone voice --gate cl") == ["closed"]
    assert completed("route add 10.45.0.8 s") == ["sport"]
    assert completed("route add 10.45.0.8 proto u") == ["udp"]
    assert completed("route add 10.45.0.8 proto udp encap gtp gate c") == ["closed"]
    assert completed("route add 10.45.0.8 proto udp encap gtp i") == ["id", "idle"]
    assert completed("route del 10") == ["10.45.0.7", "10.45.0.8"]  # the relay has no address


# --- in other commands


def test_session_show(phone: Shell) -> None:
    phone("bearer add phone web --precedence 20 --idle --gate uplink --filter", '{"dscp": 46}')
    phone(
        "session set phone --ambr-uplink 50000 --ambr-downlink 100000"
        " --framed-route 10.60.0.0/24 --framed-route 10.61.0.0/24"
    )
    facts = shown(phone, "phone")
    assert facts["rate"] == ["at most 50,000 kbit/s up, 100,000 kbit/s down"]
    assert facts["routes"] == ["10.60.0.0/24, 10.61.0.0/24"]
    assert [each.split(",")[0] for each in facts["bearer"]] == ["voice", "web"]
    voice, web = facts["bearer"]
    # Of the five flows that its ports take, each direction; uplink they were made twice again, in
    # the other table, and what they had counted is kept.
    assert "; up: 18,510 packets, 85.2 kB; down: 6,170 packets, 28.4 kB" in voice
    assert '{"dscp": 46}; uplink shared; downlink idle; gate uplink' in web
    text = phone("session show phone --flows").out
    assert "\nuplink flow, " in text and "\ndownlink flow of bearer voice, " in text


def test_session_list(phone: Shell) -> None:
    phone(RELAY)
    phone("session set phone --ambr-uplink 50000")
    phone("bearer set phone voice --gate downlink")
    head, *rows = phone("session list").lines
    assert head.split() == ["SESSION", "GATEWAY", "UE", "STATE", "UPLINK", "DOWNLINK"]
    phone_row, voice, relay = (row.split(maxsplit=5) for row in rows)
    assert phone_row[:5] == ["phone", "gw1", "10.45.0.7", "active", "0x1001"]
    assert phone_row[5] == "0x2001 to 10.1.0.2; at most 50,000 kbit/s up"
    assert rows[1].startswith("  voice  ")
    assert voice[:5] == ["voice", "-", "-", "downlink", "0x1002"]
    assert voice[5] == (
        "0x2002 to 10.1.0.2, QFI 1; at most 128 kbit/s up, 1,280 kbit/s down; " + VOICE_FILTER
    )
    assert relay[:5] == ["sgw", "gw1", "-", "active", "0x3001"]
    assert relay[5] == "0x2003 to 10.1.0.3; core 0x6001 to 10.9.0.2, back by 0x5001"
    by_teid = json.loads(phone("session list --teid 0x1002 --json").out)["items"]
    assert [each["id"] for each in by_teid] == ["phone"]


def test_a_relay_prints_well_everywhere(ofgtp: Shell) -> None:
    assert ofgtp(RELAY).lines == [
        "sgw: active: a relay, uplink TEID 0x3001 at 10.1.0.1, downlink TEID 0x2003 at 10.1.0.3;"
        " core 0x6001 to 10.9.0.2, back by 0x5001"
    ]
    facts = shown(ofgtp, "sgw")
    assert facts["UE"] == ["none: a relay"]
    assert facts["core"] == ["0x6001 to 10.9.0.2, back by 0x5001, at 10.1.0.1"]
    assert ofgtp("tunnel list").lines == [
        "gw1 version 1 tei 12289/8195 ms_addr 0.0.0.0 sgsn_addr 10.1.0.3",
        "gw1 version 1 tei 20481/24577 ms_addr 0.0.0.0 sgsn_addr 10.9.0.2",
    ]
    assert ofgtp("route").lines == []
    assert ofgtp("bearer list sgw").err == "no bearers\n"
    ofgtp("session set sgw --core-peer 10.9.0.3 --core-remote-teid 7")
    assert shown(ofgtp, "sgw")["core"] == ["0x7 to 10.9.0.3, back by 0x5001, at 10.1.0.1"]
    done = ofgtp("session set sgw --no-core")
    assert (done.code, done.line) == (1, "ofgtp: ue_ip: is required")
    assert ofgtp("session delete sgw").lines == ["sgw: deleted"]


def test_breakout_and_prefixes_that_are_taken_away(ofgtp: Shell) -> None:
    breakout = " --ue-ip 10.45.0.7 --breakout 10.30.0.0/16 --breakout 10.31.0.0/16"
    assert ofgtp(RELAY + breakout).lines[0].endswith("; breakout 10.30.0.0/16, 10.31.0.0/16")
    assert shown(ofgtp, "sgw")["breakout"] == ["10.30.0.0/16, 10.31.0.0/16"]
    ofgtp("session set sgw --breakout 10.32.0.0/16")
    assert shown(ofgtp, "sgw")["breakout"] == ["10.32.0.0/16"]
    ofgtp("session set sgw --breakout none --framed-route 10.60.0.0/24")
    facts = shown(ofgtp, "sgw")
    assert "breakout" not in facts and facts["routes"] == ["10.60.0.0/24"]
    assert ofgtp("session set sgw --breakout none --breakout 10.3.0.0/16").code == 2
    ofgtp("session set sgw --no-core")
    assert "core" not in shown(ofgtp, "sgw")


def test_rates_are_changed_and_taken_away(ofgtp: Shell) -> None:
    ofgtp(f"{SESSION} --ambr-uplink 1000 --ambr-downlink 2000")
    assert shown(ofgtp, "phone")["rate"] == ["at most 1,000 kbit/s up, 2,000 kbit/s down"]
    ofgtp("session set phone --ambr-uplink none --ambr-downlink 3000")
    assert shown(ofgtp, "phone")["rate"] == ["at most 3,000 kbit/s down"]
    ofgtp("session set phone --ambr-downlink none")
    assert "rate" not in shown(ofgtp, "phone")


def test_who_needs_an_address(ofgtp: Shell) -> None:
    done = ofgtp("session add x --peer 10.1.0.2 --teid 1")
    assert (
        done.code == 2
        and "only a relay (--core-peer), or a UE with --ue-ipv6, has none" in done.line
    )
    assert ofgtp("session set x --no-core --core-peer 10.9.0.2").code == 2


def test_tunnels_of_bearers(phone: Shell) -> None:
    phone(
        "bearer add phone idle --precedence 20 --uplink-teid 0x1003 --idle --filter",
        "permit out icmp from any to assigned",
    )
    lines = [
        "gw1 version 1 tei 4097/8193 ms_addr 10.45.0.7 sgsn_addr 10.1.0.2",
        "gw1 version 1 tei 4098/8194 ms_addr 10.45.0.7 sgsn_addr 10.1.0.2",
        "gw1 version 1 tei 4099/0 ms_addr 10.45.0.7 sgsn_addr 0.0.0.0",
    ]
    assert phone("tunnel list").lines == lines
    assert phone("tunnel delete gw1 v1 0x1003").lines == []  # the bearer goes, and not the session
    assert phone("tunnel list").lines == lines[:2]
    assert phone("tunnel delete gw1 v1 4097").lines == []
    assert phone("tunnel list").lines == []


def test_a_route_that_changes_keeps_the_rest(phone: Shell) -> None:
    phone("session set phone --ambr-uplink 5000 --framed-route 10.60.0.0/24")
    before = json.loads(phone("session show phone --json").out)
    assert phone("route del 10.45.0.7 lid 0x1002").code == 4  # it is the bearer's
    (line,) = phone("route show lid 0x1002").lines
    assert line.endswith("lid 0x1002 qfi 1 dev gw1 metric 10")
    for word in ("change", "replace"):
        assert phone(f"route {word} 10.45.0.7 encap gtp id 5 dst 10.1.0.3 dev gw1").code == 0
    after = json.loads(phone("session show phone --json").out)
    assert after["downlink"] == {"teid": 5, "remote_ip": "10.1.0.3"}
    for name in ("ambr", "bearers", "framed_routes"):
        assert after[name] == before[name]


def comparable(done: Done) -> list[dict[str, Any]]:
    """Without what begins anew with an import: times and counters."""
    items: list[dict[str, Any]] = json.loads(done.out)["items"]
    for each in items:
        for of_time in [name for name in each if name.endswith("_at")]:
            del each[of_time]
        for counted in (each, *each["bearers"]):
            del counted["counters"]
    return items


def test_export_and_import_carry_all_of_it(phone: Shell) -> None:
    phone(f"{RELAY} --ue-ip 10.45.0.9 --breakout 10.30.0.0/16")
    phone("session set phone --ambr-uplink 5000 --framed-route 10.60.0.0/24 --buffer 32")
    assert "32 packets while it is idle" in phone("session show phone").out
    phone("bearer add phone web --precedence 20 --idle --filter", '{"dscp": 46}')
    before = comparable(phone("session list --json"))
    exported = phone("session export - --format ndjson").out.encode()
    whole = phone("session list --json").out
    phone("session delete phone sgw")
    assert phone("session import - --format ndjson", stdin=exported).code == 0
    assert comparable(phone("session list --json")) == before
    as_shown = "\n".join(json.dumps(each) for each in json.loads(whole)["items"]).encode()
    assert phone("session import - --format ndjson", stdin=as_shown).code == 0
    assert comparable(phone("session list --json")) == before
    done = phone("session export - --format csv")
    assert done.code == 1 and "session phone has ambr and bearers and framed_routes and" in done.err
    phone("session set phone --buffer none")
    assert "buffer" not in json.loads(phone("session show phone --json").out)


def test_an_import_of_a_relay_without_an_id(ofgtp: Shell) -> None:
    """It has no address to be named by: the API makes one up."""
    relay = {
        "gateway": "gw1",
        "downlink": {"teid": 0x2003, "remote_ip": "10.1.0.3"},
        "core": {"remote_teid": 0x6001, "remote_ip": "10.9.0.2"},
    }
    assert ofgtp("session import -", stdin=json.dumps(relay).encode()).code == 0
    (session,) = json.loads(ofgtp("session list --json").out)["items"]
    assert session["id"] != "gw1-None" and session["core"]["remote_teid"] == 0x6001
