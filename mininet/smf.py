#!/usr/bin/env python3
"""A small SMF: the control plane of 5G sessions, as far as a user plane sees it (N4).

    smf.py --address 10.4.0.5 --upf 10.4.0.1

It speaks PFCP (3GPP TS 29.244) over UDP port 8805 with one UPF. This file is all of PFCP that it
uses, and shares nothing with ofgtp, so that each is a check on the other.

Lines on standard input say what it shall do. Each is answered by one line of JSON on standard
output when the UPF has answered, or by "error …":

    associate
    heartbeat                                  the UPF's Recovery Time Stamp
    establish ue_ip=10.45.0.2 qfi=9            a session; the UPF chooses its TEID
    activate ue_ip=10.45.0.2 teid=0x2001 gnb=10.1.0.2
    idle ue_ip=10.45.0.2
    flow ue_ip=10.45.0.2 qfi=5 filter="permit out udp from any 5004 to assigned"
    release ue_ip=10.45.0.2
    disassociate
    reports                                    what the UPF has said of its own accord
    count                                      the messages until now, of both

A session is PDR 1 with FAR 1 (uplink), PDR 2 with FAR 2 (downlink) and QER 1, which has the QFI. A
dedicated flow adds PDR 3 (uplink) and PDR 4 (downlink) before them, with QER 2 and the same FARs:
both QoS flows of a phone share its tunnel. `activate` says where the downlink goes, at first, after
the phone was idle, and in a handover; in a handover it asks for an End Marker in the tunnel that is
left. Heartbeats and reports of the UPF's are answered at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shlex
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from typing import Any

PORT = 8805
T1, N1 = 3.0, 5  # seconds that an answer is waited for, and how often a request is sent
NTP_EPOCH = 2_208_988_800  # 1970 in seconds since 1900

# Message types of requests (7.3); their responses have one more
HEARTBEAT, ASSOCIATION_SETUP, ASSOCIATION_RELEASE = 1, 5, 9
ESTABLISHMENT, MODIFICATION, DELETION, REPORT = 50, 52, 54, 56
NAMES = {
    HEARTBEAT: "Heartbeat Request",
    ASSOCIATION_SETUP: "Association Setup Request",
    ASSOCIATION_RELEASE: "Association Release Request",
    ESTABLISHMENT: "Session Establishment Request",
    MODIFICATION: "Session Modification Request",
    DELETION: "Session Deletion Request",
}

# IE types (8.1.2)
CREATE_PDR, PDI, CREATE_FAR, FORWARDING_PARAMETERS, CREATE_QER, CREATED_PDR = 1, 2, 3, 4, 7, 8
UPDATE_FAR, UPDATE_FORWARDING_PARAMETERS = 10, 11
CAUSE, SOURCE_INTERFACE, F_TEID, NETWORK_INSTANCE, SDF_FILTER = 19, 20, 21, 22, 23
GATE_STATUS, PRECEDENCE, REPORT_TYPE, DESTINATION_INTERFACE, APPLY_ACTION = 25, 29, 39, 42, 44
DATA_SERVICE, MODIFICATION_FLAGS, PDR_ID, F_SEID, NODE_ID = 45, 49, 56, 57, 60
DOWNLINK_DATA, OUTER_HEADER_CREATION, UE_IP, OUTER_HEADER_REMOVAL = 83, 84, 93, 95
RECOVERY_TIME_STAMP, FAR_ID, QER_ID, QFI = 96, 108, 109, 124
GROUPS = {CREATED_PDR, DOWNLINK_DATA}

ACCEPTED, NOT_FOUND = 1, 65  # causes (8.2.1)
ACCESS, CORE = 0, 1  # interfaces (8.2.2)
FORW, BUFF, NOCP = 2, 4, 8  # of Apply Action (8.2.26)
SNDEM = 2  # of PFCPSMReq-Flags: an End Marker (8.2.31)
CHOOSE = 0x01 | 0x04 | 0x08  # of an F-TEID: IPv4, chosen by the UPF, the same for one CHOOSE ID
CHOOSE_ID = 5
UPLINK, DOWNLINK = 1, 2  # the FARs
DEFAULT, DEDICATED = 255, 10  # precedences: the lower one is asked first
ANSWERS = 64  # that are kept for requests that come again

Ies = dict[int, Any]  # by type the first value: bytes, or what is in a group; of groups a list


class Failed(Exception):
    """The UPF does not answer, or refuses; the text says which."""


# --- IEs


def ie(kind: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    return struct.pack("!HH", kind, len(value)) + value


def u8(kind: int, value: int) -> bytes:
    return ie(kind, bytes([value]))


def u16(kind: int, value: int) -> bytes:
    return ie(kind, struct.pack("!H", value))


def u32(kind: int, value: int) -> bytes:
    return ie(kind, struct.pack("!I", value))


def parse(octets: bytes) -> Ies:
    found: Ies = {}
    at = 0
    while at + 4 <= len(octets):
        kind, size = struct.unpack_from("!HH", octets, at)
        value = octets[at + 4 : at + 4 + size]
        at += 4 + size
        if kind in GROUPS:
            found.setdefault(kind, []).append(parse(value))
        else:
            found.setdefault(kind, value)
    return found


def number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def instance(name: str) -> bytes:
    """A Network Instance as DNS labels (8.2.4)."""
    labels = (bytes([len(label)]) + label.encode() for label in name.split("."))
    return ie(NETWORK_INSTANCE, *labels)


# --- rules

INTERNET = instance("internet")


def uplink_pdr(pdr: int, precedence: int, qer_id: int, *more: bytes) -> bytes:
    """What comes from a gNB in the session's tunnel."""
    fteid = ie(F_TEID, bytes([CHOOSE, CHOOSE_ID]))
    pdi = ie(PDI, u8(SOURCE_INTERFACE, ACCESS), fteid, INTERNET, *more)
    removal = u8(OUTER_HEADER_REMOVAL, 0)  # GTP-U/UDP/IPv4
    rest = (removal, u32(FAR_ID, UPLINK), u32(QER_ID, qer_id))
    return ie(CREATE_PDR, u16(PDR_ID, pdr), u32(PRECEDENCE, precedence), pdi, *rest)


def downlink_pdr(pdr: int, precedence: int, qer_id: int, ue_ip: IPv4Address, *more: bytes) -> bytes:
    """What comes from the packet data network for the phone."""
    address = ie(UE_IP, b"\x06", ue_ip.packed)  # IPv4, a destination
    pdi = ie(PDI, u8(SOURCE_INTERFACE, CORE), INTERNET, address, *more)
    rest = (u32(FAR_ID, DOWNLINK), u32(QER_ID, qer_id))
    return ie(CREATE_PDR, u16(PDR_ID, pdr), u32(PRECEDENCE, precedence), pdi, *rest)


def qer(qer_id: int, qfi: int) -> bytes:
    return ie(CREATE_QER, u32(QER_ID, qer_id), u8(GATE_STATUS, 0), u8(QFI, qfi))  # gates open


def to_core() -> bytes:
    parameters = ie(FORWARDING_PARAMETERS, u8(DESTINATION_INTERFACE, CORE), INTERNET)
    return ie(CREATE_FAR, u32(FAR_ID, UPLINK), u8(APPLY_ACTION, FORW), parameters)


def to_gnb(teid: int, gnb: IPv4Address) -> bytes:
    header = struct.pack("!HI4s", 0x0100, teid, gnb.packed)  # GTP-U/UDP/IPv4
    to = u8(DESTINATION_INTERFACE, ACCESS), INTERNET, ie(OUTER_HEADER_CREATION, header)
    parameters = ie(UPDATE_FORWARDING_PARAMETERS, *to)
    return ie(UPDATE_FAR, u32(FAR_ID, DOWNLINK), u8(APPLY_ACTION, FORW), parameters)


class Session:
    """One phone's, with both SEIDs and what the UPF has chosen."""

    def __init__(self, ue_ip: IPv4Address, seid: int) -> None:
        self.ue_ip, self.seid = ue_ip, seid
        self.upf_seid = 0
        self.teids: dict[int, int] = {}  # by PDR
        self.tunnel: tuple[int, IPv4Address] | None = None  # of the downlink; None: idle


class Smf:
    """The association with one UPF, and the sessions there."""

    def __init__(self, sock: socket.socket, address: IPv4Address, upf: IPv4Address) -> None:
        self.sock, self.address, self.upf = sock, address, upf
        self.stamp = int(time.time()) + NTP_EPOCH
        self.sequence = 0
        self.sessions: dict[IPv4Address, Session] = {}
        self.seids = 0
        self.reports: list[dict[str, Any]] = []
        self.answers: dict[bytes, bytes] = {}  # to requests of the UPF's, by their octets
        self.messages = 0  # sent and received

    # --- messages

    def ask(self, kind: int, *ies: bytes, seid: int | None = None) -> Ies:
        """Send a request, again each T1, and return what the answer holds; Failed if it refuses."""
        self.sequence += 1
        request = self.message(kind, self.sequence, seid, *ies)
        for _ in range(N1):
            self.send(request)
            until = time.monotonic() + T1
            while (left := until - time.monotonic()) > 0:
                self.sock.settimeout(left)
                try:
                    octets = self.sock.recv(65535)
                except TimeoutError:
                    break
                said = self.receive(octets)
                if said and said[:2] == (kind + 1, self.sequence):
                    cause = said[2].get(CAUSE)
                    if cause is not None and cause[0] != ACCEPTED:
                        raise Failed(f"{NAMES[kind]}: refused, cause {cause[0]}")
                    return said[2]
        raise Failed(f"{NAMES[kind]}: sent {N1} times, and not answered")

    @staticmethod
    def message(kind: int, sequence: int, seid: int | None, *ies: bytes) -> bytes:
        """Header and IEs (7.2.2)."""
        rest = (b"" if seid is None else struct.pack("!Q", seid)) + struct.pack("!I", sequence << 8)
        rest += b"".join(ies)
        return struct.pack("!BBH", 0x20 if seid is None else 0x21, kind, len(rest)) + rest

    def send(self, octets: bytes) -> None:
        self.sock.sendto(octets, (str(self.upf), PORT))
        self.messages += 1

    def receive(self, octets: bytes) -> tuple[int, int, Ies] | None:
        """Type, sequence number and IEs of a response; a request of the UPF's is answered."""
        self.messages += 1
        if len(octets) < 8 or octets[0] >> 5 != 1:
            return None
        kind, at = octets[1], 12 if octets[0] & 1 else 4
        sequence, ies = number(octets[at : at + 3]), parse(octets[at + 4 :])
        if octets not in self.answers:
            if kind == HEARTBEAT:
                stamp = u32(RECOVERY_TIME_STAMP, self.stamp)
                self.answers[octets] = self.message(HEARTBEAT + 1, sequence, None, stamp)
            elif kind == REPORT:
                self.answers[octets] = self.report(sequence, number(octets[4:12]), ies)
            else:
                return kind, sequence, ies
        self.send(self.answers[octets])
        while len(self.answers) > ANSWERS:
            del self.answers[next(iter(self.answers))]
        return None

    def report(self, sequence: int, seid: int, ies: Ies) -> bytes:
        """Note a Session Report Request, and accept it (7.5.8, 7.5.9)."""
        session = next((each for each in self.sessions.values() if each.seid == seid), None)
        if session is None:
            return self.message(REPORT + 1, sequence, 0, u8(CAUSE, NOT_FOUND))
        for data in ies.get(DOWNLINK_DATA, [{}]):
            said: dict[str, Any] = {"ue_ip": str(session.ue_ip), "type": ies[REPORT_TYPE][0]}
            if PDR_ID in data:
                said["pdr"] = number(data[PDR_ID])
            if DATA_SERVICE in data:
                said["qfi"] = data[DATA_SERVICE][-1]
            self.reports.append(said)
        return self.message(REPORT + 1, sequence, session.upf_seid, u8(CAUSE, ACCEPTED))

    # --- what it is told to do

    def node(self) -> bytes:
        return ie(NODE_ID, b"\0", self.address.packed)

    def associate(self) -> dict[str, Any]:
        said = self.ask(ASSOCIATION_SETUP, self.node(), u32(RECOVERY_TIME_STAMP, self.stamp))
        return {"recovery_time_stamp": number(said[RECOVERY_TIME_STAMP])}

    def disassociate(self) -> dict[str, Any]:
        """The UPF deletes the sessions that are left (6.2.8)."""
        self.ask(ASSOCIATION_RELEASE, self.node())
        self.sessions.clear()
        return {}

    def heartbeat(self) -> dict[str, Any]:
        said = self.ask(HEARTBEAT, u32(RECOVERY_TIME_STAMP, self.stamp))
        return {"recovery_time_stamp": number(said[RECOVERY_TIME_STAMP])}

    def establish(self, ue_ip: str, qfi: str) -> dict[str, Any]:
        self.seids += 1
        session = Session(IPv4Address(ue_ip), self.seids)
        said = self.ask(
            ESTABLISHMENT,
            self.node(),
            ie(F_SEID, b"\x02", struct.pack("!Q", session.seid), self.address.packed),
            uplink_pdr(1, DEFAULT, 1, u8(QFI, int(qfi))),
            downlink_pdr(2, DEFAULT, 1, session.ue_ip),
            to_core(),
            ie(CREATE_FAR, u32(FAR_ID, DOWNLINK), u8(APPLY_ACTION, BUFF | NOCP)),
            qer(1, int(qfi)),
            seid=0,
        )
        session.upf_seid = number(said[F_SEID][1:9])
        self.sessions[session.ue_ip] = session
        return self.chosen(session, said)

    def activate(self, ue_ip: str, teid: str, gnb: str) -> dict[str, Any]:
        session, tunnel = self.sessions[IPv4Address(ue_ip)], (int(teid, 0), IPv4Address(gnb))
        leaves = session.tunnel not in (None, tunnel)
        self.modify(session, to_gnb(*tunnel), *([u8(MODIFICATION_FLAGS, SNDEM)] if leaves else []))
        session.tunnel = tunnel
        return {"end_marker": leaves}

    def idle(self, ue_ip: str) -> dict[str, Any]:
        session = self.sessions[IPv4Address(ue_ip)]
        action = u8(APPLY_ACTION, BUFF | NOCP)
        self.modify(session, ie(UPDATE_FAR, u32(FAR_ID, DOWNLINK), action))
        session.tunnel = None
        return {}

    def flow(self, ue_ip: str, qfi: str, filter: str) -> dict[str, Any]:
        session, text = self.sessions[IPv4Address(ue_ip)], filter.encode()
        described = ie(SDF_FILTER, b"\x01\0", struct.pack("!H", len(text)), text)
        said = self.modify(
            session,
            uplink_pdr(3, DEDICATED, 2, described, u8(QFI, int(qfi))),
            downlink_pdr(4, DEDICATED, 2, session.ue_ip, described),
            qer(2, int(qfi)),
        )
        return self.chosen(session, said)

    def release(self, ue_ip: str) -> dict[str, Any]:
        session = self.sessions[IPv4Address(ue_ip)]
        self.ask(DELETION, seid=session.upf_seid)
        del self.sessions[session.ue_ip]
        return {}

    def modify(self, session: Session, *ies: bytes) -> Ies:
        return self.ask(MODIFICATION, *ies, seid=session.upf_seid)

    @staticmethod
    def chosen(session: Session, said: Ies) -> dict[str, Any]:
        """The session's uplink TEIDs, with those that the UPF has chosen now."""
        for made in said.get(CREATED_PDR, ()):
            session.teids[number(made[PDR_ID])] = number(made[F_TEID][1:5])
        return {"upf_seid": f"{session.upf_seid:#x}", "teids": session.teids}

    def count(self) -> int:
        return self.messages

    def command(self, line: str) -> str:
        """Do what a line says, and return the answer."""
        try:
            word, *fields = shlex.split(line)
            if word == "reports":
                return json.dumps(self.reports)
            if word not in COMMANDS:
                return f"error what is {word!r}?"
            given = dict(field.partition("=")[::2] for field in fields)
            return json.dumps(getattr(self, word)(**given))
        except Failed as error:
            return f"error {error}"
        except (ValueError, TypeError, KeyError) as error:
            return f"error {line.strip()}: {error!r}"


COMMANDS = (
    *("associate", "disassociate", "heartbeat", "count"),
    *("establish", "activate", "idle", "flow", "release"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="a small SMF, for one UPF")
    parser.add_argument("--address", type=IPv4Address, required=True, help="our address on N4")
    parser.add_argument("--upf", type=IPv4Address, required=True, help="the UPF's")
    args = parser.parse_args()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(args.address), PORT))
    smf = Smf(sock, args.address, args.upf)
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    print(f"smf {args.address} ready", flush=True)
    pending = b""
    while True:
        for key, _ in selector.select():
            if key.fileobj is sock:
                smf.receive(sock.recv(65535))
                continue
            chunk = os.read(key.fd, 4096)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                print(smf.command(line.decode()), flush=True)


if __name__ == "__main__":
    main()
