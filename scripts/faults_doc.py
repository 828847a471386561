"""Writes the table of docs/ovs-faults.md, from the one in the code.

    .venv/bin/python scripts/faults_doc.py [FILE]

What stands between the two markers of the file is replaced. A test fails while it differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from generated import rewrite

from ofgtp.core.flows import faults


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


if __name__ == "__main__":
    rewrite(__file__, "\n".join(table()), "ovs-faults.md")
