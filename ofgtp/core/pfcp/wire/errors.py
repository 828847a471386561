"""Why a message is not carried out.

PfcpError
├── HeaderError          no header that can be read; `reason` is fit for a counter
│   ├── TooShort             too_short: fewer octets than its header has; dropped (7.6.3)
│   ├── WrongVersion         wrong_version: another version than 1; answered by message 11 (7.6.2)
│   └── UnknownType          unknown_type: no message of PFCP; dropped (7.6.4)
└── Refusal              an answer with this cause is due
"""

from __future__ import annotations

from ofgtp.core.errors import CodecError
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.enums import FailedRule
from ofgtp.core.pfcp.wire.ies import ie_title


class PfcpError(CodecError):
    """A message that is not carried out."""


class HeaderError(PfcpError):
    """A datagram that is no message that could be answered by one of its kind."""

    reason = "header_error"

    def __init__(self, msg: str) -> None:
        super().__init__(f"{self.reason}: {msg}")


class TooShort(HeaderError):
    """Fewer octets than the header has."""

    reason = "too_short"


class WrongVersion(HeaderError):
    """Another version of PFCP than 1."""

    reason = "wrong_version"

    def __init__(self, msg: str, sequence: int) -> None:
        self.sequence = sequence
        super().__init__(msg)


class UnknownType(HeaderError):
    """A message type that is not read."""

    reason = "unknown_type"


class Refusal(PfcpError):
    """A request is refused; `str` says why, in words that name the IE.

    `ie` is the type for the Offending IE (8.2.22), if there is one, and `rule` the rule for the
    Failed Rule ID (8.2.80): the one that was being read, if one was.
    """

    def __init__(
        self, cause: Cause, reason: str, ie: int | None = None, rule: FailedRule | None = None
    ) -> None:
        self.cause, self.reason, self.ie, self.rule = cause, reason, ie, rule
        super().__init__(cause, reason, ie, rule)

    def __str__(self) -> str:
        where = [str(self.rule)] if self.rule is not None else []
        if self.ie is not None:
            where.append(ie_title(self.ie))
        return f"{', '.join(where)}: {self.reason}" if where else self.reason
