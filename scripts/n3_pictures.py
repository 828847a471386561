"""Draws the pictures of docs/5g.md, from octets that a switch has shown, and from the flows.

    .venv/bin/python scripts/n3_pictures.py [DIRECTORY]      (default: docs/images)

The octets are those of n3-steps.json, which `python -m tests.support.n3_steps` records on a real
switch. Tests fail while the recording differs from what the switch shows, or a picture from this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from picture import BIT, BITS, CELL, HIGH, MARGIN, Label, Picture
from pipeline_doc import flows

from ofgtp.core.flows.flow import Flow

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

STEPS = json.loads((IMAGES / "n3-steps.json").read_text())
UP = STEPS["uplink, E, 4"]


def octets(step: dict[str, str]) -> list[str]:
    return step["octets"].split()


def coloured(octets: Sequence[str], *runs: tuple[int, str]) -> list[tuple[str, str]]:
    """The first octets, in runs of a length and a class."""
    classes = [css for length, css in runs for _ in range(length)]
    return list(zip(octets, classes, strict=False))


def read(step: dict[str, str]) -> dict[str, str]:
    """The fields that the switch reads in a packet."""
    return dict(part.partition("=")[::2] for part in step["read as"].split(","))


def changes(before: Sequence[str], after: Sequence[str]) -> list[int]:
    pairs = zip(before, after, strict=True)
    return [number for number, (old, new) in enumerate(pairs) if old != new]


def packet() -> Picture:
    """What is new on N3."""
    picture = Picture("A T-PDU on N3: 8 octets more than on S1-U")
    sent = octets(UP["sent"])
    picture.heading("A phone's packet on N3, from the gNB: eight octets are new")
    picture.y += 8
    x: float = MARGIN
    blocks = (
        (88, "plain", "Ethernet 14"),
        (76, "plain", "IPv4 20"),
        (66, "plain", "UDP 8"),
        (78, "gtpu", "GTP-U 8"),
        (174, "new", "new in 5G: 8"),
        (262, "ue", "the UE's IP packet"),
    )
    for wide, css, text in blocks:
        picture.box(x, wide, css, text, "text")
        x += wide
    left, high = picture.y + HIGH, picture.y + HIGH + 34
    for a, b in ((MARGIN + 230, MARGIN), (MARGIN + 482, MARGIN + 704)):
        picture.line(f"M{a} {left:g}L{b} {high:g}", "line")
    picture.y = high + 2
    picture.octets(
        [*coloured(sent, (8, "gtpu"), (8, "new")), ("…", "ue")],
        wide=44,
        above=[
            (0, 8, "GTP-U header"),
            (8, 12, "its optional part"),
            (12, 16, "PDU Session Container"),
        ],
    )
    fields = (
        (0, 1, "flags", "E set"),
        (1, 2, "type", "T-PDU"),
        (2, 4, "length", str(int("".join(sent[2:4]), 16))),
        (4, 8, "TEID", f"0x{int(''.join(sent[4:8]), 16):x}"),
        (8, 10, "sequence", "-"),
        (10, 11, "N-PDU", "-"),
        (11, 12, "next", "0x85"),
        (12, 13, "words", str(int(sent[12], 16))),
        (13, 14, "type", "uplink"),
        (14, 15, "QFI", str(int(sent[14], 16))),
        (15, 16, "next", "none"),
    )
    for first, end, name, value in fields:
        middle = MARGIN + 44 * (first + end) / 2
        picture.text(middle, picture.y + 6, name, "soft", "middle")
        picture.text(middle, picture.y + 23, value, "text", "middle")
    picture.y += 60
    picture.text(MARGIN, picture.y, "In all pictures:", "soft")
    picture.text(MARGIN + 106, picture.y, "what it is", "really")
    picture.text(MARGIN + 186, picture.y, "what Open vSwitch takes it for", "believed")
    picture.y -= 20
    picture.box(MARGIN + 398, CELL, "plain changed", "85")
    picture.box(MARGIN + 560, CELL, "gone", "85", "soft octet")
    picture.y += 20
    picture.text(MARGIN + 437, picture.y, "just changed", "text")
    picture.text(MARGIN + 599, picture.y, "just taken off", "text")
    picture.y += 8
    return picture


def word_of(
    picture: Picture,
    row: Sequence[str],
    css: str,
    *,
    above: Sequence[Label] = (),
    below: Sequence[Label] = (),
    changed: Iterable[int] = (),
) -> None:
    """Four octets, and their bits."""
    picture.octets(coloured(row, (4, css)), above=above, wide=BIT * 8, left=BITS, scale=8)
    picture.y -= 14
    picture.octets(
        [(bit, css) for bit in spelled(row)], below=below, changed=changed, wide=BIT, left=BITS
    )


def spelled(row: Sequence[str]) -> str:
    return "".join(f"{int(octet, 16):08b}" for octet in row)


def label() -> Picture:
    """A label's 32 bits are a container's."""
    picture = Picture("The 32 bits of a container, and of an MPLS label")
    for qfi in (9, 10):
        steps = STEPS[f"downlink, {qfi}"]
        row, wire, fields = (
            octets(steps["one"])[:4],
            octets(steps["wire"])[12:16],
            read(steps["one"]),
        )
        assert int(wire[2], 16) == qfi
        picture.heading(
            "QFI 9: the container is a label" if qfi == 9 else "QFI 10: one bit is not ours"
        )
        word_of(
            picture,
            row,
            "new",
            above=[
                (0, 8, "length: 1 word"),
                (8, 12, "type: DL"),
                (12, 16, "spare"),
                (16, 18, "PPP|RQI"),
                (18, 24, f"QFI {int(row[2], 16) & 0x3F}{'?' * (qfi == 10)}"),
                (24, 32, f"next header: {'none' if qfi == 9 else int(row[3], 16)}"),
            ],
            below=[
                (0, 20, f"MPLS label {int(fields['mpls_label']):#07x}"),
                (20, 23, f"TC {fields['mpls_tc']}"),
                (23, 24, "S"),
                (24, 32, f"TTL {fields['mpls_ttl']}"),
            ],
            changed=(23, 31) if qfi == 10 else (),
        )
    picture.y -= 4
    picture.note("S, “bottom of stack”: the switch sets it in the innermost label. For an even QFI")
    picture.note("that is wrong. Then TTL is made 1, by which nftables knows the packet; it clears")
    picture.note(f"both bits: {' '.join(wire)}.")
    return picture


def downlink() -> Picture:
    """From the UE's packet to the wire."""
    steps = STEPS["downlink, 9"]
    picture = Picture("Downlink: two labels become the container")
    one, two = read(steps["one"]), read(steps["two"])
    picture.heading("1  decap(): the Ethernet header goes")
    picture.octets(
        coloured(octets(steps["bare"]), (8, "ue")),
        at=16,
        above=[(16, 24, "the UE's packet …")],
        below=[(16, 24, "IPv4 packet")],
    )
    picture.heading("2  encap(mpls), and the QFI from a register into the label")
    picture.octets(
        coloured(octets(steps["one"]), (4, "new"), (8, "ue")),
        at=12,
        above=[(12, 16, "container: DL, QFI 9")],
        below=[
            (
                12,
                16,
                f"label {int(one['mpls_label']):#x}|"
                f"TC {one['mpls_tc']}, S {one['mpls_bos']}, TTL {one['mpls_ttl']}",
            ),
            (16, 24, "(not read any more)"),
        ],
    )
    picture.heading("3  encap(mpls) again, label 0, TTL 133")
    picture.octets(
        coloured(octets(steps["two"]), (8, "new"), (8, "ue")),
        at=8,
        above=[(8, 12, "optional part: next is 0x85"), (12, 16, "container")],
        below=[
            (8, 12, f"label {two['mpls_label']}|S {two['mpls_bos']}, TTL {two['mpls_ttl']}"),
            (12, 16, "label"),
        ],
    )
    gtpu, wire = octets(steps["gtpu"]), octets(steps["wire"])
    picture.heading("4  output to the gtpu port: GTP-U header, UDP and IP in front")
    picture.octets(
        coloured(gtpu, (8, "gtpu"), (8, "new"), (8, "ue")),
        below=[(0, 8, f"GTP-U, flags {gtpu[0]}: nothing optional"), (8, 24, "the payload")],
    )
    picture.heading("5  nftables, on the way out of the port: sets the E flag")
    picture.octets(
        coloured(wire, (8, "gtpu"), (8, "new"), (8, "ue")),
        changed=changes(gtpu, wire),
        above=[
            (0, 8, f"GTP-U, flags {wire[0]}: E"),
            (8, 12, "optional part"),
            (12, 16, "container"),
            (16, 24, "the UE's packet …"),
        ],
    )
    return picture


def even() -> Picture:
    """The same for an even QFI."""
    steps = STEPS["downlink, 10"]
    gtpu, wire = octets(steps["gtpu"]), octets(steps["wire"])
    first = [gtpu[0], *wire[1:]]
    runs = (8, "gtpu"), (8, "new"), (8, "ue")
    picture = Picture("Downlink, an even QFI: nftables clears two bits and sets one")
    picture.heading("As the switch sends it, QFI 10")
    picture.octets(coloured(gtpu, *runs), below=[(14, 15, "QFI|11"), (15, 16, "mark|1")])
    picture.heading("After the first rule")
    picture.octets(coloured(first, *runs), changed=changes(gtpu, first))
    picture.heading("After the second")
    picture.octets(
        coloured(wire, *runs),
        changed=changes(first, wire),
        above=[
            (0, 1, "E"),
            (8, 12, "optional part"),
            (12, 16, "DL, QFI 10"),
            (16, 24, "the UE's packet …"),
        ],
    )
    return picture


def left() -> Picture:
    """What the gtpu port leaves of a T-PDU."""
    picture = Picture("Uplink: what the gtpu port takes off")
    picture.heading("1  From the gNB, E set")
    sent = octets(UP["sent"])
    picture.octets(
        coloured(sent, (8, "gtpu"), (8, "new"), (8, "ue")),
        above=[
            (0, 8, "GTP-U header"),
            (8, 12, "optional part"),
            (12, 16, "container: UL, QFI 9"),
            (16, 24, "the UE's packet …"),
        ],
    )
    picture.heading("2  Behind the gtpu port")
    rest = octets(UP["gtpu"])
    assert read(UP["gtpu"])["packet_type"] == "(1" and UP["gtpu"]["read as"].startswith(
        "packet_type=(1,0x800)"
    )
    picture.octets(
        [(octet, "gone") for octet in sent[:8]] + coloured(rest, (8, "new"), (8, "ue")),
        below=[
            (0, 8, "taken off: 8 octets, always"),
            (8, 16, "“an IPv4 packet”, since"),
            (16, 17, f"{rest[8][0]} is IP"),
        ],
    )
    both = STEPS["uplink, E and S, 4"]
    picture.heading("2  Behind the gtpu port, if S was set too")
    sent, rest = octets(both["sent"]), octets(both["gtpu"])
    assert "packet_type" not in read(both["gtpu"])
    picture.octets(
        [(octet, "gone") for octet in sent[:12]] + coloured(rest, (4, "new"), (8, "ue")),
        below=[
            (0, 12, "taken off: 4 more"),
            (12, 20, "“an Ethernet frame”, since"),
            (20, 21, f"{rest[8][0]} is not"),
        ],
    )
    return picture


def asked(table: int, *parts: str) -> Flow:
    """The first flow of a table with these in its text."""
    here = (flow for flow in flows() if flow.table == table)
    return next(flow for flow in here if all(part in str(flow) for part in parts))


def destination(flow: Flow) -> tuple[bytes, bytes]:
    """The IPv6 destination that a flow asks for, and its mask."""
    [field] = [field for field in flow.match if field.field == "ipv6_dst"]
    return field.value.to_bytes(16, "big"), field.mask.to_bytes(16, "big")


def ipv6() -> Picture:
    """What stands where, when it is read as IPv6."""
    picture = Picture("Uplink: 24 octets in front, and the T-PDU is an IPv6 destination")
    whole = octets(UP["ipv6"])[14:]
    fields = read(UP["ipv6"])
    assert int(fields["nw_ttl"]) == 255 and fields["ipv6_src"] == "::fc0:0:8:11ff"
    picture.heading("3  encap(nsh): a Network Service Header in front; read as IPv6")
    picture.octets(
        coloured(whole, (24, "ours")),
        above=[(0, 24, "Network Service Header, ours: 24 octets")],
        below=[
            (0, 4, "version, class,|flow label"),
            (4, 6, "length|8"),
            (6, 7, "next|UDP"),
            (7, 8, "limit|255"),
            (8, 24, f"source address|{fields['ipv6_src']}"),
        ],
    )
    picture.y += 6
    picture.octets(
        coloured(whole[24:], (8, "new"), (16, "ue")),
        above=[(0, 4, "optional part"), (4, 8, "container"), (8, 24, "the UE's packet …")],
        below=[(0, 16, f"destination address|{fields['ipv6_dst']}"), (16, 24, "UDP header|")],
    )
    picture.heading("So the flows can ask for it, bit by bit, and copy the QFI")
    value, mask = destination(asked(23, "reg5=0x1,", "set_field:0x11->reg5"))
    more, also = destination(asked(24, "reg5=0x11,", "goto_table:26"))
    cells = []
    for number in range(16):
        full = mask[number] | also[number]
        text = f"{value[number] | more[number]:02x}"
        shown = {0xFF: text, 0xF0: f"{text[0]}·", 0xC0: "QFI", 0: "·"}[full]
        cells.append((shown, "new" if number < 8 else "ue") if full else ("·", "gone"))
    picture.octets(
        cells,
        below=[
            (3, 4, "type|PSC"),
            (4, 5, "one|word"),
            (5, 6, "UL"),
            (6, 7, "no|flags"),
            (7, 8, "no|next"),
            (8, 9, "IPv4"),
        ],
    )
    return picture


def word() -> Picture:
    """The bits of the first word: a flow label, and a length."""
    picture = Picture("Uplink: the flow label is the length of the Network Service Header")
    before, after = octets(UP["ipv6"])[14:18], octets(UP["length"])[14:18]
    read_as = read(UP["length"]), read(UP["retyped"])
    for row, title in (
        (before, "As encap(nsh) wrote it"),
        (after, "4  Its first four octets are rewritten: set_field:{}->ipv6_label"),
    ):
        ipv6, nsh = (read(UP["ipv6"]), read(UP["nsh"])) if row is before else read_as
        label = ipv6["ipv6_label"]
        assert int(label, 16) == int(spelled(row)[12:], 2)
        picture.heading(title.format(label))
        kind = int(nsh["nsh_mdtype"])
        word_of(
            picture,
            row,
            "ours",
            above=[
                (0, 2, "version"),
                (2, 4, "O, U"),
                (4, 10, f"TTL {nsh['nsh_ttl']}"),
                (10, 16, f"NSH of {length(row)} words"),
                (16, 20, "unused"),
                (20, 24, f"type {kind}"),
                (24, 32, f"next: {nsh['nsh_np']}, IPv4"),
            ],
            below=[
                (0, 4, f"version {int(row[0], 16) >> 4}"),
                (4, 12, f"class {int(spelled(row)[4:12], 2):#x}"),
                (12, 32, f"IPv6 flow label {label}"),
            ],
            changed=() if row is before else changes(spelled(before), spelled(after)),
        )
    return picture


def length(row: Sequence[str]) -> int:
    """Of a Network Service Header, in words of 4 octets."""
    return int(spelled(row)[10:16], 2)


def gone() -> Picture:
    """All of it goes."""
    picture = Picture("Uplink: all that stands in front of the UE's packet goes at once")
    whole = octets(UP["retyped"])[14:]
    words = length(whole)
    picture.heading("5  Typed as NSH, by a label that is pushed and popped")
    picture.octets(
        coloured(whole, (24, "ours")),
        changed=changes(octets(UP["ipv6"])[14:38], whole[:24]),
        below=[(0, 24, f"Network Service Header of {words} words: {4 * words} octets …")],
    )
    picture.octets(
        coloured(whole[24:], (8, "new"), (16, "ue")),
        below=[(0, 8, "… which end here"), (8, 24, "IPv4, as the header says")],
    )
    picture.heading("6  decap(), decap(): Ethernet header off, Network Service Header off")
    bare = octets(UP["bare"])
    assert bare == octets(UP["core"]) == octets(UP["sent"])[16:], "as the phone sent it"
    picture.octets(
        [(octet, "gone") for octet in whole[24:32]] + coloured(bare, (16, "ue")),
        above=[(8, 24, "the UE's packet, every bit as the phone sent it")],
        below=[(8, 24, f"IPv4 from {read(UP['bare'])['nw_src']}: true at last")],
    )
    return picture


def forms() -> Picture:
    """The longer ones, and those with a sequence number."""
    picture = Picture("Six of the forms that are taken off")
    texts = {4: "QFI alone", 8: "and a delay", 12: "and two delays"}
    for form, first in (("E", 4), ("E and S", 0)):
        picture.heading(f"{form} set")
        for size, text in texts.items():
            whole = octets(STEPS[f"uplink, {form}, {size}"]["retyped"])[14:]
            words = length(whole)
            end = 4 * words - 20
            above = [(4, 8, "optional part")] if first else []
            above.append((4 + first, end, f"{size}: {text}"))
            top = picture.octets(
                coloured(whole[24:], (end - 4, "new"), (24 - end, "ue")),
                at=4,
                above=above,
                below=[(0, end, f"Network Service Header of {words} words")],
            )
            picture.box(MARGIN, 4 * CELL, "ours", "24 of ours", "text", y=top)
            picture.y -= 4
    return picture


PICTURES = {
    "n3-packet": packet,
    "n3-label": label,
    "n3-downlink": downlink,
    "n3-even": even,
    "n3-left": left,
    "n3-ipv6": ipv6,
    "n3-word": word,
    "n3-gone": gone,
    "n3-forms": forms,
}


def main(directory: Path) -> None:
    for name, draw in PICTURES.items():
        (directory / f"{name}.svg").write_text(draw().svg())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
