"""Draws the picture of docs/bearers.md: which flows a packet meets, and where it ends.

    .venv/bin/python scripts/bearer_pictures.py [DIRECTORY]      (default: docs/images)

The flows are those of bearer-steps.json, which `python -m tests.support.bearer_steps` records on a
real switch. Tests fail while the recording differs from what the switch shows, or the picture from
this.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from picture import HIGH, MARGIN, WIDTH, Picture

IMAGES = Path(__file__).parents[1] / "docs" / "images"
NAME = "bearers.svg"
LABEL, STEP, GAP = 196, 98, 18
TITLES = {
    "downlink": "Downlink: table 71 chooses the tunnel, by the filters",
    "uplink": "Uplink: table 31 asks whether the tunnel's filters match",
}
COLOURS = {"voice": "new", None: "gtpu"}
"""By the bearer."""


def picture(recorded: list[dict[str, Any]]) -> Picture:
    """A line for each packet."""
    made = Picture("The flows that packets of a session with bearers meet")
    for way, title in TITLES.items():
        made.heading(title)
        made.y += 10
        for packet in (each for each in recorded if each["direction"] == way):
            _line(made, packet)
    made.note(
        "In each box: the table, and the priority of the flow that matched: 65535 less the"
        " bearer's precedence,"
    )
    made.note("or 0 where no filter matches. As a switch showed it (ofgtp trace).")
    return made


def _line(made: Picture, packet: dict[str, Any]) -> None:
    bearer = None if packet["bearer"] is None else packet["bearer"]["id"]
    x, y = float(MARGIN), made.y
    made.text(x, y + 20, packet["packet"])
    x += LABEL
    for step in packet["met"]:
        made.line(f"M{x:g} {y + HIGH / 2:g}H{x + GAP:g}", "line")
        x += GAP
        made.box(x, STEP, "plain", f"{step['table']} {step['name']}", "text")
        made.text(x + STEP / 2, y + HIGH + 15, f"{step['priority']}", "soft", "middle")
        x += STEP
    made.line(f"M{x:g} {y + HIGH / 2:g}H{x + GAP:g}", "line")
    x += GAP
    css = "changed" if packet["reason"] else COLOURS[bearer]
    made.box(x, WIDTH - MARGIN - x, css, _end(packet), "text")
    made.y += HIGH + 26


def _end(packet: dict[str, Any]) -> str:
    if packet["reason"]:
        return str(packet["reason"])
    tunnel = re.search(r"in tunnel (0x\w+)", packet["says"])
    return f"tunnel {tunnel[1]}" if tunnel else "core port"


def main(directory: Path) -> None:
    recorded = json.loads((IMAGES / "bearer-steps.json").read_text())
    (directory / NAME).write_text(picture(recorded).svg())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
