"""docs/pfcp.md says what is read, refused and sent today, IE by IE."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import yaml

from ofgtp.config import load
from ofgtp.core.model import Gateway
from ofgtp.core.pfcp.node.machine import READ, SENT
from ofgtp.core.pfcp.node.settings import NodeSettings
from ofgtp.core.pfcp.wire.messages import CLASSES

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "pfcp.md"


@pytest.mark.parametrize(
    "row",
    [
        "| Heartbeat Request (1) | Recovery Time Stamp | 96 | must be there |",
        "| PDI (2) | Source Interface | 20 | must be there |",
        "|  | SDF Filter | 23 | used, any number |",
        "|  | 3GPP Interface Type (Release 16) | 160 | used if readable |",
        "|  | Application ID | 24 | refused, 76: detection of applications (PFDM) |",
        "|  | Forwarding Policy | 41 | refused, 70: a forwarding policy |",
        "|  | FQ-CSID | 65 | ignored |",
        "| Session Deletion Request (54) | F-SEID | 57 | ignored |",
        "| Version Not Supported Response (11) | no IE | | |",
        "| Error Indication Report (99) | F-TEID | 21 | always, any number |",
        "| 73 | rule failure |",
    ],
)
def test_it_has(row: str) -> None:
    assert row in DOCUMENT.read_text().splitlines()


def test_each_message_is_read_or_sent() -> None:
    assert set(CLASSES) == READ | SENT


def test_the_figures_are_those_of_the_code() -> None:
    """The document has them in words."""
    text = " ".join(DOCUMENT.read_text().split())
    usual = {field: spec.default for field, spec in NodeSettings.__dataclass_fields__.items()}
    assert f"waited for {usual['t1_s']:.0f} s, three times" in text and usual["n1"] == 3
    assert f"answer for {usual['keep_answers_s']:.0f} s" in text
    assert f"{usual['associations']} associations at most" in text
    assert f"{usual['per_peer'][0]:,.0f} requests a second" in text
    assert f"{usual['working_per_peer']:,} being carried out" in text
    assert f"at most {usual['refused_per_peer'][0]:,.0f} a second" in text
    assert f"{usual['heartbeats_per_peer'][0]:.0f} a second" in text
    assert f"{usual['answers_per_peer'] >> 20} MiB of answers" in text
    assert f"{usual['answers'] >> 20} MiB in all" in text


# --- the lines for configuration files

TEXT = DOCUMENT.read_text()
SNIPPETS = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
REAL_CORES = [each for each in SNIPPETS if "\n[[gateway]]\n" in each]
WITHIN = """[[gateway]]
name = "gw1"
bridge = "br1"
access_port = "eth1"
access_ip = "10.1.0.1/24"
core_port = "eth2"
core_ip = "10.2.0.1/24"
next_hop = "10.2.0.2"
ue_pools = ["10.45.0.0/16"]

"""


def gateway(tmp_path: Path, text: str) -> Gateway:
    path = tmp_path / "ofgtp.toml"
    path.write_text(text if text in REAL_CORES else WITHIN + text)
    [only] = load(path).gateways
    return only


@pytest.mark.parametrize("text", SNIPPETS)
def test_what_it_says_to_write_loads(text: str, tmp_path: Path) -> None:
    assert gateway(tmp_path, text).pfcp is not None


def test_what_both_sides_are_told_fits_together(tmp_path: Path) -> None:
    open5gs_smf, open5gs_sgwc, free5gc_smf = (
        yaml.safe_load(each)
        for each in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    )
    upf, sgw, other_upf = (gateway(tmp_path, each) for each in REAL_CORES)

    smf = open5gs_smf["smf"]
    assert upf.pfcp is not None
    assert address(smf["pfcp"]["client"]["upf"]) == upf.pfcp.listen
    assert allowed(upf, address(smf["pfcp"]["server"]))
    assert pool(upf, smf["session"][0]["subnet"])
    upf.check_peer("", address(smf["gtpu"]["server"]))

    sgwc = open5gs_sgwc["sgwc"]["pfcp"]
    assert sgw.pfcp is not None
    assert address(sgwc["client"]["sgwu"]) == sgw.pfcp.listen
    assert allowed(sgw, address(sgwc["server"]))

    free5gc = free5gc_smf["configuration"]
    assert other_upf.pfcp is not None
    assert all(allowed(other_upf, IPv4Address(each)) for each in free5gc["pfcp"].values())
    node = free5gc["userplaneInformation"]["upNodes"]["UPF"]
    assert IPv4Address(node["nodeID"]) == other_upf.pfcp.listen == other_upf.pfcp.node_id
    [of_slice] = node["sNssaiUpfInfos"]
    [dnn] = of_slice["dnnUpfInfoList"]
    assert pool(other_upf, dnn["pools"][0]["cidr"])
    [n3] = node["interfaces"]
    assert n3["networkInstances"] == [dnn["dnn"]]
    assert [IPv4Address(each) for each in n3["endpoints"]] == [other_upf.access_ip.ip]


def address(servers: list[dict[str, str]]) -> IPv4Address:
    [only] = servers
    return IPv4Address(only["address"])


def allowed(here: Gateway, ip: IPv4Address) -> bool:
    return here.pfcp is not None and any(ip in peers for peers in here.pfcp.peers)


def pool(here: Gateway, prefix: str) -> bool:
    return any(IPv4Network(prefix).subnet_of(each) for each in here.ue_pools)
