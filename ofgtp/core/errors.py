"""One tree of errors.

OfgtpError
├── ConfigError          ofgtp.toml does not parse or validate (line, key, reason)
├── NotReloaded          ofgtp.toml asks for what only a restart can do (reasons): 409
├── InvalidSession       a session's field is wrong (loc, msg): 422
├── Conflict             an identity is in use by another session (loc, session id): 409
├── UnknownSession       no such session: 404
├── UnknownBearer        the session has no such bearer: 404
├── UnknownGateway       no such gateway
├── SwitchRefused        the switch answered with an error (reason): 502
├── StoreError           the store cannot be read or written: 503
│   └── StoreUnfit       nor will it be before somebody has looked at it
│       └── StoreDamaged its file is no database, or a damaged one
├── GatewayNotReady      OVSDB, a port or the switch is not there yet (retried)
└── CodecError           bytes from the wire that cannot be read
"""

from __future__ import annotations

from collections.abc import Sequence


class OfgtpError(Exception):
    """Base of every error ofgtp raises on purpose."""


class ConfigError(OfgtpError):
    """The configuration file is wrong; `line` is 1-based, 0 when no line can be named."""

    def __init__(self, reason: str, *, line: int = 0, key: str = "", path: str = "") -> None:
        self.reason, self.line, self.key, self.path = reason, line, key, path
        super().__init__(reason)

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        parts = [part for part in (where, self.key, self.reason) if part]
        return ": ".join(parts)


class NotReloaded(OfgtpError):
    """The configuration was not taken, because of each of `reasons`: (dotted key, what is in the
    way)."""

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        self.reasons = list(reasons)
        said = "; ".join(f"{key}: {reason}" for key, reason in reasons)
        super().__init__(f"nothing was taken: {said}")


class InvalidSession(OfgtpError):
    """A field of a session is out of its range; `loc` is the dotted path of the field."""

    def __init__(self, loc: str, msg: str) -> None:
        self.loc, self.msg = loc, msg
        super().__init__(f"{loc}: {msg}")


class Conflict(OfgtpError):
    """Another session of the gateway already has this id, TEID, UE address or downlink F-TEID."""

    def __init__(self, loc: str, msg: str, session_id: str) -> None:
        self.loc, self.msg, self.session_id = loc, msg, session_id
        super().__init__(f"{loc}: {msg}")


class UnknownSession(OfgtpError):
    """No session has this id."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"no session has the id {session_id!r}")


class UnknownBearer(OfgtpError):
    """The session has no bearer with this id."""

    def __init__(self, session_id: str, bearer_id: str) -> None:
        self.session_id, self.bearer_id = session_id, bearer_id
        super().__init__(f"session {session_id!r} has no bearer with the id {bearer_id!r}")


class UnknownGateway(OfgtpError):
    """No gateway of the configuration has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no gateway has the name {name!r}")


class SwitchRefused(OfgtpError):
    """The switch answered a rule with an OpenFlow error; nothing of the request was installed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the switch refused a rule: {reason}")


class StoreError(OfgtpError):
    """The session store cannot be read or written now: it may be when it is tried again."""


class StoreUnfit(StoreError):
    """The store's file is not ours, or of a later version, or damaged: trying again is no help."""


class StoreDamaged(StoreUnfit):
    """The store's file is damaged or no database at all."""


class GatewayNotReady(OfgtpError):
    """Something of the gateway is not there yet (OVSDB, a port, the switch); retried."""


class CodecError(OfgtpError):
    """Bytes from the wire do not make a message we can read."""
