"""`ofgtp capture`: a session's packets on the access side, to read or for Wireshark."""

from __future__ import annotations

import signal
import struct
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ofgtp.cli import output
from ofgtp.cli.errors import CliError
from ofgtp.cli.settings import api_options
from ofgtp.cli.values import GATEWAY, SESSION, Number, Seconds

if TYPE_CHECKING:
    from ofgtp.cli.subject import Subject
    from ofgtp.core.packets.capture import Seen, Watch

LOOK_S = 0.2
"""So often it is looked whether the time is up, in seconds."""
NANOSECOND_PCAP, ETHERNET_LINK = 0xA1B23C4D, 1
"""Of the pcap format (draft-ietf-opsawg-pcap, 4)."""


@click.command(
    epilog="""\b
Examples:
  ofgtp capture 10.45.0.7                      a line for each packet
  ofgtp capture 2001:db8:a:1::7                the same: all of its session's
  ofgtp capture phone-1 -w phone.pcap --seconds 30
  ofgtp capture phone-1 -w - | tshark -r -
  ssh gateway ofgtp capture 10.45.0.7 -w - | wireshark -k -i -"""
)
@click.argument("name", metavar="SESSION", type=SESSION)
@click.option("-w", "--write", "to", metavar="FILE", help="Write a pcap; - is standard output.")
@click.option("-c", "--count", metavar="N", type=Number(1), help="End after so many packets.")
@click.option(
    "--seconds", metavar="SECONDS", type=Seconds(0, min_open=True), help="End after this time."
)
@click.option("--gateway", type=GATEWAY, help="Where several have the same UE address.")
@api_options
def capture(
    name: str, to: str | None, count: int | None, seconds: float | None, gateway: str | None
) -> None:
    """Show or write a session's packets on the access side (root).

    As they are on the wire, IPv4 and IPv6. SESSION is an id, the UE's address, or its IPv6 prefix.
    For root, on the switch's host. With an address it works without the controller, too.

    These are the session's: T-PDUs with its TEIDs, dropped ones too, those of its bearers, and of
    both sides of a relay; T-PDUs of other tunnels whose inner packet is from or to the UE, so that
    a handover is followed, and a base station that uses a wrong TEID is seen; End Markers, Error
    Indications about its tunnels, and Echo messages with its base station. Fragments of outer
    packets are left out, but for the first.

    Ctrl-C ends it well (exit code 0).
    """
    from ofgtp.cli import subject as subjects
    from ofgtp.southbound.ovstools import Tools

    subjects.need_root()
    if to == "-" and sys.stdout.isatty():
        raise click.UsageError("a pcap is not for a terminal: -w FILE, or into a pipe")
    if to is not None and output.wants_json():
        raise click.UsageError("--json is for what is printed; -w writes a pcap")
    subject = subjects.find(name, gateway)
    if subject.session is None:
        output.note(f"ofgtp: {subject.unreachable}. Going by the switch and ofgtp.toml")
        subjects.learn(subject, Tools(subject.gateway.ovsdb))
    _Capture(subject, to, count, seconds).run()


class _Capture:
    """One capture: where it goes, when it ends, what came."""

    def __init__(
        self, subject: Subject, to: str | None, count: int | None, seconds: float | None
    ) -> None:
        self._subject, self._to, self._most = subject, to, count
        self._end = None if seconds is None else time.monotonic() + seconds
        self._came: Counter[str] = Counter()
        self._stopped = False

    def run(self) -> None:
        """Until it is enough, or somebody ends it."""
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._stop)
        with ExitStack() as open_:
            lost = self._watch(open_)
        total = self._came.total()
        noun = "packet" if total == 1 else "packets"
        where = f" in {self._to}" if self._to not in (None, "-") else ""
        more = f"; {lost} more came too fast and are lost" if lost else ""
        output.note(
            f"{total} {noun}{where}: {self._came['up']} up, {self._came['down']} down{more}"
        )

    def _stop(self, number: int, _: object) -> None:
        """End after the packet that is being written; at once if asked again."""
        self._stopped = True
        signal.signal(number, signal.SIG_DFL)

    def _watch(self, open_: ExitStack) -> int:
        """Take frames in; how many were lost."""
        from ofgtp.core.packets.capture import kernel_filter
        from ofgtp.southbound.sniffer import Sniffer

        subject, watch = self._subject, _watch_for(self._subject)
        port = subject.gateway.access_port
        teids = watch.teids
        sniffer = open_.enter_context(Sniffer(port, kernel_filter(watch.ue, teids, watch.ue6)))
        pcap = None if self._to is None else Pcap(_open(self._to, open_))
        output.note(f"{_heading(subject)}, on {port}; Ctrl-C ends it")
        while not self._enough():
            for at, frame in sniffer.frames(self._patience()):
                seen = watch.look(frame)
                if seen is None:
                    continue
                self._came[seen.way] += 1
                if pcap is not None:
                    pcap.write(at, frame)
                else:
                    _show(at, seen)
                if self._enough():
                    break
            if pcap is not None:
                pcap.flush()
            if watch.teids != teids:
                teids = watch.teids
                sniffer.filter(kernel_filter(watch.ue, teids, watch.ue6))
        return sniffer.lost

    def _enough(self) -> bool:
        enough = self._most is not None and self._came.total() >= self._most
        late = self._end is not None and time.monotonic() >= self._end
        return enough or late or self._stopped

    def _patience(self) -> float:
        if self._end is None:
            return LOOK_S
        return max(0.0, min(LOOK_S, self._end - time.monotonic()))


class Pcap:
    """A capture file with times in nanoseconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = struct.pack("=IHHiIII", NANOSECOND_PCAP, 2, 4, 0, 0, 1 << 18, ETHERNET_LINK)
        self._file.write(head)
        self.flush()

    def write(self, at: int, frame: bytes) -> None:
        """Add a frame that was seen at that time, in ns of the epoch."""
        seconds, nanoseconds = divmod(at, 1_000_000_000)
        head = struct.pack("=IIII", seconds, nanoseconds, len(frame), len(frame))
        self._file.write(head + frame)

    def flush(self) -> None:
        """Let a reader have what there is."""
        self._file.flush()


def _watch_for(subject: Subject) -> Watch:
    from ofgtp.core.packets.capture import Watch

    known = subject.known
    behind = dict.fromkeys(prefix for rule in known.rules for prefix in rule.ue)
    relayed = {rule.teid for rule in known.rules if rule.teid is not None and rule.tunnelled}
    watch = Watch(
        frozenset(ip for ip in subject.gateway.local_ips if ip is not None),
        known.ue,
        uplink=set(known.teids),
        downlink=set(known.tunnels),
        behind=tuple(behind),
        anybodys=frozenset(relayed),
        ue6=known.ue6,
    )
    pins = (known.pinned, *(rule.peer for rule in known.rules))
    watch.peers.update(pin for pin in pins if pin is not None)
    watch.peers.update(far.ip for far in known.tunnels)
    return watch


def _heading(subject: Subject) -> str:
    known = subject.known
    name = f"session {known.id}, " if known.id else ""
    up = "" if known.teid is None else f", uplink {known.teid:#x}"
    far = known.downlink
    down = f", downlink {far.teid:#x} to {far.ip}" if far else ", no downlink"
    more = len(known.teids) - (known.teid is not None)
    others = f", and {more} more {'tunnel' if more == 1 else 'tunnels'}" if more else ""
    return f"{name}{f'UE {known.who}' if known.who else 'a relay'}{up}{down}{others}"


def _open(to: str, open_: ExitStack) -> BinaryIO:
    if to == "-":
        return sys.stdout.buffer
    try:
        return open_.enter_context(Path(to).open("wb"))
    except OSError as error:
        raise CliError(f"{to} cannot be written: {error.strerror}") from error


def _show(at: int, seen: Seen) -> None:
    moment = datetime.fromtimestamp(at / 1e9).astimezone()
    if output.wants_json():
        output.line(_as_json(moment, seen))
        return
    output.say(f"{moment:%H:%M:%S}.{at // 1_000_000 % 1000:03d} {seen}")
    sys.stdout.flush()


def _as_json(moment: datetime, seen: Seen) -> dict[str, Any]:
    inner = seen.inner
    said: dict[str, Any] = {
        "at": moment.isoformat(timespec="microseconds"),
        "way": seen.way,
        "peer": str(seen.peer),
        "kind": seen.kind,
        "teid": seen.teid,
        "remark": seen.remark or None,
    }
    if inner is not None:
        ports = inner.ports or (None, None)
        said["inner"] = {
            "source": str(inner.source),
            "destination": str(inner.destination),
            "proto": inner.proto,
            "source_port": ports[0],
            "destination_port": ports[1],
            "dscp": inner.dscp,
            "octets": inner.octets,
            "detail": inner.detail or None,
        }
    return said
