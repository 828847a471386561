"""The `ofgtp` command, as a program: what it prints, and its exit codes."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ofgtp import __version__, cli
from ofgtp.control.host import removal

ROOT = Path(__file__).parents[2]
OFGTP = Path(sys.executable).parent / "ofgtp"


def ofgtp(*arguments: str | Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "OFGTP_CONFIG"}
    if config is not None:
        environment["OFGTP_CONFIG"] = str(config)
    return subprocess.run(
        [OFGTP, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def outcome(result: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The exit code and the one line on standard error, nothing being on standard output."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.returncode, result.stderr.strip()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A gateway whose OVSDB and controller are nowhere."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "ofgtp.toml"
    path.write_text(
        f"""\
[[gateway]]
name = "gw1"
ovsdb = "unix:{tmp_path}/nowhere.sock"
openflow = "tcp:127.0.0.1:{port}"
bridge = "br-ofgtp"
access_port = "eth1"
access_ip = "10.1.0.1/24"
core_port = "host"
core_ip = "10.2.0.1/24"
ue_pools = ["10.45.0.0/16"]
"""
    )
    return path


def openflow_of(config: Path) -> tuple[str, int]:
    (line,) = (line for line in config.read_text().splitlines() if line.startswith("openflow"))
    return "127.0.0.1", int(line.strip('"').rsplit(":", 1)[1])


def test_version() -> None:
    result = ofgtp("--version")
    assert (result.returncode, result.stdout) == (0, f"ofgtp {__version__}\n")


def test_check_config_of_the_example() -> None:
    result = ofgtp("check-config", ROOT / "etc" / "ofgtp.toml")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert "gateway gw1; REST on 127.0.0.1:8080" in result.stdout


def test_check_config_reads_the_environment_s_file(config: Path) -> None:
    result = ofgtp("check-config", config=config)
    assert result.returncode == 0
    assert result.stdout.startswith(f"{config}: good")


def test_check_config_names_line_and_reason(config: Path) -> None:
    config.write_text(config.read_text().replace("access_port", "acess_port"))
    code, line = outcome(ofgtp("check-config", config))
    assert code == 2
    assert line == (
        f"ofgtp: {config}:6: gateway.acess_port: unknown key; did you mean access_port?"
    )


def test_check_config_without_a_file(tmp_path: Path) -> None:
    code, line = outcome(ofgtp("check-config", tmp_path / "none.toml"))
    assert code == 2
    assert "none.toml: cannot be read" in line


def test_check_config_reads_the_token(config: Path) -> None:
    config.write_text(f'[rest]\ntoken_file = "{config.parent}/none"\n' + config.read_text())
    code, line = outcome(ofgtp("check-config", config))
    assert code == 2
    assert "rest.token_file: cannot read" in line


def test_remove_needs_one_name_or_all(config: Path) -> None:
    for arguments in ((), ("gw1", "--all")):
        result = ofgtp("gateway", "remove", *arguments, config=config)
        assert result.returncode == 2
        assert "give the NAME of a gateway, or --all" in result.stderr


def test_remove_of_an_unknown_gateway(config: Path) -> None:
    code, line = outcome(ofgtp("gateway", "remove", "gw2", config=config))
    assert (code, line) == (4, "ofgtp: no gateway has the name 'gw2'")


def test_remove_with_a_wrong_file(config: Path) -> None:
    config.write_text("gateway = 1\n")
    code, line = outcome(ofgtp("gateway", "remove", "--all", config=config))
    assert code == 2
    assert line.startswith(f"ofgtp: {config}:1: gateway")


class Called(NamedTuple):
    code: object
    error: str


def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: Path,
    uid: int,
    *arguments: str,
) -> Called:
    """The command within this process, as if run by that user."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("OFGTP_CONFIG", str(config))
    monkeypatch.setattr(sys, "argv", ["ofgtp", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert printed.out == ""
    return Called(ended.value.code, printed.err)


def test_remove_says_who_may(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    called = call(monkeypatch, capsys, config, 1000, "gateway", "remove", "gw1")
    assert called == (1, "ofgtp: this needs root, on the switch's host\n")


def test_remove_refuses_while_somebody_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    host, port = openflow_of(config)
    with socket.create_server((host, port)):
        called = call(monkeypatch, capsys, config, 0, "gateway", "remove", "gw1")
    assert called == (
        1,
        f"ofgtp: the controller seems to run (tcp:127.0.0.1:{port}: Address already in use): "
        "stop it first (systemctl stop ofgtp)\n",
    )


def test_remove_without_ovsdb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    code, error = call(monkeypatch, capsys, config, 0, "gateway", "remove", "--all")
    assert code == 1
    assert error.startswith("ofgtp: gw1: no ovsdb-server at unix:")
    assert error.count("\n") == 1


def test_a_fault_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    def faulty(gateway: object) -> object:
        raise KeyError("x\ny")

    monkeypatch.setattr(removal, "take_back", faulty)
    called = call(monkeypatch, capsys, config, 0, "gateway", "remove", "gw1")
    assert called == (1, "ofgtp: internal error: KeyError('x\\ny')\n")
