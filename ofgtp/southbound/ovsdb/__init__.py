"""The gateway's bridge, ports and controller in OVSDB (RFC 7047), through python-ovs' IDL.

Rows that ofgtp makes carry `external_ids:ofgtp=<gateway>`; no other row is changed or deleted,
except that Open_vSwitch.bridges must name our bridge.
"""

from ofgtp.southbound.ovsdb.cores import PMD_MASK, cores_of
from ofgtp.southbound.ovsdb.memory import IFINDEX
from ofgtp.southbound.ovsdb.ovsdb import Ovsdb
from ofgtp.southbound.ovsdb.ports import derived_macs
from ofgtp.southbound.ovsdb.readback import BridgeFacts
from ofgtp.southbound.ovsdb.tables import PREFIXES

__all__ = [
    "IFINDEX",
    "PMD_MASK",
    "PREFIXES",
    "BridgeFacts",
    "Ovsdb",
    "cores_of",
    "derived_macs",
]
