"""The `ofgtp` command within this process, as if a shell had started it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from ofgtp import cli
from tests.support.lab import Lab


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error, nothing being on standard output."""
        assert self.out == "" and self.err.count("\n") == 1 and self.code != 0, self
        return self.err.removesuffix("\n")

    @property
    def lines(self) -> list[str]:
        """Standard output, all being well."""
        assert self.code == 0 and self.err == "", self
        return self.out.splitlines()


class Shell:
    """Runs commands."""

    def __init__(
        self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], url: str = ""
    ) -> None:
        self._patch, self._capture = patch, capture
        for name in ("OFGTP_URL", "OFGTP_TOKEN_FILE", "OFGTP_CONFIG"):
            patch.delenv(name, raising=False)
        if url:
            patch.setenv("OFGTP_URL", url)

    def __call__(self, command: str, *more: object, stdin: bytes = b"") -> Done:
        """Run `ofgtp` with the words of `command`, and more that may have spaces."""
        argv = ["ofgtp", *command.split(), *map(str, more)]
        self._capture.readouterr()
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", argv)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        printed = self._capture.readouterr()
        assert "Traceback" not in printed.err
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, printed.out, printed.err)


def at_switch(lab: Lab, *arguments: str) -> tuple[int, str, str]:
    """Run one in the switch's namespace, with the lab's configuration; its exit code, output and
    errors. Quicker than a process of its own, for very many."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, lab.inside("gw"):
        patch.setattr(sys, "argv", ["ofgtp", *arguments])
        patch.setenv("OFGTP_CONFIG", f"{lab.dir}/ofgtp.toml")
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()
