"""A UE with a network stack of its own: a namespace whose packets a base station puts into tunnels.

with Ue(lab, ["2001:db8:a:1::7/64"], teid=1, downlink=101) as ue:
    lab.exec(ue.name, ["ping", "-6", "-c1", "2001:db8:ffff::1"])
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from typing import Self

from tests.support.lab import Lab

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 0x1, 0x1000
T_PDU = struct.Struct("!BBHI")
GATEWAY = ("10.1.0.1", 2152)


class Ue:
    """Up to its end the first base station sends and takes the UE's T-PDUs, by its own stack."""

    def __init__(
        self,
        lab: Lab,
        addresses: Sequence[str],
        *,
        teid: int,
        downlink: int,
        name: str = "ue",
        mtu: int = 1464,
    ) -> None:
        self.lab, self.name = lab, name
        lab.add_namespace(name)
        lab.exec(name, ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0"])
        with lab.inside(name):
            self._tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self._tun, TUNSETIFF, struct.pack("16sH22x", b"gtp", IFF_TUN | IFF_NO_PI))
        lab.exec(name, ["sysctl", "-qw", "net.ipv6.conf.gtp.addr_gen_mode=1"])
        lab.exec(name, ["ip", "link", "set", "gtp", "up", "mtu", str(mtu)])
        for address in addresses:
            version = "-6" if ":" in address else "-4"
            sure = ["nodad"] if version == "-6" else []
            lab.exec(name, ["ip", "addr", "add", address, "dev", "gtp", *sure])
            lab.exec(name, ["ip", version, "route", "add", "default", "dev", "gtp"])
        with lab.inside("enb"):
            self._station = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._station.bind(("10.1.0.2", 2152))
        self._teid, self._downlink = teid, downlink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._station.close()
        os.close(self._tun)

    def _run(self) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([self._tun, self._station], [], [], 0.1)
            if self._tun in ready:
                packet = os.read(self._tun, 65536)
                head = T_PDU.pack(0x30, 255, len(packet), self._teid)
                self._station.sendto(head + packet, GATEWAY)
            if self._station in ready:
                message = self._station.recv(65536)
                flags, kind, _, teid = T_PDU.unpack_from(message)
                if (flags, kind, teid) == (0x30, 255, self._downlink):
                    os.write(self._tun, message[T_PDU.size :])


def carried(lab: Lab, client: str, server: str, to: str, octets: int = 300_000) -> None:
    """A TCP connection over IPv6 from one namespace to another, in which so much goes each way."""
    echo = ["socat", "-b4096", f"TCP6-LISTEN:7,reuseaddr,bind=[{to}]", "PIPE"]
    listener = lab.spawn(server, echo)
    sent = bytes(range(256)) * (octets // 256)
    with lab.inside(client):
        talk = ["socat", "-t20", "-", f"TCP6:[{to}]:7,retry=20,interval=0.2"]
        got = subprocess.run(talk, input=sent, capture_output=True, timeout=60, check=True)
    listener.wait(20)
    assert got.stdout == sent
    counted = lab.exec(server, ["nstat", "-asz", "TcpInCsumErrors"]).stdout
    assert re.search(r"TcpInCsumErrors +0 ", counted), counted
