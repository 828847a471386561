"""The tables that packets of a session with bearers pass, as a real switch has them.

.venv/bin/python -m tests.support.bearer_steps > docs/images/bearer-steps.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.lab import Lab
from tests.support.site import ENB_IP, Site

UE = "10.45.0.2"
OFGTP = Path(sys.executable).parent / "ofgtp"
SESSION_TABLES = (30, 31, 32, 40, 70, 71, 90)
BEARERS = [
    {
        "id": "voice",
        "precedence": 10,
        "filters": ["permit out udp from 10.2.0.0/24 5004-5060 to assigned"],
        "uplink": {"teid": 0x1002},
        "downlink": {"teid": 0x2002, "remote_ip": ENB_IP["enb"]},
    },
    {
        "id": "web",
        "precedence": 20,
        "filters": ["permit out tcp from any 80 to assigned"],
        "gate": "uplink",
    },
]
PACKETS = {
    "downlink": {
        "UDP from port 5004": "--proto udp --dport 5004",
        "TCP from port 80": "--proto tcp --dport 80",
        "UDP from port 53": "--proto udp --dport 53",
    },
    "uplink": {
        "UDP to port 5004, in 0x1002": "--teid 0x1002 --proto udp --dport 5004",
        "UDP to port 53, in 0x1002": "--teid 0x1002 --proto udp --dport 53",
        "UDP to port 53, in 0x1001": "--teid 0x1001 --proto udp --dport 53",
    },
}


def record(site: Site) -> list[dict[str, Any]]:
    """Each packet, the flows of the session's tables that it meets, and its end."""
    site.session(UE, teid=0x1001, downlink=0x2001, bearers=BEARERS)
    return [
        {"direction": way, "packet": name} | _trace(site, f"--{way} {options}")
        for way, packets in PACKETS.items()
        for name, options in packets.items()
    ]


def _trace(site: Site, options: str) -> dict[str, Any]:
    argv = ["env", f"OFGTP_CONFIG={site.lab.dir}/ofgtp.toml", str(OFGTP), "trace", UE, "--json"]
    told = site.lab.exec("gw", [*argv, *options.split()], check=False).stdout
    [way] = json.loads(told)["ways"]
    met = [
        {"table": step["table"], "name": step["name"], "priority": step["flow"]["priority"]}
        for step in way["steps"]
        if step.get("table") in SESSION_TABLES
    ]
    return {"met": met, "bearer": way["bearer"], "reason": way["reason"], "says": way["says"]}


if __name__ == "__main__":
    with Lab() as lab:
        site = Site(lab)
        site.ready()
        print(json.dumps(record(site), indent=1))
