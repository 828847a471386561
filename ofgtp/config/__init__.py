"""ofgtp.toml: read, checked and frozen before anything is touched.

Whatever is wrong in the file is a `ConfigError` that names the line, the key and the reason. What
is missing at run time (a port, OVSDB) is no matter of this package.
"""

from ofgtp.config.controller import (
    CORE_MAX,
    LEASE_MAX,
    LEASE_MIN,
    PMD_CORES_MAX,
    ROUND_MAX,
    ROUND_MIN,
)
from ofgtp.config.echo import (
    ECHO_SECONDS_MAX,
    ECHO_SECONDS_MIN,
    N3_REQUESTS_MAX,
    T3_RESPONSE_SECONDS_MAX,
)
from ofgtp.config.file import default_path, error_at, load
from ofgtp.config.gateway import HostServices, OnPathDown, Ports, UeToUe
from ofgtp.config.pfcp import HEARTBEAT_SECONDS_MAX, HEARTBEAT_SECONDS_MIN, OnPeerLost
from ofgtp.config.resolvers import DNS6_MAX
from ofgtp.config.values import Config, Controller, Durability, Ownership, Rest

__all__ = [
    "CORE_MAX",
    "DNS6_MAX",
    "ECHO_SECONDS_MAX",
    "ECHO_SECONDS_MIN",
    "HEARTBEAT_SECONDS_MAX",
    "HEARTBEAT_SECONDS_MIN",
    "LEASE_MAX",
    "LEASE_MIN",
    "N3_REQUESTS_MAX",
    "PMD_CORES_MAX",
    "ROUND_MAX",
    "ROUND_MIN",
    "T3_RESPONSE_SECONDS_MAX",
    "Config",
    "Controller",
    "Durability",
    "HostServices",
    "OnPathDown",
    "OnPeerLost",
    "Ownership",
    "Ports",
    "Rest",
    "UeToUe",
    "default_path",
    "error_at",
    "load",
]
