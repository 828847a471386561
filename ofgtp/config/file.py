"""The file as a whole: where it is, its sections one by one, and what they share."""

from __future__ import annotations

import os
from pathlib import Path

from ofgtp.config.controller import controller_of
from ofgtp.config.gateway import gateway_of
from ofgtp.config.rest import rest_of
from ofgtp.config.source import Source, read
from ofgtp.config.table import Table
from ofgtp.config.together import check_together
from ofgtp.config.values import Config, Controller, Rest
from ofgtp.core.errors import ConfigError
from ofgtp.core.model import Gateway


def default_path() -> Path:
    """`$OFGTP_CONFIG`, else /etc/ofgtp/ofgtp.toml."""
    return Path(os.environ.get("OFGTP_CONFIG") or "/etc/ofgtp/ofgtp.toml")


def load(path: Path) -> Config:
    """Read and check the configuration file.

    Raises:
        ConfigError: with the line (0 when the file as a whole is at fault), key and reason.
    """
    source = Source(path, read(path))
    root = Table(source, (), source.parse(), ("controller", "rest", "gateway"))
    controller = controller_of(root.table("controller", Controller))
    rest = rest_of(root.table("rest", Rest, renamed={"host": "listen", "port": "listen"}))
    if isinstance(root.values.get("gateway"), dict):
        raise root.error("gateway", "several gateways are possible: write [[gateway]]")
    keys = {"port_type": "ports", "pmd_cores": "ports", "leased": "ports", "ue_pools6": "ue_pools"}
    keys["access_allow6"] = "access_allow"
    tables = root.tables("gateway", Gateway, keys)
    gateways = tuple(gateway_of(each, controller) for each in tables)
    if not gateways:
        raise root.error("gateway", "at least one [[gateway]] is needed")
    check_together(source, gateways)
    return Config(controller, rest, gateways, path)


def error_at(config: Config, gateway: int, key: str, reason: str) -> ConfigError:
    """An error at a key of the n-th gateway (from 0) that only the host could show."""
    return Source(config.path, read(config.path)).error(("gateway", gateway, key), reason)
