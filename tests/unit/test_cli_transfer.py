"""`ofgtp session import` and `export`."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ofgtp.cli.transfer import importing, reading, sending
from ofgtp.cli.values import QOS
from ofgtp.control.usage.counting import Counting
from tests.support.agents import Net
from tests.support.background import Background
from tests.support.command import Done, Shell

HEAD = "id,gateway,ue_ip,uplink_teid,uplink_remote_ip,downlink_teid,downlink_remote_ip"
"""The columns that must do."""
CSV = f"""\
{HEAD},qfi,rqi,qfi_required,qfi_check,ue_ipv6
phone-1,gw1,10.45.0.7,0x1001,,0x2001,10.1.0.2,9,true,false,true,
phone-2,gw1,10.45.0.8,0x1002,10.1.0.3,,,63,false,true,false,
phone-3,gw2,10.46.0.9,0x1001,,0xffffffff,10.3.0.2,,,,,
"""
NDJSON = """\
{"id": "phone-1", "gateway": "gw1", "ue_ip": "10.45.0.7", "uplink": {"teid": 4097}, \
"downlink": {"teid": 8193, "remote_ip": "10.1.0.2"}, \
"qfi": 9, "rqi": true, "qfi_required": false, "qfi_check": true}
{"id": "phone-2", "gateway": "gw1", "ue_ip": "10.45.0.8", "uplink": {"teid": 4098, \
"remote_ip": "10.1.0.3"}, "downlink": null, \
"qfi": 63, "rqi": false, "qfi_required": true, "qfi_check": false}
{"id": "phone-3", "gateway": "gw2", "ue_ip": "10.46.0.9", "uplink": {"teid": 4097}, \
"downlink": {"teid": 4294967295, "remote_ip": "10.3.0.2"}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.csv"


def ids(ofgtp: Shell) -> list[str]:
    items = json.loads(ofgtp("session list --json").out)["items"]
    return [item["id"] for item in items]


def many(count: int, first: int = 0) -> list[str]:
    """Rows of sessions, each with an id and TEIDs of its own."""
    return [
        f"s{n},gw1,10.45.{n >> 8}.{n & 255},{n + 1},,{n + 1},10.1.0.2"
        for n in range(first, first + count)
    ]


def write(file: Path, *rows: str, head: str = HEAD) -> None:
    file.write_text("".join(f"{row}\n" for row in (head, *rows)))


def summary(done: Done) -> str:
    """The line at the end, without the time."""
    (line,) = done.lines
    return line.rpartition(" (")[0]


# --- there and back


def test_there_and_back(ofgtp: Shell, tmp_path: Path) -> None:
    """What is exported is what was imported, in both formats, and may be imported again."""
    for name, text in (("a.csv", CSV), ("a.ndjson", NDJSON), ("a.jsonl", NDJSON)):
        file, out = tmp_path / name, tmp_path / f"out-{name}"
        file.write_text(text)
        before = len(ids(ofgtp))
        done = summary(ofgtp("session import", file))
        change = "3 created" if before == 0 else "3 replaced"
        assert done == f"{file}: 3 lines: {change}"
        exported = ofgtp("session export", out)
        assert (exported.code, exported.out) == (0, "")
        assert exported.err == f"{out}: 3 sessions\n"
        assert out.read_text() == text
    assert not list(tmp_path.glob(".*"))


def test_standard_input_and_output(ofgtp: Shell) -> None:
    for text, options in ((CSV, ""), (NDJSON, "--json"), (NDJSON, "--format ndjson")):
        assert summary(ofgtp("session import -", stdin=text.encode())).startswith("standard input")
        assert ofgtp(f"session export {options}").out == text
    assert summary(ofgtp("session import - --format csv", stdin=CSV.encode())).endswith("replaced")


def test_export_of_some(ofgtp: Shell) -> None:
    ofgtp("session import -", stdin=CSV.encode())
    rows = CSV.splitlines()
    assert ofgtp("session export --gateway gw2").lines == [rows[0], rows[3]]
    assert ofgtp("session export --peer 10.1.0.3").lines == [rows[0], rows[2]]
    assert ofgtp("session export --peer 10.1.0.99").lines == [rows[0]]


def test_export_asks_no_switch(
    api: Background, ofgtp: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each session's counters would be two flows to read."""
    ofgtp("session import -", stdin=CSV.encode())
    asked: list[int] = []
    pairs = Counting.pairs

    def counted(self: Counting, numbers: Sequence[int]) -> Any:
        asked.extend(numbers)
        return pairs(self, numbers)

    monkeypatch.setattr(Counting, "pairs", counted)
    assert ofgtp("session export").out == CSV
    assert asked == []
    assert len(ofgtp("session list").lines) == 4 and len(asked) == 3


def test_an_export_without_an_api_writes_nothing(
    ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the line that names the columns."""
    monkeypatch.setenv("OFGTP_URL", "http://127.0.0.1:9")
    for more in ((), (file,)):
        done = ofgtp("session export", *more)
        assert done.code == 3 and "no answer at http://127.0.0.1:9" in done.line
    assert not file.exists() and not list(file.parent.iterdir())
    file.write_text("old\n")
    assert ofgtp("session export", file).code == 3
    assert file.read_text() == "old\n"


def test_what_the_api_shows_can_be_imported(ofgtp: Shell) -> None:
    """States, times and counters are passed over."""
    ofgtp("session import -", stdin=CSV.encode())
    items = json.loads(ofgtp("session list --json").out)["items"]
    text = "".join(json.dumps(item) + "\n" for item in items)
    assert summary(ofgtp("session import -", stdin=text.encode())).endswith("3 replaced")
    assert ofgtp("session export").out == CSV
    usage = {"quota_bytes": 1000}
    limited = "".join(json.dumps(item | {"usage": usage}) + "\n" for item in items)
    assert summary(ofgtp("session import -", stdin=limited.encode())).endswith("3 replaced")
    items = json.loads(ofgtp("session list --json").out)["items"]
    assert all("closed" in item for item in items)
    text = "".join(json.dumps(item) + "\n" for item in items)
    assert summary(ofgtp("session import -", stdin=text.encode())).endswith("3 replaced")


def test_a_failed_export_leaves_the_old_file(
    api: Background, ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ofgtp("session import -", stdin=CSV.encode())
    file.write_text("old\n")
    monkeypatch.setattr("ofgtp.cli.api.PAGE", 0)  # refused by the API
    assert ofgtp("session export", file).code == 1
    assert file.read_text() == "old\n" and not list(file.parent.glob(".*"))
    monkeypatch.undo()
    monkeypatch.setenv("OFGTP_URL", api.url)
    done = ofgtp("session export", file.parent / "no" / "x.csv")
    assert done.code == 1 and done.line.endswith("No such file or directory")


CSV6 = f"""\
{HEAD},qfi,rqi,qfi_required,qfi_check,ue_ipv6
dual,gw1,10.45.0.7,0x1001,,0x2001,10.1.0.2,,,,,2001:db8:a:1::/64
six,gw1,,0x1002,,,,9,false,true,false,2001:db8:a:2::/64
"""


def test_sessions_with_ipv6_there_and_back(ofgtp: Shell) -> None:
    """By CSV and by NDJSON, alone and beside an IPv4 address."""
    assert summary(ofgtp("session import -", stdin=CSV6.encode())).endswith("2 created")
    shown = {each["id"]: each for each in json.loads(ofgtp("session list --json").out)["items"]}
    assert (shown["dual"]["ue_ip"], shown["dual"]["ue_ipv6"]) == ("10.45.0.7", "2001:db8:a:1::/64")
    assert (shown["six"]["ue_ip"], shown["six"]["ue_ipv6"]) == (None, "2001:db8:a:2::/64")
    assert ofgtp("session export").out == CSV6
    ndjson = ofgtp("session export --format ndjson").out
    assert summary(ofgtp("session import -", stdin=ndjson.encode())).endswith("2 replaced")
    assert ofgtp("session export --format ndjson").out == ndjson
    assert ofgtp("session export").out == CSV6
    # Without an id it is known by its address, or else by its prefix.
    rows = "ue_ipv6,gateway\n2001:db8:a:3::/64,gw1\n2001:db8:a:4::7,gw1\n"
    assert summary(ofgtp("session import -", stdin=rows.encode())).endswith("2 created")
    assert summary(ofgtp("session import -", stdin=rows.encode())).endswith("2 replaced")
    found = json.loads(ofgtp("session list --ue-ip 2001:db8:a:3::9 --json").out)["items"]
    assert [each["id"] for each in found] == ["gw1-2001:db8:a:3::_64"]
    wrong = ofgtp("session import -", stdin=b"ue_ipv6,gateway\n2001:db8:a:1::7/64,gw1\n")
    assert wrong.code == 1
    assert "standard input:2: ue_ipv6: has bits set behind its prefix length" in wrong.err


# --- what is read


def test_columns_in_any_order_and_few(ofgtp: Shell) -> None:
    text = "\ufeffUE_IP, gateway\r\n10.45.0.7,gw1\r\n\r\n  10.45.0.8 ,gw1\r\n"
    for change in ("2 created", "2 replaced"):  # the ids are the same each time
        done = ofgtp("session import -", stdin=text.encode())
        assert summary(done) == f"standard input: 2 lines: {change}"
    assert ids(ofgtp) == ["gw1-10.45.0.7", "gw1-10.45.0.8"]


def test_older_files_and_empty_cells(ofgtp: Shell) -> None:
    """Without the columns of the container, or without a value there, it is as by default."""
    old = many(1)[0].replace("s0", "old")
    assert ofgtp("session import -", stdin=f"{HEAD}\n{old}\n".encode()).code == 0
    few = "ue_ip,gateway,id,qfi,rqi\n10.45.1.1,gw1,few,5,\n10.45.1.2,gw1,none,,FALSE\n"
    assert ofgtp("session import -", stdin=few.encode()).code == 0
    found = {
        each["id"]: [each[name] for name in QOS]
        for each in json.loads(ofgtp("session list --json").out)["items"]
    }
    without = [None, False, False, False]
    assert found == {"old": without, "few": [5, False, True, False], "none": without}


def test_operations_in_order(ofgtp: Shell) -> None:
    ofgtp("session import -", stdin=CSV.encode())
    lines = [
        {"op": "delete", "id": "phone-1"},
        {"ue_ip": "10.45.0.7", "gateway": "gw1", "uplink": {"teid": "0x1001"}},
        {"op": "put", "session": {"ue_ip": "10.45.0.99", "gateway": "gw1"}},
    ]
    text = "\n".join(map(json.dumps, lines))
    done = json.loads(ofgtp("session import - --json", stdin=text.encode()).out)
    assert done == {"lines": 3, "created": 2, "replaced": 0, "deleted": 1}
    assert ids(ofgtp) == ["phone-2", "phone-3", "gw1-10.45.0.7", "gw1-10.45.0.99"]


@pytest.mark.parametrize("text", ["", HEAD, f"{HEAD}\n\n"])
def test_nothing_to_do(ofgtp: Shell, text: str) -> None:
    done = ofgtp("session import -", stdin=text.encode())
    assert summary(done) == "standard input: 0 lines: nothing to do"


def test_a_switch_that_is_away(api: Background, ofgtp: Shell) -> None:
    api.do(Net.detach)
    done = ofgtp("session import -", stdin=CSV.encode())
    assert done.code == 0 and "3 created" in done.out
    assert done.err == "not connected, so that sessions there are pending: gw1\n"


# --- what is wrong


@pytest.mark.parametrize(
    "text, lines",
    [
        ("id;ue_ip\na;10.45.0.1", ["1: 'id;ue_ip' is no column; columns are id, gateway, "]),
        ("id,gateway\na,gw1", ["1: the column ue_ip is missing"]),
        ("ue_ip,ue_ip\na,b", ["1: a column is there twice"]),
        (f"{HEAD}\n{many(1)[0]},x", ["2: has 8 columns and not 7"]),
        (f"{HEAD}\n\n{many(1)[0]}.3", ["3: downlink_remote_ip: must be an IPv4 address"]),
        ("ue_ip,gateway,downlink_teid\n10.45.0.1,gw1,7", ["2: downlink_remote_ip: is required"]),
        (
            "ue_ip,gateway,uplink_teid\n10.45.0.1,gw1,0",
            ["2: uplink_teid: '0' is not a TEID: 1 to "],
        ),
        ("ue_ip,gateway,qfi\n10.45.0.1,gw1,64", ["2: qfi: '64' is not a QFI: 1 to 63"]),
        ("ue_ip,gateway,qfi\n10.45.0.1,gw1,0x9", ["2: qfi: '0x9' is not a QFI: 1 to 63"]),
        ("ue_ip,gateway,rqi\n10.45.0.1,gw1,true", ["2: rqi: needs a qfi"]),
        ("ue_ip,gateway,rqi\n10.45.0.1,gw1,1", ["2: rqi: '1' is neither true nor false"]),
        ("ue_ip,gateway\n10.45.0.1,gw1\n10.99.0.1,gw1", ["3: ue_ip: 10.99.0.1 is not in the UE"]),
        ("ue_ip\n10.45.0.1", ["2: gateway: "]),
        ("ue_ip,gateway\n10.45.0.1,gw9", ["2: gateway: no gateway has the name 'gw9'"]),
        ("ue_ip,id\n10.45.0.1,a/b", ["2: id: 1 to 128 of"]),
        ("ue_ip,id\n\xff,ok", ["2: ue_ip: must be an IPv4 address"]),
        ('ue_ip,gateway\n10.45.0.1,gw1\n10.45.0.2,"gw1\nx\n', ["3: cannot be read: "]),
        ('ue_ip,gateway\n10.45.0.1,gw1\n10.45.0.2,"g"w1', ["3: cannot be read: "]),
        (f"{HEAD}\n" + "x" * 70_000, ["2: cannot be read: is longer than 65536 bytes"]),
        ("{nonsense\n[]\n7\n", ["1: is not JSON: ", "2: is not a JSON ", "3: is not a JSON "]),
        ('{"op": "get"}', ['1: op: must be "put" or "delete"']),
        ('{"op": "delete", "id": "nobody"}', ["1: id: no session has the id 'nobody'"]),
        ('{"ue_ip": "10.45.0.1", "gateway": "gw1", "imsi": 1}', ["1: imsi: is not a known field"]),
        ('{"ue_ip": 1}\n\n{"ue_ip": 2}', ["1: ue_ip: must be an", "3: ue_ip: must be an"]),
        ('{"ue_ip": "10.45.0.1", "uplink": 7}', ["1: uplink: must be an object"]),
        ("{" + "x" * 70_000, ["1: is longer than 65536 bytes"]),
    ],
)
def test_errors_name_the_line(ofgtp: Shell, text: str, lines: list[str]) -> None:
    done = ofgtp("session import -", stdin=text.encode("latin-1" if "\xff" in text else "utf-8"))
    *told, last = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert last == (
        "ofgtp: standard input: nothing was changed; correct the file and import it again"
    )
    assert len(told) == len(lines), told
    for line, wanted in zip(told, lines, strict=True):
        assert line.startswith(f"standard input:{wanted}")
    assert ids(ofgtp) == []


def test_a_conflict_names_the_line_in_the_file(ofgtp: Shell, file: Path) -> None:
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.2")
    write(file, *many(2), "", many(1, 2)[0])
    done = ofgtp("session import", file)
    told = f"{file}:5: ue_ip: the UE address 10.45.0.2 is in use by session 'phone'\n"
    assert (done.code, done.err.startswith(told)) == (1, True)
    assert ids(ofgtp) == ["phone"]


def test_very_many_errors(ofgtp: Shell, file: Path) -> None:
    write(file, *["x"] * 500)
    done = ofgtp("session import", file)
    *_, more, _ = done.err.splitlines()
    assert more == f"{file}: these are the first 100 errors: there may be more"
    assert len(done.err.splitlines()) == sending.MOST_ERRORS + 2


def test_errors_of_all_kinds_at_once(ofgtp: Shell, file: Path) -> None:
    """What is found here, what the API finds in a line, and what it finds in the gateway's
    configuration and among the sessions, in one run; and of a line all that can be."""
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.9")
    rows = [
        "a,gw1,10.99.0.1,1,,1,10.1.0.2,",
        "b,gw1,10.45.0.2,0,,1,10.1.0,99",
        "c,gw1,10.45.0,3,,1,10.1.0.2,",
        "d",
        "e,gw1,10.45.0.9,5,,1,10.1.0.2,",
        "f,gw1,10.45.0.6,6,,6,10.1.0.2,",
        "g,gw1,10.45.0.6,7,,7,10.1.0.2,",
    ]
    write(file, *rows, head=f"{HEAD},qfi")
    done = ofgtp("session import", file)
    *told, last = done.err.splitlines()
    assert [line.removeprefix(f"{file}:") for line in told] == [
        "2: ue_ip: 10.99.0.1 is not in the UE pools (10.45.0.0/16)",
        "3: uplink_teid: '0' is not a TEID: 1 to 4294967295, or 0x1 to 0xffffffff",
        "3: qfi: '99' is not a QFI: 1 to 63",
        "3: downlink_remote_ip: must be an IPv4 address like 10.45.0.2",
        "4: ue_ip: must be an IPv4 address like 10.45.0.2",
        "5: has 1 columns and not 8",
        "6: ue_ip: the UE address 10.45.0.9 is in use by session 'phone'",
        "8: ue_ip: the UE address 10.45.0.6 is in use by session 'f'",
    ]
    assert "nothing was changed" in last
    assert ids(ofgtp) == ["phone"]
    mixed = '{"ue_ip": "10.45.1.1", "gateway": "gw1"}\n{\n{"ue_ip": "10.99.0.1", "gateway": "gw1"}'
    done = ofgtp("session import -", stdin=mixed.encode())
    assert [line.split(": ")[0] for line in done.err.splitlines()[:-1]] == [
        "standard input:2",
        "standard input:3",
    ]
    assert ids(ofgtp) == ["phone"]


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".XLSX"])
def test_other_formats_are_refused_by_name(ofgtp: Shell, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"sessions{suffix}"
    for does in ("export", "import"):
        done = ofgtp(f"session {does}", file)
        assert (done.code, done.line) == (
            2,
            f"ofgtp: {file}: this {does}s no {suffix.lower()}: a file ends in .csv (CSV), or in"
            " .ndjson or .jsonl (one JSON object a line); for another ending give --format",
        )
    assert not file.exists()
    assert ofgtp("session export --format csv", file).code == 0
    assert file.read_text().startswith(HEAD)


def test_no_csv_under_the_name_of_json(ofgtp: Shell, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    assert ofgtp("session export", file).code == 2
    assert not file.exists()
    ofgtp("session add phone --gateway gw1 --ue-ip 10.45.0.9")
    assert ofgtp("session export --json", file).code == 0
    assert ofgtp("session import", file).code == 0


def test_no_such_file(ofgtp: Shell, tmp_path: Path) -> None:
    done = ofgtp("session import", tmp_path / "none.csv")
    assert (done.code, done.line) == (2, f"ofgtp: {tmp_path}/none.csv: No such file or directory")
    assert ofgtp("session import", tmp_path).code == 2


# --- batches


def test_batches(
    api: Background, ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes in batches of so many lines; at the first that is wrong it ends."""
    monkeypatch.setattr(sending, "BATCH_LINES", 10)
    sizes: list[int] = []
    original = importing.send

    def send(to: Any, batch: Any, done: dict[str, int]) -> list[dict[str, Any]]:
        sizes.append(batch.body.count(b"\n"))
        return original(to, batch, done)

    monkeypatch.setattr(importing, "send", send)
    rows = many(35)
    write(file, *rows)
    assert summary(ofgtp("session import", file)) == f"{file}: 35 lines: 35 created"
    assert sizes == [10, 10, 10, 5]
    assert len(ids(ofgtp)) == 35

    sizes.clear()
    wrong = [*rows[:25], rows[25].replace("10.1.0.2", "10.1.0"), *rows[26:]]
    write(file, *wrong, *many(5, 100))
    done = ofgtp("session import", file)
    assert done.code == 1
    assert done.err == (
        f"{file}:27: downlink_remote_ip: must be an IPv4 address like 10.45.0.2\n"
        f"ofgtp: {file}: nothing from line 22 on was imported; what stands before it is done "
        "(20 lines); correct the file and import it again\n"
    )
    assert sizes == [10, 10, 10]  # nothing is sent after a batch that was refused

    found = json.loads(ofgtp("session import --json", file).out)
    assert {key: found[key] for key in ("lines", "created", "replaced")} == {
        "lines": 20,
        "created": 0,
        "replaced": 20,
    }
    assert [error["line"] for error in found["errors"]] == [27]

    write(file, *rows, *many(5, 100))
    assert summary(ofgtp("session import", file)).endswith("40 lines: 5 created, 35 replaced")


def test_a_batch_that_cannot_be_read_is_not_done(
    ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH_LINES", 10)
    write(file, *many(14), "x", *many(10, 20))
    done = ofgtp("session import", file)
    assert done.err.startswith(f"{file}:16: has 1 columns and not 7\nofgtp: {file}: nothing from ")
    assert len(ids(ofgtp)) == 10


def test_batches_are_no_larger_than_the_api_takes(
    ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCH_BYTES", 1000)
    write(file, *many(30))
    assert summary(ofgtp("session import", file)) == f"{file}: 30 lines: 30 created"


def test_the_file_is_read_as_it_is_sent(
    ofgtp: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than a batch and a line is in memory."""
    monkeypatch.setattr(sending, "BATCH_LINES", 10)
    ahead: list[int] = []
    read, sent = 0, 0
    source_read, original = reading.Source.read, importing.send

    def counting(self: Any, show: Any) -> Any:
        nonlocal read
        for line in source_read(self, show):
            read += 1
            yield line

    def send(to: Any, batch: Any, done: dict[str, int]) -> list[dict[str, Any]]:
        nonlocal sent
        ahead.append(read - sent)
        sent += len(batch.numbers)
        return original(to, batch, done)

    monkeypatch.setattr(reading.Source, "read", counting)
    monkeypatch.setattr(importing, "send", send)
    write(file, *many(200))
    assert ofgtp("session import", file).code == 0
    assert len(ahead) == 20 and max(ahead) <= 12


def test_a_progress_bar_on_a_terminal(ofgtp: Shell, api: Background, file: Path) -> None:
    """On standard error, and gone at the end."""
    write(file, *many(200))
    environment = "TERM=xterm-256color COLUMNS=80"
    command = f"env {environment} OFGTP_URL={api.url} {Path(sys.executable).parent}/ofgtp"
    argv = ["script", "-qec", f"{command} session import {file}", "/dev/null"]
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    shown = done.stdout.decode()
    assert "201 lines read; the gateway works" in shown
    assert f"{file}: 200 lines: 200 created (" in shown.splitlines()[-1]


def test_csv_is_what_others_read(ofgtp: Shell) -> None:
    ofgtp("session import -", stdin=CSV.encode())
    rows = list(csv.DictReader(ofgtp("session export").lines))
    assert [row["ue_ip"] for row in rows] == ["10.45.0.7", "10.45.0.8", "10.46.0.9"]
