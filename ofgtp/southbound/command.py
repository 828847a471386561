"""Run a command of the host without stopping the other green threads."""

from __future__ import annotations

from collections.abc import Sequence

from eventlet.green import subprocess

from ofgtp.core.errors import GatewayNotReady

TIMEOUT_S = 10.0


def attempt(argv: Sequence[str], stdin: str | None = None) -> tuple[int, str, str]:
    """Run `argv`; its exit code, output and errors.

    Raises:
        GatewayNotReady: the program is not installed, or takes longer than TIMEOUT_S.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise GatewayNotReady(f"{argv[0]} cannot be run: {error.strerror}") from error
    with process:
        try:
            out, err = process.communicate(stdin, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise GatewayNotReady(f"`{' '.join(argv)}` takes too long") from error
    return process.returncode, out, err


def run(argv: Sequence[str], stdin: str | None = None) -> str:
    """Run `argv`; its output.

    Raises:
        GatewayNotReady: it failed; with its own message.
    """
    code, out, err = attempt(argv, stdin)
    if code:
        raise GatewayNotReady(f"`{' '.join(argv)}`: {' '.join(err.split()) or f'exit code {code}'}")
    return out
