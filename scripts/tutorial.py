"""Runs docs/tutorial.md, or another page of that kind (docs/bearers.md, docs/rest.md), in
namespaces of its own, and compares what it shows with what is seen.

    .venv/bin/python scripts/tutorial.py [--update] [--verbose] [FILE]

Ends with 1 if anything differs. --update writes what was seen into the file instead. The page's
host is private: directories, switch, interfaces and processes; nothing of the real one is touched.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.tutorial import SECONDS, Reader, Sandbox, TutorialError, parse  # noqa: E402

INSIDE = "OFGTP_TUTORIAL_INSIDE"


def main() -> int:
    parser = argparse.ArgumentParser(description="run the tutorial")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "tutorial.md")
    parser.add_argument("--update", action="store_true", help="write what is seen into the file")
    parser.add_argument("--verbose", action="store_true", help="show each command")
    args = parser.parse_args()
    if INSIDE not in os.environ:
        return inside()
    return follow(args.file.resolve(), args.update, args.verbose)


def inside() -> int:
    """Start this program again in new namespaces; its exit code."""
    if os.geteuid() != 0:
        print("tutorial.py: only root can make network namespaces: use sudo", file=sys.stderr)
        return 2
    unshare = (
        "setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc"
    )
    return subprocess.run(
        [*unshare.split(), sys.executable, *sys.argv], env=os.environ | {INSIDE: "1"}, check=False
    ).returncode


def follow(file: Path, update: bool, verbose: bool) -> int:
    started = time.monotonic()
    document = file.read_text()

    def say(line: str) -> None:
        if verbose:
            print(f"{time.monotonic() - started:5.1f} s  {line}", flush=True)

    wrong = []
    try:
        blocks = parse(document)
        with Sandbox() as sandbox:
            reader = Reader(sandbox.home, patience=10 if update else SECONDS, say=say)
            try:
                for each in reader.follow(blocks):
                    wrong.append(each)
                    print(each, flush=True)
            finally:
                if update:
                    file.write_text(reader.updated(document))
    except TutorialError as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return 1
    count = sum(len(block.commands) for block in blocks)
    print(f"{file.name}: {count} commands, {len(wrong)} wrong, {time.monotonic() - started:.0f} s")
    return 0 if update or not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
