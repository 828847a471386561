"""docs/tutorial.md, docs/bearers.md and docs/rest.md, typed as they stand there; and that what
types them would notice a difference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tutorial import TutorialError, differences, parse, screen

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "tutorial.md"
PAGES = [DOCUMENT, *(ROOT / "docs" / name for name in ("bearers.md", "rest.md"))]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "scripts/tutorial.py", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.e2e
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_shows_is_what_comes(page: Path) -> None:
    done = run(page)
    again = f".venv/bin/python scripts/tutorial.py --update {page.relative_to(ROOT)}"
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}\nif this is what it should show: {again}"
    )


SMALL = """\
<!-- test: file /etc/ofgtp/a -->
```text
hello
```

```sh
mkdir /var/lib/ofgtp
cp /etc/ofgtp/a /var/lib/ofgtp/a
```

<!-- test: not run: it would end the shell; instead: b=there -->
```console
# exit
```

```console
# cat /var/lib/ofgtp/a; echo $b
hello
there
# ls /sys/class/net; ovs-vsctl list-br; ovs-vsctl get Open_vSwitch . ovs_version
lo
"3.1.0"
# for n in 1 2; do
>     echo $n
> done
1
2
```

<!-- test: terminal 2, goes on -->
```console
# echo one; read; echo two; sleep 1000
one
```

<!-- test: terminal 2, next -->
```console
^C
# echo $b $?
130
```
"""


@pytest.mark.e2e
def test_a_difference_is_found_and_written(tmp_path: Path) -> None:
    file = tmp_path / "small.md"
    file.write_text(SMALL)
    done = run(file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(Path(where).exists() for where in ("/etc/ofgtp/a", "/var/lib/ofgtp/a"))

    file.write_text(SMALL.replace("\nthere\n", "\nhere\n").replace("\n130\n", "\n0\n"))
    done = run(file)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "- here" in done.stdout and "+ there" in done.stdout and "+ 130" in done.stdout
    assert "2 wrong" in done.stdout

    assert run("--update", file).returncode == 0
    assert file.read_text() == SMALL


def test_only_what_is_declared_varies() -> None:
    shown = ["64 bytes from 10.2.0.2: icmp_seq=1 ttl=64 time=0.775 ms", "3 packets transmitted"]
    seen = ["64 bytes from 10.2.0.2: icmp_seq=1 ttl=64 time=12 ms", "3 packets transmitted"]
    assert not differences(shown, seen)
    for old, new in (("icmp_seq=1", "icmp_seq=2"), ("ttl=64", "ttl=63"), ("3 p", "2 p")):
        assert differences(shown, [line.replace(old, new) for line in seen])
    assert differences(shown, seen[:1]) and differences(shown[:1], seen)
    assert not differences(["3 packets, 294 B"], ["2 packets, 196 B"])
    assert differences(["3 packets, 294 B"], ["0 packets, 0 B"]), "none is not some"


def test_lines_left_out() -> None:
    seen = ["a", "b", "c", "d"]
    for shown in (["…", "d"], ["a", "…"], ["a", "…", "c", "…"], ["…", "b", "c", "…"], ["…", *seen]):
        assert not differences(shown, seen), shown
    for shown in (["…", "c"], ["b", "…"], ["a", "…", "c", "b", "…"], ["…", "a", "…", "a", "…"]):
        assert differences(shown, seen), shown
    assert not differences(["a", "b"], seen, goes_on=True)
    assert differences(["b"], seen, goes_on=True)


def test_a_terminal_shows_what_is_left_in_the_end() -> None:
    assert screen("a\r\nb\r\n") == ["a", "b"]
    assert screen("50 %\r100 %\x1b[K\r\n") == ["100 %"]
    assert screen("\x1b[1;32mgreen\x1b[0m\r\nbar\r\x1b[1A\x1b[2Kdone\r\n\x1b[2K") == ["done"]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- test: not run -->\n```console\n# a\n```\n",
        "<!-- test: terminal x -->\n```console\n# a\n```\n",
        "<!-- test: terminal 2 -->\nText.\n",
        "```console\nprinted by nothing\n```\n",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(TutorialError):
        parse(text)


def test_what_is_not_run_says_why_and_is_little() -> None:
    blocks = parse(DOCUMENT.read_text())
    skipped = [block for block in blocks if block.instead is not None]
    assert len(skipped) == 2, "installing, and systemd"
    assert sum(len(block.commands) for block in blocks) > 50
