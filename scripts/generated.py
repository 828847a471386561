"""The part of a document that a script writes anew, between two markers."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def rewrite(script: str, section: str, document: str) -> None:
    """Write `section` into the document, or into the file that the command line names.

    Ends with exit code 1, and changes nothing, where the file has no markers.
    """
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / document
    begin_marker = f"<!-- Generated: .venv/bin/python scripts/{Path(script).name} -->"
    end_marker = "<!-- End of what is generated -->"
    before, begin, rest = path.read_text().partition(begin_marker)
    _, end, after = rest.partition(end_marker)
    if not begin or not end:
        sys.exit(f"{path} has no markers: {begin_marker} and {end_marker}")
    path.write_text(f"{before}{begin}\n\n{section}\n\n{end}{after}")
