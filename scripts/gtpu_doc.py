"""Writes the generated part of docs/gtpu.md, from the codec itself.

    .venv/bin/python scripts/gtpu_doc.py [FILE]

What stands between the two markers of the file is replaced. A test fails while it differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from generated import rewrite

from ofgtp.core.packets.gtpu import (
    FORMATS,
    TOLERATED,
    Extension,
    Fault,
    GtpuError,
    comprehension_required,
)

WORDS = {
    "G_PDU": "G-PDU",
    "TEID_DATA_I": "TEID Data I",
    "GTPU_PEER_ADDRESS": "GTP-U Peer Address",
}
ABBREVIATIONS = {"PDCP", "PDU", "RAN", "UDP", "NR"}


def name(member: IntEnum) -> str:
    """As the standard writes it."""
    words = member.name.removesuffix("_OPTIONAL").split("_")
    shown = (word if word in ABBREVIATIONS else word.title() for word in words)
    return WORDS.get(member.name) or " ".join(shown)


def table(*head: str) -> str:
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}"


def formats() -> Iterator[str]:
    yield "### Formats\n"
    yield table("message", "type", "clause", "S flag", "TEID", "must have")
    flag = {True: "set", False: "clear", None: "either"}
    for kind, form in FORMATS.items():
        teid = "the tunnel's" if form.tunnel else "0"
        ies = ", ".join(f"{name(ie)} ({ie})" for ie in form.mandatory)
        yield (
            f"| {name(kind)} | {kind} | {form.clause} | {flag[form.sequence]} | {teid} | {ies} |"
        )


def tolerated() -> Iterator[str]:
    yield "\n### What is tolerated\n"
    yield table("message", "fault", "why it is let pass")
    for kind, faults in TOLERATED.items():
        for fault, why in faults.items():
            yield f"| {name(kind)} | `{fault}` | {why} |"
    yield "\nThe faults:\n"
    yield table("fault", "meaning")
    for fault in Fault:
        yield f"| `{fault}` | {fault.meaning} |"


def reasons() -> Iterator[str]:
    yield "\n### Why messages are dropped\n"
    yield table("reason", "messages")
    for error in leaves(GtpuError):
        first, _, _ = (error.__doc__ or "").partition("\n")
        yield f"| `{error.reason}` | {first} |"


def leaves(error: type[GtpuError]) -> Iterator[type[GtpuError]]:
    below = error.__subclasses__()
    if not below:
        yield error
    for each in below:
        yield from leaves(each)


def extensions() -> Iterator[str]:
    yield "\n### Extension headers\n"
    yield table("type", "name", "must be understood")
    for kind in Extension:
        must = "yes" if comprehension_required(kind) else "no"
        yield f"| {kind:#04x} | {name(kind)} | {must} |"


def section() -> str:
    parts = (*formats(), *tolerated(), *reasons(), *extensions())
    return "\n".join(parts)


if __name__ == "__main__":
    rewrite(__file__, section(), "gtpu.md")
