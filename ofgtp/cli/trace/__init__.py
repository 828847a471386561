"""`ofgtp trace`: where a session's packets go in the switch, and why they do not."""

from ofgtp.cli.trace.command import trace

__all__ = ["trace"]
