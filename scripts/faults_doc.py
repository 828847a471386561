"""Writes the table of docs/ovs-faults.md, from the one in the code.

    .venv/bin/python scripts/faults_doc.py [FILE]

What stands between the two markers of the file is replaced. A test fails while it differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ofgtp.core.flows import faults

BEGIN = "<!-- Generated: .venv/bin/python scripts/faults_doc.py -->"
END = "<!-- End of what is generated -->"


def table() -> Iterator[str]:
    yield "| fault | name | versions | measured on | right on | remedy of ofgtp |"
    yield "|---|---|---|---|---|---|"
    for fault in faults.FAULTS:
        link = f"[{fault.section}](#{faults.anchor(fault.section)})"
        right = [version for version in faults.TRIED if not fault.affects(version)]
        tried = f"{_listed(fault.measured)} | {_listed(right)}"
        yield f"| {link} | `{fault.name}` | {fault.versions} | {tried} | {fault.remedy} |"


def _listed(versions: Sequence[faults.Version]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in versions)


def main(path: Path) -> None:
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{path} has no markers: {BEGIN} and {END}")
    rows = "\n".join(table())
    path.write_text(f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}")


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "ovs-faults.md")
