"""The topologies under the stock `mn`, without ofgtp: two base stations as each other's gateway."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]

# `mn` raises kernel limits of the host, and clears /tmp when it fails: let it do neither. The tree
# may lie in /tmp itself.
STAGE = """
mount -t tmpfs tmpfs /run
mkdir /run/tree
mount --bind . /run/tree
mount -t tmpfs tmpfs /tmp
cd /run/tree
for part in kernel fs; do
    mount --bind /proc/sys/$part /proc/sys/$part
    mount -o remount,bind,ro /proc/sys/$part
done
exec mn --custom topologies/mobile.py --topo "$0" --controller none
"""

ENB = (
    "python3 topologies/enb.py --s1u {} "
    "--bearer ue_ip={},uplink_teid={},downlink_teid={},gateway={}"
)


def until(command: str) -> str:
    """Shell: wait until it succeeds."""
    return f"for i in $(seq 300); do {command} && break; sleep 0.1; done"


def mn(topology: str, *commands: str) -> str:
    """Run `mn` with a topology and commands for its prompt; what it prints."""
    unshare = "unshare --net --mount --pid --fork --kill-child --mount-proc"
    done = subprocess.run(
        [*unshare.split(), "bash", "-euc", STAGE, topology],
        input="\n".join(commands) + "\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_one_enb() -> None:
    text = mn(
        "one_enb",
        "links",
        "gw ip -color=never -brief address",
        "ue2 ip -color=never route get 10.2.0.2",
    )
    assert "enb1-eth0<->gw-eth1 (OK OK)" in text
    assert "pdn-eth0<->gw-eth2 (OK OK)" in text
    gateway = [line.split() for line in text.splitlines() if "gw-eth" in line and "@" in line]
    assert len(gateway) == 2 and all(len(words) == 2 for words in gateway), "they have no addresses"
    assert "via 169.254.0.1 dev ue2-eth0 src 10.45.0.3" in text


def test_two_enb_carry_packets() -> None:
    text = mn(
        "two_enb",
        "enb1 " + ENB.format("10.1.0.2", "10.45.0.2", 1, 2, "10.1.0.3") + " >/tmp/enb1 &",
        "enb2 " + ENB.format("10.1.0.3", "10.45.0.3", 2, 1, "10.1.0.2") + " --seq >/tmp/enb2 &",
        f"sh {until('grep -q ready /tmp/enb1 && grep -q ready /tmp/enb2')}",
        "ue1 ping -c 3 -i 0.2 -M do -s 1372 10.45.0.3",
        f"enb1 pkill -USR1 -f -P $$ enb.py; {until('grep uplink_packets /tmp/enb1')}",
    )
    assert "3 packets transmitted, 3 received, 0% packet loss" in text
    assert "uplink_packets=3 downlink_packets=3" in text


def test_gnb_enb() -> None:
    """The eNB stands for the gateway, and understands no container."""
    text = mn(
        "gnb_enb",
        "gnb1 "
        + ENB.format("10.1.0.2", "10.45.0.2", 1, 2, "10.1.0.3").replace("--s1u", "--n3")
        + ",qfi=9 >/tmp/gnb1 &",
        "enb1 " + ENB.format("10.1.0.3", "10.45.0.3", 2, 1, "10.1.0.2") + " >/tmp/enb1 &",
        f"sh {until('grep -q ready /tmp/gnb1 && grep -q ready /tmp/enb1')}",
        "ue1 ping -c 2 -i 0.2 -W 0.5 10.45.0.3",
        f"enb1 pkill -USR1 -f -P $$ enb.py; {until('grep drop_container /tmp/enb1')};"
        " cat /tmp/gnb1",
    )
    assert "2 packets transmitted, 0 received" in text
    assert "gnb 10.1.0.2 ready" in text
    assert "drop_container_on_s1u=2" in text


def test_sgw() -> None:
    """Two gateways on one segment, the second in a namespace of its own, with a host behind it."""
    text = mn(
        "sgw",
        "links",
        "sgw ip -color=never -brief address",
        "edge ip -color=never route get 10.45.0.2",
    )
    for link in ("access-eth0<->gw-eth1", "access-eth1<->sgw-eth1", "edge-eth0<->sgw-eth2"):
        assert f"{link} (OK OK)" in text
    here = [line for line in text.splitlines() if "sgw-eth" in line and "@" in line]
    assert [len(line.split()) for line in here] == [2, 2], "they have no addresses"
    assert "10.45.0.2 via 10.3.0.1 dev edge-eth0" in text


def test_smf() -> None:
    """Two gNBs, and a host for an SMF that reaches the gateway's by a link of its own."""
    text = mn(
        "smf", "links", "smf ping -c 2 -i 0.2 -W 5 10.4.0.1", "gw ip -color=never -brief address"
    )
    for link in ("access-eth0<->gw-eth1", "gnb2-eth0<->access-eth2", "smf-eth0<->gw-eth3"):
        assert f"{link} (OK OK)" in text
    assert "2 packets transmitted, 2 received" in text
    assert "10.4.0.1/24" in text
