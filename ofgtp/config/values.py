"""What is read: the sections as frozen values. A gateway's is `core.model.Gateway`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ofgtp.core.errors import ConfigError
from ofgtp.core.model import Gateway

Ownership = Literal["controller", "switch"]
Durability = Literal["normal", "full"]

_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Controller:
    """`[controller]`: who owns the tunnels, and where sessions are kept."""

    ownership: Ownership = "controller"
    lease_seconds: int = 10
    store: Path = Path("/var/lib/ofgtp/sessions.db")
    durability: Durability = "normal"
    usage_round_seconds: int = 60
    pmd_cores: tuple[int, ...] = ()
    """Cores of the host on which Open vSwitch reads AF_XDP ports; none: it takes one itself."""


@dataclass(frozen=True, slots=True)
class Rest:
    """`[rest]`: where the API listens and whom it answers. `host` is an address or localhost."""

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    hosts: tuple[str, ...] = ()
    """Host header names (no port, lower case; addresses in their shortest form) accepted beside
    `host` and the loopback names."""

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach the API."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def token(self) -> str | None:
        """The bearer token (RFC 6750), read from `token_file` now; None when there is none.

        Raises:
            ConfigError: the file cannot be read, is empty or holds no usable token.
        """
        if self.token_file is None:
            return None
        try:
            token = self.token_file.read_text("utf-8").strip()
        except OSError as error:
            reason = f"cannot read {self.token_file}: {error.strerror}"
            raise ConfigError(reason, key="rest.token_file") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.token_file} is not text", key="rest.token_file") from error
        if not token:
            raise ConfigError(f"{self.token_file} is empty", key="rest.token_file")
        if not _TOKEN.fullmatch(token):
            reason = f"{self.token_file} must hold one token of visible ASCII characters"
            raise ConfigError(reason, key="rest.token_file")
        return token


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, validated."""

    controller: Controller
    rest: Rest
    gateways: tuple[Gateway, ...]
    path: Path
